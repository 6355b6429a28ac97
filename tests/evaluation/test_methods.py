"""Estimates behave as their methods are defined; silence is excluded and counted; labels."""

import math

import numpy as np
import pytest
import soundfile
import torch
from tiny import TINY, TONES, write_clip

from sop_core.data.clips import Clip
from sop_core.evaluation import methods, tables
from sop_core.model.model import SoundOfPixels
from sop_core.training.pairs import draw_pairs
from sop_core.training.windows import Part


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return SoundOfPixels(TINY).eval()


def row(rows, method):
    return next(r for r in rows if r["method"] == method)


def test_oracles_stand_above_the_mixture_and_the_mixture_near_zero(model, tiny_clips):
    pairs = draw_pairs(tiny_clips, 6, TINY, labels="different")
    rows = tables.table(methods.score_pairs(model, pairs))
    assert [r["method"] for r in rows] == list(methods.METHODS)
    assert row(rows, "oracle_ratio")["sdr"] > row(rows, "mixture")["sdr"] + 10
    assert row(rows, "oracle_binary")["sdr"] > row(rows, "mixture")["sdr"] + 10
    # The mixture estimates both sources equally well: over both of a pair the ratios cancel.
    assert row(rows, "mixture")["sir"] == pytest.approx(0, abs=1.5)
    for r in rows:
        assert r["sdr_ci95"][0] <= r["sdr"] <= r["sdr_ci95"][1]
        assert r["sdr_mixture"] == row(rows, "mixture")["sdr"]
        assert (r["n_pairs"], r["n_excluded"]) == (6, 0)


def test_a_model_that_sees_separates_and_exchanging_its_frames_exchanges_the_sounds(
    eyes, tiny_clips
):
    pairs = draw_pairs(tiny_clips, 6, TINY, labels="different")
    rows = tables.table(methods.score_pairs(eyes, pairs))
    assert row(rows, "model")["sdr"] > row(rows, "mixture")["sdr"] + 10
    assert row(rows, "exchanged")["sdr"] < row(rows, "mixture")["sdr"] - 10


def test_a_pair_with_a_silent_source_is_excluded_and_counted_never_averaged(
    eyes, tiny_clips, tmp_path
):
    silent = write_clip(tmp_path, "blue", 9, silent=True)
    heard = draw_pairs(tiny_clips, 3, TINY, labels="different")
    pairs = [*heard, (heard[0][0], Part(silent, 0))]
    alone, both = (tables.table(methods.score_pairs(eyes, p)) for p in (heard, pairs))
    for a, b in zip(alone, both, strict=True):
        assert (b["n_pairs"], b["n_excluded"]) == (3, 1)
        assert a["sdr"] == b["sdr"]


def test_a_table_of_nothing_but_silence_says_so_without_numbers(eyes, tmp_path):
    parts = [Part(write_clip(tmp_path, label, 8, silent=True), 0) for label in TONES]
    rows = tables.table(methods.score_pairs(eyes, [tuple(parts)]))
    assert row(rows, "model")["sdr"] is None and row(rows, "model")["n_excluded"] == 1
    assert "excluded" in tables.text_table(rows)
    assert tables.per_label(methods.score_pairs(eyes, [tuple(parts)])) == []


def test_per_label_means_are_those_of_the_scores(eyes, tiny_clips):
    scores = methods.score_pairs(eyes, draw_pairs(tiny_clips, 6, TINY, labels="different"))
    for r in tables.per_label(scores):
        mine = scores[(scores.label == r["label"]) & (scores.method == "model")].sdr
        assert (r["n"], r["sdr"]) == (len(mine), pytest.approx(mine.mean(), abs=1e-3))


def test_same_and_different_labels_have_rows_of_their_own(eyes, tiny_clips):
    red, blue = ([c for c in tiny_clips if c.label == label] for label in ("red", "blue"))
    pairs = [
        tuple(Part(c, 100) for c in pair)
        for pair in ((red[0], blue[1]), (blue[0], red[2]), (red[0], red[1]))
    ]
    scores = methods.score_pairs(eyes, pairs)
    rows = tables.grouped(scores, "labels")
    assert {name: row(mine, "model")["n_pairs"] for name, mine in rows.items()} == {
        "same": 1,
        "different": 2,
    }
    assert rows["different"] == tables.table(methods.score_pairs(eyes, pairs[:2]))
    assert (
        row(rows["different"], "model")["sdr"] > row(rows["same"], "model")["sdr"] + 10
    )  # eyes see no difference there
    assert tables.grouped(scores[scores.pair < 2], "labels").keys() == {"different"}


