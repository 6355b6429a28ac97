"""What training minimizes: the loss of a batch of mixtures.

The sounds of a mixture are added up. The model has to separate them again, by the pictures of the
sources.
"""

from functools import reduce

import numpy as np
import torch
from torch import Tensor, nn

from ..compose import acoustics
from ..config import Config
from ..model import masks
from ..model.model import SoundOfPixels, activate
from .engine import mean
from .mixtures import apply_jitter

OTHERS = 4  # pictures of other mixtures, of which the least alike one should get nothing


class Objective(nn.Module):
    """`batch_loss` as a module, so that DDP and autocast can wrap it."""

    def __init__(self, model: SoundOfPixels):
        super().__init__()
        self.model = model

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        return batch_loss(self.model, batch)


def batch_loss(model: SoundOfPixels, batch: dict[str, Tensor]) -> Tensor:
    """The loss of one batch: a scalar.

    See `mixtures.Training` for what a batch holds; and `done`, the share of the training that is
    done (if it isn't there: all). What no picture shows, noise too, is a part of the mixture, but
    no estimate is made of it.
    """
    sounds = batch["sounds"]  # (B, N, L)
    # The targets are exact at any precision of the nets.
    with torch.autocast(sounds.device.type, enabled=False):
        specs = model.stft(sounds)  # (B, N, F_linear, T)
        sources = model.magnitudes(specs)  # (B, N, F, T)
        # The STFT of a sum is the sum of the STFTs. torch's `sum` of complex numbers takes 15 times
        # as long as this.
        total = reduce(torch.add, specs.unbind(1))
        extra = [batch["noise"]] if "noise" in batch else []
        extra += batch["unseen"].unbind(1) if "unseen" in batch else []
        if extra:
            rest = reduce(torch.add, extra)  # (B, L)
            # Only the mixtures that have a rest. On a GPU all: to find them means to wait for it.
            some = rest.any(1) if rest.device.type == "cpu" else slice(None)
            rest = rest[some]
            sources = torch.cat([sources, torch.zeros_like(sources[:, :1])], 1)  # (B, N + 1, F, T)
            if len(rest):  # MKL refuses an empty FFT
                spec = model.stft(rest)
                sources[some, -1] = model.magnitudes(spec)
                total[some] += spec
        mixture = model.magnitudes(total)  # (B, F, T)
    done = batch.get("done", 1.0)
    return mask_loss(model, mixture, sources, pictures(model, batch), batch.get("videos"), done)


@torch.no_grad()
def heard_elsewhere(
    sounds: Tensor, config: Config, step: int, process: int = 0, processes: int = 1
) -> Tensor:
    """Sounds of a batch, of which a share `config.acoustics` is heard in other rooms.

    `config.seed` and `step` decide what is drawn for each source. So a run that goes on hears the
    same, and so do several processes: `process` has its part of the batch of all `processes`.
    Shape: (B, M, L), the M sounds of each mixture -> (B, M, L)
    """
    flat = sounds.flatten(0, 1)  # (B * M, L)
    seed = np.random.SeedSequence([config.seed, 7, step]).generate_state(1)[0]
    generator = torch.Generator().manual_seed(int(seed))
    everywhere = processes * len(flat)
    mine = slice(process * len(flat), (process + 1) * len(flat))
    changed = (torch.rand(everywhere, generator=generator) < config.acoustics)[mine]
    if flat.device.type == "cpu":  # a GPU would be waited for
        changed &= flat.any(1)  # what is silent stays so
    drawn, rows = acoustics.draw(everywhere, generator).of(mine), changed.nonzero()[:, 0]
    where = rows.to(sounds.device, non_blocking=True)
    other = acoustics.heard(flat[where], config.rate, drawn.of(rows))
    return flat.index_copy(0, where, other).view_as(sounds)


