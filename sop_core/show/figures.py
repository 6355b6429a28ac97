"""What all pictures have in common: scales and colours, figures, files."""

import io

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

FLOOR = -60.0  # dB relative to the loudest bin: what is softer is drawn as silence
SOUND, MASK, ENERGY = "magma", "gray", "inferno"  # colour maps


class Picture(Figure):
    """A figure outside pyplot: nothing to close, and a notebook shows it if a cell returns it."""

    def _repr_png_(self) -> bytes:
        return figure_png(self)


def decibels(mag: np.ndarray, loudest: float) -> np.ndarray:
    """Magnitudes on a scale of dB: 1 at `loudest`, 0 at `FLOOR` below it. Shape: any"""
    share = np.maximum(mag / max(loudest, 1e-8), 10 ** (FLOOR / 20))
    return 1 - 20 * np.log10(share) / FLOOR


def png(values: np.ndarray, colours: str, upwards: bool = True) -> bytes:
    """Values of 0 to 1 as a png file.

    Args: `colours`: a colour map. `upwards`: row 0 (the lowest frequency) is at the bottom.
    Shape: (rows, columns)
    """
    values = values[::-1] if upwards else values
    return picture(matplotlib.colormaps[colours](values, bytes=True)[..., :3])


def picture(rgb: np.ndarray, form: str = "png") -> bytes:
    """A picture as a file. Shape: uint8 (h, w, 3)"""
    out = io.BytesIO()
    Image.fromarray(rgb).save(out, form)
    return out.getvalue()


def figure_file(fig: Figure, form: str) -> bytes:
    """A figure as a file; `form` is png or jpeg."""
    out = io.BytesIO()
    options = {"quality": 80} if form == "jpeg" else {}
    fig.savefig(out, format=form, dpi=90, pil_kwargs=options)
    return out.getvalue()


def figure_png(fig: Figure) -> bytes:
    """A figure as a png file."""
    return figure_file(fig, "png")


# ---- for the other files


def grid(rows: int, columns: int, size: tuple[float, float]):
    """A figure, and its axes (rows, columns); `size` of each in inches."""
    width, height = size
    fig = Picture(figsize=(columns * width, rows * height), layout="constrained")
    return fig, fig.subplots(rows, columns, squeeze=False)


def bins(ax, values: np.ndarray, colours: str, title: str) -> None:
    """Draw values of 0 to 1, with low frequencies at the bottom. Shape: (F, T)"""
    ax.imshow(values, origin="lower", aspect="auto", cmap=colours, vmin=0, vmax=1)
    ax.set_title(title, fontsize=9)
    ax.set_ylabel("frequency", fontsize=8)
    if ax.get_subplotspec().is_last_row():
        ax.set_xlabel("time", fontsize=8)
    no_ticks(ax)


def no_ticks(*axes) -> None:
    """Remove ticks and their labels."""
    for ax in axes:
        ax.set(xticks=[], yticks=[])


def plain(name: str) -> str:
    """A name as it is: matplotlib reads a formula between two dollars, and fails at a bad one."""
    return name.replace("$", r"\$")
