"""How fast clips become training batches, compared with plain libraries.

The plain way decodes all of the mp3, resizes by Pillow, and computes three STFTs an item.

    python benchmarks/loader.py [--clips 8] [--seconds 15] [--workers 0 1 2]

Makes a set like MUSIC in a temporary folder (90 s mp3 at 11,025 Hz, 720 jpgs of about 23 KB a
clip), then draws mixtures of two (3 frames of 224 x 224 and 65,535 samples each) in both ways, in
turns, in one run.
"""

import argparse
import io
import tempfile
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median

import librosa
import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from sop_core.config import MUSIC
from sop_core.data.clips import Clip
from sop_core.media.jpgs import frame_path, read_frames
from sop_core.media.sound import SOUND_KINDS, read_sound, sound_writer
from sop_core.training.mixtures import Training
from sop_core.training.windows import frame_indices, read_window

# both ways read the same pictures, each of them alone
PAPER = replace(MUSIC, looks=0, together=0.0, noise=0.0)
SECONDS, JPG = 90, 23_000  # of sound a clip, bytes a frame


def make_clips(data: Path, count: int, rate: int = MUSIC.rate) -> list[Clip]:
    """Clips of smooth noise: what they show doesn't matter, how large their files are does."""
    rng = np.random.default_rng(0)
    clips = []
    for c in range(count):
        sound, frames = data / "audio" / "x" / f"{c}.mp3", data / "frames" / "x" / f"{c}.mp4"
        frames.mkdir(parents=True)
        sound.parent.mkdir(parents=True, exist_ok=True)
        wave = np.cumsum(rng.normal(size=SECONDS * rate))
        wave -= np.convolve(wave, np.ones(200) / 200, "same")
        for kind in SOUND_KINDS:
            with sound_writer(sound.with_suffix(f".{kind}"), rate) as write:
                write((0.5 * wave / abs(wave).max()).astype(np.float32))
        wide = Image.fromarray(rng.integers(0, 255, (80, 900, 3), np.uint8)).resize((5120, 455))
        quality = None
        for k in range(int(SECONDS * MUSIC.fps)):
            x = int(k * (5120 - 455) / (SECONDS * MUSIC.fps))
            picture = wide.crop((x, 0, x + 455, 256))
            quality = quality or next(q for q in range(98, 5, -1) if _size(picture, q) < JPG)
            picture.save(frame_path(frames, k), quality=quality)
        clips.append(Clip(sound, frames, int(SECONDS * MUSIC.fps)))
    return clips


def _size(picture: Image.Image, quality: int) -> int:
    out = io.BytesIO()
    picture.save(out, "jpeg", quality=quality)
    return out.tell()


class Plain(Dataset):
    """What the published loader does for one item, with today's libraries."""

    def __init__(self, data: Training):
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, i: int) -> dict[str, torch.Tensor]:
        config, mixture = PAPER, self.data.draw(i).mixture
        sounds, frames = [], []
        for clip, start in mixture:
            whole, _ = librosa.load(clip.sound, sr=None, mono=True)
            sounds.append(whole[start : start + config.samples])
            for k in frame_indices(start, clip.n_frames, config):
                with Image.open(frame_path(clip.frames, int(k))) as picture:
                    size = (config.image, config.image)
                    small = picture.convert("RGB").resize(size, Image.Resampling.BILINEAR)
                frames.append(torch.from_numpy(np.array(small)).permute(2, 0, 1).float() / 255)
        sounds.append(np.mean(sounds, axis=0))  # the mixture
        specs = [librosa.stft(s, n_fft=config.n_fft, hop_length=config.hop) for s in sounds]
        return {"mags": torch.from_numpy(np.abs(np.stack(specs))), "frames": torch.stack(frames)}


def rate(data: Dataset, workers: int, seconds: float) -> float:
    """Mixtures a second, after the first two batches."""
    loader = DataLoader(data, 4, num_workers=workers, persistent_workers=False)
    done, began = 0, 0.0
    for n, _ in enumerate(loader):
        if n == 1:
            began = time.perf_counter()
        elif n > 1:
            done += 4
            if time.perf_counter() - began > seconds and n > 4:
                break
    return done / (time.perf_counter() - began)


def breakdown(data: Training) -> dict[str, float]:
    """Milliseconds a mixture, by part, each alone in this process."""
    config = PAPER
    parts = [part for i in range(40) for part in data.draw(i).mixture]
    size, times = (config.image, config.image), {}

    def clock(name: str, work) -> None:
        spent = []
        for part in parts:
            began = time.perf_counter()
            work(part)
            spent.append(time.perf_counter() - began)
        times[name] = 2e3 * median(spent)  # two parts a mixture

    def indices(part):
        return frame_indices(part.start, part.clip.n_frames, config)

    clock("whole part, augmented", lambda p: read_window(p, config, np.random.default_rng(0)))

    def window(part, kind: str):
        return read_sound(part.clip.sound.with_suffix(f".{kind}"), part.start, config.samples)

    for kind in SOUND_KINDS:
        clock(f"window of {kind}", partial(window, kind=kind))
    clock("frames, decoded only", lambda p: read_frames(p.clip.frames, indices(p)))
    clock("frames, decoded and resized", lambda p: read_frames(p.clip.frames, indices(p), size))
    return times


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--clips", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=15, help="of each measurement")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    args = parser.parse_args()
    torch.set_num_threads(1)  # as in a worker
    with tempfile.TemporaryDirectory() as folder:
        clips = make_clips(Path(folder), args.clips)
        sizes = [p.stat().st_size for c in clips for p in c.frames.iterdir()]
        mp3 = np.mean([c.sound.stat().st_size for c in clips])
        print(f"{len(clips)} clips: {np.mean(sizes) / 1e3:.1f} KB a jpg,", end=" ")
        print(f"{mp3 / 1e3:.0f} KB an mp3 of {SECONDS} s\n")
        data = Training(clips, PAPER)
        head = f"{'workers':<10}{'plain':>10}{'sop_core':>10}{'ratio':>8}"
        print(f"{head}   (mixtures of two a second)")
        for workers in args.workers:
            plain, ours = (rate(d, workers, args.seconds) for d in (Plain(data), data))
            print(f"{workers:<10}{plain:>10.1f}{ours:>10.1f}{ours / plain:>8.1f}", flush=True)
        print()
        for name, ms in breakdown(data).items():
            print(f"{name:<30}{ms:>8.2f} ms a mixture")


if __name__ == "__main__":
    main()
