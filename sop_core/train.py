"""Training: `fit` yields one record an epoch, and whoever called it owns the display.

A run's folder holds `config.json`, `model.safetensors` (the best epoch by validation SDR), `history.csv` and `state/`
(the last epoch, for resume). Every file appears whole or not at all.
"""

import csv
import math
import time
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils.data import DataLoader, Subset
from tqdm.auto import tqdm

from . import masks, media, metrics
from .config import Config
from .errors import SopError
from .index import Clip
from .mixing import Listed, Mixture, Mixtures, Training, draw_pairs, lit
from .nets import SoundOfPixels


@dataclass(frozen=True)
class Record:
    """One row of `history.csv`."""

    epoch: int  # from 1
    loss: float  # mean over the epoch's steps
    val_sdr: float  # dB, mean over the validation mixtures' sources
    val_sdr_mixture: float  # dB, the same for the mixture itself, unseparated
    best: bool  # the weights of this epoch are kept
    mixtures_per_second: float
    seconds: float  # since the run's start, without what lay between stop and resume
    skipped: int = 0  # mixtures drawn anew since a file of theirs could not be read


def device_of(name: str | None = None) -> torch.device:
    """The named device, or a GPU where there is one."""
    return torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))


def fit(
    config: Config, train: list[Clip], val: list[Clip], folder: Path, resume: bool = False, device: str | None = None
) -> Iterator[Record]:
    """Train for `config.epochs`, one record an epoch; `resume` goes on after the last epoch that was finished.

    Raises SopError where `folder` holds a run already (and `resume` is off), where the clips can't make mixtures, where
    the config to resume differs, and where the loss is no longer a number.
    """
    config.check()
    device = device_of(device)
    data, pairs = Training(train, config), draw_pairs(val, config.val_pairs, config)
    _open_run(folder, config, resume)
    torch.manual_seed(config.seed)
    # channels_last: convolutions need no reordering, 1.25 times as fast on a CPU
    model = SoundOfPixels(config).to(device, memory_format=torch.channels_last)
    optimizer = _optimizer(model, config)
    history = _restore(folder, model, optimizer) if resume else []
    if not history and config.start == "spread":
        first = [data[i] for i in range(min(64 // config.sources, len(data)))]
        frames, light = (torch.stack([item[key] for item in first]).to(device) for key in ("frames", "light"))
        model.spread(lit(frames, light))
    best = max((r.val_sdr for r in history), default=-math.inf)
    sdr_mixture = history[0].val_sdr_mixture if history else validate(None, pairs, config)
    named = set()  # files that could not be read
    for epoch in range(len(history) + 1, config.epochs + 1):
        began = time.perf_counter()
        loss, skipped = _epoch(model, optimizer, data, epoch, device, named)
        rate = config.epoch_size / (time.perf_counter() - began)
        sdr = validate(model, pairs, config)
        seconds = (history[-1].seconds if history else 0.0) + time.perf_counter() - began
        record = Record(epoch, loss, sdr, sdr_mixture, sdr > best, rate, seconds, skipped)
        history.append(record)
        best = max(best, sdr)
        _save(folder, model, optimizer, history)
        yield record


def batch_loss(model: SoundOfPixels, batch: dict[str, Tensor]) -> Tensor:
    """The loss of one batch, a scalar: add the sounds up, look at the frames, and ask for the sounds back."""
    config = model.config
    specs = model.stft(batch["sounds"])  # (B, N, F_linear, T)
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
    logits = model.logits(pictures, model.channels(mixture))
    target = masks.targets(sources, config.mask, mixture if config.target == "half" else None)
    weight = masks.weights(mixture, config.loudness) if config.weighted else torch.ones_like(mixture)[:, None]
    return masks.loss(
        logits if config.loss == "bce" else model.mask(logits), target, weight, config.loss, config.loss_mean
    )


def remix(sources: Tensor, times: int) -> Tensor:
    """The same sources in `times` as many mixtures: source n of mixture b stands with source m of mixture b + (m - n) i too.

    Reading clips and looking at their frames costs more than another mixture of them. Shape: (B, N, ...) -> (B times, N, ...)
    """
    turned = [torch.stack([s.roll(-n * i, 0) for n, s in enumerate(sources.unbind(1))], 1) for i in range(times)]
    return torch.cat(turned)


@torch.inference_mode()
def validate(model: SoundOfPixels | None, pairs: list[Mixture], config: Config) -> float:
    """Mean SDR in dB over the sources of `pairs`; with no model, that of the mixture as it is. Silent sources don't count."""
    scores = []
    for item in DataLoader(Listed(pairs, config), batch_size=None):
        sounds, frames = item["sounds"], item["frames"]
        found = sounds.sum(0).expand_as(sounds)
        if model is not None:
            device = next(model.parameters()).device
            found = model.eval().separate(found[:1].to(device), frames[None].to(device))[0].cpu()
        if scored := metrics.bss(sounds, found):
            scores.append(scored["sdr"])
    if not scores:
        raise SopError(
            f"every one of the {len(pairs)} validation mixtures holds a silent source: no SDR to choose the best by"
        )
    return float(np.mean(scores))


def load_model(folder: Path, device: str | None = None) -> SoundOfPixels:
    """The best model of a run's folder, ready to separate. Raises SopError where there is none, or it can't be read."""
    weights = folder / "model.safetensors"
    if not (folder / "config.json").is_file() or not weights.is_file():
        raise SopError(
            f"{folder}: no checkpoint there, expected config.json and model.safetensors; train one with --id"
        )
    config = Config.from_json((folder / "config.json").read_text(), str(folder / "config.json"))
    model = SoundOfPixels(config.override({"pretrained": "false"}))
    try:
        model.load_state_dict(load_file(weights))
    except (SafetensorError, RuntimeError) as e:
        raise SopError(f"{weights}: not the weights of {folder / 'config.json'} ({str(e).splitlines()[0]})") from None
    return model.eval().to(device_of(device))


def read_history(folder: Path) -> list[Record]:
    """The records of `history.csv`. Raises SopError where there is none."""
    path = folder / "history.csv"
    if not path.is_file():
        raise SopError(f"{path}: no history there; is {folder} the folder of a training?")
    kinds = {f.name: {"bool": lambda text: text == "True"}.get(f.type.__name__, f.type) for f in fields(Record)}
    with path.open(newline="") as f:
        return [Record(**{k: kinds[k](v) for k, v in row.items()}) for row in csv.DictReader(f)]


# --- parts of fit ----------------------------------------------------------------------------------------------------


def _optimizer(model: SoundOfPixels, config: Config) -> torch.optim.Optimizer:
    """A learning rate for each part, as published; what is reached of it is set at every step."""
    groups = [
        {"params": [*model.sound.parameters(), *model.synthesizer.parameters()], "base": config.lr_sound},
        {"params": list(model.frame.features.parameters()), "base": config.lr_frame},
        {"params": list(model.frame.fc.parameters()), "base": config.lr_fc},
    ]
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=config.lr_sound, momentum=0.9, weight_decay=config.weight_decay)
    return torch.optim.AdamW(groups, lr=config.lr_sound, weight_decay=config.weight_decay, fused=True)


def rate(config: Config, epoch: int, step: int, steps: int) -> float:
    """Share of the full learning rate at a step of an epoch (from 1) of `steps`."""
    if config.schedule == "steps":
        return 0.1 ** sum(epoch > int(last) for last in config.lr_steps.split(","))
    return schedule((epoch - 1) * steps + step, config.epochs * steps)


def schedule(step: int, steps: int) -> float:
    """Share of the full learning rate: up in the first tenth of the steps, then half a cosine down to 0."""
    warm = max(1, steps // 10)
    return min((step + 1) / warm, 0.5 + 0.5 * math.cos(math.pi * max(0, step - warm) / max(1, steps - warm)))


def _epoch(
    model: SoundOfPixels, optimizer, data: Mixtures, epoch: int, device: torch.device, named: set[str]
) -> tuple[float, int]:
    """One epoch's steps; its mean loss, and how many mixtures had to be drawn anew. What is in `named` isn't named again."""
    config = model.config
    mine = Subset(data, range((epoch - 1) * config.epoch_size, epoch * config.epoch_size))
    loader = DataLoader(
        mine, config.batch, num_workers=config.workers, pin_memory=device.type == "cuda", drop_last=True
    )
    model.train()
    total, skipped = 0.0, 0
    for i, batch in enumerate(
        tqdm(_read(loader), f"epoch {epoch}/{config.epochs}", len(loader), unit="step", leave=False)
    ):
        for reason in "\n".join(batch.pop("skipped")).split("\n"):
            skipped += bool(reason)
            if reason and reason not in named:
                named.add(reason)
                warnings.warn(f"{reason}; its mixtures are skipped", stacklevel=2)
        for group in optimizer.param_groups:
            group["lr"] = group["base"] * rate(config, epoch, i, len(loader))
        names = batch.pop("names")
        try:
            loss = batch_loss(model, {k: v.to(device, non_blocking=True) for k, v in batch.items()})
            if not torch.isfinite(loss):
                raise SopError(
                    f"epoch {epoch} step {i + 1} ({', '.join(names[:4])}): the loss is {loss.item()}; the state of epoch "
                    f"{epoch - 1} is kept; start anew with a lower --set lr_sound and another --id"
                )
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        except torch.OutOfMemoryError:
            raise SopError(f"epoch {epoch} step {i + 1}: out of memory; start anew with a lower --set batch") from None
        total += loss.item()
    return total / len(loader), skipped


def _read(loader: DataLoader) -> Iterator[dict]:
    """The loader's batches; an error of a worker without the worker's traceback, which torch makes part of its message."""
    try:
        yield from loader
    except SopError as e:
        raise SopError(str(e).strip().rpartition("SopError: ")[2]) from None


def _open_run(folder: Path, config: Config, resume: bool) -> None:
    """Make the run's folder, or make sure that it holds the run to go on with."""
    path = folder / "config.json"
    if resume:
        for place in (folder, folder / "state"):
            media.sweep(place)
        if not path.is_file():
            raise SopError(f"{folder}: nothing to resume there; leave --resume out to start a new run")
        old = asdict(Config.from_json(path.read_text(), str(path)))
        if changed := [f"{k}={old[k]} there, {v} now" for k, v in asdict(config).items() if v != old[k]]:
            raise SopError(f"{folder}: can't resume with another config ({'; '.join(changed)})")
    elif path.exists():
        raise SopError(f"{folder}: holds a run already; go on with --resume, or choose another --id, or delete it")
    else:
        folder.mkdir(parents=True, exist_ok=True)
        with media.whole(path) as tmp:
            tmp.write_text(config.to_json())


def _save(folder: Path, model: SoundOfPixels, optimizer, history: list[Record]) -> None:
    """The state to resume from first, so that a run cut off in between repeats an epoch rather than loses one."""
    if history[-1].best:
        with media.whole(folder / "model.safetensors") as tmp:
            save_file({k: v.contiguous() for k, v in model.state_dict().items()}, tmp)
    (folder / "state").mkdir(exist_ok=True)
    with media.whole(folder / "state" / "last.pt") as tmp:
        rows = [asdict(r) for r in history]
        torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "history": rows}, tmp)
    with media.whole(folder / "history.csv") as tmp, tmp.open("w", newline="") as f:
        table = csv.DictWriter(f, rows[0])
        table.writeheader()
        table.writerows(rows)


def _restore(folder: Path, model: SoundOfPixels, optimizer) -> list[Record]:
    """Load the last finished epoch; its history."""
    path = folder / "state" / "last.pt"
    if not path.is_file():
        return []  # cut off in its first epoch: start over
    state = torch.load(path, map_location=next(model.parameters()).device, weights_only=True)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    return [Record(**row) for row in state["history"]]
