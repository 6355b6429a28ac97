"""The toy orchestra's music: notes of six instruments, and melodies that are played with them.

Sounds are sums of sine waves; the guitar is a Karplus-Strong string (Computer Music Journal, 1983).
The instruments' ranges overlap: timbre tells them apart, pitch does not.

Letters: N players, L audio samples, V video frames, n samples or notes.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from scipy.signal import fftconvolve, lfilter

from ..compose.clips import gain
from ..compose.melodies import Melody, compose_melody, random_key

RATE = 44_100  # samples a second
FPS = 25  # video frames a second
SAMPLES_PER_FRAME = RATE // FPS  # exactly 1764
# Video frames that show the same picture: 12.5 pictures a second look alive and cost half.
FRAMES_PER_PICTURE = 2

# ---- one note
# Each instrument's function takes the pitch (Hz), the length (s), the force (0..1), the brightness
# of this clip's instrument (-1..1) and a random generator. It returns mono samples (n,).


def times(seconds: float) -> np.ndarray:
    """(n,) The time of each sample, in seconds."""
    return np.arange(int(seconds * RATE)) / RATE


def envelope(t: np.ndarray, attack: float, release: float) -> np.ndarray:
    """(n,) Rises from 0 to 1 in `attack` seconds, falls to 0 in the last `release` seconds."""
    ramp = np.minimum(np.clip(t / attack, 0, 1), np.clip((len(t) / RATE - t) / release, 0, 1))
    return ramp * ramp * (3 - 2 * ramp)


def vibrato(t: np.ndarray, rate: float, cents: float, rng: Generator) -> np.ndarray:
    """(n,) Factors on a frequency. The vibrato begins a little after the note, as a player's."""
    depth = cents / 1200 * np.clip((t - 0.12) / 0.3, 0, 1)
    return 2 ** (depth * np.sin(2 * np.pi * (rate * t + rng.random())))


def resonance(hz: np.ndarray, centre: float, octaves: float) -> np.ndarray:
    """Gains at the frequencies `hz`: 1 at `centre`, falling as a Gaussian of log-frequency."""
    return np.exp(-0.5 * (np.log2(hz / centre) / octaves) ** 2)


def harmonics(hz: np.ndarray, amps) -> np.ndarray:
    """(n,) Sum of amps[h - 1] * sin(h * phase); nothing above 0.45 of the sample rate.

    Args: `hz`: (n,) the fundamental. `amps`: (H,) or (H, n).
    """
    z = np.exp(2j * np.pi * np.cumsum(hz) / RATE)  # (n,)
    power = z.copy()  # z ** h
    out = np.zeros(len(hz))
    for h, amp in enumerate(amps, 1):
        if h * hz.max() > 0.45 * RATE:
            break
        out += amp * np.imag(power)
        power *= z
    return out


def accordion(hz, seconds, force, bright, rng):
    """Two sets of reeds with many harmonics; they are a few cents apart and beat."""
    t = times(seconds + 0.06)
    h = np.arange(1, 26)
    amps = (0.45 + resonance(h * hz, 2600 + 300 * bright, 0.8)) * h**-0.4
    swell = 1 + 0.25 * np.sin(np.pi * np.arange(len(t)) / len(t))  # bellows press hardest midway
    pair = sum(harmonics(np.full(len(t), hz * 2 ** (cents / 1200)), amps) for cents in (-7.0, 8.0))
    return 0.2 * force * pair * swell * envelope(t, 0.04, 0.06)


def cello(hz, seconds, force, bright, rng):
    """A sawtooth through a wooden body's resonances: slow attack, vibrato, noise of the bow."""
    t = times(seconds + 0.10)
    h = np.arange(1, 31)
    peaks = ((250, 1.2), (480, 1.0), (1300, 0.6), (2600, 0.4))  # Hz, gain
    body = 0.25 + sum(gain * resonance(h * hz, centre, 0.28) for centre, gain in peaks)
    amps = body / h * np.exp(-h * hz / (1600 + 300 * bright))
    tone = harmonics(hz * vibrato(t, rng.uniform(5, 6), 22, rng), amps)
    noise = np.asarray(lfilter([1, -1], [1, -0.6], rng.standard_normal(len(t)))) * 0.02
    return 0.5 * force * (tone + noise * force) * envelope(t, 0.12, 0.10)


def flute(hz, seconds, force, bright, rng):
    """Nearly a sine, with the noise of breath around the second harmonic."""
    t = times(seconds + 0.07)
    tremolo = 1 + 0.14 * np.sin(2 * np.pi * (5.2 * t + rng.random())) * np.clip(t / 0.4, 0, 1)
    tone = harmonics(hz * vibrato(t, 5.2, 9, rng), [1, 0.28 + 0.1 * bright, 0.08, 0.03])
    # breath: noise through a soft resonance an octave above the note
    r = 0.985
    w = 2 * np.pi * 2 * hz / RATE
    poles = [1, -2 * r * np.cos(w), r * r]
    breath = lfilter([1 - r, 0, -(1 - r)], poles, rng.standard_normal(len(t)))
    breath *= 0.9 + 1.5 * np.exp(-t / 0.05)
    return 0.75 * force * (tone * tremolo + breath) * envelope(t, 0.07, 0.07)


