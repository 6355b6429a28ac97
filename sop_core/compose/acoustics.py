"""Acoustics: the same sound in another room, through another microphone, at another place.

Composed clips and training's augmentation both use it, on batches of sounds, on any device.

What is drawn (`draw`) comes from a generator on the CPU: some 20 numbers for each sound, the same
for every device and for every other sound beside it. What is done with them (`heard`) is exact
arithmetic but for rounding. Noise, of which tails are made too, is drawn once for all: a sound
reads it from a place of its own. So the same seed gives the same sounds everywhere.

Sources: exponentially decaying noise as a room: Moorer, About this reverberation business, 1979;
delay for low and level for high frequencies: Rayleigh, On our perception of sound direction, 1907.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from scipy.fft import next_fast_len
from torch import Tensor
from torch.nn.functional import avg_pool1d, interpolate

# Shares of the sounds. Some are clipped, and some others compressed.
EQUALISED, ROOM, NOISY, CLIPPED, COMPRESSED = 0.8, 0.8, 0.6, 0.25, 0.25
# The equaliser: knots at equal distances on a log axis of frequency, up to half the rate
KNOTS, LOWEST, KNOT_DB = 8, 40.0, 5.0  # number, Hz, standard deviation in dB
# Ranges, all drawn evenly
RT60 = (0.1, 1.0)  # s: the time in which the tail of a room falls by 60 dB
GAP = (0.001, 0.02)  # s from the direct sound to the tail
DIRECT = (-4.0, 18.0)  # dB, energy of the direct sound over the tail's
DARK = (2_000.0, 10_000.0)  # Hz, above which the tail falls by 6 dB an octave
SNR = (22.0, 57.0)  # dB, of the sound over the noise of the microphone
DRIVE = (0.1, 0.7)  # RMS of what goes into the soft clipping, whose ceiling is 1
RATIO = (1.5, 4.0)  # dB in for 1 dB out, of the compressor
# The compressor follows the level in windows of so many s; it raises soft parts only down to so
# far below the sound's RMS.
FOLLOWS, SOFTEST = 0.04, 0.1
DELAY, DELAYED = 0.6e-3, 1_000.0  # s between the ears at most; Hz above which it vanishes
NOISE = 2**20  # samples of noise that is drawn once for all
PINK_FROM = 1 / 2048  # of the rate: pink noise is white below this frequency
AT_ONCE = 2**21  # samples: larger batches are computed in parts, for memory
LEAST = 1e-20  # RMS below which a sound is silent


class Drawn(NamedTuple):
    """What is drawn for n sounds, on the CPU. Shape: knots (n, KNOTS), the others (n,)"""

    knots: Tensor  # dB
    rt60: Tensor  # s
    gap: Tensor  # s
    direct: Tensor  # dB, infinite without a room
    dark: Tensor  # Hz
    tail: Tensor  # place of the tail's noise, 0 to 1
    snr: Tensor  # dB, infinite without noise
    pink: Tensor  # share of the noise's power that is pink; the rest is white
    noise: Tensor  # place of the noise, 0 to 1
    drive: Tensor  # RMS, 0 without clipping
    ratio: Tensor  # 1 without compression

    def of(self, rows: slice | Tensor) -> "Drawn":
        """The same of some of the sounds."""
        return Drawn(*(values[rows] for values in self))


def acoustics(sounds: Tensor, rate: int, generator: torch.Generator) -> Tensor:
    """Each sound in a room and through a microphone that are drawn for it.

    That is: an equaliser, a tail, noise, then soft clipping or compression, each for a share of the
    sounds. The direct sound stays where it is in time, and RMS stays what it was; peaks may grow.
    A silent sound stays silent. What is drawn for a sound does not depend on those after it.

    Args: `sounds`: float32, on any device. `rate`: Hz. `generator`: on the CPU.
    Shape: (n, L) -> (n, L)
    """
    return heard(sounds, rate, draw(len(sounds), generator))


def draw(n: int, generator: torch.Generator) -> Drawn:
    """Draw the acoustics of `n` sounds, from a generator on the CPU."""
    # torch fills this in order, so the first rows are the same for any n; its `randn` does not.
    u = torch.rand(n, KNOTS + 14, dtype=torch.float64, generator=generator)
    u, knots = u[:, :-KNOTS], torch.special.ndtri(u[:, -KNOTS:].clamp(1e-9, 1 - 1e-9))
    numbers = iter(u.unbind(1))

    def happens(share: float) -> Tensor:
        return next(numbers) < share

    def between(ends: tuple[float, float]) -> Tensor:
        return ends[0] + (ends[1] - ends[0]) * next(numbers)

    squeezed, equalised = next(numbers), happens(EQUALISED)
    clipped, compressed = squeezed < CLIPPED, squeezed > 1 - COMPRESSED
    return Drawn(
        knots=KNOT_DB * knots * equalised[:, None],
        rt60=between(RT60),
        gap=between(GAP),
        direct=between(DIRECT).where(happens(ROOM), math.inf),
        dark=between(DARK),
        tail=next(numbers),
        snr=between(SNR).where(happens(NOISY), math.inf),
        pink=next(numbers),
        noise=next(numbers),
        drive=between(DRIVE) * clipped,
        ratio=between(RATIO).where(compressed, 1.0),
    )


@torch.no_grad()
def heard(sounds: Tensor, rate: int, drawn: Drawn) -> Tensor:
    """`acoustics` as `drawn` says. Shape: (n, L) -> (n, L)"""
    changed = torch.empty_like(sounds)
    rows = max(1, AT_ONCE // sounds.shape[1])
    for first in range(0, len(sounds), rows):
        part = slice(first, first + rows)
        changed[part] = _heard(sounds[part], rate, drawn.of(part))
    return changed


def _heard(sounds: Tensor, rate: int, drawn: Drawn) -> Tensor:
    x = _scaled(_filtered(sounds, rate, drawn), 1.0)
    if len(rows := _where(drawn.snr.isfinite())):
        one = drawn.of(rows)
        level = _column(10 ** (-one.snr / 20), x)
        pink, white = _column(one.pink.sqrt(), x), _column((1 - one.pink).sqrt(), x)
        noise = white * _noise("white", one.noise, x) + pink * _noise("pink", one.noise, x)
        x[rows] += level * noise
    if len(rows := _where(drawn.drive > 0)):
        x[rows] = torch.tanh(_column(drawn.drive[rows], x) * x[rows])
    if len(rows := _where(drawn.ratio > 1)):
        x[rows] = _compressed(_scaled(x[rows], 1.0), rate, _column(drawn.ratio[rows], x))
    return _scaled(x, _rms(sounds))


def _filtered(sounds: Tensor, rate: int, drawn: Drawn) -> Tensor:
    """Equaliser and room in one convolution, by FFT; the equaliser has no delay."""
    length = sounds.shape[1]
    tail = math.ceil((RT60[1] + GAP[1]) * rate)
    size = _fast(length + tail)
    # ln of the equaliser's gain: (n, KNOTS) @ (KNOTS, frequencies)
    gains = (drawn.knots * math.log(10) / 20).to(sounds) @ _hats(size, rate, sounds.device)
    spec = torch.fft.rfft(sounds, size)
    spec *= gains.exp_()
    spec *= 1 + _room(tail, size, rate, drawn, sounds)
    return torch.fft.irfft(spec, size)[:, :length]


@contextmanager
def _one_thread() -> Iterator[None]:
    """Another number of threads changes the last bits of an FFT, and so the files of clips."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@lru_cache(maxsize=8)
