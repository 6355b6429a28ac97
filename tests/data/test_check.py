"""Checking: what is missing is told from what is invalid."""

import os
import signal

import numpy as np
import pytest
import soundfile
from PIL import Image
from tiny import write_clip

from sop_core.data.check import check
from sop_core.data.clips import read_index
from sop_core.data.splits import build_index
from sop_core.errors import SopError


def test_checking_tells_what_is_missing_from_what_is_invalid(tmp_path):
    data, rng = tmp_path / "data", np.random.default_rng(0)

    def clip(name, seconds=2.0, level=0.3, frames=None, sound=True):
        label, id_ = name.split("/")
        place, folder = (
            data / "audio" / label / f"{id_}.wav",
            data / "frames" / label / f"{id_}.mp4",
        )
        if sound:
            place.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(place, level * rng.uniform(-1, 1, round(seconds * 11_025)), 11_025)
        for k in range(round(seconds * 8) if frames is None else frames):
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(folder / f"{k + 1:06d}.jpg")
        return place, folder

    clip("a/good"), clip("silence/room", level=0.0)
    clip("a/short", 0.5), clip("a/silent", level=0.0), clip("a/late", frames=10)
    clip("a/deaf", sound=False), clip("a/blind", frames=0)
    clip("a/torn")[0].write_bytes(b"RIFF"), clip("b/empty")[0].write_bytes(b"")
    (clip("b/hole")[1] / "000007.jpg").unlink()
    (clip("b/jpg")[1] / "000016.jpg").write_bytes(b"no picture")
    (data / "preprocess.json").write_text('{"fps": 8.0}')
    found = check(data, seconds=1.0, jobs=1, progress=False)
    assert found[found.problem == "missing"].set_index("clip").reason.to_dict() == {
        "a/blind": "no frames",
        "a/deaf": "no sound",
    }
    invalid = found[found.problem == "invalid"].set_index("clip").reason.to_dict()
    expected = {
        "a/short": "0.50 s of sound, a window takes 1.00 s",
        "a/silent": "silent throughout",
        "a/late": "10 frames beside 2.00 s of sound; 8 a second would be 16",
        "a/torn": "not a sound file",
        "b/empty": "empty (0 bytes)",
        "b/hole": "frame 000007.jpg is not there (1 of 16 aren't)",
        "b/jpg": "000016.jpg: not a picture",
    }
    assert invalid.keys() == expected.keys()
    assert all(invalid[name].startswith(reason) for name, reason in expected.items()), invalid
    again = check(data, seconds=1.0, jobs=2, progress=False)
    assert again.equals(found)
    paths = build_index(data)
    clips = read_index(paths["all"])
    clips[0].sound.unlink()
    in_index = check(paths["all"], seconds=1.0, jobs=1, progress=False)
    assert in_index[in_index.problem == "missing"].values.tolist() == [
        ["missing", clips[0].name, "no sound"]
    ]
    with paths["all"].open("a") as f:
        f.write("x,y\n")
    moved = tmp_path / "lists" / "all.csv"  # elsewhere, its data is found by the paths in it
    moved.parent.mkdir()
    moved.write_text(
        paths["all"]
        .read_text()
        .replace("audio/", "../data/audio/")
        .replace("frames/", "../data/frames/")
    )
    problems = check(moved, seconds=1.0, jobs=1, progress=False)
    assert "'x,y', expected sound,frames,number of frames" in problems.reason.tolist()
    assert any("8 a second would be" in reason for reason in problems.reason)
    (data / "preprocess.json").write_text("{")
    with pytest.raises(SopError, match="not readable as json"):
        check(data, progress=False)
    with pytest.raises(SopError, match="no clips"):
        check(tmp_path / "data" / "audio")


@pytest.mark.parametrize("what", ["an index that was moved", "sounds alone"])
def test_clips_that_are_all_missing_are_listed_and_nothing_is_written_elsewhere(
    tmp_path, monkeypatch, what
):
    here, elsewhere = tmp_path / "a" / "data", tmp_path / "b"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    if what == "sounds alone":
        (here / "audio" / "x").mkdir(parents=True)
        soundfile.write(here / "audio" / "x" / "1.wav", np.zeros(800), 8_000)
        found = check(here, jobs=1, progress=False)
        assert found[["problem", "clip", "reason"]].values.tolist() == [
            ["missing", "x/1", "no frames"]
        ]
    else:
        here.mkdir(parents=True)
        (here / "all.csv").write_text("../gone/audio/x/1.wav,../gone/frames/x/1.mp4,8\n")
        found = check(here / "all.csv", jobs=1, progress=False)
        assert found[["problem", "clip"]].values.tolist() == [["missing", "x/1"]]
    assert not [*elsewhere.iterdir()]
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b"}
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["data"]
    assert not [*here.glob("*.npz")] and not [*here.glob("copies.csv")]  # no clip is whole


def test_a_process_that_is_killed_is_one_sentence(tmp_path, monkeypatch):
    clip = write_clip(tmp_path, "red", 0)
    die = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # noqa: E731  # by value to the process
    monkeypatch.setattr("sop_core.data.check._look", die)
    with pytest.raises(SopError, match="a process that looked at clips died .*fewer processes"):
        check(tmp_path, jobs=2, progress=False)
    assert clip.sound.exists()
