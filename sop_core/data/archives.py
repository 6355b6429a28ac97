"""The files in zip and tar archives, one after the other, without unpacking the archive.

A zip's table of contents says where each file is. A tar is gone through once, from its beginning.
Archives may come from anywhere. So nothing is read beyond what an entry claims, and an entry may
claim no more than a video can have: videos hardly shrink when they are packed.
"""

import bz2
import gzip
import importlib
import lzma
import math
import re
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import IO, Any, NamedTuple

from ..config import AnyPath
from ..errors import SopError
from ..media.atomic import brief

LARGEST = 4 * 2**30  # bytes of a video
SHRINKS = 100  # times that packing may make videos smaller; it makes a file of zeros 1,000 times
SMALL = 2**20  # bytes that may shrink more, and the longest header
ARCHIVE = re.compile(r"\.(zip|tar|t[gx]z|tbz2?|tar\.(gz|bz2|xz|zst))$", re.IGNORECASE)


class Entry(NamedTuple):
    """A file in an archive."""

    name: str  # with its folders
    size: int  # bytes that it claims to have
    at: int  # bytes of the archive that come before it
    refused: str  # why it can't be taken ("" if it can)
    open: Callable[[], IO[bytes] | None]

    def unpack(self, to: AnyPath) -> None:
        """Write the file's bytes to a path. Raises SopError where some of them are missing."""
        got = 0
        try:
            source = self.open()
        except OSError as e:
            raise SopError(f"can't be opened ({e.strerror})") from None
        assert source  # only folders and links have none
        with source, Path(to).open("wb") as target:
            while piece := source.read(SMALL):
                got += target.write(piece)
        if got != self.size:
            raise SopError(f"cut short: {got:,} of the {self.size:,} bytes it claims")


def entries(path: AnyPath) -> Iterator[Entry]:
    """The files in an archive, in its order; take each before asking for the next one.

    Links, devices, names that lead out of the folder, and files that claim more bytes than a video
    can have come with `refused`.

    Raises: SopError where the archive is damaged, or is none. What came before is good.
    """
    try:
        with Path(path).open("rb") as raw:
            start = raw.read(6)
            raw.seek(0)
            yield from _zip(raw) if start.startswith(b"PK") else _tar(raw, start)
    except SopError as e:
        raise SopError(f"{path}: {e}") from None
    except Exception as e:  # the libraries raise many kinds
        if isinstance(e, MemoryError):
            raise
        reason = getattr(e, "strerror", None) or brief(e)
        kept = "what it gave before is kept; fetch it again"
        raise SopError(f"{path}: damaged, or no zip or tar file ({reason}); {kept}") from e


def _zip(raw: IO[bytes]) -> Iterator[Entry]:
    size = raw.seek(0, 2)
    with zipfile.ZipFile(raw) as archive:
        for info in sorted(archive.infolist(), key=lambda info: info.header_offset):
            if info.is_dir():
                continue
            kind = stat.S_IFMT(info.external_attr >> 16) if info.create_system == 3 else 0  # Unix
            refused = "a link or a device" if kind not in (0, stat.S_IFREG) else ""
            refused = refused or _refusal(info.filename, info.file_size)
            packed = min(info.compress_size, size)
            if info.file_size > SMALL + SHRINKS * packed:
                claim = f"it claims {info.file_size:,} bytes, packed in {packed:,}"
                refused = refused or f"{claim}: no video shrinks so much"
            opened = partial(archive.open, info)
            name = info.filename.replace("\\", "/")  # some of Windows' programs
            yield Entry(name, info.file_size, info.header_offset, refused, opened)


def _tar(raw: IO[bytes], start: bytes) -> Iterator[Entry]:
    size = raw.seek(0, 2)
    raw.seek(0)
    stream: Any = _Forward(_unpacked(raw, start), SMALL + SHRINKS * size)
    with tarfile.open(fileobj=stream, mode="r:") as archive:
        known: Any = archive
        while member := stream.header_of(archive):
            known.members.clear()  # or 200,000 of them would stay in memory
            if member.isdir():
                continue
            refused = "" if member.isreg() and not member.issparse() else "a link or a device"
            refused = refused or _refusal(member.name, member.size)
            opened = partial(archive.extractfile, member)
            yield Entry(member.name, member.size, raw.tell(), refused, opened)
    if not stream.last or stream.last.strip(b"\0"):  # `tarfile` takes any nonsense for the end
        raise tarfile.ReadError("its end is missing")


def _unpacked(raw: IO[bytes], start: bytes) -> Any:
    """The bytes of the tar itself."""
    if start.startswith(b"\x28\xb5\x2f\xfd"):
        try:
            return importlib.import_module("compression.zstd").ZstdFile(raw)
        except ImportError:
            mended = "unpack it (zstd -d), or use Python 3.14"
            raise SopError(f"packed by zstd, which this Python can't read; {mended}") from None
    if start.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(fileobj=raw)
    if start.startswith(b"\xfd7zXZ"):
        return lzma.LZMAFile(raw)
    return bz2.BZ2File(raw) if start.startswith(b"BZh") else raw


class _Forward:
    """What `tarfile` reads from: never backwards, no long headers, and not without an end."""

    def __init__(self, file: Any, most: int):
        self.file = file
        self.most = most  # bytes
        self.last = b""  # what was read last
        self.headers = math.inf  # bytes that may be read, until the header of an entry is complete
        self.tell = file.tell

    def header_of(self, archive: tarfile.TarFile) -> tarfile.TarInfo | None:
        """The next entry. Its headers, which `tarfile` keeps, have at most SMALL bytes."""
        self.headers = SMALL
        try:
            return archive.next()
        finally:
            self.headers = math.inf

    def seek(self, to: int) -> int:
        if to < self.tell():  # a size below 0
            raise tarfile.ReadError("an entry ends before it begins")
        self._check(to)
        return self.file.seek(to)

    def read(self, n: int) -> bytes:
        self.headers -= n
        if n > SMALL or self.headers < 0:  # `tarfile` reads long names into memory
            raise tarfile.ReadError(f"a header of more than {SMALL:,} bytes")
        self._check(self.tell() + n)
        self.last = self.file.read(n)
        return self.last

    def _check(self, to: int) -> None:
        if to > self.most:
            many = f"it claims {to:,} bytes or more"
            raise tarfile.ReadError(f"{many}, and videos of its size have {self.most:,} at most")


def _refusal(name: str, size: int) -> str:
    """Why an entry can't be taken."""
    parts = re.split(r"[/\\]", name)
    if ".." in parts or not parts[0] or re.match("[a-zA-Z]:", name):
        return "it leads out of the folder"
    if size > LARGEST:
        return f"it claims {size:,} bytes; a video has {LARGEST:,} at most"
    return ""
