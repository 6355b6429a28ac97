"""Composed clips: their split is that of their photos and recordings, and never another."""

import shutil
from itertools import combinations

import pytest
from films import plain_video
from test_clips import make_data

from sop_core.__main__ import main
from sop_core.data.clips import find_clips, read_index, solos
from sop_core.data.lists import Made, note_composed, read_composed, write_composed
from sop_core.data.preprocess import preprocess
from sop_core.data.splits import build_index
from sop_core.errors import SopError

SPLITS = ("train", "val", "test")
A, B, C, D = (letter * 16 for letter in "abcd")


def placed(paths):
    """Clip's name -> split, as a training and an evaluation read it; empty lists have no clips."""
    written = {split: paths[split] for split in SPLITS if paths[split].stat().st_size}
    return {clip.name: split for split, path in written.items() for clip in read_index(path)}


def world(data, real=8):
    """Composed solos, duets and a silent scene, their note, and solos that it doesn't name."""
    made = {}
    for n, split in enumerate((*SPLITS, "test", "val", "train")):
        digit = f"{SPLITS.index(split):x}" * 15
        photos, sounds = (f"{digit}{n}",), (f"{n}{digit}", f"8{digit}")
        for label in ("cello", "flute", "cello flute"):
            made[f"{label}/{label.replace(' ', '_')}_{n}"] = Made(split, photos, sounds)
    made["silence/silence_0"] = Made("val", (A,))
    names = [name.split("/") for name in made]
    names += [("cello", f"real_{n}") for n in range(real)]
    make_data(data, [(label, id_, 2) for label, id_ in names])
    write_composed(data, made)
    return made


def test_the_noted_split_is_honoured_at_any_seed(tmp_path):
    made = world(tmp_path)
    others = set()
    for seed in range(12):
        found = placed(build_index(tmp_path, tmp_path / "out", seed=seed))
        assert {name: found[name] for name in made} == {k: m.split for k, m in made.items()}
        others.add(tuple(sorted((k, split) for k, split in found.items() if k not in made)))
    assert len(others) > 1  # those are drawn by the seed
    found = placed(build_index(tmp_path, tmp_path / "out", seed=3, duet="train"))
    assert {name: found[name] for name in made} == {k: m.split for k, m in made.items()}
    with pytest.warns(UserWarning, match=r"6 clip\(s\) left out, duets \(--duets drop\)"):
        found = placed(build_index(tmp_path, tmp_path / "out", duet="drop"))
    assert not [name for name in found if name.startswith("cello flute/")]


def test_clips_that_the_note_does_not_name_are_split_as_without_it(tmp_path):
    made = world(tmp_path / "both")
    make_data(tmp_path / "real", [("cello", f"real_{n}", 2) for n in range(8)])
    found = placed(build_index(tmp_path / "both", seed=5))
    rest = {name: split for name, split in found.items() if name not in made}
    alone = build_index(tmp_path / "real", seed=5, test_ratio=0.15)
    assert rest == placed(alone) and set(rest.values()) == set(SPLITS)
    assert not (tmp_path / "real" / "index_composed.csv").exists()


@pytest.mark.parametrize("kind", ["photo", "recording"])
@pytest.mark.parametrize("splits", list(combinations(SPLITS, 2)))
def test_one_photo_or_recording_in_two_splits_is_refused(tmp_path, kind, splits):
    data = make_data(tmp_path, [("cello", f"x{n}", 2) for n in range(3)])
    one, two = ({f"{kind}s": digests} for digests in ((A, B), (C, B)))
    write_composed(data, {"cello/x0": Made(splits[0], **one), "cello/x1": Made(splits[1], **two)})
    told = rf"composed.csv: cello/x0 \(in {splits[0]}\) and cello/x1 \(in {splits[1]}\) have the "
    with pytest.raises(SopError, match=f"{told}{kind} {B} in common"):
        build_index(data)
    assert not list(data.glob("train.csv")) and not (data / "index_composed.csv").exists()
    # within one split it is no leak
    write_composed(data, {"cello/x0": Made("val", **one), "cello/x1": Made("val", **two)})
    assert placed(build_index(data)) == {
        "cello/x0": "val",
        "cello/x1": "val",
        "cello/x2": "train",
    }


def test_an_index_knows_its_photos_wherever_it_is_moved(tmp_path):
    made = world(tmp_path / "data")
    paths = build_index(tmp_path / "data", tmp_path / "data" / "mine")
    expected = {name: (m.photos, m.recordings) for name, m in made.items()}

    def known(clips):
        return {c.name: (c.photos, c.recordings) for c in clips if c.photos or c.recordings}

    assert known(read_index(paths["all"])) == known(find_clips(tmp_path / "data")) == expected
    shutil.copytree(tmp_path / "data", tmp_path / "copy")
    (tmp_path / "data").rename(tmp_path / "moved")
    for folder in ("copy", "moved"):
        assert known(read_index(tmp_path / folder / "mine" / "all.csv")) == expected
    # indexed again without composed clips: nothing is left of them
    (tmp_path / "copy" / "composed.csv").unlink()
    paths = build_index(tmp_path / "copy", tmp_path / "copy" / "mine")
    assert known(read_index(paths["all"])) == {}


