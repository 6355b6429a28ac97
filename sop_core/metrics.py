"""SDR, SIR, SAR: how much of an estimate is the source, how much other sources, how much artifacts.

Conventions: sounds are (N, L), scores in dB. BSS Eval version 3 (Vincent et al. 2006): a source may reach its estimate
through any filter of 512 taps. Torch, in float64; the tests hold it against mir_eval.
"""

import numpy as np
import torch
from scipy.fft import next_fast_len
from torch import Tensor

TAPS = 512  # of the filter that a source may have gone through
SILENCE = 1e-4  # RMS under which a source counts as silent: 80 dB below full scale
FAILED = -30.0  # dB, the score of a silent estimate of a source that sounds: a failure, counted and never dropped


def rms(sound: np.ndarray) -> np.ndarray:
    """Root mean square over the last axis. Shape: (..., L) -> (...)"""
    return np.sqrt(np.mean(np.square(sound, dtype=np.float64), axis=-1))


@torch.inference_mode()
def bss(references: Tensor | np.ndarray, estimates: Tensor | np.ndarray) -> dict[str, np.ndarray] | None:
    """`sdr`, `sir`, `sar` of each estimate; None where a reference is silent: then nothing is defined.

    Estimate n is held against reference n; several sets of estimates share what only depends on the references.
    A silent estimate scores FAILED. Shape: (N, L), (..., N, L) -> (..., N) each.
    Equals `mir_eval.separation.bss_eval_sources(..., compute_permutation=False)`.
    """
    refs, ests = torch.as_tensor(references).double(), torch.as_tensor(estimates).double()
    if (refs.square().mean(-1).sqrt() < SILENCE).any():
        return None
    n = next_fast_len(refs.shape[-1] + TAPS - 1, real=True)  # room for the filter's tail
    spectra = torch.fft.rfft(ests.reshape(-1, *refs.shape), n)  # (M, N, n // 2 + 1)
    own, every = _projections(torch.fft.rfft(refs, n), spectra, n)
    target = _energy(own, n)
    ratios = {
        "sdr": target / _energy(spectra - own, n),
        "sir": target / _energy(every - own, n),
        "sar": _energy(every, n) / _energy(spectra - every, n),
    }
    silent = (ests.square().mean(-1).sqrt() < SILENCE / 100).cpu().numpy()
    shape = ests.shape[:-1]
    return {k: np.where(silent, FAILED, (10 * r.log10()).reshape(shape).cpu().numpy()) for k, r in ratios.items()}


def _projections(refs: Tensor, ests: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Each estimate's part that is its own reference, filtered, and its part that is all references, filtered: least squares.

    Spectra of an FFT of `n` samples. Shape: (N, F), (M, N, F) -> (M, N, F) twice
    """
    count, lags = len(refs), torch.arange(TAPS, device=refs.device)
    products = torch.fft.irfft(refs.conj()[:, None] * refs, n)  # (N, N, n)
    gram = products[..., lags[:, None] - lags]  # (N, N, TAPS, TAPS): of i delayed by a and j delayed by b
    cross = torch.fft.irfft(refs.conj()[:, None, None] * ests, n)[..., :TAPS]  # (N, M, N, TAPS)
    one = torch.arange(count, device=refs.device)
    alone = _solve(gram[one, one], cross[one, :, one].mT).mT  # (N, M, TAPS)
    whole = gram.movedim(1, 2).reshape(count * TAPS, count * TAPS)
    among = _solve(whole, cross.movedim(-1, 1).reshape(count * TAPS, -1)).T  # (M N, N TAPS)
    own = torch.fft.rfft(alone.movedim(0, 1), n) * refs
    every = (torch.fft.rfft(among.reshape(*ests.shape[:2], count, TAPS), n) * refs).sum(-2)
    return own, every


def _solve(gram: Tensor, right: Tensor) -> Tensor:
    """gram^-1 right by Cholesky, with as little added to the diagonal as rounding asks for.

    Only narrow-band sounds ask for any: they leave taps open, whose choice changes next to nothing in what is projected.
    """
    factor, failed = torch.linalg.cholesky_ex(gram)
    for ridge in (1e-15, 1e-14, 1e-13, 1e-12, 1e-10):
        if not failed.any():
            break
        size = gram.diagonal(dim1=-2, dim2=-1).mean(-1, keepdim=True).expand(gram.shape[:-1])
        factor, failed = torch.linalg.cholesky_ex(gram + (ridge * size).diag_embed())
    return torch.cholesky_solve(right, factor)


def _energy(spectrum: Tensor, n: int) -> Tensor:
    """Sum of squares of the real signal behind an rfft of `n` samples, by Parseval. Shape: (..., F) -> (...)"""
    power = torch.view_as_real(spectrum).square().sum(-1)
    power[..., 1 : (n + 1) // 2] *= 2  # all but 0 Hz, and half the sample rate where n is even, stand for two
    return power.sum(-1) / n


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
