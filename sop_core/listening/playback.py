"""The video's own sound for the player: all channels, at a rate that browsers play, in memory.

`FullBandAudio` reads a file once, as a stream. A player asks for one region after the other, so
here the stretch's STFT is kept: 1.4 MB a second in stereo.
"""

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..config import AnyPath
from ..media.stream import stream_sound
from ..media.survey import survey
from .regions import Region
from .separated import own_pieces

if TYPE_CHECKING:
    from .scene import Scene

MOST_RATE = 48_000  # Hz: what is higher, nobody hears


class OwnSound:
    """The own sound of a scene's video, over the scene's stretch.

    Attributes:
        channels: 1 or 2
        rate: `times` the model's rate, Hz
        mixture: float32 (C, L), L is `times` as long as the scene's mixture
        padded: what `spec`'s frames are made of, float32 (C, l)
        times, n_fft, hop: see `FullBandAudio`
    """

    def __init__(self, scene: "Scene", path: AnyPath):
        """Raises SopError if the file can't be read."""
        config, choice = scene.config, scene.film.choice
        own = survey(path, choice).rate
        self.times = max(1, min(math.ceil(own / config.rate), MOST_RATE // config.rate))
        self.rate = config.rate * self.times
        self.n_fft, self.hop = config.n_fft * self.times, config.hop * self.times
        # STFT frames that a stretch's sounds need, and the samples that these see.
        margin = -(-config.n_fft // 2 // config.hop)
        self.first = max(0, scene.first - margin)
        last = min(scene.feature_maps.length, scene.last + margin)
        begin = self.first * self.hop - self.n_fft // 2
        end = (last - 1) * self.hop + self.n_fft // 2
        sound = _between(stream_sound(path, self.rate, None, choice), begin, end)
        at = scene.first * self.hop - begin
        self.channels = len(sound)
        self.padded, self.mixture = sound, sound[:, at : at + len(scene.mixture) * self.times]
        frames = torch.from_numpy(sound).unfold(1, self.n_fft, self.hop).to(scene.device)
        self.frames = torch.fft.rfft(frames * torch.hann_window(self.n_fft, device=scene.device))

    def spec(self, first: int, last: int) -> Tensor:
        """STFT frames from `first` up to `last`. Shape: complex (C, T, F_linear)"""
        return self.frames[:, first - self.first : last - self.first]

    def tracks(
        self, scene: "Scene", regions: Sequence[Region], partition: bool = False
    ) -> Iterator[np.ndarray]:
        """The sound of each region, without the rest, piece after piece; see `Scene.tracks`.

        Shape: float32 (P, C, l), in all as long as `mixture`
        """
        left = self.mixture.shape[1]
        for piece in own_pieces(scene, regions, "partition" if partition else "shared", self):
            yield piece[..., :left]
            left -= min(left, piece.shape[-1])
        if left:  # the file is a little shorter than its stretch of STFT frames
            yield np.zeros((len(regions), self.channels, left), np.float32)


def _between(parts: Iterator[np.ndarray], begin: int, end: int) -> np.ndarray:
    """Samples from `begin` up to `end`, zeros where there are none.

    Shape: pieces of float32 (C, l) -> (C, end - begin)
    """
    at, kept = 0, []
    for part in parts:
        kept.append(part[:, max(0, begin - at) : max(0, end - at)].copy())
        at += part.shape[1]
        if at >= end:
            break
    sound = np.concatenate(kept, 1)
    before = max(0, -begin)
    return np.pad(sound, ((0, 0), (before, max(0, end - begin - before - sound.shape[1]))))
