"""Which pixel makes which sound: a `Scene` is a clip whose every pixel can be heard.

The nets run once, over windows that overlap by half. After that a pixel's sound costs an inner product with the sound's
channel images, a mask, and an inverse STFT.
"""

import math
from copy import copy
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from . import media
from .errors import SopError
from .index import Clip
from .masks import harden
from .mixing import frame_indices
from .nets import SoundOfPixels

Cell = tuple[int, int]  # row, column
# How many of a region's cells count, the greatest: half of them, since a region is drawn round what sounds, but no more than
# two thirds of those that training pools in a picture, since that picture is one instrument's alone.
FILLED, SHARED = 1 / 2, 2 / 3


class Scene:
    """A picture that sounds.

    Attributes:
        frame: uint8 (h, w, 3), the picture in the middle of the clip
        mixture: float32 (L,), its sound, at `rate` samples a second
        grid: (H, W), cells of the picture; cell (r, c) covers rows r h/H to (r+1) h/H and columns c w/W to (c+1) w/W
    """

    def __init__(self, model: SoundOfPixels, frames: np.ndarray, sound: np.ndarray):
        """frames: uint8 (V, h, w, 3) at the config's fps; sound: float32 (L,) at its rate. Raises SopError if either is empty."""
        if not len(frames) or not len(sound):
            raise SopError(f"a scene needs picture and sound, found {len(frames)} frames and {len(sound)} samples")
        self.model, self.config = model, model.config
        self.rate, self.grid = model.config.rate, model.config.grid
        self.frame = frames[len(frames) // 2]
        self._listen(np.asarray(sound, np.float32))
        self._look(frames)

    @classmethod
    def from_video(cls, model: SoundOfPixels, path: Path) -> "Scene":
        """A video file, whole. Raises SopError where it can't be read, or has no picture or no sound."""
        return cls(model, *media.read_video(path, model.config.fps, model.config.rate))

    @classmethod
    def from_clip(cls, model: SoundOfPixels, clip: Clip) -> "Scene":
        """A preprocessed clip, whole."""
        return cls(model, media.read_frames(clip.frames, range(clip.n_frames)), media.read_sound(clip.sound))

    def hearing(self, sound: np.ndarray) -> "Scene":
        """The same picture with another sound: as long as the scene's own, cut or filled up with silence. Shape: (L,)"""
        other, length = copy(self), len(self.mixture)
        other._listen(np.pad(np.float32(sound[:length]), (0, max(0, length - len(sound)))))
        return other

    @torch.inference_mode()
    def _listen(self, sound: np.ndarray) -> None:
        """Run the sound net over all windows: `channels` (W, K, F, T), `fade` (T,), where they start."""
        config, device = self.config, next(self.model.parameters()).device
        self.mixture, self.spec = (
            sound,
            self.model.stft(torch.from_numpy(sound).to(device)),
        )  # (F_linear, T of the whole clip)
        length, window = self.spec.shape[-1], config.stft_frames
        last = max(0, length - window)
        self.starts = [*range(0, last, window // 2), last]
        mags = torch.nn.functional.pad(self.model.magnitudes(self.spec), (0, max(0, window - length)))
        # One window at a time: memory stays that of one.
        self.channels = torch.cat([self.model.channels(mags[None, :, t : t + window]) for t in self.starts])
        self.fade = torch.hann_window(window, periodic=False, device=device).clamp_min(1e-3)

    @torch.inference_mode()
    def _look(self, frames: np.ndarray) -> None:
        """Run the frame net over all windows: `pixels` (W, H, W, K)."""
        config = self.config
        looks = [frame_indices(t * config.hop, len(frames), config) for t in self.starts]
        small = media.resize(frames[np.unique(looks)], (config.image, config.image))
        small = torch.from_numpy(small).to(self.spec.device).movedim(-1, 1)  # (V, 3, image, image)
        place = {v: i for i, v in enumerate(np.unique(looks))}
        self.pixels = torch.cat([self.model.pixels(small[[place[v] for v in look]][None]) for look in looks])

    @torch.inference_mode()
    def masks(self, regions: list[list[Cell]]) -> Tensor:
        """One soft mask a region, 0 to 1, for the whole clip.

        A region's numbers are the means of the greatest of its cells (how many: `FILLED`, `SHARED`).
        Shape: -> (len(regions), F, T). Raises SopError for an empty region or a cell off the grid.
        """
        for cell in (c for region in regions for c in region):
            self.check(cell)
        if not all(regions):
            raise SopError("a region without a cell has no sound; choose at least one")
        most = SHARED * self.config.pool * math.prod(self.grid)
        numbers = []
        for region in regions:
            rows, cols = map(list, zip(*region, strict=True))
            numbers.append(self.model.pool(self.pixels[:, rows, cols], min(most, FILLED * len(region))))
        numbers = torch.stack(numbers, 1)  # (W, P, K)
        each = self.model.mask(self.model.logits(numbers, self.channels)) * self.fade  # (W, P, F, T)
        length = max(self.spec.shape[-1], each.shape[-1])
        total, weight = each.new_zeros(*each.shape[1:-1], length), each.new_zeros(length)
        for t, mask in zip(self.starts, each, strict=True):
            total[..., t : t + mask.shape[-1]] += mask
            weight[t : t + mask.shape[-1]] += self.fade
        return (total / weight)[..., : self.spec.shape[-1]]

    @torch.inference_mode()
    def sound(self, cells: Cell | list[Cell]) -> np.ndarray:
        """The sound of a cell, or of a region of cells. Shape: float32 (L,). Raises SopError for a cell off the grid."""
        region = [cells] if isinstance(cells, tuple) else list(cells)
        return self.model.sounds(self.masks([region])[0], self.spec, len(self.mixture)).cpu().numpy()

    @torch.inference_mode()
    def energy(self) -> np.ndarray:
        """The share of the mixture's energy that each cell's own sound has, 0 to 1: an absolute scale. Shape: (H, W)"""
        power = self.spec.abs().square()
        rows = []
        for r in range(self.grid[0]):  # a row of the grid at a time, for the memory's sake
            masks = self.model.warp.inverse(self.masks([[(r, c)] for c in range(self.grid[1])]))
            rows.append((harden(masks, self.config.mask).square() * power).sum((-2, -1)) / power.sum().clamp_min(1e-12))
        return torch.stack(rows).cpu().numpy()

    def check(self, cell: Cell) -> Cell:
        """The cell itself, or SopError where it is off the grid."""
        (r, c), (rows, cols) = cell, self.grid
        if not (0 <= r < rows and 0 <= c < cols):
            raise SopError(f"pixel {r},{c} is off the grid: rows go from 0 to {rows - 1}, columns from 0 to {cols - 1}")
        return cell

    def cells_in(self, box: tuple[float, float, float, float]) -> list[Cell]:
        """The cells whose centres lie in a box (x0, y0, x1, y1), in shares of the picture (0 to 1); the nearest if none does.

        Raises SopError where the box is empty or wholly outside the picture.
        """
        x0, y0, x1, y1 = box
        if not (x0 < x1 and y0 < y1 and x1 > 0 and y1 > 0 and x0 < 1 and y0 < 1):
            raise SopError(f"box {box}: expected x0 < x1 and y0 < y1, and some of it within the picture")
        rows, cols = (_centres_in(n, low, high) for n, low, high in zip(self.grid, (y0, x0), (y1, x1), strict=True))
        return [(r, c) for r in rows for c in cols]

    @torch.inference_mode()
    def spectrogram(self, sound: np.ndarray) -> np.ndarray:
        """The log-frequency magnitudes of a sound (L,), as the nets see it. Shape: (F, T)"""
        device = self.spec.device
        return self.model.magnitudes(self.model.stft(torch.from_numpy(sound).to(device))).cpu().numpy()


def _centres_in(count: int, low: float, high: float) -> list[int]:
    """Which of `count` equal steps from 0 to 1 have their middle in [low, high); the nearest if none has."""
    middles = (np.arange(count) + 0.5) / count
    inside = np.flatnonzero((low <= middles) & (middles < high))
    return inside.tolist() or [int(np.abs(middles - (low + high) / 2).argmin())]
