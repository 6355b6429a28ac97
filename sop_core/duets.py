"""Duets: a mixture that was filmed as one, with its stems and boxes known -> separation by boxes, localization, false claims.

Truth is `<id>.json` (`frame_size`, and `sources` with `label`, `box_xyxy` in pixels and `stem`, a file beside it) for each clip.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from . import media, metrics
from .clusters import SILENT
from .config import AnyPath
from .errors import SopError
from .index import Clip
from .journal import Journal
from .methods import oracles, score
from .mixing import same_rate
from .nets import SoundOfPixels
from .regions import Cell
from .scene import Scene

# The share of an instrument's energy that a pixel has to claim to say "here": the same for all pictures and sounds.
CLAIM = 0.5


@dataclass(frozen=True)
class Source:
    """One instrument of a duet."""

    label: str
    box: metrics.Box
    stem: Path


def read_truth(folder: AnyPath, id: str) -> list[Source] | None:
    """The sources of clip `id` by `folder/<id>.json`; None where there is no such file, or it is a solo's.

    Raises SopError where it is broken.
    """
    folder = Path(folder)
    path = folder / f"{id}.json"
    if not path.is_file():
        return None
    try:
        truth = json.loads(path.read_text())
        if len(truth["sources"]) == 1:
            return None
        (w, h), found = map(float, truth["frame_size"]), []
        for s in truth["sources"]:
            x0, y0, x1, y1 = map(float, s["box_xyxy"])
            if not (x0 < x1 and y0 < y1 and x1 > 0 and y1 > 0 and 0 < w > x0 and 0 < h > y0):
                raise ValueError(f"a box {s['box_xyxy']} in a picture of {w:g} x {h:g}")
            # Only the stem's name counts: a file may not lead out of its folder.
            found.append(Source(str(s["label"]), (x0 / w, y0 / h, x1 / w, y1 / h), folder / Path(s["stem"]).name))
        if len(found) < 2:
            raise ValueError(f"{len(found)} source(s)")
        return found
    except (ValueError, KeyError, TypeError) as e:
        raise SopError(
            f"{path}: expected frame_size and two sources or more with label, box_xyxy within the picture, and stem ({e!r})"
        ) from None


def heard(model: SoundOfPixels, clip: Clip, truth: AnyPath) -> tuple[Scene, dict[str, tuple[np.ndarray, metrics.Box]]]:
    """A duet as a scene, and each instrument's own sound and box, by its label (and number, where two share one)."""
    scene, sources = Scene.from_clip(model, clip), read_truth(truth, clip.id)
    alike = len({s.label for s in sources}) < len(sources)
    names = [f"{s.label} {n}" if alike else s.label for n, s in enumerate(sources, 1)]
    return scene, {
        name: (media.read_sound(s.stem, rate=scene.rate), s.box) for name, s in zip(names, sources, strict=True)
    }


def with_truth(clips: list[Clip], truth: AnyPath) -> list[tuple[Clip, list[Source]]]:
    """The clips of which there is truth, with it."""
    return [(clip, sources) for clip in clips if (sources := read_truth(truth, clip.id))]


@dataclass(frozen=True)
class Duets:
    """What `score_duets` found."""

    # As `score_pairs` gives them: `exchanged` takes the other's box; `tracks` deals out what several boxes claim,
    # `whole` everything: both as in `Scene.tracks` (there `partition`).
    scores: pd.DataFrame
    # One row an instrument that sounds: clip, label, own and other (correlations of its box's sound with its stem and with the
    # nearest other one), right, chance (of that), sdr (dB, of that sound), pointed and ciou (of its own sound's map), area
    # (of its box); cells (that lie in its box and in no other), sounding (those of them that have a sound of their own in the
    # duet) and cells_right (those of these that sound more like its stem than like any other).
    placed: pd.DataFrame
    # One row an instrument and a sound that its picture was given instead of the duet: clip, label, sound, peak, mean.
    claimed: pd.DataFrame


