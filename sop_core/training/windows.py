"""Windows of clips: whether clips can fill them, and how they are read and augmented.

A window is `config.samples` samples of a clip's sound, and the frames round its middle.
"""

import math
import warnings
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.random import Generator

from ..config import SILENCE_LABEL, Config
from ..data.check import noted_fps
from ..data.clips import Clip
from ..errors import SopError
from ..media.jpgs import frame_size, read_frames
from ..media.sound import CODEC_FRAMES, read_sound, sound_length
from . import published


class Part(NamedTuple):
    """One source of a mixture: the window of a clip that starts at sample `start`."""

    clip: Clip
    start: int


Mixture = tuple[Part, ...]


# --- reading


def read_window(
    part: Part, config: Config, rng: Generator | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A window's sound, frames and colour jitter; with `rng`, augmented."""
    return window_sound(part, config, rng), *window_frames(part, config, rng)


def window_sound(part: Part, config: Config, rng: Generator | None = None) -> np.ndarray:
    """A window's sound; with `rng`, made louder or softer. Shape: float32 (L,)"""
    sound = read_sound(part.clip.sound, part.start, config.samples, missing=may_miss(config))
    if config.clips == "published":
        return published.change_sound(sound, rng)
    return sound if rng is None else draw_gain(config, rng) * sound


def draw_gain(config: Config, rng: Generator) -> np.float32:
    """The factor by which training makes a source louder or softer."""
    return np.float32(config.gain ** rng.uniform(-1, 1))


def window_frames(
    part: Part, config: Config, rng: Generator | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """A window's frames, and the colour jitter by which `apply_jitter` multiplies them.

    With `rng` the frames are cropped and mirrored at random. Without it the jitter is 1.
    Shape: uint8 (V, 3, image, image), float32 (3,)
    """
    folder = part.clip.frames
    box = None
    jitter = np.ones(3, np.float32)
    if config.clips == "published":
        box = published.crop_box(frame_size(folder), rng)
    elif rng is not None:
        box = _crop_box(frame_size(folder), config.crop, rng)
    indices = frame_indices(part.start, part.clip.n_frames, config)
    frames = read_frames(folder, indices, (config.image, config.image), box)  # (V, image, image, 3)
    if rng is not None and rng.random() < 0.5:
        frames = frames[:, :, ::-1]
    if rng is not None and config.clips != "published":
        brightness, tint = rng.uniform(0.7, 1.3), rng.uniform(0.85, 1.15, 3)
        jitter = (brightness * tint).astype(np.float32)
    return np.ascontiguousarray(frames.transpose(0, 3, 1, 2)), jitter


def frame_indices(start: int, n_frames: int, config: Config) -> np.ndarray:
    """The V frames (from 0) round the middle of the window that starts at sample `start`."""
    middle = (start + config.samples / 2) / config.rate * config.fps
    offsets = (np.arange(config.frames) - (config.frames - 1) / 2) * config.stride
    return np.floor(middle + offsets).astype(int).clip(0, n_frames - 1)


def _crop_box(
    size: tuple[int, int], least: float, rng: Generator
) -> tuple[float, float, float, float]:
    """A random box (x0, y0, x1, y1), of any aspect, with at least the part `least` of the area."""
    area = rng.uniform(least, 1)
    width = rng.uniform(area, 1)  # the part of the picture's width; of its height: area / width
    w, h = size[0] * width, size[1] * area / width
    x, y = rng.uniform(0, size[0] - w), rng.uniform(0, size[1] - h)
    return x, y, x + w, y + h


def draw_window(clip: Clip, samples: int, config: Config, rng: Generator) -> Part:
    """A random window of a clip that has `samples` of sound."""
    last = max(0, samples - config.samples)
    first, last = published.start_range(last, config) if config.clips == "published" else (0, last)
    return Part(clip, int(rng.integers(first, last + 1)))


# --- checks


def check_clips(clips: list[Clip], config: Config, leave_out: bool = False) -> dict[Clip, int]:
    """Make sure that clips can be mixed.

    A clip may be shorter than a window by as much as decoders differ (`may_miss`).

    Args:
        leave_out: a sound that can't be opened or is too short is left out, with a warning (else
            it raises).
    Returns: the length of each clip's sound in samples.
    Raises: SopError on too few videos, a clip that is too short, a wrong rate of samples or frames.
    """
    same_fps(clips, config)
    lengths, short = {}, []
    for row, clip in enumerate(clips, 1):
        try:
            samples, rate = sound_length(clip.sound)
        except SopError as e:
            if not leave_out:
                raise
            warnings.warn(f"{e}; left out", stacklevel=2)
            continue
        where = f"row {row} ({clip.name})"
        same_rate(where, rate, config)
        if samples + may_miss(config) < config.samples:
            short.append(f"{where}: {samples / rate:.2f} s of sound")
        else:
            lengths[clip] = samples
    videos = len({c.video for c in lengths if c.label != SILENCE_LABEL})
    if short:
        # Frames round up: a clip of n may be half a frame shorter.
        frames = math.ceil((config.seconds - CODEC_FRAMES) * config.fps + 0.5)
        needs = f"{config.seconds:.2f} s ({config.samples:,} samples at {config.rate:,} Hz)"
        hint = f"index with --min-frames {frames}"
        if not leave_out or videos < config.sources:
            raise SopError(f"{short[0]}, needs {needs}; {hint}")
        what = f"{len(short)} of {len(clips)} clips are too short"
        warnings.warn(f"{what}; left out; the first is {short[0]}, needs {needs}", stacklevel=2)
    if videos < config.sources:
        needs = f"a mixture needs {config.sources} different ones"
        raise SopError(f"{videos} video(s) that sound in the index, {needs}")
    return lengths


def may_miss(config: Config) -> int:
    """Samples by which a window may reach beyond its sound: decoders differ by so many."""
    return int(CODEC_FRAMES * config.rate)


def same_rate(where: str, rate: int, config: Config) -> None:
    """Raise SopError where a sound is not at the config's rate."""
    if rate != config.rate:
        hint = f"preprocess with --rate {config.rate}"
        raise SopError(f"{where}: sound at {rate} Hz, expected {config.rate}; {hint}")


def same_fps(clips: Iterable[Clip], config: Config) -> None:
    """Raise SopError where a data folder notes that its frames are not at the config's rate."""
    for data in {folder for clip in clips for folder in clip.frames.absolute().parents[2:3]}:
        fps = noted_fps(data)
        if fps is not None and not math.isclose(fps, config.fps, rel_tol=1e-4):
            raise SopError(
                f"{data}: its frames are {fps:g} a second (preprocess.json), the config "
                f"{config.name} expects {config.fps:g}; preprocess with --fps {config.fps:g}, "
                f"or train a model with --set fps={fps:g}"
            )
