"""Text from outside (names, labels, messages), made safe for terminals and spreadsheets."""

import csv
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from .config import AnyPath
from .errors import SopError

JOINERS = "\u200c\u200d"  # parts of words and of emoji
# What a spreadsheet takes for a formula. An id of YouTube may begin with a dash: it is harmless if
# only letters follow.
LIVE = re.compile(r"(?!-[\w-]*\Z)'*[=+\-@\t\r\n＝＋－＠]")  # noqa: RUF001


def printable(text: object) -> str:
    """Escape what controls a terminal, or turns its direction of writing (`\\x1b`)."""
    return "".join(
        c.encode("unicode_escape").decode()
        if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") and c not in JOINERS
        else c
        for c in str(text)
    )


def lines(text: object) -> str:
    """`printable` for each line of a text: for text whose line breaks are ours."""
    return "\n".join(map(printable, str(text).split("\n")))


def cell(value):
    """Put a quote before a text that a spreadsheet would run as a formula; anything else stays."""
    return f"'{value}" if isinstance(value, str) and LIVE.match(value) else value


def from_cell(value):
    """What `cell` was given."""
    return value[1:] if isinstance(value, str) and value[:1] == "'" and LIVE.match(value) else value


def write_table(path: AnyPath, table: pd.DataFrame, errors: str = "surrogateescape") -> None:
    """Write a table as csv, for people and their spreadsheets.

    Args:
        errors: how names are written that aren't valid UTF-8.
    """
    table.map(cell).to_csv(path, index=False, errors=errors)


def read_table(path: AnyPath) -> pd.DataFrame:
    """Read what `write_table` wrote; the columns `id` and `label` are text, whatever is in them.

    Raises: ValueError where it is no table, OSError where there is no file.
    """
    kinds = {"id": str, "label": str}
    table = pd.read_csv(path, keep_default_na=False, dtype=kinds, encoding_errors="surrogateescape")
    return table.map(from_cell)


def read_rows(path: AnyPath) -> Iterator[tuple[int, list[str]]]:
    """The rows of a csv without a header, each with its number (from 1); empty ones are left out.

    A spreadsheet's mark at the start is no part of the first text, and names needn't be valid
    UTF-8.
    Raises: SopError where the file can't be read as csv.
    """
    try:
        with Path(path).open(newline="", encoding="utf-8-sig", errors="surrogateescape") as f:
            yield from ((number, row) for number, row in enumerate(csv.reader(f), 1) if row)
    except (OSError, csv.Error) as e:
        raise SopError(f"{path}: not readable as csv ({e})") from None
