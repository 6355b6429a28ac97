"""Listed videos, taken from copies of a data set: folders, zip and tar files.

    vggsound.csv + vggsound_00.tar.gz ...  ->  VIDEOS/<label>/<id>.mp4, collect_report.csv

Copies name the files in many ways; a video's id is in all of them, and labels come from the list:

    <id>_000030.mp4, <id>_30.mp4, <id>_30000_40000.mp4     a section that starts at second 30
    <id>.mp4, <title> [<id>].mp4, <title>-<id>.mp4         a whole video

The folders that they are in don't matter. A whole video that is longer than a section is cut, as a
downloaded one is. Only files that are wanted are unpacked, each complete or not at all.
"""

import re
import secrets
import shutil
import subprocess
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial
from pathlib import Path, PurePosixPath

import pandas as pd
from tqdm.auto import tqdm

from ..config import AnyPath
from ..errors import SopError, mend
from ..media.atomic import atomic_path, unfinished
from ..media.formats import SAFE, SUFFIXES
from ..untrusted import hidden
from . import account
from .archives import ARCHIVE, Entry, entries
from .collect import HEIGHT, SECTION, ffmpeg
from .lists import ListedVideo

Tick = Callable[[int], object]  # gets the bytes that were gone through since the last one


def from_archives(
    videos: list[ListedVideo],
    out: AnyPath,
    paths: Iterable[AnyPath],
    problems: list[str],
    jobs: int = 4,
    progress: bool = True,
) -> pd.DataFrame:
    """Take what is missing of `videos` from archives into `out/<label>/<id>.mp4` (.webm, .mkv ...).

    A second run looks only for what is missing then.

    Args:
        paths: zip and tar files (.gz, .bz2, .xz; .zst from Python 3.14 on), or folders that hold
            them or the videos, also in deeper folders.
        problems: gets a sentence for each archive that is damaged, or has entries that are refused.
        jobs: archives at a time.
    Returns: the report, as `collect.collect`. What no archive holds has failed; what was gone from
        YouTube the last time stays so.
    Raises: SopError where a path isn't there, or there is no file to use.
    """
    sources = list(map(Path, paths))
    for path in sources:
        if not (path.is_file() or path.is_dir()):
            raise SopError(f"{path}: no such file or folder; expected archives, or a folder")
    search = Search(videos, out, problems)
    files = [f for path in sources for f in _files(path, search)]
    if not files and search.sought:
        expected = "expected archives (zip, tar), or videos that are called by their ids"
        raise SopError(f"{', '.join(map(str, sources))}: no file that can be used; {expected}")
    tasks = [partial(search.go_through, f, f.as_posix()) for f in files]
    return search.run(tasks, sum(f.stat().st_size for f in files), jobs, progress)


def _files(path: Path, search: "Search") -> Iterator[Path]:
    """The archives and the wanted videos in a folder; a file itself."""
    if path.is_file():
        yield path
    for file in sorted(path.rglob("*")):
        if hidden(file.relative_to(path)):
            continue
        if (ARCHIVE.search(file.name) or search.wants(file.name)) and file.is_file():
            yield file


