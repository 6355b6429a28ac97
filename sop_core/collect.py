"""Lists of videos -> videos, and photos of empty places -> silent scenes: where data comes from.

    music.json, vggsound.csv  ->  VIDEOS/<label>/<id>.mp4
    PHOTOS/**/*.jpg           ->  VIDEOS/silence/<name>.mp4

Videos vanish, and nothing stops the rest: `VIDEOS/collect_report.csv` says of every one what became of it. A second run
fetches what is missing; what was unavailable or private the last time is taken to be gone.
Downloading is yt-dlp's, cutting and joining ffmpeg's (both come with the extra `collect`).
"""

import hashlib
import itertools
import os
import re
import shutil
import time
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

from .config import SILENCE_LABEL, AnyPath
from .errors import SopError
from .lists import ListedVideo, note_sections
from .media import sha256, sweep, video_seconds, whole, write_video
from .untrusted import from_cell, write_table

GONE = ("unavailable", "private")
YOUTUBE = "https://www.youtube.com/watch?v={id}"
SECTION = 10.0  # seconds of a VGGSound clip
HEIGHT = 360  # pixels, at most: training sees 224
PHOTOS = (".jpg", ".jpeg", ".png", ".webp")
REPORT = "collect_report.csv"
# Worth another try at once.
PASSING = r"HTTP Error (429|5\d\d)|timed out|reset by peer|connection refused|name resolution"
# What yt-dlp says, and what it means. The first that fits counts; what has failed may be there when asked otherwise.
MEANING = {
    "private": r"private video|members.only|join this channel|granted access",
    "failed": r"HTTP Error (403|429|5\d\d)|sign in|cookies|rate.limit|too many requests|try again|"
    r"in your country|requested format|on this app|proxy",
    "unavailable": r"unavailable|not available|no longer|removed|terminated|deleted|does not exist|HTTP Error 4(04|10)",
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


def collect(videos: list[ListedVideo], out: AnyPath, how: How | None = None, progress: bool = True) -> pd.DataFrame:
    """Fetch what is missing of `videos` into `out/<label>/<id>.mp4`, several at a time, at most 360 pixels high.

    Returns the report, a row a video: id, label, status (`ok`, `unavailable`, `private`, `failed`), reason, seconds, bytes;
    also in `out/collect_report.csv`, after the rows of earlier runs for other videos. It is kept up to date on the way.
    Raises SopError where yt-dlp or ffmpeg isn't installed, or the cookies aren't there.
    """
    how = how or How()
    if how.cookies and not Path(how.cookies).is_file():
        raise SopError(
            f"{how.cookies}: no such file; expected cookies as a browser's extension exports them (cookies.txt)"
        )
    _yt_dlp()
    note_sections(Path(out), {f"{v.label}/{v.id}": v.key for v in videos if v.start is not None and not _unsafe(v)})
    with _ffmpeg():
        return _all(videos, Path(out), how.jobs, progress, lambda v, before: _fetched(v, Path(out), how, before))


def silence(photos: AnyPath, out: AnyPath, seconds: float = 24.0, jobs: int = 4, progress: bool = True) -> pd.DataFrame:
    """Photos of places where nothing plays -> still videos with silence, `out/silence/<name>.mp4`, 24 s of each.

    For training alone: their mask should be empty. Photos are looked for in `photos` and in all the folders in it.
    Returns a report, and raises SopError, as `collect` does; also where there are no photos.
    """
    photos = Path(photos)
    found = {p.relative_to(photos): p for p in sorted(photos.rglob("*")) if p.suffix.lower() in PHOTOS and p.is_file()}
    if not found:
        raise SopError(
            f"{photos}: no photos; expected files that end in {', '.join(PHOTOS)}, there or in folders below"
        )
    scenes = {ListedVideo(_name(name, p), SILENCE_LABEL): p for name, p in found.items()}
    return _all(list(scenes), Path(out), jobs, progress, lambda v, _: _still(v, scenes[v], Path(out), seconds))


def _name(name: Path, photo: Path) -> str:
    """Of a scene: the photo's, and six letters of what is in it, since two may have the same."""
    stem = re.sub(r"[^\w-]+", "_", name.stem).strip("_-")
    return f"{stem}_{sha256(photo)[:6]}"


def _all(
    videos: list[ListedVideo], out: Path, jobs: int, progress: bool, work: Callable[[ListedVideo, dict | None], dict]
) -> pd.DataFrame:
    """Do the work on all videos, several at a time, each with its row of an earlier report; whatever happens, one is written."""
    wanted = {(v.id, v.label): v for v in videos}  # once each: two workers on one file would be in each other's way
    earlier, rows = _earlier(out), {}
    others = [row for key, row in earlier.items() if key not in wanted]

    def save() -> pd.DataFrame:
        report = pd.DataFrame([rows.get(key) or earlier.get(key) or _row(v) for key, v in wanted.items()])
        with whole(out / REPORT) as part:
            write_table(part, pd.concat([pd.DataFrame(others), report]), errors="backslashreplace")
        return report

    for folder in (out, *out.glob("*/")):
        sweep(folder)
    pool, saved = ThreadPoolExecutor(max(1, jobs)), time.monotonic()
    try:
        todo = {pool.submit(work, v, earlier.get(key)): key for key, v in wanted.items()}
        for done in tqdm(as_completed(todo), "collect", len(todo), unit="video", disable=not progress):
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
    n, count = len(report), report.status.value_counts()
    gone = sum(count.get(s, 0) for s in GONE)
    text = f"{count.get('ok', 0):,} of {n:,} videos are there; {gone:,} ({100 * gone / n:.1f} %) are gone"
    text += f": {count.get('unavailable', 0):,} unavailable, {count.get('private', 0):,} private" if gone else ""
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
            if before and before["status"] == "ok" and str(before["bytes"]) == str(place.stat().st_size):
                return before
        elif before and before["status"] in GONE and not how.again:
            return before
        else:
            work = out / ".collect" / hashlib.sha256(f"{video.label}/{video.id}".encode()).hexdigest()[:16]
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
    video: ListedVideo, status: str = "failed", reason: str = "not reached", seconds: float = 0.0, bytes: int = 0
) -> dict:
    reason = " ".join(reason.split())
    return {
        "id": video.id,
        "label": video.label,
        "status": status,
        "reason": reason,
        "seconds": seconds,
        "bytes": bytes,
    }


