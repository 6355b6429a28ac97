"""A run's folder: `config.json`, `clips.csv` (what it learns from and chooses its best epoch by), `model.safetensors` (that epoch),
`history.csv`, and `state/` for resume.

Every file appears whole or not at all.
"""

import csv
import io
from dataclasses import asdict, dataclass, fields
from datetime import timedelta
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from . import media
from .clips import Clip
from .config import AnyPath, Config
from .csvs import read_rows, write_rows
from .engine import device_of
from .errors import SopError
from .nets import SoundOfPixels

BACKBONE = "backbone_digest"  # in the metadata of `model.safetensors`


@dataclass(frozen=True)
class Record:
    """One row of `history.csv`."""

    epoch: int  # from 1
    loss: float  # mean over the epoch's steps
    val_sdr: float  # dB, mean over the validation mixtures' sources
    val_sdr_mixture: float  # dB, the same for the mixture itself, unseparated
    best: bool  # the weights of this epoch are kept
    mixtures_per_second: float
    seconds: float  # since the run's start, without what lay between stop and resume
    skipped: int = 0  # mixtures drawn anew since a file of theirs could not be read

    def left(self, epochs: int) -> str:
        """How long the rest of `epochs` will take, at the pace so far: h:mm:ss."""
        return str(timedelta(seconds=round((epochs - self.epoch) * self.seconds / self.epoch)))


def start(folder: AnyPath, config: Config, clips: dict[str, list[Clip]], resume: bool) -> None:
    """Make the run's folder, or make sure that it holds the run to go on with. `clips`: its `train` and `val`, in their order."""
    folder = Path(folder)
    if resume:
        for place in (folder, Path(folder, "state")):
            media.sweep(place)
        if not (Path(folder, "config.json")).is_file():
            raise SopError(f"{folder}: nothing to resume there; leave --resume out to start a new run")
        old = asdict(read_config(folder))
        free = ("workers", "compile")  # change nothing in what is learned
        anew = "choose another folder (--id, --out), or delete it"
        if changed := [
            f"{k}={old[k]} there, {v} now" for k, v in asdict(config).items() if v != old[k] and k not in free
        ]:
            raise SopError(f"{folder}: can't resume with another config ({'; '.join(changed)}); {anew}")
        now = {split: [(c.name, c.video) for c in mine] for split, mine in clips.items()}
        for split, there in (read_clips(folder) or now).items():
            if there != now[split]:
                other = sorted({name for name, _ in {*there} ^ {*now[split]}}) or ["the same ones in another order"]
                raise SopError(
                    f"{folder}: can't resume with other clips in {split} ({len(other)}: {', '.join(other[:4])}); {anew}"
                )
    elif Path(folder, "config.json").exists():
        raise SopError(f"{folder}: holds a run already; go on with --resume, or choose another --id, or delete it")
    else:
        folder.mkdir(parents=True, exist_ok=True)
        rows = ((split, c.name, c.video) for split, mine in clips.items() for c in mine)
        write_rows(Path(folder, "clips.csv"), rows, end="\r\n")
        write_config(folder, config)


def free(folder: AnyPath) -> None:
    """Take back what `start` made, where nothing was learned since: another run may then have the name."""
    if not any(Path(folder, name).exists() for name in ("state/last.pt", "history.csv", "model.safetensors")):
        for name in ("config.json", "clips.csv"):
            Path(folder, name).unlink(missing_ok=True)


def read_config(folder: AnyPath) -> Config:
    """The config of a run's folder. Raises SopError where it can't be read."""
    path = Path(folder, "config.json")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        raise SopError(f"{path}: not a config that can be read ({e})") from None
    return Config.from_json(text, str(path))


def write_config(folder: AnyPath, config: Config) -> None:
    """`config.json`, which makes the folder a run's."""
    with media.whole(Path(folder, "config.json")) as part:
        part.write_text(config.to_json())


