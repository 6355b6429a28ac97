"""How what a notebook prints is compared with what was saved: numbers to their first decimal, or to 1 %, the rest exactly.

nbval compares text. Sums differ a little from chip to chip, so a number's second decimal can't be compared, and a number that is
close to a rounding edge has another first decimal. So: two outputs that differ in numbers alone, each by no more than `WITHIN` or
a hundredth of it (below 1: by `SHARE`; percentages: by 1), are the same.
"""

import re
from copy import deepcopy

from nbval.plugin import IPyNbCell

WITHIN, SHARE = 0.1, 0.05  # `SHARE`: of numbers under 1
NUMBER = re.compile(r"-?\d+\.\d+|\d+(?= %)")
compare_outputs = IPyNbCell.compare_outputs


def same(found: str, saved: str) -> bool:
    """Whether two texts differ in decimal numbers and percentages alone (and the blanks that fill columns up), by little."""
    shapes = (re.sub(r" +", " ", NUMBER.sub(" # ", text)) for text in (found, saved))
    if next(shapes) != next(shapes):
        return False
    for mine, theirs in zip(NUMBER.findall(found), NUMBER.findall(saved), strict=True):
        size = abs(float(theirs))
        within = 1 if "." not in theirs else max(WITHIN, size / 100) if size >= 1 else SHARE
        if abs(float(mine) - float(theirs)) > within + 1e-9:
            return False
    return True


def settled(found: dict, saved: dict) -> dict:
    """An output with the saved text in place of its own, where the two are the same."""
    found = deepcopy(found)
    for mine, theirs in ((found, saved), (found.get("data", {}), saved.get("data", {}))):
        for key in mine.keys() & theirs.keys() & {"text", "text/plain", "text/html"}:
            if same(mine[key], theirs[key]):
                mine[key] = theirs[key]
    return found


def compare(cell, test, ref, skip_compare=None):
    """nbval's own comparison, once numbers are settled."""
    if len(test) == len(ref):
        test = [settled(found, saved) for found, saved in zip(test, ref, strict=True)]
    return compare_outputs(cell, test, ref, skip_compare)


IPyNbCell.compare_outputs = compare
