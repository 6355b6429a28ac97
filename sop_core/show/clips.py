"""Clips: pictures, sounds, spectrograms, masks, and how many there are."""

from collections import Counter
from itertools import repeat
from typing import TYPE_CHECKING

import numpy as np
from IPython.display import Audio
from matplotlib.figure import Figure

from .figures import MASK, SOUND, bins, decibels, grid, plain

if TYPE_CHECKING:
    from ..data.clips import Clip


def player(sound: np.ndarray, rate: int) -> Audio:
    """A player of a sound at its own level: normalized, silence would be loud. Shape: (L,)"""
    peak = max(1.0, float(np.abs(sound).max(initial=0)))
    return Audio(np.asarray(sound) / peak, rate=rate, normalize=False)


def frames(pictures: np.ndarray, titles: list[str] | None = None, columns: int = 6) -> Figure:
    """Pictures side by side. Shape: uint8 (V, h, w, 3)"""
    columns = min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    h, w = pictures[0].shape[:2]
    width = 12 / columns
    fig, axes = grid(rows, columns, (width, width * h / w + (0.3 if titles else 0)))
    for ax in axes.flat:
        ax.axis("off")
    for ax, one, title in zip(axes.flat, pictures, titles or repeat(""), strict=False):
        ax.imshow(one)
        ax.set_title(title, fontsize=10)
    return fig


def sound(samples: np.ndarray, mags: dict[str, np.ndarray], rate: int) -> Figure:
    """A waveform (L,), and under it the same stretch as spectrograms: magnitudes (F, T) by name."""
    fig, axes = grid(1 + len(mags), 1, (11, 2.1))
    axes = axes[:, 0]
    seconds = len(samples) / rate
    axes[0].plot(np.arange(len(samples)) / rate, samples, lw=0.4, color="tab:blue")
    axes[0].set(xlim=(0, seconds), ylabel="amplitude", title="waveform")
    for ax, (name, mag) in zip(axes[1:], mags.items(), strict=True):
        where = {"origin": "lower", "aspect": "auto", "extent": (0, seconds, 0, len(mag))}
        ax.imshow(decibels(mag, mag.max()), cmap=SOUND, **where)
        title = f"{name}: {mag.shape[0]} bins x {mag.shape[1]} frames"
        ax.set(ylabel="frequency bin", title=title)
    axes[-1].set_xlabel("seconds")
    return fig


def maps(spectrograms: dict[str, np.ndarray], shares: dict[str, np.ndarray]) -> Figure:
    """Magnitudes on one scale of dB, then values of 0 to 1 (masks, weights), by name.

    Shape: (F, T) each
    """
    loudest = max(mag.max() for mag in spectrograms.values())
    drawn = [(name, decibels(mag, loudest), SOUND) for name, mag in spectrograms.items()]
    drawn += [(name, share, MASK) for name, share in shares.items()]
    fig, axes = grid(1, len(drawn), (13 / len(drawn), 2.4))
    for ax, (name, values, colours) in zip(axes[0], drawn, strict=True):
        bins(ax, values, colours, name)
    return fig


def lengths(splits: "dict[str, list[Clip]]", fps: float) -> Figure:
    """How many clips each label has in each split, and how long the clips are."""
    labels = sorted({c.label for clips in splits.values() for c in clips})
    fig, ((counts, seconds),) = grid(1, 2, (5.5, max(3, 0.6 + 0.2 * len(labels))))
    left = np.zeros(len(labels))
    for name, clips in splits.items():
        count = Counter(c.label for c in clips)
        widths = np.array([count[label] for label in labels])
        counts.barh([plain(label) for label in labels], widths, left=left, label=name)
        left += widths
    counts.set(xlabel="clips", title="clips of each label")
    counts.margins(y=0.01)
    counts.invert_yaxis()
    counts.tick_params("y", labelsize=8)
    durations = [[c.n_frames / fps for c in clips] for clips in splits.values()]
    seconds.hist(durations, 20, stacked=True, label=[*splits])
    seconds.set(xlabel="seconds", ylabel="clips", title="how long they are")
    seconds.legend(frameon=False)
    return fig


def alignment(pictures: np.ndarray, samples: np.ndarray, fps: float, rate: int) -> Figure:
    """The brightness of each frame, at the time that it stands for, over the waveform.

    Shape: (V, h, w, 3), (L,)
    """
    fig, ((ax,),) = grid(1, 1, (11, 2.4))
    wave = samples / max(np.abs(samples).max(), 1e-9)
    ax.plot(np.arange(len(samples)) / rate, wave, lw=0.4, label="sound")
    ax.vlines(np.arange(len(pictures) + 1) / fps, -1, 1, color="0.9", lw=0.6, zorder=0)
    at = (np.arange(len(pictures)) + 0.5) / fps
    brightness = pictures.mean((1, 2, 3)) / 255
    ax.plot(at, brightness, "o", color="tab:orange", label="brightness of each frame")
    xlim = (0, len(samples) / rate)
    ax.set(xlabel="seconds", ylabel="sound; brightness", xlim=xlim)
    ax.legend(frameon=False, loc="lower left")
    return fig
