"""Which kinds of files libav may open, and what a file is that it can't read.

Files are strangers'. So only demuxers of files that hold everything themselves are allowed. Those
that name other files or places would read what is not theirs, or call home: playlists and
descriptions (hls, dash, concat, sdp), sequences of pictures (image2), devices, and lavfi, a
language. What has no bytes of its own to be known by (raw pictures and sounds, text) stays out too.
"""

import errno
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import av
import av.logging
from av.container import InputContainer
from av.error import FFmpegError
from av.format import ContainerFormat

from ..config import AnyPath
from ..errors import SopError, mend
from .atomic import why_unreadable
from .choose import pictures

FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,flv,mpeg,mpegts,ogg,asf,mxf,gxf,nut,dv,rm,wtv,gif,"
    "wav,w64,aiff,caf,au,mp3,flac,aac,ac3,amr,ape,wv"
)
SAFE = {"protocol_whitelist": "file", "format_whitelist": FORMATS}
# Titles need not be valid UTF-8. PyAV 19 accepts them without this option, and lacks it.
OLD_PYAV = int(av.__version__.split(".")[0]) < 19
LENIENT: dict[str, Any] = {"metadata_errors": "ignore"} if OLD_PYAV else {}
# Suffixes of videos. Any other file may be one, too: see `holds`.
SUFFIXES = (
    *(".mp4", ".webm", ".mkv", ".mov", ".avi", ".m4v", ".ts", ".mts", ".m2ts", ".mpg", ".mpeg"),
    *(".vob", ".3gp", ".3g2", ".flv", ".f4v", ".ogv", ".ogm", ".wmv", ".asf", ".mxf", ".dv", ".rm"),
)
LISTENING = threading.Lock()  # the level of libav's messages is the process's


@contextmanager
def opened(path: AnyPath) -> Iterator[InputContainer]:
    """An open file, if its kind is one of FORMATS.

    Raises SopError if libav can't read it, now or within the block; OSError where the machine is at
    fault.
    """
    path = Path(path)
    if reason := why_unreadable(path):
        raise SopError(f"{path}: {reason}")
    begun = False
    try:
        with _open(path) as container:
            begun = True
            yield container
    except (FFmpegError, OSError) as e:
        if _by_machine(e):
            raise OSError(e.errno, e.strerror, str(path)) from e
        what = f"damaged ({e.strerror}); fetch it again" if begun else _what(path)
        raise SopError(f"{path}: {what}") from e


def holds(path: AnyPath) -> tuple[bool, bool]:
    """Whether a file holds a picture that is no cover, and a sound; neither where it is no video.

    Raises OSError where the machine is at fault.
    """
    path = Path(path)
    if why_unreadable(path):
        return False, False
    with path.open("rb") as f:
        if b"\0" not in f.read(1_024):  # text: many such files may lie beside videos
            return False, False
    try:
        with _open(path) as container:
            return bool(pictures(container)), bool(container.streams.audio)
    except (FFmpegError, OSError) as e:
        if _by_machine(e):
            raise
        return False, False


def _by_machine(e: FFmpegError | OSError) -> bool:
    """Whether an error is the machine's fault, not the file's."""
    # EIO is not always: libav says it of some broken files too.
    return bool(mend(e)) and e.errno != errno.EIO


def _open(path: Path) -> InputContainer:
    # file: before the name, or `a:b.mp4` would be read as a protocol
    return av.open(f"file:{os.fspath(path)}", options=SAFE, **LENIENT)


def _what(path: Path) -> str:
    """What a file is that can't be opened, by libav's messages while it looks at it once more."""
    with LISTENING:
        before = av.logging.get_level()
        av.logging.set_level(av.logging.DEBUG)
        try:
            with av.logging.Capture(local=True) as said, suppress(FFmpegError, OSError):
                _open(path).close()
        finally:
            av.logging.set_level(before)
    text = "".join(message for _, _, message in said)
    # what the name alone suggests is not "probed"
    found = re.findall(r"Format (\S+) probed", text) or re.findall(r"m3u8/(hls)", text)
    if not found or found[-1] == "tty":  # which is any text
        return "not a video file that FFmpeg knows"
    names = found[-1].split(",")
    name = ContainerFormat(names[0], "r").long_name
    if set(names) & set(FORMATS.split(",")):
        if "moov atom not found" in text:
            return "cut short: its table of contents (moov) is missing; fetch it again"
        return f"damaged ({name}); fetch it again"
    return f"not a video file that is read (FFmpeg: {name}); expected mp4, webm, mkv, ts ..."
