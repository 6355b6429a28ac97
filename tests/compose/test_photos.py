"""Photos: found by label, refused with a reason, read as they look, cut out."""

import io
import struct
import zlib
from fractions import Fraction

import numpy as np
import pytest
import simplejpeg
from films import make_video
from PIL import Image, ImageDraw

from sop_core.compose import photos
from sop_core.compose.photos import Photo, cut_out, find_photos, read_photo
from sop_core.errors import SopError


@pytest.fixture
def scene() -> Image.Image:
    """120 x 80: red at the top left, blue at the bottom right; noisy, so that no two are equal."""
    rng = np.random.default_rng(0)
    picture = rng.integers(60, 90, (80, 120, 3)).astype(np.uint8)
    picture[:40, :60], picture[40:, 60:] = (220, 30, 30), (30, 30, 220)
    return Image.fromarray(picture)


def read(path, **more) -> np.ndarray:
    return read_photo(Photo(path, "", None), **more).astype(int)


def near(pixel, colour, by=12) -> bool:
    return bool(np.abs(np.asarray(pixel) - colour).max() <= by)


def test_labels_in_order_and_what_is_no_photo_is_a_row(tmp_path, scene):
    for label, name in (("b", "2.png"), ("b", "1.JPG"), ("a", "x.webp"), ("a", ".hidden.png")):
        (tmp_path / label).mkdir(exist_ok=True)
        scene.putpixel((0, 0), (len(name), ord(name[0]), 0))
        scene.save(tmp_path / label / name, "jpeg" if name.endswith("JPG") else None)
    (tmp_path / "b" / "notes.txt").write_text("mine")
    outside = tmp_path.parent / "outside.png"
    scene.save(outside)
    (tmp_path / "a" / "link.png").symlink_to(outside)
    unused = []
    found = find_photos(tmp_path, unused)
    names = {label: [p.path.name for p in photos] for label, photos in found.items()}
    assert names == {"a": ["x.webp"], "b": ["1.JPG", "2.png"]} and list(names) == ["a", "b"]
    assert {(u.label, u.file) for u in unused} == {("a", "a/link.png"), ("b", "b/notes.txt")}
    assert found["b"][0].second is None and len(found["b"][0].digest) == 16


def png_that_claims(width, height) -> bytes:
    """A PNG of 100 bytes whose header names a size: a decompression bomb."""
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(bytes(1000))
    parts = [struct.pack(">I", len(p) - 4) + p + struct.pack(">I", zlib.crc32(p))
             for p in (head, data, b"IEND")]  # fmt: skip
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def saved(picture, kind, **more) -> bytes:
    data = io.BytesIO()
    picture.save(data, kind, **more)
    return data.getvalue()


@pytest.mark.parametrize(
    ("name", "make", "reason"),
    [
        ("x.png", lambda s: saved(s.resize((1, 1)), "png"), "1 x 1 pixels; expected 64"),
        ("x.png", lambda s: saved(s.resize((300, 63)), "png"), "300 x 63 pixels; expected 64"),
        ("x.jpg", lambda s: saved(s, "jpeg")[:-900], "cut short"),
        ("x.png", lambda s: saved(s, "png")[:-900], "cut short"),
        ("x.webp", lambda s: saved(s, "webp", lossless=True)[:-900], "no jpg, png or webp"),
        ("x.jpg", lambda s: b"I am a picture " * 99, "no jpg, png or webp"),
        ("x.jpg", lambda s: saved(s, "tiff"), "no jpg, png or webp"),
        ("x.jpg", lambda s: b"", "empty (0 bytes)"),
        ("x.png", lambda s: png_that_claims(12_000, 10_000), "too many"),
        ("x.png", lambda s: png_that_claims(90_000, 90_000), "more than 100,000,000 pixels"),
        ("x.png", lambda s: saved(Image.new("RGBA", (99, 99)), "png"), "wholly transparent"),
        ("x.mp4", lambda s: b"I am a video " * 99, "not a video file"),
        ("x.webm", lambda s: b"", "empty (0 bytes)"),
    ],
)
def test_a_file_that_cannot_be_used_is_a_row_with_its_reason(tmp_path, scene, name, make, reason):
    path = tmp_path / "tuba" / name
    path.parent.mkdir()
    path.write_bytes(make(scene))
    unused = []
    assert find_photos(tmp_path, unused) == {}
    (row,) = unused
    assert (row.label, row.file) == ("tuba", f"tuba/{name}") and reason in row.reason
    with pytest.raises(SopError, match=str(path)):
        read_photo(Photo(path, "", None if name[-3:] in ("png", "jpg", "ebp") else 0.0))


