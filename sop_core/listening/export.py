"""Write a video's sounds into files: one region as wav or mp4, or all instruments into a folder.

Everything goes piece by piece, so memory doesn't grow with the video. A file or folder appears
only when it is complete.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from functools import cache, partial
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import ndimage

from .. import show
from ..config import SILENCE_LABEL, AnyPath
from ..errors import SopError
from ..media.atomic import atomic_path
from ..media.container import sound_rate
from ..media.csvs import write_table
from ..media.sound import resampled, sound_writer
from ..media.stream import frames_within, stream
from ..media.write import write_video
from ..untrusted import printable
from .clusters import SILENT_SHARE
from .fullband import FullBandAudio
from .regions import Cell, Mode, Region
from .scene import Scene

FPS = 25.0  # of an mp4
MAX_LABELS = 12  # that a sentence lists
OUTLINE = 1 / 120  # of the picture's height: half of an outline's width


def check_out(out: AnyPath, folder: bool = False) -> None:
    """Raises SopError if `write` (`folder`: `write_all`) can't write to `out`.

    Call it before the nets run.
    """
    out = Path(out)
    if folder and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise SopError(f"{out}: there already; give the name of a new folder")
    if not folder and (out.suffix not in (".wav", ".mp4") or out.is_dir()):
        raise SopError(f"{out}: expected the name of a file that ends in .wav or .mp4")


def write(
    scene: Scene,
    video: AnyPath,
    region: list[Cell],
    out: AnyPath,
    source_rate: bool = False,
    full_band: bool = False,
) -> float:
    """Write the sound of a region; return its share of the mixture's energy.

    If the share is under `SILENT_SHARE`, the file is silent: so little belongs to other regions.

    Args:
        out: a .wav, or an .mp4 with the video's pictures and the region's outline
        source_rate: write a wav at the video's own rate instead of the model's
        full_band: apply the mask to the video's own sound, also above the model's band
    """
    check_out(out)
    own, mixture = scene.powers_of([region]).sum(1, dtype=np.float64)
    share = float(own / max(mixture, 1e-12))
    rate, tracks = _tracks(scene, video, [region], "shared", source_rate, full_band)
    audible = share >= SILENT_SHARE
    sounds = _warn_if_cut((piece[0] * audible for piece in tracks), out)
    if Path(out).suffix == ".mp4":
        parts = stream(video, FPS, scene.rate, max_side=720)
        pictures = (part for kind, part in parts if kind == "frame")
        pictures = islice(pictures, frames_within(scene.seconds, FPS))
        write_video(out, outlined(pictures, region, scene.grid), FPS, sounds, rate)
        return share
    with atomic_path(out) as part, sound_writer(part, rate) as put:
        for sound in sounds:
            put(sound)
    return share


def write_all(
    scene: Scene,
    video: AnyPath,
    count: int | None,
    out: AnyPath,
    source_rate: bool = False,
    full_band: bool = False,
    partition: bool = False,
    learned: str = "",
) -> pd.DataFrame:
    """Write all instruments of a scene into a folder; return what `tracks.csv` says.

    The files are `1_left.wav`, ..., `rest.wav`, which add up to the video's sound, a map of each
    instrument as png, and `tracks.csv` with these columns:
        name
        share   of the mixture's energy
        cells   how many cells of the grid belong to the instrument at any time; a cell may belong
                to several instruments

    Args:
        count: how many instruments to find (None: as many as differ)
        source_rate, full_band: as in `write`
        partition: as in `Scene.tracks`
        learned: what the model learned from, for an error (`learned_from`)

    Raises SopError if there are fewer instruments, or none.
    """
    check_out(out, folder=True)
    clusters = scene.clusters(count)
    if not clusters.names:
        least = f"{100 * SILENT_SHARE:.0f} % of the energy"
        raise SopError(f"{video}: no pixel's own sound has {least} by this model{learned}")
    names = [f"{k}_{name.replace(' ', '_')}" for k, name in enumerate(clusters.names, 1)]
    names.append("rest")
    mode = "partition" if partition else "shared"
    rate, tracks = _tracks(scene, video, clusters.regions, mode, source_rate, full_band)
    energy = np.zeros(len(names) + 1)  # of each track, and of their sum
    with atomic_path(out) as part:
        part.mkdir()
        # The tracks: pieces of float32 (P + 1, l).
        with ExitStack() as files:
            writers = (sound_writer(part / f"{name}.wav", rate) for name in names)
            puts = [files.enter_context(writer) for writer in writers]
            for piece in _warn_if_cut(tracks, out):
                energy += np.square([*piece, piece.sum(0)], dtype=np.float64).sum(1)
                for put, sound in zip(puts, piece, strict=True):
                    put(sound)
        # The maps, and the table.
        for k, name in enumerate(names[:-1]):
            figure = show.cluster(scene, clusters, k)
            (part / f"{name}.png").write_bytes(show.figure_png(figure))
        shares = energy[:-1] / max(energy[-1], 1e-12)
        cells = [int(region.any(0).sum()) for region in clusters.regions]
        table = pd.DataFrame({"name": names, "share": shares, "cells": [*cells, 0]})
        write_table(part / "tracks.csv", table)
    return table


def told(share: float, learned: str = "") -> str:
    """A region's share of the energy in words.

    Args: `learned`: what the model learned from (`learned_from`). The sentence needs it, since a
        model separates only what it has learned: an instrument that it calls silent may play.
    """
    percent = "under 1" if share < SILENT_SHARE else round(100 * share)
    return f"{percent} % of the sound by this model{learned}"


def learned_from(
    clips: dict[str, list[tuple[str, str]]] | None, is_toy: Callable[[str], bool]
) -> str:
    """The labels that a model learned from, as the end of a sentence; "" if they aren't known.

    Args:
        clips: the run's clips, by `checkpoint.read_clips`
        is_toy: whether a clip's name is one of the toy orchestra's (`toy.render.is_solo`)
    """
    names = [name for name, _ in clips["train"]] if clips else []
    labels = sorted({name.rpartition("/")[0] for name in names} - {SILENCE_LABEL})
    if not labels:
        return ""
    toy = all(is_toy(name) or name.startswith(f"{SILENCE_LABEL}/") for name in names)
    more = f" and {len(labels) - MAX_LABELS} more" if len(labels) > MAX_LABELS else ""
    listed = ", ".join(map(printable, labels[:MAX_LABELS]))
    return f", which learned from: {listed}{more}{' (toy)' if toy else ''}"


def outlined(
    pictures: Iterable[np.ndarray], region: list[Cell], grid: tuple[int, int]
) -> Iterator[np.ndarray]:
    """Pictures with a line around a region: white inside its edge, black outside.

    Shape: uint8 (h, w, 3)
    """
    cells = np.zeros(grid, bool)
    cells[tuple(zip(*region, strict=True))] = True
    lines = cache(partial(_lines, cells))  # all pictures of a video have one size, as a rule
    for picture in pictures:
        inner, outer = lines(picture.shape[:2])
        picture = picture.copy()
        picture[inner] = 255
        picture[outer] = 0
        yield picture


def _lines(cells: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The pixels inside and outside of the edge of some cells.

    Shape: bool (H, W) -> bool (h, w), bool (h, w)
    """
    width = max(1, round(OUTLINE * size[0]))
    rows, columns = (np.arange(n) * m // n for n, m in zip(size, cells.shape, strict=True))
    # Padded, so that there is a line at the picture's edge, too.
    inside = np.pad(cells[np.ix_(rows, columns)], width)
    eroded = ndimage.binary_erosion(inside, iterations=width)
    dilated = ndimage.binary_dilation(inside, iterations=width)
    middle = slice(width, -width), slice(width, -width)
    return (inside != eroded)[middle], (dilated != inside)[middle]


def _warn_if_cut(pieces: Iterable[np.ndarray], out: AnyPath) -> Iterator[np.ndarray]:
    """Pass pieces on; warn at the end if there were samples beyond full scale, which files cut."""
    cut = count = 0
    for piece in pieces:
        cut += np.count_nonzero(np.abs(piece) > 1)
        count += piece.size
        yield piece
    if cut:
        samples = f"{cut:,} of {count:,} samples"
        warnings.warn(f"{out}: {samples} are louder than full scale, and cut there", stacklevel=2)


def _tracks(
    scene: Scene,
    video: AnyPath,
    regions: Sequence[Region],
    mode: Mode,
    source_rate: bool,
    full_band: bool,
) -> tuple[int, Iterator[np.ndarray]]:
    """The files' sample rate, and pieces (P + 1, l) of the regions' tracks and the rest at it."""
    audio = FullBandAudio(scene.config, video, scene.device) if full_band else None
    pieces = scene.pieces(regions, mode, audio)
    own = audio.rate if audio else scene.rate
    rate = sound_rate(video) if source_rate or full_band else own
    return rate, pieces if rate == own else resampled(pieces, own, rate)
