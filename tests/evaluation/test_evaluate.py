"""A whole evaluation: killed and resumed, and by several processes.

Of several checkpoints, of 2, 3 and 4 sources, and never of leaks.
"""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch
from tiny import SETTINGS, TINY, write_clip

from sop_core.__main__ import main
from sop_core.data.clips import Clip, read_index, write_index
from sop_core.data.lists import Made, write_composed
from sop_core.data.splits import build_index
from sop_core.errors import SopError
from sop_core.evaluation import evaluate, methods, report, tables
from sop_core.model.model import SoundOfPixels
from sop_core.training import checkpoint
from sop_core.training.mixtures import Training
from sop_core.training.pairs import draw_pairs
from sop_core.training.windows import Part

ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder with an index of ten clips and two untrained checkpoints.

    Checkpoint `one` has two of the clips' videos in its train split.
    """
    data = tmp_path_factory.mktemp("world")
    clips = [write_clip(data, label, n) for n in range(6) for label in ("red", "blue")]
    write_index(data / "val.csv", clips[2:])
    for seed, name in enumerate(("one", "two")):
        torch.manual_seed(seed)
        checkpoint.start(data / name, TINY, {"train": clips[:2], "val": clips[2:]}, False)
        checkpoint.write_model(data / name, SoundOfPixels(TINY))
    return data, clips


def words(data, out, *more):
    return [
        "evaluate",
        data / "one",
        "--index",
        data / "val.csv",
        "--out",
        out / "m.json",
        "--device",
        "cpu",
        *more,
    ]


def apart(*command):
    return subprocess.Popen(
        list(map(str, [sys.executable, *command])),
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_killed_half_way_and_resumed_gives_the_same_file(world, tmp_path):
    data, _ = world
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    more = ["--n-pairs", "60", "--baselines", "random"]
    assert apart("-m", "sop_core", *words(data, tmp_path / "whole", *more)).wait() == 0
    notes = tmp_path / "killed" / "m.part" / "0.jsonl"
    process = apart("-m", "sop_core", *words(data, tmp_path / "killed", *more))
    while process.poll() is None and not (
        notes.exists() and notes.read_text().count("evaluate") >= 5
    ):
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = notes.read_text().count("evaluate")
    assert 5 <= done < 60 and not (tmp_path / "killed" / "m.json").exists()
    assert apart("-m", "sop_core", *words(data, tmp_path / "killed", *more)).wait() == 0
    for name in ("m.json", "m.scores.csv", "m.pairs.csv"):
        assert (tmp_path / "killed" / name).read_bytes() == (
            tmp_path / "whole" / name
        ).read_bytes(), name
    assert not notes.parent.exists()


def test_two_processes_give_the_numbers_of_one(world, tmp_path):
    data, _ = world
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    more = ["--n-pairs", "5"]
    assert apart("-m", "sop_core", *words(data, tmp_path / "one", *more)).wait() == 0
    together = [
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc_per_node",
        "2",
        "-m",
        "sop_core",
    ]
    process = apart(*together, *words(data, tmp_path / "two", *more))
    said, errors = process.communicate()
    assert process.returncode == 0, errors[-1500:]
    assert said.count("numbers:") == 1  # only the first one speaks
    assert (tmp_path / "two" / "m.json").read_bytes() == (tmp_path / "one" / "m.json").read_bytes()


def test_checkpoints_stand_side_by_side_on_the_same_sources(world, tmp_path, capsys):
    data, clips = world
    assert (
        main(list(map(str, words(data, tmp_path, "--n-pairs", "4", "--report", tmp_path / "r"))))
        == 0
    )
    alone = json.loads((tmp_path / "m.json").read_text())
    line = list(map(str, words(data, tmp_path, "--n-pairs", "4", "--report", tmp_path / "r")))
    assert main([*line[:2], str(data / "two"), *line[2:]]) == 0
    both = json.loads((tmp_path / "m.json").read_text())
    assert both["rows"] == alone["rows"] and alone["compared"] == []
    model = checkpoint.load_model(data / "two", "cpu")
    pairs = draw_pairs(clips[2:], 4, TINY)
    theirs = methods.score_pairs(model, pairs)
    (other,) = both["compared"]
    assert other["rows"] == tables.table(theirs) and other["folder"] == str(data / "two")
    assert other["protocol"]["checkpoint"] != both["protocol"]["checkpoint"]
    gained = tables.table(theirs)[0]["sdr"] - alone["rows"][0]["sdr"]
    assert (
        other["difference"]["sdr"] == pytest.approx(gained, abs=2e-4)
        and other["difference"]["n"] == 8
    )
    assert "(the first)" in capsys.readouterr().out
    assert str(data / "two") in (tmp_path / "r" / "index.html").read_text()


def test_notes_of_a_compared_checkpoint_are_none_of_its_own_evaluation(world, tmp_path):
    """Compared, it was measured without baselines; alone, with them."""
    data, clips = world
    one, two, pairs = data / "one", data / "two", draw_pairs(clips[2:], 2, TINY)
    evaluate.evaluate(
        checkpoint.load_model(one),
        one,
        pairs,
        baselines=["random"],
        others=[two],
        notes=tmp_path / "notes",
    )
    alone, _ = evaluate.evaluate(
        checkpoint.load_model(two), two, pairs, baselines=["random"], notes=tmp_path / "notes"
    )
    assert "random" in {r["method"] for r in alone["rows"]}


def test_notes_of_other_files_do_not_count(world, tmp_path):
    """A clip that was made anew between kill and resume is measured anew."""
    data, clips = world
    one, pairs = checkpoint.load_model(data / "one"), draw_pairs(clips[2:], 2, TINY)
    evaluate.evaluate(one, data / "one", pairs, notes=tmp_path / "notes")
    noted = (tmp_path / "notes" / "0.jsonl").read_text().count("evaluate")
    evaluate.evaluate(one, data / "one", pairs, notes=tmp_path / "notes")
    assert (tmp_path / "notes" / "0.jsonl").read_text().count("evaluate") == noted
    for times, path in enumerate((pairs[0][0].clip.sound, pairs[0][0].clip.frames), 2):
        os.utime(path, (1, 1))
        evaluate.evaluate(one, data / "one", pairs, notes=tmp_path / "notes")
        assert (tmp_path / "notes" / "0.jsonl").read_text().count("evaluate") == times * noted


def test_a_compared_checkpoint_is_told_of_the_same_mixtures(world, tmp_path):
    data, clips = world
    three = replace(TINY, sources=3)
    checkpoint.start(tmp_path / "three", three, {"train": [], "val": []}, False)
    checkpoint.write_model(tmp_path / "three", SoundOfPixels(three))
    pairs = [p for n in (2, 3) for p in draw_pairs(clips[2:], 2, replace(TINY, sources=n))]
    found, _ = evaluate.evaluate(
        checkpoint.load_model(data / "one"), data / "one", pairs, others=[tmp_path / "three"]
    )
    for told in (found["protocol"], found["compared"][0]["protocol"]):
        assert (told["sources"], told["n_pairs"]) == (2, 2)


def test_models_of_other_windows_are_not_compared(world, tmp_path):
    data, clips = world
    longer = replace(TINY, samples=16_383)
    checkpoint.start(tmp_path / "longer", longer, {"train": [], "val": []}, False)
    checkpoint.write_model(tmp_path / "longer", SoundOfPixels(longer))
    pairs = draw_pairs(clips[2:], 2, TINY)
    with pytest.raises(SopError, match="only models of the same windows"):
        evaluate.evaluate(
            checkpoint.load_model(data / "one"), data / "one", pairs, others=[tmp_path / "longer"]
        )


def test_a_model_of_another_frame_rate_is_not_shown_pictures_of_another_moment(world, tmp_path):
    data, _ = world
    clips = [write_clip(tmp_path, label, n) for n in (1, 2) for label in ("red", "blue")]
    (tmp_path / "preprocess.json").write_text(json.dumps({"fps": TINY.fps}))
    slow = replace(TINY, fps=1.0)
    checkpoint.start(tmp_path / "slow", slow, {"train": [], "val": []}, False)
    checkpoint.write_model(tmp_path / "slow", SoundOfPixels(slow))
    one, pairs = checkpoint.load_model(data / "one"), draw_pairs(clips, 2, TINY)
    with pytest.raises(SopError, match="its frames are 8 a second .* expects 1; preprocess"):
        evaluate.evaluate(one, data / "one", pairs, others=[tmp_path / "slow"])


def test_the_protocol_tells_the_rate_since_starts_are_in_samples(world):
    """At another rate, the same manifest means other moments, and the same hash."""
    data, clips = world
    one, pairs = checkpoint.load_model(data / "one"), draw_pairs(clips[2:], 2, TINY)
    about = evaluate.protocol(one, data / "one", pairs, 2, [], [])
    assert about["rate"] == TINY.rate and about["seconds"] == round(TINY.samples / TINY.rate, 4)


def test_a_mistyped_truth_is_told_before_anything_is_measured(world, tmp_path, monkeypatch):
    data, clips = world
    one, pairs = checkpoint.load_model(data / "one"), draw_pairs(clips[2:], 2, TINY)
    monkeypatch.setattr(evaluate, "score_pairs", None)  # nobody calls it
    with pytest.raises(SopError, match=r"mistyped: no <id>.json there for any of the 1 clips"):
        evaluate.evaluate(one, data / "one", pairs, clips[2:3], tmp_path / "mistyped")
    source = {"label": "x", "box_xyxy": [0, 0, 1, 1], "stem": "lost.flac"}
    told = {"frame_size": [1, 1], "sources": 2 * [source]}
    (tmp_path / f"{clips[2].id}.json").write_text(json.dumps(told))
    with pytest.raises(SopError, match=r"lost.flac: no such file"):
        evaluate.evaluate(one, data / "one", pairs, clips[2:3], tmp_path)


def test_the_notes_of_the_pairs_count_whatever_the_duets_are(world, tmp_path, monkeypatch):
    data, clips = world
    one, pairs = checkpoint.load_model(data / "one"), draw_pairs(clips[2:], 2, TINY)
    alone, _ = evaluate.evaluate(one, data / "one", pairs, notes=tmp_path / "notes")
    source = {"label": "x", "box_xyxy": [0, 0, 1, 1], "stem": clips[2].sound.name}
    told = {"frame_size": [1, 1], "sources": 2 * [source]}
    truth = clips[2].sound.parent
    (truth / f"{clips[2].id}.json").write_text(json.dumps(told))
    monkeypatch.setattr(methods, "score", None)  # of pairs nothing is scored again
    found, _ = evaluate.evaluate(
        one, data / "one", pairs, clips[2:3], truth, notes=tmp_path / "notes"
    )
    (truth / f"{clips[2].id}.json").unlink()
    assert found["rows"] == alone["rows"] and found["duets"] and found["protocol"]["n_duets"] == 1
    assert found["protocol"]["neighbours"] and "neighbours" not in alone["protocol"]


def test_notes_are_kept_until_the_report_is_there(world, tmp_path, monkeypatch):
    data, _ = world

    def full(*_, **__):
        raise OSError("no space left")

    monkeypatch.setattr(report, "write", full)
    with pytest.raises(OSError, match="no space"):
        main(list(map(str, words(data, tmp_path, "--n-pairs", "2", "--report", tmp_path / "r"))))
    assert (tmp_path / "m.part").exists()
    monkeypatch.undo()
    assert main(list(map(str, words(data, tmp_path, "--n-pairs", "2")))) == 0
    assert not (tmp_path / "m.part").exists()


def test_mixtures_of_2_3_and_4_have_tables_of_their_own(world, tmp_path):
    data, clips = world
    line = words(data, tmp_path, "--n-pairs", "3", "--sources", "4", "2", "3", "--baselines", "nmf")
    assert main(list(map(str, line))) == 0
    found = json.loads((tmp_path / "m.json").read_text())
    assert (
        found["by_sources"].keys() == {"2", "3", "4"} and found["rows"] == found["by_sources"]["2"]
    )
    assert (found["protocol"]["sources"], found["protocol"]["n_pairs"]) == (2, 3)
    model = checkpoint.load_model(data / "one", "cpu")
    for n in (2, 3, 4):
        alone = methods.score_pairs(model, draw_pairs(clips[2:], 3, replace(TINY, sources=n)))
        assert len(alone) == 3 * n * len(methods.METHODS)
        rows = found["by_sources"][str(n)]
        assert [r for r in rows if r["method"] != "nmf"] == tables.table(alone) and len(
            rows
        ) == len(methods.METHODS) + 1
    again = words(data, tmp_path, "--pairs", tmp_path / "m.pairs.csv", "--baselines", "nmf")
    again[again.index("--out") + 1] = tmp_path / "again.json"
    assert main(list(map(str, again))) == 0
    assert (tmp_path / "again.json").read_text() == (tmp_path / "m.json").read_text()


def test_leaks_are_refused_wherever_they_are(world, tmp_path):
    data, clips = world
    model, fair = checkpoint.load_model(data / "one"), draw_pairs(clips[2:], 2, TINY)
    planted = [*fair, (Part(clips[3], 0), Part(clips[1], 7))]
    assert evaluate.leaks(data / "one", fair) == []
    with pytest.raises(
        SopError, match=r"1 of 3 mixtures hold videos .*one was trained on: row 3 \(blue/blue_0\);"
    ):
        evaluate.evaluate(model, data / "one", planted)
    source = {"label": "x", "box_xyxy": [0, 0, 1, 1], "stem": "x.flac"}
    (tmp_path / "red_0.json").write_text(
        json.dumps({"frame_size": [1, 1], "sources": 2 * [source]})
    )
    assert not (
        tmp_path / "red_1.json"
    ).exists()  # no duet: whatever it was trained on, it is not measured
    with pytest.raises(SopError, match=r"1 of 3 mixtures .*: duet 1 \(red/red_0\);"):
        evaluate.evaluate(model, data / "one", fair, clips[:1], tmp_path)
    with pytest.raises(
        SopError, match=r"two was trained on: row 3"
    ):  # by one that it is compared with
        (tmp_path / "clean").mkdir()
        for path in ("config.json", "model.safetensors"):
            (tmp_path / "clean" / path).write_bytes((data / "one" / path).read_bytes())
        evaluate.evaluate(model, tmp_path / "clean", planted, others=[data / "two"])
    found = evaluate.evaluate(model, data / "one", planted, allow_leaks=True)[0]
    assert found["protocol"]["leaked"] == 1
    assert "1 MIXTURES HOLD VIDEOS THAT IT WAS TRAINED ON" in tables.text_results(found)
    assert (
        evaluate.evaluate(model, tmp_path / "clean", fair)[0]["protocol"]["leaked"] is None
    )  # nobody knows


def test_another_section_of_a_video_that_was_trained_on_is_a_leak(world, tmp_path):
    data, clips = world
    learned, measured = (Clip(c.sound, c.frames, c.n_frames, "one") for c in clips[:2])
    checkpoint.start(tmp_path / "run", TINY, {"train": [learned], "val": []}, False)
    mixture = (Part(clips[4], 0), Part(measured, 0))
    assert evaluate.leaks(tmp_path / "run", [mixture], [measured]) == [
        ("row 1", measured.name),
        ("duet 1", measured.name),
    ]


@pytest.mark.parametrize("kind", ["photos", "recordings"])
def test_a_photo_or_a_recording_that_was_trained_on_is_a_leak_whatever_its_name_and_folder(
    world, tmp_path, kind
):
    """By way of notes, indexes and a run's folder, as a user does it."""

    def composed(folder, first, made):
        """An index of clips number `first`, `first + 1`, ..., each made of one `kind`."""
        clips = [write_clip(folder, "red", first + n) for n in range(len(made))]
        notes = {
            clip.name: Made("test", **{kind: (one * 16,)})
            for clip, one in zip(clips, made, strict=True)
        }
        write_composed(folder, notes)
        return read_index(build_index(folder)["test"])

    learned = composed(tmp_path / "one", 20, "abc")
    measured = composed(tmp_path / "two", 30, "dbe")
    assert not {c.video for c in learned} & {c.video for c in measured}
    run, model = tmp_path / "run", SoundOfPixels(TINY)
    checkpoint.start(run, TINY, {"train": learned, "val": []}, False)
    checkpoint.write_model(run, model)
    fair = (Part(measured[0], 0), Part(measured[2], 0))
    unfair = (Part(measured[2], 0), Part(measured[1], 0))
    assert evaluate.leaks(run, [fair]) == []
    with pytest.raises(SopError, match=r"1 of 2 mixtures hold .*: row 2 \(red/red_31\); .*leaks"):
        evaluate.evaluate(model, run, [fair, unfair])
    source = {"label": "x", "box_xyxy": [0, 0, 1, 1], "stem": "x.flac"}
    text = json.dumps({"frame_size": [1, 1], "sources": 2 * [source]})
    (tmp_path / "red_31.json").write_text(text)
    with pytest.raises(SopError, match=r"1 of 2 mixtures hold .*: duet 1 \(red/red_31\);"):
        evaluate.evaluate(model, run, [fair], measured, tmp_path)
    found, _ = evaluate.evaluate(model, run, [fair, unfair], allow_leaks=True)
    assert found["protocol"]["leaked"] == 1
    # A clip whose note was lost counts by its name; a composed one of the same name may be another.
    lost = replace(learned[0], photos=(), recordings=())
    other = replace(learned[0], photos=("f" * 16,), recordings=("e" * 16,))
    assert evaluate.leaks(run, [(Part(lost, 0),)]) == [("row 1", "red/red_20")]
    by_name = [] if kind == "photos" else [("row 1", "red/red_20")]  # without photos it is a video
    assert evaluate.leaks(run, [(Part(other, 0),)]) == by_name


