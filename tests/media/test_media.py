"""Files in and out: alignment and level of known signals, and one sentence for each broken file."""

import errno
import fcntl
import io
import os
import platform
import stat
import struct
import time
import tracemalloc
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import soxr
from films import BROKEN, cut_short, flash_and_beep, level, make_video, plain_video, tone
from PIL import Image

from sop_core.errors import SopError
from sop_core.media import atomic
from sop_core.media.atomic import atomic_path, sweep, unfinished
from sop_core.media.container import video_seconds
from sop_core.media.jpgs import MOST_PIXELS, frame_path, frame_size, read_frames
from sop_core.media.sound import (
    MP3_BIT_RATES,
    read_sound,
    resampled,
    sound_length,
    sound_writer,
    wav_bytes,
    write_wav,
)
from sop_core.media.stream import read_video, stream, stream_sound
from sop_core.media.survey import survey
from sop_core.media.write import write_video

RATE = 11_025


@pytest.mark.parametrize("ending", ["mp4", "mkv"])
@pytest.mark.parametrize(
    "starts",
    [(0, 0), (0.72, 0), (0, 0.72), (1.0, 1.52)],
    ids=["both at 0", "late picture", "late sound", "both late"],
)
def test_flash_and_beep_meet(tmp_path, ending, starts):
    picture_start, sound_start = starts
    flash_and_beep(tmp_path / f"a.{ending}", 2.4, 4.0, picture_start, sound_start)
    frames, sound = read_video(tmp_path / f"a.{ending}", 8, RATE)
    onset = np.flatnonzero(abs(sound) > 0.1)[0] / RATE
    flash = np.flatnonzero(frames.mean((1, 2, 3)) > 128)[0]
    # Time 0 is where both have begun: the first picture, or the first sound sample. Where aac
    # starts late, that is its run-up of 1024 samples.
    begin = max(starts)
    assert 2.4 - begin - 0.005 < onset < 2.4 - begin + 1024 / 44_100 + 0.005
    # the first frame whose instant (k + 0.5) / 8 is not before the beep
    assert flash == np.ceil(onset * 8 - 0.5)
    assert len(frames) == pytest.approx((4.0 - begin) * 8, abs=1)
    assert len(sound) == pytest.approx((4.0 - begin) * RATE, abs=0.06 * RATE)


@pytest.mark.parametrize(("ending", "rate"), [("mp4", 44_100), ("mov", 22_050), ("mp4", 48_000)])
def test_a_sound_is_as_long_as_it_was_written_whatever_decodes_it(tmp_path, ending, rate):
    """An encoder fills its last frame of 1024 samples; the file says how many of them count.

    FFmpeg 8 gives all of them.
    """
    count = round(1.3 * rate)
    assert count % 1024  # else nothing is filled up
    times = np.arange(0, 1.3, 0.04)
    pictures = [np.full((48, 64, 3), 90, np.uint8)] * len(times)
    sound = tone(440, 1.3, rate)[None]
    path = make_video(tmp_path / f"a.{ending}", times, pictures, sound, rate=rate)
    assert sum(map(len, stream_sound(path, rate))) == count
    assert len(read_video(path, 8, rate)[1]) == count
    # within it nothing is cut
    assert len(read_video(path, 8, rate, 0.5, 0.3)[1]) == round(0.3 * rate)


def test_a_title_needs_no_valid_utf_8(tmp_path):
    path = plain_video(tmp_path / "a.mp4")
    with av.open(str(path)) as source, av.open(str(tmp_path / "b.mp4"), "w") as titled:
        titled.metadata["title"] = "TITLETITLE"
        streams = {s.index: titled.add_stream_from_template(s) for s in source.streams}
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream.index]
                titled.mux(packet)
    data = (tmp_path / "b.mp4").read_bytes()
    assert data.count(b"TITLETITLE") == 1
    (tmp_path / "b.mp4").write_bytes(data.replace(b"TITLETITLE", b"\xff\xfe\xc3(\x80TITL\xe9"))
    assert len(read_video(tmp_path / "b.mp4", 8, RATE)[0]) == 16


def test_flash_and_beep_meet_at_a_variable_frame_rate(tmp_path):
    times = np.concatenate([np.arange(0, 1, 0.02), np.arange(1, 3, 0.3), np.arange(3.1, 5, 0.05)])
    flash_and_beep(tmp_path / "a.mp4", 3.1, 5.0, times=times)
    frames, sound = read_video(tmp_path / "a.mp4", 8, RATE)
    onset = np.flatnonzero(abs(sound) > 0.1)[0] / RATE
    assert np.flatnonzero(frames.mean((1, 2, 3)) > 128)[0] == np.ceil(onset * 8 - 0.5)


