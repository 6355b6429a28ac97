"""Write a video's sounds into files: one region as sound or mp4, or all instruments into a folder.

Everything goes piece by piece, so memory doesn't grow with the video. A file or folder appears
only when it is complete.

Conventions, wherever they are arguments:
    rate        source: the video's own sound, with its channels, at its own rate, also above the
                model's frequencies; model: what the nets heard, mono at the model's rate
    wav_format  of a wav file's samples
"""

import re
import unicodedata
import warnings
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from tempfile import TemporaryFile
from typing import Literal

import numpy as np
import pandas as pd

from .. import metrics, show
from ..config import SILENCE_LABEL, AnyPath
from ..errors import SopError
from ..media.atomic import atomic_path
from ..media.csvs import write_table
from ..media.stream import frames_within, stream
from ..media.write import write_video
from ..model.names import Name
from ..untrusted import printable
from .clusters import NOT_KNOWN, SILENT_SHARE, shares_of, sounding
from .film import marked
from .fullband import FullBandAudio
from .regions import Cell, Mode, Region
from .scene import Scene
from .separated import source_pieces
from .soundfiles import KINDS, Kind, Waiting, WavFormat, at_rate, fitting_rate, write_tracks

Rate = Literal["source", "model"]
SUFFIXES = (*(f".{kind}" for kind in KINDS), ".mp4")  # of what `write` writes
FPS = 25.0  # of an mp4
AAC = {"b": "256k"}  # FFmpeg's 128 has 10 dB less SNR, of stereo noise and of a tone with noise
MAX_LABELS = 12  # that a sentence lists


def check_out(out: AnyPath, folder: bool = False) -> None:
    """Raises SopError if `write` (`folder`: `write_all`) can't write to `out`.

    Call it before the nets run.
    """
    out = Path(out)
    if folder and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise SopError(f"{out}: there already; give the name of a new folder")
    if not folder and (out.suffix not in SUFFIXES or out.is_dir()):
        expected = f"{', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}"
        raise SopError(f"{out}: expected the name of a file that ends in {expected}")


def check_apart(out: AnyPath, videos: Sequence[AnyPath]) -> None:
    """Raises SopError if `out` is one of the videos, by whatever name: it would be lost."""
    out = Path(out)
    if out.exists() and any(Path(v).exists() and out.samefile(v) for v in videos):
        raise SopError(f"{out}: this is the video itself, which would be lost; give another name")


