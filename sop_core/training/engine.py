"""What a training runs on: devices, processes, precision, memory and interruptions.

The engine is Hugging Face Accelerate. The same code runs as one process, or as the processes that
`accelerate launch` has started on one or many machines (DDP). `config.batch` is the batch of all
processes together: each of them takes its part of it.
"""

import ctypes
import os
import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import joblib
import torch
import torch.distributed as dist
from accelerate import Accelerator, DataLoaderConfiguration
from accelerate.state import AcceleratorState
from accelerate.utils import patch_environment
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ..config import Config
from ..errors import SopError, Terminated

Stop = list[type[KeyboardInterrupt]]  # what to raise when the step is done; see `interruptible`
# Seconds that a loader's process goes on after SIGTERM. Slurm and Kubernetes leave as many.
GRACE = 30


def device_of(name: str | None = None) -> torch.device:
    """The device `name`; without one `$SOP_DEVICE`; without that a GPU, or the CPU.

    torch then has no more threads than the process may use of the CPUs: it takes one for each that
    it sees, also where a container may use fewer. `OMP_NUM_THREADS` overrides this.
    Raises SopError where there is no such device, or it is neither a CPU nor a GPU of CUDA. Apple's
    GPU (`mps`) isn't used.
    """
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(min(joblib.cpu_count(), torch.get_num_threads()))
    chosen = name or os.environ.get("SOP_DEVICE")
    option = f"--device {name}" if name else f"SOP_DEVICE={chosen}"
    expected = "expected cpu, cuda, or cuda:N"
    try:
        device = torch.device(chosen or ("cuda" if torch.cuda.is_available() else "cpu"))
    except RuntimeError:
        raise SopError(f"{option}: {expected}") from None
    if device.type == "mps":
        raise SopError(f"{option}: Apple's GPU is not used here, the CPU is; {expected}")
    if device.type not in ("cpu", "cuda"):
        raise SopError(f"{option}: nothing here was tried on {device.type}; {expected}")
    gpus = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= gpus:
        raise SopError(f"{option}: torch sees {gpus} GPU(s) here; expected cpu, or none named")
    return device


def precision(config: Config, device: torch.device) -> str:
    """The precision of the nets: `bf16` or `fp32`.

    `auto` is bf16 where the chip computes in it: GPUs since 2020, CPUs with AVX512-bf16 or AMX. It
    is bf16 too if `accelerate launch` or `accelerate config` says so.
    """
    if config.precision != "auto":
        return config.precision
    launched = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    if launched not in ("no", "bf16"):
        expected = "expected bf16 or no (or --set precision=fp32)"
        raise SopError(f"accelerate's mixed precision is {launched}, {expected}")
    if launched == "bf16":
        return "bf16"
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = torch.cpu._is_avx512_bf16_supported()
    return "bf16" if native else "fp32"


def described(config: Config, device: str | None = None) -> str:
    """What a training runs on, such as `cpu, networks in bf16` or `4 x NVIDIA H100, ...`."""
    chosen = device_of(device)
    name = torch.cuda.get_device_name(chosen) if chosen.type == "cuda" else str(chosen)
    several = f"{_launched()} x " if _launched() > 1 else ""
    return f"{several}{name}, networks in {precision(config, chosen)}"


def accelerator(config: Config, device: str | None = None) -> Accelerator:
    """The engine of one training.

    Raises SopError where the processes can't have equal parts of a batch.
    """
    processes = _launched()
    parts = processes * config.accumulate
    if config.batch % parts:
        expected = f"expected a multiple of {parts}: processes x accumulate"
        batch = f"batch={config.batch} on {processes} process(es)"
        raise SopError(f"config {config.name}: {batch}, {expected}")
    if config.absent and config.batch == parts:
        what = f"absent={config.absent:g} needs the picture of another mixture"
        expected = f"expected a batch over {parts}, or absent=0"
        raise SopError(f"config {config.name}: {what}; batch={config.batch}, {expected}")
    chosen = device_of(device)
    kind = {"bf16": "bf16", "fp32": "no"}[precision(config, chosen)]
    # All Accelerators of a process share a state. Another training in the same notebook may need
    # another one.
    AcceleratorState._reset_state(reset_partial_state=not _together())
    with patch_environment(**({} if processes > 1 else {"ACCELERATE_TORCH_DEVICE": str(chosen)})):
        engine = Accelerator(
            mixed_precision=kind,
            cpu=processes > 1 and chosen.type == "cpu",
            gradient_accumulation_steps=config.accumulate,
            dataloader_config=DataLoaderConfiguration(split_batches=True, non_blocking=True),
            step_scheduler_with_optimizer=False,
        )
    if engine.device.type == "cuda":
        torch.backends.cudnn.benchmark = True  # every batch has the same shape
    return engine


