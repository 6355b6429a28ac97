"""Masks beyond the model's band, which ends at half the model's rate; a video's sound may go on.

Above the band, a region takes the share of the energy that it has in the band's highest octave.
The reason: an instrument that sounds in the highest octave has its overtones above it.
"""

import math

import numpy as np
import torch
from torch import Tensor

from ..config import AnyPath, Config
from ..errors import SopError
from ..media.container import sound_rate
from ..media.stream import stream_sound


class FullBandAudio:
    """A video's own sound, read as a stream, at a multiple of the model's rate.

    Its STFT frames are at the same moments as the model's and as long, so its lowest bins are the
    model's bins.

    Attributes:
        times: its rate divided by the model's, an integer
        rate, n_fft, hop: the config's, times `times`
    """

    def __init__(self, config: Config, path: AnyPath, device: torch.device | str = "cpu"):
        """Raises SopError if the file can't be read, or its rate is impossible for sound."""
        rate = sound_rate(path)
        if not 1_000 <= rate <= 384_000:
            expected = "expected 1 000 to 384 000"
            raise SopError(f"{path}: its sound has {rate} samples a second; {expected}")
        self.device = device
        self.times = max(1, math.ceil(rate / config.rate))
        self.rate = config.rate * self.times
        self.n_fft = config.n_fft * self.times
        self.hop = config.hop * self.times
        self.parts = stream_sound(path, self.rate)
        self.held = np.zeros(self.n_fft // 2, np.float32)  # samples in memory
        self.at = 0  # samples that were dropped before them

    def spec(self, first: int, last: int) -> Tensor:
        """STFT frames from `first` up to `last`; each call must begin after the one before.

        Shape: complex (T, F_linear). Raises SopError for frames that were dropped.
        """
        begin, end = first * self.hop, (last - 1) * self.hop + self.n_fft
        if begin < self.at:
            raise SopError("a FullBandAudio is read once, from its beginning on; make it anew")
        held, count = [self.held], self.at + len(self.held)
        while count < end and (part := next(self.parts, None)) is not None:
            held.append(part)
            count += len(part)
            while self.at + len(held[0]) <= begin and len(held) > 1:  # before the first frame
                self.at += len(held.pop(0))
        self.held = np.concatenate(held)[begin - self.at :].copy()
        self.at = begin
        piece = self.sound(begin - self.n_fft // 2, end - self.n_fft // 2).to(self.device)
        window = torch.hann_window(self.n_fft, device=self.device)
        return torch.fft.rfft(piece.unfold(0, self.n_fft, self.hop) * window)

    def sound(self, begin: int, end: int) -> Tensor:
        """Samples from `begin` up to `end`, within the last call of `spec`; zeros after the end.

        Shape: (l,)
        """
        found = self.held[begin + self.n_fft // 2 - self.at :][: end - begin]
        return torch.from_numpy(np.pad(found, (0, end - begin - len(found))))


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
