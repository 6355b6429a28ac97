"""The folder of a run.

config.json         the config
clips.csv           what the run learns from, and what it chooses its best epoch by
begin.txt           the hash of the weights that it begins with, if there are any; and whether it is
                    not known what they learned from
model.safetensors   the weights of the best epoch
names.safetensors   names for what it sees (model/names.py); a folder without it gives none
history.csv         a `Record` an epoch
state/              what a resumed run needs

Each file appears whole or not at all.
"""

import csv
import io
import json
from dataclasses import asdict, astuple, dataclass, fields
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import msgspec
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ..config import AnyPath, Config
from ..data.clips import Clip
from ..errors import SopError
from ..media.atomic import atomic_path, sha256, sweep
from ..media.csvs import cell, from_cell, read_rows, write_rows
from ..model.model import SoundOfPixels
from ..model.names import Names
from .engine import device_of

BACKBONE = "backbone_digest"  # in the metadata of `model.safetensors` and `names.safetensors`
NAMES = "names.safetensors"
BEGIN = "begin.txt"
# Follows the hash, if the folder of those weights doesn't list their clips
UNKNOWN_TOO = "\nof clips that are not known\n"


@dataclass(frozen=True)
class Record:
    """One row of `history.csv`."""

    epoch: int  # from 1
    loss: float  # mean over the epoch's steps
    val_sdr: float  # dB, mean over the sources of the validation mixtures
    val_sdr_mixture: float  # dB, the same for the mixture itself, unseparated
    best: bool  # the weights of this epoch are kept
    mixtures_per_second: float
    seconds: float  # since the run's start, without the time between stop and resume
    skipped: int = 0  # mixtures that were drawn anew, because a file of theirs could not be read

    def left(self, epochs: int) -> str:
        """How long the rest of `epochs` will take, at the pace so far: h:mm:ss."""
        return str(timedelta(seconds=round((epochs - self.epoch) * self.seconds / self.epoch)))


class Learned(NamedTuple):
    """A clip of a run, in `clips.csv`. Only composed clips have the last two columns."""

    name: str
    video: str
    photos: tuple[str, ...] = ()
    recordings: tuple[str, ...] = ()


def start(
    folder: AnyPath,
    config: Config,
    clips: dict[str, list[Clip]],
    resume: bool,
    begin: AnyPath | None = None,
) -> None:
    """Make the folder of a new run, or check that the run in it can be resumed.

    Args: `clips`: the run's `train` and `val`, in their order. `resume`: go on with the run in the
        folder; without one it is a new run. `begin`: the folder of the run whose weights it starts
        from: its clips, which are in those weights, count as learned from, too.
    Raises SopError where a new run would overwrite one, where the run to resume has another config,
    other clips or another beginning, and where `begin` has no model.
    """
    folder = Path(folder)
    names = {
        split: [Learned(c.name, c.video, c.photos, c.recordings) for c in mine]
        for split, mine in clips.items()
    }
    begun, unknown = "", False
    if begin is not None:
        begun, before = sha256(_weights(begin)), read_learned(begin)
        unknown = before is None or not knows_all(begin)
        for split, earlier in (before or {}).items():
            mine = {*names[split]}
            names[split] += [clip for clip in earlier if clip not in mine]
    if resume:
        sweep(folder)
        sweep(folder / "state")
        if (folder / "config.json").is_file():
            _check_begin(folder, begun)
            _check_same(folder, config, names)
            return
    if (folder / "config.json").exists():
        hint = "go on with --resume, or choose another --id, or delete it"
        raise SopError(f"{folder}: holds a run already; {hint}")
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        (split, name, video, *(map(" ".join, made) if any(made) else ()))
        for split, mine in names.items()
        for name, video, *made in mine
    ]
    write_rows(folder / "clips.csv", ([cell(text) for text in row] for row in rows), end="\r\n")
    if begun:
        with atomic_path(folder / BEGIN) as part:
            part.write_text(begun + UNKNOWN_TOO * unknown)
    write_config(folder, config)


def _check_begin(folder: Path, begun: str) -> None:
    """Raises SopError where the run in `folder` began with other weights than those of `begun`.

    Where a state was saved, it has the weights: then `begun` may be "".
    """
    there = (folder / BEGIN).read_text() if (folder / BEGIN).is_file() else ""
    there = there.removesuffix(UNKNOWN_TOO)
    if begun == there or (not begun and (folder / "state" / "last.pt").is_file()):
        return
    how = "with the weights of another model" if there else "anew"
    hint = "give --from as then" if there else "leave out --from"
    raise SopError(f"{folder}: can't resume: this run began {how}; {hint}, or choose another --id")


