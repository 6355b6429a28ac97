"""Duets: separation by boxes, localization, and no claims of sounds that are not there."""

import json
import os
import re
import unicodedata
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image
from tiny import TINY, TONES, Eyes, Seeing

from sop_core.__main__ import main
from sop_core.data.clips import Clip, solos, write_index
from sop_core.errors import SopError
from sop_core.evaluation import duets, evaluate, report, tables
from sop_core.listening.scene import Scene
from sop_core.model.model import SoundOfPixels
from sop_core.model.names import Names
from sop_core.training import checkpoint
from sop_core.training.pairs import draw_pairs


def row(rows, method):
    return next(r for r in rows if r["method"] == method)


@pytest.fixture
def each_by_itself(monkeypatch):
    """Single cells are heard without their neighbours: so the truth is known of each.

    The grid has two columns for each instrument, and neighbours' sounds reach one cell far.
    """
    monkeypatch.setattr(Scene, "cell_features", property(lambda scene: scene.visual_features))


@pytest.fixture(scope="module")
def duet(tmp_path_factory):
    """A red square on the left and a blue one on the right that sound together.

    Returns the clip and the folder of its truth.
    """
    data = tmp_path_factory.mktemp("duet")
    t = np.arange(3 * TINY.rate) / TINY.rate
    stems = [
        0.2 * np.sin(2 * np.pi * TONES[c] * t) * (1 + 0.5 * np.sin(2 * np.pi * f * t))
        for c, f in (("red", 1), ("blue", 2))
    ]
    sound, frames, truth = (
        data / "audio" / "red blue" / "d.flac",
        data / "frames" / "red blue" / "d.mp4",
        data / "truth",
    )
    for folder in (sound.parent, frames, truth):
        folder.mkdir(parents=True)
    soundfile.write(sound, sum(stems), TINY.rate)
    picture = np.full((60, 100, 3), 100, np.uint8)
    picture[:, 5:45], picture[:, 55:95] = (220, 30, 30), (30, 60, 220)
    for k in range(24):
        Image.fromarray(picture).save(frames / f"{k + 1:06d}.jpg")
    for i, stem in enumerate(stems):
        soundfile.write(truth / f"d_{i}.flac", stem, TINY.rate)
    boxes = {"red": [5, 0, 45, 60], "blue": [55, 0, 95, 60]}
    sources = [
        {"label": c, "box_xyxy": b, "stem": f"d_{i}.flac"} for i, (c, b) in enumerate(boxes.items())
    ]
    (truth / "d.json").write_text(json.dumps({"frame_size": [100, 60], "sources": sources}))
    return Clip(sound, frames, 24), truth


def test_a_duet_is_separated_by_its_boxes_and_found_in_them(eyes, duet):
    clip, truth = duet
    found = duets.score_duets(eyes, [clip], truth)
    placed = found.placed
    assert placed.right.all() and (placed.own > 0.95).all() and (placed.other < 0.3).all()
    assert tables.localization(placed)["share_right"] == 1
    rows = tables.table(found.scores)
    assert row(rows, "model")["sdr"] > row(rows, "exchanged")["sdr"] + 20
    assert row(rows, "model")["sdr"] > row(rows, "mixture")["sdr"] + 10
    assert row(rows, "tracks")["sdr"] == pytest.approx(
        row(rows, "model")["sdr"], abs=1
    )  # these two claim nothing twice


def test_everything_is_dealt_out_between_boxes_where_masks_have_odds(eyes, duet):
    clip, truth = duet
    found = duets.score_duets(eyes, [clip], truth).scores
    assert (
        row(tables.table(found), "whole")["sdr"] > row(tables.table(found), "mixture")["sdr"] + 10
    )
    others = Eyes(replace(TINY, output_activation="relu", loss="l2", share=False)).eval()
    assert set(found.method) - set(duets.score_duets(others, [clip], truth).scores.method) == {
        "whole"
    }


