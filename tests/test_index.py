"""Indexes: rows that hold, and splits that don't leak."""

import os
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sop_core.errors import SopError
from sop_core.index import Clip, build_index, read_index, split, summary, write_index


def make_data(data, clips, ending="flac"):
    """A data folder with `clips`: (label, id, number of frames)."""
    for label, id_, n in clips:
        (data / "audio" / label).mkdir(parents=True, exist_ok=True)
        soundfile.write(os.fsencode(data / "audio" / label / f"{id_}.{ending}"), np.zeros(1103 * n // 8 * 10), 11_025)
        folder = data / "frames" / label / f"{id_}.mp4"
        folder.mkdir(parents=True)
        for k in range(n):
            (folder / f"{k + 1:06d}.jpg").write_bytes(b"")
    return data


def imagined(label, ids):
    return [Clip(Path("audio") / label / f"{i}.flac", Path("frames") / label / f"{i}.mp4", 160) for i in ids]


def test_a_clip_knows_its_name(tmp_path):
    clip = Clip(Path("d/audio/cello violin/a.b.flac"), Path("d/frames/cello violin/a.b.mp4"), 9)
    assert (clip.label, clip.labels, clip.id, clip.video) == ("cello violin", ("cello", "violin"), "a.b", "a.b")
    assert imagined("acoustic_guitar", "x")[0].labels == ("acoustic_guitar",)
    assert imagined("playing violin, fiddle", "x")[0].labels == ("playing violin, fiddle",)


def test_published_rows_are_read_from_anywhere(tmp_path, monkeypatch):
    data = make_data(tmp_path / "data", [("cello", "a1b2", 2)], "mp3")
    rows = "./data/audio/cello/a1b2.mp3,./data/frames/cello/a1b2.mp4,1580\n"
    (tmp_path / "train.csv").write_text(rows)
    (data / "train.csv").write_text(rows)
    (tmp_path / "else").mkdir()
    monkeypatch.chdir(tmp_path / "else")  # only from the index's own folder
    (clip,) = read_index(tmp_path / "train.csv")
    assert (clip.label, clip.id, clip.n_frames) == ("cello", "a1b2", 1580) and clip.sound.samefile(
        data / "audio" / "cello" / "a1b2.mp3"
    )
    monkeypatch.chdir(tmp_path)  # as written
    assert read_index(Path("data/train.csv"))[0].sound.samefile(clip.sound)
    (data / "quoted.csv").write_bytes(b"\xef\xbb\xbf" + b'"audio/cello/a1b2.mp3",frames/cello/a1b2.mp4, 7\r\n\r\n')
    assert read_index(data / "quoted.csv")[0].n_frames == 7


def test_an_index_survives_writing_reading_and_moving(tmp_path):
    odd = os.fsdecode(b"\xff")
    names = ["-dash", "Küche 音", 'a,"b', odd]
    make_data(tmp_path / "d", [("cello violin", name, 1) for name in names])
    paths = build_index(tmp_path / "d", tmp_path / "d" / "indexes")
    clips = read_index(paths["all"])
    assert sorted(c.id for c in clips) == sorted(names)
    text = paths["all"].read_text(errors="surrogateescape")
    assert text.count("../audio/cello violin/") == 4 and str(tmp_path) not in text
    shutil.move(tmp_path / "d", tmp_path / "moved")
    assert [c.id for c in read_index(tmp_path / "moved" / "indexes" / "all.csv")] == [c.id for c in clips]
    write_index(tmp_path / "moved" / "again.csv", read_index(tmp_path / "moved" / "indexes" / "all.csv"))
    assert [c.id for c in read_index(tmp_path / "moved" / "again.csv")] == [c.id for c in clips]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("audio/cello/a.flac,frames/cello/a.mp4", "row 2: 2 columns, expected 3"),
        ("audio/cello/a.flac,frames/cello/a.mp4,5,6", "row 2: 4 columns, expected 3"),
        ("audio/cello/a.flac,frames/cello/a.mp4,many", r"row 2 \(cello/a\): number of frames 'many', expected a whole"),
        ("audio/cello/a.flac,frames/cello/a.mp4,0", "number of frames '0', expected a whole number, at least 1"),
        ("audio/cello/b.flac,frames/cello/a.mp4,5", r"row 2 \(cello/b\): no sound at audio/cello/b.flac"),
        ("audio/cello/a.flac,frames/cello/b.mp4,5", r"row 2 \(cello/a\): no folder of frames at frames/cello/b.mp4"),
    ],
)
def test_a_bad_row_is_named(tmp_path, row, message):
    data = make_data(tmp_path, [("cello", "a", 1)])
    (data / "train.csv").write_text(f"audio/cello/a.flac,frames/cello/a.mp4,1\n{row}\n")
    with pytest.raises(SopError, match=message) as e:
        read_index(data / "train.csv")
    assert str(e.value).startswith(f"{data / 'train.csv'} row 2")


def test_no_index_and_an_empty_one_say_so(tmp_path):
    with pytest.raises(SopError, match=r"train\.csv: no such index"):
        read_index(tmp_path / "train.csv")
    for text in ("", "\n\n"):
        (tmp_path / "train.csv").write_text(text)
        with pytest.raises(SopError, match=r"train\.csv: an index without clips"):
            read_index(tmp_path / "train.csv")
    (tmp_path / "all.csv").mkdir()
    with pytest.raises(SopError, match=r"all\.csv: not readable"):
        read_index(tmp_path / "all.csv")


