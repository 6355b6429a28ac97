"""Which clips there are, and which of them train, validate and test: an index is a checked thing.

A row is `AUDIO_PATH,FRAMES_PATH,NUMBER_FRAMES`, no header; a path is looked up as written, then from the index's own
folder (what we write is relative to it, so that a data set can be moved). A clip is told by `label/id`, from its
sound's place `.../<label>/<id>.flac`; a duet's label is its two labels with a blank between.
"""

import csv
import os
import random
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pandas as pd

from .config import SILENCE
from .errors import SopError
from .media import sound_length, whole

SOUNDS = (".flac", ".wav", ".mp3")  # where an id has several, the first of these is taken


@dataclass(frozen=True)
class Clip:
    """One video, preprocessed: its sound file, its folder of frames, and how many frames are in it."""

    sound: Path
    frames: Path
    n_frames: int

    @property
    def label(self) -> str:
        return self.sound.parent.name

    @property
    def id(self) -> str:
        return self.sound.stem

    @property
    def name(self) -> str:
        """What a clip is called in messages and manifests: `label/id`."""
        return f"{self.label}/{self.id}"

    @property
    def labels(self) -> tuple[str, ...]:
        """Who plays: one label, or a duet's two."""
        words = tuple(self.label.split(" "))
        return words if len(words) == 2 and all(words) else (self.label,)

    @property
    def video(self) -> str:
        """What clips of one video share: they never stand in two splits."""
        return self.id


def read_index(path: Path) -> list[Clip]:
    """The clips of an index, each of them there.

    Raises SopError, with file and row, on a missing or empty index, a row that isn't sound,frames,number, and sound or
    frames that exist neither as written nor from the index's folder.
    """
    path = Path(path)
    try:
        # utf-8-sig: a spreadsheet's mark at the start is no part of the first path; names needn't be valid UTF-8
        with path.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as f:
            rows = [(number, row) for number, row in enumerate(csv.reader(f), 1) if row]
    except (OSError, csv.Error) as e:
        hint = "no such index; `python -m sop_core index DATA` makes one"
        raise SopError(f"{path}: {hint if not path.exists() else f'not readable as csv ({e})'}") from e
    if not rows:
        raise SopError(f"{path}: an index without clips; look at what `python -m sop_core index` said")
    folder = os.path.dirname(path)  # noqa: PTH120 (plain strings: an index may have 200,000 rows)
    return [_clip(path, folder, number, row) for number, row in rows]


def _clip(path: Path, folder: str, number: int, row: list[str]) -> Clip:
    if len(row) != 3:
        raise SopError(f"{path} row {number}: {len(row)} columns, expected 3: sound,frames,number of frames")
    try:
        n_frames = int(row[2])
        if n_frames < 1:
            raise ValueError
    except ValueError:
        found = f"number of frames {row[2]!r}, expected a whole number, at least 1"
        raise SopError(f"{_told(path, number, row)}: {found}") from None
    sound, frames = _there(row[0], folder, os.path.isfile), _there(row[1], folder, os.path.isdir)
    if sound is None or frames is None:
        what = f"sound at {row[0]}" if sound is None else f"folder of frames at {row[1]}"
        hint = f"nor from {folder or '.'}; index the data again, or put it back"
        raise SopError(f"{_told(path, number, row)}: no {what}, {hint}")
    return Clip(Path(sound), Path(frames), n_frames)


def _there(name: str, folder: str, exists) -> str | None:
    if exists(name):
        return name
    place = os.path.join(folder, name)  # noqa: PTH118
    return place if exists(place) else None


def _told(path: Path, number: int, row: list[str]) -> str:
    return f"{path} row {number} ({Path(row[0]).parent.name}/{Path(row[0]).stem})"


def write_index(path: Path, clips: Iterable[Clip]) -> None:
    """Write clips as an index, with paths relative to its folder, whole or not at all."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = path.parent.resolve()
    with whole(path) as part, part.open("w", newline="", encoding="utf-8", errors="surrogateescape") as f:
        csv.writer(f, lineterminator="\n").writerows(
            (_relative(clip.sound, folder), _relative(clip.frames, folder), clip.n_frames) for clip in clips
        )


def _relative(path: Path, folder: Path) -> str:
    return f"{_relative_folder(path.parent, folder)}/{path.name}"


@cache  # many clips, few labels
def _relative_folder(place: Path, folder: Path) -> str:
    # Only what is above the label is resolved: a label that is a link keeps its name. `..` needs resolved folders.
    return Path(os.path.relpath(place.parent.resolve() / place.name, folder)).as_posix()


def find_clips(data: Path) -> list[Clip]:
    """All clips under `data` that have sound and frames, by label and id, whatever the file system's order."""
    sounds = {}
    for place in Path(data).glob("audio/*/[!.]*"):
        key = (place.parent.name, place.stem)
        if place.suffix in SOUNDS and (key not in sounds or _rank(place) < _rank(sounds[key])):
            sounds[key] = place
    clips = []
    for (label, id_), sound in sorted(sounds.items()):
        frames = Path(data) / "frames" / label / f"{id_}.mp4"
        if count := _count_jpgs(frames):
            clips.append(Clip(sound, frames, count))
    return clips


def _rank(sound: Path) -> int:
    return SOUNDS.index(sound.suffix)


