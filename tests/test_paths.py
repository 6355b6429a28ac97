"""Every public function takes a path as text (the other tests give them as `Path`)."""

import importlib
import inspect
import re

import pytest
from test_layout import ORDER
from tiny import TINY, write_film

from sop_core.compose.clips import claim_folder
from sop_core.compose.compose import compose
from sop_core.compose.melodies import read_midi
from sop_core.compose.photos import find_backgrounds, find_photos, read_photo
from sop_core.compose.recordings import find_recordings
from sop_core.compose.soundfonts import open_soundfont
from sop_core.compose.sounds import check_sound, read_mono
from sop_core.data import collect, preprocess
from sop_core.data.check import check
from sop_core.data.clips import find_clips, read_index, write_index
from sop_core.data.lists import note_sections, read_composed, read_sections
from sop_core.data.splits import build_index
from sop_core.errors import SopError
from sop_core.evaluation import duets, evaluate, journal, report
from sop_core.listening import export as separate
from sop_core.listening import features
from sop_core.listening.film import VideoFilm
from sop_core.listening.scene import Scene
from sop_core.media.atomic import sha256, sweep
from sop_core.media.container import video_seconds
from sop_core.media.jpgs import frame_size, read_frames
from sop_core.media.sound import read_sound, sound_length, write_wav
from sop_core.media.stream import read_video
from sop_core.media.survey import survey
from sop_core.toy import render
from sop_core.toy.material import write_material
from sop_core.toy.render import is_solo
from sop_core.training import checkpoint
from sop_core.training.loop import fit
from sop_core.training.pairs import draw_pairs, read_pairs, write_pairs


def public():
    """Every public function and method of the package, with its name."""
    for name in (
        name.replace("/", ".") for name in ORDER if not name.startswith("verbs/")
    ):  # theirs are words
        module = importlib.import_module(f"sop_core.{name}")
        for owner in [module, *(c for c in vars(module).values() if inspect.isclass(c))]:
            if getattr(
                owner, "__module__", owner.__name__
            ) != module.__name__ or owner.__name__.startswith("_"):
                continue
            if hasattr(owner, "__dataclass_params__") and owner.__dataclass_params__.init:
                continue  # a record: what is in it, we have put there
            for key, value in vars(owner).items():
                value = getattr(value, "__func__", value)  # of a classmethod
                ours = inspect.isfunction(value) and value.__module__ == module.__name__
                if ours and (not key.startswith("_") or key == "__init__"):
                    yield f"{name}.{owner.__name__.rpartition('.')[2]}.{key}", value


def test_no_public_function_insists_on_a_path():
    found = dict(public())
    assert len(found) > 150 and "listening.scene.Scene.from_video" in found
    for name, function in found.items():
        for parameter in inspect.signature(function).parameters.values():
            told = inspect.formatannotation(parameter.annotation)
            assert not re.search(r"\bPath\b", told.replace("str | os.PathLike", "")), (
                f"{name}({parameter})"
            )


