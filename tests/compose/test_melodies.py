"""Melodies: within what an instrument has, in key; MIDI files of strangers."""

import mido
import numpy as np
import pytest

from sop_core.compose.melodies import (
    SCALES,
    Melody,
    compose_melody,
    fit_melody,
    random_key,
    read_midi,
)
from sop_core.errors import SopError


def rng(seed=0):
    return np.random.default_rng(seed)


def test_a_melody_is_in_key_in_range_and_in_time():
    beat, root, scale = random_key(rng(3))
    melody = compose_melody(range(48, 75), 22, rng(4), beat, root, scale)
    assert len(melody.onset) > 15
    assert {int(m - root) % 12 for m in melody.midi} <= set(scale)
    assert melody.midi.min() >= 48 and melody.midi.max() <= 74
    assert (np.diff(melody.onset) > 0).all() and (melody.onset + melody.length).max() < 22
    assert ((melody.force > 0) & (melody.force <= 1)).all()
    on_beats = (melody.onset - melody.onset[0]) / beat * 4  # everything is on quarters of a beat
    assert np.abs(on_beats - np.round(on_beats)).max() < 1e-6
    other = compose_melody(range(48, 75), 22, rng(5), beat, root, scale)
    assert len(other.midi) != len(melody.midi) or (other.midi != melody.midi).any()


@pytest.mark.parametrize("pitches", [{60}, {60, 67, 73}, {36, 38, 43, 50, 55, 62, 65}])
def test_an_instrument_with_few_pitches_plays_only_these(pitches):
    for seed in range(5):
        melody = compose_melody(pitches, 15, rng(seed), *random_key(rng(seed)), chords=0.5)
        assert set(melody.midi) <= pitches and len(melody.midi) > 5
    assert len(set(melody.midi)) > 1 or len(pitches) == 1


def test_chords_are_strummed_tones_of_the_scale():
    key = (0.6, 2, SCALES[0])
    alone = compose_melody(range(40, 80), 40, rng(1), *key)
    chords = compose_melody(range(40, 80), 40, rng(1), *key, chords=0.5)
    gaps = np.diff(chords.onset)
    together = gaps < 0.031  # the shortest note is 0.15 s
    assert (
        (gaps >= 0).all() and gaps[~together].min() > 0.1 and not (np.diff(alone.onset) < 0.1).any()
    )
    assert 0.3 < together.sum() / (~together).sum() < 1.2  # a half of them has one or two more
    assert {int(m - 2) % 12 for m in chords.midi} <= set(SCALES[0])
    starts = np.flatnonzero(np.r_[True, ~together])
    for group in np.split(chords.midi, starts[1:]):
        assert len(set(group)) == len(group) <= 3 and np.ptp(group) <= 14


def test_however_short_there_is_a_note():
    melody = compose_melody(range(50, 70), 0.5, rng(), *random_key(rng()))
    assert len(melody.onset) == 1 and melody.onset[0] + melody.length[0] <= 0.5


# ---- MIDI


def chunk(kind, data):
    return kind + len(data).to_bytes(4, "big") + data


def midi_file(path, notes, channel=0):
    """Format 0, 480 ticks a quarter, 120 quarters a minute. `notes`: of a quarter, one by one."""
    events = b"".join(
        b"\x00"
        + bytes([0x90 + channel, note, 100])
        + b"\x83\x60"
        + bytes([0x80 + channel, note, 0])
        for note in notes
    )
    tempo = b"\x00\xff\x51\x03\x07\xa1\x20"
    header = chunk(b"MThd", b"\0\0\0\1\x01\xe0")
    path.write_bytes(header + chunk(b"MTrk", tempo + events + b"\x00\xff\x2f\x00"))
    return path


