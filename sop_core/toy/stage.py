"""The drawings of the toy orchestra: eight instruments, the animals that play them, the places they play in.

Conventions: a figure is drawn in units of its own height, x to the right, y up, the floor at y = 0, at home in
-0.5 <= x <= 0.5. A `Pen` carries the affine map from there to pixels, so size, tilt and mirroring cost nothing.
Figures are drawn `FINE` times too large and averaged down, which smooths their edges. Colours are RGB, 0..255.
Hue is chance and species is chance: only the shape of the instrument tells what is playing.
"""

import colorsys
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

WIDTH, HEIGHT = 320, 240  # pixels of the video
FINE = 2  # drawn so many times too large
INK = (38, 30, 40)
Colour = tuple[int, int, int]


def hsv(h: float, s: float, v: float) -> Colour:
    """RGB of a hue (turns), saturation and value (0..1)."""
    return tuple(int(255 * c) for c in colorsys.hsv_to_rgb(h % 1, min(max(s, 0), 1), min(max(v, 0), 1)))


def shade(colour: Colour, by: float) -> Colour:
    """A colour made darker (by < 1) or nearer to white (by > 1; 2 is white)."""
    return tuple(int(c * by) if by < 1 else int(c + (255 - c) * min(by - 1, 1)) for c in colour)


SPECIES = ("bear", "cat", "rabbit", "dog", "mouse")
FURS = ((138, 117, 102), (214, 200, 184), (186, 152, 128), (163, 167, 173), (240, 237, 229))


@dataclass(frozen=True)
class Pose:
    """What the music is doing at one moment: all that moves in a drawing follows from it."""

    t: float  # seconds
    loud: float  # 0..1, the sound's envelope
    pitch: float  # 0..1 in the instrument's range: the note that sounds or sounded last
    ahead: float  # 0..1: the pitch of the next note
    since: float  # seconds since the last onset
    until: float  # seconds to the next onset
    count: int  # notes begun so far
    stroke: float  # -1..1: where bow or bellows are

    def hand(self, side: int) -> tuple[float, float]:
        """Mallet hand 0 or 1, which take turns: (lift 0..1 off the bar, pitch it is over)."""
        mine = self.count % 2 == side  # struck last; the other one strikes next
        near = self.since if mine else self.until
        return min(1.0, near / 0.16), self.pitch if mine else self.ahead


@dataclass(frozen=True)
class Look:
    """What chance decides about a figure, whatever it plays."""

    hue: float  # of the instrument, turns
    wood: Colour  # the instrument
    shirt: Colour
    trousers: Colour
    fur: Colour
    species: str
    blink: float  # seconds from one blink to the next

    @classmethod
    def draw(cls, rng: np.random.Generator, hue: float) -> "Look":
        """Chance's choice, the instrument's colour near `hue`: other things in the picture have that colour as well."""
        hue = hue + rng.uniform(-0.06, 0.06)
        return cls(
            hue=hue,
            wood=hsv(hue, rng.uniform(0.55, 0.85), rng.uniform(0.70, 0.95)),
            shirt=hsv(rng.random(), rng.uniform(0.05, 0.3), rng.uniform(0.45, 0.95)),
            trousers=hsv(rng.random(), rng.uniform(0.05, 0.3), rng.uniform(0.3, 0.55)),
            fur=FURS[rng.integers(len(FURS))],
            species=SPECIES[rng.integers(len(SPECIES))],
            blink=rng.uniform(2, 4),
        )