def test_an_av1_video_leaves_tests_their_priority(tmp_path):
    """Its encoder makes its process a real-time one: see make_video."""
    if "libsvtav1" not in av.codecs_available or not hasattr(os, "sched_getscheduler"):
        pytest.skip("this PyAV has no libsvtav1 that could")
    make_video(tmp_path / "a.mkv", [0, 1], [np.zeros((64, 64, 3), np.uint8)] * 2, codec="libsvtav1")
    assert os.sched_getscheduler(0) == os.SCHED_OTHER


@pytest.mark.parametrize("codec", ["libx264", "libx265", "libvpx-vp9", "libsvtav1", "mpeg4"])
@pytest.mark.parametrize("pace", ["even", "uneven"])
@pytest.mark.parametrize(("fps", "start"), [(8, 0), (1, 0), (25, 1), (40, 0)])
def test_each_frame_is_the_picture_that_is_on_the_screen(tmp_path, codec, pace, fps, start):
    """Pictures that need no decoding change nothing: compared with all of them decoded."""
    rng = np.random.default_rng(0)
    uneven = pace == "uneven"
    steps = rng.choice([0.01, 0.04, 0.15], 100) if uneven else np.full(150, 0.04)
    times = np.cumsum(steps)
    times = np.round(times - times[0], 4)
    pictures = [np.full((48, 64, 3), v, np.uint8) for v in rng.integers(0, 255, len(times))]
    if codec not in av.codecs_available:
        pytest.skip(f"this PyAV has no {codec}")
    sound = tone(440, times[-1] + 0.04, 44_100)[None]
    make_video(tmp_path / "a.mkv", times, pictures, sound, codec=codec)
    with av.open(str(tmp_path / "a.mkv")) as container:
        decoded = [(f.time, f.to_ndarray(format="rgb24").mean()) for f in container.decode(video=0)]
    shown, levels = zip(*decoded, strict=True)
    with av.open(str(tmp_path / "a.mkv")) as container:
        zero = next(container.decode(audio=0)).time
    frames, _ = read_video(tmp_path / "a.mkv", fps, RATE, start)
    instants = zero + start + (np.arange(len(frames)) + 0.5) / fps
    at = np.searchsorted(shown, instants + 1e-6, side="right") - 1
    assert len(frames) > (5 - start) * fps
    np.testing.assert_allclose(frames.mean((1, 2, 3)), np.array(levels)[at], atol=1)


def test_an_edit_list_that_leaves_out_the_beginning_is_obeyed(tmp_path):
    flash_and_beep(tmp_path / "a.mp4", 2.0, 4.0)
    with av.open(str(tmp_path / "a.mp4")) as source, av.open(str(tmp_path / "b.mp4"), "w") as cut:
        streams = {s.index: cut.add_stream_from_template(s) for s in source.streams}
        for packet in source.demux():
            # 0.7 s before time 0: kept in the file, for decoding, but not shown
            if packet.dts is not None:
                shift = round(Fraction(7, 10) / packet.time_base)
                packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
                packet.stream = streams[packet.stream.index]
                cut.mux(packet)
    assert b"elst" in (tmp_path / "b.mp4").read_bytes()
    frames, sound = read_video(tmp_path / "b.mp4", 8, RATE)
    onset = np.flatnonzero(abs(sound) > 0.1)[0] / RATE
    assert onset == pytest.approx(1.3, abs=0.03)
    assert abs(np.flatnonzero(frames.mean((1, 2, 3)) > 128)[0] - np.ceil(onset * 8 - 0.5)) <= 1


def test_a_section_is_the_same_part_of_the_whole(tmp_path):
    flash_and_beep(tmp_path / "a.mp4", 3.0, 6.0)
    frames, sound = read_video(tmp_path / "a.mp4", 8, RATE)
    part_frames, part_sound = read_video(tmp_path / "a.mp4", 8, RATE, start=2.0, duration=2.0)
    assert part_frames.shape[0] == 16 and len(part_sound) == 2 * RATE
    np.testing.assert_array_equal(part_frames, frames[16:32])
    expected = sound[2 * RATE :][500 : 2 * RATE - 500]
    np.testing.assert_allclose(part_sound[500:-500], expected, atol=2e-3)


