"""How each method separates a mixture whose sources are known, and its scores.

The methods:
    model                    the model
    exchanged                the model with the pictures of the sources exchanged; the difference
                             shows how much the pictures help
    mixture                  no separation: each estimate is the mixture
    oracle_binary, oracle_ratio     ideal masks through the model's STFT and warp: the ceiling
    ..._unwarped             the same without the warp
Optional baselines:
    nmf                      see `nmf`; it sees no pictures, so its estimates are scored in the
                             order that fits best
    random                   the model with random weights
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

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
def heard_as(model: SoundOfPixels, parts: Mixture) -> pd.DataFrame:
    """Which picture each sound is given to if it is heard alone, as shares of its energy.

    The masks of all `parts` are a partition of each sound (`masks.partition`). A sound that goes to
    the picture of another instrument isn't recognized: it is hard to separate from that one.

    Returns a row for each part that sounds and a column for each that is shown, named by their
    labels. Rows add up to 1; the row of a silent sound is NaN.
    """
    sounds, frames = _read(parts, model, equal_level=False)  # (M, L), (M, V, 3, h, w)
    features = model.source_features(frames[None])  # (1, M, K)
    rows = []
    for sound in sounds:
        mags = model.magnitudes(model.stft(sound[None]))  # (1, F, T)
        taken = masks.partition(model.logits(features, model.feature_maps(mags)))[0]  # (M, F, T)
        power = mags.square()
        rows.append((taken * power).sum((1, 2)) / power.sum())
    labels = [part.clip.label for part in parts]
    return pd.DataFrame(torch.stack(rows).cpu().numpy(), labels, labels)


@torch.inference_mode()
def estimates(model: SoundOfPixels, sounds: Tensor, frames: Tensor) -> dict[str, Tensor]:
    """The estimates of one mixture's sources, by method.

    Shape: (N, L), uint8 (N, V, 3, h, w) -> {method: (N, L)}
    """
    mixture = sounds.sum(0)
    return {
        "model": model.separate(mixture[None], frames[None])[0],
        "exchanged": model.separate(mixture[None], frames.roll(1, 0)[None])[0],
        "mixture": mixture.expand_as(sounds),
    } | oracles(model, sounds)


def oracles(model: SoundOfPixels, sounds: Tensor) -> dict[str, Tensor]:
    """The estimates of ideal masks, by method. Shape: (N, L) -> {method: (N, L)}"""
    return {method: oracle(model, sounds, *how) for method, how in ORACLES.items()}


@torch.inference_mode()
def oracle(model: SoundOfPixels, sounds: Tensor, kind: str, warped: bool = True) -> Tensor:
    """The estimates of one kind of ideal mask. Shape: (N, L) -> (N, L)"""
    specs = model.stft(sounds)  # (N, F_linear, T)
    mixture = specs.sum(0)  # (F_linear, T)
    length = sounds.shape[-1]
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
    equal_level: bool = False,
) -> pd.DataFrame:
    """The scores of each method on each source of a manifest's mixtures. Shows a progress bar.

    Args:
        baselines: those of `config.BASELINES` to measure as well.
        journal: holds what an earlier run scored. That is not scored again.
        equal_level: the sources of each mixture are made equally loud first (RMS); silent ones
            stay silent.

    Returns scores as `tables` describes them.
    Raises SopError if a clip can't be read, with its row in the manifest.
    """
    random = _untrained(model) if "random" in baselines else None

    def measure(i: int) -> list[dict]:
        try:
            sounds, frames = _read(pairs[i], model, equal_level)
        except SopError as e:
            names = " + ".join(part.clip.name for part in pairs[i])
            raise SopError(f"row {i + 1} ({names}): {e}") from None
        mixture = sounds.sum(0)
        by_method = estimates(model, sounds, frames)
        if random:
            by_method["random"] = random.separate(mixture[None], frames[None])[0]
        if "nmf" in baselines:
            unordered = nmf(mixture, len(sounds), model.config, seed=i)
            best = metrics.permuted(sounds, unordered)
            by_method["nmf"] = unordered[best[1]] if best else unordered
        names = [(part.clip.name, part.clip.video, part.clip.label) for part in pairs[i]]
        return score(i, names, sounds, by_method)

    measured = (journal or Journal()).each("evaluate", len(pairs), measure, "pair")
    return pd.DataFrame([row for rows in measured for row in rows])


def _read(pair: Mixture, model: SoundOfPixels, equal_level: bool) -> tuple[Tensor, Tensor]:
    """The sounds and frames of a mixture. Shape: (N, L), uint8 (N, V, 3, h, w)"""
    device = next(model.parameters()).device
    item: dict[str, Any] = Listed([pair], model.config)[0]
    sounds = item["sounds"]
    if equal_level:
        level = sounds.square().mean(-1, keepdim=True).sqrt()  # (N, 1)
        heard = ~torch.as_tensor(metrics.silent(sounds))[:, None]  # the silent stay as they are
        loud = level.square()[heard].mean().sqrt()
        sounds = torch.where(heard, sounds * (loud / level), sounds)
    return sounds.to(device), item["frames"].to(device)


def _untrained(model: SoundOfPixels) -> SoundOfPixels:
    """A model like this one with random weights, from the seed of its config."""
    with torch.random.fork_rng():
        torch.manual_seed(model.config.seed)
        return SoundOfPixels.blank(model.config).eval().to(next(model.parameters()).device)


def warps(pairs: list[Mixture], config: Config) -> pd.DataFrame:
    """The loss by each frequency warp: SDR in dB of ideal masks on the warped scale.

    Returns one row a warp: warp, bins, and the means over the mixtures, binary and ratio. The warp
    `none` is the STFT itself.
    """
    linear = config.n_fft // 2 + 1
    rows = []
    for pair in tqdm(pairs, desc="warps", unit="pair", leave=False):
        item: dict[str, Any] = Listed([pair], config)[0]
        sounds = item["sounds"]  # (N, L)
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
    pair: int, names: list[tuple[str, str, str]], sounds: Tensor, by_method: dict[str, Tensor]
) -> list[dict]:
    """The rows of one mixture, as `tables` describes them.

    Args:
        pair: the number of the mixture, from 0.
        names: clip, video and label of each source.
        sounds: the sources. Shape: (N, L)
        by_method: their estimates. Shape: {method: (N, L)}
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
            which = {"silent": bool(silent[n]), "method": method}
            db = {k: float(scores[k][m, n]) if scores else None for k in tables.SCORES}
            rows.append(mixture | source | which | db)
    return rows


