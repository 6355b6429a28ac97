"""Videos -> frames and sound: nothing is lost, half or double; what can't be used is named."""

import errno
import os
import resource
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import av
import joblib
import numpy as np
import pandas as pd
import pytest
import simplejpeg
import soundfile
from av.stream import Disposition
from films import BROKEN, flash_and_beep, level, make_video, many_streams, plain_video, tone

from sop_core.__main__ import main
from sop_core.data import preprocess as preprocess_module
from sop_core.data.preprocess import preprocess
from sop_core.data.splits import known_labels
from sop_core.errors import SopError
from sop_core.media.jpgs import frame_path, frame_size, read_frames
from sop_core.media.sound import read_sound, sound_length

REAL = Path(__file__).parents[3] / "shared" / "media" / "real"


def run(videos, out, **more):
    return preprocess(videos, out, **{"jobs": 1, "progress": False} | more)


def tree(folder):
    """Every file with its time of change and its size."""
    return {
        p.relative_to(folder): (p.stat().st_mtime_ns, p.stat().st_size)
        for p in folder.rglob("*")
        if p.is_file()
    }


def clips_of(out):
    """All but the notes beside the frames."""
    return {p: v for p, v in tree(out).items() if len(p.parts) > 1 and p.suffix != ".note"}


def test_the_layout_and_the_alignment(tmp_path):
    flash_and_beep(tmp_path / "v" / "cello" / "a.mkv", 1.2, 3.0)
    report = run(tmp_path / "v", tmp_path / "d")
    names = sorted(p.name for p in (tmp_path / "d" / "frames" / "cello" / "a.mp4").iterdir())
    assert names == [f"{k:06d}.jpg" for k in range(1, 25)]
    sound = read_sound(tmp_path / "d" / "audio" / "cello" / "a.mp3")
    onset = np.flatnonzero(abs(sound) > 0.1)[0] / 11_025
    frames = read_frames(tmp_path / "d" / "frames" / "cello" / "a.mp4", range(24))
    assert onset == pytest.approx(1.2, abs=0.01)
    assert np.flatnonzero(frames.mean((1, 2, 3)) > 128)[0] == np.ceil(onset * 8 - 0.5)
    assert report.iloc[0][["id", "label", "status", "frames"]].tolist() == ["a", "cello", "ok", 24]
    assert report.seconds[0] == pytest.approx(3.0, abs=0.05)
    saved = pd.read_csv(tmp_path / "d" / "preprocess_report.csv", keep_default_na=False)
    assert saved.to_dict("records") == report.to_dict("records")
    (tmp_path / "d" / "frames" / "cello" / "a.mp4" / "._000001.jpg").write_bytes(b"Mac")
    assert run(tmp_path / "v", tmp_path / "d").frames[0] == 24  # a Mac's note is no frame


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
        assert frame_path(tmp_path / "d" / "frames" / "cello violin" / f"{name}.mp4", 0).exists()
        assert (tmp_path / "d" / "audio" / "cello violin" / f"{name}.mp3").exists()


def test_a_second_run_does_what_is_missing_and_no_more(tmp_path):
    for name in "abc":
        plain_video(tmp_path / "v" / "cello" / f"{name}.mp4", 1.0)
    run(tmp_path / "v", tmp_path / "d")
    before = clips_of(tmp_path / "d")
    assert run(tmp_path / "v", tmp_path / "d").status.tolist() == ["present"] * 3
    assert clips_of(tmp_path / "d") == before
    (tmp_path / "d" / "audio" / "cello" / "b.mp3").unlink()  # as after a kill between the two names
    report = run(tmp_path / "v", tmp_path / "d")
    assert report.status.tolist() == ["present", "ok", "present"]
    after = clips_of(tmp_path / "d")
    assert after.keys() == before.keys()
    assert all(
        after[p] == before[p] for p in before if p.name != "b.mp3" and p.parent.name != "b.mp4"
    )


