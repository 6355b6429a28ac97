"""Which clips there are, and which of them train, validate and test: an index is a checked thing.

A row is `AUDIO_PATH,FRAMES_PATH,NUMBER_FRAMES`, no header; a path is looked up as written, then from the index's own
folder (what we write is relative to it, so that a data set can be moved). A clip is told by `label/id`, from its
sound's place `.../<label>/<id>.mp3`; a duet's label is its two labels with a blank between. Which clips are sections of one
video stands beside the index, in `index_sections.csv`.
"""

import csv
import json
import os
import random
import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from .collect import read_sections, read_vggsound, write_sections
from .config import MUSIC, RATIO, SILENCE, AnyPath
from .errors import SopError
from .media import CODEC_FRAMES, frame_path, read_frames, read_sound, sound_length, whole
from .untrusted import from_cell

SOUNDS = (".flac", ".wav", ".mp3")  # where an id has several, the first of these is taken
SILENT = 1e-4  # of full scale: a sound that stays below is no sound (-80 dB)
DUETS = ("test", "train", "drop")
SECTION = re.compile(r"([\w-]{11})_\d{6}", re.ASCII)  # VGGSound's layout: YouTube id, start in seconds
SECTIONS = (
    "index_sections.csv"  # as `collect`'s `sections.csv`, which lies with the data; an index has what it was made with
)
NAMED = 3  # of what is left out, so many are named


@dataclass(frozen=True, slots=True, init=False)
class Clip:
    """One video, preprocessed: its sound file, its folder of frames, and how many frames are in it."""

    _sound: str  # a Path is five times larger, and an index may have 200,000 clips
    _frames: str
    n_frames: int
    _video: str

    def __init__(self, sound: AnyPath, frames: AnyPath, n_frames: int, video: str = ""):
        """`video`: of which it is a section, if it is one."""
        object.__setattr__(self, "_sound", os.fspath(sound))
        object.__setattr__(self, "_frames", os.fspath(frames))
        object.__setattr__(self, "n_frames", n_frames)
        object.__setattr__(self, "_video", video)

    @property
    def sound(self) -> Path:
        return Path(self._sound)

    @property
    def frames(self) -> Path:
        return Path(self._frames)

    @property
    def label(self) -> str:
        return os.path.basename(os.path.dirname(self._sound))  # noqa: PTH119, PTH120

    @property
    def id(self) -> str:
        return os.path.splitext(os.path.basename(self._sound))[0]  # noqa: PTH119, PTH122

    @property
    def name(self) -> str:
        """What a clip is called in messages and manifests: `label/id`."""
        return f"{self.label}/{self.id}"

    @property
    def video(self) -> str:
        """What clips of one video share: they never stand in two splits, nor in one mixture."""
        return self._video or self.id

    @property
    def is_duet(self) -> bool:
        """Whether its label is two words with a blank between. A section's is VGGSound's ("playing harp"): one instrument."""
        words = self.label.split(" ")
        return len(words) == 2 and all(words) and not self._video


def solos(clips: list[Clip]) -> list[Clip]:
    """The clips that are no duets of labels which others of them have: what mixtures are drawn from."""
    labels = {clip.label for clip in clips}
    return [clip for clip in clips if not (clip.is_duet and labels.issuperset(clip.label.split(" ")))]


def read_index(path: AnyPath) -> list[Clip]:
    """The clips of an index, each of them there.

    Raises SopError, with file and row, on a missing or empty index, a row that isn't sound,frames,number, and sound or
    frames that exist neither as written nor from the index's folder.
    """
    path = Path(path)
    clips, there = [], _Files(os.path.dirname(path))  # noqa: PTH120 (plain strings: an index may have 200,000 rows)
    sections = read_sections(path.parent, SECTIONS)
    try:
        # utf-8-sig: a spreadsheet's mark at the start is no part of the first path; names needn't be valid UTF-8
        with path.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as f:
            for number, row in enumerate(csv.reader(f), 1):
                if row:
                    clips.append(_clip(path, there, number, row, sections))
    except (OSError, csv.Error) as e:
        hint = "no such index; `python -m sop_core index DATA` makes one"
        raise SopError(f"{path}: {hint if not path.exists() else f'not readable as csv ({e})'}") from e
    if not clips:
        raise SopError(f"{path}: an index without clips; look at what `python -m sop_core index` said")
    return clips