class Pen:
    """Draws in figure units on an RGB(A) image: outlined shapes, through an affine map `a` (2, 2), `b` (2,)."""

    def __init__(self, image: Image.Image, a: np.ndarray, b: np.ndarray):
        self.image, self.a, self.b = image, a, b
        self.ink = ImageDraw.Draw(image)
        self.scale = float(np.sqrt(abs(np.linalg.det(a))))

    def at(self, x: float, y: float, degrees: float = 0.0, scale: float = 1.0) -> "Pen":
        """A pen whose origin is (x, y) and whose x axis is turned `degrees` anticlockwise."""
        c, s = np.cos(np.radians(degrees)) * scale, np.sin(np.radians(degrees)) * scale
        return Pen(self.image, self.a @ np.array([[c, -s], [s, c]]), self.a @ np.array([x, y]) + self.b)

    def seen(self, other: "Pen", x: float, y: float) -> np.ndarray:
        """Where a point of another pen's frame lies in this one's."""
        return np.linalg.solve(self.a, other.a @ np.array([x, y]) + other.b - self.b)

    def px(self, points) -> list[tuple[float, float]]:
        return list(map(tuple, (np.asarray(points, float) @ self.a.T + self.b).tolist()))

    def width(self, w: float) -> int:
        return max(1, round(w * self.scale))

    def poly(self, points, fill: Colour, edge: Colour | None = None, rim: float = 0.012):
        """A filled polygon with a darker outline (its own shade unless `edge` is told; rim=0: none)."""
        p = self.px(points)
        self.ink.polygon(p, fill=fill)
        if rim:
            self.ink.line(p + p[:2], fill=edge or shade(fill, 0.5), width=self.width(rim), joint="curve")

    def blob(self, points, fill: Colour, **how):
        """A smooth closed shape through `points` (Catmull-Rom)."""
        self.poly(smooth(points), fill, **how)

    def disc(self, x, y, rx, ry=None, fill: Colour = INK, edge: Colour | None = None, rim: float = 0.0):
        """An ellipse (a circle if ry is None), without an outline unless told."""
        self.poly(ROUND * [rx, rx if ry is None else ry] + [x, y], fill, edge, rim)

    def box(self, x0: float, y0: float, x1: float, y1: float, fill: Colour, **how):
        self.poly([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], fill, **how)

    def line(self, points, width: float, fill: Colour, rim: float = 0.0):
        """A thick line with round ends; `rim` adds a darker outline."""
        p = self.px(points)
        for w, colour in ((width + 2 * rim, shade(fill, 0.5)), (width, fill)) if rim else ((width, fill),):
            r = self.scale * w / 2
            self.ink.line(p, fill=colour, width=self.width(w), joint="curve")
            if r > 1.5:
                for x, y in (p[0], p[-1]):
                    self.ink.ellipse((x - r, y - r, x + r, y + r), fill=colour)


ROUND = np.stack([np.cos(np.linspace(0, 2 * np.pi, 29)[:-1]), np.sin(np.linspace(0, 2 * np.pi, 29)[:-1])], 1)


def smooth(points, steps: int = 6) -> np.ndarray:
    """(P, 2) corners -> (P * steps, 2) points of a closed Catmull-Rom curve through them."""
    p = np.asarray(points, float)
    t = (np.arange(steps) / steps)[None, :, None]
    a, b, c, d = (np.roll(p, k, 0)[:, None] for k in (1, 0, -1, -2))
    curve = b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))
    return curve.reshape(-1, 2)


# ---------------------------------------------------------------------------------------------------- the player


def sway(pose: Pose) -> float:
    """How far the upper body leans to the side, in figure units: more when it is loud."""
    return (0.005 + 0.030 * pose.loud) * np.sin(2 * np.pi * pose.t / 1.9)


def legs(pen: Pen, look: Look, dx: float = 0.0):
    for x in (-0.075, 0.075):
        pen.line([(dx + x * 0.8, 0.29), (dx + x, 0.04)], 0.085, look.trousers, rim=0.012)
        pen.disc(dx + x * 1.25, 0.03, 0.075, 0.035, fill=shade(look.trousers, 0.45))


def torso(pen: Pen, look: Look, x: float, dx: float = 0.0):
    """From the hips at `dx` to the shoulders, swayed by x."""
    side = [(0.12, 0.26), (0.135, 0.36), (0.115, 0.50), (0.07, 0.59)]
    lean = [(dx + u + x * (v - 0.26) * 3, v) for u, v in side + [(-u, v) for u, v in side[::-1]]]
    pen.blob(lean, look.shirt)


def ears(pen: Pen, look: Look):
    """Of a head of radius 1 at the origin."""
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


