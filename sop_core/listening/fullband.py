"""Masks beyond the model's band, which ends at half the model's rate; a video's sound may go on.

Above the band, a region takes the share of the energy that it has in the band's highest octave.
The reason: an instrument that sounds in the highest octave has its overtones above it.
"""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor

from ..config import AnyPath
from ..errors import SopError
from ..media.sound import resampled
from ..media.stream import stream_sound
from ..media.survey import survey

if TYPE_CHECKING:
    from .scene import Scene


class OwnAudio(Protocol):
    """A video's own sound, as masks are applied to it; see `FullBandAudio`."""

    channels: int
    times: int
    rate: int
    n_fft: int
    hop: int

    def spec(self, first: int, last: int) -> Tensor:
        """STFT frames from `first` up to `last`. Shape: complex (C, T, F_linear)"""
        ...


class FullBandAudio:
    """A video's own sound, all of its channels, read once as a stream.

    It comes twice: as it is (`take`), and at a multiple of the model's rate (`spec`). The STFT
    frames of the latter are at the same moments as the model's and as long, so their lowest bins
    are the model's bins.

    Attributes:
        channels: 1 or 2
        own_rate: the sound's own rate, Hz
        begin: the scene's first sample, at `own_rate`
        times: `rate` divided by the model's rate, an integer
        rate, n_fft, hop: the config's, times `times`
    """

    def __init__(self, scene: "Scene", path: AnyPath):
        """Raises SopError if the file can't be read."""
        own, config = survey(path, scene.film.choice).rate, scene.config
        self.own_rate, self.device = own, scene.device
        self.times = max(1, math.ceil(own / config.rate))
        self.rate = config.rate * self.times
        self.n_fft = config.n_fft * self.times
        self.hop = config.hop * self.times
        # The scene's samples; a whole video has all that there are.
        first, last = (round(t * config.hop * own / config.rate) for t in (scene.first, scene.last))
        self.begin = first
        self.left = math.inf if scene.last == scene.feature_maps.length else last - first
        self.source: list[np.ndarray] = []  # read at `own_rate`, not taken yet
        parts = self._noted(stream_sound(path, own, None, scene.film.choice))
        self.parts = parts if own == self.rate else resampled(parts, own, self.rate)
        part = next(self.parts)
        self.channels = len(part)
        # The samples in memory; before them, `at` samples were dropped.
        self.held = [np.zeros((len(part), self.n_fft // 2), np.float32), part]
        self.at = 0

    def spec(self, first: int, last: int) -> Tensor:
        """STFT frames from `first` up to `last`; each call must begin after the one before.

        Shape: complex (C, T, F_linear). Raises SopError for frames that were dropped.
        """
        begin, end = first * self.hop, (last - 1) * self.hop + self.n_fft
        if begin < self.at:
            raise SopError("a FullBandAudio is read once, from its beginning on; make it anew")
        while self.at + sum(part.shape[1] for part in self.held) < end and self._read():
            while self.at + self.held[0].shape[1] <= begin and len(self.held) > 1:
                self.at += self.held.pop(0).shape[1]  # before the first frame
        held = np.concatenate(self.held, 1)[:, begin - self.at :].copy()
        self.held, self.at = [held], begin
        missing = max(0, end - begin - held.shape[1])
        piece = np.pad(held[:, : end - begin], ((0, 0), (0, missing)))
        frames = torch.from_numpy(piece).to(self.device).unfold(1, self.n_fft, self.hop)
        return torch.fft.rfft(frames * torch.hann_window(self.n_fft, device=self.device))

    def take(self, count: float) -> np.ndarray:
        """The scene's next samples, as they are; fewer where it ends. Shape: float32 (C, l)"""
        count = min(count, self.left)
        while sum(part.shape[1] for part in self.source) < count and self._read():
            pass
        source = np.concatenate(self.source, 1)
        end = int(min(count, source.shape[1]))
        self.source = [source[:, end:]]
        self.left -= end
        return source[:, :end]

    def _read(self) -> bool:
        """Read some more; whether there was any."""
        part = next(self.parts, None)
        if part is not None:
            self.held.append(part)
        return part is not None

    def _noted(self, parts: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        """Pass the sound on, and keep what is of the scene for `take`."""
        at = 0
        for part in parts:
            mine = part[:, max(0, self.begin - at) :]
            if mine.shape[1] or not self.source:
                self.source.append(mine.copy())  # a view would keep all of `part`
            at += part.shape[1]
            yield part


def extended(weights: Tensor, spec: Tensor, bins: int) -> Tensor:
    """Weights of `bins` bins: above the model's band, the share of energy in its highest octave.

    Shape: weights (n, F_linear), complex (n, F_linear) -> (n, bins)
    """
    top = slice(spec.shape[-1] // 2, None)
    power = spec[:, top].abs().square()
    total = power.sum(-1, keepdim=True).clamp_min(1e-12)
    above = (weights[..., top] * power).sum(-1, keepdim=True) / total
    missing = max(0, bins - weights.shape[-1])
    return torch.cat([weights, above.expand(*above.shape[:-1], missing)], -1)