@pytest.mark.parametrize(
    ("rate", "gains", "expected"),
    [(44_100, (1,), 0.5), (44_100, (1, 0), 0.25), (48_000, (1, 1), 0.5), (8_000, (1,), 0.5)],
    ids=["mono", "left only", "48 kHz stereo", "8 kHz"],
)
def test_level_and_pitch_survive(tmp_path, rate, gains, expected):
    sound = np.stack([g * tone(700, 3, rate) for g in gains])
    make_video(tmp_path / "a.mp4", [0, 1, 2], [np.zeros((48, 64, 3), np.uint8)] * 3, sound, rate)
    _, heard = read_video(tmp_path / "a.mp4", 8, RATE)
    assert heard.dtype == np.float32
    assert level(heard, 700, RATE) == pytest.approx(expected, rel=0.03)
    spectrum = abs(np.fft.rfft(heard * np.hanning(len(heard))))
    assert np.argmax(spectrum) * RATE / len(heard) == pytest.approx(700, abs=1)


def test_memory_does_not_grow_with_a_videos_length(tmp_path):
    most = {}
    for seconds in (8, 40):
        path = plain_video(tmp_path / f"{seconds}.mp4", seconds)
        tracemalloc.start()
        for _ in stream(path, 8, RATE):
            pass
        most[seconds] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert most[40] < 1.2 * most[8]


def test_what_11_khz_cannot_hold_is_gone_not_folded_back(tmp_path):
    pictures = [np.zeros((48, 64, 3), np.uint8)] * 2
    make_video(tmp_path / "a.mp4", [0, 1], pictures, tone(9000, 2, 44_100)[None])
    _, heard = read_video(tmp_path / "a.mp4", 8, RATE)
    # a plain decimation would give a tone at 2025 Hz, as loud as before
    assert abs(heard[1000:-1000]).max() < 0.005


def test_surround_sound_is_mixed_without_clipping(tmp_path):
    sound = np.stack([tone(500, 2, 48_000, 0.9)] * 6)
    make_video(tmp_path / "a.mp4", [0, 1], [np.zeros((48, 64, 3), np.uint8)] * 2, sound, 48_000)
    _, heard = read_video(tmp_path / "a.mp4", 8, RATE)
    assert 0.4 < level(heard, 500, RATE) <= 0.95


def test_the_short_side_is_limited_and_the_shape_kept(tmp_path):
    pictures = [np.zeros((300, 500, 3), np.uint8)] * 2
    make_video(tmp_path / "a.mp4", [0, 0.5], pictures, tone(440, 1, 44_100)[None])
    assert read_video(tmp_path / "a.mp4", 8, RATE)[0].shape[1:] == (256, 427, 3)
    assert read_video(tmp_path / "a.mp4", 8, RATE, max_side=None)[0].shape[1:] == (300, 500, 3)


def test_odd_sizes_and_pixels_that_are_no_squares(tmp_path):
    for size, pixel, expected in (((61, 83), None, (61, 83)), ((48, 64), Fraction(4, 3), (48, 85))):
        with av.open(str(tmp_path / "a.mkv"), "w") as container:
            video = container.add_stream("h264", rate=25)
            (video.height, video.width), video.pix_fmt = size, "yuv444p"
            if pixel:
                video.codec_context.sample_aspect_ratio = pixel
            audio = container.add_stream("aac", rate=44_100, layout="mono")
            for _ in range(25):
                picture = np.full((*size, 3), (200, 40, 90), np.uint8)
                container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            sound = tone(440, 1, 44_100)[None]
            frame = av.AudioFrame.from_ndarray(sound, format="fltp", layout="mono")
            frame.sample_rate = 44_100
            container.mux(audio.encode(frame))
            container.mux(video.encode(None)), container.mux(audio.encode(None))
        frames, _ = read_video(tmp_path / "a.mkv", 8, RATE)
        assert frames.shape[1:3] == expected
        np.testing.assert_allclose(frames.reshape(-1, 3).mean(0), (200, 40, 90), atol=6)


def test_a_phone_video_stands_upright(tmp_path):
    picture = np.zeros((48, 80, 3), np.uint8)
    picture[:, 60:] = 255  # bright at the right as stored
    path = make_video(tmp_path / "a.mp4", [0, 0.5], [picture] * 2, tone(440, 1, 44_100)[None])
    # tkhd's matrix for "turn a quarter clockwise when shown": x' = -y, y' = x (ISO 14496-12, 6.2.2)
    identity = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    quarter = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 48 << 16, 0, 1 << 30)
    data = path.read_bytes()
    at = data.index(identity, data.index(b"tkhd"))
    path.write_bytes(data[:at] + quarter + data[at + len(quarter) :])
    frames, _ = read_video(path, 8, RATE)
    assert frames.shape[1:] == (80, 48, 3)
    # the right side has become the bottom
    assert frames[0, 65:].mean() > 240 and frames[0, :55].mean() < 15


