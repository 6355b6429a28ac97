"""How recordings are played: a melody with notes, a rhythm with hits, or excerpts of passages.

No note sounds twice alike: recordings of a pitch take turns, and tuning, attack, loudness and
brightness vary. The sound is dry; rooms and microphones are `acoustics`.

Letters: n notes of a melody, L audio samples.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import soxr
from numpy.random import Generator
from scipy.ndimage import map_coordinates
from scipy.signal import lfilter

from .melodies import Melody
from .recordings import Recording, read_recording
from .sounds import RATE, levels, loud_seconds, sound_seconds

REACH = 3.0  # semitones that a recording may be shifted
SAME = 0.5  # semitones: recordings that are no further apart are takes of one pitch
DETUNED = 8.0  # cents, a note, at most
TUNING = 4.0  # cents, the whole performance, at most
ATTACK = 0.001  # seconds: of fading in
RING = 3.0  # seconds that a struck note rings on after its end, at most
DYNAMICS = 20.0  # dB between the force 0 and 1
DULL = 1_500.0  # Hz: above it, soft notes are weaker
EXCERPT = (3.0, 10.0)  # seconds
JOIN = 0.06  # seconds of a crossfade
REST = 30.0  # dB under a passage's loudest second: an excerpt that is no louder is a rest
RAISED = 20.0  # dB: an excerpt is made louder by so much more than the loudest second, at most
STYLES = {"legato": (1.15, 1.3), "normal": (0.85, 1.05), "staccato": (0.35, 0.6)}  # of the length


def playable(notes: Sequence[Recording]) -> list[int]:
    """The MIDI notes that can be played with recordings of notes: those within 3 semitones."""
    pitches = np.array([note.midi for note in notes])
    return [m for m in range(128) if len(pitches) and np.abs(pitches - m).min() <= REACH + 1e-6]


def interpret(melody: Melody, rng: Generator) -> Melody:
    """A melody as a player plays it, with recordings or with a SoundFont.

    The tempo goes up and down by up to 4 %, and no note is exactly on time. The whole performance
    is legato, normal or staccato, and gets louder and softer over some seconds.
    """
    period = rng.uniform(5, 12)  # seconds
    phase, louder = rng.uniform(0, 2 * np.pi, 2)
    depth = rng.uniform(0, 0.04) * period / (2 * np.pi)
    onset = melody.onset + depth * np.sin(2 * np.pi * melody.onset / period + phase)
    onset = np.maximum(0, onset + rng.uniform(-0.006, 0.006, len(onset)))
    shares = STYLES[rng.choice(list(STYLES))]
    length = melody.length * rng.uniform(*shares, len(onset))
    arc = 1 - rng.uniform(0, 0.3) * (1 + np.sin(2 * np.pi * onset / period + louder)) / 2
    force = np.clip(melody.force * arc * rng.uniform(0.92, 1.08, len(onset)), 0.05, 1)
    order = np.argsort(onset, kind="stable")
    return Melody(onset[order], length[order], melody.midi[order], force[order])


def play_notes(
    melody: Melody, notes: Sequence[Recording], samples: int, rng: Generator
) -> np.ndarray:
    """A melody, played as it is written with recordings of notes of one library.

    Each note takes the nearest recording, shifted by resampling. Struck and plucked ones ring on;
    sustained ones, some with vibrato and swell, are released with a fade and never looped.

    Args: `melody`: of one note or more; give it to `interpret` first. `notes`: one or more.
    Shape: float32 (samples,) at 44,100 Hz, peak 0.5 to 0.95
    Raises: SopError if a recording can't be read.
    """
    player = _Player.drawn(rng)
    take = _takes(rng)
    out = np.zeros(samples)
    for onset, length, midi, force in _rows(melody):
        away = np.array([abs((note.midi or 0) - midi) for note in notes])
        near = tuple(np.flatnonzero(away <= away.min() + SAME).tolist())
        note = notes[take(near)]
        _add(out, onset, player.note(note, length, midi - (note.midi or 0), force, rng))
    return _finished(out, rng)


def play_hits(
    melody: Melody, hits: Sequence[Recording], samples: int, rng: Generator
) -> np.ndarray:
    """The rhythm of a melody, played with recordings without pitch that take turns at random.

    Args, Shape, Raises: as `play_notes`.
    """
    player = _Player.drawn(rng)
    take = _takes(rng)
    out = np.zeros(samples)
    for onset, length, _, force in _rows(melody):
        hit = hits[take(tuple(range(len(hits))))]
        _add(out, onset, player.note(hit, length, rng.uniform(-0.5, 0.5), force, rng, ring=True))
    return _finished(out, rng)


def play_passages(passages: Sequence[Recording], samples: int, rng: Generator) -> np.ndarray:
    """Excerpts of 3 to 10 s of passages, joined by crossfades and some rests.

    All are faster or slower by the same factor, up to 3 semitones. They come from one passage, or
    from as many as it takes to fill the time.

    Args: `passages`: one or more.
    Shape: float32 (samples,) at 44,100 Hz, peak 0.5 to 0.95
    Raises: SopError if a recording can't be read.
    """
    pool: list[tuple[Recording, float]] = []
    for k in rng.permutation(len(passages)):
        pool.append((passages[int(k)], sound_seconds(passages[int(k)].path)))
        if sum(seconds for _, seconds in pool) * RATE >= samples:
            break
    speed = 2 ** (rng.uniform(-REACH, REACH) / 12)
    out = np.zeros(samples)
    now = rng.uniform(0, 0.5)
    while now * RATE < samples - JOIN * RATE:
        recording, seconds = pool[rng.integers(len(pool))]
        excerpt = _faster(_excerpt(recording, seconds, rng), speed)
        least = _loud_seconds(recording).max(initial=1e-9) * 10 ** (-RAISED / 20)
        excerpt *= rng.uniform(0.8, 1.2) / max(float(np.sqrt((excerpt**2).mean())), least)
        _add(out, now, _faded(excerpt, JOIN, JOIN))
        # the next begins as this one fades, or after a rest
        now += max(JOIN, len(excerpt) / RATE - JOIN)
        now += rng.uniform(0.3, 1.5) if rng.random() < 0.3 else 0
    return _finished(out, rng)


def _excerpt(recording: Recording, seconds: float, rng: Generator) -> np.ndarray:
    """Some seconds of a passage in which it sounds: noise in its rests is no music."""
    level = _loud_seconds(recording)
    least = level.max(initial=0) * 10 ** (-REST / 20)
    for _ in range(4):
        length = min(rng.uniform(*EXCERPT), seconds)
        window = read_recording(recording, rng.uniform(0, seconds - length), length)
        if len(window) and np.sqrt((window**2).mean()) > least:
            return window
    # long rests, or a header that says nothing: around one of the seconds in which it sounds
    loud = np.flatnonzero(level > least)
    length = rng.uniform(*EXCERPT)
    start = (rng.choice(loud) if len(loud) else 0) - rng.uniform(0, length - 1)
    return read_recording(recording, max(0.0, start), length)


@lru_cache(maxsize=256)
def _loud_seconds(recording: Recording) -> np.ndarray:
    return loud_seconds(recording.path)


@lru_cache(maxsize=32)
def _prepared(recording: Recording) -> tuple[np.ndarray, bool]:
    """The first 12 s of a recording (l,), read once; whether it decays by itself."""
    sound = read_recording(recording)[: 12 * RATE]
    sound.flags.writeable = False
    return sound, decays(sound)


def decays(sound: np.ndarray) -> bool:
    """Whether a note is struck or plucked: loudest at once, and much weaker in its middle.

    Shape: (L,), a recording from its attack to its end
    """
    step = 0.05  # seconds
    level = levels(sound, step)
    peak = int(level.argmax())
    rest = level[peak + 1 :]
    if len(rest) < 3:  # too short to say: it plays to its end anyway
        return False
    middle = np.median(rest[len(rest) // 3 : len(rest) * 2 // 3])
    return bool(peak * step <= max(0.15, 0.1 * len(level) * step) and middle < -6)


@dataclass(frozen=True)
class _Player:
    """What stays the same in a performance."""

    tuning: float  # cents
    vibrato: float  # cents
    rate: float  # Hz, of the vibrato
    swell: float  # part of the loudness
    release: float  # seconds

    @classmethod
    def drawn(cls, rng: Generator) -> "_Player":
        vibrato = rng.uniform(8, 30) if rng.random() < 0.5 else 0.0
        swell = rng.uniform(-0.2, 0.5)
        tuning = rng.uniform(-TUNING, TUNING)
        return cls(tuning, vibrato, rng.uniform(4.5, 6.5), swell, rng.uniform(0.05, 0.15))

    def note(
        self,
        recording: Recording,
        length: float,
        shift: float,
        force: float,
        rng: Generator,
        ring: bool = False,
    ) -> np.ndarray:
        """(l,) One note: `length` in seconds, `shift` in semitones, `ring`: always rings on."""
        sound, decaying = _prepared(recording)
        ring = ring or decaying
        cents = self.tuning + rng.uniform(-DETUNED, DETUNED)
        ratio = 2 ** (shift / 12 + cents / 1200)
        start = min(int(rng.uniform(0, 0.001 if ring else 0.008) * RATE), len(sound) // 2)
        count = int((length + (RING if ring else self.release)) * RATE)
        if not ring and self.vibrato:
            t = np.arange(count) / RATE
            depth = self.vibrato / 1200 * np.clip((t - 0.12) / 0.3, 0, 1) * rng.uniform(0.7, 1.2)
            wave = np.sin(2 * np.pi * (self.rate * rng.uniform(0.95, 1.05) * t + rng.random()))
            sound = _bent(
                sound[start : start + int(1.1 * ratio * count)], ratio * 2 ** (depth * wave)
            )
        else:
            sound = _faster(sound[start : start + int(ratio * count)], ratio)[:count]
        sound = _darker(sound, 1 - force)
        if not ring and length > 0.4:
            sound *= 1 + self.swell * np.sin(np.pi * np.arange(len(sound)) / count)
        gain = 10 ** ((DYNAMICS * (force - 1) + rng.uniform(-1, 1)) / 20)
        # one that is shorter than asked for (by more than rounding) ends by itself
        release = 1.0 if ring and len(sound) > count - 9 else self.release
        return gain * _faded(sound, ATTACK, release)


def _faster(sound: np.ndarray, ratio: float) -> np.ndarray:
    """A sound, faster and higher by `ratio`. Shape: (l,) -> (l / ratio,)"""
    return soxr.resample(sound, RATE * ratio, RATE, "MQ")


def _bent(sound: np.ndarray, ratios: np.ndarray) -> np.ndarray:
    """The same by a ratio for each sample, by cubic splines: four times as slow.

    Shape: (l,), (n,) -> (n,), or less where the sound ends before
    """
    at = np.concatenate([[0.0], np.cumsum(ratios)[:-1]])
    at = at[: np.searchsorted(at, len(sound) - 1)]
    return map_coordinates(sound, at[None], order=3, mode="nearest").astype(np.float32)


def _darker(sound: np.ndarray, amount: float) -> np.ndarray:
    """Weaker above 1.5 kHz. `amount`: 0 (as it is) to 1."""
    pole = np.float32(np.exp(-2 * np.pi * DULL / RATE))
    low = lfilter(np.array([1 - pole]), np.array([np.float32(1), -pole]), sound)
    return sound + np.float32(0.8 * amount) * (np.asarray(low) - sound)


def _faded(sound: np.ndarray, rise: float, fall: float) -> np.ndarray:
    """Faded in and out, in place. `rise`, `fall`: seconds; at most half of the sound."""
    for seconds, side in ((rise, sound), (fall, sound[::-1])):
        n = min(int(seconds * RATE), len(sound) // 2)
        side[:n] *= np.sin(np.pi / 2 * (np.arange(n) + 0.5) / max(n, 1)) ** 2
    return sound


def _takes(rng: Generator) -> Callable[[tuple[int, ...]], int]:
    """A function that picks one of some recordings: in random order, each once before any again."""
    waiting: dict[tuple[int, ...], list[int]] = {}
    last: dict[tuple[int, ...], int] = {}

    def take(near: tuple[int, ...]) -> int:
        if not waiting.get(near):
            order = [int(k) for k in rng.permutation(near)]
            # not the same one twice in a row
            waiting[near] = order[::-1] if order[-1] == last.get(near) else order
        last[near] = waiting[near].pop()
        return last[near]

    return take


def _rows(melody: Melody) -> list[tuple[float, float, float, float]]:
    return list(zip(melody.onset, melody.length, melody.midi, melody.force, strict=True))


def _add(out: np.ndarray, onset: float, sound: np.ndarray) -> None:
    """Adds a sound that begins at `onset` (s); what is beyond the end is cut."""
    here = out[round(onset * RATE) :][: len(sound)]
    here += sound[: len(here)]


def _finished(out: np.ndarray, rng: Generator) -> np.ndarray:
    """Fades the end, where notes may have been cut, and sets the level."""
    out = _faded(out, ATTACK, 0.15)
    return (out * (rng.uniform(0.5, 0.95) / max(np.abs(out).max(), 1e-9))).astype(np.float32)
