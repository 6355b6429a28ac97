"""The toy orchestra's stage: places, light, players side by side, and what a camera sees."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageChops, ImageFilter

from .instruments import Figure, draw_figure
from .music import INSTRUMENTS
from .players import Colour, Look, Pen, Pose, hsv

WIDTH, HEIGHT = SIZE = (320, 240)  # pixels of the video

# ---- places
# Each draws wall and floor, which meet at `horizon` (pixels from the top), with a pen in pixels.


def ramp(pen: Pen, top: float, bottom: float, a: Colour, b: Colour):
    """Bands from colour a to colour b."""
    edges = np.linspace(top, bottom, 25)
    for i, (y0, y1) in enumerate(zip(edges, edges[1:], strict=False)):
        colour = tuple(int(p + (q - p) * i / 23) for p, q in zip(a, b, strict=True))
        pen.box(0, y0, WIDTH, y1 + 1, colour, rim=0)


def planks(pen: Pen, rng: Generator, horizon: float):
    """A wooden floor in perspective."""
    hue, s, v = rng.uniform(0.04, 0.11), rng.uniform(0.25, 0.5), rng.uniform(0.45, 0.75)
    ramp(pen, horizon, HEIGHT, hsv(hue, s, v * 0.85), hsv(hue, s, v))
    for x in np.arange(-700, 1000, 55):
        far = WIDTH / 2 + (x - WIDTH / 2) * 0.35
        pen.line([(far, horizon), (x, HEIGHT)], 1.2, hsv(hue, s + 0.1, v * 0.72))


def curtains(pen: Pen, rng: Generator, horizon: float):
    hue, s, v = rng.random(), rng.uniform(0.4, 0.75), rng.uniform(0.35, 0.6)
    for x in np.arange(-20, WIDTH + 40, 13.0):
        wave = rng.uniform(-3, 3)
        for i, by in enumerate((0.75, 0.9, 1.05, 0.9)):
            end = x + wave + 4.5 * (i + 1) + 4
            pen.box(x + wave + 4.5 * i, 0, end, horizon, hsv(hue, s, v * by), rim=0)
    planks(pen, rng, horizon)
    for x in np.arange(-10, WIDTH + 30, 40.0):
        pen.disc(x + 10, 0, 24, 15, fill=hsv(hue, s, v * 0.8), rim=2)


def room(pen: Pen, rng: Generator, horizon: float):
    hue, s = rng.random(), rng.uniform(0.12, 0.35)
    ramp(pen, 0, horizon, hsv(hue, s, 0.85), hsv(hue, s, 0.75))
    for x in np.arange(rng.uniform(0, 30), WIDTH, 32):
        pen.box(x, 0, x + 13, horizon, hsv(hue, s * 1.2, 0.77), rim=0)
    # a window
    x, wide = rng.uniform(20, 190), rng.uniform(70, 110)
    sill = max(horizon - 35, 20)
    frame = (250, 248, 240)
    pen.box(x, -20, x + wide, sill, hsv(0.57, 0.35, 0.96), edge=frame, rim=7)
    pen.line([(x + wide / 2, 0), (x + wide / 2, sill)], 4, frame)
    planks(pen, rng, horizon)
    pen.box(-5, horizon - 6, WIDTH + 5, horizon, (240, 236, 228), rim=0)


def library(pen: Pen, rng: Generator, horizon: float):
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


def park(pen: Pen, rng: Generator, horizon: float):
    sky = rng.choice([0.55, 0.6, 0.08, 0.95])  # hues
    green = rng.uniform(0.22, 0.36)
    ramp(pen, 0, horizon, hsv(sky, 0.45, 0.9), hsv(sky, 0.15, 0.98))
    pen.disc(rng.uniform(20, 300), rng.uniform(5, 50), 15, fill=(255, 246, 205))
    for _ in range(4):
        colour = hsv(green, 0.35, rng.uniform(0.6, 0.75))
        x, wide, high = rng.uniform(-40, 360), rng.uniform(60, 140), rng.uniform(40, 75)
        pen.disc(x, horizon + 20, wide, high, fill=colour)
    for _ in range(6):
        x, r = rng.uniform(0, WIDTH), rng.uniform(10, 20)
        pen.line([(x, horizon), (x, horizon - 1.5 * r)], 4, (110, 80, 60))
        pen.disc(x, horizon - 2 * r, r, r * 1.2, fill=hsv(green, 0.5, rng.uniform(0.42, 0.55)))
    ramp(pen, horizon, HEIGHT, hsv(green, 0.45, 0.70), hsv(green, 0.5, 0.58))
    for _ in range(40):
        x, y = rng.uniform(0, WIDTH), rng.uniform(horizon, HEIGHT)
        pen.disc(x, y, 2, 1.5, fill=hsv(rng.random(), 0.3, 0.95))


def city(pen: Pen, rng: Generator, horizon: float):
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


def studio(pen: Pen, rng: Generator, horizon: float):
    hue, v = rng.random(), rng.uniform(0.55, 0.9)
    ramp(pen, 0, horizon, hsv(hue, 0.35, v), hsv(hue + 0.05, 0.2, v))
    for _ in range(9):
        lamp = hsv(hue + rng.uniform(-0.1, 0.1), 0.22, v + 0.08)
        pen.disc(rng.uniform(0, WIDTH), rng.uniform(0, horizon), rng.uniform(8, 26), fill=lamp)
    ramp(pen, horizon, HEIGHT, hsv(hue + 0.05, 0.25, v * 0.8), hsv(hue + 0.05, 0.2, v * 0.95))


PLACES = (curtains, room, library, park, city, studio)


# ---- light


def backdrop(rng: Generator, horizon: float, shadows: list[tuple]) -> Image.Image:
    """A random place without players, out of focus: an RGB picture of (WIDTH, HEIGHT).

    Args: `horizon`: where wall and floor meet, in pixels from the top.
        `shadows`: x, y, half width of each, in pixels.
    """
    image = Image.new("RGB", (WIDTH * 2, HEIGHT * 2))
    pen = Pen(image, np.eye(2) * 2, np.zeros(2))  # in pixels of the video, y down
    PLACES[rng.integers(len(PLACES))](pen, rng, horizon)
    image = image.filter(ImageFilter.GaussianBlur(4))
    # pale colours: a small net has only a few minutes to find the instruments
    image = Image.blend(image, image.convert("L").convert("RGB"), 0.6)
    # darken it where the players' shadows fall
    shade = Image.new("L", image.size, 255)
    pen = Pen(shade, pen.a, pen.b)
    for x, y, r in shadows:
        pen.disc(x, y, r, r * 0.2, fill=(150,))
    shade = shade.filter(ImageFilter.GaussianBlur(5)).convert("RGB")
    return ImageChops.multiply(image, shade).reduce(2)


def lighting(rng: Generator) -> Image.Image:
    """Random light, an RGB picture to multiply with: warm or cold, darker towards the corners."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    cx = rng.uniform(0.2, 0.8) * WIDTH
    cy = rng.uniform(0.1, 0.7) * HEIGHT
    dark = rng.uniform(0.0, 0.45) * (((x - cx) / WIDTH) ** 2 + ((y - cy) / HEIGHT) ** 2)
    tint = 1 - np.array([0, 0.5, 1.0])[:: rng.choice([-1, 1])] * rng.uniform(0, 0.14)
    light = rng.uniform(0.8, 1.0) * (1 - np.clip(dark, 0, 0.45))[..., None] * tint  # (h, w, 3)
    return Image.fromarray((255 * light).round().astype(np.uint8))


