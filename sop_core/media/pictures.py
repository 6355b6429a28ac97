"""Decoded pictures -> frames at an even rate; and which pictures need no decoding."""

import bisect
import heapq
import math
from collections import deque
from collections.abc import Iterable, Iterator
from fractions import Fraction

import av
import numpy as np

from ..config import AnyPath
from ..errors import SopError
from .container import decode, seconds_of, upright

# Packets to read ahead: a picture is stored at most 16 pictures from where it is shown, and sound
# comes between them.
LOOKAHEAD = 100


def frames_within(seconds: float, fps: float) -> int:
    """How many frames k have their instant, (k + 0.5) / fps, within `seconds` of sound.

    At least one, if there is any sound: of a video that is shorter than half a frame.
    """
    return max(int(seconds > 0), math.ceil(seconds * fps - 0.5 - 1e-9))


class Pictures:
    """Decoded pictures -> frames at `fps`, each the picture on the screen at that instant.

    All have the size of the first one.
    """

    kind = "frame"

    def __init__(
        self,
        path: AnyPath,
        video: av.VideoStream,
        fps: float,
        length: float,
        max_side: int | None,
    ):
        """`length`: seconds of the clip; the last picture stays until then."""
        self.path = path
        self.video = video
        self.fps = fps
        self.pixel = video.sample_aspect_ratio or Fraction(1)  # a pixel's width over its height
        self.max_side = max_side
        self.count = frames_within(length, fps)  # frames to yield
        self.next = 0  # index of the next frame to yield
        self.shown: av.VideoFrame | None = None  # the picture on the screen
        self.at = 0.0  # when it came there, in seconds
        self.end = 0.0  # when one without a time of its own follows it
        self.damaged: list[av.Packet] = []
        self.size: tuple[int, int] | None = None  # of all frames
        self.resized = False  # whether a picture had another one
        # An avi counts pictures in the order of decoding: times that wait for their picture
        self.waiting: list[int] | None = [] if "avi" in video.container.format.name else None
        self.depth = video.codec_context.reorder_depth  # pictures that the decoder holds back

    def notes(self) -> Iterator[str]:
        if self.resized:
            height, width = self.size or (0, 0)
            yield f"its picture changes its size: made {width} x {height} pixels throughout"
        if self.damaged:
            yield f"{len(self.damaged)} of its pictures are damaged: the one before stands"

    @property
    def done(self) -> bool:
        return self.next >= self.count

    def decode(self, packet: av.Packet) -> list:
        """The pictures of a packet, with the times at which they are shown."""
        if self.waiting is None:
            return decode(packet, self.damaged)
        if packet.dts is not None:
            heapq.heappush(self.waiting, packet.dts)
        pictures = decode(packet, self.damaged)
        for picture in pictures:  # they come in the order in which they are shown
            while len(self.waiting) > self.depth + 1:  # of damaged pictures before this one
                heapq.heappop(self.waiting)
            picture.pts = heapq.heappop(self.waiting) if self.waiting else None
        return pictures

    def push(self, picture: av.VideoFrame, at: float | None) -> Iterator[np.ndarray]:
        """The frames before `at`, when this picture comes on the screen, in seconds."""
        at = self.end if at is None else at
        # before the first picture: the first
        yield from self._until(at, self.shown or picture)
        ticks = picture.duration
        own = float(ticks * picture.time_base) if ticks and picture.time_base else 0.0
        before = at - self.at if self.shown else 0.0
        self.shown, self.at = picture, at
        self.end = at + (own or before or 1 / self.fps)

    def finish(self) -> Iterator[np.ndarray]:
        if self.shown is None:
            raise SopError(f"{self.path}: its picture stream holds no picture that can be decoded")
        yield from self._until(math.inf, self.shown)

    def _until(self, at: float, picture: av.VideoFrame) -> Iterator[np.ndarray]:
        frame = None
        while not self.done and (self.next + 0.5) / self.fps < at - 1e-9:
            if frame is None:
                frame = self._sized(upright(picture, self.pixel, self.max_side))
            self.next += 1
            yield frame

    def _sized(self, frame: np.ndarray) -> np.ndarray:
        height, width = self.size = self.size or frame.shape[:2]
        if frame.shape[:2] == self.size:
            return frame
        self.resized = True
        picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
        return picture.reformat(width, height, threads=1).to_ndarray()

    def needed(self, packets: Iterable[av.Packet], zero: float) -> Iterator[av.Packet]:
        """The packets in their order. Before each, sets whether the decoder may skip its picture.

        It may skip a picture if no other is built on it (in h264 often every second one) and no
        frame's instant falls within its time on the screen. This saves a third of the work at 8 of
        25 frames a second. That time ends with the next picture, which may be stored later in the
        file: so packets are read ahead.
        """
        waiting: deque[av.Packet] = deque()
        times: list[float] = []  # when the pictures known so far come on the screen, in order

        def next_packet() -> av.Packet:
            packet = waiting.popleft()
            if packet.stream is not self.video:
                return packet
            at = seconds_of(packet, zero)
            if at is None or self.waiting is not None:  # it can't be known
                self.video.codec_context.skip_frame = "DEFAULT"
            else:
                later = bisect.bisect_right(times, at)
                until = times[later] if later < len(times) else math.inf
                frame = max(0, math.ceil(at * self.fps - 0.5 - 1e-6))  # the first to show it
                needed = (frame + 0.5) / self.fps <= until + 1e-6
                del times[: max(0, later - LOOKAHEAD)]
                self.video.codec_context.skip_frame = "DEFAULT" if needed else "NONREF"
            return packet

        for packet in packets:
            waiting.append(packet)
            if packet.stream is self.video and (at := seconds_of(packet, zero)) is not None:
                bisect.insort(times, at)
            if len(waiting) > LOOKAHEAD:
                yield next_packet()
        while waiting:
            yield next_packet()
