"""A whole evaluation: a checkpoint and its baselines, on a manifest of mixtures and on duets.

`evaluate` returns the content of `metrics.json`:
    protocol     must be the same for two numbers to be comparable
    rows         a row a method, see `tables.table`; of mixtures of `protocol["sources"]` sources
    per_label, by_labels, confusion    of the same mixtures
    by_sources   the table of each number of sources
    excluded     mixtures in which a source is silent, so that no score is defined
    compared     other checkpoints on the same manifest, and how much better each of them is
    duets, localization, claims        if there are duets
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd
import torch
from accelerate import Accelerator

from .. import __version__
from ..config import AnyPath
from ..data.clips import Clip
from ..data.copies import data_of, read_copies
from ..errors import SopError
from ..listening.regions import neighbours
from ..media.atomic import atomic_path, sha256
from ..media.csvs import write_table
from ..model.model import SoundOfPixels
from ..training import checkpoint
from ..training.pairs import pairs_hash, repeats
from ..training.windows import Mixture, same_fps
from . import tables
from .duets import CLAIM, check_duets, score_duets, with_truth
from .journal import Journal
from .methods import score_pairs

Leaks = list[tuple[str, str]]  # the place (`row 3`, `duet 1`, from 1) and the clip's name


def evaluate(
    model: SoundOfPixels,
    folder: AnyPath,
    pairs: list[Mixture],
    duets: Sequence[Clip] = (),
    truth: AnyPath | None = None,
    baselines: Iterable[str] = (),
    others: Iterable[AnyPath] = (),
    allow_leaks: bool = False,
    notes: AnyPath | None = None,
    engine: Accelerator | None = None,
    equal_level: bool = False,
) -> tuple[dict, pd.DataFrame]:
    """Measure a model, and check that the numbers can be compared with others.

    Args:
        folder: where the model's weights are.
        pairs: the mixtures of the manifest.
        duets, truth: as for `score_duets`, if there are any.
        baselines: as for `score_pairs`.
        others: folders of checkpoints to compare with.
        allow_leaks: go on if a checkpoint was trained on a video that is measured, or on a photo or
            a recording that it is composed of.
        notes: a folder for intermediate results. A killed evaluation continues from it. Remove it
            when the results are written.
        engine: the processes that divide the work.
        equal_level: as for `score_pairs`.

    Returns the content of `metrics.json`, and the scores behind its rows (see `tables`).
    Raises SopError if a checkpoint was trained on what is measured (unless `allow_leaks`; then the
    results say so), if two models have different windows or frame rates, and, before anything is
    measured, if the duets have no truth or no stems.
    """
    config = model.config
    device = next(model.parameters()).device
    counts = {len(pair) for pair in pairs}
    sources = config.sources if config.sources in counts else min(counts)
    known = with_truth(duets, truth)
    films = [clip for clip, _ in known]
    boxes = [(clip.name, [(s.label, s.box) for s in stems]) for clip, stems in known]
    n_duets = {"n_duets": len(known), "duets": _hash(boxes) if known else None}
    n_duets |= {"neighbours": neighbours(config)} if known else {}  # how single cells are heard

    # The checks, and the protocol of each model.
    rivals = [(other, checkpoint.load_model(other, str(device))) for other in others]
    protocols = []
    for place, one in [(folder, model), *rivals]:
        leaked, chose = (leaks(place, pairs, films, split) for split in ("train", "val"))
        if leaked and not allow_leaks:
            _refuse(place, leaked, len(pairs) + len(known))
        if (one.config.rate, one.config.samples) != (config.rate, config.samples):
            raise SopError(
                f"{place}: windows of {one.config.seconds:.2f} s at {one.config.rate} Hz, "
                f"{folder}: {config.seconds:.2f} s at {config.rate} Hz; only models of the same "
                "windows can be compared on a manifest"
            )
        same_fps((part.clip for pair in pairs for part in pair), one.config)
        about = {"equal_level": equal_level}
        protocols.append(protocol(one, place, pairs, sources, leaked, chose) | about)

    if duets:
        check_duets(duets, truth, config)

    # Notes count only if the protocol, the model, the files and the device are the same.
    states = _states({part.clip for pair in pairs for part in pair})

    def journal(model: SoundOfPixels, protocol: dict, *more: object) -> Journal:
        key = _hash([protocol, model.config.to_json(), device.type, states, *more])
        return Journal(notes, key, engine)

    # The model, then the others on the same mixtures, then the duets.
    mine = journal(model, protocols[0], sorted(baselines))
    scores = score_pairs(model, pairs, baselines, mine, equal_level)
    results = {"protocol": protocols[0] | n_duets} | _summary(scores, sources) | {"compared": []}
    for (place, rival), theirs in zip(rivals, protocols[1:], strict=True):
        other = score_pairs(rival, pairs, (), journal(rival, theirs), equal_level)
        compared = {"folder": str(place), "protocol": theirs | n_duets}
        compared |= _versus(scores, other, sources)
        results["compared"].append(compared)
    if duets:
        stems = [s.path for _, stems in known for s in stems]
        named = model.names and (model.names.labels, model.names.means.tolist())
        about = (n_duets, _states(set(films), stems), named)
        scored = score_duets(model, duets, truth, journal(model, protocols[0], *about))
        results["duets"] = tables.table(scored.scores)
        results["localization"] = tables.localization(scored.placed)
        results["claims"] = {"threshold": CLAIM, "rows": tables.claims(scored.claimed, CLAIM)}
    return results, scores


def _summary(scores: pd.DataFrame, sources: int) -> dict:
    """The tables of one model's scores. The main ones are of mixtures of so many sources."""
    lead = scores.loc[scores.sources == sources]
    return {
        "rows": tables.table(lead),
        "per_label": tables.per_label(lead),
        "by_labels": tables.grouped(lead, "labels"),
        "confusion": tables.confusion(lead),
        "by_sources": tables.grouped(scores, "sources"),
        "excluded": tables.excluded(scores),
    }