class Search:
    """The videos of a list that are still looked for, by several threads."""

    def __init__(self, videos: list[ListedVideo], out: AnyPath, problems: list[str]):
        self.out = Path(out)
        self.problems = problems
        self.account = account.Account(videos, out)
        self.lock = threading.Condition()
        self.taking: set[tuple[str, str]] = set()  # by another thread, perhaps in vain
        self.stopped = threading.Event()
        self.sought: dict[tuple[str, str], ListedVideo] = {}  # by id and label
        self.failures: dict[tuple[str, str], str] = {}
        # what a file may be: a whole video, or the section of it that starts at a second
        self.names: dict[tuple[str, int | None], list[tuple[str, str]]] = defaultdict(list)
        starts = {(v.key, v.start) for v in self.account.wanted.values() if v.start is not None}
        self.sections = Counter(key for key, _ in starts)
        there = {(f.parent.name, f.stem): f for f in self.out.glob("*/*") if _is_video(f.name)}
        for key, video in self.account.wanted.items():
            if wrong := account.unsafe(video):
                self.account.note(account.row(video, reason=wrong))
            elif place := there.get((video.label, video.id)):
                self.account.note(_there(video, place, self.account.earlier.get(key)))
            else:
                self.sought[key] = video
                for start in {video.start, None}:
                    self.names[video.key, start].append(key)

    def wants(self, name: str) -> bool:
        """Whether a file of this name may be a video that is looked for."""
        return any(k in self.sought for may in _names(name) for k in self.names.get(may, ()))

    def fail(self, name: str, reason: str) -> None:
        """Note why the videos that are in a file of this name can't be had from it."""
        keys = (k for may in _names(name) for k in self.names.get(may, ()))
        self.failures |= dict.fromkeys(keys, reason)

    def run(
        self, tasks: Sequence[Callable[[Tick], object]], total: int, jobs: int, progress: bool
    ) -> pd.DataFrame:
        """Do the tasks, several at a time, and return the report. `total`: bytes, for the bar."""
        bar = tqdm(total=total, desc="collect", unit="B", unit_scale=True, disable=not progress)

        def tick(n: int) -> None:
            with self.lock:
                bar.update(n)

        pool = ThreadPoolExecutor(max(1, jobs))
        try:
            for done in as_completed([pool.submit(task, tick) for task in tasks]):
                done.result()
            for key, video in self.sought.items():
                before = self.account.earlier.get(key)
                if not (before and before["status"] in account.GONE):
                    reason = self.failures.get(key) or "in none of the archives that could be read"
                    self.account.note(account.row(video, reason=reason))
        finally:
            self.stopped.set()
            pool.shutdown(cancel_futures=True)
            bar.close()
            report = self.account.save()
        return report

    def go_through(
        self, path: AnyPath, origin: str, tick: Tick, seen: list[tuple[str, str]] | None = None
    ) -> bool:
        """Take what is wanted from an archive, or the file itself where it is a video.

        Args: `origin`: what to call it in messages. `seen`: gets the name of each video in it, and
            why it could not be used; the archive is gone through to its end then.
        Returns: whether it could be read.
        """
        if seen is None and not (self.sought or self.taking):
            return True
        whole = True
        at, refused = 0, []
        size = Path(path).stat().st_size
        alone = Entry(origin, size, 0, "", partial(Path(path).open, "rb"))
        try:
            for entry in [alone] if _is_video(origin) else entries(path):
                idle = seen is None and not (self.sought or self.taking)
                if self.stopped.is_set() or idle:
                    break
                tick(entry.at - at)
                at = entry.at
                if entry.refused:
                    refused.append(f"{entry.name!r}: {entry.refused}")
                if _is_video(entry.name):
                    reason = self._take(entry, origin)
                    if seen is not None:
                        seen.append((PurePosixPath(entry.name).name, reason))
        except SopError as e:
            whole = False
            self.problems.append(str(e).replace(str(path), origin, 1))
        if refused:
            many = f"{len(refused)} of its entries refused; the first, {refused[0]}"
            self.problems.append(f"{origin}: {many}")
        tick(size - at)
        return whole

    def _take(self, entry: Entry, origin: str) -> str:
        """Take an entry if it is wanted. Returns why it can't be used, "" otherwise."""
        videos, is_section = self._claim(entry.name)
        if not videos:
            return ""
        suffix = PurePosixPath(entry.name).suffix.lower()
        part = unfinished(self.out / account.WORK / f"video{suffix}", secrets.token_hex(4))
        reason = ""
        try:
            part.parent.mkdir(parents=True, exist_ok=True)
            broken = entry.refused or _reason(partial(entry.unpack, part))
            for left, video in reversed(list(enumerate(videos))):
                place = partial(self._place, video, part, is_section, last=not left)
                if why := broken or _reason(place):
                    inside = "" if entry.name == origin else f"{entry.name}: "
                    reason = f"{origin}: {inside}{why}"
                    with self.lock:  # another archive may hold it
                        self.failures[video.id, video.label] = reason
                        self.sought[video.id, video.label] = video
        finally:
            part.unlink(missing_ok=True)
            with self.lock:
                self.taking -= {(video.id, video.label) for video in videos}
                self.lock.notify_all()
        return reason

    def _claim(self, name: str) -> tuple[list[ListedVideo], bool]:
        """The videos that a file holds, for this thread alone; whether it is a section of one."""
        for may in _names(name):
            with self.lock:
                mine = self.names.get(may, ())
                while any(key in self.taking for key in mine):
                    self.lock.wait()
                if keys := [key for key in mine if key in self.sought]:
                    self.taking.update(keys)
                    return [self.sought.pop(key) for key in keys], may[1] is not None
        return [], False

    def _place(self, video: ListedVideo, part: Path, is_section: bool, last: bool) -> None:
        """Put a video, or its section, where it belongs. `last`: `part` isn't needed after it."""
        seconds = account.seconds(part)
        whole = video.start is not None and not is_section
        cut = whole and seconds > SECTION + 0.5  # or it is the section, named by the video alone
        if whole and not cut and self.sections[video.key] > 1:
            raise SopError(f"{seconds} s of a video of which the list has several sections")
        place = self.out / video.label / f"{video.id}{'.mp4' if cut else part.suffix}"
        with atomic_path(place) as new:
            if cut:
                _cut(part, video.start or 0, new)
                seconds = account.seconds(new)
            elif last:
                part.replace(new)
            else:
                shutil.copyfile(part, new)
        sizes = {"seconds": seconds, "bytes": place.stat().st_size}
        self.account.note(account.row(video, "ok", "") | sizes)


