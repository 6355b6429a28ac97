"""Cells that sound alike: the instruments of a scene. How many there are need not be known.

Two cells sound alike if their masks are similar. Masks are compared at `BINS` bins of the mixture's
spectrogram, drawn at random by energy, so that loud bins count. The bins are the same for the cells
of every window, so an instrument that moves stays in its cluster.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import cdist
from torch import Tensor

from .. import metrics
from ..errors import SopError
from ..model.names import Name
from ..untrusted import printable
from .regions import names_of, place

if TYPE_CHECKING:
    from .scene import Scene

SILENT_SHARE = 0.01  # a region with a smaller share of the mixture's energy counts as silent
# A model does not know what sounds if not even the cell with the most energy has this share of it:
# one threshold for all pictures. Of four sources that are equally loud each has 0.25. On the demo's
# 24 test videos this cell has 0.46 or more. On 19 videos of real instruments, which the demo's
# model never learned, it has 0.03 or less on 15, and 0.33 or less on the others.
HEARD_SHARE = 0.2
NOT_KNOWN = "this model does not know what sounds here"
BINS = 1024  # bins at which masks are compared
# Clusters at a smaller cosine distance, on average, are merged. On the demo's test videos, of three
# trainings: at 0.25 one sound in 32 of 36 solos and two in 30 of 36 duets; at 0.2 in 32 and 32, at
# 0.4 in 33 and 31. On nine duets of photos: two in 6, 5 and 6. So it hardly matters.
MERGE_DISTANCE = 0.25
POINTS = 1500  # how many masks are clustered; the others then join the nearest cluster
MOST = 7  # clusters; the page and the figures have as many colours


@dataclass(frozen=True)
class Clusters:
    """Groups of cells that sound alike, the loudest first.

    Attributes:
        names: what each cluster is called, each differently: what it looks like, such as "violin";
            of several violins and of what looks like nothing known, with the place ("unknown,
            left"); the place alone if the model has no names
        shares: each cluster's share of the mixture's energy
        regions: its cells in each window, bool (W, H, W), for `Scene.tracks`
        labels: int (V, H, W), the cluster of each cell in each picture; -1: silent
        places: where each cluster lies, such as "top left"
        looks: what each looks like; None: the model has no names
    """

    names: list[str]
    shares: list[float]
    regions: list[np.ndarray]
    labels: np.ndarray
    places: list[str]
    looks: list[Name] | None


def find(scene: "Scene", count: int | None) -> Clusters:
    """See `Scene.clusters`."""
    if count is not None and count < 1:
        raise SopError(f"count={count}: expected at least one cluster")
    # The number of each cell's cluster in each window; -1: silent.
    loud = sounding(scene, scene.certain).reshape(-1, *scene.grid)  # bool (W, H, W)
    numbers = np.full(loud.shape, -1)
    if loud.any():
        features = scene.cell_features[torch.from_numpy(loud).to(scene.device)]
        numbers[loud] = _cluster(scene, features, count)
    different = numbers.max() + 1
    if count is not None and different < count:
        there = f"{different} different sounds are to be found in the picture"
        raise SopError(f"{there}, asked for {count}; ask for fewer")
    # The loudest first, without those that are silent.
    regions = [numbers == k for k in range(different)]
    shares, certain = map(shares_of, scene.powers_of(regions)) if regions else (np.zeros(0),) * 2
    loudest = np.argsort(-shares, kind="stable")[: count or MOST]
    order = [k for k in loudest if count or certain[k] > SILENT_SHARE]
    regions = [regions[k] for k in order]
    # A picture shows the window whose middle part it lies in.
    edges = [(a.last + b.first) / 2 for a, b in pairwise(scene.feature_maps.windows)]
    frames = scene.first + scene.instants() * scene.rate / scene.config.hop
    window = np.searchsorted(edges, frames, "right")
    labels = np.full((len(frames), *scene.grid), -1, np.int16)
    for k, region in enumerate(regions):
        labels[region[window]] = k
    places, looks = _places(regions), names_of(scene, regions)
    names = _called(looks, places) if looks else places
    return Clusters(names, [float(shares[k]) for k in order], regions, labels, places, looks)


def knows(scene: "Scene") -> bool:
    """Whether the model knows what sounds: a cell has `HEARD_SHARE` of the energy, or more.

    Those bins count that are rather the cell's than not. Of silence there is nothing to know: True.
    """
    return bool(metrics.silent(scene.mixture) or shares_of(scene.certain).max() >= HEARD_SHARE)


def shares_of(powers: np.ndarray) -> np.ndarray:
    """Each one's share of the mixture's energy, which is last. Shape: (P + 1, T) -> (P,)"""
    total = powers.sum(1, dtype=np.float64)
    return total[:-1] / max(total[-1], 1e-12)


def sounding(scene: "Scene", powers: np.ndarray) -> np.ndarray:
    """Which regions sound in each window; none in a window outside the scene, or 40 dB below it.

    Args: `powers`: the second of `Scene.powers_of`. Shape: (P + 1, T) -> bool (W, P)
    """
    windows = scene.feature_maps.windows
    loud = np.zeros((len(windows), len(powers) - 1), bool)
    least = 1e-4 * powers[-1].mean()
    for i, w in enumerate(windows):
        here = powers[:, max(0, w.first - scene.first) : max(0, w.last - scene.first)]
        if here.shape[1] and here[-1].mean() > least:
            loud[i] = here[:-1].mean(1) > SILENT_SHARE * here[-1].mean()
    return loud


@torch.inference_mode()
def _draw_bins(scene: "Scene") -> Tensor:
    """The feature maps at `BINS` bins of the scene, drawn by energy. Shape: (1, K, 1, BINS)"""
    rng = np.random.default_rng(0)
    energy = scene.powers[-1].astype(np.float64)
    frames = rng.choice(len(energy), BINS, p=energy / energy.sum())
    frames = scene.first + np.sort(frames)
    # Windows overlap: a frame is drawn from the first window in which it counts.
    drawn, done = [], scene.first
    for i, w in scene.feature_maps.across(scene.first, scene.last):
        here = frames[(frames >= done) & (frames < w.last)] - w.first
        done = max(done, w.last)
        if len(here):
            mags = scene.model.warp(scene.feature_maps.spec(w.first, w.last).abs().T)[:, here]
            weights = mags.double().square().T.cpu().numpy() + 1e-20  # (frames, F)
            bins = [rng.choice(len(p), p=p / p.sum()) for p in weights]
            drawn.append(scene.feature_maps[i][:, here, bins])  # (K, frames)
    return torch.cat(drawn, 1)[None, :, None]


@torch.inference_mode()
def _cluster(scene: "Scene", features: Tensor, count: int | None) -> np.ndarray:
    """Average linkage of masks by their cosine distance.

    Shape: visual features (points, K) -> int (points,)
    """
    bins = _draw_bins(scene)

    def masks(some: Tensor) -> np.ndarray:  # (points, BINS); > 0, since zeros have no direction
        logits = scene.model.logits(some[None], bins)
        return scene.model.mask(logits)[0, :, 0].cpu().numpy() + 1e-6

    # A tree of some masks, cut into clusters.
    few = masks(features[:: -(-len(features) // POINTS)])
    if len(few) == 1:
        return np.zeros(len(features), int)
    tree = linkage(few, "average", "cosine")
    least, criterion = (count, "maxclust") if count else (MERGE_DISTANCE, "distance")
    numbers = fcluster(tree, least, criterion)
    if len(few) == len(features):
        return numbers - 1
    # The others join the cluster whose mean is nearest.
    means = np.stack([few[numbers == k].mean(0) for k in range(1, numbers.max() + 1)])
    nearest = [cdist(masks(some), means, "cosine").argmin(1) for some in features.split(POINTS)]
    return np.concatenate(nearest)


def _called(looks: list[Name], places: list[str]) -> list[str]:
    """Labels, with the place where several have the same one, or it is unknown."""
    labels = [printable(name.label) for name in looks]
    alone = [n.known and labels.count(label) == 1 for n, label in zip(looks, labels, strict=True)]
    rows = zip(labels, alone, places, strict=True)
    return [label if only else f"{label}, {place}" for label, only, place in rows]


def _places(regions: list[np.ndarray]) -> list[str]:
    """Where regions lie, by the mean of their cells; numbered if several lie at the same place."""
    names = [place(np.argwhere(region)[:, 1:], region.shape[1:]) for region in regions]
    numbered = (f"{name} {names[: i + 1].count(name)}" for i, name in enumerate(names))
    return [new if names.count(old) > 1 else old for old, new in zip(names, numbered, strict=True)]
