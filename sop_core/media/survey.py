"""What a file holds, found by reading it once: where the clip begins and ends, and what is wrong.

It decodes the sound, not the pictures. That costs about a tenth of what `stream` costs, and makes
the answer that of the file and not of its header.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import av
from av.container import InputContainer

from ..config import AnyPath
from ..errors import SopError
from .choose import BEST, Choice
from .clock import Gaps, Moves, Run, Runs, join, moves
from .container import decode, open_video
from .mono import Cancelling, Planes

LATE = 0.1  # seconds: streams that begin or end apart by less count as together
MOST_SILENCE = 10.0  # seconds of gaps that any sound may have; a longer one, as much as its sound
# Whether channels cancel is judged by the first seconds, then by one second of every few.
ALL, EVERY = 10, 4
# A gap of sound is no wrong clock where so many pictures a second go on
SLOWEST = 5
FEWEST_BYTES = 10  # of a file, for a second of sound: silence in FLAC or Opus takes more
RATES = range(1_000, 384_001)  # Hz: others are a broken header
TS_DISCONT = 0x200  # libav's flag: the clock of this kind of file may jump


@dataclass(frozen=True)
class Survey:
    """A file's clip. Times are seconds by its timestamps, where their jumps are mended.

    Attributes:
        begin, end: of the clip
        rate: Hz of its sound
        channel: what is heard in mono: this channel, or (None) the mean of all
        moves: how the timestamps are mended
        reaches: where the last of its streams ends
        claims: where its header says so; 0 where it doesn't
        notes: what was left out of the clip, or mended, as sentences
        of_channels: the same of its mono sound
        seeks: whether libav finds a second of it
    """

    begin: float
    end: float
    rate: int
    channel: int | None
    moves: Moves
    reaches: float
    claims: float
    notes: tuple[str, ...]
    of_channels: tuple[str, ...]
    seeks: bool


def survey(path: AnyPath, choice: Choice = BEST) -> Survey:
    """Read a whole file, of its streams those of `choice`.

    The answer is kept, as long as the file stays as it is.

    Raises: SopError if it can't be used.
    """
    path = Path(path)
    try:
        now = path.stat()
    except (OSError, ValueError):
        return _survey(path, choice, ())  # says what is wrong
    return _survey(path, choice, (now.st_ino, now.st_size, now.st_mtime_ns))


@lru_cache(maxsize=64)
def _survey(path: Path, choice: Choice, version: tuple[int, ...]) -> Survey:
    with open_video(path, choice) as (container, video, audio):
        may_jump = bool(container.format.flags & TS_DISCONT) or "flv" in container.format.name
        ticks = [float(stream.time_base or 0) for stream in (video, audio)]
        runs = Runs(path, "video", ticks[0], may_jump)
        rate = float(video.average_rate or 25)
        pictures = _Pictures(runs, rate, "avi" in container.format.name)
        sounds = _Sounds(path, Runs(path, "audio", ticks[1], may_jump))
        for place, packet in enumerate(container.demux(video, audio)):
            (pictures if packet.stream is video else sounds).take(packet, place)
        for kind, count in (("picture", pictures.count), ("sound", sounds.held)):
            if not count:
                raise SopError(f"{path}: its {kind} stream holds no {kind} that can be decoded")
        pictures.finish()
        sounds.finish(claimed_end(container, audio))
        join(pictures.runs.all, sounds.runs.all)
        pictures.slides()
        # Where the clock may jump, libav's length is an estimate, from timestamps; and it seeks by
        # them, to any picture and not to one that can be decoded alone.
        sure = not container.format.flags & TS_DISCONT
        sure = sure and not moves(pictures.runs.all, sounds.runs.all)
        claims = (container.duration or 0) / av.time_base if sure else 0.0
        seeks = sure and (container.start_time or 0) >= 0
    return _plan(path, pictures, sounds, claims, seeks)


class _Pictures:
    """When the pictures are shown, by their packets."""

    def __init__(self, runs: Runs, rate: float, decoding: bool):
        """`rate`: pictures a second, as claimed. `decoding`: it has times of decoding only."""
        self.runs = runs
        self.rate = rate
        self.decoding = decoding
        self.count = 0
        self.keyed = False  # whether a picture came that needs no other; none is shown before
        self.shown = False
        # Of a run: its last two times, the last one's length, and pictures since without a time
        self.latest: list[list[float]] = []

    def take(self, packet: av.Packet, place: int) -> None:
        run = self.runs.take(packet, place)
        self.keyed = self.keyed or packet.is_keyframe
        at = packet.dts if self.decoding else packet.pts
        if packet.is_discard or not packet.size:
            return
        self.count += 1
        if at is None:
            if len(self.latest) == len(self.runs.all):
                self.latest[-1][3] += 1
            return
        at, own = at * self.runs.tick, (packet.duration or 0) * self.runs.tick
        if len(self.latest) < len(self.runs.all):
            self.latest.append([-math.inf, -math.inf, 0.0, 0])
        run.begin = min(run.begin, at) if self.shown or not self.keyed else at
        self.shown = self.keyed
        last, before, _, _ = latest = self.latest[-1]
        if at > last:
            latest[:] = at, last, own, 0
        elif at > before:
            latest[1] = at

    def finish(self) -> None:
        """A picture is shown as long as it says, or as long as the one before it."""
        shown = [run for run in self.runs.all if run.begin < math.inf]
        for run, (last, before, own, untimed) in zip(shown, self.latest, strict=True):
            run.end = last + max(own, last - before if before > -math.inf else 0)
            run.end += untimed * (own or 1 / self.rate)

    def last(self) -> float:
        """When the last picture comes."""
        return max(r.offset + a[0] for r, a in zip(self.runs.all, self.latest, strict=False))

    def slides(self) -> None:
        """The last of slides that are far apart, each in a run, is shown as long as the others."""
        if len(self.runs.all) > 1:
            before, last = self.runs.all[-2:]
            if before.offset == last.offset and last.begin == last.end:
                last.end += last.begin - before.end


class _Sounds:
    """When there is sound, how much of it, and whether its channels cancel; all by decoding it."""

    def __init__(self, path: Path, runs: Runs):
        self.path = path
        self.runs = runs
        self.rate = 0  # Hz
        self.held = 0.0  # seconds of it, without gaps
        self.frame = 0.0  # seconds of the last frame
        self.gaps = Gaps()
        self.cancelling: Cancelling | None = None

    def take(self, packet: av.Packet, place: int) -> None:
        run = self.runs.take(packet, place)
        for frame in decode(packet):
            self._hear(run, frame, None if frame.pts is None else frame.pts * self.runs.tick)

    def _hear(self, run: Run, frame: av.AudioFrame, at: float | None) -> None:
        rate = frame.sample_rate
        if rate not in RATES:
            expected = f"expected {RATES[0]:,} to {RATES[-1]:,}"
            raise SopError(f"{self.path}: its sound has {rate:,} samples a second; {expected}")
        if not self.rate:
            self.rate = rate
            self.planes = Planes(rate)
            if len(frame.layout.channels) > 1:
                self.cancelling = Cancelling(2, rate)
        some = self.held < ALL or self.held % EVERY < 1
        if some and self.cancelling and len(planes := self.planes(frame)) == 2:
            self.cancelling.add(planes)
        self.frame = frame.samples / rate
        if run.begin == math.inf:
            run.begin = run.end = at or 0.0
        gap = self.gaps(frame, at, run.end)
        heard = min(self.frame, max(0.0, self.frame + min(0.0, gap)))  # of an overlap, what is new
        run.end += max(0.0, gap) + heard
        self.held += heard

    def finish(self, claimed: float) -> None:
        """`claimed`: see `claimed_end`."""
        last = self.runs.all[-1]
        if last.end - self.frame < claimed < last.end:  # by more than a frame: the claim is wrong
            self.held -= last.end - claimed
            last.end = claimed


def _plan(path: Path, pictures: _Pictures, sounds: _Sounds, claims: float, seeks: bool) -> Survey:
    seen, heard = pictures.runs.span(), sounds.runs.span()
    silent = heard[1] - heard[0] - sounds.held
    if silent > max(MOST_SILENCE, sounds.held, pictures.count / SLOWEST):
        holds = f"holds {sounds.held:.1f} s of sound in {heard[1] - heard[0]:,.1f} s"
        raise SopError(f"{path}: it {holds}: its timestamps are wrong; convert it again")
    if sounds.held > 600 and path.stat().st_size < FEWEST_BYTES * sounds.held:
        holds = f"{sounds.held:,.0f} s of sound in {path.stat().st_size:,} bytes"
        raise SopError(f"{path}: it claims {holds}: too few; convert it again")
    reaches = max(seen[1], heard[1])
    if pictures.count == 1:  # a still picture: shown as long as there is sound
        seen = (seen[0], max(seen[1], heard[1]))
    begin = seen[0] if seen[0] - heard[0] > LATE else heard[0]
    end = seen[1] if heard[1] - seen[1] > LATE else heard[1]
    if not begin < end:
        raise SopError(f"{path}: no picture while there is sound")
    notes = [*_left_out(seen, heard, pictures.last())]
    if silent > LATE:
        notes.append(f"{silent:.1f} s of its sound are missing: silent there")
    jumps = max(pictures.runs.jumps(), sounds.runs.jumps())
    if jumps:
        times = "once" if jumps == 1 else f"{jumps} times"
        notes.append(f"its clock jumps {times}: what follows is joined to what came before")
    channel = sounds.cancelling.channel() if sounds.cancelling else None
    of_channels = []
    if channel is not None:
        side = ("left", "right")[channel]
        of_channels.append(f"its channels cancel each other: the {side} one is heard alone")
    return Survey(
        begin=begin,
        end=end,
        rate=sounds.rate,
        channel=channel,
        moves=moves(pictures.runs.all, sounds.runs.all),
        reaches=reaches,
        claims=claims,
        notes=tuple(notes),
        of_channels=tuple(of_channels),
        seeks=seeks,
    )


def _left_out(seen: tuple[float, float], heard: tuple[float, float], last: float) -> Iterator[str]:
    """`last`: when the last picture has come; how long it is shown may be a guess."""
    late, early = seen[0] - heard[0], heard[1] - seen[1]
    if late > LATE:
        yield f"its picture begins {late:.1f} s after its sound: the sound before is left out"
    if late < -LATE:
        yield f"its sound begins {-late:.1f} s after its picture: the picture before is left out"
    if early > LATE:
        yield f"its picture ends {early:.1f} s before its sound: the sound after is left out"
    if last - heard[1] > LATE:
        yield f"its sound ends {-early:.1f} s before its picture: the picture after is left out"


def claimed_end(container: InputContainer, audio: av.AudioStream) -> float:
    """Where an mp4 says that its sound ends, in the file's seconds; inf for other kinds of file.

    An encoder fills its last frame with silence. An mp4 says, to the sample, how much of it counts,
    but FFmpeg before version 9 gives all of it. The clip ends there, so that a sound has the same
    length with any decoder.
    """
    if "mp4" not in container.format.name or audio.duration is None or audio.time_base is None:
        return math.inf
    return float(((audio.start_time or 0) + audio.duration) * audio.time_base)


def check_end(path: AnyPath, plan: Survey, asked: float) -> None:
    """Raises SopError if a file ends much before what it claims, or before what is `asked`."""
    # In mkv the claim is the end, in mp4 the length, so the check is a rough one.
    if plan.reaches < 0.9 * min(plan.claims, asked) - 1:
        raise SopError(
            f"{path}: cut short: {plan.reaches:.1f} s of the {plan.claims:.1f} s it claims; "
            "fetch it again"
        )
