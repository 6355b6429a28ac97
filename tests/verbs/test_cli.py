"""The command line: exit codes, one line for each error of the user, all verbs on tiny data."""

import csv
import errno
import importlib
import inspect
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace

import av
import numpy as np
import pytest
import soundfile
import torch
from films import level, make_video, tone
from tiny import SETTINGS, TINY, Seeing, write_clip, write_film

from sop_core import __version__
from sop_core.__main__ import VERBS, app, main, parse
from sop_core.data import splits
from sop_core.data.clips import find_clips, read_index, write_index
from sop_core.errors import SopError, Terminated
from sop_core.evaluation import report
from sop_core.listening import export
from sop_core.listening.scene import Scene
from sop_core.media.jpgs import frame_size
from sop_core.media.sound import audio_frame, sound_length
from sop_core.media.stream import read_video
from sop_core.media.write import write_video
from sop_core.model.names import Names
from sop_core.training.checkpoint import load_model, read_history

SMALL = [f"{k}={v}" for k, v in SETTINGS.items()]


def training(data, name, ckpt) -> list[str]:
    """Options of `train` for the indexes in `data` and the run `ckpt/name`."""
    files = ["--train", f"{data}/train.csv", "--val", f"{data}/val.csv"]
    return [*files, "--id", name, "--ckpt", str(ckpt)]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    for n in range(4):
        for label in ("red", "blue"):
            write_clip(folder, label, n)
    return folder


@pytest.fixture(scope="module")
def run(data):
    """A run made by the command line alone."""
    assert main(["index", str(data), "--val-ratio", "0.5"]) == 0
    words = training(data, "run", data / "ckpt")
    assert main(["train", "--preset", "demo", *words, "--tensorboard", "--set", *SMALL]) == 0
    return data / "ckpt" / "run"


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp("video") / "v.mp4"
    sound = 0.3 * np.sin(2 * np.pi * 440 * np.arange(2 * 44_100) / 44_100).astype(np.float32)
    write_video(path, np.full((50, 48, 64, 3), 90, np.uint8), 25, sound, 44_100)
    return path


def test_videos_that_were_trained_on_are_not_evaluated_unless_told(run, data, tmp_path, capsys):
    clips = read_index(data / "val.csv")
    trained = read_index(data / "train.csv")[0]
    write_index(tmp_path / "mixed.csv", [*clips, trained])
    rows = [f"{clips[0].name},0,{clips[1].name},0", f"{clips[1].name},0,{trained.name},100"]
    (tmp_path / "pairs.csv").write_text("\n".join(rows))
    files = f"--index {tmp_path}/mixed.csv --pairs {tmp_path}/pairs.csv"
    words = [str(run), *files.split()]
    assert main(["evaluate", *words, "--out", str(tmp_path / "m.json")]) == 2
    said = capsys.readouterr().err
    assert f"1 of 2 mixtures hold videos that {run} was trained on: row 2 ({trained.name});" in said
    assert not (tmp_path / "m.json").exists()
    assert main(["evaluate", *words, "--out", str(tmp_path / "m.json"), "--allow-leaks"]) == 0
    assert json.loads((tmp_path / "m.json").read_text())["protocol"]["leaked"] == 1


def test_names_are_given_to_a_run_that_has_none(run, data, tmp_path, capsys):
    old = tmp_path / "old"
    shutil.copytree(run, old)
    (old / "names.safetensors").unlink(missing_ok=True)
    assert main(["names", str(old), "--index", f"{data}/all.csv"]) == 0
    assert capsys.readouterr().out == "2 names: blue, red\n"
    assert load_model(old).names.labels == ("blue", "red")
    write_index(tmp_path / "few.csv", read_index(data / "train.csv")[:1])
    assert main(["names", str(old), "--index", f"{tmp_path}/few.csv"]) == 2
    assert "names need two labels" in capsys.readouterr().err


