"""SDR, SIR, SAR: how much of an estimate is the source, how much other sources, how much artifacts; whether a map finds its box.

Conventions: sounds are (N, L), scores in dB. BSS Eval version 3 (Vincent et al. 2006): a source may reach its estimate
through any filter of 512 taps; SI-SDR (Le Roux et al. 2019): through no filter, at any loudness. Torch, in float64; the tests
hold it against mir_eval.
"""

from collections.abc import Collection, Sequence
from itertools import permutations

import numpy as np
import torch
import torch.nn.functional as nnf
from scipy import stats
from torch import Tensor

TAPS = 512  # of the filter that a source may have gone through
BLOCK = 4096  # samples of an FFT
SILENT_RMS = 1e-4  # RMS under which a source counts as silent: 80 dB below full scale
FEWEST = 6  # videos of which a 95 % interval is told: in simulations those of 4 hold the truth in 77 of 100
FAILED = -30.0  # dB, the score of a silent estimate of a source that sounds: a failure, counted and never dropped


def rms(sound: np.ndarray) -> np.ndarray:
    """Root mean square over the last axis. Shape: (..., L) -> (...)"""
    return np.sqrt(np.mean(np.square(sound, dtype=np.float64), axis=-1))


def silent(sounds: Tensor | np.ndarray) -> np.ndarray:
    """Which sounds are silent. Shape: (..., L) -> bool (...)"""
    return (torch.as_tensor(sounds).double().square().mean(-1).sqrt() < SILENT_RMS).cpu().numpy()


@torch.inference_mode()
def bss(
    references: Tensor | np.ndarray, estimates: Tensor | np.ndarray
) -> dict[str, np.ndarray] | None:
    """`sdr`, `sir`, `sar`, `si_sdr` of each estimate; None where a reference is silent: then nothing is defined.

    Estimate n is held against reference n; several sets of estimates share what only depends on the references.
    An estimate that is silent, or no number, scores FAILED; no score lies beyond -100 and 100 dB.
    Shape: (N, L), (..., N, L) -> (..., N) each.
    The first three equal `mir_eval.separation.bss_eval_sources(..., compute_permutation=False)`.
    """
    refs, ests = torch.as_tensor(references).double(), torch.as_tensor(estimates).double()
    if silent(refs).any():
        return None
    count, flat = len(refs), ests.reshape(-1, refs.shape[-1])  # (M N, L)
    lagged = _correlations(refs, torch.cat([refs, flat]))  # (N, N + M N, TAPS)
    gram, cross = (
        _gram(lagged[:, :count]),
        lagged[:, count:].movedim(1, -1),
    )  # (N, TAPS, N, TAPS), (N, TAPS, M N)
    # The filters that bring all references nearest to an estimate, and those that bring the own one nearest.
    whole, right = gram.flatten(2, 3).flatten(0, 1), cross.flatten(0, 1)  # (N TAPS, ...)
    factor = _factor(whole)
    every, own = torch.cholesky_solve(right, factor), torch.zeros_like(cross)
    for n in range(count):
        mine = _factor(gram[n, :, n]) if n else factor[:TAPS, :TAPS]
        own[n, :, n::count] = torch.cholesky_solve(cross[n, :, n::count], mine)
    filters = torch.stack(
        [own.flatten(0, 1), every, every - own.flatten(0, 1)], -1
    )  # (N TAPS, M N, 3)
    by_own, by_every, by_other = (
        (filters * (whole @ filters.flatten(1)).view_as(filters)).sum(0).unbind(-1)
    )  # energies
    met_own, met_every = (filters[..., :2] * right[..., None]).sum(0).unbind(-1)
    j = torch.arange(len(flat), device=flat.device)
    by_one = (
        cross[j % count, 0, j].square() / gram.diagonal(dim1=0, dim2=2)[0, 0, j % count]
    )  # through no filter
    total = flat.square().sum(-1)
    ratios = {
        "sdr": (by_own, total - 2 * met_own + by_own),
        "sir": (by_own, by_other),
        "sar": (by_every, total - 2 * met_every + by_every),
        "si_sdr": (by_one, total - by_one),
    }
    least = 1e-10 * total  # 100 dB below an estimate: what is less would be rounding
    level = (total / flat.shape[-1]).sqrt()
    heard = (level.isfinite() & (level >= SILENT_RMS / 100)).cpu().numpy()
    found = {
        k: 10 * (torch.maximum(a, least) / torch.maximum(b, least)).log10()
        for k, (a, b) in ratios.items()
    }
    found = {k: np.where(heard, values.cpu().numpy(), FAILED) for k, values in found.items()}
    return {k: values.reshape(ests.shape[:-1]) for k, values in found.items()}


