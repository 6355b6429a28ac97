"""Lists of videos -> videos, and photos of empty places -> silent scenes: where data comes from.

    music.json, vggsound.csv  ->  VIDEOS/<label>/<id>.mp4
    PHOTOS/**/*.jpg           ->  VIDEOS/silence/<name>.mp4

Videos vanish, and one that fails does not stop the others: `VIDEOS/collect_report.csv` has the
result for each. A second run fetches what is missing, except videos that were unavailable or
private the last time. yt-dlp downloads; ffmpeg cuts and joins (the extra `collect` has both).
"""

import hashlib
import itertools
import logging
import os
import re
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import quote

import numpy as np
import pandas as pd
from PIL import Image, ImageOps
from tqdm.auto import tqdm

from ..config import SILENCE_LABEL, AnyPath
from ..errors import SopError
from ..media.atomic import atomic_path, sha256, sweep
from ..media.container import video_seconds
from ..media.csvs import read_table, write_table
from ..media.write import write_video
from .lists import ListedVideo, note_sections

GONE = ("unavailable", "private")
YOUTUBE = "https://www.youtube.com/watch?v={id}"
SECTION = 10  # seconds of a VGGSound clip
HEIGHT = 360  # pixels, at most: training sees 224
PHOTOS = (".jpg", ".jpeg", ".png", ".webp")
REPORT = "collect_report.csv"
LABEL = r"(?![.-])[^/\\\0-\x1f:\ud800-\udfff]{1,100}"  # what can be the name of a folder
# Worth another try at once.
PASSING = r"HTTP Error (429|5\d\d)|timed out|reset by peer|connection refused|name resolution"
# What yt-dlp says, and what it means. The first that fits counts; what has failed may be there
# when asked otherwise.
MEANING = {
    "private": r"private video|members.only|join this channel|granted access",
    "failed": r"HTTP Error (403|429|5\d\d)|sign in|cookies|rate.limit|too many requests|try again|"
    r"in your country|requested format|on this app|proxy",
    "unavailable": r"unavailable|not available|no longer|removed|terminated|deleted|does not exist|"
    r"HTTP Error 4(04|10)",
}


@dataclass(frozen=True)
class How:
    """How to fetch videos: options for yt-dlp."""

    jobs: int = 4  # videos at a time
    retries: int = 5  # of one request, with twice the pause each time
    pause: float = 1.0  # seconds before the first retry
    timeout: float = 30.0  # seconds without an answer
    rate_limit: int | None = None  # bytes a second, each video
    cookies: AnyPath | None = None  # a cookies.txt
    address: str = YOUTUBE  # with {id} in it: a mirror of your own
    again: bool = False  # ask again for what was gone the last time

    def wait(self, n: int) -> float:
        """Seconds before retry n, from 0."""
        return min(self.pause * 2**n, 60)


def collect(
    videos: list[ListedVideo], out: AnyPath, how: How | None = None, progress: bool = True
) -> pd.DataFrame:
    """Fetch what is missing of `videos` into `out/<label>/<id>.mp4`, at most 360 pixels high.

    Returns: the report, a row a video: id, label, status (`ok`, `unavailable`, `private`,
        `failed`), reason, seconds, bytes. It is also written to `out/collect_report.csv`, every
        minute, after the rows of earlier runs for other videos.
    Raises: SopError where yt-dlp or ffmpeg isn't installed, or the cookies aren't there.
    """
    how = how or How()
    if how.cookies and not Path(how.cookies).is_file():
        expected = "cookies as a browser's extension exports them (cookies.txt)"
        raise SopError(f"{how.cookies}: no such file; expected {expected}")
    _yt_dlp()
    out = Path(out)
    sections = [v for v in videos if v.start is not None and not _unsafe(v)]
    note_sections(out, {f"{v.label}/{v.id}": v.key for v in sections})
    with _ffmpeg():
        return _all(videos, out, how.jobs, progress, lambda v, row: _fetched(v, out, how, row))


def silence(
    photos: AnyPath, out: AnyPath, seconds: float = 24.0, jobs: int = 4, progress: bool = True
) -> pd.DataFrame:
    """Turn photos of places where nothing plays into still videos with silence: silent scenes.

    They are for training only: their mask should be empty. Photos are taken from `photos` and all
    folders below. The videos are `out/silence/<name>.mp4`, `seconds` long.

    Returns: the report, as `collect`.
    Raises: SopError where there are no photos.
    """
    scenes = {}
    for path in sorted(Path(photos).rglob("*")):
        if path.suffix.lower() in PHOTOS and path.is_file():
            stem = re.sub(r"[^\w-]+", "_", path.stem).strip("_-")
            # two photos may have the same name, so six letters of the file's checksum are added
            scenes[ListedVideo(f"{stem}_{sha256(path)[:6]}", SILENCE_LABEL)] = path
    if not scenes:
        expected = f"files that end in {', '.join(PHOTOS)}, there or in folders below"
        raise SopError(f"{photos}: no photos; expected {expected}")
    out = Path(out)
    return _all(list(scenes), out, jobs, progress, lambda v, _: _still(v, scenes[v], out, seconds))


