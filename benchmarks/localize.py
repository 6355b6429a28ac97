"""How fast a pixel is heard, and how much memory a long video takes.

    python benchmarks/localize.py [--seconds 6] [--model data/demo_weights] [--long 20]
    python benchmarks/localize.py --preset music

It measures three things:
    - all 14 x 14 sounds of a clip against 196 inverse STFTs by librosa, in turns; a second's pause
      before each turn, since the other's threads go on for a while
    - one click
    - one pixel from scratch, nets and all, of pictures and sound in memory

`--long`: instead, the peak memory of a whole scene, its energy map and one region's sound; for a
video of so many minutes, and for one of a tenth of it, each in a process of its own.
`--preset`: nets of that size, untrained. Their masks are never silent, so they are the slowest.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import librosa
import numpy as np
import torch

from sop_core.config import DEMO_WEIGHTS, PRESETS
from sop_core.listening.regions import SOFT_LEAST
from sop_core.listening.scene import Scene
from sop_core.media.stream import read_video
from sop_core.media.write import write_video
from sop_core.model.model import SoundOfPixels
from sop_core.toy.render import render_clip
from sop_core.training.checkpoint import load_model


def timed(work) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def clip(model: SoundOfPixels, seconds: float, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Pictures and sound of a duet of the toy orchestra."""
    video = render_clip(folder, ("cello", "trumpet"), k=0, seed=2027)
    return read_video(video, model.config.fps, model.config.rate, duration=seconds)


def speed(model: SoundOfPixels, seconds: float, turns: int) -> None:
    config, (rows, columns) = model.config, model.config.grid
    with tempfile.TemporaryDirectory() as folder:
        frames, sound = clip(model, seconds, Path(folder))
    cells = [[(r, c)] for r in range(rows) for c in range(columns)]
    scene = Scene(model, frames, sound)
    with torch.inference_mode():
        spec = model.stft(torch.from_numpy(scene.mixture))
        soft = model.warp.inverse(scene.masks(cells))
        weights = torch.where(soft > SOFT_LEAST, soft, 0)
        masked = (weights * spec).numpy()  # (196, F_linear, T): librosa gets masked spectrograms
    sizes = {"n_fft": config.n_fft, "hop_length": config.hop, "length": len(sound)}

    def by_librosa():
        return [librosa.istft(one, **sizes) for one in masked]

    ours, theirs = np.stack(scene.sounds(cells)), np.stack(by_librosa())
    audible = weights.any(1).float().mean()
    seconds = len(sound) / config.rate
    print(f"{len(cells)} sounds of {seconds:.2f} s, {audible:.0%} of their frames not silent; "
          f"largest difference from librosa {np.abs(ours - theirs).max():.1e}")  # fmt: skip
    times = {"librosa": [], "sop_core": []}
    for _ in range(turns):
        for name, work in (("librosa", by_librosa), ("sop_core", lambda: scene.sounds(cells))):
            time.sleep(1)
            work()  # threads are awake again
            times[name] += [timed(work) for _ in range(3)]
    medians = {name: np.median(t) for name, t in times.items()}
    for name, t in medians.items():
        print(f"  {name:<10} {1e3 * t:7.1f} ms")
    print(f"  {medians['librosa'] / medians['sop_core']:.1f} times as fast, masks and all")
    clicks = [timed(lambda i=i: scene.sound((i % rows, i // 2 % columns))) for i in range(30)]
    print(f"one click, median of 30: {1e3 * np.median(clicks):.1f} ms")

    def from_scratch(i: int) -> None:
        Scene(model, frames, sound).sound((i % rows, 3))

    scratch = [timed(lambda i=i: from_scratch(i)) for i in range(10)]
    print(f"one pixel from scratch, median of 10: {1e3 * np.median(scratch):.1f} ms")


def long_video(path: Path, minutes: float) -> Path:
    """A video of so many minutes: a clip of the toy orchestra over and over."""
    with tempfile.TemporaryDirectory() as folder:
        video = render_clip(Path(folder), ("cello", "trumpet"), k=0, seed=2027)
        frames, sound = read_video(video, 8, 11_025)
    times = round(60 * minutes / (len(sound) / 11_025))
    pictures = (frame for _ in range(times) for frame in frames)
    write_video(path, pictures, 8, (sound for _ in range(times)), 11_025)
    return path


def memory(arguments: list[str], minutes: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        peaks = []
        for length in (minutes / 10, minutes):
            video = long_video(Path(folder) / f"{length}.mp4", length)
            run = [sys.executable, __file__, *arguments, "--measure", str(video)]
            printed = subprocess.run(run, check=True, capture_output=True, text=True).stdout
            peaks.append(float(printed.splitlines()[-1]))
            print(f"{length:5.1f} minutes: peak memory {peaks[-1]:.0f} MB")
    print(f"{peaks[1] / peaks[0]:.2f} times the memory for 10 times the length")


def measure(model: SoundOfPixels, video: Path) -> None:
    """One process: all that `separate` does, and an energy map; prints its peak memory in MB."""
    scene = Scene.from_video(model, video)
    scene.energy()
    for _ in scene.pieces([[(7, 3), (7, 4)]], mode="shared"):
        pass
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--model", type=Path, default=DEMO_WEIGHTS)
    parser.add_argument("--preset", choices=PRESETS)
    parser.add_argument("--long", type=float, metavar="MINUTES")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.preset:
        nets = SoundOfPixels(PRESETS[args.preset].override({"pretrained": "false"})).eval()
    else:
        nets = load_model(args.model, "cpu")
    if args.measure:
        measure(nets, args.measure)
    elif args.long:
        which = ["--preset", args.preset] if args.preset else ["--model", str(args.model)]
        memory(which, args.long)
    else:
        speed(nets, args.seconds, args.turns)
