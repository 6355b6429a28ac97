"""Photos of each label, from pictures and from videos: found, checked, read and cut out.

    PHOTOS/<label>/<any name>.jpg|jpeg|png|webp        one photo each
    PHOTOS/<label>/<any name>.mp4|webm|mov|ts|...      some of its frames; no sound needed

All of them are untrusted: what a file holds is read from its content, never from its name, and by
the decoders of these kinds alone.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.container import InputContainer
from PIL import Image
from scipy import ndimage

from ..config import AnyPath
from ..errors import SopError, mend
from ..media.atomic import brief, why_unreadable
from ..media.choose import best, pictures
from ..media.container import decode, seconds_of, upright
from ..media.formats import SUFFIXES, opened
from ..media.jpgs import MOST_PIXELS
from ..untrusted import hidden
from .material import LEADS_OUT, NOT_ONE, Unused, digest, without_copies

PICTURES = (".jpg", ".jpeg", ".png", ".webp")
KINDS = ("JPEG", "PNG", "WEBP")  # the decoders of Pillow that may open a stranger's file
MOMENTS = 8  # frames of a video, at most
SMALLEST = 64  # pixels of the short side
ORIENTATION = 0x0112  # EXIF's tag: how the camera was held
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Of cut-outs. Distances are of the channel that differs most, of 255.
PLAIN = 20  # a border's pixels differ by less from their colour: the noise of a jpg
FLAT = 6  # a hole in an object (a tuba's coils) differs by less from the border
HOLE = 0.002  # least part of the picture that a hole covers: what is smaller is a gleam
SHARES = (0.03, 0.85)  # of the picture that an object covers


class Photo(NamedTuple):
    """A picture of a label: a file, or a moment in a video."""

    path: Path
    digest: str  # of the file: the frames of a video share it, and so a split
    second: float | None  # of the video, by its own timestamps; None: a photo


# ---- find


def find_photos(folder: AnyPath, unused: list[Unused]) -> dict[str, list[Photo]]:
    """The photos of each label, in the order of their names.

    A video gives up to MOMENTS frames, spread evenly. Equal files count once. A file that stands
    under two labels is left out. What can't be used is added to `unused`, with the reason.

    Args: `folder`: one folder in it for each label.
    Raises: SopError if there is no such folder; OSError where the machine is at fault.
    """
    found: dict[str, list[Photo]] = {}
    for label, path, content in without_copies(folder, PICTURES + SUFFIXES, unused):
        try:
            found.setdefault(label, []).extend(_photos(path, content))
        except SopError as e:
            unused.append(Unused(label, path.relative_to(folder).as_posix(), str(e)))
    return {label: photos for label, photos in found.items() if photos}


def find_backgrounds(folder: AnyPath, unused: list[Unused]) -> list[Photo]:
    """The photos in a folder and in its folders, for what stands behind cut-out objects.

    Raises: SopError if there is no such folder, or no photo in it that can be used.
    """
    folder = Path(folder)
    root = folder.resolve()
    found: dict[str, Photo] = {}
    for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
        inside = path.relative_to(folder)
        if hidden(inside) or not path.is_file():
            continue
        try:
            if path.suffix.lower() not in PICTURES:
                raise SopError(f"{NOT_ONE} {' '.join(PICTURES)}")
            if not path.resolve().is_relative_to(root):
                raise SopError(LEADS_OUT)
            content = digest(path)
            found[content] = _photos(path, content)[0]
        except (SopError, PermissionError) as e:
            unused.append(Unused("", inside.as_posix(), f"as a background: {e}"))
    if not found:
        raise SopError(f"{folder}: no photo that can stand behind others; expected jpg, png, webp")
    return list(found.values())


def _photos(path: Path, content: str) -> list[Photo]:
    if path.suffix.lower() in PICTURES:
        _picture(path, SMALLEST)
        return [Photo(path, content, None)]
    with _video(path) as video:
        moments = _moments(*video)
        good = [second for second in moments if _frame(*video, second) is not None]
    if not good:
        raise SopError("no picture in it that can be decoded")
    return [Photo(path, content, second) for second in good]


# ---- read


def read_photo(photo: Photo, most: int = 800) -> np.ndarray:
    """A photo's pixels, upright, as sRGB.

    Args: `most`: pixels that its longer side has at most.
    Shape: uint8 (h,w,3); (h,w,4) where some of it is transparent: a cut-out.
    Raises: SopError if it can't be read.
    """
    try:
        if photo.second is None:
            return np.asarray(_picture(photo.path, most))
        with _video(photo.path) as video:
            frame = _frame(*video, photo.second)
    except SopError as e:
        raise SopError(f"{photo.path}: {e}") from e
    if frame is None:
        raise SopError(f"{photo.path}: no picture at {photo.second:.1f} s; convert it again")
    picture = Image.fromarray(frame)
    picture.thumbnail((most, most))
    return np.asarray(picture)


def _picture(path: Path, most: int) -> Image.Image:
    """RGB, or RGBA where it is transparent. Raises SopError with the reason, without the path."""
    if reason := why_unreadable(path):
        raise SopError(reason)
    try:
        with warnings.catch_warnings(action="ignore", category=Image.DecompressionBombWarning):
            opened = Image.open(path, formats=KINDS)  # reads the header alone
        with opened:
            _check_size(*opened.size)
            opened.draft(None, (most, most))  # a large jpg is decoded at a half or less
            picture = _colours(opened)
            turn = None
            with suppress(Exception):  # no EXIF, or a damaged one: it is upright
                turn = TURNS.get(int(opened.getexif()[ORIENTATION]))
    except SopError:
        raise
    except Image.DecompressionBombError as e:
        raise SopError(f"more than {MOST_PIXELS:,} pixels; make it smaller") from e
    except Exception as e:  # Pillow raises many kinds
        if mend(e):
            raise
        cut = "truncated" in str(e).lower()
        reason = "cut short; fetch it again" if cut else f"no jpg, png or webp ({brief(e)})"
        raise SopError(reason) from e
    picture.thumbnail((most, most))
    return picture.transpose(turn) if turn is not None else picture


def _check_size(width: int, height: int) -> None:
    if width * height > MOST_PIXELS:
        raise SopError(f"{width} x {height} pixels: too many; make it smaller")
    if min(width, height) < SMALLEST:
        reason = f"{width} x {height} pixels; expected {SMALLEST} or more on each side"
        raise SopError(reason)


def _colours(opened: Image.Image) -> Image.Image:
    if opened.mode.startswith("I"):  # 16 bits of grey: `convert` would clip them at 255
        grey = np.asarray(opened).astype(np.int64) >> 8
        return Image.fromarray(grey.clip(0, 255).astype(np.uint8)).convert("RGB")
    if not opened.has_transparency_data:
        return opened.convert("RGB")  # CMYK too, of which Adobe's inverted one is the usual
    picture = opened.convert("RGBA")
    alpha = np.asarray(picture)[..., 3]
    if not alpha.any():
        raise SopError("wholly transparent")
    return picture if alpha.min() < 255 else picture.convert("RGB")


@contextmanager
def _video(path: Path) -> Iterator[tuple[InputContainer, av.VideoStream]]:
    """The open file and its pictures. Raises SopError with the reason, without the path.

    Not `container.open_video`, which asks for sound.
    """
    try:
        with opened(path) as container:
            streams = [s for s in pictures(container) if s.codec_context]
            if not streams:
                raise SopError("no picture stream")
            stream, _ = best(streams)
            stream.codec_context.thread_count = 1
            yield container, stream
    except SopError as e:
        raise SopError(str(e).removeprefix(f"{path}: ")) from e


def _moments(container: InputContainer, stream: av.VideoStream) -> list[float]:
    """When to take a frame: evenly spread seconds, at a key frame where one is near.

    By the packets that are there: a header may be wrong about the length, or not say it.
    """
    packets = container.demux(stream)  # together as large as the file: none is kept
    found = [(seconds_of(p) or 0.0, p.is_keyframe) for p in packets if p.size and p.pts is not None]
    times = sorted(second for second, _ in found)
    keys = [second for second, is_key in found if is_key]
    if not times:
        raise SopError("no picture in it")
    step = (times[-1] - times[0]) / MOMENTS
    chosen = set()
    for k in range(MOMENTS):
        middle = times[0] + (k + 0.5) * step
        near = [t for t in keys if abs(t - middle) < step / 2]  # quick to decode, and sharp
        chosen.add(min(near or times, key=lambda t: abs(t - middle)))  # noqa: B023
    return sorted(chosen)


def _frame(container: InputContainer, stream: av.VideoStream, second: float) -> np.ndarray | None:
    """The picture at a second, uint8 (h,w,3); None where none can be decoded.

    Raises SopError if it is too small or too large.
    """
    container.seek(int(second * av.time_base))
    for packet in container.demux(stream):
        for frame in decode(packet):
            if (seconds_of(frame) or 0.0) > second - 1e-3:
                pixel = stream.sample_aspect_ratio or Fraction(1)
                _check_size(int(frame.width * pixel), frame.height)
                return upright(frame, pixel, None)
    return None


# ---- cut out


def cut_out(picture: np.ndarray) -> np.ndarray | None:
    """The object of a picture alone: of a transparent one, or of a product shot.

    A product shot has one colour all along its border. The object's edge is soft, a pixel or two.

    Shape: uint8 (h,w,3) or (h,w,4) -> (h',w',4), cropped to the object's box; None where there is
    no clean object.
    """
    alpha = picture[..., 3] if picture.shape[2] == 4 else _product(picture)
    low, high = SHARES
    if alpha is None or not low < (alpha > 127).mean() < high:
        return None
    rows, columns = (np.flatnonzero((alpha > 15).any(axis)) for axis in (1, 0))
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    return np.dstack([picture[..., :3], alpha])[box]


def _product(picture: np.ndarray) -> np.ndarray | None:
    """What covers a product shot's object, uint8 (h,w); None if the picture isn't one."""
    edge = max(2, min(picture.shape[:2]) // 60)
    inner = np.zeros(picture.shape[:2], bool)
    inner[edge:-edge, edge:-edge] = True
    colour = np.median(picture[~inner], 0)
    away = np.abs(picture - colour).max(2)  # (h,w)
    if (away[~inner] < PLAIN).mean() < 0.99:
        return None
    plain, _ = _parts(away < PLAIN)
    outside = np.isin(plain, plain[~inner]) & (plain > 0)  # 0 is what is not plain
    holes, sizes = _parts((away < FLAT) & ~outside)
    parts, sizes = _parts(~outside & (sizes[holes] < HOLE * away.size))
    solid = (parts > 0) & (sizes[parts] > 0.05 * sizes.max())  # not dust, not a line of print
    core = ndimage.binary_opening(solid)
    if not core.any() or core.sum() < 0.7 * solid.sum():  # ragged: the colours are too alike
        return None
    # The outermost pixel holds some of the background's colour: it goes.
    soft = ndimage.gaussian_filter(ndimage.binary_erosion(solid).astype(np.float32), 0.7)
    return (255 * soft).round().astype(np.uint8)


def _parts(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The part that each pixel belongs to, from 1 (0: not in the mask), and the parts' sizes."""
    parts = np.zeros(mask.shape, np.int32)
    ndimage.label(mask, np.ones((3, 3)), output=parts)
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    return parts, sizes
