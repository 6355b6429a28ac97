"""The toy orchestra's players: a pen, what a player does at a moment, and how an animal is drawn.

A figure is drawn in units of its own height: x to the right, y up, the floor at y = 0, the player
around x = 0. A `Pen` holds the affine map from there to pixels, so no other code knows of size,
tilt and mirroring. Colours are RGB, 0..255.
"""

import colorsys
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw

from .music import FPS, FRAMES_PER_PICTURE, Instrument, Melody

INK = (38, 30, 40)
Colour = tuple[int, ...]  # red, green, blue; on an image of one channel: (grey,)


def hsv(h: float, s: float, v: float) -> Colour:
    """RGB of a hue (turns; any number), a saturation and a value (0..1)."""
    return tuple(int(255 * c) for c in colorsys.hsv_to_rgb(h % 1, s, v))


def shade(colour: Colour, by: float) -> Colour:
    """A colour made darker (by < 1) or nearer to white (by > 1; 2 is white)."""
    if by < 1:
        return tuple(int(c * by) for c in colour)
    return tuple(int(c + (255 - c) * (by - 1)) for c in colour)


# ---- what a player does


@dataclass(frozen=True)
class Pose:
    """The music at one moment. Everything that moves in a drawing follows from it."""

    t: float  # seconds
    loud: float  # 0..1, the sound's envelope
    pitch: float  # 0..1 in the instrument's range: the current or last note
    next_pitch: float  # 0..1, the next note
    since: float  # seconds since the last onset
    until: float  # seconds to the next onset
    count: int  # notes begun so far
    stroke: float  # -1..1, position of bow or bellows

    def mallet(self, side: int) -> tuple[float, float]:
        """Where mallet 0 or 1 is; they strike in turn: (lift 0..1, pitch of the bar under it)."""
        struck_last = self.count % 2 == side
        seconds = self.since if struck_last else self.until
        return min(1.0, seconds / 0.16), self.pitch if struck_last else self.next_pitch


def poses(instrument: Instrument, melody: Melody, loud: np.ndarray) -> Iterator[Pose]:
    """A player's poses, one for each picture. `loud`: (V,) RMS of each video frame."""
    shown = loud.reshape(-1, FRAMES_PER_PICTURE).mean(1)  # (pictures,)
    shown = np.clip(shown / (np.quantile(shown, 0.97) + 1e-9), 0, 1) ** 0.7
    pitch = (melody.midi - instrument.low) / (instrument.high - instrument.low)
    # a bow stroke lasts as long as its note, and every second one goes back
    direction = np.where(np.arange(len(melody.onset)) % 2, 1, -1)
    reach = np.clip(0.35 + melody.length, 0, 1) * direction
    turns = np.stack([melody.onset, melody.onset + melody.length], 1).ravel()
    positions = np.stack([np.r_[0, reach[:-1]], reach], 1).ravel()
    for i, level in enumerate(shown):
        t = (i + 0.5) * FRAMES_PER_PICTURE / FPS
        count = int(np.searchsorted(melody.onset, t, side="right"))
        last = max(count - 1, 0)
        coming = min(count, len(pitch) - 1)
        yield Pose(
            t=t,
            loud=float(level),
            pitch=float(pitch[last]),
            next_pitch=float(pitch[coming]),
            since=float(t - melody.onset[last]) if count else 9.0,
            until=float(melody.onset[coming] - t) if count < len(pitch) else 9.0,
            count=count,
            stroke=float(np.interp(t, turns, positions)),
        )


# ---- what a player looks like

SPECIES = ("bear", "cat", "rabbit", "dog", "mouse")
FURS = ((138, 117, 102), (214, 200, 184), (186, 152, 128), (163, 167, 173), (240, 237, 229))


@dataclass(frozen=True)
class Look:
    """The random properties of a figure."""

    hue: float  # of the instrument, turns
    wood: Colour  # of the instrument
    shirt: Colour
    trousers: Colour
    fur: Colour
    species: str
    blink: float  # seconds from one blink to the next
    height: float  # pixels of a figure unit
    tilt: float  # degrees
    mirrored: bool

    @classmethod
    def random(cls, rng: Generator, hue: float, heights: tuple[float, float]) -> "Look":
        """A random look. `hue`: the instrument's usual one. `heights`: least and most, pixels."""
        hue = hue + rng.uniform(-0.06, 0.06)
        return cls(
            hue=hue,
            wood=hsv(hue, rng.uniform(0.55, 0.85), rng.uniform(0.70, 0.95)),
            shirt=hsv(rng.random(), rng.uniform(0.05, 0.3), rng.uniform(0.45, 0.95)),
            trousers=hsv(rng.random(), rng.uniform(0.05, 0.3), rng.uniform(0.3, 0.55)),
            fur=FURS[rng.integers(len(FURS))],
            species=SPECIES[rng.integers(len(SPECIES))],
            blink=rng.uniform(2, 4),
            height=rng.uniform(*heights),
            tilt=rng.uniform(-5, 5),
            mirrored=rng.random() < 0.5,
        )


