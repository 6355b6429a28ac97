"""Regions of a scene's picture: their cells, visual features and masks, and what they take.

A region is a list of cells that is the same all the time, or a bool array (W, H, W) that says
which cells belong to it in each window.

`Mode` says how several regions divide the bins of the mixture's spectrogram:
    alone      Each region takes what its own mask says, whatever the others take.
    shared     The same, but a bin that several regions take is divided among them.
    partition  Every bin is divided completely: the weights of all regions add up to 1.
"""

import math
import operator
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from ..config import Config
from ..errors import SopError
from ..model.masks import binarize, partition
from ..model.model import SoundOfPixels
from .features import fade

if TYPE_CHECKING:
    from .scene import Scene

Cell = tuple[int, int]  # row, column
Region = list[Cell] | np.ndarray
Mode = Literal["alone", "shared", "partition"]
# A region's visual feature is the mean of its greatest cells: of half of them, since a region
# is larger than what sounds in it; but of no more than two thirds of the cells that training
# pools in a picture, since that picture shows one instrument alone.
REGION_SHARE, TRAINING_SHARE = 1 / 2, 2 / 3
BLOCK = 56  # regions at a time: their masks fit a CPU's cache, and are enough work for threads


# ---- cells


def on_grid(cell: Cell, grid: tuple[int, int]) -> Cell:
    """Return the cell itself; raises SopError if it is off the grid."""
    (r, c), (rows, cols) = map(operator.index, cell), grid
    if not (0 <= r < rows and 0 <= c < cols):
        valid = f"rows go from 0 to {rows - 1}, columns from 0 to {cols - 1}"
        raise SopError(f"pixel {r},{c} is off the grid: {valid}")
    return cell


def cells_in(box: tuple[float, float, float, float], grid: tuple[int, int]) -> list[Cell]:
    """The cells whose centres lie in a box; the nearest cell if there is none.

    Args:
        box: x0, y0, x1, y1 as shares of the picture, 0 to 1
        grid: (H, W)

    Raises SopError if the box is empty or wholly outside the picture.
    """
    x0, y0, x1, y1 = box
    if not (x0 < x1 and y0 < y1 and x1 > 0 and y1 > 0 and x0 < 1 and y0 < 1):
        expected = "expected x0 < x1 and y0 < y1, and some of it within the picture"
        raise SopError(f"box {box}: {expected}")
    rows, columns = _centres_in(grid[0], y0, y1), _centres_in(grid[1], x0, x1)
    return [(r, c) for r in rows for c in columns]


def _centres_in(count: int, low: float, high: float) -> list[int]:
    """Which of `count` equal steps from 0 to 1 have their centre in [low, high); or the nearest."""
    centres = (np.arange(count) + 0.5) / count
    inside = np.flatnonzero((low <= centres) & (centres < high))
    return inside.tolist() or [int(np.abs(centres - (low + high) / 2).argmin())]


# ---- from regions to soft masks


def check_partition(config: Config) -> None:
    """Raises SopError if a model's masks don't allow the mode `partition`."""
    if not config.has_odds:
        activation = f"output_activation={config.output_activation}"
        raise SopError(f"a partition with {activation}: only the sigmoid has odds to divide by")


def _visual_feature(model: SoundOfPixels, pixels: Tensor, region: Region) -> tuple[Tensor, Tensor]:
    """A region's visual feature in each window, and whether it has any cell there.

    Shape: (W, H, W, K) -> (W, K), bool (W,)
    """
    grid = tuple(pixels.shape[1:3])
    most = TRAINING_SHARE * model.config.pool * math.prod(grid)

    def pool(cells: Tensor) -> Tensor:  # (..., C, K) -> (..., K)
        return model.pool(cells, min(most, REGION_SHARE * cells.shape[-2]))

    if isinstance(region, list):
        if not region:
            raise SopError("a region without a cell has no sound; choose at least one")
        rows, columns = map(list, zip(*(on_grid(cell, grid) for cell in region), strict=True))
        features = pool(pixels[:, rows, columns])
        return features, features.new_ones(len(features), dtype=torch.bool)
    if region.dtype != bool or region.shape != pixels.shape[:3] or not region.any():
        expected = f"bool {tuple(pixels.shape[:3])} (windows, rows, columns), some of it True"
        raise SopError(f"a region is {region.dtype} of shape {region.shape}, expected {expected}")
    inside = torch.from_numpy(region).to(pixels.device)
    present = inside.flatten(1).any(1)
    features = pixels.new_zeros(len(pixels), pixels.shape[-1])
    for w in present.nonzero()[:, 0]:
        features[w] = pool(pixels[w][inside[w]])
    return features, present


