"""SoundFonts: what they hold, what they sound like, and what is said about damaged ones."""

import io
import random
import signal
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import soundfile
from soundfont_file import LENGTH, RATE, chunk, sine, soundfont

from sop_core.compose import soundfonts
from sop_core.compose.soundfonts import can_play, open_soundfont, play
from sop_core.errors import SopError

HZ = 44_100
A4 = (0, 1, 69, 1)
REAL = sorted(Path("/usr/share/sounds").glob("sf[23]/*_G*.sf[23]"))
plays = pytest.mark.skipif(not can_play(), reason="no FluidSynth here")


class Melody(NamedTuple):
    onset: np.ndarray
    length: np.ndarray
    midi: np.ndarray
    force: np.ndarray


def played(path, *rows, program=0, seconds=2.0, seed=0):
    """Rows: onset, length, midi, force."""
    onset, length, midi, force = np.array(rows, float).reshape(-1, 4).T
    melody = Melody(onset, length, midi, force)
    rng = np.random.default_rng(seed)
    return play(open_soundfont(path), program, melody, round(seconds * HZ), rng)


def refused(path, program=0):
    with pytest.raises(SopError) as caught:
        played(path, A4, program=program)
    message = str(caught.value)
    assert path.name in message
    assert "\n" not in message
    return message


def decibels(sound):
    return 20 * np.log10(np.sqrt(np.mean(np.square(sound, dtype=float))) + 1e-12)


def cents(sound, midi):
    size = 2**20
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound)), size))
    return 1200 * np.log2(spectrum.argmax() * HZ / size / (440 * 2 ** ((midi - 69) / 12)))


# ---- files


def test_programs_of_bank_0_are_listed(tmp_path):
    font = open_soundfont(soundfont(tmp_path / "a.sf2", (73, 40, 128)))
    assert font.programs == (40, 73)
    assert font.digest == open_soundfont(soundfont(tmp_path / "b.sf2", (73, 40, 128))).digest


def test_a_file_cut_short_anywhere_is_said(tmp_path):
    path = soundfont(tmp_path / "a.sf2")
    data = path.read_bytes()
    for size in [*range(0, 80), *range(80, len(data), 97), len(data) - 1]:
        path.write_bytes(data[:size])
        assert any(word in refused(path) for word in ("cut short", "empty", "not a SoundFont"))


@pytest.mark.parametrize("name", [b"smpl", b"pdta", b"phdr", b"shdr", b"INFO"])
@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x7FFFFFFF, 100_000])
def test_sizes_that_lie_are_said(tmp_path, name, size):
    path = soundfont(tmp_path / "a.sf2")
    data = path.read_bytes()
    at = data.index(name) - (4 if name in (b"pdta", b"INFO") else -4)
    path.write_bytes(data[:at] + size.to_bytes(4, "little") + data[at + 4 :])
    assert f"claims {size:,} bytes" in refused(path)


def test_what_is_no_soundfont_is_said(tmp_path):
    path = tmp_path / "text\x1b.sf2"
    path.write_text("A letter to a friend.\n" * 50)
    with pytest.raises(SopError, match=r"text\\x1b.sf2: not a SoundFont"):
        open_soundfont(path)
    assert "no such file" in refused(tmp_path / "none.sf2")
    path.write_bytes(chunk("RIFF", b"sfbk" + bytes(8_000_000)))  # a million empty chunks
    assert "no smpl" in refused(path.rename(tmp_path / "empty.sf2"))
    assert "bank 0" in refused(soundfont(tmp_path / "drums.sf2", bank=128))
    assert "no smpl" in refused(soundfont(tmp_path / "hollow.sf2", sound=np.zeros(0, np.int16)))


def test_a_program_that_is_not_there_is_said(tmp_path):
    message = refused(soundfont(tmp_path / "a.sf2", (40, 73)), program=41)
    assert "no program 41" in message
    assert "40, 73" in message


# ---- sound


@plays
@pytest.mark.parametrize("midi", [57, 69, 76, 69.5])
def test_pitch_is_that_of_the_note(tmp_path, midi):
    sound = played(soundfont(tmp_path / "a.sf2"), (0, 1.5, midi, 1))
    assert sound.dtype == np.float32
    assert sound.shape == (2 * HZ,)
    assert abs(cents(sound[4410:55_125], midi)) < 5  # the performance itself: up to 4


