"""Stereo whose channels cancel in their mean, and samples that are no numbers."""

import av
import numpy as np
import pytest
from films import level, make_video, tone

from sop_core.media.mono import Cancelling
from sop_core.media.stream import read_video, stream_sound

RATE = 11_025
SECONDS = 4


def heard(folder, planes, rate=44_100):
    """What is heard of a video with this sound, and the notes about it."""
    black = [np.zeros((32, 32, 3), np.uint8)] * SECONDS
    path, notes = make_video(folder / "a.mp4", range(SECONDS), black, np.stack(planes), rate), []
    _, sound = read_video(path, 8, RATE, notes=notes)
    np.testing.assert_array_equal(np.concatenate(list(stream_sound(path, RATE))), sound)
    return sound, notes


def notes_of(hz, seconds=SECONDS, seed=0):
    """An instrument: half a second of a note and its overtones, again and again."""
    t = np.arange(seconds * 44_100) / 44_100
    steps = np.random.default_rng(seed).choice([1, 9 / 8, 5 / 4, 3 / 2], 2 * seconds)
    phase = 2 * np.pi * hz * np.cumsum(steps[(2 * t).astype(int)]) / 44_100
    wave = sum(np.sin(k * phase) / k for k in (1, 2, 3))
    return np.float32(0.2 * wave * np.exp(-2 * (t % 0.5)))


@pytest.mark.parametrize("other", [-1.0, -0.9, -0.8])
def test_a_channel_that_is_the_others_negative_is_not_silence(tmp_path, other):
    wave = tone(440, SECONDS, 44_100)
    sound, notes = heard(tmp_path, (wave, np.float32(other) * wave))
    assert level(sound, 440, RATE) == pytest.approx(0.5, rel=0.03)
    assert notes == ["its channels cancel each other: the left one is heard alone"]


def test_of_two_instruments_neither_is_lost_when_one_is_in_antiphase(tmp_path):
    one, two = notes_of(330), notes_of(1_400, seed=1)
    sound, notes = heard(tmp_path, (one + two, one - two))
    assert len(notes) == 1
    for hz, part in ((330, one), (1_400, two)):
        band = [hz * 0.95, hz * 1.6]
        there, wanted = (
            np.abs(np.fft.rfft(x))[(f := np.fft.rfftfreq(len(x), 1 / r)) > band[0]][
                : np.sum((f > band[0]) & (f < band[1]))
            ]
            for x, r in ((sound, RATE), (part, 44_100))
        )
        ratio = np.sqrt(np.square(there).sum() / len(sound)) / RATE**0.5
        ratio /= np.sqrt(np.square(wanted).sum() / len(part)) / 44_100**0.5
        assert ratio == pytest.approx(1, abs=0.35)


def ordinary():
    rng, t = np.random.default_rng(0), np.arange(SECONDS * 44_100) / 44_100
    noise = rng.normal(0, 0.1, (2, len(t))).astype(np.float32)
    one, two = notes_of(330), notes_of(500, seed=1)
    echo = np.roll(one, 900)  # 20 ms: a room
    return {
        "mono": (one, one),
        "left only": (one, 0 * one),
        "one each": (one, two),
        "nothing in common": tuple(noise),
        "wide": (one + 0.6 * noise[0] - 0.3 * noise[1], one - 0.3 * noise[0] + 0.6 * noise[1]),
        "a room": (one + 0.5 * echo, one - 0.5 * echo),
        "a soft part in antiphase": (one + 0.2 * two, one - 0.2 * two),
        "panned": (one + 0.3 * two, 0.3 * one + two),
        "silent": (0 * one, 0 * one),
    }


@pytest.mark.parametrize("kind", ordinary())
def test_of_ordinary_stereo_the_mean_is_heard(tmp_path, kind):
    planes = ordinary()[kind]
    sound, notes = heard(tmp_path, planes)
    black = [np.zeros((32, 32, 3), np.uint8)] * SECONDS
    both = make_video(tmp_path / "b.mp4", range(SECONDS), black, np.stack(planes))
    own = np.concatenate(list(stream_sound(both, RATE, None)), 1)
    np.testing.assert_allclose(sound, own.mean(0), atol=1e-6)
    assert notes == []


def test_a_sound_that_cancels_for_a_part_of_its_time_is_whole(tmp_path):
    wave = notes_of(440)
    sign = np.where(np.arange(len(wave)) < len(wave) // 2, 1, -1).astype(np.float32)
    sound, notes = heard(tmp_path, (wave, sign * wave))
    halves = [np.square(part).mean() for part in np.split(sound[: len(sound) // 2 * 2], 2)]
    assert halves[0] == pytest.approx(halves[1], rel=0.2) and len(notes) == 1


def test_the_loudest_of_many_channels_is_taken():
    wave = notes_of(440, 2)
    cancelling = Cancelling(4, 44_100)
    for piece in np.split(np.stack([wave, -wave, 1.1 * wave, -1.1 * wave]), 9, 1):
        cancelling.add(piece)
    assert cancelling.channel() == 2


# ---- samples that are no numbers


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("layout", ["mono", "stereo", "5.1"])
def test_what_is_no_number_becomes_silence(tmp_path, bad, layout):
    channels = {"mono": 1, "stereo": 2, "5.1": 6}[layout]
    wave = np.repeat(tone(440, 4, RATE)[:, None], channels, 1)
    wave[round(1.2 * RATE) : round(1.7 * RATE)] = bad
    path = tmp_path / "a.mov"
    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264", rate=8)
        video.width = video.height = 32
        audio = out.add_stream("pcm_f32le", rate=RATE, layout=layout)
        for _ in range(32):
            black = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
            out.mux(video.encode(black))
        out.mux(video.encode(None))
        frame = av.AudioFrame.from_ndarray(wave.reshape(1, -1), format="flt", layout=layout)
        frame.sample_rate = RATE
        out.mux(audio.encode(frame))
        out.mux(audio.encode(None))
    notes = []
    _, sound = read_video(path, 8, RATE, notes=notes)
    assert notes == ["no number (NaN or Inf) at 1.2 s of its sound, 0.50 s in all: made silent"]
    assert abs(sound[round(1.22 * RATE) : round(1.68 * RATE)]).max() < 0.01
    for part in (sound[: round(1.18 * RATE)], sound[round(1.72 * RATE) :]):
        assert level(part, 440, RATE) == pytest.approx(0.5, rel=0.03)
