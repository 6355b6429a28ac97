"""How fast a training step is at the paper's MUSIC setting, against the plain road: eager float32, as torch comes.

    python benchmarks/training.py [--batch 4] [--device cpu] [--steps 5] [--precision auto] [--compile]

U-Net of 7 levels, dilated ResNet-18, 3 frames of 224 x 224, 65,535 samples, two sources. Both roads do the same sums, each in
processes of its own (an allocator can't be put back), in turns, the best of all their steps. `rate` is what the step's sums
take of the rate at which this machine multiplies float32 matrices. Then: time of each part, peak memory, and the loader's speed.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch
from loader import make_clips
from torch.utils.data import DataLoader
from torch.utils.flop_counter import FlopCounterMode

from sop_core import engine, train
from sop_core.config import MUSIC
from sop_core.mixing import Training, lit
from sop_core.nets import SoundOfPixels, sound
from sop_core.objective import Objective


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
    config = replace(MUSIC, pretrained=False, batch=args.batch, compile=args.compile, precision=args.precision)
    device = engine.device_of(args.device)
    torch.manual_seed(0)
    if name == "plain":
        config = replace(config, precision="fp32", compile=False)
        sound._UpConv.forward = sound._UpConv.in_order
        model = SoundOfPixels(config).to(device).train()
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9, weight_decay=1e-4)
        objective, backward = Objective(model), torch.Tensor.backward
    else:
        motor = engine.accelerator(config, args.device)
        model = SoundOfPixels(config).to(device, memory_format=torch.channels_last).train()
        objective, optimizer = train.trainable(model, motor)
        backward = motor.backward
    b, v = args.batch, config.frames
    batch = {
        "sounds": 0.1 * torch.randn(b, 2, config.samples, device=device),
        "frames": torch.randint(0, 255, (b, 2, v, 3, config.image, config.image), dtype=torch.uint8, device=device),
        "light": torch.ones(b, 2, 3, device=device),
    }

    def step():
        optimizer.zero_grad(set_to_none=True)
        backward(objective(batch))
        optimizer.step()

    found = {"step": seconds(step, device, args.steps)}
    if device.type == "cuda":
        found["memory"] = torch.cuda.max_memory_allocated() / 2**20
    else:
        found["memory"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if name == "plain":
        with FlopCounterMode(display=False) as counter:
            step()
        return found | {"flops": counter.get_total_flops()}

    def spectrograms():
        specs = model.stft(batch["sounds"])
        return model.magnitudes(specs), model.magnitudes(specs.sum(1))

    kind = engine.precision(config, device)
    with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=kind == "bf16"):
        _, mixture = spectrograms()
        parts = {
            "STFT, warp": spectrograms,
            "frame net": lambda: model.pooled(lit(batch["frames"], batch["light"])),
            "sound net": lambda: model.channels(mixture),
            "forward, all": lambda: objective(batch),
        }
        found["parts"] = {part: seconds(work, device, args.steps) for part, work in parts.items()}
        found["parts"]["backward"] = found["step"] - found["parts"]["forward, all"]
    before = seconds(optimizer.step, device, args.steps)
    found["parts"] |= {"backward": found["parts"]["backward"] - before, "optimizer": before}
    return found | {"precision": kind}


def matrix_rate(device: torch.device) -> float:
    """Float32 sums a second of this machine: a product of matrices of 2048 x 2048."""
    a = torch.randn(2048, 2048, device=device)
    return 2 * 2048**3 / seconds(lambda: a @ a, device, 10)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--device", default=None)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--road", choices=("plain", "sop_core"))
    args = parser.parse_args()
    if args.road:
        print(json.dumps(road(args.road, args)))
        return
    device, turns = engine.device_of(args.device), {"plain": [], "sop_core": []}
    for _ in range(args.turns):
        for name, found in turns.items():
            words = [sys.executable, *sys.argv, "--road", name]
            done = subprocess.run(words, capture_output=True, text=True)
            if done.returncode:
                sys.exit(done.stderr)
            found.append(json.loads(done.stdout.splitlines()[-1]))
    best = {name: min(found, key=lambda f: f["step"]) for name, found in turns.items()}
    where = torch.cuda.get_device_name() if device.type == "cuda" else f"{torch.get_num_threads()} cores"
    flops, rate = best["plain"]["flops"], matrix_rate(device)
    print(
        f"{where}, batch {args.batch}, nets in {best['sop_core']['precision']}; a step is {flops / 1e9:.0f} billion sums,"
    )
    print(f"float32 matrices go at {rate / 1e9:,.0f} billion a second\n")
    print(f"{'road':<10} {'s a step':>9} {'mixtures/s':>11} {'rate':>6} {'peak MB':>8}")
    for name, found in best.items():
        share = flops / found["step"] / rate
        print(f"{name:<10} {found['step']:9.3f} {args.batch / found['step']:11.2f} {share:6.0%} {found['memory']:8.0f}")
    print(f"{best['plain']['step'] / best['sop_core']['step']:.2f} times\n")
    for part, took in best["sop_core"]["parts"].items():
        print(f"{part:<14} {1e3 * took:9.1f} ms")
    with tempfile.TemporaryDirectory() as folder:
        config = replace(MUSIC, pretrained=False)
        data = Training(make_clips(Path(folder), 3), config)
        began, count = time.perf_counter(), 40
        for _ in DataLoader(torch.utils.data.Subset(data, range(count)), args.batch):
            pass
        loads = count / (time.perf_counter() - began)
    ratio = loads * best["sop_core"]["step"] / args.batch
    print(f"{'loader':<14} {loads:9.1f} mixtures/s by one process, {ratio:.1f} times what the nets take")


if __name__ == "__main__":
    main()
