"""Videos -> frames and sound: everything arrives, nothing half, nothing twice; what can't be used is named."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
from test_media import BROKEN, flash_and_beep, plain_video

from sop_core import media
from sop_core.errors import SopError
from sop_core.preprocess import preprocess

REAL = Path(__file__).parents[2] / "shared" / "media" / "real"


def run(videos, out, **more):
    return preprocess(videos, out, **{"jobs": 1, "progress": False} | more)


def tree(folder):
    """Every file with its time of change and its size."""
    return {p.relative_to(folder): (p.stat().st_mtime_ns, p.stat().st_size) for p in folder.rglob("*") if p.is_file()}


def clips_of(out):
    return {p: v for p, v in tree(out).items() if len(p.parts) > 1}


def test_the_layout_and_the_alignment(tmp_path):
    flash_and_beep(tmp_path / "v" / "cello" / "a.mkv", 1.2, 3.0)
    report = run(tmp_path / "v", tmp_path / "d")
    names = sorted(p.name for p in (tmp_path / "d" / "frames" / "cello" / "a.mp4").iterdir())
    assert names == [f"{k:06d}.jpg" for k in range(1, 25)]
    sound = media.read_sound(tmp_path / "d" / "audio" / "cello" / "a.flac")
    onset = np.flatnonzero(abs(sound) > 0.1)[0] / 11_025
    frames = media.read_frames(tmp_path / "d" / "frames" / "cello" / "a.mp4", range(24))
    assert onset == pytest.approx(1.2, abs=0.01)
    assert np.flatnonzero(frames.mean((1, 2, 3)) > 128)[0] == np.ceil(onset * 8 - 0.5)
    assert report.iloc[0][["id", "label", "status", "frames"]].tolist() == ["a", "cello", "ok", 24]
    assert report.seconds[0] == pytest.approx(3.0, abs=0.05)
    saved = pd.read_csv(tmp_path / "d" / "preprocess_report.csv", keep_default_na=False)
    assert saved.to_dict("records") == report.to_dict("records")


def test_frames_end_where_the_sound_ends(tmp_path):
    path = tmp_path / "v" / "cello" / "a.mp4"
    flash_and_beep(path, 1.0, 2.0, times=np.arange(0, 6, 0.1))
    assert run(tmp_path / "v", tmp_path / "d").frames[0] == 16
    assert len(list((tmp_path / "d" / "frames" / "cello" / "a.mp4").iterdir())) == 16


def test_names_of_all_kinds(tmp_path):
    ids = ["-dash", "with blank", "Küche 音 🎻", "a,b'c\"d", "[x]*?", "a:b", "x" * 200, "two.dots"]
    for name in ids:
        plain_video(tmp_path / "v" / "cello violin" / f"{name}.mp4", 0.6)
    odd = os.fsdecode(b"not utf-8 \xff")
    data = (tmp_path / "v" / "cello violin" / "-dash.mp4").read_bytes()
    (tmp_path / "v" / "cello violin" / f"{odd}.mp4").write_bytes(data)
    report = run(tmp_path / "v", tmp_path / "d")
    assert set(report.id) == {*ids, odd} and set(report.status) == {"ok"}, report.reason.tolist()
    for name in ids:
        assert media.frame_path(tmp_path / "d" / "frames" / "cello violin" / f"{name}.mp4", 0).exists()
        assert (tmp_path / "d" / "audio" / "cello violin" / f"{name}.flac").exists()


def test_a_second_run_does_what_is_missing_and_no_more(tmp_path):
    for name in "abc":
        plain_video(tmp_path / "v" / "cello" / f"{name}.mp4", 1.0)
    run(tmp_path / "v", tmp_path / "d")
    before = clips_of(tmp_path / "d")
    assert run(tmp_path / "v", tmp_path / "d").status.tolist() == ["present"] * 3
    assert clips_of(tmp_path / "d") == before
    (tmp_path / "d" / "audio" / "cello" / "b.flac").unlink()  # as after a kill between the two names
    report = run(tmp_path / "v", tmp_path / "d")
    assert report.status.tolist() == ["present", "ok", "present"]
    after = clips_of(tmp_path / "d")
    assert after.keys() == before.keys()
    assert all(after[p] == before[p] for p in before if p.name != "b.flac" and p.parent.name != "b.mp4")


def test_broken_videos_are_named_and_cost_nobody_else_anything(tmp_path, capsys):
    plain_video(tmp_path / "v" / "cello" / "good.mp4", 1.0)
    for case in set(BROKEN) - {"missing"}:
        folder = tmp_path / "v" / case
        folder.mkdir()
        BROKEN[case][0](folder)
    report = run(tmp_path / "v", tmp_path / "d", progress=True).set_index("label")
    assert report.status["cello"] == "ok" and sum(report.status == "failed") == len(BROKEN) - 1
    printed = capsys.readouterr().out
    for case in set(BROKEN) - {"missing"}:
        assert BROKEN[case][1] in report.reason[case] and str(tmp_path) not in report.reason[case]
        assert f"{case}/x: {report.reason[case]}" in printed
    assert {p.parts[1] for p in clips_of(tmp_path / "d")} == {"cello"}  # of the others not a trace
    assert not list((tmp_path / "d").rglob(".part-*"))


def test_two_videos_of_one_name_and_a_link_that_leads_out(tmp_path):
    plain_video(tmp_path / "v" / "cello" / "a.mp4", 0.6)
    plain_video(tmp_path / "v" / "cello" / "a.mkv", 0.6)
    plain_video(tmp_path / "elsewhere.mp4", 0.6)
    (tmp_path / "v" / "cello" / "out.mp4").symlink_to(tmp_path / "elsewhere.mp4")
    (tmp_path / "v" / "cello" / "in.mp4").symlink_to("a.mp4")
    report = run(tmp_path / "v", tmp_path / "d")
    assert dict(zip(report.id + report.status, report.reason, strict=True)) == {
        "aok": "",
        "afailed": "another video of this label has the same name",
        "inok": "",
        "outfailed": "a link that leads out of the folder of videos",
    }


def test_what_can_be_mended_is_said_in_one_line(tmp_path):
    with pytest.raises(SopError, match="nowhere: no such folder"):
        run(tmp_path / "nowhere", tmp_path / "d")
    plain_video(tmp_path / "v" / "loose.mp4", 0.6)
    with pytest.raises(SopError, match=r"no videos; expected <label>/<id>\.mp4 .*1 lie right in it"):
        run(tmp_path / "v", tmp_path / "d")
    for name in "ab":
        (tmp_path / "v" / "text").mkdir(exist_ok=True)
        (tmp_path / "v" / "text" / f"{name}.mp4").write_text("I am no video")
    with pytest.raises(SopError, match=r"none of its 2 videos can be used; the first, text/a: not a video file$"):
        run(tmp_path / "v", tmp_path / "d")
    assert len(pd.read_csv(tmp_path / "d" / "preprocess_report.csv")) == 2


def test_other_options_are_noticed_and_never_mixed(tmp_path):
    plain_video(tmp_path / "v" / "cello" / "a.mp4", 1.0)
    run(tmp_path / "v", tmp_path / "d")
    before = clips_of(tmp_path / "d")
    with pytest.raises(SopError, match=r"fps=8\.0, now fps=1\.0"):
        run(tmp_path / "v", tmp_path / "d", fps=1)
    with pytest.raises(SopError, match="rate=11025, now rate=22050"):
        run(tmp_path / "v", tmp_path / "d", rate=22_050)
    assert clips_of(tmp_path / "d") == before
    assert run(tmp_path / "v", tmp_path / "e", fps=2.5, rate=22_050).frames[0] == 2  # instants 0.2 and 0.6 s


def test_an_interrupt_in_the_middle_leaves_nothing_half(tmp_path, monkeypatch):
    plain_video(tmp_path / "v" / "cello" / "a.mp4", 2.0)
    save, seen = media.Image.Image.save, []

    def stop_at_the_fifth(self, *args, **more):
        seen.append(1)
        if len(seen) == 5:
            raise KeyboardInterrupt
        save(self, *args, **more)

    monkeypatch.setattr(media.Image.Image, "save", stop_at_the_fifth)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "v", tmp_path / "d")
    assert len(seen) == 5 and not clips_of(tmp_path / "d")


SLOW = """
import sys, time
from pathlib import Path
from PIL import Image
from sop_core.preprocess import preprocess
save = Image.Image.save
Image.Image.save = lambda *a, **k: (save(*a, **k), time.sleep(0.05))
preprocess(Path(sys.argv[1]), Path(sys.argv[2]), jobs=1, progress=False)
"""


def test_kill_9_leaves_no_clip_half_and_the_next_run_heals(tmp_path):
    for name in "abcd":
        plain_video(tmp_path / "v" / "cello" / f"{name}.mp4", 2.0)
    run(tmp_path / "v", tmp_path / "whole")
    expected = {p: size for p, (_, size) in clips_of(tmp_path / "whole").items()}
    root = Path(__file__).parents[1]
    slow = subprocess.Popen([sys.executable, "-c", SLOW, tmp_path / "v", tmp_path / "d"], cwd=root)
    end = time.monotonic() + 30
    while not list(tmp_path.glob("d/frames/cello/.part-*/000007.jpg")) and time.monotonic() < end:
        time.sleep(0.01)
    slow.send_signal(signal.SIGKILL)
    slow.wait()
    left = {p for p in clips_of(tmp_path / "d") if not any(part.startswith(".part-") for part in p.parts)}
    assert list(tmp_path.glob("d/frames/cello/.part-*"))  # it did die in the middle
    for folder in tmp_path.glob("d/frames/cello/[!.]*"):  # whatever has its name is complete
        assert {p for p in expected if folder.name in p.parts} <= left
    run(tmp_path / "v", tmp_path / "d")
    assert {p: size for p, (_, size) in clips_of(tmp_path / "d").items()} == expected
    assert not list((tmp_path / "d").rglob(".part-*"))


def test_many_processes_do_what_one_does(tmp_path):
    for name in "abc":
        plain_video(tmp_path / "v" / "cello" / f"{name}.mp4", 1.0)
    (tmp_path / "v" / "cello" / "d.mp4").write_text("no")
    one, two = run(tmp_path / "v", tmp_path / "one"), run(tmp_path / "v", tmp_path / "two", jobs=2)
    joblib.externals.loky.get_reusable_executor().shutdown(wait=True)
    pd.testing.assert_frame_equal(one, two)
    same = [
        p
        for p in clips_of(tmp_path / "one")
        if (tmp_path / "one" / p).read_bytes() == (tmp_path / "two" / p).read_bytes()
    ]
    assert len(same) == len(clips_of(tmp_path / "two")) == 3 * 9


@pytest.mark.skipif(not REAL.is_dir(), reason=f"needs the real clips in {REAL}")
def test_every_real_clip_goes_through(tmp_path):
    report = run(REAL, tmp_path / "d")
    assert set(report.status) == {"ok"} and len(report) == len(list(REAL.glob("*/*.mp4")))
    np.testing.assert_allclose(report.frames, report.seconds * 8, atol=1)
    for row in report.itertuples():
        samples, rate = media.sound_length(tmp_path / "d" / "audio" / row.label / f"{row.id}.flac")
        assert rate == 11_025 and samples / rate == pytest.approx(row.seconds, abs=0.01)
        frame = media.read_frames(tmp_path / "d" / "frames" / row.label / f"{row.id}.mp4", [row.frames - 1])
        assert min(frame.shape[1:3]) <= 256 and frame.std() > 5
