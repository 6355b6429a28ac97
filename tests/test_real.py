"""Real recordings, where they are at hand: every video opens, plays and separates; duets with truth can be evaluated."""

import numpy as np
import pytest
import soundfile
from tiny import SHARED

from sop_core import evaluate, index, preprocess
from sop_core.__main__ import main
from sop_core.config import DEMO_WEIGHTS
from sop_core.localize import Scene

REAL = sorted((SHARED / "media" / "real").glob("*/*.mp4")) or [
    pytest.param(None, marks=pytest.mark.skip(reason="no real videos here: they are other people's, never committed"))
]


@pytest.mark.parametrize("video", REAL, ids=lambda p: p and p.stem)
def test_any_real_video_becomes_a_scene(video, demo_model):
    scene = Scene.from_video(demo_model, video)
    energy = scene.energy()
    assert energy.shape == (14, 14) and np.isfinite(energy).all() and energy.min() >= 0
    assert len(scene.sound((7, 3))) == len(scene.mixture) > 0


def test_separate_writes_a_wav_of_a_real_video(semireal, tmp_path):
    video = sorted(semireal.glob("duet/*/*.mp4"))[0]
    assert main(["separate", str(DEMO_WEIGHTS), str(video), "--pixel", "7,3", "--out", str(tmp_path / "p.wav")]) == 0
    sound, rate = soundfile.read(tmp_path / "p.wav")
    assert rate == 11_025 and 20 < len(sound) / rate < 25


def test_duets_of_another_making_are_evaluated_by_the_same_truth_files(semireal, tmp_path, demo_model):
    preprocess.preprocess(semireal / "duet", tmp_path, progress=False)
    clips = index.find_clips(tmp_path)[:2]
    scores, placed = evaluate.score_duets(demo_model, clips, semireal / "duet_truth")
    # The stems add up to the video's sound, so ideal masks must do well whatever the model makes of strange instruments.
    rows = {r["method"]: r for r in evaluate.table(scores)}
    assert rows["oracle_ratio"]["sdr"] > rows["mixture"]["sdr"] + 8
    assert len(placed) == 4 and set(placed.label) == {label for c in clips for label in c.label.split()}
