"""Clips: preprocessed videos, in a data folder or in an index, and how they are listed.

An index is a csv without a header, one clip a row: `AUDIO_PATH,FRAMES_PATH,NUMBER_FRAMES`. A path
is looked up as written, then from the index's own folder; the paths that we write are relative to
that folder (but for another drive of Windows), so that a data set can be moved. A clip's name is
`label/id`, from its sound file `.../<label>/<id>.mp3`. A duet's label is two labels with a blank
between. Beside the index, `index_sections.csv` says which clips are sections of one video, and
`index_composed.csv` what composed clips are made of.
"""

import os
import unicodedata
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from ..config import AnyPath
from ..errors import SopError
from ..media.csvs import nfc, read_rows, write_rows
from ..media.jpgs import frame_names, names_in
from ..media.sound import sound_length
from .lists import Made, read_composed, read_sections

SOUNDS = (".flac", ".wav", ".mp3")  # where an id has several, the first of these is taken
# As `sections.csv` and `composed.csv` of the data, at the time of indexing
INDEX_SECTIONS = "index_sections.csv"
INDEX_COMPOSED = "index_composed.csv"
NOT_COMPOSED = Made("")


@dataclass(frozen=True, slots=True)
class Clip:
    """One preprocessed video: its sound file, its folder of frames, and the number of frames."""

    # Any path can be given. It is kept as text: a `Path` is five times larger, and an index may
    # have 200,000 clips.
    sound_path: str
    frames_path: str
    n_frames: int
    section_of: str = ""  # the video that the clip is a section of, if it is one
    # What a composed clip is made of (`lists.Made`)
    photos: tuple[str, ...] = ()
    recordings: tuple[str, ...] = ()

    def __post_init__(self):
        object.__setattr__(self, "sound_path", os.fspath(self.sound_path))
        object.__setattr__(self, "frames_path", os.fspath(self.frames_path))

    @property
    def sound(self) -> Path:
        return Path(self.sound_path)

    @property
    def frames(self) -> Path:
        return Path(self.frames_path)

    @property
    def label(self) -> str:
        return _label(self.sound_path)

    @property
    def id(self) -> str:
        return _id(self.sound_path)

    @property
    def name(self) -> str:
        """The clip's name in messages and manifests: `label/id`."""
        return clip_name(self.sound_path)

    @property
    def video(self) -> str:
        """Its video. Clips of one video are never in two splits, nor in one mixture."""
        return self.section_of or self.id

    def fits(self, other: "Clip") -> bool:
        """Whether both can be in one mixture: of two videos, and without a photo in common.

        One picture can't have two sounds. A recording in common is no matter.
        """
        alike = self.photos and not set(self.photos).isdisjoint(other.photos)
        return self.video != other.video and not alike

    @property
    def is_duet(self) -> bool:
        """Whether its label is two words with a blank between, or its picture is of two photos.

        A section's label is VGGSound's ("playing harp"): one instrument.
        """
        words = self.label.split(" ")
        two = len(words) == 2 and all(words) and not self.section_of
        return two or len(self.photos) > 1


def solos(clips: list[Clip]) -> list[Clip]:
    """The clips to draw mixtures from: all but duets of labels that other clips have."""
    labels = {clip.label for clip in clips}

    def together(clip: Clip) -> bool:
        return clip.is_duet and labels.issuperset(clip.label.split(" "))

    return [c for c in clips if len(c.photos) < 2 and not together(c)]


class Candidate(NamedTuple):
    """What a data folder has under one `label/id`: a sound, frames, or both."""

    name: str
    sound: str  # "" if there is none
    frames: str
    n_frames: int  # 0 if there are none


def candidates(data: AnyPath) -> list[Candidate]:
    """Everything in a data folder that has a sound or frames, by label and id."""
    audio, frames = Path(data, "audio"), Path(data, "frames")
    sounds = {}
    for suffix in reversed(SOUNDS):
        names = sorted(names_in(audio, f"*/*{suffix}"))
        sounds |= {nfc(name.removesuffix(suffix)): name for name in names}
    folders = {nfc(name[: -len(".mp4/")]): name for name in sorted(names_in(frames, "*/*.mp4/"))}
    entries = []
    for name in sorted(sounds.keys() | folders, key=os.path.split):  # by label, then by id
        sound = f"{audio}/{sounds[name]}" if name in sounds else ""
        folder = f"{frames}/{folders.get(name, name + '.mp4/')[:-1]}"
        entries.append(Candidate(name, sound, folder, len(frame_names(folder))))
    return entries


def complete(
    entries: Iterable[Candidate], sections: dict[str, str], composed: dict[str, Made]
) -> list[Clip]:
    """The clips among `entries`: those with a sound and frames.

    Args:
        sections: clip's name -> video, for clips that are sections.
        composed: clip's name -> what it is made of, for clips that are composed.
    """
    return [
        Clip(*c[1:], sections.get(c.name, ""), *composed.get(c.name, NOT_COMPOSED)[1:])
        for c in entries
        if c.sound and c.n_frames
    ]


