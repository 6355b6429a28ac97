"""The player as one html file that needs no kernel: a click's sound is computed in the browser.

The page holds what `Scene.tracks` needs: the sound as 16-bit samples, feature maps, the visual
features of all cells, the synthesizer's weights and the warp. `static/separator.js` does with them
what `regions` and `separated` do. A model's names are in it, too, and what each cell looks like.
"""

import base64
import gzip
import hashlib
import html
import io
import json
import math
from bisect import bisect_left
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anywidget
import numpy as np
import simplejpeg
import soundfile
import torch
from PIL import Image
from torch import Tensor

from .. import __version__
from ..config import Config
from ..errors import SopError
from ..model.names import LIKELY
from ..untrusted import printable
from .features import FeatureMaps, fade
from .levels import Levels
from .playback import OwnSound
from .regions import REGION_SHARE, TRAINING_SHARE, check_partition, least_share, shown_in
from .tracks import pcm

if TYPE_CHECKING:
    from .player import PixelPlayer
    from .scene import Scene

TITLE = "The Sound of Pixels"
STATIC = Path(__file__).parent / "static"
# One module each: of the player, wherever it is, and of the page.
PLAYER = ("geometry.js", "files.js", "mixer.js", "film.js", "parts.js", "player.js")
SCRIPTS = (*PLAYER, "fft.js", "separator.js", "band.js", "page.js")
STYLES = ("player.css", "page.css")
# Traits that the page makes itself; and the last error, which was this player's
COMPUTED = {"mixture", "answer", "pictures", "own", "full", "error"}
LONGEST = 120.0  # s: a browser needs about 3 MB of memory for each
MOST = 850_000  # bytes of the file for each second, and as many once: 10 MB for 10 s
# Amplitudes from which on feature maps have all of their bits, and how many bits others lack
# (`levels`): the first with which the file is small enough.
FLOORS = (1e-4, 2e-4, 3e-4, 4e-4, 6e-4, 8e-4, 1.2e-3, 1.7e-3, 2.5e-3, 4e-3, 8e-3, 0.02, 0.05, 0.2)
CUTS = [*((floor, 4) for floor in FLOORS), (1.0, 6), (10.0, 8)]
# Of each second so many pictures at most. Quality, and by what their sides are divided: the first
# with which all of them have no more than this share of the file.
MOST_FPS, SEEN = 15, 1 / 3
# Bits of the video's own sound: the first with which it is this part of all else at most.
OWN_BITS, OWN = (16, 14, 12), 1 / 3
SMALLER = ((65, 1), (50, 1), (25, 1), (25, 2), (25, 4), (10, 8))


def page(player: "PixelPlayer", title: str = TITLE) -> str:
    """A whole html page, about as large as its feature maps: see `MOST`.

    Raises SopError if the player's scene isn't a `Scene`: another has no feature maps; or if it is
    longer than `LONGEST`.
    """
    check_length(player.seconds)
    if not isinstance(getattr(player.scene, "feature_maps", None), FeatureMaps):
        there = f"the player's scene is a {type(player.scene).__name__}"
        raise SopError(f"{there}, without feature maps: a page needs a Scene of a model")
    most = MOST * (1 + player.seconds)
    script, style = (_joined(names) for names in (SCRIPTS, STYLES))
    most -= len(script) + len(style)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)  # much small work: on a busy machine, threads wait for each other
        packed = _packed(player, most * 3 / 4)
    finally:
        torch.set_num_threads(threads)
    scene = base64.b64encode(gzip.compress(packed, 6, mtime=0)).decode()
    return _html(printable(title), script, style, scene)


def check_length(seconds: float) -> None:
    """Raises SopError if a page of so many seconds is longer than `LONGEST`, rounded."""
    if round(seconds) > LONGEST:  # a stretch is rounded to STFT frames
        length = f"{seconds:.0f} s in one page, which a browser would have to hold"
        raise SopError(f"{length}; choose at most {LONGEST:.0f} s (--from and --to, or seconds=)")


def framed(page: str) -> str:
    """The page as a part of another one, such as a notebook's output."""
    shown = f'srcdoc="{html.escape(page)}" width="100%" height="900"'
    return f'<iframe {shown} allow="autoplay" style="border: 0" title="Sound of Pixels"></iframe>'


