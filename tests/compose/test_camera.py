"""The camera: boxes hold what they say, motion is smooth, a seed is a film."""

import pickle

import numpy as np
import pytest
from scipy import ndimage

from sop_core.compose import camera
from sop_core.compose.camera import Film, ensemble, solo
from sop_core.compose.photos import cut_out

COLOURS = ((230, 20, 20), (20, 220, 20), (20, 20, 230))
GREY = np.full((120, 160, 3), 110, np.uint8)


def scenery(shape=(300, 400, 3), seed=0) -> np.ndarray:
    """A texture without a colour of its own."""
    noise = np.random.default_rng(seed).normal(0, 1, shape[:2])
    smooth = ndimage.gaussian_filter(noise, 4)
    grey = (120 + 60 * smooth / smooth.std()).clip(0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, 2)


def disc(colour, size=200) -> np.ndarray:
    """A cut-out: a disc in the middle of a transparent square."""
    y, x = np.mgrid[:size, :size] + 0.5 - size / 2
    inside = np.hypot(x, y) < 0.45 * size
    picture = np.full((size, size, 4), (*colour, 0), np.uint8)
    picture[inside, 3] = 255
    return picture


def places(film: Film, colour: int) -> np.ndarray:
    """The box of what is red, green or blue (0, 1, 2) in any frame."""
    seen = np.zeros(film.size[::-1], bool)
    for frame in film.frames():
        values = frame.astype(int)
        rest = np.delete(values, colour, 2).max(2)
        level = (values[..., colour] - rest).clip(0)
        seen |= ndimage.binary_opening(level > 0.5 * np.percentile(level, 99.5))
    rows, columns = (np.flatnonzero(seen.any(axis)) for axis in (1, 0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])


@pytest.fixture
def clear(monkeypatch):
    """Films that are neither blurred, dark nor compressed: a colour's edge can be measured."""
    for name in ("BLURRED", "DARK", "PHONE"):
        monkeypatch.setattr(camera, name, 0.0)


@pytest.mark.parametrize("seed", range(4))
def test_a_solo_photo_fills_the_frame(monkeypatch, seed):
    monkeypatch.setattr(camera, "SMALL", 0.0)
    white = np.full((300, 400, 3), 255, np.uint8)  # a border beyond the photo would be black
    film = solo(white, 20, np.random.default_rng(seed))
    w, h = film.size
    assert film.size in camera.SIZES and film.boxes.tolist() == [[0, 0, w, h]]
    frames = list(film.frames())
    assert len(frames) == 20 and {f.shape for f in frames} == {(h, w, 3)}
    assert frames[0].dtype == np.uint8 and min(f.min() for f in frames) > 40


@pytest.mark.parametrize("seed", range(4))
def test_a_solo_cut_out_is_where_its_box_says(clear, seed):
    film = solo(disc(COLOURS[0]), 30, np.random.default_rng(seed), scenery())
    assert np.abs(places(film, 0) - film.boxes[0]).max() <= 2


@pytest.mark.parametrize("seed", range(4))
def test_a_small_photo_is_where_its_box_says(clear, monkeypatch, seed):
    monkeypatch.setattr(camera, "SMALL", 1.0)
    photo = scenery()
    photo[:, :8], photo[:, -8:], photo[:8], photo[-8:] = (np.array(COLOURS[1]),) * 4
    film = solo(photo, 30, np.random.default_rng(seed))
    x0, y0, x1, y1 = film.boxes[0]
    assert (x1 - x0) * (y1 - y0) < 0.95 * np.prod(film.size)
    assert np.abs(places(film, 1) - film.boxes[0]).max() <= 3


@pytest.mark.parametrize("shape", [(450, 800, 3), (800, 450, 3), (300, 1000, 3)])
def test_a_wide_or_high_photo_is_shown_whole(shape):
    """Its box has its shape, but for the camera's way, and ends within its part of the frame."""
    for seed in range(8):
        film = ensemble([scenery(shape)] * 2, 10, np.random.default_rng(seed))
        x0, y0, x1, y1 = film.boxes.T - [[0, 240], [0, 0], [0, 240], [0, 0]]
        assert min(x0.min(), y0.min()) > 0 and max(x1.max(), y1.max()) < 240
        away = (x1 - x0) / (y1 - y0) / (shape[1] / shape[0])
        assert np.abs(np.log(away)).max() < 0.3


@pytest.mark.parametrize("n", [2, 3])
@pytest.mark.parametrize("seed", range(2))
def test_cut_outs_on_one_background_do_not_meet(clear, monkeypatch, n, seed):
    monkeypatch.setattr(camera, "APART", 1.0)
    discs = [disc(c) for c in COLOURS[:n]]
    film = ensemble(discs, 15, np.random.default_rng(seed), scenery())
    assert film.size == {2: (480, 240), 3: (540, 240)}[n] and film.boxes.shape == (n, 4)
    for i in range(n):
        assert np.abs(places(film, i) - film.boxes[i]).max() <= 2
    assert (film.boxes[:-1, 2] < film.boxes[1:, 0]).all()


