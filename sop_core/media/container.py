"""Video files: how to open one safely, its two streams, their times, and its length."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition

from ..config import AnyPath
from ..errors import SopError, mend
from .atomic import why_unreadable

# What libav may open for a file from the net: no playlists, which name other files; no protocols.
FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,flv,mpeg,mpegts,ogg,wav,mp3,flac,aac"
SAFE = {"protocol_whitelist": "file", "format_whitelist": FORMATS}
# Titles need not be valid UTF-8. PyAV 19 accepts them without this option, and lacks it.
OLD_PYAV = int(av.__version__.split(".")[0]) < 19
LENIENT: dict[str, Any] = {"metadata_errors": "ignore"} if OLD_PYAV else {}


def sound_rate(path: AnyPath) -> int:
    """Hz of a video's own sound. Raises SopError if the file has no sound or no picture."""
    with open_video(path) as (_, _, audio):
        return audio.rate


def video_seconds(path: AnyPath) -> float:
    """Length of a video in seconds, from its header.

    Raises SopError where it has no picture, no sound or no length.
    """
    with open_video(path) as (container, _, _):
        seconds = (container.duration or 0) / av.time_base
    if not seconds > 0:
        raise SopError(f"{path}: it doesn't say how long it is; convert it again")
    return seconds


def seconds_of(part: av.Packet | av.VideoFrame | av.AudioFrame, zero: float = 0.0) -> float | None:
    """When a packet or frame begins, in seconds after `zero`; None where the file doesn't say."""
    if part.pts is None or part.time_base is None:
        return None
    return float(part.pts * part.time_base) - zero


def upright(picture: av.VideoFrame, pixel: Fraction, max_side: int | None) -> np.ndarray:
    """A decoded picture with square pixels, upright, its short side at most `max_side`.

    Args: `pixel`: width of a stored pixel over its height.
    Shape: uint8 (h,w,3)
    """
    turns = round(picture.rotation / 90) % 4  # read now: `reformat` loses it
    width, height = picture.width * pixel, picture.height
    scale = 1 if max_side is None else min(1, max_side / min(width, height))
    width, height = max(1, round(width * scale)), max(1, round(height * scale))
    if picture.format.name.startswith("yuv"):  # scaling the small planes first is 3 times quicker
        picture = picture.reformat(width, height, threads=1)
    frame = picture.reformat(width, height, "rgb24", threads=1).to_ndarray()
    return np.ascontiguousarray(np.rot90(frame, turns)) if turns else frame


def decode(packet: av.Packet) -> list:
    """The frames of a packet; none where it is damaged."""
    try:
        return packet.decode()
    except FFmpegError as e:
        if isinstance(e, MemoryError):
            raise
        return []


@contextmanager
def open_video(path: AnyPath) -> Iterator[tuple[InputContainer, av.VideoStream, av.AudioStream]]:
    """Yields the open file, its first picture stream and its first sound stream.

    Raises SopError if it is no video, is cut short, or has no picture or no sound; OSError where
    the machine is at fault.
    """
    path = Path(path)
    if reason := why_unreadable(path):
        raise SopError(f"{path}: {reason}")
    try:
        # file: before the name, or `a:b.mp4` would be read as a protocol
        with av.open(f"file:{os.fspath(path)}", options=SAFE, **LENIENT) as container:
            yield container, *_streams(path, container)
    except (FFmpegError, OSError) as e:
        # The machine's fault. EIO is not always: libav says it of some broken files too.
        if mend(e) and e.errno != errno.EIO:
            raise OSError(e.errno, e.strerror, str(path)) from e
        with path.open("rb") as f:
            mp4 = f.read(8)[4:] == b"ftyp"
        cut = "cut short: its table of contents (moov) is missing; fetch it again"
        raise SopError(f"{path}: {cut if mp4 else 'not a video file'}") from e


def _streams(path: Path, container: InputContainer) -> tuple[av.VideoStream, av.AudioStream]:
    cover = Disposition.attached_pic  # a song's cover is no video
    pictures = [s for s in container.streams.video if not s.disposition & cover]
    if not pictures:
        raise SopError(f"{path}: no picture stream")
    if not container.streams.audio:
        raise SopError(f"{path}: no sound stream")
    for s in (pictures[0], container.streams.audio[0]):
        s.codec_context.thread_count = 1  # many files side by side waste less than many threads
        s.codec_context.open(strict=False)  # now: some decoders read `skip_frame` only when opened
    return pictures[0], container.streams.audio[0]
