"""Clips of the toy orchestra, made once."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from toyfiles import SEED, decode

from sop_core.toy import render
from sop_core.toy.music import LABELS, make_music


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    """Two solos, a duet and an empty stage."""
    out = tmp_path_factory.mktemp("small")
    assert render.render_dataset(out, 2, 1, 1, SEED, jobs=1, progress=False) == out / "videos"
    return out


@pytest.fixture(scope="session")
def duet(small):
    """The truth of its duet, with the decoded file and the stems."""
    truth = json.loads((small / "truth" / "duet_000.json").read_text())
    stems = [soundfile.read(small / "truth" / s["stem"])[0] for s in truth["sources"]]
    return SimpleNamespace(
        truth=truth, stems=np.stack(stems), decoded=decode(small / truth["video"])
    )


@pytest.fixture(scope="session")
def clip():
    """A duet in memory."""
    return render.perform(("cello", "xylophone"), np.random.default_rng(4))


@pytest.fixture(scope="session")
def takes():
    """The takes of the same duet."""
    return render.play(("cello", "xylophone"), np.random.default_rng(4))[1]


@pytest.fixture(scope="session")
def sounds():
    """{label: 3 sounds of unlike seeds}, and the pitches played in them."""
    stems, pitches = {}, {}
    for i, label in enumerate(LABELS):
        music = [make_music((label,), np.random.default_rng([i, j])) for j in range(3)]
        stems[label] = [s[0] for s, _ in music]
        pitches[label] = [melodies[0].midi for _, melodies in music]
    return stems, pitches