def _versus(scores: pd.DataFrame, others: pd.DataFrame, sources: int) -> dict:
    """The scores of another model, and how much better it is, on mixtures of so many sources."""
    lead, other = (s.loc[s.sources == sources] for s in (scores, others))
    return {"rows": tables.table(other), "difference": tables.difference(lead, other)}


def _hash(what: object) -> str:
    """The hash of anything that can be printed, in ten letters."""
    return hashlib.sha256(repr(what).encode(errors="surrogateescape")).hexdigest()[:10]


def _states(clips: set[Clip], stems: Iterable[Path] = ()) -> list[tuple[str, int, int]]:
    """Path, size and time of each sound and each folder of frames: they change if a file does."""
    files = {path for clip in clips for path in (clip.sound, clip.frames)}.union(stems)
    stats = [(str(path), path.stat()) for path in sorted(files) if path.exists()]
    return [(path, stat.st_size, stat.st_mtime_ns) for path, stat in stats]


def protocol(
    model: SoundOfPixels,
    folder: AnyPath,
    pairs: list[Mixture],
    sources: int,
    leaked: Leaks | None,
    chose: Leaks | None,
) -> dict:
    """The conditions of a measurement. Two numbers can be compared only if they are the same.

    Args:
        folder: of the model.
        sources: mixtures of so many sources are counted.
        leaked, chose: the `leaks` of the splits `train` and `val`, which chose the best epoch.
    """
    config = model.config
    mixtures = [pair for pair in pairs if len(pair) == sources]
    return {
        "profile": config.profile,
        "manifest": pairs_hash(pairs),
        "n_pairs": len(mixtures),
        "n_same_label": sum(len({p.clip.label for p in pair}) < len(pair) for pair in mixtures),
        "n_same_video": sum(map(repeats, mixtures)),
        "sources": sources,
        "rate": config.rate,
        "seconds": round(config.seconds, 4),
        "mask": config.mask,
        "share": config.share,
        "metric": "BSS Eval v3, 512 taps, no permutation, mean over sources",
        "leaked": None if leaked is None else len({where for where, _ in leaked}),
        "epoch_chosen_on": None if chose is None else "these videos" if chose else "others",
        "checkpoint": sha256(Path(folder, "model.safetensors"))[:10],
        "versions": {"sop_core": __version__, "torch": torch.__version__.split("+")[0]},
    }


def leaks(
    folder: AnyPath, pairs: list[Mixture], duets: Sequence[Clip] = (), split: str = "train"
) -> Leaks | None:
    """The mixtures and duets with a video, photo or recording of a split of the run in `folder`.

    A copy of a video, by `copies.csv` of the data, is that video.

    Returns None if the folder doesn't say which videos the split had, or, where none of these was
    among them, if it doesn't say all.
    """
    learned = (checkpoint.read_learned(folder) or {}).get(split)
    if learned is None:
        return None
    videos = {clip.video for clip in learned}
    filmed = {clip.video for clip in learned if not clip.photos}
    material = {digest for clip in learned for digest in clip.photos + clip.recordings}
    measured = [(f"row {n}", part.clip) for n, pair in enumerate(pairs, 1) for part in pair]
    measured += [(f"duet {n}", clip) for n, clip in enumerate(duets, 1)]
    notes = {data: read_copies(data) for data in {data_of(c.sound_path) for _, c in measured}}
    names = [clip.name for clip in learned if not clip.photos]
    groups = {data: {*map(copies.of, names)} for data, copies in notes.items()}

    def known(clip: Clip) -> bool:
        # The id of a composed clip is a number in its set: its content says whether it is known.
        same = clip.video in (filmed if clip.photos else videos)
        data = data_of(clip.sound_path)
        copied = notes[data].of(clip.name) in groups[data]
        return same or copied or not material.isdisjoint(clip.photos + clip.recordings)

    found = [(where, clip.name) for where, clip in measured if known(clip)]
    return found if found or checkpoint.knows_all(folder) else None


def _refuse(folder: AnyPath, leaked: Leaks, count: int) -> None:
    """Raise the error of leaks in `count` mixtures and duets."""
    rows = ", ".join(f"{where} ({name})" for where, name in leaked[:5])
    more = " ..." if len(leaked) > 5 else ""
    raise SopError(
        f"{len({where for where, _ in leaked})} of {count} mixtures hold videos that {folder} was "
        f"trained on: {rows}{more}; evaluate others, or go on with --allow-leaks, which the result "
        "will say"
    )


def write_metrics(path: AnyPath, results: dict) -> None:
    """Write `metrics.json` atomically."""
    with atomic_path(path) as part:
        part.write_text(json.dumps(results, indent=1))


def write_scores(path: AnyPath, scores: pd.DataFrame) -> None:
    """Write the scores of each pair, source and method as csv, atomically."""
    with atomic_path(path) as part:
        write_table(part, scores.round(4))
