"""A scene: clicking a cell equals that cell of the full result; regions, windows and the grid's geometry."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import TINY

from sop_core.errors import SopError
from sop_core.localize import Scene
from sop_core.nets import SoundOfPixels


@pytest.fixture(scope="module")
def scene():
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 255, (16, 30, 50, 3), dtype=np.uint8)  # wider than high
    return Scene(SoundOfPixels(TINY).eval(), frames, 0.1 * rng.standard_normal(2 * TINY.rate))


class Squares(SoundOfPixels):
    """A model whose answer is known: left pixels let low bins through, right pixels high ones, the top row nothing."""

    def pixels(self, frames):
        grid = torch.zeros(len(frames), 4, 4, self.config.channels)
        grid[..., 0], grid[..., 1] = -9.0, -9.0
        grid[:, 1:, :2, 0] = 9.0
        grid[:, 1:, 2:, 1] = 9.0
        return grid

    def channels(self, spec):
        images = torch.zeros(len(spec), self.config.channels, self.config.bins, spec.shape[-1])
        images[:, 0, :16], images[:, 1, 16:] = 20.0, 20.0
        images[:, 2:] = -5.0  # where no pixel says otherwise: shut (its number is 0.5 everywhere)
        return images


@pytest.fixture(scope="module")
def squares():
    t = np.arange(4 * TINY.rate) / TINY.rate
    sound = 0.2 * np.sin(2 * np.pi * 300 * t) + 0.2 * np.sin(2 * np.pi * 3_000 * t)
    return Scene(Squares(TINY).eval(), np.zeros((32, 60, 80, 3), np.uint8), sound)


def tones(sound):
    """Energy share near 300 Hz and near 3 000 Hz."""
    power = np.abs(np.fft.rfft(sound)) ** 2
    hz = np.fft.rfftfreq(len(sound), 1 / TINY.rate)
    near = [power[np.abs(hz - f) < 100].sum() for f in (300, 3_000)]
    return np.array(near) / power.sum().clip(1e-9)


def test_a_scene_that_hears_another_sound_is_as_one_made_with_it(scene):
    rng = np.random.default_rng(1)
    frames = np.random.default_rng(0).integers(0, 255, (16, 30, 50, 3), dtype=np.uint8)
    sound, before = np.float32(0.1 * rng.standard_normal(2 * TINY.rate)), scene.sound((1, 2))
    other, alone = scene.hearing(sound), Scene(scene.model, frames, sound)
    np.testing.assert_allclose(other.sound((1, 2)), alone.sound((1, 2)), atol=1e-6)
    np.testing.assert_allclose(other.energy(), alone.energy(), atol=1e-6)
    np.testing.assert_array_equal(scene.sound((1, 2)), before)  # the scene itself is as it was
    assert len(scene.hearing(sound[:99]).mixture) == len(scene.hearing(np.tile(sound, 2)).mixture) == 2 * TINY.rate


def test_each_side_of_the_picture_sounds_as_it_should(squares):
    low, high = squares.sound((2, 0)), squares.sound((2, 3))
    assert tones(low)[0] > 0.99 > 0.01 > tones(low)[1]
    assert tones(high)[1] > 0.99 > 0.01 > tones(high)[0]
    assert np.abs(squares.sound((0, 1))).max() < 1e-3  # the top row is silent, and is not made loud


def test_a_masked_clip_has_no_seams_where_windows_meet(squares):
    """The low tone passes whole: what comes out is that tone, in every window and between them."""
    t = np.arange(4 * TINY.rate) / TINY.rate
    error = squares.sound((2, 0)) - 0.2 * np.sin(2 * np.pi * 300 * t)
    assert len(squares.starts) > 5
    assert np.abs(error[1_000:-1_000]).max() < 0.01


def test_energy_is_the_share_of_the_mixtures_and_lies_where_the_pixels_say(squares):
    energy = squares.energy()
    assert energy.shape == (4, 4)
    np.testing.assert_allclose(energy[0], 0, atol=1e-6)
    np.testing.assert_allclose(energy[1:], 0.5, atol=0.02)
    measured = (squares.sound((2, 0)) ** 2).sum() / (squares.mixture**2).sum()
    assert energy[2, 0] == pytest.approx(measured, abs=0.02)


def test_a_region_sounds_as_the_greatest_of_its_cells(squares):
    both = squares.sound([(2, 0), (2, 3), (0, 0)])
    np.testing.assert_allclose(both[1_000:-1_000], squares.mixture[1_000:-1_000], atol=0.02)


def test_where_training_pools_over_several_cells_a_stray_one_does_not_speak_for_a_region(squares):
    left_and_one_stray = [(r, c) for r in (1, 2, 3) for c in (0, 1)] + [(2, 3)]
    assert tones(squares.sound(left_and_one_stray))[1] > 0.4
    pooled = Scene(Squares(replace(TINY, pool=0.5)).eval(), squares.frame[None], squares.mixture)
    low, high = tones(pooled.sound(left_and_one_stray))
    assert low > 0.99 > 0.01 > high


@pytest.mark.parametrize(("cells", "counted"), [(16, 5), (6, 3), (1, 1)])
def test_a_region_is_the_mean_of_half_its_cells_but_of_fewer_than_training_pools(cells, counted):
    """Training pools 8 of the picture's 16 cells: a region, which has neighbours, at most 2 / 3 of that."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 255, (6, 32, 32, 3), dtype=np.uint8)
    scene = Scene(SoundOfPixels(replace(TINY, pool=0.5)).eval(), frames, 0.1 * rng.standard_normal(TINY.samples))
    region = [(i // 4, i % 4) for i in range(cells)]
    numbers = torch.stack([scene.pixels[0, r, c] for r, c in region])  # (cells, K)
    pooled = numbers.sort(0, descending=True).values[:counted].mean(0)
    with torch.inference_mode():
        expected = torch.sigmoid(scene.model.logits(pooled[None, None], scene.channels))[0, 0]
    torch.testing.assert_close(scene.masks([region])[0], expected)


def test_a_click_equals_that_cell_of_all_pixels_at_once(scene):
    everything = scene.masks([[(r, c)] for r in range(4) for c in range(4)])
    for r, c in [(0, 3), (3, 0), (1, 2)]:
        expected = scene.model.sounds(everything[4 * r + c], scene.spec, len(scene.mixture)).detach().numpy()
        np.testing.assert_allclose(scene.sound((r, c)), expected, atol=1e-5)


def test_a_clip_of_one_window_equals_the_models_own_separation(tiny_clips):
    """Every cell together is the whole picture, which is what training pools."""
    from sop_core import media
    from sop_core.mixing import Part, load

    torch.manual_seed(0)
    model = SoundOfPixels(replace(TINY, share=False)).eval()  # the region has no other to share with
    clip = tiny_clips[0]
    sound, frames, _ = load(Part(clip, 0), TINY)
    expected = model.separate(torch.from_numpy(sound)[None], torch.from_numpy(frames)[None, None])[0, 0]
    pictures = media.read_frames(clip.frames, range(6))  # as many as the window lasts: its middle is the same
    scene = Scene(model, pictures, sound)
    found = scene.sound([(r, c) for r in range(4) for c in range(4)])
    assert np.corrcoef(found, expected)[0, 1] > 0.99


@pytest.mark.parametrize("seconds", [0.1, 0.74, 0.75, 5.3])
def test_any_length_works_shorter_than_a_window_too(seconds):
    rng = np.random.default_rng(0)
    sound = 0.1 * rng.standard_normal(int(seconds * TINY.rate)).astype(np.float32)
    scene = Scene(SoundOfPixels(TINY).eval(), np.zeros((2, 8, 8, 3), np.uint8), sound)
    assert scene.sound((1, 1)).shape == sound.shape
    assert np.isfinite(scene.energy()).all()


def test_cells_in_a_box_of_the_picture(scene):
    assert scene.cells_in((0, 0, 0.5, 0.25)) == [(0, 0), (0, 1)]  # x first: half the columns, one row
    assert scene.cells_in((0.9, 0.5, 1.0, 1.0)) == [(2, 3), (3, 3)]  # too narrow for a centre: the nearest column
    assert len(scene.cells_in((-1, -1, 2, 2))) == 16


@pytest.mark.parametrize("cell", [(4, 0), (0, 4), (-1, 0)])
def test_a_pixel_off_the_grid_gets_one_clear_sentence(scene, cell):
    with pytest.raises(SopError, match=r"off the grid: rows go from 0 to 3, columns from 0 to 3"):
        scene.sound(cell)


@pytest.mark.parametrize("box", [(0.5, 0, 0.5, 1), (2, 0, 3, 1)])
def test_an_empty_box_gets_one_clear_sentence(scene, box):
    with pytest.raises(SopError, match="expected x0 < x1"):
        scene.cells_in(box)


def test_a_scene_needs_picture_and_sound():
    with pytest.raises(SopError, match="0 frames and 5 samples"):
        Scene(SoundOfPixels(TINY).eval(), np.zeros((0, 8, 8, 3), np.uint8), np.zeros(5))
