"""The music: levels, tuning, and whether only timbre tells the instruments apart."""

import itertools

import librosa
import numpy as np
import pytest
from toyfiles import SEED

from sop_core.toy.music import INSTRUMENTS, LABELS, RATE, make_music


def test_stems_add_up_to_the_sound_of_the_file(duet):
    mix, sound = duet.stems.sum(0), duet.decoded[1]
    assert len(mix) == round(duet.truth["duration"] * RATE)
    n = min(len(mix), len(sound))
    lags = np.fft.irfft(np.fft.rfft(sound[:n], 2 * n) * np.conj(np.fft.rfft(mix[:n], 2 * n)))
    lag = int(lags.argmax())
    lag = lag - 2 * n if lag > n else lag
    assert abs(lag) <= 2048  # no more than the codec's own delay
    a, b = sound[max(lag, 0) : n], mix[max(-lag, 0) : n]
    m = min(len(a), len(b))
    assert np.corrcoef(a[:m], b[:m])[0, 1] > 0.98
    alone = duet.stems[0][max(-lag, 0) :][:m]
    assert np.corrcoef(a[:m], alone)[0, 1] < 0.95  # both stems are in the file


def test_flac_stems_are_the_stems_in_memory(duet):
    labels = tuple(s["label"] for s in duet.truth["sources"])
    stems, _ = make_music(labels, np.random.default_rng([SEED, 2, 0]))
    assert stems.dtype == np.float32 and np.array_equal(stems, duet.stems)


def test_levels(sounds, duet, clip):
    for stem in [*itertools.chain(*sounds[0].values()), *duet.stems, *clip.stems]:
        assert 0.299 < np.abs(stem).max() < 0.701
    for stems in (duet.stems, clip.stems):
        assert np.abs(stems.sum(0)).max() < 1
    mean = {a: np.mean([np.sqrt((s**2).mean()) for s in many]) for a, many in sounds[0].items()}
    assert max(mean.values()) < 3 * min(mean.values())  # nobody drowns the others


def test_loudness_is_the_rms_of_the_stem(duet):
    for stem, source in zip(duet.stems, duet.truth["sources"], strict=True):
        expected = [np.sqrt(np.mean(stem[i : i + 1764] ** 2)) for i in range(0, len(stem), 1764)]
        np.testing.assert_allclose(source["loudness"], expected, atol=6e-5)
        # it varies, so the line above says something
        assert np.std(expected) > 0.3 * np.mean(expected)
    assert len(source["loudness"]) == len(duet.decoded[0])


def test_ranges_overlap_by_an_octave(sounds):
    for a, b in itertools.combinations(INSTRUMENTS.values(), 2):
        assert min(a.high, b.high) - max(a.low, b.low) >= 12
    for label, melodies in sounds[1].items():
        played = np.concatenate(melodies)
        assert INSTRUMENTS[label].low <= played.min() and played.max() <= INSTRUMENTS[label].high
        # melodies, not drones
        assert len(np.unique(played)) > 6 and min(len(m) for m in melodies) >= 6


@pytest.mark.parametrize("label", LABELS)
def test_notes_are_in_tune(label):
    for hz in (220.0, 523.25):
        note = INSTRUMENTS[label].note(hz, 0.6, 0.7, 0.0, np.random.default_rng(0))[4_000:16_000]
        spectrum = np.abs(np.fft.rfft(note * np.hanning(len(note)), 1 << 18))
        near = np.arange(int(hz * 0.93 / RATE * (1 << 18)), int(hz * 1.07 / RATE * (1 << 18)))
        peak = near[spectrum[near].argmax()] * RATE / (1 << 18)
        assert abs(1200 * np.log2(peak / hz)) < 30  # cents: the accordion's two reeds beat
        assert spectrum[near].max() > 0.1 * spectrum.max()  # and it is a note of that pitch


def test_timbre_tells_them_apart_and_pitch_does_not(sounds):
    """Nearest centroid of the other clips, each clip in turn: first by MFCCs, then by mean pitch.

    MFCCs are taken where the clip sounds.
    """

    def mfcc(sound):
        frames = librosa.feature.mfcc(y=sound, sr=RATE, n_mfcc=20, fmax=5_512, hop_length=2048)
        loud = frames[1:, frames[0] > np.median(frames[0])]
        return np.r_[loud.mean(1), loud.std(1)]

    def score(features):  # (6, 3, D)
        hits = 0
        for i, j in np.ndindex(6, 3):
            seen = np.ones((6, 3, 1))
            seen[i, j] = 0
            centres = (features * seen).sum(1) / seen.sum(1)
            hits += (((centres - features[i, j]) / features.std((0, 1))) ** 2).sum(-1).argmin() == i
        return hits / 18

    assert score(np.array([[mfcc(s) for s in sounds[0][a]] for a in LABELS])) >= 0.6  # chance: 0.17
    assert score(np.array([[[m.mean()] for m in sounds[1][a]] for a in LABELS])) <= 0.5


def test_another_seed_is_another_clip():
    generators = (np.random.default_rng([seed, 1, 1]) for seed in (SEED, SEED + 1))
    one, two = (make_music(("cello",), rng)[1][0].onset for rng in generators)
    assert len(one) != len(two) or not np.allclose(one, two)
