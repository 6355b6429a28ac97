"""A `Scene`: a video, of any length, in which every cell of the picture can be heard.

The nets run once (`features`). Then the sound of a region costs an inner product of its visual
feature with the sound's feature maps, a mask and an inverse STFT (`regions`). All of this goes
window by window, so that memory doesn't grow with the video.
"""

from collections.abc import Iterator, Sequence
from copy import copy
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..config import AnyPath
from ..data.clips import Clip
from ..errors import SopError
from ..media.choose import BEST, Choice
from ..media.jpgs import read_frames
from ..media.sound import read_sound
from ..media.stream import frames_within, stream_sound
from ..model.model import SoundOfPixels
from ..model.names import Name
from ..training.windows import same_fps
from . import clusters, features, separated
from .features import FeatureMaps
from .film import Film, Stills, VideoFilm
from .regions import (
    BLOCK,
    HALF,
    Cell,
    Mode,
    Region,
    cells_in,
    heard_with_neighbours,
    names_of,
    soft_masks,
    take,
)

DYNAMIC_RANGE = 40  # dB below the loudest moment at which `energies` shows nothing any more


class Scene:
    """A picture that sounds.

    Attributes:
        mixture: its sound, float32 (L,), at `rate` samples a second
        grid: (H, W); cell (r, c) covers rows r h/H to (r+1) h/H and columns c w/W to (c+1) w/W
        fps: pictures a second of `pictures`
        visual_features: of each cell in each window (W, H, W, K)
        looks: what `name` tells names by (W, H, W, D); None: the model has no names
        feature_maps: of the sound, a `FeatureMaps`
        start: s, where a `part` begins in the whole video; 0 otherwise
        first, last: the STFT frames of the whole video that this scene covers
        source: the video file whose own sound this is, or None
    """

    source: AnyPath | None = None

    def __init__(
        self,
        model: SoundOfPixels,
        film: Film | np.ndarray,
        sound: np.ndarray,
        seen: tuple[Tensor, Tensor | None] | None = None,
        stored_maps: np.ndarray | None = None,
    ):
        """Run the nets on pictures and sound.

        Args:
            film: the pictures' source, or uint8 (V, h, w, 3) at the config's fps
            sound: float32 (L,) at the config's rate
            seen, stored_maps: what `features.load` gives, if features were kept

        Raises SopError if there is no picture or no sound.
        """
        if isinstance(film, np.ndarray):
            if not len(film) or not len(sound):
                there = f"{len(film)} frames and {len(sound)} samples"
                raise SopError(f"a scene needs picture and sound, found {there}")
            film = Stills(film.__getitem__, len(film), model.config.fps)
        self.model, self.config, self.film = model, model.config, film
        self.rate, self.grid, self.fps = model.config.rate, model.config.grid, film.fps
        feature_maps = FeatureMaps(model, sound, stored_maps)
        self._listen_to(feature_maps, 0, feature_maps.length)
        if seen is None:
            seen = features.look(model, film, feature_maps.windows, self.seconds)
        visual_features, self.looks = seen
        self.visual_features = visual_features.to(self.device)

    @classmethod
    def from_video(
        cls, model: SoundOfPixels, path: AnyPath, cache: bool = False, choice: Choice = BEST
    ) -> "Scene":
        """A whole video file, of any length; shows progress bars if it is long.

        A video that is shorter than the model's window is seen with silence after it.

        Args: `cache`: keep features in a folder beside the video, `NAME.sop`, and read them there
            the next time. Feature maps are kept as float16.
            `choice`: which of the video's streams.

        Raises SopError if the file can't be read, or has no picture or no sound.
        """
        film = VideoFilm(path, model.config, choice)
        key = features.key(model, path) if cache and Path(path).is_file() else ""
        key += f" {choice}" if key and choice != BEST else ""
        if key and (kept := features.load(path, key)):
            scene = cls(model, film, *kept)
        else:
            sound = stream_sound(path, model.config.rate, choice=choice)
            scene = cls(model, film, np.concatenate(list(sound)))
            if key:
                seen = scene.visual_features, scene.looks
                features.save(path, key, scene.mixture, *seen, scene.feature_maps)
                if kept := features.load(path, key):  # from float16, as it will be the next time
                    scene = cls(model, film, *kept)
        scene.source = path
        return scene

    @classmethod
    def from_clip(cls, model: SoundOfPixels, clip: Clip) -> "Scene":
        """A whole preprocessed clip. Raises SopError if its fps is not the model's."""
        same_fps([clip], model.config)
        film = Stills(partial(read_frames, clip.frames), clip.n_frames, model.config.fps)
        return cls(model, film, read_sound(clip.sound))

    def hearing(self, sound: np.ndarray) -> "Scene":
        """The same pictures with another sound, cut or zero-padded to this one's length.

        Shape: (L,)
        """
        samples = np.zeros_like(self.feature_maps.samples)
        sound = sound[: len(self.mixture)]
        samples[self.first * self.config.hop :][: len(sound)] = sound
        other = self._copy(FeatureMaps(self.model, samples), self.first, self.last)
        other.source = None
        return other

    def part(self, start: float, end: float) -> "Scene":
        """A stretch of the scene in seconds, rounded to STFT frames.

        It sounds as it does in the whole scene.

        Raises SopError if nothing of the scene lies between `start` and `end`.
        """
        hop = self.config.hop
        frames = np.rint(np.clip([start, end], 0, self.seconds + 1) * self.rate / hop)
        first, last = (int(t) for t in (self.first + frames).clip(self.first, self.last))
        if not first * hop < min(last * hop, len(self.feature_maps.samples)):
            stretch = f"a stretch of the scene's {self.seconds:.1f} s"
            raise SopError(f"part {start} to {end} s: expected {stretch}")
        return self._copy(self.feature_maps.copy(), first, last)

    def _copy(self, feature_maps: FeatureMaps, first: int, last: int) -> "Scene":
        other = copy(self)
        for name in ("_of_cells", "frame"):  # what was computed for this scene
            other.__dict__.pop(name, None)
        other._listen_to(feature_maps, first, last)
        return other

    def _listen_to(self, feature_maps: FeatureMaps, first: int, last: int) -> None:
        hop = self.config.hop
        self.feature_maps, self.device = feature_maps, feature_maps.device
        self.first, self.last = first, last
        self.mixture = feature_maps.samples[first * hop : last * hop]
        self.start = first * hop / self.rate

    @property
    def seconds(self) -> float:
        """How long it is."""
        return len(self.mixture) / self.rate

    # ---- pictures

    def instants(self) -> np.ndarray:
        """When each of `pictures` is shown: the middle of its time, in seconds. Shape: (V,)"""
        return (np.arange(frames_within(self.seconds, self.fps)) + 0.5) / self.fps

    def pictures(self) -> np.ndarray:
        """At `fps`; the last one stays if the sound is longer. Shape: uint8 (V, h, w, 3)"""
        shown = self.film.between(self.start, self.start + self.seconds)
        missing = len(self.instants()) - len(shown)
        if missing <= 0:  # no copy: these are the player's largest arrays
            return shown[: len(shown) + missing]
        return np.concatenate([shown, shown[-1:].repeat(missing, 0)])

    @cached_property
    def frame(self) -> np.ndarray:
        """The picture in the middle. Shape: uint8 (h, w, 3)"""
        middle = self.start + self.seconds / 2
        return self.film.between(middle - 0.5 / self.fps, middle + 0.5 / self.fps)[-1]

    def cells_in(self, box: tuple[float, float, float, float]) -> list[Cell]:
        """See `regions.cells_in`."""
        return cells_in(box, self.grid)

    def name(self, cells: Cell | Region) -> Name | None:
        """What a cell or region looks like; None: the model has no names. Raises as `masks` does.

        It is told by the picture alone, whatever sounds.
        """
        names = names_of(self, [[cells] if isinstance(cells, tuple) else cells])
        return names[0] if names else None

    # ---- sounds

    @cached_property
    def cell_features(self) -> Tensor:
        """See `regions.heard_with_neighbours`; computed once. Shape: (W, H, W, K)"""
        return heard_with_neighbours(self.config, self.visual_features)

    def masks(self, regions: Sequence[Region]) -> Tensor:
        """The soft mask of each region, 0 to 1, for the whole scene. Shape: -> (P, F, T)

        Raises SopError for an empty region or a cell off the grid.
        """
        return torch.cat([masks for _, masks in soft_masks(self, regions)], 1).mT

    def sound(self, cells: Cell | Region) -> np.ndarray:
        """The sound of one cell or region; raises as `masks` does. Shape: float32 (L,)

        A single cell is heard with its neighbours: `regions.heard_with_neighbours`.
        """
        return self.sounds([[cells] if isinstance(cells, tuple) else cells])[0]

    def sounds(self, regions: Sequence[Region], mode: Mode = "alone") -> np.ndarray:
        """The sound of each region; in other modes than `alone` the rest of the mixture is last.

        Shape: float32 (P, L) or (P + 1, L). Raises SopError as `tracks` does.
        """
        sounds = np.zeros((len(regions) + (mode != "alone"), len(self.mixture)), np.float32)
        begin = 0
        for piece in self.pieces(regions, mode):
            end = begin + piece.shape[1]
            sounds[:, begin:end] = piece
            begin = end
        return sounds

    def tracks(self, regions: Sequence[Region], partition: bool = False) -> np.ndarray:
        """The sound of each region and, last, the rest: they add up to the mixture.

        A bin that several regions take is divided among them.

        Args: `partition`: divide every time-frequency bin completely among the regions, as among
            the sources of a mixture in an evaluation. Nothing is left for the rest, except in
            windows in which no region has a cell. So sounds that the picture doesn't show are in
            the track of a region, too.

        Shape: float32 (P + 1, L)
        Raises SopError for an empty region or a cell off the grid, and for `partition` if the
        model's masks have no odds.
        """
        if not regions:
            return self.mixture[None]
        return self.sounds(regions, "partition" if partition else "shared")

    def heard(
        self, regions: Sequence[Region], partition: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """`tracks`, and each one's share of the mixture's energy, measured as `energy` does.

        So a cell's track has the share that the map says. Shape: float32 (P + 1, L), (P + 1,)
        Raises SopError as `tracks` does.
        """
        energy = np.zeros(len(regions) + 2)
        mode: Mode = "partition" if partition else "shared"
        sounds = np.concatenate(list(separated.pieces(self, regions, mode, energy)), 1)
        return sounds, energy[:-1] / max(energy[-1], 1e-12)

    def pieces(self, regions: Sequence[Region], mode: Mode = "alone") -> Iterator[np.ndarray]:
        """What `sounds` gives, piece after piece: float32 (P, l) or (P + 1, l)."""
        return separated.pieces(self, regions, mode)

    @torch.inference_mode()
    def spectrogram(self, sound: np.ndarray) -> np.ndarray:
        """Log-frequency magnitudes of a sound, as the nets see it.

        Shape: (..., L) -> (..., F, T)
        """
        spec = self.model.stft(torch.from_numpy(sound).to(self.device))
        return self.model.magnitudes(spec).cpu().numpy()

    # ---- energy

    @cached_property
    def _of_cells(self) -> tuple[np.ndarray, np.ndarray]:
        rows, columns = self.grid
        return self.powers_of([[(r, c)] for r in range(rows) for c in range(columns)])

    @property
    def powers(self) -> np.ndarray:
        """`powers_of` every cell, row by row. Shape: float32 (H W + 1, T)"""
        return self._of_cells[0]

    @property
    def certain(self) -> np.ndarray:
        """The same of the bins that are rather the cell's than not. Shape: float32 (H W + 1, T)"""
        return self._of_cells[1]

    @torch.inference_mode()
    def powers_of(self, regions: Sequence[Region]) -> tuple[np.ndarray, np.ndarray]:
        """The energy of each region's own sound in each STFT frame; the mixture's is last.

        The second array has the energy of the bins that are rather the region's than not: a mask
        that was learned as a binary one is over 0.5 there. It says whether the region sounds at
        all, since many masks have a little of a sound. (Of a ratio mask, both arrays are the same.)
        Shape: float32 (P + 1, T) each
        """
        energies = []
        for first, masks in soft_masks(self, regions):
            spec = self.feature_maps.spec(first, first + masks.shape[1])
            power = spec.abs().square()  # (T, F_linear)
            energy = masks.new_zeros(2, len(masks) + 1, masks.shape[1])
            energy[:, -1] = power.sum(-1)
            for p in range(0, len(masks), BLOCK):
                region, frame, weights = take(self.model, masks[p : p + BLOCK], "alone")
                here = power[frame]
                energy[0, p + region, frame] = (weights.square() * here).sum(-1)
                sure = weights > HALF if self.config.mask == "binary" else weights.square()
                energy[1, p + region, frame] = (sure * here).sum(-1)
            energies.append(energy.cpu().numpy())
        own, certain = np.concatenate(energies, 2)
        return own, certain

    def energy(self) -> np.ndarray:
        """The energy of each cell's own sound as a share of the mixture's, 0 to 1. Shape: (H, W)

        It is an absolute scale: two scenes can be compared.
        """
        shares = clusters.shares_of(self.powers)
        return shares.astype(np.float32).reshape(self.grid)

    def energies(self, smooth: float = 0.125) -> np.ndarray:
        """`energy` while each of `pictures` is on the screen, dimmed where the sound is soft.

        It is the share of the moment's energy, over `smooth` seconds, times the moment's level:
        1 at the loudest moment, falling linearly in dB to 0 at `DYNAMIC_RANGE` below it.
        Shape: (V, H, W)
        """
        per_second, count = self.rate / self.config.hop, self.powers.shape[1]
        # The STFT frames of each moment, at least one.
        edges = self.instants() + np.array([[-smooth], [smooth]]) / 2
        first, last = np.round(edges * per_second).astype(int)
        first = first.clip(0, count - 1)
        last = np.maximum(first + 1, last).clip(max=count)
        total = np.cumsum(np.pad(self.powers, ((0, 0), (1, 0))), 1, dtype=np.float64)
        moment = total[:, last] - total[:, first]  # (H W + 1, V)
        # Shares, dimmed.
        mixture = moment[-1]
        level = 10 * np.log10(np.maximum(mixture / max(mixture.max(), 1e-12), 1e-12))  # dB
        brightness = np.clip(1 + level / DYNAMIC_RANGE, 0, 1)
        shares = moment[:-1] / np.maximum(mixture, 1e-12) * brightness
        return shares.clip(0, 1).astype(np.float32).T.reshape(-1, *self.grid)

    def clusters(self, count: int | None = None) -> clusters.Clusters:
        """Groups of cells that sound alike, the loudest first.

        A cell is silent in a window, and belongs to no cluster there, if the bins that are rather
        its own than not have less than `clusters.SILENT_SHARE` of the window's energy.

        Args: `count`: how many to find (None: as many as differ, `clusters.MOST` at most).
        Raises SopError if there are fewer.
        """
        return clusters.find(self, count)