def test_wrong_boxes_are_found_out(eyes, duet, tmp_path):
    clip, truth = duet
    told = json.loads((truth / "d.json").read_text())
    for source, other in zip(told["sources"], told["sources"][::-1], strict=True):
        source["stem"] = str(truth / other["stem"])
    wrong = tmp_path / "truth"
    wrong.mkdir()
    (wrong / "d.json").write_text(json.dumps(told))
    for i in (0, 1):
        (wrong / f"d_{i}.flac").write_bytes((truth / f"d_{i}.flac").read_bytes())
    placed = duets.score_duets(eyes, [clip], wrong).placed
    assert not placed.right.any()


def test_truth_stays_in_its_folder_and_broken_truth_is_named(eyes, duet, tmp_path):
    clip, _ = duet
    escape = {
        "frame_size": [1, 1],
        "sources": 2 * [{"label": "x", "box_xyxy": [0, 0, 1, 1], "stem": "../../etc/passwd"}],
    }
    (tmp_path / "d.json").write_text(json.dumps(escape))
    assert duets.read_truth(tmp_path, "d")[0].path == tmp_path / "passwd"
    (tmp_path / "d.json").write_text('{"sources": []}')
    with pytest.raises(SopError, match="d.json: expected frame_size"):
        duets.read_truth(tmp_path, "d")
    solo = {
        "frame_size": [1, 1],
        "sources": [{"label": "x", "box_xyxy": [0, 0, 1, 1], "stem": None}],
    }
    (tmp_path / "d.json").write_text(json.dumps(solo))
    assert duets.read_truth(tmp_path, "d") is None  # what one plays alone is no duet
    (tmp_path / "d.json").unlink()
    with pytest.raises(SopError, match="no <id>.json there"):
        duets.score_duets(eyes, [clip], tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"box_xyxy": [45, 0, 5, 60]},
        {"box_xyxy": [[5, 0, 45, 60]]},
        {"box_xyxy": [105, 0, 450, 60]},
        {"box_xyxy": ["left", 0, 45, 60]},
        {"stem": None},
    ],
)
def test_odd_truth_is_named_before_anything_is_measured(duet, tmp_path, change):
    told = json.loads((duet[1] / "d.json").read_text())
    told["sources"][0] |= change
    (tmp_path / "d.json").write_text(json.dumps(told))
    with pytest.raises(SopError, match="d.json: expected frame_size and two sources"):
        duets.with_truth([duet[0]], tmp_path)
    (tmp_path / "d.json").write_text(json.dumps(told | {"frame_size": [0, 60]}))
    with pytest.raises(SopError, match="d.json: expected frame_size"):
        duets.with_truth([duet[0]], tmp_path)
    (tmp_path / "d.json").write_text(json.dumps(told | {"sources": []}))
    with pytest.raises(SopError, match=r"0 source\(s\)"):
        duets.with_truth([duet[0]], tmp_path)


def test_a_folder_of_truths_is_listed_once_for_all_clips(duet, tmp_path, monkeypatch):
    clip, truth = duet
    listed = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: listed.append(path) or scandir(path))
    known = duets.with_truth([clip] * 5, truth)
    assert len(known) == 5 and listed.count(str(truth)) <= 1 and len(listed) <= 2


def test_a_duet_at_another_rate_is_refused(duet):
    model = SoundOfPixels(TINY.override({"rate": "8000"}))
    with pytest.raises(SopError, match="red blue/d: sound at 11025 Hz, expected 8000"):
        duets.score_duets(model, [duet[0]], duet[1])


@pytest.mark.usefixtures("each_by_itself")
def test_each_instruments_own_sound_is_found_in_its_box(eyes, duet):
    clip, truth = duet
    placed = duets.score_duets(eyes, [clip], truth).placed
    assert placed.pointed.all() and (placed.ciou > 0.5).all()
    np.testing.assert_allclose(placed.area, 0.4)
    where = tables.localization(placed)
    assert (where["pointing"], where["ciou_30"], where["ciou_50"]) == (1, 1, 1)
    assert where["pointing_chance"] == 0.4
    assert where["auc"] == pytest.approx(where["ciou"], abs=0.026)  # half a step of the curve


