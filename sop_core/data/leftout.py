"""What an index leaves out, and what looks wrong with it: lines for people."""

import os
import re
from collections import Counter
from pathlib import Path

from ..config import AnyPath
from ..media.jpgs import names_in
from .clips import SOUNDS, Candidate, Clip

# VGGSound's layout: YouTube id, start in seconds
SECTION = re.compile(r"([\w-]{11})_\d{6}", re.ASCII)
NAMED = 3  # of what is left out, at most so many are named


def passed_over(data: AnyPath, entries: list[Candidate]) -> list[str]:
    """One warning of what in a data folder is no clip: how many of each kind."""
    sounds, strange = _entries(data, "audio", SOUNDS)
    taken = {os.path.relpath(c.sound, data).replace(os.sep, "/") for c in entries if c.sound}
    kinds = "|".join(SOUNDS)
    reasons = {
        "sound(s) without frames": [c.name for c in entries if c.sound and not c.n_frames],
        "folder(s) of frames without sound": [
            c.name for c in entries if not c.sound and c.n_frames
        ],
        "folder(s) without a jpg": [c.name for c in entries if not c.sound and not c.n_frames],
        "sound(s) beside another of the same name": [n for n in sounds if n not in taken],
        f"in audio/ that are no <label>/<id>{kinds}": strange,
        "in frames/ that are no <label>/<id>.mp4/": _entries(data, "frames", (".mp4",))[1],
    }
    counts = [f"{len(n)} {why} ({_some(n)})" for why, n in reasons.items() if n]
    return [f"{data}: passed over {'; '.join(counts)}"] if counts else []


def _entries(data: AnyPath, kind: str, endings: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """What is in `audio/<label>/` or `frames/<label>/`: with these endings, and all else."""
    inside = sorted(names_in(data, f"{kind}/*/*"))
    strange = [name for name in inside if not name.endswith(endings)]
    beside = (p for p in Path(data, kind).glob("*") if p.is_file() and p.name[0] != ".")
    strange += [f"{kind}/{p.name}" for p in beside]
    return [name for name in inside if name.endswith(endings)], sorted(strange)


def left_out(usable: list[Clip], clips: list[Clip], placed: set[Clip], least: int) -> list[str]:
    """Warnings of clips that are in no index, by reason."""
    rest = [c for c in clips if c not in placed]
    reasons = {
        f"fewer than {least} frames (--min-frames)": [c.name for c in usable if c.n_frames < least],
        "duets (--duets drop)": [c.name for c in rest if c.is_duet],
        "of a video that the list has in another split, too": [
            c.name for c in rest if not c.is_duet
        ],
    }
    return [f"{len(n)} clip(s) left out, {why}: {_some(n)}" for why, n in reasons.items() if n]


def not_listed(splits: AnyPath, names: list[str]) -> list[str]:
    """A warning of clips that a list of splits doesn't name."""
    what = "they train (or validate, if it has no val; duets test)"
    return [f"{splits} doesn't name {len(names)} clip(s) ({_some(names)}): {what}"] if names else []


def like_sections(clips: list[Clip]) -> list[str]:
    """A warning of ids that look like sections of one video, but aren't known to be."""
    videos = Counter(m[1] for c in clips if not c.section_of and (m := SECTION.fullmatch(c.id)))
    several = [video for video, count in videos.items() if count > 1]
    if not several:
        return []
    return [
        f"{sum(videos[v] for v in several)} clip(s) are named like VGGSound's sections "
        f"(<YouTube id>_<start>) of {len(several)} video(s), {_some(several)}, and are taken for "
        "videos of their own; if they are sections, index with --sections"
    ]


def like_one_video(clips: list[Clip]) -> list[str]:
    """A warning of ids under several labels: cello/1 and flute/1 count as one video."""
    labels: dict[str, set[str]] = {}
    for clip in clips:
        if not clip.section_of and not clip.photos:
            labels.setdefault(clip.id, set()).add(clip.label)
    several = sorted(id for id, own in labels.items() if len(own) > 1)
    if not several:
        return []
    return [
        f"{len(several)} id(s) stand under several labels ({_some(several)}): they count as one "
        "video, which is in one list and never mixed with itself; rename those that are not"
    ]


def like_duets(clips: list[Clip], labels: set[str]) -> list[str]:
    """Warnings of labels of two words that may be one instrument: one word is no other label."""
    return [
        f"{label!r} ({count} clip(s)) is taken for a duet, since it is two words; if it is one "
        f"instrument, call it {label.replace(' ', '_')}, or index with --duets train"
        for label, count in sorted(Counter(c.label for c in clips if c.is_duet).items())
        if not labels.issuperset(label.split(" "))
    ]


def _some(names: list[str]) -> str:
    return ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "")


def nothing_found(data: AnyPath, usable: list[Clip], min_frames: int) -> str:
    """Why a data folder gives no clips: the message of an error."""
    data = Path(data)
    command = f"`python -m sop_core preprocess VIDEOS --out {data}`"
    if not data.is_dir():
        return f"{data}: no such folder; {command} makes one"
    if usable:
        most = max(c.n_frames for c in usable)
        none = f"none of its {len(usable)} clips has {min_frames} frames"
        return f"{data}: {none} (at most {most}); ask for fewer"
    sounds = sum(p.suffix in SOUNDS for p in data.glob("audio/*/*"))
    frames = sum(p.suffix == ".mp4" and p.is_dir() for p in data.glob("frames/*/*"))
    return (
        f"{data}: no clips: {sounds} sounds in audio/<label>/ and {frames} folders in "
        f"frames/<label>/, none of them a pair <id>.mp3 and <id>.mp4/*.jpg; run {command} first"
    )
