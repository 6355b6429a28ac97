"""The embedded default data set: a toy orchestra. Real mp4 files of six instruments playing, all from a seed.

    OUT/videos/<label>/<label>_<kkk>.mp4    solos: h264 yuv420p 320 x 240 at 25 fps, aac mono 44.1 kHz, 10-12 s
    OUT/videos/<a b>/duet_<kkk>.mp4         duets of two different instruments, a < b
    OUT/videos/silence/silence_<kkk>.mp4    empty stages: nobody plays
    OUT/truth/<id>.json, <id>_<i>.flac      where each source is and how loud; a duet's stems (they add up to its sound)
    OUT/orchestra.json                      version, seed, counts

Timbre and shape tell the instruments apart: their ranges overlap, and player, place, size, light and background are chance.
An instrument's colour is a hint and no more: it varies, and clothes, walls and lamps have it too. A solo is cut together
from TAKES, each with another player in another place. Clip k of a kind has a generator of its own, default_rng([seed,
number of players, k]), so it is the same whatever is made before it, beside it, or at how many jobs.

The sounds are sums of sines, and Karplus-Strong (Computer Music Journal, 1983); the drawings are in `stage`.
"""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import joblib
import numpy as np
from PIL import Image, ImageChops
from scipy.signal import fftconvolve, lfilter
from tqdm.auto import tqdm

from . import stage
from .config import SILENCE_LABEL, AnyPath
from .errors import SopError
from .media import sound_writer, sweep, whole

VERSION = 3  # of the clips: a folder made by another one is refused, not mixed
RATE = 44_100  # samples a second
FPS = 25  # video frames a second
TAKES = 4  # a solo is cut together from so many, each of another player in another place; a duet is one take
STILL = 2  # video frames that show one drawn pose: 12.5 drawings a second look alive and cost half
HOP = RATE // FPS  # samples a video frame: exactly 1764
SIZE = (stage.WIDTH, stage.HEIGHT)  # pixels

# ------------------------------------------------------------------------------------------------------- one note
# Each takes hz, seconds, force (0..1), bright (-1..1, the clip's own instrument) and a generator; gives mono samples.


def ease(n: int, attack: float, release: float) -> np.ndarray:
    """(n,) 0 -> 1 in `attack` seconds, and 1 -> 0 in the last `release` seconds: both with round corners."""
    t = np.arange(n) / RATE
    ramp = np.minimum(np.clip(t / attack, 0, 1), np.clip((n / RATE - t) / release, 0, 1))
    return ramp * ramp * (3 - 2 * ramp)


def vibrato(n: int, rate: float, cents: float, rng: np.random.Generator) -> np.ndarray:
    """(n,) factors on a frequency; it sets in after the note does, as a player's does."""
    t = np.arange(n) / RATE
    return 2 ** (cents / 1200 * np.clip((t - 0.12) / 0.3, 0, 1) * np.sin(2 * np.pi * (rate * t + rng.random())))


def harmonics(hz: np.ndarray, amps) -> np.ndarray:
    """Sum of amps[h-1] * sin(h * phase), amps (H,) or (H, n), hz (n,); nothing above 0.45 of the rate."""
    z = np.exp(2j * np.pi * np.cumsum(hz) / RATE)
    w, out = z.copy(), np.zeros(len(hz))
    for h, amp in enumerate(amps, 1):
        if h * hz.max() > 0.45 * RATE:
            break
        out += amp * w.imag
        w *= z
    return out


def reeds(hz, seconds, force, bright, rng):
    """Accordion: two sets of rich reeds a few cents apart, which beat."""
    n, h = int((seconds + 0.06) * RATE), np.arange(1, 26)
    nasal = 0.45 + np.exp(-0.5 * (np.log2(h * hz / (2600 + 300 * bright)) / 0.8) ** 2)
    amps = nasal * h**-0.4
    swell = 1 + 0.25 * np.sin(np.pi * np.arange(n) / n)  # the bellows are pressed hardest in the middle
    pair = sum(harmonics(np.full(n, hz * 2 ** (c / 1200)), amps) for c in (-7.0, 8.0))
    return 0.2 * force * pair * swell * ease(n, 0.04, 0.06)


