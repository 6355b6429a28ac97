"""Performances: the melody's pitches, times and lengths; no note twice alike; no clicks."""

import numpy as np
import pytest
import soundfile

from sop_core.compose import performance
from sop_core.compose.melodies import Melody
from sop_core.compose.performance import (
    decays,
    interpret,
    play_hits,
    play_notes,
    play_passages,
    playable,
)
from sop_core.compose.recordings import Recording
from sop_core.compose.sounds import RATE


def rng(seed=0):
    return np.random.default_rng(seed)


def hertz(midi):
    return 440 * 2 ** ((np.asarray(midi) - 69) / 12)


def tone(midi, seconds=3.0, decay=None, power=1.0):
    t = np.arange(int(seconds * RATE)) / RATE
    sound = sum(np.sin(2 * np.pi * k * hertz(midi) * t) / k**power for k in range(1, 5))
    shape = np.exp(-t / decay) if decay else np.minimum(1, (seconds - t) / 0.05)
    return (0.2 * sound * shape * np.minimum(1, t / STEP)).astype(np.float32)


@pytest.fixture
def save(tmp_path):
    def write(sound, midi=None, kind="note", library=""):
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.wav"
        soundfile.write(path, sound, RATE)
        return Recording(path, path.stem, kind, midi, library)

    return write


def melody(midi, gap=0.8, length=0.6, force=0.8):
    n = len(midi)
    onset = 0.2 + gap * np.arange(n)
    return Melody(onset, np.full(n, length), np.array(midi, float), np.full(n, force))


def pitch(sound):
    """Hz of the strongest partial, from a long FFT with a parabola through its peak."""
    size = 1 << 19
    spectrum = np.log(np.abs(np.fft.rfft(sound * np.hanning(len(sound)), size)) + 1e-12)
    k = int(spectrum.argmax())
    a, b, c = spectrum[k - 1 : k + 2]
    return (k + 0.5 * (a - c) / (a - 2 * b + c)) * RATE / size


STEP = 220 / RATE  # seconds of a value of `loudness`


