"""What the nets compute of a whole video: visual features, and the sound's feature maps.

Both are computed window by window. Windows overlap by half, and each counts only around its middle,
where the nets see most. Neighbours fade into one another over an eighth of a window.

Visual features (K values for each cell and window) are small and stay in memory. Feature maps
(K values for each frequency bin and STFT frame) stay there up to `MEMORY` bytes; the others are
computed again each time they are needed. `save` and `load` keep everything in a folder beside the
video.

Feature maps are whole multiples of `steps`: of 11 bits. A mask can lie on either side of a
threshold by a hair (0.1, or 0.5 for all of a bin), so whoever has fewer bits than the nets gave
hears other sounds. With these bits, a float16 on the disk and the page in a browser (`page`) hear
what a click in Python gives.
"""

import hashlib
import json
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from .. import __version__
from ..config import AnyPath
from ..errors import SopError
from ..media.atomic import atomic_path
from ..media.jpgs import resize
from ..media.stream import frames_within
from ..model.model import SoundOfPixels
from ..training.windows import frame_indices
from .film import Film

MEMORY = 2**29  # bytes of feature maps that stay in memory: 5 minutes at the paper's sizes
CLIPS = 2  # of the rules by which a file's clip is found (`media/stream`): for the key
LEVELS = 2**11  # of a feature map's values from 0 to the greatest: what a float16 holds
PROGRESS_FROM = 20  # windows from which on a progress bar is shown


@dataclass(frozen=True)
class Window:
    """STFT frames: the nets see a window from `start` on; frames `first` up to `last` count."""

    start: int
    first: int
    last: int


