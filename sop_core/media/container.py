"""A video file: opening it safely, its streams, their times, and what it says of itself."""

import errno
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from ..config import AnyPath
from ..errors import SopError, mend
from .atomic import why_unreadable

# What libav may open for a file from the net: no playlists, which name other files; no protocols.
SAFE = {
    "protocol_whitelist": "file",
    "format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,flv,mpeg,mpegts,ogg,wav,mp3,flac,aac",
}
# Titles need not be valid UTF-8. PyAV 19 never minds.
LENIENT = {"metadata_errors": "ignore"} if int(av.__version__.split(".")[0]) < 19 else {}


def sound_rate(path: AnyPath) -> int:
    """Hz of a video's own sound. Raises SopError if the file has no sound or no picture."""
    with open_container(path) as container:
        return choose_streams(path, container)[1].rate


def video_seconds(path: AnyPath) -> float:
    """Length of a video in seconds, as it says itself.

    Raises SopError where it has no picture, no sound or no length.
    """
    with open_container(path) as container:
        choose_streams(path, container)
        seconds = (container.duration or 0) / av.time_base
    if not seconds > 0:
        raise SopError(f"{path}: it doesn't say how long it is; convert it again")
    return seconds


def seconds_of(part: av.Packet | av.VideoFrame | av.AudioFrame, zero: float = 0.0) -> float | None:
    """When a packet or frame comes on, in seconds after `zero`; None where the file doesn't say."""
    return None if part.pts is None else float(part.pts * part.time_base) - zero


def upright(picture: av.VideoFrame, pixel: Fraction, max_side: int | None) -> np.ndarray:
    """Square pixels, turned as the phone was held, the short side at most `max_side`.

    Shape: uint8 (h,w,3)
    """
    turns = round(picture.rotation / 90) % 4  # read now: a reformatted picture has forgotten it
    width, height = picture.width * pixel, picture.height
    scale = 1 if max_side is None else min(1, max_side / min(width, height))
    width, height = max(1, round(width * scale)), max(1, round(height * scale))
    if picture.format.name.startswith("yuv"):  # scaling the small planes first is 3 times quicker
        picture = picture.reformat(width, height, threads=1)
    frame = picture.reformat(width, height, "rgb24", threads=1).to_ndarray()
    return np.ascontiguousarray(np.rot90(frame, turns)) if turns else frame


def first_sound(path: AnyPath) -> float:
    """The file's time of its first sound sample, in seconds. An encoder's run-up does not count."""
    with open_container(path) as container:
        _, audio = choose_streams(path, container)
        for packet in container.demux(audio):
            for frame in decode(packet):
                return seconds_of(frame) or 0.0
    raise SopError(f"{path}: its sound stream holds no sound that can be decoded")


def claimed_end(container: av.container.InputContainer, audio: av.AudioStream) -> float:
    """Where an mp4 says that its sound ends, in the file's seconds; inf for other kinds of file.

    An encoder fills its last frame up with silence. mp4 says, to the sample, how much of it counts;
    FFmpeg obeys since version 9 only. `_Sounds.finish` cuts there, so that a sound has one length,
    whatever decodes it.
    """
    if "mp4" not in container.format.name or audio.duration is None:
        return math.inf
    return float(((audio.start_time or 0) + audio.duration) * audio.time_base)


def decode(packet: av.Packet) -> list:
    try:
        return packet.decode()
    except av.FFmpegError as e:
        if isinstance(e, MemoryError):
            raise
        return []  # a damaged packet costs what it holds; `_check_length` notices when that is much


@contextmanager
def open_container(path: AnyPath) -> Iterator[av.container.InputContainer]:
    path = Path(path)
    if reason := why_unreadable(path):
        raise SopError(f"{path}: {reason}")
    try:
        # file: before the name, or `a:b.mp4` would be read as a protocol
        with av.open(f"file:{os.fspath(path)}", options=SAFE, **LENIENT) as container:
            yield container
    except (av.FFmpegError, OSError) as e:
        # No fault of the file's. EIO may be one: libav says it of some files that are broken.
        if mend(e) and e.errno != errno.EIO:
            raise OSError(e.errno, e.strerror, str(path)) from e
        with path.open("rb") as f:
            mp4 = f.read(8)[4:] == b"ftyp"
        reason = (
            "cut short: its table of contents (moov) is missing; fetch it again"
            if mp4
            else "not a video file"
        )
        raise SopError(f"{path}: {reason}") from e


def choose_streams(
    path: AnyPath, container: av.container.InputContainer
) -> tuple[av.VideoStream, av.AudioStream]:
    cover = av.stream.Disposition.attached_pic  # a song's cover is no video
    pictures = [s for s in container.streams.video if not s.disposition & cover]
    if not pictures:
        raise SopError(f"{path}: no picture stream")
    if not container.streams.audio:
        raise SopError(f"{path}: no sound stream")
    for s in (pictures[0], container.streams.audio[0]):
        s.codec_context.thread_count = 1  # many files side by side waste less than many threads
        s.codec_context.open(strict=False)  # now: some decoders read `skip_frame` only when opened
    return pictures[0], container.streams.audio[0]


def check_length(
    path: AnyPath, container: av.container.InputContainer, end: float, asked: float
) -> None:
    # In mkv this is the end, in mp4 the length, so the check is a rough one.
    claimed = (container.duration or 0) / av.time_base
    if end < 0.9 * min(claimed, asked) - 1:
        raise SopError(
            f"{path}: cut short: {end:.1f} s of the {claimed:.1f} s it claims; fetch it again"
        )