def folder_names(videos: Sequence[AnyPath]) -> list[str]:
    """A folder's name for each video: its own without the suffix, safe on any disk, and unique.

    Names that differ in case only count as the same; the later ones get a number.
    """
    names: list[str] = []
    for video in videos:
        stem = _safe(Path(video).stem) or "video"
        if re.fullmatch(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", stem, re.IGNORECASE):
            stem = f"_{stem}"  # devices of Windows
        taken = {name.casefold() for name in names}
        numbered = (f"{stem}_{number}" for number in range(2, len(videos) + 1))
        names.append(next(n for n in chain([stem], numbered) if n.casefold() not in taken))
    return names


def _safe(name: str) -> str:
    """A name without what isn't allowed in a file's name on some disk; it may be empty."""
    name = unicodedata.normalize("NFC", name)
    name = "".join("_" if unicodedata.category(c)[0] == "C" else c for c in name)
    short = re.sub(r'[<>:"/\\|?*]', "_", name).encode()[:200]
    return short.decode(errors="ignore").strip(" .")


def write(
    scene: Scene,
    video: AnyPath,
    region: list[Cell],
    out: AnyPath,
    rate: Rate = "source",
    wav_format: WavFormat = "pcm16",
) -> float:
    """Write the sound of a region; return its share of the mixture's energy.

    If the region is `silent`, so is the file: so little belongs to other regions.
    Warns if the sound had to be made softer, since it would have clipped.

    Args: `out`: a .wav, .flac or .mp3, or an .mp4 with the video's pictures twice: the region is
        outlined on the left, and all else is dark on the right; not `video` itself
    """
    check_out(out)
    check_apart(out, [video])
    kind = Path(out).suffix[1:]
    own, certain = scene.powers_of([region])
    audible = bool(sounding(scene, certain).any())
    share = float(shares_of(own if audible else certain)[0])
    hz, pieces = _tracks(scene, video, [region], "shared", rate, kind)
    with atomic_path(out) as part, TemporaryFile(dir=part.parent) as file:
        tracks = Waiting((piece[:1] * audible for piece in pieces), file)
        if kind != "mp4":
            scale = write_tracks(tracks, [part], hz, kind, wav_format)
        else:
            scale = tracks.scale(bits=0)
            sounds = (block[0] * np.float32(scale) for block in tracks.blocks())
            span = (scene.start, scene.seconds)
            parts = stream(video, FPS, scene.rate, *span, max_side=720, choice=scene.film.choice)
            pictures = (part for kind, part in parts if kind == "frame")
            pictures = islice(pictures, frames_within(scene.seconds, FPS))
            write_video(part, marked(pictures, region, scene.grid), FPS, sounds, hz, aac=AAC)
    _warn_if_scaled(out, scale)
    return share


def silent(scene: Scene, region: list[Cell]) -> bool:
    """Whether a region has less than `SILENT_SHARE` of the energy in every window of the scene."""
    return not sounding(scene, scene.powers_of([region])[1]).any()


def write_all(
    scene: Scene,
    video: AnyPath,
    count: int | None,
    out: AnyPath,
    rate: Rate = "source",
    kind: Kind = "wav",
    wav_format: WavFormat = "pcm16",
    partition: bool = False,
    learned: str = "",
) -> pd.DataFrame:
    """Write all instruments of a scene into a folder; return what `tracks.csv` says.

    The files are `1_violin.wav`, ..., `rest.wav`, which add up to the video's sound, a map of each
    instrument as png, and `tracks.csv` with the columns below. Names are those of the clusters:
    `1_left.wav` if the model has no names.
        name    of the files
        share   of the mixture's energy
        cells   how many cells of the grid belong to the instrument at any time; a cell may belong
                to several instruments
        scale   the factor by which all files were made softer, since one would have clipped; or 1
    and, if the model has names, these, which are empty for the rest:
        place   where the instrument is in the picture
        label   what it looks like, or "unknown"
        confidence      the probability that the label is right; 0 if it is unknown

    Args:
        count: how many instruments to find (None: as many as differ)
        kind: of the sound files
        partition: as in `Scene.tracks`
        learned: what the model learned from, for an error (`learned_from`)

    Raises SopError if there are fewer instruments, or none.
    """
    check_out(out, folder=True)
    clusters = scene.clusters(count)
    if not clusters.names:
        if metrics.silent(scene.mixture):
            raise SopError(f"{video}: it is silent; expected a video with sound")
        least = f"{100 * SILENT_SHARE:.0f} % of the energy"
        why = f"no pixel's own sound has {least} by this model{learned}"
        raise SopError(f"{video}: {NOT_KNOWN}: {why}")
    names = [f"{k}_{re.sub('[ ,]+', '_', _safe(n))}" for k, n in enumerate(clusters.names, 1)]
    names.append("rest")
    mode = "partition" if partition else "shared"
    hz, pieces = _tracks(scene, video, clusters.regions, mode, rate, kind)
    with atomic_path(out) as part, TemporaryFile(dir=part.parent) as file:
        part.mkdir()
        tracks = Waiting(pieces, file)
        paths = [part / f"{name}.{kind}" for name in names]
        scale = write_tracks(tracks, paths, hz, kind, wav_format)
        # The maps, and the table.
        shares = tracks.energy[:-1] / max(tracks.energy[-1], 1e-12)
        for k, name in enumerate(names[:-1]):
            figure = show.cluster(scene, clusters, k, shares[k])
            (part / f"{name}.png").write_bytes(show.figure_png(figure))
        cells = [int(region.any(0).sum()) for region in clusters.regions]
        columns = {"name": names, "share": shares, "cells": [*cells, 0], "scale": scale}
        if clusters.looks is not None:
            labels, sure = zip(*clusters.looks, (np.nan, np.nan), strict=True)
            columns |= {"place": [*clusters.places, np.nan], "label": labels, "confidence": sure}
        table = pd.DataFrame(columns)
        write_table(part / "tracks.csv", table)
    _warn_if_scaled(out, scale)
    return table


def told(share: float, learned: str = "", name: Name | None = None, known: bool = True) -> str:
    """A region's share of the energy in words, and whether the model knows what sounds there.

    Args:
        learned: what the model learned from (`learned_from`). The sentence needs it, since a
            model separates only what it has learned: an instrument that it calls silent may play.
        name: of the region, by `Scene.name`
        known: whether the model knows what sounds in the video (`clusters.knows`)
    """
    percent = "under 1" if share < SILENT_SHARE else round(100 * share)
    text = f"{percent} % of the sound by this model{learned}"
    if not known or (name and not name.known):
        return f"{NOT_KNOWN}: {text}"
    return f"looks like {sure(name)}; {text}" if name else text


def sure(name: Name) -> str:
    """A name with its confidence: `violin (97% sure)`."""
    return f"{printable(name.label)}{f' ({name.confidence:.0%} sure)' if name.known else ''}"


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


def _warn_if_scaled(out: AnyPath, scale: float) -> None:
    if scale < 1:
        what = f"all of it is {-20 * np.log10(scale):.1f} dB softer (scale {scale:.4f})"
        warnings.warn(f"{out}: it would be louder than full scale, so {what}", stacklevel=3)


def _tracks(
    scene: Scene, video: AnyPath, regions: Sequence[Region], mode: Mode, rate: Rate, kind: str
) -> tuple[int, Iterator[np.ndarray]]:
    """A file's sample rate, and pieces (P + 1, C, l) of the regions' tracks and the rest at it."""
    if rate == "source":
        audio = FullBandAudio(scene, video)
        own, pieces = audio.own_rate, source_pieces(scene, regions, mode, audio)
    else:
        own, pieces = scene.rate, (piece[:, None] for piece in scene.pieces(regions, mode))
    fitting = fitting_rate(own, kind)
    return fitting, pieces if fitting == own else at_rate(pieces, own, fitting)
