"""Pictures and players: what a notebook or a report shows. Nothing here computes a result."""

import io
from collections import Counter
from collections.abc import Iterable

import ipywidgets as widgets
import matplotlib
import numpy as np
import pandas as pd
from IPython.display import Audio, display
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from .checkpoint import Record
from .clusters import Clusters
from .index import Clip
from .methods import Example
from .metrics import Box, rms
from .scene import Scene
from .tables import gains

FLOOR = -60.0  # dB under the loudest bin of the mixture: what is softer is drawn as silence
SOUND, MASK, ENERGY = "magma", "gray", "inferno"  # colour maps
PALETTE = ("#56b4e9", "#e69f00", "#00a878", "#cc79a7", "#e8702a", "#f0e442", "#3d8bd4")  # the player's, of clusters


class Picture(Figure):
    """A figure of its own, not pyplot's: nothing to close, and a notebook shows it where a cell returns it."""

    def _repr_png_(self) -> bytes:
        return figure_png(self)


def decibels(mag: np.ndarray, loudest: float) -> np.ndarray:
    """Magnitudes as dB under `loudest`, floored, scaled to 0..1. Shape: any."""
    return 1 - 20 * np.log10(np.maximum(mag / max(loudest, 1e-8), 10 ** (FLOOR / 20))) / FLOOR


def png(values: np.ndarray, colours: str, upwards: bool = True) -> bytes:
    """An array of 0..1, (rows, columns), as a picture file; `upwards`: row 0 (the lowest frequency) at the bottom."""
    rgb = matplotlib.colormaps[colours](values[::-1] if upwards else values, bytes=True)[..., :3]
    return picture(rgb)


def picture(rgb: np.ndarray, form: str = "png") -> bytes:
    """A uint8 (h, w, 3) array as a picture file."""
    out = io.BytesIO()
    Image.fromarray(rgb).save(out, form)
    return out.getvalue()


def figure_file(fig: Figure, form: str) -> bytes:
    """A figure as a picture file, a png or a jpeg."""
    out = io.BytesIO()
    fig.savefig(out, format=form, dpi=90, pil_kwargs={"quality": 80} if form == "jpeg" else {})
    return out.getvalue()


def figure_png(fig: Figure) -> bytes:
    """A figure as a png file."""
    return figure_file(fig, "png")


def player(sound: np.ndarray, rate: int) -> Audio:
    """A player of a sound (L,), at its own level: normalizing would make silence loud."""
    peak = max(1.0, float(np.abs(sound).max(initial=0)))
    return Audio(np.asarray(sound) / peak, rate=rate, normalize=False)


def frames(pictures: np.ndarray, titles: list[str] | None = None, columns: int = 6) -> Figure:
    """Pictures side by side. Shape: uint8 (V, h, w, 3)"""
    columns = min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    h, w = pictures[0].shape[:2]
    fig, axes = _grid(rows, columns, (12 / columns, 12 / columns * h / w + (0.3 if titles else 0)))
    for ax in axes.flat:
        ax.axis("off")
    for i, (ax, one) in enumerate(zip(axes.flat, pictures, strict=False)):
        ax.imshow(one)
        if titles:
            ax.set_title(titles[i], fontsize=10)
    return fig


def sound(samples: np.ndarray, mags: dict[str, np.ndarray], rate: int) -> Figure:
    """A waveform, and under it the same stretch as spectrograms, name -> (F, T)."""
    fig, axes = _grid(1 + len(mags), 1, (11, 2.1))
    seconds = len(samples) / rate
    axes[0, 0].plot(np.arange(len(samples)) / rate, samples, lw=0.4, color="tab:blue")
    axes[0, 0].set(xlim=(0, seconds), ylabel="amplitude", title="waveform")
    for ax, (name, mag) in zip(axes[1:, 0], mags.items(), strict=True):
        ax.imshow(decibels(mag, mag.max()), origin="lower", aspect="auto", cmap=SOUND, extent=(0, seconds, 0, len(mag)))
        ax.set(ylabel="frequency bin", title=f"{name}: {mag.shape[0]} bins x {mag.shape[1]} frames")
    axes[-1, 0].set_xlabel("seconds")
    return fig


def maps(spectrograms: dict[str, np.ndarray], shares: dict[str, np.ndarray]) -> Figure:
    """Magnitudes on one scale of dB, then what lies between 0 and 1 (masks, weights), side by side by name. Shape: each (F, T)"""
    loudest = max(mag.max() for mag in spectrograms.values())
    drawn = [(name, decibels(mag, loudest), SOUND) for name, mag in spectrograms.items()]
    drawn += [(name, share, MASK) for name, share in shares.items()]
    fig, axes = _grid(1, len(drawn), (13 / len(drawn), 2.4))
    for ax, (name, values, colours) in zip(axes[0], drawn, strict=True):
        _bins(ax, values, colours, name)
    return fig


