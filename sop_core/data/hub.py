"""Listed videos, taken from a data set of a hub (Hugging Face's, or `HF_ENDPOINT`), by its name.

Each archive of the data set is downloaded, gone through and deleted, so the disk needs room for
`jobs` archives only. What an archive holds is noted in `VIDEOS/.collect/hub/`: it isn't downloaded
again for videos that are not in it. A download that was stopped goes on where it ended.

The library finds the files and the user's token. It can't go on with another run's download, so
bytes are fetched here.
"""

import hashlib
import re
from functools import partial
from pathlib import Path
from typing import IO

import pandas as pd
import requests

from ..config import AnyPath
from ..errors import SopError, mend
from ..media.atomic import brief, sha256, unfinished
from ..media.csvs import read_rows, write_rows
from ..untrusted import printable
from . import account
from .archives import ARCHIVE
from .lists import ListedVideo
from .mirrors import Search, Tick

NAME = re.compile(r"(?:hf://datasets/)?([\w.-]+/[\w.-]+)(?:/(.*))?", re.ASCII)
TRIES = 5  # of a request, in a row, that bring not one byte
PAUSE = 1.0  # seconds before the first of them; each later one is twice as long
PASSING = re.compile("429|5..")  # errors of the server that may be gone the next time
PIECE = 2**16  # bytes; what has come of one is lost when a connection breaks
TIMEOUT = 60.0  # seconds without an answer


def from_hub(
    videos: list[ListedVideo],
    out: AnyPath,
    name: str,
    problems: list[str],
    jobs: int = 4,
    progress: bool = True,
) -> pd.DataFrame:
    """Take what is missing of `videos` from a data set's archives and videos.

    Args:
        name: `OWNER/NAME`, or `hf://datasets/OWNER/NAME`; `/FOLDER` or the beginning of a file's
            name may follow, for a part of the data set.
        out, problems, jobs: as for `mirrors.from_archives`.
    Returns: the report, as `collect.collect`.
    Raises: SopError where the name is none, the data set can't be listed, or has no file to use.
    """
    match = NAME.fullmatch(name)
    if not match:
        raise SopError(f"{name}: expected OWNER/NAME, or hf://datasets/OWNER/NAME")
    files = _list(match[1], match[2] or "")
    search = Search(videos, out, problems)
    usable = [f for f in files if ARCHIVE.search(f.path) or search.wants(f.path)]
    if not usable and search.sought:
        expected = "expected archives (zip, tar), or videos that are called by their ids"
        raise SopError(f"{name}: none of its {len(files)} files can be used; {expected}")
    folder = Path(out, account.WORK, "hub")
    todo = [f for f in usable if _worth(search, folder, match[1], f)]
    tasks = [partial(_take, search, folder, match[1], f) for f in todo]
    return search.run(tasks, sum(f.size for f in todo), jobs, progress)


def _list(repo: str, prefix: str) -> list:
    """The files of a data set whose names begin so."""
    from huggingface_hub import HfApi

    try:
        tree = HfApi().list_repo_tree(repo, recursive=True, repo_type="dataset")
        return [f for f in tree if hasattr(f, "size") and f.path.startswith(prefix)]
    except Exception as e:  # of the library, and of two others below it
        reason = str(e).strip().split("\n")[0] or type(e).__name__
        mended = "check its name, and the network; a private one takes a token (hf auth login)"
        raise SopError(f"{repo}: can't be listed ({reason}); {mended}") from None


def _place(folder: Path, repo: str, file, suffix: str) -> Path:
    """Where a file, or what is known of it, is kept: another version has another place."""
    version = f"{repo}/{file.path}/{file.blob_id}".encode(errors="backslashreplace")
    return folder / f"{hashlib.sha256(version).hexdigest()[:16]}{suffix}"


def _worth(search: Search, folder: Path, repo: str, file) -> bool:
    """Whether a file has to be downloaded; where it was before, by what it holds."""
    contents = _place(folder, repo, file, ".csv")
    if not contents.is_file():
        return True
    worth = False
    for _, (name, reason) in read_rows(contents):
        if reason:
            search.fail(name, reason)
        else:
            worth = worth or search.wants(name)
    return worth


def _take(search: Search, folder: Path, repo: str, file, tick: Tick) -> None:
    """Download a file, take what is wanted from it, note what it holds, and delete it."""
    if not search.sought or search.stopped.is_set():
        return
    place = _place(folder, repo, file, Path(file.path).suffix)
    part = unfinished(place, place.name[:8])
    origin = f"{repo}/{file.path}"
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        _download(search, repo, file, part, tick)
    except Exception as e:  # of the network, of the library
        if mend(e):
            raise
        reason = str(e).split(" for url")[0] if isinstance(e, requests.HTTPError) else brief(e)
        search.problems.append(f"{origin}: not downloaded ({reason}); run again")
        return
    seen: list[tuple[str, str]] = []
    whole = False
    if not search.stopped.is_set():
        whole = search.go_through(part, origin, lambda _: None, seen)
    if not search.stopped.is_set():  # it was gone through to its end
        reasons = [reason for _, reason in seen if reason]
        # What this machine lacks is not noted: it may be there the next time.
        mended = not whole or any("is not installed" in reason for reason in reasons)
        if not mended and (ARCHIVE.search(file.path) or reasons):
            rows = (tuple(map(printable, pair)) for pair in seen)
            write_rows(_place(folder, repo, file, ".csv"), rows)
        part.unlink()


def _download(search: Search, repo: str, file, part: Path, tick: Tick) -> None:
    """Fetch what is missing of a file, or a part of that where the run is stopped.

    Raises: SopError where more comes than was promised; else what `requests` raises.
    """
    from huggingface_hub import hf_hub_url
    from huggingface_hub.utils import build_hf_headers

    address = hf_hub_url(repo, file.path, repo_type="dataset")
    headers = build_hf_headers() | {"Accept-Encoding": "identity"}
    tick(got := part.stat().st_size if part.exists() else 0)
    failed = 0  # times without a byte
    while got < file.size and not search.stopped.is_set():
        wanted = headers | {"Range": f"bytes={got}-"}
        error: Exception = SopError(f"only {got:,} of its {file.size:,} bytes come")
        try:
            with requests.get(address, headers=wanted, stream=True, timeout=TIMEOUT) as answer:
                answer.raise_for_status()
                with part.open("ab" if answer.status_code == 206 else "wb") as f:
                    tick(f.tell() - got)
                    _copy(search, answer, f, file.size, tick)
        except requests.RequestException as e:
            if isinstance(e, requests.HTTPError) and not PASSING.match(str(e)):
                raise
            error = e
        before, got = got, part.stat().st_size if part.exists() else 0
        failed = 0 if got > before else failed + 1
        if failed >= TRIES:
            raise error
        search.stopped.wait(PAUSE * 2**failed if failed else 0)
    if got == file.size and file.lfs and sha256(part) != file.lfs.sha256:
        part.unlink()
        raise SopError("what came has another checksum")


def _copy(search: Search, answer: requests.Response, f: IO[bytes], size: int, tick: Tick) -> None:
    for piece in answer.iter_content(PIECE):
        if f.tell() + len(piece) > size:
            f.truncate(0)
            raise SopError(f"more came than the {size:,} bytes that its list claims")
        tick(f.write(piece))
        if search.stopped.is_set():
            return
