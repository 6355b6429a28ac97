"""Files that appear whole or not at all.

A file is written beside its place, flushed to the disk, and renamed.
"""

import hashlib
import os
import platform
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..config import AnyPath

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
    part = (
        path.parent / f".part-{platform.node()}-{os.getpid()}-{secrets.token_hex(4)}{path.suffix}"
    )
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


def why_unreadable(path: AnyPath) -> str | None:
    """Why a file can't be read, where that can be seen from outside."""
    path = Path(path)
    if not path.exists():
        return "no such file"
    if not path.is_file():
        return "not a file"
    return "empty (0 bytes); fetch or make it again" if not path.stat().st_size else None


def brief(e: Exception) -> str:
    """The last clause of an error's message: libraries put the path before it."""
    return str(e).rsplit(": ", 1)[-1].rstrip(".") or type(e).__name__
