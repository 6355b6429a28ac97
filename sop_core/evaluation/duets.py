"""Duets: videos of two instruments or more, whose stems and boxes are known.

They measure separation by boxes, localization, and false claims. The truth of a clip is a file
`<id>.json` with `frame_size` and `sources`. Each source has a `label`, `box_xyxy` in pixels, and
`stem`, the name of a sound file in the same folder.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from .. import metrics
from ..config import AnyPath, Config
from ..data.clips import Clip, Finder, finder
from ..errors import SopError
from ..listening.clusters import SILENT_SHARE, shares_of
from ..listening.regions import Cell, Region
from ..listening.scene import Scene
from ..media.csvs import read_text
from ..media.sound import read_sound, sound_length
from ..model.model import SoundOfPixels
from ..model.names import UNKNOWN
from ..training.windows import same_rate
from .journal import Journal
from .methods import oracles, score

# A cell claims a sound if its share of the instrument's energy is at least this. The threshold is
# the same for all pictures and sounds.
CLAIM = 0.5


class Stem(NamedTuple):
    """One instrument of a duet."""

    label: str
    box: metrics.Box
    path: Path  # of its own sound


class Duets(NamedTuple):
    """The measurements of `score_duets`.

    scores: as of `score_pairs`. Its methods:
        model           the sound of the instrument's box
        exchanged       the sound of another instrument's box
        tracks          `Scene.tracks`: a bin that several boxes claim is divided among them
        whole           `Scene.tracks(partition=True)`: every bin is divided among the boxes
        mixture, oracle_...     as of `score_pairs`

    placed: one row for each instrument that sounds. Its columns:
        clip, label
        own, other      correlation of its box's sound with its stem, and with the nearest other one
        right, chance   whether own is greater than other; how likely this is by chance
        sdr             in dB, of its box's sound
        pointed, ciou   of the energy map of its stem; see `metrics`
        area            of its box, as a share of the picture
        cells           how many cells lie in its box and in no other
        sounding        how many of these have a sound of their own in the duet
        cells_right     how many of these sound more like its stem than like any other one
        looks           what its box looks like (`Scene.name`); "" if the model has no names
        named           whether this is its label; for a label without a name: whether it is
                        unknown. None if the model has no names

    claimed: one row for each instrument and each sound that replaced the duet. Its columns: clip,
    label, sound, and the peak and the mean of the energy map.
    """

    scores: pd.DataFrame
    placed: pd.DataFrame
    claimed: pd.DataFrame


def read_truth(folder: AnyPath, id: str, find: Finder | None = None) -> list[Stem] | None:
    """The stems of clip `id`, from `folder/<id>.json`.

    Args: `find`: the folder's `finder`, so that for many clips it is listed once.
    Returns None if there is no such file, or if it describes a solo.
    Raises SopError if the file is broken.
    """
    found = (find or finder(folder))(str(Path(folder, f"{id}.json")), False)
    if found is None:
        return None
    path = Path(found)
    try:
        truth = json.loads(read_text(path))
        if len(truth["sources"]) == 1:
            return None
        w, h = map(float, truth["frame_size"])
        stems = []
        for s in truth["sources"]:
            x0, y0, x1, y1 = map(float, s["box_xyxy"])
            if not (x0 < x1 and y0 < y1 and x1 > 0 and y1 > 0 and 0 < w > x0 and 0 < h > y0):
                raise ValueError(f"a box {s['box_xyxy']} in a picture of {w:g} x {h:g}")
            box = (x0 / w, y0 / h, x1 / w, y1 / h)
            name = Path(s["stem"]).name  # the file can't name other folders
            stems.append(Stem(str(s["label"]), box, path.with_name(name)))
        if len(stems) < 2:
            raise ValueError(f"{len(stems)} source(s)")
        return stems
    except (ValueError, KeyError, TypeError) as e:
        raise SopError(
            f"{path}: expected frame_size and two sources or more with label, box_xyxy within the "
            f"picture, and stem ({e!r})"
        ) from None


KnownDuets = list[tuple[Clip, list[Stem]]]


def with_truth(clips: Sequence[Clip], truth: AnyPath | None) -> KnownDuets:
    """The clips that have a truth in a folder, each with its stems. No folder: none has."""
    if truth is None:
        return []
    find = finder(truth)
    known = [(clip, read_truth(truth, clip.id, find)) for clip in clips]
    return [(clip, stems) for clip, stems in known if stems]


def check_duets(clips: Sequence[Clip], truth: AnyPath | None, config: Config) -> KnownDuets:
    """The same, to be measured.

    Raises SopError if no clip has a truth, if the sound of a clip is at another rate, and if a stem
    can't be opened.
    """
    known = with_truth(clips, truth)
    if not known:
        hint = f"for any of the {len(clips)} clips, e.g. {clips[0].id}.json"
        raise SopError(f"{truth}: no <id>.json there {hint}")
    for clip, stems in known:
        same_rate(clip.name, sound_length(clip.sound)[1], config)
        for stem in stems:
            sound_length(stem.path)
    return known


def heard(
    model: SoundOfPixels, clip: Clip, truth: AnyPath | None
) -> tuple[Scene, dict[str, tuple[np.ndarray, metrics.Box]]]:
    """A duet as a scene, and the stem (L,) and the box of each instrument, by its label.

    Labels get a number if two instruments share one.
    """
    scene = Scene.from_clip(model, clip)
    [(_, stems)] = with_truth([clip], truth)
    names = [s.label for s in stems]
    if len(set(names)) < len(names):
        names = [f"{name} {n}" for n, name in enumerate(names, 1)]
    sounds = [(read_sound(s.path, rate=scene.rate), s.box) for s in stems]
    return scene, dict(zip(names, sounds, strict=True))


def score_duets(
    model: SoundOfPixels,
    clips: Sequence[Clip],
    truth: AnyPath | None,
    journal: Journal | None = None,
) -> Duets:
    """Compare duets with their stems and boxes. Shows a progress bar.

    Separation: the estimate of an instrument is the sound of its box.
    Localization: the scene gets the instrument's own stem in place of the duet.
    False claims: the scene gets sounds that are not in the picture, as loud as the stem. They are
    noise, and an instrument of the next duet that has another one. It also gets silence (noise at
    -80 dB), which is so soft that even a picture that claims all of it claims almost no energy.

    Returns a `Duets`.
    Raises SopError as `check_duets` does, and if all stems are silent.
    """
    known = check_duets(clips, truth, model.config)

    def measure(i: int) -> dict:
        clip, stems = known[i]
        scene = Scene.from_clip(model, clip)
        sounds = [read_sound(s.path, rate=scene.rate) for s in stems]
        length = min(len(scene.mixture), *map(len, sounds))
        sounds = np.stack([sound[:length] for sound in sounds])  # (N, L)

        # Separation: one region for each instrument, the cells in its box.
        regions: list[Region] = [scene.cells_in(s.box) for s in stems]
        estimates = {k: x[:, :length] for k, x in _estimates(scene, regions).items()}
        true = torch.from_numpy(sounds).to(scene.device)
        by_method = {k: torch.from_numpy(x).to(true) for k, x in estimates.items()}
        names = [(clip.name, clip.video, s.label) for s in stems]
        rows = score(i, names, true, by_method | oracles(model, true))

        # Localization and claims: each instrument that sounds.
        placed, claimed = [], []
        for n in np.flatnonzero(~metrics.silent(sounds)).tolist():
            name = {"clip": clip.name, "label": stems[n].label}
            given = _sounds(known, i, n, sounds, scene.rate)
            maps = {kind: _claim(scene, sound, sounds[n]) for kind, sound in given}  # (H, W) each
            for kind, energy in maps.items():
                claim = {"sound": kind, "peak": float(energy.max()), "mean": float(energy.mean())}
                claimed.append(name | claim)
            alone = [c for c in regions[n] if sum(c in region for region in regions) == 1]
            place = _place(n, estimates["model"][n], sounds) | _find(maps["own"], stems[n].box)
            place |= _count(scene, n, alone, sounds) | _name(scene, regions[n], stems[n].label)
            placed.append(name | place | {"sdr": rows[n]["sdr"]})
        return {"scores": rows, "placed": placed, "claimed": claimed}

    measured = (journal or Journal()).each("duets", len(known), measure, "clip")
    if not any(one["placed"] for one in measured):
        raise SopError(f"{truth}: not one of the stems of the {len(known)} duets is audible")
    return Duets(*(pd.DataFrame([r for one in measured for r in one[k]]) for k in Duets._fields))


def _estimates(scene: Scene, regions: list[Region]) -> dict[str, np.ndarray]:
    """The sound of each region, by method; see `Duets`. Shape: {method: (N, L)}"""
    own = scene.sounds(regions)
    estimates = {
        "model": own,
        "exchanged": np.roll(own, 1, 0),
        "tracks": scene.tracks(regions)[:-1],  # without the rest
    }
    if scene.config.has_odds:
        estimates["whole"] = scene.tracks(regions, partition=True)[:-1]
    return estimates | {"mixture": np.tile(scene.mixture, (len(own), 1))}


def _place(n: int, estimate: np.ndarray, stems: np.ndarray) -> dict:
    """Whether an estimate of instrument n is most like its own stem. Shape: (L,), (N, L)"""
    alike = [metrics.correlation(estimate, stem) for stem in stems]
    own = alike.pop(n)
    other = max(alike)
    return {"own": own, "other": other, "right": own > other, "chance": 1 / len(stems)}


def _count(scene: Scene, n: int, cells: list[Cell], stems: np.ndarray) -> dict:
    """How many of instrument n's cells have a sound, and one like its stem. Shape: (N, L)"""
    certain = shares_of(scene.certain).reshape(scene.grid)
    loud: list[Region] = [[cell] for cell in cells if certain[cell] >= SILENT_SHARE]
    sounds = scene.sounds(loud)[:, : stems.shape[1]] if loud else []
    right = sum(_place(n, sound, stems)["right"] for sound in sounds)
    return {"cells": len(cells), "sounding": len(loud), "cells_right": right}


