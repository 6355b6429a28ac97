"""Regions of a scene's picture: their cells, visual features, masks and weights.

A region is a list of cells that is the same all the time, or a bool array (W, H, W) that says
which cells belong to it in each window. A list of one cell: see `heard_with_neighbours`.

`Mode` says how several regions divide the bins of the mixture's spectrogram:
    alone      Each region takes what its own mask says, whatever the others take.
    shared     The same, but a bin that several regions take is divided among them.
    partition  Every bin is divided completely: the weights of all regions add up to 1.
"""

import math
import operator
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from scipy.ndimage import rank_filter
from torch import Tensor

from ..config import Config
from ..errors import SopError
from ..model.masks import partition
from ..model.model import SoundOfPixels
from ..model.names import Name
from .features import fade

if TYPE_CHECKING:
    from .scene import Scene

Cell = tuple[int, int]  # row, column
Region = list[Cell] | np.ndarray
Mode = Literal["alone", "shared", "partition"]
# A region's visual feature is the mean of its greatest cells: of half of them, since a region
# is larger than what sounds in it; but of no more than two thirds of the cells that training
# pools in a picture, since such a picture shows one instrument alone.
REGION_SHARE, TRAINING_SHARE = 1 / 2, 2 / 3
# A single cell is heard by the value that so many of the nine cells around it reach. By the weights
# for real instruments, as they were then, 11 % of 18 instruments in photos claim an absent one and
# 83 % their own, and 44 % of the cells in their boxes sound. If each cell is heard by itself: 33,
# 83, 34 %. With two of nine: as many false claims as by itself; with four: fewer cells, fewer own.
AGREEING = 3
# A mask that was learned as a binary one says how likely a bin is the region's. The region takes
# this share of the bin, not all or nothing: in duets of photos, boxes by themselves gain 3 dB. Less
# than a tenth is nothing, so that silence stays silent.
SOFT_LEAST, HALF = 0.1, 0.5
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

    Raises SopError if the box is empty or completely outside the picture.
    """
    x0, y0, x1, y1 = box
    if not (x0 < x1 and y0 < y1 and x1 > 0 and y1 > 0 and x0 < 1 and y0 < 1):
        expected = "expected x0 < x1 and y0 < y1, and some of it within the picture"
        raise SopError(f"box {box}: {expected}")
    rows, columns = _centres_in(grid[0], y0, y1), _centres_in(grid[1], x0, x1)
    return [(r, c) for r in rows for c in columns]


def place(cells: Sequence[Cell] | np.ndarray, grid: tuple[int, int]) -> str:
    """Where cells lie in the picture, by their mean: "top left", "right", "middle"."""
    row, column = ((np.asarray(cells) + 0.5) / grid).mean(0)
    vertical = "top" if row < 1 / 3 else "bottom" if row > 2 / 3 else ""
    side = "left" if column < 1 / 3 else "right" if column > 2 / 3 else ""
    return " ".join(filter(None, (vertical, side))) or "middle"


def _centres_in(count: int, low: float, high: float) -> list[int]:
    """Which of `count` equal steps from 0 to 1 have their centre in [low, high); or the nearest."""
    centres = (np.arange(count) + 0.5) / count
    inside = np.flatnonzero((low <= centres) & (centres < high))
    return inside.tolist() or [int(np.abs(centres - (low + high) / 2).argmin())]


# ---- what regions look like


def shown_in(scene: "Scene") -> np.ndarray:
    """The windows that count in a scene, which may be a part of a video. Shape: -> bool (W,)"""
    spans = scene.feature_maps.windows
    return np.array([w.first < scene.last and w.last > scene.first for w in spans])


def names_of(scene: "Scene", regions: Sequence[Region]) -> list[Name] | None:
    """The name of each region, from all windows of the scene; None: the model has no names.

    Raises SopError for an empty region or a cell off the grid.
    """
    names, looks = scene.model.names, scene.looks
    if names is None or looks is None:
        return None
    if not regions:
        return []
    here = torch.from_numpy(shown_in(scene))
    means = []
    for region in regions:
        if isinstance(region, list):
            inside = torch.zeros(scene.grid, dtype=torch.bool)
            for cell in region:
                inside[on_grid(cell, scene.grid)] = True
        else:
            inside = torch.from_numpy(region)
        inside = inside.expand(looks.shape[:3])
        # Of a region that has no cell in this part of the video: what it looks like elsewhere
        shown = inside & here[:, None, None]
        cells = looks[(shown if shown.any() else inside).to(looks.device)]  # (cells, D)
        if not len(cells):
            raise SopError("a region without a cell looks like nothing; choose at least one")
        means.append(cells.mean(0))
    return names.of(torch.stack(means))


# ---- from regions to soft masks


def check_partition(config: Config) -> None:
    """Raises SopError if a model's masks don't allow the mode `partition`."""
    if not config.has_odds:
        activation = f"output_activation={config.output_activation}"
        raise SopError(f"a partition with {activation}: only the sigmoid has odds to divide by")


def neighbours(config: Config) -> bool:
    """Whether a single cell is heard with those around it. With published masks it is not."""
    return config.share


def heard_with_neighbours(config: Config, visual_features: Tensor) -> Tensor:
    """The visual feature by which each single cell is heard.

    A rank filter: for each k, the third greatest value of the 3 x 3 cells around it (`AGREEING`).
    So a cell whose neighbours say something else isn't heard. Beyond the picture's edge its
    outermost cells are repeated: there, fewer are enough.

    Shape: (W, H, W, K) -> (W, H, W, K)
    """
    if not neighbours(config):
        return visual_features
    values = visual_features.cpu().numpy()
    agreed = rank_filter(values, -AGREEING, size=(1, 3, 3, 1), mode="nearest")
    return torch.from_numpy(agreed).to(visual_features.device)


def _pooled(scene: "Scene", region: Region) -> tuple[Tensor, Tensor]:
    """A region's visual feature in each window, and whether it has any cell there.

    Shape: -> (W, K), bool (W,)
    """
    model, visual_features, grid = scene.model, scene.visual_features, scene.grid
    most = TRAINING_SHARE * model.config.pool * math.prod(grid)

    def pool(cells: Tensor) -> Tensor:  # (..., C, K) -> (..., K)
        return model.pool(cells, min(most, REGION_SHARE * cells.shape[-2]))

    if isinstance(region, list):
        if not region:
            raise SopError("a region without a cell has no sound; choose at least one")
        rows, columns = map(list, zip(*(on_grid(cell, grid) for cell in region), strict=True))
        of_cells = scene.cell_features if len(region) == 1 else visual_features
        features = pool(of_cells[:, rows, columns])
        return features, features.new_ones(len(features), dtype=torch.bool)
    shape = tuple(visual_features.shape[:3])
    if region.dtype != bool or region.shape != shape or not region.any():
        expected = f"bool {shape} (windows, rows, columns), some of it True"
        raise SopError(f"a region is {region.dtype} of shape {region.shape}, expected {expected}")
    inside = torch.from_numpy(region).to(visual_features.device)
    present = inside.flatten(1).any(1)
    features = visual_features.new_zeros(len(inside), visual_features.shape[-1])
    for w in present.nonzero()[:, 0]:
        features[w] = pool(visual_features[w][inside[w]])
    return features, present


@torch.inference_mode()
def soft_masks(
    scene: "Scene", regions: Sequence[Region], mode: Mode = "alone", margin: int = 0
) -> Iterator[tuple[int, Tensor]]:
    """Masks of regions before they are binarized, 0 to 1, for one stretch of time after the other.

    Neighbouring windows fade into one another. The first stretch begins `margin` STFT frames before
    the scene, and the last one ends as many after it, as far as there is sound.
    Yields a stretch's first frame, and (P, T, F).
    Raises SopError for an empty region, a cell off the grid, or an array that doesn't fit.
    """
    model, feature_maps = scene.model, scene.feature_maps
    if mode == "partition":
        check_partition(scene.config)
    # Visual features (W, P, K), and which regions have a cell in which window (W, P).
    pooled = [_pooled(scene, region) for region in regions]
    features, present = (torch.stack(each, 1) for each in zip(*pooled, strict=True))
    begin, end = max(0, scene.first - margin), min(feature_maps.length, scene.last + margin)
    # The weight of a window in the frames that it shares with the one before: (over, 1).
    over = fade(scene.config.stft_frames)
    steps = (torch.arange(over, device=scene.device) + 0.5) / max(1, over)
    fade_in = torch.sin(steps * math.pi / 2).square()[:, None]
    tail = None
    for i, w in feature_maps.across(begin, end):
        here = present[i, :, None, None]
        masks = _window_masks(model, features[i], here, feature_maps[i], mode)  # (P, T, F)
        if tail is not None:
            masks[:, :over] = fade_in * masks[:, :over] + (1 - fade_in) * tail
        # The last frames wait for the next window, if it counts.
        more = i + 1 < len(feature_maps.windows) and w.last - over < end
        ready = w.last - over if more else w.last
        tail = masks[:, ready - w.first :]
        first, last = max(begin, w.first), min(end, ready)
        if first < last:
            yield first, masks[:, first - w.first : last - w.first]


def _window_masks(
    model: SoundOfPixels, features: Tensor, present: Tensor, feature_maps: Tensor, mode: Mode
) -> Tensor:
    """Masks of regions in one window; 0 for those that have no cell there.

    Shape: (P, K), bool (P, 1, 1), (K, T, F) -> (P, T, F)
    """
    if mode == "partition":
        logits = model.logits(features[None], feature_maps[None])
        # Where no region is present, the softmax of nothing is NaN: no region takes anything.
        return partition(logits.masked_fill(~present, -math.inf))[0].nan_to_num(0)
    blocks = (model.logits(some[None], feature_maps[None]) for some in features.split(BLOCK))
    masks = torch.cat([model.mask(logits)[0] for logits in blocks])
    return masks.mul_(present)


def joined(stretches: Iterator[tuple[int, Tensor]], most: int) -> Iterator[tuple[int, Tensor]]:
    """Join consecutive stretches of `soft_masks` until P T reaches `most`. Shape: (P, T, F)"""
    waiting, begin = [], 0
    for first, masks in stretches:
        begin = begin if waiting else first
        waiting.append(masks)
        if sum(m.shape[0] * m.shape[1] for m in waiting) >= most:
            yield begin, torch.cat(waiting, 1)
            waiting = []
    if waiting:
        yield begin, torch.cat(waiting, 1)


# ---- from soft masks to what each region takes


def least_share(config: Config) -> float:
    """What a region's soft mask must exceed to take of a bin: then it takes this share of it.

    If it is `HALF`, the region takes the whole bin: the published binary mask.
    """
    return SOFT_LEAST if config.share or config.mask == "ratio" else HALF


def take(model: SoundOfPixels, masks: Tensor, mode: Mode) -> tuple[Tensor, Tensor, Tensor]:
    """The weight of each STFT bin in each region's sound, 0 to 1.

    Frames in which a region takes nothing are left out, since most regions are mostly silent.
    Shape: soft masks (P, T, F) -> region int (n,), frame int (n,), weights (n, F_linear)
    """
    least = 0.0 if mode == "partition" else least_share(model.config)
    # Linear bins are means of log-frequency bins: over `least` only if one of those is.
    region, frame = (masks.amax(-1) > least).nonzero(as_tuple=True)
    soft = model.warp.inverse_frames(masks[region, frame])
    taken = soft > least
    weights = taken * (1.0 if least == HALF else soft)
    if mode == "shared" and len(masks) > 1:

        def total(values: Tensor) -> Tensor:  # of all regions, at each row's frame
            empty = values.new_zeros(masks.shape[1], values.shape[1])
            return empty.index_add_(0, frame, values)[frame]

        # Each region's part is in proportion to its soft mask.
        claims = taken * soft
        weights = claims * (total(weights).clamp(0, 1) / total(claims).clamp_min(1e-8))
    return region, frame, weights