def test_another_file_of_the_same_name_is_made_again(tmp_path, capsys):
    video = tmp_path / "v" / "cello" / "a.mp4"
    sound = tmp_path / "d" / "audio" / "cello" / "a.mp3"
    note = tmp_path / "d" / "frames" / "cello" / ".a.mp4.note"
    words = ["preprocess", str(tmp_path / "v"), "--out", str(tmp_path / "d"), "--jobs", "1"]

    def again():
        code = main(words)
        return code, sound.is_file() and round(sound_length(sound)[0] / 11_025)

    for name in "ab":
        plain_video(video.with_name(f"{name}.mp4"), 1.0)
    assert again() == (0, 1) and "already" not in capsys.readouterr().out
    plain_video(video, 2.0)
    assert again() == (0, 2) and len(list(note.with_name("a.mp4").iterdir())) == 16
    assert f"2 of 2 videos are in {tmp_path / 'd'}; 1 of them was there" in capsys.readouterr().out
    # the note alone decides: of the same size, at another time
    made, time_of = sound.stat().st_mtime_ns, video.stat().st_mtime_ns
    assert again() == (0, 2) and sound.stat().st_mtime_ns == made
    os.utime(video, ns=(time_of, time_of + 1))
    assert again() == (0, 2) and sound.stat().st_mtime_ns > made
    # data from before there was such a note stays, and what was noted then is still told
    made = sound.stat().st_mtime_ns
    note.write_text("2 sound streams")
    plain_video(video, 3.0)
    assert again() == (0, 2) and sound.stat().st_mtime_ns == made
    saved = pd.read_csv(tmp_path / "d" / "preprocess_report.csv", keep_default_na=False)
    assert saved.note.tolist() == ["2 sound streams", ""]
    note.unlink()
    assert again() == (0, 2) and sound.stat().st_mtime_ns == made
    # one that can't be used leaves no clip of its predecessor
    video.with_name("b.mp4").write_text("no video")
    assert again() == (0, 2)
    assert sorted(p.name for p in note.parent.iterdir() if p.is_dir()) == ["a.mp4"]


