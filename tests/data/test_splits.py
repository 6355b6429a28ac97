"""Splits that don't leak, and what is told of what they leave out."""

import random
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
from test_clips import imagined, make_data

from sop_core.data.clips import Clip, read_index, summary
from sop_core.data.copies import Groups
from sop_core.data.leftout import like_one_video
from sop_core.data.splits import build_index, read_splits, split
from sop_core.errors import SopError


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


def labelled(**ids):
    return [c for label, names in ids.items() for c in imagined(label.replace("__", " "), names)]


@pytest.mark.parametrize("duet", ["test", "train", "drop"])
def test_duets_go_where_they_are_told(duet):
    clips = labelled(cello=range(10), flute=range(10, 20), cello__flute=range(20, 30))
    parts = split(clips, 0.2, 0.0, seed=0, duet=duet)
    counts = [sum(c.label == "cello flute" for c in part) for part in parts]
    assert counts == {"test": [0, 0, 10], "train": [8, 2, 0], "drop": [0, 0, 0]}[duet]
    assert [sum(c.label != "cello flute" for c in part) for part in parts] == [16, 4, 0]


def test_sections_of_one_video_stay_together():
    rng = random.Random(0)
    clips = [
        Clip(
            Path(f"audio/{rng.choice(['cello', 'flute'])}/{video}_{start:06d}.mp3"),
            Path("f"),
            160,
            video,
        )
        for video in map("{:011d}".format, range(12))
        for start in (0, 30, 110)
    ]
    assert len({c.video for c in clips}) == 12
    parts = split(clips, 0.3, 0.3, seed=1)
    videos = [{c.id[:11] for c in part} for part in parts]
    assert all(videos) and not (
        videos[0] & videos[1] or videos[0] & videos[2] or videos[1] & videos[2]
    )


def test_a_section_is_one_only_where_somebody_says_so(tmp_path):
    """Ids that look like sections are videos of their own, unless a list or an option says else."""
    names = [("violin", f"violin_solo_{n:06d}", 1) for n in range(7)] + [
        ("playing harp", "---g-f_I2yQ_000030", 1)
    ]
    names += [("cello", f"aaaaaaaaaa{n % 2}_{n:06d}", 1) for n in range(6)]
    data = make_data(tmp_path / "data", names)
    (data / "sections.csv").write_text(
        "playing harp/---g-f_I2yQ_000030,---g-f_I2yQ\n"
    )  # as `collect` notes it
    (tmp_path / "list.csv").write_text(
        "".join(f"aaaaaaaaaa{n % 2},{n},cello,train\n" for n in range(6))
    )

    def videos(**more) -> dict[str, int]:
        paths = build_index(data, tmp_path / "out", **more)
        clips = read_index(paths["all"])
        assert {c.name for c in read_index(paths["train"]) if c.label == "playing harp"}, (
            "no duet: it trains"
        )
        return {
            label: len({c.video for c in clips if c.label == label})
            for label in ("violin", "cello")
        }

    with pytest.warns(
        UserWarning,
        match=r"13 clip\(s\) are named like VGGSound's sections .* 3 video\(s\).*--sections",
    ):
        assert videos() == {"violin": 7, "cello": 6}
    assert videos(splits=tmp_path / "list.csv") == {"violin": 7, "cello": 2}
    assert videos(sections=True) == {
        "violin": 1,
        "cello": 2,
    }  # asked for: `violin_solo` has eleven letters, too
    assert videos() == {"violin": 7, "cello": 6}  # and not asked for again
    paths = build_index(data, splits=tmp_path / "list.csv")
    read = {c.id: c.video for c in read_index(paths["train"]) + read_index(paths["val"])}
    assert (
        read["aaaaaaaaaa0_000004"] == "aaaaaaaaaa0"
        and read["violin_solo_000001"] == "violin_solo_000001"
    )
    text = (data / "index_sections.csv").read_bytes()
    (data / "index_sections.csv").write_bytes(
        b"\xef\xbb\xbf" + text.replace(b"\n", b"\r\n\r\n")
    )  # through a spreadsheet
    assert {c.id: c.video for c in read_index(paths["train"]) + read_index(paths["val"])} == read
    (data / "index_sections.csv").write_text("torn")
    with pytest.raises(SopError, match="index_sections.csv row 1: 'torn', expected label/id,video"):
        read_index(paths["train"])


