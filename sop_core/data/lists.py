"""Lists of videos: MUSIC's, VGGSound's, and the note of which clips are sections of one video.

A VGGSound clip is a section of a video. `sections.csv` (rows `label/id,video`, no header) says
which clips are sections, and of which video: `collect` writes it beside the videos, `preprocess`
copies it.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ..config import AnyPath
from ..errors import SopError
from ..media.csvs import cell, from_cell, read_rows, write_rows

SECTIONS = "sections.csv"


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
            text = Path(path).read_text(encoding="utf-8")
            labels = msgspec.convert(json.loads(text), _Music).videos
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
