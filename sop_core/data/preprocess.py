"""Videos -> what training reads: `audio/` (mono) and `frames/` (jpgs).

    VIDEOS/<label>/<id>.mp4|webm|...  ->  DATA/audio/<label>/<id>.mp3 (or flac, or wav)
                                          DATA/frames/<label>/<id>.mp4/000001.jpg ...

Frame k (from 0) shows second (k + 0.5) / fps of the sound. The folder of frames gets its name last.
So where both are there, the clip is complete, and a second run does only what is missing, or what
was made of another file of that name: `frames/<label>/.<id>.mp4.note` says of which one.
"""

import json
import re
import shutil
from collections import Counter
from collections.abc import Generator, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import joblib
import pandas as pd
import simplejpeg
from tqdm.auto import tqdm

from ..config import AnyPath
from ..errors import FEWER, SopError, mend
from ..media.atomic import atomic_path, sweep
from ..media.choose import Choice
from ..media.csvs import write_table
from ..media.jpgs import frame_names, frame_path
from ..media.sound import MP3_BIT_RATES, SOUND_KINDS, sound_length, sound_writer
from ..media.stream import frames_within, stream
from ..untrusted import printable
from .lists import note_composed, note_sections, read_composed, read_sections
from .videos import find_videos, told

REPORT = "preprocess_report.csv"
QUALITY = 90  # of the jpgs
ANSWER = 20  # s that a cluster's scheduler may take to answer
# Options of folders from before these were noted
BEFORE = {"audio_format": "flac", "start": 0.0, "duration": None}
FILE = re.compile(r"\d+ bytes, changed at \d+ ns")  # the first line of a clip's note
Work = tuple[Path, Path, "Options", str]  # video, data folder, options, why it can't be used


@dataclass(frozen=True)
class Options:
    """What all clips of a data folder are made with. The defaults are the paper's for MUSIC.

    VGGSound takes fps=1.
    """

    fps: float = 8.0  # frames a second
    rate: int = 11_025  # samples a second
    # mp3 as published; flac and wav lose nothing and are read faster; 1.7 and 2.8 times the space
    audio_format: str = "mp3"
    start: float = 0.0  # seconds that are left out at the beginning of each video
    duration: float | None = None  # seconds that are taken of each video; None: to its end
    # pixels, at most (training squeezes a picture to 224); 0: the video's own size
    short_side: int = 256
    quality: int = QUALITY
    # Which picture and which sound of a file with several, from 0; None: see `choose.pick`
    video_stream: int | None = None
    audio_stream: int | None = None

    def check(self) -> "Options":
        """These options, or SopError where one is out of its range."""
        if not (self.fps > 0 and self.rate > 0 and self.start >= 0 and self.short_side >= 0):
            given = f"fps={self.fps}, rate={self.rate}, start={self.start}"
            expected = "expected fps and rate above 0, the others not below"
            raise SopError(f"{given}, short_side={self.short_side}: {expected}")
        if self.duration is not None and not self.duration > 0:
            expected = "expected seconds above 0, or none for all of each video"
            raise SopError(f"duration={self.duration}: {expected}")
        for name in ("video_stream", "audio_stream"):
            if (getattr(self, name) or 0) < 0:
                raise SopError(f"{name}={getattr(self, name)}: expected 0 (the first) or more")
        if self.audio_format not in SOUND_KINDS:
            expected = f"expected one of {', '.join(SOUND_KINDS)}"
            raise SopError(f"audio_format={self.audio_format!r}: {expected}")
        if self.audio_format == "mp3" and self.rate not in MP3_BIT_RATES:
            rates = ", ".join(map(str, MP3_BIT_RATES))
            raise SopError(f"rate={self.rate}: an mp3 has {rates} Hz; take one of these, or flac")
        return self


