"""General MIDI: the 128 programs by name, their compass, and which play chords, or hold a note.

Programs are numbered from 0, as in files: the violin is 40. Lists for people often begin with 1.

Source: General MIDI System Level 1, MIDI Manufacturers Association, 1991.
"""

import re
from collections.abc import Iterable

from ..errors import SopError
from ..media.csvs import nfc
from ..untrusted import printable

NAMES = [
    "acoustic grand piano", "bright acoustic piano", "electric grand piano",
    "honky-tonk piano", "electric piano 1", "electric piano 2", "harpsichord", "clavinet",  # 0
    "celesta", "glockenspiel", "music box", "vibraphone", "marimba", "xylophone",
    "tubular bells", "dulcimer",  # 8
    "drawbar organ", "percussive organ", "rock organ", "church organ", "reed organ",
    "accordion", "harmonica", "tango accordion",  # 16
    "acoustic guitar (nylon)", "acoustic guitar (steel)", "electric guitar (jazz)",
    "electric guitar (clean)", "electric guitar (muted)", "overdriven guitar",
    "distortion guitar", "guitar harmonics",  # 24
    "acoustic bass", "electric bass (finger)", "electric bass (pick)", "fretless bass",
    "slap bass 1", "slap bass 2", "synth bass 1", "synth bass 2",  # 32
    "violin", "viola", "cello", "contrabass", "tremolo strings", "pizzicato strings",
    "orchestral harp", "timpani",  # 40
    "string ensemble 1", "string ensemble 2", "synth strings 1", "synth strings 2",
    "choir aahs", "voice oohs", "synth voice", "orchestra hit",  # 48
    "trumpet", "trombone", "tuba", "muted trumpet", "french horn", "brass section",
    "synth brass 1", "synth brass 2",  # 56
    "soprano sax", "alto sax", "tenor sax", "baritone sax", "oboe", "english horn",
    "bassoon", "clarinet",  # 64
    "piccolo", "flute", "recorder", "pan flute", "blown bottle", "shakuhachi", "whistle",
    "ocarina",  # 72
    "lead 1 (square)", "lead 2 (sawtooth)", "lead 3 (calliope)", "lead 4 (chiff)",
    "lead 5 (charang)", "lead 6 (voice)", "lead 7 (fifths)", "lead 8 (bass and lead)",  # 80
    "pad 1 (new age)", "pad 2 (warm)", "pad 3 (polysynth)", "pad 4 (choir)",
    "pad 5 (bowed)", "pad 6 (metallic)", "pad 7 (halo)", "pad 8 (sweep)",  # 88
    "fx 1 (rain)", "fx 2 (soundtrack)", "fx 3 (crystal)", "fx 4 (atmosphere)",
    "fx 5 (brightness)", "fx 6 (goblins)", "fx 7 (echoes)", "fx 8 (sci-fi)",  # 96
    "sitar", "banjo", "shamisen", "koto", "kalimba", "bagpipe", "fiddle", "shanai",  # 104
    "tinkle bell", "agogo", "steel drums", "woodblock", "taiko drum", "melodic tom",
    "synth drum", "reverse cymbal",  # 112
    "guitar fret noise", "breath noise", "seashore", "bird tweet", "telephone ring",
    "helicopter", "applause", "gunshot",  # 120
]  # fmt: skip
# Labels of MUSIC and VGGSound, and other common ones: the program that sounds most like them
ALIASES = {
    "piano": 0, "grand piano": 0, "electric piano": 4, "organ": 19, "pipe organ": 19,
    "electronic organ": 16, "hammond organ": 16, "bandoneon": 23, "harp": 46,
    "acoustic guitar": 25, "guitar": 25, "classical guitar": 24, "electric guitar": 27,
    "bass guitar": 33, "electric bass": 33, "double bass": 43, "upright bass": 43,
    "strings": 48, "choir": 52, "cornet": 56, "horn": 60, "saxophone": 65, "sax": 65,
    "cor anglais": 69, "panpipes": 75, "pan pipes": 75, "vibes": 11, "tubular bell": 14,
    "hammered dulcimer": 15, "erhu": 110, "zither": 107, "guzheng": 107, "bagpipes": 109,
    "steel drum": 114, "steelpan": 114, "mbira": 108, "thumb piano": 108, "shehnai": 111,
    "bass": 32, "synthesizer": 81, "theremin": 78, "tabla": 116, "timbales": 117,
    "violin fiddle": 40, "marimba xylophone": 12, "steel guitar slide guitar": 25, "mandolin": 25,
    "ukulele": 24, "bugle": 56, "pipa": 106,
}  # fmt: skip
CHORDS = {*range(32), 46, *range(104, 109), 114}
HELD = {*range(20, 24), *range(40, 45), *range(48, 55), *range(56, 80), *range(109, 112)}
# From a program on: the lowest and the highest key that players use, as sounding. Those of synths,
# drums and noises are a choice.
COMPASS = {
    0: (33, 96), 6: (36, 84), 8: (60, 96), 9: (79, 103), 10: (60, 96), 11: (53, 89),
    12: (45, 96), 13: (65, 103), 14: (60, 77), 15: (50, 86),
    16: (36, 84), 21: (53, 89), 22: (60, 91), 23: (53, 89), 24: (40, 81), 32: (28, 57),
    40: (55, 93), 41: (48, 81), 42: (36, 72), 43: (28, 55), 44: (43, 84), 46: (31, 96),
    47: (40, 57), 48: (36, 84), 52: (48, 79), 55: (48, 72),
    56: (52, 82), 57: (40, 70), 58: (28, 58), 59: (52, 82), 60: (41, 77), 61: (43, 82),
    64: (56, 87), 65: (49, 80), 66: (44, 75), 67: (37, 68), 68: (58, 89), 69: (52, 81),
    70: (34, 72), 71: (50, 89),
    72: (74, 102), 73: (60, 93), 74: (72, 96), 75: (60, 91), 76: (60, 84), 77: (60, 84),
    78: (72, 96), 79: (69, 86), 80: (36, 84),
    104: (48, 79), 107: (55, 84), 108: (48, 79), 109: (65, 81), 110: (55, 88), 111: (60, 81),
    112: (60, 84), 114: (60, 89), 115: (48, 72),
}  # fmt: skip


