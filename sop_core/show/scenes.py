"""Scenes: where in the picture the sound of a video comes from."""

from typing import TYPE_CHECKING

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import ListedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from .figures import ENERGY, SOUND, Picture, bins, decibels, grid, no_ticks, plain

if TYPE_CHECKING:
    from ..listening.clusters import Clusters
    from ..listening.regions import Cell
    from ..listening.scene import Scene
    from ..metrics import Box

# Colours of clusters; the player has the same.
PALETTE = ("#56b4e9", "#e69f00", "#00a878", "#cc79a7", "#e8702a", "#f0e442", "#3d8bd4")


def finds(scene: "Scene", sources: "dict[str, tuple[np.ndarray, Box]]") -> Figure:
    """The frame of a duet, and the energy that each cell takes of each instrument's own sound.

    Args: `sources`: the sound (L,) and the box of each instrument, by name
    """
    fig, axes = _panels(scene.frame, 1 + len(sources), 4.2, 0.3)
    axes[0].imshow(scene.frame)
    axes[0].set_title("the frame", fontsize=10)
    for ax, (name, (sound, box)) in zip(axes[1:], sources.items(), strict=True):
        shown = _energy(ax, scene.frame, scene.hearing(sound).energy())
        ax.set_title(f"who sounds like the {plain(name)}?", fontsize=10)
        _box(ax, box, name, scene.frame)
    fig.colorbar(shown, ax=axes[-1], label="share of that instrument's energy")
    return fig


def energy(scene: "Scene", boxes: "dict[str, Box] | None" = None) -> Figure:
    """The frame, and the share of the mixture's energy that each cell takes.

    Args: `boxes`: drawn on both, by name; as shares of the picture, 0 to 1
    """
    fig, (frame, cells) = _panels(scene.frame, 2, 5.6)
    frame.imshow(scene.frame)
    frame.set_title("the frame")
    shown = _energy(cells, scene.frame, scene.energy())
    cells.set_title("energy of each cell's own sound")
    fig.colorbar(shown, ax=cells, label="share of the mixture's energy")
    for name, box in (boxes or {}).items():
        _box(frame, box, name, scene.frame)
        _box(cells, box, name, scene.frame)
    return fig


def still(frame: np.ndarray, energy: np.ndarray, words: str) -> Figure:
    """A frame under some words, with the share of the energy that each cell takes.

    Shape: (h, w, 3), (H, W)
    """
    h, w = frame.shape[:2]
    fig, ((ax,),) = grid(1, 1, (6.4, 5.4 * h / w + 0.4))
    shown = _energy(ax, frame, energy)
    no_ticks(ax)
    fig.suptitle(words, fontsize=9)
    fig.colorbar(shown, ax=ax, label="share of the mixture's energy")
    return fig


def pixels(scene: "Scene", cells: "dict[str, Cell | list[Cell]]") -> Figure:
    """The spectrograms of the mixture and of some cells or regions, by name, on one scale."""
    sounds = {"mixture": scene.mixture}
    sounds |= {name: scene.sound(cell) for name, cell in cells.items()}
    fig, axes = grid(1, len(sounds), (12 / len(sounds), 3))
    loudest = scene.spectrogram(scene.mixture).max()
    for ax, (name, sound) in zip(axes[0], sounds.items(), strict=True):
        bins(ax, decibels(scene.spectrogram(sound), loudest), SOUND, "")
        rms = np.sqrt(np.mean(np.square(sound, dtype=np.float64)))
        ax.set_title(f"{name}\nRMS amplitude {rms:.3f}", fontsize="large")
    return fig


def moments(scene: "Scene", times: list[float]) -> Figure:
    """The energy of each cell's own sound at some moments, over their pictures.

    Args: `times`: in seconds of the scene
    """
    pictures, energies = scene.pictures(), scene.energies()
    fig, axes = _panels(pictures[0], len(times), 12 / len(times), 0.4)
    for ax, time in zip(axes, times, strict=True):
        k = min(int(time * scene.fps), len(pictures) - 1)
        shown = _energy(ax, pictures[k], energies[k])
        ax.set_title(f"{time:.1f} s")
    fig.colorbar(shown, ax=axes, label="share of the\nmoment's energy", aspect=12)
    return fig


