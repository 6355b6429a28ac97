"""Recordings in folders, one for each label: which are notes, which are hits, which are passages.

A file named by its pitch is a note: `A4.wav`, `cello_Cs5_1_forte.mp3`, `60.flac` (C4 = 60), unless
it has more than one attack. For the others the pitch is found by pYIN: Mauch, Dixon. pYIN: a
fundamental frequency estimator using probabilistic threshold distributions. ICASSP 2014.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import joblib
import numpy as np
import pandas as pd
import soxr

from ..config import AnyPath
from ..errors import SopError, needing
from ..media.atomic import atomic_path, brief
from ..media.csvs import read_table, write_table
from ..media.processes import in_processes
from .material import Unused, without_copies
from .sounds import EXACT, OTHERS, RATE, check_sound, levels, read_mono, trimmed

HIT = 2.5  # seconds, at most
NOTE = 30.0  # seconds, at most
HEARD = 6.0  # seconds of a recording that pYIN hears
KEEP = 50  # recordings: so often the cache is written, since pYIN takes a second for each
COLUMNS = ["digest", "named", "reason", "kind", "midi"]  # of the cache

PITCH = re.compile(r"(?<![A-Za-z0-9#♯♭])([A-G])(#|♯|s|b|♭|f)?([0-9])(?![A-Za-z0-9#♯♭])")
COUNTING = re.compile(r"(?<![a-z])(take|side|part|track|tape|mic|no|nr)[ _.-]*$", re.IGNORECASE)
ALONE = re.compile(r"([A-Ga-g])(#|♯|s|b|♭|f)?([0-9])(?:[ _-][0-9]+)?")  # the whole name
SEMITONES = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
SIGNS = {"": 0, "#": 1, "♯": 1, "s": 1, "b": -1, "♭": -1, "f": -1}
KEYS = range(21, 109)  # a piano's: a file named by a number is a note only if it is one of these


class Recording(NamedTuple):
    """A file that can be used, and what it is."""

    path: Path
    digest: str  # `material.digest`
    kind: str  # "note": one steady pitch; "hit": short, without one; "passage": all else
    midi: float | None  # of a note; 60 is middle C
    # The folder inside the label's folder, "" if none. A performance uses one library only, so that
    # an instrument keeps its timbre.
    library: str


def find_recordings(
    folder: AnyPath,
    unused: list[Unused],
    cache: AnyPath | None = None,
    progress: bool = True,
    jobs: int | None = None,
) -> dict[str, list[Recording]]:
    """The recordings that can be used, for each label, in order of their names.

    Left out, with the reason in `unused`: what is no sound, silent, shorter than 50 ms or holds
    NaN or Inf; a copy; what stands under two labels.

    Args: `cache`: a csv of what was heard: the same content is not heard again. `progress`: a bar.
        `jobs`: processes (None: one per core).
    Raises: SopError if there is no such folder, or if `librosa` is missing and is needed.
    """
    files = without_copies(folder, EXACT + OTHERS, unused, deep=True)
    numbers = _numbered(path for _, path, _ in files)
    names = {path: pitch_of_name(path.stem, path.parent in numbers) for _, path, _ in files}
    found = _heard(
        [(mark, path, names[path] is not None) for _, path, mark in files],
        Path(cache) if cache else None,
        progress,
        jobs or joblib.cpu_count(),
    )
    recordings: dict[str, list[Recording]] = {}
    for label, path, mark in files:
        named = names[path]
        reason, kind, midi = found[mark, named is not None]
        inside = path.relative_to(folder)
        if reason:
            unused.append(Unused(label, inside.as_posix(), reason))
            continue
        pitch = None if kind != "note" else midi if named is None else named
        library = "/".join(inside.parts[1:-1])
        recordings.setdefault(label, []).append(Recording(path, mark, kind, pitch, library))
    return recordings


# ---- pitches in names


def pitch_of_name(name: str, number: bool = True) -> int | None:
    """The MIDI note that a file's name (without its suffix) says; None if it says none, or several.

    Middle C is C4 = 60. Sharps are `#` or `s` (`Es4` is none: German's E flat), flats `b` or `f`.
    Words may stand around a pitch: `cello_A4_1_forte`, but none that counts before it: `Take A1`.
    Small letters are a pitch only without words: `c4`, but not `song a1`.

    Args: `number`: whether a number from 21 to 108 alone (`60`) is a MIDI note.
    """
    if number and re.fullmatch("[1-9][0-9]{1,2}", name) and int(name) in KEYS:
        return int(name)
    alone = ALONE.fullmatch(name)
    matches = [alone] if alone else PITCH.finditer(name)
    said = (m.groups("") for m in matches if not COUNTING.search(name[: m.start()]))
    pitches = {
        SEMITONES[letter.upper()] + SIGNS[sign] + 12 * (int(octave) + 1)
        for letter, sign, octave in said
        if letter.upper() + sign not in ("Es", "Bs")
    }
    pitches = {midi for midi in pitches if midi < 128}
    return pitches.pop() if len(pitches) == 1 else None


def _numbered(paths: Iterable[Path]) -> set[Path]:
    """The folders whose files named by numbers are notes: all of these are keys of a piano.

    Elsewhere they are takes: 1, 2, ... 60.
    """
    keys: dict[Path, bool] = {}
    for path in paths:
        if path.stem.isdecimal():
            is_key = not path.stem.startswith("0") and int(path.stem) in KEYS
            keys[path.parent] = keys.get(path.parent, True) and is_key
    return {folder for folder, all_keys in keys.items() if all_keys}


# ---- what is heard

Heard = tuple[str, str, float]  # why it can't be used ("" if it can), kind, MIDI note (nan if none)


def _heard(
    files: list[tuple[str, Path, bool]], cache: Path | None, progress: bool, jobs: int
) -> dict[tuple[str, bool], Heard]:
    """(digest, whether the name says the pitch) -> what is heard, from the cache or by `listen`."""
    known: dict[tuple[str, bool], Heard] = {}
    if cache and cache.is_file():
        try:
            for mark, named, reason, kind, midi in read_table(cache)[COLUMNS].itertuples(
                index=False
            ):
                known[mark, named == "yes"] = (reason, kind, float(midi or "nan"))
        except (ValueError, KeyError, OSError):  # not what was written here: hear it anew
            known = {}
    todo = [(mark, path, named) for mark, path, named in files if (mark, named) not in known]
    if not todo:
        return known
    if not all(named for *_, named in todo):
        _librosa()
    jobs = min(jobs, 1 + len(todo) // 8)  # few files aren't worth a process
    if jobs > 1 and not all(named for *_, named in todo):
        # Several processes that compile at once leave a cache in librosa's folder that crashes
        # each later process (numba issue 10128). So this one compiles, before there are others.
        steady_pitch(np.sin(np.linspace(0, 2_000, RATE // 4, dtype=np.float32)))
    work, did = [(path, named) for _, path, named in todo], "listened to recordings"
    heard = in_processes(listen, work, "recordings", did, "file", jobs, progress)
    for n, ((mark, _, named), result) in enumerate(zip(todo, heard, strict=True), 1):
        known[mark, named] = result
        if cache and (n % KEEP == 0 or n == len(todo)):
            rows = [(m, "yes" if named else "no", *about) for (m, named), about in known.items()]
            with atomic_path(cache) as part:
                write_table(part, pd.DataFrame(rows, columns=COLUMNS))
    return known


def listen(path: AnyPath, named: bool) -> Heard:
    """Whether a recording can be used, and what it is. `named`: its name says a pitch."""
    try:
        seconds = check_sound(path)
    except SopError as e:
        return brief(e), "", float("nan")
    if seconds > NOTE:
        return "", "passage", float("nan")
    sound = trimmed(read_mono(path))
    once = _attacks(sound) <= 1
    if named and once:
        return "", "note", float("nan")
    midi = steady_pitch(sound) if once else None
    if midi is not None:
        return "", "note", midi
    return "", "hit" if once and len(sound) < HIT * RATE else "passage", float("nan")


def _attacks(sound: np.ndarray) -> int:
    """How often a sound begins: its level rises by 10 dB, after it has fallen by 10 dB."""
    count, low, high, rising = 0, -80.0, -80.0, False
    for level in levels(sound):
        low, high = min(low, level), max(high, level)
        if not rising and level > max(low + 10, -20):
            count, high, rising = count + 1, level, True
        elif rising and level < high - 10:
            low, rising = level, False
    return count


def _librosa():
    """What finds a pitch. Raises SopError where it can't be used."""
    with needing("compose", "the pitch of recordings that don't name it (A4.wav)"):
        from librosa import hz_to_midi, pyin
        from librosa.feature import rms
    return pyin, rms, hz_to_midi


def steady_pitch(sound: np.ndarray) -> float | None:
    """The MIDI note of a sound with one steady pitch, with its fraction; None for others.

    Of its loud frames 60 % have a pitch, and 80 % of these are within 0.6 semitones of the median.
    """
    pyin, rms, hz_to_midi = _librosa()
    rate, hop = 22_050, 2_048
    sound = soxr.resample(sound[: int(HEARD * RATE)], RATE, rate)
    sound = np.pad(sound, (0, max(0, hop - len(sound))))
    # A0 to C8; a coarser grid (0.2 semitones) is three times as quick, and 8 cents off
    hertz, voiced, _ = pyin(sound, fmin=27, fmax=4_300, sr=rate, hop_length=hop)
    loud = rms(y=sound, frame_length=hop, hop_length=hop)[0]
    loud = loud > 0.05 * loud.max()
    pitches = hz_to_midi(hertz[loud & voiced])
    if len(pitches) < max(1, 0.6 * loud.sum()):
        return None
    median = float(np.median(pitches))
    return median if np.mean(np.abs(pitches - median) < 0.6) >= 0.8 else None


def read_recording(
    recording: Recording, start: float = 0.0, seconds: float | None = None
) -> np.ndarray:
    """The sound of a recording, or a window of it, which is read alone.

    The whole begins at its attack, without the silence before and after it, and peaks at 1. A
    window is neither trimmed nor made louder: what is quiet in a passage stays so.

    Args: `start`, `seconds`: the window (seconds None: the whole).
    Shape: float32 (L,) at 44,100 Hz
    Raises: SopError if it can't be read, or holds NaN or Inf.
    """
    if seconds is not None:
        return read_mono(recording.path, start, seconds)
    return trimmed(read_mono(recording.path))
