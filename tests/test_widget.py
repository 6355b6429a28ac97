"""The click, seen from Python: traits in, sound out. What the page does is in tests/browser, its arithmetic in node."""

import io
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from sop_core.errors import SopError
from sop_core.widget import PixelPlayer

STEP = 1 / 32_767  # of 16 bit PCM


class ToneScene:
    """9 rows, 14 columns, each cell a tone of its own: a click at (column, row) sounds wrong or is off the grid."""

    def __init__(self, grid=(9, 14), rate=11_025, samples=4_410, level=0.5):
        self.grid, self.rate, self.level, self.calls = grid, rate, level, []
        self.time = np.arange(samples) / rate
        self.frame = np.zeros((180, 320, 3), np.uint8)
        self.frame[:90, :, 0] = 255  # the upper half is red
        self.mixture = (0.5 * np.sin(2 * np.pi * 200 * self.time)).astype(np.float32)

    @staticmethod
    def hertz(pixel):
        return 300 + 200 * pixel[0] + 10 * pixel[1]

    def energy(self):
        return np.linspace(0, 1, self.grid[0] * self.grid[1]).reshape(self.grid)

    def sound(self, pixel):
        self.calls.append(pixel)
        return (self.level * np.sin(2 * np.pi * self.hertz(pixel) * self.time)).astype(np.float32)


