"""The page without a kernel: what its JavaScript computes under node is what Python computes."""

import base64
import gzip
import io
import json
import re
import shutil
import subprocess
from copy import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
import soundfile
import torch
from PIL import Image
from tiny import TINY
from tones import ToneScene

from sop_core.config import SOLOS, WEIGHTS, Config
from sop_core.errors import SopError
from sop_core.listening import page
from sop_core.listening.features import steps
from sop_core.listening.player import PixelPlayer
from sop_core.listening.scene import Scene
from sop_core.listening.tracks import mixer_of, region_name, track_name
from sop_core.media.stream import read_video
from sop_core.media.write import write_video
from sop_core.model.model import SoundOfPixels
from sop_core.training.checkpoint import load_model

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


def header(html):
    """The packed scene without its bytes; for these, places after the header."""
    data = packed(html)
    return json.loads(data[4 : 4 + int.from_bytes(data[:4], "little")])


def blob(html, value):
    data = packed(html)
    begin = 4 + int.from_bytes(data[:4], "little")
    return data[begin + value["blob"][0] : begin + value["blob"][1]]


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


def test_eight_bits_would_be_far_off(player, tmp_path, monkeypatch):
    monkeypatch.setattr(page, "CUTS", [(10.0, 4)])  # nothing is so loud
    asks = [([region], False) for region in drawn(player.grid, 20, 5)]
    found, _ = on_page(tmp_path, page.page(player), asks, len(player.scene.mixture))
    assert furthest(player, asks, found) > 3e-3


