"""Files that appear complete or not at all.

A file is written under a hidden name, flushed to the disk, and renamed.
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

    The caller renames it to `path` when it is complete. If a killed process of this machine has
    left such a file, it gets the new name, so that the work can go on.

    Args: `token`: eight hexadecimal digits that identify the content.
    """
    path = Path(path)
    mine = _part_path(path, token)
    if mine.exists():
        return mine
    for left in path.parent.glob(f".part-*-{token}{path.suffix}"):
        if _orphan(left):
            with suppress(OSError):  # another process was quicker
                left.rename(mine)
                break
    return mine


def sweep(folder: AnyPath) -> int:
    """Remove the hidden files that killed processes of this machine left in `folder`.

    Subfolders are not searched. Returns how many files there were.
    """
    left = [p for p in Path(folder).glob(".part-*") if _orphan(p)]
    for p in left:
        _remove(p)
    return len(left)


def _part_path(path: Path, token: str) -> Path:
    return path.with_name(f".part-{platform.node()}-{os.getpid()}-{token}{path.suffix}")


def _orphan(part: Path) -> bool:
    """Whether a process of this machine made the hidden file, and runs no longer."""
    match = PART.fullmatch(part.name)
    if not match or match[1] != platform.node():
        return False
    try:
        os.kill(int(match[2]), 0)  # signal 0 asks only whether the process is there
    except (OSError, OverflowError) as e:
        return isinstance(e, ProcessLookupError)
    return False


def sha256(path: AnyPath) -> str:
    """A file's checksum, in hexadecimal."""
    with Path(path).open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def _fsync(path: Path) -> None:
    # A folder alone, not each file in it: 720 frames took 7 s. Only a power cut can damage them.
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
