"""The command line: `python -m sop_core VERB`, thin over the functions that the notebooks call.

Exit 0: the work is done. Exit 2: something the user can mend, in one line on stderr. Exit 130, 143: stopped by Ctrl-C, by SIGTERM.
"""

import argparse
import os
import re
import shutil
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from . import __version__
from .config import BASELINES, CKPT, DEMO, MUSIC, PRESETS, RATIO, ROOT
from .errors import SopError, Terminated, mend
from .untrusted import lines, printable, write_table


def main(arguments: list[str] | None = None) -> int:
    """Run one verb; the exit code."""
    args = _parser().parse_args(arguments)
    warnings.showwarning = lambda message, *_: _note(f"note: {message}")
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a terminal may not have the letters of a name
    try:
        with _terminable():
            args.run(args)
    except SopError as e:
        if _is_main():
            _note(f"sop {args.verb}: {e}")
        return 2
    except KeyboardInterrupt as e:
        _note(f"sop {args.verb}: stopped; what was finished is kept")
        return 143 if isinstance(e, Terminated) else 130
    except BrokenPipeError:  # `sop ... | head`
        return 0
    except (OSError, MemoryError) as e:
        if not (hint := mend(e)):
            raise
        where, what = getattr(e, "filename", None) or "a file", getattr(e, "strerror", None)
        _note(f"sop {args.verb}: {f'{where}: {what.lower()}' if what else 'out of memory'}; {hint}")
        return 2
    return 0


