"""Lists of videos: MUSIC's, VGGSound's, and notes of what clips are parts of or made of.

A VGGSound clip is a section of a video. `sections.csv` (rows `label/id,video`, no header) says
which clips are sections, and of which video: `collect` writes it beside the videos, `preprocess`
copies it.

A composed clip is made of photos and recordings. `composed.csv` (rows
`label/id,split,photos,recordings`, no header) says its split, and what stands for the content of
each photo and recording (16 hexadecimal digits, a blank between two). `compose` writes it beside
the videos, `preprocess` copies it.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import msgspec

from ..config import AnyPath
from ..errors import SopError
from ..media.csvs import cell, from_cell, read_rows, read_text, write_rows

SECTIONS = "sections.csv"
COMPOSED = "composed.csv"
SPLITS = ("train", "val", "test")
DIGESTS = re.compile(r"([0-9a-f]{16}( [0-9a-f]{16})*)?")


@dataclass(frozen=True)
class ListedVideo:
    """One line of a list: a YouTube id, its label, and where the section starts, if it is one."""

    key: str
    label: str
    start: int | None = None  # seconds; None: all of the video
    split: str = ""  # the list's own, if it has one

    @property
    def id(self) -> str:
        """The file's name; of a section `<youtube id>_<start, six digits>`, as in VGGSound."""
        return self.key if self.start is None else f"{self.key}_{self.start:06d}"


class _Music(msgspec.Struct):
    videos: dict[str, list[str]]


def read_music(paths: Iterable[AnyPath]) -> list[ListedVideo]:
    """Read MUSIC's lists: `{"videos": {"<label>": ["<youtube id>", ...]}}`, each video once.

    Raises: SopError naming the file where one isn't that.
    """
    videos = {}
    for path in paths:
        try:
            labels = msgspec.convert(json.loads(read_text(path)), _Music).videos
        except (OSError, ValueError, msgspec.ValidationError) as e:
            expected = '{"videos": {"<label>": ["<youtube id>", ...]}}'
            raise SopError(f"{path}: expected {expected} ({e})") from None
        videos |= {ListedVideo(key, label): None for label, keys in labels.items() for key in keys}
    return _not_empty(videos, paths)


def read_vggsound(paths: Iterable[AnyPath]) -> list[ListedVideo]:
    """Read VGGSound's list: rows `youtube_id,start_seconds,label,split`, no header.

    Raises: SopError naming file and row.
    """
    videos = {}
    for path in paths:
        for number, row in read_rows(path):
            if len(row) != 4 or not re.fullmatch(r"\d{1,6}", row[1]):
                expected = "youtube_id,start_seconds,label,split"
                raise SopError(f"{path} row {number}: {','.join(row)!r}, expected {expected}")
            videos[ListedVideo(row[0], row[2], int(row[1]), row[3])] = None
    return _not_empty(videos, paths)


def _not_empty(videos: dict[ListedVideo, None], paths: Iterable[AnyPath]) -> list[ListedVideo]:
    if not videos:
        raise SopError(f"{', '.join(map(str, paths))}: no videos in it")
    return list(videos)


def read_sections(folder: AnyPath, name: str = SECTIONS) -> dict[str, str]:
    """Read the note of sections in a folder: `label/id` of each section -> its video.

    Returns: an empty dict where there is no note.
    Raises: SopError naming the row where it isn't a note of sections.
    """
    path = Path(folder, name)
    sections = {}
    for number, row in read_rows(path) if path.is_file() else ():
        if len(row) != 2:
            expected = "expected label/id,video; make it again"
            raise SopError(f"{path} row {number}: {','.join(row)!r}, {expected}")
        sections[from_cell(row[0])] = row[1]
    return sections


def write_sections(folder: AnyPath, sections: dict[str, str], name: str = SECTIONS) -> None:
    """Write the note of sections; without sections there is no file."""
    path = Path(folder, name)
    if not sections:
        path.unlink(missing_ok=True)
        return
    write_rows(path, ((cell(clip), video) for clip, video in sorted(sections.items())))


def note_sections(folder: AnyPath, sections: dict[str, str]) -> None:
    """Add sections to the note in a folder; what it says of other clips stays."""
    known = read_sections(folder)
    if not sections.items() <= known.items():
        write_sections(folder, known | sections)


class Made(NamedTuple):
    """What a composed clip is made of, and the split that its photos and recordings belong to."""

    split: str  # one of `SPLITS`
    photos: tuple[str, ...] = ()  # their content: 16 hexadecimal digits each
    recordings: tuple[str, ...] = ()


def read_composed(folder: AnyPath, name: str = COMPOSED) -> dict[str, Made]:
    """Read the note of composed clips in a folder, by `label/id`.

    Returns: an empty dict where there is no note.
    Raises: SopError naming the row where it isn't a note of composed clips.
    """
    path = Path(folder, name)
    made = {}
    for number, row in read_rows(path) if path.is_file() else ():
        if len(row) != 4 or row[1] not in SPLITS or not all(map(DIGESTS.fullmatch, row[2:])):
            expected = "expected label/id,train|val|test,photos,recordings; compose it again"
            raise SopError(f"{path} row {number}: {','.join(row)[:99]!r}, {expected}")
        photos, recordings = (tuple(text.split()) for text in row[2:])
        made[from_cell(row[0])] = Made(row[1], photos, recordings)
    return made


def check_composed(folder: AnyPath, made: dict[str, Made]) -> None:
    """Raises SopError where clips of two splits have an id, a photo or a recording in common.

    Args: `folder`: where the note is; `made`: those of its clips that are used.
    """
    first: dict[tuple[str, str], str] = {}
    for clip, (split, photos, recordings) in made.items():
        parts = {"id": [clip.rpartition("/")[2]], "photo": photos, "recording": recordings}
        for kind, key in ((kind, key) for kind, keys in parts.items() for key in keys):
            other = first.setdefault((kind, key), clip)
            if made[other].split != split:
                raise SopError(
                    f"{Path(folder, COMPOSED)}: {other} (in {made[other].split}) and {clip} (in "
                    f"{split}) have the {kind} {key} in common; expected each {kind} in one split; "
                    "compose the videos again, or remove one of the two"
                )


def write_composed(folder: AnyPath, made: dict[str, Made], name: str = COMPOSED) -> None:
    """Write the note of composed clips; without such clips there is no file."""
    path = Path(folder, name)
    if not made:
        path.unlink(missing_ok=True)
        return
    rows = ((clip, m.split, " ".join(m.photos), " ".join(m.recordings)) for clip, m in made.items())
    write_rows(path, ((cell(clip), *row) for clip, *row in sorted(rows)))


def note_composed(folder: AnyPath, made: dict[str, Made]) -> None:
    """Add composed clips to the note in a folder; what it says of other clips stays.

    Raises: SopError if one of them is noted there with other photos, recordings or another split.
    """
    known = read_composed(folder)
    for name in made.keys() & known.keys():
        if made[name] != known[name]:
            what = f"{name} is made of other photos or recordings there"
            raise SopError(f"{Path(folder, COMPOSED)}: {what}; choose another folder")
    if not made.items() <= known.items():
        write_composed(folder, known | made)
