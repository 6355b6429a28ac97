"""Mix and separate: clips -> mixtures whose sources are known.

Training draws mixtures without end from a seed; an evaluation reads them from a manifest (see
`pairs`). No label is used to draw training's.
"""

from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor
from torch.utils.data import Dataset

from ..config import SILENCE_LABEL, Config
from ..data.clips import Clip
from ..errors import SopError
from ..media.jpgs import resize
from .windows import (
    Mixture,
    Part,
    check_clips,
    draw_gain,
    draw_window,
    window_frames,
    window_sound,
)

UNSEEN = 2  # most clips that sound in a mixture and have no picture (with `unseen`)
ATTEMPTS = 10  # mixtures in a row that can't be read: then it's no longer this or that file


class Listed(Dataset):
    """The mixtures of a manifest as tensors, without augmentation; a broken file raises SopError.

    An item has these keys:
        sounds: float32 (N, L), before they are added up
        frames: uint8 (N, V, 3, image, image)
        jitter: float32 (N, 3), the colour jitter by which `apply_jitter` multiplies frames
        names: of the clips that sound
        skipped: the files that could not be read, one a line
    """

    def __init__(self, mixtures: list[Mixture], config: Config):
        self.mixtures, self.config = mixtures, config

    def __len__(self) -> int:
        return len(self.mixtures)

    def __getitem__(self, i: int) -> dict[str, Tensor | str]:
        mixture = self.mixtures[i]
        arrays = pictures(mixture, self.config)
        return _item(mixture, {"sounds": sounds(mixture, self.config)} | arrays, [])


class Draw(NamedTuple):
    """What is drawn for one of training's mixtures, before its files are read."""

    mixture: Mixture
    rng: Generator  # of its augmentation
    together: bool = False  # its pictures are side by side in one
    look: int = 0  # number of the precomputed picture side by side (`Training.looked`)
    unseen: Mixture = ()  # what sounds, too, and isn't shown

    @property
    def heard(self) -> Mixture:
        """All that sounds, what is shown first."""
        return self.mixture + self.unseen


class Precomputed(Protocol):
    """The features of frames, computed before: `looks.Looks`."""

    @property
    def table(self) -> np.ndarray: ...


class Unread(NamedTuple):
    """What could not be read when a GPU took sounds and features into its memory (`resident`)."""

    sounds: dict[int, str]  # number of a clip -> why
    pictures: np.ndarray  # bool (clips, pictures)


