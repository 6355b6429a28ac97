"""Which files of a folder are videos: `VIDEOS/<label>/<id>.mp4`, or any other kind of video.

What a file is shows in its bytes, not in its name. Only names that end as videos do are not opened
here: that would take long, and a broken one deserves its line.
"""

import unicodedata
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from ..config import AnyPath
from ..errors import SopError
from ..media.formats import SUFFIXES, holds
from ..untrusted import hidden, printable

# Of downloads that go on, or were stopped: what is there of them may look like a video.
UNFINISHED = (".part", ".ytdl", ".crdownload", ".download", ".aria2", ".tmp")
DEEPER = "in deeper folders (put them right into a label's folder)"
LOOSE = "right in VIDEOS (put each into a folder named by its label)"


def find_videos(videos: AnyPath, passed: Counter[str] | None = None) -> list[tuple[Path, str]]:
    """Find the videos of a folder of labels. Hidden files and folders are no part of it.

    Args: `passed`: what was passed over is counted here, by kind and reason.
    Returns: each with the reason why it can't be used ("" if there is none so far).
    Raises: SopError if there is no such folder, or no videos in it.
    """
    videos = Path(videos)
    if not videos.is_dir():
        raise SopError(f"{videos}: no such folder; expected videos as {videos}/<label>/<id>.mp4")
    passed = Counter() if passed is None else passed
    root = videos.resolve()
    taken: dict[tuple[str, str], Path] = {}
    listed = []
    for path in _candidates(videos, passed):
        first = taken.setdefault((_folded(path.parent.name), _folded(path.stem)), path)
        refusal = ""
        if not path.resolve().is_relative_to(root):
            refusal = "a link that leads out of the folder of videos"
        if first != path and (first.parent, first.stem) == (path.parent, path.stem):
            refusal = "another video of this label has the same name"
        elif first != path:
            other = f"{first.parent.name}/{first.name}"
            refusal = f"many disks take its name for that of {other}: rename one of them"
        listed.append((path, refusal))
    if not listed:
        expected = "expected <label>/<id>.mp4 (or webm, mkv, mov, avi, ts ...)"
        over = f"; passed over: {told(passed)}" if passed else ""
        raise SopError(f"{videos}: no videos; {expected}{over}")
    return listed


def told(passed: Counter[str]) -> str:
    """What was passed over, in one line."""
    return ", ".join(f"{count:,} {printable(kind)}" for kind, count in passed.most_common())


def _folded(name: str) -> str:
    """A name as disks see it that ignore case and the forms of accents (macOS, Windows)."""
    return unicodedata.normalize("NFC", name).lower()


def _candidates(videos: Path, passed: Counter[str]) -> Iterator[Path]:
    """The files that are videos, by name or by content, in the order of their names."""
    passed[LOOSE] += sum(_named_so(p) for p in videos.iterdir() if p.is_file())
    for path in sorted(videos.glob("*/*")):
        suffix = path.suffix.lower()
        if hidden(path.relative_to(videos)):
            continue
        if _named_so(path):
            yield path
        elif path.is_dir():
            passed[DEEPER] += sum(_named_so(p) for p in path.rglob("*") if p.is_file())
        elif path.parent.name == "truth":  # ours: stems and boxes
            continue
        elif suffix in UNFINISHED or suffix.startswith(".part-"):  # x.mp4.part-Frag12
            passed["unfinished downloads"] += 1
        else:
            lacks = _lacks(path)
            if lacks:
                passed[f"{suffix or 'without a suffix'} {lacks}"] += 1
            else:
                yield path
    for kind in [k for k, count in passed.items() if not count]:
        del passed[kind]


def _lacks(path: Path) -> str:
    """What a file lacks to be a video; "" if it is one."""
    try:
        picture, sound = holds(path)
    except OSError as e:
        return f"({e.strerror})"
    if picture and sound:
        return ""
    return "without sound" if picture else "without a picture" if sound else "that are no videos"


def _named_so(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
