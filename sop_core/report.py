"""The HTML report: one file that opens from disk, on a phone too, with no server; pictures and sounds are inside it."""

import base64
import tempfile
from dataclasses import asdict
from pathlib import Path

import jinja2
import numpy as np
from tqdm.auto import tqdm

from . import __version__, media, show
from .checkpoint import Record
from .config import Config
from .evaluate import Example, example
from .mixing import Mixture, Part
from .nets import SoundOfPixels

TEMPLATE = Path(__file__).parent / "static" / "report.html"


def write(
    folder: Path,
    model: SoundOfPixels,
    pairs: list[Mixture],
    history: list[Record] = (),
    results: dict | None = None,
    scenes: dict[str, bytes] | None = None,
) -> Path:
    """Write `folder/index.html` (whole or not at all) and return its path.

    pairs: the mixtures to take apart, one block each; history: draws the learning curve; results: what `metrics.json`
    holds, as tables; scenes: title -> png, pictures of what is where. Everything that comes from files is escaped.
    """
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    examples = [
        _block(example(model, pair), pair, model.config)
        for pair in tqdm(pairs, desc="report", unit="mixture", leave=False)
    ]
    html = environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        config=asdict(model.config),
        version=__version__,
        curve=_figure(show.history(history)) if history else None,
        history=[asdict(r) for r in history],
        results={"rows": [], "per_label": [], "duets": [], "localization": {}, "protocol": {}} | (results or {}),
        scenes={title: _uri(png, "image/png") for title, png in (scenes or {}).items()},
        examples=examples,
    )
    path = folder / "index.html"
    folder.mkdir(parents=True, exist_ok=True)
    with media.whole(path) as tmp:
        tmp.write_text(html, encoding="utf-8")
    return path


def _block(one: Example, pair: Mixture, config: Config) -> dict:
    """An example as the template wants it: data URIs instead of arrays."""
    loudest = one.mixture_mag.max()

    def heard(sound: np.ndarray, mag: np.ndarray) -> dict:
        values = show.decibels(mag, loudest)
        return {"picture": _uri(show.png(values, show.SOUND), "image/png"), "sound": _wav(sound, one.rate)}

    sources = []
    for n, name in enumerate(one.names):
        sources.append(
            {
                "name": name,
                "frame": _uri(show.picture(one.frames[n], "jpeg"), "image/jpeg"),
                "video": _video(pair[n], config, one.true[n]),
                "true": heard(one.true[n], one.true_mags[n]),
                "found": heard(one.found[n], one.found_mags[n]),
                "true_mask": _uri(show.png(one.true_masks[n], show.MASK), "image/png"),
                "found_mask": _uri(show.png(one.found_masks[n], show.MASK), "image/png"),
                "sdr": None if one.sdr is None else float(one.sdr[n]),
                "sdr_mixture": None if one.sdr_mixture is None else float(one.sdr_mixture[n]),
            }
        )
    weight = _uri(show.png(one.weight / one.weight.max(), show.ENERGY), "image/png")
    return {"mixture": heard(one.mixture, one.mixture_mag), "weight": weight, "sources": sources}


def _video(part: Part, config: Config, sound: np.ndarray) -> str:
    """What is to be seen in a part's window, 240 pixels wide, with its sound."""
    width, height = media.frame_size(part.clip.frames)
    first = part.start / config.rate * config.fps
    indices = (first + np.arange(round(config.seconds * config.fps))).astype(int).clip(0, part.clip.n_frames - 1)
    frames = media.read_frames(part.clip.frames, indices, (240, round(240 * height / width)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "video.mp4"
        media.write_video(path, frames, config.fps, sound, config.rate)
        return _uri(path.read_bytes(), "video/mp4")


def _figure(fig) -> str:
    return _uri(show.figure_png(fig), "image/png")


def _wav(sound: np.ndarray, rate: int) -> str:
    return _uri(media.wav_bytes(sound, rate), "audio/wav")


def _uri(data: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
