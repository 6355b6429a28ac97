"""The page without a kernel: what its JavaScript computes under node is what Python computes."""

import base64
import gzip
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import TINY
from tones import ToneScene

from sop_core.config import Config
from sop_core.errors import SopError
from sop_core.listening import page
from sop_core.listening.player import PixelPlayer
from sop_core.listening.scene import Scene
from sop_core.listening.tracks import mixer_of, region_name, track_name
from sop_core.model.model import SoundOfPixels

SECONDS = 2.5
ODDLESS = {"loss": "l2", "share": "false"}
# Each has something that the others don't.
CONFIGS = {
    "linear": {"warp": "none", "bins": "512", "mask": "ratio"},
    "grid, published maps": {"warp": "grid", "sound_activation": "none", "synthesizer": "bias"},
    "mirrored ends": {"warp": "mel", "stft_pad": "reflect", "hop": "200", "samples": "6399"},
    "softmax": {"image_activation": "softmax", "mask": "ratio", "pool": "0.5"},
    "tanh": ODDLESS | {"image_activation": "tanh", "output_activation": "tanh"},
    "relu": ODDLESS | {"image_activation": "relu", "output_activation": "relu"},
    "none": ODDLESS | {"image_activation": "none", "output_activation": "none"},
    "a power of two": {"n_fft": "512", "hop": "128", "samples": "4095", "bins": "32"},
}