def preprocess(
    videos: AnyPath,
    out: AnyPath,
    fps: float = 8.0,
    rate: int = 11_025,
    jobs: int | None = None,
    progress: bool = True,
    cluster: str | None = None,
    **more,
) -> pd.DataFrame:
    """Turn a folder of videos into frames and sound, and say what became of each.

    Args:
        fps, rate, more: see `Options`.
        jobs: processes (None: one per core).
        progress: show a bar, and at the end the videos that failed, by name and reason, and what
            was passed over.
        cluster: `dask://HOST:PORT` of a Dask scheduler whose workers do it instead; they see both
            folders by the same names and have sop_core installed.
    Returns: the report, a row per video, also written to `out/preprocess_report.csv`: id, label,
        status (`ok`: made now, `present`: was there already, of this file, `failed`), reason, note
        (what else is to be known: a choice of streams, a gap), frames, seconds (of sound).
    Raises: SopError if an option is out of its range, there is no such folder, it has no videos,
        none of them could be used, `out` was made with other options, or the cluster can't be
        reached. Also at the end, when all other videos are done, if one failed because of the
        machine: a full disk, no memory, no permission, a worker that died.
    """
    options = Options(float(fps), int(rate), **more).check()
    videos, out = Path(videos), Path(out)
    # Prepare the data folder
    passed: Counter[str] = Counter()
    work = [(video, out, options, refusal) for video, refusal in find_videos(videos, passed)]
    _same_options(out, options)
    note_sections(out, read_sections(videos))
    note_composed(out, read_composed(videos))
    _sweep(out)
    # Do the work, in several processes
    rows = _on_cluster(cluster, work) if cluster else _parallel(work, jobs or joblib.cpu_count())
    try:
        bar = tqdm(rows, "preprocess", len(work), unit="video", disable=not progress)
        done = _all_rows(work, bar)
    finally:
        rows.close()  # ends the processes, where there are any
        _sweep(out)
    # Report
    table = pd.DataFrame(done).sort_values(["label", "id"], ignore_index=True)
    report = table.drop(columns="mend")
    by_machine = table[table.mend != ""]
    try:
        with atomic_path(out / REPORT) as part:
            write_table(part, report)
    except OSError:
        if by_machine.empty:  # else it has the same cause, which the error below names
            raise
    if progress and passed:
        print(f"passed over: {told(passed)}")
    names = table.label + "/" + table.id + ": " + table.reason
    if len(by_machine):
        raise SopError(
            f"{out}: {len(by_machine)} of {len(report)} videos failed for this machine's sake, "
            f"not for theirs; the first, {names[by_machine.index[0]]}; {by_machine.mend.iloc[0]}, "
            "and run again"
        )
    failed = names[table.status == "failed"]
    if len(failed) == len(report):
        none = f"none of its {len(report)} videos can be used"
        raise SopError(f"{videos}: {none}; the first, {failed.iloc[0]}")
    if progress and len(failed):
        print(
            f"{len(failed)} of {len(report)} videos left out:",
            *(f"  {printable(name)}" for name in failed),
            sep="\n",
        )
    return report


def _sweep(out: Path) -> None:
    for folder in (out, *out.glob("audio/*"), *out.glob("frames/*")):
        sweep(folder)


def _all_rows(work: list[Work], rows: Iterable[dict]) -> list[dict]:
    """Collect the report's rows; a video without one has failed, since its worker died."""
    done = []
    try:
        done.extend(rows)
    except SopError:
        raise
    except Exception as e:  # joblib and Dask have several; a video's own failure ends in `_row`
        if not done:
            raise SopError(f"no worker did anything ({type(e).__name__}: {e})") from None
        came = {(row["label"], row["id"]) for row in done}
        for video, *_ in work:
            if (video.parent.name, video.stem) not in came:
                reason = f"the worker that had it, or its batch, died ({type(e).__name__})"
                done.append(_failed(video, reason, FEWER))
    return done


def _parallel(work: list[Work], jobs: int | None = None) -> Generator[dict]:
    run = joblib.Parallel(jobs, return_as="generator_unordered")
    rows = run(joblib.delayed(_row)(*one) for one in work)
    yield from rows  # pyright: ignore[reportReturnType]  (joblib's types allow None)


def _on_cluster(address: str, work: list[Work]) -> Generator[dict]:
    """The same on a Dask cluster. If a worker dies, another one gets its task."""
    scheme, _, place = address.partition("://")
    if scheme != "dask" or ":" not in place:
        expected = "expected dask://HOST:PORT, the address of a Dask scheduler"
        raise SopError(f"cluster {address}: {expected}")
    try:
        from distributed import Client
    except ImportError:
        hint = "run pip install -e '.[cluster]'"
        raise SopError(f"a cluster needs the package distributed; {hint}") from None
    try:
        client = Client(f"tcp://{place}", timeout=ANSWER, set_as_default=False)
    except (OSError, ValueError) as e:
        why = f"no Dask scheduler answers there ({e}); start one with `dask scheduler`"
        raise SopError(f"cluster {address}: {why}") from None
    work = [(video.absolute(), out.absolute(), how, why) for video, out, how, why in work]
    with client, joblib.parallel_config("dask", client=client):
        yield from _parallel(work)


