"""A tiny world whose answers are obvious: red squares sound low, blue squares sound high."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile
import torch
from PIL import Image

from sop_core.config import DEMO
from sop_core.data.clips import Clip
from sop_core.media.write import write_video
from sop_core.model.model import SoundOfPixels

SHARED = Path(os.environ.get("SOP_SHARED", Path(__file__).parents[2] / "shared"))

# The settings of `data/demo_weights`. `make weights` trains with DEMO: then it is that.
SHIPPED = replace(DEMO, absent=0.5)  # its weight did not rise then

# One window is 0.74 s, T = 32; the grid is 4 x 4. Small enough to train in seconds.
SETTINGS = {
    "precision": "fp32",  # `auto` is bf16 on some chips: the same numbers on all
    "name": "tiny", "samples": "8191", "train_samples": "0", "bins": "32",
    "image": "32", "stride": "2", "sound_width": "4", "frame_width": "8", "channels": "4",
    "pool": "0", "batch": "4", "epoch_size": "8", "epochs": "2", "val_pairs": "4", "workers": "0",
    "backbone": "resnet18", "frame_groups": "3", "frame_dilation": "false", "frame_stride": "8",
    "pretrained": "false", "together": "0", "noise": "0", "unseen": "0", "absent": "0",
    "lr_fc": "4e-4", "lr_frame": "4e-4",
}  # fmt: skip
TINY = DEMO.override(SETTINGS)
# The same with a pretrained image net. 64 pixels, so that the grid is 4 x 4 as well.
PRETRAINED = {
    "backbone": DEMO.backbone, "pretrained": "true", "image": "64", "frame_stride": "16",
    "frame_groups": "4", "frame_width": "64", "looks": "3", "together": "0.5", "noise": "0.2",
    "pool": "0.25",
}  # fmt: skip
SEEING = DEMO.override(SETTINGS | PRETRAINED)
TONES = {"red": 440.0, "blue": 1_760.0}  # Hz: what each colour sounds like
COLOURS = {"red": (220, 30, 30), "blue": (30, 60, 220)}


def write_clip(
    data: Path, label: str, number: int, seconds: float = 3.0, silent: bool = False
) -> Clip:
    """A clip of a coloured square that sounds as a tone with harmonics; its loudness varies.

    With the label `silence` there is no square and no tone: an empty room.
    """
    name = f"{label}_{number}"
    rng = np.random.default_rng([number, len(label)])
    rate = DEMO.rate
    t = np.arange(int(seconds * rate)) / rate
    wave = sum(np.sin(2 * np.pi * k * TONES.get(label, 0.0) * t) / k for k in (1, 2))
    wave = wave * (1.2 + np.sin(2 * np.pi * rng.uniform(1, 3) * t))
    sound = data / "audio" / label / f"{name}.flac"
    frames = data / "frames" / label / f"{name}.mp4"
    sound.parent.mkdir(parents=True, exist_ok=True)
    frames.mkdir(parents=True, exist_ok=True)
    soundfile.write(sound, (0 if silent else 0.1) * wave, rate)
    # not square, so that a transposed axis shows
    picture = np.full((60, 80, 3), rng.integers(60, 160), np.uint8)
    y, x = rng.integers(5, 25), rng.integers(5, 45)
    if label in COLOURS:
        picture[y : y + 30, x : x + 30] = COLOURS[label]
    count = int(seconds * DEMO.fps)
    for k in range(count):
        Image.fromarray(picture).save(frames / f"{k + 1:06d}.jpg")
    return Clip(sound, frames, count)


class Eyes(SoundOfPixels):
    """A model whose answer is known: red lets low bins through, blue high ones."""

    def visual_features(self, frames):
        colour = frames.float().amax(1)  # (B, 3, h, w)
        contrast = colour[:, [0, 2]] - colour[:, [2, 0]]  # red, blue
        pooled = torch.nn.functional.adaptive_max_pool2d(contrast, (4, 4))
        grid = torch.full((len(frames), 4, 4, self.config.channels), -9.0)
        grid[..., :2] = pooled.movedim(1, -1) / 5 - 15
        return grid

    def feature_maps(self, spec):
        images = torch.zeros(len(spec), self.config.channels, self.config.bins, spec.shape[-1])
        cut = 20  # between 1 320 and 1 760 Hz, on TINY's 32 log-frequency bins
        images[:, 0, :cut] = images[:, 1, cut:] = 15
        images[:, 0, cut:] = images[:, 1, :cut] = -15
        return images


class Seeing(Eyes):
    """Its backbone gives how red a cell is, and how blue; so does each name's mean."""

    def look(self, frames):
        colours = frames.float()  # (B, V, 3, h, w)
        contrast = colours[:, :, [0, 2]] - colours[:, :, [2, 0]]
        pooled = torch.nn.functional.adaptive_max_pool2d(contrast.flatten(0, 1), (4, 4))
        return pooled.unflatten(0, frames.shape[:2])

    def project(self, seen):
        grid = torch.full((len(seen), 4, 4, self.config.channels), -9.0)
        grid[..., :2] = seen.amax(1).movedim(1, -1) / 5 - 15
        return grid


def write_film(
    path: Path, seconds: float = 6.0, rate: int = 11_025, air: float = 0.0, walk: bool = False
) -> Path:
    """A video of a red square on the left (440 Hz) and a blue one on the right (1760 Hz).

    `air`: the blue one's part above 6 kHz. `walk`: the squares change sides in the middle.
    """
    t, fps = np.arange(round(seconds * rate)) / rate, DEMO.fps
    red, blue = (0.2 * np.sin(2 * np.pi * hertz * t) for hertz in TONES.values())
    high = air * np.sin(2 * np.pi * 9_000 * t) if air else 0
    frames = np.full((round(seconds * fps), 60, 80, 3), 90, np.uint8)
    for k, frame in enumerate(frames):
        sides = (45, 5) if walk and k >= len(frames) / 2 else (5, 45)
        for colour, x in zip(COLOURS.values(), sides, strict=True):
            frame[15:45, x : x + 30] = colour
    write_video(path, frames, fps, (red + blue + high).astype(np.float32), rate)
    return path