def test_what_is_left_out_is_told_by_reason(tmp_path):
    data = make_data(
        tmp_path / "data",
        [("cello", f"c{i}", 9) for i in range(3)] + [("flute", f"f{i}", 2) for i in range(5)],
    )
    make_data(data, [("erhu pipa", "d0", 9)])
    (data / "audio" / "cello" / "c9.flac").write_bytes(
        (data / "audio" / "cello" / "c0.flac").read_bytes()
    )
    for frame in (data / "frames" / "flute" / "f4.mp4").iterdir():
        frame.unlink()
    with pytest.warns(UserWarning) as told:
        paths = build_index(data, min_frames=4, test_ratio=0.0)
    told = sorted(str(w.message) for w in told)
    assert told == [
        "'erhu pipa' (1 clip(s)) is taken for a duet, since it is two words; if it is one "
        "instrument, call it erhu_pipa, or index with --duets train",
        f"{data}: passed over 2 sound(s) without frames (cello/c9, flute/f4)",
        "4 clip(s) left out, fewer than 4 frames (--min-frames): flute/f0, flute/f1, flute/f2, ...",
    ]
    assert [c.label for c in read_index(paths["test"])] == [
        "erhu pipa"
    ]  # nobody's solo label, and yet no training data
    with pytest.warns(
        UserWarning, match=r"1 clip\(s\) left out, duets \(--duets drop\): erhu pipa/d0"
    ):
        build_index(data, duet="drop")


def test_one_line_says_what_was_passed_over_and_why(tmp_path):
    data = make_data(tmp_path / "data", [("cello", f"c{i}", 9) for i in range(5)])
    audio, frames = data / "audio", data / "frames"
    for place in ("cello/x.m4a", "cello/y.ogg", "cello/c0.mp3", "cello/deep/z.wav", "loose.wav"):
        (audio / place).parent.mkdir(exist_ok=True)
        (audio / place).write_bytes(b"x")
    (audio / "cello" / "blind.wav").write_bytes(b"x")
    for place in ("cello/deaf.mp4/000001.jpg", "cello/png.mp4/000001.png", "cello/d/000001.jpg"):
        (frames / place).parent.mkdir()
        (frames / place).write_bytes(b"x")
    (audio / "cello" / ".part-x-1-00000000.mp3").write_bytes(b"x")  # of a process that still runs
    with pytest.warns(UserWarning) as told:
        build_index(data)
    (line,) = (str(w.message) for w in told if "passed over" in str(w.message))
    assert line == (
        f"{data}: passed over 1 sound(s) without frames (cello/blind); 1 folder(s) of frames "
        "without sound (cello/deaf); 1 folder(s) without a jpg (cello/png); 1 sound(s) beside "
        "another of the same name (audio/cello/c0.mp3); 4 in audio/ that are no <label>/<id>.flac|"
        ".wav|.mp3 (audio/cello/deep, audio/cello/x.m4a, audio/cello/y.ogg, ...); 1 in frames/ "
        "that are no <label>/<id>.mp4/ (frames/cello/d)"
    )


