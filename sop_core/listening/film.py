"""The pictures of a scene: a video file, a preprocessed clip, or an array. They are read on demand.

Conventions:
    frame index  counts at the rate at which the nets look (the config's fps); frame k shows
                 second (k + 0.5) / fps.
    `Film.fps`   the rate at which people see the pictures; it may be higher.
"""

import sys
from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np

from ..config import AnyPath, Config
from ..errors import SopError
from ..media.stream import frames_within, read_video, stream

SHOWN = 24.0  # pictures a second of a video that people see


class Film(Protocol):
    """Pictures in time."""

    fps: float  # pictures a second that `between` gives

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

    def __init__(self, path: AnyPath, config: Config):
        self.path = path
        self.config = config

    def at(self, indices: list[int]) -> Iterator[np.ndarray]:
        parts = stream(self.path, self.config.fps, self.config.rate)
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
            return read_video(self.path, self.fps, self.config.rate, start, end - start)[0]
        except SopError:  # the sound goes on without pictures, as a cover's: the last one stays
            return np.stack(list(self.at([sys.maxsize])))