def example(one: Example) -> Figure:
    """A mixture taken apart: a row a source: its frame, the true and the predicted mask, the true and the separated sound."""
    n, loudest = len(one.names), one.mixture_mag.max()
    fig, axes = _grid(n, 6, (2.4, 2.2))
    for row, ax in enumerate(axes):
        told = "separated" if one.sdr is None else f"separated: SDR {one.sdr[row]:.1f} dB"
        told += (
            "\n(no SDR: a source is silent)" if one.sdr is None else f"\n(the mixture's: {one.sdr_mixture[row]:.1f} dB)"
        )
        ax[0].imshow(one.frames[row])
        pictures = [
            ("mixture", decibels(one.mixture_mag, loudest), SOUND),
            ("mask, ideal", one.true_masks[row], MASK),
            ("mask, predicted", one.found_masks[row], MASK),
            ("sound, true", decibels(one.true_mags[row], loudest), SOUND),
            (told, decibels(one.found_mags[row], loudest), SOUND),
        ]
        ax[0].set_title(_plain(one.names[row]), fontsize=9)
        for a, (title, values, colours) in zip(ax[1:], pictures, strict=True):
            _bins(a, values, colours, title)
        ax[0].set_xticks([]), ax[0].set_yticks([])
    return fig


def history(records: list[Record]) -> Figure:
    """Loss and validation SDR, epoch by epoch; the kept epoch is marked."""
    fig, axes = _grid(1, 2, (5.5, 3))
    epochs = [r.epoch for r in records]
    axes[0, 0].plot(epochs, [r.loss for r in records], "o-")
    axes[0, 0].set(xlabel="epoch", ylabel="loss", title="weighted binary cross-entropy")
    axes[0, 1].plot(epochs, [r.val_sdr for r in records], "o-", label="model")
    axes[0, 1].plot(epochs, [r.val_sdr_mixture for r in records], "k--", label="mixture")
    kept = max(records, key=lambda r: r.val_sdr)
    axes[0, 1].plot(kept.epoch, kept.val_sdr, "*", ms=14, color="tab:orange", label="kept")
    axes[0, 1].set(xlabel="epoch", ylabel="SDR, dB", title="validation mixtures")
    axes[0, 1].legend(frameon=False)
    for ax in axes[0]:
        ax.xaxis.get_major_locator().set_params(integer=True)
    return fig


class Curve(widgets.Image):
    """A learning curve that is redrawn while it grows. It has no address in its repr, so that nbval can compare it."""

    def __repr__(self) -> str:
        return "<learning curve>"


def live(records: Iterable[Record], epochs: int) -> list[Record]:
    """Run a training to its end, and show its curve, its speed and the time that is left after each epoch."""
    curve, words, seen = Curve(format="png", layout={"display": "none"}), widgets.Label("the first epoch ..."), []
    display(widgets.VBox([words, curve]))
    for r in records:
        seen.append(r)
        words.value = f"epoch {r.epoch} of {epochs}: loss {r.loss:.4f}, SDR {r.val_sdr:.2f} dB, "
        words.value += f"{r.mixtures_per_second:.1f} mixtures a second, {r.left(epochs)} left"
        curve.value, curve.layout.display = figure_png(history(seen)), None
    return seen


def lengths(splits: dict[str, list[Clip]], fps: float) -> Figure:
    """How many clips each label has in each split, and how long the clips are."""
    labels = sorted({c.label for clips in splits.values() for c in clips})
    shown = [_plain(label) for label in labels]
    fig, axes = _grid(1, 2, (5.5, max(3, 0.6 + 0.2 * len(labels))))
    counts = {name: Counter(c.label for c in clips) for name, clips in splits.items()}
    left = np.zeros(len(labels))
    for name in splits:
        widths = np.array([counts[name][label] for label in labels])
        axes[0, 0].barh(shown, widths, left=left, label=name)
        left += widths
    axes[0, 0].set(xlabel="clips", title="clips of each label")
    axes[0, 0].margins(y=0.01)
    axes[0, 0].invert_yaxis()
    axes[0, 0].tick_params("y", labelsize=8)
    axes[0, 1].hist([[c.n_frames / fps for c in clips] for clips in splits.values()], 20, stacked=True, label=[*splits])
    axes[0, 1].set(xlabel="seconds", ylabel="clips", title="how long they are")
    axes[0, 1].legend(frameon=False)
    return fig