def bowed(hz, seconds, force, bright, rng):
    """Cello: a saw through the resonances of a wooden body, slow to start, with vibrato and a little rosin."""
    n, h = int((seconds + 0.10) * RATE), np.arange(1, 31)
    wood = ((250, 1.2), (480, 1.0), (1300, 0.6), (2600, 0.4))  # Hz, gain
    body = 0.25 + sum(g * np.exp(-0.5 * (np.log2(h * hz / f) / 0.28) ** 2) for f, g in wood)
    amps = body / h * np.exp(-h * hz / (1600 + 300 * bright))
    tone = harmonics(hz * vibrato(n, rng.uniform(5, 6), 22, rng), amps)
    rosin = lfilter([1, -1], [1, -0.6], rng.standard_normal(n)) * 0.02
    return 0.5 * force * (tone + rosin * force) * ease(n, 0.12, 0.10)


def breath(hz, seconds, force, bright, rng):
    """Flute: nearly a sine, and the wind that makes it."""
    n = int((seconds + 0.07) * RATE)
    t = np.arange(n) / RATE
    pulse = 1 + 0.14 * np.sin(2 * np.pi * (5.2 * t + rng.random())) * np.clip(t / 0.4, 0, 1)
    tone = harmonics(hz * vibrato(n, 5.2, 9, rng), [1, 0.28 + 0.1 * bright, 0.08, 0.03])
    r, w = 0.985, 2 * np.pi * 2 * hz / RATE  # wind: noise through a soft resonance an octave up
    wind = lfilter([1 - r, 0, -(1 - r)], [1, -2 * r * np.cos(w), r * r], rng.standard_normal(n))
    return 0.75 * force * (tone * pulse + (0.9 + 1.5 * np.exp(-t / 0.05)) * wind) * ease(n, 0.07, 0.07)


def plucked(hz, seconds, force, bright, rng):
    """Guitar: Karplus-Strong. A burst of noise goes round a delay line that loses a little of its top every time."""
    n, period = int((seconds + 0.7) * RATE), RATE / hz - 0.5
    length, part = int(period), period - int(period)
    noise = lfilter([0.35 + 0.2 * force + 0.1 * bright], [1, -(0.55 - 0.2 * force)], rng.uniform(-1, 1, length + 1))
    burst = np.zeros(n)
    burst[: length + 1] = noise - noise.mean()  # or the loop would keep a thump at 0 Hz
    at = max(1, int(0.18 * period))  # plucked near the bridge: a comb of missing harmonics
    burst[at:] -= 0.8 * burst[:-at]
    loss = 0.5 ** (1 / (hz * 0.45))  # half as loud after 0.45 s
    loop = np.zeros(length + 3)
    loop[0], loop[length : length + 3] = 1, -loss * 0.5 * np.array([1 - part, 1, part])
    stop = ease(n, 0.0005, 0.10) * np.exp(-np.maximum(0, np.arange(n) / RATE - seconds) / 0.15)
    return 0.9 * force * lfilter([1], loop, burst) * stop


def brass(hz, seconds, force, bright, rng):
    """Trumpet: the louder, the brighter; each note is scooped up to."""
    n, h = int((seconds + 0.06) * RATE), np.arange(1, 23)[:, None]
    t = np.arange(n) / RATE
    push = ease(n, 0.06, 0.06) * (0.75 + 0.25 * np.exp(-t / 0.1)) * (0.55 + 0.45 * force)
    form = 0.15 + np.exp(-0.5 * (np.log2(h * hz / 1400) / 0.65) ** 2)  # the bell lets the middle out
    amps = form * push * np.exp(-h / (1.0 + (6 + 1.5 * bright) * push**1.5))
    return 0.5 * (0.4 + 0.6 * force) * harmonics(hz * vibrato(n, 5.5, 10, rng) * (1 - 0.03 * np.exp(-t / 0.025)), amps)


def bar(hz, seconds, force, bright, rng):
    """Xylophone: a bar tuned in twelfths (partials 1 : 3 : 6.3 : 10), dry and short, with a knock."""
    n = int(0.8 * RATE)
    t = np.arange(n) / RATE
    partials = ((1, 1.0, 0.15), (3.0, 0.55, 0.06), (6.3, 0.4 + 0.1 * bright, 0.03), (10.1, 0.25, 0.015))
    tone = sum(a * np.sin(2 * np.pi * hz * m * t) * np.exp(-t / d) for m, a, d in partials if hz * m < 0.45 * RATE)
    knock = rng.standard_normal(n) * np.exp(-t / 0.004)
    return force * (0.8 * tone + 0.2 * knock) * np.minimum(1, t / 0.0008)