class Training(Dataset):
    """Training's `epochs * epoch_size` mixtures; number i is the same at any number of workers.

    The first source goes through all clips, in a new order each round. The others are random clips
    of other videos and photos. Four numbers of the config say how often a mixture is special:
        silence: the last source is a silent scene, if there are any; its mask should be empty
        together: the pictures are side by side in one, as in a duet
        noise: there is noise that no picture shows
        unseen: one or two more clips sound that no picture shows
    A mixture with a broken file is drawn again, and `skipped` names the file.

    An item has the keys of `Listed`'s, and some more:
        unseen: float32 (UNSEEN, L), sounds of clips that aren't shown, or zeros (with `unseen`)
        cells: bool (N, H, W), the part of the picture where each source is (with `together`)
        noise: float32 (L,) (with `noise`)
        videos: int64 (M,), numbers of the sounds' videos (with `absent`). M is N, and with `unseen`
            N + UNSEEN; -1 where fewer clips sound
        seen: float16 (N, V, C, H, W), instead of frames and jitter: the features of frames, if
            they were computed before (`looked`)
    If a GPU holds sounds and features (`resident`), there are numbers instead of these two, and
    the noise has the level that it has relative to the sounds:
        clips, starts: int64 (M,), which window; gains: float32 (M,), how loud
        seen_of: int64 (N,), looks: int64 (N, V), which features

    Its `config` is the given one's `training`.
    Warns: of clips whose sound can't be opened, or is shorter than a window; they are left out.
    Raises: SopError where there are fewer videos than sources.
    """

    def __init__(self, clips: list[Clip], config: Config):
        config = self.config = config.training
        self.lengths = check_clips(clips, config, leave_out=True)
        self.sounding = [c for c in self.lengths if c.label != SILENCE_LABEL]
        self.silent = [c for c in self.lengths if c.label == SILENCE_LABEL]
        self.numbers = {clip: i for i, clip in enumerate([*self.sounding, *self.silent])}
        videos = {video: i for i, video in enumerate(dict.fromkeys(c.video for c in self.numbers))}
        self.videos = {clip: videos[clip.video] for clip in self.numbers}
        self.round = None
        self.looked: Precomputed | None = None
        self.resident: Unread | None = None

    def __len__(self) -> int:
        return self.config.epochs * self.config.epoch_size

    def __getitem__(self, i: int) -> dict[str, Tensor | str]:
        if not 0 <= i < len(self):
            raise IndexError(i)
        skipped: list[str] = []
        while len(skipped) < ATTEMPTS:
            draw = self.draw(i, len(skipped))
            try:
                return _item(draw.heard, self.read(draw), skipped)
            except SopError as e:
                skipped.append(str(e))
        raise SopError(f"{ATTEMPTS} mixtures in a row could not be read; the last: {skipped[-1]}")

    def draw(self, i: int, attempt: int = 0) -> Draw:
        """Draw mixture i. Another `attempt` gives another mixture."""
        config, clips = self.config, self.sounding
        seed = [config.seed, 2, i]
        rng = np.random.default_rng([*seed, attempt] if attempt else seed)
        # The first source, by this round's order. It is kept: 200,000 clips take long to permute.
        turn, place = divmod(i, len(clips))
        if turn != self.round:
            self.round = turn
            self.order = np.random.default_rng([config.seed, 1, turn]).permutation(len(clips))
        first = int(rng.integers(len(clips)) if attempt else self.order[place])
        # Pictures side by side. Precomputed ones show certain clips: these are mixed.
        look = 0
        together = config.together > 0 and rng.random() < config.together
        if together and self.looked:
            look = int(rng.integers(together_looks(config)))
            parts = self.mixture(first, self.of_look(first, look))
            parts = tuple(self.part(p.clip, rng) for p in parts)  # other windows of the same clips
        else:
            parts = self.mixture(first, rng)
        # Each picture by itself, perhaps with a silent scene
        if not together and self.silent and rng.random() < config.silence:
            parts = (*parts[:-1], self.part(self.silent[rng.integers(len(self.silent))], rng))
        return Draw(parts, rng, together, look, self.unseen(parts, rng))

    def unseen(self, shown: Mixture, rng: Generator) -> Mixture:
        """What sounds beside a mixture's sources and isn't shown: mostly nothing."""
        if not self.config.unseen or rng.random() >= self.config.unseen:
            return ()
        chosen = [part.clip for part in shown]
        for _ in range(rng.integers(1, UNSEEN + 1)):
            clip = another(self.sounding, chosen, rng)
            if clip is None:
                break
            chosen.append(clip)
        return tuple(self.part(clip, rng) for clip in chosen[len(shown) :])

    def part(self, clip: Clip, rng: Generator) -> Part:
        """A random window of a clip."""
        return draw_window(clip, self.lengths[clip], self.config, rng)

    def mixture(self, first: int, rng: Generator) -> Mixture:
        """The sounding clip `first` with others that `rng` draws."""
        return draw_mixture(self.sounding, self.lengths, self.config, rng, first)

    def of_look(self, clip: int, look: int, together: bool = True) -> Generator:
        """The generator of a precomputed picture.

        It draws the other clips (if `together`), then frame, crop and jitter of each.
        """
        return np.random.default_rng([self.config.seed, 6 if together else 5, clip, look])

    def read(self, draw: Draw) -> dict[str, np.ndarray]:
        """The arrays of one mixture. Raises SopError where a file can't be read."""
        config, rng = self.config, draw.rng
        n = len(draw.mixture)
        if self.resident:
            arrays = self._numbers(draw, self.resident)  # a GPU has the rest
        else:
            heard = _padded(sounds(draw.heard, config, rng), config)
            arrays = {"sounds": heard[:n]} | ({"unseen": heard[n:]} if config.unseen else {})
            if self.looked:
                arrays["seen"] = self._seen(draw, self.looked)
            else:
                arrays |= pictures(draw.mixture, config, rng, draw.together)
        if config.absent:
            videos = np.array([self.videos[part.clip] for part in draw.heard])
            arrays["videos"] = _padded(videos, config, -1)
        if config.together or self.looked:
            everywhere = np.ones((n, *config.grid), bool)
            arrays["cells"] = strip_cells(n, config.grid) if draw.together else everywhere
        if config.noise:
            noise = np.zeros(config.samples, np.float32)
            if rng.random() < config.noise:
                noise = draw_noise(config.samples, rng)
                if not self.resident:
                    noise *= np.sqrt(np.square(arrays["sounds"]).mean())
            arrays["noise"] = noise
        return arrays

    def _numbers(self, draw: Draw, unread: Unread) -> dict[str, np.ndarray]:
        """Which windows and which features, for a GPU that holds them."""
        count = len(draw.heard) if self.config.mixture == "mean" else 1
        gains = [draw_gain(self.config, draw.rng) / np.float32(count) for _ in draw.heard]
        clips = [self.numbers[part.clip] for part in draw.heard]
        seen_of, looks = self._looks(draw)
        for clip in clips:
            if clip in unread.sounds:
                raise SopError(unread.sounds[clip])
        if unread.pictures[seen_of[:, None], looks].any():
            raise self._blind(draw)
        starts = [part.start for part in draw.heard]
        arrays = {"clips": np.array(clips), "starts": np.array(starts), "gains": np.array(gains)}
        arrays = {key: _padded(array, self.config) for key, array in arrays.items()}
        return arrays | {"seen_of": seen_of, "looks": looks}

    def _seen(self, draw: Draw, looked: Precomputed) -> np.ndarray:
        """Precomputed features of a mixture's frames. Shape: float16 (N, V, C, H, W)"""
        chosen = zip(*self._looks(draw), strict=True)
        seen = np.stack([[looked.table[clip, k] for k in row] for clip, row in chosen])
        if np.isnan(seen[:, :, 0, 0, 0]).any():
            raise self._blind(draw)
        return seen

    def _looks(self, draw: Draw) -> tuple[np.ndarray, np.ndarray]:
        """Clips and numbers of the precomputed pictures that show a mixture's sources.

        Shape: int64 (N,), (N, V)
        """
        clips = np.array([self.numbers[part.clip] for part in draw.mixture])
        size = (len(clips), self.config.frames)
        if draw.together:
            return np.full_like(clips, clips[0]), np.full(size, self.config.looks + draw.look)
        return clips, draw.rng.integers(self.config.looks, size=size)

    @staticmethod
    def _blind(draw: Draw) -> SopError:
        what = "a picture could not be read when it was looked at"
        return SopError(f"{_names(draw.mixture)}: {what}")


