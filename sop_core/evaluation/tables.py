"""From the scores of an evaluation to the rows that it reports, and to their text.

Scores are a table: one row for each mixture, source and method. Its columns:
    pair, sources      number of the mixture, from 0; how many sources it has
    labels             "same" where two sources of the mixture share a label, else "different"
    source             number of the source in its mixture, from 0
    clip, video, label, silent     of this source
    method             see `methods`
    sdr, sir, sar, si_sdr          in dB; empty if a source of the mixture is silent, since no
                       score is defined then

Means are over sources. Intervals are at 95 %, by a bootstrap over the videos
(`metrics.bootstrap`), because scores of one video depend on each other.
"""

from pathlib import Path

import jinja2
import numpy as np
import pandas as pd

from .. import metrics
from ..model.names import UNKNOWN

SCORES = ("sdr", "sir", "sar", "si_sdr")


def table(scores: pd.DataFrame) -> list[dict]:
    """One row a method: counts of mixtures, mean scores and the interval of the mean SDR.

    Returns rows with n_pairs, n_excluded (a source is silent), n_failed (silent estimates), sdr,
    sir, sar, si_sdr, sdr_ci95, and sdr_mixture (the SDR of the method `mixture`). A number that is
    not defined is None.
    """
    rows = []
    for method, group in scores.groupby("method", sort=False):
        scored = group.dropna(subset="sdr")
        n_pairs = scored.pair.nunique()
        rows.append(
            {
                "method": method,
                "n_pairs": n_pairs,
                "n_excluded": group.pair.nunique() - n_pairs,
                "n_failed": int((scored.sdr == metrics.FAILED).sum()),
                **{k: _mean(scored.loc[:, k]) for k in SCORES},
                "sdr_ci95": _interval(scored),
            }
        )
    mixture = next((r["sdr"] for r in rows if r["method"] == "mixture"), None)
    return [r | {"sdr_mixture": mixture} for r in rows]


def _mean(values: pd.Series) -> float | None:
    """The mean with four decimals. None if there are no values."""
    return round(float(values.mean()), 4) if len(values) else None


def _interval(scores: pd.DataFrame) -> list[float] | None:
    """The 95 % interval of the mean SDR, in dB. None if there are too few videos."""
    if scores.empty:
        return None
    videos = scores.groupby("pair").video.agg(frozenset)
    interval = metrics.bootstrap(scores.sdr.to_numpy(float), videos[scores.pair].tolist())
    return interval and [round(x, 4) for x in interval]


def grouped(scores: pd.DataFrame, by: str) -> dict[str, list[dict]]:
    """A `table` for each value of the column `by`: `labels` (same, different) or `sources` (N)."""
    return {str(value): table(group) for value, group in scores.groupby(by)}


def per_label(scores: pd.DataFrame) -> list[dict]:
    """One row a label: its number of sources, and three mean SDRs.

    Returns rows with label, n, sdr (of the model), sdr_mixture, and sdr_oracle (of the ideal
    binary mask).
    """
    rows = []
    for label, group in scores.dropna(subset="sdr").groupby("label"):
        means = group.groupby("method").sdr.mean().round(4)
        rows.append(
            {
                "label": label,
                "n": int((group.method == "model").sum()),
                "sdr": float(means["model"]),
                "sdr_mixture": float(means["mixture"]),
                "sdr_oracle": float(means["oracle_binary"]),
            }
        )
    return rows


def confusion(scores: pd.DataFrame) -> list[dict]:
    """One row for each pair of labels that were mixed: how often the model confuses them.

    A source is confused if its estimate holds more of the other sources than of itself: SIR below
    0 dB. In a mixture of three or more, SIR counts all other sources together. Silent estimates
    are left out: they hold nothing.

    Returns rows with label, other (the label it was mixed with), n (sources), confused (the share
    of these sources), and gain (mean SDR of the model less the mixture's, in dB).
    """
    scored = scores.dropna(subset="sdr")
    if scored.empty:
        return []
    wide = scored.pivot(index=["pair", "source", "label"], columns="method", values=["sdr", "sir"])
    gain = wide["sdr", "model"] - wide["sdr", "mixture"]
    one = pd.DataFrame({"confused": wide["sir", "model"] < 0, "gain": gain})
    one = one.loc[wide["sdr", "model"] != metrics.FAILED].reset_index()
    # Join each source with every other one of its mixture.
    other = gain.reset_index().filter(["pair", "source", "label"], axis=1)
    other = other.rename(columns={"source": "rival", "label": "other"})
    both = one.merge(other, on="pair").query("source != rival")
    both = both.drop_duplicates(["pair", "source", "other"]).groupby(["label", "other"])
    rows = both.agg(n=("gain", "size"), confused=("confused", "mean"), gain=("gain", "mean"))
    return rows.round(4).reset_index().to_dict("records")


