"""Mixtures: seeded, never a video with itself, exactly the window that was asked for; manifests there and back."""

import hashlib
import json
import multiprocessing
import os
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image
from tiny import TINY, write_clip
from torch.utils.data import DataLoader

from sop_core import mixing
from sop_core.config import SILENCE
from sop_core.errors import SopError
from sop_core.index import Clip
from sop_core.mixing import Training
from sop_core.nets import SoundOfPixels
from sop_core.scene import Scene


def test_sounds_are_the_windows_of_the_clips(tiny_clips):
    pairs = mixing.draw_pairs(tiny_clips, 4, TINY)
    for pair, item in zip(pairs, mixing.Listed(pairs, TINY), strict=True):
        assert item["sounds"].shape == (2, TINY.samples)
        assert item["frames"].shape == (2, TINY.frames, 3, TINY.image, TINY.image)
        assert item["frames"].dtype == torch.uint8
        for part, sound in zip(pair, item["sounds"], strict=True):
            whole, _ = soundfile.read(part.clip.sound, dtype="float32")
            np.testing.assert_array_equal(sound, whole[part.start : part.start + TINY.samples])


def test_frames_stand_round_the_middle_of_the_window():
    config = TINY.override({"frames": "3", "stride": "8"})  # one second apart at 8 fps
    start = int(2.05 * config.rate) - config.samples // 2  # the window's middle is at second 2.05
    assert mixing.frame_indices(start, 100, config).tolist() == [
        8,
        16,
        24,
    ]  # frame k (from 0) stands for k / 8 to (k + 1) / 8 s
    assert mixing.frame_indices(0, 5, config).tolist() == [0, 2, 4]  # kept within a short clip


def test_trainings_windows_may_be_shorter_than_an_evaluations(tiny_clips):
    config = replace(TINY, samples=16_383, train_samples=8_191, gain=1.0).check()
    data, fps = Training(tiny_clips, config), config.fps
    for i in range(8):
        item, mixture = data[i], data.draw(i).mixture
        for part, sound in zip(mixture, item["sounds"], strict=True):
            whole, rate = soundfile.read(part.clip.sound, dtype="float32")
            np.testing.assert_array_equal(sound, whole[part.start : part.start + 8_191])
        middle = int((mixture[0].start / rate + 8_191 / rate / 2) * fps)
        assert mixing.frame_indices(mixture[0].start, 100, data.config).tolist() == [middle]
    starts = [part.start for i in range(40) for part in data.draw(i).mixture]
    assert max(starts) > len(whole) - 16_383  # they reach the end of a clip
    assert mixing.Listed(mixing.draw_pairs(tiny_clips, 1, config), config)[0]["sounds"].shape == (2, 16_383)
    with pytest.raises(SopError, match="T=20 .5,000 samples // hop . 1. must be multiples of 32"):
        replace(config, train_samples=5_000).check()


def test_training_mixtures_are_the_same_at_any_number_of_workers(tiny_clips):
    data = mixing.Training(tiny_clips, TINY)
    alone = [data[i] for i in range(8)]
    for i, item in enumerate(DataLoader(data, batch_size=None, num_workers=2)):
        if i < 8:
            assert torch.equal(item["sounds"], alone[i]["sounds"])
            assert torch.equal(item["frames"], alone[i]["frames"])
    other = mixing.Training(tiny_clips, TINY.override({"seed": "1"}))
    assert not torch.equal(other[0]["sounds"], alone[0]["sounds"])


def test_workers_may_be_spawned_where_a_system_does_not_fork(tiny_clips):
    data = mixing.Training(tiny_clips, TINY)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        item = pool.apply(data.__getitem__, (3,))
    assert torch.equal(item["sounds"], data[3]["sounds"]) and torch.equal(item["light"], data[3]["light"])


def test_light_multiplies_colours_and_ends_at_white():
    frames = torch.full((1, 2, 1, 3, 4, 5), 100, dtype=torch.uint8)
    light = torch.tensor([[[1.0, 0.5, 2.0], [3.0, 1.0, 0.0]]])
    assert mixing.lit(frames, light)[0, :, 0, :, 2, 3].tolist() == [[100, 50, 200], [255, 100, 0]]


