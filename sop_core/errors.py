"""One exception for everything that the user can mend; and what ends work that is not the input's fault."""

import errno

DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO)


class SopError(Exception):
    """Bad input, said in one sentence: what was found and where, what was expected, what to do.

    The command line prints it as one line and exits with 2; a notebook shows it as the last line of the traceback.
    """


class Terminated(KeyboardInterrupt):
    """SIGTERM: a cluster, a container, or somebody wants this to end. What handles Ctrl-C handles it too."""


def mend(e: BaseException) -> str:
    """What to do about an error that is the machine's, whatever the input: a full disk, no memory ... ("" where it is none)."""
    code = getattr(e, "errno", None)
    if isinstance(e, MemoryError) or code == errno.ENOMEM:
        return "free memory, or ask for less at a time"
    if code in (errno.EMFILE, errno.ENFILE):
        return "allow more open files (ulimit -n), or ask for less at a time"
    return "make room, or choose another folder" if code in DISK else ""