def test_the_clips_of_a_run_are_noted_as_before_unless_they_are_composed(world, tmp_path):
    clips = world[1][:2]
    checkpoint.start(tmp_path / "old", TINY, {"train": clips[:1], "val": clips[1:]}, False)
    old = b"train,red/red_0,red_0\r\nval,blue/blue_0,blue_0\r\n"
    assert (tmp_path / "old" / "clips.csv").read_bytes() == old
    formula = replace(clips[0], sound_path="audio/=1+1/=2.wav")
    checkpoint.start(tmp_path / "formula", TINY, {"train": [formula], "val": clips[1:]}, False)
    assert (tmp_path / "formula" / "clips.csv").read_text().startswith("train,'=1+1/=2,'=2\n")
    assert checkpoint.read_learned(tmp_path / "formula")["train"][0][:2] == ("=1+1/=2", "=2")
    made = replace(clips[0], photos=("a" * 16, "b" * 16))
    checkpoint.start(tmp_path / "new", TINY, {"train": [made], "val": clips[1:]}, False)
    assert checkpoint.read_clips(tmp_path / "new") == checkpoint.read_clips(tmp_path / "old")
    learned = checkpoint.read_learned(tmp_path / "new")
    assert learned and learned["train"] == [("red/red_0", "red_0", made.photos, ())]
    checkpoint.start(tmp_path / "new", TINY, {"train": [made], "val": clips[1:]}, True)
    with pytest.raises(SopError, match=r"can't resume with other clips in train \(1: red/red_0\)"):
        checkpoint.start(tmp_path / "new", TINY, {"train": clips[:1], "val": clips[1:]}, True)