def test_equal_files_count_once_and_one_under_two_labels_not_at_all(tmp_path, scene):
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    scene.save(tmp_path / "a" / "1.png")
    for copy in ("a/2.png", "b/3.png"):
        (tmp_path / copy).write_bytes((tmp_path / "a/1.png").read_bytes())
    scene.rotate(180).save(tmp_path / "a" / "4.png")
    unused = []
    found = find_photos(tmp_path, unused)
    assert [p.path.name for p in found.pop("a")] == ["4.png"] and not found
    reasons = {u.file: u.reason for u in unused}
    assert reasons.keys() == {"a/1.png", "a/2.png", "b/3.png"}
    assert "under b too" in reasons["a/1.png"] and "under a too" in reasons["b/3.png"]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_phone_photo_is_upright(tmp_path, scene, orientation):
    # how a camera stores it that is held so (EXIF 2.3, 4.6.4 A): the inverse, by numpy alone
    stored = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
        8: lambda a: np.rot90(a, -1),
    }[orientation](np.asarray(scene))
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).save(
        tmp_path / "x.jpg", exif=exif, quality=95, subsampling=0
    )
    picture = read(tmp_path / "x.jpg")
    assert picture.shape == (80, 120, 3)
    assert near(picture[20, 30], (220, 30, 30)) and near(picture[60, 90], (30, 30, 220))


def test_a_cmyk_jpg_is_not_inverted(tmp_path):
    # as Photoshop writes it: 255 is no ink. Left no ink, in the middle magenta and yellow: red
    inks = np.zeros((80, 120, 4), np.uint8)
    inks[:, 40:80, 1:3] = 255
    inks[:, 80:, 3] = 255
    data = simplejpeg.encode_jpeg(255 - inks, 95, "CMYK", "444")
    (tmp_path / "x.jpg").write_bytes(data)
    picture = read(tmp_path / "x.jpg")
    for x, colour in ((20, (255, 255, 255)), (60, (255, 0, 0)), (100, (0, 0, 0))):
        assert near(picture[40, x], colour), picture[40, x]


def test_16_bits_of_grey_are_not_clipped(tmp_path):
    ramp = np.tile(np.linspace(0, 65_535, 128).astype(np.uint16), (80, 1))
    Image.fromarray(ramp).save(tmp_path / "x.png")
    picture = read(tmp_path / "x.png")
    assert np.abs(picture[40] - (ramp[40] / 257)[:, None]).max() <= 1


def test_an_animated_webp_is_its_first_frame(tmp_path, scene):
    (tmp_path / "a").mkdir()
    path = tmp_path / "a" / "x.webp"
    other = Image.new("RGB", scene.size, "white")
    scene.save(path, save_all=True, append_images=[other, other], duration=100, lossless=True)
    unused = []
    (photo,) = find_photos(tmp_path, unused)["a"]
    assert not unused and np.array_equal(read_photo(photo), np.asarray(scene))


def test_a_palette_with_transparency_is_a_cut_out(tmp_path, scene):
    picture = Image.new("P", (100, 80), 0)
    picture.putpalette([255, 255, 255, 220, 30, 30])
    ImageDraw.Draw(picture).rectangle((20, 10, 59, 69), fill=1)
    picture.save(tmp_path / "x.png", transparency=0)
    seen = read(tmp_path / "x.png")
    assert seen.shape == (80, 100, 4) and seen[5, 5, 3] == 0 and seen[40, 40, 3] == 255
    cut = cut_out(seen.astype(np.uint8))
    assert cut is not None and cut.shape == (60, 40, 4) and near(cut[30, 20], (220, 30, 30, 255))


