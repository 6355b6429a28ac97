"""`sop demo`: all steps of the workbook on the toy orchestra."""

from ..config import DEMO, ROOT
from .options import Folder, Settings, Whole


def demo(*, out: Folder = ROOT, seed: Whole = 0, set: Settings = ()) -> None:
    """All steps on the toy orchestra: render, preprocess, index, train, evaluate.

    Args:
        out: Folder that gets data/demo and ckpt/demo.
        seed: Another seed gives another orchestra and another training.
        set: Change settings, as for train. epochs=1 makes it short.
    """
    from ..__main__ import parse
    from ..toy.render import render_dataset
    from ..untrusted import printable

    data, run = out / "data" / "demo", out / "ckpt" / "demo"
    videos = render_dataset(data, seed=seed)

    def step(*words) -> None:  # as the user would type it, so that each step can be repeated alone
        words = [str(word) for word in words]
        print(f"\n$ sop {printable(' '.join(words))}", flush=True)
        verb, given = parse(words)
        verb(*given.args, **given.kwargs)

    step("preprocess", videos, "--out", data, "--audio-format", DEMO.audio_format)
    step("index", data, "--seed", seed)
    csv = {name: data / f"{name}.csv" for name in ("train", "val", "test")}
    resume = ["--resume"] if (run / "config.json").exists() else []
    step("train", "--preset", "demo", "--train", csv["train"], "--val", csv["val"],
         "--id", run.name, "--ckpt", run.parent, "--set", f"seed={seed}", *set, *resume)  # fmt: skip
    step("evaluate", run, "--index", csv["test"], "--n-pairs", 60, "--labels", "different",
         "--duets", csv["test"], "--truth", data / "truth",
         "--report", run / "visualization")  # fmt: skip
    print("Hear any pixel: `make lab`, then notebook 05_localization")