def test_broken_files_are_skipped_named_and_counted_but_never_silence(tmp_path):
    clips = [write_clip(tmp_path, label, n) for n in range(6) for label in ("red", "blue")]
    for k in range(clips[0].n_frames):
        (clips[0].frames / f"{k + 1:06d}.jpg").write_bytes(b"no picture")
    data = clips[1].sound.read_bytes()
    clips[1].sound.write_bytes(data[: len(data) // 3])  # its header still promises 3 s
    (clips[2].sound).write_bytes(b"")
    with pytest.warns(UserWarning, match=r"red_1\.flac: empty .*; left out"):
        training = mixing.Training(clips, TINY)
    assert not any(part.clip == clips[2] for i in range(30) for part in training.draw(i)[0])
    items = [training[i] for i in range(16)]
    skipped = {line for item in items for line in item["skipped"].split("\n") if line}
    assert any("red_0.mp4: no frame 000001.jpg that can be read" in line for line in skipped)
    assert any("blue_0.flac: " in line for line in skipped)
    assert all(item["sounds"].abs().amax(1).min() > 0.01 for item in items)
    assert [item["skipped"] for item in items] == [
        mixing.Training(clips[:2] + clips[3:], TINY)[i]["skipped"] for i in range(16)
    ]
    with pytest.raises(SopError, match="not a (picture|sound file)"):  # an evaluation's mixtures are what they are
        mixing.Listed([(mixing.Part(clips[0], 0), mixing.Part(clips[1], 20_000))], TINY)[0]
    for clip in clips[3:]:
        clip.sound.write_bytes(b"")
    with pytest.raises(SopError, match="10 mixtures in a row could not be read; the last: "):
        training[0]


def test_training_goes_through_all_clips_and_changes_what_it_shows(tiny_clips):
    data = mixing.Training(tiny_clips, TINY)
    firsts = [data.draw(i)[0][0].clip.name for i in range(len(tiny_clips))]
    assert sorted(firsts) == sorted(c.name for c in tiny_clips)
    again = next(i for i in range(6, 12) if data.draw(i)[0][0].clip.name == firsts[0])
    assert not torch.equal(data[0]["frames"][0], data[again]["frames"][0])  # cropped and lit anew


def test_a_share_of_trainings_mixtures_has_one_silent_scene_and_an_evaluation_none(tiny_clips, empty_rooms):
    clips = [*empty_rooms, *tiny_clips]
    data = mixing.Training(clips, TINY.override({"silence": "0.25", "epoch_size": "400"}))
    silent = [[part.clip.label == SILENCE for part in data.draw(i)[0]] for i in range(400)]
    assert not any(first for first, _ in silent)
    assert 0.2 < np.mean([last for _, last in silent]) < 0.3
    assert not any(p.clip.label == SILENCE for pair in mixing.draw_pairs(clips, 50, TINY) for p in pair)
    with pytest.raises(SopError, match="1 video.s. that sound"):
        mixing.Training([*empty_rooms, tiny_clips[0]], TINY)


def test_no_video_is_mixed_with_itself_and_labels_differ_when_asked(tiny_clips):
    for pair in mixing.draw_pairs(tiny_clips, 50, TINY):
        assert pair[0].clip.video != pair[1].clip.video
    pairs = mixing.draw_pairs(tiny_clips, 50, TINY, labels="different")
    assert all(pair[0].clip.label != pair[1].clip.label for pair in pairs)
    assert len({pair[0].clip.name for pair in pairs}) == len(tiny_clips)


def test_a_clip_that_nothing_can_be_mixed_with_says_so(tmp_path, tiny_clips):
    alone = [write_clip(tmp_path, label, 0) for label in ("red", "blue")]
    section = [Clip(c.sound.rename(c.sound.with_name(f"part_{n}.flac")), c.frames, c.n_frames, "one")
               for n, c in enumerate(alone)]  # fmt: skip
    other = write_clip(tmp_path, "red", 5)
    with pytest.raises(SopError, match="part_0: no clip of another video and another label"):
        mixing.draw_pairs([section[0], section[1], other], 3, TINY, labels="different")
    many = [section[0], *[Clip(c.sound, c.frames, c.n_frames, c.video) for c in section[1:] * 400], tiny_clips[1]]
    assert mixing.draw_pairs(many, 1, TINY)  # the one that fits is found among the many that don't


def test_three_sources(tiny_clips):
    config = TINY.override({"sources": "3"})
    pair = mixing.draw_pairs(tiny_clips, 1, config)[0]
    assert len({p.clip.video for p in pair}) == 3
    assert mixing.Listed([pair], config)[0]["sounds"].shape == (3, TINY.samples)
    with pytest.raises(SopError, match="2 label.s. for mixtures of 3"):
        mixing.draw_pairs(tiny_clips, 1, config, labels="different")


def test_a_manifest_comes_back_as_it_was(tmp_path, tiny_clips):
    pairs = mixing.draw_pairs(tiny_clips, 5, TINY)
    mixing.write_pairs(tmp_path / "pairs.csv", pairs)
    back = mixing.read_pairs(tmp_path / "pairs.csv", tiny_clips, TINY)
    assert back == pairs
    assert mixing.pairs_hash(back) == mixing.pairs_hash(pairs) != mixing.pairs_hash(pairs[1:])


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("red/red_0,0,blue/blue_1,x\n", "row 1: expected clip,start or AUDIO_PATH,FRAMES_PATH,NUMBER_FRAMES twice"),
        ("red/red_0,0,blue/blue_1,5\nred/red_0,0,green/g,5\n", "row 2: 'green/g' is not in the index"),
        ("", "no pairs"),
        ("red/red_0,0\n", "row 1: expected clip,start or"),
        ("red/red_0,0,blue/blue_1,5\nred/red_0,0,red/red_0,900\n", "row 2: red/red_0 .* red/red_0 are of one video"),
        ("x/red/red_0.mp3,f,24,x/green/g.mp3,f,24\n", "row 1: 'green/g' is not in the index"),
        ("red/red_0,999999,blue/blue_1,5\n", "row 1.*red_0.*3.00 s of sound"),
    ],
)
def test_a_broken_manifest_gets_one_clear_sentence(tmp_path, tiny_clips, text, sentence):
    (tmp_path / "pairs.csv").write_text(text)
    with pytest.raises(SopError, match=sentence):
        mixing.read_pairs(tmp_path / "pairs.csv", tiny_clips, TINY)