@pytest.mark.parametrize("n", [2, 3])
def test_photos_side_by_side_each_fill_their_part(clear, monkeypatch, n):
    monkeypatch.setattr(camera, "SMALL", 0.0)
    colours = [np.full((200, 200, 3), c, np.uint8) for c in COLOURS[:n]]
    film = ensemble(colours, 8, np.random.default_rng(0))
    width = {2: 240, 3: 180}[n]
    assert film.boxes.tolist() == [[i * width, 0, (i + 1) * width, 240] for i in range(n)]
    for i in range(n):
        assert np.abs(places(film, i) - film.boxes[i]).max() <= 1


def test_product_shots_stand_together_in_half_of_the_films():
    shot = np.full((200, 200, 3), 250, np.uint8)
    shot[50:150, 60:140] = (90, 30, 20)
    together = 0
    for seed in range(16):
        # side by side, the shot's box ends at the middle, mostly; together, always before it
        boxes = ensemble([shot, disc(COLOURS[0])], 2, np.random.default_rng(seed)).boxes
        together += boxes[0, 2] < 240
    assert 3 < together < 13


@pytest.mark.parametrize("seed", range(3))
def test_a_film_moves_but_less_than_six_pixels_a_frame(clear, monkeypatch, seed):
    monkeypatch.setattr(camera, "SMALL", 0.0)
    photo = np.zeros((300, 400, 3), np.uint8)
    for i, (y, x) in enumerate(((140, 190), (165, 235), (170, 165))):
        photo[y - 8 : y + 8, x - 8 : x + 8, i] = 255
    film = solo(photo, 100, np.random.default_rng(seed))
    where = [[ndimage.center_of_mass(f[..., i] > 100) for i in range(3)] for f in film.frames()]
    ways = np.diff(np.array(where), axis=0)  # (V - 1, 3, 2)
    assert np.linalg.norm(ways, axis=2).max() < 6
    assert np.ptp(np.array(where), axis=0).max() > 4  # in 10 seconds


def test_light_changes_slowly_and_differs_between_films():
    level = [f.mean() for f in solo(GREY, 100, np.random.default_rng(0)).frames()]
    assert np.abs(np.diff(level)).max() < 4 and np.ptp(level) > 4
    films = [solo(GREY, 1, np.random.default_rng(seed)) for seed in range(12)]
    means = [next(film.frames()).mean() for film in films]
    assert max(means) > 1.5 * min(means)


def test_the_same_seed_is_the_same_film_again_and_after_a_pickle():
    pictures = [scenery(seed=s) for s in (1, 2)]
    film, same, other = (ensemble(pictures, 5, np.random.default_rng(s)) for s in (3, 3, 4))
    frames = np.stack(list(film.frames()))
    assert np.array_equal(frames, np.stack(list(film.frames())))
    assert np.array_equal(frames, np.stack(list(same.frames())))
    assert np.array_equal(frames, np.stack(list(pickle.loads(pickle.dumps(film)).frames())))
    assert not np.array_equal(frames, np.stack(list(other.frames())))


@pytest.mark.parametrize("shape", [(4, 800, 3), (800, 4, 3), (64, 64, 3), (64, 300, 4)])
def test_odd_pictures_are_filmed_too(shape):
    picture = np.full(shape, 200, np.uint8)
    for seed in range(4):
        rng = np.random.default_rng(seed)
        for film in (solo(picture, 3, rng, GREY), ensemble([picture] * 3, 3, rng)):
            assert len(list(film.frames())) == 3
            x0, y0, x1, y1 = film.boxes.T
            assert (x0 < x1).all() and (y0 < y1).all()
            assert (x1 <= film.size[0]).all() and (y1 <= film.size[1]).all() and x0.min() >= 0


def test_a_cut_out_of_thin_lines_has_a_box():
    """Made small, none of its pixels is opaque."""
    grid = np.zeros((800, 800, 4), np.uint8)
    grid[::40], grid[:, ::40] = (200, 0, 0, 255), (200, 0, 0, 255)
    assert cut_out(grid) is not None
    for seed in range(6):
        film = ensemble([grid] * 3, 2, np.random.default_rng(seed))
        x0, y0, x1, y1 = film.boxes.T
        assert (x1 - x0 > 60).all() and (y1 - y0 > 60).all()


def test_a_wide_photo_is_mostly_filmed_wide_and_a_high_one_high():
    rng = np.random.default_rng(0)
    for shape, size in (((300, 400, 3), (320, 240)), ((400, 300, 3), (240, 320))):
        picture = np.full(shape, 99, np.uint8)
        sizes = [solo(picture, 1, rng).size for _ in range(30)]
        assert sizes.count(size) > 12 and len(set(sizes)) > 1