def head(pen: Pen, look: Look, pose: Pose, x: float, y: float = 0.76, gaze: float = 0.0, blowing: bool = False):
    """A face at (x, y) that looks `gaze` (-1..1) to the side; it nods a little and blinks now and then."""
    h = pen.at(x, y + 0.01 * pose.loud, -4 * gaze + 60 * sway(pose), 0.165)
    ears(h, look)
    h.disc(0, 0, 1.06, 0.96, fill=look.fur, rim=0.07)
    g = 0.3 * gaze
    light = shade(look.fur, 1.5)
    h.disc(g * 1.2, -0.38, 0.46, 0.36, fill=light)
    for m in (-1, 1):
        h.disc(g + 0.68 * m, -0.28, 0.18, 0.13, fill=hsv(0.98, 0.42, 0.98))
        if pose.t % look.blink < 0.17:
            h.line([(g + 0.27 * m, 0.1), (g + 0.51 * m, 0.1)], 0.09, INK)
        else:
            h.disc(g + 0.39 * m, 0.12, 0.13, 0.17)
            h.disc(g + 0.39 * m + 0.04, 0.18, 0.045, fill=(255, 255, 255))
    h.disc(g * 1.3, -0.18, 0.15, 0.10)
    if not blowing:
        h.line([(g - 0.2, -0.46), (g, -0.55), (g + 0.2, -0.46)], 0.07, INK)
    if look.species == "dog":  # its ears hang over the face
        for m in (-1, 1):
            h.at(0.88 * m, 0.25, 14 * m).disc(0, -0.1, 0.26, 0.62, fill=shade(look.fur, 0.7), rim=0.07)


def arm(pen: Pen, look: Look, shoulder, hand, bend: float = 0.0):
    """An arm in the shirt's colour from shoulder to hand, of two equal bones.

    Seen from the shoulder the elbow bends to the right of the hand (bend=1), to the left (-1), or hangs (0).
    """
    s, h = np.asarray(shoulder, float), np.asarray(hand, float)
    d = h - s
    reach = np.hypot(*d) + 1e-6
    out = (bend or (1 if d[0] > 0 else -1)) * np.sqrt(max(0.15**2 - (reach / 2) ** 2, 0.02**2))
    elbow = (s + h) / 2 + out * np.array([d[1], -d[0]]) / reach
    pen.line([s, elbow, h], 0.06, shade(look.shirt, 0.92), rim=0.011)
    pen.disc(*h, 0.042, fill=look.fur, rim=0.011)


# ------------------------------------------------------------------------------------------------- the instruments


def accordion(pen: Pen, look: Look, pose: Pose):
    """Two boxes, one with piano keys, and between them bellows that open and close."""
    x, opened = sway(pose), 0.5 + 0.5 * pose.stroke
    legs(pen, look)
    torso(pen, look, x)
    head(pen, look, pose, x * 1.6)
    half = 0.075 + 0.12 * opened  # of the bellows
    p = pen.at(x, 0.40)

    def sag(*points):  # the bellows hang in an arc when they are open
        return [(u, v - (0.25 + 0.9 * opened) * u * u) for u, v in points]

    n = 9
    u = np.linspace(-half, half, n + 1)
    for i in range(n):
        top = 0.155 + 0.018 * (i % 2), 0.155 + 0.018 * ((i + 1) % 2)
        fold = sag((u[i], -top[0]), (u[i + 1], -top[1]), (u[i + 1], top[1]), (u[i], top[0]))
        p.poly(fold, shade(look.wood, 0.42) if i % 2 else (245, 238, 225), rim=0.005, edge=INK)
    for m, wide in ((-1, 0.12), (1, 0.15)):
        far = half + wide
        p.poly(sag((m * half, -0.18), (m * far, -0.18), (m * far, 0.18), (m * half, 0.18)), look.wood)
    for i in range(3):
        for j in range(5):
            p.disc(*sag((-half - 0.03 - 0.032 * i, -0.12 + 0.06 * j))[0], 0.011, fill=(250, 246, 235))
    near, far = half + 0.05, half + 0.135  # the keyboard
    p.poly(sag((near, -0.15), (far, -0.15), (far, 0.15), (near, 0.15)), (252, 250, 244), rim=0.008)
    for v in np.linspace(-0.13, 0.13, 7):
        p.line(sag((near, v), (near + 0.05, v)), 0.02, INK)
    right = sag((half + 0.14, -0.11 + 0.2 * pose.pitch))[0]
    for m, hand in ((-1, sag((-half - 0.12, 0.0))[0]), (1, right)):
        arm(pen, look, (x + 0.11 * m, 0.535), (x + hand[0], 0.40 + hand[1]), bend=m)


CELLO = [(0, 0.085), (0.11, 0.095), (0.185, 0.18), (0.165, 0.275), (0.105, 0.335), (0.105, 0.385)]
CELLO += [(0.135, 0.45), (0.125, 0.53), (0.06, 0.575)]
CELLO += [(-u, v) for u, v in CELLO[:0:-1]]


