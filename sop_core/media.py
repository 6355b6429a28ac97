"""Files of sound, pictures and video, in and out.

Conventions: sound is mono float32 (L,) between -1 and 1; pictures are RGB uint8 (V,h,w,3). A frame
index counts from 0, and the file of frame 0 is `000001.jpg`. Time 0 of a clip is its first sound
sample. Frame k shows what is on the screen at second (k + 0.5) / fps of the sound: the middle of
the stretch that it stands for.

Five parts, each of which uses only those above it: files that appear whole or not at all, files of
sound, folders of jpgs, videos in, videos out.
"""

import bisect
import errno
import hashlib
import io
import math
import os
import platform
import re
import secrets
import shutil
import stat
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import simplejpeg
import soundfile
import soxr

from .config import AnyPath
from .errors import SopError, mend

# ---- files that appear whole or not at all

PART = re.compile(r"\.part-(.*)-(\d+)-[0-9a-f]{8}(\..*)?")  # host, process


@contextmanager
def atomic_path(path: AnyPath) -> Iterator[Path]:
    """Write a file or a folder so that it appears whole, or not at all.

    Yields a name beside `path`, with its suffix, to write to. It becomes `path` when the block ends
    without an error. When the block raises, `path` is as it was, and what was written is removed.
    When the process is killed, a hidden file named `.part-...` stays; nothing here reads it, and
    `sweep` removes it. Makes the folder that `path` stands in.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.parent / f".part-{platform.node()}-{os.getpid()}-{secrets.token_hex(4)}{path.suffix}"
    try:
        yield part
        _fsync(part)
        if part.is_dir() and path.is_dir():  # a folder can't be renamed onto a full one
            old = part.with_name(part.name[: -len(path.suffix) or None] + ".old")
            path.rename(old)
            part.rename(path)
            _remove(old)
        else:
            part.replace(path)
        _fsync(path.parent)
    finally:
        _remove(part)


def unfinished(path: AnyPath, token: str) -> Path:
    """A name beside `path` for what is written piece by piece, and renamed when it is whole.

    If a killed process of this machine has left such a file, it gets this name, so that the work
    can go on. `token`, eight hexadecimal digits, names what is written.
    """
    path = Path(path)
    mine = path.parent / f".part-{platform.node()}-{os.getpid()}-{token}{path.suffix}"
    for left in [] if mine.exists() else path.parent.glob(f".part-*-{token}{path.suffix}"):
        if _orphan(left):
            with suppress(OSError):  # another process was quicker
                left.rename(mine)
                break
    return mine


def sweep(folder: AnyPath) -> int:
    """Remove what killed processes of this machine left of `atomic_path`, right in `folder`.

    Returns how many there were.
    """
    left = [p for p in Path(folder).glob(".part-*") if _orphan(p)]
    for p in left:
        _remove(p)
    return len(left)


def _orphan(part: Path) -> bool:
    m = PART.fullmatch(part.name)
    if not m or m[1] != platform.node():
        return False
    try:
        os.kill(int(m[2]), 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        pass
    return False


def sha256(path: AnyPath) -> str:
    """A file's checksum, in hexadecimal."""
    with Path(path).open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def _fsync(path: Path) -> None:
    # Of a folder not every file: 720 frames took 7 s. Only a power cut can tear them.
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def why_unreadable(path: Path) -> str | None:
    """Why a file can't be read, where that can be seen from outside."""
    if not path.exists():
        return "no such file"
    if not path.is_file():
        return "not a file"
    return "empty (0 bytes); fetch or make it again" if not path.stat().st_size else None


def brief(e: Exception) -> str:
    """The last clause of an error's message: libraries put the path before it."""
    return str(e).rsplit(": ", 1)[-1].rstrip(".") or type(e).__name__


# ---- files of sound