def permuted(
    references: Tensor, estimates: Tensor
) -> tuple[dict[str, np.ndarray], list[int]] | None:
    """The scores of what was separated blindly, in the order whose mean SIR is the greatest, and that order.

    Estimate `order[n]` is held against reference n. Shape: (N, L), (N, L) -> (N,) each; None where a reference is silent.
    Equals `mir_eval.separation.bss_eval_sources(..., compute_permutation=True)`.
    """
    count = len(references)
    turns = (
        np.add.outer(np.arange(count), np.arange(count)) % count
    )  # turn m: estimate (m + n) % N for reference n
    scores = bss(references, torch.as_tensor(estimates)[torch.from_numpy(turns)])
    if scores is None:
        return None

    def of(key: str, order: tuple[int, ...]) -> np.ndarray:
        return np.array([scores[key][(order[n] - n) % count, n] for n in range(count)])

    best = max(permutations(range(count)), key=lambda order: of("sir", order).mean())
    return {key: of(key, best) for key in scores}, list(best)


def _correlations(refs: Tensor, sounds: Tensor) -> Tensor:
    """sum_t refs[i, t] sounds[j, t + k] for k in 0..TAPS - 1, by FFTs of short blocks. Shape: (N, L), (J, L) -> (N, J, TAPS)"""
    step = BLOCK - TAPS
    blocks = -(-refs.shape[-1] // step)
    padded = nnf.pad(sounds, (0, blocks * step + TAPS - sounds.shape[-1]))
    there = torch.fft.rfft(padded.unfold(-1, BLOCK, step))  # (J, blocks, BLOCK // 2 + 1)
    here = torch.fft.rfft(
        nnf.pad(refs, (0, blocks * step - refs.shape[-1])).unflatten(-1, (blocks, step)), BLOCK
    )
    spectrum = torch.einsum("ibf,jbf->ijf", here.conj(), there)
    return torch.fft.irfft(spectrum, BLOCK)[..., :TAPS]


def _gram(lagged: Tensor) -> Tensor:
    """Inner products of reference i delayed by a and j delayed by b: (N, N, TAPS) -> (N, TAPS, N, TAPS)"""
    both = torch.cat(
        [lagged.transpose(0, 1)[..., 1:].flip(-1), lagged], -1
    )  # lags -(TAPS - 1)..TAPS - 1
    return both.unfold(-1, TAPS, 1).movedim(1, 2).flip(-1)


def _factor(gram: Tensor) -> Tensor:
    """Cholesky's lower factor, with as little added to the diagonal as rounding asks for. Shape: (n, n) -> (n, n)

    Only narrow-band sounds ask for any: they leave taps open, whose choice changes next to nothing in what is projected.
    """
    size = len(gram)
    gram = nnf.pad(
        gram, (0, 1, 0, 1)
    )  # columns a power of two long crowd a CPU's cache: this is a third faster
    gram[-1, -1] = gram[0, 0]
    for ridge in (0, 1e-15, 1e-14, 1e-13, 1e-12, 1e-10):
        factor, failed = torch.linalg.cholesky_ex(
            gram + (ridge * gram.diagonal()).diag() if ridge else gram
        )
        if not failed:
            break
    return factor[:size, :size]


def bootstrap(
    scores: np.ndarray, groups: Sequence[Collection[str]], seed: int = 0, draws: int = 1000
) -> tuple[float, float] | None:
    """95 % interval of the mean of `scores` (P,), for other videos than these: each score depends on all videos of its mixture.

    Videos are drawn, and a mixture counts as often as the product of its videos' numbers (Owen 2007, "The pigeonhole bootstrap").
    Percentiles of few videos' means are too narrow: they are taken further out, as Student's t would (Hesterberg 2015, "What
    teachers should know about the bootstrap", section 5.3).

    None of fewer than `FEWEST` videos: theirs would be far too narrow. Args: `groups`: the videos of each score's mixture.
    """
    videos, flat = np.unique([video for group in groups for video in group], return_inverse=True)
    members = np.full(
        (len(groups), max(map(len, groups))), len(videos)
    )  # rows are filled up with one that counts once
    members[np.arange(members.shape[1]) < np.array([len(group) for group in groups])[:, None]] = (
        flat
    )
    n = len(videos)
    if n < FEWEST:
        return None
    counts = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=draws)
    weights = np.column_stack([counts, np.ones(draws, int)])[:, members].prod(2)  # (draws, P)
    some = weights.any(1)  # a draw may leave no mixture, where each is of many videos
    if some.mean() < 0.5:
        return None
    means = weights[some] @ scores / weights[some].sum(1)
    tail = 100 * stats.norm.cdf(-np.sqrt(n / (n - 1)) * stats.t.ppf(0.975, n - 1))
    low, high = np.percentile(means, [tail, 100 - tail])
    return float(low), float(high)


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's correlation of two sounds (L,), -1 to 1; 0 where one of them is constant."""
    a, b = a - a.mean(), b - b.mean()
    size = np.linalg.norm(a) * np.linalg.norm(b)
    return float(a @ b / size) if size > 0 else 0.0


