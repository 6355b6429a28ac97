"""Copies are found whatever their code, level and start; what is only alike is none."""

import io
import itertools
import warnings

import av
import joblib
import numpy as np
import pytest
import soundfile
import soxr
from PIL import Image

from sop_core.__main__ import main
from sop_core.data import fingerprints
from sop_core.data.check import check
from sop_core.data.clips import Clip, candidates, read_index, write_index
from sop_core.data.copies import COPIES, Copy, Groups, note_copies, read_copies
from sop_core.data.fingerprints import RATE, Fingerprint, fingerprint, hashes
from sop_core.data.lists import Made
from sop_core.data.matching import NEXT, likely_shifts, propose, same_pictures, same_sound, search
from sop_core.data.splits import build_index, drop_copies, split
from sop_core.errors import SopError
from sop_core.evaluation import evaluate
from sop_core.media.sound import audio_frame
from sop_core.toy.music import make_music
from sop_core.training.windows import Part

SCALE = 220 * 2 ** (np.array([0, 2, 4, 7, 9, 12, 14, 16]) / 12)  # Hz
SECONDS = 8.0
PLAIN = np.zeros((8, 32, 32))


def score(rng, seconds=SECONDS):
    """Notes (start, Hz), of a theme that comes again: half a second or a quarter each."""
    theme = [(rng.choice(SCALE), length) for length in rng.choice([0.25, 0.5], 6)]
    starts = np.cumsum([0, *(length for _, length in theme * 9)])
    return [
        (start, hz) for start, (hz, _) in zip(starts, theme * 9, strict=False) if start < seconds
    ]


def take(rng, notes, timbre, late=0.0, seconds=SECONDS):
    """A score, played: harmonics that fade, each note up to `late` seconds late. (L,) at `RATE`."""
    sound = np.zeros(round((seconds + 1) * RATE))
    t = np.arange(RATE // 2) / RATE
    for start, hz in notes:
        parts = sum(
            np.sin(2 * np.pi * (k * hz * t + rng.random())) / k**timbre for k in range(1, 7)
        )
        at = round((start + late * rng.random()) * RATE)
        sound[at : at + len(t)] += 0.1 * parts * np.minimum(1, t / 0.01) * np.exp(-t / 0.2)
    sound += 1e-3 * rng.standard_normal(len(sound))
    return sound[: round(seconds * RATE)]


def recoded(sound, rate, bit_rate):
    """The bytes of an mp3."""
    sound = soxr.resample(sound, RATE, rate)
    file = io.BytesIO()
    with av.open(file, "w", format="mp3") as container:
        stream = container.add_stream("libmp3lame", rate=rate, layout="mono")
        stream.bit_rate = bit_rate
        container.mux(stream.encode(audio_frame(sound, rate, 0)))
        container.mux(stream.encode(None))
    return file.getvalue()


def moving(rng, count=16):
    """(count, 60, 80): a square that walks about in a room; its way is the generator's."""
    y, x = np.meshgrid(np.arange(60), np.arange(80), indexing="ij")
    pictures = np.repeat((90 + 40 * np.sin(x / 9) * np.cos(y / 7))[None], count, axis=0)
    ways = 20 + 19 * np.sin(rng.uniform(0, 6, 2) + np.arange(count)[:, None] * rng.uniform(0.2, 1))
    for picture, (top, left) in zip(pictures, ways.astype(int), strict=True):
        picture[top : top + 16, left : left + 16] = 250
    return pictures


def write(data, name, sound=None, pictures=None, quality=85, size=None):
    """A clip in a data folder: a sound (L,) or an mp3's bytes, and pictures (V, h, w)."""
    label, id_ = name.split("/")
    file = data / "audio" / label / f"{id_}.{'mp3' if isinstance(sound, bytes) else 'wav'}"
    file.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(sound, bytes):
        file.write_bytes(sound)
    elif sound is not None:
        soundfile.write(file, sound, RATE)
    folder = data / "frames" / label / f"{id_}.mp4"
    folder.mkdir(parents=True, exist_ok=True)
    pictures = np.zeros((2, 16, 16)) if pictures is None else pictures
    for k, picture in enumerate(pictures, 1):
        image = Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8)).convert("RGB")
        image.resize(size or image.size).save(folder / f"{k:06d}.jpg", quality=quality)