def test_which_streams_were_taken_is_noted_and_others_can_be_asked_for(tmp_path, capsys):
    film, default, none = (2.0, (48, 64), 200), Disposition.default, Disposition(0)
    sounds = [((2.0, 0), none), ((2.0, 1000), default)]
    (tmp_path / "v" / "cello").mkdir(parents=True)
    many_streams(tmp_path / "v" / "cello" / "two.mkv", [(film, default)], sounds)
    plain_video(tmp_path / "v" / "cello" / "one.mp4", 1.0)
    words = ["preprocess", str(tmp_path / "v"), "--jobs", "1", "--out"]
    assert main([*words, str(tmp_path / "d")]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == (
        f"2 of 2 videos are in {tmp_path / 'd'}; 1 of them has a note in preprocess_report.csv"
    )
    saved = pd.read_csv(tmp_path / "d" / "preprocess_report.csv", keep_default_na=False)
    assert saved.columns.tolist()[3:5] == ["reason", "note"]
    note = "2 sound streams: number 1 is taken (default; numbers begin at 0)"
    assert saved.set_index("id").note.to_dict() == {"one": "", "two": note}
    assert level(read_sound(tmp_path / "d" / "audio" / "cello" / "two.mp3"), 1000, 11_025) > 0.2
    # what is there already keeps its note, also where a run was killed before its report
    (tmp_path / "d" / "preprocess_report.csv").unlink()
    again = run(tmp_path / "v", tmp_path / "d").set_index("id")
    assert again.status.to_dict() == {"one": "present", "two": "present"}
    assert again.note.to_dict() == {"one": "", "two": note}
    with pytest.raises(SopError, match="audio_stream=None, now audio_stream=0 is asked for"):
        run(tmp_path / "v", tmp_path / "d", audio_stream=0)
    assert main([*words, str(tmp_path / "e"), "--audio-stream", "0", "--video-stream", "0"]) == 0
    assert abs(read_sound(tmp_path / "e" / "audio" / "cello" / "two.mp3")).max() < 0.01
    report = run(tmp_path / "v", tmp_path / "f", audio_stream=1).set_index("id")
    assert report.reason["one"] == "no sound stream 1: it has 1; numbers begin at 0"
    assert report.status["two"] == "ok" and "(asked for; numbers" in report.note["two"]
    with pytest.raises(SopError, match=r"audio_stream=-1: expected 0 \(the first\) or more"):
        run(tmp_path / "v", tmp_path / "g", audio_stream=-1)


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
    with pytest.raises(
        SopError,
        match=r"no videos; expected <label>/<id>\.mp4 .*passed over: 1 right in VIDEOS \(put each",
    ):
        run(tmp_path / "v", tmp_path / "d")
    for name in "ab":
        (tmp_path / "v" / "text").mkdir(exist_ok=True)
        (tmp_path / "v" / "text" / f"{name}.mp4").write_text("I am no video")
    with pytest.raises(
        SopError,
        match=r"none of its 2 videos can be used; the first, text/a: not a video file that FFmpeg",
    ):
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
    assert (
        run(tmp_path / "v", tmp_path / "e", fps=2.5, rate=22_050).frames[0] == 2
    )  # instants 0.2 and 0.6 s
    for option in ({"audio_format": "flac"}, {"start": 0.5}, {"duration": 0.5}, {"short_side": 0}):
        with pytest.raises(SopError, match=f"{next(iter(option))}=.* is asked for"):
            run(tmp_path / "v", tmp_path / "d", **option)


@pytest.mark.parametrize(
    ("kind", "subtype"), [("mp3", "MPEG_LAYER_III"), ("flac", "PCM_16"), ("wav", "PCM_16")]
)
def test_the_sound_is_mono_at_the_rate_in_the_kind_asked_for(tmp_path, kind, subtype):
    make_video(tmp_path / "v" / "cello" / "a.mp4", [0, 1, 2], [np.zeros((48, 64, 3), np.uint8)] * 3,
               np.stack([tone(700, 3, 48_000)] * 2), 48_000)  # fmt: skip
    run(tmp_path / "v", tmp_path / "d", audio_format=kind, rate=16_000)
    info = soundfile.info(tmp_path / "d" / "audio" / "cello" / f"a.{kind}")
    assert (info.samplerate, info.channels, info.subtype) == (16_000, 1, subtype)
    sound = read_sound(tmp_path / "d" / "audio" / "cello" / f"a.{kind}")
    assert len(sound) == pytest.approx(48_000, abs=1100) and level(
        sound, 700, 16_000
    ) == pytest.approx(0.5, rel=0.03)


def test_a_part_of_each_video_and_its_own_size(tmp_path):
    flash_and_beep(tmp_path / "v" / "cello" / "a.mp4", 2.0, 4.0)
    plain_video(tmp_path / "v" / "cello" / "short.mp4", 1.0)
    report = run(tmp_path / "v", tmp_path / "d", start=1.5, duration=1.25).set_index("id")
    assert report.loc["a", ["status", "frames", "seconds"]].tolist() == ["ok", 10, 1.25]
    assert report.loc["short", "reason"] == "no sound from there on"
    sound = read_sound(tmp_path / "d" / "audio" / "cello" / "a.mp3")
    assert np.flatnonzero(abs(sound) > 0.1)[0] / 11_025 == pytest.approx(0.5, abs=0.01)
    picture = [np.zeros((300, 500, 3), np.uint8)] * 2
    make_video(tmp_path / "w" / "cello" / "a.mp4", [0, 0.5], picture, tone(440, 1, 44_100)[None])
    for short_side, size in ((256, (427, 256)), (0, (500, 300)), (100, (167, 100))):
        run(tmp_path / "w", tmp_path / f"d{short_side}", short_side=short_side)
        assert frame_size(tmp_path / f"d{short_side}" / "frames" / "cello" / "a.mp4") == size


def test_options_that_cannot_be_are_refused_before_anything_is_done(tmp_path):
    plain_video(tmp_path / "v" / "cello" / "a.mp4", 1.0)
    bad = {
        "fps": 0,
        "start": -1,
        "duration": 0,
        "short_side": -5,
        "audio_format": "../x",
        "rate": 12_345,
    }
    for key, value in bad.items():
        with pytest.raises(SopError, match=rf"{key}=.*expected|{key}=.*take"):
            run(tmp_path / "v", tmp_path / "d", **{key: value})
    assert not (tmp_path / "d").exists()
    assert run(tmp_path / "v", tmp_path / "d", rate=12_345, audio_format="flac").status[0] == "ok"


@pytest.mark.parametrize(
    "address",
    ["dask://", "127.0.0.1:8786", "spark://127.0.0.1:8786", "dask://nowhere.invalid:8786"],
)
def test_a_cluster_that_is_none_gets_one_clear_sentence(tmp_path, address, monkeypatch):
    pytest.importorskip("distributed", reason="needs the extra `cluster`")
    monkeypatch.setattr(preprocess_module, "ANSWER", 1)  # nobody will
    plain_video(tmp_path / "v" / "cello" / "a.mp4", 1.0)
    with pytest.raises(SopError, match="expected dask://HOST:PORT|no Dask scheduler answers"):
        run(tmp_path / "v", tmp_path / "d", cluster=address)


def test_a_cluster_that_loses_a_worker_does_what_one_process_does(tmp_path):
    distributed = pytest.importorskip("distributed", reason="needs the extra `cluster`")
    names = [f"{k:02d}" for k in range(12)]
    for name in names:
        plain_video(tmp_path / "v" / "cello" / f"{name}.mp4", 8.0)
    (tmp_path / "v" / "cello" / "broken.mp4").write_text("no")
    (tmp_path / "v" / "cello" / "link.mp4").symlink_to(tmp_path / "v" / "cello" / "00.mp4")
    here = run(tmp_path / "v", tmp_path / "here")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        address = cluster.scheduler_address.replace("tcp://", "dask://")
        with ThreadPoolExecutor(1) as pool:
            done = pool.submit(run, tmp_path / "v", tmp_path / "there", cluster=address)
            while not list(tmp_path.glob("there/frames/cello/0*.mp4")) and not done.done():
                time.sleep(0.01)
            os.kill(next(iter(cluster.workers.values())).pid, signal.SIGKILL)
            left = len(list(tmp_path.glob("there/frames/cello/0*.mp4")))
            there = done.result(timeout=120)
    assert left < len(names)  # it did die on the way
    pd.testing.assert_frame_equal(
        there.assign(status=here.status), here
    )  # what a dead worker finished is `present`
    assert set(there.status) == {"ok", "failed"} or set(there.status) == {"ok", "present", "failed"}
    expected = {p for p in clips_of(tmp_path / "here") if ".part-" not in str(p)}
    assert expected == {p for p in clips_of(tmp_path / "there") if ".part-" not in str(p)}
    for path in expected:
        assert (tmp_path / "here" / path).read_bytes() == (tmp_path / "there" / path).read_bytes()


def test_an_interrupt_in_the_middle_leaves_nothing_half(tmp_path, monkeypatch):
    plain_video(tmp_path / "v" / "cello" / "a.mp4", 2.0)
    encode, seen = simplejpeg.encode_jpeg, []

    def stop_at_the_fifth(*args, **more):
        seen.append(1)
        if len(seen) == 5:
            raise KeyboardInterrupt
        return encode(*args, **more)

    monkeypatch.setattr(simplejpeg, "encode_jpeg", stop_at_the_fifth)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "v", tmp_path / "d")
    assert len(seen) == 5 and not clips_of(tmp_path / "d")