class _Files:
    """Is it there? A folder is listed once, since asking for each of its 200,000 files takes longer."""

    def __init__(self, base: str):
        self.base = base
        self.listed: dict[str, list[tuple[str, dict[str, bool]]]] = {}

    def find(self, name: str, folder: bool) -> str | None:
        """The place of a file (or of a folder), as written or from the folder `base`; None if it is in neither."""
        head, slash, last = name.rpartition("/")
        if (places := self.listed.get(head)) is None:
            places = self.listed[head] = [
                *self._list(f"{head}{slash}"),
                *self._list(f"{self.base or '.'}/{head}{slash}"),
            ]
        for place, entries in places:
            if entries.get(last) is folder:
                return place + last
        exists = os.path.isdir if folder else os.path.isfile  # noqa: PTH112, PTH113 (`x/..`, or letters of the other case)
        return next((place + last for place, _ in places if exists(place + last)), None)

    @staticmethod
    def _list(place: str) -> list[tuple[str, dict[str, bool]]]:
        try:
            with os.scandir(place or ".") as entries:
                # a link may lead nowhere: it is asked for by itself
                return [(place, {e.name: e.is_dir() for e in entries if not e.is_symlink()})]
        except OSError:
            return []


def _clip(path: Path, there: _Files, number: int, row: list[str], sections: dict[str, str]) -> Clip:
    if len(row) != 3:
        raise SopError(f"{path} row {number}: {len(row)} columns, expected 3: sound,frames,number of frames")
    try:
        n_frames = int(row[2])
        if n_frames < 1:
            raise ValueError
    except ValueError:
        found = f"number of frames {row[2]!r}, expected a whole number, at least 1"
        raise SopError(f"{_told(path, number, row)}: {found}") from None
    sound, frames = there.find(row[0], False), there.find(row[1], True)
    if sound is None or frames is None:
        what = f"sound at {row[0]}" if sound is None else f"folder of frames at {row[1]}"
        hint = f"nor from {there.base or '.'}; index the data again, or put it back"
        raise SopError(f"{_told(path, number, row)}: no {what}, {hint}")
    clip = Clip(sound, frames, n_frames)
    return Clip(sound, frames, n_frames, sections[clip.name]) if clip.name in sections else clip


def _told(path: Path, number: int, row: list[str]) -> str:
    return f"{path} row {number} ({Path(row[0]).parent.name}/{Path(row[0]).stem})"


def write_index(path: AnyPath, clips: Iterable[Clip]) -> None:
    """Write clips as an index, with paths relative to its folder, whole or not at all."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = path.parent.resolve()
    with whole(path) as part, part.open("w", newline="", encoding="utf-8", errors="surrogateescape") as f:
        csv.writer(f, lineterminator="\n").writerows(
            (_relative(clip._sound, folder), _relative(clip._frames, folder), clip.n_frames) for clip in clips
        )


def _relative(place: str, folder: Path) -> str:
    head, last = os.path.split(place)
    return f"{_relative_folder(head, folder)}/{last}"


@cache  # many clips, few labels
def _relative_folder(place: str, folder: Path) -> str:
    # Only what is above the label is resolved: a label that is a link keeps its name. `..` needs resolved folders.
    place = Path(place)
    return Path(os.path.relpath(place.parent.resolve() / place.name, folder)).as_posix()


def find_clips(data: AnyPath) -> list[Clip]:
    """All clips under `data` that have sound and frames, by label and id, whatever the file system's order."""
    return _complete(_halves(Path(data)), read_sections(Path(data)))


def _complete(halves: Iterable[tuple[str, str, int]], sections: dict[str, str]) -> list[Clip]:
    """Those of `_halves` that have both; `sections`: `label/id` of each clip that is one -> its video."""
    clips = (Clip(sound, frames, n) for sound, frames, n in halves if sound and n)
    return [Clip(c._sound, c._frames, c.n_frames, sections.get(c.name, "")) for c in clips] if sections else [*clips]


def _halves(data: Path) -> Iterator[tuple[str, str, int]]:
    """(sound or "", folder of frames, jpgs in it) of everything that has one or the other, by label and id."""
    ids = defaultdict(dict)  # label -> id -> sound's suffix
    for label, name, _ in _below(data / "audio"):
        stem, suffix = os.path.splitext(name)  # noqa: PTH122
        if suffix in SOUNDS:
            ids[label][stem] = min(ids[label].get(stem, suffix), suffix, key=SOUNDS.index)
    for label, name, is_folder in _below(data / "frames"):
        if is_folder and name.endswith(".mp4"):
            ids[label].setdefault(name.removesuffix(".mp4"), "")
    for label in sorted(ids):
        sounds, frames = data / "audio" / label, data / "frames" / label
        for id_, suffix in sorted(ids[label].items()):
            folder = f"{frames}{os.sep}{id_}.mp4"
            yield f"{sounds}{os.sep}{id_}{suffix}" if suffix else "", folder, _count_jpgs(folder)