def _same_options(out: Path, options: Options) -> None:
    """Note the options in `out`, or raise SopError if clips there were made with others."""
    place = out / "preprocess.json"
    now = asdict(options)
    if not place.exists() or not any(out.glob("frames/*/[!.]*")):
        with atomic_path(place) as part:
            part.write_text(json.dumps(now))
        return
    try:
        before = BEFORE | json.loads(place.read_text())
    except (ValueError, TypeError):
        hint = "remove it, with the data beside it"
        raise SopError(f"{place}: not readable as json; {hint}") from None
    for key, value in now.items():
        if before.get(key) != value:
            changed = f"was made with {key}={before.get(key)}, now {key}={value} is asked for"
            raise SopError(f"{out}: {changed}; choose another folder, or remove this one")


def _failed(video: Path, reason: str, hint: str = "") -> dict:
    row = {"id": video.stem, "label": video.parent.name, "status": "failed", "reason": reason}
    return row | {"note": "", "frames": 0, "seconds": 0.0, "mend": hint}


def _row(video: Path, out: Path, options: Options, refusal: str) -> dict:
    """Make one clip; return its row of the report, also where it fails."""
    row = _failed(video, refusal)
    if refusal:
        return row
    sound = out / "audio" / video.parent.name / f"{video.stem}.{options.audio_format}"
    frames = out / "frames" / video.parent.name / f"{video.stem}.mp4"
    # The note lies beside the frames: a run that is killed writes no report.
    notes, note = [], frames.with_name(f".{frames.name}.note")
    try:
        present = sound.is_file() and frame_path(frames, 0).is_file()
        if present:
            of, notes = _read_note(note)
            if of and of != _file(video):  # its clip goes, also where this file can't be used
                shutil.rmtree(frames)
                sound.unlink()
                present, notes = False, []
        if not present:
            _clip(video, sound, frames, options, notes, note)
        samples, own_rate = sound_length(sound)
        count = len(frame_names(frames))
    except SopError as e:
        return row | {"reason": str(e).removeprefix(f"{video}: "), "note": "; ".join(notes)}
    except Exception as e:  # a video that breaks a library must not stop the other 1,499
        return row | {"reason": f"{type(e).__name__}: {e}", "mend": mend(e)}
    status = "present" if present else "ok"
    about = {"frames": count, "seconds": round(samples / own_rate, 2)}
    return row | {"status": status, "note": "; ".join(notes)} | about


def _file(video: Path) -> str:
    """What tells a file from another one of its name."""
    stat = video.stat()
    return f"{stat.st_size} bytes, changed at {stat.st_mtime_ns} ns"


def _read_note(note: Path) -> tuple[str, list[str]]:
    """Which file a clip was made of ("": made before that was noted), and its notes."""
    lines = note.read_text(encoding="utf-8").splitlines() if note.is_file() else []
    return (lines[0], lines[1:]) if lines and FILE.fullmatch(lines[0]) else ("", lines)


def _clip(
    video: Path, sound: Path, frames: Path, options: Options, notes: list[str], note: Path
) -> None:
    """Write one video's sound, its folder of frames and its `note`, in one pass."""
    fps, rate = options.fps, options.rate
    span = (options.start, options.duration, options.short_side or None)
    choice = Choice(options.video_stream, options.audio_stream)
    of = _file(video)  # before it is read: a file that changes meanwhile is made again
    # The inner block ends first: the sound gets its name before the frames do.
    with atomic_path(frames) as folder, atomic_path(sound) as part:
        folder.mkdir()
        count, samples = 0, 0
        pieces = stream(video, fps, rate, *span, choice=choice, notes=notes)
        with sound_writer(part, rate) as write:
            for kind, piece in pieces:
                if kind == "sound":
                    write(piece)
                    samples += len(piece)
                else:
                    jpg = simplejpeg.encode_jpeg(piece, options.quality, "RGB", "420")
                    frame_path(folder, count).write_bytes(jpg)
                    count += 1
        # Remove frames after the sound's end
        seconds = samples / rate
        keep = min(count, frames_within(seconds, fps))
        if not keep:
            raise SopError(f"{video}: no picture while there is sound ({seconds:.2f} s)")
        for k in range(keep, count):
            frame_path(folder, k).unlink()
        note.write_text("\n".join([of, *notes]), encoding="utf-8")
