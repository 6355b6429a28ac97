"""A video's frames and sound, in one pass and in memory that doesn't grow with it.

A clip's time 0 is its first sound sample. Frame k shows what is on the screen at second
(k + 0.5) / fps of the sound: the middle of the stretch that it stands for.
"""

import bisect
import math
from collections import deque
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import soxr

from ..config import AnyPath
from ..errors import SopError
from .container import (
    check_length,
    choose_streams,
    claimed_end,
    decode,
    first_sound,
    open_container,
    seconds_of,
    upright,
)

JUMP = 0.05  # seconds: timestamps of sound off by less are rounding; by more, a gap or an overlap
LONGEST_GAP = 600  # seconds: a longer hole between two timestamps is a broken file
# Packets: pictures are stored at most 16 places from where they are shown, with sound between them.
AHEAD = 100
# What aac, mp3 and opus mostly decode to; `_Sounds` mixes it itself.
PLAIN = {("fltp", "mono"), ("fltp", "stereo")}


def read_video(
    path: AnyPath,
    fps: float,
    rate: int,
    start: float = 0.0,
    duration: float | None = None,
    max_side: int | None = 256,
) -> tuple[np.ndarray, np.ndarray]:
    """A short clip at once: its frames and its sound (all in memory; `stream` is for long ones).

    Args as for `stream`.
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
    """How many frames have their instant, (k + 0.5) / fps, within so much sound."""
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

    Yields ("frame", uint8 (h,w,3)) and ("sound", float32 (l,)) in the order of the file; the sounds
    joined are the clip's. Frame k shows second (k + 0.5) / fps of the sound, by the two streams'
    own timestamps: whatever the frame rate, and wherever the streams start. Before the first
    picture the first one is shown. Pictures before the first sound are left out. Pictures after the
    last sound do come: `frames_within` says how many to keep.

    Args: `fps`: frames a second to give. `rate`: Hz of the sound to give (mono, resampled by soxr).
        `start`, `duration`: seconds of the sound; None is to the end.
        `max_side`: pixels; the *short* side of a frame is at most that, and the shape is kept
        (None: the file's own size).
    Raises SopError with the reason if the file is empty, no video, cut short, or has no sound or no
    picture.
    """
    zero = first_sound(path) + start  # the file's time, in seconds, that is time 0 of what we give
    with open_container(path) as container:
        video, audio = choose_streams(path, container)
        pixel = video.sample_aspect_ratio or Fraction(1)  # a pixel's width over its height
        pictures = _Pictures(path, fps, duration, pixel, max_side)
        sounds = _Sounds(path, rate, duration, claimed_end(container, audio) - zero)
        if start > 0:  # a second early: a decoder needs a run-up
            container.seek(max(0, int((zero - 1) * av.time_base)))
        for packet in _needed_first(container.demux(video, audio), video, pictures, zero):
            todo = pictures if packet.stream is video else sounds
            for frame in [] if todo.done else decode(packet):
                yield from ((todo.kind, part) for part in todo.push(frame, seconds_of(frame, zero)))
            if pictures.done and sounds.done:
                break
        for todo in (sounds, pictures):
            yield from ((todo.kind, part) for part in todo.finish())
        check_length(
            path, container, zero + max(pictures.end, sounds.seconds), zero + (duration or math.inf)
        )


def stream_sound(path: AnyPath, rate: int) -> Iterator[np.ndarray]:
    """The sound that `stream` gives, without decoding a picture: pieces of float32 (l,).

    Raises SopError as `stream` does.
    """
    zero = first_sound(path)
    with open_container(path) as container:
        video, audio = choose_streams(path, container)
        sounds = _Sounds(path, rate, None, claimed_end(container, audio) - zero)
        end = 0.0  # of the pictures, in seconds
        for packet in container.demux(video, audio):
            if packet.stream is video:
                end = max(end, seconds_of(packet) or 0.0)
                continue
            for frame in decode(packet):
                yield from sounds.push(frame, seconds_of(frame, zero))
        yield from sounds.finish()
        check_length(path, container, max(end, zero + sounds.seconds), math.inf)


class _Pictures:
    """Decoded pictures -> frames at `fps`, each the picture on the screen at that instant."""

    kind = "frame"

    def __init__(
        self, path: Path, fps: float, length: float | None, pixel: Fraction, max_side: int | None
    ):
        self.path = path
        self.fps = fps
        self.pixel = pixel
        self.max_side = max_side
        self.count = math.inf if length is None else frames_within(length, fps)  # frames to give
        self.next = 0  # index of the frame to give next
        self.held = None  # the picture on the screen
        self.end = 0.0  # when it goes, in seconds

    @property
    def done(self) -> bool:
        return self.next >= self.count

    def push(self, picture: av.VideoFrame, at: float | None) -> Iterator[np.ndarray]:
        at = self.end if at is None else at
        if at - self.end > LONGEST_GAP:
            raise SopError(
                f"{self.path}: its picture jumps by {at - self.end:.0f} s in time; convert it again"
            )
        self.held = self.held or picture  # before the first picture: the first
        yield from self._until(at)
        self.held = picture
        ticks = picture.duration
        self.end = at + (float(ticks * picture.time_base) if ticks else 1 / self.fps)

    def finish(self) -> Iterator[np.ndarray]:
        if self.held is None:
            raise SopError(f"{self.path}: its picture stream holds no picture that can be decoded")
        yield from self._until(self.end)

    def _until(self, at: float) -> Iterator[np.ndarray]:
        frame = None
        while not self.done and (self.next + 0.5) / self.fps < at - 1e-9:
            if frame is None:
                frame = upright(self.held, self.pixel, self.max_side)
            self.next += 1
            yield frame


