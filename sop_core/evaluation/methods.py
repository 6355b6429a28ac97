"""What each method makes of a mixture whose sources are known, and its scores.

The methods:
    model                    the model
    exchanged                the model with the pictures of the sources exchanged; the difference
                             is what the model owes to its pictures
    mixture                  does nothing: each estimate is the mixture
    oracle_binary, oracle_ratio     ideal masks through the model's STFT and warp: the ceiling
    ..._unwarped             the same without the warp
By choice:
    nmf                      see `baselines`; it sees no pictures, so its estimates are taken in the
                             order that scores best
    random                   the model with random weights
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm.auto import tqdm

from .. import metrics
from ..config import Config
from ..errors import SopError
from ..model import masks
from ..model.model import SoundOfPixels
from ..model.spectrogram import Warp, stft
from ..training.mixtures import Listed
from ..training.windows import Mixture
from . import tables
from .journal import Journal
from .nmf import nmf

# Name -> kind of mask, and whether it goes through the warp.
ORACLES = {
    "oracle_binary": ("binary", True),
    "oracle_ratio": ("ratio", True),
    "oracle_binary_unwarped": ("binary", False),
    "oracle_ratio_unwarped": ("ratio", False),
}
METHODS = ("model", "exchanged", "mixture", *ORACLES)


@torch.inference_mode()
def estimates(model: SoundOfPixels, sounds: Tensor, frames: Tensor) -> dict[str, Tensor]:
    """What each method makes of one mixture.

    Shape: (N, L), uint8 (N, V, 3, h, w) -> {method: (N, L)}
    """
    mixture = sounds.sum(0)
    return {
        "model": model.separate(mixture[None], frames[None])[0],
        "exchanged": model.separate(mixture[None], frames.roll(1, 0)[None])[0],
        "mixture": mixture.expand_as(sounds),
    } | oracles(model, sounds)


def oracles(model: SoundOfPixels, sounds: Tensor) -> dict[str, Tensor]:
    """What ideal masks make of a mixture, by method. Shape: (N, L) -> {method: (N, L)}"""
    return {name: oracle(model, sounds, *how) for name, how in ORACLES.items()}


@torch.inference_mode()
def oracle(model: SoundOfPixels, sounds: Tensor, kind: str, warped: bool = True) -> Tensor:
    """The sounds behind the ideal masks of a mixture's sources. Shape: (N, L) -> (N, L)"""
    specs = model.stft(sounds)  # (N, F_linear, T)
    mixture, length = specs.sum(0), sounds.shape[-1]
    if warped:
        ideal = masks.targets(model.magnitudes(specs)[None], kind)[0]  # (N, F, T)
        return model.sounds(ideal, mixture, length, kind)
    ideal = masks.targets(specs.abs()[None], kind)[0]  # (N, F_linear, T)
    return masks.apply(ideal, mixture, model.config.hop, length)


def score_pairs(
    model: SoundOfPixels,
    pairs: list[Mixture],
    baselines: Iterable[str] = (),
    journal: Journal | None = None,
) -> pd.DataFrame:
    """The scores of each method on each source of a manifest's mixtures. Shows a progress bar.

    Args: `baselines`: those of `config.BASELINES` to measure as well. `journal`: what an earlier
    run scored is not scored again.
    Returns scores as `tables` describes them.
    """
    data, device = Listed(pairs, model.config), next(model.parameters()).device
    random = _untrained(model.config).to(device) if "random" in baselines else None

    def measure(i: int) -> list[dict]:
        try:
            item = data[i]
        except SopError as e:
            names = " + ".join(part.clip.name for part in pairs[i])
            raise SopError(f"row {i + 1} ({names}): {e}") from None
        sounds, frames = item["sounds"].to(device), item["frames"].to(device)
        mixture = sounds.sum(0)
        by_method = estimates(model, sounds, frames)
        if random:
            by_method["random"] = random.separate(mixture[None], frames[None])[0]
        if "nmf" in baselines:
            blind = nmf(mixture, len(sounds), model.config, seed=i)
            best = metrics.permuted(sounds, blind)
            by_method["nmf"] = blind[best[1]] if best else blind
        names = [(part.clip.name, part.clip.video, part.clip.label) for part in pairs[i]]
        return score(i, names, sounds, by_method)

    measured = (journal or Journal()).each("evaluate", len(data), measure, "pair")
    return pd.DataFrame([row for rows in measured for row in rows])


def _untrained(config: Config) -> SoundOfPixels:
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        return SoundOfPixels.blank(config).eval()


