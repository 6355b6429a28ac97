"""Lists of videos -> videos, and photos of empty places -> silent scenes: where data comes from.

    music.json, vggsound.csv  ->  VIDEOS/<label>/<id>.mp4
    PHOTOS/**/*.jpg           ->  VIDEOS/silence/<name>.mp4

Videos vanish, and nothing stops the rest: `VIDEOS/collect_report.csv` says of every one what became
of it. A second run fetches what is missing; what was unavailable or private the last time is taken
to be gone. Downloading is yt-dlp's, cutting and joining ffmpeg's (both come with the extra
`collect`).
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
SECTION = 10.0  # seconds of a VGGSound clip
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
    """How to fetch: what yt-dlp is told."""

    jobs: int = 4  # videos at a time
    retries: int = 5  # of one request, with twice the pause each time
    pause: float = 1.0  # seconds before the first of them
    timeout: float = 30.0  # seconds without an answer
    rate_limit: int | None = None  # bytes a second, each video
    cookies: AnyPath | None = None  # a cookies.txt
    address: str = YOUTUBE  # with {id} in it: a mirror of your own
    again: bool = False  # ask again for what was gone the last time


def collect(
    videos: list[ListedVideo], out: AnyPath, how: How | None = None, progress: bool = True
) -> pd.DataFrame:
    """Fetch what is missing of `videos` into `out/<label>/<id>.mp4`, at most 360 pixels high.

    Returns: the report, a row a video: id, label, status (`ok`, `unavailable`, `private`,
        `failed`), reason, seconds, bytes. It is also in `out/collect_report.csv`, kept up to date
        on the way, after the rows of earlier runs for other videos.
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
        return _all(
            videos, out, how.jobs, progress, lambda v, before: _fetched(v, out, how, before)
        )


def silence(
    photos: AnyPath, out: AnyPath, seconds: float = 24.0, jobs: int = 4, progress: bool = True
) -> pd.DataFrame:
    """Turn photos of places where nothing plays into still videos with silence: silent scenes.

    They are for training alone: their mask should be empty. Photos are looked for in `photos` and
    in all folders below. The videos are `out/silence/<name>.mp4`, `seconds` long.

    Returns, raises: as `collect`; also raises where there are no photos.
    """
    scenes = {}
    for path in sorted(Path(photos).rglob("*")):
        if path.suffix.lower() in PHOTOS and path.is_file():
            stem = re.sub(r"[^\w-]+", "_", path.stem).strip("_-")
            # two photos may have the same name, so six letters of what is in it are added
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
    """Do the work on all videos, several at a time; whatever happens, a report is written.

    Args:
        work: gives a video's row of the report, from the video and its row of an earlier report.
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
        for done in tqdm(
            as_completed(todo), "collect", len(todo), unit="video", disable=not progress
        ):
            rows[todo[done]] = done.result()
            if time.monotonic() > saved + 60:  # a power cut forgets little
                save()
                saved = time.monotonic()
    finally:
        pool.shutdown(cancel_futures=True)
        report = save()
    return report


def summary(report: pd.DataFrame) -> str:
    """What came of it, in a line or two: how many are there, which share is gone, what failed."""
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
    """One row of the report; the one place where a video's failure ends."""
    if wrong := _unsafe(video):
        return _row(video, reason=wrong)
    place = out / video.label / f"{video.id}.mp4"
    try:
        if place.is_file():
            if (
                before
                and before["status"] == "ok"
                and str(before["bytes"]) == str(place.stat().st_size)
            ):
                return before
        elif before and before["status"] in GONE and not how.again:
            return before
        else:
            work = (
                out
                / ".collect"
                / hashlib.sha256(f"{video.label}/{video.id}".encode()).hexdigest()[:16]
            )
            _fetch(video, place, work, how)
        return _row(video, "ok", "", _seconds(place), place.stat().st_size)
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
        return _row(video, "ok", "", _seconds(place), place.stat().st_size)
    except Exception as e:  # Pillow raises many kinds
        return _row(video, reason=f"not a picture that can be read ({e})")


def _row(
    video: ListedVideo,
    status: str = "failed",
    reason: str = "not reached",
    seconds: float = 0.0,
    bytes: int = 0,
) -> dict:
    row = {
        "id": video.id,
        "label": video.label,
        "status": status,
        "reason": " ".join(reason.split()),
    }
    return row | {"seconds": seconds, "bytes": bytes}


def _unsafe(video: ListedVideo) -> str:
    """Why an id or a label can't be a file's name ("" if it can): lists are from the net."""
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
        raise SopError(
            f"{report}: not the report of an earlier run ({e}); put it out of the way"
        ) from None


def _meaning(said: str) -> tuple[str, str]:
    """What yt-dlp said -> status, reason."""
    said = re.sub(r"\x1b\[[0-9;]*m", "", said).removeprefix("ERROR:").strip()
    for status, pattern in MEANING.items():
        if re.search(pattern, said, re.IGNORECASE):
            return status, said
    return "failed", said


def _fetch(video: ListedVideo, place: Path, work: Path, how: How) -> None:
    """Fetch one video, or its section. A run that is cut off leaves in `work` what it has."""
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
        "retry_sleep_functions": {
            kind: lambda n: min(how.pause * 2**n, 60) for kind in ("http", "fragment", "extractor")
        },
        "socket_timeout": how.timeout,
        "ratelimit": how.rate_limit,
        "noplaylist": True,
        "quiet": True,
        "no_warnings": True,
        "noprogress": True,
        "logger": logging.Logger(
            "yt-dlp", logging.CRITICAL + 1
        ),  # silent: what matters is in the report
    }
    if video.start is not None:
        section = [(video.start, video.start + SECTION)]
        options["download_ranges"] = yt_dlp.utils.download_range_func(None, section)
        options["force_keyframes_at_cuts"] = True
    try:
        with TemporaryDirectory() as folder:
            if how.cookies:  # yt-dlp writes to them
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
            time.sleep(min(how.pause * 2**n, 60))


def _seconds(path: Path) -> float:
    """Length of a video. Raises SopError where it has no picture, no sound or no length."""
    try:
        return round(video_seconds(path), 2)
    except SopError as e:
        raise SopError(
            f"what came is no video to use: {str(e).removeprefix(f'{path}: ')}"
        ) from None


def _yt_dlp():
    try:
        import yt_dlp
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
    with TemporaryDirectory() as folder:  # it looks for that very name on the path
        name = "ffmpeg.exe" if os.name == "nt" else "ffmpeg"
        shutil.copy(imageio_ffmpeg.get_ffmpeg_exe(), Path(folder) / name)
        os.environ["PATH"] = f"{folder}{os.pathsep}{before}"
        try:
            yield
        finally:
            os.environ["PATH"] = before
