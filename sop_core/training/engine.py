"""What a training runs on: devices, processes, precision, memory and interruptions.

Hugging Face Accelerate is the engine: the same code is one process, or the ones that `accelerate launch` has started, on one or
many machines (DDP). A batch is always the whole batch: `processes` times as many means each takes its share.
"""

import ctypes
import os
import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from accelerate import Accelerator, DataLoaderConfiguration
from accelerate.state import AcceleratorState
from accelerate.utils import patch_environment
from torch import Tensor, nn

from ..config import Config
from ..errors import SopError, Terminated

Stop = list[type[KeyboardInterrupt]]  # what to raise when the step is done; see `interruptible`
GRACE = 30  # s that a loader's process goes on after SIGTERM; what Slurm and Kubernetes leave by default


def device_of(name: str | None = None) -> torch.device:
    """The named device; else the one that the environment names (`SOP_DEVICE`), or a GPU where there is one.

    Raises SopError where there is no such device, or it is of a kind that nothing here was tried on.
    """
    named = name or os.environ.get("SOP_DEVICE")
    told = f"--device {name}" if name else f"SOP_DEVICE={named}"
    try:
        device = torch.device(named or ("cuda" if torch.cuda.is_available() else "cpu"))
    except RuntimeError:
        raise SopError(f"{told}: expected cpu, cuda, or cuda:N") from None
    if device.type not in ("cpu", "cuda"):
        raise SopError(
            f"{told}: nothing here was tried on {device.type}; expected cpu, cuda, or cuda:N"
        )
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise SopError(
            f"{told}: torch sees {torch.cuda.device_count()} GPU(s) here; expected cpu, or none named"
        )
    return device


def precision(config: Config, device: torch.device) -> str:
    """`bf16` or `fp32`; `auto` is bf16 where the chip computes in it: GPUs since 2020, CPUs with AVX512-bf16 or AMX."""
    if config.precision != "auto":
        return config.precision
    launched = os.environ.get(
        "ACCELERATE_MIXED_PRECISION", "no"
    )  # by `accelerate launch` or `accelerate config`
    if launched not in ("no", "bf16"):
        raise SopError(
            f"accelerate's mixed precision is {launched}, expected bf16 or no (or --set precision=fp32)"
        )
    if launched == "bf16":
        return "bf16"
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "bf16" if device.type == "cpu" and torch.cpu._is_avx512_bf16_supported() else "fp32"


def accelerator(config: Config, device: str | None = None) -> Accelerator:
    """The engine of one training. Raises SopError where the batch can't be shared out among the processes."""
    processes = int(os.environ.get("WORLD_SIZE", 1))
    if config.batch % (processes * config.accumulate):
        raise SopError(
            f"config {config.name}: batch={config.batch} on {processes} process(es), expected a multiple of "
            f"{processes * config.accumulate}: processes x accumulate"
        )
    chosen = device_of(device)
    kind = {"bf16": "bf16", "fp32": "no"}[precision(config, chosen)]
    # The state is shared by all Accelerators of a process; another training in the same notebook may want another one.
    AcceleratorState._reset_state(reset_partial_state=not _together())
    with patch_environment(**({} if processes > 1 else {"ACCELERATE_TORCH_DEVICE": str(chosen)})):
        found = Accelerator(
            mixed_precision=kind,
            cpu=processes > 1 and chosen.type == "cpu",
            gradient_accumulation_steps=config.accumulate,
            dataloader_config=DataLoaderConfiguration(split_batches=True, non_blocking=True),
            step_scheduler_with_optimizer=False,
        )
    if found.device.type == "cuda":
        torch.backends.cudnn.benchmark = True  # every batch has the same shape
    return found


def processes(device: str | None = None) -> Accelerator | None:
    """The processes that were launched together, to share out an evaluation; None where this one is alone."""
    return (
        Accelerator(cpu=device_of(device).type == "cpu")
        if int(os.environ.get("WORLD_SIZE", 1)) > 1
        else None
    )


def synchronized(model: nn.Module, engine: Accelerator) -> nn.Module:
    """The model with the batch statistics of all processes together: as if one had the whole batch."""
    if engine.num_processes == 1:
        return model
    if engine.device.type != "cuda":
        for module in model.modules():
            if type(module) is nn.BatchNorm2d:
                module.__class__ = _SyncBatchNorm
        return model
    from timm.layers import convert_sync_batchnorm  # knows timm's own kinds too

    return convert_sync_batchnorm(model)


