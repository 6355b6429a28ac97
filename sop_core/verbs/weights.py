"""`sop weights`: the authors' released model."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


def weights(
    *,
    url: Annotated[str | None, Parameter(metavar="URL")] = None,
    out: Annotated[Path, Parameter(metavar="CKPT_DIR")],
) -> None:
    """The authors' released model, as a checkpoint.

    Args:
        url: Address or folder of its three files. Default: the authors' address.
        out: Folder for the checkpoint.
    """
    from ..training.released import fetch
    from ..untrusted import printable

    print(f"the released model, profile sop2018: {printable(fetch(out, url))}")
