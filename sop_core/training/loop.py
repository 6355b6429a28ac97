"""Training: `fit` yields one record an epoch. The caller shows them.

See `checkpoint` for the folder of a run, `objective` for the loss, and `engine` for devices and
processes.
"""

import math
import socket
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from accelerate import Accelerator, notebook_launcher
from accelerate.state import AcceleratorState
from accelerate.utils import broadcast_object_list, gather_object
from torch import nn
from torch.utils.data import DataLoader, Subset
from tqdm.auto import tqdm

from ..config import AnyPath, Config
from ..data.clips import Clip
from ..errors import SopError
from ..model.eyes import Eyes
from ..model.model import SoundOfPixels
from . import checkpoint
from .checkpoint import Record
from .engine import (
    Stop,
    accelerator,
    enough_memory,
    ignore_sigint,
    interruptible,
    kept_memory,
    mean,
    read,
    readers,
)
from .looks import Looks, look_once
from .mixtures import Training
from .naming import name_labels
from .objective import heard_elsewhere
from .optimizer import lr_share, trainable
from .pairs import draw_pairs
from .resident import Resident, fits
from .validation import validate

SAVE_EVERY = 600.0  # seconds: how much of a long epoch a power cut may cost
# Settings that go with the backbone: a run with another one than that which it begins with may have
# others
EYES = ("backbone", "backbone_weights", "backbone_learns", "pretrained", "image", "frame_stride")
EYES += ("frame_width", "frame_groups", "frame_dilation")


def fit(
    config: Config,
    train: list[Clip],
    val: list[Clip],
    folder: AnyPath,
    resume: bool = False,
    device: str | None = None,
    begin: AnyPath | None = None,
) -> Iterator[Record]:
    """Train for `config.epochs` epochs. Yields one record after each.

    Ctrl-C finishes the step, saves the state and raises KeyboardInterrupt. SIGTERM does the same,
    and raises `Terminated`. Under `accelerate launch` each process calls this with the same
    arguments and gets the same records (but for the times). Only the first one uses the folder.

    Args: `folder`: of the run. `resume`: go on from the last state that was saved there. Without
        one the run starts, with a warning; of a run that is complete nothing is left to do. So the
        same call serves a job that may be stopped or killed at any moment.
        `begin`: the folder of the run whose weights it starts from; None: it starts anew. The
        config must be of the same nets (`Config.with_nets`), but may have another backbone: then
        the layer that turns its channels into K features starts anew.
    Raises SopError where `folder` holds a run already (without `resume`), where the config or the
    clips to resume with differ, where `begin` has other nets, where the clips can't make mixtures,
    where memory does not suffice, where a process that reads clips is killed, and where the loss or
    a gradient is not finite.
    """
    # Clips, and the state of the run to resume
    config.check()
    folder = Path(folder)
    engine = accelerator(config, device)
    data = Training(train, config)
    pairs = draw_pairs(val, config.val_pairs, config, leave_out=True)
    state = _opened(folder, config, {"train": train, "val": val}, resume, begin, engine)
    with ExitStack() as stack:
        if engine.is_main_process:
            stack.callback(checkpoint.free, folder)  # however the run ends
        # Nets and optimizer, and the score that they have to beat
        stack.enter_context(kept_memory(engine.device))
        with enough_memory("at the start"):
            run = _Run(config, data, folder, state, engine)
        known = [r.val_sdr_mixture for r in run.history]
        sdr_mixture = known[0] if known else validate(None, pairs, config, engine)
        while len(run.history) < config.epochs:
            with interruptible() as stop:
                with readers(f"epoch {run.number}"):
                    loss, skipped, rate = run.epoch(stop)
                # Validation
                began = time.perf_counter()
                with enough_memory(f"epoch {run.number}, validation"):
                    sdr = validate(run.model, pairs, config, engine, stop)
                # The record
                before = run.history[-1].seconds if run.history else 0.0
                seconds = before + run.at.seconds + time.perf_counter() - began
                best = sdr > max((r.val_sdr for r in run.history), default=-math.inf)
                record = Record(run.number, loss, sdr, sdr_mixture, best, rate, seconds, skipped)
                run.history.append(record)
                run.at = Progress()
                run.save()
            yield record
            if stop and len(run.history) < config.epochs:
                raise stop[0]
        if engine.is_main_process:
            name_labels(folder, data, str(engine.device))
    engine.end_training()


def fit_on_gpus(
    config: Config, train: list[Clip], val: list[Clip], folder: AnyPath, resume: bool = False
) -> list[Record]:
    """`fit` from a notebook, on as many GPUs of this machine as can share a batch evenly.

    The notebook must not have used a GPU before, because its kernel is forked.
    Returns all records.
    """
    size = config.batch // config.accumulate
    gpus = max(torch.cuda.device_count(), 1)
    processes = max(n for n in range(1, gpus + 1) if size % n == 0)

    def one() -> None:
        if processes > 1:  # with more, the fork of a process that has computed hangs
            torch.set_num_threads(1)
        list(fit(config, train, val, folder, resume))

    with socket.socket() as free:  # a port of its own: another notebook may train here as well
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    AcceleratorState._reset_state(reset_partial_state=True)  # of an earlier training in this kernel
    notebook_launcher(one, num_processes=processes, use_port=port)
    return checkpoint.read_history(folder)


