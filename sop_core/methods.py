"""What each method makes of a mixture whose sources are known, and how it scores.

Methods: `model`; `exchanged`, the model with the sources' frames swapped round (what it owes to its eyes); `mixture`, which
does nothing; `oracle_binary` and `oracle_ratio`, ideal masks through the same STFT and warp: the ceiling; `..._unwarped`,
without the warp. By choice, `nmf` (see `baselines`; blind, so the order that scores best counts) and `random`, the model with
random weights.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm.auto import tqdm

from . import masks, metrics, tables
from .baselines import nmf
from .config import Config
from .errors import SopError
from .journal import Journal
from .mixtures import Listed
from .nets import SoundOfPixels
from .spectrogram import Warp, stft
from .windows import Mixture

METHODS = (
    "model",
    "exchanged",
    "mixture",
    "oracle_binary",
    "oracle_ratio",
    "oracle_binary_unwarped",
    "oracle_ratio_unwarped",
)


@torch.inference_mode()
def estimates(model: SoundOfPixels, sounds: Tensor, frames: Tensor) -> dict[str, Tensor]:
    """What each method makes of one mixture. Shape: (N, L), uint8 (N, V, 3, h, w) -> {method: (N, L)}"""
    mixture = sounds.sum(0)
    return {
        "model": model.separate(mixture[None], frames[None])[0],
        "exchanged": model.separate(mixture[None], frames.roll(1, 0)[None])[0],
        "mixture": mixture.expand_as(sounds),
    } | oracles(model, sounds)


def oracles(model: SoundOfPixels, sounds: Tensor) -> dict[str, Tensor]:
    """What ideal masks make of a mixture, by method. Shape: (N, L) -> {method: (N, L)}"""
    ways = [(kind, warped) for warped in (True, False) for kind in ("binary", "ratio")]
    return {
        f"oracle_{kind}{'' if warped else '_unwarped'}": oracle(model, sounds, kind, warped) for kind, warped in ways
    }


@torch.inference_mode()
def oracle(model: SoundOfPixels, sounds: Tensor, kind: str, warped: bool = True) -> Tensor:
    """The sounds behind the ideal masks of a mixture's sources. Shape: (N, L) -> (N, L)"""
    specs = model.stft(sounds)
    if not warped:
        return masks.apply(masks.targets(specs.abs()[None], kind)[0], specs.sum(0), model.config.hop, sounds.shape[-1])
    ideal = masks.targets(model.magnitudes(specs)[None], kind)[0]
    return model.sounds(ideal, specs.sum(0), sounds.shape[-1], kind)


def score_pairs(
    model: SoundOfPixels, pairs: list[Mixture], baselines: Iterable[str] = (), journal: Journal | None = None
) -> pd.DataFrame:
    """Every method, and the `config.BASELINES` asked for, on every source of a manifest's mixtures; shows a progress bar.

    Returns scores as `tables` tells them. With a journal, what an earlier run scored is not scored again.
    """
    data, device = Listed(pairs, model.config), next(model.parameters()).device
    random = _untrained(model.config).to(device) if "random" in baselines else None

    def measure(i: int) -> list[dict]:
        try:
            item = data[i]
        except SopError as e:
            raise SopError(f"row {i + 1} ({' + '.join(part.clip.name for part in pairs[i])}): {e}") from None
        sounds, frames = item["sounds"].to(device), item["frames"].to(device)
        found = estimates(model, sounds, frames)
        if random:
            found["random"] = random.separate(sounds.sum(0)[None], frames[None])[0]
        if "nmf" in baselines:
            blind = nmf(sounds.sum(0), len(sounds), model.config, seed=i)
            best = metrics.permuted(sounds, blind)
            found["nmf"] = blind[best[1]] if best else blind
        return score(i, [(part.clip.name, part.clip.video, part.clip.label) for part in pairs[i]], sounds, found)

    return pd.DataFrame(
        [row for rows in (journal or Journal()).each("evaluate", len(data), measure, "pair") for row in rows]
    )


