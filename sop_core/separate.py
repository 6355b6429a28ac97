"""A video's sounds into files: one sound as wav, or as mp4 with the picture and where it comes from; all of them, in a folder.

Everything goes by pieces, so what is computed never stands in memory at once, and appears whole or not at all.
"""

import warnings
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import ndimage

from . import checkpoint, media, show
from .band import Source
from .clusters import SILENT_SHARE
from .config import SILENCE_LABEL, AnyPath
from .csvs import write_table
from .errors import SopError
from .localize import Cell, Scene
from .toy.render import is_solo
from .untrusted import printable

FPS = 25.0  # of an mp4
NAMED = 12  # labels that a sentence lists at most
LINE = 1 / 120  # of the picture's height: half of an outline's width


def check_out(out: AnyPath, folder: bool = False) -> None:
    """Raises SopError where `write` (`folder`: `write_all`) could not write there: to be asked before the nets run."""
    out = Path(out)
    if folder and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise SopError(f"{out}: there already; give the name of a new folder")
    if not folder and (out.suffix not in (".wav", ".mp4") or out.is_dir()):
        raise SopError(f"{out}: expected the name of a file that ends in .wav or .mp4")


def write(
    scene: Scene, video: AnyPath, region: list[Cell], out: AnyPath, source_rate: bool = False, full_band: bool = False
) -> float:
    """The sound of a region into `out`, .wav or .mp4; gives its share of the mixture's energy.

    Where that is under `SILENT_SHARE` the file is silent: what leaks into a region is not its sound. What that says of the
    video hangs on the model: see `told`.

    Args: `source_rate`: a wav at the video's own rate rather than the model's.
        `full_band`: the mask goes on above the model's band, on the video's own sound, at its rate.
    An mp4 has the video's picture, with the region outlined.
    """
    check_out(out)
    own, mixture = scene.powers_of([region]).sum(1, dtype=np.float64)
    share, rate = float(own / max(mixture, 1e-12)), _rate(scene, video, source_rate, full_band)
    pieces = (piece[0] * (share >= SILENT_SHARE) for piece in _tracks(scene, video, [region], rate, full_band))
    sounds = _cuts_told(pieces, out)
    if Path(out).suffix == ".mp4":
        pictures = (part for kind, part in media.stream(video, FPS, scene.rate, max_side=720) if kind == "frame")
        pictures = islice(pictures, media.frames_within(len(scene.mixture) / scene.rate, FPS))
        media.write_video(out, outlined(pictures, region, scene.grid), FPS, sounds, rate)
        return share
    with media.whole(out) as part, media.sound_writer(part, rate) as put:
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
    whole: bool = False,
    run: AnyPath | None = None,
) -> pd.DataFrame:
    """All instruments of a scene into a folder: `1_left.wav`, ..., `rest.wav`, a map of each as png, and `tracks.csv`.

    The wavs add up to the video's sound. Args: `count`: how many to find (None: as many as differ).
        `whole`: as in `Scene.tracks`. `run`: the model's folder, whose labels an error names. Others as in `write`.
    Gives what `tracks.csv` says: name, share (of the mixture's energy), cells (of the grid, that belong to it at any time; one of
    an instrument that makes way for another belongs to both). Raises SopError where fewer are found, or none at all.
    """
    check_out(out, folder=True)
    found = scene.clusters(count)
    if not found.names:
        raise SopError(f"{video}: no pixel's own sound has {100 * SILENT_SHARE:.0f} % of the energy{_by_model(run)}")
    names = [f"{k}_{name.replace(' ', '_')}" for k, name in enumerate(found.names, 1)] + ["rest"]
    rate, energy = _rate(scene, video, source_rate, full_band), np.zeros(len(names) + 1)
    with media.whole(out) as part:
        part.mkdir()
        with ExitStack() as files:
            puts = [files.enter_context(media.sound_writer(part / f"{name}.wav", rate)) for name in names]
            for piece in _cuts_told(_tracks(scene, video, found.regions, rate, full_band, whole), out):
                energy += np.square([*piece, piece.sum(0)], dtype=np.float64).sum(1)
                for put, sound in zip(puts, piece, strict=True):
                    put(sound)
        for k, name in enumerate(names[:-1]):
            (part / f"{name}.png").write_bytes(show.figure_png(show.cluster(scene, found, k)))
        cells = [int(region.any(0).sum()) for region in found.regions]
        told = {"name": names, "share": energy[:-1] / max(energy[-1], 1e-12), "cells": [*cells, 0]}
        table = pd.DataFrame(told)
        write_table(part / "tracks.csv", table)
    return table