def processes(device: str | None = None) -> Accelerator | None:
    """The processes of an evaluation, if they were launched together; None if there is one."""
    return Accelerator(cpu=device_of(device).type == "cpu") if _launched() > 1 else None


def _launched() -> int:
    """Number of processes that a launcher has started together."""
    return int(os.environ.get("WORLD_SIZE", 1))


def synchronize(model: nn.Module, engine: Accelerator) -> None:
    """Take the model's batch statistics over all processes, as if one had the full batch."""
    if engine.num_processes == 1:
        return
    if engine.device.type == "cuda":
        from timm.layers.norm_act import convert_sync_batchnorm  # knows timm's own kinds too

        convert_sync_batchnorm(model)  # replaces the parts of the model
        return
    for module in model.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = _SyncBatchNorm


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

    backward = forward  # pyright: ignore[reportAssignmentType]  (torch wants *gradients)


class _SyncBatchNorm(nn.BatchNorm2d):
    """Batch statistics over all processes, on CPUs.

    `torch.nn.SyncBatchNorm` refuses tensors on a CPU (torch 2.14), timm's is built on it, and
    accelerate has none.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        assert self.running_mean is not None and self.running_var is not None
        assert self.num_batches_tracked is not None and self.momentum is not None  # by default
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
    """On a CPU, let glibc keep the memory of large tensors for the next ones.

    Each step of a training asks for the same sizes. Without this, glibc gives the memory back after
    a step, and gets it zeroed anew for the next one. At the end the kept memory is given back, and
    glibc's thresholds are 32 and 64 MB, as they become by themselves where tensors are large. Does
    nothing where there is no glibc.
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
    """Raises SopError where the block runs out of memory, on a GPU or on a CPU."""
    try:
        yield
    except (RuntimeError, MemoryError) as e:
        known = isinstance(e, torch.OutOfMemoryError | MemoryError)
        if not known and "can't allocate memory" not in str(e):
            raise
        hint = "start anew with a lower --set batch, or accumulate=2, and another --id"
        raise SopError(f"{where}: out of memory; {hint}") from None


def read(loader: DataLoader) -> Iterator[Any]:
    """The loader's batches. An error of a worker comes without the worker's traceback.

    torch makes the traceback a part of the message.
    """
    try:
        yield from loader
    except SopError as e:
        raise SopError(str(e).strip().rpartition("SopError: ")[2]) from None


@contextmanager
def readers(where: str) -> Iterator[None]:
    """Raises SopError where a loader's process dies, or has no memory for what it reads."""
    try:
        yield
    except RuntimeError as e:
        if re.search(r"shared memory|</torch_", str(e)):
            what = "too little shared memory (/dev/shm) for the processes that read clips"
        elif "DataLoader worker" in str(e):
            what = (
                "a process that reads clips was killed, from outside or for want of memory "
                "(shared memory, in a container)"
            )
        else:
            raise
        hint = "--resume --set workers=0 or fewer than now, or docker run --shm-size=2g"
        kept = "the last saved state is kept: go on with"
        raise SopError(f"{where}: {what}; {kept} {hint}") from None


@contextmanager
def interruptible() -> Iterator[Stop]:
    """Let Ctrl-C and SIGTERM wait until the step is finished.

    Yields a list. A signal adds to it what to raise after the step. A second signal stops at once,
    except under a launcher: it repeats a signal that its processes have received already.
    """
    asked: Stop = []
    if threading.current_thread() is not threading.main_thread():
        yield asked  # signals are the main thread's
        return

    def ask(number: int, _) -> None:
        asked.append(Terminated if number == signal.SIGTERM else KeyboardInterrupt)
        if _launched() == 1:
            restore()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    signals = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, ask) or signal.SIG_DFL for number in signals}
    try:
        yield asked
    finally:
        restore()


def ignore_sigint(_worker: int = 0) -> None:
    """Leave Ctrl-C and SIGTERM to the training. For a loader's process, which may get them too.

    After SIGTERM the process ends by itself in `GRACE` seconds. The training can finish its step
    meanwhile. Python, when it exits, sends SIGTERM too and waits as long. A second SIGTERM ends the
    process at once.
    """

    def soon(*_) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.alarm(GRACE)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "alarm"):
        signal.signal(signal.SIGTERM, soon)
