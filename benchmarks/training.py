"""How fast a training step is, in three ways.

    python benchmarks/training.py [--preset music] [--batch 4] [--device cpu] [--steps 5]
                                  [--precision auto] [--compile]

once   the frozen backbone has read the pictures before (`looks.py`); a step costs the sound net
anew   the backbone reads the pictures at every step
plain  `profile=sop2018` in eager float32, as torch comes; the ResNet learns

Each way runs in processes of its own (an allocator can't be reset), in turns; the best of all its
steps counts. `rate`: the multiplications and additions of a step, a second, as a part of what this
machine does when it multiplies float32 matrices. Then come the time of each part of `once`, the
time to read a picture, peak memory, and the speed of the loader.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from functools import reduce
from pathlib import Path
from typing import Any

import torch
from loader import make_clips
from torch.utils.data import DataLoader
from torch.utils.flop_counter import FlopCounterMode

from sop_core.config import PRESETS, Config
from sop_core.model.model import SoundOfPixels
from sop_core.training import engine
from sop_core.training.looks import look_once
from sop_core.training.mixtures import Training
from sop_core.training.objective import Objective, pictures
from sop_core.training.optimizer import trainable

ROADS = ("once", "anew", "plain")


def seconds(work, device: torch.device, times: int) -> float:
    """The best of some runs, after two that don't count."""
    times_taken = []
    for _ in range(times + 2):
        began = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times_taken.append(time.perf_counter() - began)
    return min(times_taken[2:])


def road(name: str, args) -> dict[str, Any]:
    """Times of one way, in this process."""
    options = {"batch": args.batch, "compile": args.compile, "precision": args.precision}
    config = replace(PRESETS[args.preset].training, **options)
    device = engine.device_of(args.device)
    torch.manual_seed(0)
    if name == "plain":
        config = config.override({"profile": "sop2018", "precision": "fp32", "pretrained": "false"})
        config = replace(config, compile=False)
        model = SoundOfPixels(config).to(device).train()
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9, weight_decay=1e-4)
        objective, backward = Objective(model), torch.Tensor.backward
    else:
        motor = engine.accelerator(config, args.device)
        model = SoundOfPixels(config).to(device, memory_format=torch.channels_last).train()
        objective, optimizer = trainable(model, motor)
        backward = motor.backward
    b, v, grid = args.batch, config.frames, config.grid
    batch = {"sounds": 0.1 * torch.randn(b, 2, config.samples, device=device)}
    if name == "once":
        channels = model.frame.fc[0].num_features
        batch["seen"] = torch.randn(b, 2, v, channels, *grid, device=device).half()
    else:
        shape = (b, 2, v, 3, config.image, config.image)
        batch["frames"] = torch.randint(0, 255, shape, dtype=torch.uint8, device=device)
        batch["jitter"] = torch.ones(b, 2, 3, device=device)
    if name != "plain":
        batch["cells"] = torch.ones(b, 2, *grid, dtype=torch.bool, device=device)
        batch["noise"] = torch.zeros(b, config.samples, device=device)

    def step():
        optimizer.zero_grad(set_to_none=True)
        backward(objective(batch))
        optimizer.step()

    result: dict[str, Any] = {"step": seconds(step, device, args.steps)}
    if device.type == "cuda":
        result["memory"] = torch.cuda.max_memory_allocated() / 2**20
    else:
        result["memory"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    with FlopCounterMode(display=False) as counter:
        step()
    result["flops"] = counter.get_total_flops()
    if name != "once":
        return result

    def spectrograms():
        specs = model.stft(batch["sounds"])
        return model.magnitudes(specs), model.magnitudes(reduce(torch.add, specs.unbind(1)))

    kind = engine.precision(config, device)
    with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=kind == "bf16"):
        _, mixture = spectrograms()
        parts = {
            "STFT, warp": spectrograms,
            "pictures": lambda: pictures(model, batch),
            "sound net": lambda: model.feature_maps(mixture),
            "forward, all": lambda: objective(batch),
        }
        result["parts"] = {part: seconds(work, device, args.steps) for part, work in parts.items()}
        result["parts"]["backward"] = result["step"] - result["parts"]["forward, all"]
    before = seconds(optimizer.step, device, args.steps)
    result["parts"] |= {"backward": result["parts"]["backward"] - before, "optimizer": before}
    with torch.no_grad():
        few = torch.zeros(8, 3, config.image, config.image, dtype=torch.uint8, device=device)
        result["look"] = seconds(lambda: model.frame.look(few), device, args.steps) / 8
    return result | {"precision": kind}


