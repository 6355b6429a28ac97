"""Sound files: a window of one, and writing one.

Sound is mono float32 (L,) between -1 and 1.
"""

import errno
import io
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import soundfile
import soxr

from ..config import AnyPath
from ..errors import SopError
from .atomic import atomic_path, brief, why_unreadable
from .mp3 import CountedMp3, frame_starts

SOUND_KINDS = ("mp3", "flac", "wav")
# Decoders may differ by this at a sound's end: two codec frames of the longest kind
# (HE-AAC at 44.1 kHz: 46 ms).
CODEC_FRAMES = 0.1  # seconds
# An mp3 frame (1,152 or 576 samples) overlaps the next one, and its bits may begin in up to 511
# bytes of earlier frames (the "reservoir"; ISO/IEC 11172-3, main_data_begin). So decoding starts 10
# or 20 frames early.
MP3_RUN_UP = 11_520  # samples
# Hz -> bits a second: the most that mp3 has at low rates, transparent at the others
MP3_BIT_RATES = {
    8_000: 64_000, 11_025: 64_000, 12_000: 64_000,
    16_000: 128_000, 22_050: 128_000, 24_000: 128_000,
    32_000: 192_000, 44_100: 192_000, 48_000: 192_000,
}  # fmt: skip
# LAME's presets scale the sound by this, against clipping.
LAME_SCALE = {64_000: 0.95, 128_000: 0.95, 192_000: 0.97}
# Without a reservoir each frame can be decoded alone. Lower levels cost up to 10 times as much, and
# what they write is no nearer to the sound.
LAME = {"reservoir": "0", "compression_level": "7"}
UNKNOWN_LENGTH = 1 << 62  # samples: libsndfile's answer where a flac doesn't say how long it is
STDERR = threading.Lock()  # one thread at a time redirects it


def sound_length(path: AnyPath) -> tuple[int, int]:
    """(samples, rate in Hz) of a sound file, from its header.

    An mp3 whose header doesn't say it is counted, once (see `mp3`).

    Raises SopError if it can't be read.
    """
    with _sound_file(path) as f:
        return f.frames, f.samplerate


def read_sound(
    path: AnyPath,
    start: int = 0,
    count: int | None = None,
    rate: int | None = None,
    missing: int = 0,
) -> np.ndarray:
    """A window of a wav, flac or mp3 file; only the window is read. Channels are averaged.

    Args: `start`, `count`: the window, in samples of the file (count None: to the end).
        `rate`: Hz; the window is resampled to it: L is about count * rate / the file's rate.
        `missing`: this many samples may be missing at the window's end; they become silence.
    Shape: float32 (L,).
    Raises SopError if the file can't be read, is shorter than start + count - missing, or holds
    NaN or Inf there.
    """
    with _sound_file(path) as f:
        # the window in samples: [start, end), and [start, start + here) is in the file
        own_rate = f.samplerate
        end = f.frames if count is None else start + count
        here = min(end, f.frames) - start
        if not (0 <= start <= end <= f.frames + missing and here >= 0):
            lengths = f"{f.frames / own_rate:.2f} s of sound, needs {end / own_rate:.2f} s"
            raise SopError(f"{path}: {lengths}")
        # decode it: (run_up + here, channels) -> (here,)
        run_up = min(start, MP3_RUN_UP) if f.format == "MP3" else 0
        with _quiet_stderr() if run_up else nullcontext():
            f.seek(start - run_up)
            sound = f.read(run_up + here, dtype="float32", always_2d=True)[run_up:]
        sound = sound[:, 0] if sound.shape[1] == 1 else sound.mean(axis=1)
    # refuse what is broken
    if len(sound) < here:  # the header promised more
        last = (start + len(sound)) / own_rate
        raise SopError(f"{path}: cut short, it ends after {last:.2f} s; make it again")
    if not np.isfinite(sound).all():
        at = (start + np.isfinite(sound).argmin()) / own_rate
        raise SopError(f"{path}: no number (NaN or Inf) at {at:.2f} s of its sound; make it again")
    # fill up to the window's length, then to the rate that was asked for
    sound = np.pad(sound, (0, end - start - here))
    return sound if rate in (None, own_rate) else soxr.resample(sound, own_rate, rate)


@contextmanager
def _sound_file(path: AnyPath) -> Iterator[soundfile.SoundFile | CountedMp3]:
    path = Path(path)
    if not path.is_file():  # a pipe, say, would be waited for
        raise SopError(f"{path}: {why_unreadable(path) or 'not a file'}")
    try:
        with soundfile.SoundFile(sf_name(path)) as f:
            starts = frame_starts(path) if f.format == "MP3" else None
            if f.frames >= UNKNOWN_LENGTH:
                hint = "as a file that was written to a pipe; convert it, say with ffmpeg"
                raise SopError(f"{path}: it doesn't say how long it is, {hint}")
            yield f if starts is None else CountedMp3(path, starts)
    except (soundfile.SoundFileError, OSError) as e:
        reason = why_unreadable(path) or f"not a sound file that can be read ({brief(e)})"
        raise SopError(f"{path}: {reason}") from e


@contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Discards what C code writes to stderr inside the block.

    libmpg123 complains there about every first frame whose reservoir was skipped. That is harmless,
    since the run-up is thrown away, and there is no option against it (libsndfile issue 958).
    """
    with STDERR, Path(os.devnull).open("wb") as nowhere:
        original = os.dup(2)
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(original, 2)
            os.close(original)


def sf_name(path: AnyPath) -> Any:
    """A path for soundfile, as bytes: text would have to be valid UTF-8.

    soundfile takes bytes, but its types don't say so.
    """
    return os.fsencode(path) if os.name == "posix" else str(path)


@contextmanager
def sound_writer(path: AnyPath, rate: int) -> Iterator[Callable[[np.ndarray], None]]:
    """Write a mono sound file in pieces.

    Yields the function that takes the pieces, float32 (l,); they are clipped at +-1. The suffix of
    `path` is the kind, one of `SOUND_KINDS`. wav and flac hold 16 bits; mp3 has a constant bit
    rate, and `rate` (Hz) must be one of `MP3_BIT_RATES`.
    """
    kind = Path(path).suffix[1:].upper()
    if kind == "MP3":
        with mp3_writer(path, rate) as write:
            yield write
        return
    try:
        with soundfile.SoundFile(sf_name(path), "w", rate, 1, "PCM_16", format=kind) as f:
            yield lambda sound: f.write(np.clip(sound, -1, 1))
    except soundfile.LibsndfileError as e:
        if e.code != 2:  # an error of the system; its number is lost
            raise
        raise OSError(errno.EIO, "can't be written, the disk may be full", str(path)) from e


@contextmanager
def mp3_writer(
    path: AnyPath, rate: int, channels: int = 1
) -> Iterator[Callable[[np.ndarray], None]]:
    """Write an mp3 file of one or two channels in pieces; see `sound_writer`.

    The pieces are float32 (l,) or (C, l). Stereo has 320 kbit/s where mp3 has them.
    """
    with av.open(f"file:{path}", "w", format="mp3") as container:
        layout = "stereo" if channels == 2 else "mono"
        stream = container.add_stream("libmp3lame", rate=rate, layout=layout, options=LAME)
        best = channels == 2 and rate >= 32_000
        stream.bit_rate = 320_000 if best else MP3_BIT_RATES[rate]
        gain = np.float32(1 / LAME_SCALE.get(stream.bit_rate, 1.0))
        done = 0  # samples

        def write(sound: np.ndarray) -> None:
            nonlocal done
            if sound.size:
                louder = gain * np.clip(sound, -1, 1)
                container.mux(stream.encode(audio_frame(louder, rate, done)))
                done += sound.shape[-1]

        yield write
        container.mux(stream.encode(None))


def audio_frame(sound: np.ndarray, rate: int, at: int) -> av.AudioFrame:
    """Sound (l,), or stereo (2, l), as a frame for an encoder; `at`: index of the first sample."""
    planes = np.ascontiguousarray(np.atleast_2d(sound), np.float32)  # (1 or 2, l)
    layout = "mono" if len(planes) == 1 else "stereo"
    frame = av.AudioFrame.from_ndarray(planes, format="fltp", layout=layout)
    frame.sample_rate = rate
    frame.pts = at
    frame.time_base = Fraction(1, rate)
    return frame


def wav_bytes(sound: np.ndarray, rate: int) -> bytes:
    """A wav file (16 bit PCM) in memory. `sound`: (L,), clipped at +-1."""
    out = io.BytesIO()
    soundfile.write(out, np.clip(sound, -1, 1), rate, subtype="PCM_16", format="WAV")
    return out.getvalue()


def write_wav(path: AnyPath, sound: np.ndarray, rate: int) -> None:
    """A wav file (16 bit PCM). `sound`: (L,), clipped at +-1; `rate`: Hz."""
    with atomic_path(path) as part:
        part.write_bytes(wav_bytes(sound, rate))


def resampled(pieces: Iterable[np.ndarray], rate: int, to: int) -> Iterator[np.ndarray]:
    """Sound at another rate (Hz), piece by piece.

    Shape: float32 (l,) or (P, l) -> the same, other lengths
    """
    stream = None
    for piece in pieces:
        channels = len(piece) if piece.ndim == 2 else 1
        stream = stream or soxr.ResampleStream(rate, to, channels, dtype="float32")
        yield stream.resample_chunk(np.ascontiguousarray(piece.T, np.float32)).T
    if stream:
        yield stream.resample_chunk(np.zeros_like(piece[..., :0].T, np.float32), last=True).T