# ---- the pen

ANGLES = np.linspace(0, 2 * np.pi, 29)[:-1]
CIRCLE = np.stack([np.cos(ANGLES), np.sin(ANGLES)], 1)


def smooth(points, steps: int = 6) -> np.ndarray:
    """A closed Catmull-Rom curve through `points`. Shape: (P, 2) -> (P * steps, 2)"""
    p = np.asarray(points, float)
    t = (np.arange(steps) / steps)[None, :, None]
    a, b, c, d = (np.roll(p, k, 0)[:, None] for k in (1, 0, -1, -2))
    curve = b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))
    return curve.reshape(-1, 2)


class Pen:
    """Draws outlined shapes on an image, through the affine map `a` (2, 2), `b` (2,) to pixels."""

    def __init__(self, image: Image.Image, a: np.ndarray, b: np.ndarray):
        self.image = image
        self.a = a
        self.b = b
        self.draw = ImageDraw.Draw(image)
        self.scale = float(np.sqrt(abs(np.linalg.det(a))))

    def at(self, x: float, y: float, degrees: float = 0.0, scale: float = 1.0) -> "Pen":
        """A pen whose origin is (x, y) and whose x axis is turned `degrees` anticlockwise."""
        c = np.cos(np.radians(degrees)) * scale
        s = np.sin(np.radians(degrees)) * scale
        origin = self.a @ np.array([x, y]) + self.b
        return Pen(self.image, self.a @ np.array([[c, -s], [s, c]]), origin)

    def locate(self, other: "Pen", x: float, y: float) -> np.ndarray:
        """A point (x, y) of another pen, in the coordinates of this one."""
        return np.linalg.solve(self.a, other.a @ np.array([x, y]) + other.b - self.b)

    def pixels(self, points) -> list[tuple[float, float]]:
        return list(map(tuple, (np.asarray(points, float) @ self.a.T + self.b).tolist()))

    def width(self, w: float) -> int:
        return max(1, round(w * self.scale))

    def poly(self, points, fill: Colour, edge: Colour | None = None, rim: float = 0.012):
        """A filled polygon with an outline `rim` wide (0: none), dark where no `edge` is given."""
        p = self.pixels(points)
        self.draw.polygon(p, fill=fill)
        if rim:
            edge = edge or shade(fill, 0.5)
            self.draw.line(p + p[:2], fill=edge, width=self.width(rim), joint="curve")

    def blob(self, points, fill: Colour, **how):
        """A smooth closed shape through `points`."""
        self.poly(smooth(points), fill, **how)

    def disc(self, x, y, rx, ry=None, fill: Colour = INK, edge=None, rim: float = 0.0):
        """An ellipse; a circle if `ry` is None."""
        self.poly(CIRCLE * [rx, rx if ry is None else ry] + [x, y], fill, edge, rim)

    def box(self, x0: float, y0: float, x1: float, y1: float, fill: Colour, **how):
        self.poly([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], fill, **how)

    def line(self, points, width: float, fill: Colour, rim: float = 0.0):
        """A thick line with round ends and, where `rim` is not 0, a darker outline."""
        if rim:
            self.line(points, width + 2 * rim, shade(fill, 0.5))
        p = self.pixels(points)
        r = self.scale * width / 2
        self.draw.line(p, fill=fill, width=self.width(width), joint="curve")
        if r > 1.5:
            for x, y in (p[0], p[-1]):
                self.draw.ellipse((x - r, y - r, x + r, y + r), fill=fill)


# ---- an animal


def sway(pose: Pose) -> float:
    """How far the upper body leans to the side, in figure units: more when it is loud."""
    return (0.005 + 0.030 * pose.loud) * np.sin(2 * np.pi * pose.t / 1.9)