def warps(pairs: list[Mixture], config: Config) -> pd.DataFrame:
    """What a warp costs: SDR in dB of ideal masks that are made and applied behind it.

    Returns one row a warp: warp, bins, and the means over the mixtures, binary and ratio. The warp
    `none` is the STFT itself.
    """
    linear = config.n_fft // 2 + 1
    rows = []
    for item in tqdm(Listed(pairs, config), desc="warps", unit="pair", leave=False):
        sounds = item["sounds"]
        specs = stft(sounds, config.n_fft, config.hop)  # (N, F_linear, T)
        for name in ("none", "mel", "bank", "grid"):
            warp = Warp(linear if name == "none" else config.bins, linear, name)
            mags = warp(specs.abs())[None]  # (1, N, F, T)
            for kind in ("binary", "ratio"):
                mask = masks.binarize(warp.inverse(masks.targets(mags, kind)[0]), kind)
                separated = masks.apply(mask, specs.sum(0), config.hop, sounds.shape[-1])
                if scores := metrics.bss(sounds, separated):
                    rows.append((name, mags.shape[-2], kind, np.mean(scores["sdr"])))
    sdr = pd.DataFrame(rows, columns=["warp", "bins", "kind", "sdr"])
    table = sdr.pivot_table(index=["warp", "bins"], columns="kind", values="sdr")
    table = table.rename_axis(columns=None).reset_index()
    return table.sort_values("binary", ascending=False, ignore_index=True)


def score(
    pair: int,
    names: list[tuple[str, str, str]],
    sounds: Tensor,
    by_method: dict[str, Tensor],
) -> list[dict]:
    """The rows of one mixture, as `tables` describes them.

    Args: `names`: clip, video and label of each source. Shape: (N, L), {method: (N, L)}
    """
    scores = metrics.bss(sounds, torch.stack(list(by_method.values())))
    silent = metrics.silent(sounds)
    labels = {label for _, _, label in names}
    mixture = {
        "pair": pair,
        "sources": len(names),
        "labels": "same" if len(labels) < len(names) else "different",
    }
    rows = []
    for m, method in enumerate(by_method):
        for n, (clip, video, label) in enumerate(names):
            source = {"source": n, "clip": clip, "video": video, "label": label}
            source |= {"silent": bool(silent[n]), "method": method}
            db = {k: float(scores[k][m, n]) if scores else None for k in tables.SCORES}
            rows.append(mixture | source | db)
    return rows


@dataclass(frozen=True)
class Example:
    """One mixture, separated, to look at and listen to.

    Arrays are on the CPU. Magnitudes and masks are on the log-frequency scale.
    """

    names: list[str]  # clips, label/id
    rate: int  # Hz
    frames: np.ndarray  # uint8 (N, image, image, 3), the middle one of each source
    mixture: np.ndarray  # (L,)
    true: np.ndarray  # (N, L)
    found: np.ndarray  # (N, L)
    mixture_mag: np.ndarray  # (F, T)
    weight: np.ndarray  # (F, T), how much a bin counts in the loss
    true_mags: np.ndarray  # (N, F, T)
    found_mags: np.ndarray  # (N, F, T)
    true_masks: np.ndarray  # (N, F, T)
    found_masks: np.ndarray  # (N, F, T), soft
    sdr: np.ndarray | None  # (N,) dB; None where a source is silent
    sdr_mixture: np.ndarray | None


@torch.inference_mode()
def example(model: SoundOfPixels, mixture: Mixture) -> Example:
    """Separate one mixture of a manifest, and keep what is of interest on the way."""
    device = next(model.parameters()).device
    item = Listed([mixture], model.config)[0]
    sounds, frames = item["sounds"].to(device), item["frames"].to(device)
    mixed = sounds.sum(0)
    separated = model.separate(mixed[None], frames[None])[0]
    specs = model.stft(torch.cat([mixed[None], sounds, separated]))
    mags = model.magnitudes(specs)  # (1 + N + N, F, T)
    n = len(sounds)
    arrays = {
        "mixture": mixed,
        "true": sounds,
        "found": separated,
        "frames": frames[:, frames.shape[1] // 2].movedim(1, -1),
        "mixture_mag": mags[0],
        "true_mags": mags[1 : n + 1],
        "found_mags": mags[n + 1 :],
        "weight": model.weight(mags[:1])[0, 0],
        "true_masks": model.target(mags[None, 1 : n + 1], mags[:1])[0],
        "found_masks": model.masks(model.stft(mixed)[None], frames[None])[0],
    }
    arrays = {k: v.cpu().numpy() for k, v in arrays.items()}
    scores = metrics.bss(sounds, torch.stack([separated, mixed.expand_as(separated)]))
    return Example(
        names=[part.clip.name for part in mixture],
        rate=model.config.rate,
        sdr=scores and scores["sdr"][0],
        sdr_mixture=scores and scores["sdr"][1],
        **arrays,
    )
