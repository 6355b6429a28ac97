"""Where a scene's pictures come from: a video file, a preprocessed clip, or an array. All are read when they are asked for.

Conventions: a frame index counts at the rate that the nets look (the config's fps), and frame k shows second (k + 0.5) / fps.
`fps` is what is shown to people, and may be finer.
"""

import math
from collections.abc import Iterator
from typing import Protocol

import numpy as np

from ..config import AnyPath, Config
from ..data.clips import Clip
from ..errors import SopError
from ..media.jpgs import read_frames
from ..media.stream import frames_within, read_video, stream

SHOWN = 24.0  # pictures a second of a video that people see


class Film(Protocol):
    """Pictures in time."""

    fps: float  # pictures a second that `between` gives

    def at(self, indices: list[int]) -> Iterator[np.ndarray]:
        """Those of sorted frame indices; the last one for those beyond. Shape: uint8 (h, w, 3) each"""

    def between(self, start: float, end: float) -> np.ndarray:
        """Those of these seconds, at least one. Shape: uint8 (V, h, w, 3)"""


class Stills:
    """An array: uint8 (V, h, w, 3) at `fps`."""

    def __init__(self, pictures: np.ndarray, fps: float):
        self.pictures, self.fps = pictures, fps

    def at(self, indices: list[int]) -> Iterator[np.ndarray]:
        return (self.pictures[min(i, len(self.pictures) - 1)] for i in indices)

    def between(self, start: float, end: float) -> np.ndarray:
        return self.pictures[_indices(start, end, self.fps, len(self.pictures))]


class Frames:
    """A preprocessed clip's folder of jpgs, at `fps`."""

    def __init__(self, clip: Clip, fps: float):
        self.clip, self.fps = clip, fps

    def at(self, indices: list[int]) -> Iterator[np.ndarray]:
        return (read_frames(self.clip.frames, [min(i, self.clip.n_frames - 1)])[0] for i in indices)

    def between(self, start: float, end: float) -> np.ndarray:
        return read_frames(self.clip.frames, _indices(start, end, self.fps, self.clip.n_frames))


class VideoFilm:
    """A video file of any length."""

    fps = SHOWN

    def __init__(self, path: AnyPath, config: Config):
        self.path, self.config = path, config

    def at(self, indices: list[int]) -> Iterator[np.ndarray]:
        left, k, picture = list(indices), -1, None
        for kind, part in stream(self.path, self.config.fps, self.config.rate):
            if kind == "frame":
                k, picture = k + 1, part
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
        except (
            SopError
        ):  # the pictures end before the sound does, as a cover's do: the last one stays
            return np.stack(list(self.at([math.inf])))


def _indices(start: float, end: float, fps: float, count: int) -> list[int]:
    """What is on the screen at the instants of a stretch of time, as `media.stream` gives them; at least one."""
    instants = start + (np.arange(max(1, frames_within(end - start, fps))) + 0.5) / fps
    return np.floor(instants * fps + 1e-6).astype(int).clip(0, count - 1).tolist()
