"""Scores of sounds: SDR, SIR, SAR. Scores of maps: the pointing game and cIoU.

SDR says how much of an estimate is its source, SIR how little of it is other sources, SAR how
little is noise of the separation.

Conventions: sounds are (N, L), scores in dB, computed by torch in float64. BSS Eval version 3
(Vincent et al. 2006): a source may reach its estimate through any filter of 512 taps. SI-SDR
(Le Roux et al. 2019): through no filter, at any loudness. The tests compare with mir_eval.
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
# Fewest videos for a 95 % interval. In simulations, intervals of 4 videos held the truth in 77 of
# 100 cases.
FEWEST = 6
FAILED = -30.0  # dB, the score of a silent estimate of a source that sounds; it is never left out


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
    """Score each estimate n against reference n.

    An estimate that is silent or not finite scores FAILED. All scores are from -100 to 100 dB.
    The first three equal `mir_eval.separation.bss_eval_sources(..., compute_permutation=False)`.

    Args: `estimates` may hold several sets; they share what only depends on the references.
    Shape: (N, L), (..., N, L) -> (..., N) each.
    Returns: `sdr`, `sir`, `sar`, `si_sdr`; None where a reference is silent, for which no score
        is defined.
    """
    refs, ests = torch.as_tensor(references).double(), torch.as_tensor(estimates).double()
    if silent(refs).any():
        return None
    count = len(refs)
    flat = ests.reshape(-1, refs.shape[-1])  # (M N, L)
    # Correlations at all delays of the filter
    lagged = _correlations(refs, torch.cat([refs, flat]))  # (N, N + M N, TAPS)
    gram = _gram(lagged[:, :count])  # (N, TAPS, N, TAPS)
    cross = lagged[:, count:].movedim(1, -1)  # (N, TAPS, M N)
    # Least squares: the filters that bring all references nearest to an estimate, and those that
    # bring its own one nearest
    left, right = gram.flatten(2, 3).flatten(0, 1), cross.flatten(0, 1)  # (N TAPS, ...)
    factor = _factor(left)
    every, own = torch.cholesky_solve(right, factor), torch.zeros_like(cross)
    for n in range(count):
        mine = _factor(gram[n, :, n]) if n else factor[:TAPS, :TAPS]
        own[n, :, n::count] = torch.cholesky_solve(cross[n, :, n::count], mine)
    own = own.flatten(0, 1)
    # Energies of the parts: by its own source, by all sources, by the other sources
    filters = torch.stack([own, every, every - own], -1)  # (N TAPS, M N, 3)
    filtered = (left @ filters.flatten(1)).view_as(filters)
    by_own, by_every, by_other = (filters * filtered).sum(0).unbind(-1)  # (M N,)
    met_own, met_every = (filters[..., :2] * right[..., None]).sum(0).unbind(-1)
    # The same through no filter: one factor
    j = torch.arange(len(flat), device=flat.device)
    power = gram.diagonal(dim1=0, dim2=2)[0, 0]  # (N,)
    by_one = cross[j % count, 0, j].square() / power[j % count]
    total = flat.square().sum(-1)
    ratios = {
        "sdr": (by_own, total - 2 * met_own + by_own),
        "sir": (by_own, by_other),
        "sar": (by_every, total - 2 * met_every + by_every),
        "si_sdr": (by_one, total - by_one),
    }
    # In dB
    least = 1e-10 * total  # 100 dB below an estimate: anything less is rounding
    level = (total / flat.shape[-1]).sqrt()
    sounds = (level.isfinite() & (level >= SILENT_RMS / 100)).cpu().numpy()
    scores = {}
    for key, (signal, error) in ratios.items():
        db = 10 * (torch.maximum(signal, least) / torch.maximum(error, least)).log10()
        scores[key] = np.where(sounds, db.cpu().numpy(), FAILED).reshape(ests.shape[:-1])
    return scores


def permuted(
    references: Tensor, estimates: Tensor
) -> tuple[dict[str, np.ndarray], list[int]] | None:
    """Score estimates that come in no order: the order with the greatest mean SIR counts.

    Equals `mir_eval.separation.bss_eval_sources(..., compute_permutation=True)`.

    Shape: (N, L), (N, L) -> (N,) each.
    Returns: scores as `bss`, and the order: estimate `order[n]` belongs to reference n. None where
        a reference is silent.
    """
    count = len(references)
    n = np.arange(count)
    turns = np.add.outer(n, n) % count  # turn m: estimate (m + n) % N for reference n
    scores = bss(references, torch.as_tensor(estimates)[torch.from_numpy(turns)])
    if scores is None:
        return None

    def in_order(key: str, order: tuple[int, ...]) -> np.ndarray:
        return scores[key][(np.array(order) - n) % count, n]

    best = max(permutations(range(count)), key=lambda order: in_order("sir", order).mean())
    return {key: in_order(key, best) for key in scores}, list(best)


def _correlations(refs: Tensor, sounds: Tensor) -> Tensor:
    """sum_t refs[i, t] sounds[j, t + k] for k in 0..TAPS - 1, by FFTs of short blocks.

    Shape: (N, L), (J, L) -> (N, J, TAPS)
    """
    step = BLOCK - TAPS
    blocks = -(-refs.shape[-1] // step)
    padded = nnf.pad(sounds, (0, blocks * step + TAPS - sounds.shape[-1]))
    there = torch.fft.rfft(padded.unfold(-1, BLOCK, step))  # (J, blocks, BLOCK // 2 + 1)
    padded = nnf.pad(refs, (0, blocks * step - refs.shape[-1]))
    here = torch.fft.rfft(padded.unflatten(-1, (blocks, step)), BLOCK)
    spectrum = torch.einsum("ibf,jbf->ijf", here.conj(), there)
    return torch.fft.irfft(spectrum, BLOCK)[..., :TAPS]


def _gram(lagged: Tensor) -> Tensor:
    """Inner products of reference i delayed by a and reference j delayed by b.

    Shape: (N, N, TAPS) -> (N, TAPS, N, TAPS)
    """
    negative = lagged.transpose(0, 1)[..., 1:].flip(-1)
    both = torch.cat([negative, lagged], -1)  # lags -(TAPS - 1)..TAPS - 1
    return both.unfold(-1, TAPS, 1).movedim(1, 2).flip(-1)


def _factor(gram: Tensor) -> Tensor:
    """Cholesky's lower factor, with as little added to the diagonal as rounding needs.

    Only narrow-band sounds need any. They leave some taps free, and the choice of these changes
    next to nothing in the projection. Shape: (n, n) -> (n, n)
    """
    size = len(gram)
    # Columns with a power of two as length crowd a CPU's cache: one more is a third faster.
    gram = nnf.pad(gram, (0, 1, 0, 1))
    gram[-1, -1] = gram[0, 0]
    for ridge in (0, 1e-15, 1e-14, 1e-13, 1e-12, 1e-10):
        ridged = gram + (ridge * gram.diagonal()).diag() if ridge else gram
        factor, failed = torch.linalg.cholesky_ex(ridged)
        if not failed:
            break
    return factor[:size, :size]


def bootstrap(
    scores: np.ndarray, groups: Sequence[Collection[str]], seed: int = 0, draws: int = 1000
) -> tuple[float, float] | None:
    """95 % interval of the mean of `scores` (P,), as it would vary with other videos.

    The scores are not independent: each depends on all videos of its mixture. So videos are drawn,
    and a mixture counts as often as the product of its videos' numbers. Percentiles of few videos'
    means are too narrow: they are taken further out, as Student's t would.

    Args: `groups`: the videos of each score's mixture.
    Returns: low, high; None for fewer than `FEWEST` videos, since it would be far too narrow.
    Source: Owen 2007, "The pigeonhole bootstrap". Hesterberg 2015, "What teachers should know
        about the bootstrap", section 5.3.
    """
    videos, flat = np.unique([video for group in groups for video in group], return_inverse=True)
    n = len(videos)
    if n < FEWEST:
        return None
    # The videos of each mixture; short rows are filled up with video n, which counts once
    sizes = np.array([len(group) for group in groups])
    members = np.full((len(groups), sizes.max()), n)
    members[np.arange(sizes.max()) < sizes[:, None]] = flat
    # Draw videos: how often does each mixture count?
    counts = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=draws)
    weights = np.column_stack([counts, np.ones(draws, int)])[:, members].prod(2)  # (draws, P)
    some = weights.any(1)  # a draw may leave no mixture, where each has many videos
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


# --- where a map says that a sound comes from ----------------------------------------------------

Box = tuple[float, float, float, float]  # x0, y0, x1, y1, in shares of the picture
FINE = 224  # pixels, both sides: maps and boxes are compared on this grid


def pointed(energy: np.ndarray, box: Box) -> bool:
    """Whether the peak of a map lies in a box; false for a flat map. Shape: (H, W)

    Source: the pointing game of Zhang et al. 2016.
    """
    if energy.max() == energy.min():
        return False
    row, column = np.unravel_index(energy.argmax(), energy.shape)
    y, x = (row + 0.5) / energy.shape[0], (column + 0.5) / energy.shape[1]
    return bool(box[0] <= x < box[2] and box[1] <= y < box[3])


def ciou(energy: np.ndarray, box: Box) -> float:
    """Consensus intersection over union of a map and a box, 0 to 1. Shape: (H, W)

    The map is enlarged to 224 x 224, scaled to 0..1, and thresholded at 0.5. The score is the
    marked area inside the box, divided by the box and the marked area outside it.

    Source: Senocak et al. 2018, equation 8, for one annotator.
    """
    x0, y0, x1, y1 = box
    given = torch.as_tensor(energy)[None, None].double()
    fine = nnf.interpolate(given, (FINE, FINE), mode="bilinear")[0, 0].numpy()
    span = fine.max() - fine.min()
    marked = (fine - fine.min() >= 0.5 * span) & (span > 0)  # a flat map marks nothing
    middles = (np.arange(FINE) + 0.5) / FINE
    rows, columns = (y0 <= middles) & (middles < y1), (x0 <= middles) & (middles < x1)
    inside = np.outer(rows, columns)
    return float((marked & inside).sum() / max((marked | inside).sum(), 1))


def auc(cious: np.ndarray) -> float:
    """Area under the success curve: the share of maps (P,) with at least a cIoU, by that cIoU.

    The thresholds go from 0 to 1 in steps of 0.05. Source: ibid.
    """
    thresholds = np.linspace(0, 1, 21)
    reached = (np.asarray(cious) >= thresholds[:, None] - 1e-9).mean(1)
    return float(np.trapezoid(reached, dx=0.05))