def mean(x: Tensor) -> Tensor:
    """The mean of a tensor over all processes; nothing is learned through it."""
    x = x.detach()
    if not _together():
        return x
    x = x.clone()
    dist.all_reduce(x)
    return x / dist.get_world_size()


def _together() -> bool:
    return dist.is_available() and dist.is_initialized()


class _Sum(torch.autograd.Function):
    """The sum of a tensor over all processes, and of its gradients.

    torch.distributed.nn has one too, but it is deprecated.
    """

    @staticmethod
    def forward(_, x: Tensor) -> Tensor:
        x = x.clone()
        dist.all_reduce(x)
        return x

    backward = forward


class _SyncBatchNorm(nn.BatchNorm2d):
    """Batch statistics over all processes, on CPUs.

    `torch.nn.SyncBatchNorm` refuses tensors on a CPU (torch 2.14), timm's is built on it, and
    accelerate has none.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        count = x.numel() // x.shape[1] * dist.get_world_size()
        mean = _Sum.apply(x.float().sum((0, 2, 3))) / count
        centred = x - mean[:, None, None]
        var = _Sum.apply(centred.float().square().sum((0, 2, 3))) / count
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(var * count / (count - 1), self.momentum)
        scale = self.weight * (var + self.eps).rsqrt()
        return centred * scale[:, None, None] + self.bias[:, None, None]


@contextmanager
def kept_memory(device: torch.device) -> Iterator[None]:
    """On a CPU, let glibc keep the memory of large tensors for the next ones, instead of giving it back and getting it zeroed anew.

    The steps of a training ask for the same sizes again and again. Afterwards glibc is as it becomes by itself where tensors are
    large (its thresholds rise to 32 and 64 MB), and what was kept is given back. Does nothing where there is no glibc.
    """
    try:
        libc = ctypes.CDLL("libc.so.6") if device.type == "cpu" else None
    except OSError:
        libc = None
    if libc is None:
        yield
        return
    M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4
    libc.mallopt(M_MMAP_MAX, 0)
    libc.mallopt(M_TRIM_THRESHOLD, -1)
    try:
        yield
    finally:
        libc.mallopt(M_MMAP_MAX, 65_536)
        libc.mallopt(M_MMAP_THRESHOLD, 2**25)
        libc.mallopt(M_TRIM_THRESHOLD, 2**26)
        libc.malloc_trim(0)


@contextmanager
def enough_memory(where: str) -> Iterator[None]:
    """What is done runs out of memory, on a GPU or on a CPU: one clear line."""
    try:
        yield
    except (RuntimeError, MemoryError) as e:
        if not isinstance(
            e, torch.OutOfMemoryError | MemoryError
        ) and "can't allocate memory" not in str(e):
            raise
        hint = "start anew with a lower --set batch, or accumulate=2, and another --id"
        raise SopError(f"{where}: out of memory; {hint}") from None


@contextmanager
def readers(where: str) -> Iterator[None]:
    """The loader's processes die, or have no room for what they read: one clear line."""
    try:
        yield
    except RuntimeError as e:
        if re.search(r"shared memory|</torch_", str(e)):
            what = "too little shared memory (/dev/shm) for the processes that read clips"
        elif "DataLoader worker" in str(e):
            what = "a process that reads clips was killed, from outside or for want of memory (shared memory, in a container)"
        else:
            raise
        hint = "--set workers=0 or fewer than now, or docker run --shm-size=2g"
        raise SopError(
            f"{where}: {what}; the last saved state is kept: go on with --resume {hint}"
        ) from None


@contextmanager
def interruptible() -> Iterator[Stop]:
    """Ctrl-C and SIGTERM wait for the step to be finished: what is yielded then holds what to raise. A second one stops at once,
    but under a launcher, which passes on what has reached its processes already.
    """
    asked = []
    if threading.current_thread() is not threading.main_thread():
        yield asked  # signals are the main thread's
        return

    def ask(number: int, _) -> None:
        asked.append(Terminated if number == signal.SIGTERM else KeyboardInterrupt)
        if int(os.environ.get("WORLD_SIZE", 1)) == 1:
            restore()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    before = {
        number: signal.signal(number, ask) or signal.SIG_DFL
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield asked
    finally:
        restore()


def ignore_sigint(_worker: int = 0) -> None:
    """A loader's process leaves Ctrl-C and SIGTERM, which may reach it too, to the training.

    After SIGTERM it ends by itself in `GRACE` seconds: enough to finish a step, and who has really sent it, as Python does to what
    is left when it exits, waits for that end. A second SIGTERM ends it at once.
    """

    def soon(*_) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.alarm(GRACE)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "alarm"):
        signal.signal(signal.SIGTERM, soon)