def test_a_manifest_may_hold_mixtures_of_two_three_and_four(tmp_path, tiny_clips):
    pairs = [pair for n in (2, 3, 4) for pair in mixing.draw_pairs(tiny_clips, 2, replace(TINY, sources=n))]
    mixing.write_pairs(tmp_path / "pairs.csv", pairs)
    assert mixing.read_pairs(tmp_path / "pairs.csv", tiny_clips, TINY) == pairs
    assert [len(item["sounds"]) for item in mixing.Listed(pairs, TINY)] == [2, 2, 3, 3, 4, 4]


def test_a_manifest_from_a_spreadsheet_is_read(tmp_path, tiny_clips):
    (tmp_path / "pairs.csv").write_bytes(b"\xef\xbb\xbfred/red_0,0,blue/blue_1,5\r\n\r\n")
    (pair,) = mixing.read_pairs(tmp_path / "pairs.csv", tiny_clips, TINY)
    assert [part.clip.name for part in pair] == ["red/red_0", "blue/blue_1"]


def test_a_manifest_of_clips_at_another_rate_is_refused(tmp_path, tiny_clips):
    (tmp_path / "pairs.csv").write_text("red/red_0,0,blue/blue_1,5\n")
    with pytest.raises(SopError, match=r"row 1 \(red/red_0\): sound at 11025 Hz, expected 8000"):
        mixing.read_pairs(tmp_path / "pairs.csv", tiny_clips, TINY.override({"rate": "8000"}))


