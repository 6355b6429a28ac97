"""Which clips train, validate and test: seeded, by label, and no video in two of the splits."""

import os
import random
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import astuple
from pathlib import Path

from ..config import RATIO, SILENCE_LABEL, AnyPath
from ..errors import SopError
from ..media.csvs import from_cell, read_rows, read_table
from .clips import (
    INDEX_COMPOSED,
    INDEX_SECTIONS,
    Candidate,
    Clip,
    candidates,
    complete,
    read_index,
    write_index,
)
from .copies import Groups, note_copies, read_copies
from .leftout import (
    SECTION,
    left_out,
    like_duets,
    like_one_video,
    like_sections,
    not_listed,
    nothing_found,
    passed_over,
)
from .lists import (
    SPLITS,
    ListedVideo,
    Made,
    check_composed,
    read_composed,
    read_sections,
    read_vggsound,
    write_composed,
    write_sections,
)
from .matching import search

DUETS = ("test", "train", "drop")


def read_splits(path: AnyPath) -> dict[str, str]:
    """Read a data set's own splits: rows `id,split`, or VGGSound's list (`read_vggsound`).

    In rows of two, an id is a clip's id, its `label/id`, or its video's id.
    Returns: id -> train, val or test.
    Raises: SopError where the list can't be read, or has one clip in two splits.
    """
    own = {}
    for video in _listed(path):
        if video.split not in SPLITS:
            raise SopError(f"{path}: {video.id} is in {video.split!r}, expected train, val or test")
        before = own.setdefault(video.id, video.split)
        if before != video.split:
            raise SopError(f"{path}: {video.id} is in {video.split}, and in {before} before")
    return own


def _listed(path: AnyPath) -> list[ListedVideo]:
    """The videos of a list of splits."""
    rows = list(read_rows(path))
    if not rows or len(rows[0][1]) == 4:
        return read_vggsound([path])
    for number, row in rows:
        if len(row) != 2:
            expected = "youtube_id,start_seconds,label,split, or in all rows id,split"
            raise SopError(f"{path} row {number}: {','.join(row)!r}, expected {expected}")
    return [ListedVideo(from_cell(key.strip()), "", None, name.strip()) for _, (key, name) in rows]


def _own_split(clip: Clip, own: dict[str, str]) -> str | None:
    """What `read_splits` says of a clip; None if it doesn't name it."""
    return next((own[key] for key in (clip.name, clip.id, clip.video) if key in own), None)


def split(
    clips: Iterable[Clip],
    val_ratio: float = RATIO,
    test_ratio: float = RATIO,
    seed: int = 0,
    duet: str = "test",
    own: dict[str, str] | None = None,
    composed: dict[str, Made] | None = None,
    copies: Groups[str] | None = None,
) -> tuple[list[Clip], list[Clip], list[Clip]]:
    """Split clips into (train, val, test), in the ratios asked for within every label.

    All clips of a video go to one split, and all copies of it; the order of `clips` doesn't
    matter. Silent scenes go to train. A label with 2 videos or more has one in train, with 3 or
    more one in val (if `val_ratio` isn't 0), and with 4 or more one in test (if `test_ratio` isn't
    0).

    Args:
        duet: where duets (`Clip.is_duet`) go: `test`, `train` (split like all others), or `drop`.
        own: the data set's own splits (`read_splits`). Its val and test are these; its train is
            divided into train and val, if `val_ratio` isn't 0. Of a video in several of its splits
            only the clips of test count, or else those of val.
        composed: clips that have their split from what they are made of (`read_composed`). The
            others are split as if these were not there.
        copies: groups of clips' names (`read_copies`).
    """
    clips = sorted(clips, key=lambda c: (c.label, c.id, str(c.sound)))
    own, composed = own or {}, composed or {}
    video = _videos(clips, copies or Groups())
    if duet == "drop":
        clips = [c for c in clips if not c.is_duet]
    # Videos with a given split
    listed = {c: _own_split(c, own) for c in clips}
    tested = (c for c in clips if duet != "train" and c.is_duet and not listed[c])
    split_of = {video[c.name]: "test" for c in tested}
    split_of |= {video[c.name]: "train" for c in clips if c.label == SILENCE_LABEL}
    for name in ("val", "test"):
        split_of |= {video[c.name]: name for c in clips if listed[c] == name}
    split_of |= _composed_splits(clips, video, composed)
    given = set(split_of)
    clips = [
        c for c in clips if not listed[c] or listed[c] == split_of.get(video[c.name], listed[c])
    ]
    # The others, label by label; rare labels choose first, since a video may have several labels
    videos = defaultdict(set)
    for clip in clips:
        if clip.name not in composed:
            videos[clip.label].add(video[clip.name])
    for label in sorted(videos, key=lambda x: (len(videos[x]), x)):
        rng = random.Random(f"{seed}/{label}")
        split_of |= _divide(videos[label], split_of, val_ratio, test_ratio, rng)
    # A label that shares all its videos with others may have none in train: its first goes there
    for label in sorted(videos):
        free = sorted(videos[label] - given)
        if len(free) >= 2 and not any(split_of[key] == "train" for key in free):
            split_of[free[0]] = "train"
    train, val, test = ([c for c in clips if split_of[video[c.name]] == name] for name in SPLITS)
    return train, val, test