def _opened(
    folder: Path,
    config: Config,
    clips: dict[str, list[Clip]],
    resume: bool,
    begin: AnyPath | None,
    engine: Accelerator,
) -> dict | None:
    """Start the run's folder, or get the state to go on from: this run's, or that of `begin`.

    The first process does it and sends the state to the others, which may not have the folder.
    """
    state, error = None, ""
    if engine.is_main_process:
        try:
            if begin is not None:
                _check_nets(config, begin)
            checkpoint.start(folder, config, clips, resume, begin)
            state = checkpoint.read_state(folder) if resume else None
            if resume and state is None:
                warnings.warn(
                    f"{folder}: no state to resume from yet; the run starts", stacklevel=2
                )
            if begin is not None and state is None:
                state = _begun(begin, config)
        except SopError as e:
            error = str(e)
    state, error = broadcast_object_list([state, error])
    if error:
        raise SopError(error)
    return state


def _check_nets(config: Config, begin: AnyPath) -> None:
    """Raises SopError where the model in a folder has other nets, or reads sounds otherwise."""
    there = checkpoint.read_config(begin)
    nets = asdict(config.with_nets(there))
    here = asdict(config)
    may_differ = EYES if config.backbone != there.backbone else ()
    other = [
        f"{k}={v} there, {here[k]} here"
        for k, v in nets.items()
        if v != here[k] and k not in may_differ
    ]
    if other:
        what = "can't start from it with other settings of nets, sound or picture"
        hint = "leave them out (--set), or train without --from"
        raise SopError(f"{begin}: {what} ({'; '.join(other)}); {hint}")


def _begun(begin: AnyPath, config: Config) -> dict:
    """The state of a run that starts from the weights in a folder."""
    model = checkpoint.load_model(begin, "cpu")
    learned = model.learned()
    if config.backbone != model.config.backbone:
        torch.manual_seed(config.seed)
        model = SoundOfPixels(config)
        ears = {key: v for key, v in learned.items() if not key.startswith("frame.")}
        learned = model.learned() | ears
    progress = {"history": [], "at": asdict(Progress())}
    return {"model": learned, "backbone": model.backbone, **progress}


@dataclass
class Progress:
    """How far an epoch has come."""

    step: int = 0
    loss: float = 0.0  # sum over its steps
    skipped: int = 0
    seconds: float = 0.0