def test_copies_are_in_one_split_at_any_seed_and_through_others():
    rng = random.Random(1)
    for seed in range(30):
        clips = [c for n in ("cello", "flute") for c in imagined(n, map("v{}".format, range(12)))]
        names = [c.name for c in clips]
        pairs = [tuple(rng.sample(names, 2)) for _ in range(6)]
        parts = split(clips, 0.3, 0.2, seed, copies=Groups(pairs))
        assert all(parts) and sum(map(len, parts)) == len(clips)
        where = {c.name: n for n, part in enumerate(parts) for c in part}
        assert all(where[a] == where[b] for a, b in pairs)
        assert all(where[f"cello/v{n}"] == where[f"flute/v{n}"] for n in range(12))  # one video
    shuffled = rng.sample(clips, len(clips))
    assert split(shuffled, 0.3, 0.2, seed, copies=Groups(pairs)) == parts
    assert split(clips, 0.3, 0.2, seed, copies=Groups()) == split(clips, 0.3, 0.2, seed)


def test_a_copy_of_what_the_list_tests_does_not_train():
    clips = imagined("cello", range(8))
    own = {c.id: "train" for c in clips} | {"7": "test"}
    train, val, test = split(clips, 0.2, 0.0, 0, own=own, copies=Groups([("cello/7", "cello/2")]))
    assert {c.id for c in train + val} == {"0", "1", "3", "4", "5", "6"}
    assert [c.id for c in test] == ["7"]


def test_the_data_sets_own_split_is_honoured(tmp_path):
    rows = [
        ("aaaaaaaaaa1", 0, "cello", "test"),
        ("aaaaaaaaaa1", 30, "cello", "train"),
        ("aaaaaaaaaa2", 7, "cello", "test"),
    ]
    rows += [(f"bbbbbbbbb{k:02d}", 10, ("cello", "flute")[k % 2], "train") for k in range(20)]
    (tmp_path / "v.csv").write_text("".join(",".join(map(str, row)) + "\n" for row in rows))
    own = read_splits(tmp_path / "v.csv")
    clips = [
        Clip(Path(f"audio/{label}/{key}_{start:06d}.mp3"), Path("f"), 9, key)
        for key, start, label, _ in rows
    ]
    train, val, test = split(clips, 0.2, 0.0, 0, own=own)
    assert {c.id for c in test} == {"aaaaaaaaaa1_000000", "aaaaaaaaaa2_000007"}
    assert (
        len(train) == 16
        and len(val) == 4
        and not {c.video for c in train + val} & {c.video for c in test}
    )
    (tmp_path / "w.csv").write_text("a,1,x,test\na,1,y,train\n")
    with pytest.raises(SopError, match="w.csv: a_000001 is in train, and in test before"):
        read_splits(tmp_path / "w.csv")
    for text in ("a,1,x\n", "a,b,x,test\n", "a,1,x,dev\n"):
        (tmp_path / "w.csv").write_text(text)
        with pytest.raises(
            SopError, match="w.csv row 1: .* expected youtube_id|a_000001 is in 'dev', expected"
        ):
            read_splits(tmp_path / "w.csv")
    data = make_data(tmp_path / "data", [("cello", "x", 3), ("cello", "y", 3)])
    with pytest.raises(SopError, match="names none of the 2 clips"):
        build_index(data, splits=tmp_path / "v.csv")
    with pytest.raises(SopError, match="leave the ratio out"):
        build_index(data, test_ratio=0.2, splits=tmp_path / "v.csv")


