"""STFT against librosa, the warp against its own promises."""

import librosa
import numpy as np
import pytest
import torch

from sop_core.spectrogram import Warp, istft, log_magnitude, log_positions, mel_positions, stft


@pytest.fixture(scope="module")
def sound():
    return np.random.default_rng(0).standard_normal((2, 8_000)).astype(np.float32)


def test_stft_equals_librosa(sound):
    expected = librosa.stft(sound, n_fft=1022, hop_length=256)  # (2, 512, T)
    np.testing.assert_allclose(stft(torch.from_numpy(sound), 1022, 256), expected, atol=1e-3)


def test_istft_inverts_stft_for_any_batch_shape(sound):
    x = torch.from_numpy(sound)[None]  # (1, 2, L)
    torch.testing.assert_close(istft(stft(x, 1022, 256), 256, x.shape[-1]), x, atol=1e-5, rtol=0)


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
