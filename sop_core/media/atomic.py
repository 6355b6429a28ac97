"""Files that appear complete or not at all.

A file is written under a hidden name, flushed to the disk, and renamed.
"""

import hashlib
import os
import platform
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from ..config import AnyPath

PART = re.compile(r"\.part-(.*)-(\d{1,9})-[0-9a-f]{8}(\..*)?")  # host, process
LEFT = 86_400  # seconds after which a hidden file that nobody has written to was left


@contextmanager
def atomic_path(path: AnyPath) -> Iterator[Path]:
    """Write a file or a folder so that it appears complete, or not at all.

    Yields the path to write to: in the same folder as `path`, with its suffix. It becomes `path`
    when the block ends without an error. When the block raises, `path` stays as it was, and what
    was written is removed. When the process is killed, a hidden file named `.part-...` stays.
    Nothing reads it, and `sweep` removes it. Makes the folder of `path` where it is missing.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = _part_path(path, secrets.token_hex(4))
    try:
        yield part
        _fsync(part)
        if part.is_dir() and path.is_dir():  # a folder can't be renamed onto a full one
            old = part.with_name(f"{part.name}.old")
            path.rename(old)
            part.rename(path)
            _remove(old)
        else:
            part.replace(path)
        _fsync(path.parent)
    finally:
        _remove(part)


def unfinished(path: AnyPath, token: str) -> Path:
    """A hidden path in the folder of `path`, for a file that is written piece by piece.

    The caller renames it to `path` when it is complete. If a killed process has left such a file
    (`sweep` says how that is known), it gets the new name, so that the work can go on.

    Args: `token`: eight hexadecimal digits that identify the content.
    """
    path = Path(path)
    mine = _part_path(path, token)
    left = [] if mine.exists() else path.parent.glob(f".part-*-{token}{path.suffix}")
    for part in left:
        if _orphan(part):
            with suppress(OSError):  # another process was quicker
                part.rename(mine)
                break
    with suppress(OSError):  # there is none
        os.utime(mine)  # however old, it is in use: `sweep` leaves it
    return mine


def sweep(folder: AnyPath) -> int:
    """Remove the hidden files that killed processes left in `folder`.

    These are the files of this machine's processes that run no longer. Of another machine, or of a
    container, nobody knows; so a file to which nobody has written for a day counts as left, too.
    Subfolders are not searched. Returns how many files there were.
    """
    left = [p for p in Path(folder).glob(".part-*") if _orphan(p)]
    for p in left:
        _remove(p)
    return len(left)


def _part_path(path: Path, token: str) -> Path:
    return path.with_name(f".part-{platform.node()}-{os.getpid()}-{token}{path.suffix}")


def _orphan(part: Path) -> bool:
    """Whether the process that made the hidden file is gone, or has not written to it for a day."""
    match = PART.fullmatch(part.name)
    if not match:
        return False
    if match[1] == platform.node() and not psutil.pid_exists(int(match[2])):
        return True
    try:
        return time.time() - part.stat().st_mtime > LEFT
    except OSError:  # its process has just renamed it
        return False


def sha256(path: AnyPath) -> str:
    """A file's checksum, in hexadecimal."""
    with Path(path).open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def _fsync(path: Path) -> None:
    # A folder alone, not each file in it: 720 frames took 7 s. Only a power cut can damage them.
    if path.is_dir():
        with suppress(OSError):  # Windows flushes no folder, nor do the shared ones of VirtualBox
            _flush(path, os.O_RDONLY)
    else:
        _flush(path, os.O_RDWR)  # Windows flushes only what may be written


def _flush(path: Path, flags: int) -> None:
    fd = os.open(path, flags)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def why_unreadable(path: AnyPath) -> str | None:
    """Why a file can't be read, where the file system says so; None otherwise."""
    path = Path(path)
    if not path.exists():
        return "no such file"
    if not path.is_file():
        return "not a file"
    return "empty (0 bytes); fetch or make it again" if not path.stat().st_size else None


def brief(e: Exception) -> str:
    """The last clause of an error's message: libraries put the path before it."""
    return str(e).rsplit(": ", 1)[-1].rstrip(".") or type(e).__name__
