"""Mix and separate: clips -> mixtures whose parts are known.

A mixture is N parts, each a clip and the sample its window starts at. Training draws mixtures without end from a seed;
an evaluation reads them from a manifest, so that everybody measures the same ones. No label is used to draw either.
"""

import csv
import hashlib
import random
import warnings
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor
from torch.utils.data import Dataset

from . import media
from .config import SILENCE, AnyPath, Config
from .errors import SopError
from .index import Clip
from .untrusted import cell, from_cell


class Part(NamedTuple):
    clip: Clip
    start: int  # samples


Mixture = tuple[Part, ...]
ATTEMPTS = 10  # mixtures in a row that can't be read: then it's no longer this or that file


class Mixtures(Dataset):
    """Mixtures as tensors, one a number; adding up, light, STFT and warp are left to the device.

    `sounds` float32 (N, L) before they are added up; `frames` uint8 (N, V, 3, image, image); `light` float32 (N, 3), what
    their colours are to be multiplied with (`lit`); `names`, whose they are; `skipped`, which files could not be read, a line each.
    """

    config: Config

    def draw(self, i: int, attempt: int = 0) -> tuple[Mixture, Generator | None]:
        """Mixture i and the generator of its augmentation (None for none); another one where `attempt` is another."""
        raise NotImplementedError

    def __getitem__(self, i: int) -> dict[str, Tensor | str]:
        if not 0 <= i < len(self):
            raise IndexError(i)
        skipped = []
        while len(skipped) < ATTEMPTS:
            mixture, rng = self.draw(i, len(skipped))
            try:
                sounds, frames, light = zip(*(load(part, self.config, rng) for part in mixture), strict=True)
                if self.config.mixture == "mean":
                    sounds = [sound / len(sounds) for sound in sounds]
            except SopError as e:
                if rng is None:  # an evaluation's mixtures are what they are
                    raise
                skipped.append(str(e))
            else:
                arrays = {"sounds": sounds, "frames": frames, "light": light}
                return {k: torch.from_numpy(np.stack(v)) for k, v in arrays.items()} | {
                    "skipped": "\n".join(skipped), "names": " + ".join(part.clip.name for part in mixture)
                }  # fmt: skip
        raise SopError(f"{ATTEMPTS} mixtures in a row could not be read; the last: {skipped[-1]}")


class Listed(Mixtures):
    """The mixtures of a manifest, with no augmentation. One that can't be read raises SopError."""

    def __init__(self, mixtures: list[Mixture], config: Config):
        self.mixtures, self.config = mixtures, config

    def __len__(self) -> int:
        return len(self.mixtures)

    def draw(self, i: int, attempt: int = 0) -> tuple[Mixture, None]:
        return self.mixtures[i], None


class Training(Mixtures):
    """Training's endless mixtures, `epochs * epoch_size` of them: number i is the same at any number of workers.

    Its first part goes through all clips in a new order each round; the others are any other videos. In a share of
    `silence` the last one is a silent scene, if there are any: its mask should be empty, so that a pixel which shows
    nothing learns to sound like nothing. Clips whose sound can't be opened are named by a warning and left out; a mixture
    of which a file turns out to be broken is drawn anew, and says so.
    Raises SopError where there are fewer videos than sources, or a clip is shorter than a window.
    """

    def __init__(self, clips: list[Clip], config: Config):
        self.config, self.lengths, self.turn = config, check(clips, config, leave_out=True), None
        self.sounding, self.silent = ([c for c in self.lengths if (c.label == SILENCE) is s] for s in (False, True))

    def __len__(self) -> int:
        return self.config.epochs * self.config.epoch_size

    def draw(self, i: int, attempt: int = 0) -> tuple[Mixture, Generator]:
        config, clips = self.config, self.sounding
        rng = np.random.default_rng([config.seed, 2, i, attempt] if attempt else [config.seed, 2, i])
        turn, place = divmod(i, len(clips))
        if turn != self.turn:  # an order of 200,000 clips takes its time
            self.turn, self.order = turn, np.random.default_rng([config.seed, 1, turn]).permutation(len(clips))
        first = rng.integers(len(clips)) if attempt else self.order[place]
        parts = _mixture(clips, self.lengths, config, rng, int(first))
        if self.silent and rng.random() < config.silence:
            parts = (*parts[:-1], _part(self.silent[rng.integers(len(self.silent))], self.lengths, config, rng))
        return parts, rng


