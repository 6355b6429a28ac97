"""How fast a large data set is indexed, read and checked, and in how much memory.

    python benchmarks/index.py [--clips 200000] [--frames 10] [--dir FOLDER]

Makes a tree like VGGSound's in FOLDER: 309 labels, and one small sound and one small jpg, linked
as often as needed.
"""

import argparse
import os
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import simplejpeg

from sop_core.data.clips import read_index
from sop_core.data.splits import build_index
from sop_core.media.jpgs import frame_path
from sop_core.media.sound import sound_writer


def make_tree(data: Path, clips: int, frames: int) -> None:
    sound, jpg = data / "one.mp3", data / "one.jpg"
    with sound_writer(sound, 11_025) as write:
        write(np.zeros(11_025, np.float32))
    jpg.write_bytes(simplejpeg.encode_jpeg(np.zeros((8, 8, 3), np.uint8)))
    for c in range(clips):
        label, id_ = f"label_{c % 309}", f"{c:011d}_{c % 300:06d}"
        folder = data / "frames" / label / f"{id_}.mp4"
        os.makedirs(folder)  # noqa: PTH103
        os.makedirs(data / "audio" / label, exist_ok=True)  # noqa: PTH103
        # a file can have 65,000 names at most
        if c % 3_000 == 0:
            source = [p.with_name(f"{c}{p.suffix}") for p in (sound, jpg)]
            for new, old in zip(source, (sound, jpg), strict=True):
                new.write_bytes(old.read_bytes())
        os.link(source[0], data / "audio" / label / f"{id_}.mp3")
        for k in range(frames):
            os.link(source[1], frame_path(folder, k))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=int, default=200_000)
    parser.add_argument("--frames", type=int, default=10)
    parser.add_argument("--dir", type=Path, default=None)
    args = parser.parse_args()

    def clock(name: str, work):
        began = time.perf_counter()
        result = work()
        seconds = time.perf_counter() - began
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        speed = f"{seconds:>8.2f} s{args.clips / seconds:>12,.0f} clips a second"
        print(f"{name:<24}{speed}   {memory:>5.0f} MB at most", flush=True)
        return result

    with tempfile.TemporaryDirectory(dir=args.dir) as folder:
        data = Path(folder) / "data"
        data.mkdir()
        clock("make the tree", lambda: make_tree(data, args.clips, args.frames))
        paths = clock("build_index", lambda: build_index(data))
        for _ in range(3):
            clips = clock("read_index", lambda: read_index(paths["all"]))
        assert len(clips) == args.clips


if __name__ == "__main__":
    main()
