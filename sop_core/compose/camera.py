"""What a camera sees of a photo: it wanders and trembles, and the light changes, as in real clips.

A film is made of stills: the photo alone, or small over a background, or cut-outs on one. A still
is drawn once. Each frame is what the camera sees of it then: a turned and zoomed part, always
within it. So boxes are known exactly.

Pixels are (x, y), from the top left corner of a frame or a still: the first pixel is 0 to 1.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import simplejpeg
from numpy.random import Generator
from PIL import Image, ImageFilter
from scipy.spatial import ConvexHull

from .photos import cut_out

Size = tuple[int, int]  # (w, h) in pixels
FPS = 10
SIZES = ((320, 240), (240, 320), (256, 256))  # of solos, (w, h)
HEIGHT, WIDTHS = 240, {2: 240, 3: 180}  # of an ensemble; of each of its parts
# Shares of films. Real clips are worse than photos are, and a model has to have seen that.
SMALL = 0.2  # the photo is small in the frame: players far from the camera
BLURRED, DARK, PHONE = 0.15, 0.15, 0.35  # out of focus; a stage; a low quality of jpg before h264
WORST = 1.6  # a photo is cut to the frame's shape, unless it is so much wider or higher
TRIPOD = 0.3  # no hand's tremble, and hardly a turn
APART = 0.5  # of ensembles that can be: cut-outs on one background
ROOM = 1.12  # a still is so much wider than the frame, at least


class Film(NamedTuple):
    """A film of `count` frames, which are made when they are asked for, each time the same."""

    size: Size
    boxes: np.ndarray  # (N, 4) x0, y0, x1, y1 in pixels: everywhere that each picture is
    frames: Callable[[], Iterator[np.ndarray]]  # uint8 (h,w,3); can be called again, and pickled


class _Scene(NamedTuple):
    still: Image.Image  # RGB
    outlines: list[np.ndarray]  # of each picture on it: (P, 2) pixels
    calm: bool  # the camera stays nearly where it is, so that no picture leaves the frame


class _Shot(NamedTuple):
    """A still through a camera."""

    still: Image.Image
    size: Size
    ways: np.ndarray  # (V, 6) from a frame's pixels to the still's: Pillow's affine
    lights: np.ndarray  # (V, 4) gamma, and gain of red, green, blue

    def frame(self, k: int) -> np.ndarray:
        gamma, *gains = self.lights[k]
        tone = 255 * np.linspace(0, 1, 256) ** gamma  # (256,)
        table = np.outer(gains, tone).clip(0, 255).round().astype(np.uint8)  # (3, 256)
        how = Image.Transform.AFFINE, self.ways[k], Image.Resampling.BILINEAR
        seen = self.still.transform(self.size, *how)
        return np.asarray(seen.point(table.ravel()))


def solo(
    picture: np.ndarray, count: int, rng: Generator, background: np.ndarray | None = None
) -> Film:
    """A film of one picture.

    It fills the frame, or is small over a blurred copy of itself. A cut-out stands on the
    background: a photo, or (None) a wall that is made up. Now and then a product shot's object
    does, too.

    Args: `picture`, `background`: uint8 (h,w,3); the picture may be a cut-out, (h,w,4).
        `count`: frames, at FPS a second.
    """
    size = _frame_size(picture, rng)
    scene = _scene(picture, size, rng, background)
    return _film([_shoot(scene, size, count, rng)], [scene], rng)


def ensemble(
    pictures: Sequence[np.ndarray],
    count: int,
    rng: Generator,
    background: np.ndarray | None = None,
) -> Film:
    """A film of two or three pictures, from the left to the right.

    Side by side, each a film of its own; or, where all of them have cut-outs, in half of the cases
    on one background: their boxes do not overlap.

    Args: `pictures`, `count`, `background`: as for `solo`.
    """
    width = WIDTHS[len(pictures)]
    whole = (width * len(pictures), HEIGHT)
    cuts = [cut for p in pictures if (cut := cut_out(p)) is not None]
    if rng.random() < APART and len(cuts) == len(pictures):
        scene = _stand(_backdrop(background, whole, rng), cuts, rng)
        return _film([_shoot(scene, whole, count, rng)], [scene], rng)
    scenes = [_scene(p, (width, HEIGHT), rng, background) for p in pictures]
    return _film([_shoot(s, (width, HEIGHT), count, rng) for s in scenes], scenes, rng)


# ---- stills


def _frame_size(picture: np.ndarray, rng: Generator) -> Size:
    """The frame that loses least of the picture is the likeliest."""
    height, width = picture.shape[:2]
    loss = [abs(np.log2(width / height * h / w)) for w, h in SIZES]
    likely = np.exp2(-4 * np.array(loss))
    return SIZES[rng.choice(len(SIZES), p=likely / likely.sum())]


def _scene(picture: np.ndarray, size: Size, rng: Generator, photo: np.ndarray | None) -> _Scene:
    """One picture as a still: it fills it, or stands on something.

    A photo in a photo would look like nothing real. So it stands on a blurred copy of itself,
    unless it is a product shot: then its object stands on the background.
    """
    height, width = picture.shape[:2]
    if picture.shape[2] == 4:
        return _stand(_backdrop(photo, size, rng), [picture], rng)
    loss = 2 ** abs(np.log2(width / height * size[1] / size[0]))
    if rng.random() > SMALL and loss < WORST:
        still = _covering(picture, size, ROOM)
        return _Scene(still, [_outline(still)], calm=False)
    if (cut := cut_out(picture)) is not None:
        return _stand(_backdrop(photo, size, rng), [cut], rng)
    behind = _unsharp(picture, size, size[1] / 20).point(lambda v: v * 0.6)
    return _stand(behind, [picture], rng, 0.85 if loss < WORST else 1.0)


def _covering(picture: np.ndarray, size: Size, room: float) -> Image.Image:
    """The picture as a still that covers the frame and more, but no more than a camera uses."""
    (height, width), (w, h) = picture.shape[:2], size
    scale = room * max(w / width, h / height)
    taken = min(width, 2 * room * w / scale), min(height, 2 * room * h / scale)
    x, y = (width - taken[0]) / 2, (height - taken[1]) / 2
    to = round(taken[0] * scale), round(taken[1] * scale)
    box = (x, y, x + taken[0], y + taken[1])
    rgb = Image.fromarray(np.ascontiguousarray(picture[..., :3]))
    return rgb.resize(to, Image.Resampling.LANCZOS, box)


def _backdrop(photo: np.ndarray | None, size: Size, rng: Generator) -> Image.Image:
    """What cut-outs stand on: a photo out of focus, or a wall under uneven light."""
    w, h = round(size[0] * ROOM), round(size[1] * ROOM)
    if photo is not None:
        return _unsharp(photo, size, rng.uniform(0.5, 3))
    colour = rng.uniform(30, 220) + rng.normal(0, 22, 3)
    light = rng.normal(0, 26, (3, 4, 1)) + rng.normal(0, 5, (3, 4, 3))
    coarse = (colour + light).clip(0, 255).astype(np.uint8)
    smooth = Image.fromarray(coarse).resize((w, h), Image.Resampling.BICUBIC)
    grain = np.asarray(smooth) + rng.normal(0, 4, (h, w, 1))
    return Image.fromarray(grain.clip(0, 255).astype(np.uint8))


def _unsharp(picture: np.ndarray, size: Size, radius: float) -> Image.Image:
    """A picture out of focus, cut to the frame's shape: what stands on it is seen whole."""
    w, h = round(size[0] * ROOM), round(size[1] * ROOM)
    still = _covering(picture, size, ROOM).filter(ImageFilter.GaussianBlur(radius))
    x, y = (still.width - w) // 2, (still.height - h) // 2
    return still.crop((x, y, x + w, y + h))


