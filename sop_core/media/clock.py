"""Timestamps that jump: a clock that starts again, wraps, or was set, midway in a file.

Within a run the timestamps are trusted, gaps included. At a jump a new run begins. The pictures
and the sound that belong together, by their timestamps and by where they lie in the file, get one
offset, so they stay together; it puts them right after what came before, so nothing is lost.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import av

from ..config import AnyPath
from ..errors import SopError

BACK = 0.1  # seconds: timestamps of decoding never go back; by more than this, the clock was set
FORWARD = 10.0  # seconds: a longer gap is a jump too, in the kinds of files whose clock may jump
MOST_RUNS = 1_000  # of a stream: more is noise, no clock
JUMP = 0.05  # seconds: timestamps of sound off by less are rounding; by more, a gap or an overlap
NEAR = 1.0  # seconds: how far apart pictures and sound of the same moment may begin
LAG = 50  # packets: how far apart they may lie in the file


@dataclass
class Run:
    """Packets of a stream in a row whose timestamps don't jump. Times are seconds, of its own."""

    kind: str  # "video" or "audio"
    first: int  # index of its first packet among those of its stream
    places: list[int]  # index of its first and last packet among all packets
    begin: float = float("inf")
    end: float = float("-inf")
    start: float = math.nan  # the first time of decoding
    last: float = float("-inf")  # the last time of decoding
    step: float = 0.0  # between the last two times of decoding
    alone: bool = True  # whether its first packet needs none before it
    offset: float = 0.0  # seconds to add


@dataclass
class Runs:
    """The runs of one stream, packet by packet.

    `tick`: seconds of a unit of its timestamps. `may_jump`: whether a long gap is a jump.
    """

    path: AnyPath
    kind: str
    tick: float
    may_jump: bool
    count: int = 0  # packets so far
    all: list[Run] = field(default_factory=list)

    def take(self, packet: av.Packet, place: int) -> Run:
        """The run to which the next packet belongs. `place`: its index among all packets."""
        at = None if packet.dts is None else packet.dts * self.tick
        run = self.all[-1] if self.all else None
        if run is None or (at is not None and self._breaks(at - run.last)):
            if len(self.all) == MOST_RUNS:
                reason = f"its clock jumps more than {MOST_RUNS:,} times; convert it again"
                raise SopError(f"{self.path}: {reason}")
            run = Run(self.kind, self.count, [place, place], alone=packet.is_keyframe)
            run.start = math.nan if at is None else at
            self.all.append(run)
        self.count += 1
        run.places[1] = place
        if at is not None:
            run.step = at - run.last if math.isfinite(run.last) else 0.0
            run.last = at
        return run

    def span(self) -> tuple[float, float]:
        """When the first begins and the last ends, in seconds, their offsets added."""
        real = [run for run in self.all if run.end > float("-inf")]
        return min(r.begin + r.offset for r in real), max(r.end + r.offset for r in real)

    def jumps(self) -> int:
        """How often the clock jumps; a long gap of one stream alone is none."""
        return sum(abs(a.offset - b.offset) > JUMP for a, b in pairwise(self.all))

    def _breaks(self, step: float) -> bool:
        return step < -BACK or (self.may_jump and FORWARD < step < float("inf"))


class Gaps:
    """How far a decoded frame of sound is from the end of the one before."""

    def __init__(self) -> None:
        self.own = 0  # Hz of the first frame
        self.before = 0  # Hz of the frame before

    def __call__(self, frame: av.AudioFrame, at: float | None, end: float) -> float:
        """Seconds between `end` and `at`, when the frame begins; 0: it goes on. Below 0: overlap.

        After a change of rate libav still counts at the old one, between the packets that have a
        timestamp of their own; so there only the first frame is trusted.
        """
        self.own = self.own or frame.sample_rate
        sure = frame.sample_rate == self.own or frame.sample_rate != self.before
        self.before = frame.sample_rate
        gap = 0.0 if at is None else at - end
        return gap if abs(gap) > (JUMP if sure else NEAR) else 0.0