@dataclass(frozen=True)
class Instrument:
    """How a label sounds, looks, and from which to which MIDI note it plays."""

    note: Callable[..., np.ndarray]
    draw: Callable[..., None]
    low: int
    high: int
    hue: float  # turns: the colour that it often has, more or less
    drive: float = 0.0  # what is struck is squashed so far, lest it be all peak and no body


# Any two ranges share an octave or more, so that pitch doesn't tell who plays.
TABLE = {
    "accordion": Instrument(reeds, stage.accordion, 53, 79, 0.97),
    "cello": Instrument(bowed, stage.cello, 48, 74, 0.07),
    "flute": Instrument(breath, stage.flute, 60, 84, 0.56),
    "guitar": Instrument(plucked, stage.guitar, 50, 76, 0.42, drive=1.6),
    "trumpet": Instrument(brass, stage.trumpet, 54, 80, 0.14),
    "xylophone": Instrument(bar, stage.xylophone, 60, 84, 0.0, drive=1.6),
}
INSTRUMENTS: tuple[str, ...] = tuple(TABLE)

# ------------------------------------------------------------------------------------------------------ the music

SCALES = ((0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10), (0, 2, 3, 5, 7, 9, 10), (0, 2, 4, 7, 9))  # semitones
RHYTHMS = (  # two beats each; a negative number is a rest
    (1, 1), (1, 0.5, 0.5), (0.5, 0.5, 1), (1.5, 0.5), (0.5, 0.5, 0.5, 0.5), (2,), (0.75, 0.25, 1), (1, -1),
    (0.5, -0.5, 1), (-0.5, 0.5, 0.5, 0.5),
)  # fmt: skip


@dataclass(frozen=True)
class Melody:
    """Notes in order, as arrays (n,): when (s), how long (s), which (MIDI), how hard (0..1)."""

    onset: np.ndarray
    length: np.ndarray
    midi: np.ndarray
    force: np.ndarray


def compose(instrument: Instrument, beat: float, root: int, scale: tuple[int, ...], seconds: float, rng) -> Melody:
    """Phrases of cells a b a c that wander over the scale, swell and fade, end on root or fifth, and leave rests."""
    steps = [m for m in range(instrument.low, instrument.high + 1) if (m - root) % 12 in scale]
    home = [i for i, m in enumerate(steps) if (m - root) % 12 in (0, 7)]
    centre = rng.uniform(0.25, 0.75) * (len(steps) - 1)
    where, now, notes = round(centre), rng.uniform(0.1, 1.5) * beat, []
    while now < seconds - 1.5 * beat:
        a, b, c = (RHYTHMS[i] for i in rng.choice(len(RHYTHMS), 3))
        phrase = [*a, *b, *a, *c[:-1], 2]
        for i, beats in enumerate(phrase):
            last = i == len(phrase) - 1
            where += int(rng.choice((-3, -2, -2, -1, -1, -1, 1, 1, 1, 2, 2, 3))) - round((where - centre) / 6)
            where = min(max(where, 0), len(steps) - 1)
            if last:
                where = min(home, key=lambda h, w=where: abs(h - w))
            if beats > 0 and now + beats * beat < seconds - 0.15:
                arc = 0.55 + 0.35 * np.sin(np.pi * (i + 0.5) / len(phrase)) + rng.uniform(-0.12, 0.12)
                notes.append((now, 0.9 * beats * beat, steps[where], min(1.0, arc)))
            now += abs(beats) * beat
        now += rng.choice([0, 1, 2]) * beat
    return Melody(*np.array(notes).T)


def perform(instrument: Instrument, melody: Melody, samples: int, rng: np.random.Generator) -> np.ndarray:
    """The dry sound (samples,) of a melody, at no particular level."""
    out, bright = np.zeros(samples + 4 * RATE), rng.uniform(-1, 1)
    for onset, length, midi, force in zip(melody.onset, melody.length, melody.midi, melody.force, strict=True):
        sound = instrument.note(440 * 2 ** ((midi - 69) / 12), length, force, bright, rng)
        out[int(onset * RATE) :][: len(sound)] += sound
    out = out[:samples] * ease(samples, 0.001, 0.15)
    return np.tanh(instrument.drive * out / np.abs(out).max()) if instrument.drive else out