def test_each_box_is_named_by_its_picture_and_a_label_without_a_name_is_unknown(duet):
    clip, truth = duet
    found = {}
    for labels in (("red", "blue"), ("blue", "red"), ("red", "green")):
        seeing = Seeing(TINY).eval()
        middle, axes = torch.zeros(2), torch.eye(2)
        least = 0.9 if labels[1] != "green" else 0.0
        seeing.names = Names(labels, middle, axes, torch.eye(2), 4.0, least)
        found[labels] = duets.score_duets(seeing, [clip], truth)
    right, exchanged, other = (one.placed for one in found.values())
    assert right.looks.tolist() == ["red", "blue"] and right.named.all()
    assert exchanged.looks.tolist() == ["blue", "red"] and not exchanged.named.any()
    assert other.looks.tolist() == ["red", "green"] and other.named.tolist() == [True, False]
    where = tables.localization(exchanged)
    assert (where["share_named"], where["share_unknown"]) == (0, 0)
    unknown = Names(("a", "b"), middle, axes, torch.eye(2), 4.0, 1.1)  # nothing is as near as that
    seeing.names = unknown
    placed = duets.score_duets(seeing, [clip], truth).placed
    assert placed.named.all() and (placed.looks == "unknown").all()


def test_without_names_boxes_have_none(eyes, duet):
    placed = duets.score_duets(eyes, [duet[0]], duet[1]).placed
    assert (placed.looks == "").all() and placed.named.isna().all()


def test_a_map_with_its_rows_and_columns_exchanged_finds_nothing(eyes, duet, monkeypatch):
    energy = duets.Scene.energy
    monkeypatch.setattr(duets.Scene, "energy", lambda scene: energy(scene)[:, ::-1])
    where = tables.localization(duets.score_duets(eyes, [duet[0]], duet[1]).placed)
    assert where["pointing"] == 0 and where["ciou"] < 0.1


def test_pictures_claim_their_own_sounds_and_no_silence(eyes, duet, tmp_path):
    """Eyes lets a band through where it sees a colour.

    That is all of its own tone, half of the band's noise, and nothing of a silence.
    """
    clip, truth = duet
    claimed = duets.score_duets(eyes, [clip], truth).claimed.set_index(["label", "sound"]).peak
    for label in ("red", "blue"):
        assert claimed[label, "own"] > 0.9
        assert claimed[label, "silence"] < 1e-5
    low_band = claimed[
        "red", "noise"
    ]  # below some 1.5 of 5.5 kHz, or above: each picture shows both colours
    assert 0.5 < low_band < 0.9 and claimed["blue", "noise"] == pytest.approx(low_band, abs=0.02)
    rows = {
        r["sound"]: r
        for r in tables.claims(duets.score_duets(eyes, [clip], truth).claimed, duets.CLAIM)
    }
    assert rows["own"]["over"] == 1 and rows["silence"]["over"] == 0 and "absent" not in rows


def test_an_instrument_that_is_not_there_comes_from_another_duet_as_loud(
    eyes, duet, tmp_path, monkeypatch
):
    clip, truth = duet
    told = json.loads((truth / "d.json").read_text())
    told["sources"][0]["label"] = "green"
    for i, source in enumerate(told["sources"]):
        source["stem"] = f"e_{i}.flac"
        (tmp_path / f"d_{i}.flac").write_bytes((truth / f"d_{i}.flac").read_bytes())
        stem, rate = soundfile.read(truth / f"d_{i}.flac")
        soundfile.write(tmp_path / f"e_{i}.flac", 0.2 * stem, rate)  # softer, in the other duet
    (tmp_path / "d.json").write_text((truth / "d.json").read_text())
    (tmp_path / "e.json").write_text(json.dumps(told))
    heard = []
    hearing = duets.Scene.hearing
    monkeypatch.setattr(
        duets.Scene, "hearing", lambda scene, sound: (heard.append(sound), hearing(scene, sound))[1]
    )
    other = Clip(clip.sound.rename(clip.sound.with_name("e.flac")), clip.frames, clip.n_frames)
    clip = Clip(clip.sound.with_name("d.flac"), clip.frames, clip.n_frames)
    clip.sound.write_bytes(other.sound.read_bytes())
    found = duets.score_duets(eyes, [clip, other], tmp_path)
    assert found.claimed.groupby("sound").size().to_dict() == {
        "own": 4,
        "absent": 4,
        "noise": 4,
        "silence": 4,
    }
    loudness = np.array(
        [np.sqrt(np.mean(sound**2)) for sound in heard[:3]]
    )  # of duet d's first: own, green, noise
    np.testing.assert_allclose(loudness, loudness[0], rtol=0.01)


