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

import av
import numpy as np
import soundfile
import soxr

from ..config import AnyPath
from ..errors import SopError
from .atomic import atomic_path, brief, why_unreadable

SOUND_KINDS = ("mp3", "flac", "wav")
# Decoders may differ by this at a sound's end: two codec frames of the longest kind
# (HE-AAC at 44.1 kHz: 46 ms).
CODEC_FRAMES = 0.1  # seconds
# An mp3 frame (1,152 or 576 samples) overlaps the next one, and its bits may begin in up to 511
# bytes of earlier frames (the "reservoir"; ISO/IEC 11172-3, main_data_begin). So decoding starts 10
# or 20 frames early.
MP3_RUN_UP = 11_520  # samples
# Hz -> bits a second: the most that mp3 has at low rates, transparent at the others
MP3_BIT_RATES = {8_000: 64_000, 11_025: 64_000, 12_000: 64_000, 16_000: 128_000, 22_050: 128_000, 24_000: 128_000,
                 32_000: 192_000, 44_100: 192_000, 48_000: 192_000}  # fmt: skip
# LAME's presets scale the sound by this, against clipping.
LAME_SCALE = {64_000: 0.95, 128_000: 0.95, 192_000: 0.97}
# Without a reservoir each frame can be decoded alone. The slower levels cost up to 10 times as much
# and are no nearer to the sound.
LAME = {"reservoir": "0", "compression_level": "7"}
STDERR = threading.Lock()  # one thread at a time turns it away


def sound_length(path: AnyPath) -> tuple[int, int]:
    """(samples, rate in Hz) of a sound file, from its header.

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
        `rate`: Hz; what was read is resampled to it: L is about count * rate / the file's rate.
        `missing`: so many samples may be missing at the window's end, and are silence then.
    Shape: float32 (L,).
    Raises SopError if the file can't be read, is shorter than start + count - missing, or holds
    NaN or Inf there.
    """
    with _sound_file(path) as f:
        end = f.frames if count is None else start + count
        if not (0 <= start <= end <= f.frames + missing and start <= f.frames):
            raise SopError(
                f"{path}: {f.frames / f.samplerate:.2f} s of sound, needs {end / f.samplerate:.2f} s"
            )
        wanted, end = end - start, min(end, f.frames)
        own_rate = f.samplerate
        run_up = min(start, MP3_RUN_UP) if f.format == "MP3" else 0
        with _quiet_stderr() if run_up else nullcontext():
            f.seek(start - run_up)
            sound = f.read(run_up + end - start, dtype="float32", always_2d=True)[
                run_up:
            ]  # (L, channels)
        sound = sound[:, 0] if sound.shape[1] == 1 else sound.mean(axis=1)
    if len(sound) < end - start:  # the header promised more
        raise SopError(
            f"{path}: cut short, it ends after {(start + len(sound)) / own_rate:.2f} s; make it again"
        )
    if not np.isfinite(sound).all():
        at = (start + np.isfinite(sound).argmin()) / own_rate
        raise SopError(f"{path}: no number (NaN or Inf) at {at:.2f} s of its sound; make it again")
    sound = sound if wanted == len(sound) else np.pad(sound, (0, wanted - len(sound)))
    return sound if rate in (None, own_rate) else soxr.resample(sound, own_rate, rate)


@contextmanager
def _sound_file(path: Path) -> Iterator[soundfile.SoundFile]:
    path = Path(path)
    if not path.is_file():  # a pipe, say, would be waited for
        raise SopError(f"{path}: {why_unreadable(path) or 'not a file'}")
    try:
        with soundfile.SoundFile(sf_name(path)) as f:
            yield f
    except (soundfile.SoundFileError, OSError) as e:
        raise SopError(
            f"{path}: {why_unreadable(path) or f'not a sound file that can be read ({brief(e)})'}"
        ) from e


@contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Nothing that C code writes to stderr is seen meanwhile.

    libmpg123 complains there of every first frame whose reservoir was skipped. That is harmless,
    since the run-up is thrown away, and it can't be told not to (libsndfile issue 958).
    """
    with STDERR, Path(os.devnull).open("wb") as nowhere:
        kept = os.dup(2)
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def sf_name(path: AnyPath) -> bytes | str:
    """A path as soundfile takes it: as bytes, since text would have to be valid UTF-8."""
    return os.fsencode(path) if os.name == "posix" else str(path)


@contextmanager
def sound_writer(path: AnyPath, rate: int) -> Iterator[Callable[[np.ndarray], None]]:
    """Write a mono sound file in pieces.

    Yields the function that takes the pieces, float32 (l,); they are clipped at +-1. The name's
    suffix says the kind, one of `SOUND_KINDS`. wav and flac hold 16 bits; mp3 has a constant bit
    rate, and `rate` (Hz) is one of `MP3_BIT_RATES`.
    """
    kind = Path(path).suffix[1:].lower()
    if kind == "mp3":
        with _mp3_writer(path, rate) as write:
            yield lambda sound: write(np.clip(sound, -1, 1))
    else:
        try:
            with soundfile.SoundFile(
                sf_name(path), "w", rate, 1, "PCM_16", format=kind.upper()
            ) as f:
                yield lambda sound: f.write(np.clip(sound, -1, 1))
        except soundfile.LibsndfileError as e:
            if e.code != 2:  # the system's error, whose number is lost
                raise
            raise OSError(errno.EIO, "can't be written, the disk may be full", str(path)) from e


@contextmanager
def _mp3_writer(path: AnyPath, rate: int) -> Iterator[Callable[[np.ndarray], None]]:
    """Write a mono mp3 by pieces, float32 (l,)."""
    with av.open(f"file:{path}", "w", format="mp3") as container:
        stream = container.add_stream("libmp3lame", rate=rate, layout="mono", options=LAME)
        stream.bit_rate = MP3_BIT_RATES[rate]
        gain = np.float32(1 / LAME_SCALE[stream.bit_rate])
        done = 0  # samples

        def write(sound: np.ndarray) -> None:
            nonlocal done
            if len(sound):
                container.mux(stream.encode(audio_frame(gain * sound, rate, done)))
                done += len(sound)

        yield write
        container.mux(stream.encode(None))


def audio_frame(sound: np.ndarray, rate: int, at: int) -> av.AudioFrame:
    """Mono sound (l,) for an encoder; its first sample is number `at`."""
    frame = av.AudioFrame.from_ndarray(
        np.ascontiguousarray(sound[None], np.float32), format="fltp", layout="mono"
    )
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
        stream = stream or soxr.ResampleStream(
            rate, to, len(piece) if piece.ndim == 2 else 1, dtype="float32"
        )
        yield stream.resample_chunk(np.ascontiguousarray(piece.T, np.float32)).T
    if stream:
        yield stream.resample_chunk(np.zeros_like(piece[..., :0].T, np.float32), last=True).T