class _Run:
    """What changes in a training: nets, optimizer, history, and the progress of the epoch."""

    def __init__(
        self, config: Config, data: Training, folder: Path, state: dict | None, engine: Accelerator
    ):
        self.config = config
        self.data = data
        self.folder = folder
        self.engine = engine
        self.history: list[Record] = []
        self.at = Progress()
        self.named: set[str] = set()  # files that could not be read: a warning has named them
        torch.manual_seed(config.seed)
        model = SoundOfPixels.blank(config) if state else SoundOfPixels(config)
        model.to(engine.device)
        model.to(memory_format=torch.channels_last)  # as convolutions want it
        if state:
            checkpoint.same_backbone(folder, state.get("backbone", ""), model)
            model.load_learned(state["model"])
            self.history = [Record(**row) for row in state["history"]]
            self.at = Progress(**state["at"])
        if config.looks_once:
            assert isinstance(model.frame, Eyes)  # the published frame net has no backbone
            data.looked = look_once(data, model.frame, engine)
        self.resident = None
        if fits(data, engine.device):
            self.resident = Resident(data, engine.device, engine.is_main_process)
            data.resident = self.resident.unread
        self.model = model
        self.objective, self.optimizer = trainable(model, engine)
        if state and "optimizer" in state:
            self.optimizer.load_state_dict(state["optimizer"])
            self.publish()

    @property
    def number(self) -> int:
        """Number of the current epoch, from 1."""
        return len(self.history) + 1

    def epoch(self, stop: Stop) -> tuple[float, int, float]:
        """Train for the rest of an epoch. Saves the state, and raises what a signal put in `stop`.

        Returns the mean loss, how many mixtures were drawn anew, and mixtures a second.
        """
        config, at, engine = self.config, self.at, self.engine
        # The mixtures of the epoch that have not been trained on
        size = config.batch // config.accumulate
        steps = config.epoch_size // config.batch * config.accumulate
        first = (self.number - 1) * steps * size
        loader = DataLoader(
            Subset(self.data, range(first + at.step * size, first + steps * size)),
            size,
            num_workers=config.workers,
            pin_memory=engine.device.type == "cuda",
            worker_init_fn=ignore_sigint,
        )
        batches = read(engine.prepare(loader))
        name, quiet = f"epoch {self.number}/{config.epochs}", not engine.is_main_process
        bar = tqdm(batches, name, steps, unit="step", leave=False, initial=at.step, disable=quiet)
        # The steps
        self.model.train()
        began = saved = time.perf_counter()
        before = at.seconds
        for batch in bar:
            loss, skipped, asked = self._step(batch, steps, stop)
            at.loss += loss
            at.skipped += skipped
            at.step += 1
            at.seconds = before + time.perf_counter() - began
            bar.set_postfix(loss=f"{at.loss / at.step:.4f}", refresh=False)
            if at.step % config.accumulate:
                continue
            # At the epoch's end it is saved before validation: this may take longer than a SIGTERM
            # leaves, and can be repeated.
            if asked or at.step == steps or time.perf_counter() - saved > SAVE_EVERY:
                self.save()
                saved = time.perf_counter()
            if asked:
                engine.wait_for_everyone()  # the first process to end has the others killed
                raise next(iter(stop), KeyboardInterrupt)
        return at.loss / steps, at.skipped, steps * size / max(at.seconds, 1e-9)

    def _step(self, batch: dict, steps: int, stop: Stop) -> tuple[float, int, bool]:
        """One step of the nets. Each process gets the same result.

        Returns the loss, how many mixtures were drawn anew, and whether to stop.
        """
        where = f"epoch {self.number} step {self.at.step + 1}"
        names, skipped = batch.pop("names"), self._count(batch.pop("skipped"))
        for group in self.optimizer.param_groups:
            group["lr"] = group["base"] * lr_share(self.config, self.number, self.at.step, steps)
        with enough_memory(where), self.engine.accumulate(self.objective):
            if self.resident:
                batch = self.resident.fill(batch)
            number = (self.number - 1) * steps + self.at.step  # of all epochs' steps, from 0
            if self.config.acoustics:
                among = (self.engine.process_index, self.engine.num_processes)
                keys = [key for key in ("sounds", "unseen") if key in batch]
                sounds = torch.cat([batch[key] for key in keys], 1)
                heard = heard_elsewhere(sounds, self.config, number, *among)
                sizes = [batch[key].shape[1] for key in keys]
                batch |= zip(keys, heard.split(sizes, 1), strict=True)
            if self.config.absent:
                batch["done"] = number / (self.config.epochs * steps)
            own = self.objective(batch)  # the loss of this process
            numbers = [own.detach(), own.new_tensor(len(stop)), own.new_tensor(skipped)]
            means = mean(torch.stack(numbers))
            self.engine.backward(own)
            norm = means.new_zeros(())
            if self.engine.sync_gradients:
                gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
                norm = nn.utils.get_total_norm(gradients)
            # The only line at which the CPU waits for the device
            loss, asked, skipped, norm = torch.cat([means, norm[None]]).tolist()
            if not math.isfinite(loss + norm):
                guilty = math.isfinite(loss) or not math.isfinite(own.detach())
                self._give_up(where, loss, names if guilty else [])
            self.optimizer.step()
            self.optimizer.zero_grad()
        return loss, round(skipped * self.engine.num_processes), asked > 0

    def _give_up(self, where: str, loss: float, names: list[str]) -> None:
        """Raise SopError: the loss or a gradient is not finite. It names the clips of the batch."""
        clips = ", ".join(gather_object(names))
        what = "the gradient is not finite" if math.isfinite(loss) else f"the loss is {loss}"
        state = self.folder / "state" / "last.pt"
        kept = f"the last good state is kept in {state}"
        kept = kept if state.is_file() else "no state was saved yet"
        hint = "start anew with a lower --set lr_sound and another --id"
        raise SopError(f"{where} ({clips}): {what}; {kept}; {hint}")

    def _count(self, skipped: list[str]) -> int:
        """How many mixtures had to be drawn anew. Warns of each file once."""
        reasons = [reason for text in skipped for reason in text.split("\n") if reason]
        for reason in dict.fromkeys(reasons):
            if reason not in self.named:
                self.named.add(reason)
                warnings.warn(f"{reason}; its mixtures are skipped", stacklevel=2)
        return len(reasons)

    def save(self) -> None:
        """Save the state, then the other files. If a cut comes between, they are made from it."""
        if self.engine.is_main_process:
            state = {
                "model": self.model.learned(),
                "backbone": self.model.backbone,
                "optimizer": self.optimizer.state_dict(),
                "history": [asdict(r) for r in self.history],
                "at": asdict(self.at),
            }
            checkpoint.write_state(self.folder, state)
            self.publish()
            if isinstance(self.data.looked, Looks):
                self.data.looked.in_use()

    def publish(self) -> None:
        """Write the history, and the weights if the last epoch is the best one."""
        if self.engine.is_main_process and self.history and not self.at.step:
            if self.history[-1].best:
                checkpoint.write_model(self.folder, self.model)
            try:
                checkpoint.write_history(self.folder, self.history)
            except PermissionError as e:  # on Windows: Excel has it open
                kept = "the next epoch, or --resume, writes it from the state"
                warnings.warn(f"{self.folder}: no history.csv ({e}); {kept}", stacklevel=2)
