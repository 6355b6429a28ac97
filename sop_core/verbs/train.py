"""`sop train`: a model, from an index of solo clips."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ..config import CKPT, PRESETS
from ..errors import SopError
from .options import Device, Home, Settings, values


def train(
    *,
    preset: Annotated[str, Parameter(choices=PRESETS)],
    train: Annotated[Path, Parameter(metavar="train.csv")],
    val: Annotated[Path, Parameter(metavar="val.csv")],
    id: Annotated[str, Parameter(metavar="MODEL_ID")],
    ckpt: Home = CKPT,
    begin: Annotated[Path | None, Parameter(name="--from", metavar="CKPT_DIR")] = None,
    resume: bool = False,
    tensorboard: bool = False,
    set: Settings = (),
    device: Device = None,
) -> None:
    """Learn to separate sounds, from an index of solo clips.

    Args:
        preset: Sizes and schedule to start from.
        train: Clips to learn from.
        val: Clips that choose the best epoch.
        id: Name of the run's folder.
        ckpt: Folder of all runs. Default: in $SOP_ROOT, else the checkout, else the current folder.
        begin: Start from this model's weights, data/weights, say. Only the backbone may be another.
        resume: Go on from the last saved state; where there is none yet, start the run.
        tensorboard: Also write curves for TensorBoard into the run's folder.
        set: Change settings: epochs=3 batch=8 ...
    """
    from ..__main__ import is_main, note
    from ..data.clips import read_index
    from ..evaluation import report
    from ..training.checkpoint import load_model, read_config, read_history
    from ..training.engine import described
    from ..training.loop import fit
    from ..training.pairs import draw_pairs
    from ..untrusted import lines

    if Path(id).name != id:
        raise SopError(f"--id {id}: expected a plain name; its folder lies in {ckpt} (--ckpt)")
    config = PRESETS[preset]
    if begin is not None:
        config = config.with_nets(read_config(begin))
    config = config.override(values(set))
    folder = ckpt / id
    clips = read_index(val)
    shown = draw_pairs(clips, 6, config, leave_out=True)
    page = folder / "visualization" / "index.html"
    board = None  # opened after the first epoch: a run that is refused leaves no files

    def write_report() -> None:
        try:
            report.write(page.parent, load_model(folder, device), shown, read_history(folder))
        except SopError as e:  # a validation clip's frame is broken, say: training goes on
            note(f"note: no report of this epoch: {e}")

    if is_main():
        print(f"on {described(config, device)}", flush=True)
    r = None
    for r in fit(config, read_index(train), clips, folder, resume, device, begin):
        if not is_main():
            continue
        print(f"epoch {r.epoch:>3}/{config.epochs}  loss {r.loss:.4f}"
              f"  SDR {r.val_sdr:5.2f} dB (mixture {r.val_sdr_mixture:.2f})"
              f"  {r.mixtures_per_second:5.1f} mixtures/s"
              f"  {r.seconds:5.0f} s, {r.left(config.epochs)} left"
              f"{'  best' if r.best else ''}", flush=True)  # fmt: skip
        write_report()
        if tensorboard:
            board = board or _tensorboard(folder)
            for name in ("loss", "val_sdr", "val_sdr_mixture", "mixtures_per_second"):
                board.add_scalar(name, getattr(r, name), r.epoch)
            board.flush()
    if not is_main():
        return
    if r is None:
        print(lines(f"{folder} is complete: all {config.epochs} epochs are there"))
    if not page.exists():
        write_report()
    print(lines(f"weights in {folder}"))
    if page.exists():
        print(lines(f"look and listen: {page}"))


def _tensorboard(folder: Path):
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        hint = "TensorBoard is not installed; pip install tensorboard"
        raise SopError(f"--tensorboard: {hint}") from None
    return SummaryWriter(folder / "tensorboard")
