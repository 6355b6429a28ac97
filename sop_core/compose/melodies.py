"""Melodies: composed from a seed, or read from MIDI files and made to fit an instrument.

A melody says what is played, not how: `performance.interpret` adds a player's freedom.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.random import Generator

from ..config import AnyPath
from ..errors import SopError
from ..media.atomic import why_unreadable

# semitones above the root: major, minor, Dorian, pentatonic
SCALES = ((0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10), (0, 2, 3, 5, 7, 9, 10), (0, 2, 4, 7, 9))
RHYTHMS = (  # two beats each; a negative number is a rest
    (1, 1), (1, 0.5, 0.5), (0.5, 0.5, 1), (1.5, 0.5), (0.5, 0.5, 0.5, 0.5), (2,), (0.75, 0.25, 1),
    (1, -1), (0.5, -0.5, 1), (-0.5, 0.5, 0.5, 0.5),
)  # fmt: skip
INTERVALS = (-3, -2, -2, -1, -1, -1, 1, 1, 1, 2, 2, 3)  # scale steps to the next note
CHORDS = ((-2,), (-4,), (2,), (-2, -4), (-2, 2), (2, 4), (-3, -5))  # scale steps to its other tones
STRUM = 0.03  # seconds from a chord's first tone to its last, at most
FEW = 4  # an instrument with fewer pitches of the scale than these plays all that it has

MIDI_BYTES = 16_000_000  # of a file, at most
DRUMS = 9  # the channel, from 0


@dataclass(frozen=True)
class Melody:
    """Notes in the order of their onsets, as arrays (n,). The notes of a chord may be together."""

    onset: np.ndarray  # seconds
    length: np.ndarray  # seconds
    midi: np.ndarray  # MIDI note: 60 is middle C
    force: np.ndarray  # 0..1


def random_key(rng: Generator) -> tuple[float, int, tuple[int, ...]]:
    """A beat (s), a root (0..11, C to B) and a scale (semitones), as `compose_melody` takes them.

    Players of one piece share them.
    """
    beat = 60 / rng.uniform(88, 138)
    root = int(rng.integers(12))
    return beat, root, SCALES[rng.integers(len(SCALES))]


def compose_melody(
    pitches: Collection[int],
    seconds: float,
    rng: Generator,
    beat: float,
    root: int,
    scale: tuple[int, ...],
    chords: float = 0.0,
) -> Melody:
    """A random melody of phrases with rests between them, of one note or more.

    A phrase is made of rhythms a b a c. Its notes wander over the scale and get louder and softer;
    it ends on the root or the fifth, where the instrument has them.

    Args: `pitches`: the MIDI notes that the instrument can play: a range, or some alone (bells).
        `seconds`: of the clip. `beat`: seconds. `root`: 0..11, C to B. `scale`: semitones.
        `chords`: the share of notes with one or two more tones of the scale, a little later.
    """
    steps = [midi for midi in sorted(pitches) if (midi - root) % 12 in scale]
    steps = steps if len(steps) >= FEW else sorted(pitches)
    endings = [i for i, midi in enumerate(steps) if (midi - root) % 12 in (0, 7)]
    endings = endings or list(range(len(steps)))
    # the melody starts at `centre` and is drawn back to it
    centre = rng.uniform(0.25, 0.75) * (len(steps) - 1)
    step = round(centre)  # index of the current note in `steps`
    now = rng.uniform(0.1, 1.5) * beat  # seconds
    notes = []
    while now < seconds - 1.5 * beat:
        a, b, c = (RHYTHMS[i] for i in rng.choice(len(RHYTHMS), 3))
        phrase = [*a, *b, *a, *c[:-1], 2]
        for i, beats in enumerate(phrase):
            # the next note
            step += int(rng.choice(INTERVALS)) - round((step - centre) / 6)
            step = min(max(step, 0), len(steps) - 1)
            if i == len(phrase) - 1:
                step = min(endings, key=lambda ending, step=step: abs(ending - step))
            # its force, unless this is a rest
            if beats > 0 and now + beats * beat < seconds - 0.15:
                swell = 0.35 * np.sin(np.pi * (i + 0.5) / len(phrase))
                force = min(1.0, 0.55 + swell + rng.uniform(-0.12, 0.12))
                notes.append((now, 0.9 * beats * beat, steps[step], force))
                if chords and rng.random() < chords:
                    notes += _other_tones(notes[-1], steps, step, rng)
            now += abs(beats) * beat
        now += rng.choice([0, 1, 2]) * beat
    return _melody(notes or [(0.0, 0.9 * seconds, steps[step], 0.7)])


def _other_tones(note: tuple, steps: list[int], step: int, rng: Generator) -> list[tuple]:
    """The other tones of a chord on `note`, which is `steps[step]`: those that the range has."""
    onset, length, _, force = note
    others = [step + more for more in CHORDS[rng.integers(len(CHORDS))]]
    others = [other for other in others if 0 <= other < len(steps)]
    delays = np.sort(rng.uniform(0, STRUM, len(others)))
    return [
        (onset + delay, length, steps[other], force * rng.uniform(0.75, 0.95))
        for other, delay in zip(others, delays, strict=True)
    ]


def _melody(notes: list[tuple]) -> Melody:
    return Melody(*np.array(notes, float).T)


def read_midi(path: AnyPath) -> list[Melody]:
    """The melodies of a MIDI file: one for each track and channel with notes; drums are left out.

    Raises: SopError if it can't be read as MIDI, if there is no melody in it, or if the package
    `mido` is missing.
    """
    if find_spec("mido") is None:
        raise SopError("MIDI files need the package mido; run pip install -e '.[compose]'")
    path = Path(path)
    if reason := why_unreadable(path):
        raise SopError(f"{path}: {reason}")
    if (size := path.stat().st_size) > MIDI_BYTES:
        most = f"at most {MIDI_BYTES // 1_000_000} MB"
        raise SopError(f"{path}: {size / 1e6:.0f} MB, expected a MIDI file of {most}")
    try:
        tracks = _tracks(path)
    except Exception as e:  # mido raises whatever a broken file leads to
        what = f"not a MIDI file that can be read ({type(e).__name__}); it may be cut short"
        raise SopError(f"{path}: {what}") from None
    melodies = [_checked(np.array(notes, float)) for notes in tracks if notes]
    melodies = [melody for melody in melodies if len(melody.onset)]
    if not melodies:
        raise SopError(f"{path}: no notes in it, apart from drums; expected a melody")
    return melodies


def _tracks(path: Path) -> list[list[tuple[float, float, int, int]]]:
    """(onset s, length s, key, velocity) of the notes of each track and channel but the drums'."""
    import mido

    file = mido.MidiFile(path)
    # When each change of tempo is: in ticks and in seconds
    now, tempo, changes = 0.0, 500_000, [(0, 0.0, 500_000)]
    tick = 0
    for message in mido.merge_tracks(file.tracks):
        tick += message.time
        now += mido.tick2second(message.time, file.ticks_per_beat, tempo)
        if message.type == "set_tempo":
            tempo = message.tempo
            changes.append((tick, now, tempo))
    ticks = [change[0] for change in changes]

    def seconds(tick: int) -> float:
        start, begin, tempo = changes[bisect_right(ticks, tick) - 1]
        return begin + mido.tick2second(tick - start, file.ticks_per_beat, tempo)

    tracks = []
    for track in file.tracks:
        channels, sounding, tick = defaultdict(list), {}, 0
        for message in track:
            tick += message.time
            if message.type not in ("note_on", "note_off") or message.channel == DRUMS:
                continue
            key = message.channel, message.note
            if key in sounding:  # it ends, or is struck again
                start, velocity = sounding.pop(key)
                onset = seconds(start)
                note = (onset, seconds(tick) - onset, message.note, velocity)
                channels[message.channel].append(note)
            if message.type == "note_on" and message.velocity:
                sounding[key] = tick, message.velocity
        tracks += [channels[channel] for channel in sorted(channels)]
    return tracks


