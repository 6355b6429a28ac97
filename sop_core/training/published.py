"""What only the profile `sop2018` does with clips: the released code's windows, crops and pairs.

Source: dataset/base.py and dataset/music.py of https://github.com/hangzhaomit/Sound-of-Pixels
"""

import random

import numpy as np
from numpy.random import Generator

from ..config import Config


def middle_start(n_frames: int, samples: int, config: Config) -> int:
    """First sample of the window round a clip's middle frame, within its `samples` of sound."""
    middle = int((n_frames // 2 - 0.5) / config.fps * config.rate)
    return max(0, min(middle - config.samples // 2, samples - config.samples))


def start_range(last: int, config: Config) -> tuple[int, int]:
    """First and last sample at which training's windows start, if they fit in until `last`.

    A window's middle stays 8 s away from the clip's ends, if the clip is long enough.
    """
    margin = max(int(8 * config.rate) - config.samples // 2, 0)
    return (margin, last - margin) if last >= 2 * margin else (last // 2, last // 2)


def change_sound(sound: np.ndarray, rng: Generator | None) -> np.ndarray:
    """Cut a window at full scale; with `rng`, first made up to half louder or softer."""
    sound = np.clip(sound if rng is None else np.float32(rng.uniform(0.5, 1.5)) * sound, -1, 1)
    sound[-1] = 0  # the released loader takes twice half a window
    return sound


def crop_box(size: tuple[int, int], rng: Generator | None) -> tuple[float, float, float, float]:
    """The part of a picture (width, height) that is used, as (x0, y0, x1, y1) in pixels.

    A square as high as the picture's short side, in the middle; with `rng`, a 1.1th of that,
    anywhere.
    """
    side = min(size) / (1 if rng is None else 1.1)
    x, y = ((s - side) * (0.5 if rng is None else rng.random()) for s in size)
    return x, y, x + side, y + side


def partners(number: int, clips: int, config: Config) -> list[int]:
    """Which of `clips` clips are mixed with clip `number`; it may meet itself."""
    rng = random.Random(number)
    return [rng.randint(0, clips - 1) for _ in range(config.sources - 1)]
