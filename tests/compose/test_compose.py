"""Photos and notes -> videos whose stems and boxes are true, split by what they are made of."""

import json
import subprocess
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path

import mido
import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from PIL import Image
from soundfont_file import soundfont

from sop_core.__main__ import main
from sop_core.compose import acoustics, render
from sop_core.compose.compose import compose
from sop_core.compose.gm import parse_programs
from sop_core.compose.material import digest, split_of
from sop_core.compose.photos import Photo, find_photos
from sop_core.compose.plan import photos_left, plan_clips, sort_material
from sop_core.compose.recordings import Recording, find_recordings
from sop_core.compose.soundfonts import can_play
from sop_core.data.clips import read_index, solos
from sop_core.data.lists import SPLITS, read_composed
from sop_core.data.preprocess import preprocess
from sop_core.data.splits import build_index
from sop_core.errors import SopError
from sop_core.evaluation.duets import read_truth
from sop_core.media.stream import stream
from sop_core.toy.material import write_material

LABELS = ("flute", "guitar")
COUNTS = {"solos": 7, "duets": 2, "seconds": 4.0}


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    """Folders of photos and sounds: 5 photos of each label, 2 libraries of 9 notes."""
    return write_material(tmp_path_factory.mktemp("material"), LABELS, photos=5, libraries=2)


@pytest.fixture(scope="module")
def composed(material, tmp_path_factory):
    out = tmp_path_factory.mktemp("videos")
    report = compose(*material, out, **COUNTS, jobs=1, progress=False)
    return out, report