def excluded(scores: pd.DataFrame) -> list[dict]:
    """The mixtures without scores: their row in the manifest (from 1), and their silent clips."""
    silent = scores.loc[scores.silent].drop_duplicates(["pair", "source"]).groupby("pair").clip
    return [{"row": int(pair) + 1, "silent": clips.tolist()} for pair, clips in silent]


def difference(scores: pd.DataFrame, others: pd.DataFrame) -> dict:
    """How much better the model of `others` is than that of `scores`, on the same sources.

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
    """How well instruments of duets are located, from `Duets.placed`.

    Returns shares of the instruments:
        share_right     the sound of their box is more like their stem than like another one
        share_chance    the same by chance
        pointing        the peak of the energy map of their stem lies inside their box
        pointing_chance the same by chance: the mean area of a box
        ciou            the mean cIoU of that map
        ciou_all        the same of a map that is equal everywhere
        ciou_30, ciou_50        the cIoU reaches 0.3, 0.5
        auc             the area under the curve of this share over thresholds from 0 to 1
        share_named, share_unknown      if the model has names: the name of their box is right; it
                        is "unknown"
    and shares of the cells in their boxes, of which there are n_cells:
        share_cells_sounding    their own sound is not silent
        share_cells_right       of these, their sound is more like the stem of their box than like
                                another one; None if no cell sounds
    """
    means = placed.mean(numeric_only=True).round(4)
    names = placed.reindex(columns=["looks", "named"]).dropna(subset="named")
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
        **(_named(names) if len(names) else {}),
    }


def _named(placed: pd.DataFrame) -> dict:
    return {
        "share_named": _mean(placed.named.astype(float)),
        "share_unknown": _mean(placed.looks == UNKNOWN),
    }


def claims(claimed: pd.DataFrame, threshold: float) -> list[dict]:
    """One row for each kind of sound in `Duets.claimed`.

    Returns rows with sound, n (maps), peak (mean of the maps' peaks), mean (mean of the maps) and
    over (share of maps whose peak reaches `threshold`). Peak and mean are shares of the energy of
    the instrument's own sound.
    """
    kinds = claimed.assign(over=claimed.peak >= threshold).groupby("sound", sort=False)
    means = {k: (k, "mean") for k in ("peak", "mean", "over")}
    rows = kinds.agg(n=("peak", "size"), **means)
    return rows.round(4).reset_index().to_dict("records")


# --- as text: static/results.txt has the words and the columns --------------------------------


def _db(x: float | None) -> str:
    return "-" if x is None else f"{x:.2f}"


def _between(interval: list[float] | None) -> str:
    return "      -" if interval is None else "[{:6.2f}, {:6.2f}]".format(*np.round(interval, 2))


_JINJA = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "static"),
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=jinja2.StrictUndefined,
)
_JINJA.filters |= {"db": _db, "interval": _between}
_MACROS = _JINJA.get_template("results.txt").module


def _text(macro: str, *values: list | dict) -> str:
    """What a macro of `static/results.txt` prints."""
    return getattr(_MACROS, macro)(*values).rstrip("\n")


def text_table(rows: list[dict]) -> str:
    """A `table` as text: a line a method, dB with two decimals."""
    return _text("table", rows)


def text_results(results: dict) -> str:
    """The results of an evaluation as text."""
    return _text("results", results)


def text_protocol(protocol: dict) -> str:
    """What must be the same for two numbers to be comparable, as text."""
    return _text("protocol", protocol)


def text_compared(rows: list[dict], compared: list[dict], protocol: dict) -> str:
    """Checkpoints as text, one a line: SDR, and its difference from the first one's, in dB.

    `rows` and `protocol` are the first one's.
    """
    return _text("compared", rows, compared, protocol)


def text_localization(where: dict) -> str:
    """`localization` as text."""
    return _text("localization", where)


def text_claims(claims: dict) -> str:
    """`claims` as text, with their threshold."""
    return _text("claims", claims)
