"""Scores against mir_eval itself and against numbers that follow from a construction."""

import warnings

import mir_eval
import numpy as np
import pytest
import scipy.signal
import scipy.stats
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sop_core import metrics


@pytest.fixture(scope="module")
def sources():
    return np.random.default_rng(0).standard_normal((2, 12_000)) * 0.1


def by_mir_eval(references, estimates, permute=False):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        *values, order = mir_eval.separation.bss_eval_sources(
            references, estimates, compute_permutation=permute
        )
    return dict(zip(("sdr", "sir", "sar"), values, strict=True)), order.tolist()


def signals(kind, rng, length):
    """What a source may sound like. Shape: (L,)"""
    t = np.arange(length) / 11_025
    if kind == "tonal":
        # Notes with harmonics, struck twice a second: so few frequencies that taps can imitate them
        hz = rng.uniform(80, 1_500)
        notes = sum(np.sin(2 * np.pi * k * hz * t + rng.uniform(0, 6)) / k for k in (1, 2, 3))
        return 0.1 * notes * np.exp(-rng.uniform(1, 6) * (t % 0.5))
    if kind == "filtered":
        return 0.05 * scipy.signal.lfilter(
            [1, 0.5, 0, -0.3], [1, -rng.uniform(0.5, 0.98)], rng.standard_normal(length)
        )
    return 0.1 * rng.standard_normal(length)


def separated(kind, rng, sources):
    """What a separation may make of them. Shape: (N, L) -> (N, L)"""
    found = sources + rng.uniform(0.01, 0.5) * np.roll(sources, 1, 0)
    found += 10 ** rng.uniform(-4, -1) * np.abs(sources).max() * rng.standard_normal(sources.shape)
    if kind == "clipped":
        return found.clip(-0.5 * np.abs(found).max(), 0.5 * np.abs(found).max())
    if kind == "swapped":
        return np.roll(found, rng.integers(1, len(found)), 0)
    return 2e-6 * found / metrics.rms(found)[:, None] if kind == "near-silent" else found


