"""Masks: what the nets should say, how far off they are, how a mask becomes a sound.

A mask says for every bin of the mixture's spectrogram how much of it belongs to one source, from 0 to 1.
"""

import torch
import torch.nn.functional as nnf
from torch import Tensor

from .spectrogram import istft


def targets(mags: Tensor, kind: str, mixture: Tensor | None = None) -> Tensor:
    """Ideal masks of N sources: `binary`, 1 for the loudest source of a bin, or `ratio`, each source's share.

    They add up to 1 in every bin that sounds, and to 0 in a bin where nothing does: a silent source's mask is empty.
    With the magnitude of the `mixture` (B, F, T) they are the released code's: `binary`, 1 where a source has more than half
    of it (of several sources each may have, or none); `ratio`, the source over the mixture, at most 5.
    Shape: magnitudes (B, N, F, T) -> masks (B, N, F, T)
    """
    if mixture is not None:
        whole = mixture[:, None] + 1e-10
        return (mags > 0.5 * whole).to(mags.dtype) if kind == "binary" else (mags / whole).clamp(0, 5)
    total = mags.sum(1, keepdim=True)
    if kind == "ratio":
        return mags / total.clamp_min(1e-8) * (total > 1e-8)
    loudest = mags == mags.amax(1, keepdim=True)  # several times faster than one_hot(argmax) on a CPU
    return (loudest & (total > 1e-8)).to(mags.dtype)


def weights(mag_mixture: Tensor, loudness: str = "relative") -> Tensor:
    """How much a bin counts in the loss: log(1 + magnitude relative to the window's mean), within 0.001 to 10.

    `absolute`: of the magnitude as it is, as published. Shape: (B, F, T) -> (B, 1, F, T)
    """
    if loudness == "absolute":
        return torch.log1p(mag_mixture).clamp(1e-3, 10)[:, None]
    mean = mag_mixture.mean(dim=(-2, -1), keepdim=True).clamp_min(1e-8)
    return torch.log1p(mag_mixture / mean).clamp(1e-3, 10)[:, None]


def loss(found: Tensor, target: Tensor, weight: Tensor, kind: str = "bce") -> Tensor:
    """How far the found masks are from their targets, weighted, mean over all bins: a scalar.

    `bce`: binary cross-entropy, from logits (so it is safe under autocast); `l1`, `l2`: of the masks themselves.
    Shape: found and target (B, N, F, T), weight (B, 1, F, T)
    """
    if kind == "bce":
        each = nnf.binary_cross_entropy_with_logits(found, target, reduction="none")
    else:
        each = (found - target).abs() if kind == "l1" else (found - target).square()
    return (each * weight).mean()


def loss_among(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """How far off the masks are that `share` makes of these logits: weighted cross-entropy, mean over all bins, a scalar.

    Bins whose targets are all 0 (silence, or a sound that no picture shows) don't count.
    Shape: logits and target (B, N, F, T), weight (B, 1, F, T)
    """
    return -((logits.log_softmax(1) * target).sum(1, keepdim=True) * weight).mean()


def share(logits: Tensor) -> Tensor:
    """Masks of a mixture's N sources that add up to 1 in every bin: the softmax of their logits.

    A logit is the log odds that a source is the loudest, by what its own picture shows. Where one of the N must be, what the
    others' pictures show counts as well: the odds multiply. A bin that nobody claims is dealt out rather than lost.
    Shape: (B, N, F, T) -> (B, N, F, T)
    """
    return logits.softmax(1)


def harden(mask: Tensor, kind: str) -> Tensor:
    """A `binary` mask is cut at 0.5; a `ratio` mask stays as it is. Shape: any."""
    return (mask > 0.5).to(mask.dtype) if kind == "binary" else mask


def apply(mask: Tensor, mixture: Tensor, hop: int, length: int) -> Tensor:
    """The sound behind a mask: mask times the mixture's complex spectrogram (its phase stays), inverted.

    Shape: mask (..., F_linear, T), mixture complex (F_linear, T) or broadcastable -> (..., L)
    """
    return istft(mask * mixture, hop, length)