def _stand(
    still: Image.Image, pictures: Sequence[np.ndarray], rng: Generator, most: float = 0.9
) -> _Scene:
    """Pictures on a still, from the left to the right, each in a part of its own: `most` of it."""
    still = still.copy()
    # What the camera sees of it, but for a gap, which is wider than the camera's way.
    room, n = np.array(still.size) / ROOM, len(pictures)
    left, top = (np.array(still.size) - room) / 2
    gap = 0.1 * room[0] if n > 1 else 0
    part = np.array([(room[0] - (n - 1) * gap) / n, room[1]])
    outlines = []
    for i, picture in enumerate(pictures):
        h, w = picture.shape[:2]
        far = n == 1 and rng.random() < SMALL
        share = rng.uniform(0.45, 0.65) if far else rng.uniform(0.7, 1)
        scale = most * share * min(part[0] / w, part[1] / h)
        size = max(1, round(w * scale)), max(1, round(h * scale))
        x, y = (part - size) * (rng.uniform(0.1, 0.9), rng.uniform(0.4, 0.95))
        at = round(left + i * (part[0] + gap) + x), round(top + y)
        small = Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS)
        if small.mode == "RGBA":
            _shadow(still, small.getchannel("A"), at, rng)
        still.paste(small, at, small if small.mode == "RGBA" else None)
        outlines.append(_outline(small) + at)
    return _Scene(still, outlines, calm=True)


