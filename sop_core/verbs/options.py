"""Kinds of options that several verbs have."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


def _whole(_, tokens) -> int:
    """A whole number; cyclopts' own reading rounds 2.5."""
    try:
        return int(tokens[0].value)
    except ValueError:
        raise ValueError(f"{tokens[0].value!r}: expected a whole number") from None


Whole = Annotated[int, Parameter(converter=_whole)]
Folder = Annotated[Path, Parameter(metavar="DIR")]
Home = Annotated[Path, Parameter(metavar="DIR", show_default=False)]  # its help says the rule
Seconds = Annotated[float, Parameter(metavar="SECONDS")]
Settings = Annotated[tuple[str, ...], Parameter(metavar="KEY=VALUE...")]
Device = Annotated[
    str | None,
    Parameter(
        metavar="DEVICE",
        help="cpu, cuda, cuda:1 ... Default: an NVIDIA GPU if there is one, else the CPU. "
        "Apple's GPU is not used.",
    ),
]


def values(settings: tuple[str, ...]) -> dict[str, str]:
    """Of `KEY=VALUE...`, as `Config.override` takes it."""
    return {key: value for key, _, value in (setting.partition("=") for setting in settings)}