def cello(pen: Pen, look: Look, pose: Pose):
    """A big waisted body with f-holes on a spike, a long neck with a scroll, and a bow across the strings."""
    x = sway(pose)
    for m in (-1, 1):  # knees apart, on a stool
        knee = 0.14 + 0.17 * m
        pen.line([(0.14 + 0.05 * m, 0.27), (knee, 0.22), (knee, 0.04)], 0.085, look.trousers, rim=0.012)
        pen.disc(0.14 + 0.19 * m, 0.03, 0.07, 0.035, fill=shade(look.trousers, 0.45))
    torso(pen, look, x, dx=0.13)
    head(pen, look, pose, 0.15 + x * 1.6, 0.77, gaze=-0.6)
    p = pen.at(0.03 + 0.4 * x, 0, 9)
    pale, dark = shade(look.wood, 1.35), shade(look.wood, 0.35)
    p.line([(0, 0), (0, 0.1)], 0.018, INK)
    p.blob(CELLO, look.wood, rim=0.02)
    p.blob(np.array(CELLO) * [0.82, 0.9] + [0, 0.035], shade(look.wood, 1.18), rim=0)
    for m in (-1, 1):
        hole = [(0.075, 0.245), (0.088, 0.26), (0.07, 0.30), (0.085, 0.345), (0.07, 0.36)]
        p.line([(m * u, v) for u, v in hole], 0.014, INK)
        p.disc(m * 0.075, 0.248, 0.012)
        p.disc(m * 0.074, 0.355, 0.012)
    p.poly([(-0.022, 0.11), (0.022, 0.11), (0.034, 0.22), (-0.034, 0.22)], dark, rim=0)
    p.box(-0.05, 0.275, 0.05, 0.295, pale, rim=0.006)
    p.poly([(-0.034, 0.40), (0.034, 0.40), (0.022, 0.90), (-0.022, 0.90)], dark, rim=0.008)
    for u in (-0.02, 0, 0.02):
        p.line([(u, 0.2), (u * 0.6, 0.9)], 0.005, (240, 235, 220))
    for m, v in ((-1, 0.91), (1, 0.93), (-1, 0.95), (1, 0.97)):
        p.line([(0, v), (0.055 * m, v + 0.005)], 0.02, dark)
    p.line([(0, 0.89), (0, 0.985)], 0.04, look.wood, rim=0.01)
    p.disc(0, 0.995, 0.034, fill=look.wood, rim=0.012)
    p.disc(0, 0.995, 0.012, fill=dark)
    bow = p.at(0.10 + 0.13 * pose.stroke, 0.335, -14)
    bow.line([(-0.27, -0.015), (0.23, -0.015)], 0.014, (250, 246, 235))
    bow.line([(-0.27, -0.01), (-0.25, 0.025), (0.0, 0.018), (0.25, 0.025)], 0.018, shade(look.wood, 0.45))
    bow.box(0.2, -0.02, 0.245, 0.025, INK, rim=0)
    arm(pen, look, (0.25 + x, 0.53), pen.seen(bow, 0.24, 0.01), bend=1)
    arm(pen, look, (0.03 + x, 0.53), pen.seen(p, 0.02, 0.82 - 0.24 * pose.pitch), bend=-1)


def flute(pen: Pen, look: Look, pose: Pose):
    """A long thin bright pipe, held across, with a row of keys."""
    x = sway(pose)
    legs(pen, look, dx=-0.17)
    torso(pen, look, x, dx=-0.17)
    head(pen, look, pose, -0.17 + x * 1.6, gaze=0.5, blowing=True)
    p = pen.at(-0.12 + 1.6 * x, 0.675, -8 + 9 * pose.loud)
    pale = shade(hsv(look.hue, 0.25, 0.95), 1.25)
    dark = shade(look.wood, 0.5)
    for side, hand in ((-1, 0.24), (1, 0.42)):
        arm(pen, look, (-0.17 + x + 0.1 * side, 0.535), pen.seen(p, hand, -0.045), bend=1)
    p.box(-0.13, -0.027, 0.60, 0.027, pale, edge=dark, rim=0.012)
    p.box(-0.11, -0.016, 0.58, -0.004, shade(pale, 0.8), rim=0)
    p.disc(0.01, 0.012, 0.055, 0.032, fill=pale, rim=0.009, edge=dark)
    for u in (-0.09, 0.11, 0.5):
        p.line([(u, -0.027), (u, 0.027)], 0.016, look.wood)
    for i in range(8):
        down = (pose.count * 5 + i * 3) % 8 > 4 and pose.loud > 0.1
        p.disc(0.16 + 0.043 * i, 0.036 - 0.012 * down, 0.018, 0.013, fill=look.wood, rim=0.006)