def test_preprocess_copies_the_note(tmp_path):
    plain_video(tmp_path / "v" / "cello" / "cello_0.mp4")
    write_composed(tmp_path / "v", {"cello/cello_0": Made("test", (A, B), (C,))})
    write_composed(tmp_path / "d", {"flute/flute_0": Made("val", (D,))})  # from before
    preprocess(tmp_path / "v", tmp_path / "d", jobs=1, progress=False)
    text = f"cello/cello_0,test,{A} {B},{C}\nflute/flute_0,val,{D},\n"
    assert (tmp_path / "d" / "composed.csv").read_text() == text
    (clip,) = find_clips(tmp_path / "d")
    assert (clip.photos, clip.recordings) == ((A, B), (C,))


@pytest.mark.parametrize(
    "row",
    [
        "torn",
        f"cello/x0,test,{A}",
        f"cello/x0,dev,{A},",
        f"cello/x0,,{A},",
        "cello/x0,test,../../etc/passwd,",
        f"cello/x0,test,{A[:-1]},",
        f"cello/x0,test,{A}\n{B},",
        f"cello/x0,test,{A},{B.upper()}",
        f"cello/x0,test,{A},{B},{C}",
    ],
)
def test_a_malformed_note_is_refused_with_its_row(tmp_path, row):
    data = make_data(tmp_path, [("cello", "x0", 2)])
    index = build_index(data)["all"]
    cells = ",".join(f'"{text}"' for text in row.split(","))
    text = f"flute/y,val,{D},\n\n{cells}\n"
    told = r"row 3: .*, expected label/id,train\|val\|test,photos,recordings"
    (data / "composed.csv").write_text(text)
    with pytest.raises(SopError, match=f"/composed.csv {told}"):
        build_index(data)
    (data / "index_composed.csv").write_text(text)
    with pytest.raises(SopError, match=f"/index_composed.csv {told}"):
        read_index(index)


def test_names_from_a_strangers_note_are_only_compared(tmp_path):
    """No path in it is opened or made, no formula is written, and other clips stay as they are."""
    data = make_data(tmp_path / "data", [("cello", f"x{n}", 2) for n in range(4)])
    before = placed(build_index(data))
    hostile = ["../../x/y", "/etc/passwd", "cello/\x1b[2J\x00", "=1+cmd|' C'!A0/x", ""]
    hostile.append("a\nb/c\udcff")  # not valid UTF-8
    made = {name: Made("train", (A,)) for name in hostile}
    write_composed(data, made)
    assert read_composed(data) == made
    files = {path for path in tmp_path.rglob("*") if "composed" not in path.name}
    assert placed(build_index(data)) == before
    assert {path for path in tmp_path.rglob("*") if "composed" not in path.name} == files
    assert read_composed(data, "index_composed.csv") == made
    text = (data / "index_composed.csv").read_bytes()
    assert not any(line.lstrip(b'"').startswith(b"=") for line in text.splitlines())


def test_a_name_that_is_told_does_nothing_to_a_terminal(tmp_path, capsys):
    names = ["x\x1b[2J", "y"]
    data = make_data(tmp_path, [("cello", name, 2) for name in names])
    made = {f"cello/{n}": Made(s, (A,)) for n, s in zip(names, ("train", "val"), strict=True)}
    write_composed(data, made)
    assert main(["index", str(data)]) == 2
    told = capsys.readouterr().err
    assert r"cello/x\x1b[2J (in train) and cello/y (in val)" in told and "\x1b" not in told


def test_two_sets_with_equal_names_are_not_mixed_up(tmp_path):
    """Their clips would be one, and what it is made of would be a lie."""
    note_composed(tmp_path, {"cello/x": Made("train", (A,), (B,))})
    note_composed(tmp_path, {"cello/x": Made("train", (A,), (B,)), "cello/y": Made("val", (C,))})
    assert len(read_composed(tmp_path)) == 2
    with pytest.raises(SopError, match="cello/x is made of other .*choose another folder"):
        note_composed(tmp_path, {"cello/x": Made("train", (D,), (B,))})
    assert read_composed(tmp_path)["cello/x"].photos == (A,)


def test_a_clip_of_two_photos_is_a_duet_whatever_its_label(tmp_path):
    data = make_data(tmp_path, [("a b c", "trio_0", 2), ("a", "a_0", 2), ("d", "duet_0", 2)])
    made = {"a b c/trio_0": Made("test", (A, B, C)), "a/a_0": Made("test", (D,))}
    write_composed(data, made | {"d/duet_0": Made("test", (A, B))})
    clips = {clip.name: clip for clip in find_clips(data)}
    assert [clips[name].is_duet for name in sorted(clips)] == [True, False, True]
    assert [clip.name for clip in solos(list(clips.values()))] == ["a/a_0"]
