"""mp3 files that don't say how long they are: their frames are counted, once.

Such a file has no Xing or Info tag, since it was written to a pipe or captured from a stream; or it
is several files in a row, and the tag is the first one's. libsndfile guesses a length from the size
and the first frame, and never reads beyond it. So the positions of all frames are kept beside the
file, in `.<name>.frames`, and libsndfile gets the frames of a window, behind a tag that says how
many they are.
Source: ISO/IEC 11172-3 and 13818-3, the headers of Layer III; the tag is Xing's.
"""

import io
import re
import struct
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

import numpy as np
import soundfile

from ..config import AnyPath

BEGINNING = 4_096  # bytes in which a tag can be; as many may follow the sound (other tags)
# Flags (the lowest bit: with the number of frames), the number, and the bytes of the stream
TAG = re.compile(rb"(?s)(?:Xing|Info)\0{3}([\1\3\5\7\x09\x0b\x0d\x0f])(?!\0{4})(.{4})(.{4})")
NO_TAG = re.compile(rb"Xing|Info|VBRI")  # one without a number; libsndfile doesn't know VBRI
# kbit/s by their number in a header, of MPEG 1 and of the others; the first and the last are none
BIT_RATES = {
    True: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0),
    False: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0),
}
RATES = (44_100, 48_000, 32_000, 0)  # Hz, by their number in a header, of MPEG 1
DIVIDED = {3: 1, 2: 2, 0: 4}  # by so much in MPEG 1, 2 and 2.5, by their number in a header
LONGEST = 1_441  # bytes of a frame
# Samples that libmpg123 leaves out at the start where there is a tag: its own delay
DELAY = 529


class CountedMp3:
    """Reads an mp3 by its frames. It has what `sound` needs of a `soundfile.SoundFile`.

    Args: `starts`: what `frame_starts` found.
    """

    format = "MP3"

    def __init__(self, path: AnyPath, starts: np.ndarray):
        self.path, self.starts = path, starts
        with Path(path).open("rb") as f:
            f.seek(starts[0])
            self.first = f.read(4)
        header = _header(self.first)
        assert header is not None  # a frame starts there
        self.samplerate, self.per_frame = header.rate, header.samples
        self.frames = len(starts) * self.per_frame - DELAY  # SoundFile's word for samples
        self.at = 0

    def seek(self, at: int) -> None:
        """Go to a sample."""
        self.at = at

    def read(self, count: int, dtype: Literal["float32"], always_2d: bool) -> np.ndarray:
        """The next `count` samples. Shape: (count, channels)"""
        first, skipped = divmod(self.at, self.per_frame)
        end = -(-(self.at + count + DELAY) // self.per_frame)
        starts = self.starts[first:end].tolist()
        with Path(self.path).open("rb") as f:
            f.seek(starts[0])
            data = f.read(starts[-1] - starts[0] + LONGEST)
        ats = [start - starts[0] for start in starts]
        frames = [data[at : at + h.size] for at in ats if (h := _header(data[at : at + 4]))]
        with soundfile.SoundFile(io.BytesIO(_tag(self.first, len(frames)) + b"".join(frames))) as f:
            return f.read(skipped + count, dtype=dtype, always_2d=always_2d)[skipped:]


def frame_starts(path: AnyPath) -> np.ndarray | None:
    """Where the frames of an mp3 start, in bytes; None where libsndfile knows how long it is.

    The first time, the file is read through. A folder that can't be written to is no matter.
    """
    path = Path(path)
    with path.open("rb") as f:
        start = _after_id3(f)
        stat = path.stat()
        tag = TAG.search(f.read(BEGINNING))
        flags, told, size = (int.from_bytes(part) for part in tag.groups()) if tag else (0, 0, 0)
        if tag and not (flags & 2 and stat.st_size - start - size > BEGINNING):
            return None
        key = [stat.st_size, stat.st_mtime_ns]
        note = path.with_name(f".{path.name}.frames")
        with suppress(OSError, ValueError):
            kept = np.frombuffer(note.read_bytes(), "<i8")
            if kept[:3].tolist() == [*key, len(kept) - 3]:  # complete, and of this file
                return kept[3:] if len(kept) > 3 else None
        f.seek(start)
        found = [start + at for at in _found(f.read())]
    found = found if len(found) > told else []
    with suppress(OSError):  # without `atomic_path`: a flush for each of 200,000 takes too long
        note.write_bytes(np.array([*key, len(found), *found], "<i8").tobytes())
    return np.array(found) if found else None


def _after_id3(f: BinaryIO) -> int:
    """Go to the end of the ID3 tags at a file's start (covers can be large). Returns where."""
    at = 0
    while (head := f.read(10))[:3] == b"ID3" and len(head) == 10:
        at += 10 + sum((byte & 127) << 7 * (3 - k) for k, byte in enumerate(head[6:]))
        f.seek(at)
    return f.seek(at)


def _found(data: bytes) -> list[int]:
    """Where the frames of the first stream start. What lies between them is passed over."""
    found, at, stream, in_step = [], 0, None, False
    while 0 <= at <= len(data) - 4:
        header = _header(data[at : at + 4])
        end = at + (header.size if header else 0)
        if header and not in_step:  # other bytes may look like it; but then no frame follows them
            after = _header(data[end : end + 4])
            follows = end == len(data) or (after and after.stream == header.stream)
            header = header if follows else None
        in_step = bool(header and end <= len(data) and stream in (None, header.stream))
        if header and in_step:
            stream = header.stream
            found.append(at)
            at = end
        else:
            at = data.find(b"\xff", at + 1)
    is_tag = found and NO_TAG.search(data, found[0], found[0] + 64)
    return found[1:] if is_tag else found


class Header(NamedTuple):
    """The first four bytes of a frame of Layer III."""

    version: int
    rate: int  # Hz
    mono: bool
    size: int  # bytes

    @property
    def stream(self) -> tuple[int, int, bool]:
        """What all frames of a stream have in common."""
        return self[:3]

    @property
    def samples(self) -> int:
        return 1152 if self.version == 3 else 576


@lru_cache(4_096)
def _header(four: bytes) -> Header | None:
    bits = int.from_bytes(four)
    version, layer = bits >> 19 & 3, bits >> 17 & 3
    kbits = BIT_RATES[version == 3][bits >> 12 & 15]
    rate = RATES[bits >> 10 & 3] // DIVIDED.get(version, 1)
    if bits >> 21 != 0x7FF or version not in DIVIDED or layer != 1 or not kbits or not rate:
        return None
    header = Header(version, rate, bits >> 6 & 3 == 3, 0)
    padding = bits >> 9 & 1
    return header._replace(size=header.samples // 8 * 1000 * kbits // rate + padding)


def _tag(first: bytes, frames: int) -> bytes:
    """A frame without sound, to stand before others that are like `first`: how many they are."""
    # 128 or 64 kbit/s hold the tag at any rate; no padding, no checksum
    bits = int.from_bytes(first) & ~0xF200 | 9 << 12 | 1 << 16
    header = _header(bits.to_bytes(4))
    assert header is not None
    side = {(True, False): 32, (False, True): 9}.get((header.version == 3, header.mono), 17)
    text = bits.to_bytes(4) + bytes(side) + b"Xing" + struct.pack(">II", 1, frames)
    return text.ljust(header.size, b"\0")
