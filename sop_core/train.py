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
from datetime import timedelta
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset
from tqdm.auto import tqdm

from . import masks, media, metrics
from .config import Config
from .engine import accelerator, deaf, device_of, interruptible, mean, synchronized
from .errors import SopError
from .index import Clip
from .mixing import Listed, Mixture, Training, draw_pairs, lit
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

    def left(self, epochs: int) -> str:
        """How long the rest of `epochs` will take, at the pace so far: h:mm:ss."""
        return str(timedelta(seconds=round((epochs - self.epoch) * self.seconds / self.epoch)))


SAVE_EVERY = 600.0  # seconds: what a power cut may cost of a long epoch


def fit(
    config: Config, train: list[Clip], val: list[Clip], folder: Path, resume: bool = False, device: str | None = None
) -> Iterator[Record]:
    """Train for `config.epochs`, one record an epoch; `resume` goes on where the last state was saved.

    Ctrl-C finishes the step, saves the state and raises KeyboardInterrupt. Under `accelerate launch` every process calls
    this with the same arguments and gets the same records; the first one writes.
    Raises SopError where `folder` holds a run already (and `resume` is off), where the clips can't make mixtures, where
    the config to resume differs, and where the loss is no longer a number.
    """
    config.check()
    engine = accelerator(config, device)
    data, pairs = Training(train, config), draw_pairs(val, config.val_pairs, config)
    mine = pairs[engine.process_index :: engine.num_processes]
    if engine.is_main_process:
        _open_run(folder, config, resume)
    engine.wait_for_everyone()
    run = _Run(config, data, folder, resume, engine)
    sdr_mixture = run.history[0].val_sdr_mixture if run.history else _mean(gather_object(_sdrs(None, mine, config)))
    while len(run.history) < config.epochs:
        with interruptible() as stop:
            loss, skipped, rate = run.epoch(stop)
            began = time.perf_counter()
            sdr = _mean(gather_object(_sdrs(run.model, mine, config)))
            seconds = run.at.seconds + time.perf_counter() - began + (run.history[-1].seconds if run.history else 0.0)
            best = sdr > max((r.val_sdr for r in run.history), default=-math.inf)
            run.history.append(Record(run.number, loss, sdr, sdr_mixture, best, rate, seconds, skipped))
            run.at = Progress()
            run.save()
        yield run.history[-1]
        if stop and len(run.history) < config.epochs:
            raise KeyboardInterrupt
    engine.end_training()


@dataclass
class Progress:
    """How far an epoch has come."""

    step: int = 0
    loss: float = 0.0  # sum over its steps
    skipped: int = 0
    seconds: float = 0.0


