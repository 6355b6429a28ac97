"""The toy orchestra's photos and notes as files: material for `compose` that is made on the spot.

OUT/photos/<label>/00.jpg              a player somewhere, not playing anything in particular
OUT/sounds/<label>/library_0/C4.wav    single notes, dry; a library is an instrument of its own
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.random import Generator
from PIL import Image

from ..config import AnyPath
from ..media.atomic import atomic_path
from ..media.sound import write_wav
from .music import INSTRUMENTS, LABELS, RATE
from .players import Pose
from .stage import make_take

STEP = 3  # semitones from one recorded note to the next
SECONDS = 1.5  # of a note
NAMES = ("C", "Cs", "D", "Ds", "E", "F", "Fs", "G", "Gs", "A", "As", "B")


def write_material(
    out: AnyPath,
    labels: Sequence[str] = LABELS,
    photos: int = 10,
    libraries: int = 3,
    seed: int = 0,
) -> tuple[Path, Path]:
    """Write `photos` photos of each label, and its notes from `libraries` different instruments.

    Photo k of a label, and library k, are the same whatever the counts are.
    Returns: the folders of photos and of sounds.
    """
    folders = Path(out, "photos"), Path(out, "sounds")
    for label in labels:
        number = LABELS.index(label)
        for k in range(photos):
            rng = np.random.default_rng([seed, number, 0, k])
            with atomic_path(folders[0] / label / f"{k:02d}.jpg") as part:
                Image.fromarray(_photo(label, rng)).save(part, quality=92)
        for k in range(libraries):
            rng = np.random.default_rng([seed, number, 1, k])
            _write_library(folders[1] / label / f"library_{k}", label, rng)
    return folders


def _photo(label: str, rng: Generator) -> np.ndarray:
    """A player in the middle of a note. Shape: uint8 (240, 320, 3)"""
    pitch, after = rng.random(2)
    since, until = rng.uniform(0, 0.4, 2)
    moment = {"t": rng.uniform(0, 9), "loud": rng.random(), "stroke": rng.uniform(-1, 1)}
    pose = Pose(pitch=pitch, next_pitch=after, since=since, until=until, count=1, **moment)
    return next(make_take((label,), [[pose]], 1, rng).pictures())


def _write_library(folder: Path, label: str, rng: Generator) -> None:
    """Notes of one instrument, named by their pitches."""
    instrument = INSTRUMENTS[label]
    bright = rng.uniform(-1, 1)
    for midi in range(instrument.low, instrument.high + 1, STEP):
        hz = 440 * 2 ** ((midi - 69) / 12)
        note = instrument.note(hz, SECONDS, rng.uniform(0.5, 1), bright, rng)
        name = f"{NAMES[midi % 12]}{midi // 12 - 1}.wav"
        write_wav(folder / name, 0.5 * note / np.abs(note).max(), RATE)
