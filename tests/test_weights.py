"""The shipped weights for videos of people: small, of their preset, and as good as they say."""

import csv
import shutil

import pytest
import torch
from tiny import SEEING, SHARED

from sop_core.config import SOLOS, WEIGHTS
from sop_core.data import preprocess
from sop_core.data.clips import find_clips
from sop_core.evaluation.methods import score_pairs
from sop_core.evaluation.tables import table
from sop_core.model.model import SoundOfPixels
from sop_core.training import checkpoint
from sop_core.training.pairs import draw_pairs


@pytest.fixture(scope="module")
def model():
    return checkpoint.load_model(WEIGHTS, "cpu")


def test_they_are_small_and_of_the_preset(model):
    assert sum(p.stat().st_size for p in WEIGHTS.iterdir()) < 12e6
    assert model.config == SOLOS


def test_their_names_are_those_of_thirteen_instruments_and_are_halved_with_them(tmp_path, model):
    checkpoint.halve(WEIGHTS, tmp_path)
    again = checkpoint.load_model(tmp_path, "cpu")
    assert again.names.labels == model.names.labels and len(model.names.labels) == 13
    torch.testing.assert_close(again.names.means, model.names.means)


def test_they_separate_held_out_photos_and_notes_of_thirteen_instruments(semireal, tmp_path, model):
    """Mixtures of clips whose photos and recordings are in no training clip."""
    with (semireal / "solo_meta.csv").open(newline="") as f:
        held_out = [row for row in csv.DictReader(f) if row["split"] == "val"]
    for row in held_out[::2]:
        folder = tmp_path / "v" / row["label"]
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(semireal / "solo" / row["label"] / f"{row['id']}.mp4", folder)
    videos, data = tmp_path / "v", tmp_path / "d"
    preprocess.preprocess(videos, data, 1, SOLOS.rate, audio_format="wav", progress=False)
    pairs = draw_pairs(find_clips(data), 26, SOLOS, "different")
    sdr = {row["method"]: row["sdr"] for row in table(score_pairs(model, pairs, []))}
    assert sdr["model"] > 6 and sdr["exchanged"] < -3 and abs(sdr["mixture"]) < 1


@pytest.mark.skipif(not SHARED.is_dir(), reason="no real videos here: they are never committed")
def test_they_gain_on_people_who_play(tmp_path, model):
    """Real videos of an accordion, a trumpet and a violin, of which nothing was trained on."""
    for label in ("accordion", "trumpet", "violin"):
        shutil.copytree(SHARED / "media" / "real" / label, tmp_path / "v" / label)
    videos, data = tmp_path / "v", tmp_path / "d"
    preprocess.preprocess(videos, data, 1, SOLOS.rate, audio_format="wav", progress=False)
    pairs = draw_pairs(find_clips(data), 12, SOLOS, "different")
    sdr = {r["method"]: r["sdr"] for r in table(score_pairs(model, pairs, [], equal_level=True))}
    assert sdr["model"] > sdr["mixture"] + 0.5 and sdr["exchanged"] < sdr["mixture"]


def test_halved_weights_are_nearly_the_same_and_no_statistic_overflows(tmp_path):
    """A float16 ends at 65,504; a variance of batch statistics may be greater."""
    torch.manual_seed(0)
    whole = SoundOfPixels(SEEING).eval()
    statistics = [b for name, b in whole.sound.named_buffers() if name.endswith("running_var")]
    statistics[0].fill_(1e6)
    checkpoint.write_config(tmp_path, SEEING)
    checkpoint.write_model(tmp_path, whole)
    checkpoint.halve(tmp_path, tmp_path / "half")
    half = checkpoint.load_model(tmp_path / "half", "cpu")
    assert half.names is None
    sizes = [(tmp_path / d / "model.safetensors").stat().st_size for d in (".", "half")]
    assert sizes[1] < 0.7 * sizes[0]
    sound = torch.randn(1, SEEING.samples)
    frames = torch.randint(0, 255, (1, 2, SEEING.frames, 3, SEEING.image, SEEING.image)).byte()
    spec = whole.stft(sound)
    with torch.inference_mode():
        for mine, theirs in zip(whole.masks(spec, frames), half.masks(spec, frames), strict=True):
            torch.testing.assert_close(theirs, mine, atol=5e-3, rtol=0)
    assert max(b.max() for b in half.sound.buffers() if b.is_floating_point()) == 1e6