def test_a_silent_stem_is_nowhere(eyes, duet, tmp_path):
    clip, truth = duet
    (tmp_path / "d.json").write_text((truth / "d.json").read_text())
    sound, rate = soundfile.read(truth / "d_0.flac")
    soundfile.write(tmp_path / "d_0.flac", sound, rate)
    soundfile.write(tmp_path / "d_1.flac", 0 * sound, rate)
    found = duets.score_duets(eyes, [clip], tmp_path)
    assert found.placed.label.tolist() == ["red"] and set(found.claimed.label) == {"red"}
    assert tables.table(found.scores)[0]["n_excluded"] == 1
    where = tables.localization(found.placed)
    assert (
        where["n_instruments"] == 1
        and where["sdr"] is None
        and "SDR - dB" in tables.text_localization(where)
    )
    soundfile.write(tmp_path / "d_0.flac", 0 * sound, rate)
    with pytest.raises(SopError, match="not one of the stems"):
        duets.score_duets(eyes, [clip], tmp_path)


@pytest.mark.usefixtures("each_by_itself")
def test_it_is_counted_which_pixels_of_a_box_sound_and_which_are_right(eyes, duet, tmp_path):
    """4 x 4 cells: columns 0 and 1 are in red's box, 2 and 3 in blue's.

    Half of the cells in red's box see red, and one of them sees blue.
    """
    clip, truth = duet
    frames = tmp_path / "d.mp4"
    frames.mkdir()
    picture = np.full((60, 100, 3), 100, np.uint8)
    picture[:28, 5:45], picture[48:, 2:22], picture[:, 55:95] = (
        (220, 30, 30),
        (30, 60, 220),
        (30, 60, 220),
    )
    for k in range(24):
        Image.fromarray(picture).save(frames / f"{k + 1:06d}.jpg")
    placed = duets.score_duets(eyes, [Clip(clip.sound, frames, 24)], truth).placed.set_index(
        "label"
    )
    assert placed.loc["red", ["cells", "sounding", "cells_right"]].tolist() == [8, 5, 4]
    assert placed.loc["blue", ["cells", "sounding", "cells_right"]].tolist() == [8, 8, 8]
    where = tables.localization(placed)
    assert (where["n_cells"], where["share_cells_sounding"], where["share_cells_right"]) == (
        16,
        0.8125,
        0.9231,
    )
    text = tables.text_localization(where)
    assert (
        "81 % of the 16 cells in their boxes sound, each clicked alone; 92 % of these more" in text
    )
    assert "; 92 % of these more like their box's stem than another's" in text


def test_a_pixel_of_two_boxes_counts_for_neither_and_none_that_sounds_is_no_share(
    eyes, duet, tmp_path
):
    clip, truth = duet
    told = json.loads((truth / "d.json").read_text())
    told["sources"][1]["box_xyxy"][0] = 30  # over column 1, too
    (tmp_path / "d.json").write_text(json.dumps(told))
    for i in (0, 1):
        (tmp_path / f"d_{i}.flac").write_bytes((truth / f"d_{i}.flac").read_bytes())
    placed = duets.score_duets(eyes, [clip], tmp_path).placed
    assert placed.cells.tolist() == [4, 8]
    where = tables.localization(placed.assign(sounding=0, cells_right=0))
    assert where["share_cells_sounding"] == 0 and where["share_cells_right"] is None
    assert "0 % of the 12 cells" in tables.text_localization(
        where
    ) and "; - of these" in tables.text_localization(where)