def guitar(hz, seconds, force, bright, rng):
    """Karplus-Strong: noise circles in a delay line and loses high frequencies each time."""
    t = times(seconds + 0.7)
    period = RATE / hz - 0.5
    length = int(period)
    part = period - length
    # the burst
    low_pass = [0.35 + 0.2 * force + 0.1 * bright], [1, -(0.55 - 0.2 * force)]
    noise = np.asarray(lfilter(*low_pass, rng.uniform(-1, 1, length + 1)))
    burst = np.zeros(len(t))
    burst[: length + 1] = noise - noise.mean()  # otherwise the loop would keep a thump at 0 Hz
    at = max(1, int(0.18 * period))  # plucked near the bridge: a comb of missing harmonics
    burst[at:] -= 0.8 * burst[:-at]
    # the loop
    loss = 0.5 ** (1 / (hz * 0.45))  # half as loud after 0.45 s
    loop = np.zeros(length + 3)
    loop[0] = 1
    loop[length:] = -loss * 0.5 * np.array([1 - part, 1, part])
    damping = envelope(t, 0.0005, 0.10) * np.exp(-np.maximum(0, t - seconds) / 0.15)
    return 0.9 * force * lfilter([1], loop, burst) * damping


def trumpet(hz, seconds, force, bright, rng):
    """Brass: brighter when it is louder. Each note begins a little flat."""
    t = times(seconds + 0.06)
    h = np.arange(1, 23)[:, None]
    level = envelope(t, 0.06, 0.06) * (0.75 + 0.25 * np.exp(-t / 0.1)) * (0.55 + 0.45 * force)
    bell = 0.15 + resonance(h * hz, 1400, 0.65)
    amps = bell * level * np.exp(-h / (1.0 + (6 + 1.5 * bright) * level**1.5))  # (H, n)
    pitch = hz * vibrato(t, 5.5, 10, rng) * (1 - 0.03 * np.exp(-t / 0.025))
    return 0.5 * (0.4 + 0.6 * force) * harmonics(pitch, amps)


def xylophone(hz, seconds, force, bright, rng):
    """A bar with partials at 1 : 3 : 6.3 : 10.1, short, with a knock at the start."""
    t = times(0.8)
    # ratio to the pitch, gain, decay time (s)
    partials = ((1, 1, 0.15), (3, 0.55, 0.06), (6.3, 0.4 + 0.1 * bright, 0.03), (10.1, 0.25, 0.015))
    tone = sum(
        gain * np.sin(2 * np.pi * hz * ratio * t) * np.exp(-t / decay)
        for ratio, gain, decay in partials
        if hz * ratio < 0.45 * RATE
    )
    knock = rng.standard_normal(len(t)) * np.exp(-t / 0.004)
    return force * (0.8 * tone + 0.2 * knock) * np.minimum(1, t / 0.0008)


@dataclass(frozen=True)
class Instrument:
    """How an instrument sounds, its range in MIDI notes, and its colour."""

    note: Callable[..., np.ndarray]
    low: int
    high: int
    hue: float  # turns: the colour that it often has, more or less
    drive: float = 0.0  # gain before tanh, which lowers the peaks of struck and plucked sounds


# Any two ranges share an octave or more, so that pitch does not tell who plays.
INSTRUMENTS = {
    "accordion": Instrument(accordion, 53, 79, 0.97),
    "cello": Instrument(cello, 48, 74, 0.07),
    "flute": Instrument(flute, 60, 84, 0.56),
    "guitar": Instrument(guitar, 50, 76, 0.42, drive=1.6),
    "trumpet": Instrument(trumpet, 54, 80, 0.14),
    "xylophone": Instrument(xylophone, 60, 84, 0.0, drive=1.6),
}
LABELS = tuple(INSTRUMENTS)

# ---- sound


def synthesize(instrument: Instrument, melody: Melody, samples: int, rng: Generator) -> np.ndarray:
    """(samples,) The sound of a melody, without reverberation and at no particular level."""
    out = np.zeros(samples + 4 * RATE)
    bright = rng.uniform(-1, 1)
    notes = zip(melody.onset, melody.length, melody.midi, melody.force, strict=True)
    for onset, length, midi, force in notes:
        sound = instrument.note(440 * 2 ** ((midi - 69) / 12), length, force, bright, rng)
        out[int(onset * RATE) :][: len(sound)] += sound
    out = out[:samples] * envelope(np.arange(samples) / RATE, 0.001, 0.15)
    return np.tanh(instrument.drive * out / np.abs(out).max()) if instrument.drive else out


def room_response(rng: Generator) -> np.ndarray:
    """(l,) Impulse response of a random small room: the direct sound and decaying noise."""
    tail = np.arange(int(rng.uniform(0.2, 0.5) * RATE))
    room = rng.standard_normal(len(tail)) * np.exp(-5 * tail / len(tail)) * (tail > 0.012 * RATE)
    room *= rng.uniform(0.10, 0.25) / np.sqrt((room**2).sum())
    room[0] = 1
    return room


def make_music(labels: tuple[str, ...], rng: Generator) -> tuple[np.ndarray, list[Melody]]:
    """Random stems and their melodies. All players share one key, one beat and one room.

    The length is 10 to 12 s, a whole number of pictures. Each stem peaks at 0.3 to 0.7, and their
    sum stays below 1. The samples are multiples of 1 / 32 768, so a flac file holds them exactly.

    Shape: float32 (N, L)
    """
    frames = FRAMES_PER_PICTURE * int(rng.integers(125, 151))  # 10 to 12 s
    samples = frames * SAMPLES_PER_FRAME
    key = random_key(rng)
    room = room_response(rng)
    stems = []
    melodies = []
    for label in labels:
        instrument = INSTRUMENTS[label]
        pitches = range(instrument.low, instrument.high + 1)
        melody = compose_melody(pitches, frames / FPS, rng, *key)
        stem = fftconvolve(synthesize(instrument, melody, samples, rng), room)[:samples]
        stem *= gain(np.abs(stem).max(), np.sqrt((stem**2).mean()), len(labels), rng)
        stems.append(np.round(stem * 32_768) / 32_768)
        melodies.append(melody)
    return np.array(stems, np.float32).reshape(len(labels), samples), melodies
