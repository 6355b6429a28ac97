"""SoundFonts (sf2, sf3): what is in one, and a melody played by it; mono, dry, at 44,100 Hz.

FluidSynth plays, by pyfluidsynth, in a process of its own (`fluid`), because a SoundFont is a
stranger's: a damaged one may end that process, or stop it, or fill its memory.

Source: SoundFont Technical Specification 2.04, E-mu Systems, 2006. https://www.fluidsynth.org
"""

import json
import os
import re
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

import numpy as np

from ..config import AnyPath
from ..errors import SopError
from ..media.atomic import why_unreadable
from ..media.write import AAC_RATE as RATE
from ..untrusted import printable
from .fluid import CHANNELS, MISSING, REASONS
from .gm import held
from .material import digest

COMMAND = [sys.executable, "-P", "-m", f"{__package__}.fluid"]
SECONDS = 60  # for a melody, and as long again as it sounds
MEMORY = 2**31  # bytes; of a bank of 490 MB, FluidSynth needs 60 MB for a program
INSTALL = (
    "FluidSynth plays SoundFonts, and it isn't here ({}): pip install -e '.[compose]', and its"
    " library: apt install libfluidsynth3, brew install fluid-synth or choco install fluidsynth"
)
PRESET = struct.Struct("<20sHHH12x")  # name, program, bank, its zones
CHUNKS = 1000  # that are looked at; about 25 are usual
PRESETS = 2**16  # in a list: their numbers have 16 bits
SILENT = 3e-4  # FluidSynth's dither is below
LONG = 0.6  # s: from here on a held note swells, and has vibrato
STEP = 0.025  # s, between changes of a swell
SEMITONE = 4096  # of a pitch bend
EXPRESSION, MODULATION = 11, 1  # controllers


class SoundFont(NamedTuple):
    """A SoundFont that is complete."""

    path: Path
    digest: str
    programs: tuple[int, ...]  # of bank 0, in order


class Notes(Protocol):
    """What is played: arrays (n,), an entry for each note."""

    @property
    def onset(self) -> np.ndarray: ...  # s, from 0
    @property
    def length(self) -> np.ndarray: ...  # s
    @property
    def midi(self) -> np.ndarray: ...  # 69: A4, 440 Hz; between two keys, too
    @property
    def force(self) -> np.ndarray: ...  # 0 to 1


def open_soundfont(path: AnyPath) -> SoundFont:
    """Look at a SoundFont's chunks, and at its list of programs. Its samples aren't read.

    Raises: SopError where it is none, is cut short, or has no program in bank 0.
    """
    path = Path(path)
    if why := why_unreadable(path):
        raise _bad(path, why)
    programs = {
        program for _, program, bank, _ in _presets(path)[:-1] if bank == 0 and program < 128
    }
    if not programs:
        raise _bad(path, "no program in bank 0; choose another SoundFont")
    return SoundFont(path, digest(path), tuple(sorted(programs)))


def can_play() -> bool:
    """Whether pyfluidsynth and the system's FluidSynth are here."""
    done = subprocess.run(COMMAND, **_surroundings(), input=b"", capture_output=True)
    return done.returncode == 0


def play(
    soundfont: SoundFont, program: int, melody: Notes, samples: int, rng: np.random.Generator
) -> np.ndarray:
    """A melody played by a program of bank 0, without a room.

    Force is velocity. A key that the program has no recording for is silent. The whole is out of
    tune by up to 4 cents. Held notes (`gm.held`) are so each for itself, too; long ones of them
    swell, and have vibrato. The same seed plays the same, with the same version of FluidSynth.

    Returns: float32 (samples,), within +-1: the mean of left and right.
    Raises: SopError if the SoundFont lacks the program or is damaged, if nothing sounds, and if
        FluidSynth isn't here.
    """
    if program not in soundfont.programs:
        has = ", ".join(map(str, soundfont.programs))
        raise _bad(soundfont.path, f"no program {program}; it has {has}")
    request = {
        "path": str(soundfont.path.absolute()),
        "program": program,
        "rate": RATE,
        "samples": samples,
        "memory": MEMORY,
        "events": _events(melody, held(program), samples, rng),
    }
    data, why, said = _rendered(request)
    if not why and len(data) < 4 * samples:
        why = "its sound ends early"
    sound = np.frombuffer(data, np.int16, 0 if why else 2 * samples).reshape(-1, 2)
    sound = sound.mean(1, dtype=np.float32) / 2**15
    if not why and request["events"] and np.abs(sound).max() < SILENT:
        why = "it makes no sound on these notes"
    if why:
        why = f"program {program} can't be played: {why}{said and f' ({said})'}"
        raise _bad(soundfont.path, f"{why}; choose another program, or fetch the file again")
    return sound


