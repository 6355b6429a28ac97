"""How a notebook's fresh output is compared with the saved one: numbers roughly, the rest exactly.

nbval compares text. But sums differ a little from chip to chip, so the second decimal of a number
can differ, and even the first one if the number is close to a rounding edge. Two outputs count as
the same if they differ in numbers only, and each number by at most `TOLERANCE` or 1 %. Numbers
below 1 may differ by `SMALL_TOLERANCE`, and percentages by 1.
"""

import re
from copy import deepcopy

from nbval.plugin import IPyNbCell

TOLERANCE = 0.1
SMALL_TOLERANCE = 0.05  # of numbers below 1
NUMBER = re.compile(r"-?\d+\.\d+|\d+(?= %)")
compare_outputs = IPyNbCell.compare_outputs


def tolerance(number: str) -> float:
    """By how much another number may differ from this one."""
    if "." not in number:  # a percentage
        return 1
    size = abs(float(number))
    return max(TOLERANCE, size / 100) if size >= 1 else SMALL_TOLERANCE


def without_numbers(text: str) -> str:
    """The text with # for each number, and one space for several: columns are padded with them."""
    return re.sub(r" +", " ", NUMBER.sub(" # ", text))


def same(fresh: str, saved: str) -> bool:
    """Whether two texts differ only in decimal numbers and percentages, and only a little."""
    if without_numbers(fresh) != without_numbers(saved):
        return False
    pairs = zip(NUMBER.findall(fresh), NUMBER.findall(saved), strict=True)
    return all(abs(float(a) - float(b)) <= tolerance(b) + 1e-9 for a, b in pairs)


def settled(fresh: dict, saved: dict) -> dict:
    """A copy of a fresh output, with the saved text wherever the two are the same."""
    fresh = deepcopy(fresh)
    for ours, theirs in ((fresh, saved), (fresh.get("data", {}), saved.get("data", {}))):
        for key in ours.keys() & theirs.keys() & {"text", "text/plain", "text/html"}:
            if same(ours[key], theirs[key]):
                ours[key] = theirs[key]
    return fresh


def compare(cell, test, ref, skip_compare=None):
    """nbval's own comparison, after `settled`."""
    if len(test) == len(ref):
        test = [settled(fresh, saved) for fresh, saved in zip(test, ref, strict=True)]
    return compare_outputs(cell, test, ref, skip_compare)


IPyNbCell.compare_outputs = compare