def _note(text: str) -> None:
    """One line on stderr."""
    print(printable(" ".join(text.split())), file=sys.stderr)


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM ends what is done as Ctrl-C does, so that nothing half stays. A second one ends it at once."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's
        return

    def stop(*_) -> None:
        signal.signal(signal.SIGTERM, before)
        raise Terminated

    before = signal.signal(signal.SIGTERM, stop) or signal.SIG_DFL
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sop", description="The Sound of Pixels, from videos to a pixel that can be heard."
    )
    parser.add_argument("--version", action="version", version=__version__)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    def verb(name: str, run, help: str) -> argparse.ArgumentParser:
        p = verbs.add_parser(name, help=help, description=help, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
        p.set_defaults(run=run)
        return p

    p = verb("demo", demo, "the whole road on the toy orchestra: render, preprocess, index, train, evaluate")
    p.add_argument("--out", type=Path, default=ROOT, help="folder that gets data/demo and ckpt/demo")
    p.add_argument("--seed", type=int, default=0, help="another seed, another orchestra and another training")
    p.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="as for train; epochs=1 cuts it short")

    p = verb("collect", collect, "lists of videos -> VIDEOS/<label>/<id>.mp4, by yt-dlp; photos -> silent scenes")
    p.add_argument("kind", choices=("music", "vggsound", "silence"), help="what the lists are, or photos")
    p.add_argument(
        "lists", type=Path, nargs="+", metavar="LIST", help="MUSIC's json files, VGGSound's csv, or a folder of photos"
    )
    p.add_argument("--out", type=Path, required=True, metavar="VIDEOS", help="also gets collect_report.csv")
    p.add_argument("--jobs", type=int, default=4, help="videos at a time")
    p.add_argument("--retries", type=int, default=5, help="of one request, with twice the pause each time")
    p.add_argument("--rate-limit", type=_bytes, default=None, metavar="500K", help="bytes a second, each video")
    p.add_argument(
        "--cookies", type=Path, default=None, metavar="cookies.txt", help="a browser's, where a site asks for them"
    )
    p.add_argument("--again", action="store_true", help="ask again for what was gone the last time")
    p.add_argument("--address", default=None, metavar="URL", help="a mirror, with {id} in it (None: YouTube)")
    p.add_argument("--seconds", type=float, default=24.0, help="length of a silent scene")

    p = verb("preprocess", preprocess, "videos VIDEOS/<label>/<id>.mp4 -> DATA/frames and DATA/audio")
    p.add_argument("videos", type=Path, metavar="VIDEOS")
    p.add_argument("--out", type=Path, required=True, metavar="DATA")
    p.add_argument("--fps", type=float, default=8.0, help="frames a second")
    p.add_argument("--rate", type=int, default=11_025, help="samples a second")
    p.add_argument("--audio-format", choices=("mp3", "flac", "wav"), default="mp3", help="flac and wav lose nothing")
    p.add_argument("--start", type=float, default=0.0, metavar="SECONDS", help="leave out so much of each video before")
    p.add_argument(
        "--duration", type=float, default=None, metavar="SECONDS", help="take so much of it (None: to its end)"
    )
    p.add_argument("--short-side", type=int, default=256, metavar="PIXELS", help="of a frame, at most (0: as it is)")
    p.add_argument("--jobs", type=int, default=None, help="processes (None: one a core)")
    p.add_argument("--cluster", default=None, metavar="dask://HOST:PORT", help="let a Dask cluster's workers do it")

    p = verb("index", index, "DATA -> train.csv, val.csv, test.csv, all.csv; or check DATA, or an index.csv")
    p.add_argument("data", type=Path, metavar="DATA")
    p.add_argument("name", nargs="?", default="", metavar="NAME", help="a name for this index: it goes to DATA/NAME")
    p.add_argument("--min-frames", type=int, default=0, help="leave out clips with fewer frames")
    p.add_argument(
        "--val-ratio",
        type=float,
        default=RATIO,
        help="share of each label's videos that validate: they choose the best epoch",
    )
    p.add_argument(
        "--test-ratio", type=float, help=f"share that test ({RATIO}; with --splits the list says); duets test always"
    )
    p.add_argument("--seed", type=int, default=0, help="of the split")
    p.add_argument("--duets", choices=("test", "train", "drop"), default="test", help="where duets go")
    p.add_argument(
        "--splits", type=Path, default=None, metavar="vggsound.csv", help="the data set's own test and train"
    )
    p.add_argument(
        "--sections",
        action="store_true",
        help="ids are <YouTube id>_<start>, as VGGSound's: such clips are of one video",
    )
    p.add_argument("--check", action="store_true", help="change nothing; read all, and list what is missing or bad")
    p.add_argument("--fps", type=float, default=None, help="frames a second, where preprocess didn't note it (--check)")
    p.add_argument(
        "--window", type=float, default=MUSIC.seconds, metavar="SECONDS", help="that a clip has to fill (--check)"
    )
    p.add_argument("--out", type=Path, default=None, metavar="DIR", help="where the csv files go (None: DATA/NAME)")

    p = verb("train", train, "learn to separate, from an index of solo clips")
    p.add_argument("--preset", choices=PRESETS, required=True, help="sizes and schedule to start from")
    p.add_argument("--train", type=Path, required=True, metavar="train.csv")
    p.add_argument("--val", type=Path, required=True, metavar="val.csv", help="chooses the best epoch")
    p.add_argument("--id", required=True, metavar="MODEL_ID", help="name of the run's folder")
    p.add_argument("--ckpt", type=Path, default=CKPT, metavar="DIR", help="where the runs' folders are")
    p.add_argument("--resume", action="store_true", help="go on where the last state was saved")
    p.add_argument("--tensorboard", action="store_true", help="write curves for TensorBoard into the run's folder too")
    p.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="change settings: epochs=3 batch=8 ...")
    p.add_argument("--device", default=None, help="cpu, cuda, cuda:1 (None: a GPU where there is one)")

    p = verb("evaluate", evaluate, "SDR, SIR, SAR of a checkpoint, of doing nothing, and of ideal masks")
    p.add_argument("ckpt", type=Path, nargs="+", metavar="CKPT_DIR", help="and others to compare it with, if any")
    p.add_argument("--index", type=Path, required=True, metavar="test.csv", help="clips to mix: none of the training's")
    p.add_argument(
        "--pairs",
        type=Path,
        metavar="manifest.csv",
        help="the mixtures to measure: clip,start,clip,start,... or a published list (None: drawn by seed)",
    )
    p.add_argument("--n-pairs", type=int, default=None, help="how many to draw (None: the config's val_pairs)")
    p.add_argument(
        "--sources", type=int, nargs="+", default=None, metavar="N", help="draw as many of each N (None: the config's)"
    )
    p.add_argument(
        "--labels", choices=("any", "different"), default=None, help="draw mixtures of any (None), or different, labels"
    )
    p.add_argument(
        "--duets", type=Path, metavar="test.csv", help="filmed duets to separate by their boxes, with --truth"
    )
    p.add_argument("--truth", type=Path, metavar="DIR", help="<id>.json with boxes and stems of the duets")
    p.add_argument("--baselines", nargs="+", choices=BASELINES, default=[], help="to measure as well")
    p.add_argument("--allow-leaks", action="store_true", help="measure mixtures of videos that were trained on, too")
    p.add_argument("--out", type=Path, default=None, metavar="metrics.json", help="(None: in CKPT_DIR)")
    p.add_argument("--report", type=Path, default=None, metavar="DIR", help="write an HTML report there")
    p.add_argument("--device", default=None, help="cpu, cuda, cuda:1 (None: a GPU where there is one)")

    p = verb("separate", separate, "the sound of a pixel, of a box of pixels, or all instruments, of any video")
    p.add_argument("ckpt", type=Path, metavar="CKPT_DIR")
    p.add_argument("video", type=Path, metavar="VIDEO", help="of any length, whatever FFmpeg reads")
    where = p.add_mutually_exclusive_group(required=True)
    where.add_argument("--pixel", type=_numbers(2), metavar="ROW,COL", help="a cell of the grid, 0,0 at the top left")
    where.add_argument("--box", type=_numbers(4), metavar="X0,Y0,X1,Y1", help="a box in pixels of the video")
    where.add_argument(
        "--all-sources",
        type=_count,
        metavar="N",
        help="the N instruments that are found, and the rest (auto: as many as differ)",
    )
    p.add_argument("--out", type=Path, required=True, metavar="OUT.wav|OUT.mp4|DIR", help="a folder for --all-sources")
    p.add_argument(
        "--rate", choices=("model", "source"), default="model", help="of a wav: the model's, or the video's own"
    )
    p.add_argument("--full-band", action="store_true", help="go on above the model's band, at the video's own rate")
    p.add_argument(
        "--whole", action="store_true", help="with --all-sources: nothing else sounds, deal everything out among them"
    )
    p.add_argument(
        "--cache", action="store_true", help="keep what the nets say beside the video: the next time is quicker"
    )
    p.add_argument("--device", default=None, help="cpu, cuda, cuda:1 (None: a GPU where there is one)")

    p = verb("weights", weights, "the authors' released model, as a checkpoint that evaluate and separate take")
    p.add_argument(
        "--url",
        default=None,
        metavar="URL",
        help="address or folder of its three files (None: the authors')",
    )
    p.add_argument("--out", type=Path, required=True, metavar="CKPT_DIR")
    return parser


