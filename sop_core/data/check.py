"""Can clips be trusted? Every sound is read through, and frames are looked at."""

import json
from pathlib import Path

import joblib
import pandas as pd
from tqdm.auto import tqdm

from ..config import MUSIC, SILENCE_LABEL, AnyPath
from ..errors import SopError
from ..media.csvs import read_rows
from ..media.jpgs import frame_path, read_frames
from ..media.sound import CODEC_FRAMES, read_sound, sound_length
from .clips import Candidate, candidates, clip_name, finder, frame_count, jpgs
from .splits import nothing_found

SILENT_PEAK = 1e-4  # of full scale (-80 dB): a sound that stays below is no sound


def check(
    where: AnyPath,
    seconds: float = MUSIC.seconds,
    fps: float | None = None,
    jobs: int | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """List what is wrong with the clips of a data folder, or of an index.

    Args:
        seconds: the window that a clip has to fill.
        fps: frames a second, to compare the number of frames with the sound's length. None: as
            `preprocess` noted it in the folder; without a note they aren't compared.
        jobs: processes (None: one per core).
    Returns: one row a problem: problem (`missing`: the sound or the frames aren't there; `invalid`:
        they can't be used), clip (`label/id`), reason. Empty where all is well.
    Raises: SopError if there is nothing to check.
    """
    where = Path(where)
    # The clips, and the rows of an index that are none
    rows, clips = ([], candidates(where)) if where.is_dir() else _index(where)
    if not rows and not clips:
        nothing = f"{where}: an index without clips"
        raise SopError(nothing_found(where, [], 0) if where.is_dir() else nothing)
    if fps is None and clips:
        first = Path(clips[0].sound or clips[0].frames)
        fps = noted_fps(where if where.is_dir() else first.parents[2])
    # Look at each, in several processes
    work = (joblib.delayed(problems)(clip, seconds, fps) for clip in clips)
    results = joblib.Parallel(jobs or joblib.cpu_count(), return_as="generator")(work)
    bar = tqdm(results, "check", len(clips), disable=not progress, unit="clip")
    for clip, result in zip(clips, bar, strict=True):
        assert result is not None  # joblib's annotations allow it
        rows += [(kind, clip.name, reason) for kind, reason in result]
    rows.sort(key=lambda row: row[0] != "missing")
    return pd.DataFrame(rows, columns=["problem", "clip", "reason"])


def _index(path: Path) -> tuple[list[tuple[str, str, str]], list[Candidate]]:
    """Read an index: rows that aren't a clip, as problems; the clips of the other rows."""
    find = finder(path.parent)
    bad = []
    clips = []
    for number, row in read_rows(path):
        if len(row) == 3 and (n_frames := frame_count(row[2])):
            sound, frames = find(row[0], False), find(row[1], True)
            n_frames = n_frames if frames else 0
            clips.append(Candidate(clip_name(row[0]), sound or "", frames or row[1], n_frames))
        else:
            reason = f"{','.join(row)!r}, expected sound,frames,number of frames"
            bad.append(("invalid", f"row {number}", reason))
    return bad, clips


def noted_fps(data: AnyPath) -> float | None:
    """Frames a second, as `preprocess` noted it in a data folder."""
    note = Path(data, "preprocess.json")
    try:
        return float(json.loads(note.read_text())["fps"]) if note.is_file() else None
    except (ValueError, KeyError, TypeError):
        hint = "preprocess again, or remove it"
        raise SopError(f"{note}: not readable as json with fps in it; {hint}") from None


def problems(clip: Candidate, seconds: float, fps: float | None) -> list[tuple[str, str]]:
    """What is wrong with one clip: pairs of `missing` or `invalid`, and the reason."""
    if not clip.sound or not clip.n_frames:
        return [("missing", "no frames" if clip.sound else "no sound")]
    reasons = []
    length = 0.0
    # The sound: can it be read, is it long enough, is it louder than silence?
    try:
        samples, rate = sound_length(clip.sound)
        length = samples / rate
        peak = 0.0
        step = 30 * rate  # piece by piece: a long sound takes no more memory than others
        for start in range(0, samples, step):
            piece = read_sound(clip.sound, start, min(step, samples - start))
            peak = max(peak, abs(piece).max())
        if length + CODEC_FRAMES < seconds:
            reasons.append(f"{length:.2f} s of sound, a window takes {seconds:.2f} s")
        if peak < SILENT_PEAK and clip.name.partition("/")[0] != SILENCE_LABEL:
            reasons.append("silent throughout")
    except (SopError, OSError) as e:
        reasons.append(str(e).removeprefix(f"{clip.sound}: "))
    # The frames: are they all there, and as many as the sound is long?
    names = set(jpgs(clip.frames))
    expected = [frame_path(clip.frames, k).name for k in range(clip.n_frames)]
    lost = [name for name in expected if name not in names]
    if lost:
        reasons.append(f"frame {lost[0]} is not there ({len(lost)} of {clip.n_frames} aren't)")
    elif len(names) != clip.n_frames:
        reasons.append(f"{len(names)} frames in the folder, {clip.n_frames} in the index")
    if length and fps and abs(clip.n_frames - length * fps) > 2:
        counted = f"{clip.n_frames} frames beside {length:.2f} s of sound"
        reasons.append(f"{counted}; {fps:g} a second would be {length * fps:.0f}")
    # Can the first, the middle and the last one be read?
    for k in () if lost else sorted({0, clip.n_frames // 2, clip.n_frames - 1}):
        try:
            read_frames(clip.frames, [k])
        except SopError as e:
            reasons.append(f"{expected[k]}: {str(e).partition(': ')[2]}")
    return [("invalid", reason) for reason in reasons]
