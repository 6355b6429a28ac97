"""Strangers' sound files of any kind, as mono at 44,100 Hz: checked, read, and trimmed.

Unlike `media.sound`, which reads what this package wrote, it takes what a phone or an old sampler
wrote: 96 kHz and 24 bits, m4a, channels in antiphase.
"""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import av
import numpy as np
import soundfile
import soxr
from av.error import FFmpegError

from ..config import AnyPath
from ..errors import SopError
from ..media.atomic import brief, why_unreadable
from ..media.container import decode, seconds_of
from ..media.formats import LENIENT, SAFE
from ..media.mono import Cancelling
from ..media.sound import UNKNOWN_LENGTH, sf_name
from ..media.write import AAC_RATE as RATE

EXACT = (".wav", ".flac", ".aif", ".aiff", ".ogg", ".oga", ".caf", ".au", ".w64")  # by libsndfile
OTHERS = (".mp3", ".m4a", ".aac", ".opus", ".wma", ".mp4", ".mov", ".mkv", ".webm")  # by FFmpeg
RATES = range(4_000, 400_001)  # Hz: others are a broken header
CHANNELS = 32  # at most
SHORTEST = 0.05  # seconds
SILENCE = 1e-4  # half of the span from the lowest to the highest sample
BEFORE = 0.002  # seconds that are kept before an attack


def check_sound(path: AnyPath) -> float:
    """Length of a sound in seconds, if it can be used. Reads all of it, in little memory.

    Raises: SopError if it can't be read, is silent, shorter than 50 ms, or holds NaN or Inf.
    """
    count, rate = 0, RATE
    low, high = np.inf, -np.inf
    for piece, own_rate in _pieces(Path(path), 0.0):
        if not np.isfinite(piece).all():
            at = (count + np.isfinite(piece).all(1).argmin()) / own_rate
            raise SopError(f"{path}: no number (NaN or Inf) at {at:.2f} s of its sound")
        count, rate = count + len(piece), own_rate
        low, high = np.minimum(low, piece.min(0)), np.maximum(high, piece.max(0))
    if count < SHORTEST * rate:
        least = f"expected {1_000 * SHORTEST:.0f} ms or more"
        raise SopError(f"{path}: {1_000 * count / rate:.0f} ms of sound, {least}")
    if np.max(high - low) < 2 * SILENCE:
        raise SopError(f"{path}: silent")
    return count / rate


def sound_seconds(path: AnyPath) -> float:
    """How long a sound is, from its header; 0 where that doesn't say.

    Raises: SopError if it can't be read.
    """
    path = Path(path)
    with suppress(soundfile.SoundFileError):
        if path.suffix.lower() in EXACT:
            about = soundfile.info(sf_name(path))
            if about.frames < UNKNOWN_LENGTH:
                return about.duration
    try:
        with av.open(f"file:{path}", options=SAFE, **LENIENT) as container:
            return (container.duration or 0) / av.time_base
    except (FFmpegError, OSError) as e:
        raise _unreadable(path, e) from e


def read_mono(path: AnyPath, start: float = 0.0, seconds: float | None = None) -> np.ndarray:
    """A sound, or a window of it, which is read alone. Its mean is 0.

    Channels are averaged; where they cancel each other, the loudest is taken.

    Args: `start`, `seconds`: the window (seconds None: to the end). In an mp3 it begins within some
        hundredths of a second of `start`: FFmpeg estimates where that is.
    Shape: float32 (L,) at 44,100 Hz
    Raises: SopError if it can't be read, or holds NaN or Inf.
    """
    pieces, count, rate = [], 0, RATE
    for piece, rate in _pieces(Path(path), start):  # noqa: B007  (the rate is needed below)
        pieces.append(piece)
        count += len(piece)
        if seconds is not None and count >= seconds * rate:
            break
    sound = np.concatenate(pieces) if pieces else np.zeros((0, 1), np.float32)  # (l, C)
    sound = sound if seconds is None else sound[: round(seconds * rate)]
    if not len(sound):
        return np.zeros(0, np.float32)
    if not np.isfinite(sound).all():
        raise SopError(f"{path}: no number (NaN or Inf) in its sound; make it again")
    sound = sound - sound.mean(0)
    cancelling = Cancelling(sound.shape[1], rate)
    cancelling.add(sound.T)
    channel = cancelling.channel()
    mono = sound.mean(1) if channel is None else sound[:, channel]
    return soxr.resample(np.ascontiguousarray(mono), rate, RATE)


