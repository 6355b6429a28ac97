"""How fast videos become clips, compared with `ffmpeg` for the frames, then `ffmpeg` for the sound.

    python benchmarks/preprocess.py [VIDEOS] [--repeat 3] [--jobs 1 2]

VIDEOS is a folder <label>/<id>.mp4 of your own; a clip of 90 s at 640 x 360, 25 fps, is made beside
it. Both ways give the same: 8 frames a second with a short side of 256 pixels, and mono mp3 at
11,025 Hz. They take turns, and use one core each.
"""

import argparse
import resource
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import joblib
import numpy as np

from sop_core.data import preprocess
from sop_core.media.write import write_video

SECONDS, SIZE, FPS = 90, (360, 640), 25


def long_clip(path: Path) -> None:
    """Smooth noise that drifts, with a melody of beeps."""
    rng = np.random.default_rng(0)
    wide = rng.integers(0, 255, (SIZE[0] // 8, SIZE[1] // 4, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    wide = np.apply_along_axis(lambda x: np.convolve(x, np.ones(9) / 9, "same"), 1, wide)

    def frames():
        for k in range(SECONDS * FPS):
            x = int((wide.shape[1] - SIZE[1]) * (0.5 - 0.5 * np.cos(k / 300)))
            noise = rng.integers(-6, 7, (SIZE[0] // 4, SIZE[1] // 4, 1)).repeat(4, 0).repeat(4, 1)
            yield (wide[:, x : x + SIZE[1]] + noise).clip(0, 255).astype(np.uint8)

    t = np.arange(SECONDS * 44_100) / 44_100
    sound = 0.4 * np.sin(2 * np.pi * (300 + 50 * np.floor(4 * t) % 700) * t) * (1 - 4 * t % 1)
    write_video(path, frames(), FPS, sound.astype(np.float32), 44_100)


def ffmpeg() -> str:
    """The system's, or the one that imageio-ffmpeg brings (the extra `collect`)."""
    if found := shutil.which("ffmpeg"):
        return found
    import imageio_ffmpeg

    return imageio_ffmpeg.get_ffmpeg_exe()


def plain(videos: Path, out: Path) -> None:
    short = "fps=8,scale='if(gt(iw,ih),-2,min(256,iw))':'if(gt(iw,ih),min(256,ih),-2)'"
    for video in sorted(videos.glob("*/*")):
        frames = out / "frames" / video.parent.name / video.name
        sound = out / "audio" / video.parent.name
        frames.mkdir(parents=True)
        sound.mkdir(parents=True, exist_ok=True)
        run = [ffmpeg(), "-v", "error", "-threads", "1", "-filter_threads", "1", "-i", str(video)]
        picture = ["-vf", short, "-q:v", "3", "-threads", "1"]
        subprocess.run([*run, *picture, str(frames / "%06d.jpg")], check=True)
        mono = ["-vn", "-ac", "1", "-ar", "11025", "-threads", "1"]
        subprocess.run([*run, *mono, str(sound / f"{video.stem}.mp3")], check=True)


def ours(jobs: int) -> Callable[[Path, Path], None]:
    return lambda videos, out: preprocess.preprocess(videos, out, jobs=jobs, progress=False)


def timed(road: Callable[[Path, Path], None], videos: Path) -> tuple[float, float]:
    """(seconds on the clock, seconds of processors) of one run into a new folder."""

    def spent() -> float:
        uses = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(u.ru_utime + u.ru_stime for u in uses)

    with tempfile.TemporaryDirectory() as folder:
        began, used = time.perf_counter(), spent()
        road(videos, Path(folder) / "d")
        return time.perf_counter() - began, spent() - used


def memory(videos: Path) -> float:
    """The most that the process grew by while it worked, in MB."""
    page, most, stop = resource.getpagesize(), [0], threading.Event()

    def size() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * page

    def watch() -> None:
        while not stop.wait(0.01):
            most[0] = max(most[0], size())

    before, watcher = size(), threading.Thread(target=watch)
    watcher.start()
    timed(ours(1), videos)
    stop.set(), watcher.join()
    return (most[0] - before) / 1e6


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("videos", type=Path, nargs="?", metavar="VIDEOS")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--jobs", type=int, nargs="+", default=[1, joblib.cpu_count()])
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        long, double = Path(folder) / "long", Path(folder) / "double"
        long_clip(long / "x" / "0.mp4")
        sets = {f"a clip of {SECONDS} s, 640 x 360": long}
        if args.videos:
            sets[str(args.videos)] = args.videos
        for name, videos in sets.items():
            roads = {"ffmpeg, twice": plain, "sop_core": ours(1)}
            best = dict.fromkeys(roads, (np.inf, np.inf))
            for _ in range(args.repeat):
                for road, work in roads.items():
                    best[road] = tuple(map(min, best[road], timed(work, videos)))
            count = len(list(videos.glob("*/*")))
            print(f"\n{name}: {count} video(s), the best of {args.repeat} runs")
            for road, (wall, used) in best.items():
                print(f"  {road:<15}{wall:>7.2f} s on the clock {used:>7.2f} s of one core")
            ratio = best["ffmpeg, twice"][1] / best["sop_core"][1]
            print(f"  ffmpeg / sop_core: {ratio:.2f} times the core's seconds")
        (double / "x").mkdir(parents=True)
        shutil.copy(long / "x" / "0.mp4", double / "x")
        for n in range(1, 4):
            (double / "x" / f"{n}.mp4").symlink_to(double / "x" / "0.mp4")
        print("\n4 of the long clip:", flush=True)
        for jobs in args.jobs:
            timed(ours(jobs), long)  # processes that are there already
            seconds, _ = timed(ours(jobs), double)
            print(f"  {jobs} process(es): {seconds:.2f} s on the clock", flush=True)
        print(f"\nmemory while it works: {memory(long):.0f} MB for {SECONDS} s", end="", flush=True)
        small = (SIZE[0] // 2, SIZE[1] // 2, 3)
        grey = (np.full(small, k % 255, np.uint8) for k in range(600 * FPS))
        write_video(long / "x" / "1.mp4", grey, FPS, np.zeros(600 * 44_100, np.float32), 44_100)
        (long / "x" / "0.mp4").unlink()
        print(f", {memory(long):.0f} MB for 600 s")


if __name__ == "__main__":
    main()