GUITAR = [(-0.30, 0.0), (-0.27, 0.12), (-0.16, 0.165), (-0.05, 0.12)]
GUITAR += [(0.0, 0.105), (0.06, 0.12), (0.125, 0.085), (0.14, 0.0)]
GUITAR += [(u, -v) for u, v in GUITAR[-2:0:-1]]


def guitar(pen: Pen, look: Look, pose: Pose):
    """A waisted body with a round hole, held across; a long fretted neck; a hand that strums."""
    x = sway(pose)
    legs(pen, look, dx=-0.04)
    torso(pen, look, x, dx=-0.04)
    head(pen, look, pose, -0.04 + x * 1.6, gaze=0.25)
    p = pen.at(-0.07 + x, 0.37, 17 + 60 * x)
    dark = shade(look.wood, 0.35)
    p.blob(GUITAR, look.wood, rim=0.02)
    p.blob(np.array(GUITAR) * 0.84 - [0.013, 0], shade(look.wood, 1.3), rim=0)
    p.disc(-0.03, 0, 0.062, fill=look.wood)
    p.disc(-0.03, 0, 0.048)
    p.box(-0.20, -0.05, -0.175, 0.05, dark, rim=0)
    p.box(0.03, -0.024, 0.45, 0.024, dark, rim=0.008)
    for i in range(7):
        p.line([(0.13 + 0.045 * i, -0.022), (0.13 + 0.045 * i, 0.022)], 0.006, (225, 220, 205))
    p.poly([(0.45, -0.028), (0.56, -0.042), (0.56, 0.042), (0.45, 0.028)], look.wood)
    for u in (0.475, 0.505, 0.535):
        for m in (-1, 1):
            p.disc(u, 0.052 * m, 0.014, fill=(240, 236, 225), rim=0.004)
    for v in (-0.012, 0, 0.012):
        p.line([(-0.19, v), (0.5, v)], 0.004, (245, 240, 228))
    ring = np.exp(-pose.since / 0.12) if pose.count else 0.0
    arm(pen, look, (-0.15 + x, 0.535), pen.seen(p, -0.055, 0.05 - 0.11 * ring), bend=-1)
    arm(pen, look, (0.06 + x, 0.535), pen.seen(p, 0.40 - 0.22 * pose.pitch, -0.025), bend=1)


def trumpet(pen: Pen, look: Look, pose: Pose):
    """A loop of tube with three valves and a wide flaring bell, raised when it is loud."""
    x = sway(pose)
    legs(pen, look, dx=-0.19)
    torso(pen, look, x, dx=-0.19)
    head(pen, look, pose, -0.19 + x * 1.6, gaze=0.8, blowing=True)
    p = pen.at(-0.10 + 1.6 * x, 0.685, -3 + 15 * pose.loud)
    metal, dark, glow = look.wood, shade(look.wood, 0.5), shade(look.wood, 1.55)
    arm(pen, look, (-0.29 + x, 0.535), pen.seen(p, 0.19, -0.06), bend=1)
    loop = [(0.10, 0.0), (0.07, -0.045), (0.12, -0.105), (0.25, -0.11), (0.34, -0.105), (0.385, -0.045), (0.34, 0.0)]
    p.line(smooth([*loop, loop[0]]), 0.026, metal, rim=0.010)
    p.line([(0.02, 0), (0.4, 0)], 0.028, metal, rim=0.010)
    flare = [(0.34, 0.016), (0.43, 0.026), (0.50, 0.055), (0.55, 0.125), (0.565, 0.15)]
    p.poly(flare + [(u, -v) for u, v in flare[::-1]], metal, rim=0.014)
    p.poly([(0.36, 0.008), (0.46, 0.022), (0.53, 0.085), (0.50, 0.03), (0.44, 0.006)], glow, rim=0)
    p.disc(0.565, 0, 0.036, 0.152, fill=glow, rim=0.012, edge=dark)
    p.disc(0.568, 0, 0.018, 0.09, fill=dark)
    p.line([(0.0, -0.02), (0.0, 0.02)], 0.03, glow, rim=0.008)
    for i in range(3):
        down = (pose.count >> i) & 1 and pose.loud > 0.08
        u = 0.17 + 0.052 * i
        p.line([(u, 0.03), (u, 0.075 - 0.035 * down)], 0.016, dark)
        p.disc(u, 0.078 - 0.035 * down, 0.02, 0.012, fill=glow, rim=0.006)
        p.box(u - 0.018, -0.115, u + 0.018, 0.035, metal, rim=0.008)
        p.line([(u - 0.006, -0.1), (u - 0.006, 0.025)], 0.008, glow)
    arm(pen, look, (-0.09 + x, 0.535), pen.seen(p, 0.24, -0.11), bend=1)


