"""What training minimizes: sounds are added up, pictures looked at, and the sounds asked for back."""

from functools import reduce

import torch
from torch import Tensor, nn

from . import masks
from .engine import mean
from .mixtures import apply_jitter
from .nets import SoundOfPixels


class Objective(nn.Module):
    """Mix and separate as a module, so that DDP and autocast can wrap it. A batch to its loss, see `batch_loss`."""

    def __init__(self, model: SoundOfPixels):
        super().__init__()
        self.model = model

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        return batch_loss(self.model, batch)


def batch_loss(model: SoundOfPixels, batch: dict[str, Tensor]) -> Tensor:
    """The loss of one batch, a scalar: add the sounds up, look at the frames, and ask for the sounds back.

    What the batch holds: see `mixtures.Training`; the noise is added to the mixture, and nobody asks for it.
    """
    sounds = batch["sounds"]
    with torch.autocast(sounds.device.type, enabled=False):  # the targets are exact at any precision of the nets
        specs = model.stft(sounds)  # (B, N, F_linear, T)
        sources = model.magnitudes(specs)  # (B, N, F, T)
        # The STFT of a sum is the sum of the STFTs; torch's `sum` of complex numbers takes 15 times as long.
        whole = reduce(torch.add, specs.unbind(1))
        if "noise" in batch:
            noise = batch["noise"]
            noisy = noise.any(1) if noise.device.type == "cpu" else slice(None)  # who asks a GPU waits for it
            noise = noise[noisy]
            sources = torch.cat([sources, torch.zeros_like(sources[:, :1])], 1)
            if len(noise):  # MKL refuses an FFT of nothing
                spec = model.stft(noise)
                sources[noisy, -1] = model.magnitudes(spec)
                whole[noisy] += spec
        mixture = model.magnitudes(whole)  # (B, F, T)
    return mask_loss(model, mixture, sources, pictures(model, batch))


def pictures(model: SoundOfPixels, batch: dict[str, Tensor]) -> Tensor:
    """Each source's K numbers, by the road that the batch's pictures take. Shape: -> (B, N, K)"""
    if "cells" not in batch:
        return model.pooled(apply_jitter(batch["frames"], batch["jitter"]))
    seen = batch["seen"] if "seen" in batch else model.look(apply_jitter(batch["frames"], batch["jitter"]))
    return model.pooled_seen(seen, batch["cells"])


def mask_loss(model: SoundOfPixels, mixture: Tensor, sources: Tensor, pictures: Tensor) -> Tensor:
    """The loss of the masks that pictures call for, a scalar: each mask by itself, and among the mixture's sources.

    By itself is how a click asks; among the others is how an evaluation deals a mixture out (`masks.share`).
    Shape: magnitudes (B, F, T) and (B, N or more, F, T), the first N with a picture; pooled pictures (B, N, K)
    """
    config, bce = model.config, model.config.loss == "bce"
    logits = model.logits(pictures, model.channels(mixture)).float()
    target, weight = model.target(sources, mixture)[:, : pictures.shape[1]], model.weight(mixture)
    if config.loss_mean == "weights":
        weight = weight / mean(weight.mean())
    alone = masks.loss(logits if bce else model.mask(logits), target, weight, config.loss)
    return alone + config.among * masks.loss_among(logits, target, weight) if bce and config.among else alone