def test_a_list_of_ids_and_splits_is_followed_to_the_letter(tmp_path):
    clips = [("cello", f"c{k}", 3) for k in range(8)] + [("flute", f"-f{k}", 3) for k in range(8)]
    data = make_data(tmp_path / "data", [*clips, ("cello flute", "duet", 3)])
    own = {f"c{k}": ("train", "val", "test")[k % 3] for k in range(8)}
    own |= {f"flute/-f{k}": "train" for k in range(7)} | {"flute/-f7": "test", "duet": "val"}
    path = tmp_path / "own.csv"
    path.write_text("".join(f"{key},{split}\r\n" for key, split in own.items()))
    lists = build_index(data, splits=path)
    for name in ("train", "val", "test"):
        names = {c.id for c in read_index(lists[name])}
        assert names == {k.removeprefix("flute/") for k, split in own.items() if split == name}
    # without a val of its own, a part of train validates, as by VGGSound's list
    path.write_text("".join(f"c{k},train\n" for k in range(6)) + "c6,test\n-f0,test\n")
    with pytest.warns(UserWarning, match=r"own.csv doesn't name 9 clip\(s\) \(cello/c7, "):
        lists = build_index(data, splits=path)
    listed = {name: {c.id for c in read_index(lists[name])} for name in ("train", "val", "test")}
    assert listed["test"] == {"c6", "-f0", "duet"}  # a duet that isn't named tests, as ever
    assert len(listed["val"]) == 2 and len(listed["train"]) == 12
    both = "expected youtube_id,start_seconds,label,split, or in all rows id,split"
    for text, why in (
        ("c1,train\nc2,dev\n", "c2 is in 'dev', expected train, val or test"),
        ("c1,train\nc1,test\n", "c1 is in test, and in train before"),
        ("c1,train\nc2\n", f"own.csv row 2: 'c2', {both}"),
        ("c1;train\n", f"own.csv row 1: 'c1;train', {both}"),
        ("other,train\n", "names none of the 17 clips; expected ids like"),
    ):
        path.write_text(text)
        with pytest.raises(SopError, match=why):
            build_index(data, splits=path)
    # a val that isn't there does not count; an explicit ratio does
    path.write_text("gone,val\n c0 , test\n" + "".join(f"c{k},train\n" for k in range(1, 8)))
    with pytest.warns(UserWarning, match="name 9 clip"):
        lists = build_index(data, splits=path)
    assert [c.id for c in read_index(lists["test"]) if not c.is_duet] == ["c0"]
    assert {c.label for c in read_index(lists["val"])} == {"cello", "flute"}
    path.write_text("c0,test\nc1,val\n" + "".join(f"c{k},train\n" for k in range(2, 8)))
    with pytest.warns(UserWarning, match="name 9 clip"):
        lists = build_index(data, splits=path, val_ratio=0.5)
    assert len([c for c in read_index(lists["val"]) if c.label == "cello"]) == 4
    # sections: by their video's id, or by their own
    sections = [("cello", f"aaaaaaaaaa{k}_00000{start}", 3) for k in range(4) for start in (0, 5)]
    data = make_data(tmp_path / "sections", sections)
    path.write_text(
        "aaaaaaaaaa0,test\naaaaaaaaaa1,val\naaaaaaaaaa2,train\naaaaaaaaaa3_000005,test\n"
    )
    with pytest.warns(UserWarning, match="doesn't name 1 clip"):
        lists = build_index(data, splits=path, sections=True)
    tested = {c.id for c in read_index(lists["test"])}
    assert tested == {f"aaaaaaaaaa{k}_00000{start}" for k in (0, 3) for start in (0, 5)}
    assert {c.video for c in read_index(lists["val"])} == {"aaaaaaaaaa1"}
    assert {c.video for c in read_index(lists["train"])} == {"aaaaaaaaaa2"}
    # one video in val and in test: it tests
    path.write_text("aaaaaaaaaa0_000000,val\naaaaaaaaaa0_000005,test\naaaaaaaaaa1,train\n")
    with pytest.warns(UserWarning, match=r"1 clip\(s\) left out, .*another split, too: .*0_000000"):
        lists = build_index(data, splits=path, sections=True)
    assert {c.id for c in read_index(lists["test"])} == {"aaaaaaaaaa0_000005"}


def test_a_folder_of_nothing_but_labels_of_two_words_says_so(tmp_path):
    data = make_data(tmp_path / "data", [("playing harp", "x", 3), ("playing flute", "y", 3)])
    with pytest.warns(UserWarning, match="nothing to train with; .*--duets train"):
        paths = build_index(data)
    assert len(read_index(paths["test"])) == 2
    assert len(read_index(build_index(data, duet="train")["train"])) == 2
    with pytest.raises(SopError, match="expected one of test, train, drop"):
        build_index(data, duet="val")


