"""A folder of frames as jpgs: `000001.jpg` is frame 0.

Pictures are RGB uint8 (V,h,w,3).
"""

import glob
import math
import os
import stat
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import simplejpeg

from ..config import AnyPath
from ..errors import SopError
from .atomic import brief, why_unreadable

MOST_PIXELS = 100_000_000  # of a jpg, and most bytes: a larger one would fill the memory


def frame_path(folder: AnyPath, index: int) -> Path:
    """File of frame `index` (from 0): `000001.jpg` is frame 0."""
    return Path(folder, f"{index + 1:06d}.jpg")


def frame_names(folder: AnyPath) -> list[str]:
    """Names of the frames in a folder, in any order; none where the folder is missing."""
    return names_in(folder, "*.jpg")


def names_in(folder: AnyPath, pattern: str) -> list[str]:
    """Names in a folder that fit a glob, with `/` on every system. Hidden ones fit no `*`."""
    names = glob.glob(pattern, root_dir=folder)  # noqa: PTH207 (many times faster than pathlib's)
    return names if os.sep == "/" else [name.replace(os.sep, "/") for name in names]


def read_frames(
    folder: AnyPath,
    indices: Iterable[int],
    size: tuple[int, int] | None = None,
    box: tuple[float, float, float, float] | None = None,
) -> np.ndarray:
    """Frames of a folder of jpgs.

    Args: `indices`: of the frames, from 0.
        `size`: (width, height) in pixels to resize to; None keeps the files' own.
        `box`: (x0, y0, x1, y1) in pixels of the files: only this part; None is all of it.
    Shape: uint8 (V,h,w,3).
    Raises SopError if one is missing or broken, or if their sizes differ and `size` is None.
    """
    pictures = [_read_jpg(frame_path(folder, int(i)), size, box) for i in indices]
    if len({p.shape for p in pictures}) > 1:
        sizes = sorted({p.shape[:2] for p in pictures})
        raise SopError(f"{folder}: frames of different sizes (h, w), {sizes}; ask for one `size`")
    return np.stack(pictures)


def frame_size(folder: AnyPath) -> tuple[int, int]:
    """(width, height) in pixels of a folder's first frame.

    Raises SopError if there is none that can be read.
    """
    try:
        _, width, height = encoded(frame_path(folder, 0))
    except (OSError, ValueError) as e:
        raise SopError(f"{folder}: no frame 000001.jpg that can be read ({brief(e)})") from e
    return width, height


def _read_jpg(
    path: Path, size: tuple[int, int] | None, box: tuple[float, ...] | None
) -> np.ndarray:
    try:
        data, width, height = encoded(path)
        picture = simplejpeg.decode_jpeg(data, "RGB")  # (h,w,3); any damage raises
    except (OSError, ValueError) as e:
        reason = why_unreadable(path) or f"not a picture that can be read ({brief(e)})"
        raise SopError(f"{path}: {reason}") from e
    if box:
        x0, y0 = map(math.floor, box[:2])
        x1, y1 = map(math.ceil, box[2:])
        picture = picture[y0:y1, x0:x1]
        if not picture.size:
            size_here = f"{width} x {height} pixels"
            raise SopError(f"{path}: {size_here}, smaller than the first frame of its folder")
    return resize(picture[None], size)[0] if size else picture


def encoded(path: AnyPath) -> tuple[bytes, int, int]:
    """A jpg's bytes, its width and its height.

    Raises OSError, or ValueError where it is no jpg, or too large to be decoded.
    """
    path = Path(path)
    about = path.stat()
    if not stat.S_ISREG(about.st_mode):  # a device, say, would never end
        raise ValueError("not a file")
    if about.st_size > MOST_PIXELS:
        raise ValueError(f"{about.st_size:,} bytes")
    data = path.read_bytes()
    height, width, *_ = simplejpeg.decode_jpeg_header(data)
    if int(height) * int(width) > MOST_PIXELS:
        raise ValueError(f"{width} x {height} pixels")
    return data, int(width), int(height)


def resize(frames: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Frames resized to `size`, (width, height): bilinear, with antialiasing.

    Shape: uint8 (V,h,w,3) -> (V,h',w',3)
    """
    import torch  # only here: preparing data needs no torch

    pictures = torch.from_numpy(frames).permute(0, 3, 1, 2)  # (V,3,h,w)
    # differs from Pillow's filter by at most 1 of 255, in a third of its time
    resized = torch.nn.functional.interpolate(pictures, size[::-1], mode="bilinear", antialias=True)
    return resized.permute(0, 2, 3, 1).numpy()
