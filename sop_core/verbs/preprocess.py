"""`sop preprocess`: videos to frames and sound."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from .options import Seconds, Whole

Number = Annotated[Whole | None, Parameter(metavar="N")]


def preprocess(
    videos: Path,
    /,
    *,
    out: Annotated[Path, Parameter(metavar="DATA")],
    fps: float = 8.0,
    rate: Whole = 11_025,
    audio_format: Literal["mp3", "flac", "wav"] = "mp3",
    start: Seconds = 0.0,
    duration: Seconds | None = None,
    short_side: Annotated[Whole, Parameter(metavar="PIXELS")] = 256,
    video_stream: Number = None,
    audio_stream: Number = None,
    jobs: Whole | None = None,
    cluster: Annotated[str | None, Parameter(metavar="dask://HOST:PORT")] = None,
) -> None:
    """Videos -> DATA/frames and DATA/audio.

    Args:
        videos: Folder of videos of any kind, with a folder for each label.
        out: Folder for frames and sound.
        fps: Frames a second.
        rate: Samples a second.
        audio_format: flac and wav lose nothing.
        start: Leave out this much at the beginning of each video.
        duration: Take this much of each video. Default: to its end.
        short_side: Shorter side of a frame, at most. 0: as it is.
        video_stream: Take this picture of a file with several, from 0. Default: as a player does.
        audio_stream: Take this sound of a file with several, from 0. Default: as a player does.
        jobs: Processes. Default: one for each core.
        cluster: Let the workers of a Dask cluster do the work.
    """
    from ..data.preprocess import REPORT
    from ..data.preprocess import preprocess as run
    from ..untrusted import printable

    kept_as = {"audio_format": audio_format, "short_side": short_side}
    part = {"start": start, "duration": duration}
    part |= {"video_stream": video_stream, "audio_stream": audio_stream}
    report = run(videos, out, fps, rate, jobs, cluster=cluster, **kept_as, **part)
    kept, noted = (report.status != "failed").sum(), (report.note != "").sum()
    before = (report.status == "present").sum()
    were = "was" if before == 1 else "were"
    already = f"; {before} of them {were} there already" if before else ""
    has = "has" if noted == 1 else "have"
    notes = f"; {noted} of them {has} a note in {REPORT}" if noted else ""
    print(f"{kept} of {len(report)} videos are in {printable(out)}{already}{notes}")
