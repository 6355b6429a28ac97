"""The scores of an evaluation -> the rows that are reported.

Scores are a table with one row a mixture, source and method: pair, sources (of the mixture), labels ("same" where two of the
mixture's sources share one, else "different"), source, clip, video, label, silent, method, and sdr, sir, sar, si_sdr in dB,
empty where one of the mixture's sources is silent, since nothing is defined then. Means are over sources; 95 % intervals are by
bootstrap over the videos, since scores that share a video are not independent (`metrics.bootstrap`).
"""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from . import metrics

SCORES = ("sdr", "sir", "sar", "si_sdr")


def table(scores: pd.DataFrame) -> list[dict]:
    """One row a method: n_pairs, n_excluded, n_failed (silent estimates), mean sdr, sir, sar, si_sdr, sdr_mixture, sdr_ci95."""
    rows = []
    for method, mine in scores.groupby("method", sort=False):
        kept = mine.dropna(subset="sdr")
        pairs = kept.pair.nunique()
        row = {"method": method, "n_pairs": pairs, "n_excluded": mine.pair.nunique() - pairs}
        row |= {"n_failed": int((kept.sdr == metrics.FAILED).sum())}
        row |= {k: _mean(kept[k]) for k in SCORES}
        rows.append(row | {"sdr_ci95": _interval(kept)})
    mixture = next((r["sdr"] for r in rows if r["method"] == "mixture"), None)
    return [{**r, "sdr_mixture": mixture} for r in rows]


def _mean(values: pd.Series) -> float | None:
    return round(float(values.mean()), 4) if len(values) else None


def _interval(scores: pd.DataFrame) -> list[float] | None:
    """95 %, in dB; None of too few videos."""
    if scores.empty:
        return None
    videos = scores.groupby("pair").video.agg(frozenset)
    found = metrics.bootstrap(scores.sdr.to_numpy(float), videos[scores.pair].tolist())
    return found and [round(x, 4) for x in found]


def grouped(scores: pd.DataFrame, by: str) -> dict[str, list[dict]]:
    """A table for each value of a column: `labels` (same, different), or `sources` (N)."""
    return {str(value): table(mine) for value, mine in scores.groupby(by)}


def per_label(scores: pd.DataFrame) -> list[dict]:
    """One row a label: how many sources, and the mean SDR of the model, of the mixture and of the ideal binary mask."""
    rows = []
    for label, mine in scores.dropna(subset="sdr").groupby("label"):
        means = mine.groupby("method").sdr.mean().round(4)
        row = {"label": label, "n": int((mine.method == "model").sum()), "sdr": float(means["model"])}
        rows.append(row | {"sdr_mixture": float(means["mixture"]), "sdr_oracle": float(means["oracle_binary"])})
    return rows


def confusion(scores: pd.DataFrame) -> list[dict]:
    """One row a label and a label it was mixed with: how many sources, the share of them that came out as more of what they were
    mixed with (SIR of the model below 0 dB; of three or more, all others together), and the model's gain over the mixture in SDR.
    """
    kept = scores.dropna(subset="sdr")
    if kept.empty:
        return []
    wide = kept.pivot(index=["pair", "source", "label"], columns="method", values=["sdr", "sir"])
    one = pd.DataFrame({"confused": wide["sir", "model"] < 0, "gain": wide["sdr", "model"] - wide["sdr", "mixture"]})
    one = one.reset_index()
    both = one.merge(one[["pair", "source", "label"]], on="pair", suffixes=("", "_other"))
    both = both[both.source != both.source_other].groupby(["label", "label_other"])
    found = both.agg(n=("gain", "size"), confused=("confused", "mean"), gain=("gain", "mean")).round(4).reset_index()
    return found.rename(columns={"label_other": "other"}).to_dict("records")


def excluded(scores: pd.DataFrame) -> list[dict]:
    """The mixtures in which nothing is defined: their row in the manifest (from 1), and which of their clips are silent."""
    of = scores[scores.silent].drop_duplicates(["pair", "source"]).groupby("pair").clip
    return [{"row": int(pair) + 1, "silent": clips.tolist()} for pair, clips in of]