def trimmed(sound: np.ndarray) -> np.ndarray:
    """A sound from its attack to where it has died away (34 and 48 dB under its peak); peak 1.

    Shape: float32 (L,) -> (l,)
    """
    hop = int(BEFORE * RATE)
    size = np.abs(np.pad(sound, (0, -len(sound) % hop))).reshape(-1, hop).max(1)
    top = size.max(initial=1e-9)
    start = hop * max(0, int((size >= 0.02 * top).argmax()) - 1)
    end = len(sound) - hop * int((size[::-1] >= 0.004 * top).argmax())
    return sound[start : max(end, start + hop)] / np.float32(top)


def levels(sound: np.ndarray, seconds: float = 0.02) -> np.ndarray:
    """(n,) RMS of each `seconds` of a sound, in dB, its loudest 0; nothing under -80."""
    hop = int(seconds * RATE)
    frames = np.pad(sound, (0, -len(sound) % hop)).reshape(-1, hop).astype(float)
    rms = np.sqrt((frames**2).mean(1))
    return 20 * np.log10(np.maximum(rms / max(rms.max(initial=0), 1e-9), 1e-4))


def loud_seconds(path: AnyPath) -> np.ndarray:
    """(n,) RMS of each second of a sound, of its loudest channel. Reads all, in little memory.

    Raises: SopError if it can't be read.
    """
    found, waiting, count = [], [], 0
    for piece, rate in _pieces(Path(path), 0.0):
        waiting.append(piece)
        count += len(piece)
        if count >= rate:
            whole = np.concatenate(waiting)
            seconds = whole[: count - count % rate].reshape(count // rate, rate, -1)
            found += seconds.std(1, dtype=float).max(1).tolist()
            waiting, count = [whole[count - count % rate :]], count % rate
    if count and not found:  # of a longer one the rest hardly counts
        found.append(np.concatenate(waiting).std(0, dtype=float).max())
    return np.array(found)


def _pieces(path: Path, start: float) -> Iterator[tuple[np.ndarray, int]]:
    """The sound from `start` (s) on as (l, C) float32, each piece with its rate in Hz."""
    if reason := why_unreadable(path):
        raise SopError(f"{path}: {reason}")
    if path.suffix.lower() in EXACT:
        try:
            file = soundfile.SoundFile(sf_name(path))
        except (soundfile.SoundFileError, OSError):
            pass  # another kind of file with this suffix: FFmpeg may know it
        else:
            with file as f:
                if f.frames >= UNKNOWN_LENGTH:  # libsndfile can't seek in it
                    yield from _av_pieces(path, start)
                    return
                _plausible(path, f.samplerate, f.channels)
                try:
                    f.seek(min(f.frames, round(start * f.samplerate)))
                    for block in f.blocks(1 << 16, dtype="float32", always_2d=True):
                        yield block, f.samplerate
                except soundfile.SoundFileError as e:
                    raise _unreadable(path, e) from e
            return
    yield from _av_pieces(path, start)


def _av_pieces(path: Path, start: float) -> Iterator[tuple[np.ndarray, int]]:
    """The same by FFmpeg, of the first sound stream; more than two channels become two."""
    try:
        with av.open(f"file:{path}", options=SAFE, **LENIENT) as container:
            if not container.streams.audio:
                raise SopError(f"{path}: no sound in it")
            stream = container.streams.audio[0]
            if start > 1:  # a second early: a decoder needs a run-up
                container.seek(int((start - 1) * av.time_base))
            mixer = form = None
            rate, layout = 0, ""
            for frame in (f for packet in container.demux(stream) for f in decode(packet)):
                if not rate:
                    rate, layout = (
                        frame.sample_rate,
                        "mono" if len(frame.layout.channels) == 1 else "stereo",
                    )
                    _plausible(path, rate, len(frame.layout.channels))
                now = (frame.format.name, frame.layout.name, frame.sample_rate)
                if mixer is None or now != form:  # the first, or a stream that changes midway
                    mixer, form = av.AudioResampler("fltp", layout, rate), now
                skip = round((start - (seconds_of(frame) or 0.0)) * rate) if start else 0
                for part in mixer.resample(frame):
                    piece = part.to_ndarray().T[max(0, skip) :]
                    skip -= part.samples
                    if len(piece):
                        yield piece, rate
    except (FFmpegError, OSError) as e:
        raise _unreadable(path, e) from e


def _plausible(path: Path, rate: int, channels: int) -> None:
    if rate not in RATES or channels > CHANNELS:
        most = f"expected {RATES[0]:,} to {RATES[-1]:,} Hz and at most {CHANNELS} channels"
        raise SopError(f"{path}: {rate:,} Hz and {channels} channels, {most}")


def _unreadable(path: Path, e: Exception) -> SopError:
    why = getattr(e, "strerror", None) or brief(e)  # FFmpeg's messages end with the path
    reason = why_unreadable(path) or f"not a sound that can be read ({why})"
    return SopError(f"{path}: {reason}")