def _check_same(folder: Path, config: Config, names: dict[str, list[Learned]]) -> None:
    """Raises SopError where the run in `folder` has another config or other clips."""
    hint = "choose another folder (--id, --out), or delete it"
    old, new = asdict(read_config(folder)), asdict(config)
    for k in ("workers", "compile"):  # they don't change what is learned
        old[k] = new[k]
    if old != new:
        what = "; ".join(f"{k}={old[k]} there, {v} now" for k, v in new.items() if v != old[k])
        raise SopError(f"{folder}: can't resume with another config ({what}); {hint}")
    for split, there in (read_learned(folder) or names).items():
        if there != names[split]:
            other = sorted({clip.name for clip in {*there} ^ {*names[split]}})
            other = other or ["the same ones in another order"]
            what = f"{len(other)}: {', '.join(other[:4])}"
            raise SopError(f"{folder}: can't resume with other clips in {split} ({what}); {hint}")


def free(folder: AnyPath) -> None:
    """Remove what `start` made, if nothing was learned since: another run may use the folder."""
    learned = ("state/last.pt", "history.csv", "model.safetensors")
    if not any(Path(folder, name).exists() for name in learned):
        for name in ("config.json", "clips.csv", BEGIN):
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
    """Write `config.json`. A folder that has one is a run's."""
    with atomic_path(Path(folder, "config.json")) as part:
        part.write_text(config.to_json())


def read_clips(folder: AnyPath) -> dict[str, list[tuple[str, str]]] | None:
    """Name and video of each clip of a run; else as `read_learned`."""
    splits = read_learned(folder)
    if splits is None:
        return None
    return {split: [(c.name, c.video) for c in clips] for split, clips in splits.items()}


def read_learned(folder: AnyPath) -> dict[str, list[Learned]] | None:
    """The clips of a run, by split: `train` and `val`.

    Returns None where the folder doesn't say (that of the released weights, for example).
    Raises SopError where the file can't be read.
    """
    path = Path(folder, "clips.csv")
    if not path.is_file():
        return None
    splits: dict[str, list[Learned]] = {"train": [], "val": []}
    try:
        for _, (split, name, video, *made) in read_rows(path):
            photos, recordings = (tuple(text.split()) for text in made or ("", ""))
            clip = Learned(from_cell(name), from_cell(video), photos, recordings)
            splits[split].append(clip)
    except (SopError, ValueError, KeyError):
        hint = "(train or val, name, video); put it back, or train anew"
        raise SopError(f"{path}: not a run's list of clips {hint}") from None
    return splits


def knows_all(folder: AnyPath) -> bool:
    """Whether `read_learned` gives all clips; the weights that a run began with may know others."""
    path = Path(folder, BEGIN)
    return not (path.is_file() and path.read_text().endswith(UNKNOWN_TOO))


def write_model(folder: AnyPath, model: SoundOfPixels) -> None:
    """Write what was learned. The file also names the frozen backbone that it was learned with.

    Names of a backbone that learns are removed: they are of what it saw before.
    """
    if any(p.requires_grad for p in model.frame.features.parameters()):
        Path(folder, NAMES).unlink(missing_ok=True)
    _write_weights(folder, model, model.learned())


def _write_weights(folder: AnyPath, model: SoundOfPixels, learned: dict[str, Tensor]) -> None:
    learned = {k: v.contiguous() for k, v in learned.items()}
    weights = save(learned, {"backbone": model.config.backbone, BACKBONE: model.backbone})
    with atomic_path(Path(folder, "model.safetensors")) as part:
        part.write_bytes(weights)  # by Python: a full disk raises OSError


def halve(folder: AnyPath, out: AnyPath) -> None:
    """Write a run's config, names, and model with weights of 16 bits: half of the size, to ship it.

    The statistics of batch norms keep 32 bits: a variance can be greater than float16 holds.
    Raises SopError as `load_model` does.
    """
    model = load_model(folder, "cpu")
    Path(out).mkdir(parents=True, exist_ok=True)
    write_config(out, model.config)
    parameters = dict(model.named_parameters())
    halved = {k: v.half() if k in parameters else v for k, v in model.learned().items()}
    _write_weights(out, model, halved)
    if model.names:
        write_names(out, model.names, model)
    else:
        Path(out, NAMES).unlink(missing_ok=True)


def _weights(folder: AnyPath) -> Path:
    """The file of a model's weights. Raises SopError where there is no model."""
    path = Path(folder, "model.safetensors")
    if not Path(folder, "config.json").is_file() or not path.is_file():
        expected = "expected config.json and model.safetensors; train one with --id"
        raise SopError(f"{folder}: no checkpoint there, {expected}")
    return path


def load_model(folder: AnyPath, device: str | None = None) -> SoundOfPixels:
    """The best model of a run, ready to separate.

    Raises SopError where there is none, or it can't be read.
    """
    path = _weights(folder)
    model = SoundOfPixels.blank(read_config(folder))
    try:
        with safe_open(path, "pt") as f:
            learned = {key: f.get_tensor(key) for key in f.keys()}  # noqa: SIM118
            metadata = f.metadata() or {}
        same_backbone(path, metadata.get(BACKBONE, ""), model)
        model.load_learned(learned)
    except (SafetensorError, OSError, RuntimeError) as e:
        why = str(e).splitlines()[0]
        config = Path(folder, "config.json")
        raise SopError(f"{path}: not the weights of {config} ({why})") from None
    model.names = read_names(folder, model)
    return model.eval().to(device_of(device))


