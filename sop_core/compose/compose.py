"""Photos and recordings -> videos to learn from, whose stems and boxes are known.

    PHOTOS/<label>/*.jpg  SOUNDS/<label>/A4.wav ...  SoundFonts
        ->  VIDEOS/<label>/<label>_<kkk>.mp4     solos
            VIDEOS/<a b>/duet_<kkk>.mp4          duets and trios, of what no solo trains with
            VIDEOS/truth/                        their boxes and stems, see `clips`
            VIDEOS/composed.csv                  the split of each clip, and what it is made of
            VIDEOS/compose_report.csv            clips of each label; what was not used, and why

A clip depends on the material, the options and its own number, on no other clip: it is the same at
any number of processes. A run that was stopped goes on where it stopped.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from itertools import chain
from pathlib import Path

import pandas as pd

from ..config import RATIO, AnyPath
from ..data.lists import SPLITS, note_composed
from ..errors import SopError
from ..media.atomic import atomic_path
from ..media.csvs import write_table
from ..untrusted import printable
from .clips import TRUTH, claim_folder, make_clips
from .gm import parse_programs, program_number
from .material import NOT_ONE, Unused, digest, split_of
from .melodies import read_midi
from .photos import find_backgrounds, find_photos
from .plan import Plan, photos_left, plan_clips, sort_material
from .recordings import Recording, find_recordings
from .render import How, is_complete, render, video_file
from .soundfonts import INSTALL, SoundFont, can_play, open_soundfont

VERSION = 4  # of the clips: a folder of another version is refused, not mixed


def compose(
    photos: AnyPath,
    sounds: AnyPath | None,
    out: AnyPath,
    seconds: float = 22.0,
    seed: int = 0,
    *,
    solos: int = 24,
    duets: int = 12,
    trios: int = 0,
    soundfonts: Iterable[AnyPath] = (),
    programs: Iterable[str] = (),
    midi: Iterable[AnyPath] = (),
    backgrounds: AnyPath | None = None,
    dry: bool = False,
    val_ratio: float = RATIO,
    test_ratio: float = RATIO,
    jobs: int | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Compose solos, duets and trios with a known truth, as mp4 files.

    Args:
        photos, sounds: folders with a folder for each label (`photos`, `recordings`). Photos of a
            label `silence` give silent scenes.
        seconds: of each clip.
        solos: of each label. `duets`, `trios`: in all.
        soundfonts: files; half of a label's solos are played by them if it has recordings, too.
        programs: `label=number` or `label=name` of General MIDI, more than one if you like. A label
            that is called like a program needs none.
        midi: files with melodies, which all splits play. None: melodies are composed.
        backgrounds: a folder of photos, in any folders, that stand behind cut-out objects. They are
            split as photos are; those that are in `photos`, too, are left out.
        dry: without `acoustics`: no rooms, microphones and noise.
        val_ratio, test_ratio: share of each label's photos and recordings.
        jobs: processes (None: one per core).
    Returns: the report, also written to `out/compose_report.csv`, with the columns label, file,
        clips and reason. A row without a reason counts the clips of a label; one with a reason is
        a file, or a label, that was not used.
    Raises: SopError where nothing can be composed, an option is out of its range, or `out` holds
        clips of other material or options; after the report, where no clip could be made.
    """
    out = Path(out)
    for name, value in {"solos": solos, "duets": duets, "trios": trios, "seed": seed}.items():
        if value < 0:
            raise SopError(f"{name}={value}: expected 0 or more")
    if not 1 <= seconds <= 600:
        raise SopError(f"seconds={seconds:g}: expected 1 to 600")
    ratios = (val_ratio, test_ratio)
    if not (min(ratios) >= 0 and sum(ratios) < 1):
        what = f"val_ratio={val_ratio}, test_ratio={test_ratio}"
        raise SopError(f"{what}: expected shares from 0, together less than 1")
    given = [Path(folder) for folder in (photos, sounds, backgrounds) if folder is not None]
    _check_place(out, given)
    # What there is
    unused: list[Unused] = []
    fonts = list({font.digest: font for font in map(open_soundfont, soundfonts)}.values())
    if fonts and not can_play():
        raise SopError(INSTALL.format("no answer"))
    midi = [Path(path) for path in midi]
    melodies = tuple(melody for path in midi for melody in read_midi(path))
    found = find_photos(photos, unused)
    heard = out / "pitches.csv"
    recordings = find_recordings(sounds, unused, heard, progress, jobs) if sounds else {}
    if progress:
        _tell(recordings)
    if sounds and Path(photos).resolve() == Path(sounds).resolve():
        unused = _of_one_folder(unused)
    behind = find_backgrounds(backgrounds, unused) if backgrounds else []
    seen = {photo.digest for photo in chain(*found.values())}
    behind = [photo for photo in behind if photo.digest not in seen]
    playing = _programs(found, fonts, programs)
    material = sort_material(found, recordings, fonts, playing, ratios, unused)
    split = split_of((photo.digest for photo in behind), *ratios)
    scenes = {name: [p for p in behind if split[p.digest] == name] for name in SPLITS}
    how = How(seed, seconds, dry, melodies, scenes)
    # Which clips
    plans = plan_clips(material, solos, duets, trios, seed, unused)
    if not plans:
        first = "; ".join(f"{u.file or u.label or 'all'}: {u.reason}" for u in unused[:3])
        raise SopError(f"{photos}: nothing can be composed ({first or 'no clips are asked for'})")
    files = [(label, p.digest) for label in found for p in found[label]]
    files += [(label, *r[1:]) for label in recordings for r in recordings[label]]
    files += [p.digest for p in behind] + [font.digest for font in fonts] + [*map(digest, midi)]
    made_of = hashlib.sha256(repr((files, sorted(playing.items()))).encode(errors="replace"))
    of = {"seed": seed, "version": VERSION, "seconds": seconds, "dry": dry}
    of |= {"ratios": list(ratios), "material": made_of.hexdigest()[:8]}
    claim_folder(out / "compose.json", of, {"solos": solos, "duets": duets, "trios": trios})
    note_composed(out, {plan.name: plan.made for plan in plans})
    unused += photos_left(material, plans)
    # Render those that are missing; if none is, start no processes
    todo = [plan for plan in plans if not is_complete(out, plan)]
    folders = {out, out / TRUTH, *(video_file(out, plan).parent for plan in plans)}
    work = [(out, plan, how) for plan in todo]
    made = make_clips(render, work, "compose", jobs if todo else 1, progress, folders)
    failed = sorted(failure for failure in made if failure)
    report = _report(out, plans, unused + failed, progress)
    if failed and not report.clips.sum():
        first = f"{failed[0].file}: {failed[0].reason}"
        raise SopError(f"{out}: none of {len(plans)} clips could be made; the first, {first}")
    return report