def _is_main() -> bool:
    """Of the processes that were launched together, the first one speaks and writes."""
    return os.environ.get("RANK", "0") == "0"


def _numbers(count: int):
    """An argparse type: `count` whole numbers with commas between."""

    def parse(text: str) -> tuple[int, ...]:
        try:
            values = tuple(int(x) for x in text.split(","))
        except ValueError:
            values = ()
        if len(values) != count:
            raise argparse.ArgumentTypeError(f"{text!r}: expected {count} whole numbers with commas between")
        return values

    return parse


def _count(text: str) -> int:
    """An argparse type: a number from 1, or `auto`, which is 0."""
    if text != "auto" and not (text.isdecimal() and int(text)):
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number from 1, or auto")
    return 0 if text == "auto" else int(text)


def _bytes(text: str) -> int:
    """An argparse type: 500K, 2M, 1000."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([KMG]?)", text, re.IGNORECASE)
    if not match or not float(match[1]):
        raise argparse.ArgumentTypeError(f"{text!r}: expected bytes a second, as 500K or 2M")
    return int(float(match[1]) * 1024 ** " KMG".index(match[2].upper() or " "))


# --- the verbs: torch is imported only where it is needed, so that the others start at once --------------------------


def demo(args) -> None:
    from . import orchestra

    data, run = args.out / "data" / "demo", args.out / "ckpt" / "demo"
    videos = orchestra.render(data, seed=args.seed)

    def step(*words) -> None:  # as the user would type it, so that each step can be repeated alone
        print(f"\n$ sop {printable(' '.join(map(str, words)))}", flush=True)
        args = _parser().parse_args([str(w) for w in words])
        args.run(args)

    step("preprocess", videos, "--out", data, "--audio-format", DEMO.audio_format)
    step("index", data, "--seed", args.seed)
    csv = {name: data / f"{name}.csv" for name in ("train", "val", "test")}
    step("train", "--preset", "demo", "--train", csv["train"], "--val", csv["val"], "--id", run.name, "--ckpt", run.parent,
         "--set", f"seed={args.seed}", *args.set, *(["--resume"] if (run / "config.json").exists() else []))  # fmt: skip
    step("evaluate", run, "--index", csv["test"], "--n-pairs", 60, "--labels", "different",
         "--duets", csv["test"], "--truth", data / "truth", "--report", run / "visualization")  # fmt: skip
    print("Hear any pixel: `make lab`, then notebook 05_localization")


def collect(args) -> None:
    from . import collect as c

    if args.kind == "silence":
        reports = [c.silence(photos, args.out, args.seconds, args.jobs) for photos in args.lists]
        print(lines("\n".join(map(c.summary, reports))))
        return
    if args.address and "{id}" not in args.address:
        raise SopError(f"--address {args.address}: expected {{id}} in it, where a video's id goes")
    videos = c.read_music(args.lists) if args.kind == "music" else c.read_vggsound(args.lists)
    how = c.How(args.jobs, args.retries, rate_limit=args.rate_limit, cookies=args.cookies, again=args.again,
                address=args.address or c.YOUTUBE)  # fmt: skip
    print(lines(f"{c.summary(c.collect(videos, args.out, how))}\neach of them: {args.out / c.REPORT}"))


def preprocess(args) -> None:
    from .preprocess import preprocess

    more = {key: getattr(args, key) for key in ("audio_format", "start", "duration", "short_side")}
    report = preprocess(args.videos, args.out, args.fps, args.rate, args.jobs, cluster=args.cluster, **more)
    print(f"{(report.status != 'failed').sum()} of {len(report)} videos are in {printable(args.out)}")


def index(args) -> None:
    from . import index as ix
    from . import media

    if args.data.is_file() and not args.check:
        raise SopError(f"{args.data}: a file; expected a data folder to index, or --check with an index to check")
    out = args.out or (args.data.parent if args.data.is_file() else args.data / args.name)
    if not args.check:
        paths = ix.build_index(
            args.data,
            out,
            args.min_frames,
            args.val_ratio,
            args.test_ratio,
            args.seed,
            args.duets,
            args.splits,
            args.sections,
        )
        for name, path in paths.items():
            clips = ix.read_index(path) if path.stat().st_size else []
            print(f"{name:<5} {len(clips):>6} clips  {printable(path)}")
    if args.check:
        found = ix.check(args.data, args.window, args.fps)
        for kind in ("missing", "invalid"):
            rows = found[found.problem == kind]
            print(f"{kind}: {rows['clip'].nunique()} clip(s)")
            for _, clip, reason in rows.head(20).itertuples(index=False):
                print(f"  {printable(clip)}: {printable(reason)}")
        try:
            with media.whole(out / "index_check.csv") as part:
                write_table(part, found)
        except OSError as e:  # a disk that is only read: what was asked for has been said
            _note(f"sop index: {out / 'index_check.csv'}: not written ({e.strerror}); --out DIR puts it elsewhere")
        else:
            print(f"all of them: {printable(out / 'index_check.csv')}")


def train(args) -> None:
    from . import report
    from .checkpoint import load_model, read_history
    from .index import read_index
    from .mixing import draw_pairs
    from .train import fit

    if Path(args.id).name != args.id:
        raise SopError(f"--id {args.id}: expected a plain name; its folder lies in {args.ckpt} (--ckpt)")
    config = PRESETS[args.preset].override(dict(s.partition("=")[::2] for s in args.set))
    folder, val = args.ckpt / args.id, read_index(args.val)
    shown, board = draw_pairs(val, 6, config), None

    path = folder / "visualization" / "index.html"

    def look() -> None:
        try:
            report.write(path.parent, load_model(folder, args.device), shown, read_history(folder))
        except SopError as e:  # a frame of a validation clip that is broken, say: no reason to stop learning
            _note(f"note: no report of this epoch: {e}")

    for r in fit(config, read_index(args.train), val, folder, args.resume, args.device):
        if not _is_main():
            continue
        print(f"epoch {r.epoch:>3}/{config.epochs}  loss {r.loss:.4f}  SDR {r.val_sdr:5.2f} dB (mixture {r.val_sdr_mixture:.2f})"
              f"  {r.mixtures_per_second:5.1f} mixtures/s  {r.seconds:5.0f} s, {r.left(config.epochs)} left"
              f"{'  best' if r.best else ''}", flush=True)  # fmt: skip
        look()
        if args.tensorboard:
            board = board or _tensorboard(folder)
            for name in ("loss", "val_sdr", "val_sdr_mixture", "mixtures_per_second"):
                board.add_scalar(name, getattr(r, name), r.epoch)
            board.flush()
    if _is_main():
        if not path.exists():
            look()
        print(lines(f"weights in {folder}" + (f"\nlook and listen: {path}" if path.exists() else "")))


def _tensorboard(folder: Path):
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise SopError("--tensorboard: TensorBoard is not installed; pip install tensorboard") from None
    return SummaryWriter(folder / "tensorboard")


def evaluate(args) -> None:
    from dataclasses import replace

    from . import engine, report, tables
    from . import evaluate as ev
    from .checkpoint import load_model, read_history
    from .index import read_index, solos
    from .mixing import draw_pairs, read_pairs, write_pairs

    _check_evaluation(args)
    processes = engine.processes(args.device)
    (folder, *others), clips = args.ckpt, read_index(args.index)
    model = load_model(folder, str(processes.device) if processes else args.device)
    config, out = model.config, args.out or folder / "metrics.json"
    duets = read_index(args.duets) if args.duets else []
    if args.pairs:
        pairs = read_pairs(args.pairs, clips, config)
    else:
        alone = solos(clips)
        if _is_main() and (left := len(clips) - len(alone)):
            print(f"mixtures are drawn from {len(alone)} solos; {left} duet(s) of the index are left out")
        drawn = [replace(config, sources=n) for n in args.sources or [config.sources]]
        pairs = [
            pair for c in drawn for pair in draw_pairs(alone, args.n_pairs or c.val_pairs, c, args.labels or "any")
        ]
    notes = out.with_name(f"{out.stem}.part")
    results, scores = ev.evaluate(
        model, folder, pairs, duets, args.truth, args.baselines, others, args.allow_leaks, notes, processes
    )
    if not _is_main():
        return
    ev.write_scores(out.with_name(f"{out.stem}.scores.csv"), scores)
    write_pairs(out.with_name(f"{out.stem}.pairs.csv"), pairs)
    ev.write_metrics(out, results)
    shutil.rmtree(notes, ignore_errors=True)
    print(lines(tables.text_results(results)))
    print(f"\nnumbers: {printable(out)}")
    if args.report:
        history = read_history(folder) if (folder / "history.csv").exists() else []
        shown = report.of_evaluation(model, pairs, duets, args.truth, results, scores)
        path = report.write(args.report, model, history=history, results=results, **shown)
        print(f"look and listen: {printable(path)}")


def _check_evaluation(args) -> None:
    """Raises SopError for options that can't stand together, before any work."""
    if (args.duets is None) != (args.truth is None):
        raise SopError("--duets and --truth go together: an index of duets, and the folder of their boxes and stems")
    drawing = {"--sources": args.sources, "--n-pairs": args.n_pairs, "--labels": args.labels}
    if args.pairs and (given := [name for name, value in drawing.items() if value is not None]):
        raise SopError(f"{given[0]} with --pairs: {args.pairs} says already which mixtures; leave one of them out")
    if args.sources and (min(args.sources) < 2 or len(set(args.sources)) < len(args.sources)):
        raise SopError(
            f"--sources {' '.join(map(str, args.sources))}: expected different numbers from 2, as many as are mixed"
        )
    if args.n_pairs is not None and args.n_pairs < 1:
        raise SopError(f"--n-pairs {args.n_pairs}: expected at least 1")
    if args.out and args.out.is_dir():
        raise SopError(f"--out {args.out}: a folder; expected the name of a file, such as {args.out / 'metrics.json'}")