@dataclass(frozen=True)
class Example:
    """One mixture and its separation, to look at and listen to.

    Magnitudes and masks are on the log-frequency scale.
    """

    names: list[str]  # of the clips, label/id
    rate: int  # Hz
    frames: np.ndarray  # uint8 (N, image, image, 3), the middle frame of each source
    mixture: np.ndarray  # (L,)
    true: np.ndarray  # (N, L)
    estimates: np.ndarray  # (N, L)
    mixture_mag: np.ndarray  # (F, T)
    weight: np.ndarray  # (F, T), of each bin in the loss
    true_mags: np.ndarray  # (N, F, T)
    estimate_mags: np.ndarray  # (N, F, T)
    true_masks: np.ndarray  # (N, F, T)
    estimate_masks: np.ndarray  # (N, F, T), soft
    sdr: np.ndarray | None  # (N,) dB; None if a source is silent
    sdr_mixture: np.ndarray | None  # (N,) dB, without separation


@torch.inference_mode()
def example(model: SoundOfPixels, mixture: Mixture, equal_level: bool = False) -> Example:
    """Separate one mixture of a manifest, and keep the results of each step."""
    sounds, frames = _read(mixture, model, equal_level)
    mixed = sounds.sum(0)  # (L,)
    separated = model.separate(mixed[None], frames[None])[0]  # (N, L)

    # Magnitudes of the mixture, of the sources and of the estimates.
    specs = model.stft(torch.cat([mixed[None], sounds, separated]))
    mags = model.magnitudes(specs)  # (1 + N + N, F, T)
    n = len(sounds)
    tensors = {
        "mixture": mixed,
        "true": sounds,
        "estimates": separated,
        "frames": frames[:, frames.shape[1] // 2].movedim(1, -1),
        "mixture_mag": mags[0],
        "true_mags": mags[1 : n + 1],
        "estimate_mags": mags[n + 1 :],
        "weight": model.weight(mags[:1])[0, 0],
        "true_masks": model.target(mags[None, 1 : n + 1], mags[:1])[0],
        "estimate_masks": model.masks(model.stft(mixed)[None], frames[None])[0],
    }
    arrays = {k: v.cpu().numpy() for k, v in tensors.items()}
    scores = metrics.bss(sounds, torch.stack([separated, mixed.expand_as(separated)]))
    return Example(
        names=[part.clip.name for part in mixture],
        rate=model.config.rate,
        sdr=scores["sdr"][0] if scores else None,
        sdr_mixture=scores["sdr"][1] if scores else None,
        **arrays,
    )
