"""The channels of a video's sound: its own, and one."""

import numpy as np
import pytest
from films import make_video, tone

from sop_core.media.stream import stream_sound

BLACK = [np.zeros((32, 32, 3), np.uint8)] * 2
RATE = 11_025


def own(path, rate=RATE):
    return np.concatenate(list(stream_sound(path, rate, None)), 1)


@pytest.mark.parametrize(("levels", "expected"), [((0.4,), [0.4]), ((0.4, 0.2), [0.4, 0.2])])
def test_a_sound_comes_with_its_own_channels(tmp_path, levels, expected):
    sound = np.stack([tone(440, 2, 44_100, level) for level in levels])
    path = make_video(tmp_path / "a.mp4", [0, 1], BLACK, sound)
    planes = own(path)
    wave = np.exp(-2j * np.pi * 440 * np.arange(RATE) / RATE)
    heard = 2 * abs((planes[:, RATE // 2 :][:, :RATE] * wave).mean(1))
    np.testing.assert_allclose(heard, expected, atol=0.01)
    assert planes.dtype == np.float32
    mono = np.concatenate(list(stream_sound(path, RATE)))
    assert mono.shape == (planes.shape[1],)
    np.testing.assert_allclose(planes.mean(0), mono, atol=1e-6)


def test_of_surround_sound_two_channels_come_that_do_not_clip(tmp_path):
    """ITU-R BS.775: what is in the middle goes to both sides, 3 dB softer; then all fits in 1."""
    silent = np.zeros(2 * 44_100, np.float32)
    loud = tone(440, 2, 44_100, 0.9)
    sound = np.stack([loud, silent, loud, silent, silent, silent])  # left and middle of 5.1
    planes = own(make_video(tmp_path / "a.mp4", [0, 1], BLACK, sound))
    assert len(planes) == 2 and abs(planes).max() < 0.95
    rms = np.sqrt((planes[:, RATE // 2 : -RATE // 2] ** 2).mean(1))
    assert rms[1] / rms[0] == pytest.approx(0.707 / 1.707, abs=0.02)
