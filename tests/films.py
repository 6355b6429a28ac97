"""Videos that tests make, with flashes and beeps, or broken in known ways."""

import os
import struct
from fractions import Fraction

import av
import numpy as np


def tone(hz, seconds, rate, level=0.5):
    t = np.arange(round(seconds * rate))
    return (level * np.sin(2 * np.pi * hz * t / rate)).astype(np.float32)


def make_video(
    path,
    times=None,
    pictures=None,
    sound=None,
    rate=44_100,
    sound_start=0.0,
    options=None,
    codec="libx264",
):
    """A video whose picture i comes on at second times[i], at any rate.

    Args: `sound`: (channels, L); it starts at second `sound_start`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    base, packets = Fraction(1, 10_000), []
    with av.open(str(path), "w", options=options or {}) as container:
        if pictures is not None:
            more = {
                "libx264": {"bf": "2"},
                "libx265": {"x265-params": "log-level=none"},
                "libsvtav1": {"preset": "12"},
            }
            video = container.add_stream(codec, rate=25, options=more.get(codec, {}))
            video.height, video.width, video.pix_fmt = *pictures[0].shape[:2], "yuv420p"
            video.codec_context.time_base = Fraction(1, 1000) if codec == "mpeg4" else base
        if sound is not None:
            layout = {1: "mono", 2: "stereo", 6: "5.1"}[len(sound)]
            audio = container.add_stream("aac", rate=rate, layout=layout)
            planes = np.ascontiguousarray(sound)
            frame = av.AudioFrame.from_ndarray(planes, format="fltp", layout=layout)
            frame.sample_rate = rate
            frame.time_base = Fraction(1, rate)
            frame.pts = round(sound_start * rate)
        if pictures is not None:
            for at, picture in zip(times, pictures, strict=True):
                image = av.VideoFrame.from_ndarray(picture, format="rgb24")
                image.pts, image.time_base = round(at / base), base
                packets += video.encode(image)
            packets += video.encode(None)
        if sound is not None:
            packets += audio.encode(frame) + audio.encode(None)
        for packet in sorted(packets, key=lambda p: p.dts * p.time_base):
            container.mux(packet)
    if hasattr(os, "sched_setscheduler"):
        # SVT-AV1 takes real-time priority for its whole process, where it may (root may), and
        # leaves it so: all later tests and their child processes would starve the machine.
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    return path


def flash_and_beep(path, at, until, picture_start=0.0, sound_start=0.0, fps=25, times=None):
    """Black and silent; from second `at` white and loud. All times are the file's own."""
    times = np.arange(picture_start, until, 1 / fps) if times is None else times
    pictures = [np.full((48, 64, 3), 255 if t >= at - 1e-6 else 0, np.uint8) for t in times]
    t = sound_start + np.arange(round((until - sound_start) * 44_100)) / 44_100
    sound = np.where(t >= at, 0.5 * np.sin(2 * np.pi * 1000 * t), 0).astype(np.float32)
    return make_video(path, times, pictures, sound[None], sound_start=sound_start)


def plain_video(path, seconds=2.0, sound=True, picture=True, **more):
    times = np.arange(0, seconds, 0.04)
    pictures = [np.full((48, 64, 3), 5 * i % 256, np.uint8) for i in range(len(times))]
    wave = tone(440, seconds, 44_100)[None]
    return make_video(path, times, pictures if picture else None, wave if sound else None, **more)


