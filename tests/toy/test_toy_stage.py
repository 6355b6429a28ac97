"""The pictures: boxes hold all that moves, players move with their music and stand apart."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageChops

from sop_core.compose.clips import loudness
from sop_core.toy import render
from sop_core.toy.instruments import Figure, draw_pose
from sop_core.toy.music import (
    FPS,
    FRAMES_PER_PICTURE,
    INSTRUMENTS,
    LABELS,
    RATE,
    SAMPLES_PER_FRAME,
    Melody,
    make_music,
)
from sop_core.toy.players import Look, poses
from sop_core.toy.stage import draw_figures, place_figures


def test_all_that_moves_is_in_the_boxes(clip, takes):
    pictures = np.stack(list(takes[0].pictures())).astype(int)  # (V / 2, 240, 320, 3)
    empty = ImageChops.multiply(takes[0].background, takes[0].light)
    empty = np.asarray(empty).astype(int)
    drawn = (pictures != empty).any((0, 3))
    moving = (pictures != pictures[0]).any((0, 3))
    inside = np.zeros((240, 320), bool)
    for x0, y0, x1, y1 in clip.boxes:
        inside[y0:y1, x0:x1] = True
        box = drawn[y0:y1, x0:x1]
        edges = (box[:2], box[-2:], box[:, :2], box[:, -2:])
        assert all(edge.any() for edge in edges)  # the boxes are tight
        assert moving[y0:y1, x0:x1].mean() > 0.1
    assert not drawn[~inside].any() and not moving[~inside].any()


def test_all_that_moves_in_the_file_is_in_the_boxes(duet):
    change = duet.decoded[0][::5].astype(float).std(0).mean(-1)  # (240, 320)
    inside = np.zeros((240, 320), bool)
    for x0, y0, x1, y1 in (s["box_xyxy"] for s in duet.truth["sources"]):
        assert change[y0:y1, x0:x1].mean() > 3
        inside[max(y0 - 8, 0) : y1 + 8, max(x0 - 8, 0) : x1 + 8] = True  # what h264 smears
    assert change[~inside].max() < 8 and change[~inside].mean() < 0.5


def test_boxes_belong_to_their_labels(clip, takes):
    take = takes[0]
    with_both = next(take.pictures()).astype(int)
    gone = replace(take, figures=[take.figures[0], _invisible(take.figures[1])])
    ys, xs = np.nonzero((next(gone.pictures()).astype(int) != with_both).any(-1))
    x0, y0, x1, y1 = clip.boxes[1]
    assert x0 <= xs.min() and xs.max() < x1 and y0 <= ys.min() and ys.max() < y1


def _invisible(figure):
    return Figure([Image.new("RGBA", i.size) for i in figure.images], figure.corners)


@pytest.mark.parametrize("label", LABELS)
def test_players_move_when_they_play(label):
    """There is more motion from pose to pose in the middle of a sound than in a rest."""
    rng = np.random.default_rng(3)
    stems, melodies = make_music((label,), rng)
    loud = loudness(stems, SAMPLES_PER_FRAME)
    moves = list(poses(INSTRUMENTS[label], melodies[0], loud))
    assert len(moves) * 2 == loud.shape[1]
    level = np.array([p.loud for p in moves])
    assert np.corrcoef(level, loud[0].reshape(-1, 2).mean(1))[0, 1] > 0.9
    look = replace(Look.random(rng, 0.5, (100, 100)), tilt=0, mirrored=False)

    def picture(p):
        image, (x, y) = draw_pose(label, look, p, 1.0)
        canvas = Image.new("RGBA", (260, 260))
        canvas.paste(image, (130 + x, 220 + y))
        return np.asarray(canvas).astype(int)

    def motion(i):
        return np.abs(picture(moves[i]) - picture(moves[i + 1])).mean()

    around = np.array([level[max(i - 2, 0) : i + 4].max() for i in range(len(level) - 1)])
    resting, sounding = np.flatnonzero(around < 0.15), np.flatnonzero(level[:-1] > 0.4)
    assert len(resting) >= 4 and len(sounding) >= 8
    still = np.mean([motion(i) for i in resting[:12]])
    assert np.mean([motion(i) for i in sounding[:12]]) > 1.2 * still


def test_every_pair_fits(clip):
    """Two figures of any kind stand apart, inside the picture, in both orders."""
    orders, tall = set(), []
    for a, b in itertools.combinations(LABELS, 2):
        rng = np.random.default_rng(LABELS.index(a) * 8 + LABELS.index(b))
        notes = ([0.1, 0.3], [0.1, 0.2], [60.0, 72.0], [1.0, 1.0])
        melody = Melody(*map(np.array, notes))
        loud = np.array([0.1, 0.1, 1, 1])
        moves = [list(poses(INSTRUMENTS[label], melody, loud)) for label in (a, b)]
        figures = draw_figures((a, b), moves, rng)
        for _ in range(20):
            feet = place_figures(figures, rng)
            boxes = [f.box() + np.r_[p, p] for f, p in zip(figures, feet, strict=True)]
            (a0, b0, a1, b1), (c0, d0, c1, d1) = boxes
            assert a1 <= c0 or c1 <= a0
            assert min(a0, b0, c0, d0) >= 0 and max(a1, c1) <= 320 and max(b1, d1) <= 240
            orders.add(a1 <= c0)
        tall += [b1 - b0, d1 - d0]
    assert orders == {True, False}
    assert min(tall) > 65 and max(tall) < 180


def test_a_solo_is_cut_together_from_takes_and_a_duet_is_one():
    """Between takes all of the picture changes, within one only the player does."""
    for labels, expected in ((("cello",), render.TAKES), (("cello", "flute"), 1)):
        frames = list(render.perform(labels, np.random.default_rng(5)).frames())
        pictures = np.stack(frames[::FRAMES_PER_PICTURE]).astype(int)
        changed = (pictures[1:] != pictures[:-1]).any(-1).mean((1, 2))  # share of the pixels
        assert 1 + (changed > 0.5).sum() == expected
        assert np.median(changed) < 0.2


def test_duet_boxes_lie_apart_in_the_picture(duet, clip):
    for boxes in ([s["box_xyxy"] for s in duet.truth["sources"]], clip.boxes.tolist()):
        (a0, b0, a1, b1), (c0, d0, c1, d1) = boxes
        assert a1 <= c0 or c1 <= a0
        assert min(a0, b0, c0, d0) >= 0 and max(a1, c1) <= 320 and max(b1, d1) <= 240


def test_clip_lasts_a_whole_number_of_frames(clip):
    assert clip.stems.shape == (2, round(clip.duration * FPS) * RATE // FPS)
    assert 10 <= clip.duration <= 12 and clip.loudness.shape == (2, round(clip.duration * FPS))
    assert sum(1 for _ in clip.frames()) == round(clip.duration * FPS)