def pictures(model: SoundOfPixels, batch: dict[str, Tensor]) -> Tensor:
    """The visual feature of each source, from what the batch holds of its pictures.

    That is frames, or what the backbone saw of them (`seen`). Shape: -> (B, N, K)
    """
    if "cells" not in batch:
        return model.source_features(apply_jitter(batch["frames"], batch["jitter"]))
    if "seen" in batch:
        seen = batch["seen"]  # (B, N, V, C, H, W)
    else:
        seen = model.look(apply_jitter(batch["frames"], batch["jitter"]))
    return model.region_features(seen, batch["cells"])


def mask_loss(
    model: SoundOfPixels,
    mixture: Tensor,
    sources: Tensor,
    pictures: Tensor,
    videos: Tensor | None = None,
    done: Tensor | float = 1.0,
) -> Tensor:
    """The loss of the masks that visual features give: a scalar.

    It has up to three parts. `masks.loss`: each mask by itself, as a click uses it.
    `masks.loss_among`: the masks of a mixture together, as an evaluation uses them
    (`masks.partition`). With `config.absent`: the mask of a picture of another mixture
    (`others`), which should be empty. The weight of this part's gradient rises with the share
    `done` of the training, since asked early, it hinders the others. Its value has the full weight,
    so that losses of different epochs can be compared.
    Shape: magnitudes (B, F, T) and (B, N or more, F, T), of which the first N have a picture;
    pooled visual features (B, N, K); numbers of the videos of all that sounds (B, N or more)
    """
    config = model.config
    maps = model.feature_maps(mixture)
    logits = model.logits(pictures, maps).float()  # (B, N, F, T)
    target = model.target(sources, mixture)[:, : pictures.shape[1]]
    weight = model.weight(mixture)  # (B, 1, F, T)
    if config.loss_mean == "weights":
        weight = weight / mean(weight.mean())
    bce = config.loss == "bce"
    loss = masks.loss(logits if bce else model.mask(logits), target, weight, config.loss)
    if bce and config.among:
        loss = loss + config.among * masks.loss_among(logits, target, weight)
    if config.absent and len(pictures) > 1:  # alone, there is no other mixture
        shown = activate(pictures.detach(), config.image_activation, -1)
        chosen, foreign = others(shown, videos)
        logits = model.logits(pictures[chosen, :1], maps).float()  # (B, 1, F, T)
        weight = weight * foreign[:, None, None, None]
        part = config.absent * masks.loss(logits, torch.zeros_like(logits), weight)
        loss = loss + done * part + (1 - done) * part.detach()
    return loss


def others(
    pictures: Tensor, videos: Tensor | None = None, among: int = OTHERS
) -> tuple[Tensor, Tensor]:
    """For each mixture, another one whose first picture shows what is not in it.

    Of `among` other mixtures it is the one whose first picture is least alike to the mixture's own
    pictures (by correlation over K). A picture drawn blindly often shows an instrument that sounds:
    in every third mixture of two of six. No labels are needed for this. With `videos`, the numbers
    of the videos of all that sounds, shown or not, none is taken whose video is in the mixture.

    Returns the index for each mixture, and whether it is unlike (a correlation under 0) and of
    another video: of few clips or instruments, all four can be of the mixture's own.
    Shape: visual features (B, N, K), B at least 2, and numbers (B, M) -> indices (B,), bool (B,)
    """
    size = len(pictures)
    centred = nn.functional.normalize(pictures - pictures.mean((0, 1)), dim=-1)
    steps = torch.arange(1, min(among, size - 1) + 1, device=pictures.device)
    candidates = (torch.arange(size, device=pictures.device)[:, None] - steps) % size  # (B, n)
    alike = torch.einsum("bnk,bmk->bmn", centred, centred[candidates, 0]).amax(2)  # (B, n)
    if videos is not None:
        own = (videos[candidates, :1] == videos[:, None]).any(-1)  # (B, n)
        alike = alike.masked_fill(own, torch.inf)
    least = alike.min(1)
    return candidates.gather(1, least.indices[:, None])[:, 0], least.values < 0