def files(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.*")}


def assert_same_clips(again, first, videos):
    """Videos, stems and truth, byte for byte."""
    names = [name for name in files(again) if name.endswith((".mp4", ".flac"))]
    names += [name for name in files(again) if name.startswith("truth/")]
    assert sum(name.endswith(".mp4") for name in names) == videos
    for name in set(names):
        assert (again / name).read_bytes() == (first / name).read_bytes(), name


def sound_of(video, rate=44_100):
    pieces = [piece for kind, piece in stream(video, 10, rate) if kind == "sound"]
    return np.concatenate(pieces)


def test_clips_lie_where_they_should(composed):
    out, report = composed
    names = {p.relative_to(out).as_posix() for p in out.rglob("*.mp4")}
    solos = {f"{label}/{label}_{k:03d}.mp4" for label in LABELS for k in range(7)}
    assert names == solos | {"flute guitar/duet_000.mp4", "flute guitar/duet_001.mp4"}
    counts = report[report.clips > 0].set_index("label").clips.to_dict()
    assert counts == {"flute": 7, "guitar": 7, "flute guitar": 2}
    written = pd.read_csv(out / "compose_report.csv", keep_default_na=False)
    pd.testing.assert_frame_equal(written, report)


def test_stems_of_a_duet_add_up_to_its_sound(composed):
    out, _ = composed
    truth = json.loads((out / "truth/duet_000.json").read_text())
    stems = [soundfile.read(out / "truth" / s["stem"])[0] for s in truth["sources"]]
    sound = sound_of(out / truth["video"])[: len(stems[0])]
    assert len(stems[0]) == 4 * 44_100 and len(sound) > 3.9 * 44_100
    lost = sum(stems)[: len(sound)] - sound  # by aac
    assert np.square(lost).mean() < 0.01 * np.square(sound).mean()
    for stem, source in zip(stems, truth["sources"], strict=True):
        rms = np.sqrt(np.square(stem.reshape(-1, 4_410)).mean(1))
        np.testing.assert_allclose(source["loudness"], rms, atol=1e-3)
        assert rms.max() > 0.02


def test_evaluation_reads_the_truth(composed):
    out, _ = composed
    stems = read_truth(out / "truth", "duet_001")
    assert [stem.label for stem in stems] == list(LABELS)
    (a0, _, a1, _), (b0, _, b1, _) = (stem.box for stem in stems)
    assert min(a1, b1) <= max(a0, b0) + 1e-6 and max(a1 - a0, b1 - b0) <= 0.55  # side by side
    assert read_truth(out / "truth", "flute_000") is None  # a solo


def test_no_photo_and_no_recording_is_in_two_splits(material, composed):
    out, _ = composed
    where = defaultdict(set)
    for made in read_composed(out).values():
        for name in (*made.photos, *made.recordings):
            where[name].add(made.split)
    assert all(len(splits) == 1 for splits in where.values())
    assert set().union(*where.values()) == {"train", "val", "test"}
    photos = {digest(p) for p in material[0].rglob("*.jpg")}
    notes = {digest(p) for p in material[1].rglob("*.wav")}
    assert where.keys() <= photos | notes and where.keys() & photos and where.keys() & notes


def test_index_and_preprocess_go_on_from_there(composed, tmp_path):
    out, _ = composed
    preprocess(out, tmp_path, audio_format="wav", jobs=1, progress=False)
    index = build_index(tmp_path, seed=9)
    made = read_composed(out)
    for split in ("train", "val", "test"):
        clips = read_index(index[split])
        assert {clip.name for clip in clips} == {n for n, m in made.items() if m.split == split}
    assert sum(clip.is_duet for clip in clips) == 2  # of the test


def test_same_seed_same_clips_at_any_number_of_jobs(material, composed, tmp_path):
    """Also where torch takes more threads in one process than in several."""
    few = COUNTS | {"solos": 2, "duets": 1}
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    acoustics._table.cache_clear()
    acoustics._hats.cache_clear()
    try:
        acoustics.acoustics(torch.ones(2, 4 * 44_100), 44_100, torch.Generator())  # as training may
        compose(*material, tmp_path / "1", **few, jobs=1, progress=False)
    finally:
        torch.set_num_threads(threads)
    compose(*material, tmp_path / "2", **few, jobs=2, progress=False)
    for jobs in "12":
        assert_same_clips(tmp_path / jobs, composed[0], videos=5)


def test_another_seed_gives_other_clips(material, composed, tmp_path):
    compose(*material, tmp_path, solos=1, duets=0, seconds=4.0, seed=1, jobs=1, progress=False)
    video = "flute/flute_000.mp4"
    a, b = sound_of(tmp_path / video), sound_of(composed[0] / video)
    n = min(len(a), len(b))
    assert abs(np.corrcoef(a[:n], b[:n])[0, 1]) < 0.3


def test_a_second_run_makes_what_is_missing_and_adds(material, composed, tmp_path):
    few = COUNTS | {"solos": 2, "duets": 0}
    compose(*material, tmp_path, **few, jobs=1, progress=False)
    before = files(tmp_path)
    lost = tmp_path / "guitar/guitar_001.mp4"
    lost.unlink()
    kept = tmp_path / "flute/flute_000.mp4"
    made = kept.stat().st_mtime_ns
    compose(*material, tmp_path, **few | {"solos": 3}, jobs=1, progress=False)
    after = files(tmp_path)
    assert {name for name in before if name.endswith(".mp4")} <= after.keys()
    assert_same_clips(tmp_path, composed[0], videos=6)
    assert kept.stat().st_mtime_ns == made and "flute/flute_002.mp4" in after
    assert not [name for name in after if ".part" in name]


def test_a_killed_run_leaves_whole_clips_and_is_gone_on_with(material, composed, tmp_path):
    few = ["--solos", "3", "--duets", "0", "--seconds", "4", "--jobs", "1"]
    words = [sys.executable, "-m", "sop_core", "compose", *material, "--out", tmp_path, *few]
    run = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    first = tmp_path / "truth/flute_000.json"
    while not first.exists():
        assert run.poll() is None, "it ended before it was killed"
        time.sleep(0.05)
    run.kill()
    run.wait()
    clips = list(tmp_path.rglob("[!.]*.mp4"))
    assert len(clips) < 6
    compose(*material, tmp_path, **COUNTS | {"solos": 3, "duets": 0}, jobs=1, progress=False)
    after = files(tmp_path)
    assert not [name for name in after if ".part" in name]
    assert_same_clips(tmp_path, composed[0], videos=6)


def test_another_seed_or_other_material_is_refused_in_the_same_folder(composed, material, tmp_path):
    out, _ = composed
    with pytest.raises(SopError, match="seed 0.*not of seed 1.*choose another folder"):
        compose(*material, out, **COUNTS, seed=1, progress=False)
    photos, _ = write_material(tmp_path, LABELS, photos=6, libraries=0)
    with pytest.raises(SopError, match="material.*choose another folder"):
        compose(photos, material[1], out, **COUNTS, progress=False)


def test_what_has_no_counterpart_is_reported(material, tmp_path):
    photos, sounds = tmp_path / "photos", tmp_path / "sounds"
    write_material(tmp_path, ("flute", "cello"), photos=2, libraries=1)
    (photos / "flute").rename(photos / "flute alone")
    (sounds / "cello").rename(sounds / "gong")
    (photos / "truth").mkdir()
    Image.fromarray(np.full((90, 90, 3), 99, np.uint8)).save(photos / "truth/x.png")
    with pytest.raises(SopError, match="nothing can be composed"):
        compose(photos, sounds, tmp_path / "out", progress=False)
    write_material(tmp_path, ("guitar",), photos=1, libraries=1)
    report = compose(photos, sounds, tmp_path / "out", **COUNTS, jobs=1, progress=False)
    reasons = report[report.reason != ""].set_index("label").reason
    assert "no recording" in reasons["cello"] and "no photo" in reasons["gong"]
    assert "flute_alone" in reasons["flute alone"] and "truth_" in reasons["truth"]
    assert "no photo" in reasons["flute"]
    assert "nothing of it is in val and test" in reasons["guitar"]
    assert any("no duets" in reason for reason in report.reason)
    assert report[report.clips > 0].label.tolist() == ["guitar"]


def test_an_umlaut_is_one_label_however_it_is_written(tmp_path):
    """One character in a folder, a letter and a mark in the other one, or on the command line."""
    one, two = "Fl\u00f6te", "Flo\u0308te"
    photos, sounds = write_material(tmp_path, ("flute",), photos=1, libraries=1)
    (photos / "flute").rename(photos / two)
    (sounds / "flute").rename(sounds / one)
    out = tmp_path / "out"
    compose(photos, sounds, out, 1.0, solos=1, duets=0, jobs=1, progress=False)
    assert read_composed(out).keys() == {f"{one}/{one}_000"}
    assert (out / one / f"{one}_000.mp4").is_file()
    assert parse_programs([f"{two}=73"]) == {one: [73]}


def test_where_no_clip_can_be_made_the_first_reason_is_the_error(material, tmp_path, monkeypatch):
    def fails(plan, how):
        if plan.name not in made:
            raise SopError(f"{plan.name} is too soft")
        return perform(plan, how)

    perform, made = render.perform, set()
    monkeypatch.setattr(render, "perform", fails)
    few = {"solos": 2, "duets": 0, "jobs": 1, "progress": False}
    with pytest.raises(SopError, match="none of 4 clips .* first, flute/flute_000: .* too soft"):
        compose(*material, tmp_path, 1.0, **few)
    report = pd.read_csv(tmp_path / "compose_report.csv", keep_default_na=False)
    assert report.reason.str.endswith("is too soft").sum() == 4 and not report.clips.sum()
    made.add("guitar/guitar_001")  # one is enough, also in a later run that makes no other
    for _ in range(2):
        assert compose(*material, tmp_path, 1.0, **few).clips.sum() == 1


def test_no_file_vanishes_without_a_row(tmp_path):
    both, behind = tmp_path / "both", tmp_path / "behind"
    write_material(tmp_path, ("flute",), photos=2, libraries=1)
    (tmp_path / "photos").rename(both)
    (tmp_path / "sounds/flute/library_0").rename(both / "flute/lib")
    (both / "flute/IMG_1.HEIC").write_bytes(b"x")
    (both / "loose.jpg").write_bytes(b"x")
    (both / "again").symlink_to(both / "flute")
    (tmp_path / "elsewhere").mkdir()
    (both / "tuba").symlink_to(tmp_path / "elsewhere")
    behind.mkdir()
    Image.new("RGB", (80, 80), (30, 120, 200)).save(behind / "0.png")
    (behind / "1.heic").write_bytes(b"x")
    (behind / "2.png").symlink_to(both / "flute/00.jpg")
    few = {"solos": 1, "duets": 0, "jobs": 1, "progress": False}
    report = compose(both, both, tmp_path / "out", 1.0, **few, backgrounds=behind)
    rows = report[report.file != ""]
    assert rows[["label", "file", "reason"]].values.tolist() == [
        ["again", "again", "a link to another folder of these"],
        ["", "loose.jpg", "outside of all labels: put it into a folder of one"],
        ["tuba", "tuba", "a link that leads out of the folder"],
        ["flute", "flute/IMG_1.HEIC", "neither a photo nor a sound, by its suffix"],
        ["", "1.heic", "as a background: not one of .jpg .jpeg .png .webp"],
        ["", "2.png", "as a background: a link that leads out of the folder"],
    ]


def test_photos_of_silence_give_silent_scenes(tmp_path):
    write_material(tmp_path, ("flute",), photos=2, libraries=1)
    (tmp_path / "photos/silence").mkdir()
    for k in range(3):
        noise = np.random.default_rng(k).integers(0, 255, (9, 12, 3), np.uint8)
        Image.fromarray(noise).resize((400, 300)).save(tmp_path / f"photos/silence/{k}.jpg")
    out = tmp_path / "out"
    folders = tmp_path / "photos", tmp_path / "sounds"
    compose(*folders, out, solos=2, duets=0, seconds=2.0, jobs=1, progress=False)
    silent = sorted((out / "silence").iterdir())
    assert len(silent) == 2
    assert all(np.abs(sound_of(video)).max() < 1e-3 for video in silent)
    assert {read_composed(out)[f"silence/{v.stem}"].split for v in silent} == {"train"}


@pytest.mark.skipif(not can_play(), reason="no FluidSynth here")
def test_a_soundfont_plays_what_has_no_recordings(tmp_path):
    """The tones of the font are heard at the pitches of the MIDI file."""
    photos, _ = write_material(tmp_path, ("flute", "cello"), photos=1, libraries=0)
    font = soundfont(tmp_path / "font.sf2", programs=(42, 73))
    track = mido.MidiTrack(mido.Message("note_on", note=n, time=0) for n in (60,))
    track.append(mido.Message("note_off", note=60, time=4_000))
    mido.MidiFile(tracks=[track]).save(tmp_path / "c4.mid")
    midi = [tmp_path / "c4.mid"]
    given = {"soundfonts": [font], "midi": midi, "programs": ["cello=42"], "dry": True}
    few = {"solos": 1, "duets": 0, "seconds": 3.0, "jobs": 1, "progress": False}
    report = compose(photos, None, tmp_path / "out", **few, **given)
    assert report[report.clips > 0].label.tolist() == ["cello", "flute"]
    sound = sound_of(tmp_path / "out/flute/flute_000.mp4")[22_050:66_150]
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound))))
    assert abs(spectrum.argmax() - 261.6) < 4  # Hz: windows of a second
    with pytest.raises(SopError, match="cello=41: no SoundFont that is given has this program"):
        compose(photos, None, tmp_path / "o", **few, **given | {"programs": ["cello=41"]})


