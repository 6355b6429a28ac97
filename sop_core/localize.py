"""Which pixel makes which sound: a `Scene` is a video whose every pixel can be heard, of any length.

The nets run once (`features`). After that a pixel's sound costs an inner product with the sound's channel images, a mask,
and an inverse STFT; all of it goes window by window, so what is computed never stands in memory at once.
"""

import math
import operator
from collections.abc import Iterator
from copy import copy
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from . import clusters, features, media
from .band import Source, extended
from .clips import Clip
from .config import AnyPath, Config
from .errors import SopError
from .features import Channels
from .film import Film, Frames, Stills, VideoFilm
from .masks import binarize, partition
from .nets import SoundOfPixels
from .spectrogram import Inverse
from .windows import same_fps

Cell = tuple[int, int]  # row, column
# What a sound is taken from: cells that are the same all the time, or bool (W, H, W): cells window by window.
Region = list[Cell] | np.ndarray
# How many of a region's cells count, the greatest: half of them, since a region is drawn round what sounds, but no more than
# two thirds of those that training pools in a picture, since that picture is one instrument's alone.
FILLED, SHARED = 1 / 2, 2 / 3
FAINTEST = 40  # dB below a clip's loudest moment: nothing is shown to sound any more
BLOCK = 56  # cells at a time: what they need stays near a CPU's cache, and threads have enough to share
FRAMES = 2**14  # masks of so many STFT frames are worth a round of the inverse STFT


