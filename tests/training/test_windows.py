"""Windows of clips: exact, augmented within bounds; clips that can't fill them are refused."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from tiny import TINY, write_clip

from sop_core.errors import SopError
from sop_core.listening.scene import Scene
from sop_core.model.model import SoundOfPixels
from sop_core.training.mixtures import Training
from sop_core.training.pairs import draw_pairs, read_pairs, write_pairs
from sop_core.training.windows import (
    Part,
    draw_window,
    frame_indices,
    same_fps,
    window_frames,
    window_sound,
)


def test_frames_stand_round_the_middle_of_the_window():
    config = TINY.override({"frames": "3", "stride": "8"})  # one second apart at 8 fps
    start = int(2.05 * config.rate) - config.samples // 2  # the window's middle is at second 2.05
    assert frame_indices(start, 100, config).tolist() == [
        8,
        16,
        24,
    ]  # frame k (from 0) stands for k / 8 to (k + 1) / 8 s
    assert frame_indices(0, 5, config).tolist() == [0, 2, 4]  # kept within a short clip


def test_short_clips_are_left_out_of_training_and_refused_by_an_evaluation(tmp_path, tiny_clips):
    clips = [*tiny_clips, write_clip(tmp_path, "red", 7, seconds=0.5)]
    what = r"row 7 \(red/red_7\): 0.50 s of sound, needs 0.74 s \(8,191 samples at 11,025 Hz\)"
    with pytest.warns(UserWarning, match=f"1 of 7 clips are too short; left out; .* {what}$"):
        training = Training(clips, TINY)
    alone = Training(tiny_clips, TINY)
    assert [training.draw(i)[0] for i in range(20)] == [alone.draw(i)[0] for i in range(20)]
    with pytest.warns(UserWarning, match="too short"):
        assert draw_pairs(clips, 9, TINY, leave_out=True) == draw_pairs(tiny_clips, 9, TINY)
    for refused in (lambda: draw_pairs(clips, 9, TINY), lambda: Training(clips[-1:], TINY)):
        with pytest.raises(SopError, match=r"0.50 s of sound, needs 0.74 s .* --min-frames 6$"):
            refused()


@pytest.mark.parametrize("fps", [1, 8, 10])
def test_the_frames_that_the_hint_asks_for_are_enough(tmp_path, fps):
    """A clip of n frames has at least n - 0.5 of them in seconds, as `preprocess` counts."""
    config = replace(TINY, fps=float(fps), samples=65_535)
    short = write_clip(tmp_path, "red", 0, seconds=2.0)
    with pytest.raises(SopError, match=r"--min-frames \d+$") as e:
        Training([short], config)
    enough = int(str(e.value).rpartition(" ")[2])
    seconds = (enough - 0.5) / fps  # the shortest clip that this leaves in
    assert 5.84 <= seconds < 5.84 + 1 / fps  # 5.94 s, but for what decoders differ by


def test_too_few_videos_and_another_rate_are_refused(tiny_clips):
    with pytest.raises(SopError, match="1 video"):
        Training(tiny_clips[:1], TINY)
    with pytest.raises(SopError, match="11025 Hz, expected 8000"):
        Training(tiny_clips, TINY.override({"rate": "8000"}))


def test_frames_at_another_rate_are_refused_wherever_clips_are_read(tmp_path):
    """A frame's number needs its rate: at a wrong one the picture is seconds off its sound."""
    clips = [write_clip(tmp_path, label, n) for label in ("red", "blue") for n in (0, 1)]
    pairs = draw_pairs(clips, 2, TINY)
    write_pairs(tmp_path / "m.csv", pairs)
    model = SoundOfPixels(TINY)
    roads = {
        "training": lambda: Training(clips, TINY),
        "drawn": lambda: draw_pairs(clips, 2, TINY),
        "listed": lambda: read_pairs(tmp_path / "m.csv", clips, TINY),
        "clicked": lambda: Scene.from_clip(model, clips[0]),
    }
    (tmp_path / "preprocess.json").write_text(json.dumps({"fps": TINY.fps}))
    for road in roads.values():
        road()
    (tmp_path / "preprocess.json").write_text(json.dumps({"fps": 30_000 / 1_001}))
    same_fps(clips, replace(TINY, fps=29.97))
    (tmp_path / "preprocess.json").write_text(json.dumps({"fps": 1.0}))
    for road in roads.values():
        with pytest.raises(
            SopError, match=r"its frames are 1 a second .* expects 8; preprocess with --fps 8, or"
        ):
            road()


