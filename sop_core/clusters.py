"""Pixels that sound alike: the instruments of a scene, found without being told how many there are.

Two pixels sound alike where their masks let the same of the mixture through. Masks are compared at `BINS` bins of the
mixture's spectrogram, drawn by their energy, so that what is loud counts; since they are the same bins for every window,
an instrument keeps its number when it moves.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import cdist
from torch import Tensor

from .errors import SopError
from .features import Channels
from .nets import SoundOfPixels

SILENT_SHARE = 0.01  # the share of a mixture's energy under which a region counts as silent
BINS = 1024  # at which masks are compared
# Cosine distance of two clusters' masks, on average, under which they are one. On the demo's test videos, two seeds: at 0.25 one
# sound in 22 of 24 solos and two in 21 of 24 duets; at 0.15 in 20 and 14, at 0.4 in 24 and 17.
ALIKE = 0.25
POINTS = 1500  # cells and windows that are clustered; of a long video the others join whom they are nearest to
MOST = 7  # clusters that are told apart by colours


class Sounding(Protocol):
    """What is needed of a scene; `localize.Scene` is one, and says what these are."""

    model: SoundOfPixels
    channels: Channels
    pixels: Tensor  # (W, H, W, K)
    powers: np.ndarray  # (H W + 1, T)
    grid: tuple[int, int]
    first: int
    last: int

    def instants(self) -> np.ndarray: ...
    def powers_of(self, regions: list) -> np.ndarray: ...


@dataclass(frozen=True)
class Clusters:
    """Cells that sound alike, the loudest cluster first.

    Attributes:
        names: where each lies, such as "top left"
        shares: of the mixture's energy that each one's sound has
        regions: what `Scene.tracks` takes: bool (W, H, W) each
        labels: int (V, H, W), number of the cluster while each of the scene's pictures is on the screen; -1: silent
    """

    names: list[str]
    shares: list[float]
    regions: list[np.ndarray]
    labels: np.ndarray


def find(scene: Sounding, count: int | None) -> Clusters:
    """See `Scene.clusters`."""
    if count is not None and count < 1:
        raise SopError(f"count={count}: expected at least one cluster")
    spans = [(w.first, w.last) for w in scene.channels.windows]
    loud = _loud(scene, spans)  # bool (W, H, W)
    labels = np.full(loud.shape, -1)
    if loud.any():
        labels[loud] = _alike(scene, scene.pixels[torch.from_numpy(loud).to(scene.pixels.device)], count)
    found = labels.max() + 1
    if count is not None and found < count:
        raise SopError(f"{found} different sounds are to be found in the picture, asked for {count}; ask for fewer")
    regions = [labels == k for k in range(found)]
    powers = scene.powers_of(regions).sum(1, dtype=np.float64) if regions else np.zeros(1)
    shares = powers[:-1] / max(powers[-1], 1e-12)
    order = [k for k in np.argsort(-shares, kind="stable")[: count or MOST] if count or shares[k] > SILENT_SHARE]
    regions = [regions[k] for k in order]
    frames = scene.first + scene.instants() * scene.model.config.rate / scene.model.config.hop
    # A window is on the screen from the middle of what it shares with the one before.
    at = np.searchsorted([(a + b) / 2 for (_, a), (b, _) in zip(spans, spans[1:], strict=False)], frames, "right")
    shown = np.full((len(frames), *scene.grid), -1, np.int16)
    for k, region in enumerate(regions):
        shown[region[at]] = k
    return Clusters(_names(regions), [float(shares[k]) for k in order], regions, shown)


def _loud(scene: Sounding, spans: list[tuple[int, int]]) -> np.ndarray:
    """Which cells sound, window by window; in windows that the scene is no part of none does. Shape: bool (W, H, W)"""
    powers, found = scene.powers, np.zeros((len(spans), *scene.grid), bool)
    least = 1e-4 * powers[-1].mean()  # a window that is 40 dB below the whole holds nothing
    for i, (first, last) in enumerate(spans):
        here = powers[:, max(0, first - scene.first) : max(0, last - scene.first)]
        if here.shape[1] and here[-1].mean() > least:
            found[i] = (here[:-1].mean(1) > SILENT_SHARE * here[-1].mean()).reshape(scene.grid)
    return found


@torch.inference_mode()
def _bins(scene: Sounding) -> Tensor:
    """The channel images of `BINS` bins of the whole scene, drawn by their energy. Shape: -> (1, K, 1, BINS)"""
    energy, rng = scene.powers[-1].astype(np.float64), np.random.default_rng(0)
    frames = scene.first + np.sort(rng.choice(len(energy), BINS, p=energy / energy.sum()))
    images, done = [], scene.first  # (K, bins of a window)
    for i, w in scene.channels.across(scene.first, scene.last):
        here = frames[(frames >= done) & (frames < w.last)] - w.first
        done = max(done, w.last)
        if len(here):
            mags = scene.model.warp(scene.channels.spec(w.first, w.last).abs().T)[:, here]  # (F, bins)
            chosen = [rng.choice(len(p), p=p / p.sum()) for p in mags.double().square().T.cpu().numpy() + 1e-20]
            images.append(scene.channels[i][:, here, chosen])
    return torch.cat(images, 1)[None, :, None]


@torch.inference_mode()
def _alike(scene: Sounding, numbers: Tensor, count: int | None) -> np.ndarray:
    """Average linkage of pixels' masks at the drawn bins, by their cosine distance. Shape: (points, K) -> int (points,)"""
    bins = _bins(scene)

    def masks(some: Tensor) -> np.ndarray:  # (points, BINS); a little above 0, since nothing has no direction
        return scene.model.mask(scene.model.logits(some[None], bins))[0, :, 0].cpu().numpy() + 1e-6

    few = masks(numbers[:: -(-len(numbers) // POINTS)])
    if len(few) == 1:
        return np.zeros(len(numbers), int)
    tree = linkage(few, "average", "cosine")
    found = fcluster(tree, count, "maxclust") if count else fcluster(tree, ALIKE, "distance")
    if len(few) == len(numbers):
        return found - 1
    means = np.stack([few[found == k].mean(0) for k in range(1, found.max() + 1)])
    return np.concatenate([cdist(masks(some), means, "cosine").argmin(1) for some in numbers.split(POINTS)])


def _names(regions: list[np.ndarray]) -> list[str]:
    """Where regions lie, by the middle of their cells; numbered where two would be called alike."""
    names = []
    for region in regions:
        cells = np.argwhere(region)[:, 1:]
        row, column = ((cells + 0.5) / region.shape[1:]).mean(0)
        up = "top" if row < 1 / 3 else "bottom" if row > 2 / 3 else ""
        side = "left" if column < 1 / 3 else "right" if column > 2 / 3 else ""
        names.append(" ".join(filter(None, (up, side))) or "middle")
    return [n if names.count(n) == 1 else f"{n} {names[: i + 1].count(n)}" for i, n in enumerate(names)]
