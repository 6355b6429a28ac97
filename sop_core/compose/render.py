"""One composed clip: what is seen, what is heard, and its files."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.random import Generator

from ..config import AnyPath
from ..errors import SopError
from . import camera
from .clips import RATE, Performance, gain, truth_file, write_clip
from .gm import chords_of, compass, program_number
from .material import Unused
from .melodies import Melody, compose_melody, fit_melody, random_key
from .performance import decays, interpret, play_hits, play_notes, play_passages, playable
from .photos import Photo, cut_out, read_photo
from .plan import Plan, Voice, generator
from .recordings import read_recording
from .soundfonts import play

CHORDS = 0.5  # share of notes with more tones, at most, where an instrument plays chords
CUT_OUT = 0.7  # share of the solos of photos whose object can be cut out
CRF = (23, 35)  # of h264: phones and web sites compress more or less
SEEN, PLAYED, PLACED, WRITTEN = range(1, 5)  # each has its own generator


@dataclass(frozen=True)
class How:
    """What all clips of a folder have in common."""

    seed: int
    seconds: float
    dry: bool  # no rooms, microphones and noise
    melodies: tuple[Melody, ...]  # to play; none: they are composed
    backgrounds: dict[str, list[Photo]]  # of each split


def video_file(out: AnyPath, plan: Plan) -> Path:
    """Where a clip's video is."""
    return Path(out, f"{plan.name}.mp4")


def is_complete(out: AnyPath, plan: Plan) -> bool:
    """Whether a clip is there, with its truth."""
    video = video_file(out, plan)
    return video.exists() and truth_file(out, video.stem).exists()


def render(out: AnyPath, plan: Plan, how: How) -> Unused | None:
    """Write one clip. Returns why it could not be made; None if it was."""
    rng = generator(how.seed, plan.labels, plan.number, WRITTEN)
    try:
        write_clip(out, video_file(out, plan), perform(plan, how), int(rng.integers(*CRF)))
    except SopError as e:
        return Unused(" ".join(plan.labels), plan.name, str(e))
    return None


def perform(plan: Plan, how: How) -> Performance:
    """One clip in memory.

    Raises SopError where a photo, a recording or a SoundFont can't be used.
    """
    frames = round(how.seconds * camera.FPS)
    samples = frames * RATE // camera.FPS
    film = _film(plan, how, frames)
    dry = _play(plan, how, samples)
    rng = generator(how.seed, plan.labels, plan.number, PLACED)
    middles = film.boxes[:, [0, 2]].mean(1) / film.size[0] * 2 - 1  # -1 is left, 1 is right
    stems, stereo = _place(dry, middles[: len(dry)], how.dry, rng)
    boxes = film.boxes[: len(plan.labels)]
    return Performance(plan.labels, stems, boxes, film.size, camera.FPS, film.frames, stereo)


def _film(plan: Plan, how: How, frames: int) -> camera.Film:
    """What is seen."""
    rng = generator(how.seed, plan.labels, plan.number, SEEN)
    pictures = [_solid(read_photo(photo)) for photo in plan.photos]
    backgrounds = how.backgrounds.get(plan.split, [])
    behind = None
    if backgrounds:
        behind = read_photo(backgrounds[rng.choice(len(backgrounds))])[..., :3]
    if len(pictures) == 1:
        # A product shot is not what videos show: often its object alone, somewhere else
        cut = cut_out(pictures[0]) if rng.random() < CUT_OUT else None
        return camera.solo(pictures[0] if cut is None else cut, frames, rng, behind)
    return camera.ensemble(pictures, frames, rng, behind)


def _solid(picture: np.ndarray) -> np.ndarray:
    """A photo; if some of it is transparent, its object, or all of it where there is no clear one.

    Shape: (h, w, 3 or 4) -> the same
    """
    if picture.shape[2] == 3:
        return picture
    cut = cut_out(picture)
    return picture[..., :3] if cut is None else cut


def _play(plan: Plan, how: How, samples: int) -> np.ndarray:
    """What is heard, without rooms. All players share a key and a beat. Shape: (N, samples)"""
    rng = generator(how.seed, plan.labels, plan.number, PLAYED)
    key = random_key(rng)
    stems = [
        _play_voice(voice, label, key, how, samples, rng)
        for voice, label in zip(plan.voices, plan.labels, strict=True)
    ]
    return np.array(stems, np.float32).reshape(len(stems), samples)


def _play_voice(
    voice: Voice, label: str, key: tuple, how: How, samples: int, rng: Generator
) -> np.ndarray:
    """(samples,) One player."""
    if voice.kind == "passage":
        return play_passages(voice.recordings, samples, rng)
    # What can be played, and whether it plays chords
    if voice.soundfont:
        pitches, chords = compass(voice.program), chords_of(voice.program)
    elif voice.kind == "note":
        pitches = playable(voice.recordings)
        chords = decays(read_recording(voice.recordings[0])) or _is_called_like_chords(label)
    else:
        pitches, chords = [60], False  # hits have no pitch
    # The melody
    seconds = samples / RATE
    if how.melodies:
        given = how.melodies[rng.integers(len(how.melodies))]
        melody = fit_melody(given, pitches, seconds, rng)
    else:
        share = rng.uniform(0, CHORDS) if chords else 0.0
        melody = compose_melody(pitches, seconds, rng, *key, chords=share)
    melody = interpret(melody, rng)
    if voice.soundfont:
        return play(voice.soundfont, voice.program, melody, samples, rng)
    return (play_notes if voice.kind == "note" else play_hits)(
        melody, voice.recordings, samples, rng
    )


def _is_called_like_chords(label: str) -> bool:
    """Whether General MIDI has a program called like the label that plays chords: an organ."""
    with suppress(SopError):
        return chords_of(program_number(label))
    return False


def _place(
    dry: np.ndarray, places: np.ndarray, is_dry: bool, rng: Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Put each stem into a room of its own, before a microphone, at its level, at its place.

    All samples are multiples of 1 / 32 768, so that a flac file holds them exactly.
    Args: `places`: (N,) from -1, left, to 1, right.
    Shape: (N, L) -> stems (N, L), stereo (2, L), whose mean is the sum of the stems
    """
    from .acoustics import recorded

    if not len(dry):  # a silent scene
        return dry, np.zeros((2, dry.shape[1]), np.float32)
    seed = int(rng.integers(2**62))
    both = recorded(dry, places, RATE, None if is_dry else seed)  # (N, 2, L)
    peak = np.abs(both).max((1, 2))
    if not (peak > 0).all():
        raise SopError("a player is silent: its recordings are too short, or too soft")
    rms = np.sqrt(np.square(both).mean((1, 2)))
    both *= gain(peak, rms, len(dry), rng)[:, None, None]
    both = np.round(both * 16_384) / 16_384  # the mean of two has one bit more
    return both.mean(1, dtype=np.float32), both.sum(0, dtype=np.float32)