def found(data):
    """Name of a copy -> name of what it copies, and how."""
    clips = [c for c in candidates(data) if c.sound]
    copies = search(clips, 1, False)
    note_copies(clips, copies)
    return {clips[c.clip].name: (clips[c.copy_of].name, c.how) for c in copies}


def test_twenty_copies_are_found_and_hundreds_of_pairs_are_none(tmp_path):
    """Tunes on one scale and beat, by few instruments, with themes that come again."""
    rng = np.random.default_rng(0)
    codes = [(44_100, 64_000), (22_050, 32_000), (11_025, 24_000), (11_025, 16_000)]
    shifts = {}
    for n in range(20):
        if n < 4:
            stem = make_music((("cello", "guitar")[n % 2],), rng)[0][0]
            sound = soxr.resample(stem, 44_100, RATE)
        else:
            sound = take(rng, score(rng), timbre=(0.7, 1, 1.5)[n % 3])
        write(tmp_path, f"a/{n:02}", sound)
        first = round(rng.uniform(0.5, 3.5) * RATE) * (n % 4 > 0)
        part = rng.uniform(0.05, 1) * sound[first : first + round(rng.uniform(4.5, 8) * RATE)]
        write(tmp_path, f"b/{n:02}", recoded(part, *codes[n // 4 % 4]))
        shifts[f"b/{n:02}"] = first / RATE
    copies = found(tmp_path)
    assert {b: a for b, (a, _) in copies.items()} == {f"b/{n:02}": f"a/{n:02}" for n in range(20)}
    for name, shift in shifts.items():
        told = copies[name][1].removeprefix("same sound, shifted by ").removesuffix(" s")
        # an mp3 begins up to 0.1 s late
        assert float("0" if told == "same sound" else told) == pytest.approx(shift, abs=0.2)


def test_other_takes_and_sounds_that_stand_still_are_no_copies(tmp_path):
    rng = np.random.default_rng(1)
    t = np.arange(round(SECONDS * RATE)) / RATE
    notes = score(rng)
    for n in range(3):  # one tune, one instrument, notes within 20 ms
        write(tmp_path, f"take/{n}", take(rng, notes, 1, late=0.02))
        # only pitch, room and noise in common
        write(tmp_path, f"drone/{n}", 0.3 * np.sin(2 * np.pi * 220 * t + n))
        chord = sum(0.1 * np.sin(2 * np.pi * hz * t + n) for hz in SCALE[[0, 2, 4]])
        write(tmp_path, f"chord/{n}", chord + 1e-3 * rng.standard_normal(len(t)))
        write(tmp_path, f"noise/{n}", 0.2 * rng.standard_normal(len(t)))
        write(tmp_path, f"hum/{n}", 0.3 * np.sin(2 * np.pi * 50 * t) + take(rng, score(rng), 1))
        write(tmp_path, f"silent/{n}", 0 * t)
        write(tmp_path, f"short/{n}", take(rng, notes, 1)[: RATE // 20])
    assert found(tmp_path) == {}
    # and a copy of noise is one
    (clip,) = (c for c in candidates(tmp_path) if c.name == "noise/1")
    write(tmp_path, "noise/9", recoded(soundfile.read(clip.sound)[0][RATE:], 11_025, 32_000))
    assert {b: a for b, (a, _) in found(tmp_path).items()} == {"noise/9": "noise/1"}


def test_the_same_sound_is_one_waveform():
    rng = np.random.default_rng(2)
    sound = take(rng, score(rng), 1)
    assert same_sound(sound, -0.1 * sound) and same_sound(sound, sound[500:])
    assert not same_sound(sound, sound[5 * RATE :])  # it begins much later: nothing was shifted
    assert not same_sound(sound[: 2 * RATE], sound[: 2 * RATE])  # too little to tell
    other = take(rng, score(rng), 1)
    assert not same_sound(sound, other) and not same_sound(sound, sound + 2 * other)
    half = np.concatenate([sound[: len(sound) // 3], other[len(sound) // 3 :]])
    assert not same_sound(sound, half)  # a jingle in common
    t = np.arange(5 * RATE) / RATE
    assert not same_sound(np.sin(440 * np.pi * t), np.sin(440 * np.pi * t))


def test_the_same_pictures_are_copies_under_other_sounds(tmp_path):
    """In other quality, size and light; not those that have only the room in common."""
    rng = np.random.default_rng(3)
    cover = 128 + 90 * np.sin(np.arange(80) / 5)[None] * np.cos(np.arange(60) / 8)[:, None]
    films = {n: moving(rng) for n in range(4)}

    def sound():
        return take(rng, score(rng), 1)

    for n, film in films.items():
        write(tmp_path, f"a/{n}", sound(), film)
    write(tmp_path, "b/moves", sound(), 0.8 * films[2] + 20, quality=40, size=(160, 120))
    write(tmp_path, "c/cover", sound(), [cover] * 9)
    write(tmp_path, "d/cover", sound(), [cover] * 11, quality=40, size=(120, 90))
    write(tmp_path, "d/other", sound(), [cover[:, ::-1]] * 9)
    for n in range(2):
        write(tmp_path, f"plain/{n}", sound(), [np.full((60, 80), 30)] * 9)
    same = {"b/moves": "a/2", "d/cover": "c/cover"}
    assert found(tmp_path) == {b: (a, "same pictures") for b, a in same.items()}
    for a, b in itertools.combinations(films.values(), 2):
        assert not same_pictures(a[::2], b[::2])


def test_a_check_tells_still_pictures_whatever_their_noise(tmp_path):
    rng = np.random.default_rng(4)
    cover, count = moving(rng)[0], 30
    noisy = cover + rng.normal(0, 2, (count, 60, 80))
    cursor = np.repeat(cover[None], count, axis=0)
    for k in range(count):
        cursor[k, 40:46, 2 * k : 2 * k + 6] = 250
    slides = np.repeat([cover, cover[::-1], cover[:, ::-1]], 10, axis=0)
    cover, noisy, cursor, slides = (
        np.kron(x, np.ones((4, 4))) for x in (cover, noisy, cursor, slides)
    )
    films = {"cover": noisy, "moves": cursor, "slides": slides, "half": [*noisy[:15], *cursor[:15]]}
    for n, film in films.items():
        write(
            tmp_path, f"a/{n}", take(rng, score(rng), 1), film, quality=50 if n == "cover" else 90
        )
    write(tmp_path, "silence/room", np.zeros(5 * RATE), noisy)
    problems = check(tmp_path, 1, jobs=1, progress=False)
    still = problems[problems.problem == "still"].set_index("clip").reason.to_dict()
    assert still.keys() == {"a/cover", "a/slides"}
    assert still["a/cover"] == "100% of its frames are as the one before"


@pytest.fixture
def world(tmp_path):
    """Eight clips; `cello/copy` is a part of `cello/3`, in another code."""
    rng = np.random.default_rng(5)
    data = tmp_path / "data"
    for n in range(7):
        sound = take(rng, score(rng), 1)
        write(data, f"cello/{n}", sound, moving(rng, 24))
        if n == 3:
            write(data, "cello/copy", recoded(sound[RATE:], 22_050, 32_000), moving(rng, 24))
    return data


def split_lists(data, train):
    """Two indexes, of these clips and of all others."""
    clips = read_index(build_index(data)["all"])
    parts = [[c for c in clips if (c.id in train) == first] for first in (True, False)]
    paths = [data / "mine" / name for name in ("train.csv", "test.csv")]
    for path, part in zip(paths, parts, strict=True):
        write_index(path, part)
    return paths


def test_a_check_names_copies_and_keeps_what_it_found(world, monkeypatch):
    problems = check(world, 1, jobs=1, progress=False)
    row = ["copy", "cello/copy", "a copy of cello/3 (same sound, shifted by 1.0 s)"]
    assert [[*r[:2], r[2].replace("0.9 s", "1.0 s")] for r in problems.values.tolist()] == [row]
    assert (world / COPIES).read_text() == "cello/copy,cello/3\n"
    # across lists it is a leak
    paths = split_lists(world, {"copy", "1", "2"})
    leak = check(paths, 1, jobs=1, progress=False)
    (row,) = leak.values.tolist()
    assert row[0] == "leak" and {row[1]} <= {"cello/copy", "cello/3"} and ".csv (same" in row[2]
    # fingerprints are made once, and again where a clip has changed
    made = []
    monkeypatch.setattr(
        fingerprints, "fingerprint", lambda c: made.append(c.name) or fingerprint(c)
    )
    assert check(world, 1, jobs=1, progress=False).equals(problems) and not made
    sound = world / "audio" / "cello" / "0.wav"
    soundfile.write(sound, 0.5 * soundfile.read(sound)[0][100:], RATE)
    check(world, 1, jobs=1, progress=False)
    assert made == ["cello/0"]
    for damage in (b"", b"PK torn", (world / "fingerprints.npz").read_bytes()[:-200]):
        (world / "fingerprints.npz").write_bytes(damage)
        made.clear()
        assert check(world, 1, jobs=1, progress=False).equals(problems) and len(made) == 8
    # without its original it is none, and the note says so no more
    sound.with_name("3.wav").unlink()
    found(world)
    assert (world / COPIES).read_text() == "cello/copy,cello/3\n"  # 3 was not looked at
    write(world, "cello/3", take(np.random.default_rng(9), score(np.random.default_rng(9)), 1))
    assert found(world) == {} and (world / COPIES).read_text() == ""


def test_an_index_keeps_copies_together(world, capsys, monkeypatch):
    monkeypatch.setattr(joblib, "cpu_count", lambda: 1)
    with warnings.catch_warnings(action="ignore"):
        assert main(["index", str(world), "--copies", "together"]) == 0
        assert "copies: 1 clip(s)" in capsys.readouterr().out
        for seed in range(8):  # the note is followed, without a search
            paths = build_index(world, world / "mine", 0, 0.3, 0.3, seed)
            lists = ({c.id for c in read_index(paths[n])} for n in ("train", "val", "test"))
            assert [{"3", "copy"} & part for part in lists].count({"3", "copy"}) == 1


def test_copies_are_dropped_from_the_earlier_of_the_lists_that_are_there(
    world, capsys, monkeypatch
):
    monkeypatch.setattr(joblib, "cpu_count", lambda: 1)
    train, test = split_lists(world, {"copy", "1", "2"})
    before = test.read_bytes()
    assert main(["index", str(train), str(test), "--copies", "drop"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[:2] == [f"{train}: 1 clip(s) left out", "  cello/copy"] and "0 clip" in told[2]
    assert [c.id for c in read_index(train)] == ["1", "2"] and test.read_bytes() == before
    assert main(["index", str(train), str(test), "--check", "--window", "1"]) == 0
    assert "leak: 0 clip(s)\ncopy: 0 clip(s)" in capsys.readouterr().out
    write_index(train, [c for c in read_index(world / "all.csv") if c.id == "copy"])
    alone = train.read_bytes()
    with pytest.raises(SopError, match="train.csv: it has nothing but copies"):
        drop_copies([train, test], progress=False)
    assert train.read_bytes() == alone


def test_what_the_command_line_refuses(world, capsys):
    for words, told in (
        ([str(world), "--copies", "drop"], "expected index files"),
        ([str(world), "one", "two"], "one two: expected one name"),
    ):
        assert main(["index", *words]) == 2
        assert told in capsys.readouterr().err


def test_a_copy_of_what_was_trained_on_is_a_leak(world, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "clips.csv").write_text("train,cello/copy,copy\nval,cello/1,1\n")
    clips = {c.id: c for c in read_index(build_index(world)["all"])}
    mixtures = [(Part(clips["0"], 0), Part(clips["2"], 0)), (Part(clips["3"], 0),)]
    assert evaluate.leaks(run, mixtures) == []
    whole = candidates(world)
    note_copies(whole, search(whole, 1, False))
    assert evaluate.leaks(run, mixtures) == [("row 2", "cello/3")]
    assert evaluate.leaks(run, [], [clips["3"]]) == [("duet 1", "cello/3")]
    assert evaluate.leaks(run, mixtures, split="val") == []


def test_work_grows_as_the_number_of_clips_does():
    """A thousand copies of one sound, and a number that is in all sounds: no clip meets all."""
    rng = np.random.default_rng(6)
    alike = rng.integers(0, 2**30, 40, dtype=np.uint32)
    one = Fingerprint(alike, np.arange(0, 120, 3, np.uint32), hashes(PLAIN), 0.0)
    pairs = propose([one] * 1_000)
    assert len(pairs) <= NEXT * 1_000
    groups = Groups(pairs)
    assert len({groups.of(n) for n in range(1_000)}) == 1
    assert likely_shifts(one, one)[0] == 0


def test_a_shift_is_found_among_chance():
    rng = np.random.default_rng(7)

    def chance(n):
        times = np.sort(rng.integers(0, 5_000, n, dtype=np.uint32))
        return Fingerprint(rng.integers(0, 2**14, n, dtype=np.uint32), times, hashes(PLAIN), 0.0)

    prints = [chance(400) for _ in range(50)]
    taken = prints[7].times >= 1_000
    late = prints[7].times[taken] - np.uint32(1_000) + rng.integers(0, 2, taken.sum(), np.uint32)
    prints.append(prints[7]._replace(landmarks=prints[7].landmarks[taken], times=late))
    assert (7, 50) in propose(prints) and len(propose(prints)) < 5
    assert abs(likely_shifts(prints[7], prints[50])[0] - 1_000) <= 1


def test_a_note_of_copies_survives_hostile_names(tmp_path):
    for name in ("a/=1+1", "a/b\nc"):
        write(tmp_path, name, np.zeros(100))
    clips = candidates(tmp_path)
    note_copies(clips, [Copy(1, 0, "")])
    groups = read_copies(tmp_path)
    assert groups.of(clips[0].name) == groups.of(clips[1].name)
    assert not any(line.startswith("=") for line in (tmp_path / COPIES).read_text().splitlines())
    (tmp_path / COPIES).write_text("a/b,a/c\ntorn\n")
    with pytest.raises(SopError, match=r"copies.csv row 2: 'torn', expected label/id,label/id"):
        read_copies(tmp_path)


def test_one_file_in_two_lists_is_found_though_a_tone_has_no_landmarks(tmp_path):
    for name in ("tone", "other"):
        write(tmp_path, f"cello/{name}", 0.5 * np.sin(2 * np.pi * 440 * np.arange(66_150) / RATE))
    clips = read_index(build_index(tmp_path)["all"])
    same = next(clip for clip in clips if clip.id == "tone")
    write_index(tmp_path / "train.csv", clips)
    write_index(tmp_path / "test.csv", [same])
    lists = [tmp_path / "train.csv", tmp_path / "test.csv"]
    problems = check(lists, 1, jobs=1, progress=False)
    leaks = problems[problems.problem == "leak"]
    assert leaks["clip"].tolist() == ["cello/tone"] and "the same file" in leaks.reason.iloc[0]
    assert drop_copies(lists, progress=False)[lists[0]] == ["cello/tone"]
    assert [clip.id for clip in read_index(lists[0])] == ["other"]


def test_a_sound_without_a_sample_has_no_landmarks(tmp_path):
    write(tmp_path, "cello/empty", np.zeros(0))
    (clip,) = candidates(tmp_path)
    assert len(fingerprint(clip).landmarks) == 0


def test_what_was_made_before_a_stop_is_kept(world, monkeypatch):
    calls = []

    def stopped(clip):
        calls.append(clip.name)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return fingerprint(clip)

    (world / "fingerprints.npz").unlink(missing_ok=True)
    monkeypatch.setattr(fingerprints, "fingerprint", stopped)
    with pytest.raises(KeyboardInterrupt):
        check(world, 1, jobs=1, progress=False)
    assert len(fingerprints.load(world)) == 3
    check(world, 1, jobs=1, progress=False)
    assert len(calls) == 4 + 5


def test_composed_clips_of_two_splits_are_no_copies_in_silence(tmp_path):
    clips = [Clip(f"audio/x/{k}.wav", f"frames/x/{k}.mp4", 9) for k in range(3)]
    composed = {"x/0": Made("train"), "x/1": Made("test"), "x/2": Made("train")}
    with pytest.raises(SopError, match=r"x/0 \(train\) and x/1 \(test\) are copies"):
        split(clips, composed=composed, copies=Groups([("x/0", "x/1")]))


@pytest.mark.parametrize(
    ("more", "message"),
    [(["--check"], "--check changes no list"), (["--out", "new"], "leave --out out")],
)
def test_options_that_contradict_dropping_are_refused(tmp_path, capsys, more, message):
    (tmp_path / "train.csv").write_text("a,b,1\n")
    words = ["index", str(tmp_path / "train.csv"), "--copies", "drop"]
    assert main([*words, *more]) == 2
    assert message in capsys.readouterr().err
