"""General MIDI: names, programs of labels, what the instruments can do."""

import pytest

from sop_core.compose.gm import NAMES, chords_of, compass, held, parse_programs, program_number
from sop_core.errors import SopError


def test_names_and_common_labels_are_programs():
    assert len(NAMES) == 128
    expected = {
        "violin": 40, "Acoustic Guitar (nylon)": 24, "acoustic_guitar": 25, "saxophone": 65,
        "playing violin": 40, "xylophone": 13, "ACCORDION": 21,
        "banjo": 105, "trumpet": 56, "cello": 42, "clarinet": 71, "flute": 73, "tuba": 58,
        "erhu": 110, "french-horn": 60, "gunshot": 127, "0": 0, "127": 127,
    }  # fmt: skip
    assert {name: program_number(name) for name in expected} == expected


def test_programs_of_labels():
    items = ["violin=40", "guitar=Acoustic Guitar (nylon)", "guitar = 25", "guitar=25"]
    assert parse_programs(items) == {"violin": [40], "guitar": [24, 25]}


@pytest.mark.parametrize(
    ("item", "says"),
    [
        ("violin", "LABEL=PROGRAM"),
        ("=40", "LABEL=PROGRAM"),
        ("x=128", "0 to 127"),
        ("x=-1", "0 to 127"),
        ("x=kazoo\x1b", r"kazoo\x1b"),
        ("x=", "not a name"),
    ],
)
def test_what_is_no_program_is_said(item, says):
    with pytest.raises(SopError) as caught:
        parse_programs([item])
    assert says in str(caught.value)


def test_who_plays_chords_and_who_holds_notes():
    struck = ["piano", "guitar", "harp", "xylophone", "vibraphone", "banjo"]
    fed = ["violin", "trumpet", "flute", "saxophone", "tuba", "cello", "voice oohs"]
    numbers = [program_number(name) for name in struck + fed]
    assert [chords_of(n) for n in numbers] == [True] * len(struck) + [False] * len(fed)
    assert [held(n) for n in numbers] == [False] * len(struck) + [True] * len(fed)


def test_the_compass_is_that_of_the_instrument():
    lowest = {
        "violin": 55, "viola": 48, "cello": 36, "double bass": 28, "guitar": 40, "flute": 60,
        "clarinet": 50, "oboe": 58, "bassoon": 34, "alto sax": 49, "vibraphone": 53,
    }  # fmt: skip
    assert {name: compass(program_number(name))[0] for name in lowest} == lowest
    assert all(12 < len(compass(program)) < 70 for program in range(128))
