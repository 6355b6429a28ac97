"""The HTML report: one file with all its pictures and sounds. It opens without a server."""

import base64
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import jinja2
import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from .. import __version__, show
from ..config import AnyPath, Config
from ..data.clips import Clip
from ..media.atomic import atomic_path
from ..media.jpgs import frame_size, read_frames
from ..media.sound import wav_bytes
from ..media.stream import frames_within
from ..media.write import write_video
from ..model.model import SoundOfPixels
from ..training.checkpoint import Record
from ..training.windows import Mixture, Part
from . import tables
from .duets import heard, with_truth
from .methods import Example, example

TEMPLATE = Path(__file__).parent / "static" / "report.html"


def write(
    folder: AnyPath,
    model: SoundOfPixels,
    pairs: list[Mixture] | dict[str, list[Mixture]],
    history: Sequence[Record] = (),
    results: dict | None = None,
    pictures: dict[str, bytes] | None = None,
) -> Path:
    """Write `folder/index.html` atomically. Shows a progress bar.

    Args:
        pairs: the mixtures to separate, a block each. A dict gives them under its keys as headings.
        history: for the learning curve.
        results: the content of `metrics.json`, for the tables.
        pictures: title -> png.

    Returns the path of the page. Everything that comes from files is escaped.
    """
    # Separate the mixtures under each heading.
    sections = pairs if isinstance(pairs, dict) else {"Separated mixtures": pairs}
    examples = {title: [] for title in sections}
    flat = [(title, pair) for title, mixtures in sections.items() for pair in mixtures]
    equal_level = bool(results and results["protocol"].get("equal_level"))
    for title, pair in tqdm(flat, desc="report", unit="mixture", leave=False):
        one = example(model, pair, equal_level)
        examples[title].append(_block(one, pair, model.config))

    # Fill in the template.
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    html = environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        config=asdict(model.config),
        version=__version__,
        curve=_png(show.figure_png(show.history(list(history)))) if history else None,
        history=[asdict(r) for r in history],
        results=results or {},
        pictures={title: _png(png) for title, png in (pictures or {}).items()},
        examples=examples,
    )
    path = Path(folder, "index.html")
    with atomic_path(path) as part:
        part.write_text(html, encoding="utf-8", errors="backslashreplace")
    return path


def of_evaluation(
    model: SoundOfPixels,
    pairs: list[Mixture],
    duets: list[Clip],
    truth: AnyPath | None,
    results: dict,
    scores: pd.DataFrame,
    count: int = 5,
) -> dict:
    """The mixtures and pictures of an evaluation's report.

    Args:
        pairs, duets, truth: as `evaluate` takes them.
        results, scores: as `evaluate` returns them.
        count: how many of the mixtures that gained most, and least, to show.

    Returns the arguments `pairs` and `pictures` of `write`.
    """
    lead = scores.loc[scores.sources == results["protocol"]["sources"]]
    figures, mixtures = {}, {}
    if results["per_label"]:
        # The mixtures that gained most and least, each in one list only.
        order = tables.gains(lead).index.tolist()
        half = len(order) // 2
        best, worst = order[: len(order) - half][:count], order[::-1][:half][:count]
        mixtures["Mixtures that gained most"] = [pairs[i] for i in best]
        if worst:
            mixtures["Mixtures that gained least"] = [pairs[i] for i in worst]
        figures["Every source, every mixture"] = show.scores(lead)
        labels = show.labels(results["per_label"])
        figures["Each instrument, and the head-room above it"] = labels
        figures["Which are taken for which"] = show.confusion(results["confusion"])
    for clip, _ in with_truth(duets, truth)[:4]:
        figures[f"Where it hears {clip.name}"] = show.finds(*heard(model, clip, truth))
    pictures = {title: show.figure_png(figure) for title, figure in figures.items()}
    return {"pairs": mixtures, "pictures": pictures}


def _block(one: Example, pair: Mixture, config: Config) -> dict:
    """An example for the template: data URIs in place of arrays."""
    loudest = one.mixture_mag.max()

    def player(sound: np.ndarray, mag: np.ndarray) -> dict:
        picture = show.png(show.decibels(mag, loudest), show.SOUND)
        wav = wav_bytes(sound, one.rate)
        return {"picture": _png(picture), "sound": _uri(wav, "audio/wav")}

    sources = [
        {
            "name": name,
            "frame": _uri(show.picture(one.frames[n], "jpeg"), "image/jpeg"),
            "video": _video(pair[n], config, one.true[n]),
            "true": player(one.true[n], one.true_mags[n]),
            "estimate": player(one.estimates[n], one.estimate_mags[n]),
            "true_mask": _png(show.png(one.true_masks[n], show.MASK)),
            "estimate_mask": _png(show.png(one.estimate_masks[n], show.MASK)),
            "sdr": None if one.sdr is None else float(one.sdr[n]),
            "sdr_mixture": None if one.sdr_mixture is None else float(one.sdr_mixture[n]),
        }
        for n, name in enumerate(one.names)
    ]
    weight = _png(show.png(one.weight / one.weight.max(), show.ENERGY))
    return {"mixture": player(one.mixture, one.mixture_mag), "weight": weight, "sources": sources}


def _video(part: Part, config: Config, sound: np.ndarray) -> str:
    """The video of a part's window, 240 pixels wide, with a sound (L,)."""
    clip = part.clip
    width, height = frame_size(clip.frames)
    first = part.start / config.rate * config.fps
    indices = (first + np.arange(frames_within(config.seconds, config.fps))).astype(int)  # (V,)
    size = (240, round(240 * height / width))
    frames = read_frames(clip.frames, indices.clip(0, clip.n_frames - 1), size)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "video.mp4")
        write_video(path, frames, config.fps, sound, config.rate)
        return _uri(path.read_bytes(), "video/mp4")


def _png(data: bytes) -> str:
    return _uri(data, "image/png")


def _uri(data: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