def program_number(name: str) -> int:
    """The program that a name or a number stands for, in 0..127: "Violin" and "40" are 40.

    Names of General MIDI and common labels count: case, "_", "-", brackets and a leading "playing"
    make no difference.
    Raises: SopError for an unknown name, and for a number outside 0..127.
    """
    if re.fullmatch(r"[+-]?\d{1,9}", text := name.strip()):
        if not 0 <= int(text) <= 127:
            raise SopError(f"program {text}: expected 0 to 127, where 40 is the violin")
        return int(text)
    if (key := _key(name)) not in _NUMBERS:
        raise SopError(
            f'program "{printable(name)}": not a name of General MIDI; expected one such as violin,'
            " acoustic guitar (nylon) or alto sax, or a number, 0 to 127"
        )
    return _NUMBERS[key]


def parse_programs(items: Iterable[str]) -> dict[str, list[int]]:
    """Programs for labels, as the command line has them: "violin=40", "guitar=Acoustic Bass".

    A label that stands there more than once has several programs.
    Raises: SopError where there is no "=" or no label, and as `program_number`.
    """
    programs: dict[str, list[int]] = {}
    for item in items:
        label, sign, name = (nfc(part.strip()) for part in item.partition("="))
        if not (label and sign):
            raise SopError(f'"{printable(item)}": expected LABEL=PROGRAM, such as violin=40')
        number = program_number(name)
        if number not in programs.setdefault(label, []):
            programs[label].append(number)
    return programs


def compass(program: int) -> range:
    """The MIDI notes that a program's instrument has: the violin's from 55 (G3) to 93."""
    low, high = COMPASS[max(first for first in COMPASS if first <= program)]
    return range(low, high + 1)


def chords_of(program: int) -> bool:
    """Whether a program's instrument plays chords: keyboards, guitars, harps, tuned percussion."""
    return program in CHORDS


def held(program: int) -> bool:
    """Whether a player feeds a note while it lasts, so that it can swell: bowed and blown ones."""
    return program in HELD


def _key(name: str) -> str:
    words = re.findall(r"[a-z0-9]+", name.lower())
    return " ".join(words[1:] if words[:1] == ["playing"] else words)


_NUMBERS = ALIASES | {_key(name): number for number, name in enumerate(NAMES)}