@plays
def test_a_note_begins_and_ends_in_time_and_rings_as_long_as_the_file_says(tmp_path):
    path = soundfont(tmp_path / "a.sf2", generators={38: 0})  # 1 s for 100 dB
    sound = played(path, (0.5, 0.6, 69, 1))
    loud = np.flatnonzero(np.abs(sound) > 0.01)
    assert abs(loud[0] / HZ - 0.5) < 0.005
    before, after = (decibels(sound[round(t * HZ) :][:2205]) for t in (1.05, 1.25))
    assert before - after == pytest.approx(100 * 0.175, abs=1)  # from 1.1 s on


@plays
def test_force_is_loudness_and_chooses_the_recording(tmp_path):
    two = soundfont(tmp_path / "b.sf2", odd=True)
    sound = played(two, (0, 1, 69, 0.3), (1, 1, 69, 0.4), (2, 1, 69, 0.9), seconds=3)
    soft, more, loud = (sound[HZ * k + 4410 :][:35_280] for k in range(3))
    expected = 40 * np.log10(51 / 39)  # velocities, by the specification
    assert decibels(more) - decibels(soft) == pytest.approx(expected, abs=0.3)
    for part, bright in ((soft, False), (loud, True)):
        spectrum = np.abs(np.fft.rfft(part * np.hanning(len(part))))
        octave = spectrum[650:760].max() / spectrum[330:370].max()  # 880 Hz over 440 Hz
        assert (octave > 0.3) == bright


@plays
def test_long_held_notes_differ_and_struck_ones_do_not(tmp_path):
    path = soundfont(tmp_path / "a.sf2", (0, 40))
    for program, differs in ((0, False), (40, True)):
        sound = played(path, (0, 1.2, 69, 1), (2, 1.2, 69, 1), program=program, seconds=4)
        first, second = (
            [decibels(sound[t + k * 4410 :][:4410]) for k in range(1, 11)] for t in (0, 2 * HZ)
        )
        assert (np.abs(np.subtract(first, second)).max() > 0.5) == differs