def windows(length: int, size: int) -> list[Window]:
    """Windows over `length` STFT frames; `fade(size)` of them count in two neighbours."""
    end, half = max(0, length - size), fade(size) // 2
    starts = [*range(0, end, size // 2), end]
    middles = [(a + b + size) // 2 for a, b in pairwise(starts)]  # of what two windows both see
    firsts = [0, *(m - half for m in middles)]
    lasts = [*(m + half for m in middles), length]
    return [Window(*w) for w in zip(starts, firsts, lasts, strict=True)]


def fade(size: int) -> int:
    """STFT frames over which a window of `size` gives way to the next."""
    return size // 8 // 2 * 2


@torch.inference_mode()
def look(
    model: SoundOfPixels, film: Film, spans: list[Window], seconds: float
) -> tuple[Tensor, Tensor | None]:
    """The visual feature of each cell in each window, pooled over the window's frames.

    The second is what the model's names are told by, the mean of `Names.project` over these frames;
    None: the model has no names.

    Args: `spans`: the windows. `seconds`: how long the sound is; pictures beyond don't count.
    Shape: -> (W, H, W, K), (W, H, W, D)
    """
    config, device = model.config, next(model.parameters()).device
    size = (config.image, config.image)
    count = frames_within(seconds, config.fps)
    # The frames that each window sees, (W, V). Windows share frames: each is read and seen once.
    seen = np.array([frame_indices(w.start * config.hop, count, config) for w in spans])
    wanted = np.unique(seen)
    bar = {"unit": " pictures", "disable": len(spans) < PROGRESS_FROM}
    pictures = tqdm(film.at(wanted.tolist()), "looking", len(wanted), **bar)
    # The net, on 8 frames at a time.
    grids, looks, batch = [], [], []
    for k, picture in enumerate(pictures, 1):
        batch.append(resize(picture[None], size))
        if len(batch) == 8 or k == len(wanted):
            stack = torch.from_numpy(np.concatenate(batch)).to(device).movedim(-1, 1)[:, None]
            if model.names is None:
                grids.append(model.visual_features(stack))  # (8, H, W, K)
            else:
                seen_by = model.look(stack)  # (8, 1, C, H, W)
                grids.append(model.project(seen_by))
                looks.append(model.names.project(seen_by[:, 0].movedim(1, -1)))  # (8, H, W, D)
            batch = []
    of_window = np.searchsorted(wanted, seen)
    grids = torch.cat(grids)  # (frames, H, W, K)
    visual_features = torch.stack([model.over_time(grids[i]) for i in of_window])
    if not looks:
        return visual_features, None
    looks = torch.cat(looks)
    return visual_features, torch.stack([looks[i].mean(0) for i in of_window])


class FeatureMaps:
    """The feature maps of a sound: `feature_maps[i]` is (K, T, F), window i's frames that count.

    Attributes:
        samples: the sound, float32 (L,)
        length: its STFT frames
        windows: a list of `Window`
        n_fft, hop: of its STFT
    """

    times = 1  # its rate is the model's

    def __init__(self, model: SoundOfPixels, sound: np.ndarray, stored: np.ndarray | None = None):
        """stored: feature maps from the disk, float16 (W, K, T, F); None: the net computes them."""
        config = model.config
        self.model, self.device, self.stored = model, next(model.parameters()).device, stored
        self.samples = np.asarray(sound, np.float32)
        self.n_fft, self.hop = config.n_fft, config.hop
        side = config.n_fft // 2
        # Padded as in `stft`: mirrored if the model was trained so and the sound is long enough.
        mirror = config.stft_pad == "reflect" and len(sound) > side
        self.padded = np.pad(self.samples, side, "reflect" if mirror else "constant")
        self.length = len(sound) // config.hop + 1
        self.windows = windows(self.length, config.stft_frames)
        self.window = torch.hann_window(config.n_fft, device=self.device)
        self.kept: dict[int, Tensor] = {}  # by number of the window
        self.room = MEMORY
        # `spec`'s last arguments and answer: every click in a player asks for the same.
        self.last: tuple = (None, None)

    def copy(self) -> "FeatureMaps":
        """A copy with memory of its own, which is freed with the copy."""
        other = copy(self)
        other.kept, other.room = dict(self.kept), MEMORY
        return other

    @torch.inference_mode()
    def spec(self, first: int, last: int) -> Tensor:
        """STFT frames from `first` up to `last`. Shape: complex (last - first, F_linear)"""
        if self.last[0] != (first, last):
            piece = self.padded[first * self.hop : (last - 1) * self.hop + self.n_fft]
            frames = torch.from_numpy(piece).to(self.device).unfold(0, self.n_fft, self.hop)
            self.last = (first, last), torch.fft.rfft(frames * self.window)
        return self.last[1]

    def sound(self, begin: int, end: int) -> Tensor:
        """Samples from `begin` up to `end`, padded as in `stft` beyond the ends. Shape: (l,)"""
        side = self.n_fft // 2
        samples = self.padded[begin + side : end + side]
        return torch.from_numpy(np.pad(samples, (0, end - begin - len(samples))))

    def __getitem__(self, i: int) -> Tensor:
        if i in self.kept:
            return self.kept[i]
        w = self.windows[i]
        if self.stored is None:
            maps = self._listen(w)
        else:
            stored = self.stored[i, :, : w.last - w.first].astype(np.float32)
            maps = torch.from_numpy(stored).to(self.device)
        step = steps(maps)
        maps = (maps / step).round_().mul_(step)
        if maps.nbytes <= self.room:
            self.room -= maps.nbytes
            self.kept[i] = maps
        return maps

    @torch.inference_mode()
    def _listen(self, w: Window) -> Tensor:
        """Run the sound net on one window. Shape: -> (K, T, F)"""
        size = self.model.config.stft_frames
        spec = self.spec(w.start, min(self.length, w.start + size)).T
        mags = torch.nn.functional.pad(self.model.magnitudes(spec), (0, size - spec.shape[-1]))
        maps = self.model.feature_maps(mags[None])[0]  # (K, F, T)
        return maps[..., w.first - w.start : w.last - w.start].mT.contiguous()

    def across(self, first: int, last: int) -> Iterator[tuple[int, Window]]:
        """The windows that count between two STFT frames, with their numbers.

        Shows a progress bar if many of them aren't in memory. (In a notebook every bar stays.)
        """
        here = [(i, w) for i, w in enumerate(self.windows) if w.first < last and w.last > first]
        few = sum(i not in self.kept for i, _ in here) < PROGRESS_FROM
        return iter(tqdm(here, "listening", unit=" windows", disable=few))


def steps(maps: Tensor) -> Tensor:
    """What each feature map of a window is counted in: powers of 2, so that rounding again changes
    nothing. Shape: (K, T, F) -> (K, 1, 1)
    """
    mantissa, exponent = maps.abs().amax((1, 2), keepdim=True).clamp_min(1e-30).frexp()
    return torch.ldexp(torch.ones_like(mantissa), exponent - (mantissa == 0.5).int()) / LEVELS


# ---- beside the video


def folder(video: AnyPath) -> Path:
    """Where a video's features are kept: `clip.mp4.sop`."""
    video = Path(video)
    return video.with_name(f"{video.name}.sop")


def key(model: SoundOfPixels, video: AnyPath) -> str:
    """A digest of what features depend on: weights, config, the video's size and time, version."""
    digest, state = hashlib.sha256(), Path(video).stat()
    digest.update(f"{__version__} {CLIPS} {state.st_size} {state.st_mtime_ns} ".encode())
    digest.update(model.config.to_json().encode())
    if model.names is not None:
        digest.update(repr(model.names.labels).encode())
        digest.update(model.names.axes.cpu().numpy().tobytes())
    for name, values in model.state_dict().items():
        digest.update(name.encode() + values.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def save(
    video: AnyPath,
    key: str,
    sound: np.ndarray,
    visual_features: Tensor,
    looks: Tensor | None,
    feature_maps: FeatureMaps,
) -> None:
    """Keep a video's features in `folder`; feature maps as float16.

    Raises SopError if the folder can't be written.
    """
    longest = max(w.last - w.first for w in feature_maps.windows)
    k, _, bins = feature_maps[0].shape
    shape = (len(feature_maps.windows), k, longest, bins)
    header = {"descr": "<f2", "fortran_order": False, "shape": shape}
    try:
        with atomic_path(folder(video)) as part:
            part.mkdir()
            np.save(part / "sound.npy", np.asarray(sound, np.float32))
            np.save(part / "pixels.npy", visual_features.cpu().numpy())
            if looks is not None:
                np.save(part / "looks.npy", looks.cpu().numpy())
            # Written, not memory-mapped: a full disk would kill a process that writes to a map.
            with (part / "channels.npy").open("wb") as f:
                np.lib.format.write_array_header_2_0(f, header)
                for i, w in feature_maps.across(0, feature_maps.length):
                    maps = feature_maps[i].cpu().numpy().astype("<f2")
                    missing = longest - (w.last - w.first)
                    f.write(np.pad(maps, ((0, 0), (0, missing), (0, 0))).tobytes())
            (part / "features.json").write_text(json.dumps({"key": key}))
    except OSError as e:
        why = f"features can't be kept there ({e.strerror or e}); go on without cache"
        raise SopError(f"{folder(video)}: {why}") from e


def load(
    video: AnyPath, key: str
) -> tuple[np.ndarray, tuple[Tensor, Tensor | None], np.ndarray] | None:
    """What `save` kept: sound, what `look` gave, and feature maps; None if there is no such key."""
    here = folder(video)
    try:
        if json.loads((here / "features.json").read_text())["key"] != key:
            return None
        sound = np.load(here / "sound.npy", allow_pickle=False)
        visual_features = np.load(here / "pixels.npy", allow_pickle=False)
        named = (here / "looks.npy").is_file()
        looks = torch.from_numpy(np.load(here / "looks.npy", allow_pickle=False)) if named else None
        maps = np.load(here / "channels.npy", mmap_mode="r", allow_pickle=False)
    except (OSError, EOFError, ValueError, KeyError, TypeError):
        return None
    dims = sound.ndim, visual_features.ndim, maps.ndim
    if dims != (1, 4, 4) or len(visual_features) != len(maps):
        return None
    return sound, (torch.from_numpy(visual_features), looks), maps
