"""What a player keeps as a file: its regions and levels; and what a report of a fault needs.

The file is JSON, alone or as `player.json` in the zip that the page downloads:
    player      1, the version of all this
    grid        [H, W] of the scene
    start, seconds  the stretch of the video that the player shows
    whole       whether everything is dealt out among the tracks ("nothing else sounds")
    regions     lists of [row, column], or numbers of clusters
    mixer       name, level, mute and solo of each track and, last, of the rest; 1 is the level of
                the mixture
"""

import json
import lzma
import math
import platform
import zipfile
import zlib
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..config import AnyPath
from ..errors import SopError
from ..untrusted import printable

if TYPE_CHECKING:
    from .scene import Scene

BROKEN = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, ValueError)  # of a zip
VERSION = 1
NAME = "player.json"  # in a zip
MOST = 2**22  # bytes of it: 30 regions of a whole grid have a tenth of this
KINDS = {"grid": list, "start": (int, float), "seconds": (int, float), "whole": bool}
KINDS |= {"regions": list, "mixer": list}


def text(state: dict[str, Any]) -> str:
    """The file of these: `KINDS` says which."""
    return json.dumps({"player": VERSION, **{name: state[name] for name in KINDS}})


def parsed(content: str | bytes, grid: tuple[int, int], where: str = "from_json") -> dict[str, Any]:
    """What `text` was given. Raises SopError if it isn't that, or is of another grid."""
    try:
        state = json.loads(content)
    except (ValueError, RecursionError):
        raise SopError(f"{where}: no JSON; expected what a player's to_json gives") from None
    kept = state if isinstance(state, dict) else {}
    if kept.get("player") != VERSION or not all(
        isinstance(kept.get(name), kind) for name, kind in KINDS.items()
    ):
        expected = f"a player's regions and levels, version {VERSION}"
        raise SopError(f"{where}: expected {expected}, with {', '.join(KINDS)}")
    for name in ("start", "seconds"):
        if not (abs(kept[name]) < 1e9 and math.isfinite(kept[name])):
            raise SopError(f"{where}: its {name} is no time in a video")
    if kept["grid"] != list(grid):
        other = f"a grid of {kept['grid']}"[:60]
        raise SopError(f"{where}: it is of {other}, this scene's has {list(grid)}")
    return kept


def read(path: AnyPath) -> bytes:
    """The content of a JSON file, or of `player.json` in a zip. Raises SopError if it has none."""
    path = Path(path)
    try:
        with path.open("rb") as file:
            if not zipfile.is_zipfile(file):
                file.seek(0)
                return file.read(MOST)
            with zipfile.ZipFile(file) as archive, archive.open(NAME) as member:
                return member.read(MOST)
    except KeyError:
        raise SopError(f"{path}: no {NAME} in this zip; expected what a player downloads") from None
    except (*BROKEN, OSError, NotImplementedError, RuntimeError) as e:
        why = getattr(e, "strerror", None) or e
        raise SopError(f"{path}: can't be read ({why})") from None


def about(scene: "Scene") -> str:
    """Versions, model and clip, a line each, for a report of a fault. No folder's name is in it."""
    packages = ("anywidget", "ipywidgets", "jupyterlab", "torch", "numpy")
    lines = [f"sop_core {__version__}, Python {platform.python_version()}, {platform.platform()}"]
    lines.append(", ".join(f"{name} {_version(name)}" for name in packages))
    config, source = getattr(scene, "config", None), getattr(scene, "source", None)
    if config:
        bins = f"{config.channels} feature maps of {config.bins} bins, {config.mask} masks"
        lines.append(f"model {config.name}: {config.backbone}, {bins}")
    rows, columns = scene.grid
    clip = f"{len(scene.mixture) / scene.rate:.2f} s at {scene.rate} Hz, {scene.fps:g} pictures/s"
    begins = f"from {getattr(scene, 'start', 0.0):.2f} s"
    lines.append(
        f"clip {Path(source).name if source else ''}: {rows} x {columns}, {clip}, {begins}"
    )
    return "\n".join(printable(line) for line in lines)


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "is not there"
