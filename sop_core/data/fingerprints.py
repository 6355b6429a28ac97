"""What tells a clip from all others: landmarks of its sound, and a few looks at its picture.

A landmark is three peaks of the spectrogram, one after the other: their pitches and distances, in
30 bits. It survives another level, another code and another start, and needs no training. A tone
that stands still has no peaks in time, and so no landmarks.

Fingerprints are kept in the data folder (`fingerprints.npz`), each with size and time of what it
was made of.

Letters: n landmarks, T frames of the spectrogram, F frequency bins, k moments of a clip.
Source: Wang. An Industrial-Strength Audio Search Algorithm. ISMIR 2003 (with pairs of peaks).
"""

import hashlib
import os
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import simplejpeg

from ..config import AnyPath
from ..errors import SopError
from ..media.atomic import atomic_path
from ..media.jpgs import encoded, frame_path
from ..media.processes import in_processes
from ..media.sound import read_sound, sound_length
from .clips import Candidate

FINGERPRINTS = "fingerprints.npz"
EVERY = 600  # seconds: so often they are saved while they are made
VERSION = 1  # of what is in it
# The spectrogram, and its peaks
RATE = 11_025  # Hz
N_FFT = 1_024
HOP = 256  # 23 ms: the unit of a landmark's time
BINS = slice(8, 488)  # 86 to 5,250 Hz
AROUND = (7, 10)  # frames, bins: a peak is the largest of so many on each side
RISE = 1.12  # 1 dB: and so much over the same bin before or after, or it stands still
FLOOR = 0.05  # -26 dB under the loudest within half a second: recoding drops what is softer
SOFTEST = 1e-3  # -60 dB under the loudest of all
# Landmarks: a peak and two of the next four, at most 1.4 s away; in steps of 22 Hz and 93 ms
FAN, FAR, STEP_HZ, STEP_TIME = 4, 60, 2, 4
BITS = 30
PIECE = 30  # seconds: a long sound takes no more memory than others
# Pictures
MOMENTS = 8
SIDE = 32  # a picture is looked at as 32 x 32 grey cells
PLAIN = 6.0  # of 255: a picture whose cells differ by less has nothing to be known by
WAVE = SIDE / 2  # of an amplitude of 1: where a wave is absent, its noise decides nothing
CHANGE = 6.0  # of 255: a cell that differs by more has changed; noise of jpgs is 1 or 2
PAIRS = 20  # frames that are compared with the next one, at most


class Fingerprint(NamedTuple):
    """Of a clip.

    landmarks, times: uint32 (n,). Times are in steps of `HOP`.
    moments: uint64 (k, 2), the picture at `MOMENTS` moments (`hashes`).
    still: share of frames that are as the one before.
    """

    landmarks: np.ndarray
    times: np.ndarray
    moments: np.ndarray
    still: float


def fingerprint(clip: Candidate) -> Fingerprint:
    """A clip's fingerprint. What can't be read of it has no landmarks, or no moments."""
    _, sound, folder, n_frames = clip
    try:
        landmarks, times = _landmarks(sound)
    except (SopError, OSError):
        landmarks = times = np.zeros(0, np.uint32)
    try:
        moments, share = hashes(looks(folder, n_frames)), _still(folder, n_frames)
    except (SopError, OSError, ValueError):
        moments, share = np.zeros((MOMENTS, 2), np.uint64), 0.0
    return Fingerprint(landmarks, times, moments, share)


def fingerprints(
    clips: Sequence[Candidate],
    data: AnyPath,
    jobs: int | None = None,
    progress: bool = True,
) -> list[Fingerprint]:
    """The clips' fingerprints: those kept in the folder `data`, the others made and kept there.

    Args: `jobs`: processes (None: one per core).
    """
    keys = [key(clip) for clip in clips]
    known = load(data)
    new = {k: clip for k, clip in zip(keys, clips, strict=True) if k not in known}
    work, did = [(clip,) for clip in new.values()], "made fingerprints"
    made = in_processes(fingerprint, work, "fingerprints", did, jobs=jobs, progress=progress)
    with kept(data, known) as keep:
        for k, one in zip(new, made, strict=True):
            known[k] = one
            keep()
    return [known[k] for k in keys]


