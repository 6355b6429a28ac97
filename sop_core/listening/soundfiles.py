"""Tracks and rest as sound files of one or two channels, which add up and never clip.

Whether a track is louder than full scale is known only at its end. So pieces wait as float32 in a
temporary file, which the system removes whatever happens. Then all tracks are scaled by one factor.
"""

import errno
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import IO, Literal

import numpy as np
import soundfile

from ..config import AnyPath
from ..media.sound import MP3_BIT_RATES, mp3_writer, resampled, sf_name

WavFormat = Literal["pcm16", "pcm24", "float32"]
Kind = Literal["wav", "flac", "mp3"]
KINDS: tuple[Kind, ...] = ("wav", "flac", "mp3")
BLOCK = 2**18  # numbers of the temporary file in memory at a time
WAV_BYTES = 2**32 - 2**12  # more don't fit a wav file's header: RF64 has room for them


class Waiting:
    """N tracks in a temporary file, written when it is made.

    Attributes:
        shape: (N, C)
        samples: how many there are of each
        peak: the greatest absolute value
        energy: sums of squares, of each track and of their sum (N + 1,)
    """

    def __init__(self, pieces: Iterable[np.ndarray], file: IO[bytes]):
        """Shape: pieces of float32 (N, C, l), at least one of them."""
        self.file = file
        self.samples, self.peak, self.energy = 0, 0.0, np.zeros(1)
        for piece in pieces:
            self.shape = piece.shape[:2]
            self.samples += piece.shape[2]
            self.peak = max(self.peak, piece.max(initial=0), -piece.min(initial=0))
            flat = [track.ravel() for track in (*piece, piece.sum(0))]
            self.energy = self.energy + [float(np.vdot(track, track)) for track in flat]
            self.file.write(np.ascontiguousarray(piece.transpose(2, 0, 1), "<f4").tobytes())

    def blocks(self) -> Iterator[np.ndarray]:
        """What was given, in other pieces. Shape: float32 (N, C, l)"""
        numbers = self.shape[0] * self.shape[1]
        self.file.seek(0)
        while data := self.file.read(max(1, BLOCK // numbers) * numbers * 4):
            yield np.frombuffer(data, "<f4").reshape(-1, *self.shape).transpose(1, 2, 0)

    def whole_numbers(self, bits: int, scale: float) -> Iterator[np.ndarray]:
        """`blocks` as numbers of `bits` bits, not cut. Shape: float64 (N, C, l)

        Tracks are rounded, and the last one is what is missing to their rounded sum. So files add
        up as well as one file is near to its sound, however many they are.
        """
        for block in self.blocks():
            values = block.astype(np.float64) * (scale * 2 ** (bits - 1))
            tracks = np.rint(values[:-1])
            rest = np.rint(values.sum(0)) - tracks.sum(0)
            yield np.concatenate([tracks, rest[None]])

    def scale(self, bits: int) -> float:
        """The factor by which tracks fit a file: 1, or less if one would clip.

        Args: `bits`: of a sample; 0: of a lossy file, which takes floats up to 1.
        """
        if not bits:
            return min(1.0, 1 / max(self.peak, 1e-12))
        top = 2 ** (bits - 1) - 1
        room = top - self.shape[0] - 1  # rounding moves a track by less
        if self.peak * (top + 1) <= room or all(
            -top - 1 <= block.min() and block.max() <= top for block in self.whole_numbers(bits, 1)
        ):
            return 1.0
        return room / (top + 1) / self.peak


def write_tracks(
    tracks: Waiting, paths: Sequence[AnyPath], rate: int, kind: str, wav_format: WavFormat
) -> float:
    """Write each track into its file; return the factor by which all of them were scaled."""
    bits = {"flac": 16, "mp3": 0}.get(kind, {"pcm16": 16, "pcm24": 24, "float32": 32}[wav_format])
    scale = 1.0 if bits == 32 else tracks.scale(bits)
    opened = (
        mp3_writer(p, rate, tracks.shape[1])
        if kind == "mp3"
        else _exact(p, rate, kind, bits, tracks)
        for p in paths
    )
    with ExitStack() as files:
        puts = [files.enter_context(file) for file in opened]
        whole = bits in (16, 24)
        for block in tracks.whole_numbers(bits, scale) if whole else tracks.blocks():
            for put, sound in zip(puts, block, strict=True):
                put(sound if whole else sound * np.float32(scale))
    return scale


def fitting_rate(rate: int, kind: str) -> int:
    """The rate at which a sound of `rate` Hz is stored: of an mp3 the next lower one that it has.

    Below 8 000 Hz it is 8 000.
    """
    if kind != "mp3":
        return rate
    return max((r for r in MP3_BIT_RATES if r <= rate), default=min(MP3_BIT_RATES))


def at_rate(pieces: Iterable[np.ndarray], rate: int, to: int) -> Iterator[np.ndarray]:
    """Tracks at another rate (Hz). Shape: float32 (N, C, l) -> the same, other lengths"""
    n = c = 0

    def flat() -> Iterator[np.ndarray]:
        nonlocal n, c
        for piece in pieces:
            n, c, length = piece.shape
            yield piece.reshape(n * c, length)

    for piece in resampled(flat(), rate, to):
        yield piece.reshape(n, c, piece.shape[1])


@contextmanager
def _exact(
    path: AnyPath, rate: int, kind: str, bits: int, tracks: Waiting
) -> Iterator[Callable[[np.ndarray], None]]:
    """A wav or flac file: takes (C, l), whole numbers of `bits` bits, or float32."""
    subtype = {16: "PCM_16", 24: "PCM_24", 32: "FLOAT"}[bits]
    channels = tracks.shape[1]
    large = kind == "wav" and tracks.samples * channels * bits // 8 > WAV_BYTES
    form = "RF64" if large else kind.upper()

    def put(sound: np.ndarray) -> None:
        values = sound.T
        if bits != 32:  # libsndfile takes the upper bits of an integer; a float it would round
            values = values.astype(np.int32) << (32 - bits)
        file.write(np.ascontiguousarray(values))

    try:
        with soundfile.SoundFile(sf_name(path), "w", rate, channels, subtype, None, form) as file:
            yield put
    except soundfile.LibsndfileError as e:
        if e.code != 2:  # an error of the system; its number is lost
            raise
        raise OSError(errno.EIO, "can't be written, the disk may be full", str(path)) from e
