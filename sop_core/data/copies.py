"""Copies: clips that are one video under two ids. `matching.py` finds them.

`copies.csv` in the data folder (rows `label/id,label/id of what it copies`, no header) keeps what
was found. `index` follows it, and the leak check of `evaluate`.
"""

from collections.abc import Hashable, Iterable, Sequence
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from ..config import AnyPath
from ..errors import SopError
from ..media.csvs import cell, from_cell, read_rows, write_rows
from .clips import Candidate

COPIES = "copies.csv"

Item = TypeVar("Item", bound=Hashable)


class Copy(NamedTuple):
    """Two clips, as their places in a list, and what they have in common."""

    clip: int
    copy_of: int  # before `clip`
    how: str


class Groups(Generic[Item]):
    """Groups of what is joined, also through others."""

    def __init__(self, pairs: Iterable[tuple[Item, Item]] = ()):
        self._above: dict[Item, Item] = {}
        for a, b in pairs:
            self.join(a, b)

    def join(self, a: Item, b: Item) -> bool:
        """Join the groups of two items; False where they are one already."""
        a, b = self.of(a), self.of(b)
        if a != b:
            self._above[b] = a
        return a != b

    def of(self, item: Item) -> Item:
        """The item that stands for the group of this one; itself where it was never joined."""
        while item in self._above:
            above = self._above[item]
            self._above[item] = self._above.get(above, above)  # halves the way, for the next time
            item = above
        return item


def read_copies(folder: AnyPath) -> Groups[str]:
    """Read the note of copies in a data folder: groups of `label/id`.

    Returns: groups without anything in them where there is no note.
    Raises: SopError naming the row where it isn't a note of copies.
    """
    return Groups(_rows(folder))


def _rows(folder: AnyPath) -> list[tuple[str, str]]:
    path = Path(folder, COPIES)
    rows = []
    for number, row in read_rows(path) if path.is_file() else ():
        if len(row) != 2:
            expected = "expected label/id,label/id of what it copies; index with --check again"
            raise SopError(f"{path} row {number}: {','.join(row)[:99]!r}, {expected}")
        rows.append((from_cell(row[0]), from_cell(row[1])))
    return rows


def note_copies(clips: Sequence[Candidate], copies: Iterable[Copy]) -> None:
    """Note copies in the data folders of the clips. What the notes say of other clips stays."""
    names = {clip.name for clip in clips}
    found: dict[Path, list[tuple[str, str]]] = {}
    for clip in clips:
        found.setdefault(data_of(clip.sound), [])
    for copy in copies:
        pair = clips[copy.clip], clips[copy.copy_of]
        if pair[0].name != pair[1].name:
            for folder in {data_of(clip.sound) for clip in pair}:
                found[folder].append((pair[0].name, pair[1].name))
    for folder, new in found.items():
        old = _rows(folder)
        rows = sorted({*new, *(row for row in old if not names.issuperset(row))})
        if rows != sorted(old):
            write_rows(Path(folder, COPIES), (map(cell, row) for row in rows))


def data_of(place: AnyPath) -> Path:
    """The data folder of a clip: its sound is `DATA/audio/<label>/<id>.mp3`, its frames likewise.

    A published list may have them elsewhere; then it is the folder two above, or the root.
    """
    parents = Path(place).parents
    return parents[min(2, len(parents) - 1)]
