"""The HTML report: one file that opens from disk, on a phone too, with no server; pictures and sounds are inside it."""

import base64
import tempfile
from dataclasses import asdict
from pathlib import Path

import jinja2
import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from . import __version__, media, show, tables
from .checkpoint import Record
from .clips import Clip
from .config import AnyPath, Config
from .duets import heard, with_truth
from .methods import Example, example
from .nets import SoundOfPixels
from .windows import Mixture, Part

TEMPLATE = Path(__file__).parent / "static" / "report.html"


def write(
    folder: AnyPath,
    model: SoundOfPixels,
    pairs: list[Mixture] | dict[str, list[Mixture]],
    history: list[Record] = (),
    results: dict | None = None,
    pictures: dict[str, bytes] | None = None,
) -> Path:
    """Write `folder/index.html` (whole or not at all) and return its path.

    pairs: the mixtures to take apart, one block each, under headings where they have any; history: draws the learning curve;
    results: what `metrics.json` holds, as tables; pictures: title -> png. Everything that comes from files is escaped.
    """
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    parts = pairs if isinstance(pairs, dict) else {"Mixtures, taken apart": pairs}
    bar = tqdm(total=sum(map(len, parts.values())), desc="report", unit="mixture", leave=False)
    examples = {title: [] for title in parts}
    for title, mixtures in parts.items():
        for pair in mixtures:
            examples[title].append(_block(example(model, pair), pair, model.config))
            bar.update()
    bar.close()
    html = environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        config=asdict(model.config),
        version=__version__,
        curve=_figure(show.history(history)) if history else None,
        history=[asdict(r) for r in history],
        results=results or {},
        pictures={title: _uri(png, "image/png") for title, png in (pictures or {}).items()},
        examples=examples,
    )
    path = Path(folder, "index.html")
    with media.whole(path) as tmp:
        tmp.write_text(html, encoding="utf-8", errors="backslashreplace")
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
    """What `write` shows of an evaluation: `pictures`, and as `pairs` the mixtures that gained most and least."""
    lead, pictures, shown = scores[scores.sources == results["protocol"]["sources"]], {}, {}
    if results["per_label"]:
        order = tables.gains(lead).index.tolist()
        best, worst = order[: min(count, (len(order) + 1) // 2)], order[::-1][: min(count, len(order) // 2)]
        for title, part in (("Mixtures that gained most", best), ("Mixtures that gained least", worst)):
            shown |= {title: [pairs[i] for i in part]} if part else {}
        pictures["Every source, every mixture"] = show.figure_png(show.scores(lead))
        pictures["Each instrument, and the head-room above it"] = show.figure_png(show.labels(results["per_label"]))
        pictures["Which are taken for which"] = show.figure_png(show.confusion(results["confusion"]))
    for clip, _ in with_truth(duets, truth)[:4] if duets else []:
        pictures[f"Where it hears {clip.name}"] = show.figure_png(show.finds(*heard(model, clip, truth)))
    return {"pairs": shown, "pictures": pictures}


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
