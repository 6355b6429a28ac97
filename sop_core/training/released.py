"""The authors' released model as a checkpoint: three files of weights, whose keys are our nets'.

It runs with the profile `sop2018`: the released code as its authors ran it.
"""

import json
from pathlib import Path

import pooch
import torch

from ..config import MUSIC, AnyPath, Config
from ..errors import SopError
from ..media.atomic import atomic_path, sha256
from ..model.model import SoundOfPixels
from .checkpoint import write_config, write_model

RELEASE = (
    "http://sound-of-pixels.csail.mit.edu/release/"
    "MUSIC-2mix-LogFreq-resnet18dilated-unet7-linear-frames3stride24-"
    "maxpool-binary-weightedLoss-channels32-epoch100-step40_80"
)
FILES = {part: f"{part}_best.pth" for part in ("sound", "frame", "synthesizer")}


def fetch(out: AnyPath, url: str | None = None) -> Path:
    """Get the three released files, and write them as the checkpoint `out`.

    A file that is there already isn't fetched again. The first time, the checksums are noted in
    `out/released/sha256.json`. From then on the files must have the same.

    Args: `url`: where the files are: a web address or a folder. None: the authors' release.
    Returns `out`, with `config.json` and `model.safetensors`.
    Raises SopError where a file can't be had, has changed or isn't what it should be, and where
    `out` holds another run.
    """
    out, source = Path(out), str(url or RELEASE)
    place = out / "released"
    if (out / "config.json").exists() and not place.exists():
        raise SopError(f"{out}: holds another run; choose another --out")
    note = place / "sha256.json"
    known = _noted(note) if note.is_file() else {}
    paths = {part: _get(source, name, place, known.get(name)) for part, name in FILES.items()}
    try:
        model = _model(paths)
    except SopError:
        if not known:  # a login page, for example: next time the files are fetched anew
            for path in paths.values():
                path.unlink()
        raise
    if not known:
        with atomic_path(note) as part:
            part.write_text(json.dumps({p.name: sha256(p) for p in paths.values()}, indent=1))
    write_config(out, model.config)
    write_model(out, model)
    return out


def _noted(note: Path) -> dict[str, str]:
    """The checksums of the three files, by name."""
    try:
        known = json.loads(note.read_text(encoding="utf-8"))
        return {name: str(known[name]) for name in FILES.values()}
    except (OSError, ValueError, KeyError, TypeError):
        names = ", ".join(FILES.values())
        hint = "remove it, and the files beside it are taken as they are"
        raise SopError(f"{note}: not the checksums of {names}; {hint}") from None


def _get(source: str, name: str, place: Path, known: str | None) -> Path:
    """One file in `place`, from a folder or from the net."""
    if "://" not in source:
        path = Path(source, name)
        if not path.is_file():
            names = ", ".join(FILES.values())
            raise SopError(f"{path}: no such file; expected {names} in {source}")
        with atomic_path(place / name) as part:
            part.write_bytes(path.read_bytes())
            if known and sha256(part) != known:
                what = f"not the file that was there the first time (sha256 {known[:10]}...)"
                raise SopError(f"{path}: {what}")
        return place / name
    checksum = known and f"sha256:{known}"
    try:
        return Path(pooch.retrieve(f"{source}/{name}", checksum, name, place, progressbar=True))
    except (OSError, ValueError) as e:  # no connection, 404, another checksum
        reason = f"{type(e).__name__}: {str(e).splitlines()[0][:120]}"
        hint = "if the link is dead, ask somebody for the three files and say --url FOLDER"
        raise SopError(f"{source}/{name}: can't be had ({reason}); {hint}") from None


def _model(paths: dict[str, Path]) -> SoundOfPixels:
    """The nets with the weights of the three files."""
    states = {part: _state(path) for part, path in paths.items()}
    if "fc.weight" not in states["frame"]:
        expected = "expected the weights of the released frame net"
        raise SopError(f"{paths['frame']}: no fc.weight in it; {expected}")
    model = SoundOfPixels(_config(states))
    for part, state in states.items():
        try:
            getattr(model, part).load_state_dict(state)
        except RuntimeError as e:
            why = str(e).splitlines()[-1].strip()
            raise SopError(f"{paths[part]}: not the released {part} net ({why})") from None
    return model


def _state(path: Path) -> dict[str, torch.Tensor]:
    """The state dict in a file from the net. Loading it runs no code."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as e:  # pickle, zip and torch raise many kinds
        why = str(e).splitlines()[0][:120]
        raise SopError(f"{path}: not weights that can be read safely ({why})") from None
    if not isinstance(state, dict) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise SopError(f"{path}: expected a state dict of tensors")
    return {k.removeprefix("module."): v for k, v in state.items()}  # as DataParallel saves it


def _config(states: dict[str, dict[str, torch.Tensor]]) -> Config:
    """The published setting, with the sizes that the weights have."""
    settings = {"profile": "sop2018", "name": "sop2018", "pretrained": "false"}
    settings["channels"] = str(len(states["frame"]["fc.weight"]))
    levels = [key.count(".model.") for key in states["sound"]]
    settings["sound_depth"] = str(max(levels, default=0))
    settings["synthesizer"] = "linear" if "scale" in states["synthesizer"] else "bias"
    return MUSIC.override(settings)
