"""Which photos and which sounds make each clip, and in which split it is.

Photos and recordings are split first (`material.split_of`); a clip takes all of what it is made of
from one split. What has no counterpart in its split (photos, but no sounds of the label) trains.
The programs of SoundFonts, and melodies of MIDI files, play in every split.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, zip_longest
from typing import NamedTuple

import numpy as np

from ..config import SILENCE_LABEL
from ..data.lists import SPLITS, Made
from ..untrusted import printable
from .clips import TRUTH, tournament
from .material import Unused, split_of
from .photos import Photo
from .recordings import Recording
from .soundfonts import SoundFont

# Of 7 solos of a label, number 3 is for validation and number 5 for the test (about 15 % each), so
# that a clip keeps its split when more are asked for.
TURNS = ("train", "train", "train", "val", "train", "test", "train")
MOST = 100  # recordings that one clip may be played with
RICH = 8  # recordings: a voice of fewer is drawn less often, in proportion


class Voice(NamedTuple):
    """What a source plays with: recordings of one kind and one library, or a program."""

    kind: str  # note, hit, passage, soundfont
    recordings: tuple[Recording, ...] = ()
    soundfont: SoundFont | None = None
    program: int = 0


class Plan(NamedTuple):
    """What one clip is made of."""

    name: str  # label/id
    number: int  # among the clips of these labels, or of the duets
    labels: tuple[str, ...]  # none: a silent scene
    split: str
    photos: tuple[Photo, ...]
    voices: tuple[Voice, ...]

    @property
    def made(self) -> Made:
        """Its row in the note of composed clips."""
        photos = sorted({photo.digest for photo in self.photos})
        recordings = chain.from_iterable(voice.recordings for voice in self.voices)
        return Made(self.split, tuple(photos), tuple(sorted({r.digest for r in recordings})))


@dataclass
class Material:
    """What there is of each label in each split."""

    photos: dict[str, dict[str, list[Photo]]] = field(default_factory=dict)
    # label -> split -> the voices of recordings, and those of SoundFonts
    voices: dict[str, dict[str, tuple[list[Voice], list[Voice]]]] = field(default_factory=dict)

    def splits(self, label: str) -> set[str]:
        """The splits in which a label has both a photo and a voice."""
        voices = self.voices.get(label, {})
        return {split for split in self.photos[label] if any(voices.get(split, ()))}


def sort_material(
    photos: dict[str, list[Photo]],
    recordings: dict[str, list[Recording]],
    soundfonts: Iterable[SoundFont],
    programs: dict[str, list[int]],
    ratios: tuple[float, float],
    unused: list[Unused],
) -> Material:
    """Sort photos and sounds by label and split; what has no counterpart is added to `unused`.

    Args: `programs`: of each label, which SoundFonts play it.
        `ratios`: share of photos and of recordings for val and for test.
    """
    material = Material()
    soundfonts = list(soundfonts)
    for label in sorted(photos.keys() | recordings.keys()):
        reason = _refusal(label)
        if not photos.get(label):
            reason = reason or "sounds, but no photo that can be used"
        fonts = [
            Voice("soundfont", soundfont=font, program=program)
            for font in soundfonts
            for program in programs.get(label, ())
            if program in font.programs
        ]
        if not (recordings.get(label) or fonts or label == SILENCE_LABEL):
            reason = reason or "photos, but no recording and no program of a SoundFont"
        if label == SILENCE_LABEL and recordings.get(label):
            unused.append(Unused(label, "", "its recordings: in silent scenes nothing sounds"))
        if reason:
            unused.append(Unused(label, "", reason))
            continue
        shown, heard = photos[label], recordings.get(label, [])
        split = _split(shown, heard, ratios)
        both = {split[photo.digest] for photo in shown}
        both &= set(SPLITS) if fonts else {split[recording.digest] for recording in heard}
        split = {content: name if name in both else "train" for content, name in split.items()}
        material.photos[label] = defaultdict(list)
        for photo in _spread(shown):
            material.photos[label][split[photo.digest]].append(photo)
        if label == SILENCE_LABEL:
            continue
        material.voices[label] = {name: (_voices(heard, split, name), fonts) for name in SPLITS}
        asked = [split for split, ratio in zip(SPLITS[1:], ratios, strict=True) if ratio]
        missing = [split for split in asked if split not in material.splits(label)]
        if missing:
            files = len({photo.digest for photo in shown})
            few = f"nothing of it is in {' and '.join(missing)}: {files} photo(s)"
            needed = "4 photos, and 4 recordings of one kind in one library"
            has = f"{len(heard)} recording(s)"
            unused.append(Unused(label, "", f"{few} and {has}, where it takes {needed}"))
    return material


def _refusal(label: str) -> str:
    """Why a folder's name can't be a label; "" if it can."""
    if label in (TRUTH, "duet", "trio"):
        return f"a name that files here have already; call it {label}_"
    if label != printable(label):
        return "its name has letters that can't be seen; rename it"
    if " " in label:
        hint = label.replace(" ", "_")
        return f"a label with a blank is two instruments; call it {hint}"
    return ""


def _groups(recordings: Iterable[Recording]) -> list[tuple[str, list[Recording]]]:
    """The recordings of each kind of each library, with that kind."""
    groups = defaultdict(list)
    for recording in recordings:
        groups[recording.kind, recording.library].append(recording)
    return [(kind, group) for (kind, _), group in sorted(groups.items())]


def _split(
    photos: Iterable[Photo], recordings: Iterable[Recording], ratios: tuple[float, float]
) -> dict[str, str]:
    """The split of each content of a label: photos, and each group of recordings, by themselves."""
    split: dict[str, str] = {}
    for _, group in _groups(recordings):
        split |= split_of((recording.digest for recording in group), *ratios)
    # a video that is a photo, too, keeps that split
    return split | split_of((photo.digest for photo in photos), *ratios)


def _spread(photos: Iterable[Photo]) -> list[Photo]:
    """Photos in the order in which clips take them: few clips then show many different things.

    Photos with similar names are often of one player, and frames of a video always are. So files
    are in the order of their content, and a second frame of a video follows the first ones of all.
    """
    frames = defaultdict(list)
    for photo in photos:
        frames[photo.digest].append(photo)
    turns = zip_longest(*(frames[content] for content in sorted(frames)))
    return [photo for photo in chain.from_iterable(turns) if photo]


def _voices(recordings: Iterable[Recording], split: dict[str, str], name: str) -> list[Voice]:
    """What there is to play with in one split."""
    voices = (
        Voice(kind, tuple(r for r in group if split[r.digest] == name))
        for kind, group in _groups(recordings)
    )
    return [voice for voice in voices if voice.recordings]


def plan_clips(
    material: Material, solos: int, duets: int, trios: int, seed: int, unused: list[Unused]
) -> list[Plan]:
    """Plan `solos` clips of each label, and `duets` and `trios` of labels that are in the test.

    Clip k of a label, or of a kind, is the same whatever counts are asked for.
    """
    plans = []
    for label in material.photos:
        if label == SILENCE_LABEL:
            plans += _silent(label, material, solos)
        elif "train" in material.splits(label):
            plans += _solos(label, solos, material, seed)
    tested = [label for label in material.voices if "test" in material.splits(label)]
    if tested and (few := [s for s in ("val", "test") if s not in TURNS[:solos]]):
        what = f"{solos} solo(s) of each label: none is in {' and '.join(few)}"
        unused.append(Unused("", "", f"{what}; {len(TURNS)} or more have some in each"))
    rng = np.random.default_rng([seed, 1])
    threes = [tuple(sorted(rng.permutation(tested)[:3].tolist())) for _ in range(trios)]
    groups = {"duet": tournament(tested, duets, seed)}
    groups["trio"] = threes if len(tested) > 2 else []
    for kind, players, asked in (("duet", 2, duets), ("trio", 3, trios)):
        if asked and not groups[kind]:
            why = f"{len(tested)} label(s) have photos and sounds in the test"
            unused.append(Unused("", "", f"no {kind}s: {why}, it takes {players}"))
        turns = Counter()
        for k, labels in enumerate(groups[kind]):
            plans.append(_group(f"{kind}_{k:03d}", labels, k, turns, material, seed))
    return plans


def photos_left(material: Material, plans: Iterable[Plan]) -> Iterator[Unused]:
    """The photos for training that no clip shows, counted for each label."""
    shown = {photo for plan in plans for photo in plan.photos}
    for label, photos in material.photos.items():
        if left := sum(photo not in shown for photo in photos["train"]):
            many = f"{left} of {len(photos['train'])} photos for training are in no clip"
            yield Unused(label, "", f"{many}: more solos show more of them")


def generator(seed: int, labels: tuple[str, ...], k: int, purpose: int) -> np.random.Generator:
    """The generator of clip k of these labels, for one purpose: no other clip changes it."""
    name = hashlib.sha256("\n".join(labels).encode("utf8", "replace"))
    return np.random.default_rng([seed, int.from_bytes(name.digest()[:6]), k, purpose])


def _solos(label: str, count: int, material: Material, seed: int) -> list[Plan]:
    splits = material.splits(label)
    turns = Counter()
    plans = []
    for k in range(count):
        turn = TURNS[k % len(TURNS)]
        split = turn if turn in splits else "train"
        photo = _in_turn(material, label, split, turns)
        voice = _voice(material, label, split, generator(seed, (label,), k, 0))
        plans.append(Plan(f"{label}/{label}_{k:03d}", k, (label,), split, (photo,), (voice,)))
    return plans


def _silent(label: str, material: Material, count: int) -> list[Plan]:
    """Scenes where nothing sounds; they only train."""
    photos = list(chain.from_iterable(material.photos[label].values()))
    return [
        Plan(f"{label}/{label}_{k:03d}", k, (), "train", (photos[k],), ())
        for k in range(min(count, len(photos)))
    ]


def _group(
    name: str, labels: tuple[str, ...], k: int, turns: Counter, material: Material, seed: int
) -> Plan:
    """A duet or a trio, of what is in the test."""
    rng = generator(seed, labels, k, 0)
    photos = tuple(_in_turn(material, label, "test", turns) for label in labels)
    voices = tuple(_voice(material, label, "test", rng) for label in labels)
    return Plan(f"{' '.join(labels)}/{name}", k, labels, "test", photos, voices)


def _in_turn(material: Material, label: str, split: str, turns: Counter) -> Photo:
    """The next photo of a label in a split: each is used equally often."""
    photos = material.photos[label][split]
    turns[label, split] += 1
    return photos[(turns[label, split] - 1) % len(photos)]


def _voice(material: Material, label: str, split: str, rng: np.random.Generator) -> Voice:
    """Draw a voice: recordings and SoundFonts equally often, where there are both.

    Of the recordings, a stray file is drawn more rarely than a whole library.
    """
    kinds = [voices for voices in material.voices[label][split] if voices]
    voices = kinds[rng.integers(len(kinds))]
    weights = np.array([min(len(voice.recordings), RICH) or 1 for voice in voices])
    turns = np.repeat(np.arange(len(voices)), weights // np.gcd.reduce(weights))
    voice = voices[turns[rng.integers(len(turns))]]
    if len(voice.recordings) <= MOST:
        return voice
    chosen = np.sort(rng.permutation(len(voice.recordings))[:MOST])
    return voice._replace(recordings=tuple(voice.recordings[i] for i in chosen))