def node(folder):
    """Run the page's arithmetic on what lies in a folder."""
    program = shutil.which("node")
    if not program:
        pytest.skip("node is not installed: the page's arithmetic is tested by it")
    script = Path(__file__).with_name("separator.mjs")
    run = subprocess.run([program, script, folder], capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stdout + run.stderr


def packed(html):
    """The packed scene out of a page."""
    (text,) = re.findall(r'id="sop-scene">([^<]*)<', html)
    return gzip.decompress(base64.b64decode(text))


def on_page(folder, html, asks, length):
    """The tracks of each list of regions, by the page, and what else it told."""
    (folder / "scene.bin").write_bytes(packed(html))
    asks = [{"regions": regions, "whole": whole} for regions, whole in asks]
    (folder / "ask.json").write_text(json.dumps(asks))
    node(folder)
    sounds = iter(np.fromfile(folder / "sounds.f32", "<f4").reshape(-1, length))
    told = json.loads((folder / "told.json").read_text())
    return [np.stack([next(sounds) for _ in ask["regions"]]) for ask in asks], told


def drawn(grid, cells, boxes, seed=0):
    """Random cells and rectangles."""
    rng = np.random.default_rng(seed)
    regions = [[tuple(map(int, rng.integers(0, grid)))] for _ in range(cells)]
    for _ in range(boxes):
        (r0, r1), (c0, c1) = (sorted(map(int, rng.integers(0, n, 2))) for n in grid)
        regions.append([(r, c) for r in range(r0, r1 + 1) for c in range(c0, c1 + 1)])
    return regions


def furthest(player, asks, found):
    """Where the page's tracks are furthest from Python's, in full scale."""
    clusters = player._clusters.regions
    worst = []
    for (regions, whole), sounds in zip(asks, found, strict=True):
        cells = [clusters[r] if isinstance(r, int) else r for r in regions]
        worst.append(np.abs(player.scene.tracks(cells, whole)[:-1] - sounds).max())
    return max(worst)


def same_words_and_numbers(player, asks, told):
    """Names, places and shares are Python's."""
    clusters = player._clusters
    assert told["names"] == [region_name(r, clusters.names) for ask, _ in asks for r in ask]
    for (ask, whole), names, shares in zip(asks, told["tracks"], told["shares"], strict=True):
        mixer = mixer_of(ask, [], [], lambda r: track_name(r, player.scene, clusters.names))
        assert [*names, "the rest"] == [m["name"] for m in mixer]
        cells = [clusters.regions[r] if isinstance(r, int) else r for r in ask]
        np.testing.assert_allclose(shares, player.scene.heard(cells, whole)[1], atol=1e-3)


# --- arithmetic


def test_the_fft_is_numpys(tmp_path):
    rng = np.random.default_rng(0)
    signals = [rng.standard_normal(n) for n in (4, 6, 10, 16, 254, 510, 1022, 1024, 2050)]
    (tmp_path / "fft.json").write_text(json.dumps([s.tolist() for s in signals]))
    node(tmp_path)
    spectra = json.loads((tmp_path / "spectra.json").read_text())
    for signal, found in zip(signals, spectra, strict=True):
        spectrum = np.array(found["re"]) + 1j * np.array(found["im"])
        np.testing.assert_allclose(spectrum, np.fft.rfft(signal), atol=1e-11)
        np.testing.assert_allclose(found["back"], signal, atol=1e-12)


@pytest.fixture(scope="module")
def player(toy_duet):
    """A part, so that its first and last windows are cut, and there is sound beyond its ends."""
    return PixelPlayer(toy_duet, start=2, seconds=6)


def test_cells_rectangles_clusters_and_the_partition_sound_as_in_python(player, tmp_path):
    regions = drawn(player.grid, 20, 5)
    several = [regions[20], regions[23], [(11, 4)], [(7, 10)]]
    asks = [([region], False) for region in regions]
    asks += [(several, False), (several, True), ([0, 1], False), ([0, 1, regions[2]], True)]
    found, told = on_page(tmp_path, page.page(player), asks, len(player.scene.mixture))
    assert furthest(player, asks, found) < 3e-4  # measured: 7e-5
    assert max(np.abs(f).max() for f in found) > 0.3  # something was to be heard
    # What stands beside the sounds
    same_words_and_numbers(player, asks, told)
    shape = tuple(told["size"])
    mixture = player.pictures["rows"][0]
    assert shape == mixture["size"] and told["share"] == 1
    theirs = np.frombuffer(mixture["pixels"], np.uint8).reshape(shape)[:, 4:-4]  # not the ends
    ours = np.uint8(told["pixels"]).reshape(shape)[:, 4:-4]
    assert np.abs(theirs.astype(int) - ours).max() <= 2


def test_eight_bits_alone_would_be_far_off(player, tmp_path, monkeypatch):
    monkeypatch.setattr(page, "FLOORS", (10.0,))  # nothing is so loud
    monkeypatch.setattr(page, "MENDED", 0.0)
    asks = [([region], False) for region in drawn(player.grid, 20, 5)]
    found, _ = on_page(tmp_path, page.page(player), asks, len(player.scene.mixture))
    assert furthest(player, asks, found) > 1e-2


@pytest.mark.parametrize("name", CONFIGS)
def test_every_kind_of_model_sounds_as_in_python(name, tmp_path):
    torch.manual_seed(len(name))
    model = SoundOfPixels(TINY.override(CONFIGS[name])).eval()
    rng = np.random.default_rng(0)
    sound = (0.2 * rng.standard_normal(int(SECONDS * TINY.rate))).astype(np.float32)
    scene = Scene(model, rng.integers(0, 255, (20, 32, 32, 3), np.uint8), sound)
    scene.visual_features = 4 * torch.randn_like(scene.visual_features)
    assert len(scene.feature_maps.windows) > 3
    player = PixelPlayer(scene)
    several = [[(0, 0)], [(1, 2), (3, 3), (0, 1)], [(2, 2)]]
    regions = drawn(player.grid, 4, 2)
    asks = [([region], False) for region in regions] + [(several, False)]
    asks += [(several, True)] if model.config.has_odds else []
    found, told = on_page(tmp_path, page.page(player), asks, len(sound))
    assert furthest(player, asks, found) < 1e-3
    same_words_and_numbers(player, asks, told)


# --- the file


def test_the_toy_duet_is_small_and_needs_nothing_else(toy_duet, tmp_path):
    path = tmp_path / "duet.html"
    PixelPlayer(toy_duet).to_html(str(path))
    assert path.stat().st_size < 2e6  # 10 s; measured: 1.8 MB
    text = path.read_text(encoding="utf-8")
    assert {*re.findall(r"\w+://[^\s\"'`]+", text)} == {"http://www.w3.org/2000/svg"}
    assert not re.findall(r"<(?:link|img|iframe|script[^>]+src)", text)


def test_ten_seconds_at_22_050_hz_are_ten_megabytes_at_most():
    """Of noise as loud as can be, with feature maps that nothing can compress: the worst case."""
    small = {"frame_width": "8", "pretrained": "false", "backbone": "resnet18", "image": "64"}
    config = Config().override({"rate": "22050"} | small)

    class Noise(SoundOfPixels):
        def feature_maps(self, mags):
            shape = len(mags), self.config.channels, *mags.shape[-2:]
            return (9 * torch.randn(shape)).softmax(1)

    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    sound = (0.3 * rng.standard_normal(220_500)).clip(-1, 1).astype(np.float32)
    pictures = rng.integers(0, 255, (80, 24, 32, 3), np.uint8)
    made = page.page(PixelPlayer(Scene(Noise(config).eval(), pictures, sound)))
    assert 4e6 < len(made) < 10e6


def test_what_somebody_typed_is_no_html(player):
    name = "</title><script>alert(1)</script>\x1b\u202e"
    made = page.page(player, name)
    assert "<script>alert" not in made and "\x1b" not in made and "\u202e" not in made
    assert "&lt;/title&gt;&lt;script&gt;alert(1)" in made
    assert made.count("<script") == 2 and "</script" not in page._joined(page.SCRIPTS)


def test_the_page_begins_as_the_player_is(player):
    player.regions, player.overlay, player.loop = [[(9, 4)], 1], "now", True
    player.mixer = [dict(m, level=0.5, name=f"track {i}") for i, m in enumerate(player.mixer)]
    data = packed(page.page(player))
    size = int.from_bytes(data[:4], "little")
    traits = json.loads(data[4 : 4 + size])["traits"]
    assert traits["regions"] == [[[9, 4]], 1] and traits["mixer"] == player.mixer
    assert (traits["overlay"], traits["loop"], traits["start"]) == ("now", True, player.start)
    assert "mixture" not in traits and "_esm" not in traits
    player.pixel, player.overlay, player.loop = None, "clip", False


def test_a_scene_without_a_model_has_no_page(tmp_path):
    with pytest.raises(SopError, match="ToneScene, without feature maps: a page needs a Scene"):
        PixelPlayer(ToneScene()).to_html(tmp_path / "a.html")
    assert not [*tmp_path.iterdir()]


def test_a_notebook_keeps_the_page_on_request_only(toy_duet, player):
    data, _ = player._repr_mimebundle_()
    assert "text/html" not in data and len(data["image/jpeg"]) < 80_000
    data, _ = PixelPlayer(toy_duet, seconds=1, offline=True)._repr_mimebundle_()
    assert {*data} == {"text/plain", "text/html"}  # a widget would be blank without its kernel
    assert data["text/html"].startswith("<iframe srcdoc=") and "<script" not in data["text/html"]
