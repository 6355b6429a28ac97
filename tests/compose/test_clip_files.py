"""The files of a clip."""

import hashlib
import os
import platform
import subprocess
import sys

import pytest

from sop_core.compose.clips import make_clips
from sop_core.errors import SopError

WRITE = """
import sys, numpy as np
from sop_core.compose.clips import RATE, Performance, write_clip
rng = np.random.default_rng(0)
scene = rng.uniform(60, 190, (9, 12, 3)).repeat(32, 0).repeat(32, 1)  # moves, with a sensor's noise
frames = [(scene[k : k + 240, k : k + 320] + rng.normal(0, 4, (240, 320, 3))) for k in range(30)]
frames = [frame.clip(0, 255).astype(np.uint8) for frame in frames]
sound = rng.normal(0, 0.1, (1, 3 * RATE)).astype(np.float32)
clip = Performance(("flute",), sound, np.zeros((1, 4)), (320, 240), 10, lambda: iter(frames))
write_clip(sys.argv[1], sys.argv[1] + "/flute_000.mp4", clip)
"""


def test_a_video_does_not_depend_on_what_lay_in_memory_before(tmp_path):
    """glibc fills fresh memory with the byte that it is told; elsewhere two runs are compared."""
    made = []
    for filled in ("1", "85", "255"):
        folder = tmp_path / filled
        (folder / "truth").mkdir(parents=True)
        words = [sys.executable, "-c", WRITE, folder]
        subprocess.run(words, check=True, env=os.environ | {"MALLOC_PERTURB_": filled})
        made.append(hashlib.sha256((folder / "flute_000.mp4").read_bytes()).hexdigest())
    assert len(set(made)) == 1


def test_a_process_that_dies_is_one_sentence_and_its_halves_are_removed(tmp_path):
    """As where the kernel kills it, for want of memory."""
    half = tmp_path / f".part-{platform.node()}-999999999-00000000.mp4"
    half.touch()
    with pytest.raises(SopError, match="died .*free memory, or take fewer processes .*run again"):
        make_clips(os._exit, [(1,)] * 2, "", 2, False, [tmp_path])
    assert not half.exists()
