"""Training: `fit` yields one record an epoch, and whoever called it owns the display.

What a run leaves in its folder is `checkpoint`'s, what it learns from is `objective`'s, what it runs on is `engine`'s.
"""

import math
import socket
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from accelerate import Accelerator, notebook_launcher
from accelerate.utils import broadcast_object_list, gather_object
from torch import nn
from torch.utils.data import DataLoader, Subset
from tqdm.auto import tqdm

from . import checkpoint, metrics
from .checkpoint import Record
from .clips import Clip
from .config import AnyPath, Config
from .engine import accelerator, enough_memory, ignore_sigint, interruptible, kept_memory, mean, readers, synchronized
from .errors import SopError
from .looks import look_once
from .mixtures import Listed, Training
from .nets import SoundOfPixels
from .objective import Objective
from .pairs import draw_pairs
from .windows import Mixture

SAVE_EVERY = 600.0  # seconds: what a power cut may cost of a long epoch


def fit(
    config: Config, train: list[Clip], val: list[Clip], folder: AnyPath, resume: bool = False, device: str | None = None
) -> Iterator[Record]:
    """Train for `config.epochs`, one record an epoch; `resume` goes on where the last state was saved.

    Ctrl-C finishes the step, saves the state and raises KeyboardInterrupt; so does SIGTERM (`Terminated`, which is one). Under
    `accelerate launch` every process calls this with the same arguments and gets the same records (but for times); the first one
    reads and writes the folder.
    Raises SopError where `folder` holds a run already (and `resume` is off), where the clips can't make mixtures, where
    the config or the clips to resume with differ, where memory does not suffice, where a process that reads clips is killed, and
    where loss or gradient are no numbers.
    """
    config.check()
    folder = Path(folder)
    engine = accelerator(config, device)
    data, pairs = Training(train, config), draw_pairs(val, config.val_pairs, config)
    state = _opened(folder, config, {"train": train, "val": val}, resume, engine)
    with _claimed(folder, engine), kept_memory(engine.device):
        with enough_memory("at the start"):
            run = _Run(config, data, folder, state, engine)
        sdr_mixture = run.history[0].val_sdr_mixture if run.history else validate(None, pairs, config, engine)
        while len(run.history) < config.epochs:
            with interruptible() as stop:
                with readers(f"epoch {run.number}"):
                    loss, skipped, rate = run.epoch(stop)
                began = time.perf_counter()
                with enough_memory(f"epoch {run.number}, validation"):
                    sdr = validate(run.model, pairs, config, engine, stop)
                before = run.history[-1].seconds if run.history else 0.0
                seconds = before + run.at.seconds + time.perf_counter() - began
                best = sdr > max((r.val_sdr for r in run.history), default=-math.inf)
                run.history.append(Record(run.number, loss, sdr, sdr_mixture, best, rate, seconds, skipped))
                run.at = Progress()
                run.save()
            yield run.history[-1]
            if stop and len(run.history) < config.epochs:
                raise stop[0]
    engine.end_training()


def fit_on_gpus(
    config: Config, train: list[Clip], val: list[Clip], folder: AnyPath, resume: bool = False
) -> list[Record]:
    """`fit`, from a notebook, on as many GPUs of this machine as can share a batch evenly; all its records.

    The notebook must not have used a GPU before: its processes are forks of the kernel.
    """
    shares = config.batch // config.accumulate
    processes = max(n for n in range(1, max(torch.cuda.device_count(), 1) + 1) if shares % n == 0)

    def one() -> None:
        torch.set_num_threads(1)  # a fork of a process that has computed hangs with more
        list(fit(config, train, val, folder, resume))

    with socket.socket() as free:  # of its own: another notebook may train here as well
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    notebook_launcher(one, num_processes=processes, use_port=port)
    return checkpoint.read_history(folder)


def _opened(
    folder: Path, config: Config, clips: dict[str, list[Clip]], resume: bool, engine: Accelerator
) -> dict | None:
    """The state to resume from, if any. The first process looks, and tells the others, which may have no such folder."""
    found = [None, ""]
    if engine.is_main_process:
        try:
            checkpoint.start(folder, config, clips, resume)
            found[0] = checkpoint.read_state(folder) if resume else None
        except SopError as e:
            found[1] = str(e)
    state, error = broadcast_object_list(found)
    if error:
        raise SopError(error)
    return state


