"""What composed videos must be like: how well models separate videos that nobody composed.

    python benchmarks/teach.py --out docs/teach.csv [--work build/teach] [--seeds 0 1]

The material is drawn and computed (`toy.material`). The test is the toy orchestra's own: mixtures
of its test videos, where players move and play other notes. Each case composes 20 solos of 8 s a
label, trains the demo's model on 6,000 mixtures (a third of the demo's), and measures. `the videos`
is what the orchestra's own training videos give. Cases that are there already are not made again.
A case takes some six minutes on one core.
"""

import argparse
import json
from pathlib import Path

import pandas as pd

from sop_core.__main__ import main as sop
from sop_core.compose.compose import compose
from sop_core.toy.material import write_material
from sop_core.toy.render import render_dataset

FULL = {"photos": 20, "libraries": 3, "rooms": True}
CASES = {
    "the videos": {"photos": 0},
    "2 photos": {"photos": 2},
    "5 photos": {"photos": 5},
    "10 photos": {"photos": 10},
    "20 photos": {},
    "no rooms": {"rooms": False},
    "1 library": {"libraries": 1},
}
SHORT = ["epochs=1", "epoch_size=6000", "looks=6", "workers=1"]


def run(*words: object) -> None:
    assert sop([str(word) for word in words]) == 0, words


def orchestra(work: Path) -> Path:
    """The toy orchestra, preprocessed: what is measured on."""
    data = work / "orchestra"
    run("preprocess", render_dataset(data), "--out", data, "--audio-format", "wav")
    run("index", data)
    return data


def compose_case(case: dict, seed: int, place: Path) -> Path:
    """Compose and preprocess a case: its list of clips."""
    counts = {"photos": case["photos"], "libraries": case["libraries"]}
    photos, sounds = write_material(place / "material", **counts, seed=seed)
    size = {"seconds": 8.0, "seed": seed, "solos": 20, "duets": 0}
    nothing_held_out = {"val_ratio": 0.0, "test_ratio": 0.0}
    videos = place / "videos"
    compose(photos, sounds, videos, dry=not case["rooms"], **size, **nothing_held_out)
    run("preprocess", videos, "--out", place, "--audio-format", "wav")
    run("index", place, "--val-ratio", 0, "--test-ratio", 0)
    return place / "train.csv"


def measure(case: dict, seed: int, work: Path, orchestra: Path) -> dict[str, float]:
    """SDR in dB on the orchestra's test mixtures: of the model, and of the mixture itself."""
    name = "_".join(f"{key}{int(value)}" for key, value in case.items()) + f"_seed{seed}"
    place = work / name
    scores = place / "ckpt/run/metrics.json"
    if not scores.exists():
        train = compose_case(case, seed, place) if case["photos"] else orchestra / "train.csv"
        clips = ["--train", train, "--val", orchestra / "val.csv"]
        settings = ["--set", f"seed={seed}", *SHORT]
        resume = ["--resume"] if (place / "ckpt/run/config.json").exists() else []
        where = ["--id", "run", "--ckpt", place / "ckpt"]
        run("train", "--preset", "demo", *clips, *where, *settings, *resume)
        mixtures = ["--index", orchestra / "test.csv", "--n-pairs", 60, "--labels", "different"]
        # Composed videos have the orchestra's names (`cello_001`), and nothing else in common.
        run("evaluate", place / "ckpt/run", *mixtures, "--allow-leaks")
    rows = {row["method"]: row["sdr"] for row in json.loads(scores.read_text())["rows"]}
    return {"sdr": rows["model"], "mixture": rows["mixture"]}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default="docs/teach.csv")
    parser.add_argument("--work", type=Path, default="build/teach")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    given = parser.parse_args()
    data = orchestra(given.work)
    rows = []
    for seed in given.seeds:
        for name, change in CASES.items():
            scores = measure(FULL | change, seed, given.work, data)
            rows.append({"case": name, "seed": seed} | scores)
            print(rows[-1], flush=True)
            pd.DataFrame(rows).round(2).to_csv(given.out, index=False)