def test_photos_are_used_equally_often(tmp_path):
    """Of 11 photos 7 train: as many as a round of splits has clips."""
    write_material(tmp_path, ("flute",), photos=11, libraries=1)
    unused = []
    photos = find_photos(tmp_path / "photos", unused)
    notes = find_recordings(tmp_path / "sounds", unused, progress=False)
    material = sort_material(photos, notes, [], {}, (0.15, 0.15), unused)
    plans = plan_clips(material, 70, 0, 0, 0, unused)
    used = {s: Counter(p.photos[0].path for p in plans if p.split == s) for s in SPLITS}
    assert [len(used[split]) for split in SPLITS] == [7, 2, 2]
    assert all(max(c.values()) - min(c.values()) <= 1 for c in used.values())
    few = plan_clips(material, 9, 0, 0, 0, unused)
    assert few == plans[:9]


def test_few_clips_show_different_things_and_photos_left_over_are_told():
    """Of 8 videos of 4 frames each, 8 clips show 8 videos. Names tell nothing about the order."""
    found = [
        Photo(Path(f"{k}.mp4"), f"{3 * k % 8:016x}", float(second))
        for k in range(8)
        for second in range(4)
    ]
    own = [Recording(Path(f"{k}.wav"), f"{k + 999:016x}", "note", 60.0, "") for k in range(8)]
    material = sort_material({"flute": found}, {"flute": own}, [], {}, (0, 0), [])
    plans = plan_clips(material, 32, 0, 0, 0, [])
    shown = [plan.photos[0] for plan in plans]
    assert len({photo.path for photo in shown[:8]}) == 8
    assert [photo.second for photo in shown] == sorted(photo.second for photo in found)
    assert [p.path.name for p in shown[:8]] != [f"{k}.mp4" for k in range(8)]
    (left,) = photos_left(material, plans[:30])
    assert left.label == "flute" and left.reason.startswith("2 of 32 photos for training")
    assert not list(photos_left(material, plans))