@_one_thread()
def _hats(size: int, rate: int, device: torch.device) -> Tensor:
    """How much each knot counts at each frequency: linear from knot to knot on the log axis.

    Shape: (KNOTS, size // 2 + 1)
    """
    hertz = torch.fft.rfftfreq(size, 1 / rate, dtype=torch.float64).clamp_min(LOWEST)
    at = (hertz / LOWEST).log() / math.log(rate / 2 / LOWEST) * (KNOTS - 1)
    hats = (1 - (at - torch.arange(KNOTS)[:, None]).abs()).clamp_min(0)
    return hats.float().to(device)


def _room(tail: int, size: int, rate: int, drawn: Drawn, like: Tensor) -> Tensor:
    """The spectrum of each tail, of `tail` samples; the direct sound's is 1."""
    time = torch.arange(tail, device=like.device) / rate
    after = time - _column(drawn.gap, like)
    decay = torch.exp(after * _column(-math.log(1_000) / drawn.rt60, like))
    sound = _noise("white", drawn.tail, after) * decay * (after > 0)
    spec = torch.fft.rfft(sound, size)
    hertz = torch.fft.rfftfreq(size, 1 / rate, device=like.device)
    spec *= torch.rsqrt(1 + (hertz / _column(drawn.dark, like)).square())
    energy = 2 / size * torch.view_as_real(spec).square().sum((1, 2))[:, None]  # Parseval
    return spec * (_column(10 ** (-drawn.direct / 20), like) * energy.rsqrt())