def standing(pen: Pen, look: Look, pose: Pose, dx: float = 0.0, **face) -> float:
    """Legs, body and head of a player who stands at `dx`; returns its sway. `face`: for `head`."""
    x = sway(pose)
    for leg in (-0.075, 0.075):
        pen.line([(dx + leg * 0.8, 0.29), (dx + leg, 0.04)], 0.085, look.trousers, rim=0.012)
        pen.disc(dx + leg * 1.25, 0.03, 0.075, 0.035, fill=shade(look.trousers, 0.45))
    torso(pen, look, x, dx)
    head(pen, look, pose, dx + x * 1.6, **face)
    return x


def torso(pen: Pen, look: Look, x: float, dx: float):
    """From the hips at `dx` to the shoulders, which lean by x."""
    side = [(0.12, 0.26), (0.135, 0.36), (0.115, 0.50), (0.07, 0.59)]
    outline = side + [(-u, v) for u, v in side[::-1]]
    pen.blob([(dx + u + x * (v - 0.26) * 3, v) for u, v in outline], look.shirt)


def ears(pen: Pen, look: Look):
    """The ears of a head of radius 1 at the origin. `head` draws a dog's, over its face."""
    inner = shade(look.fur, 1.45) if look.fur[2] < 200 else hsv(0.97, 0.3, 0.95)
    for m in (-1, 1):
        if look.species in ("bear", "mouse"):
            r = 0.36 if look.species == "bear" else 0.55
            pen.disc(0.75 * m, 0.72, r, fill=look.fur, rim=0.07)
            pen.disc(0.75 * m, 0.72, r * 0.55, fill=inner)
        elif look.species == "cat":
            pen.poly([(0.25 * m, 0.8), (0.93 * m, 0.25), (0.85 * m, 1.3)], look.fur, rim=0.07)
            pen.poly([(0.45 * m, 0.8), (0.80 * m, 0.5), (0.77 * m, 1.1)], inner, rim=0)
        elif look.species == "rabbit":
            ear = pen.at(0.42 * m, 0.8, -12 * m)
            ear.disc(0, 0.55, 0.25, 0.8, fill=look.fur, rim=0.07)
            ear.disc(0, 0.5, 0.12, 0.55, fill=inner)


def head(pen: Pen, look: Look, pose: Pose, x: float, y=0.76, gaze=0.0, blowing=False):
    """A face at (x, y) that nods and blinks. `gaze`: -1..1, the side to which it looks."""
    h = pen.at(x, y + 0.01 * pose.loud, -4 * gaze + 60 * sway(pose), 0.165)
    ears(h, look)
    h.disc(0, 0, 1.06, 0.96, fill=look.fur, rim=0.07)
    g = 0.3 * gaze
    h.disc(g * 1.2, -0.38, 0.46, 0.36, fill=shade(look.fur, 1.5))  # muzzle
    for m in (-1, 1):
        h.disc(g + 0.68 * m, -0.28, 0.18, 0.13, fill=hsv(0.98, 0.42, 0.98))  # cheek
        if pose.t % look.blink < 0.17:
            h.line([(g + 0.27 * m, 0.1), (g + 0.51 * m, 0.1)], 0.09, INK)
        else:
            h.disc(g + 0.39 * m, 0.12, 0.13, 0.17)
            h.disc(g + 0.39 * m + 0.04, 0.18, 0.045, fill=(255, 255, 255))
    h.disc(g * 1.3, -0.18, 0.15, 0.10)  # nose
    if not blowing:
        h.line([(g - 0.2, -0.46), (g, -0.55), (g + 0.2, -0.46)], 0.07, INK)
    if look.species == "dog":
        for m in (-1, 1):
            ear = h.at(0.88 * m, 0.25, 14 * m)
            ear.disc(0, -0.1, 0.26, 0.62, fill=shade(look.fur, 0.7), rim=0.07)


def arm(pen: Pen, look: Look, shoulder, hand, bend: float = 0.0):
    """An arm of two equal bones from shoulder to hand.

    `bend`: seen from the shoulder, the elbow is to the right of the hand (1), to the left (-1), or
    hangs down (0).
    """
    s = np.asarray(shoulder, float)
    h = np.asarray(hand, float)
    d = h - s
    reach = np.hypot(*d) + 1e-6
    side = bend or (1 if d[0] > 0 else -1)
    out = side * np.sqrt(max(0.15**2 - (reach / 2) ** 2, 0.02**2))
    elbow = (s + h) / 2 + out * np.array([d[1], -d[0]]) / reach
    pen.line([s, elbow, h], 0.06, shade(look.shirt, 0.92), rim=0.011)
    pen.disc(h[0], h[1], 0.042, fill=look.fur, rim=0.011)