def score_duets(model: SoundOfPixels, clips: list[Clip], truth: AnyPath, journal: Journal | None = None) -> Duets:
    """Duets against their stems and boxes; shows a progress bar.

    Each instrument's sound is what its box sounds like. Where a sound comes from is asked with each instrument's own stem beside
    the duet's picture; and what the picture claims of sounds that are not its own, as loud as that stem: noise, and an instrument
    that isn't there (of the next duet that has one); and of silence, noise at -80 dB: on this scale even a picture that takes all
    of it claims next to nothing. Raises SopError where no clip has truth, or a clip's sound is at another rate.
    """
    known = with_truth(clips, truth)
    for clip, _ in known:
        same_rate(clip.name, media.sound_length(clip.sound)[1], model.config)
    if not known:
        raise SopError(f"{truth}: no <id>.json there for any of the {len(clips)} clips, e.g. {clips[0].id}.json")

    def measure(i: int) -> dict:
        clip, sources = known[i]
        scene = Scene.from_clip(model, clip)
        stems = [media.read_sound(s.stem, rate=scene.rate) for s in sources]
        length = min(len(scene.mixture), *map(len, stems))
        stems = np.stack([s[:length] for s in stems])
        regions = [scene.cells_in(s.box) for s in sources]
        found = scene.sounds(regions)[:, :length]
        dealt = {"tracks": scene.tracks(regions)}
        if model.config.has_odds:
            dealt["whole"] = scene.tracks(regions, partition=True)
        sounds, estimate = (torch.from_numpy(x).to(scene.device) for x in (stems, found))
        mixture = torch.from_numpy(scene.mixture[:length]).to(sounds)
        methods = {
            "model": estimate,
            "exchanged": estimate.roll(1, 0),
            **{k: torch.from_numpy(v[:-1, :length]).to(sounds) for k, v in dealt.items()},
            "mixture": mixture.expand_as(sounds),
        }
        rows = score(i, [(clip.name, clip.video, s.label) for s in sources], sounds, methods | oracles(model, sounds))
        placed, claimed = [], []
        for n in np.flatnonzero(~metrics.silent(stems)):
            who = {"clip": clip.name, "label": sources[n].label}
            maps = {name: _claim(scene, sound, stems[n]) for name, sound in _sounds(known, i, n, stems, scene.rate)}
            claimed += [who | {"sound": k, "peak": float(m.max()), "mean": float(m.mean())} for k, m in maps.items()]
            alone = [cell for cell in regions[n] if sum(cell in region for region in regions) == 1]
            placed.append(
                who
                | _place(n, found[n], stems)
                | _find(maps["own"], sources[n].box)
                | _ask(scene, n, alone, stems)
                | {"sdr": rows[n]["sdr"]}
            )
        return {"scores": rows, "placed": placed, "claimed": claimed}

    found = (journal or Journal()).each("duets", len(known), measure, "clip")
    if not any(f["placed"] for f in found):
        raise SopError(f"{truth}: not one of the stems of the {len(known)} duets is to be heard")
    return Duets(*(pd.DataFrame([row for f in found for row in f[k]]) for k in ("scores", "placed", "claimed")))


def _place(n: int, found: np.ndarray, stems: np.ndarray) -> dict:
    """Whether what was taken from instrument n's box is its stem. Shape: (L,), (N, L)"""
    to = [metrics.correlation(found, stem) for stem in stems]
    other = max(c for m, c in enumerate(to) if m != n)
    return {"own": to[n], "other": other, "right": bool(to[n] > other), "chance": 1 / len(to)}


def _ask(scene: Scene, n: int, cells: list[Cell], stems: np.ndarray) -> dict:
    """How many of instrument n's cells sound, each by itself, and how many of these are nearest to its stem. Shape: (N, L)"""
    energy = scene.energy()
    loud = [cell for cell in cells if energy[cell] >= SILENT]
    sounds = scene.sounds([[cell] for cell in loud])[:, : stems.shape[1]] if loud else []
    return {
        "cells": len(cells),
        "sounding": len(loud),
        "cells_right": sum(_place(n, sound, stems)["right"] for sound in sounds),
    }


def _find(energy: np.ndarray, box: metrics.Box) -> dict:
    """Whether a map finds a box."""
    x0, y0, x1, y1 = np.clip(box, 0, 1)
    return {
        "pointed": metrics.pointed(energy, box),
        "ciou": metrics.ciou(energy, box),
        "area": float((x1 - x0) * (y1 - y0)),
    }


def _sounds(known: list, i: int, n: int, stems: np.ndarray, rate: int) -> Iterator[tuple[str, np.ndarray]]:
    """What duet i's picture is given instead of the duet: instrument n's own sound, and what it should claim nothing of."""
    own, rng = stems[n], np.random.default_rng([i, n])
    yield "own", own
    labels = {s.label for s in known[i][1]}
    away = (s for _, sources in known[i + 1 :] + known[:i] for s in sources if s.label not in labels)
    if absent := next(away, None):
        sound = np.resize(media.read_sound(absent.stem, rate=rate), own.shape)
        if not metrics.silent(sound):
            yield "absent", sound * (metrics.rms(own) / metrics.rms(sound))
    noise = rng.standard_normal(own.shape)
    yield "noise", noise * metrics.rms(own)
    yield "silence", noise * metrics.SILENCE


def _claim(scene: Scene, sound: np.ndarray, own: np.ndarray) -> np.ndarray:
    """The energy that each cell claims of a sound beside a scene's picture, in shares of `own`'s. Shape: (L,), (L,) -> (H, W)"""
    sound = np.float32(sound)
    return scene.hearing(sound).energy() * (metrics.rms(sound) / metrics.rms(own)) ** 2
