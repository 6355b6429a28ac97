"""A video's frames and sound, in one pass and in memory that doesn't grow with it.

A clip's time 0 is its first sound sample. Frame k shows what is on the screen at second
(k + 0.5) / fps of the sound: the middle of the time that it stands for.
"""

import bisect
import math
from collections import deque
from collections.abc import Iterable, Iterator
from fractions import Fraction

import av
import numpy as np
import soxr

from ..config import AnyPath
from ..errors import SopError
from .container import check_end, claimed_end, decode, first_sound, open_video, seconds_of, upright

JUMP = 0.05  # seconds: timestamps of sound off by less are rounding; by more, a gap or an overlap
LONGEST_GAP = 600  # seconds: a longer gap between two timestamps means a broken file
# Packets to read ahead: a picture is stored at most 16 pictures from where it is shown, and sound
# comes between them.
LOOKAHEAD = 100
# What aac, mp3 and opus mostly decode to; `_Sounds` averages these channels without libav.
SIMPLE_FORMATS = {("fltp", "mono"), ("fltp", "stereo")}


def read_video(
    path: AnyPath,
    fps: float,
    rate: int,
    start: float = 0.0,
    duration: float | None = None,
    max_side: int | None = 256,
) -> tuple[np.ndarray, np.ndarray]:
    """All frames of a short clip, and its sound, in memory. For a long one use `stream`.

    Args: as for `stream`.
    Shape: uint8 (V,h,w,3), float32 (L,); V <= L / rate * fps + 0.5.
    Raises SopError with the reason if the file can't be used.
    """
    parts: dict[str, list[np.ndarray]] = {"frame": [], "sound": []}
    for kind, part in stream(path, fps, rate, start, duration, max_side):
        parts[kind].append(part)
    sound = np.concatenate(parts["sound"])
    frames = parts["frame"][: frames_within(len(sound) / rate, fps)]
    if not frames:
        raise SopError(f"{path}: no picture while there is sound")
    return np.stack(frames), sound


def frames_within(seconds: float, fps: float) -> int:
    """How many frames k have their instant, (k + 0.5) / fps, within `seconds` of sound."""
    return max(0, math.ceil(seconds * fps - 0.5 - 1e-9))


def stream(
    path: AnyPath,
    fps: float,
    rate: int,
    start: float = 0.0,
    duration: float | None = None,
    max_side: int | None = 256,
) -> Iterator[tuple[str, np.ndarray]]:
    """One pass over a video file, in memory that doesn't grow with it.

    Yields ("frame", uint8 (h,w,3)) and ("sound", float32 (l,)) in the order of the file. The pieces
    of sound joined are the clip's sound. Frame k shows second (k + 0.5) / fps of it, by the
    timestamps of the two streams: at any frame rate, and wherever the streams start. Frames before
    the first picture show the first picture. Pictures before the first sound are left out. Pictures
    after the last sound are not: `frames_within` says how many frames to keep.

    Args: `fps`: frames a second to yield. `rate`: Hz of the sound (mono, resampled by soxr).
        `start`, `duration`: seconds of the sound; None is to the end.
        `max_side`: pixels; the most that a frame's *short* side may have. The shape is kept (None:
        the file's own size).
    Raises SopError with the reason if the file is empty, no video, cut short, or has no sound or no
    picture.
    """
    zero = first_sound(path) + start  # the clip's time 0, in seconds of the file
    with open_video(path) as (container, video, audio):
        pixel = video.sample_aspect_ratio or Fraction(1)  # a pixel's width over its height
        pictures = _Pictures(path, fps, duration, pixel, max_side)
        sounds = _Sounds(path, rate, duration, claimed_end(container, audio) - zero)
        if start > 0:  # a second early: a decoder needs a run-up
            container.seek(max(0, int((zero - 1) * av.time_base)))
        for packet in _skip_unneeded(container.demux(video, audio), video, pictures, zero):
            track = pictures if packet.stream is video else sounds
            for frame in [] if track.done else decode(packet):
                parts = track.push(frame, seconds_of(frame, zero))
                yield from ((track.kind, part) for part in parts)
            if pictures.done and sounds.done:
                break
        for track in (sounds, pictures):
            yield from ((track.kind, part) for part in track.finish())
        end = max(pictures.end, sounds.seconds)
        check_end(path, container, zero + end, zero + (duration or math.inf))