def test_tensorboard_gets_the_numbers_of_the_history(run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    curves, history = EventAccumulator(str(run / "tensorboard")).Reload(), read_history(run)
    for name in ("loss", "val_sdr"):
        found = [(e.step, e.value) for e in curves.Scalars(name)]
        assert found == [(r.epoch, pytest.approx(getattr(r, name), rel=1e-6)) for r in history]


BAD = [
    "hop=0",
    "workers=-1",
    "seed=-1",
    "seed=99999999999999999999",
    "image=4",
    "frame_width=4",
    "lr_sound=nan",
    "sound_depth=4",
    "epoch_size=2",
    "sources=1",
    "lr_steps=a",
]


@pytest.mark.parametrize("setting", BAD)
def test_a_setting_that_cannot_work_is_named(data, tmp_path, capsys, setting):
    words = training(data, "bad", tmp_path)
    assert main(["train", "--preset", "demo", *words, "--set", *SMALL, setting]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and f"{setting.partition('=')[0]}=" in said and "expected" in said
    assert not (tmp_path / "bad").exists()


@pytest.mark.parametrize("device", ["cuda:99", "nonsense", "mps", "meta"])
def test_a_device_that_is_not_there_gets_one_line_and_no_folder(
    run, data, tmp_path, capsys, device
):
    words = training(data, "new", tmp_path)
    assert main(["train", "--preset", "demo", *words, "--device", device, "--set", *SMALL]) == 2
    said = capsys.readouterr().err
    assert (
        said.count("\n") == 1 and f"--device {device}" in said and not (tmp_path / "new").exists()
    )
    assert main(["evaluate", str(run), "--index", f"{data}/val.csv", "--device", device]) == 2


def test_a_run_that_is_refused_is_left_as_it_was(run, data, capsys):
    before = sorted(p.name for p in run.rglob("*"))
    words = training(data, "run", data / "ckpt")
    words += ["--tensorboard", "--device", "cpu"]
    assert main(["train", "--preset", "demo", *words, "--set", *SMALL]) == 2
    assert sorted(p.name for p in run.rglob("*")) == before
    out = capsys.readouterr().out
    assert out in ("on cpu, networks in fp32\n", "on cpu, networks in bf16\n")


def test_an_error_of_any_process_is_told(tmp_path, monkeypatch, capsys):
    """One GPU runs out of memory, say: the first process waits for it, and knows nothing."""
    monkeypatch.setenv("RANK", "1")
    assert main(["index", str(tmp_path / "nothing")]) == 2
    assert capsys.readouterr().err.startswith("sop index (process 1): ")


def test_index_train_evaluate_leave_the_files_of_a_run(run, data, capsys):
    names = {p.relative_to(run).as_posix() for p in run.rglob("*") if p.is_file()}
    assert {"config.json", "model.safetensors", "history.csv", "visualization/index.html"} <= names
    assert any(n.startswith("state/") for n in names)
    out = data / "metrics.json"
    words = [str(run), "--index", f"{data}/val.csv", "--out", str(out)]
    words += ["--report", f"{data}/report", "--n-pairs", "3"]
    assert main(["evaluate", *words]) == 0
    rows = {r["method"]: r for r in json.loads(out.read_text())["rows"]}
    assert {"model", "mixture", "oracle_binary", "oracle_ratio"} <= set(rows)
    assert (data / "report" / "index.html").stat().st_size > 10_000
    # The manifest that was written gives the same numbers again.
    again = data / "again.json"
    words = [str(run), "--index", f"{data}/val.csv", "--out", str(again)]
    words += ["--pairs", f"{data}/metrics.pairs.csv"]
    assert main(["evaluate", *words]) == 0
    a, b = json.loads(out.read_text()), json.loads(again.read_text())
    assert a["protocol"]["manifest"] == b["protocol"]["manifest"]
    assert [r["sdr"] for r in a["rows"]] == pytest.approx([r["sdr"] for r in b["rows"]], abs=1e-2)
    assert len(list(csv.reader((data / "metrics.scores.csv").open()))) == 1 + 3 * 2 * len(rows)
    # Somebody's list, of which a video has vanished
    theirs = data / "theirs.csv"
    theirs.write_text("red/gone,0,blue/gone,0\n" + (data / "metrics.pairs.csv").read_text())
    words = [str(run), "--index", f"{data}/val.csv", "--out", str(again), "--pairs", str(theirs)]
    assert main(["evaluate", *words]) == 2
    capsys.readouterr()
    assert main(["evaluate", *words, "--leave-out", "--report", f"{data}/report"]) == 0
    found = json.loads(again.read_text())["protocol"]
    assert found["left_out"] == 1 and found["manifest"] == a["protocol"]["manifest"]
    told = "1 rows of the list left out"
    assert told in capsys.readouterr().out
    assert told in (data / "report" / "index.html").read_text()


@pytest.mark.parametrize("where", [["--pixel", "1,2"], ["--box", "0,0,32,48"]])
@pytest.mark.parametrize("suffix", [".wav", ".mp4"])
def test_separate_writes_sound_or_video_as_long_as_the_video(run, video, tmp_path, where, suffix):
    out = tmp_path / f"out{suffix}"
    assert main(["separate", str(run), str(video), *where, "--out", str(out)]) == 0
    if suffix == ".wav":
        sound, rate = soundfile.read(out)
        assert rate == 44_100 and len(sound) / rate == pytest.approx(2, abs=0.1)
    else:
        frames, sound = read_video(out, 25, TINY.rate)
        assert frames.shape[1:3] == (48, 128) and len(frames) == pytest.approx(50, abs=2)


@pytest.mark.parametrize("where", [[], ["--pixel", "1,2"]])
def test_separate_writes_a_page_of_any_stretch(run, video, tmp_path, capsys, where, monkeypatch):
    monkeypatch.setattr("sop_core.listening.player.MAX_SECONDS", 0.9)
    out = tmp_path / "out.html"
    words = ["separate", str(run), str(video), *where, "--out", str(out)]
    assert main(words) == 0
    told = capsys.readouterr()
    assert "0.9 s" in told.out and "the page has 0.9 s of 2.0 s" in told.err
    assert f"<h1>{video.stem}</h1>" in out.read_text()
    assert main([*words, "--from", "0.5", "--to", "1.5"]) == 0
    told = capsys.readouterr()
    assert "1.0 s" in told.out and "the page has" not in told.err


@pytest.mark.parametrize(("rate", "band"), [("source", "full"), ("model", "model")])
def test_a_page_begins_with_the_sound_that_rate_says(
    eyes, tmp_path, capsys, monkeypatch, rate, band
):
    monkeypatch.setattr("sop_core.training.checkpoint.load_model", lambda *_: eyes)
    made = []
    monkeypatch.setattr("sop_core.listening.player.page", lambda p, _: made.append(p.band) or "")
    film = write_film(tmp_path / "film.mp4", seconds=1)
    words = ["separate", "any", str(film), "--out", str(tmp_path / "a.html"), "--rate", rate]
    assert main(words) == 0 and made == [band]


def test_separate_finds_all_sources_says_where_there_is_none_and_keeps_what_the_nets_say(
    eyes, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr("sop_core.training.checkpoint.load_model", lambda *_: eyes)
    film = write_film(tmp_path / "film.mp4", rate=44_100)
    words = ["separate", "any", str(film), "--out"]
    assert main([*words, str(tmp_path / "all"), "--all-sources", "auto", "--cache"]) == 0
    told = capsys.readouterr().out
    assert (tmp_path / "film.mp4.sop").is_dir() and len(list((tmp_path / "all").glob("*.wav"))) == 3
    assert "1_left" in told.replace("right", "left") and "rest" in told and "50" in told
    assert {soundfile.info(p).samplerate for p in (tmp_path / "all").glob("*.wav")} == {44_100}
    assert main([*words, str(tmp_path / "box.wav"), "--box", "0,0,40,14"]) == 0
    assert (
        ".wav: 6.0 s, under 1 % of the sound by this model; so the file is silent\n"
        in capsys.readouterr().out
    )
    for name in ("--partition", "--whole"):  # the old name still works
        out = tmp_path / name.strip("-")
        assert main([*words, str(out), "--all-sources", "2", name]) == 0
        assert np.abs(soundfile.read(out / "rest.wav")[0]).max() < 1e-3
    capsys.readouterr()
    assert main([*words, str(tmp_path / "more"), "--all-sources", "9"]) == 2
    assert "asked for 9; ask for fewer" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*words, str(tmp_path / "more"), "--all-sources", "0"])
    assert "'0': expected a number from 1, or auto" in capsys.readouterr().err


def test_separate_says_what_things_look_like_and_what_the_model_does_not_know(
    tmp_path, capsys, monkeypatch
):
    model = Seeing(TINY).eval()
    model.names = Names(("horn", "bell"), torch.zeros(2), torch.eye(2), torch.eye(2), 4.0, 0.9)
    monkeypatch.setattr("sop_core.training.checkpoint.load_model", lambda *_: model)
    film = write_film(tmp_path / "film.mp4")
    words = ["separate", "any", str(film), "--out"]
    assert main([*words, str(tmp_path / "all"), "--all-sources", "auto"]) == 0
    told = capsys.readouterr().out
    assert "of the energy; looks like horn (98% sure)" in told and "does not know" not in told
    names = {p.stem[2:] for p in (tmp_path / "all").glob("[12]_*.wav")}
    assert names == {"horn", "bell"}
    assert main([*words, str(tmp_path / "a.wav"), "--pixel", "2,0"]) == 0
    assert " s, looks like horn (" in capsys.readouterr().out
    dont = "this model does not know what sounds here"
    model.names = replace(model.names, least=1.1)  # nothing is as near as that
    assert main([*words, str(tmp_path / "a.wav"), "--pixel", "2,0"]) == 0
    assert f" s, {dont}: " in capsys.readouterr().out
    monkeypatch.setattr("sop_core.listening.clusters.HEARD_SHARE", 0.9)  # each square has a half
    assert main([*words, str(tmp_path / "two"), "--all-sources", "auto"]) == 0
    assert f"\n{dont}: no pixel's own sound has 90% of the energy" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "out", "sentence"),
    [
        (["--pixel", "4,1"], "a.wav", "off the grid"),
        (["--box", "9,9,9,20"], "a.wav", "--box 9,9,9,20: expected X0,Y0,X1,Y1"),
        (["--pixel", "1,1"], "folder.wav", "expected the name of a file"),
        (["--all-sources", "auto"], "folder.wav", "give the name of a new folder"),
        (["--all-sources", "auto"], "duets.wav", "writes a folder; expected its name, no file's"),
        (["--pixel", "1,1", "--from", "9"], "a.wav", "--from 9: expected a stretch of its 6.0 s"),
        (["--to", "5"], "a.html", "5 s in one page, which a browser would have to hold; choose"),
        (["--to", "99"], "a.html", "6 s in one page"),
    ],
)
def test_separate_says_what_is_wrong_before_the_nets_look_at_an_hour_of_video(
    eyes, tmp_path, capsys, monkeypatch, options, out, sentence
):
    monkeypatch.setattr("sop_core.training.checkpoint.load_model", lambda *_: eyes)
    monkeypatch.setattr(type(eyes), "visual_features", None)
    monkeypatch.setattr("sop_core.listening.page.LONGEST", 4.0)
    film = write_film(tmp_path / "film.mp4")
    (tmp_path / "folder.wav").mkdir()
    (tmp_path / "folder.wav" / "mine.txt").write_text("keep")
    assert main(["separate", "any", str(film), *options, "--out", str(tmp_path / out)]) == 2
    assert sentence in capsys.readouterr().err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["film.mp4", "folder.wav"]