def lit(frames: Tensor, light: Tensor) -> Tensor:
    """Frames in another light. Shape: uint8 (B, N, V, 3, h, w), (B, N, 3) -> float32 (B, N, V, 3, h, w), still 0..255"""
    return (frames * light[:, :, None, :, None, None]).clamp_(max=255)


def draw_pairs(clips: list[Clip], count: int, config: Config, labels: str = "any") -> list[Mixture]:
    """`count` mixtures for an evaluation, seeded; `labels="different"` keeps to mixtures of N different instruments.

    No video is mixed with itself, no silent scene is used, and every clip is the first part about equally often (with
    `pairs=published`: see `_published_pairs`). Raises SopError as `Training` does, or where there are fewer labels than sources.
    """
    clips = [c for c in clips if c.label != SILENCE]
    lengths = check(clips, config)
    if config.pairs == "published":
        if labels != "any":
            raise SopError(
                f"mixtures of {labels} labels with pairs=published, which draws by number alone; leave --labels out"
            )
        return _published_pairs(clips, lengths, count, config)
    if labels == "different" and len({c.label for c in clips}) < config.sources:
        raise SopError(
            f"{len({c.label for c in clips})} label(s) for mixtures of {config.sources} different instruments"
        )
    order = np.concatenate(
        [
            np.random.default_rng([config.seed, 3, turn]).permutation(len(clips))
            for turn in range(-(-count // len(clips)))
        ]
    )
    return [
        _mixture(
            clips, lengths, config, np.random.default_rng([config.seed, 4, i]), int(order[i]), labels == "different"
        )
        for i in range(count)
    ]


def _published_pairs(clips: list[Clip], lengths: dict[Clip, int], count: int, config: Config) -> list[Mixture]:
    """The released code's: the first `count` clips, each with others that a generator seeded by its number draws among them.

    A clip may meet itself; every window is the middle of its clip. Source: dataset/music.py of the released code.
    """
    clips, mixtures = clips[:count], []
    for i, clip in enumerate(clips):
        rng = random.Random(i)
        others = [clips[rng.randint(0, len(clips) - 1)] for _ in range(config.sources - 1)]
        mixtures.append(tuple(_middle(c, lengths[c], config) for c in (clip, *others)))
    return mixtures


def _middle(clip: Clip, samples: int, config: Config) -> Part:
    """The window round the middle frame of a clip, as the released code cuts it (within the clip's sound)."""
    middle = int((clip.n_frames // 2 - 0.5) / config.fps * config.rate)
    return Part(clip, max(0, min(middle - config.samples // 2, samples - config.samples)))


def _mixture(clips, lengths, config: Config, rng: Generator, first: int, differ: bool = False) -> Mixture:
    """The clip `first` and random others of other videos (and other labels), each with a random start."""
    chosen = [first]

    def fits(i: int) -> bool:
        others = [clips[j] for j in chosen]
        return all(clips[i].video != o.video and not (differ and clips[i].label == o.label) for o in others)

    while len(chosen) < config.sources:
        i = next((i for i in map(int, (rng.integers(len(clips)) for _ in range(1_000))) if fits(i)), None)
        if i is None:  # few fit, or none
            fitting = [i for i in range(len(clips)) if fits(i)]
            if not fitting:
                what = "video and another label" if differ else "video"
                raise SopError(
                    f"{clips[first].name}: no clip of another {what} to mix with {len(chosen)} of {config.sources}"
                )
            i = fitting[int(rng.integers(len(fitting)))]
        chosen.append(i)
    return tuple(_part(clips[j], lengths, config, rng) for j in chosen)


def _part(clip: Clip, lengths: dict[Clip, int], config: Config, rng: Generator) -> Part:
    last = max(0, lengths[clip] - config.samples)
    if config.clips == "published":  # no nearer to the ends than 8 s, where the clip is long enough
        margin = max(int(8 * config.rate) - config.samples // 2, 0)
        first, last = (margin, last - margin) if last >= 2 * margin else (last // 2, last // 2)
        return Part(clip, int(rng.integers(first, last + 1)))
    return Part(clip, int(rng.integers(last + 1)))


def check(clips: list[Clip], config: Config, leave_out: bool = False) -> dict[Clip, int]:
    """Length of each clip's sound in samples, or SopError: too few videos, a short clip, a wrong sample rate.

    A clip may be shorter than a window by what decoders differ by (`media.CODEC_FRAMES`); a window is silent there.
    A sound that can't be opened raises too, or with `leave_out` is named by a warning and left out.
    """
    lengths = {}
    for row, clip in enumerate(clips, 1):
        try:
            samples, rate = media.sound_length(clip.sound)
        except SopError as e:
            if not leave_out:
                raise
            warnings.warn(f"{e}; left out", stacklevel=2)
            continue
        same_rate(f"row {row} ({clip.name})", rate, config)
        if samples + _missing(config) < config.samples:
            raise SopError(
                f"row {row} ({clip.name}): {samples / rate:.2f} s of sound, needs {config.seconds:.2f} s ({config.samples:,} "
                f"samples at {rate:,} Hz); index with --min-frames {int(np.ceil(config.seconds * config.fps))}"
            )
        lengths[clip] = samples
    videos = len({c.video for c in lengths if c.label != SILENCE})
    if videos < config.sources:
        raise SopError(f"{videos} video(s) that sound in the index, a mixture needs {config.sources} different ones")
    return lengths


def _missing(config: Config) -> int:
    """Samples by which a window may reach beyond its sound: another decoder may have given as many more."""
    return int(media.CODEC_FRAMES * config.rate)


def same_rate(where: str, rate: int, config: Config) -> None:
    """Raises SopError where a sound is not at the config's rate."""
    if rate != config.rate:
        raise SopError(f"{where}: sound at {rate} Hz, expected {config.rate}; preprocess with --rate {config.rate}")


def load(part: Part, config: Config, rng: Generator | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A part's window of sound, its frames, and the light they are to be seen in; with `rng`, augmented.

    Shape: float32 (L,), uint8 (V, 3, image, image), float32 (3,).
    """
    sound = media.read_sound(part.clip.sound, part.start, config.samples, missing=_missing(config))
    size, box, light = (config.image, config.image), None, np.ones(3, np.float32)
    if config.clips == "published":
        box = _published_crop(media.frame_size(part.clip.frames), rng)
    elif rng is not None:
        box = _crop(media.frame_size(part.clip.frames), config.crop, rng)
    indices = frame_indices(part.start, part.clip.n_frames, config)
    frames = media.read_frames(part.clip.frames, indices, size, box)  # (V, image, image, 3)
    if rng is not None and rng.random() < 0.5:
        frames = frames[:, :, ::-1]
    if config.clips == "published":
        sound = np.clip(sound if rng is None else np.float32(rng.uniform(0.5, 1.5)) * sound, -1, 1)
        sound[-1] = 0  # the released loader takes twice half a window
    elif rng is not None:
        light = np.float32(rng.uniform(0.7, 1.3) * rng.uniform(0.85, 1.15, 3))  # brightness, and a tint
        sound = np.float32(config.gain ** rng.uniform(-1, 1)) * sound
    return sound, np.ascontiguousarray(frames.transpose(0, 3, 1, 2)), light


def frame_indices(start: int, n_frames: int, config: Config) -> np.ndarray:
    """The V frames (0-based) round the middle of the window that starts at sample `start`, within the clip's own."""
    middle = (start + config.samples / 2) / config.rate * config.fps
    offsets = (np.arange(config.frames) - (config.frames - 1) / 2) * config.stride
    return np.floor(middle + offsets).astype(int).clip(0, n_frames - 1)


def _published_crop(size: tuple[int, int], rng: Generator | None) -> tuple[float, float, float, float]:
    """The released loader's box: a square as high as the picture's short side, in the middle; in training a 1.1th, anywhere."""
    side = min(size) / (1 if rng is None else 1.1)
    x, y = ((s - side) * (0.5 if rng is None else rng.random()) for s in size)
    return x, y, x + side, y + side


def _crop(size: tuple[int, int], least: float, rng: Generator) -> tuple[float, float, float, float]:
    """A random box (x0, y0, x1, y1) in pixels that keeps at least `least` of the picture's area, at any aspect."""
    share = rng.uniform(least, 1)
    width = rng.uniform(share, 1)  # share of the width; what is left of `share` is taken from the height
    w, h = size[0] * width, size[1] * share / width
    x, y = rng.uniform(0, size[0] - w), rng.uniform(0, size[1] - h)
    return x, y, x + w, y + h


# --- the manifest of an evaluation -----------------------------------------------------------------------------------


def write_pairs(path: AnyPath, mixtures: list[Mixture]) -> None:
    """A csv with one mixture a row: `clip,start,clip,start,...`; a clip is `label/id`, a start is in samples."""
    with media.whole(path) as tmp, tmp.open("w", newline="", encoding="utf-8", errors="surrogateescape") as f:
        csv.writer(f).writerows([cell(value) for value in row] for row in _rows(mixtures))


def read_pairs(path: AnyPath, clips: list[Clip], config: Config) -> list[Mixture]:
    """The mixtures of a manifest, of any numbers of sources; or those of a published list, whose rows are an index's columns
    (`AUDIO_PATH,FRAMES_PATH,NUMBER_FRAMES`) N times: its clips are known by the `label/id` that its paths end in, whatever
    folder they name, and give the middle of their sound.

    Raises SopError naming the row where one can't be read, names a clip that the index hasn't, or mixes a video with itself
    (but where the config says `pairs=published`).
    """
    known = {c.name: c for c in clips}
    try:
        with Path(path).open(newline="", encoding="utf-8-sig", errors="surrogateescape") as f:
            rows = list(csv.reader(f))
    except (OSError, csv.Error) as e:
        raise SopError(f"{path}: the manifest of pairs can't be read ({e})") from None
    mixtures = [_read_row(f"{path} row {n}", row, known, config) for n, row in enumerate(rows, 1) if row]
    if not mixtures:
        raise SopError(f"{path}: no pairs in the manifest")
    return mixtures


def _read_row(where: str, row: list[str], known: dict[str, Clip], config: Config) -> Mixture:
    if len(row) >= 4 and len(row) % 2 == 0 and all(_number(s) for s in row[1::2]):
        names, starts = [from_cell(name) for name in row[::2]], [int(s) for s in row[1::2]]
    elif len(row) >= 6 and len(row) % 3 == 0 and all(_number(s) for s in row[2::3]):
        sounds = [PurePosixPath(s.replace("\\", "/")) for s in row[::3]]
        names, starts = [f"{s.parent.name}/{s.stem}" for s in sounds], [None] * len(sounds)
    else:
        raise SopError(
            f"{where}: expected clip,start or AUDIO_PATH,FRAMES_PATH,NUMBER_FRAMES twice or more often, found {','.join(row)!r}"
        )
    if unknown := [name for name in names if name not in known]:
        raise SopError(f"{where}: {unknown[0]!r} is not in the index")
    parts = []
    for name, start in zip(names, starts, strict=True):
        samples, rate = media.sound_length(known[name].sound)
        same_rate(f"{where} ({name})", rate, config)
        part = Part(known[name], start) if start is not None else _middle(known[name], samples, config)
        if part.start + config.samples > samples + _missing(config) or part.start < 0:
            end = (max(part.start, 0) + config.samples) / rate
            raise SopError(f"{where} ({name}): {samples / rate:.2f} s of sound, the window ends at {end:.2f} s")
        parts.append(part)
    if repeats(parts) and config.pairs != "published":
        raise SopError(f"{where}: {' + '.join(names)} are of one video; a mixture needs different ones")
    return tuple(parts)


def _number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def repeats(mixture: Iterable[Part]) -> bool:
    """Whether two of a mixture's parts are of one video."""
    videos = [part.clip.video for part in mixture]
    return len(set(videos)) < len(videos)


def pairs_hash(mixtures: list[Mixture]) -> str:
    """Ten letters that name a manifest: the same pairs have the same ones on every machine."""
    text = "\n".join(",".join(map(str, row)) for row in _rows(mixtures))
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:10]


def _rows(mixtures: list[Mixture]) -> list[list]:
    return [[x for part in mixture for x in (part.clip.name, part.start)] for mixture in mixtures]
