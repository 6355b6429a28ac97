"""From the scores of an evaluation to the rows that it reports, and to their text.

Scores are a table with one row for each mixture, source and method. Its columns:
    pair, sources      number of the mixture, from 0; how many sources it has
    labels             "same" where two sources of the mixture share a label, else "different"
    source             number of the source in its mixture, from 0
    clip, video, label, silent     of this source
    method             see `methods`
    sdr, sir, sar, si_sdr          in dB; empty where a source of the mixture is silent: no score
                       is defined then

Means are over sources. Intervals are at 95 %, by a bootstrap over the videos
(`metrics.bootstrap`), because scores that share a video depend on each other.
"""

from pathlib import Path

import jinja2
import numpy as np
import pandas as pd

from .. import metrics

SCORES = ("sdr", "sir", "sar", "si_sdr")


def table(scores: pd.DataFrame) -> list[dict]:
    """One row a method: counts of mixtures, mean scores and the interval of the mean SDR.

    Returns rows with n_pairs, n_excluded (a source is silent), n_failed (silent estimates), sdr,
    sir, sar, si_sdr, sdr_ci95, and sdr_mixture (the SDR of the method `mixture`). A number that is
    not defined is None.
    """
    rows = []
    for method, mine in scores.groupby("method", sort=False):
        scored = mine.dropna(subset="sdr")
        n_pairs = scored.pair.nunique()
        rows.append(
            {
                "method": method,
                "n_pairs": n_pairs,
                "n_excluded": mine.pair.nunique() - n_pairs,
                "n_failed": int((scored.sdr == metrics.FAILED).sum()),
                **{k: _mean(scored[k]) for k in SCORES},
                "sdr_ci95": _interval(scored),
            }
        )
    mixture = next((r["sdr"] for r in rows if r["method"] == "mixture"), None)
    return [{**r, "sdr_mixture": mixture} for r in rows]


def _mean(values: pd.Series) -> float | None:
    return round(float(values.mean()), 4) if len(values) else None


def _interval(scores: pd.DataFrame) -> list[float] | None:
    """The 95 % interval of the mean SDR, in dB. None where there are too few videos."""
    if scores.empty:
        return None
    videos = scores.groupby("pair").video.agg(frozenset)
    interval = metrics.bootstrap(scores.sdr.to_numpy(float), videos[scores.pair].tolist())
    return interval and [round(x, 4) for x in interval]


def grouped(scores: pd.DataFrame, by: str) -> dict[str, list[dict]]:
    """A `table` for each value of the column `by`: `labels` (same, different) or `sources` (N)."""
    return {str(value): table(mine) for value, mine in scores.groupby(by)}


def per_label(scores: pd.DataFrame) -> list[dict]:
    """One row a label: its number of sources, and three mean SDRs.

    Returns rows with label, n, sdr (of the model), sdr_mixture, and sdr_oracle (of the ideal
    binary mask).
    """
    rows = []
    for label, mine in scores.dropna(subset="sdr").groupby("label"):
        means = mine.groupby("method").sdr.mean().round(4)
        rows.append(
            {
                "label": label,
                "n": int((mine.method == "model").sum()),
                "sdr": float(means["model"]),
                "sdr_mixture": float(means["mixture"]),
                "sdr_oracle": float(means["oracle_binary"]),
            }
        )
    return rows


def confusion(scores: pd.DataFrame) -> list[dict]:
    """One row for each pair of labels that were mixed: how often the model took the wrong one.

    Returns rows with label, other (the label it was mixed with), n (how many sources), gain (mean
    SDR of the model over the mixture's, in dB), and confused: the share of sources whose estimate
    holds more of the other sources than of their own (SIR of the model below 0 dB). In a mixture
    of three or more, SIR counts all other sources together.
    """
    scored = scores.dropna(subset="sdr")
    if scored.empty:
        return []
    wide = scored.pivot(index=["pair", "source", "label"], columns="method", values=["sdr", "sir"])
    gain = wide["sdr", "model"] - wide["sdr", "mixture"]
    one = pd.DataFrame({"confused": wide["sir", "model"] < 0, "gain": gain}).reset_index()
    other = one[["pair", "source", "label"]].rename(columns={"source": "rival", "label": "other"})
    both = one.merge(other, on="pair").query("source != rival").groupby(["label", "other"])
    rows = both.agg(n=("gain", "size"), confused=("confused", "mean"), gain=("gain", "mean"))
    return rows.round(4).reset_index().to_dict("records")


