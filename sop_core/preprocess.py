"""Videos -> what training reads: `audio/` (mono flac) and `frames/` (jpgs), one clip whole or not at all.

    VIDEOS/<label>/<id>.mp4|webm|...  ->  DATA/audio/<label>/<id>.flac
                                          DATA/frames/<label>/<id>.mp4/000001.jpg ...

Frame k (from 0) shows second (k + 0.5) / fps of the sound. The folder of frames gets its name last, so where both are
there the clip is complete: a second run does what is missing and nothing else.
"""

import json
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import soundfile
from PIL import Image
from tqdm.auto import tqdm

from .errors import SopError
from .media import frame_path, frames_within, sf_name, sound_length, stream, sweep, whole

VIDEOS = (".mp4", ".webm", ".mkv", ".mov", ".avi", ".m4v")
SHORT_SIDE = 256  # pixels: training crops are squeezed to 224
QUALITY = 90  # of the jpgs


def preprocess(
    videos: Path, out: Path, fps: float = 8.0, rate: int = 11_025, jobs: int | None = None, progress: bool = True
) -> pd.DataFrame:
    """Turn a folder of videos into frames and sound, and say what became of each.

    Args: `fps`: frames a second. `rate`: Hz of the sound. `jobs`: processes (None: one per core).
        `progress`: a bar while it runs, and the videos that failed, by name and reason, at its end.
    Returns the report, a row per video, also written to `out/preprocess_report.csv`: id, label, status (`ok`: made now,
        `present`: was there already, `failed`), reason, frames, seconds (of sound).
    Raises SopError if there is no such folder, there are no videos in it, none of them could be used, or `out` was made
        with another fps or rate.
    """
    videos, out = Path(videos), Path(out)
    found = find_videos(videos)
    _same_options(out, {"fps": float(fps), "rate": int(rate), "short_side": SHORT_SIDE, "quality": QUALITY})
    for folder in (out, *out.glob("audio/*"), *out.glob("frames/*")):
        sweep(folder)
    work = joblib.Parallel(n_jobs=jobs or joblib.cpu_count(), return_as="generator_unordered")
    rows = work(joblib.delayed(_row)(video, out, fps, rate, refusal) for video, refusal in found)
    rows = list(tqdm(rows, total=len(found), unit="video", desc="preprocess", disable=not progress))
    report = pd.DataFrame(rows).sort_values(["label", "id"], ignore_index=True)
    with whole(out / "preprocess_report.csv") as part:
        report.to_csv(part, index=False, errors="surrogateescape")
    failed = report[report.status == "failed"]
    if len(failed) == len(report):
        first = f"{failed.label[0]}/{failed.id[0]}: {failed.reason[0]}"
        raise SopError(f"{videos}: none of its {len(report)} videos can be used; the first, {first}")
    if progress and len(failed):
        lines = "\n".join(f"  {r.label}/{r.id}: {r.reason}" for r in failed.itertuples())
        lines = lines.encode(errors="backslashreplace").decode()  # a name needn't be valid UTF-8, what is printed must
        print(f"{len(failed)} of {len(report)} videos left out:\n{lines}")
    return report


def find_videos(videos: Path) -> list[tuple[Path, str]]:
    """The videos `VIDEOS/<label>/<id>.mp4|webm|...`, each with why it can't be used ("" if nothing is against it yet).

    Raises SopError if there is no such folder, or no videos in it.
    """
    if not videos.is_dir():
        raise SopError(f"{videos}: no such folder; expected videos as {videos}/<label>/<id>.mp4")
    root, taken, found = videos.resolve(), set(), []
    for path in sorted(videos.glob("*/*")):
        if path.suffix.lower() not in VIDEOS or path.name.startswith(".") or path.parent.name.startswith("."):
            continue
        refusal = "" if path.resolve().is_relative_to(root) else "a link that leads out of the folder of videos"
        if (path.parent, path.stem) in taken:
            refusal = "another video of this label has the same name"
        taken.add((path.parent, path.stem))
        found.append((path, refusal))
    if not found:
        loose = sum(p.suffix.lower() in VIDEOS for p in videos.iterdir())
        hint = f" ({loose} lie right in it: put each into a folder named by its label)" if loose else ""
        raise SopError(f"{videos}: no videos; expected <label>/<id>.mp4 (or {', '.join(VIDEOS[1:])}){hint}")
    return found


def _same_options(out: Path, options: dict) -> None:
    """Remember the options in `out`, or raise SopError if clips there were made with others: the two never mix."""
    place = out / "preprocess.json"
    if place.exists() and any(out.glob("frames/*/*")):
        try:
            before = json.loads(place.read_text())
        except ValueError:
            raise SopError(f"{place}: not readable as json; remove it, with the data beside it") from None
        for key in options:
            if before.get(key) != options[key]:
                raise SopError(
                    f"{out}: was made with {key}={before.get(key)}, now {key}={options[key]} is asked for; "
                    "choose another folder, or remove this one"
                )
    else:
        with whole(place) as part:
            part.write_text(json.dumps(options))


def _row(video: Path, out: Path, fps: float, rate: int, refusal: str) -> dict:
    """One row of the report; the one place where a video's failure ends."""
    row = {"id": video.stem, "label": video.parent.name, "status": "failed", "reason": refusal}
    row |= {"frames": 0, "seconds": 0.0}
    if refusal:
        return row
    sound, frames = _places(video, out)
    try:
        present = sound.is_file() and frame_path(frames, 0).is_file()
        if not present:
            _clip(video, sound, frames, fps, rate)
        samples, own_rate = sound_length(sound)
        count = sum(p.suffix == ".jpg" for p in frames.iterdir())
    except SopError as e:
        return row | {"reason": str(e).removeprefix(f"{video}: ")}
    except Exception as e:  # a video that breaks a library must not stop the other 1,499
        return row | {"reason": f"{type(e).__name__}: {e}"}
    status = "present" if present else "ok"
    return row | {"status": status, "frames": count, "seconds": round(samples / own_rate, 2)}


def _places(video: Path, out: Path) -> tuple[Path, Path]:
    label, id_ = video.parent.name, video.stem
    return out / "audio" / label / f"{id_}.flac", out / "frames" / label / f"{id_}.mp4"


def _clip(video: Path, sound: Path, frames: Path, fps: float, rate: int) -> None:
    """One video -> its sound and its folder of frames, in one pass."""
    # The inner block ends first: the sound gets its name before the frames do.
    with whole(frames) as folder, whole(sound) as part:
        folder.mkdir()
        count, samples = 0, 0
        with soundfile.SoundFile(sf_name(part), "w", rate, 1, "PCM_16", format="FLAC") as f:
            for kind, piece in stream(video, fps, rate, max_side=SHORT_SIDE):
                if kind == "sound":
                    f.write(np.clip(piece, -1, 1))
                    samples += len(piece)
                else:
                    Image.fromarray(piece).save(frame_path(folder, count), quality=QUALITY)
                    count += 1
        keep = min(count, frames_within(samples / rate, fps))
        if not keep:
            raise SopError(f"{video}: no picture while there is sound ({samples / rate:.2f} s)")
        for k in range(keep, count):
            frame_path(folder, k).unlink()
