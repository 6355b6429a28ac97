"""What the player's page needs, checked and as bytes: pictures, and each track's name and sound."""

import math
import operator
from collections.abc import Callable, Container
from itertools import chain, count
from typing import TYPE_CHECKING, Any

import numpy as np
import simplejpeg

from ..errors import SopError
from .regions import place

if TYPE_CHECKING:
    from .clusters import Clusters
    from .regions import Region
    from .scene import Scene

REST = "the rest"  # name of the last track: what no region takes
MAX_LEVEL = 2.0  # of a track in the mixer: 6 dB; 1: as it is
DYNAMIC_RANGE = 60  # dB below the mixture's loudest bin that a spectrogram shows
MAX_COLUMNS = 640  # of a spectrogram's picture


def check_region(region: "Region | int", grid: tuple[int, int], clusters: int) -> list | int:
    """The region with Python's integers. Raises SopError if it isn't of this scene."""
    if isinstance(region, (int, np.integer)):
        if 0 <= region < clusters:
            return int(region)
        valid = f"there are {clusters}; numbers go from 0 to {clusters - 1}"
        raise SopError(f"cluster {region}: {valid}")
    rows, columns = grid
    cells = []
    for cell in region:
        try:
            row, column = map(operator.index, cell)  # numpy's integers, too, but no floats
        except (TypeError, ValueError):
            row = column = -1
        if not (0 <= row < rows and 0 <= column < columns):
            size = f"the grid has {rows} rows and {columns} columns"
            valid = f"row from 0 to {rows - 1} and column from 0 to {columns - 1}"
            raise SopError(f"pixel={cell!r}: {size}; give (row, column), {valid}")
        cells.append((row, column))
    if not cells:
        raise SopError("a region without a cell has no sound; choose at least one")
    return cells


def check_mixer(mixer: Any, count: int) -> list[dict]:
    """One entry for each of `count` tracks, levels within 0 to `MAX_LEVEL`. Raises SopError."""
    try:
        checked = [
            {
                "name": str(m["name"])[:80],
                "level": min(max(float(m["level"]), 0.0), MAX_LEVEL),
                "mute": bool(m["mute"]),
                "solo": bool(m["solo"]),
            }
            for m in mixer
        ]
        if len(checked) != count or any(math.isnan(m["level"]) for m in checked):
            raise ValueError
    except (KeyError, TypeError, ValueError, OverflowError):
        expected = f"name, level, mute and solo of each of {count} tracks"
        raise SopError(f"mixer={repr(mixer)[:80]}: expected {expected}") from None
    return checked


def mixer_of(
    regions: list, before: list, mixer: list[dict], call: Callable[[Any], str]
) -> list[dict]:
    """The mixer of regions and the rest, after `mixer`, that of the regions `before`.

    A region that was there keeps its name and level, and then so does the rest.
    Args: `call`: a region's name; a second one that is called so gets a number: "top left 2"
    """
    old = {str(region): m for region, m in zip(before, mixer, strict=False)}
    kept = [old.get(str(region)) for region in regions]
    new = {"level": 1.0, "mute": False, "solo": False}
    rest = mixer[-1] if any(kept) else {"name": REST, **new, "mute": True}
    taken, found = {REST, *(m["name"] for m in kept if m)}, []
    for region, m in zip(regions, kept, strict=True):
        name = m["name"] if m else _free(call(region), taken)
        taken.add(name)
        found.append(m or {"name": name, **new})
    return [*found, rest]