def plans_of(recordings, solos=200, photos=40):
    """Solos of a label with recordings (kind, library), whose contents are made up."""
    found = [Photo(Path(f"{k}.jpg"), f"{k:016x}", None) for k in range(photos)]
    own = [
        Recording(Path(f"{k}.wav"), f"{k + 999:016x}", kind, 60.0, library)
        for k, (kind, library) in enumerate(recordings)
    ]
    material = sort_material({"flute": found}, {"flute": own}, [], {}, (0.15, 0.15), [])
    return plan_clips(material, solos, 0, 0, 0, [])


def test_a_stray_file_is_drawn_more_rarely_than_a_library():
    def shares(*recordings):
        drawn = [p.voices[0].recordings[0] for p in plans_of(recordings) if p.split == "train"]
        counts = Counter((r.kind, r.library) for r in drawn)
        return {key: count / len(drawn) for key, count in counts.items()}

    found = shares(*[("note", "a")] * 30, ("passage", ""))
    assert found["passage", ""] == pytest.approx(1 / 9, abs=0.07)
    equal = shares(*[("note", "a")] * 30, *[("note", "b")] * 90)  # both are rich enough
    assert equal["note", "a"] == pytest.approx(0.5, abs=0.1)


def test_what_has_no_counterpart_in_its_split_trains():
    """1 photo and 40 notes, or 40 photos and 1 note: all are used, not only those of the train."""
    for recordings, photos in (([("note", "")] * 40, 1), ([("note", "")] * 2, 40)):
        plans = plans_of(recordings, 200, photos)
        assert {p.split for p in plans} == {"train"}
        assert len({p.photos[0] for p in plans}) == photos
        assert len({r for p in plans for r in p.voices[0].recordings}) == len(recordings)
    assert {p.split for p in plans_of([("note", "")] * 20, 7, 20)} == set(SPLITS)


