"""Masks against their definitions, written out for single bins."""

import numpy as np
import pytest
import torch

from sop_core.model import masks
from sop_core.model.spectrogram import stft


@pytest.fixture(scope="module")
def mags():
    mags = torch.rand(2, 3, 5, 4)
    mags[0, :, 0, 0] = 0  # a bin where nothing sounds
    mags[1, 2] = 0  # a silent source
    return mags


def test_binary_target_is_the_loudest_source_of_each_bin(mags):
    target = masks.targets(mags, "binary")
    for b, f, t in np.ndindex(2, 5, 4):
        column = mags[b, :, f, t]
        expected = [float(n == column.argmax() and column.sum() > 0) for n in range(3)]
        assert target[b, :, f, t].tolist() == expected
    assert not target[1, 2].any()


def test_ratio_target_is_each_sources_share(mags):
    target = masks.targets(mags, "ratio")
    torch.testing.assert_close(target.sum(1), (mags.sum(1) > 0).float())
    torch.testing.assert_close(target[0, 1, 3, 2], mags[0, 1, 3, 2] / mags[0, :, 3, 2].sum())
    assert not target[1, 2].any()


def test_loss_is_the_weighted_mean_of_cross_entropies(mags):
    logits, weight = torch.randn(2, 3, 5, 4), torch.rand(2, 1, 5, 4)
    target = masks.targets(mags, "ratio")
    p, t = torch.sigmoid(logits).numpy(), target.numpy()
    w = np.broadcast_to(weight, p.shape)
    expected = -(w * (t * np.log(p) + (1 - t) * np.log(1 - p))).mean()
    assert float(masks.loss(logits, target, weight)) == pytest.approx(float(expected), rel=1e-4)


def test_weights_grow_with_loudness_and_ignore_the_recordings_level():
    mag = torch.tensor([[[0.0, 1.0], [2.0, 5.0]]])
    weight = masks.weights(mag)
    assert weight.shape == (1, 1, 2, 2)
    assert weight.flatten().tolist() == sorted(weight.flatten().tolist())
    torch.testing.assert_close(masks.weights(7 * mag), weight)


def test_shared_masks_add_up_and_multiply_the_odds_of_both_pictures():
    # by its own picture A has the bin 4 : 1, by B's picture B has it 2 : 3
    alone = torch.tensor([0.8, 0.4])
    shared = masks.partition(torch.logit(alone).view(1, 2, 1, 1)).flatten()
    assert shared.tolist() == pytest.approx([6 / 7, 1 / 7])  # 4 : 1 times 3 : 2
    torch.testing.assert_close(masks.partition(torch.randn(2, 3, 5, 4)).sum(1), torch.ones(2, 5, 4))


def test_masks_that_add_up_give_sounds_that_add_up():
    sounds = torch.randn(2, 6_000)
    spec = stft(sounds, 1022, 256)
    ideal = masks.targets(spec.abs()[None], "ratio")[0]
    parts = masks.apply(ideal, spec.sum(0), 256, 6_000)
    torch.testing.assert_close(parts.sum(0), sounds.sum(0), atol=1e-4, rtol=0)
    mask = torch.tensor([0.5, 0.51])
    assert masks.binarize(mask, "binary").tolist() == [0, 1]
    assert torch.equal(masks.binarize(mask, "ratio"), mask)


def test_the_loss_among_sources_is_torchs_cross_entropy_and_leaves_out_what_nobody_sounds_in():
    generator = torch.manual_seed(0)
    logits = torch.randn(2, 3, 4, 5, generator=generator)
    weight = torch.rand(2, 1, 4, 5, generator=generator)
    loudest = torch.randint(0, 3, (2, 4, 5), generator=generator)
    target = torch.nn.functional.one_hot(loudest, 3).movedim(-1, 1).float()
    target[0, :, 0, 0], loudest[0, 0, 0] = 0, -100  # silence, which cross_entropy ignores
    each = torch.nn.functional.cross_entropy(logits, loudest, reduction="none")
    loss = masks.loss_among(logits, target, weight)
    torch.testing.assert_close(loss, (each * weight[:, 0]).mean())
    parts = masks.partition(logits)
    torch.testing.assert_close(masks.loss_among(parts.log(), target, weight), loss)


def test_weights_are_relative_to_the_windows_mean():
    mag = np.random.default_rng(0).gamma(0.5, size=(3, 20, 30))
    expected = np.log1p(mag / mag.mean((1, 2), keepdims=True)).clip(1e-3, 10)
    weight = masks.weights(torch.from_numpy(mag))[:, 0].numpy()
    np.testing.assert_allclose(weight, expected, rtol=1e-6)


@pytest.mark.parametrize("loudness", ["relative", "absolute"])
def test_weights_lie_between_a_thousandth_and_ten(loudness):
    mag = np.zeros((2, 200, 200))  # the second window is silent
    mag[0, 3, 5] = 1e5  # 1 of 40,000 bins holds nearly all: log(1 + 40,000) is more than 10
    mag[0, 4, :] = 0.3
    of = mag / mag.mean((1, 2), keepdims=True).clip(1e-8) if loudness == "relative" else mag
    expected = np.log1p(of).clip(1e-3, 10)
    assert expected.min() == 1e-3 and expected.max() == 10
    weight = masks.weights(torch.from_numpy(mag), loudness)[:, 0].numpy()
    np.testing.assert_allclose(weight, expected, rtol=1e-6)


def test_a_bin_counts_as_silent_below_a_hundred_millionth():
    mags = torch.tensor([4e-9, 5e-9, 8e-9, 9e-9]).view(1, 2, 1, 2)  # sums 1.2e-8 and 1.4e-8 sound
    for kind in ("binary", "ratio"):
        assert masks.targets(mags, kind).sum(1).allclose(torch.ones(1, 1, 2))
        assert not masks.targets(0.5 * mags, kind).any()
    torch.testing.assert_close(masks.targets(mags, "ratio")[0, 0, 0], torch.tensor([1 / 3, 5 / 14]))


@pytest.mark.parametrize("kind", ["binary", "ratio"])
def test_targets_keep_their_precision_and_published_ones_stand_silence(kind, mags):
    for mixture in (None, mags.sum(1).double()):
        target = masks.targets(mags.double(), kind, mixture)
        assert target.dtype == torch.float64 and target.isfinite().all()
        assert not target[0, :, 0, 0].any()
        assert (target[1, 2] == 0).all() and target.min() >= 0 and target.max() <= 1
    assert masks.binarize(target, kind).dtype == torch.float64