def alignment(pictures: np.ndarray, samples: np.ndarray, fps: float, rate: int) -> Figure:
    """The brightness of frames, each at the instant that it stands for, over the waveform. Shape: (V,h,w,3), (L,)"""
    fig, axes = _grid(1, 1, (11, 2.4))
    ax = axes[0, 0]
    ax.plot(np.arange(len(samples)) / rate, samples / max(np.abs(samples).max(), 1e-9), lw=0.4, label="sound")
    at = (np.arange(len(pictures)) + 0.5) / fps
    ax.vlines(np.arange(len(pictures) + 1) / fps, -1, 1, color="0.9", lw=0.6, zorder=0)
    ax.plot(at, pictures.mean((1, 2, 3)) / 255, "o", color="tab:orange", label="brightness of each frame")
    ax.set(xlabel="seconds", ylabel="share of the sound's peak,\nof white", xlim=(0, len(samples) / rate))
    ax.legend(frameon=False, loc="lower left")
    return fig


def scores(table: pd.DataFrame, count: int = 5) -> Figure:
    """SDR of every source, method by method; and of the model against the mixture's, mixture by mixture: the `count` that gained
    most and least stand out, with their rows in the manifest.
    """
    fig, axes = _grid(1, 2, (5.8, 4.2))
    kept = table.dropna(subset="sdr")
    names = list(dict.fromkeys(kept.method))
    axes[0, 0].boxplot([kept[kept.method == name].sdr for name in names], orientation="horizontal", tick_labels=names)
    axes[0, 0].set(xlabel="SDR, dB", title="each source, by method")
    axes[0, 0].invert_yaxis()
    ax, order = axes[0, 1], gains(table).index
    wide = kept.pivot(index=["pair", "source"], columns="method", values="sdr")[["mixture", "model"]]
    ends = [wide.mixture.min(), wide.mixture.max()]
    ax.plot(ends, ends, "k--", lw=1, label="no better than the mixture")
    least = order[max(len(order) - count, count) :]
    for pairs, colour, name in (
        (order, "0.75", None),
        (order[:count], "tab:green", "most"),
        (least, "tab:red", "least"),
    ):
        for pair in pairs:
            sources = wide.loc[pair]
            ax.plot(sources.mixture, sources.model, "o-", color=colour, ms=4, lw=0.6)
            if name:
                ax.annotate(pair + 1, sources.to_numpy()[0], xytext=(5, 2), textcoords="offset points", fontsize=8)
        ax.plot(
            [], [], "o-", color=colour, ms=4, lw=0.6, label=f"gained {name}" if name else "the sources of a mixture"
        )
    ax.set(
        xlabel="SDR in the mixture, dB",
        ylabel="SDR of the model, dB",
        title="mixture by mixture, with rows of the manifest",
    )
    ax.legend(frameon=False, fontsize=8)
    return fig


def labels(rows: list[dict]) -> Figure:
    """Mean SDR of each label, by `tables.per_label`: from the mixture's to the model's, and what an ideal mask leaves above it."""
    fig, axes = _grid(1, 1, (11, 0.9 + 0.34 * len(rows)))
    ax, rows = axes[0, 0], sorted(rows, key=lambda r: r["sdr"])
    ax.use_sticky_edges = False  # a bar's foot, where the mixture is, is to be seen
    names = [_plain(f"{r['label']} ({r['n']})") for r in rows]
    mixture, model, ideal = (np.array([r[k] for r in rows]) for k in ("sdr_mixture", "sdr", "sdr_oracle"))
    ax.barh(names, ideal - model, left=model, color="0.88", label="head-room: to the ideal binary mask")
    ax.barh(names, model - mixture, left=mixture, color="tab:orange", label="model, from the mixture")
    ax.plot(mixture, names, "k|", ms=12, label="mixture")
    ax.axvline(0, color="0.5", lw=0.8)
    ax.set(xlabel="SDR, dB", title="each instrument, and how many sources of it")
    fig.legend(*ax.get_legend_handles_labels(), frameon=False, fontsize=9, loc="outside right center")
    return fig