def stream_sound(path: AnyPath, rate: int) -> Iterator[np.ndarray]:
    """The sound that `stream` gives, without decoding a picture: pieces of float32 (l,).

    Raises SopError as `stream` does.
    """
    zero = first_sound(path)
    with open_video(path) as (container, video, audio):
        sounds = _Sounds(path, rate, None, claimed_end(container, audio) - zero)
        end = 0.0  # of the pictures, in seconds
        for packet in container.demux(video, audio):
            if packet.stream is video:
                end = max(end, seconds_of(packet) or 0.0)
                continue
            for frame in decode(packet):
                yield from sounds.push(frame, seconds_of(frame, zero))
        yield from sounds.finish()
        check_end(path, container, max(end, zero + sounds.seconds), math.inf)


def _broken(path: AnyPath, reason: str) -> SopError:
    return SopError(f"{path}: {reason}; convert it again")


class _Pictures:
    """Decoded pictures -> frames at `fps`, each the picture on the screen at that instant."""

    kind = "frame"

    def __init__(
        self, path: AnyPath, fps: float, length: float | None, pixel: Fraction, max_side: int | None
    ):
        self.path = path
        self.fps = fps
        self.pixel = pixel
        self.max_side = max_side
        self.count = math.inf if length is None else frames_within(length, fps)  # frames to yield
        self.next = 0  # index of the next frame to yield
        self.shown: av.VideoFrame | None = None  # the picture on the screen
        self.end = 0.0  # when it leaves the screen, in seconds

    @property
    def done(self) -> bool:
        return self.next >= self.count

    def push(self, picture: av.VideoFrame, at: float | None) -> Iterator[np.ndarray]:
        """The frames before `at`, when this picture comes on the screen, in seconds."""
        at = self.end if at is None else at
        gap = at - self.end
        if gap > LONGEST_GAP:
            raise _broken(self.path, f"its picture jumps by {gap:.0f} s in time")
        # before the first picture: the first
        yield from self._until(at, self.shown or picture)
        self.shown = picture
        ticks = picture.duration
        own = float(ticks * picture.time_base) if ticks and picture.time_base else 0.0
        self.end = at + (own or 1 / self.fps)

    def finish(self) -> Iterator[np.ndarray]:
        if self.shown is None:
            raise SopError(f"{self.path}: its picture stream holds no picture that can be decoded")
        yield from self._until(self.end, self.shown)

    def _until(self, at: float, picture: av.VideoFrame) -> Iterator[np.ndarray]:
        frame = None
        while not self.done and (self.next + 0.5) / self.fps < at - 1e-9:
            if frame is None:
                frame = upright(picture, self.pixel, self.max_side)
            self.next += 1
            yield frame


