"""How fast SDR, SIR and SAR are, and how near to mir_eval's: a prediction and the mixture held against two sources.

    python benchmarks/metrics.py [--pairs 8] [--turns 3] [--device cpu]

Two sources of 65,535 samples, tonal and noisy ones; mir_eval is called for the prediction and for the mixture, as everybody
does it. Both in turns, in one run, with the peace that the other's threads leave after a second.
"""

import argparse
import time
import warnings
from functools import partial

import mir_eval
import numpy as np
import torch

from sop_core import metrics
from sop_core.config import MUSIC


def pair(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two sources, notes and noise, and what a separation might make of them. Shape: (2, L) twice"""
    rng, t = np.random.default_rng(seed), np.arange(MUSIC.samples) / MUSIC.rate
    notes = sum(
        np.sin(2 * np.pi * hz * t) * np.exp(-3 * (t % 0.5)) for hz in rng.uniform(100, 2000, 5)
    )
    sources = 0.05 * np.stack(
        [notes + 0.05 * rng.standard_normal(len(t)), rng.standard_normal(len(t)).cumsum() / 50]
    )
    return sources, sources + 0.3 * sources[::-1] + 0.005 * rng.standard_normal(sources.shape)


def by_mir_eval(sources: np.ndarray, found: np.ndarray) -> np.ndarray:
    estimates = found, np.broadcast_to(sources.sum(0), sources.shape)
    return np.stack(
        [
            mir_eval.separation.bss_eval_sources(sources, x, compute_permutation=False)[:3]
            for x in estimates
        ]
    )


def by_us(sources: np.ndarray, found: np.ndarray, device: str) -> np.ndarray:
    refs, ests = torch.from_numpy(sources).to(device), torch.from_numpy(found).to(device)
    scores = metrics.bss(refs, torch.stack([ests, refs.sum(0).expand_as(refs)]))
    return np.stack([scores[key] for key in ("sdr", "sir", "sar")], 1)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    warnings.simplefilter("ignore")  # mir_eval's own: it is to go in 0.9
    pairs = [pair(seed) for seed in range(args.pairs)]
    roads = {"mir_eval": by_mir_eval, "sop_core": partial(by_us, device=args.device)}
    took, found = {name: [] for name in roads}, {}
    for _ in range(args.turns + 1):
        for name, road in roads.items():
            time.sleep(1)  # the other's threads spin for a while after their work
            began = time.perf_counter()
            found[name] = [road(*one) for one in pairs]
            took[name].append((time.perf_counter() - began) / len(pairs))
    expected, ours = (np.stack(values) for values in found.values())
    off = np.abs(ours - expected)[expected < 80].max()
    ms = {
        name: 1e3 * np.median(times[1:]) for name, times in took.items()
    }  # the first turn warms up
    print(
        f"{args.pairs} pairs on {args.device}, {torch.get_num_threads()} threads; median ms a pair (prediction and mixture)"
    )
    print(
        f"mir_eval {ms['mir_eval']:8.1f}\nsop_core {ms['sop_core']:8.1f}   {ms['mir_eval'] / ms['sop_core']:.1f} times as fast"
    )
    print(f"largest difference below 80 dB: {off:.1e} dB")


if __name__ == "__main__":
    main()
