"""How fast SDR, SIR and SAR are, and how near to mir_eval's: a prediction and the mixture held against two sources.

    python benchmarks/metrics.py [--pairs 8] [--device cpu]

Two sources of 65,535 samples, tonal and noisy ones; mir_eval is called for the prediction and for the mixture, as everybody
does it. Both in turns, in one run.
"""

import argparse
import time
import warnings

import mir_eval
import numpy as np
import torch

from sop_core import metrics
from sop_core.config import MUSIC


def pair(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two sources, notes and noise, and what a separation might make of them. Shape: (2, L) twice"""
    rng, t = np.random.default_rng(seed), np.arange(MUSIC.samples) / MUSIC.rate
    notes = sum(np.sin(2 * np.pi * hz * t) * np.exp(-3 * (t % 0.5)) for hz in rng.uniform(100, 2000, 5))
    sources = 0.05 * np.stack([notes + 0.05 * rng.standard_normal(len(t)), rng.standard_normal(len(t)).cumsum() / 50])
    return sources, sources + 0.3 * sources[::-1] + 0.005 * rng.standard_normal(sources.shape)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    warnings.simplefilter("ignore")  # mir_eval's own: it is to go in 0.9
    took, off = {"mir_eval": [], "sop_core": []}, 0.0
    for seed in range(args.pairs + 1):
        sources, found = pair(seed)
        mixture = np.broadcast_to(sources.sum(0), sources.shape)
        began = time.perf_counter()
        theirs = [mir_eval.separation.bss_eval_sources(sources, x, compute_permutation=False) for x in (found, mixture)]
        took["mir_eval"].append(time.perf_counter() - began)
        both = torch.from_numpy(np.stack([found, mixture]))
        began = time.perf_counter()
        ours = metrics.bss(torch.from_numpy(sources).to(args.device), both.to(args.device))
        took["sop_core"].append(time.perf_counter() - began)
        for n, key in enumerate(("sdr", "sir", "sar")):
            expected = np.stack([scores[n] for scores in theirs])
            off = max(off, np.abs(ours[key] - expected)[expected < 80].max(initial=0))
    ms = {name: 1e3 * np.median(times[1:]) for name, times in took.items()}  # the first one warms up
    print(
        f"{args.pairs} pairs on {args.device}, {torch.get_num_threads()} threads; median ms a pair (prediction and mixture)"
    )
    print(
        f"mir_eval {ms['mir_eval']:8.1f}\nsop_core {ms['sop_core']:8.1f}   {ms['mir_eval'] / ms['sop_core']:.1f} times as fast"
    )
    print(f"largest difference below 80 dB: {off:.1e} dB")


if __name__ == "__main__":
    main()