def _below(folder: Path) -> Iterator[tuple[str, str, bool]]:
    """(label, name, whether it is a folder) of what lies in the label folders; hidden ones aside."""
    labels = [e for e in _entries(folder) if e.is_dir()]
    return ((label.name, e.name, e.is_dir()) for label in labels for e in _entries(label.path))


def _entries(folder: Path | str) -> list[os.DirEntry]:
    try:
        with os.scandir(folder) as entries:
            return [e for e in entries if not e.name.startswith(".")]
    except OSError:  # not there, no folder, or not for us to read
        return []


def _count_jpgs(folder: str) -> int:
    return sum(e.name.endswith(".jpg") for e in _entries(folder))


def read_splits(path: AnyPath) -> dict[str, str]:
    """A data set's own splits, from VGGSound's list (`youtube_id,start_seconds,label,split`): clip's id -> train, val or test.

    Raises SopError where the list can't be read, or says two things of one clip.
    """
    found = {}
    for video in read_vggsound([path]):
        if video.split not in ("train", "val", "test"):
            raise SopError(f"{path}: {video.id} is in {video.split!r}, expected train, val or test")
        if found.setdefault(video.id, video.split) != video.split:
            raise SopError(f"{path}: {video.id} is in {video.split}, and in {found[video.id]} before")
    return found


def split(
    clips: Iterable[Clip],
    val_ratio: float = RATIO,
    test_ratio: float = RATIO,
    seed: int = 0,
    duet: str = "test",
    own: dict[str, str] | None = None,
) -> tuple[list[Clip], list[Clip], list[Clip]]:
    """Clips -> (train, val, test): by `seed`, in the shares asked for in every label, and no video in two of them.

    Silent scenes (the label `silence`) go to train. A label with 2 videos or more has one in train, with 3 or more one in val if
    `val_ratio` isn't 0, and with 4 or more one in test if `test_ratio` isn't. The order of `clips` doesn't matter.

    Args: `duet`: where duets (`Clip.is_duet`) go: `test`, `train` (they are split like all others), `drop`.
        `own`: the data set's own splits (`read_splits`). Its test is test; its train is shared out to train and val; a clip
        of train whose video is in test or val as well is left out.
    """
    clips = sorted(clips, key=lambda c: (c.label, c.id, str(c.sound)))
    own = own or {}
    if duet == "drop":
        clips = [c for c in clips if not c.is_duet]
    video = {c: c.video for c in clips}
    # video -> its split
    place = dict.fromkeys((video[c] for c in clips if duet != "train" and c.is_duet and c.id not in own), "test")
    place |= dict.fromkeys((video[c] for c in clips if c.label == SILENCE), "train")
    for name in ("val", "test"):
        place |= dict.fromkeys((video[c] for c in clips if own.get(c.id) == name), name)
    clips = [c for c in clips if own.get(c.id, "") != "train" or place.get(video[c]) in (None, "train")]
    fixed, videos = set(place), defaultdict(set)
    for c in clips:
        videos[c.label].add(video[c])
    for label in sorted(videos, key=lambda x: (len(videos[x]), x)):  # rare ones choose first: they may share a video
        place |= _share(videos[label], place, val_ratio, test_ratio, random.Random(f"{seed}/{label}"))
    place |= _lacking(videos, place, fixed)
    return tuple([c for c in clips if place[video[c]] == name] for name in ("train", "val", "test"))


def _share(videos: set[str], placed: dict[str, str], val_ratio: float, test_ratio: float, rng) -> dict[str, str]:
    """Where the videos of one label that have no place yet go."""
    free = sorted(videos - placed.keys())
    rng.shuffle(free)
    have = Counter(placed[v] for v in videos if v in placed)
    n = len(videos)
    val = max(round(n * val_ratio), 1 if val_ratio > 0 and n >= 3 else 0) - have["val"]
    val = max(0, min(val, len(free) - (not have["train"])))  # train keeps one
    test = max(round(n * test_ratio), 1 if test_ratio > 0 and n >= 4 else 0) - have["test"]
    test = max(0, min(test, len(free) - val - (not have["train"])))
    return {v: "val" if i < val else "test" if i < val + test else "train" for i, v in enumerate(free)}