def make_music(labels: tuple[str, ...], rng: np.random.Generator) -> tuple[np.ndarray, list[Melody]]:
    """Stems (N, L) float32 and their melodies: one key, one beat and one room for all the players.

    L is a whole and even number of video frames, 10 to 12 s. Each stem peaks at 0.3-0.7 and their sum stays below 1.
    Stems lie on the 16-bit grid, so that a flac holds them exactly.
    """
    frames = STILL * int(rng.integers(10 * FPS // STILL, 12 * FPS // STILL + 1))
    beat, root, scale = 60 / rng.uniform(88, 138), int(rng.integers(12)), SCALES[rng.integers(len(SCALES))]
    tail = np.arange(int(rng.uniform(0.2, 0.5) * RATE))
    room = rng.standard_normal(len(tail)) * np.exp(-5 * tail / len(tail)) * (tail > 0.012 * RATE)
    room *= rng.uniform(0.10, 0.25) / np.sqrt((room**2).sum())
    room[0] = 1
    stems, melodies = [], []
    for label in labels:
        melodies.append(compose(TABLE[label], beat, root, scale, frames / FPS, rng))
        wet = fftconvolve(perform(TABLE[label], melodies[-1], frames * HOP, rng), room)[: frames * HOP]
        peak = np.abs(wet).max()
        # alike in power, as far as peaks allow: one that is always the louder would own every bin of a mixture
        level = rng.uniform(0.06, 0.13) / np.sqrt((wet**2).mean()) * peak
        wet *= np.clip(level, 0.3, min(0.7, 0.96 / len(labels))) / peak
        stems.append(np.round(wet * 32_768) / 32_768)
    return np.array(stems, np.float32).reshape(len(labels), frames * HOP), melodies


def loudness(stems: np.ndarray) -> np.ndarray:
    """(N, L) -> (N, V): RMS of each stem during each video frame."""
    return np.sqrt((stems.reshape(len(stems), stems.shape[1] // HOP, HOP).astype(float) ** 2).mean(-1))


# ---------------------------------------------------------------------------------------------------- the picture


def poses(instrument: Instrument, melody: Melody, loud: np.ndarray) -> Iterator[stage.Pose]:
    """What the player does, pose by pose; loud is (V,)."""
    shown = loud.reshape(-1, STILL).mean(1)
    shown = np.clip(shown / (np.quantile(shown, 0.97) + 1e-9), 0, 1) ** 0.7
    reach = np.clip(0.35 + melody.length, 0, 1) * np.where(np.arange(len(melody.onset)) % 2, 1, -1)
    turns = np.ravel(np.stack([melody.onset, melody.onset + melody.length], 1))  # a stroke lasts as long as its note
    places = np.ravel(np.stack([np.r_[0, reach[:-1]], reach], 1))
    pitch = (melody.midi - instrument.low) / (instrument.high - instrument.low)
    for i, level in enumerate(shown):
        t = (i + 0.5) * STILL / FPS
        count = int(np.searchsorted(melody.onset, t, side="right"))
        last, coming = max(count - 1, 0), min(count, len(pitch) - 1)
        yield stage.Pose(
            t=t,
            loud=float(level),
            pitch=float(pitch[last]),
            ahead=float(pitch[coming]),
            since=float(t - melody.onset[last]) if count else 9.0,
            until=float(melody.onset[coming] - t) if count < len(pitch) else 9.0,
            count=count,
            stroke=float(np.interp(t, turns, places)),
        )


@dataclass
class Sprites:
    """A figure cut out, pose by pose: RGBA images, where each lies from the foot, and the box of all of them."""

    images: list[Image.Image]
    corners: np.ndarray  # (poses, 2) pixels from the foot

    def box(self) -> np.ndarray:
        """x0, y0, x1, y1 from the foot, in pixels."""
        ends = self.corners + [image.size for image in self.images]
        return np.r_[self.corners.min(0), ends.max(0)]


def draw_figures(labels, melodies, loud: np.ndarray, span: slice, rng: np.random.Generator) -> list[Sprites]:
    """One figure a label; smaller only where they would not fit beside each other. `span`: of poses."""
    if not labels:
        return []
    tall = (100, 200) if len(labels) == 1 else (100, 150)  # pixels: solos go from long shots to close-ups
    how = [
        (stage.Look.draw(rng, TABLE[label].hue), rng.uniform(*tall), rng.uniform(-5, 5), rng.random() < 0.5)
        for label in labels
    ]
    shrink = 1.0
    while True:
        figures = []
        for label, melody, level, (look, tall, tilt, mirrored) in zip(labels, melodies, loud, how, strict=True):
            moves = list(poses(TABLE[label], melody, level))[span]
            cut = [stage.figure(TABLE[label].draw, look, p, tall * shrink, tilt, mirrored) for p in moves]
            figures.append(Sprites([c[0] for c in cut], np.array([c[1] for c in cut])))
        boxes = np.array([f.box() for f in figures])
        wide, high = (boxes[:, 2] - boxes[:, 0]).sum(), (boxes[:, 3] - boxes[:, 1]).max()
        fit = min((SIZE[0] - 8 * (len(labels) + 1)) / wide, (SIZE[1] - 8) / high)
        if fit >= 1:
            return figures
        shrink *= 0.98 * fit


def place(figures: list[Sprites], rng: np.random.Generator) -> np.ndarray:
    """(N, 2) pixels: where the feet stand. Whole figures in the picture, in random order from left to right, apart."""
    gaps = rng.dirichlet(np.ones(len(figures) + 1))
    boxes = [f.box() for f in figures]
    free = SIZE[0] - 4 - 6 * (len(figures) - 1) - sum(b[2] - b[0] for b in boxes)
    feet, x = np.zeros((len(figures), 2), int), 2.0
    for i, j in enumerate(rng.permutation(len(figures))):
        x += gaps[i] * free
        feet[j] = int(x) - boxes[j][0], int(rng.integers(2 - boxes[j][1], SIZE[1] - 2 - boxes[j][3] + 1))
        x += boxes[j][2] - boxes[j][0] + 6
    return feet


@dataclass
class Take:
    """What a standing camera sees: the players in one place."""

    background: Image.Image  # the picture without the players
    length: int  # poses
    light: Image.Image
    figures: list[Sprites]
    feet: np.ndarray  # (N, 2) pixels

    def boxes(self) -> np.ndarray:
        """(N, 4) x0, y0, x1, y1 in pixels: everything that is drawn of a source in this take."""
        return np.array([f.box() + np.r_[foot, foot] for f, foot in zip(self.figures, self.feet, strict=True)])

    def pictures(self) -> Iterator[np.ndarray]:
        """A (240, 320, 3) uint8 picture for every pose."""
        for i in range(self.length):
            picture = self.background.copy()
            for j in np.argsort(self.feet[:, 1]):
                sprite = self.figures[j].images[i]
                picture.paste(sprite, tuple(int(v) for v in self.feet[j] + self.figures[j].corners[i]), sprite)
            yield np.asarray(ImageChops.multiply(picture, self.light))


@dataclass
class Performance:
    """One clip in memory."""

    labels: tuple[str, ...]
    stems: np.ndarray  # (N, L) float32 at RATE; their sum is the sound
    loudness: np.ndarray  # (N, V) RMS
    takes: list[Take]

    @property
    def duration(self) -> float:
        """Seconds."""
        return self.stems.shape[1] / RATE

    @property
    def boxes(self) -> np.ndarray:
        """(N, 4) x0, y0, x1, y1 in pixels: everything that is drawn of a source in the whole clip."""
        each = np.stack([take.boxes() for take in self.takes])
        return np.concatenate([each[..., :2].min(0), each[..., 2:].max(0)], 1)

    def pictures(self) -> Iterator[np.ndarray]:
        """The V / STILL different pictures, (240, 320, 3) uint8; each is shown for STILL video frames."""
        for take in self.takes:
            yield from take.pictures()

    def frames(self) -> Iterator[np.ndarray]:
        """The V video frames, (240, 320, 3) uint8, at FPS."""
        for picture in self.pictures():
            for _ in range(STILL):
                yield picture


def film(labels, melodies, loud: np.ndarray, span: slice, rng: np.random.Generator) -> Take:
    """One take of the poses in `span`: new players, a new place and new light."""
    figures = draw_figures(labels, melodies, loud, span, rng)
    take = Take(None, span.stop - span.start, stage.lighting(rng), figures, place(figures, rng))
    marks = [(x, y, 0.45 * (box[2] - box[0])) for (x, y), box in zip(take.feet, take.boxes(), strict=True)]
    take.background = stage.backdrop(rng, take.feet[:, 1].min(initial=SIZE[1]) * rng.uniform(0.55, 0.92), marks)
    return take


def play(labels: tuple[str, ...], rng: np.random.Generator) -> Performance:
    """One clip of the given instruments, in memory: no file is touched. With no label the stage stays empty, and silent.

    Raises SopError unless labels are at most three different ones of INSTRUMENTS.
    """
    if not len(set(labels)) == len(labels) <= 3 or not set(labels) <= set(INSTRUMENTS):
        raise SopError(f"labels {tuple(labels)}: expected at most three different ones of {', '.join(INSTRUMENTS)}")
    stems, melodies = make_music(labels, rng)
    loud = loudness(stems)
    # A solo's sound has nothing in common with the place it was filmed in, so that only the instrument can tell it.
    cuts = np.linspace(0, loud.shape[1] // STILL, 1 + (TAKES if len(labels) < 2 else 1)).astype(int)
    takes = [film(labels, melodies, loud, slice(a, b), rng) for a, b in zip(cuts[:-1], cuts[1:], strict=True)]
    return Performance(tuple(labels), stems, loud, takes)


# ------------------------------------------------------------------------------------------------------ the files


def write_video(path: AnyPath, pictures: Iterator[np.ndarray], sound: np.ndarray):
    """An mp4 at FPS and RATE from pictures (240, 320, 3), each shown for STILL frames, and sound (L,)."""
    with av.open(str(path), "w", format="mp4") as out:
        # One thread: processes don't fight for cores, and the same clip gives the same bytes. (Nearly: of some 400
        # encodes of equal pictures and sound two differed, for a reason not found. Truth and stems never did.)
        video = out.add_stream("libx264", rate=FPS, options={"preset": "veryfast", "crf": "23", "threads": "1"})
        video.width, video.height, video.pix_fmt = *SIZE, "yuv420p"
        audio = out.add_stream("aac", rate=RATE, layout="mono", bit_rate=160_000, options={"aac_coder": "fast"})
        to_yuv = av.video.reformatter.VideoReformatter()  # one for all frames: it is costly to set up
        for i, picture in enumerate(pictures):
            frame = to_yuv.reformat(av.VideoFrame.from_ndarray(picture, format="rgb24"), format="yuv420p")
            for pts in range(STILL * i, STILL * (i + 1)):
                frame.pts, frame.time_base = pts, Fraction(1, FPS)
                out.mux(video.encode(frame))
            start = i * STILL * HOP
            piece = np.ascontiguousarray(sound[None, start : start + STILL * HOP], np.float32)
            samples = av.AudioFrame.from_ndarray(piece, format="fltp", layout="mono")
            samples.rate, samples.pts, samples.time_base = RATE, start, Fraction(1, RATE)
            out.mux(audio.encode(samples))
        for stream in (video, audio):
            out.mux(stream.encode(None))


def describe(clip: Performance, name: str, video: str) -> dict:
    """The truth of a clip, as it is written to json."""
    sources = [
        {
            "index": i,
            "label": label,
            "box_xyxy": clip.boxes[i].tolist(),
            "stem": f"{name}_{i}.flac" if len(clip.labels) > 1 else None,
            "loudness": [round(float(v), 4) for v in clip.loudness[i]],
        }
        for i, label in enumerate(clip.labels)
    ]
    head = {"id": name, "video": video, "duration": clip.duration, "fps": FPS}
    return {**head, "frame_size": list(SIZE), "sample_rate": RATE, "sources": sources}


def clip_files(out: AnyPath, labels: tuple[str, ...], k: int) -> tuple[str, Path, Path, bool]:
    """The id of clip k of its kind, its video, its truth, and whether it is complete."""
    label = " ".join(labels) or SILENCE_LABEL
    name = f"{('duet', 'trio')[len(labels) - 2] if len(labels) > 1 else label}_{k:03d}"
    video, truth = Path(out, "videos", label, f"{name}.mp4"), Path(out, "truth", f"{name}.json")
    return name, video, truth, truth.exists() and video.exists()  # the json comes last: where it is, the stems are


def is_solo(name: str) -> bool:
    """Whether a clip's `label/id` is one that the orchestra gives its solos: `cello/cello_007`."""
    label = name.partition("/")[0]
    return label in INSTRUMENTS and re.fullmatch(rf"{label}/{label}_\d{{3,}}", name) is not None


def render_clip(out: AnyPath, labels: tuple[str, ...], k: int, seed: int = 0) -> Path:
    """Clip k of its kind (empty stage, solo, duet, trio) as files under `out`; returns the video. One that is complete is kept.

    Raises SopError on labels that `play` refuses.
    """
    out, labels = Path(out), tuple(sorted(labels))
    name, video, truth, complete = clip_files(out, labels, k)
    if complete:
        return video
    clip = play(labels, np.random.default_rng([seed, len(labels), k]))
    with whole(video) as path:
        write_video(path, clip.pictures(), clip.stems.sum(0))
    if len(labels) > 1:
        for i, stem in enumerate(clip.stems):
            with whole(truth.with_name(f"{name}_{i}.flac")) as path, sound_writer(path, RATE) as write:
                write(stem)
    with whole(truth) as path:
        path.write_text(json.dumps(describe(clip, name, video.relative_to(out).as_posix())))
    return video


def pairs(n: int, seed: int) -> list[tuple[str, str]]:
    """n duets, as in a round-robin tournament: every three have all six instruments, 15 have every pair."""
    players = list(np.random.default_rng([seed, 0]).permutation(INSTRUMENTS))
    rounds = []
    for _ in range(len(players) - 1):
        rounds += [tuple(sorted((str(players[i]), str(players[-1 - i])))) for i in range(len(players) // 2)]
        players = [players[0], players[-1], *players[1:-1]]
    return [rounds[i % len(rounds)] for i in range(n)]


def claim(out: AnyPath, counts: dict[str, int], seed: int):
    """Write OUT/orchestra.json, or raise SopError if the folder holds another orchestra or can't be written."""
    sign = Path(out, "orchestra.json")
    try:
        old = json.loads(sign.read_text()) if sign.exists() else {}
        if old and (old["version"], old["seed"]) != (VERSION, seed):
            raise SopError(
                f"{out} holds an orchestra of seed {old['seed']}, version {old['version']}, not of seed {seed}, "
                f"version {VERSION}: choose another folder or delete this one"
            )
        counts = {kind: max(count, old.get(kind, 0)) for kind, count in counts.items()}
        with whole(sign) as path:
            path.write_text(json.dumps({"version": VERSION, "seed": seed, **counts}))
    except OSError as e:
        raise SopError(f"{out}: can't write the orchestra there ({e.strerror}): choose another folder") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise SopError(f"{sign}: not what an orchestra leaves behind: choose another folder or delete it") from None


def render(
    out: AnyPath,
    n_solos: int = 72,
    n_duets: int = 12,
    n_empty: int = 8,
    seed: int = 0,
    jobs: int | None = None,
    progress: bool = True,
) -> Path:
    """Render the data set under `out`, `jobs` clips at a time (all cores if None); returns OUT/videos.

    Solos take the instruments in turn. Clips that are there already are kept; larger counts add clips.
    Raises SopError on a negative count or seed, a folder with another orchestra in it, one that can't be written.
    """
    out = Path(out)
    counts = {"n_solos": n_solos, "n_duets": n_duets, "n_empty": n_empty}
    for name, value in {**counts, "seed": seed}.items():
        if value < 0:
            raise SopError(f"{name}={value}: expected 0 or more")
    claim(out, counts, seed)
    clips = [((INSTRUMENTS[k % len(INSTRUMENTS)],), k) for k in range(n_solos)]
    clips += [(pair, k) for k, pair in enumerate(pairs(n_duets, seed))]
    clips += [((), k) for k in range(n_empty)]
    missing = [clip for clip in clips if not clip_files(out, *clip)[-1]]
    work = joblib.Parallel(n_jobs=(jobs or -1) if missing else 1, return_as="generator_unordered")
    made = work(joblib.delayed(render_clip)(out, labels, k, seed) for labels, k in clips)
    try:
        for _ in tqdm(made, total=len(clips), desc="the orchestra plays", unit="clip", disable=not progress):
            pass
    finally:
        made.close()  # ends the processes, where there are any
        for folder in (*out.glob("videos/*"), out / "truth"):
            sweep(folder)
    (out / "videos").mkdir(exist_ok=True)
    return out / "videos"