def xylophone(pen: Pen, look: Look, pose: Pose):
    """A row of bars from long to short on a table with pipes under it, and two mallets that take turns."""
    x = sway(pose)
    legs(pen, look)
    torso(pen, look, x)
    head(pen, look, pose, x * 1.6)
    dark = shade(look.wood, 0.38)
    for m in (-1, 1):
        pen.line([(0.34 * m, 0.30), (0.30 * m, 0.03)], 0.035, dark, rim=0.008)
        pen.disc(0.30 * m, 0.025, 0.03, fill=INK)
    n = 9
    u = np.linspace(-0.40, 0.40, n)
    for i in range(n):
        pen.line([(u[i] * 0.94, 0.26), (u[i] * 0.94, 0.21 - 0.016 * (n - i))], 0.042, (170, 170, 178), rim=0.006)
    for v, slope in ((0.255, 0.035), (0.40, -0.03)):
        pen.line([(-0.45, v - slope), (0.45, v + slope)], 0.032, dark)
    lifts = [pose.hand(side) for side in (0, 1)]
    spot = [int(round(p * (n - 1))) for _, p in lifts]
    for i in range(n):
        long = 0.155 - 0.008 * i
        struck = pose.count and pose.since < 0.12 and i == spot[pose.count % 2]
        bar = hsv(look.hue + 0.1 * i, 0.72, 0.95 if i % 2 else 0.85)
        pen.box(u[i] - 0.042, 0.325 - long, u[i] + 0.042, 0.325 + long, shade(bar, 1.6) if struck else bar, rim=0.010)
        for v in (-0.72, 0.72):
            pen.disc(u[i], 0.325 + v * long, 0.009, fill=INK)
    for side in (0, 1):
        lift, _ = lifts[side]
        tip = np.array([u[spot[side]], 0.345 + 0.19 * lift])
        m = -1 if side == (spot[0] > spot[1]) else 1  # arms never cross
        hand = np.array([0.55 * tip[0] + 0.14 * m, 0.47 + 0.06 * lift])
        arm(pen, look, (x + 0.11 * m, 0.53), hand)
        pen.line([hand, tip], 0.016, (226, 190, 140), rim=0.005)
        pen.disc(*tip, 0.036, fill=shade(look.shirt, 0.7), rim=0.010)


# ----------------------------------------------------------------------------------------------------- whole pictures