@pytest.mark.parametrize("name", ["film.mp4", "link.mp4", "cover.mp3"])
def test_separate_does_not_write_over_the_video(eyes, tmp_path, capsys, monkeypatch, name):
    """By whatever name; `cover.mp3`: a sound file with a picture is a video, too."""
    monkeypatch.setattr("sop_core.training.checkpoint.load_model", lambda *_: eyes)
    film = write_film(tmp_path / "film.mp4", seconds=1)
    before, out = film.read_bytes(), tmp_path / name
    if out != film:
        os.link(film, out)
    words = ["separate", "any", str(film), "--box", "5,15,35,45", "--out", str(out)]
    assert main(words) == 2
    assert "this is the video itself, which would be lost" in capsys.readouterr().err
    assert film.read_bytes() == out.read_bytes() == before
    with pytest.raises(SopError, match="this is the video itself"):
        export.write(Scene.from_video(eyes, film), film, [(2, 0)], out)
    earlier = tmp_path / "region" / "region.wav"  # what a command for several videos has written
    earlier.parent.mkdir()
    os.link(film, earlier)
    words = ["separate", "any", str(earlier), str(film), "--pixel", "2,0", "--out", str(tmp_path)]
    assert main(words) == 2 and "region.wav: this is the video" in capsys.readouterr().err