# ---- broken


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_video_says_why_in_one_line(tmp_path, case):
    make, reason = BROKEN[case]
    with pytest.raises(SopError) as e:
        read_video(make(tmp_path), 8, RATE)
    assert str(e.value).startswith(f"{tmp_path / 'x.mp4'}: ") and reason in str(e.value)
    assert "\n" not in str(e.value) and len(str(e.value)) < len(str(tmp_path)) + 110


def test_a_part_of_a_video_that_is_cut_short_before_its_end_says_so(tmp_path):
    path = cut_short(tmp_path)
    assert len(read_video(path, 8, RATE, duration=2.0)[1]) == 2 * RATE  # that much is there
    with pytest.raises(SopError, match="cut short: 4.* s of the 10.* s it claims"):
        read_video(path, 8, RATE, duration=8.0)


def test_a_damaged_stretch_costs_itself_only(tmp_path):
    path = plain_video(tmp_path / "a.mp4", 8.0)
    data = path.read_bytes()
    middle = data.index(b"mdat") + (data.index(b"moov") - data.index(b"mdat")) // 2
    path.write_bytes(data[:middle] + np.random.default_rng(0).bytes(600) + data[middle + 600 :])
    frames, sound = read_video(path, 8, RATE)
    assert len(frames) == 64 and len(sound) == pytest.approx(8 * RATE, abs=0.06 * RATE)
    for part in (sound[: 2 * RATE], sound[6 * RATE :]):  # and what comes after is where it was
        assert level(part, 440, RATE) == pytest.approx(0.5, rel=0.03)
    wave = np.exp(-2j * np.pi * 440 * np.arange(RATE) / RATE)
    phase = [np.angle(np.mean(sound[s * RATE :][:RATE] * wave)) for s in (1, 6)]
    assert phase[0] == pytest.approx(phase[1], abs=0.1)


# ---- sound and frames


@pytest.mark.parametrize("ending", ["flac", "wav"])
def test_a_window_is_a_slice_of_the_whole(tmp_path, ending):
    noise = np.random.default_rng(0).uniform(-0.9, 0.9, 5 * RATE)
    soundfile.write(tmp_path / f"a.{ending}", noise, RATE)
    whole = read_sound(tmp_path / f"a.{ending}")
    np.testing.assert_allclose(whole, noise, atol=2**-15)
    for start, count in [(0, 100), (12_345, 20_000), (5 * RATE - 7, 7), (4000, 0)]:
        window = read_sound(tmp_path / f"a.{ending}", start, count)
        np.testing.assert_array_equal(window, whole[start : start + count])
    assert sound_length(tmp_path / f"a.{ending}") == (5 * RATE, RATE)


def coloured_noise(seconds, rate=RATE):
    noise = np.cumsum(np.random.default_rng(0).normal(size=round(seconds * rate)))
    noise -= np.convolve(noise, np.ones(200) / 200, "same")
    return (0.7 * noise / abs(noise).max()).astype(np.float32)


@pytest.mark.parametrize(
    "kind", ["ours", "any of 9 rates", "foreign with a reservoir", "foreign VBR", "foreign stereo"]
)
def test_a_window_of_mp3_is_a_slice_of_the_whole_too(tmp_path, kind):
    rates = {"any of 9 rates": list(MP3_BIT_RATES), "foreign stereo": [44_100]}.get(kind, [RATE])
    for rate in rates:
        path, noise = tmp_path / f"{rate}.mp3", coloured_noise(20, rate)
        if kind == "foreign VBR":
            soundfile.write(path, noise, rate)
        elif kind.startswith("foreign"):
            encode_mp3(path, np.stack([noise, noise[::-1]])[: 1 + kind.endswith("stereo")], rate)
        else:
            with sound_writer(path, rate) as write:
                for i in range(0, len(noise), 1_777):
                    write(noise[i : i + 1_777])
        # by libsndfile: another decoder
        whole, _ = soundfile.read(path, dtype="float32", always_2d=True)
        whole = whole.mean(axis=1)
        assert len(whole) == len(noise)
        # as loud as it was: LAME alone would make it 5 % softer
        if not kind.startswith("foreign"):
            assert np.dot(whole, noise) / np.dot(noise, noise) == pytest.approx(1, abs=0.01)
        for start in [0, 1, 575, 577, *range(2_000, len(whole) - 3_000, 9_973), len(whole) - 3_000]:
            window = read_sound(path, start, 3_000)
            np.testing.assert_allclose(window, whole[start : start + 3_000], atol=1e-5)