SLOW = """
import sys, time
from pathlib import Path
import simplejpeg
from sop_core.data.preprocess import preprocess
encode = simplejpeg.encode_jpeg
simplejpeg.encode_jpeg = lambda *a, **k: (encode(*a, **k), time.sleep(0.05))[0]
preprocess(Path(sys.argv[1]), Path(sys.argv[2]), jobs=1, progress=False)
"""


def test_kill_9_leaves_no_clip_half_and_the_next_run_heals(tmp_path):
    for name in "abcd":
        plain_video(tmp_path / "v" / "cello" / f"{name}.mp4", 2.0)
    run(tmp_path / "v", tmp_path / "whole")
    expected = {p: size for p, (_, size) in clips_of(tmp_path / "whole").items()}
    root = Path(__file__).parents[2]
    slow = subprocess.Popen([sys.executable, "-c", SLOW, tmp_path / "v", tmp_path / "d"], cwd=root)
    end = time.monotonic() + 30
    while not list(tmp_path.glob("d/frames/cello/.part-*/000007.jpg")) and time.monotonic() < end:
        time.sleep(0.01)
    slow.send_signal(signal.SIGKILL)
    slow.wait()
    left = {
        p
        for p in clips_of(tmp_path / "d")
        if not any(part.startswith(".part-") for part in p.parts)
    }
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