def _composed_splits(
    clips: list[Clip], video: dict[str, str], composed: dict[str, Made]
) -> dict[str, str]:
    """Video -> split of composed clips. Raises SopError where copies have different ones."""
    first: dict[str, str] = {}
    for clip in clips:
        if clip.name in composed:
            other = first.setdefault(video[clip.name], clip.name)
            splits = composed[other].split, composed[clip.name].split
            if splits[0] != splits[1]:
                what = f"{other} ({splits[0]}) and {clip.name} ({splits[1]}) are copies"
                raise SopError(f"{what} (copies.csv): compose again, or remove one of them")
    return {key: composed[name].split for key, name in first.items()}


def _videos(clips: list[Clip], copies: Groups[str]) -> dict[str, str]:
    """Clip's name -> what its video is called in `split`; one name for a video and its copies."""
    group = {c.name: copies.of(c.name) for c in clips}
    shared = {first for name, first in group.items() if first != name}
    # a group's name has a `/` in it, as a clip's, and no video's has
    alike = Groups((group[c.name], c.video) for c in clips if group[c.name] in shared)
    return {c.name: alike.of(c.video) for c in clips}


def _divide(
    videos: set[str],
    split_of: dict[str, str],
    val_ratio: float,
    test_ratio: float,
    rng: random.Random,
) -> dict[str, str]:
    """Choose a split for those of a label's videos that have none yet."""
    free = sorted(videos - split_of.keys())
    rng.shuffle(free)
    have = Counter(split_of[v] for v in videos if v in split_of)
    n = len(videos)
    train = not have["train"]  # train keeps one
    val = max(round(n * val_ratio), val_ratio > 0 and n >= 3) - have["val"]
    val = max(0, min(val, len(free) - train))
    test = max(round(n * test_ratio), test_ratio > 0 and n >= 4) - have["test"]
    test = max(0, min(test, len(free) - val - train))
    names = ["val"] * val + ["test"] * test + ["train"] * (len(free) - val - test)
    return dict(zip(free, names, strict=False))


def build_index(
    data: AnyPath,
    out: AnyPath | None = None,
    min_frames: int = 0,
    val_ratio: float | None = None,
    test_ratio: float | None = None,
    seed: int = 0,
    duet: str = "test",
    splits: AnyPath | None = None,
    sections: bool = False,
) -> dict[str, Path]:
    """Index a data folder: write `train.csv`, `val.csv`, `test.csv` and `all.csv`.

    Composed clips keep the split that `composed.csv` notes. Those that `copies.csv` names as copies
    of one another are in one split.

    Args:
        out: where to; None: `data` itself.
        min_frames: clips with fewer frames are left out.
        val_ratio: None for `RATIO`, or 0 if `splits` says what validates.
        test_ratio: None for `RATIO`, or 0 with `splits`.
        splits: a list with the data set's own splits (`read_splits`). A clip that it doesn't name
            trains, or validates if the list has no val; a duet tests.
        sections: ids are in VGGSound's layout, `<YouTube id>_<start, six digits>`; such clips are
            sections of one video. Without it, only those that `splits` or `collect`'s list names.
        seed, duet: as for `split`.
    Returns: {"train": path, "val": ..., "test": ..., "all": ...}.
    Warns: of clips that are left out, by reason, or not named by `splits`; of labels that are taken
        for duets; of too few videos to train or test with.
    Raises: SopError if there are no clips, if the options contradict each other, or if
        `composed.csv` has a photo or a recording in two splits.
    """
    data = Path(data)
    out = Path(out or data)
    if test_ratio is None:
        test_ratio = 0.0 if splits else RATIO
    ratio = RATIO if val_ratio is None else val_ratio
    if not (0 <= ratio < 1 and 0 <= test_ratio < 1 and ratio + test_ratio < 1):
        ratios = f"val_ratio={ratio}, test_ratio={test_ratio}"
        raise SopError(f"{ratios}: expected shares from 0, together less than 1")
    if duet not in DUETS:
        raise SopError(f"duets to {duet!r}: expected one of {', '.join(DUETS)}")
    if splits and test_ratio:
        hint = "the list says what is tested; leave the ratio out"
        raise SopError(f"test_ratio={test_ratio} with {splits}: {hint}")
    own = read_splits(splits) if splits else {}
    # Find the clips
    entries = candidates(data)
    known, composed, copies = read_sections(data), read_composed(data), read_copies(data)
    known |= _sections(complete(entries, {}, {}), splits, sections)
    usable = complete(entries, known, composed)
    clips = [c for c in usable if c.n_frames >= min_frames]
    if not clips:
        raise SopError(nothing_found(data, usable, min_frames))
    named = {c.name: name for c in clips if (name := _own_split(c, own))}
    if own and not named:
        expected = f"expected ids like {clips[0].id}"
        raise SopError(f"{splits}: names none of the {len(clips)} clips; {expected}")
    if val_ratio is None and "val" in named.values():
        ratio = 0.0
    check_composed(data, {c.name: composed[c.name] for c in clips if c.name in composed})
    # Split them, say what looks wrong, write
    train, val, test = split(clips, ratio, test_ratio, seed, duet, own, composed, copies)
    placed = {*train, *val, *test}
    everything = [c for c in clips if c in placed]
    notes = passed_over(data, entries) + left_out(usable, clips, placed, min_frames)
    notes += like_sections(clips) + like_one_video(clips)
    if splits:
        rest = (c.name for c in everything if c.label != SILENCE_LABEL)
        notes += not_listed(splits, [name for name in rest if name not in named])
    if duet != "train":
        notes += like_duets(clips, known_labels(data) | {c.label for c in usable})
    tested = {c.video for c in test if not c.is_duet}
    if test_ratio and len(tested) < 2 <= len(train):
        notes.append(
            f"{data}: {len(tested)} video(s) besides duets to test with, too few to mix: a label "
            "has one from 4 videos on. Measure on val.csv, which chooses the best epoch, or get "
            "more videos"
        )
    if not train:
        labels = ", ".join(sorted({c.label for c in clips})[:3])
        notes.append(
            f"{data}: nothing to train with; labels of two words ({labels}, ...) are taken for "
            "duets, which only test. If each is one instrument, index with --duets train"
        )
    for note in notes:
        warnings.warn(note, stacklevel=2)
    write_sections(out, known, INDEX_SECTIONS)
    write_composed(out, composed, INDEX_COMPOSED)
    paths = {}
    for name, part in zip((*SPLITS, "all"), (train, val, test, everything), strict=True):
        paths[name] = out / f"{name}.csv"
        write_index(paths[name], part)
    return paths


