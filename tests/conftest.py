"""Shared data: a tiny world whose answers are obvious, and the demo set."""

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from sop_core.config import DATA, DEMO, DEMO_WEIGHTS
from sop_core.index import Clip, read_index

SHARED = Path(os.environ.get("SOP_SHARED", Path(__file__).parents[2] / "shared"))

# One window is 0.74 s, T = 32; the grid is 4 x 4. Small enough to train in seconds.
TINY = DEMO.override(
    {"name": "tiny", "samples": "8191", "bins": "32", "image": "32", "stride": "2", "sound_width": "4", "frame_width": "4",
     "channels": "4", "batch": "4", "epoch_size": "8", "epochs": "2", "val_pairs": "4", "workers": "0"}
)  # fmt: skip
TONES = {"red": 440.0, "blue": 1_760.0}  # Hz: what each colour sounds like
COLOURS = {"red": (220, 30, 30), "blue": (30, 60, 220)}


def write_clip(data: Path, label: str, number: int, seconds: float = 3.0, silent: bool = False) -> Clip:
    """A clip of a coloured square that sounds as a tone, with harmonics and a melody of loudness of its own."""
    name, rng, rate = f"{label}_{number}", np.random.default_rng([number, len(label)]), DEMO.rate
    t = np.arange(int(seconds * rate)) / rate
    wave = sum(np.sin(2 * np.pi * k * TONES[label] * t) / k for k in (1, 2)) * (
        1.2 + np.sin(2 * np.pi * rng.uniform(1, 3) * t)
    )
    sound, frames = data / "audio" / label / f"{name}.flac", data / "frames" / label / f"{name}.mp4"
    sound.parent.mkdir(parents=True, exist_ok=True), frames.mkdir(parents=True, exist_ok=True)
    soundfile.write(sound, (0 if silent else 0.1) * wave, rate)
    picture = np.full((60, 80, 3), rng.integers(60, 160), np.uint8)  # higher than wide would hide a transposed axis
    y, x = rng.integers(5, 25), rng.integers(5, 45)
    picture[y : y + 30, x : x + 30] = COLOURS[label]
    count = int(seconds * DEMO.fps)
    for k in range(count):
        Image.fromarray(picture).save(frames / f"{k + 1:06d}.jpg")
    return Clip(sound, frames, count)


@pytest.fixture(scope="session")
def tiny_clips(tmp_path_factory) -> list[Clip]:
    """Six clips of red and blue squares: red sounds low, blue sounds high."""
    data = tmp_path_factory.mktemp("tiny")
    return [write_clip(data, label, n) for n in range(3) for label in TONES]


@pytest.fixture(scope="session")
def demo_data() -> Path:
    """`data/demo`, made once and kept, as `make demo` and the notebooks do it."""
    from sop_core import index, orchestra, preprocess

    videos = orchestra.render(DATA / "demo", progress=False)
    preprocess.preprocess(videos, DATA / "demo", progress=False)
    index.build_index(DATA / "demo")
    return DATA / "demo"


@pytest.fixture(scope="session")
def demo_val(demo_data) -> list[Clip]:
    return read_index(demo_data / "val.csv")


@pytest.fixture(scope="session")
def demo_model():
    """The shipped model."""
    from sop_core.train import load_model

    return load_model(DEMO_WEIGHTS)


@pytest.fixture(scope="session")
def semireal() -> Path:
    """Clips that are kept apart from the repository; tests that need them skip where they are not."""
    folder = SHARED / "media" / "semireal"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not here: it holds other people's pictures and is never committed")
    return folder