def _lacking(videos: dict[str, set[str]], place: dict[str, str], fixed: set[str]) -> dict[str, str]:
    """Labels that share all their videos with others may be left without one in train: then the first goes there."""
    moved = {}
    for label in sorted(videos):
        free = sorted(videos[label] - fixed)
        if len(free) >= 2 and not any("train" in (place[v], moved.get(v)) for v in free):
            moved[free[0]] = "train"
    return moved


def build_index(
    data: AnyPath,
    out: AnyPath | None = None,
    min_frames: int = 0,
    val_ratio: float = RATIO,
    test_ratio: float | None = None,
    seed: int = 0,
    duet: str = "test",
    splits: AnyPath | None = None,
    sections: bool = False,
) -> dict[str, Path]:
    """Index a data folder: `train.csv`, `val.csv`, `test.csv` and `all.csv` in `out` (None: in `data` itself).

    Args: `min_frames`: clips with fewer frames are left out. `splits`: a list with the data set's own (`read_splits`).
        `test_ratio`: None for `RATIO`, or with `splits` for none. `sections`: ids are in VGGSound's layout,
        `<YouTube id>_<start, six digits>`: such clips are sections of one video; without, those that `splits` or `collect`'s list
        names. The rest as for `split`.
    Returns {"train": path, "val": ..., "test": ..., "all": ...}. Warns, by reason, of what is left out, of labels that are
    taken for duets, and where nothing is left to train with.
    Raises SopError if there are no clips, with what was found, or if the options can't be.
    """
    if test_ratio is None:
        test_ratio = 0.0 if splits else RATIO
    if not (0 <= val_ratio < 1 and 0 <= test_ratio < 1 and val_ratio + test_ratio < 1):
        raise SopError(f"val_ratio={val_ratio}, test_ratio={test_ratio}: expected shares from 0, together less than 1")
    if duet not in DUETS:
        raise SopError(f"duets to {duet!r}: expected one of {', '.join(DUETS)}")
    if splits and test_ratio:
        raise SopError(f"test_ratio={test_ratio} with {splits}: the list says what is tested; leave the ratio out")
    data = Path(data)
    own = read_splits(splits) if splits else None
    halves = list(_halves(data))
    known = read_sections(data)
    if splits or sections:
        known |= _listed(_complete(halves, {}), splits, sections)
    found = _complete(halves, known)
    clips = [c for c in found if c.n_frames >= min_frames]
    if not clips:
        raise SopError(_nothing(data, found, min_frames))
    if own and not any(c.id in own for c in clips):
        raise SopError(
            f"{splits}: names none of the {len(clips)} clips; expected ids like {clips[0].id}, of id and start"
        )
    names = ("train", "val", "test")
    parts = dict(zip(names, split(clips, val_ratio, test_ratio, seed, duet, own), strict=True))
    placed = set().union(*parts.values())
    parts["all"] = [c for c in clips if c in placed]  # by label and id, as they were found
    _warn_of_the_rest(halves, found, clips, placed, min_frames)
    _warn_of_sections(clips)
    if duet != "train":
        _warn_of_duets(clips, _labels(data, found))
    tested = {c.video for c in parts["test"] if not c.is_duet}
    if test_ratio and len(tested) < 2 <= len(parts["train"]):
        warnings.warn(
            f"{data}: {len(tested)} video(s) besides duets to test with, too few to mix: a label has one from 4 videos on. Measure "
            "on val.csv, which chooses the best epoch, or get more videos",
            stacklevel=2,
        )
    if not parts["train"]:
        labels = ", ".join(sorted({c.label for c in clips})[:3])
        warnings.warn(
            f"{data}: nothing to train with; labels of two words ({labels}, ...) are taken for duets, which only test. "
            "If each is one instrument, index with --duets train",
            stacklevel=2,
        )
    write_sections(Path(out or data), known, SECTIONS)
    paths = {name: Path(out or data) / f"{name}.csv" for name in parts}
    for name, path in paths.items():
        write_index(path, parts[name])
    return paths


def _listed(clips: list[Clip], splits: Path | None, layout: bool) -> dict[str, str]:
    """`label/id` of each clip that the list of `splits`, or its id's `layout`, says is a section -> its video."""
    listed = {video.id: video.key for video in read_vggsound([splits])} if splits else {}
    if layout:
        listed = {c.id: section[1] for c in clips if (section := SECTION.fullmatch(c.id))} | listed
    return {c.name: listed[c.id] for c in clips if c.id in listed}