def find_clips(data: AnyPath) -> list[Clip]:
    """All clips of a data folder that have sound and frames, by label and id."""
    return complete(candidates(data), read_sections(data), read_composed(data))


def read_index(path: AnyPath) -> list[Clip]:
    """Read an index and look up its files.

    Raises: SopError, with file and row, on a missing or empty index, a row that isn't
        sound,frames,number, or files that exist neither as written nor from the index's folder.
    """
    path = Path(path)
    if not path.exists():
        raise SopError(f"{path}: no such index; `python -m sop_core index DATA` makes one")
    sections = read_sections(path.parent, INDEX_SECTIONS)
    composed = read_composed(path.parent, INDEX_COMPOSED)
    find = finder(path.parent)
    clips = []
    for number, row in read_rows(path):
        where = f"{path} row {number}"
        if len(row) != 3:
            expected = "expected 3: sound,frames,number of frames"
            raise SopError(f"{where}: {len(row)} columns, {expected}")
        name, n_frames = clip_name(row[0]), frame_count(row[2])
        where += f" ({name})"
        if not n_frames:
            expected = "expected a whole number, at least 1"
            raise SopError(f"{where}: number of frames {row[2]!r}, {expected}")
        sound, frames = find(row[0], False), find(row[1], True)
        if sound is None or frames is None:
            what = f"sound at {row[0]}" if sound is None else f"folder of frames at {row[1]}"
            hint = "index the data again, or put it back"
            raise SopError(f"{where}: no {what}, nor from {path.parent}; {hint}")
        made = composed.get(name, NOT_COMPOSED)
        clips.append(Clip(sound, frames, n_frames, sections.get(name, ""), *made[1:]))
    if not clips:
        hint = "look at what `python -m sop_core index` said"
        raise SopError(f"{path}: an index without clips; {hint}")
    return clips


def clip_name(sound: str) -> str:
    """`label/id` of a sound file."""
    return f"{_label(sound)}/{_id(sound)}"


def _label(sound: str) -> str:
    # pathlib takes ten times as long
    return nfc(os.path.basename(os.path.dirname(sound)))  # noqa: PTH119, PTH120


def _id(sound: str) -> str:
    return nfc(os.path.splitext(os.path.basename(sound))[0])  # noqa: PTH119, PTH122


def frame_count(text: str) -> int:
    """The number in an index's third column; 0 where the text is no number."""
    return int(text) if text.strip().isdecimal() else 0


Finder = Callable[[str, bool], str | None]  # a file (or a folder: True) as it is on the disk


def finder(base: AnyPath) -> Finder:
    """Make a function that looks up a file (or a folder) as written, then from `base`; else None.

    A name is found in whichever way its letters are written on the disk (see `csvs`). Each folder
    is listed once: on a network, asking for 200,000 files one by one takes minutes.
    """

    @cache
    def listed(folder: str) -> dict[tuple[str, bool], str]:
        try:
            with os.scandir(folder or ".") as entries:
                there = sorted((e.name, e.is_dir()) for e in entries if e.is_file() or e.is_dir())
        except OSError:  # not there, no folder, or not for us to read
            return {}
        return {(nfc(name), is_dir): name for name, is_dir in there}

    @cache
    def spellings(folder: str) -> list[str]:
        if folder.isascii():
            return [folder]
        place, last = os.path.split(folder)
        names = {last, nfc(last), unicodedata.normalize("NFD", last)}
        return [os.path.join(p, n) for p in spellings(place) for n in sorted(names)]  # noqa: PTH118

    def find(name: str, is_folder: bool) -> str | None:
        folder, last = os.path.split(name)
        for place in (folder, os.path.join(base, folder)):  # noqa: PTH118
            for spelled in spellings(place):
                if there := listed(spelled).get((nfc(last), is_folder)):
                    return os.path.join(spelled, there)  # noqa: PTH118
        return None

    return find


def write_index(path: AnyPath, clips: Iterable[Clip]) -> None:
    """Write clips as an index, with paths relative to its folder; a failure leaves no file."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = path.parent.resolve()

    @cache  # many clips, few labels
    def relative_folder(label_folder: str) -> str:
        # `..` needs resolved folders; the label isn't resolved: if it is a link, it keeps its name
        place = Path(label_folder)
        place = place.parent.resolve() / place.name
        with suppress(ValueError):  # on another drive of Windows
            place = Path(os.path.relpath(place, folder))
        return place.as_posix()

    def relative(place: str) -> str:
        label_folder, last = os.path.split(place)
        return f"{relative_folder(label_folder)}/{last}"

    rows = ((relative(c.sound_path), relative(c.frames_path), c.n_frames) for c in clips)
    write_rows(path, rows)


def summary(clips: Iterable[Clip]) -> pd.DataFrame:
    """One row per label: label, clips, seconds (of sound), frames. Reads each sound's header."""

    rows = []
    for clip in clips:
        samples, rate = sound_length(clip.sound)
        rows.append((clip.label, 1, samples / rate, clip.n_frames))
    table = pd.DataFrame(rows, columns=["label", "clips", "seconds", "frames"])
    return pd.DataFrame(table.groupby("label", as_index=False).sum()).round({"seconds": 1})