@pytest.mark.skipif(
    not REAL.is_dir(), reason=f"{REAL} is not here: other people's videos, never committed"
)
def test_every_real_clip_goes_through(tmp_path):
    report = run(REAL, tmp_path / "d")
    assert set(report.status) == {"ok"} and len(report) == len(list(REAL.glob("*/*.mp4")))
    np.testing.assert_allclose(report.frames, report.seconds * 8, atol=1)
    for row in report.itertuples():
        samples, rate = sound_length(tmp_path / "d" / "audio" / row.label / f"{row.id}.mp3")
        assert rate == 11_025 and samples / rate == pytest.approx(row.seconds, abs=0.01)
        frame = read_frames(
            tmp_path / "d" / "frames" / row.label / f"{row.id}.mp4", [row.frames - 1]
        )
        assert min(frame.shape[1:3]) <= 256 and frame.std() > 5


def float_video(path, bad, seconds=2.0):
    """A mov whose sound is floats, some of them no numbers; bad: what is at second 1."""
    sound = tone(440, seconds, 44_100)
    sound[44_100] = bad
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", format="mov") as out:
        video, audio = (
            out.add_stream("libx264", rate=10),
            out.add_stream("pcm_f32le", rate=44_100, layout="mono"),
        )
        video.height, video.width, video.pix_fmt = 48, 64, "yuv420p"
        for _ in range(round(10 * seconds)):
            out.mux(
                video.encode(
                    av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")
                )
            )
        frame = av.AudioFrame.from_ndarray(
            sound[None].astype(np.float32), format="flt", layout="mono"
        )
        frame.sample_rate = 44_100
        for stream, last in ((audio, frame), (audio, None), (video, None)):
            out.mux(stream.encode(last))


def test_samples_that_are_no_numbers_cost_themselves_only(tmp_path):
    for name, bad in (("nan", np.nan), ("inf", -np.inf), ("good", 0.0)):
        float_video(tmp_path / "v" / "cello" / f"{name}.mov", bad)
    report = run(tmp_path / "v", tmp_path / "d").set_index("id")
    assert report.status.to_dict() == {"nan": "ok", "inf": "ok", "good": "ok"}
    assert report.seconds.nunique() == 1


@pytest.mark.parametrize(("kind", "limit"), [("mp3", 12_000), ("wav", 60_000)])
def test_a_full_disk_is_not_the_videos_fault(tmp_path, capsys, kind, limit):
    """What fits is made, the rest is named, and no script takes it for done."""
    for name, seconds in (("a", 0.8), ("b", 6.0), ("c", 0.8)):
        plain_video(tmp_path / "v" / "cello" / f"{name}.mp4", seconds)
    (tmp_path / "v" / "cello" / "d.mp4").write_text("no video")
    words = [
        "preprocess",
        str(tmp_path / "v"),
        "--out",
        str(tmp_path / "d"),
        "--jobs",
        "1",
        "--audio-format",
        kind,
    ]
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        code = main(words)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    said = capsys.readouterr().err.splitlines()[-1]
    assert (
        code == 2
        and "1 of 4 videos failed for this machine's sake" in said
        and "cello/b: OSError" in said
    )
    assert "make room, or choose another folder, and run again" in said
    report = pd.read_csv(tmp_path / "d" / "preprocess_report.csv", keep_default_na=False)
    assert (
        report.status.tolist() == ["ok", "failed", "ok", "failed"]
        and report.columns[-1] == "seconds"
    )
    assert not list(tmp_path.rglob(".part-*"))
    assert main(words) == 0  # what is left is done, and a video that is none costs nothing


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        PermissionError(errno.EACCES, "Permission denied"),
        OSError(errno.EMFILE, "Too many"),
    ],
)
def test_what_else_a_machine_may_lack_ends_with_an_error_after_all_is_done(
    tmp_path, monkeypatch, error
):
    for name in "ab":
        plain_video(tmp_path / "v" / "cello" / f"{name}.mp4", 0.6)
    clip = preprocess_module._clip
    monkeypatch.setattr(
        preprocess_module,
        "_clip",
        lambda v, *rest: clip(v, *rest) if v.stem == "b" else fail(error),
    )
    with pytest.raises(
        SopError, match=f"1 of 2 videos .* cello/a: {type(error).__name__}.*run again"
    ):
        run(tmp_path / "v", tmp_path / "d")
    assert frame_path(tmp_path / "d" / "frames" / "cello" / "b.mp4", 0).is_file()


