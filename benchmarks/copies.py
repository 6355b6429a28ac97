"""How fast copies are found among many clips, and in how much memory.

    python benchmarks/copies.py [--clips 5000 10000 20000] [--made 40] [--dir FOLDER]

Fingerprints are made of MADE clips of 10 s (mp3, 80 pictures of 320 x 240), by one process. Then
pairs are proposed among CLIPS imagined clips, of which one in a hundred is a copy that keeps a
third of its landmarks.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import simplejpeg
from PIL import Image

from sop_core.data.clips import Candidate, candidates
from sop_core.data.fingerprints import MOMENTS, Fingerprint, fingerprint, landmarks
from sop_core.data.matching import likely_shifts, propose
from sop_core.media.jpgs import frame_path
from sop_core.media.sound import sound_writer

RATE, SECONDS, FPS = 11_025, 10, 8
PEAKS = 150  # of 10 s: as many landmarks as music has


def make_clips(data: Path, count: int, rng: np.random.Generator) -> list[Candidate]:
    t = np.arange(RATE // 4) / RATE
    for n in range(count):
        sound = np.concatenate(
            [
                0.2 * np.sin(2 * np.pi * hz * t + np.sin(2 * np.pi * hz * t)) * np.exp(-4 * t)
                for hz in rng.uniform(200, 1_500, SECONDS * 4)
            ]
        )
        path = data / "audio" / "a" / f"{n}.mp3"
        path.parent.mkdir(parents=True, exist_ok=True)
        with sound_writer(path, RATE) as write:
            write(sound.astype(np.float32))
        folder = data / "frames" / "a" / f"{n}.mp4"
        folder.mkdir(parents=True)
        small = Image.fromarray(rng.integers(0, 256, (24, 32, 3), np.uint8))
        picture = np.asarray(small.resize((320, 240), Image.Resampling.BICUBIC))
        for k in range(SECONDS * FPS):
            moved = np.ascontiguousarray(np.roll(picture, 3 * k, axis=1))
            frame_path(folder, k).write_bytes(simplejpeg.encode_jpeg(moved))
    return candidates(data)


def imagined(count: int, rng: np.random.Generator) -> list[Fingerprint]:
    """Fingerprints of clips whose peaks are at the pitches of a scale, most of them low."""
    scale = np.round(8 * 2 ** (np.arange(60) / 12)).astype(int)
    weights = np.exp(-np.arange(60) / 25)
    pictures = np.zeros((MOMENTS, 2), np.uint64)
    prints = []
    for n in range(count):
        if n % 100 == 99:
            one = prints[int(rng.integers(n))]
            kept = rng.random(len(one.landmarks)) < 1 / 3
            prints.append(Fingerprint(one.landmarks[kept], one.times[kept], pictures, 0.0))
            continue
        t = np.sort(rng.integers(0, SECONDS * RATE // 256, PEAKS))
        f = rng.choice(scale, PEAKS, p=weights / weights.sum())
        prints.append(Fingerprint(*landmarks(t, f), pictures, 0.0))
    return prints


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=int, nargs="+", default=[5_000, 10_000, 20_000])
    parser.add_argument("--made", type=int, default=40)
    parser.add_argument("--dir", type=Path, default=None)
    args = parser.parse_args()
    rng = np.random.default_rng(0)

    with tempfile.TemporaryDirectory(dir=args.dir) as folder:
        clips = make_clips(Path(folder), args.made, rng)
        fingerprint(clips[0])  # imports scipy
        began, worked = time.perf_counter(), time.process_time()
        made = [fingerprint(clip) for clip in clips]
        seconds, busy = time.perf_counter() - began, time.process_time() - worked
    size = sum(sum(part.nbytes for part in one[:3]) for one in made) / len(made)
    print(
        f"fingerprints: {len(made) / seconds:.1f} clips a second, {len(made) / busy:.1f} in a "
        f"second of one core; {np.mean([len(one.landmarks) for one in made]):.0f} landmarks and "
        f"{size / 1e3:.1f} kB each",
        flush=True,
    )
    for count in sorted(args.clips):
        prints = imagined(count, rng)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        began = time.process_time()
        pairs = propose(prints)
        proposed = time.process_time()
        likely = [(a, b) for a, b in pairs if likely_shifts(prints[a], prints[b])]
        done = time.process_time()
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        copies = len({b for _, b in likely if b % 100 == 99})
        print(
            f"{count:>8,} clips: {proposed - began:>6.1f} s of one core for {len(pairs):,} pairs, "
            f"{done - proposed:>6.1f} s for the {len(likely):,} likely ones; {copies:,} of "
            f"{count // 100:,} copies; {before:,.0f} MB before, {most:,.0f} MB at most",
            flush=True,
        )


if __name__ == "__main__":
    main()