@plays
def test_the_same_seed_plays_the_same_and_another_does_not(tmp_path):
    path = soundfont(tmp_path / "a.sf2", (40,))
    one, same, other = (played(path, A4, program=40, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


@plays
def test_many_notes_sound_each_and_do_not_clip(tmp_path):
    path = soundfont(tmp_path / "a.sf2")
    rows = [(k / 10, 0.08, 69, 1) for k in range(300)]  # more than there are channels
    sound = played(path, *rows, (40, 1, 69, 1), seconds=30)
    assert min(decibels(sound[k * 4410 :][:3000]) for k in range(300)) > -40
    chord = played(path, *[(0, 1.9, 60 + k, 1) for k in range(12)], (1.99, 1, 72, 1))
    assert 0.1 < np.abs(chord).max() < 0.99
    assert np.abs(played(path)).max() < 1e-4  # no note: only dither


@plays
def test_names_of_files_may_be_any(tmp_path):
    path = soundfont(tmp_path / "a \udcff\n'.sf2")
    assert np.abs(played(path, A4)).max() > 0.01


@plays
def test_sf3_is_ogg_vorbis_inside(tmp_path):
    data = io.BytesIO()
    soundfile.write(data, np.tile(sine(), 20), RATE, format="OGG", subtype="VORBIS")
    packed = data.getvalue()
    loop = (LENGTH, 11 * LENGTH)
    path = soundfont(tmp_path / "a.sf3", (0,), packed, loop, (0, len(packed)), kind=0x11)
    sound = played(path, (0, 1.8, 69, 1))
    assert abs(cents(sound[4410:70_000], 69)) < 5
    broken = packed[:40] + bytes(200) + packed[240:]
    soundfont(path, (0,), broken, loop, (0, len(broken)), kind=0x11)
    assert "program 0 can't be played" in refused(path)


# ---- what is damaged


@plays
@pytest.mark.parametrize(
    "lie",
    [
        {"loop": (500, 100_001)},
        {"loop": (2**32 - 1, 2**32 - 1)},
        {"generators": {50: 32_767, 54: 1}},  # the loop's end: 1,073,709,056 later
        {"generators": {12: 32_767, 1: 32_767}},  # the sample's end
        {"generators": {4: -32_768}},  # its start
        {"span": (0, 2**31)},
        {"span": (900, 100)},
        {"head": (0, 69)},
        {"bags": 60_000},
        {"above": {41: 9}},
        {"generators": {53: 9}},
        {"sound": np.zeros(1000, np.int16)},
    ],
)
def test_lists_that_lie_are_a_sentence_or_a_sound(tmp_path, lie):
    path = soundfont(tmp_path / "a.sf2", **lie)
    try:
        sound = played(path, A4)
    except SopError as e:
        assert "a.sf2: program 0 can't be played: " in str(e)
        assert "choose another program, or fetch the file again" in str(e)
    else:
        assert np.abs(sound).max() <= 1
        assert "sound" not in lie


@plays
def test_random_damage_is_a_sentence_or_a_sound(tmp_path):
    path = soundfont(tmp_path / "a.sf2", (0, 1), odd=True)
    data = path.read_bytes()
    lists = data.index(b"pdta")
    rng = random.Random(0)
    outcomes = []
    for _ in range(16):
        damaged = bytearray(data)
        for _ in range(rng.randrange(1, 12)):
            damaged[rng.randrange(lists, len(data))] = rng.choice([0, 1, 127, 128, 255])
        path.write_bytes(damaged)
        try:
            outcomes.append(bool(len(played(path, (0, 0.1, 69, 1), seconds=0.2))))
        except SopError:
            outcomes.append(False)
    assert {True, False} == set(outcomes)


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("import os; os.kill(os.getpid(), 11)", f"broke down on it, signal {signal.SIGSEGV:d};"),
        ("import os; os._exit(77)", "broke down on it, exit code 77;"),
        (
            "import sys; print('fluidsynth: error: odd \\x1b', file=sys.stderr); sys.exit(4)",
            r"can't be played: FluidSynth can't read the file (odd \x1b); choose",
        ),
        ("print('abcd' * 9)", "ends early"),
        ("import sys; sys.stdout.buffer.write(bytes(400_000))", "no sound on these notes"),
        ("import time; time.sleep(60)", "not done after 1 s"),
    ],
)
def test_what_becomes_of_the_other_process_is_said(tmp_path, monkeypatch, code, says):
    monkeypatch.setattr(soundfonts, "COMMAND", [sys.executable, "-c", code])
    monkeypatch.setattr(soundfonts, "SECONDS", -1)  # and 2 s for the sound
    assert says in refused(soundfont(tmp_path / "a.sf2"))


@plays
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits memory")
def test_memory_is_limited(tmp_path, monkeypatch):
    monkeypatch.setattr(soundfonts, "MEMORY", 2**24)  # less than Python has by then
    assert "can't be played" in refused(soundfont(tmp_path / "a.sf2"))


def test_what_is_missing_is_said(tmp_path, monkeypatch):
    package = tmp_path / "fluidsynth.py"
    for text in (
        'raise ImportError("Couldn\'t find the FluidSynth library.")',
        "raise ModuleNotFoundError(\"No module named 'fluidsynth'\")",
    ):
        package.write_text(text)
        monkeypatch.syspath_prepend(tmp_path)
        with pytest.raises(SopError) as caught:
            played(soundfont(tmp_path / "a.sf2"), A4)
        message = str(caught.value)
        for part in ("pip install -e '.[compose]'", "apt install libfluidsynth3", text[-13:-3]):
            assert part in message
        assert not can_play()


@plays
@pytest.mark.skipif(not REAL, reason="other people's SoundFonts, never committed, are not here")
@pytest.mark.parametrize("path", REAL, ids=lambda p: p.name)
def test_real_banks_are_in_tune(path):
    sound = played(path, (0.2, 1.5, 69, 0.8), program=73)
    assert abs(cents(sound[13_230:66_150], 69)) < 25  # performance 8, bank 7, vibrato
