"""NMF on mixtures whose answer is known."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import TINY

from sop_core import metrics
from sop_core.config import BASELINES
from sop_core.evaluation import methods, tables
from sop_core.evaluation import nmf as baselines
from sop_core.model.model import SoundOfPixels
from sop_core.training.mixtures import Listed
from sop_core.training.pairs import draw_pairs


@pytest.fixture(scope="module")
def sources():
    """A bright and a dull instrument that play notes of their own in turns and together. (2, L)"""
    rng, t = np.random.default_rng(0), np.arange(3 * TINY.rate) / TINY.rate
    sounds = []
    for partials, low in (((1, 2, 3), 150), ((9, 11, 13, 15), 200)):
        notes = [low * 2 ** (k / 12) for k in rng.integers(0, 12, 12)]
        hz = np.repeat(notes, len(t) // 12 + 1)[: len(t)]
        loud = (np.sin(2 * np.pi * rng.uniform(1, 2) * t + rng.uniform(0, 6)) + 1) / 2
        sounds.append(
            0.1 * loud * sum(np.sin(2 * np.pi * p * np.cumsum(hz) / TINY.rate) for p in partials)
        )
    return torch.tensor(np.stack(sounds), dtype=torch.float32)


def test_it_groups_what_sounds_alike_and_adds_up(sources):
    found = baselines.nmf(sources.sum(0), 2, TINY)
    torch.testing.assert_close(found.sum(0), sources.sum(0), atol=1e-4, rtol=0)
    before = metrics.bss(sources, sources.sum(0).expand_as(sources))["sdr"].mean()
    after = metrics.permuted(sources, found)[0]["sdr"].mean()
    swapped = metrics.permuted(sources, found.flip(0))[0]["sdr"].mean()
    assert after > before + 6 and swapped == pytest.approx(after)


WITHOUT = """
import sys
import numpy as np, torch
from numba.core.caching import CacheImpl
from tiny import TINY
from sop_core.compose.recordings import steady_pitch
from sop_core.errors import SopError
from sop_core.evaluation.nmf import nmf

CacheImpl._locator_classes = []  # as where no folder can be written
for _ in range(2):
    for use in (lambda: nmf(torch.ones(8_191), 2, TINY), lambda: steady_pitch(np.ones(9))):
        try:
            use()
        except SopError as e:
            print(e)
    sys.modules["librosa"] = None  # as where it isn't installed
"""


def test_librosa_that_cannot_be_used_gets_one_sentence():
    """Without a home in an environment that can't be written, numba raises as it is imported."""
    here = Path(__file__).parents[1]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (here, here.parent)))}
    told = subprocess.run(
        [sys.executable, "-c", WITHOUT], env=environment, capture_output=True, text=True
    )
    lines = told.stdout.splitlines()
    assert len(lines) == 4, told
    for line, what in zip(lines, 2 * ["the baseline nmf", "the pitch of recordings"], strict=True):
        assert line.startswith(what)
    for line in lines[:2]:
        assert "(cannot cache function" in line and "; set NUMBA_CACHE_DIR to a folder" in line
    for line, extra in zip(lines[2:], ("baselines", "compose"), strict=True):
        assert "librosa" in line and line.endswith(f"; run pip install -e '.[{extra}]'")


def test_silence_and_seed(sources):
    assert not baselines.nmf(torch.zeros(8_191), 2, TINY).abs().max() > 1e-6
    torch.testing.assert_close(
        baselines.nmf(sources.sum(0), 2, TINY, 3), baselines.nmf(sources.sum(0), 2, TINY, 3)
    )


def test_baselines_stand_in_the_table_beside_the_model(tiny_clips):
    torch.manual_seed(1)
    model = SoundOfPixels(TINY).eval()
    pairs = draw_pairs(tiny_clips, 3, TINY, labels="different")
    scores = methods.score_pairs(model, pairs, BASELINES)
    rows = {row["method"]: row for row in tables.table(scores)}
    assert set(rows) == {*methods.METHODS, *BASELINES}
    assert (
        rows["oracle_ratio_unwarped"]["sdr"]
        > rows["oracle_ratio"]["sdr"]
        > rows["nmf"]["sdr"]
        > rows["mixture"]["sdr"]
    )


def test_nmf_counts_in_whichever_order_scores_best(tiny_clips):
    torch.manual_seed(1)
    model, pair = SoundOfPixels(TINY).eval(), draw_pairs(tiny_clips, 1, TINY, labels="different")[0]
    item = Listed([pair], TINY)[0]["sounds"]
    best, order = metrics.permuted(item, baselines.nmf(item.sum(0), 2, TINY, seed=0))
    for mixture in (pair, pair[::-1]):
        scores = methods.score_pairs(model, [mixture], ["nmf"])
        assert scores[scores.method == "nmf"].sdr.mean() == pytest.approx(
            best["sdr"].mean(), abs=0.01
        )


def test_random_is_another_model_than_the_one_that_is_measured(tiny_clips):
    pairs, found = draw_pairs(tiny_clips, 2, TINY, labels="different"), []
    for seed in (1, 2):
        torch.manual_seed(seed)
        scores = (
            methods.score_pairs(SoundOfPixels(TINY).eval(), pairs, ["random"])
            .groupby("method")
            .sdr.mean()
        )
        found.append((scores["model"], scores["random"]))
    assert found[0][0] != pytest.approx(found[1][0], abs=1e-3)  # of another seed
    assert found[0][1] == pytest.approx(found[1][1], abs=1e-6)  # whatever is measured


def test_how_loud_a_component_is_does_not_group_it(sources, monkeypatch):
    """MFCC 0 is loudness, librosa's 1 to 12 are what is grouped by."""
    import librosa
    import sklearn.cluster

    told, grouped, mfcc, fit = [], [], librosa.feature.mfcc, sklearn.cluster.KMeans.fit_predict
    monkeypatch.setattr(librosa.feature, "mfcc", lambda **how: told.append(mfcc(**how)) or told[-1])
    monkeypatch.setattr(
        sklearn.cluster.KMeans, "fit_predict", lambda self, x: grouped.append(x) or fit(self, x)
    )
    baselines.nmf(sources.sum(0), 2, TINY)
    np.testing.assert_array_equal(grouped[0], told[0][1:].T)
    assert grouped[0].shape[1] == 12