class _Sounds:
    """Decoded sound -> mono at `rate`, gaps filled with silence: sample i is at second i / rate."""

    kind = "sound"

    def __init__(self, path: AnyPath, rate: int, length: float | None, end: float):
        """`end`: where the file says that its sound ends, in the clip's seconds: `claimed_end`."""
        self.path = path
        self.rate = rate
        self.length = length
        self.end = end
        self.own_rate = 0  # Hz of the decoded sound: only the first frame is sure of it (HE-AAC)
        self.form = None  # sample format, channels and rate that `mixer` was made for
        self.count = math.inf  # samples to take, at own_rate
        self.taken = 0  # samples so far, at own_rate
        # Frames to resample together: about a second at a time costs less, and so does writing it.
        self.waiting: list[np.ndarray] = []

    @property
    def done(self) -> bool:
        return self.taken >= self.count

    @property
    def seconds(self) -> float:
        return self.taken / (self.own_rate or 1)

    def push(self, frame: av.AudioFrame, at: float | None) -> Iterator[np.ndarray]:
        """The sound that this frame completes. `at`: when the frame begins, in seconds."""
        if not self.own_rate:
            self.own_rate = frame.sample_rate
            self.resampler = soxr.ResampleStream(self.own_rate, self.rate, 1, dtype="float32")
            if self.length is not None:
                self.count = round(self.length * self.own_rate)
        sound = self._mono(frame)
        if frame.format.name[:3] in ("flt", "dbl") and not np.isfinite(frame.to_ndarray()).all():
            place = f"{self.seconds:.1f} s of its sound"
            raise _broken(self.path, f"no number (NaN or Inf) at {place}")
        # fill a gap before this frame, or cut what overlaps
        gap = (
            0 if at is None else round(at * self.own_rate) - self.taken
        )  # samples; below 0: an overlap
        if gap > LONGEST_GAP * self.own_rate:
            seconds = gap / self.own_rate
            raise _broken(self.path, f"its sound jumps by {seconds:.0f} s in time")
        if not self.taken or abs(gap) > JUMP * self.own_rate:
            sound = np.concatenate([np.zeros(max(0, gap), np.float32), sound[max(0, -gap) :]])
        # take no more than the clip's length
        sound = sound[: int(min(len(sound), self.count - self.taken))]
        self.taken += len(sound)
        if len(self.waiting) >= 40:
            yield self._resampled()
        self.waiting.append(sound)  # the last frame is always here: `finish` may have to cut it

    def finish(self) -> Iterator[np.ndarray]:
        if not self.taken:
            reason = "no sound from there on" if self.own_rate else "no sound in it"
            raise SopError(f"{self.path}: {reason}")
        last = self.waiting[-1]
        beyond = self.taken - max(0, round(min(self.taken, self.end * self.own_rate)))
        if beyond < len(last):  # if it were more than a frame, the file would be wrong
            self.waiting[-1] = last[: len(last) - beyond]
            self.taken -= beyond
        yield self._resampled(last=True)

    def _resampled(self, last: bool = False) -> np.ndarray:
        sound = np.concatenate(self.waiting)
        self.waiting = []
        return self.resampler.resample_chunk(sound, last=last)

    def _mono(self, frame: av.AudioFrame) -> np.ndarray:
        """The frame as (l,) at `own_rate`, its channels averaged."""
        form = (frame.format.name, frame.layout.name, frame.sample_rate)
        if form[:2] in SIMPLE_FORMATS and form[2] == self.own_rate:
            buffers = [memoryview(plane) for plane in frame.planes]
            planes = [np.frombuffer(buffer, np.float32, frame.samples) for buffer in buffers]
            return planes[0].copy() if len(planes) == 1 else (planes[0] + planes[1]) / 2
        if form != self.form:  # the first frame, or a stream that changes midway
            # to integers: libswresample's sum of floats is 3 dB louder, and exceeds 1
            self.form = form
            self.mixer = av.AudioResampler("s32p", "mono", self.own_rate)
        mixed = [part.to_ndarray()[0] for part in self.mixer.resample(frame)]
        return np.concatenate([np.zeros(0, np.int32), *mixed]).astype(np.float32) / 2**31


def _skip_unneeded(
    packets: Iterable[av.Packet], video: av.VideoStream, pictures: _Pictures, zero: float
) -> Iterator[av.Packet]:
    """The packets in their order. Before each one, sets whether the decoder may skip its picture.

    It may skip a picture if no other is built on it (in h264 often every second one) and no frame's
    instant falls within its time on the screen. This saves a third of the work at 8 of 25 frames a
    second. That time ends with the next picture, which may be stored later in the file: so packets
    are read ahead.
    """
    waiting: deque[av.Packet] = deque()
    times: list[float] = []  # when the pictures known so far come on the screen, in order

    def next_packet() -> av.Packet:
        packet = waiting.popleft()
        if packet.stream is not video:
            return packet
        at = seconds_of(packet, zero)
        needed = True
        if at is not None:
            later = bisect.bisect_right(times, at)
            until = times[later] if later < len(times) else math.inf
            frame = max(0, math.ceil(at * pictures.fps - 0.5 - 1e-6))  # the first that may show it
            needed = (frame + 0.5) / pictures.fps <= until + 1e-6
            del times[: max(0, later - LOOKAHEAD)]
        video.codec_context.skip_frame = "DEFAULT" if needed else "NONREF"
        return packet

    for packet in packets:
        waiting.append(packet)
        if packet.stream is video and (at := seconds_of(packet, zero)) is not None:
            bisect.insort(times, at)
        if len(waiting) > LOOKAHEAD:
            yield next_packet()
    while waiting:
        yield next_packet()