class _Sounds:
    """Decoded sound -> mono at `rate`, gaps filled with silence: sample i is at second i / rate."""

    kind = "sound"

    def __init__(self, path: Path, rate: int, length: float | None, end: float):
        """`end`: where the file says that its sound ends, in seconds of it; see `claimed_end`."""
        self.path = path
        self.rate = rate
        self.length = length
        self.end = end
        self.own_rate = 0  # Hz of what is decoded: only the first frame says it for sure (HE-AAC)
        self.form = None  # sample format, channels and rate that `mixer` was made for
        self.count = math.inf  # samples to take, at own_rate
        self.taken = 0  # samples so far, at own_rate
        # Frames to resample together: about a second at a time costs less, and so does writing it.
        self.waiting = []

    @property
    def done(self) -> bool:
        return self.taken >= self.count

    @property
    def seconds(self) -> float:
        return self.taken / (self.own_rate or 1)

    def push(self, frame: av.AudioFrame, at: float | None) -> Iterator[np.ndarray]:
        if not self.own_rate:
            self.own_rate = frame.sample_rate
            self.resampler = soxr.ResampleStream(self.own_rate, self.rate, 1, dtype="float32")
            self.count = self.count if self.length is None else round(self.length * self.own_rate)
        sound = self._mono(frame)
        if frame.format.name[:3] in ("flt", "dbl") and not np.isfinite(frame.to_ndarray()).all():
            raise SopError(
                f"{self.path}: no number (NaN or Inf) at {self.seconds:.1f} s of its sound; convert it again"
            )
        # samples missing before this frame
        skew = 0 if at is None else round(at * self.own_rate) - self.taken
        if skew > LONGEST_GAP * self.own_rate:
            raise SopError(
                f"{self.path}: its sound jumps by {skew / self.own_rate:.0f} s in time; convert it again"
            )
        if not self.taken or abs(skew) > JUMP * self.own_rate:
            sound = np.concatenate([np.zeros(max(0, skew), np.float32), sound[max(0, -skew) :]])
        sound = sound[: int(min(len(sound), self.count - self.taken))]
        self.taken += len(sound)
        if len(self.waiting) >= 40:
            yield self._resampled()
        self.waiting.append(sound)  # the last frame is always here: `finish` may have to cut it

    def finish(self) -> Iterator[np.ndarray]:
        if not self.taken:
            raise SopError(
                f"{self.path}: no sound from there on"
                if self.own_rate
                else f"{self.path}: no sound in it"
            )
        last = self.waiting.pop()
        beyond = self.taken - max(0, round(min(self.taken, self.end * self.own_rate)))
        # More than a frame beyond the end: the file says it wrong.
        kept = len(last) - beyond if beyond < len(last) else len(last)
        self.taken -= len(last) - kept
        self.waiting.append(last[:kept])
        yield self._resampled(last=True)

    def _resampled(self, last: bool = False) -> np.ndarray:
        sound = np.concatenate(self.waiting)
        self.waiting = []
        return self.resampler.resample_chunk(sound, last=last)

    def _mono(self, frame: av.AudioFrame) -> np.ndarray:
        form = (frame.format.name, frame.layout.name, frame.sample_rate)
        if form[:2] in PLAIN and form[2] == self.own_rate:
            planes = [np.frombuffer(plane, np.float32, frame.samples) for plane in frame.planes]
            return planes[0].copy() if len(planes) == 1 else (planes[0] + planes[1]) / 2
        if form != self.form:  # the first frame, or a stream that changes on the way
            # to integers, since libswresample's sum of floats is 3 dB louder, and passes 1
            self.form = form
            self.mixer = av.AudioResampler("s32p", "mono", self.own_rate)
        parts = [np.zeros(0, np.int32)] + [
            part.to_ndarray()[0] for part in self.mixer.resample(frame)
        ]
        return np.concatenate(parts).astype(np.float32) / 2**31


def _needed_first(
    packets: Iterable[av.Packet], video: av.VideoStream, pictures: _Pictures, zero: float
) -> Iterator[av.Packet]:
    """The packets in their order; the decoder is told of each picture whether it may be left out.

    A picture that no other is built on (in h264 often every second one) and that is on the screen
    at no frame's instant needn't be decoded. This saves a third of the work at 8 of 25 frames a
    second. When it goes is only known when the next one in time has been read, which may come later in the
    file.
    """
    waiting = deque()  # packets
    times = []  # when the pictures known so far come on, in order

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
            del times[: max(0, later - AHEAD)]
        video.codec_context.skip_frame = "DEFAULT" if needed else "NONREF"
        return packet

    for packet in packets:
        waiting.append(packet)
        if packet.stream is video and packet.pts is not None:
            bisect.insort(times, seconds_of(packet, zero))
        if len(waiting) > AHEAD:
            yield next_packet()
    while waiting:
        yield next_packet()