def _all(
    videos: list[ListedVideo],
    out: Path,
    jobs: int,
    progress: bool,
    work: Callable[[ListedVideo, dict | None], dict],
) -> pd.DataFrame:
    """Do the work on all videos, several at a time. Write a report, also after an error.

    Args:
        work: makes a video's row of the report, from the video and its row of an earlier report.
    """
    wanted = {(v.id, v.label): v for v in videos}  # once each: no two workers on one file
    earlier = _earlier(out)
    rows = {}
    others = [row for key, row in earlier.items() if key not in wanted]

    def save() -> pd.DataFrame:
        known = [rows.get(key) or earlier.get(key) or _row(v) for key, v in wanted.items()]
        report = pd.DataFrame(known)
        with atomic_path(out / REPORT) as part:
            write_table(part, pd.concat([pd.DataFrame(others), report]), errors="backslashreplace")
        return report

    for folder in (out, *out.glob("*/")):
        sweep(folder)
    pool = ThreadPoolExecutor(max(1, jobs))
    saved = time.monotonic()
    try:
        todo = {pool.submit(work, v, earlier.get(key)): key for key, v in wanted.items()}
        ended = as_completed(todo)
        for done in tqdm(ended, "collect", len(todo), unit="video", disable=not progress):
            rows[todo[done]] = done.result()
            if time.monotonic() > saved + 60:  # so that a power cut loses little
                save()
                saved = time.monotonic()
    finally:
        pool.shutdown(cancel_futures=True)
        report = save()
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


def _fetched(video: ListedVideo, out: Path, how: How, before: dict | None) -> dict:
    """Fetch one video unless it is there or gone; return its row, also where it fails."""
    if wrong := _unsafe(video):
        return _row(video, reason=wrong)
    place = out / video.label / f"{video.id}.mp4"
    try:
        if place.is_file():
            size = str(place.stat().st_size)
            if before and before["status"] == "ok" and str(before["bytes"]) == size:
                return before
        elif before and before["status"] in GONE and not how.again:
            return before
        else:
            name = hashlib.sha256(f"{video.label}/{video.id}".encode()).hexdigest()[:16]
            _fetch(video, place, out / ".collect" / name, how)
        return _ok(video, place)
    except SopError as e:
        return _row(video, *_meaning(str(e)))
    except Exception as e:  # one video that breaks a library must not stop the other 199,999
        return _row(video, reason=f"{type(e).__name__}: {e}")


def _still(video: ListedVideo, photo: Path, out: Path, seconds: float) -> dict:
    place = out / video.label / f"{video.id}.mp4"
    try:
        if not place.is_file():
            with Image.open(photo) as opened:
                picture = ImageOps.exif_transpose(opened).convert("RGB")
            picture.thumbnail((1_000, HEIGHT))
            frames = itertools.repeat(np.asarray(picture), max(1, round(4 * seconds)))
            write_video(place, frames, 4, np.zeros(round(44_100 * seconds), np.float32), 44_100)
        return _ok(video, place)
    except Exception as e:  # Pillow raises many kinds
        return _row(video, reason=f"not a picture that can be read ({e})")


def _row(video: ListedVideo, status: str = "failed", reason: str = "not reached") -> dict:
    row = {"id": video.id, "label": video.label, "status": status}
    return row | {"reason": " ".join(reason.split()), "seconds": 0.0, "bytes": 0}


def _ok(video: ListedVideo, place: Path) -> dict:
    row = _row(video, "ok", "")
    return row | {"seconds": _seconds(place), "bytes": place.stat().st_size}


def _unsafe(video: ListedVideo) -> str:
    """Why an id or a label can't be a file's name ("" if it can). Lists come from the internet."""
    if not re.fullmatch(r"[\w-]{1,64}", video.key, re.ASCII):
        return f"id {video.key!r}: expected letters, digits, - and _"
    if not video.label.strip() or not re.fullmatch(LABEL, video.label):
        return f"label {video.label!r}: can't be the name of a folder"
    return ""


