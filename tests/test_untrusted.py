"""Names from outside do nothing to a terminal."""

import os

from sop_core.untrusted import lines, printable

ESCAPE = "\x1b[2J\x1b]0;owned\x07\r\x9b31m\u202egnp.\u2028"


def test_what_controls_a_terminal_is_escaped_and_words_are_not():
    said = printable(f"cello{ESCAPE}")
    assert said.isprintable() and said.startswith(r"cello\x1b[2J\x1b]0;owned\x07\r\x9b31m\u202e")
    for name in ("Küche 音\u3000🎻", "می\u200cخواهم", "👩\u200d🎤", "a b", r"C:\new"):
        assert printable(name) == name
    assert printable(os.fsdecode(b"\xff") + "\n\ud800") == r"\udcff\n\ud800"
    assert lines("one\ntwo\x1b") == "one\ntwo\\x1b"
