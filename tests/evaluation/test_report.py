"""The report: one file with everything in it, and nothing from a file name gets into its markup."""

import base64
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from tiny import TINY, TONES, write_clip, write_film

from sop_core import show
from sop_core.evaluation import evaluate, methods, report
from sop_core.listening.scene import Scene
from sop_core.media.stream import read_video
from sop_core.model.model import SoundOfPixels
from sop_core.show import scenes
from sop_core.training import checkpoint
from sop_core.training.checkpoint import Record
from sop_core.training.pairs import draw_pairs
from sop_core.training.windows import Part


class Page(HTMLParser):
    """Counts tags and collects where things come from."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.sources = [], []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.sources += [v for k, v in attributes if k in ("src", "href")]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A report of a clip whose name is an attack."""
    data = tmp_path_factory.mktemp("report")
    clips = [write_clip(data, label, n) for n in (0, 1) for label in ("red", "blue")]
    evil = clips[0].sound.parent / "<img src=x onerror=alert(1)>.flac"
    evil.write_bytes(clips[0].sound.read_bytes())
    clips[0] = type(clips[0])(evil, clips[0].frames, clips[0].n_frames)
    torch.manual_seed(0)
    model = SoundOfPixels(TINY).eval()
    pairs = draw_pairs(clips, 4, TINY, labels="different")
    checkpoint.write_model(data, model)
    results, scores = evaluate.evaluate(model, data, pairs)
    shown = report.of_evaluation(model, pairs, [], None, results, scores)
    history = [Record(1, 0.5, 1.0, 0.1, True, 10.0, 3.0), Record(2, 0.4, 2.0, 0.1, True, 10.0, 6.0)]
    return report.write(
        data / "visualization", model, history=history, results=results, **shown
    ).read_text()


def test_it_needs_no_other_file_and_no_server(page):
    sources = Page(page).sources
    assert sources and all(s.startswith("data:") for s in sources)


def test_every_mixture_has_its_players_spectrograms_and_masks(page):
    parsed = Page(page)
    assert parsed.tags.count("audio") == 4 * (
        1 + 2 * 2
    )  # a mixture; a true and a separated sound for each source
    assert len(re.findall("predicted mask</figcaption>", page)) == 4 * 2


def test_every_source_has_its_video_with_its_sound(page, tmp_path):
    videos = [s for s in Page(page).sources if s.startswith("data:video/mp4;base64,")]
    assert len(videos) == 4 * 2 and page.count("weight in the loss</figcaption>") == 4
    (tmp_path / "v.mp4").write_bytes(base64.b64decode(videos[0].partition(",")[2]))
    frames, sound = read_video(tmp_path / "v.mp4", TINY.fps, TINY.rate)
    assert len(frames) == round(TINY.seconds * TINY.fps) and frames.shape[2] == 240
    red, _, blue = frames.reshape(-1, 3).T.astype(float).mean(1)
    peak = np.abs(np.fft.rfft(sound)).argmax() * TINY.rate / len(sound)
    assert peak == pytest.approx(TONES["red"] if red > blue else TONES["blue"], rel=0.02)


def test_names_are_escaped(page):
    assert "<img src=x" not in page and "&lt;img src=x onerror=alert(1)&gt;" in page


def test_the_table_holds_the_numbers(page):
    for method in methods.METHODS:
        assert f"<td>{method}</td>" in page


def test_decibels_are_relative_to_the_loudest_and_floored():
    np.testing.assert_allclose(
        show.decibels(np.array([0.0, 1e-9, 0.1, 1.0]), 1.0), [0, 0, 2 / 3, 1], atol=1e-6
    )


def test_a_spectrogram_has_low_frequencies_at_the_bottom():
    from io import BytesIO

    from PIL import Image

    values = np.zeros((5, 3))
    values[0] = 1.0  # the lowest bin
    picture = np.asarray(Image.open(BytesIO(show.png(values, "gray"))))
    assert picture[-1].min() == 255 and picture[:-1].max() == 0


def test_a_player_keeps_the_level_and_never_clips():
    from io import BytesIO

    import soundfile

    quiet, _ = soundfile.read(BytesIO(show.player(np.full(100, 0.25), 8_000).data))
    loud, _ = soundfile.read(BytesIO(show.player(np.linspace(-2, 2, 100), 8_000).data))
    assert quiet.max() == pytest.approx(0.25, abs=1e-3)
    assert np.abs(loud).max() == pytest.approx(1, abs=1e-3) and len(set(loud)) > 90


def test_figures_can_be_drawn(tiny_clips):
    torch.manual_seed(0)
    model = SoundOfPixels(TINY).eval()
    one = methods.example(model, draw_pairs(tiny_clips, 1, TINY)[0])
    assert len(show.example(one).axes) == 2 * 6
    maps = show.maps({"a": one.mixture_mag, "b": one.true_mags[0]}, {"c": one.weight}).axes
    assert [(ax.get_xlabel(), ax.get_ylabel()) for ax in maps] == 3 * [("time", "frequency")]
    assert show.figure_png(
        show.lengths({"train": tiny_clips, "val": tiny_clips[:2]}, 8.0)
    ).startswith(b"\x89PNG")