def _checked(notes: np.ndarray) -> Melody:
    """The notes of a track that make sense, in order. Shape: (n, 4) of a stranger's numbers."""
    onset, length, midi, velocity = notes.T
    usable = np.isfinite(notes).all(1) & (onset >= 0) & (length > 0) & (midi >= 0) & (midi < 128)
    notes = notes[usable & (velocity > 0) & (velocity < 128)]
    notes = notes[np.lexsort((notes[:, 2], notes[:, 0]))]
    notes[:, 3] /= 127
    return Melody(*notes.T)


def fit_melody(melody: Melody, pitches: Collection[int], seconds: float, rng: Generator) -> Melody:
    """An excerpt of a given melody that an instrument can play.

    It begins at a random note, at most so late that it fills `seconds`. It is moved by the octaves
    that bring most of its notes into `pitches`, and the others singly: by octaves, or, where the
    instrument doesn't have that note in any octave, to the nearest that it has.

    Args: `melody`: of one note or more. `pitches`: MIDI notes. `seconds`: of the clip.
    """
    last = melody.onset[-1] + melody.length[-1] - seconds
    starts = melody.onset[melody.onset <= max(last, melody.onset[0])]
    start = rng.choice(starts)
    here = (melody.onset >= start) & (melody.onset < start + seconds)
    onset = melody.onset[here] - start
    allowed = np.array(sorted(pitches))
    midi = np.round(melody.midi[here])
    octaves = 12 * np.array(sorted(range(-10, 11), key=abs))  # the smallest move first
    moved = midi + octaves[np.argmax([np.isin(midi + up, allowed).sum() for up in octaves])]
    # (n, allowed): another pitch class is worse than any distance in octaves
    away = moved[:, None] - allowed
    cost = np.abs(away) + 1_000 * np.minimum(away % 12, -away % 12)
    length = np.minimum(melody.length[here], seconds - onset)
    return Melody(onset, length, allowed[cost.argmin(1)].astype(float), melody.force[here])