def separate(args) -> None:
    from . import separate as s
    from .checkpoint import load_model, read_clips
    from .clusters import SILENT
    from .orchestra import is_solo
    from .regions import check_partition, on_grid
    from .scene import Scene

    s.check_out(args.out, folder=args.all_sources is not None)
    if args.whole and args.all_sources is None:
        raise SopError("--whole goes with --all-sources: one region alone would be the whole mixture")
    model, cells = load_model(args.ckpt, args.device), []
    if args.whole:
        check_partition(model.config)
    if args.pixel:
        cells = [on_grid(args.pixel, model.config.grid)]
    elif args.box:
        cells = _cells(args.box, args.video, model.config.grid)
    scene = Scene.from_video(model, args.video, args.cache)
    how = {"source_rate": args.rate == "source", "full_band": args.full_band}
    learned = s.learned_from(read_clips(args.ckpt), is_solo)
    if args.all_sources is not None:
        table = s.write_all(
            scene, args.video, args.all_sources or None, args.out, partition=args.whole, learned=learned, **how
        )
        print("\n".join(f"{row.name:<20} {row.share:6.1%} of the energy" for row in table.itertuples(index=False)))
        print(f"tracks and maps: {printable(args.out)}")
        return
    share = s.write(scene, args.video, cells, args.out, **how)
    silent = "; so the file is silent" if share < SILENT else ""
    print(printable(f"{args.out}: {len(scene.mixture) / scene.rate:.1f} s, {s.told(share, learned)}{silent}"))


def weights(args) -> None:
    from .weights import fetch

    print(f"the released model, profile sop2018: {printable(fetch(args.out, args.url))}")


def _cells(box: tuple[int, ...], video: Path, grid: tuple[int, int]) -> list[tuple[int, int]]:
    """The cells of a box in pixels of the video."""
    from .media import stream
    from .regions import cells_in

    # At 100 a second, so that the first picture's instant lies in the shortest of videos.
    first = next((part for kind, part in stream(video, 100, 8_000, max_side=None) if kind == "frame"), None)
    if first is None:
        raise SopError(f"{video}: no picture while there is sound")
    h, w = first.shape[:2]
    try:
        return cells_in((box[0] / w, box[1] / h, box[2] / w, box[3] / h), grid)
    except SopError:
        told = f"--box {','.join(map(str, box))}: expected X0,Y0,X1,Y1 with X0 < X1 and Y0 < Y1"
        raise SopError(f"{told}, some of it within the {w} x {h} pixels of {video}") from None


if __name__ == "__main__":
    sys.exit(main())