@contextmanager
def _claimed(folder: Path, engine: Accelerator) -> Iterator[None]:
    """Whatever ends a training: where nothing was learned, its folder is free for another one."""
    try:
        yield
    finally:
        if engine.is_main_process:
            checkpoint.free(folder)


@dataclass
class Progress:
    """How far an epoch has come."""

    step: int = 0
    loss: float = 0.0  # sum over its steps
    skipped: int = 0
    seconds: float = 0.0


class _Run:
    """All that a training changes: the nets, the optimizer, the history, and how far its epoch has come."""

    def __init__(self, config: Config, data: Training, folder: Path, state: dict | None, engine: Accelerator):
        self.config, self.data, self.folder, self.engine = config, data, folder, engine
        self.history, self.at, self.named = [], Progress(), set()  # `named`: files that could not be read
        torch.manual_seed(config.seed)
        model = SoundOfPixels.blank(config) if state else SoundOfPixels(config)
        model.to(engine.device, memory_format=torch.channels_last)  # convolutions need no reordering
        if state:
            checkpoint.same_backbone(folder, state.get("backbone", ""), model)
            model.load_learned(state["model"])
            self.history, self.at = [Record(**row) for row in state["history"]], Progress(**state["at"])
        if config.looks_once:
            data.looked = look_once(data, model.frame, engine)
        self.model = model
        self.objective, self.optimizer = trainable(model, engine)
        if state:
            self.optimizer.load_state_dict(state["optimizer"])
            self.publish()

    @property
    def number(self) -> int:
        """Of the epoch, from 1."""
        return len(self.history) + 1

    def epoch(self, stop: list) -> tuple[float, int, float]:
        """What is left of an epoch; its mean loss, how many mixtures had to be drawn anew, and mixtures a second."""
        config, at, engine = self.config, self.at, self.engine
        size = config.batch // config.accumulate
        steps = config.epoch_size // config.batch * config.accumulate
        first = (self.number - 1) * steps * size
        mine = Subset(self.data, range(first + at.step * size, first + steps * size))
        loader = DataLoader(
            mine,
            size,
            num_workers=config.workers,
            pin_memory=engine.device.type == "cuda",
            worker_init_fn=ignore_sigint,
        )
        self.model.train()
        began = saved = time.perf_counter()
        before = at.seconds
        bar = tqdm(
            _read(engine.prepare(loader)), f"epoch {self.number}/{config.epochs}", steps, unit="step", leave=False,
            initial=at.step, disable=not engine.is_main_process,
        )  # fmt: skip
        for batch in bar:
            loss, skipped, asked = self._step(batch, steps, stop)
            at.loss, at.skipped = at.loss + loss, at.skipped + skipped
            at.step, at.seconds = at.step + 1, before + time.perf_counter() - began
            bar.set_postfix(loss=f"{at.loss / at.step:.4f}", refresh=False)
            if at.step % config.accumulate == 0:
                # Before validation, too: it may take longer than a SIGTERM leaves, and it can be made again.
                if asked or at.step == steps or time.perf_counter() - saved > SAVE_EVERY:
                    self.save()
                    saved = time.perf_counter()
                if asked:
                    engine.wait_for_everyone()  # who ends first has the others killed
                    raise next(iter(stop), KeyboardInterrupt)
        return at.loss / steps, at.skipped, steps * size / max(at.seconds, 1e-9)

    def _step(self, batch: dict, steps: int, stop: list) -> tuple[float, int, bool]:
        """One step of the nets; its loss, the mixtures drawn anew, and whether to stop: all processes agree on them."""
        where = f"epoch {self.number} step {self.at.step + 1}"
        names, skipped = batch.pop("names"), self._count(batch.pop("skipped"))
        for group in self.optimizer.param_groups:
            group["lr"] = group["base"] * lr_share(self.config, self.number, self.at.step, steps)
        with enough_memory(where), self.engine.accumulate(self.objective):
            found = self.objective(batch)
            said = mean(torch.stack([found.detach(), found.new_tensor(len(stop)), found.new_tensor(skipped)]))
            self.engine.backward(found)
            gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
            whole = nn.utils.get_total_norm(gradients) if self.engine.sync_gradients else said.new_zeros(())
            loss, asked, skipped, norm = torch.cat([said, whole[None]]).tolist()  # once the device is done
            if not math.isfinite(loss + norm):
                self._give_up(where, loss, names if math.isfinite(loss) or not math.isfinite(found.detach()) else [])
            self.optimizer.step()
            self.optimizer.zero_grad()
        return loss, round(skipped * self.engine.num_processes), asked > 0

    def _give_up(self, where: str, loss: float, names: list[str]) -> None:
        """The loss, or a gradient, is no number: which clips were in it, and what is left."""
        names = gather_object(names)
        what = "the gradient is not finite" if math.isfinite(loss) else f"the loss is {loss}"
        kept = self.folder / "state" / "last.pt"
        left = f"the last good state is kept in {kept}" if kept.is_file() else "no state was saved yet"
        raise SopError(
            f"{where} ({', '.join(names)}): {what}; {left}; start anew with a lower --set lr_sound and another --id"
        )

    def _count(self, skipped: list[str]) -> int:
        """How many mixtures had to be drawn anew. What was named once isn't named again."""
        reasons = [reason for text in skipped for reason in text.split("\n") if reason]
        for reason in dict.fromkeys(reasons):
            if reason not in self.named:
                self.named.add(reason)
                warnings.warn(f"{reason}; its mixtures are skipped", stacklevel=2)
        return len(reasons)

    def save(self) -> None:
        """The state to resume from, first: whatever else a cut leaves out is made from it again."""
        if self.engine.is_main_process:
            optimizer, history = self.optimizer.state_dict(), [asdict(r) for r in self.history]
            state = {
                "model": self.model.learned(),
                "backbone": self.model.backbone,
                "optimizer": optimizer,
                "history": history,
                "at": asdict(self.at),
            }
            checkpoint.write_state(self.folder, state)
            self.publish()

    def publish(self) -> None:
        """The weights of the best epoch, if the last one is it, and the history."""
        if self.engine.is_main_process and self.history and not self.at.step:
            if self.history[-1].best:
                checkpoint.write_model(self.folder, self.model)
            checkpoint.write_history(self.folder, self.history)