SOUND_KINDS = ("mp3", "flac", "wav")
# Decoders may differ by this at a sound's end: two codec frames of the longest kind
# (HE-AAC at 44.1 kHz: 46 ms).
CODEC_FRAMES = 0.1  # seconds
# An mp3 frame (1,152 or 576 samples) overlaps the next one, and its bits may begin in up to 511
# bytes of earlier frames (the "reservoir"; ISO/IEC 11172-3, main_data_begin). So decoding starts 10
# or 20 frames early. libmpg123 writes "part2_3_length ... too large" to stderr where the first of
# these lack their reservoir: harmless, and it can't be told not to (libsndfile issue 958).
MP3_RUN_UP = 11_520  # samples
# Hz -> bits a second: the most that mp3 has at low rates, transparent at the others
MP3_BIT_RATES = {8_000: 64_000, 11_025: 64_000, 12_000: 64_000, 16_000: 128_000, 22_050: 128_000, 24_000: 128_000,
                 32_000: 192_000, 44_100: 192_000, 48_000: 192_000}  # fmt: skip
# LAME's presets scale the sound by this, against clipping.
LAME_SCALE = {64_000: 0.95, 128_000: 0.95, 192_000: 0.97}
# Without a reservoir each frame can be decoded alone. The slower levels cost up to 10 times as much
# and are no nearer to the sound.
LAME = {"reservoir": "0", "compression_level": "7"}


def sound_length(path: AnyPath) -> tuple[int, int]:
    """(samples, rate in Hz) of a sound file, from its header.

    Raises SopError if it can't be read.
    """
    with _sound_file(path) as f:
        return f.frames, f.samplerate


def read_sound(
    path: AnyPath, start: int = 0, count: int | None = None, rate: int | None = None, missing: int = 0
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
            raise SopError(f"{path}: {f.frames / f.samplerate:.2f} s of sound, needs {end / f.samplerate:.2f} s")
        wanted, end = end - start, min(end, f.frames)
        own_rate = f.samplerate
        run_up = min(start, MP3_RUN_UP) if f.format == "MP3" else 0
        f.seek(start - run_up)
        sound = f.read(run_up + end - start, dtype="float32", always_2d=True)[run_up:]  # (L, channels)
        sound = sound[:, 0] if sound.shape[1] == 1 else sound.mean(axis=1)
    if len(sound) < end - start:  # the header promised more
        raise SopError(f"{path}: cut short, it ends after {(start + len(sound)) / own_rate:.2f} s; make it again")
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
        raise SopError(f"{path}: {why_unreadable(path) or f'not a sound file that can be read ({brief(e)})'}") from e


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
            with soundfile.SoundFile(sf_name(path), "w", rate, 1, "PCM_16", format=kind.upper()) as f:
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
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound[None], np.float32), format="fltp", layout="mono")
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
        stream = stream or soxr.ResampleStream(rate, to, len(piece) if piece.ndim == 2 else 1, dtype="float32")
        yield stream.resample_chunk(np.ascontiguousarray(piece.T, np.float32)).T
    if stream:
        yield stream.resample_chunk(np.zeros_like(piece[..., :0].T, np.float32), last=True).T


# ---- folders of jpgs

MOST_PIXELS = 100_000_000  # of a jpg, and bytes: a larger one would fill the memory


def frame_path(folder: AnyPath, index: int) -> Path:
    """File of frame `index` (from 0): `000001.jpg` is frame 0."""
    return Path(folder, f"{index + 1:06d}.jpg")


def read_frames(
    folder: AnyPath,
    indices: Iterable[int],
    size: tuple[int, int] | None = None,
    box: tuple[float, float, float, float] | None = None,
) -> np.ndarray:
    """Frames of a folder of jpgs.

    Args: `indices`: which, from 0.
        `size`: (width, height) in pixels to resize to; None keeps the files' own.
        `box`: (x0, y0, x1, y1) in pixels of the files: only this part; None is all of it.
    Shape: uint8 (V,h,w,3).
    Raises SopError if one is missing or broken, or if their sizes differ and `size` is None.
    """
    pictures = [_read_jpg(frame_path(folder, int(i)), size, box) for i in indices]
    if len({p.shape for p in pictures}) > 1:
        sizes = sorted({p.shape[:2] for p in pictures})
        raise SopError(f"{folder}: frames of different sizes (h, w), {sizes}; ask for one `size`")
    return np.stack(pictures)


def frame_size(folder: AnyPath) -> tuple[int, int]:
    """(width, height) in pixels of a folder's first frame.

    Raises SopError if there is none that can be read.
    """
    try:
        _, width, height = _jpg(frame_path(folder, 0))
    except (OSError, ValueError) as e:
        raise SopError(f"{folder}: no frame 000001.jpg that can be read ({brief(e)})") from e
    return width, height


