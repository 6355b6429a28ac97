"""Video files: how to open one, its two streams, their times, and its length."""

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError

from ..config import AnyPath
from ..errors import SopError
from .choose import BEST, Choice, pick
from .formats import opened


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
    """A decoded picture as it is meant to be seen: square pixels, turned and mirrored.

    Args: `pixel`: width of a stored pixel over its height.
        `max_side`: pixels; the most that the short side may have. None: as it is.
    Shape: uint8 (h,w,3)
    Source: `autorotate` of ffmpeg, which takes any other angle exactly; here it is a quarter turn.
    """
    across, down, swapped = _turn(picture)  # read now: `reformat` may lose it
    width, height = picture.width * pixel, picture.height
    scale = 1 if max_side is None else min(1, max_side / min(width, height))
    width, height = max(1, round(width * scale)), max(1, round(height * scale))
    if picture.format.name.startswith("yuv"):  # scaling the small planes first is 3 times quicker
        picture = picture.reformat(width, height, threads=1)
    frame = picture.reformat(width, height, "rgb24", threads=1).to_ndarray()
    if swapped:
        frame = frame.swapaxes(0, 1)
    return np.ascontiguousarray(frame[::down, ::across])


def _turn(picture: av.VideoFrame) -> tuple[int, int, bool]:
    """What a picture's display matrix asks for: steps (1 or -1) across and down, after rows and
    columns have changed places, if they do.

    The matrix, (a b u, c d v, x y w) in 16.16, shows the stored column p and row q at column
    a p + c q and row b p + d q. Source: ISO 14496-12, 6.2.2.
    """
    try:
        data = picture.side_data.get("DISPLAYMATRIX")
    except ValueError:  # PyAV 18 knows fewer kinds of side data than its FFmpeg: of jpgs, EXIF
        turns = round(picture.rotation / 90) % 4
        return (1, 1, -1, -1)[turns], (1, -1, -1, 1)[turns], turns % 2 == 1
    if data is None:
        return 1, 1, False
    a, b, _, c, d = (int(x) for x in np.frombuffer(memoryview(data), np.int32)[:5])
    swapped = abs(b) > abs(a)
    if swapped:
        a, d = c, b
    return -1 if a < 0 else 1, -1 if d < 0 else 1, swapped


def decode(packet: av.Packet, damaged: list[av.Packet] | None = None) -> list:
    """The frames of a packet; none where it is damaged, and then it is added to `damaged`."""
    try:
        return packet.decode()
    except FFmpegError as e:
        if isinstance(e, MemoryError):
            raise
        if damaged is not None:
            damaged.append(packet)
        return []


@contextmanager
def open_video(
    path: AnyPath, choice: Choice = BEST, notes: list[str] | None = None
) -> Iterator[tuple[InputContainer, av.VideoStream, av.AudioStream]]:
    """Yields the open file, its picture stream and its sound stream: see `choose.pick`.

    Args: `choice`: other streams than `pick` would take.
        `notes`: where there was a choice, a line about it is added here.
    Raises SopError if it is no video, is cut short, or has no picture or no sound; OSError where
    the machine is at fault.
    """
    with opened(path) as container:
        video, audio = pick(path, container, choice, notes)
        for s in (video, audio):
            s.codec_context.thread_count = 1  # many files side by side waste less than many threads
            s.codec_context.open(strict=False)  # now: some decoders read `skip_frame` when opened
        yield container, video, audio