@pytest.mark.parametrize(("channels", "rate"), [(2, "source"), (6, "source"), (6, "model")])
def test_separate_says_that_surround_sound_becomes_stereo(
    eyes, tmp_path, monkeypatch, capsys, channels, rate
):
    monkeypatch.setattr("sop_core.training.checkpoint.load_model", lambda *_: eyes)
    picture = np.full((60, 80, 3), 90, np.uint8)
    sound = np.stack([tone(440, 2, 44_100)] * channels)
    film = make_video(tmp_path / "a.mp4", np.arange(0, 2, 0.125), [picture] * 16, sound=sound)
    out = tmp_path / "a.wav"
    words = ["separate", "any", str(film), "--pixel", "2,0", "--out", str(out), "--rate", rate]
    assert main(words) == 0
    told = "6 channels: written as a stereo downmix" in capsys.readouterr().err
    assert told == (channels == 6 and rate == "source")
    assert soundfile.info(out).channels == (2 if rate == "source" else 1)


def test_a_box_of_the_shortest_video(eyes, tmp_path, monkeypatch):
    monkeypatch.setattr("sop_core.training.checkpoint.load_model", lambda *_: eyes)
    film = write_film(tmp_path / "film.mp4", seconds=0.4)
    assert (
        main(
            ["separate", "any", str(film), "--box", "5,15,35,45", "--out", str(tmp_path / "a.wav")]
        )
        == 0
    )