@torch.inference_mode()
def validate(
    model: SoundOfPixels | None,
    pairs: list[Mixture],
    config: Config,
    engine: Accelerator | None = None,
    stop: list[type[KeyboardInterrupt]] = (),
) -> float:
    """Mean SDR in dB over the sources of `pairs`; with no model, that of the mixture as it is. Silent sources don't count.

    With an engine each of its processes takes its share of the pairs, and all get the mean. Where `stop` comes to hold something
    it is raised; several processes, which wait for each other, finish first.
    """
    scores = []
    mine = pairs[engine.process_index :: engine.num_processes] if engine else pairs
    for item in DataLoader(Listed(mine, config), batch_size=None):
        if stop and (engine is None or engine.num_processes == 1):
            raise stop[0]
        sounds, frames = item["sounds"], item["frames"]
        found = sounds.sum(0).expand_as(sounds)
        if model is not None:
            device = next(model.parameters()).device
            found = model.eval().separate(found[:1].to(device), frames[None].to(device))[0].cpu()
        if scored := metrics.bss(sounds, found):
            scores += scored["sdr"].tolist()
    if engine:
        scores = gather_object(scores)
    if not scores:
        raise SopError(
            f"every one of the {len(pairs)} validation mixtures holds a silent source: no SDR to choose the best by"
        )
    return math.fsum(scores) / len(scores)  # in any order the same


# --- parts of fit ----------------------------------------------------------------------------------------------------


def trainable(model: SoundOfPixels, engine: Accelerator) -> tuple[nn.Module, torch.optim.Optimizer]:
    """The model's objective and optimizer on an engine; the nets compiled, if the config says so."""
    model = synchronized(model, engine)
    if model.config.compile:
        model.sound.compile()
        model.frame.compile()
    return engine.prepare(Objective(model), _optimizer(model, model.config))


def _optimizer(model: SoundOfPixels, config: Config) -> torch.optim.Optimizer:
    """A learning rate for each part, as published; what is reached of it is set at every step."""
    groups = [
        {"params": [*model.sound.parameters(), *model.synthesizer.parameters()], "base": config.lr_sound},
        {"params": [p for p in model.frame.features.parameters() if p.requires_grad], "base": config.lr_frame},
        {"params": list(model.frame.fc.parameters()), "base": config.lr_fc},
    ]
    groups = [group for group in groups if group["params"]]
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=config.lr_sound, momentum=0.9, weight_decay=config.weight_decay, fused=True)
    return torch.optim.AdamW(groups, lr=config.lr_sound, weight_decay=config.weight_decay, fused=True)


def lr_share(config: Config, epoch: int, step: int, steps: int) -> float:
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
