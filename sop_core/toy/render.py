"""The toy orchestra: a data set of real mp4 files, made from one seed.

    OUT/videos/<label>/<label>_<kkk>.mp4    solos: h264 yuv420p 320 x 240 at 25 fps,
                                            aac mono 44.1 kHz, 10-12 s
    OUT/videos/<a b>/duet_<kkk>.mp4         duets of two different instruments, a < b
    OUT/videos/silence/silence_<kkk>.mp4    empty stages: nobody plays
    OUT/truth/<id>.json                     where each player is, and how loud
    OUT/truth/<id>_<i>.flac                 a duet's stems (they add up to its sound)
    OUT/orchestra.json                      version, seed, counts

Timbre and shape tell the instruments apart. Pitch, player, place, size, light and background are
random; each instrument has its own range of colours. A solo is cut together from several takes,
each with another player in another place. Clip k of a kind has its own generator,
default_rng([seed, number of players, k]): it is the same whatever else is made, and at any number
of jobs.
"""

import re
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.random import Generator

from ..compose.clips import (
    Performance,
    claim_folder,
    loudness,
    make_clips,
    tournament,
    truth_file,
    write_clip,
)
from ..config import SILENCE_LABEL, AnyPath
from ..errors import SopError
from .music import FPS, FRAMES_PER_PICTURE, INSTRUMENTS, LABELS, SAMPLES_PER_FRAME, make_music
from .players import poses
from .stage import SIZE, Take, make_take

VERSION = 3  # of the clips: a folder of another version is refused, not mixed
TAKES = 4  # of a solo; a duet is one take

# ---- one clip


def perform(labels: tuple[str, ...], rng: Generator) -> Performance:
    """One clip of the given instruments, in memory. Without labels: an empty, silent stage.

    Raises SopError unless labels are at most three different ones of LABELS.
    """
    stems, takes = play(labels, rng)
    boxes = np.stack([take.boxes().reshape(-1, 4) for take in takes])  # (takes, N, 4)
    boxes = np.concatenate([boxes[..., :2].min(0), boxes[..., 2:].max(0)], 1)

    def frames():
        for picture in chain.from_iterable(take.pictures() for take in takes):
            yield from [picture] * FRAMES_PER_PICTURE

    return Performance(labels, stems, boxes, SIZE, FPS, frames)


def play(labels: tuple[str, ...], rng: Generator) -> tuple[np.ndarray, list[Take]]:
    """What is heard and what is seen: stems (N, L), and the takes of the camera."""
    if not len(set(labels)) == len(labels) <= 3 or not set(labels) <= set(LABELS):
        expected = f"expected at most three different ones of {', '.join(LABELS)}"
        raise SopError(f"labels {tuple(labels)}: {expected}")
    stems, melodies = make_music(labels, rng)
    loud = loudness(stems, SAMPLES_PER_FRAME)
    players = zip(labels, melodies, loud, strict=True)
    moves = [list(poses(INSTRUMENTS[label], melody, rms)) for label, melody, rms in players]
    # Several takes: a solo's sound has nothing in common with the place where it was filmed.
    count = TAKES if len(labels) < 2 else 1
    cuts = np.linspace(0, loud.shape[1] // FRAMES_PER_PICTURE, count + 1).astype(int)  # pictures
    return stems, [
        make_take(labels, [player[start:end] for player in moves], end - start, rng)
        for start, end in zip(cuts[:-1], cuts[1:], strict=True)
    ]


def clip_files(out: AnyPath, labels: tuple[str, ...], k: int) -> tuple[Path, bool]:
    """The video of clip k of its kind, and whether the clip is complete."""
    label = " ".join(labels) or SILENCE_LABEL
    kind = {2: "duet", 3: "trio"}.get(len(labels), label)
    video = Path(out, "videos", label, f"{kind}_{k:03d}.mp4")
    return video, truth_file(out, video.stem).exists() and video.exists()


def is_solo(name: str) -> bool:
    """Whether a clip's `label/id` is that of a toy solo, such as `cello/cello_007`."""
    return re.fullmatch(rf"({'|'.join(LABELS)})/\1_\d{{3,}}", name) is not None


def render_clip(out: AnyPath, labels: tuple[str, ...], k: int, seed: int = 0) -> Path:
    """Clip k of its kind (empty stage, solo, duet, trio) as files under `out`.

    Returns the video. A clip that is complete is kept. Raises SopError on bad labels.
    """
    out = Path(out)
    labels = tuple(sorted(labels))
    video, complete = clip_files(out, labels, k)
    if not complete:
        clip = perform(labels, np.random.default_rng([seed, len(labels), k]))
        write_clip(out, video, clip)
    return video


# ---- the data set


def duet_pairs(n: int, seed: int) -> list[tuple[str, str]]:
    """n duets: 3 in a row have all instruments, 15 every pair."""
    return tournament(LABELS, n, seed)


def render_dataset(
    out: AnyPath,
    n_solos: int = 72,
    n_duets: int = 12,
    n_empty: int = 8,
    seed: int = 0,
    jobs: int | None = None,
    progress: bool = True,
) -> Path:
    """Render the data set under `out`. Solos take the instruments in turn.

    Args: `jobs`: clips at a time (None: as many as there are cores).
    Returns OUT/videos. Clips that are there already are kept; larger counts add clips.
    Raises SopError on a negative count or seed, a folder with another orchestra in it, or one that
    can't be written.
    """
    out = Path(out)
    counts = {"n_solos": n_solos, "n_duets": n_duets, "n_empty": n_empty}
    for name, value in {**counts, "seed": seed}.items():
        if value < 0:
            raise SopError(f"{name}={value}: expected 0 or more")
    claim_folder(out / "orchestra.json", {"seed": seed, "version": VERSION}, counts)
    # every clip as (labels, k)
    clips = [((LABELS[k % len(LABELS)],), k) for k in range(n_solos)]
    clips += [(pair, k) for k, pair in enumerate(duet_pairs(n_duets, seed))]
    clips += [((), k) for k in range(n_empty)]
    # render what is missing; if nothing is, start no processes
    complete = all(clip_files(out, *clip)[-1] for clip in clips)
    work = [(out, *clip, seed) for clip in clips]
    folders = {out / "truth", *(clip_files(out, *clip)[0].parent for clip in clips)}
    title = "the orchestra plays"
    make_clips(render_clip, work, title, 1 if complete else jobs, progress, folders)
    (out / "videos").mkdir(exist_ok=True)
    return out / "videos"
