"""The pictures of a scene: a video file, a preprocessed clip, or an array. They are read on demand.

Conventions:
    frame index  counts at the rate at which the nets look (the config's fps); frame k shows
                 second (k + 0.5) / fps.
    `Film.fps`   the rate at which people see the pictures; it may be higher.
"""

import sys
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import TYPE_CHECKING, Protocol

import numpy as np
from scipy import ndimage

from ..config import AnyPath, Config
from ..errors import SopError
from ..media.choose import BEST, Choice
from ..media.stream import frames_within, read_video, stream

if TYPE_CHECKING:
    from .regions import Cell

SHOWN = 24.0  # pictures a second of a video that people see
OUTLINE = 1 / 120  # of the picture's height: half of an outline's width
DIMMED = 0.25  # brightness of what is not in a region


class Film(Protocol):
    """Pictures in time."""

    fps: float  # pictures a second that `between` gives
    choice: Choice  # which of a video's streams

    def at(self, indices: list[int]) -> Iterator[np.ndarray]:
        """The pictures of sorted frame indices; beyond the end, the last one.

        Shape: uint8 (h, w, 3) each
        """
        ...

    def between(self, start: float, end: float) -> np.ndarray:
        """The pictures from second `start` to `end`, at least one. Shape: uint8 (V, h, w, 3)"""
        ...


class Stills:
    """Pictures at `fps` that can be read one by one: an array, or a clip's folder of jpgs.

    Args:
        read: gives the pictures of some indices, uint8 (V, h, w, 3)
        count: how many pictures there are
    """

    choice = BEST

    def __init__(self, read: Callable[[list[int]], np.ndarray], count: int, fps: float):
        self.read = read
        self.count = count
        self.fps = fps

    def at(self, indices: list[int]) -> Iterator[np.ndarray]:
        return (self.read([min(i, self.count - 1)])[0] for i in indices)

    def between(self, start: float, end: float) -> np.ndarray:
        # The pictures on the screen at these instants, as `media.stream` gives them.
        count = max(1, frames_within(end - start, self.fps))
        instants = start + (np.arange(count) + 0.5) / self.fps
        indices = np.floor(instants * self.fps + 1e-6).astype(int)
        return self.read(indices.clip(0, self.count - 1).tolist())


class VideoFilm:
    """A video file of any length."""

    fps = SHOWN

    def __init__(self, path: AnyPath, config: Config, choice: Choice = BEST):
        self.path = path
        self.config = config
        self.choice = choice

    def at(self, indices: list[int]) -> Iterator[np.ndarray]:
        parts = stream(self.path, self.config.fps, self.config.rate, choice=self.choice)
        pictures = (part for kind, part in parts if kind == "frame")
        left, picture = list(indices), None
        for k, picture in enumerate(pictures):
            while left and left[0] == k:
                left.pop(0)
                yield picture
            if not left:
                return
        if picture is None:
            raise SopError(f"{self.path}: no picture while there is sound")
        yield from (picture for _ in left)

    def between(self, start: float, end: float) -> np.ndarray:
        try:
            span = (start, end - start)
            return read_video(self.path, self.fps, self.config.rate, *span, choice=self.choice)[0]
        except SopError:  # the sound goes on without pictures, as a cover's: the last one stays
            return np.stack(list(self.at([sys.maxsize])))


# ---- a region in pictures


def marked(
    pictures: Iterable[np.ndarray], region: "list[Cell]", grid: tuple[int, int]
) -> Iterator[np.ndarray]:
    """Each picture twice, side by side: on the left with a line around a region, on the right with
    the region as bright as it is, and all else `DIMMED`.

    The line is white inside the region's edge, black outside.
    Shape: uint8 (h, w, 3) -> (h, 2 w, 3)
    """
    cells = np.zeros(grid, bool)
    cells[tuple(zip(*region, strict=True))] = True

    @cache  # all pictures of a video have one size, as a rule
    def places(size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rows, columns = (np.arange(n) * m // n for n, m in zip(size, grid, strict=True))
        inside = cells[np.ix_(rows, columns)]
        return inside, *_lines(inside)

    for picture in pictures:
        inside, inner, outer = places(picture.shape[:2])
        left = picture.copy()
        left[inner] = 255
        left[outer] = 0
        dimmed = (picture * np.float32(DIMMED)).astype(np.uint8)
        yield np.concatenate([left, np.where(inside[..., None], picture, dimmed)], 1)


def _lines(inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The pixels inside and outside of the edge of a region. Shape: all bool (h, w)"""
    width = max(1, round(OUTLINE * len(inside)))
    # Padded, so that there is a line at the picture's edge, too.
    inside = np.pad(inside, width)
    eroded = ndimage.binary_erosion(inside, iterations=width)
    dilated = ndimage.binary_dilation(inside, iterations=width)
    middle = slice(width, -width), slice(width, -width)
    return (inside != eroded)[middle], (dilated != inside)[middle]
