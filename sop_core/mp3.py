"""Windows of mp3 files at the price of the window, wherever it lies and however long the file is.

An mp3 is a row of frames of 1,152 or 576 samples. At a constant bit rate they are all equally long to within a byte, so a
frame's place in the file is arithmetic. Two things lean on earlier frames: half of each frame's transform overlaps the
next one's, and its bits may begin in the "reservoir" that those before it left. So decoding starts some frames early.
What we write has no reservoir, which makes every frame whole in itself.

Sources: ISO/IEC 11172-3 and 13818-3 (headers, main_data_begin); the LAME tag (encoder's delay), as mpg123 reads it.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np

from .config import AnyPath

# Hz -> bits a second: the most that the format has at low rates, transparent at the others
BIT_RATES = {8_000: 64_000, 11_025: 64_000, 12_000: 64_000, 16_000: 128_000, 22_050: 128_000, 24_000: 128_000,
             32_000: 192_000, 44_100: 192_000, 48_000: 192_000}  # fmt: skip
LAME = {
    "reservoir": "0",
    "compression_level": "7",
}  # the slower levels cost up to 10 times as much, and sound no nearer
SOFTER = {64_000: 0.95, 128_000: 0.95, 192_000: 0.97}  # LAME's presets scale the sound by this, against clipping
RESERVOIR = 511  # bytes, at most
DECODER_DELAY = 529  # samples that every decoder lags behind its encoder
SAME = 0xFFFF_FCC0  # bits of a header that all frames of a file share: not padding, nor how channels are joined
KBITS = {3: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0)}  # by version; 3 is MPEG-1
KBITS[2] = KBITS[0] = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0)
HZ = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}


class Plan(NamedTuple):
    """Where the frames of a file with a constant bit rate lie."""

    head: int  # a frame's header, as far as they are `SAME`
    first: int  # byte of the first frame that holds sound
    step: Fraction  # bytes from one frame to the next, on average
    samples: int  # of a frame
    run_up: int  # frames to begin early: as many as the reservoir may reach over, and the one that overlaps
    skip: int  # samples before the sound's first one


def window(path: AnyPath, start: int, count: int) -> np.ndarray | None:
    """`count` samples of an mp3 file from sample `start` on, both within it; channels are averaged.

    Shape: float32 (L,); the same to 1e-5 as that stretch of the whole file, decoded.
    None where frames can't be found by arithmetic (no constant bit rate, no tag that says so, damage): then seek and search.
    """
    with Path(path).open("rb") as f:
        if (plan := _plan(f)) is None:
            return None
        frame = max(0, (start + plan.skip) // plan.samples - plan.run_up)
        f.seek(plan.first + max(0, int(frame * plan.step) - 2))  # where it should be, and a little before
        frames = -(-(start + plan.skip + count) // plan.samples) - frame
        data = f.read(int((frames + 1) * plan.step) + 8)
    begin = next((i for i in range(6) if _header(data[i : i + 4]) == plan.head), None)
    if begin is None:
        return None
    decoder = av.CodecContext.create("mp3float", "r")
    try:
        parts = [_mono(f) for packet in decoder.parse(data[begin:]) for f in decoder.decode(packet)]
    except av.FFmpegError:
        return None
    first = start + plan.skip - frame * plan.samples
    sound = np.concatenate(parts)[first : first + count] if parts else np.zeros(0, np.float32)
    return sound if len(sound) == count else None


def _mono(frame: av.AudioFrame) -> np.ndarray:
    planes = [np.frombuffer(plane, np.float32, frame.samples) for plane in frame.planes]
    return planes[0] if len(planes) == 1 else np.mean(planes, axis=0)


def _header(four: bytes) -> int:
    return int.from_bytes(four, "big") & SAME


def _step(head: int) -> tuple[int, Fraction] | None:
    """(samples, bytes on average) of a frame with this header; None if it isn't one of layer III."""
    version, layer, rate, hz = head >> 19 & 3, head >> 17 & 3, head >> 12 & 15, head >> 10 & 3
    if head >> 21 != 0x7FF or version == 1 or layer != 1 or hz == 3 or rate in (0, 15):
        return None
    samples = 1_152 if version == 3 else 576
    return samples, Fraction(samples // 8 * KBITS[version][rate] * 1_000, HZ[version][hz])


def _plan(f) -> Plan | None:
    """The plan of an open file: its first frame is no sound but a tag, which says whether the bit rate is constant."""
    start = f.read(10)
    at = 10 + sum((b & 127) << 7 * (3 - i) for i, b in enumerate(start[6:10])) if start[:3] == b"ID3" else 0
    f.seek(at)
    data = f.read(1_500)  # no frame is longer
    head = _header(data[:4])
    if (own := _step(head)) is None:
        return None
    mono, mpeg1 = head >> 6 & 3 == 3, head >> 19 & 3 == 3
    tag = data[4 + {(True, True): 17, (True, False): 9, (False, True): 32, (False, False): 17}[mono, mpeg1] :][:144]
    if tag[:8] != b"Info\0\0\0\x0f" or len(tag) < 144:
        return None
    first = next((i for i in range(int(own[1]), int(own[1]) + 2) if _step(_header(data[i : i + 4]))), None)
    if first is None:
        return None
    head = _header(data[first : first + 4])
    samples, step = _step(head)
    if step < 40:  # 8,000 bits a second at 22,050 Hz and more: hardly more than headers
        return None
    frames, size = (int.from_bytes(tag[i : i + 4], "big") for i in (8, 12))
    if (
        not frames or abs(first + frames * step - size) > 3 * step
    ):  # a tag of something else, or frames of other lengths
        return None
    run_up = 2 + math.ceil(RESERVOIR / (step - 36))  # 36 bytes of header and side information at most
    return Plan(head, at + first, step, samples, run_up, (tag[141] << 4 | tag[142] >> 4) + DECODER_DELAY)


@contextmanager
def writer(path: AnyPath, rate: int) -> Iterator:
    """Write a mono mp3 by pieces, float32 (l,): yields the function that takes them. Constant bit rate, no reservoir.

    `rate`: Hz, one of `BIT_RATES`.
    """
    with av.open(f"file:{path}", "w", format="mp3") as container:
        stream = container.add_stream("libmp3lame", rate=rate, layout="mono", options=LAME)
        stream.bit_rate = BIT_RATES[rate]
        done, gain = 0, np.float32(1 / SOFTER[BIT_RATES[rate]])

        def write(sound: np.ndarray) -> None:
            nonlocal done
            if len(sound):
                frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(gain * sound[None], np.float32), "fltp", "mono")
                frame.sample_rate, frame.pts, frame.time_base = rate, done, Fraction(1, rate)
                container.mux(stream.encode(frame))
                done += len(sound)

        yield write
        container.mux(stream.encode(None))
