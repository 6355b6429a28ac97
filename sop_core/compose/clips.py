"""Clips whose truth is known, as files.

    OUT/.../<id>.mp4            h264 yuv420p, aac 44.1 kHz
    OUT/truth/<id>.json         where each source is, and how loud
    OUT/truth/<id>_<i>.flac     stems of a duet or trio: they add up to its sound

The truth is written last: where it and the video are, the clip is complete.
"""

import json
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.random import Generator

from ..config import AnyPath
from ..errors import SopError
from ..media.atomic import atomic_path, sweep
from ..media.processes import in_processes
from ..media.sound import sound_writer
from ..media.write import AAC_RATE as RATE
from ..media.write import write_video

Result = TypeVar("Result")
TRUTH = "truth"  # the folder of what is known
LEVEL = (0.06, 0.13)  # RMS of a stem, as far as its peak allows it
PEAK = (0.3, 0.7)  # of a stem; the sum of N stays below 0.96
AAC = {"b": "160000", "aac_coder": "fast"}

# ---- one clip


@dataclass
class Performance:
    """One clip in memory."""

    labels: tuple[str, ...]
    stems: np.ndarray  # (N, L) float32 at RATE; their sum is the sound
    boxes: np.ndarray  # (N, 4) x0, y0, x1, y1 in pixels: all that is seen of a source in the clip
    size: tuple[int, int]  # (w, h) of the picture
    fps: int  # RATE is a multiple of it
    frames: Callable[[], Iterator[np.ndarray]]  # makes the V video frames, (h, w, 3) uint8
    stereo: np.ndarray | None = None  # (2, L), whose mean is the sound; None: the sound is mono

    @property
    def duration(self) -> float:
        """Seconds."""
        return self.stems.shape[1] / RATE

    @property
    def loudness(self) -> np.ndarray:
        """(N, V) RMS of each stem during each video frame."""
        return loudness(self.stems, RATE // self.fps)


def loudness(stems: np.ndarray, samples: int) -> np.ndarray:
    """RMS of each stem during each video frame, which lasts `samples`. Shape: (N, L) -> (N, V)"""
    n, length = stems.shape
    frames = stems.reshape(n, length // samples, samples)
    return np.sqrt((frames.astype(float) ** 2).mean(-1))


def gain(peak: np.ndarray, rms: np.ndarray, players: int, rng: Generator) -> np.ndarray:
    """What brings stems to a level that is drawn, as far as their peaks allow.

    So they are similar in power: one that is always louder would dominate every bin of a mixture.
    Args: `peak`, `rms`: of each stem, of any shape, above 0; `players`: stems of the clip.
    """
    level = rng.uniform(*LEVEL, np.shape(peak)) / rms * peak
    return np.clip(level, PEAK[0], min(PEAK[1], 0.96 / players)) / peak


# ---- its files


def truth_file(out: AnyPath, name: str) -> Path:
    """Where the truth of a clip is."""
    return Path(out, TRUTH, f"{name}.json")


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
    head = {"id": name, "video": video, "duration": clip.duration, "fps": clip.fps}
    return {**head, "frame_size": list(clip.size), "sample_rate": RATE, "sources": sources}


def write_clip(out: AnyPath, video: AnyPath, clip: Performance, crf: int = 23) -> None:
    """Write a clip's video, stems and truth. `crf`: of h264, 0 to 51; more is worse."""
    video = Path(video)
    sound = clip.stems.sum(0) if clip.stereo is None else clip.stereo
    # One thread: processes do not compete for cores. No mbtree: x264's reads memory that nobody
    # wrote, and equal pictures give other bytes.
    h264 = {"preset": "veryfast", "crf": str(crf), "threads": "1", "x264-params": "mbtree=0"}
    write_video(video, clip.frames(), clip.fps, sound, RATE, h264=h264, aac=AAC)
    truth = truth_file(out, video.stem)
    if len(clip.labels) > 1:
        for i, stem in enumerate(clip.stems):
            path = truth.with_name(f"{video.stem}_{i}.flac")
            with atomic_path(path) as part, sound_writer(part, RATE) as write:
                write(stem)
    about = describe(clip, video.stem, video.relative_to(out).as_posix())
    with atomic_path(truth) as part:
        part.write_text(json.dumps(about))


# ---- a folder of clips


def claim_folder(note: AnyPath, made_by: dict, counts: dict[str, int]) -> None:
    """Write a folder's note, a json, of what its clips are made by and how many are asked for.

    Raises SopError if the note there says otherwise, or if it can't be written. Other counts than
    before are no reason: smaller ones forget nothing, larger ones add clips.
    """
    note = Path(note)
    out = note.parent
    try:
        old = json.loads(note.read_text()) if note.exists() else {}
        before = {key: old[key] for key in made_by} if old else made_by
        if before != made_by:
            old_one, new_one = (
                ", ".join(f"{key} {value}" for key, value in each.items())
                for each in (before, made_by)
            )
            hint = "choose another folder or delete this one"
            raise SopError(f"{out} holds clips of {old_one}, not of {new_one}: {hint}")
        counts = {kind: max(count, old.get(kind, 0)) for kind, count in counts.items()}
        with atomic_path(note) as part:
            part.write_text(json.dumps({**made_by, **counts}))
    except OSError as e:
        problem = f"can't write clips there ({e.strerror}): choose another folder"
        raise SopError(f"{out}: {problem}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        problem = "not what is left by making clips: choose another folder or delete it"
        raise SopError(f"{note}: {problem}") from None


def make_clips(
    make: Callable[..., Result],
    clips: Sequence[tuple],
    title: str,
    jobs: int | None,
    progress: bool,
    folders: Iterable[AnyPath],
) -> list[Result]:
    """`make(*clip)` for each clip, in several processes, with a bar.

    Args: `jobs`: processes (None: one per core).
        `folders`: those that clips are written to; what killed processes left there is removed.
    Returns: what `make` returned, in any order.
    Raises: SopError where a process died; and what `make` raises.
    """
    how = (title, "made clips", "clip", jobs, progress, False)
    try:
        with warnings.catch_warnings():
            # joblib replaces a process whose memory grew, which is as well
            warnings.filterwarnings("ignore", "A worker stopped while some jobs were given")
            return list(in_processes(make, clips, *how))
    finally:
        for folder in folders:
            sweep(folder)


def tournament(labels: Sequence[str], n: int, seed: int) -> list[tuple[str, str]]:
    """n duets of different labels, as in a round-robin tournament.

    Each round has every label once (but one, if their number is odd); all rounds have every pair.
    """
    players = np.random.default_rng([seed, 0]).permutation(labels).tolist()
    players += [None] * (len(players) % 2)
    pairs = []
    for _ in range(len(players) - 1):
        for i in range(len(players) // 2):
            pair = players[i], players[-1 - i]
            pairs += [] if None in pair else [tuple(sorted(pair))]
        players = [players[0], players[-1], *players[1:-1]]
    return [pairs[i % len(pairs)] for i in range(n)] if pairs else []
