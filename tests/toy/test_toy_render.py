"""The files: what is in them, what is the same from run to run, what is refused."""

import itertools
import json
from collections import Counter

import numpy as np
import pytest
from toyfiles import SEED, decode, files

from sop_core.compose.clips import Performance
from sop_core.errors import SopError
from sop_core.toy import render
from sop_core.toy.instruments import DRAWINGS
from sop_core.toy.music import FRAMES_PER_PICTURE, LABELS, RATE


def assert_same_clips(folder, other, videos):
    """Videos, stems and truth, byte for byte."""
    again, first = files(folder), files(other)
    assert sum(name.endswith(".mp4") for name in again) == videos
    for name in set(again) - {"orchestra.json"}:  # that one tells the counts
        assert again[name] == first[name], name


def test_six_single_words_in_order():
    assert len(set(LABELS)) == 6 and list(LABELS) == sorted(LABELS) == list(DRAWINGS)
    assert all(a.isalpha() for a in LABELS)


def test_files_lie_where_they_should(small):
    a, b = (s["label"] for s in json.loads((small / "truth/duet_000.json").read_text())["sources"])
    assert a < b
    assert set(files(small)) == {
        "orchestra.json", "truth/accordion_000.json", "truth/cello_001.json",
        "truth/duet_000.json", "truth/duet_000_0.flac", "truth/duet_000_1.flac",
        "videos/accordion/accordion_000.mp4", "videos/cello/cello_001.mp4",
        f"videos/{a} {b}/duet_000.mp4",
        "truth/silence_000.json", "videos/silence/silence_000.mp4",
    }  # fmt: skip
    counts = {"n_solos": 2, "n_duets": 1, "n_empty": 1}
    orchestra = json.loads((small / "orchestra.json").read_text())
    assert orchestra == {"version": render.VERSION, "seed": SEED, **counts}


def test_an_empty_stage_is_silent_and_empty(small):
    frames, sound, _ = decode(small / "videos/silence/silence_000.mp4")
    assert json.loads((small / "truth/silence_000.json").read_text())["sources"] == []
    assert np.abs(sound).max() < 1e-3
    takes = np.array_split(frames[::FRAMES_PER_PICTURE].astype(int), render.TAKES)
    # nobody moves: coding noise alone
    assert all(np.abs(take[2:-2] - take[2]).max() < 24 for take in takes)
    assert np.abs(takes[0][2] - takes[1][2]).mean() > 10  # another stage


def test_video_is_what_it_should_be(duet):
    frames, sound, about = duet.decoded
    assert (about.video, about.audio, about.format) == ("h264", "aac", "yuv420p")
    assert (about.rate, about.channels, about.fps, about.size) == (44_100, 1, 25, (320, 240))
    assert 10 <= about.seconds <= 12.1 and abs(about.seconds - duet.truth["duration"]) < 0.06
    assert len(frames) == round(duet.truth["duration"] * 25)
    assert abs(len(sound) - duet.truth["duration"] * 44_100) <= 2048


def test_pictures_in_the_file_are_those_in_memory(small, duet):
    labels = tuple(s["label"] for s in duet.truth["sources"])
    played = render.perform(labels, np.random.default_rng([SEED, 2, 0]))
    memory, file = np.stack(list(played.frames())), duet.decoded[0]
    assert memory.shape == file.shape and memory.dtype == np.uint8
    x0, y0, x1, y1 = played.boxes[0]
    memory, file = memory[:, y0:y1, x0:x1].astype(np.int16), file[:, y0:y1, x0:x1]
    assert np.abs(memory - file).mean() < 8  # yuv420p and h264
    # a third of a second late would show
    assert np.abs(memory[8:] - file[:-8]).mean() > 1.3 * np.abs(memory - file).mean()


def test_truth_of_a_solo(small):
    truth = json.loads((small / "truth/cello_001.json").read_text())
    assert list(truth) == ["id", "video", "duration", "fps", "frame_size", "sample_rate", "sources"]
    assert (truth["id"], truth["video"]) == ("cello_001", "videos/cello/cello_001.mp4")
    assert (truth["frame_size"], truth["fps"], truth["sample_rate"]) == ([320, 240], 25, 44_100)
    (source,) = truth["sources"]
    assert list(source) == ["index", "label", "box_xyxy", "stem", "loudness"]
    assert (source["index"], source["label"], source["stem"]) == (0, "cello", None)