def _joined(names: tuple[str, ...]) -> str:
    return "\n".join((STATIC / name).read_text(encoding="utf-8") for name in names)


def _html(title: str, script: str, style: str, scene: str) -> str:
    """Only this script and this style may run: not what somebody has put into a name."""
    digests = [hashlib.sha256(text.encode()).digest() for text in (script, style)]
    scripts, styles = (f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
    policy = f"default-src 'none'; script-src {scripts}; style-src {styles}; img-src blob: data:"
    title = html.escape(title)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<h1>{title}</h1>
<main id="sop-page"><noscript>This page needs JavaScript.</noscript></main>
<footer>Click the picture, or drag a rectangle, to hear what sounds there. A neural network has
listened once; each click is computed in this page, from what the network has found. Nothing is
loaded, and nothing is sent. Made with sop_core {__version__}, after The Sound of Pixels
(Zhao et al., 2018).</footer>
<script type="application/octet-stream" id="sop-scene">{scene}</script>
<script type="module">{script}</script>
</body>
</html>
"""


# ---- the scene as bytes


def pack(values: Any) -> bytes:
    """Values as JSON, with a place among the bytes after it for each `bytes`: see `unpack`."""
    blobs, at = [], 0

    def plain(value: Any) -> Any:
        nonlocal at
        if isinstance(value, dict):
            return {key: plain(inner) for key, inner in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(inner) for inner in value]
        if isinstance(value, bytes):
            blobs.append(value)
            at += len(value)
            return {"blob": [at - len(value), at]}
        return value

    header = json.dumps(plain(values)).encode()
    return b"".join([len(header).to_bytes(4, "little"), header, *blobs])


def _seen(player: "PixelPlayer", most: float) -> dict[str, Any]:
    """The traits that the player's page reads, with fewer and smaller pictures."""
    known = COMPUTED.union(anywidget.AnyWidget.class_trait_names())
    names = [n for n in player.trait_names(sync=True) if n[0] != "_" and n not in known]
    traits = {name: getattr(player, name) for name in names}
    # Pictures, and the maps that lie over them.
    every = max(1, math.ceil(player.fps / MOST_FPS))
    ends = np.cumsum(player.frame_sizes)
    kept = range(0, len(ends), every)
    jpegs = [player.frames[ends[k] - player.frame_sizes[k] : ends[k]] for k in kept]
    files = _webps(jpegs, most)
    traits |= {"frames": b"".join(files), "frame_sizes": [*map(len, files)]}
    for name in ("moments", "clusters"):
        maps = np.frombuffer(traits[name], np.uint8).reshape(len(ends), -1)
        traits[name] = maps[::every].tobytes()
    return traits | {"fps": player.fps / every}


def _webps(jpegs: list[bytes], most: float) -> list[bytes]:
    """Pictures as WebP files, of `most` bytes in all."""
    files, few = [], jpegs[::16]
    for step in SMALLER:
        if sum(len(_webp(jpeg, *step)) for jpeg in few) / len(few) > most / len(jpegs):
            continue
        files = [_webp(jpeg, *step) for jpeg in jpegs]
        if sum(map(len, files)) <= most:
            break
    return files or [_webp(jpeg, *SMALLER[-1]) for jpeg in jpegs]


def _webp(jpeg: bytes, quality: int, part: int) -> bytes:
    picture, file = Image.fromarray(simplejpeg.decode_jpeg(jpeg)), io.BytesIO()
    if part > 1:
        picture = picture.reduce(part)
    picture.save(file, "WEBP", quality=quality)
    return file.getvalue()


@torch.inference_mode()
def _packed(player: "PixelPlayer", most: float) -> bytes:
    """All that `Separator` and the page need, in about `most` bytes once it is compressed."""
    scene, config = player.scene, player.scene.config
    audio, synthesizer, warp = scene.feature_maps, scene.model.synthesizer, scene.model.warp
    margin = -(-config.n_fft // 2 // config.hop)
    begin, end = max(0, scene.first - margin), min(audio.length, scene.last + margin)
    numbers = [i for i, w in enumerate(audio.windows) if w.first < end and w.last > begin]
    sound = pcm(audio.padded[begin * config.hop : (end - 1) * config.hop + config.n_fft])
    # The cluster of each cell in each window; 255: none.
    clusters = np.full((len(numbers), *scene.grid), 255, np.uint8)
    for k, region in enumerate(player._clusters.regions):
        clusters[region[numbers]] = k
    levels = Levels(scene, numbers, begin, end, player._own)
    values = {
        "traits": _seen(player, SEEN * most),
        # STFT frames: of what is packed; `first`, `last` and `length` (samples) are the scene's.
        "n_fft": config.n_fft, "hop": config.hop, "begin": begin, "end": end,
        "first": scene.first, "last": scene.last, "length": len(scene.mixture),
        "over": fade(config.stft_frames),
        "sound": sound["pcm"], "peak": sound["peak"],
        # regions
        "grid": scene.grid, "channels": config.channels, "bins": config.bins,
        "features": _bytes(scene.visual_features[numbers]), "clusters": clusters.tobytes(),
        "alone": _bytes(scene.cell_features[numbers]),  # of a single cell
        "share": REGION_SHARE, "most": TRAINING_SHARE * config.pool * math.prod(scene.grid),
        "image_activation": config.image_activation,
        # track_name
        "names": _names(scene),
        "own": None,
        # masks
        "scale": None if synthesizer.scale is None else synthesizer.scale.tolist(),
        "bias": float(synthesizer.bias),
        "output_activation": config.output_activation, "least": least_share(config),
        "undivided": _undivided(config),
        "bank": _sparse(warp.bank, warp.kind), "back": _sparse(warp.back, warp.kind),
    }  # fmt: skip

    def made(cut: tuple[float, int]) -> bytes:
        return pack(values | {"windows": levels.cut(*cut)})

    def size(cut: tuple[float, int]) -> int:
        return len(gzip.compress(made(cut), 1))

    values["own"] = _own(player._own, OWN * min(size(CUTS[0]), most))
    return made(CUTS[bisect_left(CUTS[:-1], True, key=lambda cut: size(cut) <= most)])


def _own(own: OwnSound | None, most: float) -> dict | None:
    """The video's own sound as a FLAC file, which browsers decode to the very samples; None: there
    is none but the model's band in mono.
    """
    if own is None or own.times * own.channels == 1:
        return None
    peak, flac, scale = max(float(np.abs(own.padded).max()), 1e-9), b"", 0.0
    for bits in OWN_BITS:
        unit, file = 2 ** (16 - bits), io.BytesIO()
        samples = np.rint(own.padded / peak * (32_767 // unit)).astype(np.int16) * unit
        soundfile.write(file, samples.T, own.rate, format="FLAC", subtype="PCM_16")
        flac, scale = file.getvalue(), peak * 2**15 / (32_767 // unit * unit)  # browsers' 1: 2^15
        if len(flac) <= most:
            break
    about = {"times": own.times, "channels": own.channels, "rate": own.rate}
    return about | {"scale": scale, "flac": flac}


def _names(scene: "Scene") -> dict | None:
    """What `Scene.name` tells a region of cells by; None: the model has no names."""
    names, looks = scene.model.names, scene.looks
    if names is None or looks is None:
        return None
    means = {"means": _bytes(names.means), "looks": _bytes(looks[shown_in(scene)].mean(0))}
    likely = {"sharpness": names.sharpness, "least": names.least, "likely": LIKELY}
    return {"labels": names.labels} | means | likely


def _undivided(config: Config) -> str:
    """Why "nothing else sounds" isn't for this model; empty if it is."""
    try:
        check_partition(config)
    except SopError as e:
        return str(e)
    return ""


def _bytes(values: Tensor) -> bytes:
    return values.cpu().numpy().astype("<f4").tobytes()


def _sparse(matrix: Tensor, kind: str) -> dict | None:
    """From the first to the last number of each row that isn't 0; None for no warp."""
    if kind == "none":
        return None
    rows = [row.nonzero()[:, 0] for row in matrix.cpu()]
    spans = [(int(at.min()), int(at.max()) + 1) if len(at) else (0, 0) for at in rows]
    weights = torch.cat([row[a:b] for row, (a, b) in zip(matrix.cpu(), spans, strict=True)])
    first, counts = [a for a, _ in spans], [b - a for a, b in spans]
    return {"first": first, "count": counts, "weights": _bytes(weights)}
