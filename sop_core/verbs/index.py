"""`sop index`: lists of clips for training, validation and test."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from ..config import MUSIC
from ..errors import SopError
from .options import Folder, Seconds, Whole


def index(
    data: Path,
    /,
    *name: str,
    min_frames: Whole = 0,
    val_ratio: float | None = None,
    test_ratio: float | None = None,
    seed: Whole = 0,
    duets: Literal["test", "train", "drop"] = "test",
    splits: Annotated[Path | None, Parameter(metavar="FILE.csv")] = None,
    sections: bool = False,
    copies: Literal["together", "drop"] | None = None,
    check: bool = False,
    fps: float | None = None,
    window: Seconds = MUSIC.seconds,
    out: Folder | None = None,
) -> None:
    """DATA -> train.csv, val.csv, test.csv, all.csv; or a check of them.

    Args:
        data: Folder that preprocess made. With --check or --copies drop: also index files.
        name: A name for this index. It is written to DATA/NAME.
        min_frames: Leave out clips with fewer frames.
        val_ratio: Share of each label's videos for validation, which chooses the best epoch.
            Default: 0.15, or what --splits says.
        test_ratio: The same for the test, besides duets. Default: 0.15, or what --splits says.
        seed: Seed of the split.
        duets: Where clips with two labels go.
        splits: The data set's own split: vggsound.csv, or rows "id,split" (train, val or test).
        sections: Ids are <YouTube id>_<start>, as VGGSound's. Clips of one video stay together.
        copies: together: find copies first, which reads all clips, and keep them in one list. drop:
            leave out of each given list (train.csv val.csv test.csv) what a later one has.
        check: Change no list. Read all clips, and tell what is missing or can't be used, still
            pictures, and copies.
        fps: With --check: frames a second, if preprocess did not note it.
        window: With --check: length that each clip must have.
        out: Folder for the csv files. Default: DATA/NAME.
    """
    lists = [data, *map(Path, name)] if data.is_file() else []
    if lists and not check and copies != "drop":
        hint = "or --check with an index to check, or --copies drop with several"
        raise SopError(f"{data}: a file; expected a data folder, {hint}")
    if copies == "drop" and not lists:
        raise SopError(
            f"--copies drop with {data}: expected index files, train.csv val.csv test.csv"
        )
    if len(name) > 1 and not lists:
        raise SopError(f"{' '.join(name)}: expected one name for the index in {data}")
    if check and copies:
        raise SopError("--check changes no list: leave --copies out, or --check")
    if copies == "drop" and out:
        raise SopError("--copies drop changes the given lists themselves: leave --out out")
    out = out or (data.parent if lists else Path(data, *name))
    if check:
        _check(lists or [data], window, fps, out)
        return

    from ..data.clips import candidates, read_index
    from ..data.copies import note_copies
    from ..data.matching import search
    from ..data.splits import build_index, drop_copies
    from ..untrusted import printable

    if copies == "drop":
        for path, names in drop_copies(lists).items():
            print(f"{printable(path)}: {len(names)} clip(s) left out")
            for clip in names[:20]:
                print(f"  {printable(clip)}")
        return
    if copies == "together" and (whole := [c for c in candidates(data) if c.sound and c.n_frames]):
        note_copies(whole, found := search(whole))
        print(f"copies: {len(found)} clip(s), put with what they copy")
    ratios = (val_ratio, test_ratio)
    paths = build_index(data, out, min_frames, *ratios, seed, duets, splits, sections)
    for split, path in paths.items():
        clips = read_index(path) if path.stat().st_size else []
        print(f"{split:<5} {len(clips):>6} clips  {printable(path)}")


def _check(places: list[Path], window: float, fps: float | None, out: Path) -> None:
    """Print what is wrong, and write all of it to index_check.csv."""
    from ..__main__ import note
    from ..data.check import KINDS, check
    from ..media.atomic import atomic_path
    from ..media.csvs import write_table
    from ..untrusted import printable

    problems = check(places, window, fps)
    for kind in KINDS:
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
