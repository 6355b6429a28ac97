"""Clocks that jump, streams that are late, and files that claim what they don't hold."""

import re
import struct
from fractions import Fraction
from itertools import pairwise

import av
import numpy as np
import pytest
from films import make_video, tone

from sop_core.errors import SopError
from sop_core.media.stream import read_video, stream, stream_sound

RATE = 11_025
FPS = 25


def film(path, seconds, flashes=(), start=(0.0, 0.0), ends=None, rate=44_100, size=(48, 64), **how):
    """Black and silent; white and loud for 0.2 s from each second of `flashes`.

    Args: `start`: of picture and sound; `ends`: likewise.
    """
    ends = ends or (seconds, seconds)
    times = np.arange(start[0], ends[0] - 1e-6, 0.04)
    t = start[1] + np.arange(round((ends[1] - start[1]) * rate)) / rate
    sound = np.zeros(len(t), np.float32)
    white = np.zeros(len(times), bool)
    for at in flashes:
        sound += np.where((t >= at) & (t < at + 0.2), 0.5 * np.sin(2 * np.pi * 1_000 * t), 0)
        white |= (times > at - 1e-6) & (times < at + 0.2 - 1e-6)
    pictures = [np.full((*size, 3), 255 * w, np.uint8) for w in white]
    return make_video(path, times, pictures, sound[None], rate, start[1], **how)