def confusion(rows: list[dict]) -> Figure:
    """By `tables.confusion`: which instruments are taken for which; the diagonal is of mixtures of the same label."""
    names = sorted({r["label"] for r in rows})
    fig, axes = _grid(1, 1, (2.6 + 0.62 * len(names), 1.5 + 0.55 * len(names)))
    shares, ax = np.full((len(names), len(names)), np.nan), axes[0, 0]
    for r in rows:
        i, j = names.index(r["label"]), names.index(r["other"])
        shares[i, j] = r["confused"]
        text = f"{100 * r['confused']:.0f} %\nof {r['n']}"
        ax.text(j, i, text, ha="center", va="center", fontsize=7, color="w" if r["confused"] > 0.5 else "k")
    shown = ax.imshow(shares, cmap="Oranges", vmin=0, vmax=1)
    ax.set_xticks(range(len(names)), [*map(_plain, names)], rotation=45, ha="right")
    ax.set_yticks(range(len(names)), [*map(_plain, names)])
    ax.set(xlabel="mixed with", ylabel="source", title="came out as more of what it was mixed with (SIR below 0 dB)")
    fig.colorbar(shown, ax=ax, label="share of these sources", shrink=0.8)
    return fig


def finds(scene: Scene, sources: dict[str, tuple[np.ndarray, Box]]) -> Figure:
    """A duet's picture, and the energy that each cell claims of each instrument's own sound, with its box, by name."""
    h, w = scene.frame.shape[:2]
    fig, axes = _grid(1, 1 + len(sources), (4.2, 4.2 * h / w + 0.3))
    axes[0, 0].imshow(scene.frame)
    axes[0, 0].set_title("the frame", fontsize=10)
    for ax, (name, (own, box)) in zip(axes[0, 1:], sources.items(), strict=True):
        shown = _energy(ax, scene.frame, scene.hearing(own).energy())
        ax.set_title(f"who sounds like the {_plain(name)}?", fontsize=10)
        _box(ax, box, name, (w, h))
    fig.colorbar(shown, ax=axes[0, -1], label="share of that instrument's energy")
    for ax in axes[0]:
        ax.set_xticks([]), ax.set_yticks([])
    return fig


def energy(scene: Scene, boxes: dict[str, Box] | None = None) -> Figure:
    """The frame, and the share of the sound's energy that each cell claims; boxes (shares of the picture, 0..1) by name."""
    h, w = scene.frame.shape[:2]
    fig, axes = _grid(1, 2, (5.6, 5.6 * h / w))
    axes[0, 0].imshow(scene.frame)
    axes[0, 0].set_title("the frame")
    shown = _energy(axes[0, 1], scene.frame, scene.energy())
    axes[0, 1].set_title("energy of each cell's own sound")
    fig.colorbar(shown, ax=axes[0, 1], label="share of the mixture's energy")
    for ax in axes[0]:
        ax.set_xticks([]), ax.set_yticks([])
        for name, box in (boxes or {}).items():
            _box(ax, box, name, (w, h))
    return fig


def still(frame: np.ndarray, energy: np.ndarray, words: str) -> Figure:
    """One picture with the share of the energy that each of its cells claims, under some words. Shape: (h, w, 3), (H, W)"""
    h, w = frame.shape[:2]
    fig, axes = _grid(1, 1, (6.4, 5.4 * h / w + 0.4))
    shown = _energy(axes[0, 0], frame, energy)
    axes[0, 0].set(xticks=[], yticks=[])
    fig.suptitle(words, fontsize=9)
    fig.colorbar(shown, ax=axes[0, 0], label="share of the mixture's energy")
    return fig


def pixels(scene: Scene, cells: dict[str, tuple[int, int] | list[tuple[int, int]]]) -> Figure:
    """The mixture's spectrogram and those of some cells' or regions' own sounds, by name, on one scale."""
    sounds = {"mixture": scene.mixture} | {name: scene.sound(cell) for name, cell in cells.items()}
    fig, axes = _grid(1, len(sounds), (12 / len(sounds), 3))
    mags = {name: scene.spectrogram(s) for name, s in sounds.items()}
    for ax, (name, mag) in zip(axes[0], mags.items(), strict=True):
        shown = decibels(mag, mags["mixture"].max())
        ax.imshow(shown, origin="lower", aspect="auto", cmap=SOUND, vmin=0, vmax=1)
        ax.set(title=f"{name}\nRMS amplitude {rms(sounds[name]):.3f}", xticks=[], yticks=[])
    return fig


