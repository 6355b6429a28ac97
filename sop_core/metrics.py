"""SDR, SIR, SAR: how much of an estimate is the source, how much other sources, how much artifacts.

Conventions: sounds are (N, L) arrays, scores in dB, BSS Eval version 3 (Vincent et al. 2006) with 512-tap filters.
The one place where mir_eval is called: its module says goodbye on every call, and this one knows what to do with silence.
"""

import warnings

import mir_eval
import numpy as np

SILENCE = 1e-4  # RMS under which a source counts as silent: 80 dB below full scale
FAILED = -30.0  # dB, the score of a silent estimate of a source that sounds: a failure, counted and never dropped


def rms(sound: np.ndarray) -> np.ndarray:
    """Root mean square over the last axis. Shape: (..., L) -> (...)"""
    return np.sqrt(np.mean(np.square(sound, dtype=np.float64), axis=-1))


def bss(references: np.ndarray, estimates: np.ndarray) -> dict[str, np.ndarray] | None:
    """`sdr`, `sir`, `sar` of each estimate, each (N,); None where a reference is silent: then nothing is defined.

    Estimate n is held against reference n. A silent estimate scores FAILED.
    Shape: (N, L), (N, L). Equals `mir_eval.separation.bss_eval_sources(..., compute_permutation=False)`.
    """
    if (rms(references) < SILENCE).any():
        return None
    silent = rms(estimates) < SILENCE / 100
    # mir_eval refuses a silent estimate outright; with the reference in its place the others' scores stay as they are,
    # since each estimate is projected on the references alone.
    filled = np.where(silent[:, None], references, estimates)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        sdr, sir, sar, _ = mir_eval.separation.bss_eval_sources(references, filled, compute_permutation=False)
    return {k: np.where(silent, FAILED, v) for k, v in {"sdr": sdr, "sir": sir, "sar": sar}.items()}


def bootstrap(scores: np.ndarray, groups: list[str], seed: int = 0, draws: int = 1000) -> tuple[float, float]:
    """95 % interval of the mean of `scores` (P,), drawing whole groups (videos): scores of one video are not independent.

    Efron & Tibshirani 1993, chapter 13 (percentiles).
    """
    names, member = np.unique(groups, return_inverse=True)
    sums, sizes = np.bincount(member, scores), np.bincount(member)
    counts = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), size=draws)
    means = counts @ sums / np.maximum(counts @ sizes, 1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's correlation of two sounds (L,), -1 to 1; 0 where one of them is constant."""
    a, b = a - a.mean(), b - b.mean()
    size = np.linalg.norm(a) * np.linalg.norm(b)
    return float(a @ b / size) if size > 0 else 0.0