def _name(scene: Scene, region: Region, label: str) -> dict:
    """What a region looks like, and whether this is right."""
    name, names = scene.name(region), scene.model.names
    if name is None or names is None:
        return {"looks": "", "named": None}
    expected = label if label in names.labels else UNKNOWN
    return {"looks": name.label, "named": name.label == expected}


def _find(energy: np.ndarray, box: metrics.Box) -> dict:
    """How well an energy map (H, W) agrees with a box, and the area of the box."""
    x0, y0, x1, y1 = np.clip(box, 0, 1)
    return {
        "pointed": metrics.pointed(energy, box),
        "ciou": metrics.ciou(energy, box),
        "area": float((x1 - x0) * (y1 - y0)),
    }


def _sounds(
    known: KnownDuets, i: int, n: int, stems: np.ndarray, rate: int
) -> Iterator[tuple[str, np.ndarray]]:
    """The sounds that the scene of duet i gets in place of the duet, each with its kind.

    First the stem of instrument n, then sounds that its picture should not claim.
    Shape: (N, L) -> (L,) each
    """
    own = stems[n]
    yield "own", own
    labels = {s.label for s in known[i][1]}
    others = (s for _, ss in known[i + 1 :] + known[:i] for s in ss if s.label not in labels)
    if absent := next(others, None):
        sound = np.resize(read_sound(absent.path, rate=rate), own.shape)
        if not metrics.silent(sound):
            yield "absent", sound * (metrics.rms(own) / metrics.rms(sound))
    noise = np.random.default_rng([i, n]).standard_normal(own.shape)
    yield "noise", noise * metrics.rms(own)
    yield "silence", noise * metrics.SILENT_RMS


def _claim(scene: Scene, sound: np.ndarray, own: np.ndarray) -> np.ndarray:
    """The energy that each cell takes of a sound, as a share of the energy of `own`.

    Shape: (L,), (L,) -> (H, W)
    """
    sound = sound.astype(np.float32)
    return scene.hearing(sound).energy() * (metrics.rms(sound) / metrics.rms(own)) ** 2
