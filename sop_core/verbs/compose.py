"""`sop compose`: photos and recordings -> videos to learn from, with known stems and boxes."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ..config import RATIO
from .options import Folder, Seconds, Whole


def compose(
    photos: Path,
    sounds: Path | None = None,
    /,
    *,
    out: Annotated[Path, Parameter(metavar="VIDEOS")],
    solos: Whole = 24,
    duets: Whole = 12,
    trios: Whole = 0,
    seconds: Seconds = 22.0,
    seed: Whole = 0,
    soundfont: Annotated[tuple[Path, ...], Parameter(metavar="FILE.sf2...")] = (),
    program: Annotated[tuple[str, ...], Parameter(metavar="LABEL=NAME...")] = (),
    midi: Annotated[tuple[Path, ...], Parameter(metavar="FILE.mid...")] = (),
    backgrounds: Folder | None = None,
    dry: bool = False,
    val_ratio: float = RATIO,
    test_ratio: float = RATIO,
    jobs: Whole | None = None,
) -> None:
    """Photos and recordings -> VIDEOS/<label>/<id>.mp4, with stems and boxes.

    Args:
        photos: Folder with a folder of photos (jpg, png, webp) or videos for each label.
        sounds: Folder with a folder of recordings for each label: notes (A4.wav), or passages.
        out: Folder for the videos, their truth, and compose_report.csv.
        solos: Videos of each label.
        duets: Videos of two labels, of photos and recordings that no solo trains with.
        trios: The same of three labels.
        seconds: Length of each video.
        seed: Another seed gives other melodies, rooms and pictures.
        soundfont: SoundFonts (sf2, sf3) that play labels, too.
        program: What plays a label in SoundFonts: General MIDI's number (violin=40) or name
            ("guitar=Acoustic Guitar (nylon)"). Default: the program that is called like the label.
        midi: Melodies. Default: they are composed from the seed.
        backgrounds: Folder of photos that stand behind cut-out objects.
        dry: No rooms, microphones and noise.
        val_ratio: Share of each label's photos and recordings for validation.
        test_ratio: The same for the test.
        jobs: Processes. Default: one for each core.
    """
    from ..compose.compose import compose as run
    from ..untrusted import printable

    counts = {"solos": solos, "duets": duets, "trios": trios}
    given = {"soundfonts": soundfont, "programs": program, "midi": midi, "backgrounds": backgrounds}
    given |= {"dry": dry, "val_ratio": val_ratio, "test_ratio": test_ratio, "jobs": jobs}
    report = run(photos, sounds, out, seconds, seed, **counts, **given)
    print(f"{report.clips.sum()} clips in {printable(out)}")
