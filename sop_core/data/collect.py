"""Lists of videos -> videos, and photos of empty places -> silent scenes: where data comes from.

    music.json, vggsound.csv  ->  VIDEOS/<label>/<id>.mp4
    PHOTOS/**/*.jpg           ->  VIDEOS/silence/<name>.mp4

Videos vanish, and one that fails does not stop the others: `VIDEOS/collect_report.csv` has the
result for each. A second run fetches what is missing, except videos that were unavailable or
private the last time. yt-dlp downloads; ffmpeg cuts and joins (the extra `collect` has both).
"""

import functools
import hashlib
import itertools
import logging
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import quote

import numpy as np
import pandas as pd
from PIL import Image, ImageOps

from ..config import SILENCE_LABEL, AnyPath
from ..errors import SopError
from ..media.atomic import atomic_path, sha256
from ..media.write import write_video
from ..untrusted import hidden
from . import account
from .lists import ListedVideo

YOUTUBE = "https://www.youtube.com/watch?v={id}"
SECTION = 10  # seconds of a VGGSound clip
HEIGHT = 360  # pixels, at most: training sees 224
PHOTOS = (".jpg", ".jpeg", ".png", ".webp")
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
    with _ffmpeg():
        work = functools.partial(_fetched, out=out, how=how)
        return account.for_all(videos, out, how.jobs, progress, work)


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
        wanted = path.suffix.lower() in PHOTOS and not hidden(path.relative_to(photos))
        if wanted and path.is_file():
            stem = re.sub(r"[^\w-]+", "_", path.stem).strip("_-")
            # two photos may have the same name, so six letters of the file's checksum are added
            scenes[ListedVideo(f"{stem}_{sha256(path)[:6]}", SILENCE_LABEL)] = path
    if not scenes:
        expected = f"files that end in {', '.join(PHOTOS)}, there or in folders below"
        raise SopError(f"{photos}: no photos; expected {expected}")
    out = Path(out)

    def work(video: ListedVideo, _) -> dict:
        return _still(video, scenes[video], out, seconds)

    return account.for_all(list(scenes), out, jobs, progress, work)


def _fetched(video: ListedVideo, before: dict | None, out: Path, how: How) -> dict:
    """Fetch one video unless it is there or gone; return its row, also where it fails."""
    if wrong := account.unsafe(video):
        return account.row(video, reason=wrong)
    try:
        place = account.found(video, out)
        if not place:
            if before and before["status"] in account.GONE and not how.again:
                return before
            place = out / video.label / f"{video.id}.mp4"
            name = hashlib.sha256(f"{video.label}/{video.id}".encode()).hexdigest()[:16]
            _fetch(video, place, out / account.WORK / name, how)
        return account.ok(video, place, before)
    except SopError as e:
        return account.row(video, *_meaning(str(e)))
    except Exception as e:  # one video that breaks a library must not stop the other 199,999
        return account.row(video, reason=f"{type(e).__name__}: {e}")


def _still(video: ListedVideo, photo: Path, out: Path, seconds: float) -> dict:
    place = out / video.label / f"{video.id}.mp4"
    try:
        if not place.is_file():
            with Image.open(photo) as opened:
                picture = ImageOps.exif_transpose(opened).convert("RGB")
            picture.thumbnail((1_000, HEIGHT))
            frames = itertools.repeat(np.asarray(picture), max(1, round(4 * seconds)))
            write_video(place, frames, 4, np.zeros(round(44_100 * seconds), np.float32), 44_100)
        return account.ok(video, place)
    except Exception as e:  # Pillow raises many kinds
        return account.row(video, reason=f"not a picture that can be read ({e})")


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
        "js_runtimes": {"deno": {}, "node": {}},  # by default it takes deno alone
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
        account.seconds(part)
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


def _yt_dlp():
    try:
        import yt_dlp.utils
    except ImportError:
        raise SopError("yt-dlp is not installed; run pip install -e '.[collect]'") from None
    return yt_dlp


def ffmpeg() -> str:
    """The program that cuts: the system's ffmpeg, or the one of imageio-ffmpeg."""
    if path := shutil.which("ffmpeg"):
        return path
    try:
        import imageio_ffmpeg
    except ImportError:
        raise SopError("ffmpeg is not installed; run pip install -e '.[collect]'") from None
    return imageio_ffmpeg.get_ffmpeg_exe()


@contextmanager
def _ffmpeg() -> Iterator[None]:
    """Let yt-dlp find ffmpeg, which cuts sections."""
    program = ffmpeg()
    if shutil.which("ffmpeg"):
        yield
        return
    before = os.environ.get("PATH", "")
    with TemporaryDirectory() as folder:  # yt-dlp looks for exactly this name on the path
        name = "ffmpeg.exe" if os.name == "nt" else "ffmpeg"
        shutil.copy(program, Path(folder) / name)
        os.environ["PATH"] = f"{folder}{os.pathsep}{before}"
        try:
            yield
        finally:
            os.environ["PATH"] = before