@pytest.fixture(scope="module")
def map_clip(tmp_path_factory):
    """A clip with its pixels' places as colours: red is the column, green the row, 0 to 250."""
    data = tmp_path_factory.mktemp("map")
    clip = write_clip(data, "red", 0)
    across, down = np.meshgrid(np.linspace(0, 250, 251), np.linspace(0, 250, 251))
    picture = np.stack([across, down, 0 * down], -1).round().astype(np.uint8)
    for path in clip.frames.glob("*.jpg"):
        Image.fromarray(picture).save(path, quality=100, subsampling=0)
    return clip


def test_training_crops_anywhere_keeps_what_it_must_and_mirrors_half(map_clip):
    config = TINY.override({"crop": "0.4", "image": "64"})
    seen = [
        window_frames(Part(map_clip, 0), config, np.random.default_rng(i))[0][0] / 250.0
        for i in range(300)
    ]
    left, right = (np.array([s[0, :, column].mean() for s in seen]) for column in (0, -1))
    top, bottom = (np.array([s[1, row].mean() for s in seen]) for row in (0, -1))
    width, height = np.abs(right - left), bottom - top
    area = width * height * (64 / 63) ** 2  # from middle to middle of the outermost pixels
    assert 0.4 - 0.03 < area.min() < 0.45 and area.max() > 0.9  # from the least share to nearly all
    assert 0.4 < np.mean(left > right) < 0.6  # mirrored
    for low, size in ((np.minimum(left, right), width), (top, height)):
        place = low / (1 - size).clip(1e-6)
        free = 1 - size > 0.2
        assert (
            free.sum() > 50 and np.histogram(place[free], 4, (0, 1))[0].min() > 0.1 * free.sum()
        )  # anywhere


def test_training_changes_colours_and_loudness_within_their_bounds(map_clip):
    part, config = Part(map_clip, 0), TINY
    light = np.array([window_frames(part, config, np.random.default_rng(i))[1] for i in range(300)])
    bright = light.prod(1) ** (1 / 3)
    assert (
        0.7 * 0.85 <= light.min() < 0.7 and 1.3 < light.max() <= 1.3 * 1.15 and bright.std() > 0.1
    )
    assert (light.max(1) / light.min(1)).mean() > 1.08  # a tint, not brightness alone
    plain = np.abs(window_sound(part, config)).max()
    gains = np.array(
        [
            np.abs(window_sound(part, config, np.random.default_rng(i))).max() / plain
            for i in range(300)
        ]
    )
    up = np.log(gains) / np.log(config.gain)  # from -1 to 1, evenly
    assert -1 <= up.min() < -0.95 and 0.95 < up.max() <= 1 + 1e-6 and abs(up.mean()) < 0.15
    assert np.all(window_frames(part, config)[1] == 1)  # an evaluation changes nothing


def test_windows_begin_anywhere_from_the_first_sample_to_the_last_that_leaves_a_whole_one(
    tiny_clips,
):
    def start(more, seed):
        clip = tiny_clips[0]
        return draw_window(clip, TINY.samples + more, TINY, np.random.default_rng(seed)).start

    assert {start(2, i) for i in range(60)} == {0, 1, 2} and {start(0, i) for i in range(9)} == {0}
    starts = np.array([start(10_000, i) for i in range(300)])
    assert np.histogram(starts, 5, (0, 10_000))[0].min() > 40  # of 60
