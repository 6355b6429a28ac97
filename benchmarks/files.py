"""What becomes of files that people really have: each kind of container, and each kind of fault.

    python benchmarks/files.py [--out docs/files.csv]

Makes one file of each, runs preprocess on all of them (25 frames a second), and prints a table: how
many seconds of picture and sound together a file holds, and how many came out; by how many frames a
flash and its beep are apart, at worst; and what the report says.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from av.stream import Disposition

from sop_core.data.preprocess import preprocess
from sop_core.media.csvs import write_table
from sop_core.media.jpgs import read_frames
from sop_core.media.sound import read_sound

TESTS = Path(__file__).parents[1] / "tests"  # which have the files' makers
sys.path[:0] = [str(TESTS), str(TESTS / "media")]

from films import (  # noqa: E402
    KINDS,
    cut_short,
    film_of_kind,
    flash_and_beep,
    many_streams,
    no_table,
)
from test_clocks import FPS, film, gappy, moments, with_times  # noqa: E402

DEFAULT, NONE = Disposition.default, Disposition(0)
FLASHES = [1.0, 4.0, 7.0]
Make = Callable[[Path, Path], object]  # the file to make, a folder for its parts
Row = tuple[str, str, float, Make]  # its name, what it is, seconds that it holds, how to make it
APART = {  # when picture and sound begin, and when they end
    "late sound": ((0.0, 3.0), (8.0, 8.0)),
    "late picture": ((5.0, 0.0), (8.0, 8.0)),
    "short sound": ((0.0, 0.0), (8.0, 5.0)),
    "short picture": ((0.0, 0.0), (5.0, 8.0)),
}


def joined(path: Path, parts: Path) -> None:
    one = film(parts / "1.ts", 3.0, FLASHES[:1])
    two = film(parts / "2.ts", 2.0, FLASHES[:1], rate=22_050)
    path.write_bytes(one.read_bytes() + two.read_bytes())


def clock(path: Path, change: Callable[[int, float], int]) -> None:
    """`change`: ticks of 1 / 90,000 s, the place in the file from 0 to 1 -> ticks."""
    with_times(film(path, 8.0, FLASHES), lambda ticks, _, place: change(ticks, place))


def no_numbers(path: Path, parts: Path) -> None:
    film_of_kind(path, "mov", codecs=("mjpeg", "pcm_f32le"))
    silence, bad = bytes(8_000), np.full(2_000, np.nan, "<f4").tobytes()
    path.write_bytes(path.read_bytes().replace(silence, bad, 1))


def rows() -> list[Row]:
    def kind(ending: str) -> Make:
        return lambda path, _: film_of_kind(path, ending)

    def streams(pictures: list, sounds: list) -> Make:
        return lambda path, _: many_streams(path, pictures, sounds, at=2.0)

    def moved(maker: Callable[[Path], Path]) -> Make:
        return lambda path, parts: maker(parts).rename(path)

    def share(start: tuple, ends: tuple) -> float:
        return min(ends) - max(start)

    small, big = (1.0, (64, 64), 255), (4.0, (96, 160), 255)
    silent, loud = (4.0, 0), (4.0, 1000)
    uneven = np.concatenate([np.arange(0, 1, 0.02), np.arange(1, 3, 0.3), np.arange(3, 5, 0.05)])
    wrap, back = round(5.4 * 90_000), 1_000 * 90_000  # ticks
    return [
        *((f"kind.{k}", " and ".join(KINDS[k]), 2.0, kind(k)) for k in KINDS),
        ("thumbnail.mkv", "a thumbnail of 1 s first, marked as default", 4.0,
         streams([(small, DEFAULT), (big, NONE)], [(loud, DEFAULT)])),
        ("second sound.mkv", "silence first, the second sound marked as default", 4.0,
         streams([(big, DEFAULT)], [(silent, NONE), (loud, DEFAULT)])),
        ("joined.ts", "two recordings, each from 1.4 s, the second at 22,050 Hz", 5.0, joined),
        ("wrap.ts", "its 33-bit clock wraps after 4 s", 8.0,
         lambda path, _: clock(path, lambda ticks, _: ticks - wrap)),
        ("set back.ts", "its clock is set back by 1,000 s half way", 8.0,
         lambda path, _: clock(path, lambda ticks, place: ticks + back * (place < 0.5))),
        *(
            (f"{name}.{ending}", f"picture {start[0]:g} to {ends[0]:g} s, sound {start[1]:g} to "
             f"{ends[1]:g} s", share(start, ends),
             lambda path, _, a=start, b=ends: film(path, 8.0, FLASHES, a, b))
            for name, (start, ends) in APART.items()
            for ending in ("mp4", "mkv", "ts")
        ),
        ("b frames.avi", "h264 with B-frames in AVI", 8.0,
         lambda path, _: film(path, 8.0, FLASHES)),
        ("uneven.mp4", "a rate of pictures that changes", 5.0,
         lambda path, _: flash_and_beep(path, 3.0, 5.0, times=uneven)),
        ("no numbers.mov", "NaN in its sound", 2.0, no_numbers),
        ("gaps.mkv", "twelve gaps of 590 s", 6.0,
         lambda path, _: gappy(path, np.arange(12) * 590.0, 0.5)),
        ("8 hz.mkv", "sound at 8 Hz", 1.0, lambda path, _: gappy(path, [0, 1], 1, 8)),
        ("no table.mp4", "cut off before its table of contents", 0.0, moved(no_table)),
        ("cut short.mp4", "half of its bytes are missing", 0.0, moved(cut_short)),
        ("text.mp4", "text", 0.0, lambda path, _: path.write_text("I am a video\n" * 50)),
    ]  # fmt: skip


def apart_by(data: Path, name: str, frames: int) -> float | str:
    """Frames between a flash and its beep, at worst; "" where there is no flash."""
    shown = read_frames(data / "frames" / "x" / f"{name}.mp4", range(frames))
    flashes, beeps = moments(shown, read_sound(data / "audio" / "x" / f"{name}.wav"))
    if len(flashes) != len(beeps):
        return f"{len(flashes)} flashes, {len(beeps)} beeps"
    return round(float(abs(flashes - beeps).max() * FPS), 1) if len(flashes) else ""


def measure(folder: Path) -> pd.DataFrame:
    videos, parts = folder / "v" / "x", folder / "parts"
    videos.mkdir(parents=True)
    parts.mkdir()
    listed = rows()
    for name, _, _, make in listed:
        path = videos / name
        make(path.with_stem(f"{path.suffix[1:]} {path.stem}"), parts)
    how = {"audio_format": "wav", "jobs": 1, "progress": False}
    report = preprocess(folder / "v", folder / "d", fps=FPS, **how).set_index("id")
    told = []
    for name, what, holds, _ in listed:
        stem, suffix = Path(name).stem, Path(name).suffix[1:]
        row = report.loc[f"{suffix} {stem}"]
        made = row.status == "ok"
        told.append(
            {
                "file": name,
                "what": what,
                "holds_s": holds,
                "seconds": row.seconds if made else "",
                "frames": row.frames if made else "",
                "apart_frames": apart_by(folder / "d", row.name, row.frames) if made else "",
                "report": row.note if made else row.reason,
            }
        )
    return pd.DataFrame(told)


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--out", type=Path, metavar="CSV")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        table = measure(Path(folder))
    print(table.to_csv(index=False), end="")
    if args.out:
        write_table(args.out, table)


if __name__ == "__main__":
    main()
