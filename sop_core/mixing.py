"""Mix and separate: clips -> mixtures whose parts are known.

A mixture is N parts, each a clip and the sample its window starts at. Training draws mixtures without end from a seed;
an evaluation reads them from a manifest, so that everybody measures the same ones. No label is used to draw either.
"""

import csv
import hashlib
import math
import random
import warnings
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor
from torch.utils.data import Dataset

from . import media
from .config import SILENCE, AnyPath, Config
from .errors import SopError
from .index import Clip, noted_fps
from .untrusted import cell, from_cell


class Part(NamedTuple):
    clip: Clip
    start: int  # samples


Mixture = tuple[Part, ...]
ATTEMPTS = 10  # mixtures in a row that can't be read: then it's no longer this or that file


class Draw(NamedTuple):
    """How one mixture is to be read."""

    mixture: Mixture
    rng: Generator | None = None  # of its augmentation; None for none
    together: bool = False  # its pictures stand side by side in one
    look: int = 0  # of the pictures side by side that were looked at beforehand: which one (`Looked`)


class Looked(Protocol):
    """What a frozen backbone saw beforehand (`looks.Looks`)."""

    def alone(self, clip: int, look: int) -> np.ndarray:
        """One of the looks at a clip. Shape: float16 (C, H, W)"""

    def side_by_side(self, clip: int, look: int) -> np.ndarray:
        """One of the pictures in which a clip is the first. Shape: float16 (C, H, W)"""


class Mixtures(Dataset):
    """Mixtures as tensors, one a number; adding up, light, STFT and warp are left to the device.

    `sounds` float32 (N, L) before they are added up; `frames` uint8 (N, V, 3, image, image); `light` float32 (N, 3), what
    their colours are to be multiplied with (`lit`); `names`, whose they are; `skipped`, which files could not be read, a line each.
    Training's have `cells` bool (N, H, W), where in its picture each source is asked for (with `together`); `noise` float32 (L,)
    (with `noise`); and `seen` float16 (N, V, C, H, W) instead of frames and light, where they were looked at beforehand.
    """

    config: Config

    def draw(self, i: int, attempt: int = 0) -> Draw:
        """How mixture i is to be read; another one where `attempt` is another."""
        raise NotImplementedError

    def read(self, draw: Draw) -> dict[str, np.ndarray]:
        """The arrays of one mixture. Raises SopError where a file can't be read."""
        sounds = np.stack([hear(part, self.config, draw.rng) for part in draw.mixture])
        if self.config.mixture == "mean":
            sounds /= len(sounds)
        return {"sounds": sounds, **self.pictures(draw)}

    def pictures(self, draw: Draw) -> dict[str, np.ndarray]:
        """What is to be seen of a mixture."""
        frames, light = zip(*(see(part, self.config, draw.rng) for part in draw.mixture), strict=True)
        return {"frames": np.stack(frames), "light": np.stack(light)}

    def __getitem__(self, i: int) -> dict[str, Tensor | str]:
        if not 0 <= i < len(self):
            raise IndexError(i)
        skipped = []
        while len(skipped) < ATTEMPTS:
            draw = self.draw(i, len(skipped))
            try:
                arrays = self.read(draw)
            except SopError as e:
                if draw.rng is None:  # an evaluation's mixtures are what they are
                    raise
                skipped.append(str(e))
                continue
            names = " + ".join(part.clip.name for part in draw.mixture)
            return {k: torch.from_numpy(v) for k, v in arrays.items()} | {"skipped": "\n".join(skipped), "names": names}
        raise SopError(f"{ATTEMPTS} mixtures in a row could not be read; the last: {skipped[-1]}")


class Listed(Mixtures):
    """The mixtures of a manifest, with no augmentation. One that can't be read raises SopError."""

    def __init__(self, mixtures: list[Mixture], config: Config):
        self.mixtures, self.config = mixtures, config

    def __len__(self) -> int:
        return len(self.mixtures)

    def draw(self, i: int, attempt: int = 0) -> Draw:
        return Draw(self.mixtures[i])