def test_several_videos_get_a_folder_each_and_the_broken_ones_are_named_at_the_end(
    eyes, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr("sop_core.training.checkpoint.load_model", lambda *_: eyes)
    for folder in "ab":
        (tmp_path / folder).mkdir()
        write_film(tmp_path / folder / "film.mp4", seconds=2)
    (tmp_path / "text.mp4").write_text("not a video")
    videos = [tmp_path / "a" / "film.mp4", tmp_path / "text.mp4", tmp_path / "b" / "film.mp4"]
    words = ["separate", "any", *map(str, videos), "--format", "flac", "--out", str(tmp_path / "o")]
    assert main([*words, "--all-sources", "2"]) == 2
    assert capsys.readouterr().err.splitlines()[-2:] == [
        f"{videos[1]}: not a video file that FFmpeg knows",
        f"sop separate: 1 of 3 videos are not in {tmp_path / 'o'}: see above",
    ]
    assert sorted(p.name for p in (tmp_path / "o").iterdir()) == ["film", "film_2"]
    for name in ("film", "film_2"):
        kinds = [p.suffix for p in (tmp_path / "o" / name).iterdir()]
        assert sorted(kinds) == [".csv", ".flac", ".flac", ".flac", ".png", ".png"]
    # What is there is not written over: it is named, as what is broken.
    assert main([*words, "--all-sources", "2"]) == 2
    assert capsys.readouterr().err.count("there already; give the name of a new folder") == 2
    assert main([*words, "--pixel", "2,0"]) == 2
    assert soundfile.info(tmp_path / "o" / "film_2" / "region.flac").duration > 1.9


def test_a_stretch_of_a_video_from_one_second_to_another(eyes, tmp_path, monkeypatch, capsys):
    """The squares change sides in the middle, at 3 s: red sounds low, blue high."""
    monkeypatch.setattr("sop_core.training.checkpoint.load_model", lambda *_: eyes)
    film = write_film(tmp_path / "film.mp4", rate=44_100, walk=True)
    words = ["separate", "any", str(film), "--pixel", "2,0", "--out"]
    assert main([*words, str(tmp_path / "a.wav"), "--from", "4", "--to", "5.5"]) == 0
    assert "a.wav: 1.5 s, 50 % of the sound" in capsys.readouterr().out
    sound, rate = soundfile.read(tmp_path / "a.wav")
    assert len(sound) / rate == pytest.approx(1.5, abs=0.03)
    assert level(sound, 1_760, rate) == pytest.approx(0.2, abs=0.01)
    assert level(sound, 440, rate) < 0.01
    assert main([*words, str(tmp_path / "a.mp4"), "--to", "1.5"]) == 0
    frames, sound = read_video(tmp_path / "a.mp4", 25, rate)
    assert level(sound, 440, rate) == pytest.approx(0.2, abs=0.01)
    red, _, blue = frames[18, 20:40, 10:16].mean((0, 1))  # the left square, on the left
    assert red > blue + 100 and len(frames) == pytest.approx(37, abs=1)
    assert main([*words, str(tmp_path / "b.mp4"), "--from", "4"]) == 0
    red, _, blue = read_video(tmp_path / "b.mp4", 25, rate)[0][18, 20:40, 10:16].mean((0, 1))
    assert blue > red + 100


def test_of_several_streams_another_one_is_taken_and_a_choice_is_told(
    eyes, tmp_path, monkeypatch, capsys
):
    """Two sounds, 440 Hz for the red square and 1760 for the blue one, each a stream."""
    monkeypatch.setattr("sop_core.training.checkpoint.load_model", lambda *_: eyes)
    film, two = write_film(tmp_path / "film.mp4", rate=44_100), tmp_path / "two.mkv"
    with av.open(str(film)) as source, av.open(str(two), "w") as out:
        video = out.add_stream_from_template(source.streams.video[0])
        sounds = [out.add_stream("pcm_s16le", rate=44_100, layout="mono") for _ in "ab"]
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = video
                out.mux(packet)
        for stream, hz in zip(sounds, (440, 1_760), strict=True):
            frame = audio_frame(tone(hz, 6, 44_100), 44_100, 0)
            for part in av.AudioResampler("s16", "mono", 44_100).resample(frame):
                out.mux(stream.encode(part))
            out.mux(stream.encode(None))
    words = ["separate", "any", str(two), "--cache", "--out", str(tmp_path / "a.wav")]
    for options, cell, hz in (([], "2,0", 440), (["--audio-stream", "1"], "2,3", 1_760)):
        assert main([*words, "--pixel", cell, *options]) == 0
        told = capsys.readouterr()
        assert "100 % of the sound" in told.out and "2 sound streams: number" in told.err
        sound, rate = soundfile.read(tmp_path / "a.wav")
        assert level(sound, hz, rate) == pytest.approx(0.5, abs=0.01)


def test_training_again_resumes_only_when_told(run, data, capsys):
    words = ["train", "--preset", "demo", *training(data, "run", data / "ckpt"), "--set", *SMALL]
    assert main(words) == 2
    assert "holds a run already" in capsys.readouterr().err
    assert main([*words, "--resume"]) == 0  # nothing is left to do
    assert f"{run} is complete: all 2 epochs are there" in capsys.readouterr().out


def test_one_command_line_of_training_serves_a_job_from_its_start_to_its_end(
    run, data, tmp_path, capsys, monkeypatch
):
    words = ["train", "--preset", "demo", *training(data, "job", tmp_path)]
    words += ["--resume", "--set", *SMALL]

    def preempted(*_):
        raise Terminated

    with monkeypatch.context() as patch:
        patch.setattr(report, "write", preempted)  # after the first epoch
        assert main(words) == 143
    told = capsys.readouterr()
    assert f"note: {tmp_path}/job: no state to resume from yet; the run starts\n" in told.err
    assert "epoch   1/2" in told.out
    monkeypatch.setattr(report, "write", lambda *_: None)
    for begins in ("epoch   2/2", f"{tmp_path}/job is complete: all 2 epochs are there\n"):
        assert main(words) == 0
        told = capsys.readouterr()
        on, then = told.out.split("\n", 1)
        assert "networks in" in on and then.startswith(begins) and "note" not in told.err
    history = [read_history(folder) for folder in (tmp_path / "job", run)]
    assert [r.loss for r in history[0]] == pytest.approx([r.loss for r in history[1]], rel=1e-4)


def broken_csv(data):
    # beside the good one, since paths are looked up from there
    rows = (data / "val.csv").read_text() + "nowhere.flac,nothing.mp4,24\n"
    (data / "broken.csv").write_text(rows)


def texts(tmp_path):
    (tmp_path / "texts" / "cello").mkdir(parents=True)
    for n in range(2):
        (tmp_path / "texts" / "cello" / f"{n}.mp4").write_text("not a video")


# Command lines with t, a new folder; d, the data; r, the run; v, a video.
TRAIN = "train --preset demo --train {d}/train.csv --val {d}/val.csv --id"
EVALUATE = "evaluate {r} --index {d}/val.csv"
BAD_INPUT = [
    ("preprocess {t} --out {t}/out", "no videos"),
    ("preprocess {t}/none --out {t}/out", "no such folder"),
    ("preprocess {t}/texts --out {t}/out", "none of its 2 videos"),
    ("index {t}", "no clips"),
    ("evaluate {r} --index {d}/broken.csv", "broken.csv row 5"),
    ("evaluate {r} --index {t}/none.csv", "none.csv"),
    (EVALUATE + " --truth {t}", "go together"),
    ("evaluate {t} --index {d}/val.csv", "no checkpoint there"),
    (EVALUATE + " --sources 1", "expected different numbers of clips, each from 2"),
    (EVALUATE + " --sources 2 2", "different numbers"),
    (EVALUATE + " --n-pairs 0", "expected at least 1"),
    (EVALUATE + " --leave-out", "for the rows of --pairs"),
    (EVALUATE + " --out {t}", "a folder; expected the name of a file"),
    (EVALUATE + " --sources 3 --pairs {t}/p.csv", "leave one of them out"),
    ("evaluate {r} {t} --index {d}/val.csv", "no checkpoint there"),
    ("separate {t} {v} --pixel 1,1 --out {t}/a.wav", "no checkpoint there"),
    ("separate {r} {v} --out {t}/a.wav", "expected one of --pixel, --box and --all-sources"),
    ("separate {r} {v} --out {t}/a.html --all-sources 2", "a page shows them anyway"),
    ("separate {r} {v} {v} --out {t}/a.html", "for 2 videos, expected the name of a folder"),
    ("separate {r} {v} --out {t}/a.html --format wav", "its name says html; leave one out"),
    ("separate {r} {v} --pixel 4,1 --out {t}/a.wav", "pixel 4,1 is off the grid"),
    ("separate {r} {v} --box 99,0,120,9 --out {t}/a.wav", "within the 64 x 48 pixels"),
    ("separate {r} {v} --pixel 1,1 --out {t}/a.ogg", ".wav, .flac, .mp3 or .mp4"),
    ("separate {r} {v} --pixel 1,1 --out {t}/a.wav --format flac", "its name says wav"),
    (
        "separate {r} {v} --pixel 1,1 --out {t}/a.mp3 --wav-format pcm24",
        "goes with wav, not with m",
    ),
    ("separate {r} {v} {v} --pixel 1,1 --out {t}/a.wav", "for 2 videos, expected the name of a f"),
    ("separate {r} {v} --pixel 1,1 --out {t}/a.wav --from 3 --to 2", "--from 3 --to 2: expected 0"),
    ("separate {r} {v} --pixel 1,1 --out {t}/a.wav --from 9", "expected a stretch of its 2.0 s"),
    (
        "separate {r} {v} --pixel 1,1 --out {t}/a.wav --audio-stream 1",
        "no sound stream 1: it has 1",
    ),
    ("separate {r} {v} --box 1,1,9,9 --out {t}/a.wav --video-stream 1", "no picture stream 1"),
    ("separate {r} {v} --pixel 1,1 --partition --out {t}/a.wav", "goes with --all-sources"),
    ("separate {r} {t}/no.mp4 --pixel 1,1 --out {t}/a.wav", "no.mp4"),
    (TRAIN + " ../up", "plain name"),
    (TRAIN + " x --set colour=3", "no setting 'colour'"),
    (TRAIN + " x --set epochs=many", "a whole number from 1"),
]


@pytest.mark.parametrize(("words", "sentence"), BAD_INPUT)
def test_bad_input_gets_exit_2_and_one_clear_line(
    words, sentence, tmp_path, data, run, video, capfd
):
    if "/texts" in words:
        texts(tmp_path)
    if "/broken.csv" in words:
        broken_csv(data)
    places = {"t": tmp_path, "d": data, "r": run, "v": video}
    assert main([word.format(**places) for word in words.split()]) == 2
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("sop ")]
    assert len(lines) == 1 and sentence in lines[0]
    assert not (tmp_path / "a.wav").exists()


