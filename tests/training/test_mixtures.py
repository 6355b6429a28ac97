"""Mixtures: seeded, of different videos, exactly the windows that were asked for."""

import multiprocessing
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import soundfile
import torch
from tiny import TINY, write_clip
from torch.utils.data import DataLoader

from sop_core.config import SILENCE_LABEL
from sop_core.data.clips import Clip
from sop_core.errors import SopError
from sop_core.training.mixtures import (
    Listed,
    Training,
    apply_jitter,
    draw_mixture,
    draw_noise,
    strip_cells,
)
from sop_core.training.pairs import draw_pairs
from sop_core.training.windows import Part, frame_indices, window_sound


def test_sounds_are_the_windows_of_the_clips(tiny_clips):
    pairs = draw_pairs(tiny_clips, 4, TINY)
    for pair, item in zip(pairs, Listed(pairs, TINY), strict=True):
        assert item["sounds"].shape == (2, TINY.samples)
        assert item["frames"].shape == (2, TINY.frames, 3, TINY.image, TINY.image)
        assert item["frames"].dtype == torch.uint8
        for part, sound in zip(pair, item["sounds"], strict=True):
            whole, _ = soundfile.read(part.clip.sound, dtype="float32")
            np.testing.assert_array_equal(sound, whole[part.start : part.start + TINY.samples])


def test_trainings_windows_may_be_shorter_than_an_evaluations(tiny_clips):
    config = replace(TINY, samples=16_383, train_samples=8_191, gain=1.0).check()
    data, fps = Training(tiny_clips, config), config.fps
    for i in range(8):
        item, mixture = data[i], data.draw(i).mixture
        for part, sound in zip(mixture, item["sounds"], strict=True):
            whole, rate = soundfile.read(part.clip.sound, dtype="float32")
            np.testing.assert_array_equal(sound, whole[part.start : part.start + 8_191])
        middle = int((mixture[0].start / rate + 8_191 / rate / 2) * fps)
        assert frame_indices(mixture[0].start, 100, data.config).tolist() == [middle]
    starts = [part.start for i in range(40) for part in data.draw(i).mixture]
    assert max(starts) > len(whole) - 16_383  # they reach the end of a clip
    assert Listed(draw_pairs(tiny_clips, 1, config), config)[0]["sounds"].shape == (2, 16_383)
    with pytest.raises(SopError, match="T=20 .5,000 samples // hop . 1. must be multiples of 32"):
        replace(config, train_samples=5_000).check()


def test_training_mixtures_are_the_same_at_any_number_of_workers(tiny_clips):
    data = Training(tiny_clips, TINY)
    alone = [data[i] for i in range(8)]
    for i, item in enumerate(DataLoader(data, batch_size=None, num_workers=2)):
        if i < 8:
            assert torch.equal(item["sounds"], alone[i]["sounds"])
            assert torch.equal(item["frames"], alone[i]["frames"])
    other = Training(tiny_clips, TINY.override({"seed": "1"}))
    assert not torch.equal(other[0]["sounds"], alone[0]["sounds"])


def test_workers_may_be_spawned_where_a_system_does_not_fork(tiny_clips):
    data = Training(tiny_clips, TINY)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        item = pool.apply(data.__getitem__, (3,))
    assert torch.equal(item["sounds"], data[3]["sounds"]) and torch.equal(
        item["jitter"], data[3]["jitter"]
    )


def test_colour_jitter_multiplies_colours_and_ends_at_white():
    frames = torch.full((1, 2, 1, 3, 4, 5), 100, dtype=torch.uint8)
    light = torch.tensor([[[1.0, 0.5, 2.0], [3.0, 1.0, 0.0]]])
    assert apply_jitter(frames, light)[0, :, 0, :, 2, 3].tolist() == [[100, 50, 200], [255, 100, 0]]