@settings(max_examples=20, deadline=None, derandomize=True, database=None)
@given(
    count=st.sampled_from([2, 2, 3, 4]),
    seconds=st.floats(0.5, 4),
    sounds=st.lists(st.sampled_from(["noise", "tonal", "filtered"]), min_size=4, max_size=4),
    kind=st.sampled_from(["plain", "clipped", "swapped", "near-silent"]),
    permute=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
@example(2, 30.0, ["tonal", "noise", "tonal", "noise"], "plain", False, 0)
@example(4, 30.0, ["tonal", "filtered", "noise", "tonal"], "swapped", False, 1)
@example(4, 0.5, ["tonal"] * 4, "clipped", True, 2)
def test_equals_mir_eval(count, seconds, sounds, kind, permute, seed):
    rng = np.random.default_rng(seed)
    sources = np.stack([signals(sound, rng, round(11_025 * seconds)) for sound in sounds[:count]])
    found = separated(kind, rng, sources)
    expected, order = by_mir_eval(sources, found, permute)
    if permute:
        scores, ours = metrics.permuted(torch.from_numpy(sources), torch.from_numpy(found))
        assert ours == order
    else:
        scores = {k: v[0] for k, v in metrics.bss(sources, np.stack([found, sources])).items()}
    for key, values in expected.items():
        below = values < 80
        np.testing.assert_allclose(scores[key][below], values[below], atol=1e-4, err_msg=key)


@pytest.mark.parametrize("count", [2, 3])
def test_tones_that_can_imitate_each_other_equal_mir_eval_too(count):
    """Three decaying sines: the equations are close to singular."""
    rng, t = np.random.default_rng(1), np.arange(12_001) / 11_025
    sources = np.stack(
        [0.1 * np.sin(2 * np.pi * hz * t) * np.exp(-t) for hz in (440, 550, 660)[:count]]
    )
    estimates = sources + 0.3 * np.roll(sources, 1, 0) + 0.01 * rng.standard_normal(sources.shape)
    found = metrics.bss(sources, np.stack([estimates, 2 * estimates]))  # loudness is no error
    for key, values in by_mir_eval(sources, estimates)[0].items():
        np.testing.assert_allclose(found[key], np.stack([values, values]), atol=1e-4)


def test_band_limited_sources_are_nearer_to_least_squares_than_mir_eval_is():
    """Steeply low-passed sound leaves the taps of a filter nearly free.

    The reference of this test solves for them without squaring the matrix.
    """
    rng = np.random.default_rng(0)
    low = scipy.signal.butter(6, 0.1, output="sos")
    sources = 0.1 * scipy.signal.sosfilt(low, rng.standard_normal((2, 4_000)))
    found = sources + 0.3 * sources[::-1] + 3e-4 * rng.standard_normal(sources.shape)

    def delayed(one):
        return scipy.linalg.toeplitz(np.r_[one, np.zeros(metrics.TAPS - 1)], np.zeros(metrics.TAPS))

    every = np.concatenate([delayed(one) for one in sources], 1)
    exact = {"sdr": [], "sir": [], "sar": []}
    for n in (0, 1):
        target = np.r_[found[n], np.zeros(metrics.TAPS - 1)]
        own, both = (
            a @ scipy.linalg.lstsq(a, target, cond=1e-15)[0] for a in (delayed(sources[n]), every)
        )
        for key, part, rest in (
            ("sdr", own, target - own),
            ("sir", own, both - own),
            ("sar", both, target - both),
        ):
            exact[key].append(10 * np.log10((part**2).sum() / (rest**2).sum()))
    ours, theirs = metrics.bss(sources, found), by_mir_eval(sources, found)[0]
    for key, values in exact.items():
        off, their_off = (abs(scores[key] - values).max() for scores in (ours, theirs))
        assert off <= their_off + 2e-4, (key, off, their_off)


def test_interference_of_a_tenth_is_20_db(sources):
    scores = metrics.bss(sources, sources + 0.1 * sources[::-1])
    np.testing.assert_allclose(scores["sir"], 20, atol=0.5)
    assert (scores["sar"] > 60).all()


def test_si_sdr_is_what_was_added_at_any_loudness_and_knows_no_filter(sources):
    noise = (
        sources[::-1]
        - (sources[::-1] * sources).sum(1, keepdims=True)
        / (sources**2).sum(1, keepdims=True)
        * sources
    )
    noise *= np.sqrt(
        (sources**2).sum(1, keepdims=True) / (noise**2).sum(1, keepdims=True)
    )  # as loud, and orthogonal
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


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_an_estimate_that_is_no_number_is_a_failure_too(sources, wrong):
    """Left out as undefined, it would raise the mean of what is left."""
    estimates = sources + 0.3 * sources[::-1]
    estimates[0, 7] = wrong
    scores = metrics.bss(sources, np.stack([estimates, sources]))
    assert all(scores[key][0, 0] == metrics.FAILED for key in scores)
    assert all(np.isfinite(scores[key]).all() for key in scores)


def test_what_holds_nothing_of_its_source_scores_minus_100(sources):
    """A source in the first half, an estimate in the second: all scores must be finite."""
    refs, late = sources.copy(), sources.copy()
    refs[:, 5_000:], late[:, :6_000] = 0, 0
    for scores in (metrics.bss(refs, late), metrics.bss(refs, refs)):
        assert all(
            np.isfinite(scores[key]).all() and (abs(scores[key]) <= 100 + 1e-9).all()
            for key in scores
        )
    assert (metrics.bss(refs, late)["sdr"] < -90).all() and (
        metrics.bss(refs, refs)["sdr"] > 99
    ).all()


def test_a_source_mixed_with_itself_has_finite_scores(sources):
    """The published pairs hold such mixtures; which of the two is the source nobody can say."""
    twice = np.stack([sources[0], sources[0]])
    scores = metrics.bss(twice, twice + 0.1 * sources[1])
    assert all(np.isfinite(scores[key]).all() for key in scores)
    assert scores["sdr"] == pytest.approx(
        metrics.bss(sources, twice + 0.1 * sources[1])["sdr"][0], abs=1e-3
    )


def test_a_peak_points_into_a_box_or_not():
    energy = np.zeros((4, 6))
    energy[1, 4] = 1  # its middle: x 0.75, y 0.375
    assert metrics.pointed(energy, (0.7, 0.3, 0.8, 0.4))
    assert not metrics.pointed(energy, (0.3, 0.7, 0.4, 0.8))  # rows and columns exchanged
    assert not metrics.pointed(energy, (0.0, 0.0, 0.7, 1.0))


def test_a_flat_map_points_nowhere():
    assert not metrics.pointed(np.zeros((4, 6)), (0, 0, 1, 1))


def test_ciou_is_the_overlap_of_what_is_said_with_the_box():
    energy = np.full((14, 14), 0.2)
    energy[:, :7] = 0.9  # the left half
    assert metrics.ciou(energy, (0, 0, 0.5, 1)) == pytest.approx(1, abs=0.01)
    assert metrics.ciou(energy, (0, 0, 0.25, 1)) == pytest.approx(
        0.5, abs=0.01
    )  # half of what is said is outside
    assert metrics.ciou(energy, (0.25, 0, 0.75, 1)) == pytest.approx(1 / 3, abs=0.01)
    assert metrics.ciou(energy, (0.5, 0, 1, 1)) == 0
    assert metrics.ciou(7 * energy + 3, (0, 0, 0.5, 1)) == metrics.ciou(
        energy, (0, 0, 0.5, 1)
    )  # its own scale
    assert metrics.ciou(np.ones((14, 14)), (0, 0, 1, 1)) == 0  # a flat map says nothing


def test_auc_is_the_mean_ciou_to_half_a_step():
    rng = np.random.default_rng(0)
    cious = rng.uniform(0, 1, 4_000)
    assert metrics.auc(cious) == pytest.approx(cious.mean(), abs=0.003)
    assert metrics.auc(np.ones(3)) == pytest.approx(1)


def test_bootstrap_widens_when_scores_come_from_few_videos():
    rng = np.random.default_rng(0)
    per_video = rng.normal(5, 3, 60)
    scores = np.repeat(per_video, 30)
    few = metrics.bootstrap(scores, [[str(i)] for i in np.repeat(np.arange(60), 30)])
    many = metrics.bootstrap(scores, [[str(i)] for i in range(1_800)])
    assert few[0] < scores.mean() < few[1]
    # The standard error over 60 videos is sqrt(30) times that over 1,800 independent scores.
    assert (few[1] - few[0]) / (many[1] - many[0]) == pytest.approx(np.sqrt(30), rel=0.15)


@pytest.mark.parametrize("partner", [0.0, 0.5, 1.0])
@pytest.mark.parametrize(("videos", "mixtures"), [(6, 30), (12, 60)])
def test_95_percent_intervals_hold_the_truth_in_95_percent(videos, mixtures, partner):
    """A score is its video's effect, `partner` times the other one's, and noise; the truth is 0."""
    rng, trials, held = np.random.default_rng(videos), 300, 0
    for trial in range(trials):
        own, others = rng.normal(size=(2, videos))
        first = np.arange(mixtures) % videos
        second = (first + rng.integers(1, videos, mixtures)) % videos
        scores = np.concatenate(
            [own[first] + partner * others[second], own[second] + partner * others[first]]
        )
        scores += rng.normal(size=2 * mixtures)
        low, high = metrics.bootstrap(
            scores, 2 * [(str(a), str(b)) for a, b in zip(first, second, strict=True)], trial
        )
        held += low <= 0 <= high
    assert 0.92 <= held / trials <= 0.99


def test_of_few_videos_no_interval_is_told():
    names = [(a, b) for a in "abcde" for b in "abcde" if a < b]
    assert metrics.bootstrap(np.arange(10.0), names) is None
    low, high = metrics.bootstrap(np.arange(11.0), [*names, ("a", "f")])
    assert low < 5 < high
    assert (
        metrics.bootstrap(np.arange(2.0), 2 * [tuple("abcdefghijklmn")]) is None
    )  # hardly a draw has all of them


def test_correlation_is_pearsons(sources):
    a, b = sources[0], sources[0] + sources[1]
    assert metrics.correlation(a, b) == pytest.approx(np.corrcoef(a, b)[0, 1])
    assert metrics.correlation(a, np.ones_like(a)) == 0


def test_silence_begins_80_db_below_full_scale_and_an_estimates_40_db_further_down(sources):
    tone = np.sqrt(2) * np.sin(2 * np.pi * np.arange(11_025) * 440 / 11_025)  # of RMS 1
    assert metrics.rms(np.stack([tone, 3 * tone])) == pytest.approx([1, 3])
    assert metrics.rms(np.int16([300, -300])) == 300  # squares of whole numbers don't wrap round
    assert metrics.silent(np.stack([0.99e-4 * tone, 1.01e-4 * tone])).tolist() == [True, False]
    estimates = sources + 0.3 * sources[::-1]
    expected = metrics.bss(sources, estimates)["sdr"]
    for level, heard in ((1.1e-6, True), (0.9e-6, False)):
        soft = metrics.bss(sources, level * estimates / metrics.rms(estimates)[:, None])["sdr"]
        np.testing.assert_allclose(soft, expected if heard else metrics.FAILED, rtol=1e-6)


@pytest.mark.parametrize("videos", [6, 24])
def test_where_each_score_has_a_video_of_its_own_the_interval_is_students(videos):
    """Scores that lie as a normal distribution does: for their mean Student's interval is exact."""
    scores = 3 + scipy.stats.norm.ppf((np.arange(videos) + 0.5) / videos)
    found = metrics.bootstrap(scores, [[f"v{i}"] for i in range(videos)], draws=10_000)
    half = scipy.stats.t.ppf(0.975, videos - 1) * scores.std(ddof=1) / np.sqrt(videos)
    assert found == pytest.approx((3 - half, 3 + half), abs=0.08 * half)
    assert found == metrics.bootstrap(scores, [[f"v{i}"] for i in range(videos)], 0, 10_000)
    assert found != metrics.bootstrap(scores, [[f"v{i}"] for i in range(videos)], 1, 10_000)


def test_a_mixture_counts_as_often_as_all_of_its_videos_were_drawn_together():
    """Of one video, of two and of three, drawn here one by one."""
    rng = np.random.default_rng(0)
    groups = [
        rng.choice(list("abcdefghijkl"), size, replace=False).tolist() for size in (1, 2, 3) * 12
    ]
    scores = rng.normal(size=36) + [len(group) for group in groups]
    drawn = rng.choice(list("abcdefghijkl"), (10_000, 12))
    counts = np.stack(
        [np.prod([(drawn == video).sum(1) for video in group], 0) for group in groups], 1
    )
    means = (counts @ scores / counts.sum(1).clip(1))[counts.any(1)]
    tail = 100 * scipy.stats.norm.cdf(-np.sqrt(12 / 11) * scipy.stats.t.ppf(0.975, 11))
    low, high = np.percentile(means, [tail, 100 - tail])
    assert metrics.bootstrap(scores, groups, draws=10_000) == pytest.approx(
        (low, high), abs=0.08 * (high - low)
    )


def test_a_peak_on_an_edge_is_in_one_of_two_boxes_that_meet_there():
    energy = np.zeros((4, 6))
    energy[1, 4] = 1  # its middle: x 0.75, y 0.375
    for boxes in (((0, 0, 0.75, 1), (0.75, 0, 1, 1)), ((0, 0, 1, 0.375), (0, 0.375, 1, 1))):
        assert [metrics.pointed(energy, box) for box in boxes] == [False, True]
    assert not metrics.pointed(np.ones((4, 6)), (0, 0, 1, 1))


def test_ciou_counts_pixels_of_which_the_middle_lies_in_the_box():
    energy = np.random.default_rng(0).random((224, 224))  # as fine as maps are compared
    inside = np.zeros((224, 224), bool)
    inside[40:100, 10:200] = True
    here = (energy - energy.min()) / (energy.max() - energy.min()) >= 0.5
    expected = (here & inside).sum() / (inside.sum() + (here & ~inside).sum())  # equation 8
    at = lambda x0, y0, x1, y1: tuple(v / 224 for v in (x0, y0, x1, y1))  # noqa: E731
    assert metrics.ciou(energy, at(10, 40, 200, 100)) == pytest.approx(expected, rel=1e-9)
    assert metrics.ciou(energy, at(9.6, 40.4, 199.6, 100.4)) == metrics.ciou(
        energy, at(10, 40, 200, 100)
    )
    half = np.zeros((224, 224))
    half[0, 0], half[40:100, 10:105] = 1, 0.5  # just as much as is asked for
    assert metrics.ciou(half, at(10, 40, 200, 100)) == pytest.approx(
        60 * 95 / (60 * 190 + 1), rel=1e-9
    )
    coarse = np.zeros((2, 2))
    coarse[0, 0] = (
        1  # between middles it falls linearly: to 0.5 half way, in both directions together
    )
    along = np.clip(1 - (np.arange(224) + 0.5 - 56) / 112, 0, 1)
    said = np.outer(along, along) >= 0.5
    assert metrics.ciou(coarse, (0, 0, 1, 1)) == pytest.approx(said.mean(), abs=1e-3)
    assert metrics.ciou(np.ones((224, 224)), at(0.1, 0.1, 0.2, 0.2)) == 0  # no pixel at all


def test_what_was_separated_blindly_is_put_in_order():
    rng = np.random.default_rng(1)
    three = 0.1 * rng.standard_normal((3, 3_000))
    found = three + 0.3 * np.roll(three, 1, 0) + 0.05 * rng.standard_normal(three.shape)
    scores, order = metrics.permuted(torch.from_numpy(three), torch.from_numpy(found[[2, 0, 1]]))
    assert order == [1, 2, 0]
    for key, values in metrics.bss(three, found).items():
        np.testing.assert_allclose(scores[key], values, rtol=1e-6)
    assert metrics.permuted(torch.zeros(2, 3_000), torch.from_numpy(found[:2])) is None