def test_a_published_list_is_read_by_the_ends_of_its_paths(tmp_path, tiny_clips):
    """Somebody else's folders, slashes and numbers of frames; each window is the middle of its clip."""
    rows = [
        "/their/data/audio/red/red_0.mp3,/their/data/frames/red/red_0.mp4,99,./audio/blue/blue_2.wav,./frames/blue/blue_2.mp4,7",
        "D:\\audio\\blue\\blue_0.mp3,x,99,red/red_1.mp3,x,99,red/red_2.mp3,x,99",
    ]
    (tmp_path / "list.csv").write_text("\n".join(rows))
    pairs = mixing.read_pairs(tmp_path / "list.csv", tiny_clips, TINY)
    names = [[part.clip.name for part in pair] for pair in pairs]
    assert names == [["red/red_0", "blue/blue_2"], ["blue/blue_0", "red/red_1", "red/red_2"]]
    for part in pairs[0]:  # 3 s of sound: the window's middle is a frame's middle beside 1.5 s
        assert (part.start + TINY.samples / 2) / TINY.rate == pytest.approx(1.5, abs=0.5 / TINY.fps + 1e-3)


def test_a_window_may_end_a_codec_frame_beyond_its_sound(tmp_path, tiny_clips):
    """Decoders differ by so much: a manifest made with one is read with another, and silence is what is missing."""
    samples, missing = 33_075, 700  # of a clip of 3 s; less than 0.1 s
    (tmp_path / "pairs.csv").write_text(f"red/red_0,{samples + missing - TINY.samples},blue/blue_1,0\n")
    item = mixing.Listed(mixing.read_pairs(tmp_path / "pairs.csv", tiny_clips, TINY), TINY)[0]
    assert item["sounds"].shape == (2, TINY.samples)
    assert not item["sounds"][0, -missing:].any() and item["sounds"][0, -missing - 20 : -missing].any()
    whole = soundfile.read(tiny_clips[0].sound, dtype="float32")[0]
    assert np.array_equal(item["sounds"][0, :-missing].numpy(), whole[missing - TINY.samples :])
    latest = samples + 1_102 - TINY.samples  # 0.1 s of 11,025 Hz, cut to whole samples
    (tmp_path / "pairs.csv").write_text(f"red/red_0,{latest},blue/blue_1,0\n")
    assert mixing.read_pairs(tmp_path / "pairs.csv", tiny_clips, TINY)[0][0].start == latest
    (tmp_path / "pairs.csv").write_text(f"red/red_0,{latest + 1},blue/blue_1,0\n")
    with pytest.raises(SopError, match=r"row 1 \(red/red_0\): 3.00 s of sound, the window ends at 3.10 s"):
        mixing.read_pairs(tmp_path / "pairs.csv", tiny_clips, TINY)
    short = write_clip(tmp_path, "red", 8, seconds=(TINY.samples - missing) / TINY.rate)
    assert {
        p.start for i in range(20) for p in mixing.Training([short, tiny_clips[1]], TINY).draw(i)[0] if p.clip == short
    } == {0}


def test_short_clips_too_few_videos_and_another_rate_are_refused(tmp_path, tiny_clips):
    short = write_clip(tmp_path, "red", 7, seconds=0.5)
    with pytest.raises(
        SopError, match=r"row 7 \(red/red_7\): 0.50 s of sound, needs 0.74 s \(8,191 .* --min-frames 6$"
    ):
        mixing.Training([*tiny_clips, short], TINY)
    with pytest.raises(SopError, match="1 video"):
        mixing.Training(tiny_clips[:1], TINY)
    with pytest.raises(SopError, match="11025 Hz, expected 8000"):
        mixing.Training(tiny_clips, TINY.override({"rate": "8000"}))


def test_frames_at_another_rate_are_refused_wherever_clips_are_read(tmp_path):
    """A frame's number says nothing without its rate: at a wrong one the picture is seconds away from its sound."""
    clips = [write_clip(tmp_path, label, n) for label in ("red", "blue") for n in (0, 1)]
    pairs = mixing.draw_pairs(clips, 2, TINY)
    mixing.write_pairs(tmp_path / "m.csv", pairs)
    model = SoundOfPixels(TINY)
    roads = {
        "training": lambda: Training(clips, TINY),
        "drawn": lambda: mixing.draw_pairs(clips, 2, TINY),
        "listed": lambda: mixing.read_pairs(tmp_path / "m.csv", clips, TINY),
        "clicked": lambda: Scene.from_clip(model, clips[0]),
    }
    (tmp_path / "preprocess.json").write_text(json.dumps({"fps": TINY.fps}))
    for road in roads.values():
        road()
    (tmp_path / "preprocess.json").write_text(json.dumps({"fps": 30_000 / 1_001}))
    mixing.same_fps(clips, replace(TINY, fps=29.97))
    (tmp_path / "preprocess.json").write_text(json.dumps({"fps": 1.0}))
    for road in roads.values():
        with pytest.raises(SopError, match=r"its frames are 1 a second .* expects 8; preprocess with --fps 8, or"):
            road()


