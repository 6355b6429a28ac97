"""Reading and writing csv files.

Names needn't be valid UTF-8. No spreadsheet takes a name for a formula.
"""

import csv
import re
from collections.abc import Hashable, Iterable, Iterator
from pathlib import Path
from typing import Literal

import pandas as pd

from ..config import AnyPath
from ..errors import SopError
from .atomic import atomic_path

Errors = Literal["surrogateescape", "backslashreplace"]  # for names that aren't valid UTF-8
# What a spreadsheet takes for a formula. A YouTube id may begin with a dash: it is harmless if only
# letters, digits, - and _ follow.
FORMULA = re.compile(r"(?!-[\w-]*\Z)'*[=+\-@\t\r\n＝＋－＠]")  # noqa: RUF001


def cell(value):
    """Put a quote before a text that a spreadsheet would run as a formula; anything else stays."""
    return f"'{value}" if isinstance(value, str) and FORMULA.match(value) else value


def from_cell(value):
    """The inverse of `cell`."""
    quoted = isinstance(value, str) and value[:1] == "'" and FORMULA.match(value)
    return value[1:] if quoted else value


def read_rows(path: AnyPath) -> Iterator[tuple[int, list[str]]]:
    """The rows of a csv without a header, each with its number (from 1). Empty rows are left out.

    A byte order mark, which spreadsheets write at the start, is left out too.

    Raises: SopError where the file can't be read as csv.
    """
    try:
        with Path(path).open(newline="", encoding="utf-8-sig", errors="surrogateescape") as f:
            yield from ((number, row) for number, row in enumerate(csv.reader(f), 1) if row)
    except (OSError, csv.Error) as e:
        raise SopError(f"{path}: not readable as csv ({e})") from None


def write_rows(path: AnyPath, rows: Iterable[Iterable], end: str = "\n") -> None:
    """Write a csv without a header, by `atomic_path`. `end`: of a line."""
    with (
        atomic_path(path) as part,
        part.open("w", newline="", encoding="utf-8", errors="surrogateescape") as f,
    ):
        csv.writer(f, lineterminator=end).writerows(rows)


def write_table(path: AnyPath, table: pd.DataFrame, errors: Errors = "surrogateescape") -> None:
    """Write a table as csv, for people and their spreadsheets.

    Args: `errors`: how to write names that aren't valid UTF-8.
    """
    table.map(cell).to_csv(path, index=False, errors=errors)


def read_table(path: AnyPath) -> pd.DataFrame:
    """Read what `write_table` wrote. The columns `id` and `label` are text, whatever is in them.

    Raises: ValueError where it is no table, OSError where there is no file.
    """
    text: dict[Hashable, type] = {"id": str, "label": str}
    table = pd.read_csv(path, keep_default_na=False, dtype=text, encoding_errors="surrogateescape")
    return table.map(from_cell)
