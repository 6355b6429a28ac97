"""STFT against librosa, the warp against its own promises."""

import librosa
import numpy as np
import pytest
import torch

from sop_core.model.spectrogram import (
    Inverse,
    Warp,
    istft,
    log_magnitude,
    log_positions,
    magnitude,
    mel_positions,
    stft,
)


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
    shape = (50, n_fft // 2 + 1)
    spec = rng.standard_normal(shape) + 1j * rng.standard_normal(shape)
    masks = rng.random((3, *shape))
    masks[1, 5:20], masks[1, 33:] = 0, 0
    spec = torch.from_numpy(spec.astype(np.complex64))
    masks = torch.from_numpy(masks.astype(np.float32))
    inverse, pieces, at = Inverse(n_fft, hop), [], 0
    for size in (1, 7, 20, 2, 20):
        piece = masks[:, at : at + size]
        row, frame = piece.any(-1).nonzero(as_tuple=True)
        taken = piece[row, frame] * spec[at + frame]
        rows, sounds = inverse.push(piece.shape[:2], row, frame, taken)
        pieces.append(torch.zeros(3, sounds.shape[1]).index_copy(0, rows, sounds))
        at += size
    sounds = torch.cat([*pieces, inverse.rest()[1]], 1)[:, n_fft // 2 :].numpy()
    length = 49 * hop
    for mask, sound in zip(masks, sounds, strict=True):
        masked = (mask * spec).T.numpy()
        expected = librosa.istft(masked, n_fft=n_fft, hop_length=hop, length=length)
        np.testing.assert_allclose(sound[:length], expected, atol=2e-4 * np.abs(expected).max())
        if hop < n_fft:  # torch refuses windows that leave samples out
            ours = istft((mask * spec).T, hop, length)
            np.testing.assert_allclose(sound[:length], ours, atol=2e-4 * np.abs(expected).max())


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
    expected = np.interp(np.arange(512), log_positions(256, 512).numpy(), mask[:, 0].numpy())
    linear = Warp(256, 512, "bank").inverse(mask)[:, 0]
    assert (linear - torch.from_numpy(expected)).abs().max() < 0.02


def test_the_mel_warp_is_the_stft_itself_below_1_khz_and_logarithmic_above():
    at = mel_positions(256, 512).numpy()
    assert at[0] == 0 and at[-1] == pytest.approx(511) and (np.diff(at) > 0.999).all()
    np.testing.assert_array_equal(at[:95], np.arange(95))
    steps = np.diff(np.log(at[100:]))
    np.testing.assert_allclose(steps, steps[0], rtol=1e-6)  # a ratio is a distance
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


def frames_of(sound, n_fft, hop):
    """Each frame's spectrum by numpy: a Hann window around every `hop`th sample.

    Zeros beyond the ends. Shape: (L,) -> (F, T)
    """
    padded = np.pad(sound, n_fft // 2)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)
    starts = range(0, len(padded) - n_fft + 1, hop)
    return np.stack([np.fft.rfft(window * padded[start : start + n_fft]) for start in starts], 1)


def test_a_sound_of_any_shape_and_precision_is_taken_as_it_is():
    sounds = np.random.default_rng(0).standard_normal((2, 3, 900))
    spec = stft(torch.from_numpy(sounds), 254, 64)
    assert spec.dtype == torch.complex128 and spec.shape == (2, 3, 128, 15)
    np.testing.assert_allclose(spec[1, 2].numpy(), frames_of(sounds[1, 2], 254, 64), atol=1e-12)
    back = istft(spec, 64, 890)
    assert back.dtype == torch.float64 and back.shape == (2, 3, 890)
    np.testing.assert_allclose(back.numpy(), sounds[..., :890], atol=1e-12)


def test_a_sound_too_short_to_be_mirrored_has_zeros_beyond_its_ends():
    sound = torch.randn(1, 128, generator=torch.manual_seed(0))
    for length, mirrored in ((127, False), (128, True)):
        short = sound[:, :length]
        same = torch.equal(stft(short, 254, 64, "reflect"), stft(short, 254, 64))
        assert same is not mirrored


def test_magnitude_is_the_absolute_value(sound):
    spec = stft(torch.from_numpy(sound), 254, 64)
    kept = spec.clone()
    torch.testing.assert_close(magnitude(spec), spec.abs())
    assert torch.equal(spec, kept)


def test_sounds_that_are_silent_all_the_while_are_not_made():
    """Sound 1 of 3 has frames. It lasts for `over - 1` more hops, then it is silent."""
    inverse = Inverse(16, 4)
    spec = torch.randn(2, 9, dtype=torch.complex64, generator=torch.manual_seed(0))
    rows, sounds = inverse.push((3, 2), torch.tensor([1, 1]), torch.tensor([0, 1]), spec)
    assert rows.tolist() == [1] and sounds.shape == (1, 8)
    nobody = torch.tensor([], dtype=torch.int64)
    nothing = torch.zeros(0, 9, dtype=torch.complex64)
    rows, rest = inverse.push((3, 5), nobody, nobody, nothing)
    assert rows.tolist() == [1] and rest.shape == (1, 20)
    assert rest[0, :12].any() and not rest[0, 12:].any()
    rows, rest = inverse.push((3, 2), nobody, nobody, nothing)
    assert rows.shape == (0,) and rest.shape == (0, 8)
    rows, rest = inverse.rest()
    assert rows.tolist() == [0, 1, 2] and rest.shape == (3, 12) and not rest.any()


@pytest.mark.parametrize("kind", ["mel", "bank"])
def test_each_bin_is_a_triangle_from_its_neighbour_to_its_neighbour(kind):
    """Its half-width is at least one linear bin, and its weights add up to 1."""
    at = (mel_positions if kind == "mel" else log_positions)(64, 512).numpy()
    bank, spectrum = Warp(64, 512, kind).bank.double().numpy(), np.arange(512)
    for f in (0, 1, 20, 40, 62, 63):
        half = max(1.0, at[f + 1] - at[f] if f < 63 else at[63] - at[62])
        triangle = np.interp(spectrum, [at[f] - half, at[f], at[f] + half], [0, 1, 0])
        np.testing.assert_allclose(bank[f], triangle / triangle.sum(), atol=1e-6)


def test_a_mask_goes_back_by_the_same_triangles():
    warp = Warp(64, 512, "bank")
    at, linear = log_positions(64, 512).numpy(), np.arange(512)
    half = np.maximum(1.0, np.append(np.diff(at), at[-1] - at[-2]))
    reads = np.clip(1 - abs(linear[:, None] - at) / half, 0, None)
    np.testing.assert_allclose(warp.back.numpy(), reads / reads.sum(1, keepdims=True), atol=1e-6)


def test_the_mel_scale_turns_where_its_two_parts_are_as_dense():
    """With 256 bins for 512 at bin 95: linear below; above, by a constant factor."""
    at = mel_positions(256, 512).numpy()
    # at the turn a step of one bin is a factor of exp(1 / turn)
    turn = 1 / np.log(at[200] / at[199])
    assert 94 < turn < 96 and at[255] <= 511
    np.testing.assert_allclose(at[96:255], turn * np.exp(np.arange(96, 255) / turn - 1), rtol=1e-9)


def test_log_positions_are_21_to_the_power_of_equal_steps():
    expected = (21.0 ** (np.arange(5) / 4) - 1) / 20 * 100
    at = log_positions(5, 101)
    assert at.dtype == torch.float64
    np.testing.assert_allclose(at.numpy(), expected, rtol=1e-12)


def test_the_log_of_a_magnitude_as_published_and_of_what_is_nearly_silent():
    mag = torch.tensor([[[0.0, 1.0], [1e-10, 5.0]]], dtype=torch.float64)
    np.testing.assert_allclose(
        log_magnitude(mag, "absolute").numpy(), np.log(mag.numpy() + 1e-10), rtol=1e-12
    )
    # a tenth of the smallest mean that counts
    quiet = torch.full((1, 4, 4), 1e-9, dtype=torch.float64)
    np.testing.assert_allclose(log_magnitude(quiet).numpy(), np.log(0.1 + 1e-3), rtol=1e-9)


@pytest.mark.parametrize("kind", ["mel", "bank", "grid", "none"])
def test_a_checkpoint_holds_nothing_of_a_warp(kind):
    assert not Warp(64, 512, kind).state_dict()