def _reason(step: Callable[[], object]) -> str:
    """Do a step. Returns why it failed for the file's sake, "" where it did not."""
    try:
        step()
    except SopError as e:
        return str(e)
    except Exception as e:  # libraries raise many kinds
        if mend(e):
            raise
        return repr(e)
    return ""


def _there(video: ListedVideo, place: Path, before: dict | None) -> dict:
    try:
        return account.ok(video, place, before)
    except SopError as e:
        return account.row(video, reason=str(e))


def _is_video(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in SUFFIXES


def _names(name: str) -> Iterator[tuple[str, int | None]]:
    """What a file of this name may be: a video's id, and the second at which a section starts."""
    stem = PurePosixPath(name).stem
    if stem.startswith(".") or not _is_video(name):  # a Mac's archives have a ._x for each x
        return
    for pattern, unit in ((r"(.+)_(\d{1,6})", 1), (r"(.+)_(\d{1,9})_\d{4,9}", 1000)):
        if match := re.fullmatch(pattern, stem, re.ASCII):
            yield match[1], int(match[2]) // unit
    yield stem, None
    if match := re.search(r"[-_ .\[(]([\w-]{11})[\])]?$", stem, re.ASCII):  # as YouTube's ids are
        yield match[1], None


def _cut(whole: Path, start: int, to: Path) -> None:
    """Cut a section as a download's is cut: encoded again, so that it begins at its second."""
    safe = [word for option, value in SAFE.items() for word in (f"-{option}", value)]
    source = [*safe, "-ss", str(start), "-i", f"file:{whole}", "-t", str(SECTION)]
    size = f"scale=-2:2*trunc(min({HEIGHT}\\,ih)/2)"
    target = ["-vf", size, "-pix_fmt", "yuv420p", "-f", "mp4", "-y", f"file:{to}"]
    command = [ffmpeg(), "-nostdin", "-v", "error", *source, *target]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        raise SopError(f"can't be cut at {start} s ({done.stderr.strip()[-200:]})")
