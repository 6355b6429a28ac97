"""csv files: no name in them is a formula to a spreadsheet, and what was written comes back."""

import csv
import io

import pandas as pd
import pytest

from sop_core.media.csvs import cell, from_cell, write_table

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
