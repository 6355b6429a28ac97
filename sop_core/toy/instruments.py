"""The toy orchestra's instruments: drawings of each with its player, as cut-out images.

Species are random. An instrument's colour varies within a narrow range of its own, so shape and
colour show what is playing.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from .players import INK, Look, Pen, Pose, arm, head, hsv, shade, smooth, standing, sway, torso

OVERSAMPLING = 2  # figures are drawn at this multiple of their size and averaged: smooth edges


def accordion(pen: Pen, look: Look, pose: Pose):
    """Two boxes, one with piano keys, and bellows between them that open and close."""
    x = standing(pen, look, pose)
    opened = 0.5 + 0.5 * pose.stroke
    half = 0.075 + 0.12 * opened  # of the bellows' width
    p = pen.at(x, 0.40)

    def sag(*points):  # the bellows hang in an arc when they are open
        return [(u, v - (0.25 + 0.9 * opened) * u * u) for u, v in points]

    # bellows
    n = 9
    u = np.linspace(-half, half, n + 1)
    for i in range(n):
        a = 0.155 + 0.018 * (i % 2)
        b = 0.155 + 0.018 * ((i + 1) % 2)
        fold = sag((u[i], -a), (u[i + 1], -b), (u[i + 1], b), (u[i], a))
        p.poly(fold, shade(look.wood, 0.42) if i % 2 else (245, 238, 225), rim=0.005, edge=INK)
    # boxes
    for m, wide in ((-1, 0.12), (1, 0.15)):
        far = half + wide
        side = sag((m * half, -0.18), (m * far, -0.18), (m * far, 0.18), (m * half, 0.18))
        p.poly(side, look.wood)
    # buttons
    for i in range(3):
        for j in range(5):
            (button,) = sag((-half - 0.03 - 0.032 * i, -0.12 + 0.06 * j))
            p.disc(*button, 0.011, fill=(250, 246, 235))
    # keyboard
    near = half + 0.05
    far = half + 0.135
    p.poly(sag((near, -0.15), (far, -0.15), (far, 0.15), (near, 0.15)), (252, 250, 244), rim=0.008)
    for v in np.linspace(-0.13, 0.13, 7):
        p.line(sag((near, v), (near + 0.05, v)), 0.02, INK)
    hands = sag((-half - 0.12, 0.0), (half + 0.14, -0.11 + 0.2 * pose.pitch))
    for m, (u, v) in zip((-1, 1), hands, strict=True):
        arm(pen, look, (x + 0.11 * m, 0.535), (x + u, 0.40 + v), bend=m)


CELLO = [
    (0, 0.085), (0.11, 0.095), (0.185, 0.18), (0.165, 0.275), (0.105, 0.335), (0.105, 0.385),
    (0.135, 0.45), (0.125, 0.53), (0.06, 0.575),
]  # fmt: skip
CELLO += [(-u, v) for u, v in CELLO[:0:-1]]


def cello(pen: Pen, look: Look, pose: Pose):
    """A big waisted body with f-holes on a spike, a long neck with a scroll, and a bow."""
    x = sway(pose)
    # the player sits, knees apart
    for m in (-1, 1):
        knee = 0.14 + 0.17 * m
        leg = [(0.14 + 0.05 * m, 0.27), (knee, 0.22), (knee, 0.04)]
        pen.line(leg, 0.085, look.trousers, rim=0.012)
        pen.disc(0.14 + 0.19 * m, 0.03, 0.07, 0.035, fill=shade(look.trousers, 0.45))
    torso(pen, look, x, 0.13)
    head(pen, look, pose, 0.15 + x * 1.6, 0.77, gaze=-0.6)
    # body
    p = pen.at(0.03 + 0.4 * x, 0, 9)
    dark = shade(look.wood, 0.35)
    p.line([(0, 0), (0, 0.1)], 0.018, INK)
    p.blob(CELLO, look.wood, rim=0.02)
    p.blob(np.array(CELLO) * [0.82, 0.9] + [0, 0.035], shade(look.wood, 1.18), rim=0)
    for m in (-1, 1):
        hole = [(0.075, 0.245), (0.088, 0.26), (0.07, 0.30), (0.085, 0.345), (0.07, 0.36)]
        p.line([(m * u, v) for u, v in hole], 0.014, INK)
        p.disc(m * 0.075, 0.248, 0.012)
        p.disc(m * 0.074, 0.355, 0.012)
    # tailpiece, bridge, fingerboard, strings
    p.poly([(-0.022, 0.11), (0.022, 0.11), (0.034, 0.22), (-0.034, 0.22)], dark, rim=0)
    p.box(-0.05, 0.275, 0.05, 0.295, shade(look.wood, 1.35), rim=0.006)
    p.poly([(-0.034, 0.40), (0.034, 0.40), (0.022, 0.90), (-0.022, 0.90)], dark, rim=0.008)
    for u in (-0.02, 0, 0.02):
        p.line([(u, 0.2), (u * 0.6, 0.9)], 0.005, (240, 235, 220))
    # pegs, scroll
    for m, v in ((-1, 0.91), (1, 0.93), (-1, 0.95), (1, 0.97)):
        p.line([(0, v), (0.055 * m, v + 0.005)], 0.02, dark)
    p.line([(0, 0.89), (0, 0.985)], 0.04, look.wood, rim=0.01)
    p.disc(0, 0.995, 0.034, fill=look.wood, rim=0.012)
    p.disc(0, 0.995, 0.012, fill=dark)
    bow = p.at(0.10 + 0.13 * pose.stroke, 0.335, -14)
    bow.line([(-0.27, -0.015), (0.23, -0.015)], 0.014, (250, 246, 235))
    stick = [(-0.27, -0.01), (-0.25, 0.025), (0.0, 0.018), (0.25, 0.025)]
    bow.line(stick, 0.018, shade(look.wood, 0.45))
    bow.box(0.2, -0.02, 0.245, 0.025, INK, rim=0)
    arm(pen, look, (0.25 + x, 0.53), pen.locate(bow, 0.24, 0.01), bend=1)
    arm(pen, look, (0.03 + x, 0.53), pen.locate(p, 0.02, 0.82 - 0.24 * pose.pitch), bend=-1)


def flute(pen: Pen, look: Look, pose: Pose):
    """A long thin bright pipe, held across, with a row of keys."""
    x = standing(pen, look, pose, -0.17, gaze=0.5, blowing=True)
    p = pen.at(-0.12 + 1.6 * x, 0.675, -8 + 9 * pose.loud)
    pale = shade(hsv(look.hue, 0.25, 0.95), 1.25)
    dark = shade(look.wood, 0.5)
    for side, hand in ((-1, 0.24), (1, 0.42)):
        shoulder = (-0.17 + x + 0.1 * side, 0.535)
        arm(pen, look, shoulder, pen.locate(p, hand, -0.045), bend=1)
    p.box(-0.13, -0.027, 0.60, 0.027, pale, edge=dark, rim=0.012)
    p.box(-0.11, -0.016, 0.58, -0.004, shade(pale, 0.8), rim=0)
    p.disc(0.01, 0.012, 0.055, 0.032, fill=pale, rim=0.009, edge=dark)
    for u in (-0.09, 0.11, 0.5):
        p.line([(u, -0.027), (u, 0.027)], 0.016, look.wood)
    # keys
    for i in range(8):
        down = (pose.count * 5 + i * 3) % 8 > 4 and pose.loud > 0.1
        p.disc(0.16 + 0.043 * i, 0.036 - 0.012 * down, 0.018, 0.013, fill=look.wood, rim=0.006)


GUITAR = [(-0.30, 0.0), (-0.27, 0.12), (-0.16, 0.165), (-0.05, 0.12)]
GUITAR += [(0.0, 0.105), (0.06, 0.12), (0.125, 0.085), (0.14, 0.0)]
GUITAR += [(u, -v) for u, v in GUITAR[-2:0:-1]]


def guitar(pen: Pen, look: Look, pose: Pose):
    """A waisted body with a round hole, held across; a long fretted neck; a hand that strums."""
    x = standing(pen, look, pose, -0.04, gaze=0.25)
    p = pen.at(-0.07 + x, 0.37, 17 + 60 * x)
    dark = shade(look.wood, 0.35)
    # body
    p.blob(GUITAR, look.wood, rim=0.02)
    p.blob(np.array(GUITAR) * 0.84 - [0.013, 0], shade(look.wood, 1.3), rim=0)
    p.disc(-0.03, 0, 0.062, fill=look.wood)
    p.disc(-0.03, 0, 0.048)
    p.box(-0.20, -0.05, -0.175, 0.05, dark, rim=0)
    # neck
    p.box(0.03, -0.024, 0.45, 0.024, dark, rim=0.008)
    for i in range(7):
        p.line([(0.13 + 0.045 * i, -0.022), (0.13 + 0.045 * i, 0.022)], 0.006, (225, 220, 205))
    p.poly([(0.45, -0.028), (0.56, -0.042), (0.56, 0.042), (0.45, 0.028)], look.wood)
    for u in (0.475, 0.505, 0.535):
        for m in (-1, 1):
            p.disc(u, 0.052 * m, 0.014, fill=(240, 236, 225), rim=0.004)
    for v in (-0.012, 0, 0.012):
        p.line([(-0.19, v), (0.5, v)], 0.004, (245, 240, 228))
    strum = np.exp(-pose.since / 0.12) if pose.count else 0.0
    arm(pen, look, (-0.15 + x, 0.535), pen.locate(p, -0.055, 0.05 - 0.11 * strum), bend=-1)
    arm(pen, look, (0.06 + x, 0.535), pen.locate(p, 0.40 - 0.22 * pose.pitch, -0.025), bend=1)


TRUMPET_LOOP = [
    (0.10, 0.0), (0.07, -0.045), (0.12, -0.105), (0.25, -0.11), (0.34, -0.105), (0.385, -0.045),
    (0.34, 0.0), (0.10, 0.0),
]  # fmt: skip
TRUMPET_BELL = [(0.34, 0.016), (0.43, 0.026), (0.50, 0.055), (0.55, 0.125), (0.565, 0.15)]
TRUMPET_BELL += [(u, -v) for u, v in TRUMPET_BELL[::-1]]
TRUMPET_SHINE = [(0.36, 0.008), (0.46, 0.022), (0.53, 0.085), (0.50, 0.03), (0.44, 0.006)]


def trumpet(pen: Pen, look: Look, pose: Pose):
    """A loop of tube with three valves and a wide flaring bell, raised when it is loud."""
    x = standing(pen, look, pose, -0.19, gaze=0.8, blowing=True)
    p = pen.at(-0.10 + 1.6 * x, 0.685, -3 + 15 * pose.loud)
    metal = look.wood
    dark = shade(metal, 0.5)
    bright = shade(metal, 1.55)
    arm(pen, look, (-0.29 + x, 0.535), pen.locate(p, 0.19, -0.06), bend=1)
    # tube
    p.line(smooth(TRUMPET_LOOP), 0.026, metal, rim=0.010)
    p.line([(0.02, 0), (0.4, 0)], 0.028, metal, rim=0.010)
    # bell
    p.poly(TRUMPET_BELL, metal, rim=0.014)
    p.poly(TRUMPET_SHINE, bright, rim=0)
    p.disc(0.565, 0, 0.036, 0.152, fill=bright, rim=0.012, edge=dark)
    p.disc(0.568, 0, 0.018, 0.09, fill=dark)
    # mouthpiece
    p.line([(0.0, -0.02), (0.0, 0.02)], 0.03, bright, rim=0.008)
    # valves
    for i in range(3):
        down = (pose.count >> i) & 1 and pose.loud > 0.08
        u = 0.17 + 0.052 * i
        p.line([(u, 0.03), (u, 0.075 - 0.035 * down)], 0.016, dark)
        p.disc(u, 0.078 - 0.035 * down, 0.02, 0.012, fill=bright, rim=0.006)
        p.box(u - 0.018, -0.115, u + 0.018, 0.035, metal, rim=0.008)
        p.line([(u - 0.006, -0.1), (u - 0.006, 0.025)], 0.008, bright)
    arm(pen, look, (-0.09 + x, 0.535), pen.locate(p, 0.24, -0.11), bend=1)


def xylophone(pen: Pen, look: Look, pose: Pose):
    """A row of bars from long to short with pipes under it, and two mallets that take turns."""
    x = standing(pen, look, pose)
    dark = shade(look.wood, 0.38)
    # frame and pipes
    for m in (-1, 1):
        pen.line([(0.34 * m, 0.30), (0.30 * m, 0.03)], 0.035, dark, rim=0.008)
        pen.disc(0.30 * m, 0.025, 0.03, fill=INK)
    n = 9
    u = np.linspace(-0.40, 0.40, n)
    for i in range(n):
        pipe = [(u[i] * 0.94, 0.26), (u[i] * 0.94, 0.21 - 0.016 * (n - i))]
        pen.line(pipe, 0.042, (170, 170, 178), rim=0.006)
    for v, slope in ((0.255, 0.035), (0.40, -0.03)):
        pen.line([(-0.45, v - slope), (0.45, v + slope)], 0.032, dark)
    # bars; the one that was just struck is bright
    lifts, pitches = zip(pose.mallet(0), pose.mallet(1), strict=True)
    targets = [int(round(pitch * (n - 1))) for pitch in pitches]  # the bar under each mallet
    for i in range(n):
        long = 0.155 - 0.008 * i
        struck = pose.count and pose.since < 0.12 and i == targets[pose.count % 2]
        colour = hsv(look.hue + 0.1 * i, 0.72, 0.95 if i % 2 else 0.85)
        colour = shade(colour, 1.6) if struck else colour
        pen.box(u[i] - 0.042, 0.325 - long, u[i] + 0.042, 0.325 + long, colour, rim=0.010)
        for v in (-0.72, 0.72):
            pen.disc(u[i], 0.325 + v * long, 0.009, fill=INK)
    # arms and mallets
    for side, lift in enumerate(lifts):
        tip = np.array([u[targets[side]], 0.345 + 0.19 * lift])
        m = -1 if side == (targets[0] > targets[1]) else 1  # arms never cross
        hand = np.array([0.55 * tip[0] + 0.14 * m, 0.47 + 0.06 * lift])
        arm(pen, look, (x + 0.11 * m, 0.53), hand)
        pen.line([hand, tip], 0.016, (226, 190, 140), rim=0.005)
        pen.disc(tip[0], tip[1], 0.036, fill=shade(look.shirt, 0.7), rim=0.010)


DRAWINGS = {f.__name__: f for f in (accordion, cello, flute, guitar, trumpet, xylophone)}


@dataclass
class Figure:
    """A player with its instrument, cut out: an image for each picture of the video."""

    images: list[Image.Image]  # RGBA
    corners: np.ndarray  # (pictures, 2) pixels right and down from the foot to an image's corner

    def box(self) -> np.ndarray:
        """x0, y0, x1, y1 of everything that is drawn, in pixels from the foot."""
        ends = self.corners + [image.size for image in self.images]
        return np.r_[self.corners.min(0), ends.max(0)]


def draw_pose(label: str, look: Look, pose: Pose, scale: float) -> tuple[Image.Image, np.ndarray]:
    """One picture of a `Figure`: an RGBA image and its corner."""
    tall = look.height * scale
    wide, high = int(1.5 * tall), int(1.55 * tall)
    image = Image.new("RGBA", (wide * OVERSAMPLING, high * OVERSAMPLING))
    foot = np.array([wide // 2, int(high - 0.2 * tall)])
    axes = np.array([[-1.0 if look.mirrored else 1.0, 0], [0, -1]])  # y points down in an image
    pen = Pen(image, axes * tall * OVERSAMPLING, foot * OVERSAMPLING)
    DRAWINGS[label](pen.at(0, 0, look.tilt), look, pose)
    # crop to what is drawn, in whole pixels of the small image, then average
    box = np.array(image.getbbox())
    box[2:] += OVERSAMPLING - 1
    box //= OVERSAMPLING
    cropped = image.crop(tuple(box * OVERSAMPLING))
    return cropped.reduce(OVERSAMPLING), box[:2] - foot


def draw_figure(label: str, look: Look, poses: list[Pose], scale: float = 1.0) -> Figure:
    """A player of the instrument `label` in all the poses; `scale` multiplies its height."""
    images, corners = zip(*(draw_pose(label, look, pose, scale) for pose in poses), strict=True)
    return Figure(list(images), np.array(corners))