@pytest.fixture(scope="module")
def dense(toy_duet):
    """4 s in which all frequencies sound, at full scale: drums, and two that play above them."""
    rate, rng = SOLOS.rate, np.random.default_rng(0)
    t = np.arange(4 * rate) / rate
    drums = rng.standard_normal(len(t)) * np.exp(-8 * (t % 0.25))
    played = sum(
        np.sin(2 * np.pi * f * k * t + k) / k for f in (196, 311) for k in range(1, 11_000 // f)
    )
    sound = (
        drums + 0.5 * played * (1 + np.sin(2 * np.pi * 3 * t)) + 0.05 * rng.standard_normal(len(t))
    )
    model = load_model(WEIGHTS, "cpu")
    every = round(toy_duet.fps / model.config.fps)
    sound = (sound / np.abs(sound).max()).astype(np.float32)
    return PixelPlayer(Scene(model, toy_duet.pictures()[::every], sound))


def test_a_dense_sound_at_22_050_hz_is_as_in_python(dense, tmp_path):
    """Where each bin of a binary mask counts, in cells and in rectangles that nobody foresaw."""
    asks = [([region], False) for region in drawn(dense.grid, 20, 20)]
    found, told = on_page(tmp_path, page.page(dense), asks, len(dense.scene.mixture))
    same_words_and_numbers(dense, asks, told)
    assert furthest(dense, asks, found) < 1e-3  # measured: 2e-5
    assert max(np.abs(f).max() for f in found) > 0.3


def test_feature_maps_are_the_same_from_the_disk_and_rounded_once(toy_duet):
    maps = toy_duet.feature_maps[0]
    step = steps(maps)
    assert torch.equal((maps / step).round() * step, maps) and torch.equal(
        maps.half().float(), maps
    )
    assert len(maps.unique()) > 200
    # A greatest value that is rounded up to a power of two
    odd = torch.tensor([[[0.99999, 0.3333]], [[-1e-7, 0.0]], [[0.0, 0.0]]])
    once = (odd / steps(odd)).round() * steps(odd)
    assert torch.equal(steps(once)[0], steps(odd)[0]) and once[0, 0, 0] == 1
    assert torch.equal((once / steps(once)).round() * steps(once), once)


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


@pytest.mark.parametrize("channels", [1, 2])
def test_all_of_the_band_is_as_in_python(channels, toy_duet, tmp_path):
    """Of the file in the page, at four times the model's rate; in stereo, one side is late."""
    frames, sound = read_video(toy_duet.source, 8, 44_100)
    sides = np.stack([sound, np.roll(sound, 441)])[:channels]
    write_video(tmp_path / "wide.mp4", frames, 8, sides, 44_100)
    scene = Scene.from_video(toy_duet.model, tmp_path / "wide.mp4")
    player = PixelPlayer(scene, start=2, seconds=4)
    made, two = page.page(player), [[(11, 4)], [(7, 10), (8, 10)]]
    samples, rate = soundfile.read(
        io.BytesIO(blob(made, header(made)["own"]["flac"])), dtype="float32"
    )
    own = header(made)["own"]
    assert rate == own["rate"] == 44_100 and own["channels"] == channels and own["times"] == 4
    heard = samples.reshape(-1, channels).T * own["scale"]
    assert np.abs(heard - player._own.padded).max() < 2**-12
    heard.astype("<f4").tofile(tmp_path / "own.f32")
    asks = [([two[0]], False), ([0], False), (two, False), (two, True)]
    on_page(tmp_path, made, asks, len(player.scene.mixture))
    found = np.fromfile(tmp_path / "full.f32", "<f4").reshape(-1, *player._own.mixture.shape)
    clusters = player._clusters.regions
    theirs = []
    for regions, whole in asks:
        cells = [clusters[r] if isinstance(r, int) else r for r in regions]
        theirs.append(np.concatenate([*player._own.tracks(player.scene, cells, whole)], -1))
    theirs = np.concatenate(theirs)
    assert np.abs(theirs).max() > 0.2 and np.abs(found - theirs).max() < 1e-3
    above = np.abs(np.fft.rfft(theirs))[..., theirs.shape[-1] // 8 + 1000 :]
    assert above.max() > 1  # there is something above the model's band


# --- the file


def test_the_toy_duet_is_small_and_needs_nothing_else(toy_duet, tmp_path):
    path = tmp_path / "duet.html"
    PixelPlayer(toy_duet).to_html(str(path))
    assert path.stat().st_size < 2e6  # 10 s; measured: 1.97 MB
    text = path.read_text(encoding="utf-8")
    assert {*re.findall(r"\w+://[^\s\"'`]+", text)} == {"http://www.w3.org/2000/svg"}
    assert not re.findall(r"<(?:link|img|iframe|script[^>]+src)", text)


def test_ten_seconds_at_22_050_hz_are_ten_megabytes_at_most():
    """Of noise as loud as can be, pictures and feature maps that nothing can compress."""
    small = {"frame_width": "8", "pretrained": "false", "backbone": "resnet18", "image": "64"}
    config = Config().override({"rate": "22050", "fps": "15"} | small)

    class Noise(SoundOfPixels):
        def feature_maps(self, mags):
            shape = len(mags), self.config.channels, *mags.shape[-2:]
            return torch.rand(shape)

    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    sound = (0.3 * rng.standard_normal(220_500)).clip(-1, 1).astype(np.float32)
    pictures = rng.integers(0, 255, (150, 360, 640, 3), np.uint8)
    made = page.page(PixelPlayer(Scene(Noise(config).eval(), pictures, sound)))
    assert 8e6 < len(made) < 10e6  # measured: 8.4 MB
    assert 1e6 < sum(header(made)["traits"]["frame_sizes"]) < 2.5e6


def test_pictures_are_as_good_as_there_is_room(toy_duet):
    jpeg = simplejpeg.encode_jpeg(np.ascontiguousarray(toy_duet.frame))
    (good,), (small,) = (page._webps([jpeg], most) for most in (1e6, 1e3))
    assert len(small) < 1e3 < len(good)
    whole, part = (Image.open(io.BytesIO(file)).size for file in (good, small))
    assert whole == toy_duet.frame.shape[1::-1] and part[0] < whole[0]


def test_new_tracks_are_called_by_what_they_look_like(dense, tmp_path):
    """By the model's names, of what is seen in the player's stretch; a stranger's labels, too."""
    labels = [f"</script><b>{i}" for i in range(13)]
    model = copy(dense.scene.model)
    model.names = replace(model.names, labels=tuple(labels), least=0.0)
    scene = copy(dense.scene)
    scene.model = model
    scene.looks = scene.looks + torch.randn(scene.looks.shape, generator=torch.manual_seed(0))
    player = PixelPlayer(scene, start=1, seconds=2)
    made = page.page(player)
    assert "<b>" not in made and len(scene.looks) > 1
    asks = [([region], False) for region in drawn(player.grid, 60, 60)]
    _, told = on_page(tmp_path, made, asks, len(player.scene.mixture))
    called = {name for names in told["tracks"] for name in names}
    assert len(called.intersection(labels)) > 3 and called.difference(labels)
    for (regions, _), names in zip(asks, told["tracks"], strict=True):
        assert names == [track_name(regions[0], player.scene, [])]


def test_what_somebody_typed_is_no_html(player):
    name = "</title><script>alert(1)</script>\x1b\u202e"
    made = page.page(player, name)
    assert "<script>alert" not in made and "\x1b" not in made and "\u202e" not in made
    assert "&lt;/title&gt;&lt;script&gt;alert(1)" in made
    assert made.count("<script") == 2 and "</script" not in page._joined(page.SCRIPTS)


def test_the_page_begins_as_the_player_is(player):
    player.regions, player.overlay, player.loop = [[(9, 4)], 1], "now", True
    player.mixer = [dict(m, level=0.5, name=f"track {i}") for i, m in enumerate(player.mixer)]
    begins = header(page.page(player))["traits"]
    assert begins["regions"] == [[[9, 4]], 1] and begins["mixer"] == player.mixer
    assert (begins["overlay"], begins["loop"], begins["start"]) == ("now", True, player.start)
    assert "mixture" not in begins and "_esm" not in begins
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
    assert "><iframe srcdoc=" in data["text/html"] and "<script" not in data["text/html"]


def test_a_page_may_have_as_much_as_it_says_though_a_stretch_is_rounded_to_frames():
    hop, rate = SOLOS.hop, SOLOS.rate
    page.check_length((round(120 * rate / hop) + 1) * hop / rate)  # more than 120
    with pytest.raises(SopError, match="121 s in one page.*; choose at most 120 s"):
        page.check_length(121)


def test_players_of_a_scene_share_its_spectrum(toy_duet):
    """ipywidgets keeps each player: a cell that is run ten times would keep ten of them."""
    scene = copy(toy_duet)
    one, two = PixelPlayer(scene, band="model"), PixelPlayer(scene, overlay="none")
    assert one._own is two._own and one._own is not PixelPlayer(toy_duet)._own
