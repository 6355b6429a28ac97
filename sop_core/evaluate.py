"""A checkpoint, its baselines and its oracles on one manifest -> a table, and the protocol that it was made by.

Methods: `model`; `exchanged`, the model with the sources' frames swapped round (what it owes to its eyes); `mixture`, which
does nothing; `oracle_binary` and `oracle_ratio`, ideal masks through the same STFT and warp: the ceiling; `..._unwarped`,
without the warp. By choice, `nmf` (see `baselines`; blind, so the order that scores best counts) and `random`, the model before
training.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import permutations
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm.auto import tqdm

from . import __version__, checkpoint, masks, media, metrics
from .baselines import nmf
from .config import Config
from .errors import SopError
from .index import Clip
from .localize import Scene
from .mixing import Listed, Mixture, pairs_hash
from .nets import SoundOfPixels
from .spectrogram import Warp, stft

METHODS = (
    "model",
    "exchanged",
    "mixture",
    "oracle_binary",
    "oracle_ratio",
    "oracle_binary_unwarped",
    "oracle_ratio_unwarped",
)
SCORES = ("sdr", "sir", "sar", "si_sdr")


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


def score_pairs(model: SoundOfPixels, pairs: list[Mixture], baselines: Iterable[str] = ()) -> pd.DataFrame:
    """Every method, and the `config.BASELINES` asked for, on every source of a manifest's mixtures; shows a progress bar.

    One row a pair, source and method: pair, source, clip, video, label, method, sdr, sir, sar, si_sdr (dB; empty where one of the
    pair's sources is silent, since nothing is defined then).
    """
    data, rows = Listed(pairs, model.config), []
    device = next(model.parameters()).device
    random = _untrained(model.config).to(device) if "random" in baselines else None
    for i in tqdm(range(len(data)), desc="evaluate", unit="pair", leave=False):
        item = data[i]
        sounds, frames = item["sounds"].to(device), item["frames"].to(device)
        names = [(part.clip.name, part.clip.video, part.clip.label) for part in pairs[i]]
        found = estimates(model, sounds, frames)
        if random:
            found["random"] = random.separate(sounds.sum(0)[None], frames[None])[0]
        if "nmf" in baselines:
            found["nmf"] = _best_order(sounds, nmf(sounds.sum(0), model.config, seed=i))
        rows += _score(i, names, sounds, found)
    return pd.DataFrame(rows)


def _untrained(config: Config) -> SoundOfPixels:
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        return SoundOfPixels(replace(config, pretrained=False)).eval()


def _best_order(sounds: Tensor, found: Tensor) -> Tensor:
    """What was separated blindly, in the order whose mean SDR is the greatest. Shape: (N, L), (N, L) -> (N, L)"""
    orders = [found[list(order)] for order in permutations(range(len(found)))]
    scored = metrics.bss(sounds, torch.stack(orders))
    return orders[int(scored["sdr"].mean(-1).argmax())] if scored else found


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


def _score(pair: int, names: list[tuple[str, str, str]], sounds: Tensor, found: dict[str, Tensor]) -> list[dict]:
    scores, rows = metrics.bss(sounds, torch.stack(list(found.values()))), []
    for m, method in enumerate(found):
        for n, (clip, video, label) in enumerate(names):
            values = {k: float(scores[k][m, n]) if scores else None for k in SCORES}
            rows.append(
                {"pair": pair, "source": n, "clip": clip, "video": video, "label": label, "method": method, **values}
            )
    return rows


def table(scores: pd.DataFrame) -> list[dict]:
    """One row a method: n_pairs, n_excluded, mean sdr, sir, sar, si_sdr (dB), sdr_mixture, sdr_ci95 (bootstrap over videos)."""
    rows = []
    for method, mine in scores.groupby("method", sort=False):
        kept = mine.dropna(subset="sdr")
        n_excluded = mine.pair.nunique() - kept.pair.nunique()
        row = {"method": method, "n_pairs": kept.pair.nunique(), "n_excluded": n_excluded}
        row |= {k: round(float(kept[k].mean()), 4) if len(kept) else None for k in SCORES}
        rows.append(row | {"sdr_ci95": _interval(kept)})
    mixture = next((r["sdr"] for r in rows if r["method"] == "mixture"), None)
    return [{**r, "sdr_mixture": mixture} for r in rows]


def _interval(scores: pd.DataFrame) -> list[float] | None:
    if scores.empty:
        return None
    return [round(x, 4) for x in metrics.bootstrap(scores["sdr"].to_numpy(), scores["video"].tolist())]


def per_label(scores: pd.DataFrame) -> list[dict]:
    """Mean SDR in dB of the model and of the mixture for each label, and how many sources that is."""
    kept = scores.dropna(subset="sdr")
    rows = []
    for label, mine in kept.groupby("label"):
        means = mine.groupby("method").sdr.mean().round(4)
        n = int((mine.method == "model").sum())
        rows.append({"label": label, "n": n, "sdr": float(means["model"]), "sdr_mixture": float(means["mixture"])})
    return rows


def by_labels(scores: pd.DataFrame) -> dict[str, list[dict]]:
    """The table of mixtures two of whose sources share a label (`same`), and of all others (`different`), where there are any."""
    alike = scores.groupby("pair").label.transform("nunique") < scores.groupby("pair").source.transform("nunique")
    groups = {"same": scores[alike], "different": scores[~alike]}
    return {name: table(mine) for name, mine in groups.items() if len(mine)}


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


# --- duets: a mixture that was filmed as one, with its stems and boxes known -----------------------------------------


@dataclass(frozen=True)
class Source:
    """One instrument of a duet."""

    label: str
    box: tuple[float, float, float, float]  # x0, y0, x1, y1, in shares of the picture
    stem: Path


def read_truth(folder: Path, id: str) -> list[Source] | None:
    """The sources of clip `id` by `folder/<id>.json`; None where there is no such file. Raises SopError where it is broken."""
    path = folder / f"{id}.json"
    if not path.is_file():
        return None
    try:
        truth = json.loads(path.read_text())
        (w, h), sources = truth["frame_size"], truth["sources"]
        boxes = [np.array(s["box_xyxy"]) / [w, h, w, h] for s in sources]
        # Only the stem's name counts: a file may not lead out of its folder.
        stems = [folder / Path(s["stem"]).name for s in sources]
        return [Source(s["label"], tuple(b.tolist()), stem) for s, b, stem in zip(sources, boxes, stems, strict=True)]
    except (ValueError, KeyError, TypeError) as e:
        raise SopError(f"{path}: expected frame_size and sources with label, box_xyxy and stem ({e!r})") from None


def score_duets(model: SoundOfPixels, clips: list[Clip], truth: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Duets against their stems: each instrument's sound is what its box sounds like.

    Returns the scores, as `score_pairs` does (`exchanged` takes the other's box), and the localization, one row an
    instrument: clip, label, own and other (correlation of its box's sound with its stem and with the other's), right.
    Raises SopError where none of the clips has truth in that folder.
    """
    rows, placed = [], []
    known = [(clip, sources) for clip in clips if (sources := read_truth(truth, clip.id))]
    if not known:
        raise SopError(f"{truth}: no <id>.json there for any of the {len(clips)} clips, e.g. {clips[0].id}.json")
    for i, (clip, sources) in enumerate(tqdm(known, desc="duets", unit="clip", leave=False)):
        scene = Scene.from_clip(model, clip)
        stems = [media.read_sound(s.stem, rate=scene.rate) for s in sources]
        length = min(len(scene.mixture), *map(len, stems))
        stems = np.stack([s[:length] for s in stems])
        found = np.stack([scene.sound(scene.cells_in(s.box)) for s in sources])[:, :length]
        sounds, estimate = torch.from_numpy(stems).to(scene.spec.device), torch.from_numpy(found).to(scene.spec.device)
        mixture = torch.from_numpy(scene.mixture[:length]).to(sounds)
        methods = {"model": estimate, "exchanged": estimate.roll(1, 0), "mixture": mixture.expand_as(sounds)}
        methods |= oracles(model, sounds)
        rows += _score(i, [(clip.name, clip.video, s.label) for s in sources], sounds, methods)
        placed += _place(clip, sources, found, stems)
    return pd.DataFrame(rows), pd.DataFrame(placed)


def _place(clip: Clip, sources: list[Source], found: np.ndarray, stems: np.ndarray) -> list[dict]:
    rows = []
    for n, source in enumerate(sources):
        to = [metrics.correlation(found[n], stem) for stem in stems]
        other = max(c for m, c in enumerate(to) if m != n)
        rows.append({"clip": clip.name, "label": source.label, "own": to[n], "other": other, "right": to[n] > other})
    return rows


def leaks(folder: Path, pairs: list[Mixture]) -> list[tuple[int, str]] | None:
    """Rows of a manifest (from 1), with the clip, whose video the run in `folder` was trained on. None where it doesn't say."""
    known = checkpoint.read_clips(folder)
    if known is None:
        return None
    learned = {video for _, video in known["train"]}
    return [(row, part.clip.name) for row, pair in enumerate(pairs, 1) for part in pair if part.clip.video in learned]


# --- what is written down --------------------------------------------------------------------------------------------


def protocol(model: SoundOfPixels, pairs: list[Mixture], folder: Path) -> dict:
    """All that must be said beside a number for another one to be comparable with it; `folder` is the model's."""
    config, leaked = model.config, leaks(folder, pairs)
    same = sum(len({part.clip.label for part in pair}) < len(pair) for pair in pairs)
    return {
        "profile": config.profile,
        "manifest": pairs_hash(pairs),
        "n_pairs": len(pairs),
        "n_same_label": same,
        "sources": config.sources,
        "seconds": round(config.seconds, 4),
        "mask": config.mask,
        "share": config.share,
        "metric": "BSS Eval v3, 512 taps, no permutation, mean over sources",
        "leaked_pairs": None if leaked is None else len({row for row, _ in leaked}),
        "checkpoint": media.sha256(folder / "model.safetensors")[:10],
        "versions": {"sop_core": __version__, "torch": torch.__version__.split("+")[0]},
    }


def localization(placed: pd.DataFrame) -> dict:
    """The share of instruments whose box sounds more like their stem than like the other's, and the mean correlations."""
    return {
        "n_instruments": len(placed),
        "share_right": round(float(placed.right.mean()), 4),
        "correlation_own": round(float(placed.own.mean()), 4),
        "correlation_other": round(float(placed.other.mean()), 4),
    }


def evaluate(
    model: SoundOfPixels,
    folder: Path,
    pairs: list[Mixture],
    duets: list[Clip] = (),
    truth: Path | None = None,
    baselines: Iterable[str] = (),
) -> tuple[dict, pd.DataFrame]:
    """All of it: what `metrics.json` holds, and the scores behind its rows, one a pair, source and method.

    folder: where the model's weights are, for their checksum; duets and truth: as for `score_duets`, where there are any.
    """
    scores = score_pairs(model, pairs, baselines)
    results = {"protocol": protocol(model, pairs, folder)}
    results |= {"rows": table(scores), "per_label": per_label(scores), "by_labels": by_labels(scores)}
    if duets:
        duet_scores, placed = score_duets(model, duets, truth)
        results |= {"duets": table(duet_scores), "localization": localization(placed)}
    return results, scores


def write_metrics(path: Path, results: dict) -> None:
    """`metrics.json`, whole or not at all."""
    with media.whole(path) as tmp:
        tmp.write_text(json.dumps(results, indent=1))


def write_scores(path: Path, scores: pd.DataFrame) -> None:
    """The scores of every pair, source and method as csv, whole or not at all."""
    with media.whole(path) as tmp:
        scores.round(4).to_csv(tmp, index=False)


def text_table(rows: Iterable[dict]) -> str:
    """The table as text: a line a method, dB with two decimals."""
    lines = [f"{'method':<22} {'SDR':>6} {'SIR':>6} {'SAR':>6} {'SI-SDR':>6}   95 % of SDR     pairs  excluded"]
    for r in rows:
        numbers = " ".join("     -" if r[k] is None else f"{r[k]:6.2f}" for k in SCORES)
        interval = "      -        " if r["sdr_ci95"] is None else "[{:6.2f}, {:6.2f}]".format(*r["sdr_ci95"])
        lines.append(f"{r['method']:<22} {numbers}   {interval} {r['n_pairs']:>5}  {r['n_excluded']:>7}")
    return "\n".join(lines)
