"""Stereo mp4s: both channels come back, each as it was."""

import av
import numpy as np
import pytest
from films import level, tone

from sop_core.media.stream import read_video
from sop_core.media.write import write_video

RATE = 44_100
FRAMES = np.zeros((16, 32, 32, 3), np.uint8)  # 2 s


def channels(path):
    """The sound as FFmpeg decodes it, without our reader. Shape: (channels, L)"""
    with av.open(str(path)) as container:
        return np.concatenate([f.to_ndarray() for f in container.decode(audio=0)], 1)


@pytest.mark.parametrize("pieces", [1, 7])
@pytest.mark.parametrize("rate", [11_025, RATE])
def test_both_channels_of_a_stereo_sound_come_back(tmp_path, rate, pieces):
    left, right = tone(440, 2, rate), 0.25 * tone(1_760, 2, rate)
    sound = np.stack([left, right])
    given = sound if pieces == 1 else iter(np.array_split(sound, [1, 7, 9_000], 1))
    write_video(tmp_path / "a.mp4", FRAMES, 8, given, rate)
    heard = channels(tmp_path / "a.mp4")
    assert heard.shape[0] == 2 and heard.shape[1] == pytest.approx(2 * RATE, abs=2_048)
    for channel, own, other, loud in ((0, 440, 1_760, 0.5), (1, 1_760, 440, 0.125)):
        assert level(heard[channel], own, RATE) == pytest.approx(loud, rel=0.03)
        assert level(heard[channel], other, RATE) < 0.01
    # where a video is read to be taken apart, the channels are averaged
    mono = read_video(tmp_path / "a.mp4", 8, RATE)[1]
    assert level(mono, 440, RATE) == pytest.approx(0.25, rel=0.03)
    assert level(mono, 1_760, RATE) == pytest.approx(0.0625, rel=0.03)


def test_a_mono_sound_stays_mono_and_a_video_without_sound_is_one(tmp_path):
    write_video(tmp_path / "a.mp4", FRAMES, 8, tone(440, 2, RATE), RATE)
    assert len(channels(tmp_path / "a.mp4")) == 1
    write_video(tmp_path / "b.mp4", FRAMES, 8, [], RATE)
    with av.open(str(tmp_path / "b.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == len(FRAMES)


def test_colours_are_what_the_file_says_they_are(tmp_path):
    """A player makes RGB of the stored YUV by the matrix that the file names; ITU-R BT.601, 2.5."""
    colour = np.array([200, 30, 40])
    pictures = np.broadcast_to(colour.astype(np.uint8), (2, 720, 64, 3))
    write_video(tmp_path / "a.mp4", pictures, 8, [], RATE)
    with av.open(str(tmp_path / "a.mp4")) as container:
        frame = next(container.decode(video=0))
    assert (frame.colorspace, frame.color_primaries, frame.color_trc) == (6, 6, 6)  # smpte170m
    y, u, v = (int(np.frombuffer(memoryview(plane), np.uint8)[0]) for plane in frame.planes)
    y, u, v = (y - 16) / 219, (u - 128) / 224, (v - 128) / 224
    red, blue = y + 2 * (1 - 0.299) * v, y + 2 * (1 - 0.114) * u
    green = (y - 0.299 * red - 0.114 * blue) / (1 - 0.299 - 0.114)
    np.testing.assert_allclose([255 * c for c in (red, green, blue)], colour, atol=3)


def test_the_name_of_the_colours_changes_no_picture(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (3, 12, 16, 3), np.uint8).repeat(8, 1).repeat(8, 2)
    write_video(tmp_path / "a.mp4", pictures, 8, tone(440, 1, RATE), RATE)
    monkeypatch.setattr("sop_core.media.write.BT601", {})
    write_video(tmp_path / "b.mp4", pictures, 8, tone(440, 1, RATE), RATE)
    a, b = (read_video(tmp_path / name, 8, RATE)[0] for name in ("a.mp4", "b.mp4"))
    np.testing.assert_array_equal(a, b)