@pytest.mark.parametrize("pixel", ["3", "1,x", "1,2,3", ""])
def test_a_pixel_that_is_none_gets_exit_2(pixel, run, video, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["separate", str(run), str(video), "--pixel", pixel, "--out", str(tmp_path / "a.wav")])
    assert stop.value.code == 2
    assert "expected 2 whole numbers" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("", "sop: expected a verb: demo, collect,"),
        ("tran --id x", "sop: Unknown command"),
        ("--nonsense", "sop: Unknown command"),
        ("train", "sop train: expected a value for --preset"),
        (
            "train --preset musi",
            'sop train: Invalid value "musi" for --preset. Choose from: "music"',
        ),
        ("weights --out", "sop weights: expected a value for --out"),
        ("weights --out a --out-put b", "sop weights: Unknown option: --out-put"),
        ("weights more --out a", "sop weights: Unused Tokens: ['more']"),
        ("preprocess v --out o --jobs 2.5", "'2.5': expected a whole number"),
        ("preprocess v --out o --no-progress", "Unknown option: --no-progress"),
        ("evaluate run --index i --sources", "expected a value for --sources"),
        (
            "evaluate run --index i --sources 2 x",
            'sop evaluate: Invalid value for --sources: unable to convert "x"',
        ),
        (
            "separate r v --out a.wav --pixel 1,1 --box 1,1,2,2",
            "Received 2 arguments: {--pixel, --box}",
        ),
        ("train --preset a\x1b[2J", r'Invalid value "a\x1b[2J" for --preset'),
    ],
)
def test_words_that_are_no_command_get_exit_2_and_one_line(words, sentence, capsys):
    with pytest.raises(SystemExit) as stop:
        main(words.split())
    told = capsys.readouterr()
    assert stop.value.code == 2 and told.out == ""
    assert told.err.count("\n") == 1 and told.err.startswith("sop") and sentence in told.err
    with pytest.raises(SopError):
        parse(words.split())