def moments(scene: Scene, times: list[float]) -> Figure:
    """The energy of each cell's own sound at some moments, in seconds of the scene, each over the picture of that moment."""
    pictures, energies = scene.pictures(), scene.energies()
    h, w = pictures.shape[1:3]
    fig, axes = _grid(1, len(times), (12 / len(times), 12 / len(times) * h / w + 0.4))
    for ax, time in zip(axes[0], times, strict=True):
        k = min(int(time * scene.fps), len(pictures) - 1)
        shown = _energy(ax, pictures[k], energies[k])
        ax.set(title=f"{time:.1f} s", xticks=[], yticks=[])
    fig.colorbar(shown, ax=axes, label="share of the\nmoment's energy", aspect=12)
    return fig


def clusters(scene: Scene, found: Clusters) -> Figure:
    """The frame with the pixels that sound alike in one colour; the spectrograms of the mixture, each cluster, and the rest."""
    sounds = [scene.mixture, *scene.tracks(found.regions)] if found.names else [scene.mixture]
    told = (f"{n}:\n{s:.0%} of the energy" for n, s in zip(found.names, found.shares, strict=True))
    names = ["mixture", *told, "the rest"]
    h, w = scene.frame.shape[:2]
    fig = Picture(figsize=(11, 11 * 0.4 * h / w + 0.4), layout="constrained")
    left, right = fig.subfigures(1, 2, width_ratios=(2, 3))
    ax = left.subplots()
    ax.imshow(scene.frame, alpha=0.75)
    ax.set_xticks([]), ax.set_yticks([])
    if sum(found.shares) >= 1.005:
        ax.set_xlabel(f"{sum(found.shares):.0%} together: what two of them claim counts twice", fontsize=9)
    shown = found.labels[len(found.labels) // 2]
    for k, colour in zip(range(len(found.names)), PALETTE, strict=False):
        layer = np.zeros((*scene.grid, 4))
        layer[shown == k] = (*to_rgb(colour), 0.65)
        ax.imshow(layer, extent=(0, w, h, 0), interpolation="nearest")
    mags = scene.spectrogram(np.stack(sounds))
    for ax, mag, name, colour in zip(
        right.subplots(len(sounds), 1, squeeze=False)[:, 0], mags, names, ["k", *PALETTE], strict=False
    ):
        _bins(ax, decibels(mag, mags[0].max()), SOUND, "")
        ax.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
        for side in ax.spines.values():
            side.set(color=colour if name != "the rest" else "k", linewidth=2.5)
    return fig


def cluster(scene: Scene, found: Clusters, k: int) -> Figure:
    """The frame, and the energy of each of one cluster's cells, over all of the time."""
    h, w = scene.frame.shape[:2]
    fig, axes = _grid(1, 1, (6, 6 * h / w))
    shown = _energy(axes[0, 0], scene.frame, np.where(found.regions[k].any(0), scene.energy(), 0))
    axes[0, 0].set(title=f"{found.names[k]}: {found.shares[k]:.0%} of the sound's energy", xticks=[], yticks=[])
    fig.colorbar(shown, ax=axes[0, 0], label="share of the mixture's energy")
    return fig


def _energy(ax, frame: np.ndarray, energy: np.ndarray):
    """A map of 0 to 1 over its frame. Shape: (h, w, 3), (H, W)"""
    h, w = frame.shape[:2]
    ax.imshow(frame, alpha=0.7)
    alpha = 0.85 * np.sqrt(np.clip(energy, 0, 1))  # what is silent stays clear
    return ax.imshow(energy, extent=(0, w, h, 0), cmap=ENERGY, alpha=alpha, vmin=0, vmax=1, interpolation="nearest")


def _box(ax, box: Box, name: str, size: tuple[int, int]) -> None:
    w, h = size
    x0, y0, x1, y1 = np.array(box) * [w, h, w, h]
    ax.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, color="w", lw=1.5))
    ax.text(x0 + 4, y0 + 4, _plain(name), color="k", va="top", fontsize=9, bbox={"fc": "w", "ec": "none", "pad": 1.5})


def _bins(ax, values: np.ndarray, colours: str, title: str) -> None:
    """What lies between 0 and 1, low frequencies at the bottom. Shape: (F, T)"""
    ax.imshow(values, origin="lower", aspect="auto", cmap=colours, vmin=0, vmax=1)
    ax.set_title(title, fontsize=9)
    ax.set_xticks([]), ax.set_yticks([])


def _plain(name: str) -> str:
    """A name as it is: matplotlib would read what stands between two dollars as a formula, and fail at a bad one."""
    return name.replace("$", r"\$")


def _grid(rows: int, columns: int, size: tuple[float, float]):
    """A picture with so many axes, each `size` inches."""
    fig = Picture(figsize=(columns * size[0], rows * size[1]), layout="constrained")
    return fig, fig.subplots(rows, columns, squeeze=False)
