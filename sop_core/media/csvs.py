"""Reading and writing csv files, and text that others wrote.

Names needn't be valid UTF-8. No spreadsheet takes a name for a formula. A letter that Unicode can
write in two ways (an "é" as one character, or as "e" and an accent) is always read as one character
(NFC): the other way would be another label.
"""

import codecs
import csv
import io
import re
import unicodedata
from collections.abc import Hashable, Iterable, Iterator
from pathlib import Path
from typing import Literal

import pandas as pd

from ..config import AnyPath
from ..errors import SopError
from .atomic import atomic_path

# Where pyarrow is installed, pandas 3 would keep text in it, as valid UTF-8 only.
pd.options.mode.string_storage = "python"

Errors = Literal["surrogateescape", "backslashreplace"]  # for names that aren't valid UTF-8
# What a spreadsheet takes for a formula. A YouTube id may begin with a dash: it is harmless if only
# letters, digits, - and _ follow.
FORMULA = re.compile(r"(?!-[\w-]*\Z)'*[=+\-@\t\r\n＝＋－＠]")  # noqa: RUF001
# How a text begins, in other encodings than UTF-8; UTF-32 begins as UTF-16 does
MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def nfc(text: str) -> str:
    """The text with as few characters as Unicode allows."""
    return unicodedata.normalize("NFC", text)


def read_text(path: AnyPath) -> str:
    """Read a text: UTF-8, or with a byte order mark UTF-16 or UTF-32. Without the mark, in NFC.

    Raises: ValueError where it is no text, OSError where there is no file.
    """
    data = Path(path).read_bytes()
    encoding = next((name for mark, name in MARKS.items() if data.startswith(mark)), "utf-8-sig")
    text = data.decode(encoding, "surrogateescape" if encoding == "utf-8-sig" else "strict")
    if 10 * text.count("\0") > len(text):  # as in UTF-16 without its mark
        raise ValueError("full of NUL characters; expected text: save it as UTF-8")
    return nfc(text)


def cell(value):
    """Put a quote before a text that a spreadsheet would run as a formula; anything else stays."""
    return f"'{value}" if isinstance(value, str) and FORMULA.match(value) else value


def from_cell(value):
    """The inverse of `cell`."""
    quoted = isinstance(value, str) and value[:1] == "'" and FORMULA.match(value)
    return value[1:] if quoted else value


def read_rows(path: AnyPath) -> Iterator[tuple[int, list[str]]]:
    """The rows of a csv without a header, each with its number (from 1). Empty rows are left out.

    Raises: SopError where the file can't be read as csv.
    """
    try:
        rows = csv.reader(io.StringIO(read_text(path), newline=""))
        yield from ((number, row) for number, row in enumerate(rows, 1) if row)
    except (OSError, ValueError, csv.Error) as e:
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
    rows = io.StringIO(read_text(path))
    table = pd.read_csv(rows, keep_default_na=False, dtype=text, encoding_errors="surrogateescape")
    return table.map(from_cell)
