"""Clips and indexes: rows that hold, wherever they are moved."""

import glob
import os
import random
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sop_core.data.check import check
from sop_core.data.clips import Clip, candidates, find_clips, read_index, write_index
from sop_core.data.leftout import passed_over
from sop_core.data.lists import ListedVideo, read_music, read_vggsound, write_sections
from sop_core.data.splits import build_index
from sop_core.errors import SopError


def make_data(data, clips, ending="flac"):
    """A data folder with `clips`: (label, id, number of frames)."""
    for label, id_, n in clips:
        (data / "audio" / label).mkdir(parents=True, exist_ok=True)
        soundfile.write(
            os.fsencode(data / "audio" / label / f"{id_}.{ending}"),
            np.zeros(1103 * n // 8 * 10),
            11_025,
        )
        folder = data / "frames" / label / f"{id_}.mp4"
        folder.mkdir(parents=True)
        for k in range(n):
            (folder / f"{k + 1:06d}.jpg").write_bytes(b"")
    return data


def imagined(label, ids):
    return [
        Clip(Path("audio") / label / f"{i}.flac", Path("frames") / label / f"{i}.mp4", 160)
        for i in ids
    ]


def test_names_are_the_same_where_paths_have_backslashes(tmp_path, monkeypatch):
    """As on Windows, whose glob joins names so. Labels, sections and silence go by these names."""
    data = make_data(tmp_path / "data", [("cello", "a1", 2), ("cello", "a2", 2), ("oboe", "b", 2)])
    write_sections(data, {"cello/a1": "v", "cello/a2": "v"})
    (data / "audio" / "oboe" / "odd.txt").write_text("")

    def told():
        return find_clips(data), passed_over(data, candidates(data))

    clips, warning = here = told()
    assert [clip.name for clip in clips] == ["cello/a1", "cello/a2", "oboe/b"]
    assert [clip.section_of for clip in clips] == ["v", "v", ""]
    assert "(audio/oboe/odd.txt)" in warning[0]

    def windows(*args, _glob=glob.glob, **how):
        return [name.replace("/", "\\") for name in _glob(*args, **how)]

    monkeypatch.setattr(glob, "glob", windows)
    monkeypatch.setattr(os, "sep", "\\")
    assert told() == here


def test_an_index_on_another_drive_names_its_files_in_full(tmp_path, monkeypatch):
    def apart(path, start):
        raise ValueError("path is on mount 'D:', start on mount 'C:'")

    clips = find_clips(make_data(tmp_path / "data", [("cello", "a", 2)]))
    monkeypatch.setattr(os.path, "relpath", apart)
    write_index(tmp_path / "all.csv", clips)
    data = (tmp_path / "data").resolve().as_posix()
    row = f"{data}/audio/cello/a.flac,{data}/frames/cello/a.mp4,2\n"
    assert (tmp_path / "all.csv").read_text() == row
    assert read_index(tmp_path / "all.csv") == clips


def test_a_clip_knows_its_name(tmp_path):
    clip = Clip(Path("d/audio/cello violin/a.b.flac"), Path("d/frames/cello violin/a.b.mp4"), 9)
    assert (clip.label, clip.id, clip.name, clip.video) == (
        "cello violin",
        "a.b",
        "cello violin/a.b",
        "a.b",
    )


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
    (data / "quoted.csv").write_bytes(
        b"\xef\xbb\xbf" + b'"audio/cello/a1b2.mp3",frames/cello/a1b2.mp4, 7\r\n\r\n'
    )
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
    assert [c.id for c in read_index(tmp_path / "moved" / "indexes" / "all.csv")] == [
        c.id for c in clips
    ]
    write_index(
        tmp_path / "moved" / "again.csv", read_index(tmp_path / "moved" / "indexes" / "all.csv")
    )
    assert [c.id for c in read_index(tmp_path / "moved" / "again.csv")] == [c.id for c in clips]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("audio/cello/a.flac,frames/cello/a.mp4", "row 2: 2 columns, expected 3"),
        ("audio/cello/a.flac,frames/cello/a.mp4,5,6", "row 2: 4 columns, expected 3"),
        (
            "audio/cello/a.flac,frames/cello/a.mp4,many",
            r"row 2 \(cello/a\): number of frames 'many', expected a whole",
        ),
        (
            "audio/cello/a.flac,frames/cello/a.mp4,0",
            "number of frames '0', expected a whole number, at least 1",
        ),
        (
            "audio/cello/b.flac,frames/cello/a.mp4,5",
            r"row 2 \(cello/b\): no sound at audio/cello/b.flac",
        ),
        (
            "audio/cello/a.flac,frames/cello/b.mp4,5",
            r"row 2 \(cello/a\): no folder of frames at frames/cello/b.mp4",
        ),
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


FLUTE, APART = "fl\u00fbte", "flu\u0302te"  # the same word to a reader


@pytest.mark.parametrize("folder", ["data", APART])
def test_letters_written_in_two_ways_are_one_label(tmp_path, folder):
    """As on a disk of a Mac's (NFD), in a list typed by a person (NFC), or mixed by an archive."""
    made = [(APART, f"{APART}_{n}", 2) for n in range(3)] + [(FLUTE, f"{n}", 2) for n in range(3)]
    data = make_data(tmp_path / folder, made)
    (data / "audio" / APART).rename(data / "old")  # sounds are in one folder, frames in two
    for sound in (data / "old").iterdir():
        sound.rename(data / "audio" / FLUTE / sound.name)
    names = {f"{FLUTE}/{FLUTE}_{n}" for n in range(3)} | {f"{FLUTE}/{n}" for n in range(3)}
    assert {c.name for c in find_clips(data)} == names
    write_sections(data, {f"{APART}/{APART}_{n}": "one" for n in (0, 1)})
    paths = build_index(data, val_ratio=0.34, test_ratio=0)
    clips = read_index(paths["all"])
    assert {c.name for c in clips} == names and {c.label for c in clips} == {FLUTE}
    assert all(c.sound.is_file() and c.frames.is_dir() for c in clips)
    assert [c.video for c in clips].count("one") == 2
    assert len(read_index(paths["val"])) in (2, 3)  # a third of the one label
    for form in ("NFC", "NFD"):
        rows = unicodedata.normalize(form, paths["all"].read_text(encoding="utf-8"))
        (data / "typed.csv").write_text(rows, encoding="utf-8")
        (data / "far.csv").write_text(rows.replace("audio", f"{data}/audio"), encoding="utf-8")
        assert read_index(data / "typed.csv") == clips and len(read_index(data / "far.csv")) == 6
        assert "missing" not in set(check(data / "typed.csv", progress=False, jobs=1).problem)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_lists_are_read_with_a_byte_order_mark_too(tmp_path, encoding):
    music = f'{{"videos": {{"{APART}": ["a1"]}}}}'
    (tmp_path / "music.json").write_text(music, encoding=encoding)
    assert read_music([tmp_path / "music.json"]) == [ListedVideo("a1", FLUTE)]
    (tmp_path / "vgg.csv").write_text(f"a1,30,{APART},test\n", encoding=encoding)
    assert read_vggsound([tmp_path / "vgg.csv"]) == [ListedVideo("a1", FLUTE, 30, "test")]


def test_a_list_that_is_no_text_is_named(tmp_path):
    (tmp_path / "music.json").write_bytes('{"videos": {}}'.encode("utf-16-le"))
    with pytest.raises(SopError, match=r"music\.json: expected .*NUL characters"):
        read_music([tmp_path / "music.json"])


def test_what_is_a_duet():
    """Two words with a blank between. A section's label, which is VGGSound's, is one instrument."""
    for label in ("cello flute", "acoustic_guitar violin", "erhu pipa"):
        assert imagined(label, ["x"])[0].is_duet
    for label in (
        "cello",
        "acoustic_guitar",
        "silence",
        "playing violin, fiddle",
        "a  b",
        " a",
        "a ",
    ):
        assert not imagined(label, ["x"])[0].is_duet
    assert not Clip(
        Path("audio/playing harp/aaaaaaaaaa1_000001.mp3"), Path("f"), 9, "aaaaaaaaaa1"
    ).is_duet


def test_a_link_that_leads_nowhere_is_missing(tmp_path):
    data = make_data(tmp_path / "data", [("cello", "a", 3), ("cello", "b", 3)])
    paths = build_index(data)
    sound = data / "audio" / "cello" / "a.flac"
    sound.rename(tmp_path / "elsewhere.flac")
    sound.symlink_to(tmp_path / "elsewhere.flac")
    assert len(read_index(paths["all"])) == 2
    (tmp_path / "elsewhere.flac").unlink()
    with pytest.raises(SopError, match="row 1 .cello/a.: no sound"):
        read_index(paths["all"])


def test_an_index_is_the_same_in_whatever_order_a_folder_lists_its_files(tmp_path, monkeypatch):
    data = make_data(
        tmp_path / "data",
        [(label, f"{label}{i}", 3) for label in ("cello", "flute") for i in range(6)],
    )
    first = {name: path.read_bytes() for name, path in build_index(data, tmp_path / "one").items()}
    listing = os.scandir

    class Shuffled(list):
        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

    def scandir(place="."):
        with listing(place) as entries:
            return Shuffled(random.Random(str(place)).sample(found := list(entries), len(found)))

    monkeypatch.setattr(os, "scandir", scandir)
    again = {name: path.read_bytes() for name, path in build_index(data, tmp_path / "two").items()}
    assert {n: b.replace(b"two", b"one") for n, b in again.items()} == first