def fail(error):
    raise error


def test_what_a_killed_process_left_is_no_clip(tmp_path):
    plain_video(tmp_path / "v" / "cello" / "a.mp4", 0.6)
    (tmp_path / "d" / "frames" / "cello" / ".part-elsewhere-1-00000000.mp4").mkdir(parents=True)
    (tmp_path / "d" / "preprocess.json").write_text('{"fps": 1.0}')
    assert run(tmp_path / "v", tmp_path / "d", fps=4).frames[0] == 2


def test_names_reach_neither_the_terminal_nor_a_spreadsheet_alive(tmp_path, capsys):
    evil = "=1+cmd \x1b[2J\u202e"
    (tmp_path / "v" / evil).mkdir(parents=True)
    (tmp_path / "v" / evil / "a\x1b]0;x\x07.mp4").write_text("no video")
    plain_video(tmp_path / "v" / "cello" / "a.mp4", 0.6)
    run(tmp_path / "v", tmp_path / "d", progress=True)
    said = capsys.readouterr().out
    assert (
        r"=1+cmd \x1b[2J\u202e/a\x1b]0;x\x07: not a video file" in said
        and said.replace("\n", "").isprintable()
    )
    assert f"'{evil}" in (tmp_path / "d" / "preprocess_report.csv").read_text()
    assert evil in known_labels(tmp_path / "d")


TERMINATED = """
import os, signal, sys, time
import simplejpeg
from sop_core.__main__ import main
encode, seen = simplejpeg.encode_jpeg, []
def stop_at_the_fifth(*args):
    seen.append(1)
    if len(seen) == 5:
        os.kill(os.getpid(), signal.SIGTERM)
    return encode(*args)
simplejpeg.encode_jpeg = stop_at_the_fifth
sys.exit(main(sys.argv[1:]))
"""


def test_sigterm_ends_with_143_and_nothing_half(tmp_path):
    for name in "ab":
        plain_video(tmp_path / "v" / "音" / f"{name}.mp4", 2.0)
    words = ["preprocess", tmp_path / "v", "--out", tmp_path / "d", "--jobs", "1"]
    environment = os.environ | {
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "PYTHONIOENCODING": "cp1252",
    }
    done = subprocess.run(
        [sys.executable, "-c", TERMINATED, *words], capture_output=True, env=environment
    )
    assert done.returncode == 143 and done.stderr.splitlines()[-1].startswith(
        b"sop preprocess: stopped;"
    )
    assert not list(tmp_path.rglob(".part-*")) and not clips_of(tmp_path / "d")
    (tmp_path / "v" / "音" / "c.mp4").write_text(
        "no video"
    )  # named to a terminal that doesn't have its letters
    done = subprocess.run(
        [sys.executable, "-m", "sop_core", *words], capture_output=True, env=environment
    )
    assert done.returncode == 0 and rb"\u97f3/c: not a video file" in done.stdout, done.stderr[
        -500:
    ]


def test_memory_that_libav_lacks_is_not_the_videos_fault(tmp_path, monkeypatch):
    for name in ("a", "b"):
        plain_video(tmp_path / "videos" / "red" / f"{name}.mp4", 1.0)
    opened = av.open

    def lacking(file, *args, **more):
        if file.endswith("b.mp4"):
            raise av.error.MemoryError(errno.ENOMEM, "Cannot allocate memory", file)
        return opened(file, *args, **more)

    monkeypatch.setattr(av, "open", lacking)
    with pytest.raises(
        SopError, match="1 of 2 videos failed for this machine's sake.*red/b: .*free memory"
    ):
        run(tmp_path / "videos", tmp_path / "data")
