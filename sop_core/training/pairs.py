"""The mixtures of an evaluation, and the manifest that lists them, so that others can use them."""

import hashlib
import warnings
from collections.abc import Iterable
from itertools import combinations
from pathlib import PurePosixPath

import numpy as np

from ..config import SILENCE_LABEL, AnyPath, Config
from ..data.clips import Clip
from ..errors import SopError
from ..media.csvs import cell, from_cell, read_rows, write_rows
from ..media.sound import sound_length
from . import published
from .mixtures import draw_mixture
from .windows import Mixture, Part, check_clips, may_miss, same_fps, same_rate


def draw_pairs(
    clips: list[Clip],
    count: int,
    config: Config,
    labels: str = "any",
    leave_out: bool = False,
) -> list[Mixture]:
    """Draw `count` mixtures for an evaluation, by the config's seed.

    No video and no photo is mixed with itself, no silent scene is used, and every clip is the first
    source about equally often. With `pairs=published` each of the first `count` clips is the first
    source once, and its partners may be any of these clips.

    Args:
        labels: `different` draws mixtures of N different instruments; else `any`.
        leave_out: of clips that can't be opened or are too short (`check_clips`).
    Raises: SopError as `check_clips` does, or where there are fewer labels than sources.
    """
    clips = [c for c in clips if c.label != SILENCE_LABEL]
    lengths = check_clips(clips, config, leave_out)
    clips = [*lengths]
    if config.pairs == "published":
        if labels != "any":
            rule = "pairs=published, which draws by number alone; leave --labels out"
            raise SopError(f"mixtures of {labels} labels with {rule}")
        clips = clips[:count]
        starts = [Part(c, published.middle_start(c.n_frames, lengths[c], config)) for c in clips]
        return [
            (part, *(starts[k] for k in published.partners(i, len(clips), config)))
            for i, part in enumerate(starts)
        ]
    kinds = len({c.label for c in clips})
    if labels == "different" and kinds < config.sources:
        raise SopError(f"{kinds} label(s) for mixtures of {config.sources} different instruments")
    # Every clip in turn, in a new order each round
    mixtures = []
    for i in range(count):
        turn, place = divmod(i, len(clips))
        if place == 0:
            order = np.random.default_rng([config.seed, 3, turn]).permutation(len(clips))
        rng = np.random.default_rng([config.seed, 4, i])
        differ = labels == "different"
        mixtures.append(draw_mixture(clips, lengths, config, rng, int(order[place]), differ))
    return mixtures


def write_pairs(path: AnyPath, mixtures: list[Mixture]) -> None:
    """Write a manifest: a csv with one mixture a row, `clip,start,clip,start,...`.

    A clip is `label/id`, a start is in samples.
    """
    write_rows(path, ([cell(value) for value in row] for row in _rows(mixtures)), end="\r\n")


def read_pairs(
    path: AnyPath, clips: list[Clip], config: Config, left_out: list[str] | None = None
) -> list[Mixture]:
    """Read a manifest (`write_pairs`) or a published list. Rows may have any number of sources.

    A row of a published list has the columns of an index N times (`AUDIO_PATH,FRAMES_PATH,
    NUMBER_FRAMES`). The end of a path, `label/id`, names the clip; the folder does not matter. The
    window is in the middle of the clip.

    Args: `left_out`: rows that name clips which `clips` lacks, such as vanished videos, are left
        out and noted there, with a warning. None: they are an error.
    Raises: SopError where the frames are at another rate. SopError with the row's number where a
        row can't be read, names a clip that is not in the index, or mixes a video or a photo with
        itself (`pairs=published` allows it).
    """
    same_fps(clips, config)
    known = {c.name: c for c in clips}
    mixtures, missing = [], []
    for number, row in read_rows(path):
        where = f"{path} row {number}"
        sources = _sources(where, row)
        unknown = [name for name, _ in sources if name not in known]
        if unknown:
            missing.append(f"{where}: {unknown[0]!r} is not in the index")
        else:
            mixtures.append(_mixture(where, sources, known, config))
    if missing:
        count = f"{len(missing)} of {len(missing) + len(mixtures)} row(s) name such clips"
        if left_out is None:
            hint = "; --leave-out measures the others" if mixtures else ""
            raise SopError(f"{missing[0]}; {count}{hint}")
        warnings.warn(f"{missing[0]}; {count}; they are left out", stacklevel=2)
        left_out += missing
    if not mixtures:
        those = "of clips in the index" if missing else "in the manifest"
        raise SopError(f"{path}: no pairs {those}")
    return mixtures


def _sources(where: str, row: list[str]) -> list[tuple[str, int | None]]:
    """The name and the start of each source of a row; None: the middle of the clip."""
    if len(row) >= 4 and len(row) % 2 == 0 and _all_numbers(row[1::2]):
        return [
            (from_cell(name), int(start)) for name, start in zip(row[::2], row[1::2], strict=True)
        ]
    if len(row) >= 6 and len(row) % 3 == 0 and _all_numbers(row[2::3]):
        sounds = [PurePosixPath(text.replace("\\", "/")) for text in row[::3]]
        return [(f"{sound.parent.name}/{sound.stem}", None) for sound in sounds]
    expected = "clip,start or AUDIO_PATH,FRAMES_PATH,NUMBER_FRAMES twice or more often"
    raise SopError(f"{where}: expected {expected}, found {','.join(row)!r}")


def _mixture(
    where: str, sources: list[tuple[str, int | None]], known: dict[str, Clip], config: Config
) -> Mixture:
    parts = []
    for name, start in sources:
        clip = known[name]
        samples, rate = sound_length(clip.sound)
        same_rate(f"{where} ({name})", rate, config)
        if start is None:
            start = published.middle_start(clip.n_frames, samples, config)
        end = start + config.samples
        if end > samples + may_miss(config):
            length = f"{samples / rate:.2f} s of sound"
            raise SopError(f"{where} ({name}): {length}, the window ends at {end / rate:.2f} s")
        parts.append(Part(clip, start))
    if repeats(parts) and config.pairs != "published":
        what = f"{' + '.join(name for name, _ in sources)} are of one video or photo"
        raise SopError(f"{where}: {what}; a mixture needs different ones")
    return tuple(parts)


def _all_numbers(texts: list[str]) -> bool:
    return all(text.isascii() and text.isdigit() for text in texts)


def repeats(mixture: Iterable[Part]) -> bool:
    """Whether two of a mixture's sources are of one video, or have a photo in common."""
    return not all(one.clip.fits(other.clip) for one, other in combinations(mixture, 2))


def pairs_hash(mixtures: list[Mixture]) -> str:
    """Ten letters that name a manifest: the same pairs have the same ones on every machine."""
    text = "\n".join(",".join(map(str, row)) for row in _rows(mixtures))
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:10]


def _rows(mixtures: list[Mixture]) -> list[list]:
    """The rows of a manifest: name and start of each source."""
    return [[v for part in mixture for v in (part.clip.name, part.start)] for mixture in mixtures]
