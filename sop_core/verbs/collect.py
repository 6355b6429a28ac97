"""`sop collect`: videos for training, from lists of their ids."""

import re
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from ..errors import SopError
from .options import Whole


def _bytes(_, tokens) -> int:
    """500K, 2M, 1000."""
    text = tokens[0].value
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([KMG]?)", text, re.IGNORECASE)
    if not match or not float(match[1]):
        raise ValueError(f"{text!r}: expected bytes a second, as 500K or 2M")
    return int(float(match[1]) * 1024 ** " KMG".index(match[2].upper() or " "))


def collect(
    kind: Literal["music", "vggsound", "silence"],
    lists: Annotated[list[Path], Parameter(name="LIST...")],
    /,
    *,
    out: Annotated[Path, Parameter(metavar="VIDEOS")],
    jobs: Whole = 4,
    retries: Whole = 5,
    rate_limit: Annotated[int | None, Parameter(converter=_bytes, metavar="500K")] = None,
    cookies: Annotated[Path | None, Parameter(metavar="cookies.txt")] = None,
    again: bool = False,
    address: Annotated[str | None, Parameter(metavar="URL")] = None,
    archive: Annotated[tuple[Path, ...], Parameter(metavar="PATH...")] = (),
    hub: Annotated[str | None, Parameter(metavar="OWNER/NAME")] = None,
    seconds: float = 24.0,
) -> None:
    """Lists of videos -> VIDEOS/<label>/<id>.mp4; photos -> silent scenes.

    Args:
        kind: What the lists are. silence: folders of photos, each of which becomes a silent video.
        lists: MUSIC's json files, VGGSound's csv, or folders of photos.
        out: Folder for the videos. It also gets collect_report.csv.
        jobs: Videos at a time, or archives.
        retries: How often one request is repeated. Each pause is twice as long as the last one.
        rate_limit: Bytes a second for each video: 500K, 2M.
        cookies: A browser's cookies, for sites that ask for them.
        again: Ask again for videos that were gone the last time.
        address: A mirror's address, with {id} where a video's id goes. Default: YouTube.
        archive: Take the videos from these zip and tar files (tar.gz, tar.xz ...), or from folders
            that hold such files or the videos, not from YouTube. A video is found by its id
            (<id>.mp4, <id>_<start>.mp4), in any folder; its label comes from the list.
        hub: The same from a data set of the Hugging Face hub; OWNER/NAME/FOLDER for a part of it.
            Each archive is downloaded, and deleted when the videos are out.
        seconds: Length of a silent scene.
    """
    from ..data import account, mirrors
    from ..data import collect as c
    from ..data.hub import from_hub
    from ..data.lists import read_music, read_vggsound
    from ..untrusted import lines

    if (archive or hub) and (kind == "silence" or address or cookies or rate_limit or again):
        what = (
            "--address, --cookies, --rate-limit and --again go with downloads, and photos with both"
        )
        raise SopError(f"--archive and --hub take videos from copies; {what}")
    if kind == "silence":
        reports = [c.silence(photos, out, seconds, jobs) for photos in lists]
        print(lines("\n".join(map(account.summary, reports))))
        return
    if address and "{id}" not in address:
        raise SopError(f"--address {address}: expected {{id}} in it, where a video's id goes")
    videos = read_music(lists) if kind == "music" else read_vggsound(lists)
    problems: list[str] = []
    report = None
    if archive:
        report = mirrors.from_archives(videos, out, archive, problems, jobs)
    if hub:  # what no archive has
        report = from_hub(videos, out, hub, problems, jobs)
    if report is None:
        more = {"rate_limit": rate_limit, "cookies": cookies, "again": again}
        report = c.collect(videos, out, c.How(jobs, retries, address=address or c.YOUTUBE, **more))
    told = [*problems, account.summary(report), f"each of them: {out / account.REPORT}"]
    print(lines("\n".join(told)))
