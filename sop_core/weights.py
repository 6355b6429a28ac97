"""The authors' released model, made into a checkpoint of ours: three files of weights, the nets' keys are the same.

What runs it is the profile `sop2018`: the released code as its authors ran it.
"""

import json
from pathlib import Path

import pooch
import torch

from .checkpoint import write_config, write_model
from .config import MUSIC, AnyPath, Config
from .errors import SopError
from .media import sha256, whole
from .nets import SoundOfPixels

RELEASE = (
    "http://sound-of-pixels.csail.mit.edu/release/MUSIC-2mix-LogFreq-resnet18dilated-unet7-linear-frames3stride24-"
    "maxpool-binary-weightedLoss-channels32-epoch100-step40_80"
)
FILES = {"sound": "sound_best.pth", "frame": "frame_best.pth", "synthesizer": "synthesizer_best.pth"}


def fetch(out: AnyPath, url: str | None = None) -> Path:
    """Get the three files from `url` (None: the authors' release; or a folder), and write the checkpoint `out`.

    A file that is there already isn't fetched again. The checksums are noted in `out/released/sha256.json` the first time,
    and have to be the same ever after. Returns `out`: `config.json` and `model.safetensors`.
    Raises SopError where a file can't be had, has changed, or isn't what it should be, and where `out` holds another run.
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
        for path in () if known else paths.values():  # a login page, say: fetched anew the next time
            path.unlink()
        raise
    if not known:
        with whole(note) as part:
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
        raise SopError(
            f"{note}: not the checksums of {', '.join(FILES.values())}; remove it, and the files beside it are taken as they are"
        ) from None


def _get(source: str, name: str, place: Path, known: str | None) -> Path:
    """One file in `place`, from a folder or from the net."""
    if "://" not in source:
        path = Path(source) / name
        if not path.is_file():
            raise SopError(f"{path}: no such file; expected {', '.join(FILES.values())} in {source}")
        with whole(place / name) as part:
            part.write_bytes(path.read_bytes())
            if known and sha256(part) != known:
                raise SopError(f"{path}: not the file that was there the first time (sha256 {known[:10]}...)")
        return place / name
    try:
        return Path(pooch.retrieve(f"{source}/{name}", known and f"sha256:{known}", name, place, progressbar=True))
    except (OSError, ValueError) as e:  # no connection, 404, another checksum
        reason = str(e).splitlines()[0][:120]
        hint = "if the link is dead, ask somebody for the three files and say --url FOLDER"
        raise SopError(f"{source}/{name}: can't be had ({type(e).__name__}: {reason}); {hint}") from None


def _model(paths: dict[str, Path]) -> SoundOfPixels:
    """The nets with the weights of the three files."""
    states = {part: _state(path) for part, path in paths.items()}
    model = SoundOfPixels(_config(states, paths))
    for part, state in states.items():
        try:
            getattr(model, part).load_state_dict(state)
        except RuntimeError as e:
            raise SopError(f"{paths[part]}: not the released {part} net ({str(e).splitlines()[-1].strip()})") from None
    return model


def _state(path: Path) -> dict[str, torch.Tensor]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)  # a file from the net must run no code
    except Exception as e:  # pickle, zip and torch raise many kinds
        raise SopError(f"{path}: not weights that can be read safely ({str(e).splitlines()[0][:120]})") from None
    if not isinstance(state, dict) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise SopError(f"{path}: expected a state dict of tensors")
    return {k.removeprefix("module."): v for k, v in state.items()}  # as DataParallel saves it


def _config(states: dict[str, dict[str, torch.Tensor]], paths: dict[str, Path]) -> Config:
    """The published setting, with the sizes that the weights have."""
    if "fc.weight" not in states["frame"]:
        raise SopError(f"{paths['frame']}: no fc.weight in it; expected the weights of the released frame net")
    depth = max(key.count(".model.") for key in states["sound"]) if states["sound"] else 0
    settings = {
        "profile": "sop2018",
        "channels": str(len(states["frame"]["fc.weight"])),
        "sound_depth": str(depth),
        "synthesizer": "linear" if "scale" in states["synthesizer"] else "bias",
        "name": "sop2018",
        "pretrained": "false",
    }
    return MUSIC.override(settings)