def _unsafe(video: ListedVideo) -> str:
    """Why an id or a label can't be a file's name ("" if it can): lists are from the net."""
    if not re.fullmatch(r"[\w-]{1,64}", video.key, re.ASCII):
        return f"id {video.key!r}: expected letters, digits, - and _"
    if (
        not video.label.strip()
        or video.label[0] in ".-"
        or re.search(r"[/\\\0-\x1f:\ud800-\udfff]", video.label)
        or len(video.label) > 100
    ):
        return f"label {video.label!r}: can't be the name of a folder"
    return ""


def _earlier(out: Path) -> dict[tuple[str, str], dict]:
    """The rows of an earlier report, by id and label."""
    if not (Path(out) / REPORT).is_file():
        return {}
    try:
        rows = pd.read_csv(Path(out) / REPORT, keep_default_na=False, dtype={"id": str, "label": str}).to_dict(
            "records"
        )
        rows = [{k: from_cell(v) if isinstance(v, str) else v for k, v in r.items()} for r in rows if r["status"]]
        return {(r["id"], r["label"]): r for r in rows}
    except (ValueError, KeyError) as e:
        raise SopError(f"{Path(out) / REPORT}: not the report of an earlier run ({e}); put it out of the way") from None


def _meaning(said: str) -> tuple[str, str]:
    """What yt-dlp said -> status, reason."""
    said = re.sub(r"\x1b\[[0-9;]*m", "", said).removeprefix("ERROR:").strip()
    for status, pattern in MEANING.items():
        if re.search(pattern, said, re.IGNORECASE):
            return status, said
    return "failed", said


def _fetch(video: ListedVideo, place: Path, work: Path, how: How) -> None:
    """One video, or its section, by yt-dlp. What was fetched of it stays in `work`, so that the next run goes on there."""
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
        "logger": _Silent(),
    }
    if video.start is not None:
        section = [(video.start, video.start + SECTION)]
        options |= {"download_ranges": yt_dlp.utils.download_range_func(None, section), "force_keyframes_at_cuts": True}
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
    with whole(place) as part:
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


class _Silent:
    """yt-dlp's messages, unheard: what matters is in the report."""

    def debug(self, message: str) -> None: ...

    info = warning = error = debug


def _seconds(path: Path) -> float:
    """Length of a video. Raises SopError where it can't be opened, or has no picture, no sound or no length."""
    try:
        return round(video_seconds(path), 2)
    except SopError as e:
        raise SopError(f"what came is no video to use: {str(e).removeprefix(f'{path}: ')}") from None


def _yt_dlp():
    try:
        import yt_dlp
    except ImportError:
        raise SopError("yt-dlp is not installed; run pip install -e '.[collect]'") from None
    return yt_dlp


@contextmanager
def _ffmpeg() -> Iterator[None]:
    """Let yt-dlp find ffmpeg, which it cuts sections with: the system's, or the one that imageio-ffmpeg brings."""
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
