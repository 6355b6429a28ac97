"""A training step where another process wants one of the cores, with short and long waits.

    python benchmarks/busy.py [--seconds 8]

`sop_core` sets GOMP_SPINCOUNT: how long libgomp's threads spin, waiting for each other, before they
sleep. Each line compares two trainings of the demo's sound net on two threads, in processes of
their own: with this setting, and with libgomp's own. The lines are for cores that are free, and
beside a process that never rests. On a Mac, whose OpenMP is another, the two are equal.
"""

import argparse
import os
import subprocess
import sys

STEPS = """
import sys, time
import sop_core, torch
from sop_core.config import DEMO
from sop_core.model.model import SoundNet
torch.set_num_threads(2)
net = SoundNet(DEMO.channels, DEMO.sound_depth, DEMO.sound_width, DEMO.sound_up)
mixtures = torch.rand(DEMO.batch, 1, DEMO.bins, DEMO.training.stft_frames)
optimizer = torch.optim.AdamW(net.parameters())
steps, began = 0, time.perf_counter()
while time.perf_counter() - began < float(sys.argv[1]):
    net(mixtures).square().mean().backward()
    optimizer.step()
    optimizer.zero_grad()
    steps += 1
print(steps / (time.perf_counter() - began))
"""
LIBGOMP = "300000"  # what libgomp takes where the variable is not set


def steps(seconds: float, spins: str | None) -> float:
    """Steps a second."""
    given = {k: v for k, v in os.environ.items() if k != "GOMP_SPINCOUNT"}
    given |= {"GOMP_SPINCOUNT": spins} if spins else {}
    words = [sys.executable, "-c", STEPS, str(seconds)]
    return float(subprocess.run(words, env=given, check=True, capture_output=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=8, help="each line (default: 8)")
    seconds = parser.parse_args().seconds
    for where, words in (("free", "pass"), ("one busy", "while True: pass")):
        with subprocess.Popen([sys.executable, "-c", words]) as other:
            try:
                libgomp, own = steps(seconds, LIBGOMP), steps(seconds, None)
            finally:
                other.kill()
        times = f"{own / libgomp:.2f} times"
        print(f"cores {where}: {own:.1f} steps/s, {times} libgomp's own {libgomp:.1f}")


if __name__ == "__main__":
    main()