def test_a_midi_file_is_read(tmp_path):
    (melody,) = read_midi(midi_file(tmp_path / "a.mid", [60, 64, 67]))
    np.testing.assert_allclose(melody.onset, [0, 0.5, 1.0], atol=1e-6)
    np.testing.assert_allclose(melody.length, 0.5, atol=1e-6)
    assert melody.midi.tolist() == [60, 64, 67]
    np.testing.assert_allclose(melody.force, 100 / 127)
    with pytest.raises(SopError, match="no notes in it, apart from drums"):
        read_midi(midi_file(tmp_path / "drums.mid", [36, 38], channel=9))


def test_tracks_and_channels_are_melodies_and_a_new_tempo_counts(tmp_path):
    """At 120 quarters a minute, then at 60; one track has two channels."""
    high, low = mido.MidiTrack(), mido.MidiTrack()
    high.append(mido.MetaMessage("set_tempo", tempo=500_000))
    for k in range(4):
        if k == 2:
            high.append(mido.MetaMessage("set_tempo", tempo=1_000_000))
        high.append(mido.Message("note_on", note=72 + k, velocity=127))
        high.append(mido.Message("note_on", note=72 + k, velocity=0, time=480))
    low.append(mido.Message("note_on", note=40, channel=1, velocity=64, time=960))
    low.append(mido.Message("note_on", note=50, channel=2, velocity=64, time=480))
    low.append(mido.Message("note_off", note=40, channel=1, time=480))
    low.append(mido.Message("note_off", note=50, channel=2, time=0))
    mido.MidiFile(tracks=[high, low]).save(tmp_path / "a.mid")
    first, second, third = read_midi(tmp_path / "a.mid")
    np.testing.assert_allclose(first.onset, [0, 0.5, 1, 2], atol=1e-6)
    np.testing.assert_allclose(first.length, [0.5, 0.5, 1, 1], atol=1e-6)
    np.testing.assert_allclose([second.onset[0], second.length[0]], [1, 2], atol=1e-6)
    np.testing.assert_allclose([third.onset[0], third.length[0]], [2, 1], atol=1e-6)
    assert (second.midi[0], third.midi[0]) == (40, 50)


@pytest.mark.parametrize("what", ["random", "no track", "cut", "empty", "missing"])
def test_a_broken_midi_file_is_an_error_and_not_a_crash(tmp_path, what):
    path = midi_file(tmp_path / "a.mid", list(range(40, 90)))
    whole = path.read_bytes()
    noise = np.random.default_rng(7).bytes(300)
    broken = {
        "random": noise,
        "no track": whole[:22] + noise,
        "cut": whole[:100],
        "empty": b"",
        "missing": None,
    }[what]
    path.unlink() if broken is None else path.write_bytes(broken)
    with pytest.raises(SopError, match=r"a\.mid: (not a MIDI file|empty|no such file|no notes)"):
        read_midi(path)


def test_a_given_melody_moves_by_octaves_into_the_range():
    n = 40
    steps = np.resize([0, 2, 4, 7, 12], n)
    given = Melody(np.arange(n) * 0.5, np.full(n, 0.6), 24.0 + steps, np.full(n, 0.5))
    fitted = fit_melody(given, range(60, 73), 5.0, rng(2))
    assert set(fitted.midi) == {60, 62, 64, 67, 72}
    assert fitted.onset[0] == 0 and len(fitted.onset) == 10
    assert (fitted.onset + fitted.length).max() <= 5.0
    starts = {tuple(fit_melody(given, range(60, 73), 5.0, rng(k)).midi) for k in range(20)}
    assert len(starts) > 2  # excerpts differ


def test_notes_beyond_the_range_move_singly():
    given = Melody(np.arange(4.0), np.ones(4), np.array([60.0, 64, 65, 90]), np.ones(4))
    fitted = fit_melody(given, range(60, 70), 9.0, rng())
    assert fitted.midi.tolist() == [60, 64, 65, 66]  # 90 is an F sharp, as 66
    bells = fit_melody(given, {60, 64}, 9.0, rng())
    assert bells.midi[:3].tolist() == [60, 64, 64]  # there is no F: the nearest
