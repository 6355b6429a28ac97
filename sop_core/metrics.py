"""SDR, SIR, SAR: how much of an estimate is the source, how much other sources, how much artifacts.

Conventions: sounds are (N, L), scores in dB. BSS Eval version 3 (Vincent et al. 2006): a source may reach its estimate
through any filter of 512 taps; SI-SDR (Le Roux et al. 2019): through no filter, at any loudness. Torch, in float64; the tests
hold it against mir_eval.
"""

import numpy as np
import torch
import torch.nn.functional as nnf
from torch import Tensor

TAPS = 512  # of the filter that a source may have gone through
BLOCK = 4096  # samples of an FFT
SILENCE = 1e-4  # RMS under which a source counts as silent: 80 dB below full scale
FAILED = -30.0  # dB, the score of a silent estimate of a source that sounds: a failure, counted and never dropped


def rms(sound: np.ndarray) -> np.ndarray:
    """Root mean square over the last axis. Shape: (..., L) -> (...)"""
    return np.sqrt(np.mean(np.square(sound, dtype=np.float64), axis=-1))


@torch.inference_mode()
def bss(references: Tensor | np.ndarray, estimates: Tensor | np.ndarray) -> dict[str, np.ndarray] | None:
    """`sdr`, `sir`, `sar`, `si_sdr` of each estimate; None where a reference is silent: then nothing is defined.

    Estimate n is held against reference n; several sets of estimates share what only depends on the references.
    A silent estimate scores FAILED. Shape: (N, L), (..., N, L) -> (..., N) each.
    The first three equal `mir_eval.separation.bss_eval_sources(..., compute_permutation=False)`.
    """
    refs, ests = torch.as_tensor(references).double(), torch.as_tensor(estimates).double()
    if (refs.square().mean(-1).sqrt() < SILENCE).any():
        return None
    count, flat = len(refs), ests.reshape(-1, refs.shape[-1])  # (M N, L)
    lagged = _correlations(refs, torch.cat([refs, flat]))  # (N, N + M N, TAPS)
    gram, cross = _gram(lagged[:, :count]), lagged[:, count:].movedim(1, -1)  # (N, TAPS, M N)
    # The filters that bring the own reference nearest to an estimate, and those that bring all of them nearest.
    own = torch.zeros_like(cross)
    for n in range(count):
        own[n, :, n::count] = _solve(gram[n, :, n], cross[n, :, n::count])
    whole, cross, own = gram.flatten(2, 3).flatten(0, 1), cross.flatten(0, 1), own.flatten(0, 1)  # (N TAPS, ...)
    every = _solve(whole, cross)

    def energy(filters: Tensor) -> Tensor:
        return (filters * (whole @ filters)).sum(0)

    def rest(filters: Tensor, reached: Tensor) -> Tensor:
        """Energy of what the filtered references leave of the estimates; no more than 160 dB below them is known."""
        return (total - 2 * (filters * cross).sum(0) + reached).clamp_min(1e-16 * total)

    total, by_own, by_every = flat.square().sum(-1), energy(own), energy(every)
    ratios = {
        "sdr": by_own / rest(own, by_own),
        "sir": by_own / energy(every - own),
        "sar": by_every / rest(every, by_every),
        "si_sdr": _scale_invariant(refs, ests).flatten(),
    }
    silent = (ests.square().mean(-1).sqrt() < SILENCE / 100).cpu().numpy()
    shape = ests.shape[:-1]
    return {k: np.where(silent, FAILED, (10 * r.log10()).reshape(shape).cpu().numpy()) for k, r in ratios.items()}


def _scale_invariant(refs: Tensor, ests: Tensor) -> Tensor:
    """Energy of each estimate's part that is its reference, at the loudness that fits best, to that of the rest."""
    target = (ests * refs).sum(-1, keepdim=True) / refs.square().sum(-1, keepdim=True) * refs
    return target.square().sum(-1) / (ests - target).square().sum(-1)


def _correlations(refs: Tensor, sounds: Tensor) -> Tensor:
    """sum_t refs[i, t] sounds[j, t + k] for k in 0..TAPS - 1, by FFTs of short blocks. Shape: (N, L), (J, L) -> (N, J, TAPS)"""
    step = BLOCK - TAPS
    blocks = -(-refs.shape[-1] // step)
    padded = nnf.pad(sounds, (0, blocks * step + TAPS - sounds.shape[-1]))
    there = torch.fft.rfft(padded.unfold(-1, BLOCK, step))  # (J, blocks, BLOCK // 2 + 1)
    here = torch.fft.rfft(nnf.pad(refs, (0, blocks * step - refs.shape[-1])).unflatten(-1, (blocks, step)), BLOCK)
    spectrum = torch.einsum("ibf,jbf->ijf", here.conj(), there)
    return torch.fft.irfft(spectrum, BLOCK)[..., :TAPS]


def _gram(lagged: Tensor) -> Tensor:
    """Inner products of reference i delayed by a and j delayed by b: (N, N, TAPS) -> (N, TAPS, N, TAPS)"""
    both = torch.cat([lagged.transpose(0, 1)[..., 1:].flip(-1), lagged], -1)  # lags -(TAPS - 1)..TAPS - 1
    return both.unfold(-1, TAPS, 1).flip(-1).movedim(1, 2)


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