def _untrained(config: Config) -> SoundOfPixels:
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        return SoundOfPixels.blank(config).eval()


def warps(pairs: list[Mixture], config: Config) -> pd.DataFrame:
    """What a warp costs: SDR in dB of ideal masks made and applied behind it, mean over a manifest's mixtures.

    One row a warp: warp, bins, binary, ratio; `none` is the STFT itself.
    """
    linear, rows = config.n_fft // 2 + 1, {}
    for item in tqdm(Listed(pairs, config), desc="warps", unit="pair", leave=False):
        specs = stft(item["sounds"], config.n_fft, config.hop)
        for name in ("none", "mel", "bank", "grid"):
            warp = Warp(linear if name == "none" else config.bins, linear, name)
            mags = warp(specs.abs())[None]
            for kind in ("binary", "ratio"):
                mask = masks.harden(warp.inverse(masks.targets(mags, kind)[0]), kind)
                found = masks.apply(mask, specs.sum(0), config.hop, item["sounds"].shape[-1])
                if scored := metrics.bss(item["sounds"], found):
                    rows.setdefault((name, mags.shape[-2], kind), []).append(np.mean(scored["sdr"]))
    table = pd.Series({key: np.mean(sdr) for key, sdr in rows.items()}).unstack().rename_axis(["warp", "bins"])
    return table.reset_index().sort_values("binary", ascending=False, ignore_index=True)


def score(pair: int, names: list[tuple[str, str, str]], sounds: Tensor, found: dict[str, Tensor]) -> list[dict]:
    """The rows of one mixture: `names` are its sources' clip, video and label. Shape: (N, L), {method: (N, L)}"""
    scores, silent = metrics.bss(sounds, torch.stack(list(found.values()))), metrics.silent(sounds)
    alike = len({label for _, _, label in names}) < len(names)
    rows = []
    for m, method in enumerate(found):
        for n, (clip, video, label) in enumerate(names):
            who = {
                "pair": pair,
                "sources": len(names),
                "labels": "same" if alike else "different",
                "source": n,
                "clip": clip,
            }
            who |= {"video": video, "label": label, "silent": bool(silent[n]), "method": method}
            rows.append(who | {k: float(scores[k][m, n]) if scores else None for k in tables.SCORES})
    return rows


@dataclass(frozen=True)
class Example:
    """One mixture taken apart, to look at and listen to: arrays on the CPU, `mags` on the log-frequency scale."""

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
    """One mixture of a manifest, taken apart."""
    device = next(model.parameters()).device
    item = Listed([mixture], model.config)[0]
    sounds, frames = item["sounds"].to(device), item["frames"].to(device)
    mixed = sounds.sum(0)
    found = model.separate(mixed[None], frames[None])[0]
    mags = model.magnitudes(model.stft(torch.cat([mixed[None], sounds, found])))  # (1 + N + N, F, T)
    n = len(sounds)
    arrays = {
        "mixture": mixed,
        "true": sounds,
        "found": found,
        "frames": frames[:, frames.shape[1] // 2].movedim(1, -1),
        "mixture_mag": mags[0],
        "true_mags": mags[1 : n + 1],
        "found_mags": mags[n + 1 :],
        "weight": model.weight(mags[:1])[0, 0],
        "true_masks": model.target(mags[None, 1 : n + 1], mags[:1])[0],
        "found_masks": model.masks(model.stft(mixed)[None], frames[None])[0],
    }
    arrays = {k: v.cpu().numpy() for k, v in arrays.items()}
    scores = metrics.bss(sounds, torch.stack([found, mixed.expand_as(found)]))
    return Example(
        names=[part.clip.name for part in mixture],
        rate=model.config.rate,
        sdr=scores and scores["sdr"][0],
        sdr_mixture=scores and scores["sdr"][1],
        **arrays,
    )
