"""What training minimizes: sounds are added up, pictures looked at, and the sounds asked for back."""

import torch
from torch import Tensor, nn

from . import masks
from .engine import mean
from .mixing import lit
from .nets import SoundOfPixels


class Objective(nn.Module):
    """Mix and separate as a module, so that DDP and autocast can wrap it. A batch to its loss, see `batch_loss`."""

    def __init__(self, model: SoundOfPixels):
        super().__init__()
        self.model = model

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        return batch_loss(self.model, batch)


def batch_loss(model: SoundOfPixels, batch: dict[str, Tensor]) -> Tensor:
    """The loss of one batch, a scalar: add the sounds up, look at the frames, and ask for the sounds back."""
    config, sounds = model.config, batch["sounds"]
    with torch.autocast(sounds.device.type, enabled=False):  # the targets are exact at any precision of the nets
        specs = model.stft(sounds)  # (B, N, F_linear, T)
        sources = remix(model.magnitudes(specs), config.remix)  # (B remix, N, F, T)
        # The STFT of a sum is the sum of the STFTs.
        mixture = model.magnitudes(remix(specs, config.remix).sum(1))  # (B remix, F, T)
    pictures = remix(model.pooled(lit(batch["frames"], batch["light"])), config.remix)  # (B remix, N, K)
    return mask_loss(model, mixture, sources, pictures)


def mask_loss(model: SoundOfPixels, mixture: Tensor, sources: Tensor, pictures: Tensor) -> Tensor:
    """The loss of the masks that pictures call for, a scalar.

    Shape: magnitudes (B, F, T) and (B, N, F, T), pooled pictures (B, N, K)
    """
    config = model.config
    logits = model.logits(pictures, model.channels(mixture)).float()
    target, weight = model.target(sources, mixture), model.weight(mixture)
    if config.loss_mean == "weights":
        weight = weight / mean(weight.mean())
    return masks.loss(logits if config.loss == "bce" else model.mask(logits), target, weight, config.loss)


def remix(sources: Tensor, times: int) -> Tensor:
    """The same sources in `times` as many mixtures: among `times` mixtures that follow each other, source n is handed on by n.

    Reading clips and looking at their frames costs more than another mixture of them.
    Shape: (B, N, ...), B a multiple of times -> (B times, N, ...)
    """
    groups = sources.unflatten(0, (-1, times))
    turned = [
        torch.stack([s.roll(-n * i, 1) for n, s in enumerate(groups.unbind(2))], 2).flatten(0, 1) for i in range(times)
    ]
    return torch.cat(turned)