@pytest.mark.usefixtures("each_by_itself")
def test_a_report_says_what_share_of_the_cells_is_right(eyes, duet, tiny_clips, tmp_path):
    clip, truth = duet
    pairs = draw_pairs(tiny_clips, 1, TINY)
    checkpoint.write_model(tmp_path, eyes)
    results, scores = evaluate.evaluate(eyes, tmp_path, pairs, [clip], truth)
    shown = report.of_evaluation(eyes, pairs, [clip], truth, results, scores)
    html = report.write(tmp_path / "report", eyes, results=results, **shown).read_text()
    told = dict(re.findall(r"<tr><td>([^<]*)</td><td>([\d.]+) %</td>", html))
    # the boxes have 4 x 2 cells each, every one of them on its own square
    assert told["of the 16 cells in their boxes sound, each clicked alone"] == "100"
    assert told["of these sound more like their box's stem than like another's"] == "100"


def test_duets_are_not_mixed_with_solos_of_the_same_index(duet, tiny_clips, tmp_path, capsys):
    """Mixtures are drawn from the solos, whether the duets are measured or not."""
    clip, truth = duet
    checkpoint.start(tmp_path / "run", TINY, {"train": [], "val": tiny_clips[:2]}, False)
    checkpoint.write_model(tmp_path / "run", SoundOfPixels(TINY))
    write_index(tmp_path / "test.csv", [*tiny_clips, clip])
    words = [
        "evaluate",
        tmp_path / "run",
        "--index",
        tmp_path / "test.csv",
        "--n-pairs",
        9,
        "--device",
        "cpu",
    ]
    for more in ([], ["--duets", tmp_path / "test.csv", "--truth", truth]):
        assert main(list(map(str, [*words, *more, "--out", tmp_path / "m.json"]))) == 0
        mixed = (tmp_path / "m.pairs.csv").read_text()
        assert len(mixed.splitlines()) == 9 and clip.name not in mixed
        assert (
            "mixtures are drawn from 6 solos; 1 duet(s) of the index are left out"
            in capsys.readouterr().out
        )
    assert json.loads((tmp_path / "m.json").read_text())["localization"]["n_instruments"] == 2
    one = Clip(clip.sound, clip.frames, clip.n_frames, "a section")
    assert solos([*tiny_clips, clip]) == tiny_clips and solos([one, clip]) == [one, clip]


def test_of_three_the_nearest_other_counts():
    """What sounds most like a third instrument is wrong, even if it is unlike the second."""
    stems = np.random.default_rng(0).standard_normal((3, 5_000))
    found = 0.5 * stems[0] + stems[1]
    placed = duets._place(0, found, stems)
    assert not placed["right"] and placed["other"] == pytest.approx(
        np.corrcoef(found, stems[1])[0, 1]
    )
    assert placed["chance"] == pytest.approx(1 / 3)


def told(folder, sources, size=(200, 100)):
    truth = {
        "frame_size": size,
        "sources": [{"label": a, "box_xyxy": box, "stem": f"{a}.flac"} for a, box in sources],
    }
    (folder / "d.json").write_text(json.dumps(truth))