def together_looks(config: Config) -> int:
    """Number of precomputed pictures side by side in which each clip is the first."""
    return max(1, round(config.looks * config.together)) if config.together else 0


def _padded(array: np.ndarray, config: Config, value: float = 0) -> np.ndarray:
    """With `unseen`, N + UNSEEN rows for each mixture: `value` where no clip is. Shape: (M, ...)"""
    missing = config.sources + UNSEEN - len(array) if config.unseen else 0
    return np.pad(array, [(0, missing)] + [(0, 0)] * (array.ndim - 1), constant_values=value)


def _names(mixture: Mixture) -> str:
    return " + ".join(part.clip.name for part in mixture)


def _item(
    mixture: Mixture, arrays: dict[str, np.ndarray], skipped: list[str]
) -> dict[str, Tensor | str]:
    tensors = {key: torch.from_numpy(array) for key, array in arrays.items()}
    return tensors | {"skipped": "\n".join(skipped), "names": _names(mixture)}


# --- drawing a mixture


def draw_mixture(
    clips: list[Clip],
    lengths: dict[Clip, int],
    config: Config,
    rng: Generator,
    first: int,
    differ: bool = False,
) -> Mixture:
    """The clip `first` and random clips of other videos and photos, each from a random start.

    Args:
        lengths: of the clips' sounds, in samples (`windows.check_clips`).
        differ: their labels differ, too.
    Raises: SopError where there are too few clips of other videos (and photos, and labels).
    """
    chosen = [clips[first]]
    while len(chosen) < config.sources:
        clip = another(clips, chosen, rng, differ)
        if clip is None:
            kinds = {"video": True, "photo": chosen[0].photos, "label": differ}
            what = " and another ".join(kind for kind, counts in kinds.items() if counts)
            missing = f"to mix with {len(chosen)} of {config.sources}"
            raise SopError(f"{clips[first].name}: no clip of another {what} {missing}")
        chosen.append(clip)
    return tuple(draw_window(clip, lengths[clip], config, rng) for clip in chosen)


