"""How well checkpoints separate mixtures of real solos.

    python benchmarks/real.py VIDEOS CKPT... [--labels violin trumpet] [--photos PHOTOS] [--each 2]

`VIDEOS/<label>/<id>.mp4` are solos of known instruments. Every two windows of different labels are
mixed, equally loud. A window is the model's (2.97 s for the demo's), and begins each quarter of
that. `--labels`: only solos of these labels. `--photos`: also measured with a photo of
`PHOTOS/<label>/` in place of the video's frames: the difference is what the eyes lose on a video.
Labels without a photo are then left out of both. `--each N`: only N mixtures of every two labels,
drawn by a seed; of long solos, all are thousands. `--out`: a csv of the rows.

Before the scores it says how well the sounds are recognized: each solo is heard alone, with a
picture of each label, and these pictures divide its energy. What isn't recognized is hard to
separate.
"""

import argparse
import sys
import tempfile
from itertools import combinations, product
from pathlib import Path

import numpy as np
import pandas as pd
import simplejpeg
from PIL import Image

from sop_core.config import Config
from sop_core.data.clips import Clip, find_clips, solos
from sop_core.data.preprocess import preprocess
from sop_core.evaluation.methods import heard_as, score_pairs
from sop_core.evaluation.tables import table, text_table
from sop_core.media.jpgs import frame_path
from sop_core.media.sound import sound_length
from sop_core.model.model import SoundOfPixels
from sop_core.training.checkpoint import load_model
from sop_core.training.windows import Mixture, Part

WINDOWS = 6  # of each label, heard alone


def read_solos(videos: Path, config: Config, work: Path) -> list[Clip]:
    """The solos that fill a window, preprocessed as the model wants them."""
    data = work / f"{config.rate}_{config.fps:g}"
    preprocess(videos, data, config.fps, config.rate, audio_format="wav", short_side=config.image)
    clips = solos(find_clips(data))
    return [clip for clip in clips if sound_length(clip.sound)[0] >= config.samples]


def mix(clips: list[Clip], config: Config, each: int | None = None) -> list[Mixture]:
    """Every two windows of clips of different labels. A clip has one each quarter of a window.

    `each`: at most so many mixtures of every two labels, drawn by the config's seed.
    """

    def windows(clip: Clip) -> list[Part]:
        last = sound_length(clip.sound)[0] - config.samples
        return [Part(clip, start) for start in range(0, last + 1, config.samples // 4)]

    of_labels: dict[frozenset[str], list[Mixture]] = {}
    for a, b in combinations(clips, 2):
        if a.label != b.label:
            mixtures = of_labels.setdefault(frozenset((a.label, b.label)), [])
            mixtures += product(windows(a), windows(b))
    rng = np.random.default_rng(config.seed)
    drawn = []
    for mixtures in of_labels.values():
        n = min(each or len(mixtures), len(mixtures))
        drawn += [mixtures[k] for k in sorted(rng.choice(len(mixtures), n, replace=False))]
    return drawn


def recognized(model: SoundOfPixels, clips: list[Clip]) -> str:
    """How much of each label's sound goes to its own picture, and to which one goes most.

    Means over `WINDOWS` windows of each label, which are spread over its clips.
    """
    by_label = {label: [c for c in clips if c.label == label] for label in {c.label for c in clips}}
    tables = []
    for k in range(WINDOWS):
        chosen = [by_label[label][k % len(by_label[label])] for label in sorted(by_label)]
        last = [sound_length(clip.sound)[0] - model.config.samples for clip in chosen]
        places = (int(n * (k + 0.5) / WINDOWS) for n in last)
        tables.append(heard_as(model, tuple(map(Part, chosen, places))))
    shares = pd.concat(tables).groupby(level=0).mean().dropna(how="all")  # windows that sound
    most = shares.idxmax(axis=1)
    lines = [
        f"{label:20} {shares.loc[label, label]:5.0%}   {other} {shares.loc[label, other]:.0%}"
        for label, other in most.items()
    ]
    own = f"{(most == most.index).mean():.0%} of {len(most)} labels (by chance {1 / len(most):.0%})"
    head = f"{'label':20} {'own':>5}   most"
    return "\n".join([f"heard alone, the most goes to the own picture: {own}", head, *lines])


def with_photos(clips: list[Clip], photos: Path, work: Path) -> list[Clip]:
    """The clips with a photo of their label in place of their frames; without one: left out."""
    shown = []
    for clip in clips:
        files = sorted(
            p for kind in ("jpg", "png") for p in (photos / clip.label).glob(f"*.{kind}")
        )
        if photo := next(iter(files), None):
            frames = work / "photos" / clip.label / f"{clip.id}.mp4"
            frames.mkdir(parents=True, exist_ok=True)
            picture = np.asarray(Image.open(photo).convert("RGB"))
            jpg = simplejpeg.encode_jpeg(np.ascontiguousarray(picture), 90, "RGB", "420")
            for k in range(clip.n_frames):
                frame_path(frames, k).write_bytes(jpg)
            shown.append(Clip(clip.sound_path, str(frames), clip.n_frames))
    return shown


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("videos", type=Path)
    parser.add_argument("ckpt", type=Path, nargs="+")
    parser.add_argument("--labels", nargs="+")
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--each", type=int)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        for folder in given.ckpt:
            model = load_model(folder, "cpu")
            clips = read_solos(given.videos, model.config, work)
            clips = [c for c in clips if not given.labels or c.label in given.labels]
            seen = {"frames": clips}
            if given.photos:
                seen["photos"] = with_photos(clips, given.photos, work)
                shown = {clip.name for clip in seen["photos"]}
                seen["frames"] = [clip for clip in clips if clip.name in shown]  # the same sounds
            for name, shown in seen.items():
                mixtures = mix(shown, model.config, given.each)
                if not mixtures:
                    sys.exit(
                        f"{name}: no two solos of different labels; expected PHOTOS/<label>/*.jpg"
                    )
                baselines = ["nmf"] if name == "frames" else []
                print(f"{folder}, {name}:", recognized(model, shown))
                scores = score_pairs(model, mixtures, baselines, equal_level=True)
                measured = table(scores)
                print(f"{folder}, {name}: {len(mixtures)} mixtures of {len(shown)} solos")
                print(text_table(measured))
                rows += [{"model": folder.name, "seen": name} | row for row in measured]
    if given.out:
        pd.DataFrame(rows).to_csv(given.out, index=False)