def _read_jpg(path: Path, size: tuple[int, int] | None, box: tuple[float, ...] | None) -> np.ndarray:
    try:
        data, width, height = _jpg(path)
        if height * width > MOST_PIXELS:
            raise ValueError(f"{width} x {height} pixels")
        picture = simplejpeg.decode_jpeg(data, "RGB")  # (h,w,3); what is damaged raises, all of it
    except (OSError, ValueError) as e:
        raise SopError(f"{path}: {why_unreadable(path) or f'not a picture that can be read ({brief(e)})'}") from e
    if box:
        x0, y0, x1, y1 = math.floor(box[0]), math.floor(box[1]), math.ceil(box[2]), math.ceil(box[3])
        picture = picture[y0:y1, x0:x1]
        if not picture.size:
            raise SopError(f"{path}: {width} x {height} pixels, smaller than the first frame of its folder")
    return resize(picture[None], size)[0] if size else picture


def _jpg(path: Path) -> tuple[bytes, int, int]:
    """A picture's file, its width and its height.

    Raises ValueError where it is no jpg, or too large to be read.
    """
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):  # a device, say, would never end
        raise ValueError("not a file")
    if found.st_size > MOST_PIXELS:
        raise ValueError(f"{found.st_size:,} bytes")
    data = path.read_bytes()
    height, width, *_ = simplejpeg.decode_jpeg_header(data)
    return data, width, height


