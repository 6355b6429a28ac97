"""Evaluation: oracles and mixture behave as their definitions say; silence is excluded and counted; duets and boxes."""

import json
import math

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image
from tiny import TINY, TONES, write_clip

from sop_core import evaluate, mixing
from sop_core.errors import SopError
from sop_core.index import Clip
from sop_core.nets import SoundOfPixels


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return SoundOfPixels(TINY).eval()


class Eyes(SoundOfPixels):
    """A model whose answer is known: red lets low bins through, blue high ones."""

    def pixels(self, frames):
        colour = frames.float().amax(1)  # (B, 3, h, w)
        pooled = torch.nn.functional.adaptive_max_pool2d(colour[:, [0, 2]] - colour[:, [2, 0]], (4, 4))  # red, blue
        grid = torch.full((len(frames), 4, 4, self.config.channels), -9.0)
        grid[..., :2] = pooled.movedim(1, -1) / 5 - 15
        return grid

    def channels(self, spec):
        images = torch.zeros(len(spec), self.config.channels, self.config.bins, spec.shape[-1])
        cut = 20  # between 1 320 and 1 760 Hz, on TINY's 32 log-frequency bins
        images[:, 0, :cut], images[:, 0, cut:], images[:, 1, :cut], images[:, 1, cut:] = 15, -15, -15, 15
        return images


@pytest.fixture(scope="module")
def eyes():
    return Eyes(TINY).eval()


def row(rows, method):
    return next(r for r in rows if r["method"] == method)


def test_oracles_stand_above_the_mixture_and_the_mixture_near_zero(model, tiny_clips):
    pairs = mixing.draw_pairs(tiny_clips, 6, TINY, labels="different")
    rows = evaluate.table(evaluate.score_pairs(model, pairs))
    assert [r["method"] for r in rows] == list(evaluate.METHODS)
    assert row(rows, "oracle_ratio")["sdr"] > row(rows, "mixture")["sdr"] + 10
    assert row(rows, "oracle_binary")["sdr"] > row(rows, "mixture")["sdr"] + 10
    # The mixture estimates one source as well as it estimates the other: over both of a pair the ratios cancel.
    assert row(rows, "mixture")["sir"] == pytest.approx(0, abs=1.5)
    for r in rows:
        assert r["sdr_ci95"][0] <= r["sdr"] <= r["sdr_ci95"][1]
        assert r["sdr_mixture"] == row(rows, "mixture")["sdr"]
        assert (r["n_pairs"], r["n_excluded"]) == (6, 0)


def test_a_model_that_sees_separates_and_exchanging_its_frames_exchanges_the_sounds(eyes, tiny_clips):
    pairs = mixing.draw_pairs(tiny_clips, 6, TINY, labels="different")
    rows = evaluate.table(evaluate.score_pairs(eyes, pairs))
    assert row(rows, "model")["sdr"] > row(rows, "mixture")["sdr"] + 10
    assert row(rows, "exchanged")["sdr"] < row(rows, "mixture")["sdr"] - 10


def test_a_pair_with_a_silent_source_is_excluded_and_counted_never_averaged(eyes, tiny_clips, tmp_path):
    silent = write_clip(tmp_path, "blue", 9, silent=True)
    heard = mixing.draw_pairs(tiny_clips, 3, TINY, labels="different")
    pairs = [*heard, (heard[0][0], mixing.Part(silent, 0))]
    alone, both = (evaluate.table(evaluate.score_pairs(eyes, p)) for p in (heard, pairs))
    for a, b in zip(alone, both, strict=True):
        assert (b["n_pairs"], b["n_excluded"]) == (3, 1)
        assert a["sdr"] == b["sdr"]


def test_a_table_of_nothing_but_silence_says_so_without_numbers(eyes, tmp_path):
    parts = [mixing.Part(write_clip(tmp_path, label, 8, silent=True), 0) for label in TONES]
    rows = evaluate.table(evaluate.score_pairs(eyes, [tuple(parts)]))
    assert row(rows, "model")["sdr"] is None and row(rows, "model")["n_excluded"] == 1
    assert "excluded" in evaluate.text_table(rows)
    assert evaluate.per_label(evaluate.score_pairs(eyes, [tuple(parts)])) == []


def test_per_label_means_are_those_of_the_scores(eyes, tiny_clips):
    scores = evaluate.score_pairs(eyes, mixing.draw_pairs(tiny_clips, 6, TINY, labels="different"))
    for r in evaluate.per_label(scores):
        mine = scores[(scores.label == r["label"]) & (scores.method == "model")].sdr
        assert (r["n"], r["sdr"]) == (len(mine), pytest.approx(mine.mean(), abs=1e-3))


