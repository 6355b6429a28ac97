"""Can clips be trusted? Every sound is read through, and frames are looked at."""

import json
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pandas as pd

from ..config import MUSIC, SILENCE_LABEL, AnyPath
from ..errors import SopError
from ..media.csvs import read_rows
from ..media.jpgs import frame_names, frame_path, read_frames
from ..media.processes import in_processes
from ..media.sound import CODEC_FRAMES, read_sound, sound_length
from . import fingerprints
from .clips import Candidate, candidates, clip_name, finder, frame_count
from .copies import Copy, data_of, note_copies
from .leftout import nothing_found
from .matching import find_copies

SILENT_PEAK = 1e-4  # of full scale (-80 dB): a sound that stays below is no sound
STILL = 0.9  # of its frames: a clip in which so many are as the one before is a still picture
FRAME = re.compile(r"(\d{6})\.jpg", re.ASCII)  # as `frame_path` names them
KINDS = ("missing", "invalid", "leak", "copy", "still")  # of problems, in the order of the list


def check(
    where: AnyPath | Sequence[AnyPath],
    seconds: float = MUSIC.seconds,
    fps: float | None = None,
    jobs: int | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """List what is wrong with the clips of a data folder, or of one or more indexes.

    Keeps the clips' fingerprints in the data folder, so that the next check is quicker, and notes
    copies in its `copies.csv` (if it can be written to).

    Args:
        seconds: the window that a clip has to fill.
        fps: frames a second, to compare the number of frames with the sound's length. None: as
            `preprocess` noted it in the folder; without a note they aren't compared.
        jobs: processes (None: one per core).
    Returns: one row a problem: problem, clip (`label/id`), reason. Empty where all is well.
        `missing`: the sound or the frames aren't there. `invalid`: they can't be used. `leak`: a
        copy of a clip in another of the indexes. `copy`: a copy of another clip. `still`: frames
        that don't change.
    Raises: SopError if there is nothing to check.
    """
    places = [Path(p) for p in ([where] if isinstance(where, str | os.PathLike) else where)]
    # The clips, and the rows of an index that are none
    rows: list[tuple[str, str, str]] = []
    clips: list[Candidate] = []
    source: list[Path] = []  # of each clip
    for place in places:
        bad, found = ([], candidates(place)) if place.is_dir() else _index(place)
        if not bad and not found:
            nothing = f"{place}: an index without clips"
            raise SopError(nothing_found(place, [], 0) if place.is_dir() else nothing)
        rows += bad
        clips += found
        source += [place] * len(found)
    # The data folder: of what is missing, an index's path says nothing about it
    whole = [n for n, clip in enumerate(clips) if clip.sound and clip.n_frames]
    data = data_of(clips[whole[0]].sound) if whole else places[0].parent
    fps = fps or (noted_fps(data) if whole else None)
    # Look at each, in several processes
    known, keys = fingerprints.load(data), [fingerprints.key(clip) for clip in clips]
    fresh = {n for n in whole if keys[n] not in known}
    work = [(clip, seconds, fps, n in fresh) for n, clip in enumerate(clips)]
    looked = in_processes(_look, work, "check", "looked at clips", jobs=jobs, progress=progress)
    with fingerprints.kept(data, known) as keep:
        for clip, key, (found, made) in zip(clips, keys, looked, strict=True):
            rows += [(kind, clip.name, reason) for kind, reason in found]
            known.update({key: made} if made else {})
            keep()
    # What shows in the fingerprints
    rows += _copies(
        [clips[n] for n in whole],
        [known[keys[n]] for n in whole],
        [source[n] for n in whole],
        jobs,
        progress,
    )
    for n in whole:
        share, (label, _, _) = known[keys[n]].still, clips[n].name.partition("/")
        if share >= STILL and label != SILENCE_LABEL:
            rows.append(
                ("still", clips[n].name, f"{share:.0%} of its frames are as the one before")
            )
    rows.sort(key=lambda row: KINDS.index(row[0]))
    return pd.DataFrame(rows, columns=["problem", "clip", "reason"])


def _look(
    clip: Candidate, seconds: float, fps: float | None, fresh: bool
) -> tuple[list[tuple[str, str]], fingerprints.Fingerprint | None]:
    """The problems of one clip, and its fingerprint if it is `fresh`."""
    return problems(clip, seconds, fps), fingerprints.fingerprint(clip) if fresh else None


def _copies(
    clips: list[Candidate],
    prints: list[fingerprints.Fingerprint],
    source: list[Path],
    jobs: int | None,
    progress: bool,
) -> list[tuple[str, str, str]]:
    """Find and note the copies among clips: rows of problems. `source`: the list of each clip."""
    copies = find_copies(clips, prints, jobs, progress)
    with suppress(OSError):  # a disk that can only be read
        note_copies(clips, copies)
    rows = []
    first: dict[str, int] = {}
    known = {copy[:2] for copy in copies}
    for n, clip in enumerate(clips):  # one file in two lists, also where it is only a tone
        other = first.setdefault(os.path.realpath(clip.sound), n)
        if source[other] != source[n] and (n, other) not in known:
            copies.append(Copy(n, other, "the same file"))
    for clip, other, how in copies:
        apart = source[clip] != source[other]
        where = f", which is in {source[other].name}" if apart else ""
        reason = f"a copy of {clips[other].name}{where} ({how})"
        rows.append(("leak" if apart else "copy", clips[clip].name, reason))
    return rows


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
    names = set(frame_names(clip.frames))
    count = max([clip.n_frames, *(int(m[1]) for name in names if (m := FRAME.fullmatch(name)))])
    name_of = [frame_path("", k).name for k in range(count)]
    lost = [name for name in name_of if name not in names]
    if lost:
        reasons.append(f"frame {lost[0]} is not there ({len(lost)} of {count} aren't)")
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
            reasons.append(f"{name_of[k]}: {str(e).partition(': ')[2]}")
    return [("invalid", reason) for reason in reasons]