def moments(frames, sound, fps=FPS):
    """Seconds at which the picture turns white, and at which the sound begins."""
    white = np.flatnonzero(np.diff(frames.mean((1, 2, 3)) > 128, prepend=False))[::2] / fps
    loud = abs(sound) > 0.1
    quiet = np.convolve(loud, np.ones(RATE // 20), "full")[: len(loud)] - loud == 0
    return white, np.flatnonzero(loud & quiet) / RATE


def assert_together(path, expected, **how):
    """Flash and beep meet within one frame, and so with what is expected. Returns the notes."""
    notes = []
    frames, sound = read_video(path, FPS, RATE, notes=notes, **how)
    flash, beep = moments(frames, sound)
    assert len(flash) == len(beep) == len(expected)
    np.testing.assert_allclose(flash, beep, atol=0.041)
    np.testing.assert_allclose(beep, expected, atol=0.06)
    assert abs(len(frames) - len(sound) / RATE * FPS) <= 1
    return notes


def with_times(path, change):
    """A TS whose timestamps of pictures and sound (33 bits, 90 kHz) are changed, byte by byte.

    `change`: ticks, kind, part of the file before it -> ticks.
    Source: ISO 13818-1, 2.4.3.2 (packets) and 2.4.3.7 (PES).
    """
    data = bytearray(path.read_bytes())

    def one(at, kind):
        b = data[at : at + 5]
        ticks = (b[0] >> 1 & 7) << 30 | b[1] << 22 | (b[2] >> 1) << 15 | b[3] << 7 | b[4] >> 1
        new = change(ticks, kind, at / len(data)) % 2**33
        bits = new >> 29 & 14, new >> 22 & 255, new >> 14 & 254, new >> 7 & 255, new << 1 & 254
        data[at : at + 5] = bytes(
            (b[0] & 0xF1 | bits[0], bits[1], bits[2] | 1, bits[3], bits[4] | 1)
        )

    for at in range(0, len(data), 188):
        head = at + 4 + (1 + data[at + 4] if data[at + 3] & 0x20 else 0)
        if data[at + 1] & 0x40 and data[head : head + 3] == b"\0\0\1":
            kind = "video" if data[head + 3] & 0xF0 == 0xE0 else "audio"
            for k in range((data[head + 7] >> 6 & 1) + (data[head + 7] >> 7)):
                one(head + 9 + 5 * k, kind)
    path.write_bytes(data)
    return path


# ---- clocks that jump


def pieces(folder, *parts):
    path = folder / "all.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


@pytest.mark.parametrize("rate", [44_100, 22_050, 48_000])
def test_two_recordings_in_one_file_are_both_there(tmp_path, rate):
    """Both begin at the same second; the second one may have another rate."""
    one = film(tmp_path / "1.ts", 3.0, [1.0, 2.5])
    two = film(tmp_path / "2.ts", 2.0, [0.5], rate=rate)
    notes = assert_together(pieces(tmp_path, one, two), [1.0, 2.5, 3.55])
    assert notes == ["its clock jumps once: what follows is joined to what came before"]


def test_a_part_behind_a_jump_is_the_part_of_the_whole(tmp_path):
    parts = [film(tmp_path / f"{k}.ts", 3.0, [1.0, 2.0]) for k in range(3)]
    path = pieces(tmp_path, *parts)
    frames, sound = read_video(path, FPS, RATE)
    part_frames, part_sound = read_video(path, FPS, RATE, start=4.0, duration=4.0)
    np.testing.assert_array_equal(part_frames, frames[100:200])
    np.testing.assert_allclose(part_sound[500:], sound[4 * RATE :][500 : 4 * RATE], atol=2e-3)
    alone = np.concatenate(list(stream_sound(path, RATE)))
    np.testing.assert_array_equal(alone, sound)


def test_pieces_keep_together_where_one_has_no_sound_or_a_shorter_one(tmp_path):
    parts = [
        film(tmp_path / "1.ts", 3.0, [1.0], ends=(3.0, 2.0)),
        film(tmp_path / "2.ts", 3.0, [1.0], ends=(2.5, 3.0)),
        film(tmp_path / "3.ts", 2.0, [1.0]),
    ]
    assert_together(pieces(tmp_path, *parts), [1.0, 4.0, 7.05])


@pytest.mark.parametrize("before", [4.0, 66.0], ids=["soon", "after a minute"])
def test_a_clock_of_33_bits_may_wrap(tmp_path, before):
    seconds = before + 3
    path = film(tmp_path / "a.ts", seconds, [1.0, before - 0.1, before + 2], rate=8_000)
    with_times(path, lambda ticks, *_: ticks - round(before * 90_000))
    assert_together(path, [1.0, before - 0.1, before + 2])
    assert_together(path, [before - 2.1, before], start=2.0)


@pytest.mark.parametrize("jump", [-1e3, 30, 5e4, -3.0])
@pytest.mark.parametrize("kinds", [("video", "audio"), ("video",), ("audio",)], ids="+".join)
def test_a_clock_may_be_set_midway(tmp_path, jump, kinds):
    """Of both streams, or of one alone: then its timestamps say nothing, but its place does."""
    path = film(tmp_path / "a.ts", 10.0, [1.0, 4.0, 8.0])

    def change(ticks, kind, part):
        return ticks + 90_000 * round(2_000 + jump * (part > 0.6 and kind in kinds))

    assert_together(with_times(path, change), [1.0, 4.0, 8.0])


@pytest.mark.parametrize("place", [0.43, 0.47, 0.5, 0.53])
def test_a_clock_may_be_set_within_a_group_of_pictures(tmp_path, place):
    """Pictures are stored in another order than shown: none is covered, none comes late."""
    path = film(tmp_path / "a.ts", 6.0, [1.0, 5.0])
    with_times(path, lambda ticks, _, part: ticks + 90_000_000 * (part < place))
    assert_together(path, [1.0, 5.0])


def test_one_wrong_timestamp_costs_no_more_than_itself(tmp_path):
    path, count = film(tmp_path / "a.ts", 6.0, [1.0, 4.0]), [0]

    def change(ticks, kind, part):
        count[0] += kind == "audio"
        return ticks + 9_000_000 * (kind == "audio" and count[0] == 100)

    assert_together(with_times(path, change), [1.0, 4.0])


def test_slides_in_a_ts_are_no_jumps(tmp_path):
    greys, times = [20, 220, 60], [0, 11, 22]
    pictures = [np.full((48, 64, 3), grey, np.uint8) for grey in greys]
    path = make_video(tmp_path / "a.ts", times, pictures, tone(440, 26, 44_100)[None])
    notes = []
    frames, sound = read_video(path, 1, RATE, notes=notes)
    assert len(frames) == 26 and len(sound) == pytest.approx(26 * RATE, abs=0.1 * RATE)
    np.testing.assert_allclose(frames.mean((1, 2, 3)), np.repeat(greys, [11, 11, 4]), atol=2)
    assert notes == []


@pytest.mark.parametrize("gap", [2.0, 8.0])
def test_a_gap_in_both_stays_a_gap(tmp_path, gap):
    path = film(tmp_path / "a.ts", 20.0, [1.0, 15.0])
    with_times(path, lambda ticks, _, part: ticks + round(gap * 90_000) * (part > 0.6))
    notes = assert_together(path, [1.0, 15.0 + gap])
    assert notes == [f"{gap:.1f} s of its sound are missing: silent there"]


@pytest.mark.parametrize("channels", [(1, 2), (2, 1), (2, 6)])
def test_size_and_channels_may_change_midway(tmp_path, channels):
    parts = []
    for k, (size, count) in enumerate(zip(((48, 64), (96, 128)), channels, strict=True)):
        times = np.arange(0, 2, 0.04)
        pictures = [np.full((*size, 3), 255 * (t >= 1), np.uint8) for t in times]
        sound = np.stack([tone(1_000, 2, 44_100) * (np.arange(88_200) >= 44_100)] * count)
        parts.append(make_video(tmp_path / f"{k}.ts", times, pictures, sound))
    path, notes = pieces(tmp_path, *parts), []
    frames, sound = read_video(path, FPS, RATE, notes=notes)
    assert frames.shape[1:] == (48, 64, 3) and len(sound) == pytest.approx(4.05 * RATE, rel=0.02)
    assert "its picture changes its size: made 64 x 48 pixels throughout" in notes
    onsets = [
        np.flatnonzero(abs(part) > 0.1)[0] / RATE for part in (sound, sound[int(2.3 * RATE) :])
    ]
    flashes = frames.mean((1, 2, 3)) > 128
    assert np.flatnonzero(flashes)[0] / FPS == pytest.approx(onsets[0], abs=0.041)
    later = np.flatnonzero(flashes[round(2.3 * FPS) :])[0] / FPS
    assert later == pytest.approx(onsets[1], abs=0.045)
    planes = np.concatenate(list(stream_sound(path, RATE, None)), 1)
    assert planes.shape == (min(2, channels[0]), len(sound))


# ---- pictures that are stored in the order of decoding


def avi(path, greys, seconds, beeps=(), codec="libx264"):
    """25 pictures a second, with B-frames; a beep of 0.2 s at each second of `beeps`."""
    t = np.arange(seconds * 44_100) / 44_100
    on = sum((t >= at) & (t < at + 0.2) for at in beeps) if beeps else 0 * t
    sound = (0.5 * on * np.sin(2 * np.pi * 1_000 * t)).astype(np.float32)[None]
    packets = []
    with av.open(str(path), "w") as out:
        video = out.add_stream(codec, rate=25, options={"bf": "2", "g": "20"})
        video.height, video.width, video.pix_fmt = 48, 64, "yuv420p"
        video.codec_context.time_base = Fraction(1, 25)
        audio = out.add_stream("pcm_s16le", rate=44_100, layout="mono")
        for k, grey in enumerate(greys):
            image = av.VideoFrame.from_ndarray(np.full((48, 64, 3), grey, np.uint8), format="rgb24")
            image.pts, image.time_base = k, Fraction(1, 25)
            packets += video.encode(image)
        packets += video.encode(None)
        shift = packets[0].dts  # below 0: the encoder's delay, which an avi can't say
        for packet in packets:
            packet.dts -= shift
            packet.pts = packet.dts
        for k, part in enumerate(np.split(sound, np.arange(4_410, sound.shape[1], 4_410), 1)):
            pcm = np.ascontiguousarray(32_767 * part).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(pcm, format="s16", layout="mono")
            frame.sample_rate, frame.time_base, frame.pts = 44_100, Fraction(1, 44_100), 4_410 * k
            packets += audio.encode(frame)
        packets += audio.encode(None)
        for packet in sorted(packets, key=lambda p: p.dts * p.time_base):
            out.mux(packet)
    return path


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
@pytest.mark.parametrize("start", [0.0, 2.0])
def test_an_avi_with_b_frames_is_in_step(tmp_path, codec, start):
    at = np.arange(0, 6, 0.04) + 1e-6
    beeps = [1.0, 2.52, 4.6]
    greys = 255 * sum((at >= beep) & (at < beep + 0.2) for beep in beeps)
    path = avi(tmp_path / "a.avi", greys, 6, beeps, codec)
    assert_together(path, [beep - start for beep in beeps if beep > start], start=start)


def test_every_picture_of_an_avi_is_shown_in_its_turn(tmp_path):
    greys = np.random.default_rng(0).permutation(75) * 3 + 10
    path = avi(tmp_path / "a.avi", greys, 3)
    frames, _ = read_video(path, FPS, RATE)
    np.testing.assert_allclose(frames.mean((1, 2, 3)), greys, atol=2)


# ---- streams that begin or end apart


@pytest.mark.parametrize("ending", ["mp4", "mkv", "ts"])
@pytest.mark.parametrize(
    ("start", "ends", "note"),
    [
        ((3.0, 0.0), (8.0, 8.0), "its picture begins 3.0 s after its sound"),
        ((0.0, 3.0), (8.0, 8.0), "its sound begins 3.0 s after its picture"),
        ((0.0, 0.0), (5.0, 8.0), "its picture ends 3.0 s before its sound"),
        ((0.0, 0.0), (8.0, 5.0), "its sound ends 3.0 s before its picture"),
        ((0.06, 0.0), (7.92, 8.0), None),
    ],
)
def test_a_clip_is_what_picture_and_sound_share(tmp_path, ending, start, ends, note):
    """The beeps and flashes that are in one of them only are left out."""
    path = film(tmp_path / f"a.{ending}", 8.0, [1.0, 4.0, 7.0], start, ends)
    begin, end = max(start), min(ends)
    if note is None:
        begin, end = 0.0, 8.0
    notes = assert_together(path, [at - begin for at in (1.0, 4.0, 7.0) if begin < at < end])
    sound = np.concatenate(list(stream_sound(path, RATE)))
    assert len(sound) == pytest.approx((end - begin) * RATE, abs=0.08 * RATE)
    assert len(notes) == bool(note) and (not note or notes[0].startswith(note[:-10]))


def test_a_file_whose_picture_and_sound_never_meet_is_refused(tmp_path):
    path = film(tmp_path / "a.mkv", 8.0, [1.0], (5.0, 0.0), (8.0, 3.0))
    with pytest.raises(SopError, match=r"a\.mkv: no picture while there is sound"):
        read_video(path, 8, RATE)


@pytest.mark.parametrize("ending", ["mp4", "mkv", "ts", "flv", "avi"])
def test_a_part_of_any_kind_of_file_is_in_step(tmp_path, ending):
    """The only picture that can be decoded alone is the first one."""
    path = film(tmp_path / f"a.{ending}", 5.0, [1.0, 3.0])
    assert_together(path, [1.0, 3.0])
    assert_together(path, [1.0], start=2.0, duration=2.0)


# ---- claims


def test_a_single_picture_stays_as_long_as_there_is_sound_and_no_longer(tmp_path):
    black = np.zeros((48, 64, 3), np.uint8)
    for ending in ("mp4", "mkv"):
        path = make_video(tmp_path / f"a.{ending}", [0], [black], tone(440, 12, 44_100)[None])
        frames, sound = read_video(path, 8, RATE)
        assert len(frames) == 96 and len(sound) == pytest.approx(12 * RATE, abs=0.06 * RATE)


def test_a_picture_that_claims_hours_gets_no_more_frames_than_there_is_sound(tmp_path):
    times = [*np.arange(0, 2, 0.04), 80_000.0]
    pictures = [np.full((48, 64, 3), 99, np.uint8)] * len(times)
    path = make_video(tmp_path / "a.mp4", times, pictures, tone(440, 2.5, 44_100)[None])
    count = sum(kind == "frame" for kind, _ in stream(path, 8, RATE))
    assert count <= 20


def gappy(path, starts, seconds, rate=8_000):
    """A mkv with a second of sound at each of `starts`, and a picture at each."""
    with av.open(str(path), "w") as out:
        audio = out.add_stream("pcm_s16le", rate=rate, layout="mono")
        video = out.add_stream("mpeg4", rate=25)
        video.width = video.height = 32
        video.codec_context.time_base = Fraction(1, 1_000)
        for start in starts:
            ones = np.ones((1, round(seconds * rate)), np.int16)
            frame = av.AudioFrame.from_ndarray(ones, format="s16", layout="mono")
            frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
            frame.pts = round(start * rate)
            out.mux(audio.encode(frame))
            image = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
            image.pts, image.time_base = round(1_000 * start), Fraction(1, 1_000)
            out.mux(video.encode(image))
    return path


def test_gaps_are_held_against_the_sound_in_all(tmp_path):
    path = gappy(tmp_path / "a.mkv", np.arange(12) * 590.0, 0.5)
    with pytest.raises(SopError, match=r"holds 6.0 s of sound in 6,490.5 s: its timestamps are"):
        next(iter(stream(path, 8, RATE)))
    fine = gappy(tmp_path / "b.mkv", [0, 4, 8], 2)  # 6 s of sound, 4 s of gaps
    frames, sound = read_video(fine, 8, RATE)
    assert len(frames) == 80 and len(sound) == 10 * RATE


@pytest.mark.parametrize("rate", [8, 999, 500_000])
def test_rates_that_no_sound_has_are_refused(tmp_path, rate):
    path = gappy(tmp_path / "a.mkv", [0, 1], 1, rate)
    expected = f"a.mkv: its sound has {rate:,} samples a second; expected 1,000 to 384,000"
    for use in (lambda: read_video(path, 8, RATE), lambda: list(stream_sound(path, RATE))):
        with pytest.raises(SopError, match=expected):
            use()


# ---- pictures that can't be told by their timestamps alone


def greys_of(path, fps, **span):
    """Which picture each frame shows, of pictures whose grey is twice their number."""
    frames, _ = read_video(path, fps, RATE, **span)
    return frames.mean((1, 2, 3)) / 2


def numbered_avi(path, codec, **options):
    """100 pictures at 25 a second; picture n has the grey 2 n. Sound: a tone."""
    with av.open(str(path), "w") as container:
        video = container.add_stream(codec, rate=25, options=options)
        video.bit_rate = 4_000_000
        video.width, video.height = 64, 48
        video.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        audio = container.add_stream("pcm_s16le", rate=8_000, layout="mono")
        packets = []
        for n in range(100):
            picture = np.full((48, 64, 3), 2 * n, np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = n, Fraction(1, 25)
            packets += video.encode(frame)
        packets += video.encode(None)
        sound = np.round(9_000 * tone(440, 4, 8_000)).astype(np.int16)[None]
        frame = av.AudioFrame.from_ndarray(sound, format="s16", layout="mono")
        frame.sample_rate, frame.pts = 8_000, 0
        packets += audio.encode(frame) + audio.encode(None)
        for packet in packets:
            container.mux(packet)
    return path


@pytest.mark.parametrize("fps", [5, 8, 12])
def test_b_pictures_of_mpeg4_in_avi_are_in_their_place_at_any_rate(tmp_path, fps):
    path = numbered_avi(tmp_path / "a.avi", "mpeg4", bf="2", g="50")
    shown = greys_of(path, fps)
    expected = np.floor((np.arange(len(shown)) + 0.5) / fps * 25)
    assert len(shown) >= 4 * fps - 1 and np.abs(shown - expected).max() < 1.6


def test_a_damaged_picture_leaves_the_one_before_and_is_counted(tmp_path):
    path = numbered_avi(tmp_path / "a.avi", "mjpeg")
    data = bytearray(path.read_bytes())
    starts = [match.start() for match in re.finditer(rb"\xff\xd8\xff", data)]
    for start, end in pairwise(starts[30:61]):
        data[start : end - 8] = bytes(end - 8 - start)
    path.write_bytes(data)
    notes = []
    frames, _ = read_video(path, 25, RATE, notes=notes)
    shown = frames.mean((1, 2, 3)) / 2
    np.testing.assert_allclose(shown[31:59], 29, atol=1.5)
    np.testing.assert_allclose(shown[61:99], np.arange(61, 99), atol=1.5)
    assert notes == ["30 of its pictures are damaged: the one before stands"]


def test_the_last_picture_stands_from_any_start(tmp_path):
    """A cover with 12 s of sound, and the last of three slides."""
    sound = tone(440, 30, 44_100)[None]
    grey = [np.full((48, 64, 3), value, np.uint8) for value in (40, 120, 200)]
    cover = make_video(tmp_path / "a.mkv", [0.0], grey[:1], sound[:, : 12 * 44_100])
    np.testing.assert_allclose(2 * greys_of(cover, 8, start=7.0, duration=4.0), [40] * 32, atol=3)
    slides = make_video(tmp_path / "b.mkv", [0.0, 10.0, 20.0], grey, sound)
    shown = 2 * greys_of(slides, 8, start=25.0, duration=4.0)
    np.testing.assert_allclose(shown, [200] * 32, atol=3)


def flac_of_nothing(number):
    """A FLAC frame of 65,535 equal samples at 1,000 Hz: 17 bytes, for 66 s."""

    def crc(data, polynomial, bits):
        value = 0
        for byte in data:
            value ^= byte << (bits - 8)
            for _ in range(8):
                value = (value << 1) ^ (polynomial if value >> (bits - 1) else 0)
                value &= (1 << bits) - 1
        return value

    coded = bytes([number]) if number < 128 else bytes([0xC0 | number >> 6, 0x80 | number & 63])
    head = b"\xff\xf8\x7c\x08" + coded + struct.pack(">HB", 65_534, 1)
    data = head + bytes([crc(head, 7, 8), 0, 0, 0])
    return data + struct.pack(">H", crc(data, 0x8005, 16))


def test_seconds_of_sound_cost_bytes(tmp_path):
    """Hours of sound in a few kB would be as many jpgs."""
    path, info = tmp_path / "a.mkv", struct.pack(">HH", 65_535, 65_535) + bytes(6)
    info += bytes([0, 0x3E, 0x80, 0xF0]) + bytes(20)
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=1)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        audio = container.add_stream("flac", rate=44_100, layout="mono")
        for packet in video.encode(av.VideoFrame(64, 48, "yuv420p")) + video.encode(None):
            container.mux(packet)
        for number in range(200):
            packet = av.Packet(flac_of_nothing(number))
            packet.pts = packet.dts = number * 65_535
            packet.time_base, packet.stream = Fraction(1, 1_000), audio
            container.mux(packet)
    data = path.read_bytes()
    at = data.index(b"fLaC") + 8
    path.write_bytes(data[:at] + info + data[at + len(info) :])
    with pytest.raises(SopError, match=r"a.mkv: it claims 13,107 s of sound in .* bytes: too few"):
        read_video(path, 1, 1_000)
