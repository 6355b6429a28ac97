"""Channels of a sound: of decoded frames as arrays, and when their mean is no fair mono.

A mono sound is the mean of its channels. Where that loses much of what they have, since they are
each other's negative (all of a sound, or one of the instruments in it), it is the loudest channel.
One rule for the whole of a sound: it never switches from one to the other.
"""

import av
import numpy as np

# What aac, mp3 and opus mostly decode to; `Planes` reads these without libav's mixer.
SIMPLE_FORMATS = {("fltp", "mono"), ("fltp", "stereo")}
WINDOW = 0.1  # seconds: what is heard at once, to tell two instruments apart by their frequencies
BLOCK = 10  # windows that are judged together, about a second
# A frequency cancels if the mean has less than this part of a channel's energy, on average. Of
# channels that have nothing in common the mean has 1 / channels: that is no loss, but a mixture.
CANCELS = 0.12
MUCH = 0.25  # of a sound's energy, in frequencies that cancel: then the mean is not used


class Planes:
    """Decoded frames of sound -> arrays at one rate (Hz), in which what is no number is silent.

    Attributes:
        bad: samples so far that were no number (NaN or Inf)
        first: index of the first of them in its frame
    """

    def __init__(self, rate: int):
        self.rate = rate
        self.bad = self.first = 0
        self.form = None  # sample format, channels and rate that `mixer` was made for

    def __call__(self, frame: av.AudioFrame) -> np.ndarray:
        """Shape: float32 (C,l), a copy, C = 1 or 2: more than 2 channels become 2."""
        form = (frame.format.name, frame.layout.name, frame.sample_rate)
        if form[:2] in SIMPLE_FORMATS and form[2] == self.rate:
            buffers = [memoryview(plane) for plane in frame.planes]
            planes = np.stack([np.frombuffer(b, np.float32, frame.samples) for b in buffers])
            if not np.isfinite(planes).all():
                self._silence(planes)
            return planes
        if form[0][:3] in ("flt", "dbl") and not np.isfinite(frame.to_ndarray()).all():
            frame = self._numbers(frame)
        if form != self.form:  # the first frame, or a stream that changes midway
            # to integers: libswresample's sum of floats is 3 dB louder, and exceeds 1
            self.form = form
            layout = "mono" if len(frame.layout.channels) == 1 else "stereo"
            self.mixer = av.AudioResampler("s32p", layout, self.rate)
        mixed = [part.to_ndarray() for part in self.mixer.resample(frame)]
        planes = np.concatenate(mixed, 1) if mixed else np.zeros((1, 0))
        return planes.astype(np.float32) / 2**31

    def _numbers(self, frame: av.AudioFrame) -> av.AudioFrame:
        """The same frame, its samples that are no number replaced by 0."""
        values = frame.to_ndarray()
        packed = not frame.format.is_planar  # then it has one row, of all channels in turn
        self._silence(values.reshape(-1, len(frame.layout.channels)).T if packed else values)
        name, layout = frame.format.name, frame.layout.name
        clean = av.AudioFrame.from_ndarray(values, format=name, layout=layout)
        clean.sample_rate = frame.sample_rate
        clean.pts, clean.time_base = frame.pts, frame.time_base
        return clean

    def _silence(self, planes: np.ndarray) -> None:
        bad = ~np.isfinite(planes)
        planes[bad] = 0
        self.first = self.first if self.bad else int(bad.any(0).argmax())
        self.bad += int(bad.any(0).sum())


class Cancelling:
    """Whether the channels of a sound cancel each other, from pieces of it, in little memory."""

    def __init__(self, channels: int, rate: int):
        self.channels = channels
        self.size = max(2, round(WINDOW * rate))  # samples of a window
        self.pieces: list[np.ndarray] = []
        self.held = 0  # samples in them
        self.energy = np.zeros(channels)
        self.lost = 0.0  # energy in frequencies that cancel; as a mean over channels

    def add(self, planes: np.ndarray) -> None:
        """Shape: (C,l)"""
        self.pieces.append(planes)
        self.held += planes.shape[1]
        if self.held >= BLOCK * self.size:
            self._judge()

    def channel(self) -> int | None:
        """The channel to take instead of the mean: the loudest. None: the mean is right."""
        self._judge()
        if self.lost and self.lost >= MUCH * self.energy.mean():
            return int((self.energy > 0.99 * self.energy.max()).argmax())
        return None

    def _judge(self) -> None:
        if not self.held:
            return
        sound = np.concatenate(self.pieces, 1)
        self.pieces, self.held = [], 0
        energy = np.square(sound).sum(1, dtype=float)  # (C,)
        self.energy += energy
        kept = np.square(sound.mean(0)).sum(dtype=float)
        if energy.mean() - kept <= 0.05 * energy.mean():  # nearly mono, as most: nothing to lose
            return
        sound = np.pad(sound, ((0, 0), (0, -sound.shape[1] % self.size)))
        windows = sound.reshape(self.channels, -1, self.size)
        hann = np.hanning(self.size).astype(np.float32)
        spec = np.fft.rfft(windows * hann)[..., 1:]  # (C,n,F), without the offset at 0 Hz
        of_mean = np.square(abs(spec.mean(0))).sum(0)  # (F,)
        of_each = np.square(abs(spec)).mean(0).sum(0)
        gone = of_each[of_mean < CANCELS / self.channels * of_each].sum()
        self.lost += energy.mean() * float(gone / max(of_each.sum(), 1e-30))