def test_a_manifest_is_no_formula_to_a_spreadsheet(tmp_path, tiny_clips):
    (tmp_path / "audio" / "=1+cmd|' C'!A0").mkdir(parents=True)
    sound = tmp_path / "audio" / "=1+cmd|' C'!A0" / "x.flac"
    sound.write_bytes(tiny_clips[0].sound.read_bytes())
    clips = [Clip(sound, tiny_clips[0].frames, tiny_clips[0].n_frames), tiny_clips[1]]
    pairs = mixing.draw_pairs(clips, 3, TINY)
    mixing.write_pairs(tmp_path / "pairs.csv", pairs)
    assert not any(cell.startswith("=") for cell in (tmp_path / "pairs.csv").read_text().replace("\n", ",").split(","))
    assert mixing.read_pairs(tmp_path / "pairs.csv", clips, TINY) == pairs


@pytest.fixture(scope="module")
def map_clip(tmp_path_factory):
    """A clip whose picture tells where each of its pixels is: red is the column, green the row, both from 0 to 250."""
    data = tmp_path_factory.mktemp("map")
    clip = write_clip(data, "red", 0)
    across, down = np.meshgrid(np.linspace(0, 250, 251), np.linspace(0, 250, 251))
    picture = np.stack([across, down, 0 * down], -1).round().astype(np.uint8)
    for path in clip.frames.glob("*.jpg"):
        Image.fromarray(picture).save(path, quality=100, subsampling=0)
    return clip


def test_training_crops_anywhere_keeps_what_it_must_and_mirrors_half(map_clip):
    config = TINY.override({"crop": "0.4", "image": "64"})
    seen = [mixing.see(mixing.Part(map_clip, 0), config, np.random.default_rng(i))[0][0] / 250.0 for i in range(300)]
    left, right = (np.array([s[0, :, column].mean() for s in seen]) for column in (0, -1))
    top, bottom = (np.array([s[1, row].mean() for s in seen]) for row in (0, -1))
    width, height = np.abs(right - left), bottom - top
    area = width * height * (64 / 63) ** 2  # from middle to middle of the outermost pixels
    assert 0.4 - 0.03 < area.min() < 0.45 and area.max() > 0.9  # from the least share to nearly all
    assert 0.4 < np.mean(left > right) < 0.6  # mirrored
    for low, size in ((np.minimum(left, right), width), (top, height)):
        place = low / (1 - size).clip(1e-6)
        free = 1 - size > 0.2
        assert free.sum() > 50 and np.histogram(place[free], 4, (0, 1))[0].min() > 0.1 * free.sum()  # anywhere


def test_training_changes_light_and_loudness_within_their_bounds(map_clip):
    part, config = mixing.Part(map_clip, 0), TINY
    light = np.array([mixing.see(part, config, np.random.default_rng(i))[1] for i in range(300)])
    bright = light.prod(1) ** (1 / 3)
    assert 0.7 * 0.85 <= light.min() < 0.7 and 1.3 < light.max() <= 1.3 * 1.15 and bright.std() > 0.1
    assert (light.max(1) / light.min(1)).mean() > 1.08  # a tint, not brightness alone
    plain = np.abs(mixing.hear(part, config)).max()
    gains = np.array([np.abs(mixing.hear(part, config, np.random.default_rng(i))).max() / plain for i in range(300)])
    up = np.log(gains) / np.log(config.gain)  # from -1 to 1, evenly
    assert -1 <= up.min() < -0.95 and 0.95 < up.max() <= 1 + 1e-6 and abs(up.mean()) < 0.15
    assert np.all(mixing.see(part, config)[1] == 1)  # an evaluation changes nothing