def test_a_duet_whose_partner_has_no_clips_is_still_one(tmp_path):
    data = make_data(
        tmp_path / "data", [("cello", f"c{i}", 3) for i in range(4)] + [("cello tuba", "d", 3)]
    )
    with pytest.warns(
        UserWarning,
        match=r"'cello tuba' \(1 clip\(s\)\) is taken for a duet, since it is two words",
    ):
        paths = build_index(data, test_ratio=0.0)
    assert [c.label for c in read_index(paths["test"])] == ["cello tuba"]
    (data / "preprocess_report.csv").write_text(
        "id,label,status\nx,tuba,failed\n"
    )  # all the tubas were broken
    with warnings.catch_warnings(action="error"):
        build_index(data, test_ratio=0.0)


def test_what_the_list_calls_training_is_no_duet_for_testing():
    clips = labelled(
        thunder=range(3),
        rain=range(3, 6),
        thunder__rain=["aaaaaaaaaa1_000001", "aaaaaaaaaa2_000001"],
    )
    own = {c.id: "train" for c in clips}
    train, val, test = split(clips, 0.0, 0.0, 0, own=own)
    assert set(train) == set(clips) and not val + test


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
        clips = [
            c for label in "pqrst" for c in imagined(label, set(rng.sample("uvwxyz", 2 + seed % 3)))
        ]
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
    assert (
        len(got["train"]) == 6 and len(got["val"]) == 2 and len(got["test"]) == 3
    )  # one of each label, and the duet
    assert ("cello flute", "d") in got["test"]
    assert sorted(got["all"]) == sorted((label, id_) for label, id_, _ in clips)
    assert paths["all"].read_text().startswith("audio/cello/c0.flac,frames/cello/c0.mp4,3\n")
    before = [path.read_bytes() for path in paths.values()]
    build_index(data, min_frames=2)
    assert [path.read_bytes() for path in paths.values()] == before
    table = summary(read_index(paths["all"])).set_index("label")
    assert table.clips.to_dict() == {"cello": 5, "cello flute": 1, "flute": 5}
    assert table.frames["cello"] == 15 and table.seconds["cello"] == pytest.approx(
        5 * 4130 / 11_025, abs=0.1
    )


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


def test_from_four_videos_on_a_label_is_tested_and_too_few_to_test_with_are_told(tmp_path):
    for n, tested in ((2, 0), (3, 0), (4, 1), (5, 1), (12, 2), (20, 3)):
        parts = split(labelled(cello=[f"c{i}" for i in range(n)]))
        assert len(parts[2]) == tested and (n < 3 or parts[1]) and parts[0]
    data = make_data(
        tmp_path / "data",
        [(label, f"{label}{i}", 3) for label in ("cello", "flute") for i in range(3)],
    )
    with pytest.warns(
        UserWarning, match=r"0 video\(s\) besides duets to test with, too few to mix"
    ):
        build_index(data)


def test_one_id_under_two_labels_is_told_since_it_counts_as_one_video(tmp_path):
    """cello/1 and flute/1, as people name their files; sections and composed clips aren't meant."""
    names = [(label, str(n), 1) for n in range(1, 5) for label in ("cello", "flute")]
    data = make_data(tmp_path / "data", [*names, ("cello", "solo", 1), ("silence", "room", 1)])
    said = r"4 id\(s\) stand under several labels \(1, 2, 3, \.\.\.\)"
    with pytest.warns(UserWarning, match=said):
        paths = build_index(data)
    for name in ("train", "val", "test"):
        clips = read_index(paths[name])
        assert sum(c.id == "1" for c in clips) in (0, 2)
    sections = [replace(c, section_of="film") for c in read_index(paths["all"])]
    assert not like_one_video(sections)