def read_clips(folder: AnyPath) -> dict[str, list[tuple[str, str]]] | None:
    """`train` and `val` of a run: name and video of each clip; None where the run doesn't say (the released weights, say)."""
    path = Path(folder, "clips.csv")
    if not path.is_file():
        return None
    found = {"train": [], "val": []}
    try:
        for _, (split, name, video) in read_rows(path):
            found[split].append((name, video))
    except (SopError, ValueError, KeyError):
        raise SopError(
            f"{path}: not a run's list of clips (train or val, name, video); put it back, or train anew"
        ) from None
    return found


def write_model(folder: AnyPath, model: SoundOfPixels) -> None:
    """What was learned, beside the config that it belongs to; it names the frozen backbone that it learned with."""
    learned = {k: v.contiguous() for k, v in model.learned().items()}
    weights = save(learned, {"backbone": model.config.backbone, BACKBONE: model.backbone})
    with media.whole(Path(folder, "model.safetensors")) as part:
        part.write_bytes(weights)  # Python's own writing: a full disk is an OSError


def write_state(folder: AnyPath, state: dict) -> None:
    """All that a resumed training needs: tensors, numbers and text."""
    out = io.BytesIO()
    torch.save(state, out)
    (Path(folder, "state")).mkdir(exist_ok=True)
    with media.whole(Path(folder, "state", "last.pt")) as part:
        part.write_bytes(out.getbuffer())


def read_state(folder: AnyPath) -> dict | None:
    """The last state that was saved; None where a run was cut off before there was one: it starts over."""
    path = Path(folder, "state", "last.pt")
    try:
        return torch.load(path, map_location="cpu", weights_only=True) if path.is_file() else None
    except Exception as e:  # pickle, zip and torch raise many kinds
        why = str(e).partition("\n")[0][:120]
        raise SopError(
            f"{path}: not a state that can be read ({why}); remove it, and --resume starts the run over"
        ) from None


def write_history(folder: AnyPath, records: list[Record]) -> None:
    """`history.csv`, a row an epoch."""
    with media.whole(Path(folder, "history.csv")) as part, part.open("w", newline="") as f:
        table = csv.DictWriter(f, [field.name for field in fields(Record)])
        table.writeheader()
        table.writerows(asdict(r) for r in records)


def load_model(folder: AnyPath, device: str | None = None) -> SoundOfPixels:
    """The best model of a run's folder, ready to separate. Raises SopError where there is none, or it can't be read."""
    weights = Path(folder, "model.safetensors")
    if not (Path(folder, "config.json")).is_file() or not weights.is_file():
        raise SopError(
            f"{folder}: no checkpoint there, expected config.json and model.safetensors; train one with --id"
        )
    config = read_config(folder)
    model = SoundOfPixels.blank(config)
    try:
        with safe_open(weights, "pt") as f:
            learned, told = {key: f.get_tensor(key) for key in f.keys()}, f.metadata() or {}  # noqa: SIM118
        same_backbone(weights, told.get(BACKBONE, ""), model)
        model.load_learned(learned)
    except (SafetensorError, OSError, RuntimeError) as e:
        why = str(e).splitlines()[0]
        raise SopError(f"{weights}: not the weights of {Path(folder, 'config.json')} ({why})") from None
    return model.eval().to(device_of(device))


def same_backbone(where: AnyPath, digest: str, model: SoundOfPixels) -> None:
    """Raises SopError where what was learned was learned with a frozen backbone of other weights."""
    if digest != model.backbone:
        raise SopError(
            f"{where}: learned with {model.config.backbone} of other weights ({digest or 'none'}; here {model.backbone}); "
            "expected the same file of weights as then: backbone_weights in config.json names it"
        )


def read_history(folder: AnyPath) -> list[Record]:
    """The records of `history.csv`. Raises SopError where there is none."""
    path = Path(folder, "history.csv")
    if not path.is_file():
        raise SopError(f"{path}: no history there; is {folder} the folder of a training?")
    kinds = {f.name: {"bool": lambda text: text == "True"}.get(f.type.__name__, f.type) for f in fields(Record)}
    try:
        with path.open(newline="", encoding="utf-8") as f:
            return [Record(**{k: kinds[k](v) for k, v in row.items()}) for row in csv.DictReader(f)]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, csv.Error):
        raise SopError(f"{path}: not the history of a training; remove it, and --resume writes it again") from None
