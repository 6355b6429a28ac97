"""csv files, in and out: names needn't be valid UTF-8, and are no formulas to a spreadsheet."""

import csv
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pandas as pd

from ..config import AnyPath
from ..errors import SopError
from .atomic import atomic_path

# What a spreadsheet takes for a formula. An id of YouTube may begin with a dash: it is harmless if
# only letters follow.
LIVE = re.compile(r"(?!-[\w-]*\Z)'*[=+\-@\t\r\n＝＋－＠]")  # noqa: RUF001


def cell(value):
    """Put a quote before a text that a spreadsheet would run as a formula; anything else stays."""
    return f"'{value}" if isinstance(value, str) and LIVE.match(value) else value


def from_cell(value):
    """What `cell` was given."""
    return value[1:] if isinstance(value, str) and value[:1] == "'" and LIVE.match(value) else value


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


def write_rows(path: AnyPath, rows: Iterable[Iterable], end: str = "\n") -> None:
    """Write a csv without a header, whole or not at all. `end`: of a line."""
    with (
        atomic_path(path) as part,
        part.open("w", newline="", encoding="utf-8", errors="surrogateescape") as f,
    ):
        csv.writer(f, lineterminator=end).writerows(rows)


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
