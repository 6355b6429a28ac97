"""Feature maps as whole numbers, with as many bits as the sounds of regions need.

A value has 8 bits, with a step for each map. A bin of a binary mask can lie on either side of 0.5
by a hair, and a loud one on the wrong side is far more than 1e-3 of full scale. So a value has 12
or 16 bits where it is louder, and 24 where a region of `_examples` would still be wrong. What
nobody hears has none.
"""

from typing import TYPE_CHECKING

import numpy as np
import torch

from ..model.model import activate
from .regions import BLOCK, Region, cells_in, soft_masks

if TYPE_CHECKING:
    from .scene import Scene

SILENT = 1e-5  # amplitude up to which a bin has no bits; 1 is full scale
COUNT = 2**24  # levels


class Levels:
    """The feature maps of some windows as whole numbers: a value is low + step * level.

    Steps are such that the last bit of each map means as much to the logits of most masks.
    Attributes: `low`, `step`: (K,); `maps`: of each window, by its number, (K, T, F)
    """

    def __init__(self, scene: "Scene", numbers: list[int], clusters: list[np.ndarray]):
        self.scene, self.examples = scene, [*_examples(scene.grid), *clusters]
        maps = {i: scene.feature_maps[i].cpu().double().numpy() for i in numbers}
        self.low = np.min([m.min((1, 2)) for m in maps.values()], 0)
        extent = np.max([m.max((1, 2)) for m in maps.values()], 0) - self.low
        weight = np.maximum(_usual(scene), 1e-30)
        self.step = max(np.max(extent * weight) / (COUNT - 1), 1e-30) / weight
        low, step = self.low[:, None, None], self.step[:, None, None]
        self.maps = {i: np.rint((m - low) / step) for i, m in maps.items()}
        windows = scene.feature_maps.windows
        self.loud = {i: _amplitudes(scene, windows[i].first, windows[i].last) for i in numbers}

    def cut(self, floor: float) -> dict[int, np.ndarray]:
        """The levels with 8 bits; with 12 from the amplitude `floor` on, and 16 from 8 `floor`."""

        def bits(levels: np.ndarray, loud: np.ndarray) -> np.ndarray:
            left = np.zeros_like(levels)
            for least, unit in ((min(floor, SILENT), 2**16), (floor, 2**12), (8 * floor, 2**8)):
                some = np.minimum(np.rint(levels / unit), COUNT // unit - 1) * unit
                left = np.where(loud >= least, some, left)
            return left

        return {i: bits(levels, self.loud[i]) for i, levels in self.maps.items()}

    def mended(
        self, cut: dict[int, np.ndarray], least: float, most: float
    ) -> dict[int, np.ndarray]:
        """With all bits where a region would get a loud bin of a binary mask that isn't its own.

        Tried are all cells, as many rectangles, and the clusters. `least`: amplitude of a loud
        bin; `most`: bytes that this may cost, and the loudest bins come first.
        """
        doubtful = {i: np.zeros(loud.shape, bool) for i, loud in self.loud.items()}
        scene, audio = self.scene, self.scene.feature_maps
        reads, windows = scene.model.warp.back.cpu().numpy() != 0, audio.windows
        other = scene._copy(audio.copy(), scene.first, scene.last)
        low, step = self.low[:, None, None], self.step[:, None, None]
        for i, levels in cut.items():
            values = torch.from_numpy((low + step * levels).astype(np.float32))
            other.feature_maps.kept[i] = values.to(audio.device)
        for p in range(0, len(self.examples), BLOCK):
            here = (soft_masks(one, self.examples[p : p + BLOCK]) for one in (scene, other))
            for (first, masks), (_, others) in zip(*here, strict=True):
                true, made = (scene.model.warp.inverse_frames(m) > 0.5 for m in (masks, others))
                wrong = (true != made).any(0).cpu().numpy()  # (T, F_linear)
                wrong = wrong if scene.model.warp.kind == "none" else wrong @ reads
                last = first + len(wrong)
                for i, found in doubtful.items():
                    a, b = max(first, windows[i].first), min(last, windows[i].last)
                    if a < b:
                        found[a - windows[i].first : b - windows[i].first] |= wrong[
                            a - first : b - first
                        ]
        count = int(most / (2 * len(self.low)))
        loud = [self.loud[i][found] for i, found in doubtful.items()]
        least = max(least, *np.sort(np.concatenate(loud))[::-1][count : count + 1], 0.0)
        use = {i: found & (self.loud[i] >= least) for i, found in doubtful.items()}
        return {i: np.where(use[i], self.maps[i], levels) for i, levels in cut.items()}

    def spans(self, levels: dict[int, np.ndarray], begin: int, end: int) -> list[dict]:
        """Each window's frames between `begin` and `end`, and its levels (K, F, t): the high bytes
        of all, then the middle ones, then the low ones.
        """
        spans = []
        for i, values in levels.items():
            w = self.scene.feature_maps.windows[i]
            first, last = max(begin, w.first), min(end, w.last)
            part = values[:, first - w.first : last - w.first].swapaxes(1, 2).astype(np.uint32)
            maps = b"".join((part >> s & 255).astype(np.uint8).tobytes() for s in (16, 8, 0))
            spans.append({"start": w.first, "first": first, "last": last, "maps": maps})
        return spans


def _examples(grid: tuple[int, int]) -> list[Region]:
    """All cells, and as many rectangles, drawn."""
    cells: list[Region] = [[(r, c)] for r in range(grid[0]) for c in range(grid[1])]
    rng = np.random.default_rng(0)
    corners = [np.sort(rng.random((len(cells), 2))) for _ in grid]
    boxes = np.stack([corners[1][:, 0], corners[0][:, 0], corners[1][:, 1], corners[0][:, 1]], 1)
    return cells + [cells_in(tuple(box), grid) for box in boxes.tolist()]


def _usual(scene: "Scene") -> np.ndarray:
    """How large a cell's factor for each feature map is: the rms, not far below the greatest.

    Shape: (K,)
    """
    features = activate(scene.visual_features, scene.config.image_activation, -1).flatten(0, -2)
    usual = torch.maximum(features.square().mean(0).sqrt(), features.abs().amax(0) / 16)
    scale = scene.model.synthesizer.scale
    return (usual if scale is None else usual * scale.abs()).cpu().double().numpy()


def _amplitudes(scene: "Scene", first: int, last: int) -> np.ndarray:
    """The loudest of the STFT bins that each bin of a mask decides on, 1 is full scale.

    Shape: -> (T, F)
    """
    audio, warp = scene.feature_maps, scene.model.warp
    found = audio.spec(first, last).abs().cpu().numpy() * (2 / float(audio.window.sum()))
    if warp.kind == "none":
        return found
    reads = warp.back.cpu().numpy() != 0  # (F_linear, F)
    blank = np.zeros(len(found))
    bins = [found[:, column].max(1) if column.any() else blank for column in reads.T]
    return np.stack(bins, 1)
