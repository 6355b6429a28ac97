"""How fast SDR, SIR and SAR are computed, and how much they differ from mir_eval's.

    python benchmarks/metrics.py [--pairs 8] [--turns 3] [--device cpu]

A prediction and the mixture are scored against two sources of 65,535 samples, one tonal, one noisy.
mir_eval is called once for each, as usual. Both libraries take turns in one run, with a second
between, until the other's threads rest.
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
    """Two sources, notes and noise, and estimates of them with errors. Shape: (2, L) twice"""
    rng, t = np.random.default_rng(seed), np.arange(MUSIC.samples) / MUSIC.rate
    notes = sum(
        np.sin(2 * np.pi * hz * t) * np.exp(-3 * (t % 0.5)) for hz in rng.uniform(100, 2000, 5)
    )
    sources = 0.05 * np.stack(
        [notes + 0.05 * rng.standard_normal(len(t)), rng.standard_normal(len(t)).cumsum() / 50]
    )
    return sources, sources + 0.3 * sources[::-1] + 0.005 * rng.standard_normal(sources.shape)


def by_mir_eval(sources: np.ndarray, estimates: np.ndarray) -> np.ndarray:
    score = partial(mir_eval.separation.bss_eval_sources, sources, compute_permutation=False)
    mixture = np.broadcast_to(sources.sum(0), sources.shape)
    return np.stack([score(estimates)[:3], score(mixture)[:3]])


def by_us(sources: np.ndarray, estimates: np.ndarray, device: str) -> np.ndarray:
    refs, ests = (torch.from_numpy(sounds).to(device) for sounds in (sources, estimates))
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
    ways = {"mir_eval": by_mir_eval, "sop_core": partial(by_us, device=args.device)}
    took, scores = {name: [] for name in ways}, {}
    for _ in range(args.turns + 1):
        for name, score in ways.items():
            time.sleep(1)  # the other's threads spin for a while after their work
            began = time.perf_counter()
            scores[name] = [score(*one) for one in pairs]
            took[name].append((time.perf_counter() - began) / len(pairs))
    expected, ours = (np.stack(values) for values in scores.values())
    off = np.abs(ours - expected)[expected < 80].max()
    theirs, own = (1e3 * np.median(times[1:]) for times in took.values())  # the first warms up
    print(f"{args.pairs} pairs on {args.device}, {torch.get_num_threads()} threads")
    print("median ms a pair (prediction and mixture):")
    print(f"mir_eval {theirs:8.1f}\nsop_core {own:8.1f}   {theirs / own:.1f} times as fast")
    print(f"largest difference below 80 dB: {off:.1e} dB")


if __name__ == "__main__":
    main()