def _shadow(still: Image.Image, alpha: Image.Image, at: tuple[int, int], rng: Generator) -> None:
    soft = max(2, alpha.width // 20)
    shade = Image.new("L", still.size)
    shade.paste(alpha, (at[0] + int(rng.integers(-soft, soft + 1)), at[1] + soft))
    dark = rng.uniform(0.1, 0.5)
    shade = shade.filter(ImageFilter.GaussianBlur(soft)).point(lambda v: v * dark)
    still.paste((0, 0, 0), (0, 0), shade)


def _outline(picture: Image.Image) -> np.ndarray:
    """The corners of what can be seen of a picture: (P, 2) of its pixels."""
    if picture.mode != "RGBA":
        w, h = picture.size
        return np.array([[0, 0], [w, 0], [0, h], [w, h]])
    alpha = np.asarray(picture.getchannel("A"))
    # thin lines are paler when they are small
    y, x = np.nonzero(alpha >= min(128, (int(alpha.max()) + 1) // 2))
    corners = np.concatenate([np.stack([x + i, y + j], 1) for i in (0, 1) for j in (0, 1)])
    return corners[ConvexHull(corners).vertices]


# ---- the camera


def _wander(count: int, rng: Generator, shortest: float, longest: float) -> np.ndarray:
    """A smooth way within +-1, (V,). Its waves take from `shortest` to `longest` seconds."""
    t = np.arange(count) / FPS
    turns = np.outer(t, 1 / rng.uniform(shortest, longest, 3)) + rng.random(3)
    return np.sin(2 * np.pi * turns) @ [0.5, 0.3, 0.2]


def _shoot(scene: _Scene, size: Size, count: int, rng: Generator) -> _Shot:
    """A camera on a still, which never sees beyond it."""
    still, slow = scene.still, (8.0, 30.0)
    if rng.random() < BLURRED:
        still = still.filter(ImageFilter.GaussianBlur(rng.uniform(0.8, 2.2)))
    tripod = rng.random() < TRIPOD
    lean = np.radians(0.3 if tripod else 1.0 if scene.calm else 2.5) * _wander(count, rng, *slow)
    cos, sin = np.cos(lean), np.abs(np.sin(lean))
    (w, h), room = size, np.array(still.size) / 2
    half = np.stack([w * cos + h * sin, w * sin + h * cos], 1) / 2  # (V, 2) of the turned frame
    near, pull = (1.03, 0.03) if scene.calm else (rng.uniform(1.02, 1.3), 0.12)
    zoom = (half / room).max() * near * (1 + pull * (1 + _wander(count, rng, *slow)) / 2)
    slack = room - half / zoom[:, None]  # (V, 2) how far from the middle it may look
    reach = np.minimum(slack.min(0), 0.12 * w)  # more would be too quick for a hand
    middle = (slack.min(0) - reach) * rng.uniform(-0.5, 0.5, 2)
    way = np.stack([_wander(count, rng, *slow) for _ in size], 1) * reach
    tremble = np.stack([_wander(count, rng, 0.4, 1.5) for _ in size], 1)
    way += middle + tremble * (0 if tripod else rng.uniform(0.3, 1.5))
    centre = room + way.clip(-slack, slack)
    return _Shot(still, size, _affine(centre, zoom, lean, size), _lights(count, rng))


def _affine(centre: np.ndarray, zoom: np.ndarray, lean: np.ndarray, size: Size) -> np.ndarray:
    """From a frame's pixels to a still's, (V, 6): x' = a x + b y + c, y' = d x + e y + f."""
    (x, y), cos, sin = np.array(size) / 2, np.cos(lean) / zoom, np.sin(lean) / zoom
    row = [cos, -sin, centre[:, 0] - cos * x + sin * y]
    return np.stack([*row, sin, cos, centre[:, 1] - sin * x - cos * y], 1)


def _lights(count: int, rng: Generator) -> np.ndarray:
    """(V, 4) gamma, and gain of red, green, blue: of the place, and slow changes of both."""
    dark = rng.random() < DARK
    level = rng.uniform(0.3, 0.55) if dark else rng.uniform(0.8, 1.15)
    gain = level * (1 + 0.08 * _wander(count, rng, 3, 15))
    warm = rng.normal(0, 0.07) + 0.02 * _wander(count, rng, 5, 20)  # above 0: like a bulb
    green = rng.normal(0, 0.02)
    gamma = np.full(count, rng.uniform(0.85, 1.3))
    return np.stack([gamma, gain * (1 + warm), gain * (1 + green), gain * (1 - warm)], 1)


def _film(shots: list[_Shot], scenes: list[_Scene], rng: Generator) -> Film:
    """Shots side by side, through one camera's sensor and its compression."""
    boxes, left = [], 0
    for shot, scene in zip(shots, scenes, strict=True):
        boxes += [_box(outline, shot) + [left, 0, left, 0] for outline in scene.outlines]
        left += shot.size[0]
    noise = rng.uniform(0.5, 5)  # of 255
    quality = int(rng.integers(15, 45)) if rng.random() < PHONE else None
    frames = partial(_frames, shots, noise, quality, int(rng.integers(2**63)))
    return Film((left, shots[0].size[1]), np.array(boxes, float), frames)


def _box(outline: np.ndarray, shot: _Shot) -> np.ndarray:
    """Where an outline is during a shot: x0, y0, x1, y1 of its frames."""
    a, b, c, d, e, f = shot.ways.T
    low, high = np.full(2, np.inf), np.full(2, -np.inf)
    for x, y in outline:  # the inverse of the affine
        seen = np.stack([e * (x - c) - b * (y - f), a * (y - f) - d * (x - c)], 1)
        seen /= (a * e - b * d)[:, None]
        low, high = np.minimum(low, seen.min(0)), np.maximum(high, seen.max(0))
    return np.concatenate([low.clip(0, shot.size), high.clip(0, shot.size)])


def _frames(
    shots: list[_Shot], noise: float, quality: int | None, seed: int
) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(seed)
    width, height = sum(shot.size[0] for shot in shots), shots[0].size[1]
    # another part of one sheet for each frame: noise drawn anew takes longer than all the rest
    sheet = rng.normal(0, noise, (height + 64, width + 64, 3)).round().astype(np.int16)
    for k in range(len(shots[0].ways)):
        x, y = rng.integers(0, 64, 2)
        seen = np.concatenate([shot.frame(k) for shot in shots], 1)
        frame = seen + sheet[y : y + height, x : x + width]
        frame = frame.clip(0, 255).astype(np.uint8)
        if quality is not None:
            data = simplejpeg.encode_jpeg(frame, quality, "RGB", "420")
            frame = simplejpeg.decode_jpeg(data, "RGB")
        yield frame
