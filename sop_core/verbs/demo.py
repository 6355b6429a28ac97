"""`sop demo`: all steps of the workbook on the toy orchestra."""

from ..config import DEMO, ROOT
from .options import Home, Settings, Whole, values


def demo(*, out: Home = ROOT, seed: Whole = 0, set: Settings = ()) -> None:
    """All steps on the toy orchestra: render, preprocess, index, train, evaluate.

    Args:
        out: Folder of data/, ckpt/. Default: $SOP_ROOT, else the checkout, else the current folder.
        seed: Another seed gives another orchestra and another training.
        set: Change settings, as for train. epochs=1 makes it short.
    """
    from ..__main__ import parse
    from ..toy.render import render_dataset
    from ..untrusted import printable

    config = DEMO.override(values(set))  # a wrong setting is told before any work

    # The data, from nothing
    data, run = out / "data" / "demo", out / "ckpt" / "demo"
    videos = render_dataset(data, seed=seed)

    def step(*arguments) -> None:
        # Print the command, so that the user can repeat each step alone.
        words = list(map(str, arguments))
        print(f"\n$ sop {printable(' '.join(words))}", flush=True)
        verb, given = parse(words)
        verb(*given.args, **given.kwargs)

    step(
        "preprocess",
        videos,
        "--out",
        data,
        "--audio-format",
        config.audio_format,
        "--fps",
        config.fps,
        "--rate",
        config.rate,
    )
    step("index", data, "--seed", seed)
    # The model: train it, or go on from the last saved state; then score it
    csv = {name: data / f"{name}.csv" for name in ("train", "val", "test")}
    resume = ["--resume"] if (run / "config.json").exists() else []
    place = ("--id", run.name, "--ckpt", run.parent)
    clips = ("--train", csv["train"], "--val", csv["val"])
    step("train", "--preset", "demo", *clips, *place, "--set", f"seed={seed}", *set, *resume)
    labels = ("--labels", "different") if config.pairs == "drawn" else ()
    mixtures = ("--index", csv["test"], "--n-pairs", 60, *labels)
    duets = ("--duets", csv["test"], "--truth", data / "truth")
    step("evaluate", run, *mixtures, *duets, "--report", run / "visualization")
    print("Hear any pixel: `make lab`, then notebook 05_localization")