def test_broken_files_are_skipped_named_and_counted_but_never_silence(tmp_path):
    clips = [write_clip(tmp_path, label, n) for n in range(6) for label in ("red", "blue")]
    for k in range(clips[0].n_frames):
        (clips[0].frames / f"{k + 1:06d}.jpg").write_bytes(b"no picture")
    data = clips[1].sound.read_bytes()
    clips[1].sound.write_bytes(data[: len(data) // 3])  # its header still promises 3 s
    (clips[2].sound).write_bytes(b"")
    with pytest.warns(UserWarning, match=r"red_1\.flac: empty .*; left out"):
        training = Training(clips, TINY)
    assert not any(part.clip == clips[2] for i in range(30) for part in training.draw(i)[0])
    items = [training[i] for i in range(16)]
    skipped = {line for item in items for line in item["skipped"].split("\n") if line}
    assert any("red_0.mp4: no frame 000001.jpg that can be read" in line for line in skipped)
    assert any("blue_0.flac: " in line for line in skipped)
    assert all(item["sounds"].abs().amax(1).min() > 0.01 for item in items)
    assert [item["skipped"] for item in items] == [
        Training(clips[:2] + clips[3:], TINY)[i]["skipped"] for i in range(16)
    ]
    with pytest.raises(
        SopError, match="not a (picture|sound file)"
    ):  # an evaluation's mixtures are what they are
        Listed([(Part(clips[0], 0), Part(clips[1], 20_000))], TINY)[0]
    for clip in clips[3:]:
        clip.sound.write_bytes(b"")
    with pytest.raises(SopError, match="10 mixtures in a row could not be read; the last: "):
        training[0]


def test_training_goes_through_all_clips_and_changes_what_it_shows(tiny_clips):
    data = Training(tiny_clips, TINY)
    firsts = [data.draw(i)[0][0].clip.name for i in range(len(tiny_clips))]
    assert sorted(firsts) == sorted(c.name for c in tiny_clips)
    again = next(i for i in range(6, 12) if data.draw(i)[0][0].clip.name == firsts[0])
    assert not torch.equal(data[0]["frames"][0], data[again]["frames"][0])  # cropped and lit anew


def test_a_share_of_trainings_mixtures_has_one_silent_scene_and_an_evaluation_none(
    tiny_clips, empty_rooms
):
    clips = [*empty_rooms, *tiny_clips]
    data = Training(clips, TINY.override({"silence": "0.25", "epoch_size": "400"}))
    silent = [[part.clip.label == SILENCE_LABEL for part in data.draw(i)[0]] for i in range(400)]
    assert not any(first for first, _ in silent)
    assert 0.2 < np.mean([last for _, last in silent]) < 0.3
    assert not any(
        p.clip.label == SILENCE_LABEL for pair in draw_pairs(clips, 50, TINY) for p in pair
    )
    with pytest.raises(SopError, match="1 video.s. that sound"):
        Training([*empty_rooms, tiny_clips[0]], TINY)


def test_three_sources(tiny_clips):
    config = TINY.override({"sources": "3"})
    pair = draw_pairs(tiny_clips, 1, config)[0]
    assert len({p.clip.video for p in pair}) == 3
    assert Listed([pair], config)[0]["sounds"].shape == (3, TINY.samples)
    with pytest.raises(SopError, match="2 label.s. for mixtures of 3"):
        draw_pairs(tiny_clips, 1, config, labels="different")


def test_sections_of_one_video_are_never_mixed_in_training(tmp_path, tiny_clips):
    sections = [Clip(c.sound, c.frames, c.n_frames, "one") for c in tiny_clips[:3]]
    data = Training(
        [*sections, *tiny_clips[3:]], TINY.override({"together": "0.5", "epoch_size": "200"})
    )
    for i in range(200):
        first, second = data.draw(i).mixture
        assert first.clip.video != second.clip.video


def test_clips_that_share_a_photo_are_never_mixed_and_those_that_share_a_recording_are(tiny_clips):
    photos = [("p0", "p1"), ("p1",), ("p2",), ("p2", "p0"), (), ()]
    clips = [
        replace(c, photos=p, recordings=("same",)) for c, p in zip(tiny_clips, photos, strict=True)
    ]
    settings = {"together": "0.5", "epoch_size": "600"}
    data = Training(clips, TINY.override(settings))
    mixtures = [data.draw(i).mixture for i in range(600)]
    mixtures += draw_pairs(clips, 200, TINY)
    for first, second in mixtures:
        assert not set(first.clip.photos) & set(second.clip.photos)
    numbers = {frozenset(clips.index(part.clip) for part in pair) for pair in mixtures}
    shared = {frozenset(pair) for pair in ((0, 1), (0, 3), (2, 3))}
    assert numbers == {frozenset(pair) for pair in combinations(range(6), 2)} - shared
    one_photo = [replace(clip, photos=("p",)) for clip in clips[:4]]
    with pytest.raises(SopError, match="no clip of another video and another photo to mix with"):
        Training(one_photo, TINY)[0]


def test_noise_lies_between_white_and_brown_and_from_15_db_below_the_sources_to_12_above():
    """Its spectrum falls by a power of frequency from 0 to -1.2; its phases are random."""
    frequency = np.linspace(1e-3, 1, TINY.samples // 2 + 1)[200:]
    powers, levels, turned = [], [], []
    for i in range(200):
        noise = draw_noise(TINY.samples, np.random.default_rng(i))
        assert noise.shape == (TINY.samples,) and noise.dtype == np.float32  # of an odd length
        levels.append(10 * np.log10((noise**2).mean()))
        spectrum = np.fft.rfft(noise)[200:]
        powers.append(np.polyfit(np.log(frequency), np.log(abs(spectrum)), 1)[0])
        turned.append(
            np.log(spectrum.real[:-1] ** 2).mean() - np.log(spectrum.imag[:-1] ** 2).mean()
        )
    assert (
        -15 - 1e-3 <= min(levels) < -14
        and 11 < max(levels) <= 12 + 1e-3
        and abs(np.mean(levels) + 1.5) < 1.5
    )
    assert (
        -1.25 < min(powers) < -1.1
        and -0.1 < max(powers) < 0.05
        and abs(np.mean(powers) + 0.6) < 0.1
    )
    assert abs(np.mean(turned)) < 0.05


def test_a_share_of_trainings_mixtures_has_noise(tiny_clips):
    data = Training(tiny_clips, replace(TINY, noise=0.25, epoch_size=200))
    noise = [data[i]["noise"] for i in range(200)]
    assert all(x.shape == (TINY.samples,) and x.dtype == torch.float32 for x in noise)
    assert 0.15 < np.mean([bool(x.any()) for x in noise]) < 0.35
    assert "noise" not in Training(tiny_clips, TINY)[0]


def test_in_a_share_of_trainings_mixtures_one_or_two_more_clips_sound_that_no_picture_shows(
    tiny_clips,
):
    config = replace(TINY, unseen=0.5, absent=1.0, epoch_size=200)
    data, counts = Training(tiny_clips, config), []
    for i in range(200):
        draw, item = data.draw(i), data[i]
        assert len(draw.mixture) == len(item["frames"]) == len(item["sounds"]) == 2
        assert len(item["unseen"]) == 2
        heard = [part.clip for part in draw.mixture + draw.unseen]
        assert len({clip.video for clip in heard}) == len(heard)  # six videos are enough
        silent = [-1] * (4 - len(heard))
        assert item["videos"].tolist() == [*(data.videos[clip] for clip in heard), *silent]
        sounds = torch.cat([item["sounds"], item["unseen"]])
        for sound, part in zip(sounds, draw.mixture + draw.unseen, strict=False):
            file = torch.from_numpy(window_sound(part, TINY))
            gain = sound.norm() / file.norm()
            torch.testing.assert_close(sound, gain * file)  # its own window, louder or softer
            assert 1 / TINY.gain <= gain <= TINY.gain
        assert not sounds[len(heard) :].any()
        counts.append(len(draw.unseen))
    for count, share in ((0, 0.5), (1, 0.25), (2, 0.25)):
        assert abs(counts.count(count) / 200 - share) < 0.12
    assert "unseen" not in Training(tiny_clips, TINY)[0]
    # of two videos both are shown
    two = Training(tiny_clips[:2], replace(config, unseen=1.0))
    assert not any(two.draw(i).unseen for i in range(20))


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
        assert (
            draw.together and item["jitter"].shape == (2, 3) and (item["jitter"] == 1).all()
        )  # lit where it was made
        assert torch.equal(item["frames"][0], item["frames"][1]) and item["frames"].shape == (
            2,
            1,
            3,
            32,
            32,
        )
        assert np.array_equal(item["cells"], strip_cells(2, TINY.grid))
        for part, sound in zip(draw.mixture, item["sounds"], strict=True):
            gains.append((sound.abs().max() / np.abs(window_sound(part, TINY)).max()).item())
        pictures.setdefault(tuple(part.clip.name for part in draw.mixture), []).append(
            item["frames"][0]
        )
    assert (
        len(set(np.round(gains, 4))) == 60
        and 1 / TINY.gain <= min(gains) < 0.7
        and 1.4 < max(gains) <= TINY.gain
    )
    twice = [found for found in pictures.values() if len(found) > 1]
    assert twice and not any(torch.equal(*found[:2]) for found in twice)


def test_the_few_that_fit_are_found_among_many_that_do_not(tiny_clips):
    """A thousand draws may miss them all. Then one of those that fit is drawn."""
    one, *fitting = (
        Clip(c.sound, c.frames, c.n_frames, v) for c, v in zip(tiny_clips, "abc", strict=False)
    )
    many, lengths = [one] * 30_000 + fitting, dict.fromkeys([one, *fitting], 20_000)
    found = [
        draw_mixture(many, lengths, TINY, np.random.default_rng(i), 0)[1].clip for i in range(12)
    ]
    assert set(found) == set(fitting)
    three = replace(TINY, sources=3)
    assert {p.clip for p in draw_mixture(many, lengths, three, np.random.default_rng(0), 0)} == {
        one,
        *fitting,
    }
