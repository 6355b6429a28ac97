"""The toy orchestra: a data set of real mp4 files, made from one seed.

    OUT/videos/<label>/<label>_<kkk>.mp4    solos: h264 yuv420p 320 x 240 at 25 fps,
                                            aac mono 44.1 kHz, 10-12 s
    OUT/videos/<a b>/duet_<kkk>.mp4         duets of two different instruments, a < b
    OUT/videos/silence/silence_<kkk>.mp4    empty stages: nobody plays
    OUT/truth/<id>.json                     where each player is, and how loud
    OUT/truth/<id>_<i>.flac                 a duet's stems (they add up to its sound)
    OUT/orchestra.json                      version, seed, counts

Timbre and shape tell the instruments apart. Pitch, player, place, size, light and background are
random, and colour is only a hint. A solo is cut together from several takes, each with another
player in another place. Clip k of a kind has its own generator, default_rng([seed, number of
players, k]): it is the same whatever else is made, and at any number of jobs.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import joblib
import numpy as np
from numpy.random import Generator
from tqdm.auto import tqdm

from ..config import SILENCE_LABEL, AnyPath
from ..errors import SopError
from ..media.atomic import atomic_path, sweep
from ..media.sound import sound_writer
from ..media.write import write_video
from .music import FPS, FRAMES_PER_PICTURE, INSTRUMENTS, LABELS, RATE, loudness, make_music
from .players import poses
from .stage import SIZE, Take, make_take

VERSION = 3  # of the clips: a folder of another version is refused, not mixed
TAKES = 4  # of a solo; a duet is one take

# ---- one clip


@dataclass
class Performance:
    """One clip in memory."""

    labels: tuple[str, ...]
    stems: np.ndarray  # (N, L) float32 at RATE; their sum is the sound
    loudness: np.ndarray  # (N, V) RMS
    takes: list[Take]

    @property
    def duration(self) -> float:
        """Seconds."""
        return self.stems.shape[1] / RATE

    @property
    def boxes(self) -> np.ndarray:
        """(N, 4) x0, y0, x1, y1 in pixels: everything that is drawn of a player in the clip."""
        boxes = np.stack([take.boxes() for take in self.takes])  # (takes, N, 4)
        return np.concatenate([boxes[..., :2].min(0), boxes[..., 2:].max(0)], 1)

    def frames(self) -> Iterator[np.ndarray]:
        """The V video frames, (240, 320, 3) uint8, at FPS."""
        for take in self.takes:
            for picture in take.pictures():
                yield from [picture] * FRAMES_PER_PICTURE


def perform(labels: tuple[str, ...], rng: Generator) -> Performance:
    """One clip of the given instruments, in memory. Without labels: an empty, silent stage.

    Raises SopError unless labels are at most three different ones of LABELS.
    """
    if not len(set(labels)) == len(labels) <= 3 or not set(labels) <= set(LABELS):
        expected = f"expected at most three different ones of {', '.join(LABELS)}"
        raise SopError(f"labels {tuple(labels)}: {expected}")
    stems, melodies = make_music(labels, rng)
    loud = loudness(stems)
    players = zip(labels, melodies, loud, strict=True)
    moves = [list(poses(INSTRUMENTS[label], melody, rms)) for label, melody, rms in players]
    # Several takes: a solo's sound has nothing in common with the place where it was filmed.
    count = TAKES if len(labels) < 2 else 1
    cuts = np.linspace(0, loud.shape[1] // FRAMES_PER_PICTURE, count + 1).astype(int)  # pictures
    takes = [
        make_take(labels, [player[start:end] for player in moves], end - start, rng)
        for start, end in zip(cuts[:-1], cuts[1:], strict=True)
    ]
    return Performance(tuple(labels), stems, loud, takes)


# ---- its files


def clip_files(out: AnyPath, labels: tuple[str, ...], k: int) -> tuple[str, Path, Path, bool]:
    """The id of clip k of its kind, its video, its truth, and whether it is complete."""
    label = " ".join(labels) or SILENCE_LABEL
    kind = {2: "duet", 3: "trio"}.get(len(labels), label)
    name = f"{kind}_{k:03d}"
    video = Path(out, "videos", label, f"{name}.mp4")
    truth = Path(out, "truth", f"{name}.json")  # written last: where it is, the stems are
    return name, video, truth, truth.exists() and video.exists()


def is_solo(name: str) -> bool:
    """Whether a clip's `label/id` is that of a toy solo, such as `cello/cello_007`."""
    return re.fullmatch(rf"({'|'.join(LABELS)})/\1_\d{{3,}}", name) is not None


