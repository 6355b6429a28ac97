"""Text from outside (names, labels, messages), made safe to print; files that are nobody's."""

import unicodedata
from pathlib import PurePath

JOINERS = "\u200c\u200d"  # parts of words and of emoji


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


def hidden(inside: PurePath) -> bool:
    """Whether a path inside a folder is hidden, as what a Mac adds to each file (`._a.jpg`)."""
    return any(part.startswith(".") for part in inside.parts)
