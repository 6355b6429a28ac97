"""Which of a file's streams are the video: one of its pictures, one of its sounds.

A file may hold a film and a thumbnail, two languages, a cover. What is taken is what a player would
show: see `pick`. A `Choice` by number takes another.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import av
from av.container import InputContainer
from av.stream import Disposition, Stream

from ..config import AnyPath
from ..errors import SopError

COVER = Disposition.attached_pic  # a song's cover, a chapter's picture: no video
IMPAIRED = Disposition.hearing_impaired | Disposition.visual_impaired  # with a voice that explains
Either = av.VideoStream | av.AudioStream


@dataclass(frozen=True)
class Choice:
    """Numbers of a file's streams, from 0, among its pictures and its sounds; None: see `pick`."""

    video: int | None = None
    audio: int | None = None


BEST = Choice()


def pick(
    path: AnyPath, container: InputContainer, choice: Choice = BEST, notes: list[str] | None = None
) -> tuple[av.VideoStream, av.AudioStream]:
    """A file's picture stream and its sound stream.

    Of several pictures: the one marked as default, then the largest. Of several sounds: the one
    marked as default, then the first; in an MPEG-TS, which may hold several programmes, the one
    that libav plays with the picture. A stream that is less than half as long as the longest
    (a thumbnail), or is for the impaired, comes after the others, however marked. Covers don't
    count.

    Args: `notes`: where there was a choice, a line about it is added here.
    Raises: SopError if there is no picture, no sound, no such number, or none can be decoded.
    """
    picture = _pick(path, "picture", pictures(container), choice.video, notes)
    ts = container.format.name == "mpegts"
    beside = container.streams.best("audio", related=picture) if ts else None
    return picture, _pick(path, "sound", container.streams.audio, choice.audio, notes, beside)


def pictures(container: InputContainer) -> list[av.VideoStream]:
    """A file's picture streams without its covers."""
    return [s for s in container.streams.video if not s.disposition & COVER]


def _pick(
    path: AnyPath,
    kind: str,
    streams: Sequence,
    number: int | None,
    notes: list[str] | None,
    beside: Stream | None = None,
):
    count = len(streams)
    if not count:
        raise SopError(f"{path}: no {kind} stream")
    numbered = "numbers begin at 0"
    if number is not None and not 0 <= number < count:
        raise SopError(f"{path}: no {kind} stream {number}: it has {count}; {numbered}")
    asked = streams if number is None else [streams[number]]
    usable = [s for s in asked if s.codec_context]
    if not usable:
        raise SopError(f"{path}: its {kind} stream can't be decoded (unknown codec); convert it")
    chosen, why = (usable[0], "asked for") if number is not None else best(usable, beside)
    if count > 1 and notes is not None:
        taken = f"number {streams.index(chosen)} is taken ({why}; {numbered})"
        notes.append(f"{count} {kind} streams: {taken}")
    return chosen


def best(streams: list, beside: Stream | None = None) -> tuple[Any, str]:
    """The stream to take of several that have a decoder, and why: see `pick`.

    Args: `beside`: the one that libav would play with the picture.
    """
    left, why = streams, "the first"
    longest = max(_seconds(s) or 0.0 for s in streams)
    rules = {
        "the others tell nothing of themselves": _described,
        "the others are much shorter": lambda s: (_seconds(s) or longest) >= longest / 2,
        "the others are for the impaired": lambda s: not s.disposition & IMPAIRED,
        "default": lambda s: bool(s.disposition & Disposition.default),
        "the largest": lambda s: _area(s) == max(map(_area, left)),
        "libav's for this picture": lambda s: s is beside,
    }
    for rule, fits in rules.items():  # each leaves those that fit, if there are any
        fitting = [s for s in left if fits(s)]
        if fitting and len(fitting) < len(left):
            left, why = fitting, rule
    return left[0], why if len(left) == 1 else "the first"


def _described(stream: Either) -> bool:
    """Whether the file says, or its first packets show, what a decoder has to know."""
    return bool(stream.rate if isinstance(stream, av.AudioStream) else stream.width)


def _area(stream: Either) -> int:
    return 0 if isinstance(stream, av.AudioStream) else stream.width * stream.height


def _seconds(stream: Either) -> float | None:
    """How long a stream is, if the header says it: Matroska does so in a tag, 00:00:01.000."""
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    tag = re.match(r"(\d+):(\d\d):(\d\d(\.\d+)?)", stream.metadata.get("DURATION", ""))
    return float(tag[1]) * 3600 + float(tag[2]) * 60 + float(tag[3]) if tag else None