def _earlier(out: Path) -> dict[tuple[str, str], dict]:
    """The rows of an earlier report, by id and label."""
    report = Path(out, REPORT)
    if not report.is_file():
        return {}
    try:
        rows = read_table(report).to_dict("records")
        return {(row["id"], row["label"]): row for row in rows if row["status"]}
    except (ValueError, KeyError) as e:
        problem = f"not the report of an earlier run ({e})"
        raise SopError(f"{report}: {problem}; put it out of the way") from None


def _meaning(said: str) -> tuple[str, str]:
    """The status and the reason behind a message of yt-dlp."""
    said = re.sub(r"\x1b\[[0-9;]*m", "", said).removeprefix("ERROR:").strip()
    for status, pattern in MEANING.items():
        if re.search(pattern, said, re.IGNORECASE):
            return status, said
    return "failed", said


def _fetch(video: ListedVideo, place: Path, work: Path, how: How) -> None:
    """Fetch one video, or its section. What a stopped run has downloaded stays in `work`."""
    yt_dlp = _yt_dlp()
    work.mkdir(parents=True, exist_ok=True)
    options = {
        "format": f"bv*[height<=?{HEIGHT}]+ba/b[height<=?{HEIGHT}]/wv*+ba/w",
        "merge_output_format": "mp4",
        "paths": {"home": str(work)},
        "outtmpl": "video.%(ext)s",
        "retries": how.retries,
        "fragment_retries": how.retries,
        "extractor_retries": how.retries,
        "retry_sleep_functions": dict.fromkeys(("http", "fragment", "extractor"), how.wait),
        "socket_timeout": how.timeout,
        "ratelimit": how.rate_limit,
        "noplaylist": True,
        "quiet": True,
        "no_warnings": True,
        "noprogress": True,
        "logger": logging.Logger("yt-dlp", logging.CRITICAL + 1),  # silent: there is the report
    }
    if video.start is not None:
        section = [(video.start, video.start + SECTION)]
        options["download_ranges"] = yt_dlp.utils.download_range_func([], section)
        options["force_keyframes_at_cuts"] = True
    try:
        with TemporaryDirectory() as folder:
            if how.cookies:  # a copy, since yt-dlp writes to it
                options["cookiefile"] = shutil.copy(how.cookies, folder)
            _ask(yt_dlp, options, how.address.format(id=quote(video.key, safe="")), how)
        made = [p for p in work.glob("video.*") if p.name.count(".") == 1]
        if not made:
            raise SopError("yt-dlp left no video")
    finally:
        if not any(work.iterdir()):
            work.rmdir()
    with atomic_path(place) as part:
        shutil.move(made[0], part)
        _seconds(part)
    shutil.rmtree(work, ignore_errors=True)


def _ask(yt_dlp, options: dict, address: str, how: How) -> None:
    for n in range(how.retries + 1):
        try:
            with yt_dlp.YoutubeDL(options) as ydl:
                ydl.download([address])
            return
        except yt_dlp.utils.YoutubeDLError as e:
            if n == how.retries or not re.search(PASSING, str(e), re.IGNORECASE):
                raise SopError(str(e)) from None
            time.sleep(how.wait(n))


def _seconds(path: Path) -> float:
    """Length of a video. Raises SopError where it has no picture, no sound or no length."""
    try:
        return round(video_seconds(path), 2)
    except SopError as e:
        reason = str(e).removeprefix(f"{path}: ")
        raise SopError(f"what came is no video to use: {reason}") from None


def _yt_dlp():
    try:
        import yt_dlp.utils
    except ImportError:
        raise SopError("yt-dlp is not installed; run pip install -e '.[collect]'") from None
    return yt_dlp


@contextmanager
def _ffmpeg() -> Iterator[None]:
    """Let yt-dlp find ffmpeg, which cuts sections: the system's, or the one of imageio-ffmpeg."""
    if shutil.which("ffmpeg"):
        yield
        return
    try:
        import imageio_ffmpeg
    except ImportError:
        raise SopError("ffmpeg is not installed; run pip install -e '.[collect]'") from None
    before = os.environ.get("PATH", "")
    with TemporaryDirectory() as folder:  # yt-dlp looks for exactly this name on the path
        name = "ffmpeg.exe" if os.name == "nt" else "ffmpeg"
        shutil.copy(imageio_ffmpeg.get_ffmpeg_exe(), Path(folder) / name)
        os.environ["PATH"] = f"{folder}{os.pathsep}{before}"
        try:
            yield
        finally:
            os.environ["PATH"] = before