def test_boxes_are_shares_of_the_picture_and_may_reach_beyond_it(tmp_path):
    told(tmp_path, [("a", [-10, 20, 50, 120]), ("b", [0, 0, 200, 100])])
    one, two = duets.read_truth(tmp_path, "d")
    assert (one.label, one.path, two.path) == ("a", tmp_path / "a.flac", tmp_path / "b.flac")
    assert one.box == pytest.approx((-0.05, 0.2, 0.25, 1.2)) and two.box == (0, 0, 1, 1)
    assert (
        duets.read_truth(str(tmp_path), "d") == [one, two]
        and duets.read_truth(tmp_path, "e") is None
    )
    told(tmp_path, [("a", [-5, 5, 5, 9]), ("b", [-5, 5, 5, 9])], (0, 100))
    with pytest.raises(SopError, match="in a picture of 0 x 100"):
        duets.read_truth(tmp_path, "d")
    for box in (
        [5, 5, 5, 9],
        [5, 9, 9, 9],
        [-9, 5, 0, 9],
        [5, -9, 9, 0],
        [200, 5, 300, 9],
        [5, 100, 9, 200],
    ):  # nothing
        told(tmp_path, [("a", box), ("b", [0, 0, 200, 100])])
        with pytest.raises(SopError, match="expected frame_size and two sources or more"):
            duets.read_truth(tmp_path, "d")


def test_each_instruments_sound_is_heard_by_its_name_and_its_number_where_two_share_one(
    eyes, duet, tmp_path
):
    clip, truth = duet
    stems = [soundfile.read(truth / f"d_{i}.flac", dtype="float32")[0] for i in (0, 1)]
    scene, sounds = duets.heard(eyes, clip, truth)
    assert list(sounds) == ["red", "blue"] and len(scene.mixture) == 3 * TINY.rate
    for (sound, box), stem, x in zip(sounds.values(), stems, (0.05, 0.55), strict=True):
        np.testing.assert_array_equal(sound, stem)
        assert box == pytest.approx((x, 0, x + 0.4, 1))
    truth = json.loads((truth / "d.json").read_text())
    truth["sources"][1]["label"] = "red"
    (tmp_path / "d.json").write_text(json.dumps(truth))
    for i, stem in enumerate(stems):
        soundfile.write(tmp_path / f"d_{i}.flac", stem, TINY.rate)
    assert list(duets.heard(eyes, clip, tmp_path)[1]) == ["red 1", "red 2"]


def test_a_picture_gets_its_own_sound_then_an_absent_one_then_noise_then_silence(tmp_path):
    def source(label, hz, level, seconds=1.0):
        stem = tmp_path / f"{label}_{hz}.flac"
        soundfile.write(
            stem, level * np.sin(2 * np.pi * hz * np.arange(int(seconds * 8_000)) / 8_000), 8_000
        )
        return duets.Stem(label, (0, 0, 1, 1), stem)

    known = [
        (None, [source("red", 300, 0.5), source("blue", 400, 0.5)]),
        (None, [source("red", 500, 0.5), source("green", 600, 0.1, 0.5)]),
        (None, [source("tuba", 700, 0.5), source("drum", 800, 0.0)]),
        (None, [source("drum", 900, 0.0), source("red", 1_000, 0.5)]),
    ]
    stems = 0.2 * np.random.default_rng(0).standard_normal((2, 8_000))
    rms = lambda x: np.sqrt(np.mean(x**2))  # noqa: E731
    for i, hz in (
        (0, 600),
        (1, 700),
        (3, 400),
    ):  # of the next duet that has another instrument, round to the first
        given = dict(duets._sounds(known, i, 1, stems, 8_000))
        assert (
            list(given) == ["own", "absent", "noise", "silence"]
            and (given["own"] == stems[1]).all()
        )
        assert (
            abs(np.fft.rfft(given["absent"])).argmax() == hz
        )  # to the end: a shorter one goes round
        for kind, level in (("absent", rms(stems[1])), ("noise", rms(stems[1])), ("silence", 1e-4)):
            assert given[kind].shape == (8_000,) and rms(given[kind]) == pytest.approx(
                level, rel=0.03
            ), kind
        assert abs(np.corrcoef(given["noise"], stems[1])[0, 1]) < 0.05
        white = np.abs(np.fft.rfft(given["noise"])) ** 2
        assert white[:2_000].mean() == pytest.approx(white[2_000:].mean(), rel=0.1)
        again, other = (dict(duets._sounds(known, i, n, stems, 8_000))["noise"] for n in (1, 0))
        assert (again == given["noise"]).all() and not np.allclose(other, again)
    assert "absent" not in dict(
        duets._sounds(known[1:2] + known[3:4], 0, 0, stems, 8_000)
    )  # the next one is silent