def _warn_of_the_rest(
    halves: list[tuple[str, str, int]], found: list[Clip], clips: list[Clip], placed: set[Clip], min_frames: int
) -> None:
    """What stands in no index, by reason."""
    one = {"sound": [], "frames": []}
    for sound, frames, n in halves:
        if not (sound and n):
            one["sound" if sound else "frames"].append(Clip(sound or frames, frames, n).name)
    enough = set(clips)
    reasons = {
        f"fewer than {min_frames} frames (--min-frames)": [c.name for c in found if c not in enough],
        "sound without frames": one["sound"],
        "frames without sound": one["frames"],
        "duets (--duets drop)": [c.name for c in clips if c not in placed and c.is_duet],
        "of a video that the list has in val or test, too": [
            c.name for c in clips if c not in placed and not c.is_duet
        ],
    }
    for reason, names in reasons.items():
        if names:
            warnings.warn(f"{len(names)} clip(s) left out, {reason}: {_some(names)}", stacklevel=3)


def _warn_of_sections(clips: list[Clip]) -> None:
    """Ids that look like sections of one video, though nothing says so."""
    alike = Counter(m[1] for c in clips if not c._video and (m := SECTION.fullmatch(c.id)))
    if several := [video for video, count in alike.items() if count > 1]:
        warnings.warn(
            f"{sum(alike[v] for v in several)} clip(s) are named like VGGSound's sections (<YouTube id>_<start>) of "
            f"{len(several)} video(s), {_some(several)}, and are taken for videos of their own; if they are sections, "
            "index with --sections",
            stacklevel=3,
        )


def _warn_of_duets(clips: list[Clip], labels: set[str]) -> None:
    """Labels of two words that may be one instrument, since one of the words at least is no label."""
    for label, count in sorted(Counter(c.label for c in clips if c.is_duet).items()):
        if not labels.issuperset(label.split(" ")):
            hint = f"if it is one instrument, call it {label.replace(' ', '_')}, or index with --duets train"
            warnings.warn(
                f"{label!r} ({count} clip(s)) is taken for a duet, since it is two words; {hint}", stacklevel=3
            )


def _some(names: list[str]) -> str:
    return ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "")


def _labels(data: Path, found: list[Clip]) -> set[str]:
    """All labels of a data folder, also those none of whose videos could be used: a duet's partner may be one."""
    labels, report = {c.label for c in found}, data / "preprocess_report.csv"
    if report.is_file():
        try:
            with report.open(newline="", encoding="utf-8", errors="surrogateescape") as f:
                labels |= {from_cell(row["label"]) for row in csv.DictReader(f) if row.get("label")}
        except (OSError, csv.Error):
            pass  # only a hint
    return labels


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
        f"pair <id>.mp3 and <id>.mp4/*.jpg; run `python -m sop_core preprocess VIDEOS --out {data}` first"
    )


# --- can they be trusted? ----------------------------------------------------------------------------------------------


