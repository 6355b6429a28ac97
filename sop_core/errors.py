"""The one exception for what the user can mend; what to do about errors of the machine."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO)
FEWER = "free memory, or take fewer processes (--jobs)"  # what to do where one of them died


class SopError(Exception):
    """Bad input, in one sentence: what was found and where, what was expected, what to do.

    The command line prints it as one line and exits with 2. A notebook shows it as the last line
    of the traceback.
    """


class Terminated(KeyboardInterrupt):
    """SIGTERM: a cluster, a container or a person ends this process. Handled like Ctrl-C."""


@contextmanager
def needing(extra: str, what: str) -> Iterator[None]:
    """A block that imports packages of an extra of `pyproject.toml`, which `what` needs.

    Raises SopError where one is missing or broken, or where numba, which compiles librosa's loops
    as they are imported, finds no folder to keep them in.
    """
    try:
        yield
    except (ImportError, RuntimeError) as e:
        hint = f"run pip install -e '.[{extra}]'"
        if not isinstance(e, ImportError):
            if "cache" not in str(e):
                raise
            hint = "set NUMBA_CACHE_DIR to a folder that can be written"
        raise SopError(f"{what} can't be had here ({' '.join(str(e).split())}); {hint}") from None


def mend(e: BaseException) -> str:
    """What to do about an error of the machine, such as a full disk; "" for any other error."""
    code = getattr(e, "errno", None)
    if isinstance(e, MemoryError) or code == errno.ENOMEM:
        return "free memory, or ask for less at a time"
    if code in (errno.EMFILE, errno.ENFILE):
        return "allow more open files (ulimit -n), or ask for less at a time"
    return "make room, or choose another folder" if code in DISK else ""