@contextmanager
def kept(data: AnyPath, known: dict[bytes, Fingerprint]) -> Iterator[Callable[[], None]]:
    """Keep what is added to `known` inside the block, however it ends.

    Yields: to be called after each addition; it saves every ten minutes.
    """
    count, saved = len(known), time.monotonic()

    def keep() -> None:
        nonlocal count, saved
        if time.monotonic() > saved + EVERY and len(known) > count:
            save(data, known)
            count, saved = len(known), time.monotonic()

    try:
        yield keep
    finally:
        if len(known) > count:
            save(data, known)


# ---- sound


def _landmarks(path: AnyPath) -> tuple[np.ndarray, np.ndarray]:
    """uint32 (n,), uint32 (n,): the landmarks of a sound file, and their times."""
    samples, rate = sound_length(path)
    if not samples:
        return np.zeros(0, np.uint32), np.zeros(0, np.uint32)
    times, bins = [], []
    for start in range(0, samples, PIECE * rate):
        count = min(PIECE * rate, samples - start)
        t, f = _peaks(read_sound(path, start, count, RATE))
        times.append(t + start * RATE // (rate * HOP))
        bins.append(f)
    return landmarks(np.concatenate(times), np.concatenate(bins))


def _peaks(sound: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """int (p,), int (p,): frames and bins of a sound's peaks, in the order of time."""
    from scipy.fft import rfft  # several times as fast as numpy's on float32
    from scipy.ndimage import maximum_filter1d

    if len(sound) < N_FFT:
        return np.zeros(0, int), np.zeros(0, int)
    windows = np.lib.stride_tricks.sliding_window_view(sound, N_FFT)[::HOP]
    spec = np.abs(np.asarray(rfft(windows * np.hanning(N_FFT).astype(np.float32))))[
        :, BINS
    ]  # (T, F)
    frames, bins = AROUND
    largest = maximum_filter1d(maximum_filter1d(spec, 2 * bins + 1, 1), 2 * frames + 1, 0)
    loud = maximum_filter1d(spec.max(axis=1), RATE // HOP | 1)  # (T,) within half a second
    audible = (loud > max(SOFTEST * loud.max(), 1e-9))[:, None]
    t, f = np.nonzero((spec == largest) & (spec > FLOOR * loud[:, None]) & audible)
    before, after = (
        spec[np.maximum(t - frames, 0), f],
        spec[np.minimum(t + frames, len(spec) - 1), f],
    )
    moving = (spec[t, f] > RISE * np.minimum(before, after)) & (t > 0) & (t < len(spec) - 1)
    return t[moving], f[moving]


def landmarks(t: np.ndarray, f: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each peak with two of the next `FAN`, as numbers of `BITS` bits, and the first one's time.

    Args: `t`, `f`: (p,) frames and bins of the peaks, in the order of time.
    Shape: uint32 (n,), uint32 (n,)
    """
    if len(t) <= FAN:
        return np.zeros(0, np.uint32), np.zeros(0, np.uint32)
    found = []
    t, f = t.astype(np.uint64), f.astype(np.uint64) // STEP_HZ
    for i in range(1, FAN):
        for j in range(i + 1, FAN + 1):
            first, second, third = (slice(k, len(t) - j + k) for k in (0, i, j))
            near, far = t[second] - t[first], t[third] - t[first]
            parts = (f[first], f[second], f[third], near // STEP_TIME, far // STEP_TIME)
            mixed = sum(part << np.uint64(10 * k) for k, part in enumerate(parts))
            good = (near > 0) & (far < FAR)
            found.append((np.asarray(mixed)[good], t[first][good]))
    hashed, times = (np.concatenate(column) for column in zip(*found, strict=True))
    hashed = hashed * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(64 - BITS)  # Fibonacci hashing
    return hashed.astype(np.uint32), times.astype(np.uint32)


# ---- pictures


def looks(folder: AnyPath, n_frames: int) -> np.ndarray:
    """float32 (k, SIDE, SIDE): the picture at `MOMENTS` moments, as grey cells of 0 to 255."""
    moments = ((np.arange(MOMENTS) + 0.5) * n_frames / MOMENTS).astype(int)
    return np.stack([_grey(frame_path(folder, k)) for k in moments])


def hashes(pictures: np.ndarray) -> np.ndarray:
    """uint64 (k, 2): which of 48 slow cosine waves a picture has; 0 where it is plain.

    The second number has the bit that is least sure turned: copies share one of both.
    """
    from scipy.fft import dctn

    waves = np.asarray(dctn(pictures, axes=(1, 2), norm="ortho"))[:, :7, :7]
    waves = waves.reshape(len(pictures), -1)[:, 1:]
    values = np.uint64(1) << np.arange(48, dtype=np.uint64)
    sure = (waves > WAVE) @ values
    other = sure ^ values[abs(waves - WAVE).argmin(axis=1)]
    plain = pictures.std(axis=(1, 2)) < PLAIN
    return np.where(plain[:, None], np.uint64(0), np.stack([sure, other], axis=1))


def _still(folder: AnyPath, n_frames: int) -> float:
    """The share of frames that are as the one before; of long clips, among `PAIRS` of them."""
    firsts = np.unique(np.linspace(0, n_frames - 2, min(PAIRS, n_frames - 1)).astype(int))
    seen = {k: _grey(frame_path(folder, k)) for k in {*firsts, *(firsts + 1)}}
    same = [abs(seen[k + 1] - seen[k]).max() <= CHANGE for k in firsts]
    return float(np.mean(same)) if same else 0.0


def _grey(path: Path) -> np.ndarray:
    """float32 (SIDE, SIDE): a jpg's grey cells. Decoded at an eighth of its size, which is quick.

    Raises OSError or ValueError where it can't be read.
    """
    jpg, _, _ = encoded(path)
    picture = simplejpeg.decode_jpeg(jpg, "GRAY", True, True, 28, 28)[..., 0]
    down, across = map(_means, picture.shape)
    return down @ picture.astype(np.float32) @ across.T


@cache
def _means(size: int) -> np.ndarray:
    """float32 (SIDE, size): each row takes the mean of one of `SIDE` parts of a line."""
    edges = np.linspace(0, size, SIDE + 1)
    taken = np.clip(
        np.minimum(edges[1:, None], np.arange(1, size + 1))
        - np.maximum(edges[:-1, None], np.arange(size)),
        0,
        1,
    )
    return (taken / taken.sum(axis=1, keepdims=True)).astype(np.float32)


# ---- what is kept


def key(clip: Candidate) -> bytes:
    """16 bytes that change with a clip's name, or when its sound or its folder of frames does."""
    _, sound, folder, n_frames = clip
    states = [(s.st_size, s.st_mtime_ns) for s in map(_stat, (sound, folder)) if s]
    named = [*Path(sound).parts[-2:], *Path(folder).parts[-2:]]
    what = repr((VERSION, named, n_frames, states))
    return hashlib.blake2b(what.encode(errors="surrogateescape"), digest_size=16).digest()


def _stat(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)  # noqa: PTH116 (as fast again as pathlib's)
    except OSError:
        return None


def load(data: AnyPath) -> dict[bytes, Fingerprint]:
    """The fingerprints kept in a data folder, by `key`; none where they can't be read."""
    try:
        with np.load(Path(data, FINGERPRINTS), allow_pickle=False) as kept:
            keys, counts = kept["keys"], kept["counts"]
            ends = np.cumsum(counts)[:-1]
            columns = (np.split(kept[name], ends) for name in ("landmarks", "times"))
            rows = zip(*columns, kept["moments"], map(float, kept["still"]), strict=True)
            found = [Fingerprint(*row) for row in rows]
        return {bytes(k): one for k, one in zip(keys, found, strict=True)}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return {}


def save(data: AnyPath, found: dict[bytes, Fingerprint]) -> None:
    """Keep fingerprints in a data folder, if it can be written to; whole or not at all."""
    landmarks, times, moments, still = zip(*found.values(), strict=True)
    columns = {
        "keys": np.stack([np.frombuffer(k, np.uint8) for k in found]),
        "counts": np.array([len(one) for one in landmarks]),
        "landmarks": np.concatenate(landmarks),
        "times": np.concatenate(times),
        "moments": np.stack(moments),
        "still": np.array(still),
    }
    try:
        with atomic_path(Path(data, FINGERPRINTS)) as part:
            np.savez(part, **columns)
    except OSError:
        return  # a disk that can only be read, or is full: they are made again next time