def difference(scores: pd.DataFrame, others: pd.DataFrame) -> dict:
    """How much better `others`' model is than this one's on the same sources: n, mean SDR in dB, and its interval."""
    keys = ["pair", "source", "video"]
    one, two = (s[s.method == "model"].set_index(keys).sdr for s in (scores, others))
    gain = (two - one).dropna().reset_index()
    return {"n": len(gain), "sdr": _mean(gain.sdr), "sdr_ci95": _interval(gain)}


def gains(scores: pd.DataFrame) -> pd.DataFrame:
    """Mean SDR of each mixture, by method, from the greatest gain of the model over the mixture to the least."""
    means = scores.dropna(subset="sdr").pivot_table(index="pair", columns="method", values="sdr")
    return means.loc[(means.mixture - means.model).sort_values(kind="stable").index]


def localization(placed: pd.DataFrame) -> dict:
    """Instruments of duets, by `duets.score_duets`' rows: what share of them is found, and what chance would find.

    share_right: their box sounds more like their own stem than like another's. pointing: the peak of the map of their own sound
    lies in their box. ciou_30, ciou_50: the map's cIoU reaches 0.3, 0.5; auc: over all thresholds. pointing_chance: the boxes'
    mean area; ciou_all, the mean cIoU of a map that says "everywhere". share_cells_sounding: of the cells in all boxes, those
    whose own sound is not silent; share_cells_right: of these, those that sound more like their box's stem than like another's
    (None where none sounds); n_cells: in all boxes.
    """
    means, cells = placed.mean(numeric_only=True).round(4), placed[["cells", "sounding", "cells_right"]].sum()
    return {
        "n_instruments": len(placed),
        "share_right": float(means.right),
        "share_chance": float(means.chance),
        "correlation_own": float(means.own),
        "correlation_other": float(means.other),
        "sdr": _mean(placed.sdr.dropna().astype(float)),
        "pointing": float(means.pointed),
        "pointing_chance": float(means.area),
        "ciou": float(means.ciou),
        "ciou_all": float(means.area),
        "ciou_30": float((placed.ciou >= 0.3).mean().round(4)),
        "ciou_50": float((placed.ciou >= 0.5).mean().round(4)),
        "auc": round(metrics.auc(placed.ciou), 4),
        "n_cells": int(cells.cells),
        "share_cells_sounding": round(cells.sounding / max(cells.cells, 1), 4),
        "share_cells_right": round(cells.cells_right / cells.sounding, 4) if cells.sounding else None,
    }


def claims(claimed: pd.DataFrame, threshold: float) -> list[dict]:
    """One row a kind of sound that a duet's picture was given: how many, the mean of the maps' peaks, of the whole maps, and the
    share of maps whose peak reaches `threshold`; all in shares of the energy of the instrument's own sound.
    """
    over = claimed.assign(over=claimed.peak >= threshold).groupby("sound", sort=False)
    found = over.agg(n=("peak", "size"), peak=("peak", "mean"), mean=("mean", "mean"), over=("over", "mean"))
    return found.round(4).reset_index().to_dict("records")


def text_table(rows: Iterable[dict]) -> str:
    """The table as text: a line a method, dB with two decimals."""
    lines = [f"{'method':<22} {'SDR':>6} {'SIR':>6} {'SAR':>6} {'SI-SDR':>6}   95 % of SDR     pairs  excluded  failed"]
    for r in rows:
        numbers = " ".join("     -" if r[k] is None else f"{r[k]:6.2f}" for k in SCORES)
        tail = f"{r['n_pairs']:>5}  {r['n_excluded']:>8}  {r['n_failed']:>6}"
        lines.append(f"{r['method']:<22} {numbers}   {_between(r['sdr_ci95'])} {tail}")
    return "\n".join(lines)