@pytest.fixture(scope="module")
def duet(tmp_path_factory):
    """A red square on the left and a blue one on the right that sound together; (clip, folder of the truth)."""
    data = tmp_path_factory.mktemp("duet")
    t = np.arange(3 * TINY.rate) / TINY.rate
    stems = [
        0.2 * np.sin(2 * np.pi * TONES[c] * t) * (1 + 0.5 * np.sin(2 * np.pi * f * t))
        for c, f in (("red", 1), ("blue", 2))
    ]
    sound, frames, truth = (
        data / "audio" / "red blue" / "d.flac",
        data / "frames" / "red blue" / "d.mp4",
        data / "truth",
    )
    for folder in (sound.parent, frames, truth):
        folder.mkdir(parents=True)
    soundfile.write(sound, sum(stems), TINY.rate)
    picture = np.full((60, 100, 3), 100, np.uint8)
    picture[10:50, 5:45], picture[10:50, 55:95] = (220, 30, 30), (30, 60, 220)
    for k in range(24):
        Image.fromarray(picture).save(frames / f"{k + 1:06d}.jpg")
    for i, stem in enumerate(stems):
        soundfile.write(truth / f"d_{i}.flac", stem, TINY.rate)
    boxes = {"red": [5, 10, 45, 50], "blue": [55, 10, 95, 50]}
    sources = [{"label": c, "box_xyxy": b, "stem": f"d_{i}.flac"} for i, (c, b) in enumerate(boxes.items())]
    (truth / "d.json").write_text(json.dumps({"frame_size": [100, 60], "sources": sources}))
    return Clip(sound, frames, 24), truth


def test_a_duet_is_separated_by_its_boxes_and_found_in_them(eyes, duet):
    clip, truth = duet
    scores, placed = evaluate.score_duets(eyes, [clip], truth)
    assert placed.right.all() and (placed.own > 0.95).all() and (placed.other < 0.3).all()
    assert evaluate.localization(placed)["share_right"] == 1
    rows = evaluate.table(scores)
    assert row(rows, "model")["sdr"] > row(rows, "exchanged")["sdr"] + 20
    assert row(rows, "model")["sdr"] > row(rows, "mixture")["sdr"] + 10


def test_wrong_boxes_are_found_out(eyes, duet, tmp_path):
    clip, truth = duet
    told = json.loads((truth / "d.json").read_text())
    for source, other in zip(told["sources"], told["sources"][::-1], strict=True):
        source["stem"] = str(truth / other["stem"])
    wrong = tmp_path / "truth"
    wrong.mkdir()
    (wrong / "d.json").write_text(json.dumps(told))
    for i in (0, 1):
        (wrong / f"d_{i}.flac").write_bytes((truth / f"d_{i}.flac").read_bytes())
    _, placed = evaluate.score_duets(eyes, [clip], wrong)
    assert not placed.right.any()


def test_truth_stays_in_its_folder_and_broken_truth_is_named(eyes, duet, tmp_path):
    clip, _ = duet
    escape = {"frame_size": [1, 1], "sources": [{"label": "x", "box_xyxy": [0, 0, 1, 1], "stem": "../../etc/passwd"}]}
    (tmp_path / "d.json").write_text(json.dumps(escape))
    assert evaluate.read_truth(tmp_path, "d")[0].stem == tmp_path / "passwd"
    (tmp_path / "d.json").write_text('{"sources": []}')
    with pytest.raises(SopError, match="d.json: expected frame_size"):
        evaluate.read_truth(tmp_path, "d")
    (tmp_path / "d.json").unlink()
    with pytest.raises(SopError, match="no <id>.json there"):
        evaluate.score_duets(eyes, [clip], tmp_path)


def test_same_and_different_labels_have_rows_of_their_own(eyes, tiny_clips):
    red, blue = ([c for c in tiny_clips if c.label == label] for label in ("red", "blue"))
    pairs = [
        tuple(mixing.Part(c, 100) for c in pair) for pair in ((red[0], blue[1]), (blue[0], red[2]), (red[0], red[1]))
    ]
    scores = evaluate.score_pairs(eyes, pairs)
    rows = evaluate.by_labels(scores)
    assert {name: row(mine, "model")["n_pairs"] for name, mine in rows.items()} == {"same": 1, "different": 2}
    assert rows["different"] == evaluate.table(evaluate.score_pairs(eyes, pairs[:2]))
    assert (
        row(rows["different"], "model")["sdr"] > row(rows["same"], "model")["sdr"] + 10
    )  # eyes see no difference there
    assert evaluate.by_labels(scores[scores.pair < 2]).keys() == {"different"}


def test_intervals_are_over_videos(eyes, tiny_clips):
    """Sections of one video are no independent clips: with one video there is nothing to draw from."""
    scores = evaluate.score_pairs(eyes, mixing.draw_pairs(tiny_clips, 4, TINY))
    low, high = row(evaluate.table(scores), "model")["sdr_ci95"]
    one = row(evaluate.table(scores.assign(video="the only one")), "model")
    assert low < high and one["sdr_ci95"] == [pytest.approx(one["sdr"], abs=1e-3)] * 2


def test_an_example_is_what_the_scores_are_of(eyes, tiny_clips):
    pair = mixing.draw_pairs(tiny_clips, 1, TINY, labels="different")
    one = evaluate.example(eyes, pair[0])
    scores = evaluate.score_pairs(eyes, pair)
    np.testing.assert_allclose(one.sdr, scores[scores.method == "model"].sdr, atol=1e-3)
    assert one.found_masks.shape == one.true_masks.shape == one.true_mags.shape == (2, TINY.bins, TINY.stft_frames)
    assert math.isclose(float(np.abs(one.true.sum(0) - one.mixture).max()), 0, abs_tol=1e-5)
