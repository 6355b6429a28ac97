"""The mixtures that choose a run's best epoch."""

import math

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch.utils.data import DataLoader

from .. import metrics
from ..config import Config
from ..errors import SopError
from ..model.model import SoundOfPixels
from .engine import Stop
from .mixtures import Listed
from .windows import Mixture


@torch.inference_mode()
def validate(
    model: SoundOfPixels | None,
    pairs: list[Mixture],
    config: Config,
    engine: Accelerator | None = None,
    stop: Stop | None = None,
) -> float:
    """Mean SDR in dB over the sources of `pairs`. Mixtures with a silent source don't count.

    Args:
        model: None for the SDR of the mixture as it is.
        engine: its processes share the pairs; each gets the mean of all.
        stop: raise what it holds between two mixtures (`interruptible`). Several processes wait
            for each other, and finish first.

    Raises SopError where no mixture counts.
    """
    scores = []
    mine = pairs[engine.process_index :: engine.num_processes] if engine else pairs
    for item in DataLoader(Listed(mine, config), batch_size=None):
        if stop and (engine is None or engine.num_processes == 1):
            raise stop[0]
        sounds, frames = item["sounds"], item["frames"]  # (N, L), (N, V, 3, h, w)
        mixture = sounds.sum(0)
        estimates = mixture.expand_as(sounds)
        if model is not None:
            device = next(model.parameters()).device
            model.eval()
            estimates = model.separate(mixture[None].to(device), frames[None].to(device))[0].cpu()
        if scored := metrics.bss(sounds, estimates):
            scores += scored["sdr"].tolist()
    if engine:
        scores = gather_object(scores)
    if not scores:
        what = f"every one of the {len(pairs)} validation mixtures holds a silent source"
        raise SopError(f"{what}: no SDR to choose the best by")
    return math.fsum(scores) / len(scores)  # fsum: the same in any order