class Scene:
    """A picture that sounds.

    Attributes:
        mixture: float32 (L,), its sound, at `rate` samples a second
        grid: (H, W), cells of the picture; cell (r, c) covers rows r h/H to (r+1) h/H and columns c w/W to (c+1) w/W
        fps: pictures a second that `pictures` gives
        start: s, of the whole video; 0 unless this is a `part`
    """

    def __init__(
        self,
        model: SoundOfPixels,
        film: Film | np.ndarray,
        sound: np.ndarray,
        pixels: Tensor | None = None,
        stored: np.ndarray | None = None,
    ):
        """film: where pictures come from, or uint8 (V, h, w, 3) at the config's fps; sound: float32 (L,) at its rate.

        `pixels`, `stored`: what the nets said of them, if that was kept (`features.load`). Raises SopError if either is empty.
        """
        if isinstance(film, np.ndarray):
            if not len(film) or not len(sound):
                raise SopError(f"a scene needs picture and sound, found {len(film)} frames and {len(sound)} samples")
            film = Stills(film, model.config.fps)
        self.model, self.config, self.film = model, model.config, film
        self.rate, self.grid, self.fps = model.config.rate, model.config.grid, film.fps
        self._hear(sound, Channels(model, sound, stored))
        if pixels is None:
            pixels = features.look(model, film, self.channels.windows, len(sound) / self.rate)
        self.pixels = pixels.to(self.device)  # (W, H, W, K)

    @classmethod
    def from_video(cls, model: SoundOfPixels, path: AnyPath, cache: bool = False) -> "Scene":
        """A video file, whole, of any length; shows progress bars if it is a long one.

        One that is shorter than the model's window is seen with silence after it; its sounds are as long as it is.
        With `cache`, what the nets say of it is kept in a folder beside it, `NAME.sop`, and read from there the next time (its
        channel images as float16). Raises SopError where the file can't be read, or has no picture or no sound.
        """
        film, key = VideoFilm(path, model.config), features.key(model, path) if cache and Path(path).is_file() else ""
        if key and (found := features.load(path, key)):
            return cls(model, film, *found)
        scene = cls(model, film, np.concatenate(list(media.stream_sound(path, model.config.rate))))
        if key:
            features.save(path, key, scene.mixture, scene.pixels, scene.channels)
            return cls.from_video(model, path, cache)  # as it will be the next time, to the last bit
        return scene

    @classmethod
    def from_clip(cls, model: SoundOfPixels, clip: Clip) -> "Scene":
        """A preprocessed clip, whole. Raises SopError where its frames are at another rate than the model looks at."""
        same_fps([clip], model.config)
        return cls(model, Frames(clip, model.config.fps), media.read_sound(clip.sound))

    def hearing(self, sound: np.ndarray) -> "Scene":
        """The same picture with another sound: as long as the scene's own, cut or filled up with silence. Shape: (L,)"""
        other, whole, begin = self._copy(), np.zeros_like(self.sound_track), self.first * self.config.hop
        sound = np.float32(sound[: len(self.mixture)])
        whole[begin : begin + len(sound)] = sound
        other._hear(whole, Channels(self.model, whole), (self.first, self.last))
        return other

    def part(self, start: float, end: float) -> "Scene":
        """A stretch of it, in seconds, to the nearest STFT frame: as it sounds in the whole."""
        whole = len(self.mixture) / self.rate
        frames = (self.first + round(min(max(t, 0), whole + 1) * self.rate / self.config.hop) for t in (start, end))
        first, last = (min(max(t, self.first), self.last) for t in frames)
        if not first * self.config.hop < min(last * self.config.hop, len(self.sound_track)):
            raise SopError(
                f"part {start} to {end} s: expected a stretch of the scene's {len(self.mixture) / self.rate:.1f} s"
            )
        other, channels = self._copy(), copy(self.channels)
        channels.kept, channels.room = dict(channels.kept), features.KEPT
        other._hear(self.sound_track, channels, (first, last))
        return other

    def _copy(self) -> "Scene":
        other = copy(self)
        for name in ("powers", "frame"):  # of the other's own sound and time
            other.__dict__.pop(name, None)
        return other

    def _hear(self, sound: np.ndarray, channels: Channels, frames: tuple[int, int] | None = None) -> None:
        self.sound_track, self.channels, self.device = np.asarray(sound, np.float32), channels, channels.device
        self.first, self.last = frames or (0, channels.length)  # STFT frames that this scene is of
        hop = self.config.hop
        self.mixture = self.sound_track[self.first * hop : None if self.last == channels.length else self.last * hop]
        self.start = self.first * hop / self.rate

    # ---- what is to be seen

    def instants(self) -> np.ndarray:
        """When each of `pictures` is shown, in seconds of the scene: the middle of its time. Shape: (V,)"""
        return (np.arange(max(1, media.frames_within(len(self.mixture) / self.rate, self.fps))) + 0.5) / self.fps

    def pictures(self) -> np.ndarray:
        """The scene's pictures, at `fps`; the last one stays where the sound goes on. Shape: uint8 (V, h, w, 3)"""
        found = self.film.between(self.start, self.start + len(self.mixture) / self.rate)
        return found[np.arange(len(self.instants())).clip(max=len(found) - 1)]

    @cached_property
    def frame(self) -> np.ndarray:
        """The picture in the middle. Shape: uint8 (h, w, 3)"""
        middle = self.start + len(self.mixture) / self.rate / 2
        return self.film.between(middle - 0.5 / self.fps, middle + 0.5 / self.fps)[-1]

    # ---- masks

    def _numbers(self, regions: list[Region]) -> tuple[Tensor, Tensor]:
        """What regions' K numbers are in each window, and whether they have a cell there. Shape: -> (W, P, K), bool (W, P)"""
        if all(isinstance(region, list) and len(region) == 1 for region in regions):  # all at once: there may be 196
            rows, columns = map(list, zip(*(on_grid(region[0], self.grid) for region in regions), strict=True))
            cells = self.pixels[:, rows, columns]
            return cells, cells.new_ones(cells.shape[:2])
        each = [self._number(region) for region in regions]
        return tuple(torch.stack(values, 1) for values in zip(*each, strict=True))

    def _number(self, region: Region) -> tuple[Tensor, Tensor]:
        """The means of the greatest of a region's cells (how many: `FILLED`, `SHARED`). Shape: -> (W, K), (W,)"""
        if isinstance(region, list):
            if not region:
                raise SopError("a region without a cell has no sound; choose at least one")
            rows, columns = map(list, zip(*(on_grid(cell, self.grid) for cell in region), strict=True))
            cells = list(self.pixels[:, rows, columns])
        else:
            if region.dtype != bool or region.shape != self.pixels.shape[:3] or not region.any():
                expected = f"bool {tuple(self.pixels.shape[:3])} (windows, rows, columns), some of it True"
                raise SopError(f"a region is {region.dtype} of shape {region.shape}, expected {expected}")
            chosen = torch.from_numpy(region).to(self.device)
            cells = [here[cells] for here, cells in zip(self.pixels, chosen, strict=True)]
        most, none = SHARED * self.config.pool * math.prod(self.grid), self.pixels.new_zeros(self.pixels.shape[-1])
        numbers = [self.model.pool(c, min(most, FILLED * len(c))) if len(c) else none for c in cells]
        return torch.stack(numbers), self.pixels.new_tensor([float(len(c) > 0) for c in cells])

    @torch.inference_mode()
    def _soft(self, regions: list[Region], margin: int = 0, whole: bool = False) -> Iterator[tuple[int, Tensor]]:
        """Soft masks of regions for stretches of STFT frames, one after the other, `margin` frames beyond the scene's ends.

        `whole`: as in `tracks`. Yields the first frame and (P, T, F).
        """
        if whole:
            check_whole(self.config)
        numbers, there = self._numbers(regions)
        begin, end = max(0, self.first - margin), min(self.channels.length, self.last + margin)
        over, tail = features.fade(self.config.stft_frames), None
        up = torch.sin((torch.arange(over, device=self.device) + 0.5) / max(1, over) * math.pi / 2).square()[:, None]
        for i, w in self.channels.across(begin, end):
            masks = (self._dealt if whole else self._apart)(numbers[i], there[i, :, None, None], self.channels[i])
            if tail is not None:
                masks[:, :over] = up * masks[:, :over] + (1 - up) * tail
            more = i + 1 < len(self.channels.windows) and w.last - over < end
            sure = w.last - over if more else w.last
            tail = masks[:, sure - w.first :]
            first, last = max(begin, w.first), min(end, sure)
            if first < last:
                yield first, masks[:, first - w.first : last - w.first]

    def _apart(self, numbers: Tensor, there: Tensor, channels: Tensor) -> Tensor:
        """Soft masks in one window, each by itself. Shape: (P, K), (P, 1, 1), (K, T, F) -> (P, T, F)"""
        masks = channels.new_empty(len(numbers), *channels.shape[1:])
        for p in range(0, len(numbers), BLOCK):
            block = slice(p, p + BLOCK)
            masks[block] = self.model.mask(self.model.logits(numbers[None, block], channels[None]))[0] * there[block]
        return masks

    def _dealt(self, numbers: Tensor, there: Tensor, channels: Tensor) -> Tensor:
        """The same where one of those that are there must be the loudest: they add up to 1, or to 0 where none is there."""
        logits = self.model.logits(numbers[None], channels[None])
        return partition(logits.masked_fill(there == 0, -math.inf))[0].nan_to_num(0)

    def masks(self, regions: list[Region]) -> Tensor:
        """One soft mask a region, 0 to 1, for the whole scene.

        Shape: -> (len(regions), F, T). Raises SopError for an empty region or a cell off the grid.
        """
        return torch.cat([masks for _, masks in self._soft(regions)], 1).mT

    def _alone(self, masks: Tensor, kind: str) -> tuple[Tensor, Tensor, Tensor]:
        """What each region takes by itself of each bin of the STFT, for the frames in which it takes anything; `kind` of mask.

        Shape: (P, T, F) -> int (n,), which region; int (n,), which frame; (n, F_linear)
        """
        # Bins of linear frequency are means of neighbours: where no neighbour is over 0.5, none of them is.
        some = masks.amax(-1) > 0.5 if kind == "binary" else (masks != 0).any(-1)
        region, frame = some.nonzero(as_tuple=True)
        return region, frame, binarize(self.model.warp.inverse_frames(masks[region, frame]), kind)

    def _shared(self, masks: Tensor, kind: str) -> tuple[Tensor, Tensor, Tensor]:
        """The same where what several claim is dealt out among them, each its part by how strongly it claims."""
        if len(masks) == 1:
            return self._alone(masks, kind)
        soft = self.model.warp.inverse_frames(masks)
        hard = binarize(soft, kind)
        claims = hard * soft
        taken = claims * (hard.sum(0).clamp(0, 1) / claims.sum(0).clamp_min(1e-8))
        region, frame = (taken != 0).any(-1).nonzero(as_tuple=True)
        return region, frame, taken[region, frame]

    # ---- sounds

    def pieces(
        self, regions: list[Region], shared: bool = False, source: Source | None = None, whole: bool = False
    ) -> Iterator[np.ndarray]:
        """The sounds of regions, piece after piece: float32 (P, l), together (P, L).

        Args: `shared`: as in `tracks`, with the rest as the last row. `whole`: as there, too.
            `source`: the video's own sound; the masks are applied to it, and pieces are at its rate.
        """
        for _, size, blocks in self._pieces(regions, shared, source, whole):
            piece = np.zeros((len(regions) + shared, size), np.float32)
            for rows, sounds in blocks:
                piece[rows] = sounds
            yield piece

    def sounds(self, regions: list[Region], shared: bool = False, whole: bool = False) -> np.ndarray:
        """Each region's sound; `shared`, `whole`: as in `tracks`. Shape: float32 (P, L). Raises SopError as `tracks` does."""
        found = np.zeros((len(regions) + shared, len(self.mixture)), np.float32)
        for at, size, blocks in self._pieces(regions, shared, None, whole):
            for rows, sounds in blocks:
                found[rows, at : at + size] = sounds
        return found

    @torch.inference_mode()
    def _pieces(
        self, regions: list[Region], shared: bool, source: Source | None, whole: bool
    ) -> Iterator[tuple[int, int, list[tuple[np.ndarray, np.ndarray]]]]:
        """See `pieces`; yields where a piece begins, how long it is, and in blocks which of its rows aren't silent, and those."""
        times = source.times if source else 1
        n_fft, hop, length = self.config.n_fft * times, self.config.hop * times, len(self.mixture) * times
        size = len(regions) if shared else BLOCK
        blocks = [slice(p, p + size) for p in range(0, len(regions), size)]
        inverses = [Inverse(n_fft, hop, self.device) for _ in blocks]
        begin = self.first * hop  # the scene's first sample
        before = n_fft // 2  # samples of a frame before its middle
        heard = source.sound if source else self.channels.sound  # all of it

        def piece(at: int, count: int, found: list[tuple[Tensor, Tensor]]):
            """What of `count` samples from `at` on is the scene's; and the rest of the whole, if they share it."""
            if shared:
                ((_, sounds),) = found
                rest = heard(at, at + count).to(sounds) - sounds.sum(0)
                found = [*found, (torch.tensor([0]), rest[None])]
            part = slice(max(0, begin - at), min(count, max(0, begin + length - at)))
            clips = self.config.clips == "published" and not shared  # tracks add up
            rows = (
                (block.start + rows).cpu().numpy()
                for block, (rows, _) in zip([*blocks, slice(size, None)], found, strict=False)
            )
            sounds = ((s[:, part].clamp(-1, 1) if clips else s[:, part]).cpu().numpy() for _, s in found)
            return max(0, at - begin), max(0, part.stop - part.start), list(zip(rows, sounds, strict=True))

        # Masks of a whole are dealt out already: each takes its part, and none is cut.
        take, kind = (self._alone, "ratio") if whole else (self._shared if shared else self._alone, self.config.mask)
        for first, masks in _gathered(self._soft(regions, -(-before // hop), whole), FRAMES // times):
            count = masks.shape[1]
            last, found, spec = first + count, [], self.channels.spec(first, first + count)
            wide = source.spec(first, last, self.device) if source else spec
            for inverse, block in zip(inverses, blocks, strict=True):
                region, frame, weights = take(masks[block], kind)
                weights = extended(weights, spec[frame], wide.shape[-1]) if source else weights
                taken = wide.index_select(0, frame).mul_(weights)
                found.append(inverse.push((len(masks[block]), count), region, frame, taken))
            yield piece(first * hop - before, count * hop, found)
        yield piece(last * hop - before, (inverses[0].over - 1) * hop, [inverse.rest() for inverse in inverses])

    def sound(self, cells: Cell | Region) -> np.ndarray:
        """The sound of a cell, or of a region of cells. Shape: float32 (L,). Raises SopError for a cell off the grid."""
        return self.sounds([[cells] if isinstance(cells, tuple) else cells])[0]

    def tracks(self, regions: list[Region], whole: bool = False) -> np.ndarray:
        """Each region's sound and, last, the rest: together they are the mixture. What several claim is dealt out among them.

        `whole`: these regions are all that sounds. Everything is dealt out among them, as among a mixture's sources in an
        evaluation, and nothing is left over but where none of them is there: no holes, but what the picture does not show is in
        somebody's track. Shape: float32 (P + 1, L).
        Raises SopError for an empty region or a cell off the grid, and for `whole` where masks have no odds.
        """
        return self.sounds(regions, shared=True, whole=whole) if regions else self.mixture[None]

    @torch.inference_mode()
    def spectrogram(self, sound: np.ndarray) -> np.ndarray:
        """The log-frequency magnitudes of a sound, as the nets see it. Shape: (..., L) -> (..., F, T)"""
        return self.model.magnitudes(self.model.stft(torch.from_numpy(sound).to(self.device))).cpu().numpy()

    # ---- energy

    @cached_property
    @torch.inference_mode()
    def powers(self) -> np.ndarray:
        """The energy of each cell's own sound in each STFT frame, and last the mixture's. Shape: float32 (H W + 1, T)"""
        return self.powers_of([[(r, c)] for r in range(self.grid[0]) for c in range(self.grid[1])])

    @torch.inference_mode()
    def powers_of(self, regions: list[Region]) -> np.ndarray:
        """The energy of each region's own sound in each STFT frame, and last the mixture's. Shape: float32 (P + 1, T)"""
        found = []
        for first, masks in self._soft(regions):
            power = self.channels.spec(first, first + masks.shape[1]).abs().square()  # (T, F_linear)
            each = masks.new_zeros(len(masks) + 1, masks.shape[1])
            each[-1] = power.sum(-1)
            for p in range(0, len(masks), BLOCK):
                region, frame, weights = self._alone(masks[p : p + BLOCK], self.config.mask)
                each[p + region, frame] = (weights.square() * power[frame]).sum(-1)
            found.append(each.cpu().numpy())
        return np.concatenate(found, 1)

    def energy(self) -> np.ndarray:
        """The share of the mixture's energy that each cell's own sound has, 0 to 1: an absolute scale. Shape: (H, W)"""
        total = self.powers.sum(1, dtype=np.float64)
        return np.float32(total[:-1] / max(total[-1], 1e-12)).reshape(self.grid)

    def energies(self, smooth: float = 0.125) -> np.ndarray:
        """`energy` while each of `pictures` is on the screen, over `smooth` seconds; dimmed as the sound dies away.

        The share is of the moment's energy; it is dimmed by the moment's level in decibels, from as it is at the loudest moment
        to nothing `FAINTEST` dB below: a silent moment shows nothing. Shape: (V, H, W)
        """
        frames = self.rate / self.config.hop  # a second
        middles, total = self.instants(), np.cumsum(np.pad(self.powers, ((0, 0), (1, 0))), 1, dtype=np.float64)
        first = np.round((middles - smooth / 2) * frames).astype(int).clip(0, self.powers.shape[1] - 1)
        last = np.maximum(first + 1, np.round((middles + smooth / 2) * frames).astype(int)).clip(
            max=self.powers.shape[1]
        )
        moment = total[:, last] - total[:, first]  # (H W + 1, V)
        level = 10 * np.log10(np.maximum(moment[-1] / max(moment[-1].max(), 1e-12), 1e-12))
        shares = moment[:-1] / np.maximum(moment[-1], 1e-12) * np.clip(1 + level / FAINTEST, 0, 1)
        return np.float32(shares.clip(0, 1)).T.reshape(-1, *self.grid)

    def clusters(self, count: int | None = None) -> clusters.Clusters:
        """Pixels that sound alike, the loudest cluster first; a pixel is silent in a window where its own sound has less than
        `clusters.SILENT_SHARE` of the energy.

        Args: `count`: how many to find (None: as many as differ, `clusters.MOST` at most). Raises SopError where there are fewer.
        """
        return clusters.find(self, count)

    # ---- geometry

    def cells_in(self, box: tuple[float, float, float, float]) -> list[Cell]:
        """See `cells_in`."""
        return cells_in(box, self.grid)


def check_whole(config: Config) -> None:
    """Raises SopError where a model's masks can't be dealt out as `Scene.tracks` does with `whole`."""
    if not config.has_odds:
        raise SopError(
            f"whole with output_activation={config.output_activation}: only the sigmoid has odds to deal out by"
        )


def on_grid(cell: Cell, grid: tuple[int, int]) -> Cell:
    """The cell itself, or SopError where it is off the grid."""
    (r, c), (rows, cols) = map(operator.index, cell), grid
    if not (0 <= r < rows and 0 <= c < cols):
        raise SopError(f"pixel {r},{c} is off the grid: rows go from 0 to {rows - 1}, columns from 0 to {cols - 1}")
    return cell


def cells_in(box: tuple[float, float, float, float], grid: tuple[int, int]) -> list[Cell]:
    """The cells whose centres lie in a box (x0, y0, x1, y1), in shares of the picture (0 to 1); the nearest if none does.

    Raises SopError where the box is empty or wholly outside the picture.
    """
    x0, y0, x1, y1 = box
    if not (x0 < x1 and y0 < y1 and x1 > 0 and y1 > 0 and x0 < 1 and y0 < 1):
        raise SopError(f"box {box}: expected x0 < x1 and y0 < y1, and some of it within the picture")
    rows, cols = (_centres_in(n, low, high) for n, low, high in zip(grid, (y0, x0), (y1, x1), strict=True))
    return [(r, c) for r in rows for c in cols]


def _gathered(stretches: Iterator[tuple[int, Tensor]], most: int) -> Iterator[tuple[int, Tensor]]:
    """Stretches of frames, several in one as long as there are few regions. Shape: (P, T, F), P T about `most`"""
    held, begin = [], 0
    for first, masks in stretches:
        begin = begin if held else first
        held.append(masks)
        if sum(m.shape[0] * m.shape[1] for m in held) >= most:
            yield begin, torch.cat(held, 1)
            held = []
    if held:
        yield begin, torch.cat(held, 1)


def _centres_in(count: int, low: float, high: float) -> list[int]:
    """Which of `count` equal steps from 0 to 1 have their middle in [low, high); the nearest if none has."""
    middles = (np.arange(count) + 0.5) / count
    inside = np.flatnonzero((low <= middles) & (middles < high))
    return inside.tolist() or [int(np.abs(middles - (low + high) / 2).argmin())]