def test_what_is_recorded_is_told(tmp_path, capsys):
    folders = write_material(tmp_path, ("flute",), photos=1, libraries=2)
    note = folders[1] / "flute/library_1/C4.wav"
    note.rename(folders[1] / "flute/C4.wav")
    compose(*folders, tmp_path / "out", 1.0, solos=1, duets=0, jobs=1)
    said = capsys.readouterr().out.splitlines()
    assert "flute: 1 note, 9 notes in library_0, 8 notes in library_1" in said


def test_duets_are_of_the_test_and_no_solos_in_mixtures(tmp_path):
    """A label with 3 photos has none in the test, and so no duets; a duet is no solo."""
    write_material(tmp_path / "a", ("flute", "guitar"), photos=5, libraries=1)
    write_material(tmp_path / "a", ("cello",), photos=3, libraries=1)
    folders = tmp_path / "a/photos", tmp_path / "a/sounds"
    out, data = tmp_path / "out", tmp_path / "data"
    few = {"solos": 4, "duets": 3, "seconds": 2.0, "jobs": 1, "progress": False}
    report = compose(*folders, out, **few)
    duets = [name for name in read_composed(out) if " " in name]
    assert {name.split("/")[0] for name in duets} == {"flute guitar"} and len(duets) == 3
    assert {read_composed(out)[name].split for name in duets} == {"test"}
    assert any("none is in test" in reason for reason in report.reason)
    preprocess(out, data, audio_format="wav", jobs=1, progress=False)
    test = read_index(build_index(data)["test"])
    assert len(test) == 3 and solos(test) == []