def resize(frames: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Frames at another (width, height): bilinear, with antialiasing.

    Shape: uint8 (V,h,w,3) -> (V,h',w',3)
    """
    import torch  # here, since preparing data has no need of it

    pictures = torch.from_numpy(frames).permute(0, 3, 1, 2)  # (V,3,h,w)
    # Pillow's filter to the last bit but one, in a third of its time
    resized = torch.nn.functional.interpolate(pictures, size[::-1], mode="bilinear", antialias=True)
    return resized.permute(0, 2, 3, 1).numpy()


# ---- videos in

# What libav may open for a file from the net: no playlists, which name other files; no protocols.
SAFE = {
    "protocol_whitelist": "file",
    "format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,flv,mpeg,mpegts,ogg,wav,mp3,flac,aac",
}
# Titles need not be valid UTF-8. PyAV 19 never minds.
LENIENT = {"metadata_errors": "ignore"} if int(av.__version__.split(".")[0]) < 19 else {}
JUMP = 0.05  # seconds: timestamps of sound off by less are rounding; by more, a gap or an overlap
LONGEST_GAP = 600  # seconds: a longer hole between two timestamps is a broken file
# Packets: pictures are stored at most 16 places from where they are shown, with sound between them.
AHEAD = 100
# What aac, mp3 and opus mostly decode to; `_Sounds` mixes it itself.
PLAIN = {("fltp", "mono"), ("fltp", "stereo")}


def read_video(
    path: AnyPath,
    fps: float,
    rate: int,
    start: float = 0.0,
    duration: float | None = None,
    max_side: int | None = 256,
) -> tuple[np.ndarray, np.ndarray]:
    """A short clip at once: its frames and its sound (all in memory; `stream` is for long ones).

    Args as for `stream`.
    Shape: uint8 (V,h,w,3), float32 (L,); V <= L / rate * fps + 0.5.
    Raises SopError with the reason if the file can't be used.
    """
    parts: dict[str, list[np.ndarray]] = {"frame": [], "sound": []}
    for kind, part in stream(path, fps, rate, start, duration, max_side):
        parts[kind].append(part)
    sound = np.concatenate(parts["sound"])
    frames = parts["frame"][: frames_within(len(sound) / rate, fps)]
    if not frames:
        raise SopError(f"{path}: no picture while there is sound")
    return np.stack(frames), sound


def frames_within(seconds: float, fps: float) -> int:
    """How many frames have their instant, (k + 0.5) / fps, within so much sound."""
    return max(0, math.ceil(seconds * fps - 0.5 - 1e-9))


def stream(
    path: AnyPath,
    fps: float,
    rate: int,
    start: float = 0.0,
    duration: float | None = None,
    max_side: int | None = 256,
) -> Iterator[tuple[str, np.ndarray]]:
    """One pass over a video file, in memory that doesn't grow with it.

    Yields ("frame", uint8 (h,w,3)) and ("sound", float32 (l,)) in the order of the file; the sounds
    joined are the clip's. Frame k shows second (k + 0.5) / fps of the sound, by the two streams'
    own timestamps: whatever the frame rate, and wherever the streams start. Before the first
    picture the first one is shown. Pictures before the first sound are left out. Pictures after the
    last sound do come: `frames_within` says how many to keep.

    Args: `fps`: frames a second to give. `rate`: Hz of the sound to give (mono, resampled by soxr).
        `start`, `duration`: seconds of the sound; None is to the end.
        `max_side`: pixels; the *short* side of a frame is at most that, and the shape is kept
        (None: the file's own size).
    Raises SopError with the reason if the file is empty, no video, cut short, or has no sound or no
    picture.
    """
    zero = first_sound(path) + start  # the file's time, in seconds, that is time 0 of what we give
    with open_container(path) as container:
        video, audio = choose_streams(path, container)
        pixel = video.sample_aspect_ratio or Fraction(1)  # a pixel's width over its height
        pictures = _Pictures(path, fps, duration, pixel, max_side)
        sounds = _Sounds(path, rate, duration, claimed_end(container, audio) - zero)
        if start > 0:  # a second early: a decoder needs a run-up
            container.seek(max(0, int((zero - 1) * av.time_base)))
        for packet in _needed_first(container.demux(video, audio), video, pictures, zero):
            todo = pictures if packet.stream is video else sounds
            for frame in [] if todo.done else decode(packet):
                yield from ((todo.kind, part) for part in todo.push(frame, seconds_of(frame, zero)))
            if pictures.done and sounds.done:
                break
        for todo in (sounds, pictures):
            yield from ((todo.kind, part) for part in todo.finish())
        check_length(path, container, zero + max(pictures.end, sounds.seconds), zero + (duration or math.inf))


def stream_sound(path: AnyPath, rate: int) -> Iterator[np.ndarray]:
    """The sound that `stream` gives, without decoding a picture: pieces of float32 (l,).

    Raises SopError as `stream` does.
    """
    zero = first_sound(path)
    with open_container(path) as container:
        video, audio = choose_streams(path, container)
        sounds = _Sounds(path, rate, None, claimed_end(container, audio) - zero)
        end = 0.0  # of the pictures, in seconds
        for packet in container.demux(video, audio):
            if packet.stream is video:
                end = max(end, seconds_of(packet) or 0.0)
                continue
            for frame in decode(packet):
                yield from sounds.push(frame, seconds_of(frame, zero))
        yield from sounds.finish()
        check_length(path, container, max(end, zero + sounds.seconds), math.inf)


def sound_rate(path: AnyPath) -> int:
    """Hz of a video's own sound. Raises SopError if the file has no sound or no picture."""
    with open_container(path) as container:
        return choose_streams(path, container)[1].rate


def video_seconds(path: AnyPath) -> float:
    """Length of a video in seconds, as it says itself.

    Raises SopError where it has no picture, no sound or no length.
    """
    with open_container(path) as container:
        choose_streams(path, container)
        seconds = (container.duration or 0) / av.time_base
    if not seconds > 0:
        raise SopError(f"{path}: it doesn't say how long it is; convert it again")
    return seconds


class _Pictures:
    """Decoded pictures -> frames at `fps`, each the picture on the screen at that instant."""

    kind = "frame"

    def __init__(self, path: Path, fps: float, length: float | None, pixel: Fraction, max_side: int | None):
        self.path = path
        self.fps = fps
        self.pixel = pixel
        self.max_side = max_side
        self.count = math.inf if length is None else frames_within(length, fps)  # frames to give
        self.next = 0  # index of the frame to give next
        self.held = None  # the picture on the screen
        self.end = 0.0  # when it goes, in seconds

    @property
    def done(self) -> bool:
        return self.next >= self.count

    def push(self, picture: av.VideoFrame, at: float | None) -> Iterator[np.ndarray]:
        at = self.end if at is None else at
        if at - self.end > LONGEST_GAP:
            raise SopError(f"{self.path}: its picture jumps by {at - self.end:.0f} s in time; convert it again")
        self.held = self.held or picture  # before the first picture: the first
        yield from self._until(at)
        self.held = picture
        ticks = picture.duration
        self.end = at + (float(ticks * picture.time_base) if ticks else 1 / self.fps)

    def finish(self) -> Iterator[np.ndarray]:
        if self.held is None:
            raise SopError(f"{self.path}: its picture stream holds no picture that can be decoded")
        yield from self._until(self.end)

    def _until(self, at: float) -> Iterator[np.ndarray]:
        frame = None
        while not self.done and (self.next + 0.5) / self.fps < at - 1e-9:
            if frame is None:
                frame = upright(self.held, self.pixel, self.max_side)
            self.next += 1
            yield frame


class _Sounds:
    """Decoded sound -> mono at `rate`, gaps filled with silence: sample i is at second i / rate."""

    kind = "sound"

    def __init__(self, path: Path, rate: int, length: float | None, end: float):
        """`end`: where the file says that its sound ends, in seconds of it; see `claimed_end`."""
        self.path = path
        self.rate = rate
        self.length = length
        self.end = end
        self.own_rate = 0  # Hz of what is decoded: only the first frame says it for sure (HE-AAC)
        self.form = None  # sample format, channels and rate that `mixer` was made for
        self.count = math.inf  # samples to take, at own_rate
        self.taken = 0  # samples so far, at own_rate
        # Frames to resample together: about a second at a time costs less, and so does writing it.
        self.waiting = []

    @property
    def done(self) -> bool:
        return self.taken >= self.count

    @property
    def seconds(self) -> float:
        return self.taken / (self.own_rate or 1)

    def push(self, frame: av.AudioFrame, at: float | None) -> Iterator[np.ndarray]:
        if not self.own_rate:
            self.own_rate = frame.sample_rate
            self.resampler = soxr.ResampleStream(self.own_rate, self.rate, 1, dtype="float32")
            self.count = self.count if self.length is None else round(self.length * self.own_rate)
        sound = self._mono(frame)
        if frame.format.name[:3] in ("flt", "dbl") and not np.isfinite(frame.to_ndarray()).all():
            raise SopError(
                f"{self.path}: no number (NaN or Inf) at {self.seconds:.1f} s of its sound; convert it again"
            )
        # samples missing before this frame
        skew = 0 if at is None else round(at * self.own_rate) - self.taken
        if skew > LONGEST_GAP * self.own_rate:
            raise SopError(f"{self.path}: its sound jumps by {skew / self.own_rate:.0f} s in time; convert it again")
        if not self.taken or abs(skew) > JUMP * self.own_rate:
            sound = np.concatenate([np.zeros(max(0, skew), np.float32), sound[max(0, -skew) :]])
        sound = sound[: int(min(len(sound), self.count - self.taken))]
        self.taken += len(sound)
        if len(self.waiting) >= 40:
            yield self._resampled()
        self.waiting.append(sound)  # the last frame is always here: `finish` may have to cut it

    def finish(self) -> Iterator[np.ndarray]:
        if not self.taken:
            raise SopError(f"{self.path}: no sound from there on" if self.own_rate else f"{self.path}: no sound in it")
        last = self.waiting.pop()
        beyond = self.taken - max(0, round(min(self.taken, self.end * self.own_rate)))
        # More than a frame beyond the end: the file says it wrong.
        kept = len(last) - beyond if beyond < len(last) else len(last)
        self.taken -= len(last) - kept
        self.waiting.append(last[:kept])
        yield self._resampled(last=True)

    def _resampled(self, last: bool = False) -> np.ndarray:
        sound = np.concatenate(self.waiting)
        self.waiting = []
        return self.resampler.resample_chunk(sound, last=last)

    def _mono(self, frame: av.AudioFrame) -> np.ndarray:
        form = (frame.format.name, frame.layout.name, frame.sample_rate)
        if form[:2] in PLAIN and form[2] == self.own_rate:
            planes = [np.frombuffer(plane, np.float32, frame.samples) for plane in frame.planes]
            return planes[0].copy() if len(planes) == 1 else (planes[0] + planes[1]) / 2
        if form != self.form:  # the first frame, or a stream that changes on the way
            # to integers, since libswresample's sum of floats is 3 dB louder, and passes 1
            self.form = form
            self.mixer = av.AudioResampler("s32p", "mono", self.own_rate)
        parts = [np.zeros(0, np.int32)] + [part.to_ndarray()[0] for part in self.mixer.resample(frame)]
        return np.concatenate(parts).astype(np.float32) / 2**31


def _needed_first(
    packets: Iterable[av.Packet], video: av.VideoStream, pictures: _Pictures, zero: float
) -> Iterator[av.Packet]:
    """The packets in their order; the decoder is told of each picture whether it may be left out.

    A picture that no other is built on (in h264 often every second one) and that is on the screen
    at no frame's instant needn't be decoded. This saves a third of the work at 8 of 25 frames a
    second. When it goes is only known when the next one in time has been read, which may come later in the
    file.
    """
    waiting = deque()  # packets
    times = []  # when the pictures known so far come on, in order

    def next_packet() -> av.Packet:
        packet = waiting.popleft()
        if packet.stream is not video:
            return packet
        at = seconds_of(packet, zero)
        needed = True
        if at is not None:
            later = bisect.bisect_right(times, at)
            until = times[later] if later < len(times) else math.inf
            frame = max(0, math.ceil(at * pictures.fps - 0.5 - 1e-6))  # the first that may show it
            needed = (frame + 0.5) / pictures.fps <= until + 1e-6
            del times[: max(0, later - AHEAD)]
        video.codec_context.skip_frame = "DEFAULT" if needed else "NONREF"
        return packet

    for packet in packets:
        waiting.append(packet)
        if packet.stream is video and packet.pts is not None:
            bisect.insort(times, seconds_of(packet, zero))
        if len(waiting) > AHEAD:
            yield next_packet()
    while waiting:
        yield next_packet()


def seconds_of(part: av.Packet | av.VideoFrame | av.AudioFrame, zero: float = 0.0) -> float | None:
    """When a packet or frame comes on, in seconds after `zero`; None where the file doesn't say."""
    return None if part.pts is None else float(part.pts * part.time_base) - zero


def upright(picture: av.VideoFrame, pixel: Fraction, max_side: int | None) -> np.ndarray:
    """Square pixels, turned as the phone was held, the short side at most `max_side`.

    Shape: uint8 (h,w,3)
    """
    turns = round(picture.rotation / 90) % 4  # read now: a reformatted picture has forgotten it
    width, height = picture.width * pixel, picture.height
    scale = 1 if max_side is None else min(1, max_side / min(width, height))
    width, height = max(1, round(width * scale)), max(1, round(height * scale))
    if picture.format.name.startswith("yuv"):  # scaling the small planes first is 3 times quicker
        picture = picture.reformat(width, height, threads=1)
    frame = picture.reformat(width, height, "rgb24", threads=1).to_ndarray()
    return np.ascontiguousarray(np.rot90(frame, turns)) if turns else frame


def first_sound(path: Path) -> float:
    """The file's time of its first sound sample, in seconds. An encoder's run-up does not count."""
    with open_container(path) as container:
        _, audio = choose_streams(path, container)
        for packet in container.demux(audio):
            for frame in decode(packet):
                return seconds_of(frame) or 0.0
    raise SopError(f"{path}: its sound stream holds no sound that can be decoded")


def claimed_end(container: av.container.InputContainer, audio: av.AudioStream) -> float:
    """Where an mp4 says that its sound ends, in the file's seconds; inf for other kinds of file.

    An encoder fills its last frame up with silence. mp4 says, to the sample, how much of it counts;
    FFmpeg obeys since version 9 only. `_Sounds.finish` cuts there, so that a sound has one length,
    whatever decodes it.
    """
    if "mp4" not in container.format.name or audio.duration is None:
        return math.inf
    return float(((audio.start_time or 0) + audio.duration) * audio.time_base)


def decode(packet: av.Packet) -> list:
    try:
        return packet.decode()
    except av.FFmpegError as e:
        if isinstance(e, MemoryError):
            raise
        return []  # a damaged packet costs what it holds; `_check_length` notices when that is much


@contextmanager
def open_container(path: Path) -> Iterator[av.container.InputContainer]:
    path = Path(path)
    if reason := why_unreadable(path):
        raise SopError(f"{path}: {reason}")
    try:
        # file: before the name, or `a:b.mp4` would be read as a protocol
        with av.open(f"file:{os.fspath(path)}", options=SAFE, **LENIENT) as container:
            yield container
    except (av.FFmpegError, OSError) as e:
        # No fault of the file's. EIO may be one: libav says it of some files that are broken.
        if mend(e) and e.errno != errno.EIO:
            raise OSError(e.errno, e.strerror, str(path)) from e
        with path.open("rb") as f:
            mp4 = f.read(8)[4:] == b"ftyp"
        reason = "cut short: its table of contents (moov) is missing; fetch it again" if mp4 else "not a video file"
        raise SopError(f"{path}: {reason}") from e


def choose_streams(path: Path, container: av.container.InputContainer) -> tuple[av.VideoStream, av.AudioStream]:
    cover = av.stream.Disposition.attached_pic  # a song's cover is no video
    pictures = [s for s in container.streams.video if not s.disposition & cover]
    if not pictures:
        raise SopError(f"{path}: no picture stream")
    if not container.streams.audio:
        raise SopError(f"{path}: no sound stream")
    for s in (pictures[0], container.streams.audio[0]):
        s.codec_context.thread_count = 1  # many files side by side waste less than many threads
        s.codec_context.open(strict=False)  # now: some decoders read `skip_frame` only when opened
    return pictures[0], container.streams.audio[0]


def check_length(path: Path, container: av.container.InputContainer, end: float, asked: float) -> None:
    # In mkv this is the end, in mp4 the length, so the check is a rough one.
    claimed = (container.duration or 0) / av.time_base
    if end < 0.9 * min(claimed, asked) - 1:
        raise SopError(f"{path}: cut short: {end:.1f} s of the {claimed:.1f} s it claims; fetch it again")


# ---- videos out

AAC_RATE = 44_100  # Hz: not every player takes 11 025


def write_video(
    path: AnyPath,
    frames: Iterable[np.ndarray],
    fps: float,
    sound: np.ndarray | Iterable[np.ndarray],
    rate: int,
    h264: dict[str, str] | None = None,
    aac: dict[str, str] | None = None,
) -> None:
    """An mp4 (h264, aac) that every browser plays, in memory that doesn't grow with it.

    Args: `frames`: uint8 (V,h,w,3), or any iterable of (h,w,3); an odd side gets its last row or column twice.
        `sound`: (L,) at `rate` Hz, or any iterable of pieces (l,) of it; clipped at +-1, from the same time 0.
        `h264`, `aac`: FFmpeg's options of the two encoders (None: {"crf": "20"} and its defaults).
    """
    pieces = _aac(rate, [sound] if isinstance(sound, np.ndarray) else sound)
    step = Fraction(fps).limit_denominator(1001)
    with atomic_path(path) as part, av.open(f"file:{part}", "w", format="mp4") as container:
        video = None
        done = 0.0  # seconds of sound so far
        for k, frame in enumerate(frames):
            height, width = frame.shape[:2]
            frame = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
            if video is None:
                video = container.add_stream("h264", rate=step, options=h264 or {"crf": "20"})
                video.height, video.width = frame.shape[:2]
                video.pix_fmt = "yuv420p"
                audio = container.add_stream("aac", rate=AAC_RATE, layout="mono", options=aac)
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            container.mux(video.encode(picture))
            # Sound and pictures side by side: a player needn't search.
            while done < (k + 1) / step and (piece := next(pieces, None)):
                container.mux(audio.encode(piece))
                done = float(piece.pts + piece.samples) / AAC_RATE
        if video is None:
            raise SopError(f"{path}: no frames to write")
        for piece in pieces:
            container.mux(audio.encode(piece))
        container.mux(video.encode(None))
        container.mux(audio.encode(None))


def _aac(rate: int, pieces: Iterable[np.ndarray]) -> Iterator[av.AudioFrame]:
    """Frames for the encoder, at a rate that every player takes."""
    done = 0
    for piece in resampled((np.clip(p, -1, 1) for p in pieces), rate, AAC_RATE):
        for start in range(0, len(piece), AAC_RATE // 10):
            part = piece[start : start + AAC_RATE // 10]
            yield audio_frame(part, AAC_RATE, done)
            done += len(part)
