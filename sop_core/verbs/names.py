"""`sop names`: names for what a model sees."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from .options import Device


def names(
    ckpt: Path,
    /,
    *,
    index: Annotated[Path, Parameter(metavar="train.csv")],
    device: Device = None,
) -> None:
    """Names for what a model sees: the means of the labels of an index.

    Args:
        ckpt: The run's folder. A run that was trained with this version has names already; they
            are replaced.
        index: Solos whose labels are the names.
    """
    from ..data.clips import read_index
    from ..training.checkpoint import load_model, write_names
    from ..training.naming import learn_names
    from ..untrusted import printable

    model = load_model(ckpt, device)
    found = learn_names(model, read_index(index))
    write_names(ckpt, found, model)
    print(f"{len(found.labels)} names: {', '.join(map(printable, found.labels))}")