def excluded(scores: pd.DataFrame) -> list[dict]:
    """The mixtures without scores: their row in the manifest (from 1), and their silent clips."""
    silent = scores[scores.silent].drop_duplicates(["pair", "source"]).groupby("pair").clip
    return [{"row": int(pair) + 1, "silent": clips.tolist()} for pair, clips in silent]


def difference(scores: pd.DataFrame, others: pd.DataFrame) -> dict:
    """How much better the model of `others` is than this one, on the same sources.

    Returns n (sources that both have), sdr (mean difference in dB) and sdr_ci95.
    """
    keys = ["pair", "source", "video"]
    one, two = (s[s.method == "model"].set_index(keys).sdr for s in (scores, others))
    gain = (two - one).dropna().reset_index()
    return {"n": len(gain), "sdr": _mean(gain.sdr), "sdr_ci95": _interval(gain)}


def gains(scores: pd.DataFrame) -> pd.DataFrame:
    """Mean SDR of each mixture (row) and method (column), sorted by the model's gain.

    The gain is over the mixture; the greatest comes first.
    """
    means = scores.dropna(subset="sdr").pivot_table(index="pair", columns="method", values="sdr")
    return means.loc[(means.mixture - means.model).sort_values(kind="stable").index]


def localization(placed: pd.DataFrame) -> dict:
    """How well instruments of duets are located, from the rows of `duets.score_duets`.

    share_right: their box sounds more like their own stem than like another one.
    pointing: the peak of the energy map of their stem lies inside their box.
    ciou_30, ciou_50: the cIoU of that map reaches 0.3 or 0.5. auc: over all thresholds.
    share_chance, pointing_chance (the mean area of a box), ciou_all (the mean cIoU of a map that is
    the same everywhere): what chance would reach.
    n_cells: cells in all boxes. share_cells_sounding: of these, cells whose own sound is not
    silent. share_cells_right: of these, cells that sound more like the stem of their box than like
    another one; None where no cell sounds.
    """
    means = placed.mean(numeric_only=True).round(4)
    cells = placed[["cells", "sounding", "cells_right"]].sum()
    right = round(cells.cells_right / cells.sounding, 4) if cells.sounding else None
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
        "share_cells_right": right,
    }


def claims(claimed: pd.DataFrame, threshold: float) -> list[dict]:
    """One row for each kind of sound that the pictures of duets were given.

    Returns rows with sound, n (maps), peak (mean of the maps' peaks), mean (of the whole maps) and
    over (share of maps whose peak reaches `threshold`). All are in shares of the energy of the
    instrument's own sound.
    """
    kinds = claimed.assign(over=claimed.peak >= threshold).groupby("sound", sort=False)
    rows = kinds.agg(
        n=("peak", "size"),
        peak=("peak", "mean"),
        mean=("mean", "mean"),
        over=("over", "mean"),
    )
    return rows.round(4).reset_index().to_dict("records")


# --- as text: static/results.txt has the words and the columns --------------------------------


def _db(x: float | None) -> str:
    return "-" if x is None else f"{x:.2f}"


def _between(interval: list[float] | None) -> str:
    return "      -" if interval is None else "[{:6.2f}, {:6.2f}]".format(*np.round(interval, 2))


def _macros() -> jinja2.environment.TemplateModule:
    """The macros of `static/results.txt`."""
    folder = Path(__file__).parent / "static"
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"db": _db, "interval": _between}
    return environment.get_template("results.txt").module


_TEXT = _macros()


def text_table(rows: list[dict]) -> str:
    """A `table` as text: a line a method, dB with two decimals."""
    return _TEXT.table(rows).rstrip("\n")


def text_results(results: dict) -> str:
    """The results of an evaluation as text."""
    return _TEXT.results(results).rstrip("\n")


def text_protocol(protocol: dict) -> str:
    """What must be the same for two numbers to be comparable, as text."""
    return _TEXT.protocol(protocol).rstrip("\n")


def text_compared(rows: list[dict], compared: list[dict]) -> str:
    """Checkpoints as text, one a line: SDR, and its difference from the first one's, in dB."""
    return _TEXT.compared(rows, compared).rstrip("\n")


def text_localization(where: dict) -> str:
    """`localization` as text."""
    return _TEXT.localization(where).rstrip("\n")


def text_claims(claims: dict) -> str:
    """`claims` as text, with their threshold."""
    return _TEXT.claims(claims).rstrip("\n")
