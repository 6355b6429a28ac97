"""A video's frames and sound, in one pass and in memory that doesn't grow with it.

A clip is what the file's picture and sound share. It begins when both have begun, and ends when the
first of them ends. Differences up to 0.1 s count as none: then time 0 is the first sound sample,
the end is the sound's, and the first or last picture stands as long. A file with a single picture
shows it as long as there is sound. Frame k shows what is on the screen at second (k + 0.5) / fps of
the clip: the middle of the time that it stands for.

Timestamps are trusted: a gap becomes silence, or a picture that stands. Where a clock jumps,
nothing is lost, and picture and sound stay together (`clock`). What is mended, or left out, is said
in `notes`.
"""

from collections.abc import Iterator

import av
import numpy as np

from ..config import AnyPath
from ..errors import SopError
from .choose import BEST, Choice
from .clock import mended
from .container import decode, open_video, seconds_of
from .pictures import Pictures, frames_within
from .samples import Samples
from .survey import Survey, check_end, survey


def read_video(
    path: AnyPath,
    fps: float,
    rate: int,
    start: float = 0.0,
    duration: float | None = None,
    max_side: int | None = 256,
    choice: Choice = BEST,
    notes: list[str] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """All frames of a short clip, and its sound, in memory. For a long one use `stream`.

    Args: as for `stream`.
    Shape: uint8 (V,h,w,3), float32 (L,); V <= L / rate * fps + 0.5.
    Raises SopError with the reason if the file can't be used.
    """
    parts: dict[str, list[np.ndarray]] = {"frame": [], "sound": []}
    for kind, part in stream(path, fps, rate, start, duration, max_side, choice, notes):
        parts[kind].append(part)
    sound = np.concatenate(parts["sound"])
    frames = parts["frame"][: frames_within(len(sound) / rate, fps)]
    if not frames:
        raise SopError(f"{path}: no picture while there is sound")
    return np.stack(frames), sound


def stream(
    path: AnyPath,
    fps: float,
    rate: int,
    start: float = 0.0,
    duration: float | None = None,
    max_side: int | None = 256,
    choice: Choice = BEST,
    notes: list[str] | None = None,
) -> Iterator[tuple[str, np.ndarray]]:
    """One pass over a video file, in memory that doesn't grow with it.

    Yields ("frame", uint8 (h,w,3)) and ("sound", float32 (l,)) in the order of the file. The pieces
    of sound joined are the clip's sound. Frame k shows second (k + 0.5) / fps of it, by the
    timestamps of the two streams: at any frame rate, and wherever the streams start. All frames
    have the size of the first.

    Args: `fps`: frames a second to yield. `rate`: Hz of the sound (mono, resampled by soxr).
        `start`, `duration`: seconds of the clip; None is to the end.
        `max_side`: pixels; the most that a frame's *short* side may have. The shape is kept (None:
        the file's own size).
        `choice`: which of the file's streams. `notes`: sentences are appended that say which were
        taken where there was a choice, and what of the file was left out or mended.
    Raises SopError with the reason if the file is empty, no video, cut short, or has no sound or no
    picture.
    """
    plan, zero, length = _clip(path, choice, start, duration)
    with open_video(path, choice, notes) as (container, video, audio):
        pictures = Pictures(path, video, fps, length, max_side)
        sounds = Samples(plan, rate, length, 1)
        if start > 0 and plan.seeks:  # a second early: a decoder needs a run-up
            container.seek(max(0, int((zero - 1) * av.time_base)))
        packets = mended(container.demux(video, audio), plan.moves)
        for packet in pictures.needed(packets, zero):
            track = pictures if packet.stream is video else sounds
            for frame in [] if track.done else track.decode(packet):
                parts = track.push(frame, seconds_of(frame, zero))
                yield from ((track.kind, part) for part in parts)
            if pictures.done and sounds.done:
                break
        for track in (sounds, pictures):
            yield from ((track.kind, part) for part in track.finish())
    if notes is not None:
        notes += [*plan.notes, *plan.of_channels, *sounds.notes(), *pictures.notes()]


def stream_sound(
    path: AnyPath,
    rate: int,
    channels: int | None = 1,
    choice: Choice = BEST,
    notes: list[str] | None = None,
) -> Iterator[np.ndarray]:
    """The sound that `stream` gives, without decoding a picture.

    Args: `channels`: 1 is mono, as from `stream`; None is what the file has: 1 or 2 channels, and
        of more than two FFmpeg's stereo downmix. The mean of the two is the mono sound, unless
        they cancel each other. `choice`, `notes`: as for `stream`.
    Shape: pieces of float32 (l,), with None (C,l)
    Raises SopError as `stream` does.
    """
    plan, zero, length = _clip(path, choice, 0.0, None)
    with open_video(path, choice, notes) as (container, video, audio):
        sounds = Samples(plan, rate, length, channels)
        # all packets of both, which `plan` counted
        for packet in mended(container.demux(video, audio), plan.moves):
            if packet.stream is audio and not sounds.done:
                for frame in decode(packet):
                    yield from sounds.push(frame, seconds_of(frame, zero))
        yield from sounds.finish()
    if notes is not None:
        notes += [*plan.notes, *(plan.of_channels if channels else ()), *sounds.notes()]


def _clip(
    path: AnyPath, choice: Choice, start: float, duration: float | None
) -> tuple[Survey, float, float]:
    """What is known of a file, its time at which the clip begins, and the clip's length."""
    plan = survey(path, choice)
    zero = plan.begin + start
    length = plan.end - zero
    if not length > 0:
        raise SopError(f"{path}: no sound from there on")
    asked = float("inf") if duration is None else duration
    check_end(path, plan, zero + asked)
    return plan, zero, min(length, asked)