# --- where a map says that a sound comes from -------------------------------------------------------------------------

Box = tuple[float, float, float, float]  # x0, y0, x1, y1, in shares of the picture
FINE = 224  # pixels, both sides: maps and boxes are compared on this grid


def pointed(energy: np.ndarray, box: Box) -> bool:
    """Whether the peak of a map lies in a box: the pointing game (Zhang et al. 2016). A flat map points nowhere. Shape: (H, W)"""
    if energy.max() == energy.min():
        return False
    row, column = np.unravel_index(energy.argmax(), energy.shape)
    y, x = (row + 0.5) / energy.shape[0], (column + 0.5) / energy.shape[1]
    return bool(box[0] <= x < box[2] and box[1] <= y < box[3])


def ciou(energy: np.ndarray, box: Box) -> float:
    """Consensus intersection over union of a map and a box, 0 to 1. Shape: (H, W)

    The map is brought to 224 x 224 and to 0..1 by its least and its greatest value, and says "here" from 0.5: what of that lies in
    the box, by the box and what of it lies outside. Source: Senocak et al. 2018, equation 8, for one annotator.
    """
    fine = nnf.interpolate(
        torch.as_tensor(energy)[None, None].double(), (FINE, FINE), mode="bilinear"
    )[0, 0].numpy()
    span = fine.max() - fine.min()
    here = (
        fine - fine.min() >= 0.5 * span if span > 0 else np.zeros_like(fine, bool)
    )  # a flat map says nothing
    middles = (np.arange(FINE) + 0.5) / FINE
    inside = ((box[1] <= middles) & (middles < box[3]))[:, None] & (
        (box[0] <= middles) & (middles < box[2])
    )
    return float((here & inside).sum() / max((here | inside).sum(), 1))


def auc(cious: np.ndarray) -> float:
    """Area under the share of maps (P,) whose cIoU reaches a threshold, by the threshold from 0 to 1 in steps of 0.05 (ibid.)."""
    reached = [
        (np.asarray(cious) >= threshold - 1e-9).mean() for threshold in np.linspace(0, 1, 21)
    ]
    return float(np.trapezoid(reached, dx=0.05))