def test_parse_binds_the_words_and_runs_nothing(tmp_path):
    run, given = parse(["train", "--preset", "demo", "--train", "a.csv", "--val=b.csv", "--id", "x",
                        "--set", "epochs=1", "batch=2", "--resume"])  # fmt: skip
    assert run.__module__ == "sop_core.verbs.train"
    assert given.kwargs["set"] == ("epochs=1", "batch=2") and given.kwargs["resume"]
    words = "evaluate one two --sources 2 3 --index a --baselines nmf random"
    run, given = parse(words.split())
    assert [p.name for p in given.args[0]] == ["one", "two"]
    assert given.kwargs["sources"] == (2, 3) and given.kwargs["baselines"] == ("nmf", "random")
    run, given = parse(["separate", "--out", "a", "--box=-1,0,9,9", "r", "v"])
    assert given.args[0].name == "r" and given.kwargs["box"] == (-1, 0, 9, 9)
    assert [p.name for p in given.args[1]] == ["v"]
    run, given = parse(
        ["collect", "music", "[1].json", "b", "--out", str(tmp_path / "o"), "--rate-limit", "500K"]
    )
    assert [p.name for p in given.args[1]] == ["[1].json", "b"] and given.kwargs[
        "rate_limit"
    ] == 512_000
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize("verb", VERBS)
def test_help_tells_each_option_in_plain_text(verb, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert main([verb, "--help"]) == 0
    told = capsys.readouterr().out
    assert told.isascii() and max(map(len, told.splitlines())) <= 80
    function = getattr(importlib.import_module(f"sop_core.verbs.{verb}"), verb)
    assert function.__doc__.splitlines()[0] == VERBS[verb]
    with app.app_stack([app, app[verb]]):
        for option in app[verb].assemble_argument_collection(parse_docstring=True):
            assert option.name in told and option.parameter.help, option.name


def test_help_and_version_start_without_the_packages_that_take_seconds():
    code = (
        "import sys; from sop_core.__main__ import main, VERBS;"
        "main(['--help']); main(['--version']);"
        "print(*(m for m in sys.modules if m.startswith('sop_core.verbs.')));"
        "[main([verb, '--help']) for verb in VERBS];"
        "print(*({'torch', 'pandas', 'numpy', 'av'} & {*sys.modules}))"
    )
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    lines = told.splitlines()
    assert lines[lines.index(__version__) + 1] == "" and lines[-1] == ""


def test_each_step_of_the_demo_is_a_command_that_the_user_can_type(tmp_path, capsys, monkeypatch):
    demo, given = parse(["demo", "--out", str(tmp_path), "--seed", "3", "--set", "epochs=1"])
    run = []

    def noted(words):
        run.append(parse(words)[0].__name__)
        return (lambda: None), inspect.signature(lambda: None).bind()

    monkeypatch.setattr(
        "sop_core.toy.render.render_dataset", lambda folder, seed: folder / "videos"
    )
    monkeypatch.setattr("sop_core.__main__.parse", noted)
    demo(*given.args, **given.kwargs)
    typed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("$ sop ")]
    assert run == ["preprocess", "index", "train", "evaluate"] and len(typed) == 4
    assert "--set seed=3 epochs=1" in typed[2] and "--labels different" in typed[3]
    assert "--audio-format wav --fps 8.0 --rate 11025" in typed[0]
    demo(out=tmp_path, set=("profile=sop2018", "fps=4"))
    first, *_, last = [s for s in capsys.readouterr().out.splitlines() if s.startswith("$ sop ")]
    assert "--fps 4.0" in first and "evaluate" in last
    assert "--labels" not in last  # they would be refused
    with pytest.raises(SopError, match="there is no setting 'epoch'"):
        demo(out=tmp_path, set=("epoch=1",))
    assert len(run) == 8