def _of_one_folder(unused: list[Unused]) -> list[Unused]:
    """What can't be used of a folder that holds both, once: a photo is no fault of the sounds."""
    kinds = [row for row in unused if row.reason.startswith(NOT_ONE)]
    refused = Counter((row.label, row.file) for row in kinds)
    why = "neither a photo nor a sound, by its suffix"
    rows = [row for row in unused if not row.reason.startswith(NOT_ONE)]
    rows += [Unused(*file, why) for file, sides in refused.items() if sides == 2]
    return list(dict.fromkeys(rows))


def _tell(recordings: dict[str, list[Recording]]) -> None:
    """Print how many recordings of which kind each label has, in which library."""
    for label, own in sorted(recordings.items()):
        counts = sorted(Counter((r.library, r.kind) for r in own).items())
        parts = (
            f"{count} {kind}{'s' if count > 1 else ''}{f' in {library}' if library else ''}"
            for (library, kind), count in counts
        )
        print(printable(f"{label}: {', '.join(parts)}"))


def _report(out: Path, plans: list[Plan], unused: list[Unused], progress: bool) -> pd.DataFrame:
    """Write and print what became of the clips, and what was not used."""
    counts = Counter(plan.name.split("/")[0] for plan in plans if is_complete(out, plan))
    rows = [(label, "", count, "") for label, count in sorted(counts.items())]
    rows += [(u.label, u.file, 0, u.reason) for u in unused]
    report = pd.DataFrame(rows, columns=["label", "file", "clips", "reason"])
    with atomic_path(out / "compose_report.csv") as part:
        write_table(part, report)
    if progress and unused:
        lines = ("  " + printable(f"{u.file or u.label or 'all'}: {u.reason}") for u in unused)
        print(f"{len(unused)} not used:", *lines, sep="\n")
    return report


def _check_place(out: Path, given: list[Path]) -> None:
    """Make the folder. Raises SopError if it can't be, or if material would mix with clips."""
    for folder in given:
        here, there = out.resolve(), folder.resolve()
        if here.is_relative_to(there) or there.is_relative_to(here):
            raise SopError(f"{out}: clips and {folder} would mix; choose a folder beside it")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise SopError(f"{out}: can't write clips there ({e.strerror}): choose another") from None


def _programs(
    labels: Iterable[str], fonts: list[SoundFont], given: Iterable[str]
) -> dict[str, list[int]]:
    """The programs of each label: those given, else the one that is called like it."""
    programs = parse_programs(given)
    if not fonts:
        if programs:
            names = ", ".join(programs)
            raise SopError(f"programs for {names}: no SoundFont is given to play them")
        return {}
    labels = set(labels)
    for label, numbers in programs.items():
        if label not in labels:
            raise SopError(f"{label}={numbers[0]}: no photos of this label; expected one that has")
        for number in numbers:
            if not any(number in font.programs for font in fonts):
                what = "no SoundFont that is given has this program"
                raise SopError(f"{label}={number}: {what}")
    for label in labels - programs.keys():
        if not label.isdecimal():
            with suppress(SopError):  # it is called like none
                programs[label] = [program_number(label)]
    return programs