def write_names(folder: AnyPath, names: Names, model: SoundOfPixels) -> None:
    """Write `names.safetensors`: means of what `model` sees."""
    about = {"labels": names.labels, "sharpness": names.sharpness, "least": names.least}
    tensors = {key: getattr(names, key).contiguous() for key in ("middle", "axes", "means")}
    data = save(tensors, {"names": json.dumps(about), BACKBONE: model.backbone})
    with atomic_path(Path(folder, NAMES)) as part:
        part.write_bytes(data)


def has_names(folder: AnyPath) -> bool:
    """Whether there are names in the folder of a run."""
    return Path(folder, NAMES).is_file()


def read_names(folder: AnyPath, model: SoundOfPixels) -> Names | None:
    """The names for what `model` sees; None where its folder has none.

    Raises SopError where they can't be read, or are of another backbone.
    """
    path = Path(folder, NAMES)
    if not path.is_file():
        return None
    try:
        with safe_open(path, "pt") as f:
            # Copies: else the file stays mapped, and Windows couldn't replace it
            tensors = {
                key: f.get_tensor(key).to(torch.float32, copy=True)
                for key in ("middle", "axes", "means")
            }
            metadata = f.metadata() or {}
        # By json, not by msgspec's: a label that is no valid UTF-8 holds surrogates
        about = msgspec.convert(json.loads(metadata["names"]), _About)
        labels, size = tuple(about.labels), tensors["axes"].shape[-1]
        channels = [*model.frame.fc.parameters()][-2].shape[1]  # of its last weight
        shapes = [(channels,), (channels, size), (len(labels), size)]
        if not labels or [tuple(tensor.shape) for tensor in tensors.values()] != shapes:
            raise ValueError("arrays that don't fit this model")
    except (SafetensorError, OSError, KeyError, ValueError, msgspec.ValidationError) as e:
        why = f"not names that can be read ({str(e).splitlines()[0]})"
        hint = "remove it, and make it anew with `python -m sop_core names`"
        raise SopError(f"{path}: {why}; {hint}") from None
    same_backbone(path, metadata.get(BACKBONE, ""), model)
    return Names(labels, **tensors, sharpness=about.sharpness, least=about.least)


class _About(msgspec.Struct):
    """What `names.safetensors` says in words and numbers."""

    labels: list[str]
    sharpness: float
    least: float


def same_backbone(where: AnyPath, digest: str, model: SoundOfPixels) -> None:
    """Raises SopError where weights were learned with another frozen backbone than the model's."""
    if digest != model.backbone:
        raise SopError(
            f"{where}: learned with {model.config.backbone} of other weights "
            f"({digest or 'none'}; here {model.backbone}); expected the same file of weights as "
            "then: backbone_weights in config.json names it"
        )


def write_state(folder: AnyPath, state: dict) -> None:
    """Write all that a resumed training needs: tensors, numbers and text."""
    out = io.BytesIO()
    torch.save(state, out)
    with atomic_path(Path(folder, "state", "last.pt")) as part:
        part.write_bytes(out.getbuffer())


def read_state(folder: AnyPath) -> dict | None:
    """The last state that was saved. None where there is none: the run then starts over."""
    path = Path(folder, "state", "last.pt")
    try:
        return torch.load(path, map_location="cpu", weights_only=True) if path.is_file() else None
    except Exception as e:  # pickle, zip and torch raise many kinds
        why = str(e).partition("\n")[0][:120]
        hint = "remove it, and --resume starts the run over"
        raise SopError(f"{path}: not a state that can be read ({why}); {hint}") from None


def write_history(folder: AnyPath, records: list[Record]) -> None:
    """Write `history.csv`, a row an epoch."""
    header = [field.name for field in fields(Record)]
    rows = [astuple(record) for record in records]
    write_rows(Path(folder, "history.csv"), [header, *rows], end="\r\n")


def read_history(folder: AnyPath) -> list[Record]:
    """The records of `history.csv`. Raises SopError where there is none, or it can't be read."""
    path = Path(folder, "history.csv")
    if not path.is_file():
        raise SopError(f"{path}: no history there; is {folder} the folder of a training?")
    try:
        with path.open(newline="", encoding="utf-8") as f:
            return [msgspec.convert(row, Record, strict=False) for row in csv.DictReader(f)]
    except (OSError, ValueError, csv.Error):
        hint = "remove it, and --resume writes it again"
        raise SopError(f"{path}: not the history of a training; {hint}") from None
