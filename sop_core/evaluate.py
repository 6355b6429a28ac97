"""All of an evaluation: a checkpoint and its baselines on one manifest and on duets, checked, and said with its protocol.

`evaluate` makes what `metrics.json` holds:
    protocol     what must be the same for a number to be comparable
    rows         a row a method, see `tables.table`; of the mixtures of `protocol["sources"]` sources
    per_label, by_labels, confusion    of the same mixtures
    by_sources   the table of each number of sources
    excluded     mixtures in which nothing is defined
    compared     other checkpoints on the same manifest, and how much better each of them is
    duets, localization, claims        where there are duets
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
import torch
from accelerate import Accelerator

from . import __version__, checkpoint, media, tables
from .clips import Clip
from .config import AnyPath
from .csvs import write_table
from .duets import CLAIM, Source, score_duets, with_truth
from .errors import SopError
from .journal import Journal
from .methods import score_pairs
from .nets import SoundOfPixels
from .pairs import pairs_hash, repeats
from .windows import Mixture, Part


def evaluate(
    model: SoundOfPixels,
    folder: AnyPath,
    pairs: list[Mixture],
    duets: list[Clip] = (),
    truth: AnyPath | None = None,
    baselines: Iterable[str] = (),
    others: Iterable[AnyPath] = (),
    allow_leaks: bool = False,
    notes: AnyPath | None = None,
    engine: Accelerator | None = None,
) -> tuple[dict, pd.DataFrame]:
    """What `metrics.json` holds, and the scores behind its rows, as `tables` tells them.

    folder: where the model's weights are; duets and truth: as for `score_duets`, where there are any; others: folders of
    checkpoints to compare with; notes: a folder for what was found so far, with which a killed evaluation goes on (to be removed
    when what is returned is written down); engine: the processes to share the work.
    Raises SopError where a checkpoint was trained on a video that is measured, unless `allow_leaks`; the result says so then.
    """
    config, counts = model.config, {len(pair) for pair in pairs}
    sources = config.sources if config.sources in counts else min(counts)
    known = with_truth(duets, truth) if duets else []
    filmed = [clip for clip, _ in known]
    truths = _hash([(clip.name, [(s.label, s.box) for s in found]) for clip, found in known]) if known else None
    rivals = [(other, checkpoint.load_model(other, str(next(model.parameters()).device))) for other in others]
    told = []
    for place, one in [(folder, model), *rivals]:
        leaked = leaks(place, pairs, filmed)
        if leaked and not allow_leaks:
            _refuse(place, leaked, len(pairs) + len(filmed))
        if (one.config.rate, one.config.samples) != (config.rate, config.samples):
            raise SopError(
                f"{place}: windows of {one.config.seconds:.2f} s at {one.config.rate} Hz, {folder}: {config.seconds:.2f} s at "
                f"{config.rate} Hz; only models of the same windows can be compared on a manifest"
            )
        chose = leaks(place, pairs, filmed, "val")
        told.append(protocol(one, place, pairs, sources, leaked, chose) | {"n_duets": len(known), "duets": truths})
    now = [next(model.parameters()).device.type, _states(pairs, known)]

    def journal(model: SoundOfPixels, told: dict, baselines: Iterable[str] = ()) -> Journal:
        return Journal(notes, _hash([told, model.config.to_json(), sorted(baselines), now]), engine)

    mine = journal(model, told[0], baselines)
    scores = score_pairs(model, pairs, baselines, mine)
    lead = scores[scores.sources == sources]
    results = {"protocol": told[0], "rows": tables.table(lead), "per_label": tables.per_label(lead)}
    results |= {"by_labels": tables.grouped(lead, "labels"), "confusion": tables.confusion(lead)}
    results |= {"by_sources": tables.grouped(scores, "sources"), "excluded": tables.excluded(scores)}
    results["compared"] = []
    for (place, rival), said in zip(rivals, told[1:], strict=True):
        theirs = score_pairs(rival, pairs, (), journal(rival, said))
        theirs = theirs[theirs.sources == sources]
        row = {"folder": str(place), "protocol": said, "rows": tables.table(theirs)}
        results["compared"].append(row | {"difference": tables.difference(lead, theirs)})
    if duets:
        found = score_duets(model, duets, truth, mine)
        results |= {"duets": tables.table(found.scores), "localization": tables.localization(found.placed)}
        results["claims"] = {"threshold": CLAIM, "rows": tables.claims(found.claimed, CLAIM)}
    return results, scores


def _hash(what) -> str:
    """Ten letters that name anything that can be printed."""
    return hashlib.sha256(repr(what).encode(errors="surrogateescape")).hexdigest()[:10]


def _states(pairs: list[Mixture], known: list[tuple[Clip, list[Source]]]) -> list[tuple[str, int, int] | str]:
    """`_state` of every sound that is measured."""
    files = {part.clip.sound for pair in pairs for part in pair} | {clip.sound for clip, _ in known}
    return [_state(path) for path in sorted(files | {s.stem for _, sources in known for s in sources})]


def _state(path: Path) -> tuple[str, int, int] | str:
    """What changes when a file does."""
    try:
        found = path.stat()
    except OSError:  # whoever reads it will say so
        return str(path)
    return str(path), found.st_size, found.st_mtime_ns


def protocol(
    model: SoundOfPixels,
    folder: AnyPath,
    pairs: list[Mixture],
    sources: int,
    leaked: list[tuple[str, str]] | None,
    chose: list[tuple[str, str]] | None,
) -> dict:
    """All that must be said beside a number for another one to be comparable with it; `folder` is the model's.

    The numbers of pairs are those of the mixtures of so many `sources`; `leaked` and `chose`, what `leaks` found of the videos that
    the run trained on and that chose its best epoch, are of all mixtures and duets.
    """
    config = model.config
    told = [pair for pair in pairs if len(pair) == sources]
    rows = None if leaked is None else {where for where, _ in leaked}
    return {
        "profile": config.profile,
        "manifest": pairs_hash(pairs),
        "n_pairs": len(told),
        "n_same_label": sum(len({part.clip.label for part in pair}) < len(pair) for pair in told),
        "n_same_video": sum(map(repeats, told)),
        "sources": sources,
        "seconds": round(config.seconds, 4),
        "mask": config.mask,
        "share": config.share,
        "metric": "BSS Eval v3, 512 taps, no permutation, mean over sources",
        "leaked": None if rows is None else len(rows),
        "epoch_chosen_on": None if chose is None else "these videos" if chose else "others",
        "checkpoint": media.sha256(Path(folder, "model.safetensors"))[:10],
        "versions": {"sop_core": __version__, "torch": torch.__version__.split("+")[0]},
    }


def leaks(
    folder: AnyPath, pairs: list[Mixture], duets: list[Clip] = (), split: str = "train"
) -> list[tuple[str, str]] | None:
    """What is measured (`row 3`, `duet 1`; from 1) whose clip is of a video that the run in `folder` was trained on, and that clip.

    With `split="val"`: of a video that chose its best epoch. None where the folder doesn't say which those were.
    """
    known = checkpoint.read_clips(folder)
    if known is None:
        return None
    learned = {video for _, video in known[split]}
    measured = [(f"row {row}", part) for row, pair in enumerate(pairs, 1) for part in pair]
    measured += [(f"duet {row}", Part(clip, 0)) for row, clip in enumerate(duets, 1)]
    return [(where, part.clip.name) for where, part in measured if part.clip.video in learned]


def _refuse(folder: Path, leaked: list[tuple[str, str]], count: int) -> None:
    rows = ", ".join(f"{where} ({name})" for where, name in leaked[:5]) + (" ..." if len(leaked) > 5 else "")
    raise SopError(
        f"{len({row for row, _ in leaked})} of {count} mixtures hold videos that {folder} was trained on: {rows}; evaluate others, "
        "or go on with --allow-leaks, which the result will say"
    )


def write_metrics(path: AnyPath, results: dict) -> None:
    """`metrics.json`, whole or not at all."""
    with media.whole(path) as tmp:
        tmp.write_text(json.dumps(results, indent=1))


def write_scores(path: AnyPath, scores: pd.DataFrame) -> None:
    """The scores of every pair, source and method as csv, whole or not at all."""
    with media.whole(path) as tmp:
        write_table(tmp, scores.round(4))
