"""How fast a training step is: looked once, looking at every step, and the released code's nets on the plain road.

    python benchmarks/training.py [--preset music] [--batch 4] [--device cpu] [--steps 5] [--precision auto] [--compile]

`once`: the frozen backbone has looked before (`looks.py`), and a step costs the sound net alone. `anew`: it looks at every step.
`plain`: `profile=sop2018`, eager float32, as torch comes: the ResNet learns. Each road in processes of its own (an allocator can't
be put back), in turns, the best of all their steps. `rate` is what a road's own sums take of the rate at which this machine
multiplies float32 matrices. Then: time of each part of `once` and of looking, peak memory, and the loader's speed on both roads.
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
    found = []
    for _ in range(times + 2):
        began = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        found.append(time.perf_counter() - began)
    return min(found[2:])


def road(name: str, args) -> dict:
    """Times of one road, in this process."""
    config = replace(
        PRESETS[args.preset].training,
        batch=args.batch,
        compile=args.compile,
        precision=args.precision,
    )
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
        batch["seen"] = torch.randn(
            b, 2, v, model.frame.fc[0].num_features, *grid, device=device
        ).half()
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

    found = {"step": seconds(step, device, args.steps)}
    if device.type == "cuda":
        found["memory"] = torch.cuda.max_memory_allocated() / 2**20
    else:
        found["memory"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    with FlopCounterMode(display=False) as counter:
        step()
    found["flops"] = counter.get_total_flops()
    if name != "once":
        return found

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
        found["parts"] = {part: seconds(work, device, args.steps) for part, work in parts.items()}
        found["parts"]["backward"] = found["step"] - found["parts"]["forward, all"]
    before = seconds(optimizer.step, device, args.steps)
    found["parts"] |= {"backward": found["parts"]["backward"] - before, "optimizer": before}
    with torch.no_grad():
        few = torch.zeros(8, 3, config.image, config.image, dtype=torch.uint8, device=device)
        found["look"] = seconds(lambda: model.frame.look(few), device, args.steps) / 8
    return found | {"precision": kind}


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
        for name, found in turns.items():
            words = [sys.executable, *sys.argv, "--road", name]
            done = subprocess.run(words, capture_output=True, text=True)
            if done.returncode:
                sys.exit(done.stderr)
            found.append(json.loads(done.stdout.splitlines()[-1]))
    best = {name: min(found, key=lambda f: f["step"]) for name, found in turns.items()}
    where = (
        torch.cuda.get_device_name()
        if device.type == "cuda"
        else f"{torch.get_num_threads()} cores"
    )
    once, rate = best["once"], matrix_rate(device)
    print(f"{where}, preset {args.preset}, batch {args.batch}, nets in {once['precision']};")
    print(f"float32 matrices go at {rate / 1e9:,.0f} billion sums a second\n")
    print(
        f"{'road':<6} {'s a step':>9} {'mixtures/s':>11} {'billion sums':>13} {'rate':>6} {'peak MB':>8}"
    )
    for name, found in best.items():
        step, share = found["step"], found["flops"] / found["step"] / rate
        speed, sums = args.batch / step, found["flops"] / 1e9
        print(
            f"{name:<6} {step:9.3f} {speed:11.2f} {sums:13.0f} {share:6.0%} {found['memory']:8.0f}"
        )
    for other in ("anew", "plain"):
        print(f"once is {best[other]['step'] / once['step']:.2f} times as fast as {other}")
    print()
    for part, took in once["parts"].items():
        print(f"{part:<14} {1e3 * took:9.1f} ms a step")
    print(f"{'looking':<14} {1e3 * once['look']:9.1f} ms a picture, once")
    for name, loads in loaders(PRESETS[args.preset], args).items():
        ratio = loads * best[name]["step"] / args.batch
        print(
            f"loader, {name:<6} {loads:9.1f} mixtures/s by one process, {ratio:.1f} times what the nets take"
        )


def loaders(config: Config, args) -> dict[str, float]:
    """Mixtures a second that one process reads, of pictures and of looks."""
    config, found = replace(config, looks=4, workers=0), {}
    with tempfile.TemporaryDirectory() as folder:
        data = Training(make_clips(Path(folder), 3), config)
        for name in ("anew", "once"):
            if name == "once":
                motor = engine.accelerator(config, args.device)
                data.looked = look_once(data, SoundOfPixels(config).to(motor.device).frame, motor)
            began, count = time.perf_counter(), 40
            for _ in DataLoader(torch.utils.data.Subset(data, range(count)), args.batch):
                pass
            found[name] = count / (time.perf_counter() - began)
    return found


if __name__ == "__main__":
    main()
