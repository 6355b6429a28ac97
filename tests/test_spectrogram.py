"""STFT against librosa, the warp against its own promises."""

import librosa
import numpy as np
import pytest
import torch

from sop_core.spectrogram import Inverse, Warp, istft, log_magnitude, log_positions, mel_positions, stft


@pytest.fixture(scope="module")
def sound():
    return np.random.default_rng(0).standard_normal((2, 8_000)).astype(np.float32)


def test_stft_equals_librosa(sound):
    expected = librosa.stft(sound, n_fft=1022, hop_length=256)  # (2, 512, T)
    np.testing.assert_allclose(stft(torch.from_numpy(sound), 1022, 256), expected, atol=1e-3)


def test_istft_inverts_stft_for_any_batch_shape(sound):
    x = torch.from_numpy(sound)[None]  # (1, 2, L)
    torch.testing.assert_close(istft(stft(x, 1022, 256), 256, x.shape[-1]), x, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("n_fft", "hop"), [(1022, 256), (510, 100), (256, 256)])
def test_the_inverse_by_pieces_is_librosas_inverse_of_the_whole(n_fft, hop):
    """Of three masks at once, one of them with silent stretches, in pieces of uneven length."""
    rng = np.random.default_rng(0)
    spec = rng.standard_normal((50, n_fft // 2 + 1)) + 1j * rng.standard_normal((50, n_fft // 2 + 1))
    masks = rng.random((3, *spec.shape))
    masks[1, 5:20], masks[1, 33:] = 0, 0
    spec, masks = torch.from_numpy(spec.astype(np.complex64)), torch.from_numpy(masks.astype(np.float32))
    inverse, found, at = Inverse(n_fft, hop), [], 0
    for size in (1, 7, 20, 2, 20):
        piece = masks[:, at : at + size]
        row, frame = piece.any(-1).nonzero(as_tuple=True)
        rows, sounds = inverse.push(piece.shape[:2], row, frame, piece[row, frame] * spec[at + frame])
        found.append(torch.zeros(3, sounds.shape[1]).index_copy(0, rows, sounds))
        at += size
    found = torch.cat([*found, inverse.rest()[1]], 1)[:, n_fft // 2 :].numpy()
    length = 49 * hop
    for mask, sound in zip(masks, found, strict=True):
        expected = librosa.istft((mask * spec).T.numpy(), n_fft=n_fft, hop_length=hop, length=length)
        np.testing.assert_allclose(sound[:length], expected, atol=2e-4 * np.abs(expected).max())


@pytest.mark.parametrize("kind", ["mel", "bank", "grid", "none"])
def test_masks_with_frequency_last_go_back_to_linear_frequency_all_the_same(kind):
    bins = 512 if kind == "none" else 64
    warp, masks = Warp(bins, 512, kind), torch.rand(3, bins, 9, generator=torch.manual_seed(0))
    torch.testing.assert_close(warp.inverse_frames(masks.mT), warp.inverse(masks).mT)


@pytest.mark.parametrize("kind", ["mel", "bank"])
@pytest.mark.parametrize("bins", [64, 128, 256])
def test_warp_reads_every_bin_and_an_all_pass_mask_stays_one(bins, kind):
    warp = Warp(bins, 512, kind)
    assert (warp.bank.sum(0) > 0).all()
    torch.testing.assert_close(warp(torch.ones(512, 3)), torch.ones(bins, 3))
    torch.testing.assert_close(warp.inverse(torch.ones(bins, 3)), torch.ones(512, 3))


def test_warp_puts_a_tone_where_the_published_scale_has_it():
    """The published grid: bin f of 256 reads linear bin (21**(f/255) - 1) / 20 * 511."""
    warp, spectrum = Warp(256, 512, "bank"), torch.zeros(512, 1)
    spectrum[137] = 1.0
    expected = 255 * np.log(1 + 137 / 511 * 20) / np.log(21)
    assert abs(int(warp(spectrum).argmax()) - expected) <= 1
    assert log_positions(256, 512)[[0, -1]].tolist() == pytest.approx([0, 511])


def test_warp_and_back_keeps_a_mask_that_changes_slowly():
    mask = torch.linspace(0, 1, 256, dtype=torch.float64).float()[:, None]
    there = torch.from_numpy(np.interp(np.arange(512), log_positions(256, 512).numpy(), mask[:, 0].numpy()))
    assert (Warp(256, 512, "bank").inverse(mask)[:, 0] - there).abs().max() < 0.02


def test_the_mel_warp_is_the_stft_itself_below_1_khz_and_logarithmic_above():
    at = mel_positions(256, 512).numpy()
    assert at[0] == 0 and at[-1] == pytest.approx(511) and (np.diff(at) > 0.999).all()
    np.testing.assert_array_equal(at[:95], np.arange(95))
    np.testing.assert_allclose(
        np.diff(np.log(at[100:])), np.diff(np.log(at[100:]))[0], rtol=1e-6
    )  # a ratio is a distance
    warp, mag = Warp(256, 512), torch.rand(512, 3, generator=torch.manual_seed(0))
    torch.testing.assert_close(warp(mag)[:94], mag[:94])
    torch.testing.assert_close(warp.inverse(warp(mag))[:94], mag[:94])


def test_log_magnitude_ignores_level_and_survives_silence():
    mag = torch.rand(1, 16, 8)
    torch.testing.assert_close(log_magnitude(100 * mag), log_magnitude(mag))
    assert torch.isfinite(log_magnitude(torch.zeros(1, 16, 8))).all()


def test_log_magnitude_is_relative_to_the_windows_mean():
    mag = np.random.default_rng(0).gamma(0.5, size=(3, 20, 30))
    expected = np.log(mag / mag.mean((1, 2), keepdims=True) + 1e-3)
    np.testing.assert_allclose(log_magnitude(torch.from_numpy(mag)).numpy(), expected, rtol=1e-6)