def _count_jpgs(folder: Path) -> int:
    try:
        with os.scandir(folder) as entries:
            return sum(e.name.endswith(".jpg") and not e.name.startswith(".") for e in entries)
    except (FileNotFoundError, NotADirectoryError):
        return 0


def split(
    clips: Iterable[Clip], val_ratio: float = 0.2, test_ratio: float = 0.0, seed: int = 0
) -> tuple[list[Clip], list[Clip], list[Clip]]:
    """Clips -> (train, val, test): by `seed`, in the shares asked for in every label, and no video in two of them.

    Duets (a label of exactly two words) go to test, silent scenes (the label `silence`) to train. A label with 2 videos or
    more has one in train, and with 3 or more one in val if `val_ratio` isn't 0. The order of `clips` doesn't matter.
    """
    clips = sorted(clips, key=lambda c: (c.label, c.id, str(c.sound)))
    duets = {c.video for c in clips if len(c.labels) == 2}
    place = dict.fromkeys(duets, "test")  # video -> its split
    place |= dict.fromkeys((c.video for c in clips if c.label == SILENCE), "train")
    videos = defaultdict(set)
    for c in clips:
        videos[c.label].add(c.video)
    for label in sorted(videos, key=lambda x: (len(videos[x]), x)):  # rare ones choose first: they may share a video
        place |= _share(videos[label], place, val_ratio, test_ratio, random.Random(f"{seed}/{label}"))
    place |= _lacking(videos, place, duets)
    return tuple([c for c in clips if place[c.video] == name] for name in ("train", "val", "test"))


def _share(videos: set[str], placed: dict[str, str], val_ratio: float, test_ratio: float, rng) -> dict[str, str]:
    """Where the videos of one label that have no place yet go."""
    free = sorted(videos - placed.keys())
    rng.shuffle(free)
    have = Counter(placed[v] for v in videos if v in placed)
    n = len(videos)
    val = max(round(n * val_ratio), 1 if val_ratio > 0 and n >= 3 else 0) - have["val"]
    val = max(0, min(val, len(free) - (not have["train"])))  # train keeps one
    test = max(0, min(round(n * test_ratio) - have["test"], len(free) - val - (not have["train"])))
    return {v: "val" if i < val else "test" if i < val + test else "train" for i, v in enumerate(free)}


def _lacking(videos: dict[str, set[str]], place: dict[str, str], duets: set[str]) -> dict[str, str]:
    """Labels that share all their videos with others may be left without one in train: then the first goes there."""
    moved = {}
    for label in sorted(videos):
        free = sorted(videos[label] - duets)
        if len(free) >= 2 and not any("train" in (place[v], moved.get(v)) for v in free):
            moved[free[0]] = "train"
    return moved


def build_index(
    data: Path,
    out: Path | None = None,
    min_frames: int = 0,
    val_ratio: float = 0.2,
    test_ratio: float = 0.0,
    seed: int = 0,
) -> dict[str, Path]:
    """Index a data folder: `train.csv`, `val.csv`, `test.csv` and `all.csv` in `out` (None: in `data` itself).

    Args: `min_frames`: clips with fewer frames are left out. The rest as for `split`.
    Returns {"train": path, "val": ..., "test": ..., "all": ...}.
    Raises SopError if there are no clips, with what was found, or if the ratios can't be.
    """
    if not (0 <= val_ratio < 1 and 0 <= test_ratio < 1 and val_ratio + test_ratio < 1):
        raise SopError(f"val_ratio={val_ratio}, test_ratio={test_ratio}: expected shares from 0, together less than 1")
    data = Path(data)
    found = find_clips(data)
    clips = [c for c in found if c.n_frames >= min_frames]
    if not clips:
        raise SopError(_nothing(data, found, min_frames))
    splits = dict(zip(("train", "val", "test"), split(clips, val_ratio, test_ratio, seed), strict=True), all=clips)
    paths = {name: Path(out or data) / f"{name}.csv" for name in splits}
    for name, path in paths.items():
        write_index(path, splits[name])
    return paths


def _nothing(data: Path, found: list[Clip], min_frames: int) -> str:
    if not data.is_dir():
        return f"{data}: no such folder; `python -m sop_core preprocess VIDEOS --out {data}` makes one"
    if found:
        longest = max(c.n_frames for c in found)
        return f"{data}: none of its {len(found)} clips has {min_frames} frames (at most {longest}); ask for fewer"
    sounds = sum(p.suffix in SOUNDS for p in data.glob("audio/*/*"))
    frames = sum(p.suffix == ".mp4" and p.is_dir() for p in data.glob("frames/*/*"))
    return (
        f"{data}: no clips: {sounds} sounds in audio/<label>/ and {frames} folders in frames/<label>/, none of them a "
        f"pair <id>.flac and <id>.mp4/*.jpg; run `python -m sop_core preprocess VIDEOS --out {data}` first"
    )


def summary(clips: Iterable[Clip]) -> pd.DataFrame:
    """One row per label: label, clips, seconds (of sound), frames. Reads each sound's header."""
    rows = [(c.label, 1, _seconds(c.sound), c.n_frames) for c in clips]
    table = pd.DataFrame(rows, columns=["label", "clips", "seconds", "frames"])
    return table.groupby("label", as_index=False).sum().round({"seconds": 1})


def _seconds(sound: Path) -> float:
    samples, rate = sound_length(sound)
    return samples / rate
