"""Masks: what the nets should predict, how large their error is, and how a mask becomes a sound.

A mask has one value from 0 to 1 for each bin of the mixture's spectrogram: how much of the bin
belongs to one source.
"""

import torch
import torch.nn.functional as nnf
from torch import Tensor

from .spectrogram import istft


def targets(mags: Tensor, kind: str, mixture: Tensor | None = None) -> Tensor:
    """The ideal masks of N sources.

    `binary`: 1 for the loudest source of a bin, 0 for the others. `ratio`: each source's share.
    The masks add up to 1 in each bin that sounds, and to 0 in a bin where no source sounds. So the
    mask of a silent source is empty.

    With `mixture` they are the masks of the released code. `binary`: 1 where a source has more
    than half of the mixture; a bin may have no such source, or several. `ratio`: the source
    divided by the mixture, at most 5.

    Args:
        mags: magnitudes of the sources.
        mixture: magnitudes of the mixture, (B, F, T).

    Shape: (B, N, F, T) -> (B, N, F, T)
    """
    if mixture is not None:
        total = mixture[:, None] + 1e-10
        if kind == "binary":
            return (mags > 0.5 * total).to(mags.dtype)
        return (mags / total).clamp(0, 5)
    total = mags.sum(1, keepdim=True)
    if kind == "ratio":
        return mags / total.clamp_min(1e-8) * (total > 1e-8)
    loudest = mags == mags.amax(1, keepdim=True)  # on a CPU much faster than one_hot(argmax)
    return (loudest & (total > 1e-8)).to(mags.dtype)


def weights(mag_mixture: Tensor, loudness: str = "relative") -> Tensor:
    """How much each bin counts in the loss: log(1 + magnitude), between 0.001 and 10.

    `relative`: the magnitude is divided by its mean over the window. `absolute`: it is not, as in
    the released code.

    Shape: (B, F, T) -> (B, 1, F, T)
    """
    if loudness == "relative":
        mag_mixture = mag_mixture / mag_mixture.mean(dim=(-2, -1), keepdim=True).clamp_min(1e-8)
    return torch.log1p(mag_mixture).clamp(1e-3, 10)[:, None]


def loss(predicted: Tensor, target: Tensor, weight: Tensor, kind: str = "bce") -> Tensor:
    """The weighted error of masks, as the mean over all bins: a scalar.

    `bce`: binary cross-entropy of logits, which is safe under autocast. `l1`, `l2`: the absolute
    or squared error of the masks themselves.

    Shape: predicted and target (B, N, F, T), weight (B, 1, F, T)
    """
    errors = {"bce": nnf.binary_cross_entropy_with_logits, "l1": nnf.l1_loss, "l2": nnf.mse_loss}
    return (errors[kind](predicted, target, reduction="none") * weight).mean()


def loss_among(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """The error of the masks that `partition` makes: weighted cross-entropy, a scalar.

    It is the mean over all bins. A bin whose targets are all 0 adds nothing: it is silent, or its
    sound has no picture.

    Shape: logits and target (B, N, F, T), weight (B, 1, F, T)
    """
    return -((logits.log_softmax(1) * target).sum(1, keepdim=True) * weight).mean()


def partition(logits: Tensor) -> Tensor:
    """Masks of a mixture's N sources that add up to 1 in each bin: the softmax of their logits.

    A logit is the log odds that a source is the loudest, judged from its own picture alone. If one
    of the N sources must be the loudest, the pictures of the others count as well: the odds
    multiply. A bin that no source claims is still given to the sources, so no sound is lost.

    Shape: (B, N, F, T) -> (B, N, F, T)
    """
    return logits.softmax(1)


def binarize(mask: Tensor, kind: str) -> Tensor:
    """Cut a `binary` mask at 0.5. A `ratio` mask stays as it is. Shape: any."""
    return (mask > 0.5).to(mask.dtype) if kind == "binary" else mask


def apply(mask: Tensor, mixture: Tensor, hop: int, length: int) -> Tensor:
    """The sound behind a mask: the inverse STFT of mask times mixture. The mixture's phase stays.

    Shape: mask (..., F_linear, T), mixture complex (F_linear, T) or broadcastable -> (..., L)
    """
    return istft(mask * mixture, hop, length)