def check(
    where: AnyPath,
    seconds: float = MUSIC.seconds,
    fps: float | None = None,
    jobs: int | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """What is wrong with the clips of a data folder, or of an index: every sound is read through, and frames are looked at.

    Args: `seconds`: the window that a clip has to fill. `fps`: frames a second, to compare their number with the sound's length
        (None: as `preprocess` noted it in the folder; where it didn't, they aren't compared).
    Returns one row a problem: problem (`missing`: the sound or the frames aren't there; `invalid`: they can't be used), clip
        (`label/id`), reason. Empty where all is well.
    Raises SopError if there is nothing to check.
    """
    where = Path(where)
    bad, rows = ([], list(_halves(where))) if where.is_dir() else _rows(where)
    if not rows and not bad:
        raise SopError(_nothing(where, [], 0) if where.is_dir() else f"{where}: an index without clips")
    if fps is None and rows:
        sound, frames, _ = rows[0]
        fps = noted_fps(where if where.is_dir() else Path(sound or frames).parent.parent.parent)
    work = [(Clip(sound or frames, frames, n), bool(sound), seconds, fps) for sound, frames, n in rows]
    found = joblib.Parallel(jobs or joblib.cpu_count(), return_as="generator")(
        joblib.delayed(_problems)(*w) for w in work
    )
    found = tqdm(found, total=len(work), unit="clip", desc="check", disable=not progress)
    problems = bad + [
        (kind, clip.name, reason) for (clip, *_), some in zip(work, found, strict=True) for kind, reason in some
    ]
    return pd.DataFrame(sorted(problems, key=lambda p: p[0] != "missing"), columns=["problem", "clip", "reason"])


def _rows(path: Path) -> tuple[list[tuple[str, str, str]], list[tuple[str, str, int]]]:
    """(rows that are none, as problems; the others as `_halves` gives them) of an index.

    "" stands for a sound that isn't there, 0 for frames that aren't.
    """
    there, bad, rows = _Files(os.path.dirname(path)), [], []  # noqa: PTH120
    try:
        with path.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as f:
            for number, row in enumerate(csv.reader(f), 1):
                try:
                    sound, frames, n = row[0], row[1], int(row[2])
                    if len(row) > 3 or n < 1:
                        raise ValueError
                except (ValueError, IndexError):
                    if row:
                        bad.append(
                            ("invalid", f"row {number}", f"{','.join(row)!r}, expected sound,frames,number of frames")
                        )
                    continue
                place = there.find(frames, True)
                rows.append((there.find(sound, False) or "", place or sound, n if place else 0))
    except (OSError, csv.Error) as e:
        raise SopError(f"{path}: not an index or a data folder that can be read ({e})") from None
    return bad, rows


def noted_fps(data: AnyPath) -> float | None:
    """Frames a second, as `preprocess` noted it in a data folder."""
    note = Path(data, "preprocess.json")
    try:
        return float(json.loads(note.read_text())["fps"]) if note.is_file() else None
    except (ValueError, KeyError, TypeError):
        raise SopError(f"{note}: not readable as json with fps in it; preprocess again, or remove it") from None


def _problems(clip: Clip, has_sound: bool, seconds: float, fps: float | None) -> list[tuple[str, str]]:
    """(missing or invalid, why) of one clip."""
    if not has_sound or not clip.n_frames:
        return [("missing", "no frames" if has_sound else "no sound")]
    found, length = [], 0.0
    try:
        samples, rate = sound_length(clip.sound)
        length = samples / rate
        loudest = max((abs(part).max() for part in _through(clip.sound, samples, rate)), default=0.0)
        if length + CODEC_FRAMES < seconds:
            found.append(f"{length:.2f} s of sound, a window takes {seconds:.2f} s")
        if loudest < SILENT and clip.label != SILENCE:
            found.append("silent throughout")
    except (SopError, OSError) as e:
        found.append(str(e).removeprefix(f"{clip.sound}: "))
    names = {e.name for e in _entries(str(clip.frames)) if e.name.endswith(".jpg")}
    expected = [frame_path(clip.frames, k).name for k in range(clip.n_frames)]
    if lost := [name for name in expected if name not in names]:
        found.append(f"frame {lost[0]} is not there ({len(lost)} of {clip.n_frames} aren't)")
    elif len(names) != clip.n_frames:
        found.append(f"{len(names)} frames in the folder, {clip.n_frames} in the index")
    if length and fps and abs(clip.n_frames - length * fps) > 2:
        found.append(
            f"{clip.n_frames} frames beside {length:.2f} s of sound; {fps:g} a second would be {length * fps:.0f}"
        )
    for name in dict.fromkeys((expected[0], expected[len(expected) // 2], expected[-1])) if not lost else ():
        try:
            read_frames(clip.frames, [expected.index(name)])
        except SopError as e:
            found.append(f"{name}: {str(e).partition(': ')[2]}")
    return [("invalid", reason) for reason in found]


def _through(sound: Path, samples: int, rate: int) -> Iterator[np.ndarray]:
    """A sound in pieces of half a minute, so that the longest takes no more memory than others."""
    for start in range(0, samples, 30 * rate):
        yield read_sound(sound, start, min(30 * rate, samples - start))


def summary(clips: Iterable[Clip]) -> pd.DataFrame:
    """One row per label: label, clips, seconds (of sound), frames. Reads each sound's header."""
    rows = [(c.label, 1, _seconds(c.sound), c.n_frames) for c in clips]
    table = pd.DataFrame(rows, columns=["label", "clips", "seconds", "frames"])
    return table.groupby("label", as_index=False).sum().round({"seconds": 1})


def _seconds(sound: Path) -> float:
    samples, rate = sound_length(sound)
    return samples / rate
