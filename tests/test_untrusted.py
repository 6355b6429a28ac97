"""Names from outside do nothing to a terminal, and are no formulas in a spreadsheet."""

import csv
import io
import os

import pandas as pd
import pytest

from sop_core.untrusted import cell, from_cell, lines, printable, write_table

ESCAPE = "\x1b[2J\x1b]0;owned\x07\r\x9b31m\u202egnp.\u2028"


def test_what_controls_a_terminal_is_escaped_and_words_are_not():
    said = printable(f"cello{ESCAPE}")
    assert said.isprintable() and said.startswith(r"cello\x1b[2J\x1b]0;owned\x07\r\x9b31m\u202e")
    for name in ("Küche 音\u3000🎻", "می\u200cخواهم", "👩\u200d🎤", "a b", r"C:\new"):
        assert printable(name) == name
    assert printable(os.fsdecode(b"\xff") + "\n\ud800") == r"\udcff\n\ud800"
    assert lines("one\ntwo\x1b") == "one\ntwo\\x1b"


FORMULAS = ["=1+cmd|' C'!A0", "+1", "-1+2", "-2|x", "@SUM(1)", "\t=1", "\r=1", "'=1", "''=1", "-a\n"]


@pytest.mark.parametrize("text", FORMULAS)
def test_a_formula_becomes_a_text_and_comes_back(text):
    assert cell(text)[0] == "'" and from_cell(cell(text)) == text


@pytest.mark.parametrize("value", ["-dash_first", "---g-f_I2yQ_000001", "cello", "'cello", "", -3.2, None, True])
def test_what_is_none_stays_as_it_is(value):
    assert cell(value) is value and (not isinstance(value, str) or from_cell(value) == value)


def test_a_table_keeps_its_numbers(tmp_path):
    write_table(
        tmp_path / "t.csv", pd.DataFrame({"label": ["=A1", "cello"], "sdr": [-3.25, None], "silent": [True, False]})
    )
    rows = list(csv.reader(io.StringIO((tmp_path / "t.csv").read_text())))
    assert rows == [["label", "sdr", "silent"], ["'=A1", "-3.25", "True"], ["cello", "", "False"]]
