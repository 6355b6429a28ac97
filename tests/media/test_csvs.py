"""csv files: no name in them is a formula to a spreadsheet, and what was written comes back."""

import csv
import io

import pandas as pd
import pytest

from sop_core.errors import SopError
from sop_core.media.csvs import cell, from_cell, read_rows, read_table, write_rows, write_table

FORMULAS = [
    "=1+cmd|' C'!A0",
    "+1",
    "-1+2",
    "-2|x",
    "@SUM(1)",
    "\t=1",
    "\r=1",
    "'=1",
    "''=1",
    "-a\n",
]


@pytest.mark.parametrize("text", FORMULAS)
def test_a_formula_becomes_a_text_and_comes_back(text):
    assert cell(text)[0] == "'" and from_cell(cell(text)) == text


@pytest.mark.parametrize(
    "value", ["-dash_first", "---g-f_I2yQ_000001", "cello", "'cello", "", -3.2, None, True]
)
def test_what_is_none_stays_as_it_is(value):
    assert cell(value) is value and (not isinstance(value, str) or from_cell(value) == value)


def test_a_table_keeps_its_numbers(tmp_path):
    write_table(
        tmp_path / "t.csv",
        pd.DataFrame({"label": ["=A1", "cello"], "sdr": [-3.25, None], "silent": [True, False]}),
    )
    rows = list(csv.reader(io.StringIO((tmp_path / "t.csv").read_text())))
    assert rows == [["label", "sdr", "silent"], ["'=A1", "-3.25", "True"], ["cello", "", "False"]]


COMPOSED, APART = "fl\u00fbte", "flu\u0302te"  # the same word to a reader
ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32", "utf-32-be"]


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("letters", [COMPOSED, APART])
def test_a_csv_is_read_whatever_a_spreadsheet_made_of_it(tmp_path, encoding, letters):
    mark = "\ufeff" if encoding.endswith("be") else ""  # Python writes the other marks
    text = f'{mark}id,label,note\r\n007,{letters},"two\r\nlines"\r\n\r\n8,音,\r\n'
    (tmp_path / "a.csv").write_bytes(text.encode(encoding))
    header = ["id", "label", "note"]
    rows = [(1, header), (2, ["007", COMPOSED, "two\r\nlines"]), (4, ["8", "音", ""])]
    assert list(read_rows(tmp_path / "a.csv")) == rows
    table = read_table(tmp_path / "a.csv")
    assert list(table) == header and list(table.label) == [COMPOSED, "音"]
    assert list(table.id) == ["007", "8"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            "cello,1\n".encode("utf-16-le"),
            "full of NUL characters; expected text: save it as UTF-8",
        ),
        ("音樂家的樂器,a.mp3,1\n".encode("utf-16-be"), "full of NUL characters"),
        ("cello,1\n".encode("utf-16")[:-1], "truncated"),
        (b"\xff\xfe\0\xd8,\0", "utf-16"),
    ],
)
def test_what_is_no_text_is_named(tmp_path, content, said):
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(SopError, match=f"^{tmp_path / 'a.csv'}: not readable as csv .*{said}"):
        list(read_rows(tmp_path / "a.csv"))
    with pytest.raises(ValueError, match=said):
        read_table(tmp_path / "a.csv")


def test_names_that_are_no_utf_8_come_back(tmp_path):
    row = [b"\xff\xfe!".decode("utf-8", "surrogateescape"), COMPOSED]
    write_rows(tmp_path / "a.csv", [["x", *row]])
    assert list(read_rows(tmp_path / "a.csv")) == [(1, ["x", *row])]
    write_table(tmp_path / "t.csv", pd.DataFrame({"id": row}))
    assert list(read_table(tmp_path / "t.csv").id) == row