def text_results(results: dict) -> str:
    """All that an evaluation found, as text."""
    told, parts = results["protocol"], [text_table(results["rows"]), text_protocol(results["protocol"])]
    for n, rows in results["by_sources"].items():
        if int(n) != told["sources"]:
            parts.append(f"mixtures of {n}:\n{text_table(rows)}")
    if len(results["by_labels"]) > 1:
        parts += [f"{name} labels:\n{text_table(rows)}" for name, rows in results["by_labels"].items()]
    for one in results["excluded"]:
        parts.append(f"left out: row {one['row']}, since {', '.join(one['silent'])} is silent there")
    if told["n_same_video"]:
        parts.append(f"{told['n_same_video']} mixtures are of one video with itself")
    if results["compared"]:
        parts.append(text_compared(results["rows"], results["compared"]))
    if "duets" in results:
        parts.append(f"duets, each instrument's sound taken from its box:\n{text_table(results['duets'])}")
        parts += [text_localization(results["localization"]), text_claims(results["claims"])]
    return "\n\n".join(parts)


def text_protocol(told: dict) -> str:
    """What must be the same for another number to be comparable, and what is to be held against this one."""
    leaks = {None: "what it was trained on is not known", 0: "it was trained on none of these videos"}
    leaked = leaks.get(told["leaked"], f"{told['leaked']} MIXTURES HOLD VIDEOS THAT IT WAS TRAINED ON")
    return "\n".join(
        (
            f"profile {told['profile']}, {told['mask']} mask, checkpoint {told['checkpoint']}; {leaked}",
            f"manifest {told['manifest']}: {told['n_pairs']} mixtures of {told['sources']} sources, {told['seconds']:.2f} s",
            f"best epoch chosen on: {told['epoch_chosen_on'] or 'not known'}",
            f"{told['metric']}",
            f"sop_core {told['versions']['sop_core']}, torch {told['versions']['torch']}",
        )
    )


def text_compared(rows: list[dict], compared: list[dict]) -> str:
    """Checkpoints side by side as text: SDR of each, and its difference from the first on the same sources, in dB."""
    first = {"folder": "(the first)", "rows": rows, "difference": {"sdr": None, "sdr_ci95": None}}
    lines = [f"{'checkpoint':<32} {'SDR':>6}   95 %               than the first   95 %"]
    for one in (first, *compared):
        model, gain = next(r for r in one["rows"] if r["method"] == "model"), one["difference"]
        sdr, more = (f"{'-' if x is None else format(x, '.2f'):>6}" for x in (model["sdr"], gain["sdr"]))
        of_sdr, of_more = _between(model["sdr_ci95"]), _between(gain["sdr_ci95"])
        lines.append(f"{one['folder'][-32:]:<32} {sdr}   {of_sdr}   {more:>14}   {of_more}".rstrip())
    return "\n".join(lines)


def text_localization(where: dict) -> str:
    """What was found of the instruments of duets, in words."""
    share = {k: f"{100 * v:.0f} %" for k, v in where.items() if v is not None}
    sdr = "-" if where["sdr"] is None else f"{where['sdr']:.2f}"
    right = share.get("share_cells_right", "-")
    return "\n".join(
        (
            f"localization of {where['n_instruments']} instruments:",
            f"  {share['share_right']} sound, from their box, more like their own stem than another's "
            f"(by chance {share['share_chance']}; SDR {sdr} dB)",
            f"  {share['pointing']} have the peak of their own sound's map in their box (by chance {share['pointing_chance']})",
            f"  cIoU {where['ciou']:.2f} (of the whole picture {where['ciou_all']:.2f}): {share['ciou_30']} reach 0.3, "
            f"{share['ciou_50']} reach 0.5; AUC {where['auc']:.2f}",
            f"  {share['share_cells_sounding']} of the {where['n_cells']} cells in their boxes sound, each by itself; "
            f"{right} of these more like their box's stem than another's",
        )
    )


def text_claims(claims: dict) -> str:
    """What pictures claim of sounds that are theirs, and that are not, in words."""
    lines = [f"the greatest share of a sound that a pixel claims, and how many maps reach {claims['threshold']}:"]
    lines += [f"  {r['sound']:<8} {r['peak']:6.3f}   {100 * r['over']:3.0f} % of {r['n']}" for r in claims["rows"]]
    return "\n".join(lines)


def _between(interval: list[float] | None) -> str:
    return "      -        " if interval is None else "[{:6.2f}, {:6.2f}]".format(*np.round(interval, 2))