def told(share: float, run: AnyPath | None = None) -> str:
    """What is known of a region by its share of the energy, in words; `run`: the model's folder.

    A model hears what it has learned to hear: where it hears nothing, something else may well play. So what it learned from is
    said too, where the folder knows.
    """
    return f"{'under 1' if share < SILENT_SHARE else round(100 * share)} % of the sound{_by_model(run)}"


def _by_model(run: Path | None) -> str:
    clips = checkpoint.read_clips(run) if run else None
    labels = sorted({name.rpartition("/")[0] for name, _ in clips["train"]} - {SILENCE_LABEL}) if clips else []
    toy = " (toy)" if labels and all(is_solo(n) or n.startswith(f"{SILENCE_LABEL}/") for n, _ in clips["train"]) else ""
    more = f" and {len(labels) - NAMED} more" if len(labels) > NAMED else ""
    return " by this model" + (
        f", which learned from: {', '.join(map(printable, labels[:NAMED]))}{more}{toy}" if labels else ""
    )


def outlined(pictures: Iterable[np.ndarray], region: list[Cell], grid: tuple[int, int]) -> Iterator[np.ndarray]:
    """Pictures with a line round a region's cells, white within and black without. Shape: uint8 (h, w, 3)"""
    size, inner, outer = None, None, None
    for picture in pictures:
        if picture.shape != size:
            size = picture.shape
            inside, width = np.zeros(grid, bool), max(1, round(LINE * size[0]))
            inside[tuple(zip(*region, strict=True))] = True
            rows, columns = (np.arange(n) * cells // n for n, cells in zip(size, grid, strict=False))
            inside = np.pad(inside[np.ix_(rows, columns)], width)  # so that there is a line at the picture's edge, too
            inner = (inside & ~ndimage.binary_erosion(inside, iterations=width))[width:-width, width:-width]
            outer = (ndimage.binary_dilation(inside, iterations=width) & ~inside)[width:-width, width:-width]
        picture = picture.copy()
        picture[inner], picture[outer] = 255, 0
        yield picture


def _cuts_told(pieces: Iterable[np.ndarray], out: AnyPath) -> Iterator[np.ndarray]:
    """The pieces as they come; at their end a warning, where files cut what is louder than full scale."""
    cut = count = 0
    for piece in pieces:
        cut, count = cut + np.count_nonzero(np.abs(piece) > 1), count + piece.size
        yield piece
    if cut:
        warnings.warn(f"{out}: {cut:,} of {count:,} samples are louder than full scale, and cut there", stacklevel=2)


def _rate(scene: Scene, video: Path, source_rate: bool, full_band: bool) -> int:
    return media.sound_rate(video) if source_rate or full_band else scene.rate


def _tracks(
    scene: Scene, video: Path, regions: list, rate: int, full_band: bool, whole: bool = False
) -> Iterator[np.ndarray]:
    """Pieces of the regions' tracks and the rest, at `rate`. Shape: (P + 1, l)"""
    source = Source(scene.config, video) if full_band else None
    pieces, own = scene.pieces(regions, True, source, whole), source.rate if source else scene.rate
    return pieces if rate == own else media.resampled(pieces, own, rate)