def encode_mp3(path, sound, rate, bits=None):
    """As ffmpeg does it by default: a constant bit rate, with a reservoir."""
    layout = {1: "mono", 2: "stereo"}[len(sound)]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libmp3lame", rate=rate, layout=layout)
        stream.bit_rate = bits or (24_000 if rate == RATE else 128_000)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound), "fltp", layout)
        frame.sample_rate = rate
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@pytest.mark.parametrize("rate", [11_025, 16_000, 22_050, 24_000, 44_100])
@pytest.mark.parametrize("bits", [8_000, 16_000, 32_000])
def test_windows_of_mp3s_with_few_bits_lean_far_back_and_say_nothing(tmp_path, capfd, rate, bits):
    encode_mp3(tmp_path / "a.mp3", coloured_noise(8, rate)[None], rate, bits)
    whole, _ = soundfile.read(tmp_path / "a.mp3", dtype="float32")
    for start in range(0, len(whole) - 3_000, 9_973):
        window = read_sound(tmp_path / "a.mp3", start, 3_000)
        np.testing.assert_allclose(window, whole[start : start + 3_000], atol=1e-5)
    os.write(2, b"stderr is back")
    # libmpg123 complains of frames without their reservoir
    assert capfd.readouterr().err == "stderr is back"


def test_mp3_that_is_damaged_is_read_with_the_hole_or_refused(tmp_path):
    noise = coloured_noise(20)
    with sound_writer(tmp_path / "a.mp3", RATE) as write:
        write(noise)
    data = (tmp_path / "a.mp3").read_bytes()
    whole = read_sound(tmp_path / "a.mp3")
    (tmp_path / "a.mp3").write_bytes(data[: len(data) // 2])
    with pytest.raises(SopError, match="cut short"):
        read_sound(tmp_path / "a.mp3", 15 * RATE, 3_000)
    window = read_sound(tmp_path / "a.mp3", RATE, 3_000)
    np.testing.assert_allclose(window, whole[RATE:][:3_000], atol=1e-5)


def test_sound_is_averaged_over_channels_and_resampled(tmp_path):
    left_only = np.stack([tone(700, 2, 44_100), np.zeros(88_200)], 1)
    soundfile.write(tmp_path / "a.wav", left_only, 44_100)
    sound = read_sound(tmp_path / "a.wav", rate=RATE)
    assert sound.shape == (2 * RATE,) and sound.dtype == np.float32
    assert level(sound, 700, RATE) == pytest.approx(0.25, rel=0.01)


def test_sound_that_is_too_short_or_broken_says_so(tmp_path):
    soundfile.write(tmp_path / "a1b2.flac", np.zeros(round(3.1 * RATE)), RATE)
    with pytest.raises(SopError, match=r"a1b2\.flac: 3\.10 s of sound, needs 5\.94 s"):
        read_sound(tmp_path / "a1b2.flac", 0, 65_535)
    (tmp_path / "b.mp3").write_bytes(b"not music" * 100)
    with pytest.raises(SopError, match=r"b\.mp3: not a sound file"):
        read_sound(tmp_path / "b.mp3")
    with pytest.raises(SopError, match=r"c\.wav: no such file"):
        sound_length(tmp_path / "c.wav")


def test_frames_are_read_by_index_and_at_the_size_asked_for(tmp_path):
    for k in range(4):
        picture = np.full((90, 140, 3), 40 * k, np.uint8)
        picture[:, 70:, 0] = 250  # the right half is redder
        Image.fromarray(picture).save(frame_path(tmp_path, k), quality=95)
    assert (tmp_path / "000001.jpg").exists()
    frames = read_frames(tmp_path, [3, 0])
    assert frames.shape == (2, 90, 140, 3) and frames.dtype == np.uint8
    np.testing.assert_allclose(frames[:, 45, 20, 1], [120, 0], atol=4)
    small = read_frames(tmp_path, [1], size=(28, 14))
    assert small.shape == (1, 14, 28, 3)
    assert abs(int(small[0, 7, 3, 0]) - 40) < 6 and small[0, 7, 24, 0] > 240
    part = read_frames(tmp_path, [1], size=(16, 16), box=(75, 0, 140, 90))
    assert part[..., 0].min() > 235


def test_a_missing_or_torn_frame_says_so(tmp_path):
    data = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (90, 140, 3), np.uint8)
    Image.fromarray(noise).save(data, "jpeg")
    (tmp_path / "000001.jpg").write_bytes(data.getvalue()[:3000])
    (tmp_path / "000002.jpg").write_bytes(b"")
    (tmp_path / "000003.jpg").write_bytes(b"no picture")
    for index, reason in enumerate(["not a picture", "empty", "not a picture", "no such file"]):
        with pytest.raises(SopError, match=f"{index + 1:06d}.jpg: {reason}"):
            read_frames(tmp_path, [index])


# ---- out


def test_wav_comes_back_as_it_went(tmp_path):
    sound = np.linspace(-1.5, 1.5, 1000).astype(np.float32)
    write_wav(tmp_path / "new" / "a.wav", sound, RATE)
    back = read_sound(tmp_path / "new" / "a.wav")
    np.testing.assert_allclose(back, np.clip(sound, -1, 1), atol=2**-14)
    assert wav_bytes(sound, RATE) == (tmp_path / "new" / "a.wav").read_bytes()
    assert soundfile.info(tmp_path / "new" / "a.wav").subtype == "PCM_16"


def test_an_mp4_comes_back_in_step(tmp_path):
    flash, frames = 1.5, np.zeros((24, 61, 83, 3), np.uint8)  # odd sides
    frames[12:] = 255
    sound = np.where(np.arange(3 * RATE) / RATE >= flash, tone(800, 3, RATE), 0)
    write_video(tmp_path / "a.mp4", frames, 8, sound, RATE)
    seen, heard = read_video(tmp_path / "a.mp4", 8, RATE)
    assert seen.shape[1:] == (62, 84, 3)
    assert np.flatnonzero(seen.mean((1, 2, 3)) > 128)[0] == 12
    assert np.flatnonzero(abs(heard) > 0.1)[0] / RATE == pytest.approx(flash, abs=0.005)
    assert level(heard[2 * RATE :], 800, RATE) == pytest.approx(0.5, rel=0.03)


def test_an_mp4_takes_its_sound_in_pieces_too(tmp_path):
    frames, sound = np.zeros((16, 32, 32, 3), np.uint8), tone(800, 2, RATE)
    write_video(tmp_path / "a.mp4", frames, 8, sound, RATE)
    write_video(tmp_path / "b.mp4", frames, 8, iter(np.array_split(sound, [1, 7, 9_000])), RATE)
    one, two = (read_video(tmp_path / name, 8, RATE)[1] for name in ("a.mp4", "b.mp4"))
    np.testing.assert_allclose(one[100:-100], two[100:-100], atol=0.01)


@pytest.mark.parametrize("rates", [(RATE, 44_100), (48_000, RATE)])
def test_resampling_by_pieces_is_resampling_the_whole(rates):
    sounds = np.random.default_rng(0).standard_normal((3, 20_000)).astype(np.float32)
    pieces = np.array_split(sounds, [5, 900, 901, 15_000], 1)
    joined = np.concatenate(list(resampled(pieces, *rates)), 1)
    np.testing.assert_allclose(joined, soxr.resample(sounds.T, *rates).T, atol=1e-3)
    alone = np.concatenate(list(resampled(np.array_split(sounds[1], [7_000]), *rates)))
    np.testing.assert_allclose(alone, joined[1], atol=1e-6)


@pytest.mark.parametrize("start", [0.0, 0.3])
def test_the_sound_alone_is_the_sound_that_comes_with_the_picture(tmp_path, start):
    video = plain_video(tmp_path / "a.mp4", sound_start=start)
    sound = np.concatenate(list(stream_sound(video, RATE)))
    np.testing.assert_array_equal(sound, read_video(video, 8, RATE)[1])
    assert survey(video).rate == 44_100
    with pytest.raises(SopError, match="no sound"):
        survey(plain_video(tmp_path / "b.mp4", sound=False))


def test_the_sound_alone_is_refused_if_the_video_is_cut_short_not_if_the_sound_ends_early(tmp_path):
    video = plain_video(tmp_path / "a.mkv", 10.0)
    video.write_bytes(video.read_bytes()[: video.stat().st_size * 2 // 5])
    with pytest.raises(SopError, match=r"cut short: .* s of the 10.\d s it claims"):
        list(stream_sound(video, RATE))
    times = np.arange(0, 8, 0.04)
    pictures = [np.zeros((48, 64, 3), np.uint8)] * len(times)
    early = make_video(tmp_path / "b.mp4", times, pictures, tone(440, 3, 44_100)[None])
    sound = np.concatenate(list(stream_sound(early, RATE)))
    assert len(sound) == pytest.approx(3 * RATE, abs=0.1 * RATE)


def test_nothing_half_written_is_seen(tmp_path):
    write_wav(tmp_path / "a.wav", np.zeros(10), RATE)
    before = (tmp_path / "a.wav").read_bytes()

    def frames():
        yield np.zeros((16, 16, 3), np.uint8)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_video(tmp_path / "a.mp4", frames(), 8, np.zeros(RATE), RATE)
    with pytest.raises(ZeroDivisionError), atomic_path(tmp_path / "a.wav") as part:
        part.write_bytes(b"half")
        raise ZeroDivisionError
    assert [p.name for p in tmp_path.iterdir()] == ["a.wav"]
    assert (tmp_path / "a.wav").read_bytes() == before


def test_a_folder_is_replaced_whole(tmp_path):
    for text in ("old", "new"):
        with atomic_path(tmp_path / "x.mp4") as part:
            part.mkdir()
            (part / f"{text}.jpg").write_text(text)
    assert [str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*")] == ["x.mp4", "x.mp4/new.jpg"]


def test_sweep_takes_what_the_dead_left_and_nothing_else(tmp_path):
    with atomic_path(tmp_path / "a.jpg") as part:
        part.write_text("alive")
        process = part.name.split("-")[-2]
        dead = part.name.replace(f"-{process}-", "-4194305-")  # above the largest process number
        (tmp_path / dead).mkdir()
        (tmp_path / dead / "000001.jpg").write_text("")
        (tmp_path / dead.replace("part-", "part-elsewhere")).write_text("")
        (tmp_path / ".part-mine").write_text("")
        assert sweep(tmp_path) == 1
        assert not (tmp_path / dead).exists() and part.exists()
    assert len(list(Path(tmp_path).iterdir())) == 3


@pytest.mark.parametrize("host", ["elsewhere", platform.node()])
def test_what_nobody_wrote_to_for_a_day_was_left_whoever_made_it(tmp_path, host):
    """A container has another host name each time, and its process is always number 1."""
    for age, gone in ((80_000, False), (90_000, True)):
        part = tmp_path / f".part-{host}-1-0123abcd.npy"
        part.write_text("x")
        os.utime(part, (time.time() - age,) * 2)
        assert sweep(tmp_path) == gone and part.exists() != gone
        part.write_text("x")
        os.utime(part, (time.time() - age,) * 2)
        mine = unfinished(tmp_path / "a.npy", "0123abcd")
        assert mine.exists() == gone and part.exists() != gone
        assert unfinished(tmp_path / "a.npy", "0123abcd") == mine and sweep(tmp_path) == 0


def test_asking_for_a_process_sends_no_signal(tmp_path, monkeypatch):
    """Signal 0 is Ctrl-C on Windows."""
    monkeypatch.setattr("sop_core.media.atomic.os.kill", None)
    monkeypatch.setattr("psutil.pid_exists", lambda number: number != 7)
    for number, gone in ((7, True), (8, False), (10**30, False)):
        (tmp_path / f".part-{platform.node()}-{number}-00000000.jpg").write_text("")
        assert sweep(tmp_path) == gone


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_window_that_holds_no_number_is_refused_and_no_other(tmp_path, bad):
    sound = tone(440, 2, RATE).astype(np.float32)
    sound[RATE] = bad
    soundfile.write(tmp_path / "a.wav", sound, RATE, subtype="FLOAT")
    for start, count in ((0, None), (RATE, 1), (100, RATE)):
        reason = r"a\.wav: no number \(NaN or Inf\) at 1\.00 s of its sound"
        with pytest.raises(SopError, match=reason):
            read_sound(tmp_path / "a.wav", start, count, rate=8_000)
    for start in (RATE + 1, 0):
        assert len(read_sound(tmp_path / "a.wav", start, 100)) == 100


def test_what_is_no_file_or_too_large_is_not_read(tmp_path, monkeypatch):
    frame, pipe = frame_path(tmp_path, 0), tmp_path / "a.wav"
    os.mkfifo(pipe)
    with pytest.raises(SopError, match="not a file"):  # and not waited for
        sound_length(pipe)
    frame.symlink_to("/dev/zero")
    for read in (frame_size, lambda folder: read_frames(folder, [0])):
        with pytest.raises(SopError, match="not a file"):
            read(tmp_path)
    frame.unlink()
    with frame.open("wb") as f:
        f.truncate(MOST_PIXELS + 1)  # a hole: takes no room
    monkeypatch.setattr(type(frame), "read_bytes", None)
    for read in (frame_size, lambda folder: read_frames(folder, [0])):
        with pytest.raises(SopError, match="100,000,001 bytes"):
            read(tmp_path)


def test_the_length_of_a_video_is_told_of_videos_alone(tmp_path):
    assert video_seconds(plain_video(tmp_path / "a.mp4", 2.0)) == pytest.approx(2.0, abs=0.05)
    (tmp_path / "list.mp4").write_text("ffconcat version 1.0\nfile a.mp4\n")
    with pytest.raises(SopError, match="not a video file"):
        video_seconds(tmp_path / "list.mp4")
    with pytest.raises(SopError, match="no sound stream"):
        video_seconds(plain_video(tmp_path / "b.mp4", sound=False))


def test_a_picture_of_too_many_pixels_is_not_decoded(tmp_path, monkeypatch):
    Image.new("RGB", (40, 30)).save(frame_path(tmp_path, 0))
    assert read_frames(tmp_path, [0]).shape == (1, 30, 40, 3)
    monkeypatch.setattr("sop_core.media.jpgs.MOST_PIXELS", 1_199)
    with pytest.raises(SopError, match="40 x 30 pixels"):
        read_frames(tmp_path, [0])


def test_what_is_written_is_on_the_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    done, fsync = [], os.fsync
    path = tmp_path / "a.txt"

    def record(fd):
        done.append((str(Path(f"/proc/self/fd/{fd}").readlink()), path.exists()))
        fsync(fd)

    monkeypatch.setattr(os, "fsync", record)
    with atomic_path(path) as part:
        part.write_text("x")
    assert done == [(str(part), False), (str(tmp_path), True)]


@pytest.mark.parametrize("refused", ["open", "fsync"])
def test_a_folder_that_cannot_be_flushed_is_no_error_and_a_file_is(tmp_path, monkeypatch, refused):
    """Windows opens no folder, and flushes no file that was opened for reading alone."""
    original, kinds = getattr(os, refused), {stat.S_ISDIR}

    def call(what, *more, **how):
        if any(kind(os.stat(what).st_mode) for kind in kinds):  # noqa: PTH116 (a number, too)
            raise OSError(errno.EINVAL, "no")
        assert refused == "open" or fcntl.fcntl(what, fcntl.F_GETFL) & os.O_RDWR
        return original(what, *more, **how)

    with monkeypatch.context() as patch:
        patch.setattr(os, refused, call)
        with atomic_path(tmp_path / "a.mp4") as part:
            part.mkdir()
        with atomic_path(tmp_path / "a.txt") as part:
            part.write_text("x")
        assert (tmp_path / "a.txt").read_text() == "x" and (tmp_path / "a.mp4").is_dir()
        part = tmp_path / "b.txt"
        part.write_text("x")
        kinds.add(stat.S_ISREG)
        with pytest.raises(OSError, match="no"):
            atomic._fsync(part)


def test_a_sound_that_is_mostly_gaps_is_a_broken_file(tmp_path):
    """Silence for all of the gap would be written to the disk, however long it claims to be."""
    for gap in (5, 700):
        with av.open(str(tmp_path / f"{gap}.mkv"), "w") as out:
            video = out.add_stream("libx264", rate=1)
            audio = out.add_stream("pcm_s16le", rate=8_000, layout="mono")
            video.width = video.height = 32
            black = np.zeros((32, 32, 3), np.uint8)
            out.mux(video.encode(av.VideoFrame.from_ndarray(black, format="rgb24")))
            out.mux(video.encode(None))
            for second in (0, 1 + gap):
                ones = np.ones((1, 8_000), np.int16)
                frame = av.AudioFrame.from_ndarray(ones, format="s16", layout="mono")
                frame.sample_rate = 8_000
                frame.pts = 8_000 * second
                frame.time_base = Fraction(1, 8_000)
                out.mux(audio.encode(frame))
            out.mux(audio.encode(None))
    sound = np.concatenate(list(stream_sound(tmp_path / "5.mkv", 8_000)))
    assert len(sound) == 7 * 8_000
    with pytest.raises(SopError, match="holds 2.0 s of sound in 702.0 s: .* convert it again"):
        list(stream_sound(tmp_path / "700.mkv", 8_000))
