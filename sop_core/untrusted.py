"""Text from outside (names, labels, what programs say): read, and made safe to print or to open in a spreadsheet."""

import csv
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from .config import AnyPath
from .errors import SopError

JOINERS = "\u200c\u200d"  # parts of words and of emoji
# What a spreadsheet takes for a formula. An id of YouTube may begin with a dash: with nothing but letters after it it is harmless.
LIVE = re.compile(r"(?!-[\w-]*\Z)'*[=+\-@\t\r\n＝＋－＠]")  # noqa: RUF001


def printable(text: object) -> str:
    """Text that does nothing to a terminal but stand there: what controls it, or turns its direction, is escaped (`\\x1b`)."""
    return "".join(
        c.encode("unicode_escape").decode()
        if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") and c not in JOINERS
        else c
        for c in str(text)
    )


def lines(text: object) -> str:
    """`printable`, line by line: for text whose lines are ours."""
    return "\n".join(map(printable, str(text).split("\n")))


def cell(value):
    """A text that a spreadsheet would run as a formula, with a quote before it; anything else as it is."""
    return f"'{value}" if isinstance(value, str) and LIVE.match(value) else value


def from_cell(text: str) -> str:
    """What `cell` was given."""
    return text[1:] if text.startswith("'") and LIVE.match(text) else text


def write_table(path: AnyPath, table: pd.DataFrame, errors: str = "surrogateescape") -> None:
    """A table as csv, for people and their spreadsheets. Names needn't be valid UTF-8: `errors` says how they are written."""
    table.map(cell).to_csv(path, index=False, errors=errors)


def read_rows(path: AnyPath) -> Iterator[tuple[int, list[str]]]:
    """The rows of a csv without a header, each with its number (from 1); empty ones are left out.

    A spreadsheet's mark at the start is no part of the first text, and names needn't be valid UTF-8.
    Raises: SopError where the file can't be read as csv.
    """
    try:
        with Path(path).open(newline="", encoding="utf-8-sig", errors="surrogateescape") as f:
            yield from ((number, row) for number, row in enumerate(csv.reader(f), 1) if row)
    except (OSError, csv.Error) as e:
        raise SopError(f"{path}: not readable as csv ({e})") from None