def join(pictures: list[Run], sounds: list[Run]) -> None:
    """Set the offsets of all runs of a file."""
    if len(pictures) < 2 and len(sounds) < 2:
        return
    for run in pictures + sounds:
        if run.end == float("-inf"):  # nothing in it can be decoded
            run.begin = run.end = run.last
    of_kind = {"video": pictures, "audio": sounds}
    done: dict[str, list[Run]] = {"video": [], "audio": []}
    for run in sorted(pictures + sounds, key=lambda r: r.places[0]):
        other = "audio" if run.kind == "video" else "video"
        own, others = done[run.kind], done[other]
        twin = _twin(run, own, of_kind[other], others)
        if twin in others:
            run.offset = twin.offset
        elif len(own) > 1 and -BACK <= run.begin - own[-2].end <= FORWARD:
            run.offset = own[-2].offset  # the run between was a few wrong timestamps
        elif own:
            run.offset = _behind(run, own[-1], twin, others[-1] if others else None)
        elif others:
            run.offset = others[-1].begin + others[-1].offset - run.begin
        done[run.kind].append(run)


def _twin(run: Run, own: list[Run], candidates: list[Run], done: list[Run]) -> Run | None:
    """The other stream's run that lies in the same part of the file, and has the same clock."""
    best, most = None, (False, -LAG)
    for other in candidates:
        apart = max(run.begin - other.end, other.begin - run.end)
        placed = other in done
        back = placed and bool(own) and run.begin + other.offset < _end(own[-1]) - 2 * BACK
        shared = min(run.places[1], other.places[1]) - max(run.places[0], other.places[0])
        if apart <= NEAR and not back and shared > -LAG and (placed, shared) > most:
            best, most = other, (placed, shared)
    return best


def _behind(run: Run, before: Run, twin: Run | None, other: Run | None) -> float:
    """The least offset at which neither a run nor its twin covers what came before it.

    Args: `before`: the run before it; `other`: the other stream's, before its twin.
    """
    least = _after(run, before)
    if other is None:
        return least
    if twin:
        return max(least, _after(twin, other))
    # Where the other stream goes on without a jump, only this one's clock is wrong.
    goes_on = other.places[1] > run.places[0] + LAG and _end(other) > _end(before) + 2 * NEAR
    return least if goes_on else max(least, _end(other) - run.begin)


def _after(run: Run, before: Run) -> float:
    """The offset at which a run follows on the one before it."""
    if run.alone or math.isnan(run.start):
        return _end(before) - run.begin
    # The clock was set within a group of pictures, which are stored in another order than shown.
    return before.last + before.step + before.offset - run.start


def _end(run: Run) -> float:
    return run.end + run.offset


Moves = dict[str, list[tuple[int, float]]]  # of a stream: from which packet on, how many seconds


def moves(pictures: list[Run], sounds: list[Run]) -> Moves:
    """What `mended` needs to know; empty where no clock jumps."""
    if not any(run.offset for run in pictures + sounds):
        return {}
    return {runs[0].kind: [(r.first, r.offset) for r in runs] for runs in (pictures, sounds)}


def mended(packets: Iterable[av.Packet], moves: Moves) -> Iterator[av.Packet]:
    """All packets of a file from its beginning on, with timestamps that don't jump."""
    if not moves:
        yield from packets
        return
    count = dict.fromkeys(moves, 0)
    left = {kind: list(steps) for kind, steps in moves.items()}
    offset = dict.fromkeys(moves, 0.0)
    for packet in packets:
        kind = packet.stream.type
        if left[kind] and left[kind][0][0] <= count[kind]:
            offset[kind] = left[kind].pop(0)[1]
        count[kind] += 1
        ticks = round(offset[kind] / packet.time_base) if packet.time_base else 0
        packet.dts = None if packet.dts is None else packet.dts + ticks
        packet.pts = None if packet.pts is None else packet.pts + ticks
        yield packet
