"""Results of training and evaluation."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import ipywidgets as widgets
import numpy as np
import pandas as pd
from IPython.display import display
from matplotlib.figure import Figure

from .figures import MASK, SOUND, bins, decibels, figure_png, grid, no_ticks, plain

if TYPE_CHECKING:
    from ..evaluation.methods import Example
    from ..training.checkpoint import Record


def example(one: "Example") -> Figure:
    """A mixture and its separation: a row for each source, with its frame, masks and sounds."""
    fig, axes = grid(len(one.names), 6, (2.4, 2.2))
    loudest = one.mixture_mag.max()
    for row, (frame, *others) in enumerate(axes):
        frame.imshow(one.frames[row])
        frame.set_title(plain(one.names[row]), fontsize=9)
        no_ticks(frame)
        if one.sdr is None or one.sdr_mixture is None:
            title = "separated\n(no SDR: a source is silent)"
        else:
            title = f"separated: SDR {one.sdr[row]:.1f} dB"
            title += f"\n(the mixture's: {one.sdr_mixture[row]:.1f} dB)"
        pictures = [
            ("mixture", decibels(one.mixture_mag, loudest), SOUND),
            ("mask, ideal", one.true_masks[row], MASK),
            ("mask, predicted", one.estimate_masks[row], MASK),
            ("sound, true", decibels(one.true_mags[row], loudest), SOUND),
            (title, decibels(one.estimate_mags[row], loudest), SOUND),
        ]
        for ax, (title, values, colours) in zip(others, pictures, strict=True):
            bins(ax, values, colours, title)
    return fig


def history(records: "list[Record]") -> Figure:
    """Loss and validation SDR, epoch by epoch; the epoch that was kept is marked."""
    fig, ((loss, sdr),) = grid(1, 2, (5.5, 3))
    epochs = [r.epoch for r in records]
    loss.plot(epochs, [r.loss for r in records], "o-")
    loss.set(xlabel="epoch", ylabel="loss", title="weighted binary cross-entropy")
    sdr.plot(epochs, [r.val_sdr for r in records], "o-", label="model")
    sdr.plot(epochs, [r.val_sdr_mixture for r in records], "k--", label="mixture")
    kept = max(records, key=lambda r: r.val_sdr)
    sdr.plot(kept.epoch, kept.val_sdr, "*", ms=14, color="tab:orange", label="kept")
    sdr.set(xlabel="epoch", ylabel="SDR, dB", title="validation mixtures")
    sdr.legend(frameon=False)
    for ax in (loss, sdr):
        ax.xaxis.get_major_locator().set_params(integer=True)
    return fig


class Curve(widgets.Image):
    """A learning curve that grows. Its repr has no address, so that nbval can compare it."""

    def __repr__(self) -> str:
        return "<learning curve>"


def live(records: "Iterable[Record]", epochs: int) -> "list[Record]":
    """Run a training to its end; show its curve, its speed and the time left after each epoch.

    At the end the curve is a plain picture, which a page without a kernel shows, too.
    """
    curve = Curve(format="png", layout={"display": "none"})
    words = widgets.Label("the first epoch ...")
    display(widgets.VBox([words, curve]))
    seen = []
    for r in records:
        seen.append(r)
        scores = f"loss {r.loss:.4f}, SDR {r.val_sdr:.2f} dB"
        speed = f"{r.mixtures_per_second:.1f} mixtures a second, {r.left(epochs)} left"
        words.value = f"epoch {r.epoch} of {epochs}: {scores}, {speed}"
        curve.value = figure_png(history(seen))
        curve.layout.display = None
    if seen:
        curve.layout.display = "none"
        display(history(seen))
    return seen


def scores(table: pd.DataFrame, count: int = 5) -> Figure:
    """SDR of each source by method; and of the model against the mixture's, mixture by mixture.

    The `count` mixtures that gained most and least stand out, with their rows in the manifest.
    """
    fig, ((left, right),) = grid(1, 2, (5.8, 4.2))
    kept = table.dropna(subset="sdr")
    # By method.
    names = list(dict.fromkeys(kept.method))
    columns = [kept[kept.method == name].sdr for name in names]
    left.boxplot(columns, orientation="horizontal", tick_labels=names)
    left.set(xlabel="SDR, dB", title="each source, by method")
    left.invert_yaxis()
    # Mixture by mixture, the one that gained most first.
    wide = kept.pivot(index=["pair", "source"], columns="method", values="sdr")
    means = pd.DataFrame(wide.groupby("pair").mean())
    order = means.eval("mixture - model").sort_values(kind="stable").index
    ends = [wide["mixture"].min(), wide["mixture"].max()]
    right.plot(ends, ends, "k--", lw=1, zorder=3, label="no better than the mixture")
    right.margins(x=0.1)  # room for the numbers
    for pairs, colour, label, numbered in (
        (order, "0.75", "the sources of a mixture", False),
        (order[:count], "tab:green", "gained most", True),
        (order[max(len(order) - count, count) :], "tab:red", "gained least", True),
    ):
        style = {"color": colour, "ms": 4, "lw": 0.6}
        for pair in pairs:
            x, y = (wide[method].loc[pair].to_numpy() for method in ("mixture", "model"))
            right.plot(x, y, "o-", **style)
            if numbered:
                near = {"xytext": (5, 2), "textcoords": "offset points"}
                right.annotate(pair + 1, (x[0], y[0]), fontsize=8, **near)
        right.plot([], [], "o-", label=label, **style)
    right.set(xlabel="SDR in the mixture, dB", ylabel="SDR of the model, dB")
    right.set(title="mixture by mixture, with rows of the manifest")
    right.legend(frameon=False, fontsize=8)
    return fig


def labels(rows: list[dict]) -> Figure:
    """Mean SDR of each label: of the mixture, the model and the ideal binary mask.

    Args: `rows`: of `tables.per_label`
    """
    fig, ((ax,),) = grid(1, 1, (11, 0.9 + 0.34 * len(rows)))
    rows = sorted(rows, key=lambda r: r["sdr"])
    names = [plain(f"{r['label']} ({r['n']})") for r in rows]
    columns = ("sdr_mixture", "sdr", "sdr_oracle")
    mixture, model, ideal = (np.array([r[column] for r in rows]) for column in columns)
    ax.use_sticky_edges = False  # show a bar's left end, where the mixture is
    room = {"color": "0.88", "label": "head-room: to the ideal binary mask"}
    gain = {"color": "tab:orange", "label": "model, from the mixture"}
    ax.barh(names, ideal - model, left=model, **room)
    ax.barh(names, model - mixture, left=mixture, **gain)
    ax.plot(mixture, names, "k|", ms=12, label="mixture")
    ax.axvline(0, color="0.5", lw=0.8)
    ax.set(xlabel="SDR, dB", title="each instrument, and how many sources of it")
    handles = ax.get_legend_handles_labels()
    fig.legend(*handles, frameon=False, fontsize=9, loc="outside right center")
    return fig


def cases(table: pd.DataFrame) -> Figure:
    """Mean SDR of several trainings by case, with a dot for each seed.

    Args: `table`: the columns case, seed, sdr and mixture (SDR of the mixture itself).
    """
    names = list(dict.fromkeys(table.case))
    fig, ((ax,),) = grid(1, 1, (8, 0.9 + 0.34 * len(names)))
    means = [table[table.case == name].sdr.mean() for name in names]
    ax.barh([plain(name) for name in names], means, color="tab:orange")
    ax.plot(table.sdr, [plain(name) for name in table.case], "k.", label="each seed")
    ax.axvline(table.mixture.mean(), color="0.5", ls="--", label="the mixture itself")
    ax.set(xlabel="SDR, dB")
    ax.invert_yaxis()
    fig.legend(frameon=False, fontsize=9, loc="outside right center")
    return fig


def confusion(rows: list[dict]) -> Figure:
    """Which instruments are taken for which. The diagonal: mixtures of two with the same label.

    Args: `rows`: of `tables.confusion`
    """
    names = sorted({r[kind] for r in rows for kind in ("label", "other")})
    count = len(names)
    fig, ((ax,),) = grid(1, 1, (2.6 + 0.62 * count, 1.5 + 0.55 * count))
    shares = np.full((count, count), np.nan)
    for r in rows:
        i, j = names.index(r["label"]), names.index(r["other"])
        shares[i, j] = r["confused"]
        text = f"{100 * r['confused']:.0f} %\nof {r['n']}"
        colour = "w" if r["confused"] > 0.5 else "k"
        ax.text(j, i, text, ha="center", va="center", fontsize=7, color=colour)
    shown = ax.imshow(shares, cmap="Oranges", vmin=0, vmax=1)
    ticks = [plain(name) for name in names]
    ax.set_xticks(range(count), ticks, rotation=45, ha="right")
    ax.set_yticks(range(count), ticks)
    ax.set(xlabel="mixed with", ylabel="source")
    ax.set(title="how many sources were taken for the other (SIR below 0 dB)")
    fig.colorbar(shown, ax=ax, label="share of these sources", shrink=0.8)
    return fig