@pytest.mark.parametrize(
    ("val", "said"), [(slice(2, None), "these videos"), (slice(2, 3), "others")]
)
def test_an_evaluation_says_which_videos_chose_the_best_epoch(world, tmp_path, val, said):
    data, clips = world
    checkpoint.start(tmp_path / "run", TINY, {"train": clips[:2], "val": clips[val]}, False)
    checkpoint.write_model(tmp_path / "run", model := SoundOfPixels(TINY))
    found = evaluate.evaluate(model, tmp_path / "run", draw_pairs(clips[4:], 2, TINY))[0]
    assert found["protocol"]["epoch_chosen_on"] == said
    assert f"best epoch chosen on: {said}" in tables.text_results(found)


def test_a_video_with_itself_is_told(world, tmp_path):
    data, clips = world
    config = TINY.override({"profile": "sop2018", "bins": "32"})
    checkpoint.start(tmp_path / "old", config, {"train": clips[:2], "val": []}, False)
    checkpoint.write_model(tmp_path / "old", SoundOfPixels(config))
    pair = (Part(clips[2], 0), Part(clips[2], 0))
    found, _ = evaluate.evaluate(checkpoint.load_model(tmp_path / "old"), tmp_path / "old", [pair])
    assert found["protocol"][
        "n_same_video"
    ] == 1 and "1 mixtures are of one video" in tables.text_results(found)