def test_trios_are_of_three_labels(tmp_path):
    folders = write_material(tmp_path / "a", ("flute", "guitar", "cello"), photos=4, libraries=1)
    out = tmp_path / "out"
    few = {"solos": 0, "duets": 0, "trios": 1, "seconds": 2.0, "jobs": 1, "progress": False}
    compose(*folders, out, **few)
    stems = read_truth(out / "truth", "trio_000")
    assert [stem.label for stem in stems] == ["cello", "flute", "guitar"]
    boxes = sorted(stem.box for stem in stems)
    assert all(a[2] <= b[0] + 1e-6 for a, b in zip(boxes, boxes[1:], strict=False))


def test_names_that_would_mix_files_up_are_refused(tmp_path):
    photos, sounds = write_material(tmp_path / "a", ("flute", "guitar"), photos=4, libraries=1)
    (photos / "flute").rename(photos / "duet")
    (sounds / "flute").rename(sounds / "duet")
    (sounds / "guitar/library_0/D3.wav").rename(sounds / "loose.wav")
    (photos / "guitar/deep").mkdir()
    (photos / "guitar/00.jpg").rename(photos / "guitar/deep/00.jpg")
    few = {"solos": 1, "duets": 0, "seconds": 2.0, "jobs": 1, "progress": False}
    report = compose(photos, sounds, tmp_path / "out", **few)
    reasons = report[report.reason != ""].set_index("file").reason
    assert "outside of all labels" in reasons["loose.wav"]
    assert "put it into guitar/" in reasons["guitar/deep/00.jpg"]
    assert "call it duet_" in " ".join(report.reason)
    for out in (photos / "out", tmp_path / "a", photos):
        with pytest.raises(SopError, match="would mix"):
            compose(photos, sounds, out, **few)
    # another pitch is other material
    note = sounds / "guitar/library_0/F3.wav"
    note.rename(note.with_name("F2.wav"))
    with pytest.raises(SopError, match="material.*choose another folder"):
        compose(photos, sounds, tmp_path / "out", **few)


def test_a_picture_that_is_transparent_throughout_is_a_picture(tmp_path):
    photos, sounds = write_material(tmp_path / "a", ("flute",), photos=0, libraries=1)
    pixels = np.random.default_rng(0).integers(0, 255, (120, 160, 4), np.uint8)
    pixels[..., 3] = 100
    (photos / "flute").mkdir(parents=True)
    Image.fromarray(pixels).save(photos / "flute/0.png")
    few = {"solos": 2, "duets": 0, "seconds": 2.0, "jobs": 1, "progress": False}
    report = compose(photos, sounds, tmp_path / "out", **few)
    assert report.clips.sum() == 2


