"""Names for what is seen: the nearest of the labels' mean visual features.

Labels name what was learned; nothing is learned from them. The features are the backbone's channels
(`SoundOfPixels.look`), averaged over the cells of a region: they name better than the K features
that the masks are made of (docs/listening.md has the numbers).

Features are compared by the cosine of the angle between them, seen from the middle of all labels,
after whitening: along a direction in which the pictures of one label differ much, a difference
counts little. (Fisher 1936, with the shrunk covariance of Friedman 1989.)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import SopError

UNKNOWN = "unknown"  # the name of what is like no label
# Share of the training clips' pictures that would be unknown, if their clips had been left out
LOST = 0.05
LIKELY = 0.5  # a label that is not more probable than this is `UNKNOWN`, too
FOLDS = 5  # parts of the clips that are left out, one after the other, to measure that
DIAGONAL = 0.7  # of the covariance within labels: how much of it is its diagonal alone
# that are compared, at least: those in which labels differ, then the largest others
DIRECTIONS = 32


class Name(NamedTuple):
    """What a region looks like. The confidence is the probability that the label is right."""

    label: str
    confidence: float  # 0 to 1; 0 for `UNKNOWN`

    @property
    def known(self) -> bool:
        return self.confidence > 0


@dataclass(frozen=True)
class Names:
    """The labels' mean visual features, and how near to one of them a known thing is.

    Attributes:
        labels: n of them, sorted
        middle: the mean of the labels' means (C,)
        axes: the D directions that are compared, whitened (C, D)
        means: of the labels, from the middle, each of length 1 (n, D)
        sharpness: what cosines are multiplied by before the softmax that makes confidences
        least: the cosine below which a name is `UNKNOWN`
    """

    labels: tuple[str, ...]
    middle: Tensor
    axes: Tensor
    means: Tensor
    sharpness: float
    least: float

    def project(self, seen: Tensor) -> Tensor:
        """The backbone's channels in the directions that are compared. It is linear: the mean of
        projections is the projection of the mean.

        Shape: (..., C) -> (..., D)
        """
        return (seen.float() - self.middle.to(seen.device)) @ self.axes.to(seen.device)

    def of(self, projected: Tensor) -> list[Name]:
        """The name of each region, from the mean of `project` over its cells.

        It is `UNKNOWN` where no mean is as near as `least`, and where the nearest label is more
        probably wrong than right. Shape: (P, D)
        """
        cosines = _cosines(projected.double().cpu(), self.means.double())  # (P, n)
        best, index = cosines.max(-1)
        sure = (self.sharpness * cosines).softmax(-1).amax(-1)
        rows = zip(best.tolist(), index.tolist(), sure.tolist(), strict=True)
        return [
            Name(self.labels[i], p) if c >= self.least and p > LIKELY else Name(UNKNOWN, 0)
            for c, i, p in rows
        ]


def fit(views: Tensor, labels: Sequence[str], videos: Sequence[str]) -> Names:
    """Means of labels, and how far held-out pictures are from them.

    Args:
        views: features of V regions of each of B clips.
        labels, videos: of each clip. What is held out is whole videos.

    Shape: (B, V, C)
    Raises SopError where there are fewer than two labels, or none of them has two videos.
    """
    known = sorted(set(labels))
    numbers = torch.tensor([known.index(label) for label in labels])
    folds = torch.tensor(_folds(labels, videos))
    if len(known) < 2 or not (folds >= 0).any():
        have = f"{len(known)} label(s) with at most {len(set(videos))} video(s)"
        raise SopError(f"names need two labels, one of them with two videos; found {have}")
    views = views.double()
    # Each part of the clips, by means of the others
    cosines, true = [], []
    for fold in range(FOLDS):
        out = folds == fold
        if out.any():
            middle, axes, means = _means(views[~out], numbers[~out], len(known))
            cosines.append(_cosines((views[out] - middle) @ axes, means).flatten(0, 1))
            true.append(numbers[out].repeat_interleave(views.shape[1]))
    held, truth = torch.cat(cosines), torch.cat(true)
    least = float(held.amax(-1).quantile(LOST))
    # Confidences are the most probable for what the held-out pictures showed
    steps = torch.logspace(0, 2, 41, dtype=torch.float64)
    losses = [torch.nn.functional.cross_entropy(s * held, truth) for s in steps]
    sharpness = float(steps[torch.stack(losses).argmin()])
    middle, axes, means = (x.float() for x in _means(views, numbers, len(known)))
    return Names(tuple(known), middle, axes.contiguous(), means, sharpness, least)


def _folds(labels: Sequence[str], videos: Sequence[str]) -> list[int]:
    """Which part each clip is in; -1: in none, since its label has only one video."""
    of_label: dict[str, list[str]] = {}
    for label, video in zip(labels, videos, strict=True):
        if video not in (seen := of_label.setdefault(label, [])):
            seen.append(video)
    return [
        of_label[label].index(video) % FOLDS if len(of_label[label]) > 1 else -1
        for label, video in zip(labels, videos, strict=True)
    ]


def _means(views: Tensor, numbers: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Middle (C,), whitened directions (C, D), and the labels' means in them (n, D).

    Shape: (B, V, C), (B,)
    """
    channels = views.shape[-1]
    means = torch.stack([views[numbers == i].mean((0, 1)) for i in range(count)])
    within = (views - means[numbers][:, None]).flatten(0, 1)
    covariance = within.T @ within / len(within)
    diagonal = covariance.diag().clone()
    covariance *= 1 - DIAGONAL
    covariance.diagonal().add_(DIAGONAL * diagonal + 1e-3 * diagonal.mean() + 1e-12)
    white = torch.linalg.cholesky(torch.linalg.inv(covariance))
    middle = means.mean(0)
    between = (means - middle) @ white
    others = ((views - middle) @ white).flatten(0, 1)
    # The labels' directions weigh so much that they all come first
    gram = 1e6 * between.T @ between + others.T @ others / len(others)
    size = min(channels, max(DIRECTIONS, count - 1))
    directions = torch.linalg.eigh(gram).eigenvectors[:, -size:]
    return middle, white @ directions, torch.nn.functional.normalize(between @ directions, dim=-1)


def _cosines(projected: Tensor, means: Tensor) -> Tensor:
    """Shape: (..., D), (n, D) -> (..., n)"""
    return torch.nn.functional.normalize(projected, dim=-1) @ means.T