def clusters(scene: "Scene", found: "Clusters") -> Figure:
    """The frame with each cluster in a colour; spectrograms of the mixture, clusters and rest."""
    h, w = scene.frame.shape[:2]
    fig = Picture(figsize=(11, 11 * 0.4 * h / w + 0.4), layout="constrained")
    ((left, right),) = fig.subfigures(1, 2, squeeze=False, width_ratios=(2, 3))
    # The frame.
    ax = left.subplots()
    ax.imshow(scene.frame, alpha=0.75)
    no_ticks(ax)
    total = sum(found.shares)
    if total >= 1.005:
        text = f"{total:.0%} together: what two of them claim counts twice"
        ax.set_xlabel(text, fontsize=9)
    shown = found.labels[len(found.labels) // 2]
    tints = [PALETTE[k % len(PALETTE)] for k in range(len(found.names))]
    for k, colour in enumerate(tints):
        layer = np.zeros((*scene.grid, 4))
        layer[shown == k] = (*to_rgb(colour), 0.65)
        ax.imshow(layer, extent=(0, w, h, 0), interpolation="nearest")
    # The spectrograms.
    sounds = [scene.mixture, *scene.tracks(found.regions)] if found.names else [scene.mixture]
    shares = zip(found.names, found.shares, strict=True)
    titles = [f"{plain(name)}:\n{share:.0%} of the energy" for name, share in shares]
    names, colours = ["mixture"], ["k"]
    if titles:
        names, colours = [*names, *titles, "the rest"], [*colours, *tints, "k"]
    mags = scene.spectrogram(np.stack(sounds))
    axes = right.subplots(len(sounds), 1, squeeze=False)[:, 0]
    for ax, mag, name, colour in zip(axes, mags, names, colours, strict=True):
        bins(ax, decibels(mag, mags[0].max()), SOUND, "")
        ax.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
        ax.spines[:].set(color=colour, linewidth=2.5)
    return fig


def cluster(scene: "Scene", found: "Clusters", k: int, share: float) -> Figure:
    """The frame, and the energy of the cells of cluster `k`, over all of the time.

    Args: `share`: of the sound's energy, 0 to 1, that its track has
    """
    fig, (ax,) = _panels(scene.frame, 1, 6)
    inside = found.regions[k].any(0)
    shown = _energy(ax, scene.frame, np.where(inside, scene.energy(), 0))
    ax.set_title(f"{plain(found.names[k])}: {share:.0%} of the energy")
    fig.colorbar(shown, ax=ax, label="share of the mixture's energy")
    return fig


def _panels(frame: np.ndarray, count: int, width: float, above: float = 0.0):
    """A figure, and axes side by side of the frame's shape; `width` and what is above in inches."""
    h, w = frame.shape[:2]
    fig, axes = grid(1, count, (width, width * h / w + above))
    no_ticks(*axes[0])
    return fig, axes[0]


def _energy(ax, frame: np.ndarray, energy: np.ndarray):
    """Draw a map of 0 to 1 over its frame; silent cells stay clear. Shape: (h, w, 3), (H, W)"""
    h, w = frame.shape[:2]
    ax.imshow(frame, alpha=0.7)
    where = {"extent": (0, w, h, 0), "interpolation": "nearest"}
    return ax.imshow(energy, cmap=_over_a_frame(), vmin=0, vmax=1, **where)


def _over_a_frame() -> ListedColormap:
    """Colours of energies that let the frame through; a colour bar shows them just so."""
    values = np.linspace(0, 1, 256)
    colours = colormaps[ENERGY](values)
    colours[:, 3] = 0.85 * np.sqrt(values)
    return ListedColormap(colours)


def _box(ax, box: "Box", name: str, frame: np.ndarray) -> None:
    h, w = frame.shape[:2]
    x0, y0, x1, y1 = np.array(box) * [w, h, w, h]
    ax.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, color="w", lw=1.5))
    white = {"fc": "w", "ec": "none", "pad": 1.5}
    ax.text(x0 + 4, y0 + 4, plain(name), color="k", va="top", fontsize=9, bbox=white)