def test_the_whole_road_by_names_of_files(tmp_path):
    for label in ("red", "blue"):
        write_film(tmp_path / "videos" / label / f"{label}.mp4")
        write_film(tmp_path / "videos" / label / f"{label}2.mp4")
    videos, data, run = (str(tmp_path / name) for name in ("videos", "data", "run"))
    assert len(preprocess.find_videos(videos)) == 4
    preprocess.preprocess(videos, data, jobs=1, progress=False)
    note_sections(data, {"red/red": "one"})
    assert read_sections(data) == {"red/red": "one"} and len(find_clips(data)) == 4
    paths = build_index(data, str(tmp_path / "index"), val_ratio=0.4)
    problems = check(data, 1.0, jobs=1, progress=False)
    assert {*problems.problem} == {"copy", "still"}  # the films of a label are one
    clips = read_index(str(paths["all"]))
    write_index(str(tmp_path / "again.csv"), clips)
    list(fit(TINY, clips, clips, run))
    model = checkpoint.load_model(run)
    assert (
        checkpoint.read_history(run)
        and checkpoint.read_clips(run)["train"]
        and checkpoint.read_state(run)
    )
    pairs = draw_pairs(clips, 2, TINY)
    write_pairs(str(tmp_path / "pairs.csv"), pairs)
    assert read_pairs(str(tmp_path / "pairs.csv"), clips, TINY) == pairs
    results, scores = evaluate.evaluate(
        model, run, pairs, allow_leaks=True, notes=str(tmp_path / "notes"), others=[run]
    )
    evaluate.write_metrics(str(tmp_path / "m.json"), results)
    evaluate.write_scores(str(tmp_path / "s.csv"), scores)
    assert journal.Journal(str(tmp_path / "notes"), "x").each("x", 1, lambda i: [i]) == [[0]]
    assert report.write(str(tmp_path / "report"), model, pairs[:1]).is_file()
    film = str(tmp_path / "videos" / "red" / "red.mp4")
    scene = Scene.from_video(model, film, cache=True)
    assert features.folder(film).is_dir() and features.load(film, features.key(model, film))
    assert (
        len(VideoFilm(film, TINY).between(0, 1))
        and video_seconds(film) > 5
        and survey(film).rate == 44_100
    )
    assert len(read_video(film, 8, 11_025)[0]) == 48 and sha256(film)
    sound = str(clips[0].sound)
    assert sound_length(sound)[1] == 11_025 and len(read_sound(sound, 10, 100)) == 100
    assert (
        read_frames(str(clips[0].frames), [0]).shape[0]
        == 1
        == frame_size(str(clips[0].frames))[0] // 80
    )
    separate.write(scene, film, [(0, 0)], str(tmp_path / "one.wav"))
    separate.write(scene, film, [(0, 0)], str(tmp_path / "one.mp4"))
    learned = separate.learned_from(checkpoint.read_clips(run), is_solo)
    assert "learned from: blue, red" in separate.told(0.5, learned)
    write_wav(str(tmp_path / "w.wav"), scene.mixture, scene.rate)
    assert sweep(str(tmp_path)) == 0


def test_a_duet_of_the_orchestra_by_names_of_files(tmp_path, eyes):
    out, truth, data = (str(tmp_path / name) for name in ("duet", "duet/truth", "data"))
    claim_folder(f"{out}/orchestra.json", {"seed": 1}, {"n_duets": 1})
    video = render.render_clip(out, ("cello", "flute"), 0, seed=1)
    assert render.clip_files(out, ("cello", "flute"), 0)[-1]
    assert [s.label for s in duets.read_truth(truth, video.stem)] == ["cello", "flute"]
    preprocess.preprocess(str(tmp_path / "duet" / "videos"), data, jobs=1, progress=False)
    (clip,) = find_clips(data)
    assert len(duets.with_truth([clip], truth)) == 1 and duets.heard(eyes, clip, truth)[1]
    assert len(duets.score_duets(eyes, [clip], truth).placed) == 2
    (tmp_path / "photos").mkdir()
    photo = (clip.frames / "000001.jpg").rename(tmp_path / "photos" / "empty.jpg")
    assert collect.silence(str(photo.parent), str(tmp_path / "s"), 0.5, 1, False).status[0] == "ok"


def test_photos_and_recordings_by_names_of_files(tmp_path):
    photos, sounds = write_material(str(tmp_path / "a"), ("flute",), photos=1, libraries=1)
    few = {"solos": 1, "duets": 0, "seconds": 2.0, "jobs": 1, "progress": False}
    made = compose(str(photos), str(sounds), str(tmp_path / "out"), **few)
    assert made.clips.sum() == 1 and len(read_composed(str(tmp_path / "out"))) == 1
    unused = []
    (note, *_) = find_recordings(str(sounds), unused, str(tmp_path / "p.csv"), False)["flute"]
    assert len(read_mono(str(note.path))) and check_sound(str(note.path)) > 1
    assert read_photo(find_photos(str(photos), unused)["flute"][0]).ndim == 3 and not unused
    assert find_backgrounds(str(photos), unused) and (tmp_path / "p.csv").exists()
    with pytest.raises(SopError, match="no such file"):
        open_soundfont(str(tmp_path / "no.sf2"))
    with pytest.raises(SopError, match="no such file"):
        read_midi(str(tmp_path / "no.mid"))