def matrix_rate(device: torch.device) -> float:
    """Float32 sums a second of this machine: a product of matrices of 2048 x 2048."""
    a = torch.randn(2048, 2048, device=device)
    return 2 * 2048**3 / seconds(lambda: a @ a, device, 10)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--preset", choices=PRESETS, default="music")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--device", default=None)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--road", choices=ROADS)
    args = parser.parse_args()
    if args.road:
        print(json.dumps(road(args.road, args)))
        return
    device, turns = engine.device_of(args.device), {name: [] for name in ROADS}
    for _ in range(args.turns):
        for name, runs in turns.items():
            words = [sys.executable, *sys.argv, "--road", name]
            done = subprocess.run(words, capture_output=True, text=True)
            if done.returncode:
                sys.exit(done.stderr)
            runs.append(json.loads(done.stdout.splitlines()[-1]))
    best = {name: min(runs, key=lambda f: f["step"]) for name, runs in turns.items()}
    cuda = device.type == "cuda"
    where = torch.cuda.get_device_name() if cuda else f"{torch.get_num_threads()} cores"
    once, rate = best["once"], matrix_rate(device)
    print(f"{where}, preset {args.preset}, batch {args.batch}, nets in {once['precision']};")
    print(f"float32 matrices go at {rate / 1e9:,.0f} billion sums a second\n")
    heads = f"{'s a step':>9} {'mixtures/s':>11} {'billion sums':>13} {'rate':>6} {'peak MB':>8}"
    print(f"{'road':<6} {heads}")
    for name, run in best.items():
        step, share = run["step"], run["flops"] / run["step"] / rate
        speed, sums = args.batch / step, run["flops"] / 1e9
        numbers = f"{step:9.3f} {speed:11.2f} {sums:13.0f} {share:6.0%} {run['memory']:8.0f}"
        print(f"{name:<6} {numbers}")
    for other in ("anew", "plain"):
        print(f"once is {best[other]['step'] / once['step']:.2f} times as fast as {other}")
    print()
    for part, took in once["parts"].items():
        print(f"{part:<14} {1e3 * took:9.1f} ms a step")
    print(f"{'looking':<14} {1e3 * once['look']:9.1f} ms a picture, once")
    for name, loads in loaders(PRESETS[args.preset], args).items():
        ratio = loads * best[name]["step"] / args.batch
        reads = f"loader, {name:<6} {loads:9.1f} mixtures/s by one process"
        print(f"{reads}, {ratio:.1f} times what the nets take")


def loaders(config: Config, args) -> dict[str, float]:
    """Mixtures a second that one process reads, of pictures and of looks."""
    config, speeds = replace(config, looks=4, workers=0), {}
    with tempfile.TemporaryDirectory() as folder:
        data = Training(make_clips(Path(folder), 3, config.rate), config)
        for name in ("anew", "once"):
            if name == "once":
                motor = engine.accelerator(config, args.device)
                data.looked = look_once(data, SoundOfPixels(config).to(motor.device).frame, motor)
            began, count = time.perf_counter(), 40
            for _ in DataLoader(torch.utils.data.Subset(data, range(count)), args.batch):
                pass
            speeds[name] = count / (time.perf_counter() - began)
    return speeds


if __name__ == "__main__":
    main()