class Training(Mixtures):
    """Training's endless mixtures, `epochs * epoch_size` of them: number i is the same at any number of workers.

    Its first part goes through all clips in a new order each round; the others are any other videos. In a share of
    `silence` the last one is a silent scene, if there are any: its mask should be empty, so that a pixel which shows
    nothing learns to sound like nothing. In a share of `together` the pictures stand side by side in one, as in a duet, and in
    a share of `noise` there is noise that no picture shows. Clips whose sound can't be opened are named by a warning and left
    out; a mixture of which a file turns out to be broken is drawn anew, and says so. Its `config` is the given
    one's `training`.
    Raises SopError where there are fewer videos than sources, or a clip is shorter than a window.
    """

    def __init__(self, clips: list[Clip], config: Config):
        config = self.config = config.training
        self.lengths, self.turn = check(clips, config, leave_out=True), None
        self.sounding, self.silent = ([c for c in self.lengths if (c.label == SILENCE) is s] for s in (False, True))
        self.numbers = {clip: i for i, clip in enumerate([*self.sounding, *self.silent])}
        self.looked: Looked | None = None  # set by who has looked beforehand

    def __len__(self) -> int:
        return self.config.epochs * self.config.epoch_size

    def draw(self, i: int, attempt: int = 0) -> Draw:
        config, clips = self.config, self.sounding
        rng = np.random.default_rng([config.seed, 2, i, attempt] if attempt else [config.seed, 2, i])
        turn, place = divmod(i, len(clips))
        if turn != self.turn:  # an order of 200,000 clips takes its time
            self.turn, self.order = turn, np.random.default_rng([config.seed, 1, turn]).permutation(len(clips))
        first = int(rng.integers(len(clips)) if attempt else self.order[place])
        if config.together and rng.random() < config.together:
            if not self.looked:
                return Draw(self.mixture(first, rng), rng, together=True)
            look = int(rng.integers(together_looks(config)))
            parts = self.mixture(first, self.of_look(first, look))
            return Draw(tuple(self.part(p.clip, rng) for p in parts), rng, together=True, look=look)
        parts = self.mixture(first, rng)
        if self.silent and rng.random() < config.silence:
            parts = (*parts[:-1], self.part(self.silent[rng.integers(len(self.silent))], rng))
        return Draw(parts, rng)

    def part(self, clip: Clip, rng: Generator) -> Part:
        """A window of a clip."""
        return _part(clip, self.lengths, self.config, rng)

    def mixture(self, first: int, rng: Generator) -> Mixture:
        """The sounding clip `first` and others that `rng` draws."""
        return _mixture(self.sounding, self.lengths, self.config, rng, first)

    def of_look(self, clip: int, look: int, together: bool = True) -> Generator:
        """What draws a look at a clip: its partners where pictures stand `together`, then frame, crop and light of each."""
        return np.random.default_rng([self.config.seed, 6 if together else 5, clip, look])

    def read(self, draw: Draw) -> dict[str, np.ndarray]:
        arrays, config = super().read(draw), self.config
        if config.together or self.looked:
            n = len(draw.mixture)
            arrays["cells"] = shares(n, config.grid) if draw.together else np.ones((n, *config.grid), bool)
        if config.noise:
            some = draw.rng.random() < config.noise
            arrays["noise"] = _noise(arrays["sounds"], draw.rng) if some else np.zeros_like(arrays["sounds"][0])
        return arrays

    def pictures(self, draw: Draw) -> dict[str, np.ndarray]:
        if self.looked:
            return {"seen": self._seen(draw)}
        if not draw.together:
            return super().pictures(draw)
        one = side_by_side([see(part, self.config, draw.rng) for part in draw.mixture], self.config)
        light = np.ones((len(draw.mixture), 3), np.float32)
        return {"frames": np.broadcast_to(one, (len(light), *one.shape)).copy(), "light": light}

    def _seen(self, draw: Draw) -> np.ndarray:
        """What was seen beforehand of a mixture's pictures. Shape: float16 (N, V, C, H, W)"""
        clips = [self.numbers[part.clip] for part in draw.mixture]
        if draw.together:
            one = self.looked.side_by_side(clips[0], draw.look)
            seen = np.broadcast_to(one, (len(clips), self.config.frames, *one.shape)).copy()
        else:
            looks = draw.rng.integers(self.config.looks, size=(len(clips), self.config.frames))
            seen = np.stack([[self.looked.alone(c, k) for k in mine] for c, mine in zip(clips, looks, strict=True)])
        if np.isnan(seen[:, :, 0, 0, 0]).any():
            names = " + ".join(part.clip.name for part in draw.mixture)
            raise SopError(f"{names}: a picture could not be read when it was looked at")
        return seen


def together_looks(config: Config) -> int:
    """Pictures side by side in which each clip is the first, of those that are looked at beforehand."""
    return max(1, round(config.looks * config.together)) if config.together else 0


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
    """Length of each clip's sound in samples, or SopError: too few videos, a short clip, a wrong rate of samples or frames.

    A clip may be shorter than a window by what decoders differ by (`media.CODEC_FRAMES`); a window is silent there.
    A sound that can't be opened raises too, or with `leave_out` is named by a warning and left out.
    """
    same_fps(clips, config)
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