def level(sound, hz, rate):
    """Amplitude of one frequency in the middle of a sound: a projection, no FFT of ours."""
    n = len(sound) // 2 // rate * rate or len(sound) // 2
    part, t = sound[len(sound) // 4 :][:n], np.arange(n) / rate
    return 2 * abs(np.mean(part * np.exp(-2j * np.pi * hz * t)))


def no_table(folder):
    path = plain_video(folder / "x.mp4")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def cut_short(folder):
    path = plain_video(folder / "x.mp4", 10.0, options={"movflags": "faststart"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def ten_hours(folder):
    path = plain_video(folder / "x.mkv").rename(folder / "x.mp4")  # what it is shows in its bytes
    data = path.read_bytes()
    # Matroska's Duration, a double of milliseconds (RFC 9559, 5.1.2.10)
    duration = data.index(b"\x44\x89\x88") + 3
    path.write_bytes(data[:duration] + struct.pack(">d", 36_000_000) + data[duration + 8 :])
    return path


def written(data):
    def make(folder):
        (folder / "x.mp4").write_bytes(data)
        return folder / "x.mp4"

    return make


BROKEN = {
    "empty": (written(b""), "empty (0 bytes)"),
    "text": (written(b"hello, I am a video\n" * 50), "not a video file"),
    "playlist": (
        written(b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n/etc/passwd\n"),
        "not a video file",
    ),
    "no moov": (no_table, "moov"),
    "cut short": (cut_short, "cut short"),
    "ten hours": (ten_hours, "s of the 36000.0 s it claims"),
    "no sound": (lambda folder: plain_video(folder / "x.mp4", sound=False), "no sound stream"),
    "no picture": (
        lambda folder: plain_video(folder / "x.mp4", picture=False),
        "no picture stream",
    ),
    "missing": (lambda folder: folder / "x.mp4", "no such file"),
    "a folder": (lambda folder: (folder / "x.mp4").mkdir() or folder / "x.mp4", "not a file"),
}


# ending -> codecs of picture and sound that such files have, as far as PyAV's wheels can write them
KINDS = {
    "mp4": ("libx264", "aac"),
    "m4v": ("libx264", "aac"),
    "mov": ("mjpeg", "pcm_s16le"),
    "3gp": ("h263", "aac"),
    "3g2": ("mpeg4", "aac"),
    "mkv": ("libx264", "flac"),
    "webm": ("libvpx-vp9", "libopus"),
    "avi": ("mpeg4", "libmp3lame"),
    "ts": ("libx264", "aac"),
    "m2ts": ("libx264", "ac3"),
    "mts": ("mpeg2video", "mp2"),
    "mpg": ("mpeg1video", "mp2"),
    "vob": ("mpeg2video", "ac3"),
    "flv": ("flv", "libmp3lame"),
    "f4v": ("libx264", "aac"),
    "ogv": ("libvpx", "libopus"),
    "wmv": ("wmv2", "wmav2"),
    "asf": ("msmpeg4v3", "wmav2"),
    "mxf": ("mpeg2video", "pcm_s16le"),
    "dv": ("dvvideo", "pcm_s16le"),
    "rm": ("rv10", "ac3"),
    "nut": ("mpeg4", "libmp3lame"),
}
MUXERS = {"m2ts": "mpegts", "mts": "mpegts", "ogv": "ogg", "wmv": "asf", "mpg": "mpeg"}


def film_of_kind(path, ending, at=1.0, until=2.0, codecs=None):
    """A film of this kind at 25 pictures a second: black and silent; from second `at` white and
    loud."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture_codec, sound_codec = codecs or KINDS[ending]
    height, width = (576, 720) if ending == "dv" else (144, 176)
    rate, layout = 48_000, "stereo"
    with av.open(str(path), "w", format=MUXERS.get(ending)) as out:
        video = out.add_stream(picture_codec, rate=25)
        video.width, video.height = width, height
        video.pix_fmt = "yuvj420p" if picture_codec == "mjpeg" else "yuv420p"
        audio = out.add_stream(sound_codec, rate=rate, layout=layout)
        if not sound_codec.startswith(("pcm", "flac")):
            audio.bit_rate = 128_000
        packets = []
        for k in range(round(25 * until)):
            grey = np.full((height, width, 3), 255 if k >= 25 * at else 0, np.uint8)
            picture = av.VideoFrame.from_ndarray(grey, format="rgb24")
            picture.pts, picture.time_base = k, Fraction(1, 25)
            packets += [(k / 25, p) for p in video.encode(picture)]
        packets += [(until, p) for p in video.encode(None)]
        t = np.arange(round(until * rate)) / rate
        wave = np.where(t >= at, 2**14 * np.sin(2 * np.pi * 1000 * t), 0).astype(np.int16)
        for first in range(0, len(wave), rate // 25):
            piece = np.repeat(wave[first : first + rate // 25], 2)[None]
            frame = av.AudioFrame.from_ndarray(piece, format="s16", layout=layout)
            frame.sample_rate, frame.pts, frame.time_base = rate, first, Fraction(1, rate)
            packets += [(first / rate, p) for p in audio.encode(frame)]
        packets += [(until, p) for p in audio.encode(None)]
        for _, packet in sorted(packets, key=lambda x: x[0]):
            out.mux(packet)
    return path


def many_streams(path, pictures, sounds, options=None, at=0.0):
    """A file of many streams: black and silent before second `at`.

    Args: `pictures`: (seconds, (h, w), grey level), and a disposition. `sounds`: (seconds, Hz), and
        a disposition.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", options=options or {}) as container:
        streams, packets = [], []
        for (_, (height, width), _), marked in pictures:
            video = container.add_stream("libx264", rate=10)
            video.width, video.height, video.pix_fmt = width, height, "yuv420p"
            video.disposition = marked
            streams.append(video)
        for _, marked in sounds:
            audio = container.add_stream("aac", rate=44_100, layout="mono")
            audio.disposition = marked
            streams.append(audio)
        for video, ((seconds, size, grey), _) in zip(streams, pictures, strict=False):
            for k in range(round(10 * seconds)):
                picture = np.full((*size, 3), grey if k >= 10 * at else 0, np.uint8)
                packets += video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24"))
            packets += video.encode(None)
        for audio, ((seconds, hz), _) in zip(streams[len(pictures) :], sounds, strict=True):
            wave = tone(hz, seconds, 44_100)[None]
            wave[:, : round(at * 44_100)] = 0
            frame = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 44_100, 0, Fraction(1, 44_100)
            packets += audio.encode(frame) + audio.encode(None)
        for packet in sorted(packets, key=lambda p: p.dts * p.time_base):
            container.mux(packet)
    return path
