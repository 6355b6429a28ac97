"""Real recordings, if there are any here: every video opens, plays and separates.

Duets with truth can be evaluated.
"""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import soundfile
from tiny import SHARED

from sop_core.__main__ import main
from sop_core.config import DEMO_WEIGHTS, MUSIC
from sop_core.data import preprocess
from sop_core.data.clips import find_clips
from sop_core.evaluation import duets, methods, tables
from sop_core.listening.player import PixelPlayer
from sop_core.listening.scene import Scene
from sop_core.media.stream import read_video
from sop_core.media.survey import survey
from sop_core.training.pairs import draw_pairs

NONE = pytest.mark.skip(reason="no real videos here: they are other people's, never committed")
REAL = sorted((SHARED / "media" / "real").glob("*/*.mp4")) or [pytest.param(None, marks=NONE)]


def test_the_default_warp_loses_less_than_half_of_what_the_published_one_loses(semireal, tmp_path):
    """On recordings of real notes: the mean SDR of ideal masks, against those of the STFT."""
    for label in sorted((semireal / "solo").iterdir()):
        (tmp_path / "v" / label.name).mkdir(parents=True)
        for video in sorted(label.glob("*.mp4"))[:2]:
            shutil.copy(video, tmp_path / "v" / label.name)
    videos, data = tmp_path / "v", tmp_path / "d"
    preprocess.preprocess(videos, data, fps=1, audio_format="flac", progress=False)
    config = replace(MUSIC, fps=1.0, stride=3)
    pairs = draw_pairs(find_clips(data), 16, config, "different")
    table = methods.warps(pairs, config).set_index("warp")
    for kind in ("binary", "ratio"):
        lost = table.loc["none", kind] - table[kind]
        assert 0 < lost["mel"] < lost["grid"] / 2, table


@pytest.mark.parametrize("video", REAL, ids=lambda p: p and p.stem)
def test_any_real_video_becomes_a_scene(video, demo_model):
    scene = Scene.from_video(demo_model, video)
    energy = scene.energy()
    assert energy.shape == (14, 14) and np.isfinite(energy).all() and energy.min() >= 0
    assert len(scene.sound((7, 3))) == len(scene.mixture) > 0


@pytest.mark.parametrize("video", REAL, ids=lambda p: p and p.stem)
def test_any_real_video_opens_in_the_player_and_plays_the_short_ones_too(video, demo_model):
    """Several are shorter than the 5.94 s of a window at the paper's size; two are 3 s."""
    scene = Scene.from_video(demo_model, video)
    player = PixelPlayer(scene, pixel=(7, 3))
    assert len(player.frame_sizes) == len(scene.pictures())
    assert len(player.frame_sizes) == pytest.approx(24 * player.seconds, abs=1)
    sound = read_video(video, 1, scene.rate)[1]
    assert player.seconds == pytest.approx(len(sound) / scene.rate, abs=0.1)
    player.mixer = [m | {"mute": False} for m in player.mixer]
    np.testing.assert_allclose(player.samples, scene.mixture, atol=1e-4)


def test_separate_writes_a_wav_of_a_real_video(semireal, tmp_path):
    video = sorted(semireal.glob("duet/*/*.mp4"))[0]
    out = str(tmp_path / "p.wav")
    assert main(["separate", str(DEMO_WEIGHTS), str(video), "--pixel", "7,3", "--out", out]) == 0
    sound, rate = soundfile.read(out)
    assert rate == survey(video).rate and 20 < len(sound) / rate < 25


def test_duets_of_another_making_are_evaluated_by_the_same_truth_files(
    semireal, tmp_path, demo_model
):
    preprocess.preprocess(semireal / "duet", tmp_path, progress=False)
    clips = find_clips(tmp_path)[:2]
    found = duets.score_duets(demo_model, clips, semireal / "duet_truth")
    # The stems add up to the video's sound, so ideal masks must do well, whatever the model makes
    # of instruments that it does not know.
    rows = {r["method"]: r for r in tables.table(found.scores)}
    assert rows["oracle_ratio"]["sdr"] > rows["mixture"]["sdr"] + 8
    assert len(found.placed) == 4 and set(found.placed.label) == {
        label for c in clips for label in c.label.split()
    }