def same_fps(clips: Iterable[Clip], config: Config) -> None:
    """Raises SopError where a data folder notes (`preprocess.json`) that its frames are not at the config's rate."""
    for data in {folder for clip in clips for folder in clip.frames.absolute().parents[2:3]}:
        fps = noted_fps(data)
        if fps is not None and not math.isclose(fps, config.fps, rel_tol=1e-4):
            raise SopError(
                f"{data}: its frames are {fps:g} a second (preprocess.json), the config {config.name} expects {config.fps:g}; "
                f"preprocess with --fps {config.fps:g}, or train a model with --set fps={fps:g}"
            )


def load(part: Part, config: Config, rng: Generator | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A part's window of sound, its frames, and the light they are to be seen in (`hear`, `see`); with `rng`, augmented."""
    return hear(part, config, rng), *see(part, config, rng)


def hear(part: Part, config: Config, rng: Generator | None = None) -> np.ndarray:
    """A part's window of sound; with `rng`, louder or softer. Shape: float32 (L,)"""
    sound = media.read_sound(part.clip.sound, part.start, config.samples, missing=_missing(config))
    if config.clips == "published":
        sound = np.clip(sound if rng is None else np.float32(rng.uniform(0.5, 1.5)) * sound, -1, 1)
        sound[-1] = 0  # the released loader takes twice half a window
    elif rng is not None:
        sound = np.float32(config.gain ** rng.uniform(-1, 1)) * sound
    return sound


def see(part: Part, config: Config, rng: Generator | None = None) -> tuple[np.ndarray, np.ndarray]:
    """A part's frames, and the light they are to be seen in; with `rng`, augmented.

    Shape: uint8 (V, 3, image, image), float32 (3,)
    """
    size, box, light = (config.image, config.image), None, np.ones(3, np.float32)
    if config.clips == "published":
        box = _published_crop(media.frame_size(part.clip.frames), rng)
    elif rng is not None:
        box = _crop(media.frame_size(part.clip.frames), config.crop, rng)
    indices = frame_indices(part.start, part.clip.n_frames, config)
    frames = media.read_frames(part.clip.frames, indices, size, box)  # (V, image, image, 3)
    if rng is not None and rng.random() < 0.5:
        frames = frames[:, :, ::-1]
    if rng is not None and config.clips != "published":
        light = np.float32(rng.uniform(0.7, 1.3) * rng.uniform(0.85, 1.15, 3))  # brightness, and a tint
    return np.ascontiguousarray(frames.transpose(0, 3, 1, 2)), light


def _edges(count: int, columns: int) -> list[int]:
    """Columns of the grid at which each of `count` that stand side by side begins, and the end."""
    return [round(n * columns / count) for n in range(count + 1)]


def shares(count: int, grid: tuple[int, int]) -> np.ndarray:
    """Which cells of a picture belong to each of `count` that stand side by side in it. Shape: bool (count, H, W)"""
    edges, columns = _edges(count, grid[1]), np.arange(grid[1])
    mine = [(a <= columns) & (columns < b) for a, b in zip(edges, edges[1:], strict=False)]
    return np.stack([np.broadcast_to(m, grid) for m in mine])


def side_by_side(pictures: list[tuple[np.ndarray, np.ndarray]], config: Config) -> np.ndarray:
    """Several sources' frames, each in its light, in one picture, from left to right (`shares`), as a duet is filmed.

    Shape: N times what `see` gives -> uint8 (V, 3, image, image)
    """
    width = config.grid[1]
    edges = [round(edge * config.image / width) for edge in _edges(len(pictures), width)]
    strips = []
    for (frames, light), a, b in zip(pictures, edges, edges[1:], strict=False):
        bright = np.clip(frames * light[:, None, None], 0, 255).astype(np.uint8)
        strips.append(media.resize(bright.transpose(0, 2, 3, 1), (b - a, config.image)))
    return np.concatenate(strips, 2).transpose(0, 3, 1, 2)


def _noise(sounds: np.ndarray, rng: Generator) -> np.ndarray:
    """Noise between white and brown, 15 dB softer to 12 dB louder than the mixture's sources are. Shape: (N, L) -> (L,)"""
    size = sounds.shape[1]
    spectrum = rng.standard_normal((2, size // 2 + 1)) * np.linspace(1e-3, 1, size // 2 + 1) ** -rng.uniform(0, 1.2)
    noise = np.fft.irfft(spectrum[0] + 1j * spectrum[1], size)
    level = np.sqrt(np.square(sounds).mean()) * 10 ** (rng.uniform(-15, 12) / 20)
    return np.float32(noise * level / np.sqrt(np.square(noise).mean()))


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

    Raises SopError where the frames are at another rate, and naming the row where one can't be read, names a clip that the index
    hasn't, or mixes a video with itself (but where the config says `pairs=published`).
    """
    same_fps(clips, config)
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
