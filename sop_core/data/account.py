"""What became of each video of a list: files `VIDEOS/<label>/<id>.mp4`, `collect_report.csv`."""

import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import pandas as pd
from tqdm.auto import tqdm

from ..config import AnyPath
from ..errors import SopError
from ..media.atomic import atomic_path, sweep
from ..media.container import video_seconds
from ..media.csvs import read_table, write_table
from ..media.formats import SUFFIXES
from .lists import ListedVideo, note_sections

GONE = ("unavailable", "private")
REPORT = "collect_report.csv"
WORK = ".collect"  # in VIDEOS: what isn't complete yet
LABEL = r"(?![.-])[^/\\\0-\x1f:\ud800-\udfff]{1,100}"  # what can be the name of a folder


class Account:
    """The report: a row for each video of a list, after the rows of earlier runs for others.

    Several threads may note rows.
    """

    def __init__(self, videos: Iterable[ListedVideo], out: AnyPath):
        """Also notes which videos are sections, and removes what killed runs left in `out`."""
        self.out = out = Path(out)
        self.wanted = {(v.id, v.label): v for v in videos}  # once each: no two workers on one file
        self.earlier = _earlier(out)
        self.rows: dict[tuple[str, str], dict] = {}
        self.lock = threading.Lock()
        self.saved = time.monotonic()
        sections = [v for v in self.wanted.values() if v.start is not None and not unsafe(v)]
        note_sections(out, {f"{v.label}/{v.id}": v.key for v in sections})
        for folder in (out, *out.glob("*/")):
            sweep(folder)

    def note(self, row: dict) -> None:
        """Add a row. The file is written every minute, so that a power cut loses little."""
        with self.lock:
            self.rows[row["id"], row["label"]] = row
            if time.monotonic() > self.saved + 60:
                self._save()
                self.saved = time.monotonic()

    def save(self) -> pd.DataFrame:
        """Write the file. Returns the list's own rows, in the list's order."""
        with self.lock:
            return self._save()

    def _save(self) -> pd.DataFrame:
        known = [
            self.rows.get(key) or self.earlier.get(key) or row(v) for key, v in self.wanted.items()
        ]
        others = [old for key, old in self.earlier.items() if key not in self.wanted]
        report = pd.DataFrame(known)
        with atomic_path(self.out / REPORT) as part:
            write_table(part, pd.concat([pd.DataFrame(others), report]), errors="backslashreplace")
        return report


def for_all(
    videos: list[ListedVideo],
    out: AnyPath,
    jobs: int,
    progress: bool,
    work: Callable[[ListedVideo, dict | None], dict],
) -> pd.DataFrame:
    """Do the work on all videos, several at a time. Write a report, also after an error.

    Args:
        work: makes a video's row of the report, from the video and its row of an earlier report.
    """
    account = Account(videos, out)
    pool = ThreadPoolExecutor(max(1, jobs))
    try:
        todo = [pool.submit(work, v, account.earlier.get(key)) for key, v in account.wanted.items()]
        ended = as_completed(todo)
        for done in tqdm(ended, "collect", len(todo), unit="video", disable=not progress):
            account.note(done.result())
    finally:
        pool.shutdown(cancel_futures=True)
        report = account.save()
    return report


def summary(report: pd.DataFrame) -> str:
    """A report in a line or two: how many videos are there, what share is gone, what failed."""
    n = len(report)
    count = Counter(report.status)
    gone = sum(count[status] for status in GONE)
    text = f"{count['ok']:,} of {n:,} videos are there; {gone:,} ({100 * gone / n:.1f} %) are gone"
    if gone:
        text += f": {count['unavailable']:,} unavailable, {count['private']:,} private"
    failed = report[report.status == "failed"]
    if len(failed):
        first = f"{failed.id.iloc[0]!r}: {failed.reason.iloc[0]}"
        text += f"\n{len(failed):,} failed, and are tried again the next time; the first, {first}"
    return text


def row(video: ListedVideo, status: str = "failed", reason: str = "not reached") -> dict:
    """A video's row of the report."""
    known = {"id": video.id, "label": video.label, "status": status}
    return known | {"reason": " ".join(reason.split()), "seconds": 0.0, "bytes": 0}


def ok(video: ListedVideo, place: AnyPath, before: dict | None = None) -> dict:
    """The row of a video that is there. `before`: its earlier row, which saves a look into it."""
    size = Path(place).stat().st_size
    if before and before["status"] == "ok" and str(before["bytes"]) == str(size):
        return before
    return row(video, "ok", "") | {"seconds": seconds(place), "bytes": size}


def found(video: ListedVideo, out: AnyPath) -> Path | None:
    """The file of a video, in whatever container; None where it isn't there."""
    paths = (Path(out, video.label, f"{video.id}{suffix}") for suffix in SUFFIXES)
    return next((path for path in paths if path.is_file()), None)


def unsafe(video: ListedVideo) -> str:
    """Why an id or a label can't be a file's name ("" if it can). Lists come from the internet."""
    if not re.fullmatch(r"[\w-]{1,64}", video.key, re.ASCII):
        return f"id {video.key!r}: expected letters, digits, - and _"
    if not video.label.strip() or not re.fullmatch(LABEL, video.label):
        return f"label {video.label!r}: can't be the name of a folder"
    return ""


def seconds(path: AnyPath) -> float:
    """Length of a video. Raises SopError where it has no picture, no sound or no length."""
    try:
        return round(video_seconds(path), 2)
    except SopError as e:
        reason = str(e).removeprefix(f"{path}: ")
        raise SopError(f"what came is no video to use: {reason}") from None


def _earlier(out: Path) -> dict[tuple[str, str], dict]:
    """The rows of an earlier report, by id and label."""
    report = Path(out, REPORT)
    if not report.is_file():
        return {}
    try:
        rows = read_table(report).to_dict("records")
        return {(old["id"], old["label"]): old for old in rows if old["status"]}
    except (ValueError, KeyError) as e:
        problem = f"not the report of an earlier run ({e})"
        raise SopError(f"{report}: {problem}; put it out of the way") from None
