"""Of a file's pictures and sounds, those are taken that a player would show; others by number."""

from itertools import zip_longest

import numpy as np
import pytest
from av.stream import Disposition
from films import level, many_streams

from sop_core.errors import SopError
from sop_core.media.choose import Choice
from sop_core.media.container import open_video
from sop_core.media.stream import read_video, stream_sound
from sop_core.media.survey import survey

THUMBNAIL, FILM = (1.0, (64, 64), 40), (3.0, (96, 160), 200)
NONE, DEFAULT = Disposition(0), Disposition.default
SILENT, LOUD = (3.0, 0), (3.0, 1000)  # seconds, Hz


def taken(path, choice=None):
    """(h, w), grey level, whether 1000 Hz sound, and the notes."""
    notes, more = [], {"choice": choice} if choice else {}
    with open_video(path, notes=notes, **more):
        pass
    frames, sound = read_video(path, 8, 8_000, **more)
    alone = np.concatenate(list(stream_sound(path, 8_000, **more)))
    np.testing.assert_array_equal(alone, sound)
    heard = level(sound, 1000, 8_000) > 0.2
    return frames.shape[1:3], round(float(frames.mean()), -1), heard, notes


FILM_TAKEN = ((96, 160), 200)


@pytest.mark.parametrize(
    ("ending", "marked"),
    [
        ("mkv", (NONE, NONE)),
        ("mkv", (DEFAULT, NONE)),
        ("mkv", (DEFAULT, DEFAULT)),
        ("mp4", (DEFAULT, NONE)),
        ("ts", (NONE, NONE)),
    ],
)
def test_a_thumbnail_is_not_the_film_however_it_is_marked(tmp_path, ending, marked):
    pictures = [(THUMBNAIL, marked[0]), (FILM, marked[1])]
    path = many_streams(tmp_path / f"a.{ending}", pictures, [(LOUD, DEFAULT)])
    size, grey, heard, notes = taken(path)
    assert (size, grey) == FILM_TAKEN and heard
    (note,) = notes
    assert note.startswith("2 picture streams: number 1 is taken (")
    assert taken(path, Choice(video=0))[:2] == ((64, 64), 40)


@pytest.mark.parametrize(
    ("marked", "number", "why"),
    [
        ((NONE, NONE), 1, "the largest"),
        ((DEFAULT, NONE), 0, "default"),
        ((NONE, DEFAULT), 1, "def"),
    ],
)
def test_of_two_films_the_default_one_else_the_largest(tmp_path, marked, number, why):
    small = (3.0, (64, 64), 40)
    pictures = list(zip((small, FILM), marked, strict=True))
    path = many_streams(tmp_path / "a.mkv", pictures, [(LOUD, DEFAULT)])
    size, _, _, (note,) = taken(path)
    assert size == (small, FILM)[number][1]
    assert f"number {number} is taken ({why}" in note


@pytest.mark.parametrize(
    ("ending", "marked", "number"),
    [
        ("mkv", (NONE, DEFAULT), 1),
        ("mkv", (DEFAULT, NONE), 0),
        ("mkv", (NONE, NONE), 0),
        ("mkv", (Disposition.visual_impaired, NONE), 1),
        ("mp4", (NONE, DEFAULT), 1),
    ],
)
def test_the_default_sound_else_the_first(tmp_path, ending, marked, number):
    sounds = list(zip((SILENT, LOUD), marked, strict=True))
    path = many_streams(tmp_path / f"a.{ending}", [(FILM, DEFAULT)], sounds)
    *_, heard, (note,) = taken(path)
    assert heard == (number == 1)
    assert note.startswith(f"2 sound streams: number {number} is taken (")
    other = 1 - number
    *_, heard, (note,) = taken(path, Choice(audio=other))
    assert heard == (other == 1) and f"number {other} is taken (asked for" in note
    assert survey(path, Choice(audio=other)).rate == 44_100


def test_one_of_each_needs_no_note(tmp_path):
    assert taken(many_streams(tmp_path / "a.mkv", [(FILM, DEFAULT)], [(LOUD, DEFAULT)]))[3] == []


@pytest.mark.parametrize(("number", "kind"), [(2, "sound"), (-1, "sound"), (1, "picture")])
def test_a_number_that_is_not_there_is_refused(tmp_path, number, kind):
    path = many_streams(tmp_path / "a.mkv", [(FILM, DEFAULT)], [(SILENT, NONE), (LOUD, NONE)])
    choice = Choice(audio=number) if kind == "sound" else Choice(video=number)
    count = 2 if kind == "sound" else 1
    with pytest.raises(SopError, match=f"no {kind} stream {number}: it has {count}; numbers begin"):
        read_video(path, 8, 8_000, choice=choice)


def test_what_has_no_decoder_is_not_taken(tmp_path):
    path = many_streams(tmp_path / "a.mkv", [(FILM, DEFAULT), (THUMBNAIL, NONE)], [(LOUD, DEFAULT)])
    data = path.read_bytes()
    path.write_bytes(data.replace(b"V_MPEG4/ISO/AVC", b"V_MPEG9/ISO/XYZ", 1))
    assert taken(path)[0] == (64, 64)
    path.write_bytes(data.replace(b"V_MPEG4/ISO/AVC", b"V_MPEG9/ISO/XYZ"))
    with pytest.raises(SopError, match=r"picture stream can't be decoded \(unknown codec\)"):
        read_video(path, 8, 8_000)
    with pytest.raises(SopError, match=r"picture stream can't be decoded \(unknown codec\)"):
        read_video(path, 8, 8_000, choice=Choice(video=0))


def crc(data):
    """CRC-32/MPEG-2, bit by bit."""
    value = 0xFFFFFFFF
    for byte in data:
        for bit in range(7, -1, -1):
            top = value >> 31 ^ byte >> bit & 1
            value = value << 1 & 0xFFFFFFFF ^ 0x04C11DB7 * top
    return value.to_bytes(4)


def packets_of(path):
    """A TS's packets, without its table of programmes (PID 0)."""
    data = path.read_bytes()
    packets = [data[k : k + 188] for k in range(0, len(data), 188)]
    return [p for p in packets if int.from_bytes(p[1:3]) & 0x1FFF]


def test_of_two_programmes_picture_and_sound_are_the_same_one(tmp_path):
    """As a TV receiver writes them: one TS, two programmes. The larger picture is the second's."""
    parts = []
    programmes = (((3.0, (64, 64), 40), SILENT), (FILM, LOUD))
    for number, (picture, sound) in enumerate(programmes, start=1):
        options = {
            "mpegts_service_id": str(number),
            "mpegts_pmt_start_pid": str(0x100 * number),
            "mpegts_start_pid": str(0x100 * number + 1),
        }
        path = tmp_path / f"{number}.ts"
        many_streams(path, [(picture, DEFAULT)], [(sound, DEFAULT)], options)
        parts.append(packets_of(path))
    # ISO 13818-1, 2.4.4.3: programme 1 is at PID 0x100, programme 2 at 0x200
    table = bytes.fromhex("00b0110001c100000001e1000002e200")
    table = (b"G\x40\0\x10\0" + table + crc(table)).ljust(188, b"\xff")
    both = [p for pair in zip_longest(*parts, fillvalue=b"") for p in pair]
    (tmp_path / "both.ts").write_bytes(table + b"".join(both))
    size, grey, heard, notes = taken(tmp_path / "both.ts")
    assert (size, grey) == FILM_TAKEN and heard and len(notes) == 2
