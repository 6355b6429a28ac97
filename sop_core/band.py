"""Beyond the model's band: its masks, which end at half its rate, on a video's own sound.

Overtones go on above what the model hears: what has the top of its band has what is above it.
"""

import math

import numpy as np
import torch
from torch import Tensor

from . import media
from .config import AnyPath, Config
from .errors import SopError


class Source:
    """A video's own sound, at a whole multiple of the model's rate, for masks that go beyond the model's band.

    The STFT's window and hop last as long as the model's, so its lowest bins are the model's, and frames are the same moments.
    """

    def __init__(self, config: Config, path: AnyPath):
        """Raises SopError where the file can't be read, or its rate is none that sound has."""
        rate = media.sound_rate(path)
        if not 1_000 <= rate <= 384_000:
            raise SopError(f"{path}: its sound has {rate} samples a second; expected 1 000 to 384 000")
        self.times = max(1, math.ceil(rate / config.rate))
        self.rate, self.n_fft, self.hop = (v * self.times for v in (config.rate, config.n_fft, config.hop))
        self.parts = media.stream_sound(path, self.rate)
        self.held, self.at = np.zeros(self.n_fft // 2, np.float32), 0  # samples, and how many were dropped before them

    def spec(self, first: int, last: int, device: torch.device) -> Tensor:
        """STFT frames from `first` up to `last`, each call's after those of the call before. Shape: complex (T, F_linear)"""
        begin, end = first * self.hop, (last - 1) * self.hop + self.n_fft
        if begin < self.at:
            raise SopError("a Source is read once, from its beginning on; make it anew")
        held, count = [self.held], self.at + len(self.held)
        while count < end and (part := next(self.parts, None)) is not None:
            held.append(part)
            count += len(part)
            while self.at + len(held[0]) <= begin and len(held) > 1:  # before all that is asked for
                self.at += len(held.pop(0))
        self.held, self.at = np.concatenate(held)[begin - self.at :].copy(), begin
        piece = self.sound(begin - self.n_fft // 2, end - self.n_fft // 2).to(device)
        return torch.fft.rfft(piece.unfold(0, self.n_fft, self.hop) * torch.hann_window(self.n_fft, device=device))

    def sound(self, begin: int, end: int) -> Tensor:
        """Samples from `begin` up to `end`, of those that the last call of `spec` was for; silence beyond the end. Shape: (l,)"""
        found = self.held[begin + self.n_fft // 2 - self.at :][: end - begin]
        return torch.from_numpy(np.pad(found, (0, end - begin - len(found))))


def extended(weights: Tensor, spec: Tensor, bins: int) -> Tensor:
    """Weights beyond the model's band: in each frame what is taken of the energy of the highest octave that it hears.

    Shape: (n, F_linear), (n, F_linear) -> (n, bins)
    """
    top = slice(spec.shape[-1] // 2, None)
    power = spec[:, top].abs().square()
    above = (weights[..., top] * power).sum(-1, keepdim=True) / power.sum(-1, keepdim=True).clamp_min(1e-12)
    return torch.cat([weights, above.expand(*above.shape[:-1], max(0, bins - weights.shape[-1]))], -1)