def test_same_seed_same_clips_at_any_number_of_jobs(small, tmp_path):
    render.render_dataset(tmp_path, 2, 0, 0, SEED, jobs=2, progress=False)
    assert_same_clips(tmp_path, small, videos=2)


def test_clip_does_not_depend_on_the_others(small, tmp_path):
    truth = json.loads((small / "truth/duet_000.json").read_text())
    labels = tuple(s["label"] for s in truth["sources"])
    path = render.render_clip(tmp_path, labels[::-1], 0, SEED)
    assert path.parent.name == " ".join(labels)
    assert_same_clips(tmp_path, small, videos=1)


def test_resume_keeps_what_is_there_and_adds(small, tmp_path, monkeypatch):
    before = files(small)
    monkeypatch.setattr(render, "perform", lambda *a: pytest.fail("rendered again"))
    render.render_dataset(small, 2, 1, 1, SEED, jobs=1, progress=False)
    # fewer: nothing is forgotten
    render.render_dataset(small, 1, 0, 0, SEED, jobs=1, progress=False)
    assert files(small) == before
    asked = []

    def render_clip(out, labels, k, seed):
        asked.append((labels, k))

    monkeypatch.setattr(render, "render_clip", render_clip)
    render.render_dataset(tmp_path, 19, 12, 0, SEED, jobs=1, progress=False)
    render.render_dataset(tmp_path, 24, 12, 0, SEED, jobs=1, progress=False)
    assert json.loads((tmp_path / "orchestra.json").read_text())["n_solos"] == 24
    assert asked[31 : 31 + 19] == asked[:19]
    assert set(Counter(labels for labels, _ in asked[31 : 31 + 24]).values()) == {4}  # balanced


def test_what_breaks_leaves_nothing_behind(tmp_path, monkeypatch):
    def broken():
        for _ in range(300):
            yield np.zeros((240, 320, 3), np.uint8)
        assert [p for p in tmp_path.rglob("*.mp4") if p.stat().st_size], "half a video is there"
        raise KeyboardInterrupt

    stems, box = np.zeros((1, 10 * RATE)), np.array([[0, 0, 9, 9]])
    fake = Performance(("trumpet",), stems, box, (320, 240), 25, broken)
    monkeypatch.setattr(render, "perform", lambda *a: fake)
    with pytest.raises(KeyboardInterrupt):
        render.render_clip(tmp_path, ("trumpet",), 0, SEED)
    assert files(tmp_path) == {}


def test_another_seed_or_version_is_refused(small, tmp_path):
    reason = r"seed 7, version .* seed 8, .*choose another folder or delete"
    with pytest.raises(SopError, match=reason):
        render.render_dataset(small, 2, 1, 1, SEED + 1, progress=False)
    old = {"version": -3, "seed": 0, "n_solos": 1, "n_duets": 1}
    (tmp_path / "orchestra.json").write_text(json.dumps(old))
    with pytest.raises(SopError, match="version -3"):
        render.render_dataset(tmp_path, 1, 0, 0, 0, progress=False)
    (tmp_path / "orchestra.json").write_text("[]x")
    with pytest.raises(SopError, match="orchestra.json"):
        render.render_dataset(tmp_path, 1, 0, 0, 0, progress=False)


@pytest.mark.parametrize("bad", [{"n_solos": -1}, {"n_duets": -2}, {"n_empty": -1}, {"seed": -1}])
def test_negative_numbers_are_refused(tmp_path, bad):
    with pytest.raises(SopError, match=f"{list(bad)[0]}={list(bad.values())[0]}"):
        render.render_dataset(tmp_path, **{"n_solos": 0, "n_duets": 0, **bad})


def test_unwritable_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SopError, match="file"):
        render.render_dataset(tmp_path / "file" / "out", 1, 0)


@pytest.mark.parametrize(
    "labels", [("violin",), ("trumpet", "trumpet"), ("cello", "trumpet", "flute", "guitar")]
)
def test_bad_labels_are_refused(labels):
    with pytest.raises(SopError, match="accordion"):
        render.perform(labels, np.random.default_rng(0))


def test_duets_are_varied():
    twelve, all_pairs = render.duet_pairs(12, SEED), render.duet_pairs(15, SEED)
    assert set(Counter(itertools.chain(*twelve)).values()) == {4} and len(set(twelve)) == 12
    assert set(all_pairs) == set(itertools.combinations(LABELS, 2))
    assert render.duet_pairs(12, SEED + 1) != twelve
    assert render.duet_pairs(40, SEED)[:15] == all_pairs
