"""The toy orchestra: what is in the files, whether the truth is true, and whether the task is the one we want."""

import itertools
import json
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import av
import librosa
import numpy as np
import pytest
import soundfile
from PIL import Image, ImageChops

from sop_core import orchestra
from sop_core.errors import SopError
from sop_core.orchestra import FPS, INSTRUMENTS, RATE, TABLE

SEED = 7


def decode(path):
    """Independent of the writer: all frames (V, 240, 320, 3), the sound (L,), and what the file says of itself."""
    with av.open(str(path)) as f:
        v, a = f.streams.video[0], f.streams.audio[0]
        about = SimpleNamespace(
            video=v.codec_context.name, audio=a.codec_context.name, format=v.codec_context.pix_fmt, rate=a.rate,
            fps=v.average_rate, size=(v.width, v.height), channels=a.codec_context.channels, seconds=f.duration / 1e6,
        )  # fmt: skip
        frames = np.stack([x.to_ndarray(format="rgb24") for x in f.decode(v)])
        f.seek(0)
        sound = np.concatenate([x.to_ndarray()[0] for x in f.decode(a)])
    return frames, sound, about


def files(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def assert_same_clips(folder, other, videos):
    """Truth and stems byte for byte; videos as decoded, since one encode in some hundreds differs in a few bytes."""
    again, first = files(folder), files(other)
    assert sum(name.endswith(".mp4") for name in again) == videos
    for name in set(again) - {"orchestra.json"}:  # that one tells the counts
        if name.endswith(".mp4") and again[name] != first[name]:
            (frames, sound, _), (frames2, sound2, _) = decode(folder / name), decode(other / name)
            assert frames.shape == frames2.shape and np.abs(frames[::20].astype(int) - frames2[::20]).mean() < 0.5
            assert sound.shape == sound2.shape and np.corrcoef(sound, sound2)[0, 1] > 0.999
        elif not name.endswith(".mp4"):
            assert again[name] == first[name], name


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Two solos, a duet and an empty stage."""
    out = tmp_path_factory.mktemp("small")
    assert orchestra.render(out, 2, 1, 1, SEED, jobs=1, progress=False) == out / "videos"
    return out


@pytest.fixture(scope="module")
def duet(small):
    """The truth of its duet, with the decoded file and the stems."""
    truth = json.loads((small / "truth" / "duet_000.json").read_text())
    stems = [soundfile.read(small / "truth" / s["stem"])[0] for s in truth["sources"]]
    return SimpleNamespace(truth=truth, stems=np.stack(stems), decoded=decode(small / truth["video"]))


@pytest.fixture(scope="module")
def clip():
    """A duet in memory."""
    return orchestra.play(("cello", "xylophone"), np.random.default_rng(4))


@pytest.fixture(scope="module")
def sounds():
    """{label: 3 sounds of unlike seeds}, and the pitches played in them."""
    stems, pitches = {}, {}
    for i, label in enumerate(INSTRUMENTS):
        music = [orchestra.make_music((label,), np.random.default_rng([i, j])) for j in range(3)]
        stems[label] = [s[0] for s, _ in music]
        pitches[label] = [melodies[0].midi for _, melodies in music]
    return stems, pitches


# ---------------------------------------------------------------------------------------------------------- files


def test_six_single_words_in_order():
    assert len(set(INSTRUMENTS)) == 6 and list(INSTRUMENTS) == sorted(INSTRUMENTS)
    assert all(a.isalpha() and TABLE[a].draw.__name__ == a for a in INSTRUMENTS)


def test_files_lie_where_they_should(small):
    a, b = (s["label"] for s in json.loads((small / "truth/duet_000.json").read_text())["sources"])
    assert a < b
    assert set(files(small)) == {
        "orchestra.json", "truth/accordion_000.json", "truth/cello_001.json",
        "truth/duet_000.json", "truth/duet_000_0.flac", "truth/duet_000_1.flac",
        "videos/accordion/accordion_000.mp4", "videos/cello/cello_001.mp4", f"videos/{a} {b}/duet_000.mp4",
        "truth/silence_000.json", "videos/silence/silence_000.mp4",
    }  # fmt: skip
    assert json.loads((small / "orchestra.json").read_text()) == {
        "version": orchestra.VERSION, "seed": SEED, "n_solos": 2, "n_duets": 1, "n_empty": 1}  # fmt: skip


def test_an_empty_stage_is_silent_and_empty(small):
    frames, sound, _ = decode(small / "videos/silence/silence_000.mp4")
    assert json.loads((small / "truth/silence_000.json").read_text())["sources"] == []
    assert np.abs(sound).max() < 1e-3
    takes = np.array_split(frames[:: orchestra.STILL].astype(int), orchestra.TAKES)
    assert all(np.abs(take[2:-2] - take[2]).max() < 24 for take in takes)  # nobody moves: coding noise alone
    assert np.abs(takes[0][2] - takes[1][2]).mean() > 10  # another stage


def test_video_is_what_it_should_be(duet):
    frames, sound, about = duet.decoded
    assert (about.video, about.audio, about.format) == ("h264", "aac", "yuv420p")
    assert (about.rate, about.channels, about.fps, about.size) == (44_100, 1, 25, (320, 240))
    assert 10 <= about.seconds <= 12.1 and abs(about.seconds - duet.truth["duration"]) < 0.06
    assert len(frames) == round(duet.truth["duration"] * 25)
    assert abs(len(sound) - duet.truth["duration"] * 44_100) <= 2048


def test_pictures_in_the_file_are_those_in_memory(small, duet):
    labels = tuple(s["label"] for s in duet.truth["sources"])
    played = orchestra.play(labels, np.random.default_rng([SEED, 2, 0]))
    memory, file = np.stack(list(played.frames())), duet.decoded[0]
    assert memory.shape == file.shape and memory.dtype == np.uint8
    x0, y0, x1, y1 = played.boxes[0]
    memory, file = memory[:, y0:y1, x0:x1].astype(np.int16), file[:, y0:y1, x0:x1]
    assert np.abs(memory - file).mean() < 8  # yuv420p and h264
    assert np.abs(memory[8:] - file[:-8]).mean() > 1.3 * np.abs(memory - file).mean()  # a third of a second late shows


def test_truth_of_a_solo(small):
    truth = json.loads((small / "truth/cello_001.json").read_text())
    assert list(truth) == ["id", "video", "duration", "fps", "frame_size", "sample_rate", "sources"]
    assert (truth["id"], truth["video"], truth["frame_size"]) == ("cello_001", "videos/cello/cello_001.mp4", [320, 240])
    assert (truth["fps"], truth["sample_rate"]) == (25, 44_100)
    (source,) = truth["sources"]
    assert list(source) == ["index", "label", "box_xyxy", "stem", "loudness"]
    assert (source["index"], source["label"], source["stem"]) == (0, "cello", None)


def test_same_seed_same_clips_at_any_number_of_jobs(small, tmp_path):
    orchestra.render(tmp_path, 2, 0, 0, SEED, jobs=2, progress=False)
    assert_same_clips(tmp_path, small, videos=2)


def test_clip_does_not_depend_on_the_others(small, tmp_path):
    labels = tuple(s["label"] for s in json.loads((small / "truth/duet_000.json").read_text())["sources"])
    path = orchestra.render_clip(tmp_path, labels[::-1], 0, SEED)
    assert path.parent.name == " ".join(labels)
    assert_same_clips(tmp_path, small, videos=1)


def test_another_seed_is_another_clip():
    one, two = (
        orchestra.make_music(("cello",), np.random.default_rng([s, 1, 1]))[1][0].onset for s in (SEED, SEED + 1)
    )
    assert len(one) != len(two) or not np.allclose(one, two)


def test_resume_keeps_what_is_there_and_adds(small, tmp_path, monkeypatch):
    before = files(small)
    monkeypatch.setattr(orchestra, "play", lambda *a: pytest.fail("rendered again"))
    orchestra.render(small, 2, 1, 1, SEED, jobs=1, progress=False)
    orchestra.render(small, 1, 0, 0, SEED, jobs=1, progress=False)  # fewer: nothing is forgotten
    assert files(small) == before
    asked = []
    monkeypatch.setattr(orchestra, "render_clip", lambda out, labels, k, seed: asked.append((labels, k)))
    orchestra.render(tmp_path, 19, 12, 0, SEED, jobs=1, progress=False)
    orchestra.render(tmp_path, 24, 12, 0, SEED, jobs=1, progress=False)
    assert json.loads((tmp_path / "orchestra.json").read_text())["n_solos"] == 24
    assert asked[31 : 31 + 19] == asked[:19]
    assert set(Counter(labels for labels, _ in asked[31 : 31 + 24]).values()) == {4}  # balanced


def test_what_breaks_leaves_nothing_behind(tmp_path, monkeypatch):
    def broken(path, *_):
        path.write_bytes(b"half a video")
        raise KeyboardInterrupt

    fake = SimpleNamespace(pictures=lambda: [], stems=np.zeros((1, 9)), labels=("trumpet",))
    monkeypatch.setattr(orchestra, "play", lambda *a: fake)
    monkeypatch.setattr(orchestra, "write_video", broken)
    with pytest.raises(KeyboardInterrupt):
        orchestra.render_clip(tmp_path, ("trumpet",), 0, SEED)
    assert files(tmp_path) == {}


def test_another_seed_or_version_is_refused(small, tmp_path):
    with pytest.raises(SopError, match=r"seed 7, version .* seed 8, .*choose another folder or delete"):
        orchestra.render(small, 2, 1, 1, SEED + 1, progress=False)
    (tmp_path / "orchestra.json").write_text('{"version": -3, "seed": 0, "n_solos": 1, "n_duets": 1}')
    with pytest.raises(SopError, match="version -3"):
        orchestra.render(tmp_path, 1, 0, 0, 0, progress=False)
    (tmp_path / "orchestra.json").write_text("[]x")
    with pytest.raises(SopError, match="orchestra.json"):
        orchestra.render(tmp_path, 1, 0, 0, 0, progress=False)


@pytest.mark.parametrize("bad", [{"n_solos": -1}, {"n_duets": -2}, {"n_empty": -1}, {"seed": -1}])
def test_negative_numbers_are_refused(tmp_path, bad):
    with pytest.raises(SopError, match=f"{list(bad)[0]}={list(bad.values())[0]}"):
        orchestra.render(tmp_path, **{"n_solos": 0, "n_duets": 0, **bad})


def test_unwritable_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SopError, match="file"):
        orchestra.render(tmp_path / "file" / "out", 1, 0)


@pytest.mark.parametrize("labels", [("violin",), ("trumpet", "trumpet"), ("cello", "trumpet", "flute", "guitar")])
def test_bad_labels_are_refused(labels):
    with pytest.raises(SopError, match="accordion"):
        orchestra.play(labels, np.random.default_rng(0))


def test_duets_are_varied():
    twelve, all_pairs = orchestra.pairs(12, SEED), orchestra.pairs(15, SEED)
    assert set(Counter(itertools.chain(*twelve)).values()) == {4} and len(set(twelve)) == 12
    assert set(all_pairs) == set(itertools.combinations(INSTRUMENTS, 2))
    assert orchestra.pairs(12, SEED + 1) != twelve and orchestra.pairs(40, SEED)[:15] == all_pairs


# ---------------------------------------------------------------------------------------------------------- sound


def test_stems_add_up_to_the_sound_of_the_file(duet):
    mix, sound = duet.stems.sum(0), duet.decoded[1]
    assert len(mix) == round(duet.truth["duration"] * RATE)
    n = min(len(mix), len(sound))
    lags = np.fft.irfft(np.fft.rfft(sound[:n], 2 * n) * np.conj(np.fft.rfft(mix[:n], 2 * n)))
    lag = int(lags.argmax())
    lag = lag - 2 * n if lag > n else lag
    assert abs(lag) <= 2048  # no more than the codec's own delay
    a, b = sound[max(lag, 0) : n], mix[max(-lag, 0) : n]
    m = min(len(a), len(b))
    assert np.corrcoef(a[:m], b[:m])[0, 1] > 0.98
    assert np.corrcoef(a[:m], duet.stems[0][max(-lag, 0) :][:m])[0, 1] < 0.95  # neither is there alone


def test_flac_stems_are_the_stems_in_memory(duet):
    labels = tuple(s["label"] for s in duet.truth["sources"])
    stems, _ = orchestra.make_music(labels, np.random.default_rng([SEED, 2, 0]))
    assert stems.dtype == np.float32 and np.array_equal(stems, duet.stems)


def test_levels(sounds, duet, clip):
    for stem in [*itertools.chain(*sounds[0].values()), *duet.stems, *clip.stems]:
        assert 0.299 < np.abs(stem).max() < 0.701
    for stems in (duet.stems, clip.stems):
        assert np.abs(stems.sum(0)).max() < 1
    mean = {a: np.mean([np.sqrt((s**2).mean()) for s in many]) for a, many in sounds[0].items()}
    assert max(mean.values()) < 3 * min(mean.values())  # nobody drowns the others


def test_loudness_is_the_rms_of_the_stem(duet):
    for stem, source in zip(duet.stems, duet.truth["sources"], strict=True):
        expected = [np.sqrt(np.mean(stem[i : i + 1764] ** 2)) for i in range(0, len(stem), 1764)]
        np.testing.assert_allclose(source["loudness"], expected, atol=6e-5)
        assert np.std(expected) > 0.3 * np.mean(expected)  # it varies, so the line above says something
    assert len(source["loudness"]) == len(duet.decoded[0])


def test_ranges_overlap_by_an_octave(sounds):
    for a, b in itertools.combinations(TABLE.values(), 2):
        assert min(a.high, b.high) - max(a.low, b.low) >= 12
    for label, melodies in sounds[1].items():
        played = np.concatenate(melodies)
        assert TABLE[label].low <= played.min() and played.max() <= TABLE[label].high
        assert len(np.unique(played)) > 6 and min(len(m) for m in melodies) >= 6  # melodies, not drones


@pytest.mark.parametrize("label", INSTRUMENTS)
def test_notes_are_in_tune(label):
    for hz in (220.0, 523.25):
        note = TABLE[label].note(hz, 0.6, 0.7, 0.0, np.random.default_rng(0))[4_000:16_000]
        spectrum = np.abs(np.fft.rfft(note * np.hanning(len(note)), 1 << 18))
        near = np.arange(int(hz * 0.93 / RATE * (1 << 18)), int(hz * 1.07 / RATE * (1 << 18)))
        peak = near[spectrum[near].argmax()] * RATE / (1 << 18)
        assert abs(1200 * np.log2(peak / hz)) < 30  # cents: the accordion's two reeds beat
        assert spectrum[near].max() > 0.1 * spectrum.max()  # and it is a note of that pitch


def test_timbre_tells_them_apart_and_pitch_does_not(sounds):
    """Nearest centroid of the other clips, each clip in turn: by MFCCs where it sounds, then by mean pitch."""

    def mfcc(sound):
        frames = librosa.feature.mfcc(y=sound, sr=RATE, n_mfcc=20, fmax=5_512, hop_length=2048)
        loud = frames[1:, frames[0] > np.median(frames[0])]
        return np.r_[loud.mean(1), loud.std(1)]

    def score(features):  # (6, 3, D)
        hits = 0
        for i, j in np.ndindex(6, 3):
            seen = np.ones((6, 3, 1))
            seen[i, j] = 0
            centres = (features * seen).sum(1) / seen.sum(1)
            hits += (((centres - features[i, j]) / features.std((0, 1))) ** 2).sum(-1).argmin() == i
        return hits / 18

    assert score(np.array([[mfcc(s) for s in sounds[0][a]] for a in INSTRUMENTS])) >= 0.6  # chance: 0.17
    assert score(np.array([[[m.mean()] for m in sounds[1][a]] for a in INSTRUMENTS])) <= 0.5


# -------------------------------------------------------------------------------------------------------- picture


def test_all_that_moves_is_in_the_boxes(clip):
    pictures = np.stack(list(clip.pictures())).astype(int)  # (V / 2, 240, 320, 3)
    empty = np.asarray(ImageChops.multiply(clip.takes[0].background, clip.takes[0].light)).astype(int)
    drawn = (pictures != empty).any((0, 3))
    moving = (pictures != pictures[0]).any((0, 3))
    inside = np.zeros((240, 320), bool)
    for x0, y0, x1, y1 in clip.boxes:
        inside[y0:y1, x0:x1] = True
        box = drawn[y0:y1, x0:x1]
        edges = (box[:2], box[-2:], box[:, :2], box[:, -2:])
        assert all(edge.any() for edge in edges)  # the boxes are tight
        assert moving[y0:y1, x0:x1].mean() > 0.1
    assert not drawn[~inside].any() and not moving[~inside].any()


def test_all_that_moves_in_the_file_is_in_the_boxes(duet):
    change = duet.decoded[0][::5].astype(float).std(0).mean(-1)  # (240, 320)
    inside = np.zeros((240, 320), bool)
    for x0, y0, x1, y1 in (s["box_xyxy"] for s in duet.truth["sources"]):
        assert change[y0:y1, x0:x1].mean() > 3
        inside[max(y0 - 8, 0) : y1 + 8, max(x0 - 8, 0) : x1 + 8] = True  # what h264 smears
    assert change[~inside].max() < 8 and change[~inside].mean() < 0.5


def test_boxes_belong_to_their_labels(clip):
    with_both = next(clip.pictures()).astype(int)
    take = clip.takes[0]
    gone = replace(take, figures=[take.figures[0], _invisible(take.figures[1])])
    ys, xs = np.nonzero((next(gone.pictures()).astype(int) != with_both).any(-1))
    x0, y0, x1, y1 = clip.boxes[1]
    assert x0 <= xs.min() and xs.max() < x1 and y0 <= ys.min() and ys.max() < y1


def _invisible(figure):
    return orchestra.Sprites([Image.new("RGBA", i.size) for i in figure.images], figure.corners)


@pytest.mark.parametrize("label", INSTRUMENTS)
def test_players_move_when_they_play(label):
    """There is more motion from pose to pose in the middle of a sound than in a rest."""
    rng = np.random.default_rng(3)
    stems, melodies = orchestra.make_music((label,), rng)
    loud = orchestra.loudness(stems)
    moves = list(orchestra.poses(TABLE[label], melodies[0], loud))
    assert len(moves) * 2 == loud.shape[1]
    level = np.array([p.loud for p in moves])
    assert np.corrcoef(level, loud[0].reshape(-1, 2).mean(1))[0, 1] > 0.9
    look = orchestra.stage.Look.draw(rng, 0.5)

    def picture(p):
        image, (x, y) = orchestra.stage.figure(TABLE[label].draw, look, p, 100, 0, False)
        canvas = Image.new("RGBA", (260, 260))
        canvas.paste(image, (130 + x, 220 + y))
        return np.asarray(canvas).astype(int)

    def motion(i):
        return np.abs(picture(moves[i]) - picture(moves[i + 1])).mean()

    around = np.array([level[max(i - 2, 0) : i + 4].max() for i in range(len(level) - 1)])
    resting, sounding = np.flatnonzero(around < 0.15), np.flatnonzero(level[:-1] > 0.4)
    assert len(resting) >= 4 and len(sounding) >= 8
    still = np.mean([motion(i) for i in resting[:12]])
    assert np.mean([motion(i) for i in sounding[:12]]) > 1.2 * still


def test_every_pair_fits(clip):
    """Two figures of any kind stand apart and wholly in the picture, at many places and in both orders."""
    orders, tall = set(), []
    for a, b in itertools.combinations(INSTRUMENTS, 2):
        rng = np.random.default_rng(INSTRUMENTS.index(a) * 8 + INSTRUMENTS.index(b))
        melody = orchestra.Melody(np.array([0.1, 0.3]), np.array([0.1, 0.2]), np.array([60.0, 72.0]), np.ones(2))
        figures = orchestra.draw_figures((a, b), [melody] * 2, np.array([[0.1, 0.1, 1, 1]] * 2), slice(None), rng)
        for _ in range(20):
            feet = orchestra.place(figures, rng)
            (a0, b0, a1, b1), (c0, d0, c1, d1) = (f.box() + np.r_[p, p] for f, p in zip(figures, feet, strict=True))
            assert a1 <= c0 or c1 <= a0
            assert min(a0, b0, c0, d0) >= 0 and max(a1, c1) <= 320 and max(b1, d1) <= 240
            orders.add(a1 <= c0)
        tall += [b1 - b0, d1 - d0]
    assert orders == {True, False}
    assert min(tall) > 65 and max(tall) < 180


def test_a_solo_is_cut_together_from_takes_and_a_duet_is_one():
    """Between takes the whole picture changes, within one only the player does: counted from the pictures alone."""
    for labels, expected in ((("cello",), orchestra.TAKES), (("cello", "flute"), 1)):
        pictures = np.stack(list(orchestra.play(labels, np.random.default_rng(5)).pictures())).astype(int)
        changed = (pictures[1:] != pictures[:-1]).any(-1).mean((1, 2))  # share of the pixels
        assert 1 + (changed > 0.5).sum() == expected
        assert np.median(changed) < 0.2


def test_duet_boxes_lie_apart_in_the_picture(duet, clip):
    for boxes in ([s["box_xyxy"] for s in duet.truth["sources"]], clip.boxes.tolist()):
        (a0, b0, a1, b1), (c0, d0, c1, d1) = boxes
        assert a1 <= c0 or c1 <= a0
        assert min(a0, b0, c0, d0) >= 0 and max(a1, c1) <= 320 and max(b1, d1) <= 240


def test_clip_lasts_a_whole_number_of_frames(clip):
    assert clip.stems.shape == (2, round(clip.duration * FPS) * RATE // FPS)
    assert 10 <= clip.duration <= 12 and clip.loudness.shape == (2, round(clip.duration * FPS))
    assert sum(1 for _ in clip.frames()) == round(clip.duration * FPS)