def test_a_large_photo_is_read_smaller_and_a_small_one_as_it_is(tmp_path, scene):
    scene.resize((1800, 1200)).save(tmp_path / "x.jpg")
    assert read(tmp_path / "x.jpg", most=90).shape == (60, 90, 3)
    scene.save(tmp_path / "y.png")
    assert np.array_equal(read(tmp_path / "y.png"), np.asarray(scene))


def test_a_video_gives_its_frames_spread_evenly(tmp_path):
    """Frame k is of grey 2k + 10; no sound, no length in the header needed."""
    pictures = [np.full((80, 96, 3), 2 * k + 10, np.uint8) for k in range(100)]
    times = np.arange(100) / 10
    make_video(tmp_path / "a" / "x.mkv", times, pictures)
    unused = []
    found = find_photos(tmp_path, unused)["a"]
    assert not unused and len(found) == photos.MOMENTS and len({p.digest for p in found}) == 1
    greys = [read_photo(p).mean() for p in found]
    for photo, grey in zip(found, greys, strict=True):
        assert abs(grey - (20 * (photo.second or 0) + 10)) < 3
    seconds = np.array([p.second for p in found])
    assert np.abs(seconds - (np.arange(8) + 0.5) * 9.9 / 8).max() < 9.9 / 16 + 0.1


def test_a_video_of_three_pictures_gives_three(tmp_path):
    pictures = [np.full((80, 96, 3), grey, np.uint8) for grey in (40, 120, 200)]
    make_video(tmp_path / "a" / "x.mp4", [0, 0.1, 0.2], pictures)
    greys = [read_photo(p).mean() for p in find_photos(tmp_path, [])["a"]]
    assert np.abs(np.array(greys) - [40, 120, 200]).max() < 4


def product(background, noise=2.0) -> np.ndarray:
    """A red ring, from radius 30 to 60, around (100, 80) of 200 x 160."""
    y, x = np.mgrid[:160, :200]
    away = np.hypot(x + 0.5 - 100, y + 0.5 - 80)
    picture = np.full((160, 200, 3), background, float)
    picture[(away < 60) & (away > 30)] = (200, 40, 30)
    picture += np.random.default_rng(0).normal(0, noise, picture.shape)
    return picture.clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("background", [(255, 255, 255), (20, 60, 140), (8, 8, 8)])
def test_a_product_shot_is_cut_out_and_its_hole_too(background):
    cut = cut_out(product(background, 1.0))
    assert cut is not None
    assert abs(cut.shape[0] - 120) <= 4 and abs(cut.shape[1] - 120) <= 4
    middle = cut.shape[0] // 2
    assert cut[middle, middle, 3] == 0 and cut[middle, 15, 3] == 255 and cut[2, 2, 3] == 0
    seen = cut[cut[..., 3] > 200][:, :3].astype(int)
    assert np.abs(seen - (200, 40, 30)).max() < 40  # nothing of the background is left
    assert len(np.unique(cut[..., 3])) > 10  # a soft edge


def test_a_scene_has_no_cut_out(scene):
    rng = np.random.default_rng(1)
    assert cut_out(np.asarray(scene)) is None
    assert cut_out(np.full((90, 90, 3), 255, np.uint8)) is None  # nothing on it
    assert cut_out(rng.integers(0, 256, (90, 120, 3)).astype(np.uint8)) is None
    cropped = product((255, 255, 255))[:, :100]  # it leaves the picture at the right
    assert cut_out(cropped) is None
    corners = np.dstack([np.asarray(scene), np.full((80, 120), 255, np.uint8)])
    corners[:3, :3, 3] = 0  # rounded corners
    assert cut_out(corners) is None


def test_of_a_videos_packets_none_is_kept():
    """Together they are as large as the file."""
    alive, most = 0, 0

    class Packet:
        size, time_base, is_keyframe = 1, Fraction(1), True

        def __init__(self, pts):
            nonlocal alive, most
            self.pts, alive = pts, alive + 1
            most = max(most, alive)

        def __del__(self):
            nonlocal alive
            alive -= 1

    class Container:
        def demux(self, _):
            return map(Packet, range(1_000))

    moments = photos._moments(Container(), None)
    assert len(moments) == photos.MOMENTS and most < 5
