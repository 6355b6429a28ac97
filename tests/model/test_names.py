"""Names of clouds of points whose labels are known."""

import numpy as np
import pytest
import torch

from sop_core.errors import SopError
from sop_core.model import names
from sop_core.model.names import UNKNOWN, Names, fit

CHANNELS = 40


def clouds(rng, centres, clips=60, views=3, spread=1.0):
    """Points round centres: (clips, views, C), and the label of each clip."""
    labels = [f"l{k}" for k in range(len(centres)) for _ in range(clips)]
    points = np.repeat(centres, clips, 0)[:, None]
    noise = spread * rng.standard_normal((len(labels), views, CHANNELS))
    return torch.from_numpy(points + noise), labels


def fitted(rng, centres, **how) -> Names:
    points, labels = clouds(rng, centres, **how)
    return fit(points, labels, [str(n) for n in range(len(labels))])


def named(found: Names, points):
    return found.of(found.project(torch.as_tensor(points)))


@pytest.fixture
def rng():
    return np.random.default_rng(5)


@pytest.fixture
def centres():
    return 6 * np.eye(CHANNELS)[:4] + 3  # the middle of all is not 0


def test_new_points_get_the_label_of_the_nearest_mean(rng, centres):
    found = fitted(rng, centres)
    assert found.labels == ("l0", "l1", "l2", "l3")
    points, labels = clouds(rng, centres, clips=100, views=1)
    nearest = np.linalg.norm(points.numpy() - centres, axis=-1).argmin(1)  # the noise is round
    told = named(found, points[:, 0])
    assert np.mean([name.label == f"l{k}" for name, k in zip(told, nearest, strict=True)]) > 0.9
    # what was held out says how many known ones are lost
    assert 0.01 < np.mean([not name.known for name in told]) < 0.12


def test_what_is_like_no_label_is_unknown(rng, centres):
    found = fitted(rng, centres)
    elsewhere = centres.mean(0) + 6 * np.eye(CHANNELS)[20:30]
    for points in (elsewhere, centres.mean(0, keepdims=True)):
        assert {*named(found, points)} == {(UNKNOWN, 0.0)}
    assert all(name.known for name in named(found, centres))
    # also of two labels, which differ in one direction only
    two = fitted(rng, centres[:2])
    assert [name.label for name in named(two, centres[:2])] == ["l0", "l1"]
    assert not any(name.known for name in named(two, elsewhere))


def test_a_direction_in_which_the_pictures_of_a_label_differ_counts_little(rng):
    centres = np.zeros((2, CHANNELS))
    centres[:, 0] = 3, -3
    loud = np.ones(CHANNELS)
    loud[1] = 30
    points, labels = clouds(rng, centres)
    found = fit(points * torch.from_numpy(loud), labels, [str(n) for n in range(len(labels))])
    fresh, truth = clouds(rng, centres, views=1)
    fresh = fresh[:, 0] * torch.from_numpy(loud)
    told = named(found, fresh)
    wrong = [a.label != b for a, b in zip(told, truth, strict=True) if a.known]
    assert len(wrong) > 100 and np.mean(wrong) < 0.02


def test_a_confidence_is_how_often_the_name_is_right(rng):
    centres = 1.6 * np.eye(CHANNELS)[:3]  # they overlap
    found = fitted(rng, centres, clips=150)
    points, labels = clouds(rng, centres, clips=400, views=1)
    told = named(found, points[:, 0])
    known = [(a.confidence, a.label == b) for a, b in zip(told, labels, strict=True) if a.known]
    sure, right = np.array(known).T
    assert 0.6 < right.mean() < 0.99 and right.mean() == pytest.approx(sure.mean(), abs=0.05)
    assert right[sure > 0.9].mean() > right[sure < 0.7].mean() + 0.1
    assert sure.min() > names.LIKELY


def test_the_mean_of_projections_is_the_projection_of_the_mean(rng, centres):
    found = fitted(rng, centres)
    seen = torch.from_numpy(rng.standard_normal((5, 7, CHANNELS)))
    torch.testing.assert_close(found.project(seen).mean(1), found.project(seen.mean(1)))
    assert found.project(seen).shape == (5, 7, 32)


def test_a_video_is_held_out_whole(rng):
    labels = ["a"] * 6 + ["b"] * 3
    videos = ["x", "x", "y", "z", "z", "x", "only", "only", "only"]
    folds = names._folds(labels, videos)
    assert folds == [0, 0, 1, 2, 2, 0, -1, -1, -1]  # b's only video is always there
    found = fit(torch.from_numpy(rng.standard_normal((9, 2, CHANNELS))), labels, videos)
    assert found.labels == ("a", "b")


@pytest.mark.parametrize(("labels", "videos"), [(["a"] * 4, "1234"), (["a", "b"], "12"), ([], "")])
def test_too_few_labels_or_videos_are_told(labels, videos):
    points = torch.zeros(len(labels), 1, CHANNELS)
    with pytest.raises(SopError, match="two labels, one of them with two videos; found"):
        fit(points, labels, [*videos])


def test_equal_pictures_are_no_error():
    points = torch.zeros(8, 2, CHANNELS)
    found = fit(points, ["a", "b"] * 4, [*"12345678"])
    assert {name.label for name in found.of(found.project(points[:, 0]))} <= {"a", "b", UNKNOWN}