def test_nothing_but_silence_is_told_without_numbers(world, tmp_path):
    data, _ = world
    parts = [Part(write_clip(tmp_path, label, 8, silent=True), 0) for label in ("red", "blue")]
    found, _ = evaluate.evaluate(checkpoint.load_model(data / "one"), data / "one", [tuple(parts)])
    assert found["rows"][0]["sdr"] is None and found["per_label"] == [] and found["confusion"] == []
    assert "left out: row 1, since red/red_8, blue/blue_8 is silent there" in tables.text_results(
        found
    )


def test_the_settings_of_the_tiny_world_are_the_config_of_its_models(world):
    assert checkpoint.load_model(world[0] / "one").config == TINY and SETTINGS["name"] == TINY.name


def test_a_sound_of_no_numbers_is_named_with_its_row_and_never_scored(tmp_path, eyes):
    clips = [write_clip(tmp_path, label, n) for n in range(2) for label in ("red", "blue")]
    sound, rate = soundfile.read(clips[3].sound, dtype="float32")
    sound[rate] = np.inf
    clips[3].sound.unlink()
    broken = Clip(clips[3].sound.with_suffix(".wav"), clips[3].frames, clips[3].n_frames)
    soundfile.write(broken.sound, sound, rate, subtype="FLOAT")
    pairs = [
        (Part(clips[0], 0), Part(clips[1], 0)),
        (Part(clips[2], 0), Part(broken, rate - 100)),
    ]
    where = r"^row 2 \(red/red_1 \+ blue/blue_1\): .*blue_1\.wav"
    with pytest.raises(SopError, match=rf"{where}: no number \(NaN or Inf\) at 1\.00 s"):
        methods.score_pairs(eyes, pairs)
    item = Training([*clips[:3], broken], replace(TINY, seed=1))
    told = "".join(item[i]["skipped"] for i in range(12))
    assert "blue_1.wav: no number" in told and all(
        item[i]["sounds"].isfinite().all() for i in range(12)
    )
