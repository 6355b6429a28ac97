"""`sop index`: lists of clips for training, validation and test."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from ..config import MUSIC, RATIO
from ..errors import SopError
from .options import Folder, Seconds, Whole


def index(
    data: Path,
    name: Annotated[str, Parameter(show_default=False)] = "",
    /,
    *,
    min_frames: Whole = 0,
    val_ratio: float = RATIO,
    test_ratio: float | None = None,
    seed: Whole = 0,
    duets: Literal["test", "train", "drop"] = "test",
    splits: Annotated[Path | None, Parameter(metavar="vggsound.csv")] = None,
    sections: bool = False,
    check: bool = False,
    fps: float | None = None,
    window: Seconds = MUSIC.seconds,
    out: Folder | None = None,
) -> None:
    """DATA -> train.csv, val.csv, test.csv, all.csv; or a check of them.

    Args:
        data: Folder that preprocess made. With --check: also an index file.
        name: A name for this index. It is written to DATA/NAME.
        min_frames: Leave out clips with fewer frames.
        val_ratio: Share of each label's videos for validation, which chooses the best epoch.
        test_ratio: The same for the test, besides duets. Default: 0.15, or what --splits says.
        seed: Seed of the split.
        duets: Where clips with two labels go.
        splits: The data set's own list of training and test.
        sections: Ids are <YouTube id>_<start>, as VGGSound's. Clips of one video stay together.
        check: Change nothing. Read all clips, and list what is missing or can't be used.
        fps: With --check: frames a second, if preprocess did not note it.
        window: With --check: length that each clip must have.
        out: Folder for the csv files. Default: DATA/NAME.
    """
    if data.is_file() and not check:
        raise SopError(f"{data}: a file; expected a data folder, or --check with an index to check")
    out = out or (data.parent if data.is_file() else data / name)
    if check:
        _check(data, window, fps, out)
        return

    from ..data.clips import read_index
    from ..data.splits import build_index
    from ..untrusted import printable

    ratios = (val_ratio, test_ratio)
    paths = build_index(data, out, min_frames, *ratios, seed, duets, splits, sections)
    for split, path in paths.items():
        clips = read_index(path) if path.stat().st_size else []
        print(f"{split:<5} {len(clips):>6} clips  {printable(path)}")


def _check(data: Path, window: float, fps: float | None, out: Path) -> None:
    """Print what is missing or invalid, and write all of it to index_check.csv."""
    from ..__main__ import note
    from ..data.check import check
    from ..media.atomic import atomic_path
    from ..media.csvs import write_table
    from ..untrusted import printable

    problems = check(data, window, fps)
    for kind in ("missing", "invalid"):
        rows = problems.loc[problems.problem == kind]
        print(f"{kind}: {rows['clip'].nunique()} clip(s)")
        for _, clip, reason in rows.head(20).itertuples(index=False):
            print(f"  {printable(clip)}: {printable(reason)}")
    path = out / "index_check.csv"
    try:
        with atomic_path(path) as part:
            write_table(part, problems)
    except OSError as e:  # a disk that can only be read: the list above is there all the same
        note(f"sop index: {path}: not written ({e.strerror}); --out DIR puts it elsewhere")
    else:
        print(f"all of them: {printable(path)}")
