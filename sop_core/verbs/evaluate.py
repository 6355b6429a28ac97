"""`sop evaluate`: how well a model separates and localizes, beside baselines and upper bounds."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from ..config import BASELINES
from ..errors import SopError
from .options import Device, Folder, Whole


def evaluate(
    ckpt: Annotated[list[Path], Parameter(name="CKPT_DIR...")],
    /,
    *,
    index: Annotated[Path, Parameter(metavar="test.csv")],
    pairs: Annotated[Path | None, Parameter(metavar="manifest.csv")] = None,
    leave_out: bool = False,
    n_pairs: Whole | None = None,
    sources: Annotated[tuple[Whole, ...], Parameter(metavar="N...")] = (),
    labels: Literal["any", "different"] | None = None,
    equal_level: bool = False,
    duets: Annotated[Path | None, Parameter(metavar="test.csv")] = None,
    truth: Folder | None = None,
    baselines: Annotated[tuple[str, ...], Parameter(choices=BASELINES)] = (),
    allow_leaks: bool = False,
    out: Annotated[Path | None, Parameter(metavar="metrics.json")] = None,
    report: Folder | None = None,
    device: Device = None,
) -> None:
    """SDR, SIR, SAR of a checkpoint, of the mixture itself, and of ideal masks.

    Args:
        ckpt: The run's folder. More folders: other runs to compare it with.
        index: Clips to mix. The model was trained on none of them.
        pairs: The mixtures: rows of clip,start,clip,start,... Default: drawn by seed.
        leave_out: Measure without the rows of --pairs whose clips aren't in the index.
        n_pairs: How many mixtures to draw. Default: val_pairs of the config.
        sources: Draw mixtures of so many clips, for each N. Default: sources of the config.
        labels: Draw mixtures of any labels, or only of different ones. Default: any.
        equal_level: Make the sources of each mixture equally loud.
        duets: Duets to separate by their boxes. Needs --truth.
        truth: Folder of <id>.json with boxes and stems of the duets.
        baselines: Also measure these.
        allow_leaks: Also measure mixtures of videos that were trained on.
        out: Default: metrics.json in the run's folder.
        report: Write an HTML report there.
    """
    # Options that contradict each other, before any work
    if (duets is None) != (truth is None):
        raise SopError("--duets and --truth go together: an index, and its boxes and stems")
    for name, value in {"--sources": sources, "--n-pairs": n_pairs, "--labels": labels}.items():
        if pairs and value:
            raise SopError(f"{name} with --pairs: {pairs} has the mixtures; leave one of them out")
    if leave_out and not pairs:
        raise SopError("--leave-out is for the rows of --pairs: give them, or leave it out")
    if sources and (min(sources) < 2 or len(set(sources)) < len(sources)):
        counts = " ".join(map(str, sources))
        raise SopError(f"--sources {counts}: expected different numbers of clips, each from 2")
    if n_pairs is not None and n_pairs < 1:
        raise SopError(f"--n-pairs {n_pairs}: expected at least 1")
    if out and out.is_dir():
        raise SopError(f"--out {out}: a folder; expected the name of a file, such as metrics.json")

    from ..__main__ import is_main
    from ..data.clips import read_index, solos
    from ..evaluation import evaluate as ev
    from ..evaluation import report as html
    from ..evaluation import tables
    from ..training import engine
    from ..training.checkpoint import load_model, read_history
    from ..training.pairs import draw_pairs, read_pairs, write_pairs
    from ..untrusted import lines, printable

    # The model, and the clips
    processes = engine.processes(device)
    folder, *others = ckpt
    clips = read_index(index)
    model = load_model(folder, str(processes.device) if processes else device)
    config = model.config
    out = out or folder / "metrics.json"
    duet_clips = read_index(duets) if duets else []

    # The mixtures: those of a manifest, or drawn by seed
    left_out: list[str] | None = [] if leave_out else None
    if pairs:
        mixtures = read_pairs(pairs, clips, config, left_out)
    else:
        alone = solos(clips)
        n = len(alone)
        if is_main() and (left := len(clips) - n):
            print(f"mixtures are drawn from {n} solos; {left} duet(s) of the index are left out")
        mixtures = []
        count = n_pairs or config.val_pairs
        for each in sources or [config.sources]:
            mixtures += draw_pairs(alone, count, replace(config, sources=each), labels or "any")

    # Measure, and write; `notes` keep what is done, if the work is stopped
    notes = out.with_name(f"{out.stem}.part")
    measured = (mixtures, duet_clips, truth, baselines, others)
    how = (allow_leaks, notes, processes, equal_level)
    results, scores = ev.evaluate(model, folder, *measured, *how)
    if not is_main():
        return
    if left_out:
        results["protocol"]["left_out"] = len(left_out)
    ev.write_scores(out.with_name(f"{out.stem}.scores.csv"), scores)
    write_pairs(out.with_name(f"{out.stem}.pairs.csv"), mixtures)
    ev.write_metrics(out, results)
    print(lines(tables.text_results(results)))
    print(f"\nnumbers: {printable(out)}")
    if report:
        history = read_history(folder) if (folder / "history.csv").exists() else []
        shown = html.of_evaluation(model, mixtures, duet_clips, truth, results, scores)
        path = html.write(report, model, history=history, results=results, **shown)
        print(f"look and listen: {printable(path)}")
    shutil.rmtree(notes, ignore_errors=True)