def test_a_claim_is_in_shares_of_the_energy_of_the_instruments_own_sound():
    class Scene:
        def hearing(self, sound):
            assert sound.dtype == np.float32
            self.heard = sound
            return self

        def energy(self):
            return np.array([[0.5, 1.0]])

    rng, scene = np.random.default_rng(0), Scene()
    own, sound = rng.standard_normal((2, 1_000))
    own, sound = own / np.sqrt(np.mean(own**2)), 3 * sound / np.sqrt(np.mean(sound**2))
    np.testing.assert_allclose(duets._claim(scene, sound, own), [[4.5, 9.0]], rtol=1e-5)
    np.testing.assert_allclose(scene.heard, sound, rtol=1e-6)


def test_a_boxs_area_is_what_of_it_lies_in_the_picture():
    energy = np.zeros((14, 14))
    energy[7, 2] = 1
    found = duets._find(energy, (-0.1, 0.2, 0.5, 1.3))
    assert (
        found["area"] == pytest.approx(0.5 * 0.8) and found["pointed"] and 0 < found["ciou"] < 0.1
    )


@pytest.mark.usefixtures("each_by_itself")
def test_stems_that_end_before_their_duet_are_held_against_as_much_of_it(eyes, duet, tmp_path):
    clip, truth = duet
    (tmp_path / "d.json").write_text((truth / "d.json").read_text())
    for i, seconds in enumerate((2.0, 2.5)):
        stem, rate = soundfile.read(truth / f"d_{i}.flac")
        soundfile.write(tmp_path / f"d_{i}.flac", stem[: int(seconds * rate)], rate)
    found = duets.score_duets(eyes, [clip], tmp_path)
    whole = duets.score_duets(eyes, [clip], truth)
    methods = {"model", "exchanged", "tracks", "whole", "mixture"}
    methods |= {f"oracle_{kind}{way}" for kind in ("binary", "ratio") for way in ("", "_unwarped")}
    assert set(found.scores.method) == methods and len(found.scores) == 2 * len(methods)
    for one, other in zip(tables.table(found.scores), tables.table(whole.scores), strict=True):
        assert one["method"] == other["method"] and one["sdr"] == pytest.approx(
            other["sdr"], abs=3
        ), one["method"]
    assert found.scores[found.scores.method == "model"].label.tolist() == ["red", "blue"]
    assert set(found.scores["clip"]) == {"red blue/d"} and set(found.scores.video) == {clip.video}
    assert set(found.placed["clip"]) == set(found.claimed["clip"]) == {"red blue/d"}
    model = found.scores[found.scores.method == "model"].sdr
    assert found.placed.sdr.tolist() == model.tolist() and found.placed.right.all()
    assert found.claimed.set_index(["label", "sound"]).index.tolist() == [
        (label, sound) for label in ("red", "blue") for sound in ("own", "noise", "silence")
    ]
    assert (found.claimed["mean"] < found.claimed.peak).all()
    assert found.claimed["mean"].iloc[0] == pytest.approx(
        found.claimed.peak.iloc[0] / 2, rel=0.2
    )  # half of it is red


def test_a_truth_is_found_however_its_letters_are_written(duet, tmp_path, monkeypatch):
    """A Mac's archive has them decomposed, and so may a label be; an index has them composed."""
    told = json.loads((duet[1] / "d.json").read_text())
    told["sources"][0]["label"] = unicodedata.normalize("NFD", "flûte")
    path = tmp_path / unicodedata.normalize("NFD", "étude.json")
    path.write_text(json.dumps(told, ensure_ascii=False), encoding="utf-8")
    stems = duets.read_truth(tmp_path, unicodedata.normalize("NFC", "étude"))
    assert [s.label for s in stems] == ["flûte", "blue"]
    monkeypatch.chdir(duet[1])  # which has a d.json
    assert duets.read_truth(tmp_path, "d") is None
