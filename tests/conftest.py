"""Shared data: a tiny world whose answers are obvious, and the demo set."""

import os
from pathlib import Path

import pytest
from filelock import FileLock
from skips import pytest_runtest_makereport, pytest_terminal_summary  # noqa: F401 - hooks
from tiny import SHARED, TINY, TONES, Eyes, write_clip

from sop_core.config import DATA, DEMO, DEMO_WEIGHTS, SILENCE_LABEL
from sop_core.data.clips import Clip, read_index
from sop_core.data.splits import build_index

# Numbers are compared to the last digits. So tests, their processes and the notebooks run on the
# CPU, also where there is a GPU. test_devices.py tests GPUs.
os.environ["SOP_DEVICE"] = "cpu"


@pytest.fixture(scope="session")
def tiny_clips(tmp_path_factory) -> list[Clip]:
    """Six clips of red and blue squares: red sounds low, blue sounds high."""
    data = tmp_path_factory.mktemp("tiny")
    return [write_clip(data, label, n) for n in range(3) for label in TONES]


@pytest.fixture(scope="session")
def empty_rooms(tmp_path_factory) -> list[Clip]:
    """Three silent scenes of that world."""
    data = tmp_path_factory.mktemp("empty")
    return [write_clip(data, SILENCE_LABEL, n) for n in range(3)]


@pytest.fixture(scope="session")
def eyes() -> Eyes:
    """A model whose answer is known."""
    return Eyes(TINY).eval()


@pytest.fixture(scope="session")
def demo_data() -> Path:
    """`data/demo`, made once and kept, as `make demo` and the notebooks do it.

    By one of the processes that run tests side by side: the others wait for it.
    """
    from sop_core.data import preprocess
    from sop_core.toy.render import render_dataset

    DATA.mkdir(exist_ok=True)
    with FileLock(DATA / "demo.lock"):
        videos = render_dataset(DATA / "demo", progress=False)
        preprocess.preprocess(videos, DATA / "demo", audio_format=DEMO.audio_format, progress=False)
        build_index(DATA / "demo")
    return DATA / "demo"


@pytest.fixture(scope="session")
def demo_val(demo_data) -> list[Clip]:
    return read_index(demo_data / "val.csv")


@pytest.fixture(scope="session")
def demo_model():
    """The shipped model."""
    from sop_core.training.checkpoint import load_model

    return load_model(DEMO_WEIGHTS)


@pytest.fixture(scope="session")
def toy_duet(demo_model, tmp_path_factory):
    """A scene of 10 s: a cello and a trumpet of the toy orchestra, heard by the shipped model."""
    from sop_core.listening.scene import Scene
    from sop_core.toy.render import render_clip

    video = render_clip(tmp_path_factory.mktemp("duet"), ("cello", "trumpet"), k=0, seed=2027)
    return Scene.from_video(demo_model, video)


@pytest.fixture(scope="session")
def semireal() -> Path:
    """Clips outside the repository; tests that need them are skipped where they are missing."""
    folder = SHARED / "media" / "semireal"
    if not folder.is_dir():
        pytest.skip(
            f"{folder} is not here: it holds other people's pictures and is never committed"
        )
    return folder