def loudness(sound):
    """RMS of each 5 ms, relative to the loudest."""
    frames = sound[: len(sound) // 220 * 220].reshape(-1, 220)
    rms = np.sqrt((frames.astype(float) ** 2).mean(1))
    return rms / rms.max()


@pytest.mark.parametrize("decay", [None, 0.15])
def test_pitches_onsets_and_lengths_are_the_melodys(save, decay):
    notes = [save(tone(m, decay=decay), m) for m in (57.0, 60.3, 64.0)]
    wanted = melody([55, 56, 58, 60, 61, 62, 63, 64, 66, 67])
    for seed in range(3):
        sound = play_notes(wanted, notes, 9 * RATE, rng(seed))
        assert sound.dtype == np.float32 and sound.shape == (9 * RATE,)
        assert 0.49 < np.abs(sound).max() < 0.96
        level = loudness(sound)
        for onset, midi in zip(wanted.onset, wanted.midi, strict=True):
            part = sound[int((onset + 0.02) * RATE) : int((onset + 0.6) * RATE)]
            assert abs(1200 * np.log2(pitch(part) / hertz(midi))) < 15
            around = level[int((onset - 0.1) / STEP) : int((onset + 0.1) / STEP)]
            rise = np.argmax(around > 0.3 * around.max()) * STEP - 0.1
            assert abs(rise) < 0.015
            if not decay:  # released: it ends 0.05 to 0.15 s after its end, not before
                assert level[int((onset + 0.55) / STEP)] > 0.1
                assert level[int((onset + 0.77) / STEP)] < 0.01


def test_struck_notes_ring_on_and_sustained_ones_do_not(save):
    one = melody([60], length=0.3)
    ringing = play_notes(one, [save(tone(60, decay=0.5), 60.0)], 3 * RATE, rng())
    released = play_notes(one, [save(tone(60), 60.0)], 3 * RATE, rng())
    after = int(1.2 * RATE)  # 0.7 s after its end
    assert np.abs(ringing[after:][:RATE]).max() > 0.05
    assert np.abs(released[after:]).max() < 1e-4
    # as long as the recording, and no longer: nothing is looped
    short = play_notes(melody([60], length=2.5), [save(tone(60, 1.0), 60.0)], 4 * RATE, rng())
    sounding = np.flatnonzero(np.abs(short) > 1e-3) / RATE
    assert sounding[0] == pytest.approx(0.2, abs=0.02)
    assert sounding[-1] == pytest.approx(1.2, abs=0.05)


def test_what_decays():
    swell = tone(60) * np.sin(np.linspace(0, np.pi, 3 * RATE))
    assert decays(tone(60, decay=0.4)) and decays(tone(60, 1.0, decay=0.3))
    assert not decays(tone(60)) and not decays(swell) and not decays(tone(60, 0.5))


def test_takes_of_a_pitch_take_turns_and_no_note_is_twice_alike(save):
    bright, dull = save(tone(60, power=0.5), 60.0), save(tone(60, power=4.0), 60.1)
    far = save(tone(65), 65.0)
    sound = play_notes(melody([60] * 10), [bright, dull, far], 9 * RATE, rng(1))
    parts = [sound[int((0.2 + 0.8 * k) * RATE) :][: RATE // 2] for k in range(10)]
    spectra = [np.abs(np.fft.rfft(p * np.hanning(len(p)))) for p in parts]
    overtone = [s[250:800].max() / s[:250].max() for s in spectra]  # the second one to the first
    is_bright = np.array(overtone) > 0.3
    assert is_bright.sum() == 5
    assert not any(is_bright[k : k + 3].all() or not is_bright[k : k + 3].any() for k in range(8))
    for k in range(10):
        for other in range(k):
            norms = np.linalg.norm(parts[k]) * np.linalg.norm(parts[other])
            assert parts[k] @ parts[other] / norms < 0.9999


def test_soft_notes_are_weaker_and_duller(save):
    note = save(tone(70, power=0.3), 70.0)
    given = melody([70, 70])
    given.force[:] = 1.0, 0.3
    sound = play_notes(given, [note], 2 * RATE, rng())
    loud, soft = (np.abs(np.fft.rfft(sound[int(s * RATE) :][: RATE // 2])) for s in (0.25, 1.05))
    first, fourth = slice(200, 260), slice(880, 1_000)  # bins of 2 Hz: 466 and 1 865 Hz
    assert 8 < 20 * np.log10(loud[first].max() / soft[first].max()) < 20
    ratios = [part[fourth].max() / part[first].max() for part in (loud, soft)]
    assert ratios[1] < 0.8 * ratios[0]


def test_no_clicks_and_the_same_seed_is_the_same(save):
    notes = [save(tone(m, 2.0), m) for m in (45.0, 48.0)]
    wanted = melody([45, 46, 47, 48, 49, 50] * 4, gap=0.31, length=0.35)
    sound = play_notes(wanted, notes, 7 * RATE, rng(3))  # cut within the last note
    # six partials under 600 Hz in two notes at a time: far less than a jump at a join
    assert np.abs(np.diff(sound)).max() < 0.12 and abs(sound[-1]) < 1e-3
    assert np.array_equal(sound, play_notes(wanted, notes, 7 * RATE, rng(3)))
    assert not np.array_equal(sound, play_notes(wanted, notes, 7 * RATE, rng(4)))


def test_vibrato_is_for_sustained_notes_and_in_some_performances(save):
    t = np.arange(3 * RATE) / RATE

    def wobble(decay, seed):
        sine = (np.sin(2 * np.pi * 440 * t) * np.exp(-t * decay)).astype(np.float32)
        note = Melody(np.array([0.0]), np.array([2.5]), np.array([69.0]), np.array([1.0]))
        sound = play_notes(note, [save(sine, 69.0)], 3 * RATE, rng(seed))
        crossings = np.flatnonzero((sound[:-1] < 0) & (sound[1:] >= 0))
        crossings = crossings[(crossings > 0.6 * RATE) & (crossings < 2.2 * RATE)]
        exact = crossings - sound[crossings] / (sound[crossings + 1] - sound[crossings])
        return 1200 * np.log2(RATE / np.diff(exact)[5:-5] / 440)

    depth = [np.ptp(wobble(0.0, seed)) / 2 for seed in range(12)]
    assert 2 < sum(d > 4 for d in depth) < 10 and max(depth) < 40
    assert max(np.ptp(wobble(1.5, seed)) for seed in range(4)) < 2


def test_interpretations_are_free_but_near():
    given = melody([60, 62, 64, 65] * 8, gap=0.5, length=0.45)
    many = [interpret(given, rng(k)) for k in range(20)]
    for played in many:
        assert np.abs(played.onset - given.onset).max() < 0.15  # 12 s / 2 pi * 4 %, and some ms
        assert (np.diff(played.onset) > 0.4).all() and played.onset.min() >= 0
        assert (played.midi == given.midi).all()
        assert played.force.min() > 0 and played.force.max() <= 1 and np.ptp(played.force) > 0.02
    shares = np.array([np.median(played.length) for played in many]) / 0.45
    assert (
        (shares < 0.65).any() and (shares > 1.1).any() and ((shares > 0.8) & (shares < 1.1)).any()
    )


def test_hits_are_played_in_the_rhythm_and_take_turns(save):
    t = np.arange(RATE // 2) / RATE
    hits = [
        save((np.sin(2 * np.pi * f * t) * np.exp(-t / 0.05)).astype(np.float32), None, "hit")
        for f in (300, 900)
    ]
    rhythm = melody([60] * 10, gap=0.5)
    sound = play_hits(rhythm, hits, 6 * RATE, rng(1))
    level = loudness(sound)
    heard = []
    for onset in rhythm.onset:
        at = int(onset / STEP)
        assert level[at - 4 : at - 1].max() < 0.01 < 0.05 < level[at : at + 4].max()
        heard.append(pitch(sound[int(onset * RATE) :][: RATE // 5]) > 600)
    assert sum(heard) == 5


def test_passages_are_joined_without_clicks(save):
    t = np.arange(12 * RATE) / RATE
    passage = save((0.1 * np.sin(2 * np.pi * 200 * t)).astype(np.float32), None, "passage")
    for seed in range(4):
        sound = play_passages([passage], 22 * RATE, rng(seed))
        assert sound.dtype == np.float32 and sound.shape == (22 * RATE,)
        assert 0.49 < np.abs(sound).max() < 0.96
        assert np.abs(np.diff(sound)).max() < 0.05  # the sine's own: 0.034 at 238 Hz
        assert abs(12 * np.log2(pitch(sound) / 200)) < 3.05
        assert (loudness(sound) > 0.1).mean() > 0.6
    speeds = [pitch(play_passages([passage], 8 * RATE, rng(seed))) for seed in range(5)]
    assert np.std(speeds) > 5


def test_passages_are_sought_where_they_sound(save):
    sound = np.zeros(60 * RATE, np.float32)
    sound[50 * RATE :] = tone(60, 10.0)
    short = save(tone(60, 1.0), None, "passage")
    for passage in (save(sound, None, "passage"), short):
        for seed in range(2):
            played = play_passages([passage], 10 * RATE, rng(seed))
            assert np.isfinite(played).all() and np.abs(played).max() > 0.49


def test_rests_of_a_passage_are_not_played(save):
    """3 s of a tone in 2 minutes of soft noise: the tone is heard, and the noise stays soft."""
    sound = rng().normal(0, 10 ** (-75 / 20), 120 * RATE)
    sound[60 * RATE : 63 * RATE] += 0.3 * np.sin(2 * np.pi * 440 * np.arange(3 * RATE) / RATE)
    passage = save(sound.astype(np.float32), None, "passage")
    for seed in range(4):
        played = play_passages([passage], 10 * RATE, rng(seed))
        power = np.abs(np.fft.rfft(played)) ** 2  # bins of 0.1 Hz
        assert power[3_500:5_500].sum() > 0.99 * power.sum()
    # softly played ones are raised, but not by all that they are softer
    sound = tone(60, 60.0)
    sound[: 50 * RATE] *= 10 ** (-27 / 20)
    passage = save(sound, None, "passage")
    loud = np.concatenate([loudness(play_passages([passage], 60 * RATE, rng(k))) for k in range(3)])
    loud = 20 * np.log10(loud[loud > 1e-4])
    assert 4 < np.percentile(loud, 95) - np.percentile(loud, 30) < 12


def test_a_performance_has_the_range_of_its_notes():
    some = [
        Recording(None, "", "note", midi, library)
        for midi, library in ((60.0, "a"), (62.4, "a"), (80.0, "b"))
    ]
    assert playable(some[:2]) == [57, 58, 59, 60, 61, 62, 63, 64, 65]
    assert playable(some[2:]) == list(range(77, 84)) and playable([]) == []


def test_a_click_of_a_few_samples_can_be_played(save):
    clicks = [save(np.eye(1, n)[0], 60.0) for n in (4, 40, 3_000)]
    for k in range(6):
        sound = play_notes(melody([60, 62, 58]), clicks, 3 * RATE, rng(k))
        assert np.isfinite(sound).all()


def test_a_recording_is_read_once_for_its_notes(save, monkeypatch):
    read, count = performance.read_recording, []
    monkeypatch.setattr(performance, "read_recording", lambda r: (count.append(r), read(r))[1])
    play_notes(melody([60, 61, 62, 60]), [save(tone(60), 60.0)], 4 * RATE, rng())
    assert len(count) == 1