def _compressed(sounds: Tensor, rate: int, ratio: Tensor) -> Tensor:
    """Sounds of RMS 1, loud parts softer and soft parts louder. It looks ahead as far as back."""
    half = max(1, round(FOLLOWS / 2 * rate))
    power = sounds.square()[:, None]
    power = avg_pool1d(power, 2 * half, half, half, ceil_mode=True, count_include_pad=False)
    gain = power.sqrt().clamp_min(SOFTEST) ** (1 / ratio - 1)[:, None]
    return sounds * interpolate(gain, sounds.shape[1], mode="linear", align_corners=True)[:, 0]


def _noise(colour: str, places: Tensor, like: Tensor) -> Tensor:
    """A window of noise of RMS 1 for each place (n,), as long as `like`'s sounds. Shape: (n, L)"""
    length = like.shape[1]
    table = _table(colour, max(NOISE, 1 << (2 * length).bit_length()), like.device)
    starts = (places * (len(table) - length)).long()
    return table.unfold(0, length, 1)[starts.to(like.device)]


@lru_cache(maxsize=8)
@_one_thread()
def _table(colour: str, size: int, device: torch.device) -> Tensor:
    seed = ("white", "pink").index(colour)
    noise = torch.randn(size, generator=torch.Generator().manual_seed(seed))
    if colour == "pink":
        cycles = torch.fft.rfftfreq(size).clamp_min(PINK_FROM)
        noise = torch.fft.irfft(torch.fft.rfft(noise) * cycles.rsqrt(), size)
    return (noise / noise.square().mean().sqrt()).to(device)


def _fast(length: int) -> int:
    """The next length from `length` at which an FFT is fast."""
    return next_fast_len(length, real=True)  # pyright: ignore[reportReturnType] (its stub's None)


def _where(mask: Tensor) -> Tensor:
    """The rows of a mask on the CPU: nobody waits for a GPU."""
    return mask.nonzero()[:, 0]


def _column(values: Tensor, like: Tensor) -> Tensor:
    """Shape: (n,) on the CPU -> (n, 1), of the type and on the device of `like`"""
    return values[:, None].to(like, non_blocking=True)


def _rms(sounds: Tensor) -> Tensor:
    return sounds.square().mean(1, keepdim=True).sqrt()


def _scaled(sounds: Tensor, rms: Tensor | float) -> Tensor:
    return sounds * (rms / _rms(sounds).clamp_min(LEAST))


@torch.no_grad()
def stereo(sounds: Tensor, places: Tensor, rate: int) -> Tensor:
    """Sounds between left and right: equal power, and a delay between the ears.

    The near ear is louder, and at low frequencies earlier. What one ear gets more than the mono
    sound, the other gets less. So the mean of both is the mono sound times cos(pi/4 place), at
    every frequency: the delay makes no comb, and the level falls by 3 dB at most. The price: near
    1 kHz the power of both together is up to 1.2 dB more than equal.

    Args: `places`: -1 is left, 0 the middle, 1 right. `rate`: Hz.
    Shape: (n, L), (n,) -> (n, 2, L)
    """
    length = sounds.shape[1]
    size = _fast(length + round(0.02 * rate))
    hertz = torch.fft.rfftfreq(size, 1 / rate, device=sounds.device)
    places = places[:, None].to(sounds)
    # The phase between the ears: that of a delay, which vanishes at high frequencies
    phase = 2 * math.pi * DELAY * places * hertz / (1 + (hertz / DELAYED).square())
    angle = math.pi / 4 * (1 + places)
    right = torch.polar(angle.sin().expand_as(phase).contiguous(), phase / 2)
    left = torch.polar(angle.cos().expand_as(phase).contiguous(), -phase / 2)
    spec = torch.fft.rfft(sounds, size) * (right - left) / (right + left)
    side = torch.fft.irfft(spec, size)[:, :length]
    return torch.stack([sounds - side, sounds + side], 1) * (math.pi / 4 * places).cos()[..., None]


@_one_thread()
def recorded(
    sounds: np.ndarray, places: np.ndarray, rate: int, seed: int | None = None
) -> np.ndarray:
    """The same for arrays: each sound at its place, in a room of its own (no seed: in none).

    Shape: float32 (n, L), places (n,) -> (n, 2, L)
    """
    mono = torch.from_numpy(sounds)
    if seed is not None:
        mono = acoustics(mono, rate, torch.Generator().manual_seed(seed))
    return stereo(mono, torch.from_numpy(places).float(), rate).numpy()
