"""`sop separate`: the sound of a part of a video's picture, into a file."""

import re
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Group, Parameter
from cyclopts.validators import LimitedChoice

from ..errors import SopError
from .options import Device

WHERE = Group("Where: exactly one of these", sort_key=1, validator=LimitedChoice(1))


def _where(metavar: str, converter) -> Parameter:
    return Parameter(group=WHERE, metavar=metavar, converter=converter, n_tokens=1)


def _numbers(count: int):
    """A converter: `count` whole numbers with commas between."""

    def convert(_, tokens) -> tuple[int, ...]:
        text = tokens[0].value
        if not re.fullmatch(",".join([r"\s*[+-]?\d+\s*"] * count), text):
            raise ValueError(f"{text!r}: expected {count} whole numbers with commas between")
        return tuple(map(int, text.split(",")))

    return convert


def _count(_, tokens) -> int:
    """A converter: a number from 1, or `auto`, which is 0."""
    text = tokens[0].value
    if text != "auto" and not (text.isdecimal() and int(text)):
        raise ValueError(f"{text!r}: expected a number from 1, or auto")
    return 0 if text == "auto" else int(text)


def separate(
    ckpt: Path,
    video: Path,
    /,
    *,
    pixel: Annotated[tuple[int, int] | None, _where("ROW,COL", _numbers(2))] = None,
    box: Annotated[tuple[int, int, int, int] | None, _where("X0,Y0,X1,Y1", _numbers(4))] = None,
    all_sources: Annotated[int | None, _where("N|auto", _count)] = None,
    out: Annotated[Path, Parameter(metavar="OUT.wav|OUT.mp4|DIR")],
    rate: Literal["model", "source"] = "model",
    full_band: bool = False,
    partition: Annotated[bool, Parameter(name=("--partition", "--whole"))] = False,
    cache: bool = False,
    device: Device = None,
) -> None:
    """The sound of a pixel, of a box, or of all instruments, of any video.

    Args:
        ckpt: The run's folder.
        video: A video of any length, in any format that FFmpeg reads.
        pixel: A cell of the grid. 0,0 is at the top left.
        box: A box in pixels of the video.
        all_sources: The N most different instruments, and the rest. auto: as many as differ.
        out: A sound, a video, or for --all-sources a new folder.
        rate: Sample rate of a wav: the model's, or the video's own.
        full_band: Go on above the model's frequencies, at the video's own rate.
        partition: With --all-sources: nothing else sounds. They get all of the mixture.
        cache: Keep the nets' outputs beside the video. The next time is faster.
    """
    from ..listening import export as s
    from ..listening.clusters import SILENT_SHARE
    from ..listening.regions import check_partition, on_grid
    from ..listening.scene import Scene
    from ..toy.render import is_solo
    from ..training.checkpoint import load_model, read_clips
    from ..untrusted import printable

    # What is wrong with the options, before any work
    s.check_out(out, folder=all_sources is not None)
    if partition and all_sources is None:
        raise SopError("--partition goes with --all-sources: one region would get everything")
    model = load_model(ckpt, device)
    if partition:
        check_partition(model.config)
    cells = []
    if pixel:
        cells = [on_grid(pixel, model.config.grid)]
    elif box:
        cells = _cells(box, video, model.config.grid)
    scene = Scene.from_video(model, video, cache)
    learned = s.learned_from(read_clips(ckpt), is_solo)
    # Separate and write
    how = {"source_rate": rate == "source", "full_band": full_band}
    if all_sources is not None:
        count = all_sources or None
        table = s.write_all(scene, video, count, out, partition=partition, learned=learned, **how)
        for name, share in zip(table.name, table.share, strict=True):
            print(f"{name:<20} {share:6.1%} of the energy")
        print(f"tracks and maps: {printable(out)}")
        return
    share = s.write(scene, video, cells, out, **how)
    silent = "; so the file is silent" if share < SILENT_SHARE else ""
    seconds = len(scene.mixture) / scene.rate
    print(printable(f"{out}: {seconds:.1f} s, {s.told(share, learned)}{silent}"))


def _cells(box: tuple[int, ...], video: Path, grid: tuple[int, int]) -> list[tuple[int, int]]:
    """The cells of a box in pixels of the video."""
    from ..listening.regions import cells_in
    from ..media.stream import stream

    # At 100 frames a second even the shortest video has a first one.
    parts = stream(video, 100, 8_000, max_side=None)
    first = next((part for kind, part in parts if kind == "frame"), None)
    if first is None:
        raise SopError(f"{video}: no picture while there is sound")
    h, w = first.shape[:2]
    try:
        return cells_in((box[0] / w, box[1] / h, box[2] / w, box[3] / h), grid)
    except SopError:
        raise SopError(
            f"--box {','.join(map(str, box))}: expected X0,Y0,X1,Y1 with X0 < X1 and Y0 < Y1, "
            f"some of it within the {w} x {h} pixels of {video}"
        ) from None
