"""A picture stands as it was filmed: turned and mirrored as its file says, all eight ways."""

import io
import struct
from fractions import Fraction

import av
import numpy as np
import pytest
from films import make_video, tone
from PIL import Image

from sop_core.compose.photos import find_photos, read_photo
from sop_core.media.container import upright
from sop_core.media.stream import read_video

COLOURS = {"R": (255, 0, 0), "G": (0, 255, 0), "B": (0, 0, 255), "W": (255, 255, 255)}
# a, b, c, d of the display matrix: the stored column p and row q are shown at column a p + c q and
# row b p + d q (ISO 14496-12, 6.2.2) -> corners as shown, in reading order; stored they are RGBW.
# ffmpeg 9 shows these files so, too.
CASES = {
    "as it is": ((1, 0, 0, 1), "RGBW"),
    "hflip": ((-1, 0, 0, 1), "GRWB"),
    "vflip": ((1, 0, 0, -1), "BWRG"),
    "half a turn": ((-1, 0, 0, -1), "WBGR"),
    "clockwise": ((0, 1, -1, 0), "BRWG"),
    "counterclockwise": ((0, -1, 1, 0), "GWRB"),
    "transposed": ((0, 1, 1, 0), "RBGW"),
    "transversed": ((0, -1, -1, 0), "WGBR"),
}


def corners():
    """Four coloured quarters, wider than high."""
    picture = np.zeros((96, 160, 3), np.uint8)
    for letter, rows, columns in zip("RGBW", (0, 0, 48, 48), (0, 80, 0, 80), strict=True):
        picture[rows : rows + 48, columns : columns + 80] = COLOURS[letter]
    return picture


def read(picture):
    """The letters of the four corners, in reading order."""
    h, w = picture.shape[:2]
    places = ((r, c) for r in (h // 4, 3 * h // 4) for c in (w // 4, 3 * w // 4))
    seen = (picture[r - 4 : r + 4, c - 4 : c + 4].mean((0, 1)) for r, c in places)
    return "".join(min(COLOURS, key=lambda k: abs(COLOURS[k] - rgb).max()) for rgb in seen)


def box(a, b, c, d):
    return struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)


def turned(path, matrix):
    """An mp4 whose track header has this matrix."""
    make_video(path, [0, 0.5], [corners()] * 2, tone(440, 1, 44_100)[None])
    data, plain = path.read_bytes(), box(1, 0, 0, 1)
    at = data.index(plain, data.index(b"tkhd"))
    path.write_bytes(data[:at] + box(*matrix) + data[at + len(plain) :])
    return path


@pytest.mark.parametrize("case", CASES)
def test_a_video_is_shown_as_its_matrix_says(tmp_path, case):
    matrix, expected = CASES[case]
    path = turned(tmp_path / "x" / "a.mp4", matrix)
    frames, _ = read_video(path, 8, 8_000)
    assert read(frames[0]) == read(frames[-1]) == expected
    assert frames.shape[1:3] == ((96, 160) if matrix[0] else (160, 96))
    small, _ = read_video(path, 8, 8_000, max_side=48)
    assert read(small[0]) == expected and min(small.shape[1:3]) == 48
    photo = find_photos(tmp_path, [])["x"][0]
    assert read(read_photo(photo)) == expected


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_motion_jpeg_is_shown_as_its_exif_says(tmp_path, orientation):
    """PyAV 18 can't list the side data of such pictures: it doesn't know EXIF."""
    exif, data = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    Image.fromarray(corners()).save(data, "JPEG", exif=exif, quality=95)
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("mjpeg", rate=10)
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuvj420p"
        packet = av.Packet(data.getvalue())
        packet.stream, packet.pts, packet.dts, packet.time_base = stream, 0, 0, Fraction(1, 1000)
        container.mux(packet)
    with av.open(str(tmp_path / "a.mkv")) as container:
        frame = upright(next(container.decode(video=0)), Fraction(1), None)
    assert read(frame) == {1: "RGBW", 3: "WBGR", 6: "BRWG", 8: "GWRB"}[orientation]