def test_sections_of_one_video_are_never_mixed_in_training(tmp_path, tiny_clips):
    sections = [Clip(c.sound, c.frames, c.n_frames, "one") for c in tiny_clips[:3]]
    data = Training([*sections, *tiny_clips[3:]], TINY.override({"together": "0.5", "epoch_size": "200"}))
    for i in range(200):
        first, second = data.draw(i).mixture
        assert first.clip.video != second.clip.video


def test_noise_lies_between_white_and_brown_and_from_15_db_below_the_sources_to_12_above():
    """Its spectrum falls as a power of frequency from 0 to -1.2 (white to a little beyond brown), its phases are any."""
    sounds = 0.1 * np.random.default_rng(0).standard_normal((2, TINY.samples))  # of an odd length
    frequency = np.linspace(1e-3, 1, TINY.samples // 2 + 1)[200:]
    powers, levels, turned = [], [], []
    for i in range(200):
        noise = mixing._noise(sounds, np.random.default_rng(i))
        assert noise.shape == (TINY.samples,) and noise.dtype == np.float32
        levels.append(20 * np.log10(np.sqrt((noise**2).mean() / (sounds**2).mean())))
        spectrum = np.fft.rfft(noise)[200:]
        powers.append(np.polyfit(np.log(frequency), np.log(abs(spectrum)), 1)[0])
        turned.append(np.log(spectrum.real[:-1] ** 2).mean() - np.log(spectrum.imag[:-1] ** 2).mean())
    assert -15 - 1e-3 <= min(levels) < -14 and 11 < max(levels) <= 12 + 1e-3 and abs(np.mean(levels) + 1.5) < 1.5
    assert -1.25 < min(powers) < -1.1 and -0.1 < max(powers) < 0.05 and abs(np.mean(powers) + 0.6) < 0.1
    assert abs(np.mean(turned)) < 0.05


def test_a_share_of_trainings_mixtures_has_noise(tiny_clips):
    data = Training(tiny_clips, replace(TINY, noise=0.25, epoch_size=200))
    noise = [data[i]["noise"] for i in range(200)]
    assert all(x.shape == (TINY.samples,) and x.dtype == torch.float32 for x in noise)
    assert 0.15 < np.mean([bool(x.any()) for x in noise]) < 0.35
    assert "noise" not in Training(tiny_clips, TINY)[0]


def test_windows_begin_anywhere_from_the_first_sample_to_the_last_that_leaves_a_whole_one(tiny_clips):
    def start(more, seed):
        clip = tiny_clips[0]
        return mixing._part(clip, {clip: TINY.samples + more}, TINY, np.random.default_rng(seed)).start

    assert {start(2, i) for i in range(60)} == {0, 1, 2} and {start(0, i) for i in range(9)} == {0}
    starts = np.array([start(10_000, i) for i in range(300)])
    assert np.histogram(starts, 5, (0, 10_000))[0].min() > 40  # of 60


def test_a_middle_window_stays_within_its_sound(tmp_path, tiny_clips):
    """Where a clip's frames say that it goes on for longer than its sound does, or hardly begins."""
    for frames, start in ((100, 33_075 - TINY.samples), (1, 0)):
        clip = Clip(tiny_clips[0].sound, tiny_clips[0].frames, frames)
        (tmp_path / "list.csv").write_text("x/red/red_0.mp3,f,1,x/blue/blue_1.mp3,f,1\n")
        (pair,) = mixing.read_pairs(tmp_path / "list.csv", [clip, *tiny_clips[1:]], TINY)
        assert pair[0].start == start


def test_a_manifest_keeps_names_that_are_no_utf8(tmp_path, tiny_clips):
    clip = tiny_clips[0]
    sound = tmp_path / "audio" / "red" / os.fsdecode(b"caf\xe9.flac")
    sound.parent.mkdir(parents=True)
    sound.write_bytes(clip.sound.read_bytes())
    clips = [Clip(sound, clip.frames, clip.n_frames), tiny_clips[1]]
    pairs = mixing.draw_pairs(clips, 2, TINY)
    mixing.write_pairs(tmp_path / "pairs.csv", pairs)
    assert b"red/caf\xe9," in (tmp_path / "pairs.csv").read_bytes()
    assert mixing.read_pairs(tmp_path / "pairs.csv", clips, TINY) == pairs
    rows = "\n".join(",".join(f"{part.clip.name},{part.start}" for part in pair) for pair in pairs)
    digest = hashlib.sha256(rows.encode(errors="surrogateescape")).hexdigest()
    assert mixing.pairs_hash(pairs) == digest[:10]  # by hand, so that no other version gives another name


def test_an_evaluations_mixtures_go_round_all_clips_and_do_not_depend_on_how_many_are_drawn(tiny_clips):
    pairs = mixing.draw_pairs(tiny_clips, 13, TINY)
    firsts = [pair[0].clip for pair in pairs]
    assert all(set(firsts[i : i + 6]) == set(tiny_clips) for i in (0, 6)) and firsts[:6] != firsts[6:12]
    assert mixing.draw_pairs(tiny_clips, 5, TINY) == pairs[:5]
    assert mixing.draw_pairs(tiny_clips, 5, replace(TINY, seed=1)) != pairs[:5]


def test_a_mixture_that_is_drawn_anew_is_another_one_and_every_round_has_its_own_order(tiny_clips):
    data = Training(tiny_clips, replace(TINY, epoch_size=60))
    first = lambda i, *attempt: data.draw(i, *attempt).mixture[0].clip  # noqa: E731
    rounds = [[first(6 * turn + k) for k in range(6)] for turn in range(10)]
    assert all(set(clips) == set(tiny_clips) for clips in rounds)
    assert len({tuple(clip.name for clip in clips) for clips in rounds}) > 5
    again = [data.draw(3, attempt).mixture for attempt in range(12)]
    assert len(set(again)) > 6 and len({mixture[0].clip for mixture in again}) > 3
    assert Training(tiny_clips, replace(TINY, epoch_size=60)).draw(3, 2).mixture == again[2]
    assert len(data) == 2 * 60
    for beyond in (-1, 120):
        with pytest.raises(IndexError):
            data[beyond]


def test_what_stands_side_by_side_is_changed_in_training_as_well_and_shown_to_each(tiny_clips):
    data, gains, pictures = Training(tiny_clips, replace(TINY, together=1.0, epoch_size=30)), [], {}
    for i in range(30):
        draw, item = data.draw(i), data[i]
        assert draw.together and item["light"].shape == (2, 3) and (item["light"] == 1).all()  # lit where it was made
        assert torch.equal(item["frames"][0], item["frames"][1]) and item["frames"].shape == (2, 1, 3, 32, 32)
        assert np.array_equal(item["cells"], mixing.shares(2, TINY.grid))
        for part, sound in zip(draw.mixture, item["sounds"], strict=True):
            gains.append((sound.abs().max() / np.abs(mixing.hear(part, TINY)).max()).item())
        pictures.setdefault(tuple(part.clip.name for part in draw.mixture), []).append(item["frames"][0])
    assert len(set(np.round(gains, 4))) == 60 and 1 / TINY.gain <= min(gains) < 0.7 and 1.4 < max(gains) <= TINY.gain
    twice = [found for found in pictures.values() if len(found) > 1]
    assert twice and not any(torch.equal(*found[:2]) for found in twice)


def test_the_few_that_fit_are_found_among_many_that_do_not(tiny_clips):
    """A thousand draws may miss them all: then they are looked for one by one, and each of them may be the one."""
    one, *fitting = (Clip(c.sound, c.frames, c.n_frames, v) for c, v in zip(tiny_clips, "abc", strict=False))
    many, lengths = [one] * 30_000 + fitting, dict.fromkeys([one, *fitting], 20_000)
    found = [mixing._mixture(many, lengths, TINY, np.random.default_rng(i), 0)[1].clip for i in range(12)]
    assert set(found) == set(fitting)
    three = replace(TINY, sources=3)
    assert {p.clip for p in mixing._mixture(many, lengths, three, np.random.default_rng(0), 0)} == {one, *fitting}