def _sections(clips: list[Clip], splits: AnyPath | None, by_layout: bool) -> dict[str, str]:
    """Clip's name -> video, of sections: by the list `splits`, or by the layout of their ids."""
    starts = (video for video in (_listed(splits) if splits else ()) if video.start is not None)
    listed = {video.id: video.key for video in starts}
    if by_layout:
        listed = {c.id: match[1] for c in clips if (match := SECTION.fullmatch(c.id))} | listed
    return {c.name: listed[c.id] for c in clips if c.id in listed}


def drop_copies(paths: Sequence[AnyPath], progress: bool = True) -> dict[Path, list[str]]:
    """Leave out of each index the clips that a later one of them has, or has a copy of.

    Args: `paths`: train, val, test: what is tested stays. Where nothing is left out, the file does.
    Returns: the names of the clips that were left out, by index.
    Raises: SopError if an index would have no clips left; then all of them are as they were.
    """
    lists = {Path(path): read_index(path) for path in paths}
    clips = [clip for part in lists.values() for clip in part]
    entries = [Candidate(c.name, *astuple(c)[:3]) for c in clips]
    copies = search(entries, progress=progress)
    with suppress(OSError):  # data that can only be read; the lists lie elsewhere
        note_copies(entries, copies)
    groups = Groups((copy.copy_of, copy.clip) for copy in copies)
    first: dict[str, int] = {}
    for number, clip in enumerate(clips):  # one file in two lists, also where it is only a tone
        groups.join(first.setdefault(os.path.realpath(clip.sound_path), number), number)
    numbers = iter(range(len(clips)))
    group = {path: [groups.of(next(numbers)) for _ in part] for path, part in lists.items()}
    later: set[int] = set()
    kept, dropped = {}, {}
    for path, part in reversed(lists.items()):
        pairs = list(zip(part, group[path], strict=True))
        kept[path] = [clip for clip, number in pairs if number not in later]
        dropped[path] = [clip.name for clip, number in pairs if number in later]
        later |= {*group[path]}
        if not kept[path]:
            raise SopError(f"{path}: it has nothing but copies of what the later ones have")
    for path in lists:
        if dropped[path]:
            write_index(path, kept[path])
    return {path: dropped[path] for path in lists}


def known_labels(data: AnyPath) -> set[str]:
    """The labels in `preprocess`'s report, also of videos that failed."""
    report = Path(data, "preprocess_report.csv")
    if not report.is_file():
        return set()
    try:
        return set(read_table(report).label) - {""}
    except (OSError, ValueError, AttributeError):
        return set()  # it only serves a hint