def test_the_module_runs_as_a_program():
    command = [sys.executable, "-m", "sop_core", "preprocess", "/nowhere", "--out", "/nowhere/out"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "Traceback" not in done.stderr


def test_index_goes_where_it_is_told(data, tmp_path):
    assert main(["index", str(data), "--out", str(tmp_path)]) == 0
    assert main(["index", str(data), "mine"]) == 0
    assert (
        len(read_index(tmp_path / "train.csv")) == len(read_index(data / "mine" / "train.csv")) == 4
    )


def test_the_command_line_checks_an_index(tmp_path, capsys):
    data = tmp_path / "data"
    clips = [write_clip(data, label, n) for n in range(3) for label in ("red", "blue")]
    (clips[0].frames / "000003.jpg").write_bytes(b"no")
    clips[1].sound.write_bytes(b"")
    assert main(["index", str(data), "--seed", "7"]) == 0
    before = (data / "train.csv").read_bytes()
    capsys.readouterr()
    assert main(["index", str(data), "--check", "--window", "1"]) == 0
    assert (data / "train.csv").read_bytes() == before  # a look changes nothing
    out = capsys.readouterr().out
    assert "missing: 0 clip(s)" in out and "invalid: 1 clip(s)\n  blue/blue_0: empty" in out
    clips[2].sound.unlink()
    assert main(["index", str(data / "all.csv"), "--check", "--window", "1"]) == 0
    assert "missing: 1 clip(s)\n  red/red_1: no sound" in capsys.readouterr().out
    # its pictures all stand still
    table = csv.DictReader((data / "index_check.csv").open())
    rows = [r for r in table if r["problem"] != "still"]
    assert [(r["problem"], r["clip"]) for r in rows] == [
        ("missing", "red/red_1"),
        ("invalid", "blue/blue_0"),
    ]
    assert main(["index", str(data / "all.csv")]) == 2
    assert "or --check with an index" in capsys.readouterr().err


def test_the_command_line_passes_its_options_on(tmp_path, capsys):
    picture = [np.full((300, 400, 3), 90, np.uint8)] * 75
    sound = 0.3 * np.sin(np.arange(3 * 11_025) / 5)
    for name in ("cello/a", "cello/b", "flute/c", "flute/d", "cello flute/e"):
        write_video(tmp_path / "v" / f"{name}.mp4", picture, 25, sound, 11_025)
    words = ["preprocess", str(tmp_path / "v"), "--audio-format", "wav", "--start", "0.5"]
    words += ["--short-side", "0", "--fps", "4", "--rate", "8000", "--out", str(tmp_path / "d")]
    assert main([*words, "--duration", "2"]) == 0
    clip = find_clips(tmp_path / "d")[0]
    assert (
        clip.sound.suffix == ".wav"
        and sound_length(clip.sound) == (16_000, 8_000)
        and clip.n_frames == 8
    )
    assert frame_size(clip.frames) == (400, 300)
    assert (
        main([*words, "--duration", "3"]) == 2
        and "duration=2.0, now duration=3.0" in capsys.readouterr().err
    )
    assert (
        main([*words, "--duration", "2", "--cluster", "nowhere"]) == 2
        and "expected dask://HOST:PORT" in capsys.readouterr().err
    )
    assert main(["index", str(tmp_path / "d"), "--duets", "drop", "--val-ratio", "0.5"]) == 0
    assert {c.label for c in read_index(tmp_path / "d" / "all.csv")} == {"cello", "flute"}
    (tmp_path / "own.csv").write_text("a,0,x,test\n")
    assert main(["index", str(tmp_path / "d"), "--splits", str(tmp_path / "own.csv")]) == 2
    assert "names none of the 5 clips" in capsys.readouterr().err


@pytest.mark.parametrize("code", ["ENOSPC", "EACCES"])
def test_a_full_or_closed_disk_gets_one_line(tmp_path, capsys, monkeypatch, code):
    def full(*_, **__):
        raise OSError(
            getattr(errno, code), os.strerror(getattr(errno, code)), str(tmp_path / "there")
        )

    monkeypatch.setattr(splits, "build_index", full)
    assert main(["index", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert (
        said.count("\n") == 1
        and f"{tmp_path / 'there'}: " in said
        and "choose another folder" in said
    )


def test_a_check_is_told_where_it_cannot_be_written(tmp_path, capsys):
    write_clip(tmp_path, "red", 0)
    bad = write_clip(tmp_path, "red", 1)
    sound, rate = soundfile.read(bad.sound, dtype="float32")
    sound[rate] = np.nan
    bad.sound.unlink()
    soundfile.write(bad.sound.with_suffix(".wav"), sound, rate, subtype="FLOAT")
    (tmp_path / "file").write_text("no folder")
    assert (
        main(["index", str(tmp_path), "--check", "--window", "1", "--out", str(tmp_path / "file")])
        == 0
    )
    told = capsys.readouterr()
    assert (
        "invalid: 1 clip(s)\n  red/red_1: no number (NaN or Inf) at 1.00 s of its sound" in told.out
    )
    assert told.err.splitlines()[-1].startswith(
        f"sop index: {tmp_path / 'file' / 'index_check.csv'}: not written ("
    )


def test_what_a_message_quotes_does_nothing_to_the_terminal(tmp_path, capsys):
    assert main(["index", str(tmp_path / "a\x1b[2J\x9bm\u202e"), "--check"]) == 2
    said = capsys.readouterr().err
    assert r"a\x1b[2J\x9bm\u202e: no such folder" in said or r"a\x1b[2J\x9bm\u202e" in said
    assert said.count("\n") == 1 and said.strip().isprintable()


def test_a_report_that_cannot_be_made_stops_no_training(run, data, tmp_path, capsys, monkeypatch):
    def broken(*_):
        raise SopError("a.mp4/000001.jpg: cut short\x1b[2J")

    monkeypatch.setattr(report, "write", broken)
    words = training(data, "run", tmp_path)
    assert main(["train", "--preset", "demo", *words, "--set", *SMALL, "epochs=1"]) == 0
    told = capsys.readouterr()
    assert r"note: no report of this epoch: a.mp4/000001.jpg: cut short\x1b[2J" in told.err
    assert f"weights in {tmp_path / 'run'}" in told.out and "look and listen" not in told.out