@torch.inference_mode()
def soft_masks(
    scene: "Scene", regions: list[Region], mode: Mode = "alone", margin: int = 0
) -> Iterator[tuple[int, Tensor]]:
    """Masks of regions before they are binarized, 0 to 1, for one stretch of time after the other.

    Neighbouring windows fade into one another. The first stretch begins `margin` STFT frames before
    the scene, and the last one ends as many after it, as far as there is sound.
    Yields a stretch's first frame, and (P, T, F).
    Raises SopError for an empty region, a cell off the grid, or an array that doesn't fit.
    """
    model, channels, over = scene.model, scene.feature_maps, fade(scene.config.stft_frames)
    if mode == "partition":
        check_partition(scene.config)
    # Visual features (W, P, K), and which regions have a cell in which window (W, P).
    found = [_visual_feature(model, scene.visual_features, region) for region in regions]
    features, present = (torch.stack(each, 1) for each in zip(*found, strict=True))
    begin, end = max(0, scene.first - margin), min(channels.length, scene.last + margin)
    steps = (torch.arange(over, device=scene.device) + 0.5) / max(1, over)
    fade_in = torch.sin(steps * math.pi / 2).square()[:, None]
    tail = None
    for i, w in channels.across(begin, end):
        masks = _window_masks(model, features[i], present[i, :, None, None], channels[i], mode)
        if tail is not None:
            masks[:, :over] = fade_in * masks[:, :over] + (1 - fade_in) * tail
        # The last frames wait for the next window, if it counts.
        more = i + 1 < len(channels.windows) and w.last - over < end
        ready = w.last - over if more else w.last
        tail = masks[:, ready - w.first :]
        first, last = max(begin, w.first), min(end, ready)
        if first < last:
            yield first, masks[:, first - w.first : last - w.first]


def _window_masks(
    model: SoundOfPixels,
    features: Tensor,
    present: Tensor,
    maps: Tensor,
    mode: Mode,
) -> Tensor:
    """Masks of regions in one window; 0 for those that have no cell there.

    Shape: (P, K), bool (P, 1, 1), feature maps (K, T, F) -> (P, T, F)
    """
    if mode == "partition":
        logits = model.logits(features[None], maps[None])
        # Where no region is present, the softmax of nothing is NaN: nobody takes anything.
        return partition(logits.masked_fill(~present, -math.inf))[0].nan_to_num(0)
    blocks = (model.logits(some[None], maps[None]) for some in features.split(BLOCK))
    masks = torch.cat([model.mask(logits)[0] for logits in blocks])
    return masks.mul_(present)


def joined(stretches: Iterator[tuple[int, Tensor]], most: int) -> Iterator[tuple[int, Tensor]]:
    """Join consecutive stretches of `soft_masks` until P T reaches `most`. Shape: (P, T, F)"""
    held, begin = [], 0
    for first, masks in stretches:
        begin = begin if held else first
        held.append(masks)
        if sum(m.shape[0] * m.shape[1] for m in held) >= most:
            yield begin, torch.cat(held, 1)
            held = []
    if held:
        yield begin, torch.cat(held, 1)


# ---- from soft masks to what each region takes


def take(model: SoundOfPixels, masks: Tensor, mode: Mode) -> tuple[Tensor, Tensor, Tensor]:
    """The weight of each STFT bin in each region's sound, 0 to 1.

    Frames in which a region takes nothing are left out: most regions are silent most of the time.
    Shape: soft masks (P, T, F) -> region int (n,), frame int (n,), weights (n, F_linear)
    """
    kind = "ratio" if mode == "partition" else model.config.mask
    # Linear bins are means of log-frequency bins: over 0.5 only if one of those is.
    some = masks.amax(-1) > 0.5 if kind == "binary" else (masks != 0).any(-1)
    region, frame = some.nonzero(as_tuple=True)
    soft = model.warp.inverse_frames(masks[region, frame])
    weights = binarize(soft, kind)
    if mode == "shared" and len(masks) > 1:

        def total(values: Tensor) -> Tensor:  # of all regions, at each row's frame
            empty = values.new_zeros(masks.shape[1], values.shape[1])
            return empty.index_add_(0, frame, values)[frame]

        # Each region's part is in proportion to its soft mask.
        claims = weights * soft
        weights = claims * (total(weights).clamp(0, 1) / total(claims).clamp_min(1e-8))
    return region, frame, weights