class _Run:
    """All that a training changes: the nets, the optimizer, the history, and how far its epoch has come."""

    def __init__(self, config: Config, data: Training, folder: Path, resume: bool, engine: Accelerator):
        self.config, self.data, self.folder, self.engine = config, data, folder, engine
        self.history, self.at, self.named = [], Progress(), set()  # `named`: files that could not be read
        torch.manual_seed(config.seed)
        # channels_last: convolutions need no reordering
        model = SoundOfPixels(config).to(engine.device, memory_format=torch.channels_last)
        state = _restore(folder, engine.device) if resume else None
        if state:
            model.load_state_dict(state["model"])
            self.history, self.at = [Record(**row) for row in state["history"]], Progress(**state["at"])
        elif config.start == "spread":
            first = [data[i] for i in range(min(64 // config.sources, len(data)))]
            frames, light = (
                torch.stack([item[key] for item in first]).to(engine.device) for key in ("frames", "light")
            )
            model.spread(lit(frames, light))
        self.model = synchronized(model, engine)
        if config.compile:
            self.model.sound.compile()
            self.model.frame.compile()
        self.objective, self.optimizer = engine.prepare(Objective(self.model), _optimizer(self.model, config))
        if state:
            self.optimizer.load_state_dict(state["optimizer"])

    @property
    def number(self) -> int:
        """Of the epoch, from 1."""
        return len(self.history) + 1

    def epoch(self, stop: list) -> tuple[float, int, float]:
        """What is left of an epoch; its mean loss, how many mixtures had to be drawn anew, and mixtures a second."""
        config, at, engine = self.config, self.at, self.engine
        size = config.batch // config.accumulate
        steps = config.epoch_size // config.batch * config.accumulate
        first = (self.number - 1) * config.epoch_size
        mine = Subset(self.data, range(first + at.step * size, first + steps * size))
        loader = DataLoader(
            mine, size, num_workers=config.workers, pin_memory=engine.device.type == "cuda", worker_init_fn=deaf
        )
        self.model.train()
        began = saved = time.perf_counter()
        before, done = at.seconds, at.step
        bar = tqdm(
            _read(engine.prepare(loader)), f"epoch {self.number}/{config.epochs}", steps, unit="step", leave=False,
            initial=at.step, disable=not engine.is_main_process,
        )  # fmt: skip
        for batch in bar:
            at.skipped += self._count(batch.pop("skipped"))
            at.loss += self._step(batch, steps, stop)
            at.step, at.seconds = at.step + 1, before + time.perf_counter() - began
            bar.set_postfix(loss=f"{at.loss / at.step:.4f}", refresh=False)
            if at.step % config.accumulate == 0 and at.step < steps:
                if stop or time.perf_counter() - saved > SAVE_EVERY:
                    self.save()
                    saved = time.perf_counter()
                if stop:
                    raise KeyboardInterrupt
        skipped = round(mean(torch.tensor(float(at.skipped), device=engine.device)).item() * engine.num_processes)
        return at.loss / steps, skipped, (steps - done) * size / max(time.perf_counter() - began, 1e-9)

    def _step(self, batch: dict, steps: int, stop: list) -> float:
        """One step of the nets; its loss over all processes, which also agree on whether to stop."""
        where = f"epoch {self.number} step {self.at.step + 1}"
        names = batch.pop("names")
        for group in self.optimizer.param_groups:
            group["lr"] = group["base"] * rate(self.config, self.number, self.at.step, steps)
        try:
            with self.engine.accumulate(self.objective):
                found = self.objective(batch)
                loss, asked = mean(torch.stack([found.detach(), found.new_tensor(float(bool(stop)))])).tolist()
                if asked and not stop:
                    stop.append(True)
                if not math.isfinite(loss):
                    raise SopError(
                        f"{where} ({', '.join(names[:4])}): the loss is {loss}; the last state in {self.folder / 'state'} "
                        "is kept; start anew with a lower --set lr_sound and another --id"
                    )
                self.engine.backward(found)
                self.optimizer.step()
                self.optimizer.zero_grad()
        except (torch.OutOfMemoryError, MemoryError):
            raise SopError(f"{where}: out of memory; start anew with a lower --set batch, or accumulate=2") from None
        return loss

    def _count(self, skipped: list[str]) -> int:
        """How many mixtures had to be drawn anew. What was named once isn't named again."""
        reasons = [reason for text in skipped for reason in text.split("\n") if reason]
        for reason in dict.fromkeys(reasons):
            if reason not in self.named:
                self.named.add(reason)
                warnings.warn(f"{reason}; its mixtures are skipped", stacklevel=2)
        return len(reasons)

    def save(self) -> None:
        """The best weights, the state to resume from, then the history: cut off in between, a run repeats rather than loses."""
        if self.engine.is_main_process:
            model, rows = self.model.state_dict(), [asdict(r) for r in self.history]
            if self.history and self.history[-1].best and not self.at.step:
                with media.whole(self.folder / "model.safetensors") as tmp:
                    save_file({k: v.contiguous() for k, v in model.items()}, tmp)
            (self.folder / "state").mkdir(exist_ok=True)
            with media.whole(self.folder / "state" / "last.pt") as tmp:
                state = {
                    "model": model,
                    "optimizer": self.optimizer.state_dict(),
                    "history": rows,
                    "at": asdict(self.at),
                }
                torch.save(state, tmp)
            if rows:
                with media.whole(self.folder / "history.csv") as tmp, tmp.open("w", newline="") as f:
                    table = csv.DictWriter(f, rows[0])
                    table.writeheader()
                    table.writerows(rows)
        self.engine.wait_for_everyone()


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


def validate(model: SoundOfPixels | None, pairs: list[Mixture], config: Config) -> float:
    """Mean SDR in dB over the sources of `pairs`; with no model, that of the mixture as it is. Silent sources don't count."""
    return _mean(_sdrs(model, pairs, config))


@torch.inference_mode()
def _sdrs(model: SoundOfPixels | None, pairs: list[Mixture], config: Config) -> list[float]:
    scores = []
    for item in DataLoader(Listed(pairs, config), batch_size=None):
        sounds, frames = item["sounds"], item["frames"]
        found = sounds.sum(0).expand_as(sounds)
        if model is not None:
            device = next(model.parameters()).device
            found = model.eval().separate(found[:1].to(device), frames[None].to(device))[0].cpu()
        if scored := metrics.bss(sounds, found):
            scores += scored["sdr"].tolist()
    return scores


def _mean(scores: list[float]) -> float:
    if not scores:
        raise SopError("every one of the validation mixtures holds a silent source: no SDR to choose the best by")
    return math.fsum(scores) / len(scores)  # in any order the same


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
        return torch.optim.SGD(groups, lr=config.lr_sound, momentum=0.9, weight_decay=config.weight_decay, fused=True)
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


def _restore(folder: Path, device: torch.device) -> dict | None:
    """The last state that was saved; None where a run was cut off before there was one: it starts over."""
    path = folder / "state" / "last.pt"
    return torch.load(path, map_location=device, weights_only=True) if path.is_file() else None
