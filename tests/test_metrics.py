"""Scores against mir_eval itself and against numbers that follow from a construction."""

import warnings

import mir_eval
import numpy as np
import pytest
import scipy.signal

from sop_core import metrics


@pytest.fixture(scope="module")
def sources():
    return np.random.default_rng(0).standard_normal((2, 12_000)) * 0.1


def by_mir_eval(references, estimates):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        values = mir_eval.separation.bss_eval_sources(references, estimates, compute_permutation=False)
    return dict(zip(("sdr", "sir", "sar"), values, strict=False))


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("kind", ["noise", "tones", "filtered", "faint", "swapped"])
def test_equals_mir_eval(kind, count):
    rng, t = np.random.default_rng(1), np.arange(12_001) / 11_025
    sources = rng.standard_normal((count, len(t))) * 0.1
    if kind == "tones":  # taps enough for each to imitate the others: the equations are close to singular
        sources = np.stack([0.1 * np.sin(2 * np.pi * hz * t) * np.exp(-t) for hz in (440, 550, 660)[:count]])
    estimates = sources + 0.3 * np.roll(sources, 1, 0) + 0.01 * rng.standard_normal(sources.shape)
    if kind == "filtered":
        estimates = scipy.signal.lfilter([1, 0.5, 0, -0.3], [1, -0.8], estimates)
    if kind == "faint":
        estimates *= 1e-4
    if kind == "swapped":
        estimates = np.roll(estimates, 1, 0)
    found = metrics.bss(sources, np.stack([estimates, 2 * estimates]))  # loudness is no error
    for key, values in by_mir_eval(sources, estimates).items():
        np.testing.assert_allclose(found[key], np.stack([values, values]), atol=1e-4)


def test_interference_of_a_tenth_is_20_db(sources):
    scores = metrics.bss(sources, sources + 0.1 * sources[::-1])
    np.testing.assert_allclose(scores["sir"], 20, atol=0.5)
    assert (scores["sar"] > 60).all()


def test_si_sdr_is_what_was_added_at_any_loudness_and_knows_no_filter(sources):
    noise = (
        sources[::-1] - (sources[::-1] * sources).sum(1, keepdims=True) / (sources**2).sum(1, keepdims=True) * sources
    )
    noise *= np.sqrt((sources**2).sum(1, keepdims=True) / (noise**2).sum(1, keepdims=True))  # as loud, and orthogonal
    for gain in (1, -0.01, 30):
        scores = metrics.bss(sources, gain * (sources + 0.1 * noise))
        np.testing.assert_allclose(scores["si_sdr"], 20, atol=1e-6)
    late = metrics.bss(sources, np.roll(sources, 3, axis=1))
    assert (late["si_sdr"] < 0).all() and (late["sdr"] > 30).all()


def test_silent_reference_defines_nothing_and_nothing_is_printed(sources, recwarn):
    assert metrics.bss(np.stack([sources[0], 0 * sources[0]]), sources) is None
    assert metrics.bss(sources, sources) is not None
    assert not recwarn.list


def test_silent_estimate_is_a_failure_and_leaves_the_other_score_alone(sources):
    estimates = sources + 0.3 * sources[::-1]
    half = metrics.bss(sources, np.stack([0 * sources[0], estimates[1]]))
    assert half["sdr"][0] == metrics.FAILED
    assert half["sdr"][1] == pytest.approx(metrics.bss(sources, estimates)["sdr"][1])


def test_bootstrap_widens_when_scores_come_from_few_videos():
    rng = np.random.default_rng(0)
    per_video = rng.normal(5, 3, 10)
    scores = np.repeat(per_video, 30)
    few = metrics.bootstrap(scores, [str(i) for i in np.repeat(np.arange(10), 30)])
    many = metrics.bootstrap(scores, [str(i) for i in range(300)])
    assert few[0] < scores.mean() < few[1]
    # The standard error over 10 videos is sqrt(30) times that over 300 independent scores.
    assert (few[1] - few[0]) / (many[1] - many[0]) == pytest.approx(np.sqrt(30), rel=0.25)


def test_correlation_is_pearsons(sources):
    a, b = sources[0], sources[0] + sources[1]
    assert metrics.correlation(a, b) == pytest.approx(np.corrcoef(a, b)[0, 1])
    assert metrics.correlation(a, np.ones_like(a)) == 0