def another(
    clips: list[Clip], chosen: list[Clip], rng: Generator, differ: bool = False
) -> Clip | None:
    """A random clip of another video and photo than those `chosen`; None if there is none.

    With `differ` its label is another one, too.
    """

    def fits(clip: Clip) -> bool:
        same_label = differ and any(clip.label == other.label for other in chosen)
        return not same_label and all(map(clip.fits, chosen))

    tries = (clips[rng.integers(len(clips))] for _ in range(1_000))
    if clip := next(filter(fits, tries), None):
        return clip
    fitting = list(filter(fits, clips))  # few, or none
    return fitting[rng.integers(len(fitting))] if fitting else None


def draw_noise(size: int, rng: Generator) -> np.ndarray:
    """Noise between white and brown, 15 dB softer to 12 dB louder than sources of RMS 1.

    Shape: float32 (size,)
    """
    frequencies = np.linspace(1e-3, 1, size // 2 + 1)
    real, imaginary = rng.standard_normal((2, len(frequencies)))
    slope = frequencies ** -rng.uniform(0, 1.2)
    noise = np.fft.irfft((real + 1j * imaginary) * slope, size)
    level = 10 ** (rng.uniform(-15, 12) / 20)
    return (noise * level / np.sqrt(np.square(noise).mean())).astype(np.float32)


# --- reading a mixture


def sounds(mixture: Mixture, config: Config, rng: Generator | None = None) -> np.ndarray:
    """The sounds of a mixture's sources, which add up to the mixture. Shape: float32 (N, L)"""
    stems = np.stack([window_sound(part, config, rng) for part in mixture])
    if config.mixture == "mean":
        stems /= len(stems)
    return stems


def pictures(
    mixture: Mixture, config: Config, rng: Generator | None = None, together: bool = False
) -> dict[str, np.ndarray]:
    """The frames of a mixture's sources and their colour jitter.

    Args:
        together: all sources have the same frames, which show them side by side.
    """
    parts = [window_frames(part, config, rng) for part in mixture]
    if together:
        one = side_by_side(parts, config)
        parts = [(one, np.ones(3, np.float32))] * len(parts)
    frames, jitter = zip(*parts, strict=True)
    return {"frames": np.stack(frames), "jitter": np.stack(jitter)}


def apply_jitter(frames: Tensor, jitter: Tensor) -> Tensor:
    """Frames times their colour jitter, still 0 to 255.

    Shape: uint8 (B, N, V, 3, h, w), (B, N, 3) -> float32 (B, N, V, 3, h, w)
    """
    return (frames * jitter[:, :, None, :, None, None]).clamp_(max=255)


def _edges(count: int, columns: int) -> list[int]:
    """Columns of the grid at which each of `count` pictures side by side begins, and the end."""
    return [round(n * columns / count) for n in range(count + 1)]


def strip_cells(count: int, grid: tuple[int, int]) -> np.ndarray:
    """The cells of each of `count` sources in a picture that shows them side by side.

    Shape: bool (count, H, W)
    """
    cells = np.zeros((count, *grid), bool)
    edges = _edges(count, grid[1])
    for n in range(count):
        cells[n, :, edges[n] : edges[n + 1]] = True
    return cells


def side_by_side(pictures: list[tuple[np.ndarray, np.ndarray]], config: Config) -> np.ndarray:
    """Put several sources' frames, with their colour jitter, into one picture, from left to right.

    Shape: N times what `window_frames` gives -> uint8 (V, 3, image, image)
    """
    columns = config.grid[1]
    edges = [round(edge * config.image / columns) for edge in _edges(len(pictures), columns)]
    strips = []
    for n, (frames, jitter) in enumerate(pictures):
        bright = np.clip(frames * jitter[:, None, None], 0, 255).astype(np.uint8)
        strips.append(resize(bright.transpose(0, 2, 3, 1), (edges[n + 1] - edges[n], config.image)))
    return np.concatenate(strips, 2).transpose(0, 3, 1, 2)
