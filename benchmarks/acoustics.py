"""What training's `acoustics` cost beside a step of the nets.

    python benchmarks/acoustics.py [--presets demo music] [--batch 8] [--device cpu] [--turns 5]

A batch of noise as long as training's windows. All of its sources are heard in other rooms
(`acoustics=1`); then a step of the nets: forward, backward, optimizer, with the pictures' features
computed before (`looks.py`), which is the least that a step can take. They take turns in one run;
the best turn of each counts, after one that doesn't.
"""

import argparse
import time
from dataclasses import replace

import torch

from sop_core.config import PRESETS, Config
from sop_core.model.model import SoundOfPixels
from sop_core.training import engine
from sop_core.training.objective import heard_elsewhere
from sop_core.training.optimizer import trainable


def seconds(work, device: torch.device) -> float:
    began = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def measure(config: Config, device: torch.device, turns: int) -> dict[str, float]:
    """Seconds of a batch's acoustics, and of a step of the nets."""
    torch.manual_seed(0)
    motor = engine.accelerator(config, str(device))
    model = SoundOfPixels(config).to(device, memory_format=torch.channels_last).train()
    objective, optimizer = trainable(model, motor)
    size, channels = (config.batch, config.sources), model.frame.fc[0].num_features
    batch = {
        "sounds": 0.1 * torch.randn(*size, config.samples, device=device),
        "seen": torch.randn(*size, config.frames, channels, *config.grid, device=device).half(),
        "cells": torch.ones(*size, *config.grid, dtype=torch.bool, device=device),
        "noise": torch.zeros(config.batch, config.samples, device=device),
    }

    def step():
        optimizer.zero_grad(set_to_none=True)
        motor.backward(objective(batch))
        optimizer.step()

    rooms = replace(config, acoustics=1.0)
    ways = {"acoustics": lambda: heard_elsewhere(batch["sounds"], rooms, 0), "nets": step}
    took = {name: [] for name in ways}
    with engine.kept_memory(device):
        for _ in range(turns + 1):
            for name, work in ways.items():
                took[name].append(seconds(work, device))
    return {name: min(times[1:]) for name, times in took.items()}


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--presets", nargs="+", choices=PRESETS, default=["demo", "music"])
    parser.add_argument("--batch", type=int, default=None, help="default: each preset's own")
    parser.add_argument("--device", nargs="+", default=None, help="default: cpu, and a GPU if any")
    parser.add_argument("--turns", type=int, default=5)
    args = parser.parse_args()
    devices = args.device or ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    print(f"{'':<12}{'sounds':>16}{'acoustics':>12}{'nets':>12}{'share':>8}")
    for preset in args.presets:
        config = PRESETS[preset].training
        config = replace(config, batch=args.batch or config.batch, looks=1)
        for name in devices:
            took = measure(config, engine.device_of(name), args.turns)
            sounds = f"{config.batch * config.sources} x {config.samples:,}"
            a, b = 1e3 * took["acoustics"], 1e3 * took["nets"]
            print(f"{preset:<7}{name:<5}{sounds:>16}{a:>9.0f} ms{b:>9.0f} ms{a / b:>8.0%}")


if __name__ == "__main__":
    main()