# ---- players in a place


def draw_figures(labels: tuple[str, ...], poses: list[list[Pose]], rng: Generator) -> list[Figure]:
    """A random player for each label, made smaller if they don't fit side by side."""
    if not labels:
        return []
    heights = (100, 200) if len(labels) == 1 else (100, 150)  # solos: long shots to close-ups
    looks = [Look.random(rng, INSTRUMENTS[label].hue, heights) for label in labels]
    scale = 1.0
    while True:
        players = zip(labels, looks, poses, strict=True)
        figures = [draw_figure(label, look, moves, scale) for label, look, moves in players]
        boxes = np.array([figure.box() for figure in figures])
        wide, high = (boxes[:, 2:] - boxes[:, :2]).T
        fit = min((WIDTH - 8 * (len(labels) + 1)) / wide.sum(), (HEIGHT - 8) / high.max())
        if fit >= 1:
            return figures
        scale *= 0.98 * fit


def place_figures(figures: list[Figure], rng: Generator) -> np.ndarray:
    """Random positions of the feet, in pixels.

    The figures don't overlap, and each lies completely inside the picture.

    Shape: (N, 2)
    """
    n = len(figures)
    gaps = rng.dirichlet(np.ones(n + 1))  # fractions of the free width
    boxes = [figure.box() for figure in figures]
    free = WIDTH - 4 - 6 * (n - 1) - sum(b[2] - b[0] for b in boxes)
    feet = np.zeros((n, 2), int)
    x = 2.0
    for gap, j in zip(gaps, rng.permutation(n), strict=False):  # from left to right
        x0, y0, x1, y1 = boxes[j]
        x += gap * free
        feet[j] = int(x) - x0, rng.integers(2 - y0, HEIGHT - 2 - y1 + 1)
        x += x1 - x0 + 6
    return feet


@dataclass
class Take:
    """One shot of a camera that stands still: the players in one place."""

    background: Image.Image  # the picture without the players
    light: Image.Image
    length: int  # pictures
    figures: list[Figure]
    feet: np.ndarray  # (N, 2) pixels

    def boxes(self) -> np.ndarray:
        """(N, 4) x0, y0, x1, y1 in pixels: everything that is drawn of a player in this take."""
        pairs = zip(self.figures, self.feet, strict=True)
        return np.array([figure.box() + np.r_[foot, foot] for figure, foot in pairs])

    def pictures(self) -> Iterator[np.ndarray]:
        """The pictures in order, each (HEIGHT, WIDTH, 3) uint8."""
        for i in range(self.length):
            picture = self.background.copy()
            for j in np.argsort(self.feet[:, 1]):  # from back to front
                image = self.figures[j].images[i]
                corner = self.feet[j] + self.figures[j].corners[i]
                picture.paste(image, tuple(corner.tolist()), image)
            yield np.asarray(ImageChops.multiply(picture, self.light))


def make_take(labels: tuple[str, ...], poses: list[list[Pose]], length: int, rng) -> Take:
    """A take of `length` pictures: new players, a new place and new light.

    Args: `poses`: for each player, one for each picture.
    """
    figures = draw_figures(labels, poses, rng)
    light = lighting(rng)
    feet = place_figures(figures, rng)
    widths = [x1 - x0 for x0, _, x1, _ in (figure.box() for figure in figures)]
    shadows = [(x, y, 0.45 * wide) for (x, y), wide in zip(feet, widths, strict=True)]
    horizon = feet[:, 1].min(initial=HEIGHT) * rng.uniform(0.55, 0.92)
    return Take(backdrop(rng, horizon, shadows), light, length, figures, feet)
