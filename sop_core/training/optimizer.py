"""What learns, how fast, and how that changes over a run."""

import math

from accelerate import Accelerator
from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from ..config import Config
from ..model.model import SoundOfPixels
from .engine import synchronize
from .objective import Objective


def trainable(model: SoundOfPixels, engine: Accelerator) -> tuple[nn.Module, Optimizer]:
    """The model's objective and its optimizer, on an engine. `compile`: compiles the sound net."""
    synchronize(model, engine)
    if model.config.compile:
        model.sound.compile()
    return engine.prepare(Objective(model), make_optimizer(model))


def make_optimizer(model: SoundOfPixels) -> Optimizer:
    """The optimizer, with a learning rate for each part as published.

    `base` is the full rate. Each step uses `lr_share` of it.
    """
    config, frame = model.config, model.frame
    learns = [p for p in model.parameters() if p.requires_grad]
    features, fc = {*frame.features.parameters()}, {*frame.fc.parameters()}
    parts = [
        # the sound net, the synthesizer, and any other part that a model has
        (config.lr_sound, [p for p in learns if p not in features | fc]),
        (config.lr_frame, [p for p in learns if p in features]),
        (config.lr_fc, [p for p in learns if p in fc]),
    ]
    groups = [{"params": params, "base": base} for base, params in parts if params]
    how = {"lr": config.lr_sound, "weight_decay": config.weight_decay, "fused": True}
    if config.optimizer == "sgd":
        return SGD(groups, momentum=0.9, **how)
    return AdamW(groups, **how)


def lr_share(config: Config, epoch: int, step: int, steps: int) -> float:
    """The share of the full learning rate at a step (from 0) of `steps` of an epoch (from 1)."""
    if config.schedule == "steps":
        return 0.1 ** sum(epoch > int(last) for last in config.lr_steps.split(","))
    return schedule((epoch - 1) * steps + step, config.epochs * steps)


def schedule(step: int, steps: int) -> float:
    """The share of the full learning rate at a step of all `steps`.

    It rises in the first tenth, then falls to 0 along half a cosine.
    """
    warm = max(1, steps // 10)
    angle = math.pi * max(0, step - warm) / max(1, steps - warm)
    return min((step + 1) / warm, 0.5 + 0.5 * math.cos(angle))