def figure(draw, look: Look, pose: Pose, tall: float, tilt: float, mirrored: bool):
    """One instrument with its player, cut out.

    `tall`: pixels a figure unit; `tilt`: degrees. Returns an RGBA image and where its corner lies from the figure's
    foot (pixels right, pixels down): (Image, (int, int)).
    """
    wide, high = int(1.5 * tall), int(1.55 * tall)
    image = Image.new("RGBA", (wide * FINE, high * FINE))
    foot = np.array([wide // 2, int(high - 0.2 * tall)]) * FINE
    draw(Pen(image, np.array([[-1.0 if mirrored else 1.0, 0], [0, -1]]) * tall * FINE, foot).at(0, 0, tilt), look, pose)
    x0, y0, x1, y1 = (v // FINE for v in np.add(image.getbbox(), [0, 0, FINE - 1, FINE - 1]).tolist())
    # smoothing before cropping would give the same, and cost three times as much
    image = image.crop((x0 * FINE, y0 * FINE, x1 * FINE, y1 * FINE)).reduce(FINE)
    return image, (x0 - round(foot[0] / FINE), y0 - round(foot[1] / FINE))


def backdrop(rng: np.random.Generator, horizon: float, feet: list[tuple[float, float, float]]) -> Image.Image:
    """A still RGB picture of (WIDTH, HEIGHT): wall and floor meeting at `horizon` (pixels from the top), out of focus,
    with a shadow at each of `feet` (x, y, half width in pixels)."""
    image = Image.new("RGB", (WIDTH * 2, HEIGHT * 2))
    pen = Pen(image, np.array([[2.0, 0], [0, 2.0]]), np.zeros(2))  # in pixels, y down
    PLACES[rng.integers(len(PLACES))](pen, rng, horizon)
    image = image.filter(ImageFilter.GaussianBlur(4))
    # A stage set in half-tones, so that the eye goes to the instruments: a small net has a few minutes to find them.
    image = Image.blend(image, image.convert("L").convert("RGB"), 0.6)
    shadow = Image.new("L", image.size, 255)
    soft = Pen(shadow, pen.a, pen.b)
    for x, y, r in feet:
        soft.disc(x, y, r, r * 0.2, fill=150)
    return ImageChops.multiply(image, shadow.filter(ImageFilter.GaussianBlur(5)).convert("RGB")).reduce(2)


def lighting(rng: np.random.Generator) -> Image.Image:
    """An RGB picture to multiply with: brightness, warm or cold, darker towards the corners."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    cx, cy = rng.uniform(0.2, 0.8) * WIDTH, rng.uniform(0.1, 0.7) * HEIGHT
    dark = rng.uniform(0.0, 0.45) * (((x - cx) / WIDTH) ** 2 + ((y - cy) / HEIGHT) ** 2)
    tint = 1 - np.array([0, 0.5, 1.0])[:: rng.choice([-1, 1])] * rng.uniform(0, 0.14)
    light = rng.uniform(0.8, 1.0) * (1 - np.clip(dark, 0, 0.45))[..., None] * tint
    return Image.fromarray((255 * light).round().astype(np.uint8))


def ramp(pen: Pen, top: float, bottom: float, a: Colour, b: Colour):
    """Bands from colour a to colour b."""
    edges = np.linspace(top, bottom, 25)
    for i, (y0, y1) in enumerate(zip(edges, edges[1:], strict=False)):
        pen.box(0, y0, WIDTH, y1 + 1, tuple(int(p + (q - p) * i / 23) for p, q in zip(a, b, strict=True)), rim=0)


def planks(pen: Pen, rng: np.random.Generator, horizon: float):
    """A wooden floor in perspective."""
    hue, s, v = rng.uniform(0.04, 0.11), rng.uniform(0.25, 0.5), rng.uniform(0.45, 0.75)
    ramp(pen, horizon, HEIGHT, hsv(hue, s, v * 0.85), hsv(hue, s, v))
    for x in np.arange(-700, 1000, 55):
        pen.line([(WIDTH / 2 + (x - WIDTH / 2) * 0.35, horizon), (x, HEIGHT)], 1.2, hsv(hue, s + 0.1, v * 0.72))


def curtains(pen: Pen, rng: np.random.Generator, horizon: float):
    hue, s, v = rng.random(), rng.uniform(0.4, 0.75), rng.uniform(0.35, 0.6)
    for x in np.arange(-20, WIDTH + 40, 13.0):
        wave = rng.uniform(-3, 3)
        for i, by in enumerate((0.75, 0.9, 1.05, 0.9)):
            pen.box(x + wave + 4.5 * i, 0, x + wave + 4.5 * (i + 1) + 4, horizon, hsv(hue, s, v * by), rim=0)
    planks(pen, rng, horizon)
    for x in np.arange(-10, WIDTH + 30, 40.0):
        pen.disc(x + 10, 0, 24, 15, fill=hsv(hue, s, v * 0.8), rim=2)


def room(pen: Pen, rng: np.random.Generator, horizon: float):
    hue, s = rng.random(), rng.uniform(0.12, 0.35)
    ramp(pen, 0, horizon, hsv(hue, s, 0.85), hsv(hue, s, 0.75))
    for x in np.arange(rng.uniform(0, 30), WIDTH, 32):
        pen.box(x, 0, x + 13, horizon, hsv(hue, s * 1.2, 0.77), rim=0)
    x, wide, sky = rng.uniform(20, 190), rng.uniform(70, 110), hsv(0.57, 0.35, 0.96)
    pen.box(x, -20, x + wide, max(horizon - 35, 20), sky, edge=(250, 248, 240), rim=7)
    pen.line([(x + wide / 2, 0), (x + wide / 2, max(horizon - 35, 20))], 4, (250, 248, 240))
    planks(pen, rng, horizon)
    pen.box(-5, horizon - 6, WIDTH + 5, horizon, (240, 236, 228), rim=0)


def library(pen: Pen, rng: np.random.Generator, horizon: float):
    hue = rng.uniform(0.03, 0.1)
    pen.box(0, 0, WIDTH, HEIGHT, hsv(hue, 0.5, 0.30), rim=0)
    for y in np.arange(horizon - 10, -60, -46):
        x = -5.0
        while x < WIDTH:
            wide, tall = rng.uniform(6, 13), rng.uniform(24, 38)
            if rng.random() < 0.85:
                book = hsv(rng.random(), rng.uniform(0.2, 0.5), rng.uniform(0.35, 0.65))
                pen.box(x, y - tall, x + wide, y, book, rim=0)
            x += wide + 1
        pen.box(0, y, WIDTH, y + 6, hsv(hue, 0.5, 0.42), rim=0)
    planks(pen, rng, horizon)


def park(pen: Pen, rng: np.random.Generator, horizon: float):
    sky, green = rng.choice([0.55, 0.6, 0.08, 0.95]), rng.uniform(0.22, 0.36)
    ramp(pen, 0, horizon, hsv(sky, 0.45, 0.9), hsv(sky, 0.15, 0.98))
    pen.disc(rng.uniform(20, 300), rng.uniform(5, 50), 15, fill=(255, 246, 205))
    for _ in range(4):
        hill = hsv(green, 0.35, rng.uniform(0.6, 0.75))
        pen.disc(rng.uniform(-40, 360), horizon + 20, rng.uniform(60, 140), rng.uniform(40, 75), fill=hill)
    for _ in range(6):
        x, r = rng.uniform(0, WIDTH), rng.uniform(10, 20)
        pen.line([(x, horizon), (x, horizon - 1.5 * r)], 4, (110, 80, 60))
        pen.disc(x, horizon - 2 * r, r, r * 1.2, fill=hsv(green, 0.5, rng.uniform(0.42, 0.55)))
    ramp(pen, horizon, HEIGHT, hsv(green, 0.45, 0.70), hsv(green, 0.5, 0.58))
    for _ in range(40):
        x, y = rng.uniform(0, WIDTH), rng.uniform(horizon, HEIGHT)
        pen.disc(x, y, 2, 1.5, fill=hsv(rng.random(), 0.3, 0.95))


def city(pen: Pen, rng: np.random.Generator, horizon: float):
    hue = rng.uniform(0.6, 0.75)
    ramp(pen, 0, horizon, hsv(hue, 0.6, 0.25), hsv(hue + 0.15, 0.45, 0.6))
    x = -10.0
    while x < WIDTH:
        wide, top = rng.uniform(25, 50), horizon - rng.uniform(25, 110)
        pen.box(x, top, x + wide, horizon, hsv(hue, 0.4, rng.uniform(0.22, 0.34)), rim=0)
        for wx in np.arange(x + 5, x + wide - 7, 9):
            for wy in np.arange(top + 6, horizon - 8, 12):
                if rng.random() < 0.5:
                    pen.box(wx, wy, wx + 4, wy + 6, hsv(0.12, 0.45, 0.9), rim=0)
        x += wide
    ramp(pen, horizon, HEIGHT, hsv(hue, 0.15, 0.45), hsv(hue, 0.12, 0.58))


def studio(pen: Pen, rng: np.random.Generator, horizon: float):
    hue, v = rng.random(), rng.uniform(0.55, 0.9)
    ramp(pen, 0, horizon, hsv(hue, 0.35, v), hsv(hue + 0.05, 0.2, v))
    for _ in range(9):
        lamp = hsv(hue + rng.uniform(-0.1, 0.1), 0.22, v + 0.08)
        pen.disc(rng.uniform(0, WIDTH), rng.uniform(0, horizon), rng.uniform(8, 26), fill=lamp)
    ramp(pen, horizon, HEIGHT, hsv(hue + 0.05, 0.25, v * 0.8), hsv(hue + 0.05, 0.2, v * 0.95))


PLACES = (curtains, room, library, park, city, studio)