def describe(clip: Performance, name: str, video: str) -> dict:
    """The truth of a clip, as it is written to json."""
    sources = [
        {
            "index": i,
            "label": label,
            "box_xyxy": clip.boxes[i].tolist(),
            "stem": f"{name}_{i}.flac" if len(clip.labels) > 1 else None,
            "loudness": [round(float(v), 4) for v in clip.loudness[i]],
        }
        for i, label in enumerate(clip.labels)
    ]
    head = {"id": name, "video": video, "duration": clip.duration, "fps": FPS}
    return {**head, "frame_size": list(SIZE), "sample_rate": RATE, "sources": sources}


def render_clip(out: AnyPath, labels: tuple[str, ...], k: int, seed: int = 0) -> Path:
    """Clip k of its kind (empty stage, solo, duet, trio) as files under `out`.

    Returns the video. A clip that is complete is kept. Raises SopError on bad labels.
    """
    out = Path(out)
    labels = tuple(sorted(labels))
    name, video, truth, complete = clip_files(out, labels, k)
    if complete:
        return video
    clip = perform(labels, np.random.default_rng([seed, len(labels), k]))
    # One thread: processes do not compete for cores, and the same clip gives the same bytes.
    # (Nearly: of some 400 encodes of equal input two differed, for a reason not found.)
    write_video(
        video, clip.frames(), FPS, clip.stems.sum(0), RATE,
        h264={"preset": "veryfast", "crf": "23", "threads": "1"},
        aac={"b": "160000", "aac_coder": "fast"},
    )  # fmt: skip
    if len(labels) > 1:
        for i, stem in enumerate(clip.stems):
            path = truth.with_name(f"{name}_{i}.flac")
            with atomic_path(path) as part, sound_writer(part, RATE) as write:
                write(stem)
    with atomic_path(truth) as part:
        part.write_text(json.dumps(describe(clip, name, video.relative_to(out).as_posix())))
    return video


# ---- the data set


def duet_pairs(n: int, seed: int) -> list[tuple[str, str]]:
    """n duets, as in a round-robin tournament: 3 in a row have all instruments, 15 every pair."""
    players = np.random.default_rng([seed, 0]).permutation(LABELS).tolist()
    pairs = []
    for _ in range(len(players) - 1):
        for i in range(len(players) // 2):
            pairs.append(tuple(sorted((players[i], players[-1 - i]))))
        players = [players[0], players[-1], *players[1:-1]]
    return [pairs[i % len(pairs)] for i in range(n)]


def claim_folder(out: AnyPath, counts: dict[str, int], seed: int):
    """Write OUT/orchestra.json.

    Raises SopError if the folder holds another orchestra, or can't be written.
    """
    path = Path(out, "orchestra.json")
    try:
        old = json.loads(path.read_text()) if path.exists() else {}
        if old and (old["version"], old["seed"]) != (VERSION, seed):
            raise SopError(
                f"{out} holds an orchestra of seed {old['seed']}, version {old['version']}, "
                f"not of seed {seed}, version {VERSION}: choose another folder or delete this one"
            )
        # smaller counts than before forget nothing
        counts = {kind: max(count, old.get(kind, 0)) for kind, count in counts.items()}
        with atomic_path(path) as part:
            part.write_text(json.dumps({"version": VERSION, "seed": seed, **counts}))
    except OSError as e:
        problem = f"can't write the orchestra there ({e.strerror}): choose another folder"
        raise SopError(f"{out}: {problem}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        problem = "not what an orchestra leaves behind: choose another folder or delete it"
        raise SopError(f"{path}: {problem}") from None


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
    claim_folder(out, counts, seed)
    # every clip as (labels, k)
    clips = [((LABELS[k % len(LABELS)],), k) for k in range(n_solos)]
    clips += [(pair, k) for k, pair in enumerate(duet_pairs(n_duets, seed))]
    clips += [((), k) for k in range(n_empty)]
    complete = all(clip_files(out, *clip)[-1] for clip in clips)
    # render what is missing; if nothing is, start no processes
    work = joblib.Parallel(n_jobs=1 if complete else jobs or -1, return_as="generator_unordered")
    made = work(joblib.delayed(render_clip)(out, labels, k, seed) for labels, k in clips)
    bar = tqdm(made, "the orchestra plays", len(clips), unit="clip", disable=not progress)
    try:
        for _ in bar:
            pass
    finally:
        made.close()  # pyright: ignore[reportAttributeAccessIssue]  # joblib has no types
        for folder in (*out.glob("videos/*"), out / "truth"):
            sweep(folder)
    (out / "videos").mkdir(exist_ok=True)
    return out / "videos"