def test_a_scale_says_what_it_is_a_share_of_and_shares_of_more_than_all_are_explained(
    eyes, tmp_path
):
    scene = Scene.from_video(eyes, write_film(tmp_path / "film.mp4", seconds=1.5))
    found, boxes = scene.clusters(), {"red": (scene.mixture, (0, 0, 0.5, 1))}
    for fig in (
        show.energy(scene),
        show.moments(scene, [0.5]),
        show.finds(scene, boxes),
        show.cluster(scene, found, 0, 0.5),
        show.still(scene.frame, scene.energy(), "a picture"),
    ):
        label = fig.axes[-1].get_ylabel()  # the colour bar's
        assert label.startswith("share of") and label.endswith("energy")
    picture, mixture, *tracks, rest = show.clusters(scene, found).axes
    assert [ax.get_ylabel() for ax in (mixture, rest)] == [
        "mixture",
        "the rest",
    ] and not picture.get_xlabel()
    assert all(ax.get_ylabel().endswith("% of the energy") for ax in tracks) and len(tracks) == 2
    assert (mixture.get_xlabel(), rest.get_xlabel()) == ("", "time")  # one under the other
    picture = show.clusters(scene, replace(found, shares=[0.7, 0.4])).axes[0]
    assert picture.get_xlabel() == "110% together: what two of them claim counts twice"


def test_more_clusters_than_colours_are_all_drawn(eyes, tmp_path):
    scene = Scene.from_video(eyes, write_film(tmp_path / "film.mp4", seconds=1.5))
    count = len(scenes.PALETTE) + 2
    labels = np.arange(16).reshape(1, *scene.grid) % count
    regions = [np.repeat(labels == k, len(scene.feature_maps.windows), 0) for k in range(count)]
    names = [f"c{k}" for k in range(count)]
    found = replace(
        scene.clusters(), names=names, shares=[0.1] * count, regions=regions, labels=labels
    )
    picture, *rows = show.clusters(scene, found).axes
    titles = ["mixture", *(f"{name}:\n10% of the energy" for name in names), "the rest"]
    assert [ax.get_ylabel() for ax in rows] == titles and all(ax.images for ax in rows)
    tints = [ax.spines["left"].get_edgecolor() for ax in rows[1:-1]]
    assert tints[:2] == tints[-2:] and len(picture.images) == 1 + count


def test_names_are_drawn_as_they_are(tiny_clips):
    """Between two dollars matplotlib reads a formula; this one is none, and would raise."""
    name = r"$\frac{$_^"
    rows = [{"label": name, "n": 1, "sdr": 5.0, "sdr_mixture": 0.0, "sdr_oracle": 9.0}]
    fig = show.labels(rows)
    assert show.figure_png(fig).startswith(b"\x89PNG")
    (tick,) = fig.axes[0].get_yticklabels()
    assert (
        not tick._preprocess_math(tick.get_text())[1]
        and tick._preprocess_math(tick.get_text())[0] == f"{name} (1)"
    )
    assert show.figure_png(
        show.confusion([{"label": name, "other": name, "n": 1, "confused": 0.5, "gain": 0.0}])
    )
    clip = type(tiny_clips[0])(f"audio/{name}/a.flac", "frames/a.mp4", 24)
    assert show.figure_png(show.lengths({"train": [clip]}, 8.0))


def test_metrics_json_is_plain_json(tmp_path, tiny_clips):
    torch.manual_seed(0)
    model = SoundOfPixels(TINY).eval()
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    results, scores = evaluate.evaluate(model, tmp_path, draw_pairs(tiny_clips, 2, TINY))
    evaluate.write_metrics(tmp_path / "metrics.json", results)
    back = json.loads((tmp_path / "metrics.json").read_text())
    assert {
        "method",
        "n_pairs",
        "n_excluded",
        "sdr",
        "sir",
        "sar",
        "sdr_mixture",
        "sdr_ci95",
    } <= set(back["rows"][0])
    assert back["protocol"]["manifest"] and back["protocol"]["n_pairs"] == 2
    assert len(scores) == 2 * 2 * len(methods.METHODS)


def test_a_live_curve_hands_on_every_record_and_says_what_is_left(monkeypatch):
    boxes, said = [], []
    monkeypatch.setattr("sop_core.show.results.display", boxes.append)

    def training():
        for n in (1, 2):
            yield Record(n, 0.5, 1.0, 0.1, True, 10.0, 30.0 * n)
            words, curve = boxes[0].children
            said.append((words.value, bytes(curve.value)[1:4]))

    assert [r.epoch for r in show.live(training(), 4)] == [1, 2]
    assert said[0] == (
        "epoch 1 of 4: loss 0.5000, SDR 1.00 dB, 10.0 mixtures a second, 0:01:30 left",
        b"PNG",
    )
    assert "0:01:00 left" in said[1][0]
    assert "0x" not in repr(boxes[0]) and "PNG" not in repr(boxes[0])


def test_a_window_of_less_than_half_a_frame_shows_one(tmp_path):
    clip = write_clip(tmp_path, "red", 0)
    config = replace(TINY, fps=0.1)
    assert config.seconds * config.fps < 0.5
    uri = report._video(Part(clip, 0), config, np.zeros(config.samples, np.float32))
    assert uri.startswith("data:video/mp4;base64,")