def pitch(samples, rate):
    """Hz of the strongest partial."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples)), 2**16))
    return spectrum.argmax() * rate / 2**16


def wav(data):
    return soundfile.read(io.BytesIO(data), dtype="float32")


@pytest.fixture
def scene():
    return ToneScene()


@pytest.fixture
def player(scene):
    return PixelPlayer(scene)


def test_before_a_click_nothing_is_heard_and_nothing_was_computed(player, scene):
    assert (player.pixel, player.heard, player.sound, player.samples, player.error) == (None, None, b"", None, "")
    assert scene.calls == []


def test_what_the_page_is_given(player, scene):
    assert player.grid == (9, 14) and player.overlay is True
    np.testing.assert_allclose(np.frombuffer(player.energy, "<f4").reshape(9, 14), scene.energy(), atol=1e-6)
    samples, rate = wav(player.mixture)
    assert rate == scene.rate
    np.testing.assert_allclose(samples, scene.mixture, atol=STEP)
    picture = np.asarray(Image.open(io.BytesIO(player.picture)))
    assert picture.shape == (180, 320, 3)
    assert picture[20, 160, 0] > 240 and picture[160, 160, 0] < 15  # upright


@pytest.mark.parametrize("pixel", [(0, 0), (3, 9), (8, 13), (8, 0), (0, 13)])
def test_a_click_plays_the_sound_of_its_cell(player, scene, pixel):
    player.pixel = pixel
    assert player.heard == pixel and scene.calls == [pixel]
    np.testing.assert_array_equal(player.samples, scene.sound(pixel))
    assert pitch(player.samples, scene.rate) == pytest.approx(scene.hertz(pixel), abs=2)
    samples, rate = wav(player.sound)
    assert rate == scene.rate and soundfile.info(io.BytesIO(player.sound)).subtype == "PCM_16"
    np.testing.assert_allclose(samples, player.samples, atol=STEP)


def test_a_pixel_may_be_a_list_or_numpys_and_is_kept_as_a_tuple(player):
    player.pixel = [3, 9]
    assert player.pixel == (3, 9)
    player.pixel = np.unravel_index(4 * 14 + 2, (9, 14))  # what argmax gives
    assert player.pixel == (4, 2) and all(type(i) is int for i in player.pixel)
    assert PixelPlayer(ToneScene(), pixel=(1, 2)).heard == (1, 2)


def test_the_same_pixel_again_computes_nothing(player, scene):
    player.pixel = 3, 9
    player.pixel = 3, 9
    assert len(scene.calls) == 1


def test_none_takes_the_sound_away(player):
    player.pixel = 3, 9
    player.pixel = None
    assert (player.heard, player.sound, player.samples) == (None, b"", None)


@pytest.mark.parametrize("pixel", [(9, 0), (0, 14), (-1, 0), (99, 99), (1.5, 2), (1, 2, 3), 7, "ab"])
def test_a_pixel_off_the_grid_is_refused_aloud_and_the_old_sound_stays(player, pixel):
    player.pixel = 3, 9
    sound = player.sound
    with pytest.raises(SopError, match="9 rows and 14 columns.*row from 0 to 8 and column from 0 to 13") as e:
        player.pixel = pixel
    assert repr(pixel) in str(e.value)
    assert player.error == str(e.value) and "\n" not in player.error
    assert (player.pixel, player.heard, player.sound) == ((3, 9), (3, 9), sound)
    player.pixel = 8, 13
    assert player.error == ""


def test_a_cell_that_fails_is_told_and_can_be_tried_again(player, scene):
    player.pixel = 3, 9
    sound, scene.sound = scene.sound, lambda pixel: 1 / 0
    with pytest.raises(
        SopError, match=r"row 4, column 2 can't be played \(ZeroDivisionError: division by zero\); click"
    ):
        player.pixel = 4, 2
    assert player.error.startswith("row 4, column 2") and (player.pixel, player.heard) == ((3, 9), (3, 9))
    scene.sound = sound
    player.pixel = 4, 2
    assert player.heard == (4, 2) and player.error == ""


def test_the_first_click_failing_leaves_nothing_chosen(player, scene):
    scene.sound = lambda pixel: np.full(10, np.nan, np.float32)  # as 16 bit: noise at full scale
    with pytest.raises(SopError, match=r"scene.sound\(\(4, 2\)\).*finite"):
        player.pixel = 4, 2
    assert (player.pixel, player.sound) == (None, b"")


def test_a_click_of_the_page_that_fails_ends_in_the_same_state(player, scene):
    scene.sound = lambda pixel: 1 / 0
    with pytest.raises(SopError):  # the kernel's log
        player.set_state({"pixel": [4, 2]})
    assert player.pixel is None and "ZeroDivisionError" in player.error
    with pytest.raises(SopError):
        player.set_state({"pixel": [14, 9]})
    assert player.pixel is None and "9 rows" in player.error


def test_level_is_absolute():
    quiet, silent = PixelPlayer(ToneScene(level=0.01), pixel=(0, 0)), PixelPlayer(ToneScene(level=0), pixel=(0, 0))
    assert np.abs(quiet.samples).max() == pytest.approx(0.01, rel=0.01)
    assert not wav(silent.sound)[0].any()


def test_a_mixture_that_would_clip_turns_all_sounds_down_alike():
    scene = ToneScene(level=0.4)
    scene.mixture *= 4  # peak 2
    player = PixelPlayer(scene, pixel=(0, 0))
    assert np.abs(wav(player.mixture)[0]).max() == pytest.approx(1, abs=0.01)
    assert np.abs(player.samples).max() == pytest.approx(0.2, abs=0.01)


def test_a_sound_above_full_scale_is_turned_down_not_clipped():
    player = PixelPlayer(ToneScene(level=3), pixel=(2, 3))
    samples, rate = wav(player.sound)
    assert np.abs(samples).max() == pytest.approx(1, abs=0.01)
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    third = round(3 * ToneScene.hertz((2, 3)) * len(samples) / rate)  # clipping makes odd partials
    assert spectrum[third - 3 : third + 4].max() < 1e-3 * spectrum.max()


def test_repr_is_stable(player):
    assert repr(player) == "PixelPlayer(9 x 14 cells, 0.40 s at 11025 Hz, pixel=None)"
    player.pixel = np.int64(3), np.int64(9)
    assert repr(player) == "PixelPlayer(9 x 14 cells, 0.40 s at 11025 Hz, pixel=(3, 9))"
    assert player._repr_mimebundle_()[0]["text/plain"] == repr(player)


def test_two_players_are_independent():
    one, two = PixelPlayer(ToneScene()), PixelPlayer(ToneScene(grid=(4, 5)))
    one.pixel = 8, 13
    assert two.pixel is None and two.sound == b""
    with pytest.raises(SopError, match="4 rows and 5 columns"):
        two.pixel = 8, 13
    assert one.error == "" and one.heard == (8, 13)


def test_a_scene_that_does_not_fit_together_is_refused(scene):
    scene.energy = lambda: np.zeros((14, 9))  # transposed
    with pytest.raises(SopError, match=r"scene.energy\(\) has shape \(14, 9\), expected the grid's \(9, 14\)"):
        PixelPlayer(scene)
    scene = ToneScene()
    scene.frame = scene.frame / 255
    with pytest.raises(SopError, match="scene.frame is float64 of shape .* expected uint8"):
        PixelPlayer(scene)
    scene = ToneScene()
    scene.mixture = scene.mixture[None]
    with pytest.raises(SopError, match=r"scene.mixture has shape \(1, 4410\), expected \(L,\)"):
        PixelPlayer(scene)


def test_the_pages_arithmetic_under_node():
    node = shutil.which("node")
    if not node:
        pytest.skip("node is not installed: the page's geometry is tested by it")
    test = Path(__file__).with_name("geometry.test.mjs")
    run = subprocess.run([node, "--test", str(test)], capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stdout + run.stderr