def _events(melody: Notes, feeds: bool, samples: int, rng: np.random.Generator) -> list[list]:
    """What happens when, for `fluid.render`. Each note has its own channel, and so its own bend."""
    events: list[list] = []
    tuning = rng.uniform(-4, 4)  # cents
    columns = (melody.onset, melody.length, melody.midi, melody.force)
    for k, (onset, length, midi, force) in enumerate(zip(*columns, strict=True)):
        own, swell, peak, vibrato = rng.uniform([-4, -16, 0.3, 0], [4, 27, 0.8, 64])
        key = round(float(midi))
        bend = midi - key + (tuning + own * feeds) / 100
        velocity = int(np.clip(1 + round(126 * force), 1, 127))
        start, channel = round(onset * RATE), k % CHANNELS
        events.append([start, "bend", channel, round(bend * SEMITONE)])
        if feeds:
            grid = np.arange(0, min(length, samples / RATE), STEP) if length > LONG else np.zeros(1)
            bow = np.sin(np.interp(grid / length, [0, peak, 1], [0, np.pi / 2, np.pi])) ** 2
            for kind, values in (
                (EXPRESSION, 100 + swell * bow),
                (MODULATION, vibrato * np.clip((grid - 0.2) / 0.4, 0, 1)),
            ):
                whole = np.round(values).astype(int)
                for i in np.flatnonzero(np.diff(whole, prepend=-1)):
                    at = start + round(grid[i] * RATE)
                    events.append([at, "cc", channel, kind, int(whole[i])])
        events.append([start, "on", channel, key, velocity])
        events.append([start + round(length * RATE), "off", channel, key])
    return sorted((e for e in events if e[0] < samples), key=lambda e: e[0])


def _rendered(request: dict) -> tuple[bytes, str, str]:
    """The sound as `fluid` writes it; why there is none ("": there is); what FluidSynth said first.

    Through files, not pipes: their length is limited, whatever the other process writes.
    """
    size, seconds = 4 * request["samples"], SECONDS + request["samples"] / RATE
    data = json.dumps(request).encode()
    with tempfile.TemporaryFile() as sound, tempfile.TemporaryFile() as log:
        try:
            done = subprocess.run(
                COMMAND, **_surroundings(), input=data, stdout=sound, stderr=log, timeout=seconds
            )
        except subprocess.TimeoutExpired:
            return b"", f"not done after {seconds:.0f} s", ""
        sound.seek(0)
        log.seek(0)
        text = log.read(10_000).decode(errors="replace").strip()
        if done.returncode == MISSING:
            raise SopError(INSTALL.format(printable(text)))
        complaint = re.search(r"synth: error: (.*)", text) or re.search(r"warning: (.*)", text)
        said = printable(complaint[1]) if complaint else ""
        if code := done.returncode:
            what = f"exit code {code}" if code > 0 else f"signal {-code}"
            return b"", REASONS.get(code, f"FluidSynth broke down on it, {what}"), said
        return sound.read(size), "", said


def _surroundings() -> dict:
    """The other process finds the packages that this one finds."""
    paths = os.pathsep.join(str(Path(p).absolute()) for p in sys.path)
    return {"env": os.environ | {"PYTHONPATH": paths}}


def _presets(path: Path) -> list[tuple[bytes, int, int, int]]:
    """The list of programs: name, program, bank, zone; the last is its end."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(12)
        if head[:4] + head[8:] != b"RIFFsfbk":
            raise _bad(path, "not a SoundFont (no RIFF sfbk at its beginning)")
        if (whole := int.from_bytes(head[4:8], "little") + 8) > size:
            raise _bad(path, f"cut short: {size:,} bytes of {whole:,}; fetch it again")
        found: dict[bytes, tuple[int, int]] = {}
        for name, at, length in _chunks(path, file, 12, whole):
            if name == b"LIST":
                for part, begin, count in _chunks(path, file, at + 4, at + length):
                    found[part] = begin, count
        for name in (b"smpl", b"phdr"):
            if not found.get(name, (0, 0))[1]:
                raise _bad(path, f"no {name.decode()} in it; fetch it again")
        begin, count = found[b"phdr"]
        if count % PRESET.size or count > PRESETS * PRESET.size:
            raise _bad(path, f"its list of programs has {count:,} bytes; fetch it again")
        file.seek(begin)
        return list(PRESET.iter_unpack(file.read(count)))


def _chunks(path: Path, file: BinaryIO, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Name, offset and length of each chunk between two offsets."""
    for _ in range(CHUNKS):
        if at + 8 > end:
            return
        file.seek(at)
        head = file.read(8)
        length = int.from_bytes(head[4:], "little")
        if at + 8 + length > end:
            name = printable(head[:4].decode("latin-1"))
            raise _bad(
                path,
                f"chunk {name} claims {length:,} bytes, {end - at - 8:,} are there; fetch it again",
            )
        yield head[:4], at + 8, length
        at += 8 + length
        if length % 2:  # a byte of padding, which writers of sf3 forget
            file.seek(at)
            at += file.read(1) == b"\0"


def _bad(path: Path, what: str) -> SopError:
    return SopError(f"{printable(path)}: {what}")