def test_split_is_by_content_and_has_all_three():
    digests = [f"{k:016x}" for k in np.random.default_rng(0).integers(0, 2**60, 20)]
    split = split_of(digests)
    assert split == split_of(reversed(digests))
    assert pd.Series(split).value_counts().to_dict() == {"train": 14, "val": 3, "test": 3}
    assert set(split_of(digests[:2]).values()) == {"train"}
    assert sorted(split_of(digests[:4]).values()) == ["test", "train", "train", "val"]
    assert set(split_of(digests, 0, 0).values()) == {"train"}
    for n in range(1, 6):  # one at least trains
        assert "train" in split_of(digests[:n], 0.9, 0.05).values()
        assert "train" in split_of(digests[:n], 0.05, 0.9).values()


@pytest.mark.parametrize(
    "bad, reason",
    [
        ({"solos": -1}, "solos=-1"),
        ({"seconds": 0.0}, "seconds=0"),
        ({"seconds": float("nan")}, "seconds=nan"),
        ({"val_ratio": 0.9, "test_ratio": 0.2}, "together less than 1"),
        ({"programs": ["flute=73"]}, "no SoundFont is given"),
        ({"backgrounds": Path(__file__).parent}, "no photo that can stand behind"),
    ],
)
def test_bad_options_are_refused(material, tmp_path, bad, reason):
    with pytest.raises(SopError, match=reason):
        compose(*material, tmp_path, **COUNTS | bad, progress=False)


def test_the_road_from_photos_to_numbers(material, tmp_path, capsys):
    """The verbs one after the other, as a user types them."""
    videos, data, run = tmp_path / "videos", tmp_path / "data", tmp_path / "ckpt/run"

    def sop(*words):
        assert main([str(word) for word in words]) == 0, capsys.readouterr().err

    sop("compose", *material, "--out", videos, "--solos", 7, "--duets", 1, "--seconds", 4)
    assert "15 clips" in capsys.readouterr().out
    sop("preprocess", videos, "--out", data, "--audio-format", "wav")
    sop("index", data)
    short = ["epochs=1", "epoch_size=16", "batch=4", "val_pairs=2", "looks=1", "workers=0"]
    clips = ["--train", data / "train.csv", "--val", data / "val.csv"]
    place = ["--id", run.name, "--ckpt", run.parent]
    sop("train", "--preset", "demo", *clips, *place, "--set", *short)
    truth = ["--duets", data / "test.csv", "--truth", videos / "truth"]
    sop("evaluate", run, "--index", data / "val.csv", "--n-pairs", 2, *truth)
    scores = json.loads((run / "metrics.json").read_text())
    assert "duet" in json.dumps(scores)


def test_no_background_stands_in_two_splits(material, tmp_path, monkeypatch):
    for k in range(7):
        (tmp_path / "behind").mkdir(exist_ok=True)
        Image.new("RGB", (80, 80), (30 * k, 120, 200)).save(tmp_path / f"behind/{k}.png")
    used = defaultdict(set)
    film, read = render._film, render.read_photo

    def noted(plan, how, frames):
        def reads(photo):
            if photo.path.parent.name == "behind":
                used[plan.split].add(photo.path.name)
            return read(photo)

        monkeypatch.setattr(render, "read_photo", reads)
        return film(plan, how, frames)

    monkeypatch.setattr(render, "_film", noted)
    how = {"backgrounds": tmp_path / "behind", "jobs": 1, "progress": False}
    compose(*material, tmp_path / "videos", 1.0, solos=7, duets=0, **how)
    assert set(used) == set(SPLITS)
    assert not used["train"] & used["val"] and not (used["train"] | used["val"]) & used["test"]
