"""What people have: photos and recordings in folders, one for each label.

Names of files and folders are untrusted: they are printed by `printable`, no link leads out of its
folder, and a composed file is named by its label and its number alone.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from ..config import RATIO, AnyPath
from ..errors import SopError
from ..media.atomic import sha256
from ..media.csvs import nfc
from ..untrusted import hidden

DIGEST = 16  # hexadecimal digits that stand for a file's content
NOT_ONE = "not one of"  # how the reason begins for a file of another kind
LEADS_OUT = "a link that leads out of the folder"


class Unused(NamedTuple):
    """A row of the report: what could not be used, and why."""

    label: str
    file: str  # from the folder of photos, or of recordings
    reason: str


def digest(path: AnyPath) -> str:
    """What stands for a file's content in lists: two files with equal content are one.

    Raises OSError where the file can't be read.
    """
    return sha256(path)[:DIGEST]


def labelled_files(
    folder: AnyPath, suffixes: Iterable[str], unused: list[Unused], deep: bool = False
) -> Iterator[tuple[str, Path]]:
    """The files of a folder whose suffix is one of `suffixes`, each with its label, in order.

    A label is the name of a folder in it, in NFC (`media.csvs`). Hidden files are passed over;
    others that can't be used are added to `unused`.

    Args: `deep`: folders inside a label's folder count, too.
    Raises: SopError if there is no such folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise SopError(f"{folder}: no such folder; expected {folder}/<label>/ with files in it")
    root = folder.resolve()
    wanted = {suffix.lower() for suffix in suffixes}
    for path in sorted(folder.rglob("*")):
        place = path.relative_to(folder)
        if hidden(place):
            continue
        parts = place.parts
        top, name = nfc(parts[0]), "/".join(parts)
        label = top if len(parts) > 1 else ""
        if path.is_symlink() and path.is_dir():
            inside = path.resolve().is_relative_to(root)
            reason = "a link to another folder of these" if inside else LEADS_OUT
            unused.append(Unused(top, name, reason))
        if not path.is_file():
            continue
        if path.suffix.lower() not in wanted:
            unused.append(Unused(label, name, f"{NOT_ONE} {' '.join(sorted(wanted))}"))
        elif not label:
            unused.append(Unused("", name, "outside of all labels: put it into a folder of one"))
        elif len(parts) > 2 and not deep:
            unused.append(Unused(label, name, f"in a folder of its own: put it into {label}/"))
        elif not path.resolve().is_relative_to(root):
            unused.append(Unused(label, name, LEADS_OUT))
        else:
            yield label, path


def without_copies(
    folder: AnyPath, suffixes: Iterable[str], unused: list[Unused], deep: bool = False
) -> list[tuple[str, Path, str]]:
    """(label, path, digest) of `labelled_files`, each content once.

    What stands under two labels is left out: it would teach that both look or sound alike.

    Args and Raises: as for `labelled_files`.
    """
    marked = []
    for label, path in labelled_files(folder, suffixes, unused, deep):
        name = path.relative_to(folder).as_posix()
        try:
            marked.append((label, path, digest(path), name))
        except OSError as e:
            unused.append(Unused(label, name, f"can't be read ({e.strerror})"))
    labels: dict[str, set[str]] = {}
    for label, _, mark, _ in marked:
        labels.setdefault(mark, set()).add(label)
    first: dict[str, str] = {}
    kept = []
    for label, path, mark, name in marked:
        if others := sorted(labels[mark] - {label}):
            unused.append(Unused(label, name, f"the same file stands under {others[0]} too"))
        elif mark in first:
            unused.append(Unused(label, name, f"the same file as {first[mark]}"))
        else:
            first[mark] = name
            kept.append((label, path, mark))
    return kept


def split_of(
    digests: Iterable[str], val_ratio: float = RATIO, test_ratio: float = RATIO
) -> dict[str, str]:
    """The split of each photo, or of each recording, of one label: digest -> split.

    The content decides, not a seed or a name: the same files are split alike in any folder. (More
    files may change where some belong, so a folder of clips is made of one set of files.) 3 files
    or more have one in val, 4 or more one in test, unless a ratio is 0. One at least trains.
    """
    order = sorted(set(digests))
    n = len(order)
    test = max(round(n * test_ratio), n >= 4) if test_ratio else 0
    test = max(0, min(test, n - 1))
    val = max(round(n * val_ratio), n >= 3) if val_ratio else 0
    val = max(0, min(val, n - 1 - test))
    names = ["val"] * val + ["test"] * test + ["train"] * (n - val - test)
    return dict(zip(order, names, strict=True))
