"""NMF on mixtures whose answer is known."""

import numpy as np
import pytest
import torch
from tiny import TINY

from sop_core import baselines, methods, metrics, mixing, tables
from sop_core.config import BASELINES
from sop_core.nets import SoundOfPixels


@pytest.fixture(scope="module")
def sources():
    """A bright and a dull instrument that play notes of their own in turns and together. (2, L)"""
    rng, t = np.random.default_rng(0), np.arange(3 * TINY.rate) / TINY.rate
    sounds = []
    for partials, low in (((1, 2, 3), 150), ((9, 11, 13, 15), 200)):
        notes = [low * 2 ** (k / 12) for k in rng.integers(0, 12, 12)]
        hz = np.repeat(notes, len(t) // 12 + 1)[: len(t)]
        loud = (np.sin(2 * np.pi * rng.uniform(1, 2) * t + rng.uniform(0, 6)) + 1) / 2
        sounds.append(0.1 * loud * sum(np.sin(2 * np.pi * p * np.cumsum(hz) / TINY.rate) for p in partials))
    return torch.tensor(np.stack(sounds), dtype=torch.float32)


def test_it_groups_what_sounds_alike_and_adds_up(sources):
    found = baselines.nmf(sources.sum(0), 2, TINY)
    torch.testing.assert_close(found.sum(0), sources.sum(0), atol=1e-4, rtol=0)
    before = metrics.bss(sources, sources.sum(0).expand_as(sources))["sdr"].mean()
    after = metrics.permuted(sources, found)[0]["sdr"].mean()
    swapped = metrics.permuted(sources, found.flip(0))[0]["sdr"].mean()
    assert after > before + 6 and swapped == pytest.approx(after)


def test_silence_and_seed(sources):
    assert not baselines.nmf(torch.zeros(8_191), 2, TINY).abs().max() > 1e-6
    torch.testing.assert_close(baselines.nmf(sources.sum(0), 2, TINY, 3), baselines.nmf(sources.sum(0), 2, TINY, 3))


def test_baselines_stand_in_the_table_beside_the_model(tiny_clips):
    torch.manual_seed(1)
    model = SoundOfPixels(TINY).eval()
    pairs = mixing.draw_pairs(tiny_clips, 3, TINY, labels="different")
    scores = methods.score_pairs(model, pairs, BASELINES)
    rows = {row["method"]: row for row in tables.table(scores)}
    assert set(rows) == {*methods.METHODS, *BASELINES}
    assert (
        rows["oracle_ratio_unwarped"]["sdr"] > rows["oracle_ratio"]["sdr"] > rows["nmf"]["sdr"] > rows["mixture"]["sdr"]
    )