def test_intervals_are_over_videos(eyes, tiny_clips):
    """Sections of one video are no independent clips: of one video there is no interval."""
    scores = methods.score_pairs(eyes, draw_pairs(tiny_clips, 6, TINY))
    low, high = row(tables.table(scores), "model")["sdr_ci95"]
    one = row(tables.table(scores.assign(video="the only one")), "model")
    assert low < high and one["sdr_ci95"] is None


def test_an_example_is_what_the_scores_are_of(eyes, tiny_clips):
    pair = draw_pairs(tiny_clips, 1, TINY, labels="different")
    one = methods.example(eyes, pair[0])
    scores = methods.score_pairs(eyes, pair)
    np.testing.assert_allclose(one.sdr, scores[scores.method == "model"].sdr, atol=1e-3)
    assert (
        one.estimate_masks.shape
        == one.true_masks.shape
        == one.true_mags.shape
        == (2, TINY.bins, TINY.stft_frames)
    )
    assert math.isclose(float(np.abs(one.true.sum(0) - one.mixture).max()), 0, abs_tol=1e-5)


def test_exchanged_leaves_no_source_its_own_picture(model, monkeypatch):
    shown = []
    monkeypatch.setattr(
        model,
        "separate",
        lambda mixture, frames: shown.append(frames[0]) or torch.zeros(1, 3, 9_000),
    )
    frames = torch.arange(3, dtype=torch.uint8)[:, None, None, None, None].expand(3, 1, 3, 4, 4)
    methods.estimates(model, torch.randn(3, 9_000), frames)
    own, exchanged = (seen[:, 0, 0, 0, 0].tolist() for seen in shown)
    assert (
        own == [0, 1, 2]
        and sorted(exchanged) == own
        and all(a != b for a, b in zip(own, exchanged, strict=True))
    )


def test_sources_at_equal_level_are_equally_loud(model, tiny_clips, tmp_path):
    soft = write_clip(tmp_path, "red", 7)
    sound, rate = soundfile.read(soft.sound)
    soundfile.write(soft.sound, sound / 10, rate)  # 20 dB softer
    pairs = [(Part(soft, 0), Part(next(c for c in tiny_clips if c.label == "blue"), 0))]

    def sdr(equal_level):  # of the mixture: the level of each source over the other's
        scores = methods.score_pairs(model, pairs, equal_level=equal_level)
        return scores[scores.method == "mixture"].sdr.to_numpy()

    assert sdr(False)[1] - sdr(False)[0] > 30  # two sources, about 20 dB up and 20 dB down
    assert sdr(True) == pytest.approx([0, 0], abs=1.0)
    # what is silent, but for its dither, is not made loud
    level = np.sqrt(np.mean(sound**2))
    soundfile.write(soft.sound, sound * (5e-5 / level), rate, subtype="PCM_24")
    scores = methods.score_pairs(model, pairs, equal_level=True)
    assert scores.sdr.isna().all() and scores.silent.tolist() == [True, False] * 7


def test_a_sound_that_is_heard_alone_goes_to_the_picture_of_what_makes_it(
    eyes, tiny_clips, tmp_path
):
    red, blue = (next(c for c in tiny_clips if c.label == label) for label in ("red", "blue"))
    shares = methods.heard_as(eyes, (Part(red, 100), Part(blue, 300)))
    assert list(shares.index) == list(shares.columns) == ["red", "blue"]
    assert shares.loc["red", "red"] > 0.95 and shares.loc["blue", "blue"] > 0.95
    np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-5)
    # shown as the other: each sound goes to where the other label is
    crossed = [Clip(a.sound, b.frames, a.n_frames) for a, b in ((red, blue), (blue, red))]
    other = methods.heard_as(eyes, (Part(crossed[0], 100), Part(crossed[1], 300)))
    np.testing.assert_allclose(other.to_numpy(), shares.to_numpy()[:, ::-1], atol=1e-6)
    # two of a kind have half each; nothing is told of silence
    silent = write_clip(tmp_path, "blue", 9, silent=True)
    twins = methods.heard_as(eyes, (Part(red, 100), Part(red, 100), Part(silent, 0)))
    np.testing.assert_allclose(twins.iloc[:2, :2], 0.5, atol=0.03)
    assert twins.iloc[2].isna().all()