def seen(scene: "Scene", clusters: "Clusters") -> dict:
    """What the page shows: the pictures, and the maps that lie over them, as traits of the player.

    Raises SopError if the scene's arrays don't fit together.
    """
    pictures = np.asarray(scene.pictures())
    if pictures.dtype != np.uint8 or pictures.shape[3:] != (3,) or not len(pictures):
        there = f"{pictures.dtype} of shape {pictures.shape}"
        raise SopError(f"scene.pictures() is {there}, expected uint8 (V, h, w, 3)")
    grid = tuple(map(int, scene.grid))
    energy = finite(scene.energy(), "scene.energy()", grid)
    moments = finite(scene.energies(), "scene.energies()", (len(pictures), *grid))
    labels = finite(clusters.labels, "scene.clusters().labels", moments.shape)
    files = [simplejpeg.encode_jpeg(np.ascontiguousarray(p), quality=85) for p in pictures]
    legend = zip(clusters.names, clusters.shares, strict=True)
    return {
        "grid": grid,
        "fps": float(scene.fps),
        "frames": b"".join(files),
        "frame_sizes": list(map(len, files)),
        "energy": energy.astype("<f4").tobytes(),
        "moments": np.round(255 * moments.clip(0, 1)).astype(np.uint8).tobytes(),
        "clusters": np.where(labels < 0, 255, labels).astype(np.uint8).tobytes(),
        "legend": [{"name": str(name), "share": float(share)} for name, share in legend],
    }


def pcm(sound: np.ndarray) -> dict:
    """A sound as the page has it: 16-bit samples, with the level of full scale.

    Shape: (L,), or (C, L): one channel after the other
    """
    peak = max(float(np.abs(sound).max()), 1e-9)
    return {"peak": peak, "pcm": np.round(sound * (32_767 / peak)).astype("<i2").tobytes()}


def finite(values: np.ndarray, name: str, shape: tuple[int | None, ...]) -> np.ndarray:
    """float32 of that shape (None: any number but 0). Raises SopError: NaN would be loud noise."""
    values = np.asarray(values, np.float32)
    wanted = tuple(n or max(1, m) for n, m in zip(shape, values.shape, strict=False))
    if len(shape) != values.ndim or values.shape != wanted or not np.isfinite(values).all():
        expected = ", ".join("L > 0" if n is None else str(n) for n in shape)
        raise SopError(f"{name} has shape {values.shape}, expected ({expected}), all of it finite")
    return values


def spectrogram(mags: np.ndarray, loudest: float) -> dict:
    """A picture of magnitudes, 255 at `loudest`. Shape: (F, T) -> pixels: bytes of uint8 (F, T')"""
    shown = mags[:, :: -(-mags.shape[1] // MAX_COLUMNS)]
    level = 20 * np.log10(np.maximum(shown, 1e-12) / max(loudest, 1e-9))
    pixels = np.round(255 * (1 + level / DYNAMIC_RANGE).clip(0, 1)).astype(np.uint8)
    return {"pixels": pixels.tobytes(), "size": shown.shape}


def track_name(region: "Region | int", scene: "Scene", clusters: list[str]) -> str:
    """A track's short name until the user gives it another: what its cells look like, as "violin",
    or where they lie, as "top left", if the model doesn't know it.

    Args: `clusters`: their names
    """
    if isinstance(region, int):
        return clusters[region]
    look = getattr(scene, "name", None)  # a scene of another class has none
    name = look(region) if look else None
    return name.label if name and name.known else place(region, scene.grid)


def _free(name: str, taken: Container[str]) -> str:
    return next(n for n in chain([name], (f"{name} {k}" for k in count(2))) if n not in taken)


def region_name(region: "Region | int", clusters: list[str]) -> str:
    """All of where a region lies, as "rows 5 to 13, column 2"; `clusters`: their names."""
    if isinstance(region, int):
        return clusters[region]
    rows, columns = (sorted(set(side)) for side in zip(*region, strict=True))
    area = (rows[-1] - rows[0] + 1) * (columns[-1] - columns[0] + 1)
    if len(set(region)) == area:
        return f"{_span('row', rows)}, {_span('column', columns)}"
    middle = f"row {round(np.mean(rows))}, column {round(np.mean(columns))}"
    return f"{len(region)} cells round {middle}"


def _span(word: str, numbers: list[int]) -> str:
    low, high = numbers[0], numbers[-1]
    return f"{word} {low}" if low == high else f"{word}s {low} to {high}"
