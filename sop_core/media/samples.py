"""Decoded sound -> samples at an even rate."""

from collections.abc import Iterator

import av
import numpy as np
import soxr

from .clock import Gaps
from .container import decode
from .mono import Planes
from .survey import Survey

TOGETHER = 1.0  # seconds to resample at a time: costs less than every frame, and so does writing


class Samples:
    """Decoded sound -> samples at `rate`, gaps filled with silence: sample i is at second i / rate.

    The clip that `plan` tells is all there, so no gap is longer than the sound that is there.
    """

    kind = "sound"

    def __init__(self, plan: Survey, rate: int, length: float, channels: int | None):
        """`length`: seconds to take. `channels`: 1 for (l,), None for (C,l), the file's own."""
        self.rate = plan.rate  # Hz of the decoded sound, which is resampled at the end
        self.channel = plan.channel
        self.channels = channels
        self.mono = channels == 1
        self.to = rate
        self.count = round(length * plan.rate)  # samples to take
        self.taken = 0
        self.planes = Planes(plan.rate)
        self.gaps = Gaps()
        self.resampler: soxr.ResampleStream | None = None  # made when the channels are known
        self.waiting: list[np.ndarray] = []  # (C,l) each
        self.held = 0  # samples in it
        self.no_number = 0.0  # second of the first sample that is none

    def notes(self) -> Iterator[str]:
        if self.planes.bad:
            span = f"{self.planes.bad / self.rate:.2f} s in all"
            place = f"at {self.no_number:.1f} s of its sound"
            yield f"no number (NaN or Inf) {place}, {span}: made silent"

    @property
    def done(self) -> bool:
        return self.taken >= self.count

    def decode(self, packet: av.Packet) -> list:
        return decode(packet)

    def push(self, frame: av.AudioFrame, at: float | None) -> Iterator[np.ndarray]:
        """The sound that this frame completes. `at`: when the frame begins, in seconds."""
        bad = self.planes.bad
        sound = self._channels(self.planes(frame))
        if self.planes.bad > bad == 0:
            self.no_number = self.taken / self.rate + self.planes.first / frame.sample_rate
        gap = self.gaps(frame, at, self.taken / self.rate)
        if not self.taken and at is not None:  # the beginning, to the sample
            gap = at
        missing = round(gap * self.rate)  # samples before this frame; below 0: it overlaps
        while missing > 0 and not self.done:
            part = min(missing, round(TOGETHER * self.rate))
            yield from self._take(np.zeros((len(sound), part), np.float32))
            missing -= part
        yield from self._take(sound[:, max(0, -missing) :])

    def finish(self) -> Iterator[np.ndarray]:
        yield self._resampled(last=True)

    def _channels(self, planes: np.ndarray) -> np.ndarray:
        """Shape: (1 or 2, l) -> (1, l), or (C, l) with the channels of the first frame"""
        channels = self.channels = self.channels or len(planes)
        if len(planes) == channels:
            return planes
        if channels == 2:
            return np.repeat(planes, 2, 0)
        if self.channel is not None:
            return planes[self.channel :][:1]
        return (planes[:1] + planes[1:]) / 2

    def _take(self, sound: np.ndarray) -> Iterator[np.ndarray]:
        sound = sound[:, : self.count - self.taken]
        self.waiting.append(sound)
        self.held += sound.shape[1]
        self.taken += sound.shape[1]
        if self.held >= TOGETHER * self.rate:
            yield self._resampled()

    def _resampled(self, last: bool = False) -> np.ndarray:
        channels = self.channels or 1
        resampler = self.resampler
        if resampler is None:
            resampler = soxr.ResampleStream(self.rate, self.to, channels, dtype="float32")
            self.resampler = resampler
        sound = np.concatenate([np.zeros((channels, 0), np.float32), *self.waiting], 1).T
        self.waiting, self.held = [], 0
        sound = resampler.resample_chunk(np.ascontiguousarray(sound), last=last)
        return sound[:, 0] if self.mono else sound.T