def test_a_split_is_stratified_seeded_and_blind_to_order():
    clips = [
        c
        for label, n in [("cello", 50), ("flute", 20), ("tuba", 10)]
        for c in imagined(label, [f"{label}{i}" for i in range(n)])
    ]
    train, val, test = split(clips, 0.2, 0.1, seed=3)
    for label, n in [("cello", 50), ("flute", 20), ("tuba", 10)]:
        shares = [sum(c.label == label for c in part) for part in (train, val, test)]
        assert shares == [round(0.7 * n), round(0.2 * n), round(0.1 * n)]
    assert set(train) | set(val) | set(test) == set(clips) and len(train + val + test) == len(clips)
    shuffled = random.Random(0).sample(clips, len(clips))
    assert split(shuffled, 0.2, 0.1, seed=3) == (train, val, test)
    assert split(clips, 0.2, 0.1, seed=4) != (train, val, test)


def test_no_video_is_in_two_splits_and_duets_are_in_test():
    rng = random.Random(0)
    for seed in range(30):
        clips = [
            c
            for label in ("cello", "flute", "tuba", "cello flute")
            for c in imagined(label, {f"v{rng.randrange(25)}" for _ in range(8)})
        ]
        parts = split(clips, 0.3, 0.2, seed)
        videos = [{c.video for c in part} for part in parts]
        assert not (videos[0] & videos[1] or videos[0] & videos[2] or videos[1] & videos[2])
        assert {c for c in clips if c.label == "cello flute"} <= set(parts[2])


def test_silent_scenes_are_for_training_alone():
    clips = imagined("cello", range(10)) + imagined("silence", [f"room{i}" for i in range(10)])
    train, val, test = split(clips, 0.4, 0.4, seed=1)
    assert sum(c.label == "silence" for c in train) == 10
    assert {c.label for c in val + test} == {"cello"}


@pytest.mark.parametrize("n", range(1, 8))
@pytest.mark.parametrize("ratios", [(0.2, 0), (0.5, 0.4), (0, 0), (0.05, 0.9), (0, 0.5)])
def test_small_labels_train_first_and_validate_next(n, ratios):
    train, val, test = split(imagined("cello", range(n)) + imagined("tuba", range(10, 20)), *ratios)
    counts = [sum(c.label == "cello" for c in part) for part in (train, val, test)]
    assert sum(counts) == n and counts[0] >= 1
    assert counts[1] >= (ratios[0] > 0 and n >= 3)
    assert (counts[1] == 0) if not ratios[0] else True


def test_a_label_whose_videos_are_shared_still_trains():
    rng = random.Random(0)
    for seed in range(200):
        clips = [c for label in "pqrst" for c in imagined(label, set(rng.sample("uvwxyz", 2 + seed % 3)))]
        train, val, test = split(clips, 0.4, 0.4, seed)
        assert {c.label for c in train} == set("pqrst")
        assert not {c.video for c in train} & {c.video for c in val + test}


def test_shared_videos_count_in_the_shares_of_both_labels():
    for seed in range(20):
        _, val, _ = split(imagined("cello", range(20)) + imagined("tuba", range(5)), 0.2, 0.0, seed)
        assert [sum(c.label == label for c in val) for label in ("cello", "tuba")] == [4, 1]


def test_building_an_index(tmp_path):
    clips = (
        [("cello", f"c{i}", 3) for i in range(5)]
        + [("flute", f"f{i}", 3) for i in range(5)]
        + [("cello flute", "d", 3)]
    )
    data = make_data(tmp_path / "data", clips + [("cello", "short", 1)])
    (data / "audio" / "cello" / "lonely.flac").write_bytes(b"x")
    (data / "frames" / "cello" / ".part-x-1-00000000.mp4").mkdir()
    paths = build_index(data, min_frames=2)
    assert paths == {name: data / f"{name}.csv" for name in ("train", "val", "test", "all")}
    got = {name: [(c.label, c.id) for c in read_index(path)] for name, path in paths.items()}
    assert len(got["train"]) == 8 and len(got["val"]) == 2 and got["test"] == [("cello flute", "d")]
    assert sorted(got["all"]) == sorted((label, id_) for label, id_, _ in clips)
    assert paths["all"].read_text().startswith("audio/cello/c0.flac,frames/cello/c0.mp4,3\n")
    before = [path.read_bytes() for path in paths.values()]
    build_index(data, min_frames=2)
    assert [path.read_bytes() for path in paths.values()] == before
    table = summary(read_index(paths["all"])).set_index("label")
    assert table.clips.to_dict() == {"cello": 5, "cello flute": 1, "flute": 5}
    assert table.frames["cello"] == 15 and table.seconds["cello"] == pytest.approx(5 * 4130 / 11_025, abs=0.1)


def test_what_cannot_be_indexed_says_what_was_found(tmp_path):
    with pytest.raises(SopError, match="nowhere: no such folder"):
        build_index(tmp_path / "nowhere")
    (tmp_path / "audio" / "cello").mkdir(parents=True)
    (tmp_path / "audio" / "cello" / "a.flac").write_bytes(b"x")
    with pytest.raises(SopError, match="no clips: 1 sounds .* 0 folders .* preprocess"):
        build_index(tmp_path)
    make_data(tmp_path / "d", [("cello", "a", 3)])
    with pytest.raises(SopError, match=r"none of its 1 clips has 160 frames \(at most 3\)"):
        build_index(tmp_path / "d", min_frames=160)
    for ratios in [(1.0, 0), (-0.1, 0), (0.5, 0.5), (0, 1.2)]:
        with pytest.raises(SopError, match="together less than 1"):
            build_index(tmp_path / "d", val_ratio=ratios[0], test_ratio=ratios[1])
    assert not list((tmp_path / "d").glob("*.csv"))
