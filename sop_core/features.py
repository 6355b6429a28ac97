"""What the nets say of a whole video, window by window: each pixel's K numbers, and the sound's K channel images.

Windows overlap by half, and each counts only round its middle, where the nets see most; neighbours fade into one another
over an eighth of a window. The pixels' numbers are small and stay in memory; channel images are kept as long as there is
room (`KEPT`), and made again beyond that, so most of it never stands in memory at once. `save` and `load` keep all of it in a
folder beside the video.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from . import __version__, media
from .config import AnyPath
from .errors import SopError
from .film import Film
from .nets import SoundOfPixels
from .windows import frame_indices

KEPT = 2**29  # bytes of channel images in memory: 5 minutes at the paper's sizes
LONG = 20  # windows from which on a progress bar is shown


@dataclass(frozen=True)
class Window:
    """STFT frames: the nets see `size` of them from `start` on; those from `first` up to `last` count."""

    start: int
    first: int
    last: int


def windows(length: int, size: int) -> list[Window]:
    """The windows of `length` STFT frames. Neighbours share `fade(size)` frames that count."""
    end, half = max(0, length - size), fade(size) // 2
    starts = [*range(0, end, size // 2), end]
    cuts = [(a + b + size) // 2 for a, b in zip(starts, starts[1:], strict=False)]  # the middles of what they share
    firsts, lasts = [0, *(c - half for c in cuts)], [*(c + half for c in cuts), length]
    return [Window(*w) for w in zip(starts, firsts, lasts, strict=True)]


def fade(size: int) -> int:
    """STFT frames over which a window of `size` gives way to the next."""
    return size // 8 // 2 * 2


@torch.inference_mode()
def look(model: SoundOfPixels, film: Film, spans: list[Window], seconds: float) -> Tensor:
    """Each pixel's K numbers in each window, greatest over the frames it is shown. Shape: -> (W, H, W, K)"""
    config, device = model.config, next(model.parameters()).device
    count = max(1, media.frames_within(seconds, config.fps))
    looks = [frame_indices(w.start * config.hop, count, config) for w in spans]
    wanted = np.unique(looks)
    grids, batch = [], []
    pictures = tqdm(film.at(wanted.tolist()), "looking", len(wanted), unit=" pictures", disable=len(spans) < LONG)
    for k, picture in enumerate(pictures, 1):
        batch.append(media.resize(picture[None], (config.image, config.image)))
        if len(batch) == 8 or k == len(wanted):
            small = torch.from_numpy(np.concatenate(batch)).to(device).movedim(-1, 1)  # (8, 3, image, image)
            grids.append(model.pixels(small[:, None]))  # one frame at a time: windows share them
            batch = []
    grids = torch.cat(grids)
    return torch.stack([model.over_time(grids[np.searchsorted(wanted, look)]) for look in looks])


class Channels:
    """The K channel images of a sound, window by window: `channels[i]` is (K, T of window i that counts, F)."""

    def __init__(self, model: SoundOfPixels, sound: np.ndarray, stored: np.ndarray | None = None):
        """stored: float16 (W, K, T, F) where they were saved, mapped from the disk."""
        config = model.config
        self.model, self.device, self.stored = model, next(model.parameters()).device, stored
        side = config.n_fft // 2
        # As `stft` pads it: mirrored where that is what the model was trained with, and there is enough to mirror.
        mirror = config.stft_pad == "reflect" and len(sound) > side
        self.padded = np.pad(np.asarray(sound, np.float32), side, "reflect" if mirror else "constant")
        self.length = len(sound) // config.hop + 1  # STFT frames
        self.windows = windows(self.length, config.stft_frames)
        self.window = torch.hann_window(config.n_fft, device=self.device)
        self.kept: dict[int, Tensor] = {}
        self.room = KEPT
        self.last: tuple = (None, None)  # what `spec` was asked for last, and said: a player asks for the same again

    @torch.inference_mode()
    def spec(self, first: int, last: int) -> Tensor:
        """STFT frames from `first` up to `last`. Shape: complex (last - first, F_linear)"""
        n_fft, hop = self.model.config.n_fft, self.model.config.hop
        if self.last[0] != (first, last):
            piece = torch.from_numpy(self.padded[first * hop : (last - 1) * hop + n_fft]).to(self.device)
            self.last = (first, last), torch.fft.rfft(piece.unfold(0, n_fft, hop) * self.window)
        return self.last[1]

    def sound(self, begin: int, end: int) -> Tensor:
        """Samples from `begin` up to `end`, and what `stft` sees beyond the ends. Shape: (l,)"""
        side = self.model.config.n_fft // 2
        found = self.padded[begin + side : end + side]
        return torch.from_numpy(np.pad(found, (0, end - begin - len(found))))

    def __getitem__(self, i: int) -> Tensor:
        if i in self.kept:
            return self.kept[i]
        w = self.windows[i]
        found = self._listen(w) if self.stored is None else self._read(i, w)
        size = found.numel() * found.element_size()
        if size <= self.room:
            self.room, self.kept[i] = self.room - size, found
        return found

    @torch.inference_mode()
    def _listen(self, w: Window) -> Tensor:
        size = self.model.config.stft_frames
        spec = self.spec(w.start, min(self.length, w.start + size)).T
        mags = torch.nn.functional.pad(self.model.magnitudes(spec), (0, size - spec.shape[-1]))
        images = self.model.channels(mags[None])[0]  # (K, F, T)
        return images[..., w.first - w.start : w.last - w.start].mT.contiguous()

    def _read(self, i: int, w: Window) -> Tensor:
        return torch.from_numpy(self.stored[i, :, : w.last - w.first].astype(np.float32)).to(self.device)

    def across(self, first: int, last: int) -> Iterator[tuple[int, Window]]:
        """The windows that count between two STFT frames, by their numbers; shows a progress bar if they are many."""
        here = [(i, w) for i, w in enumerate(self.windows) if w.first < last and w.last > first]
        return iter(tqdm(here, "listening", unit=" windows", disable=len(here) < LONG))


# ---- beside the video


def folder(video: AnyPath) -> Path:
    """Where a video's features are kept: `clip.mp4.sop`."""
    video = Path(video)
    return video.with_name(f"{video.name}.sop")


def key(model: SoundOfPixels, video: AnyPath) -> str:
    """What features depend on: the weights, the config, the video's size and time, this version."""
    digest, state = hashlib.sha256(), Path(video).stat()
    digest.update(f"{__version__} {state.st_size} {state.st_mtime_ns} {model.config.to_json()}".encode())
    for name, values in model.state_dict().items():
        digest.update(name.encode() + values.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def save(video: AnyPath, key: str, sound: np.ndarray, pixels: Tensor, channels: Channels) -> None:
    """Keep a video's features; channel images as float16. Raises SopError where the folder can't be written."""
    longest = max(w.last - w.first for w in channels.windows)
    try:
        with media.whole(folder(video)) as part:
            part.mkdir()
            np.save(part / "sound.npy", np.asarray(sound, np.float32))
            np.save(part / "pixels.npy", pixels.cpu().numpy())
            shape = (len(channels.windows), *channels[0].shape[:1], longest, channels[0].shape[2])
            with (part / "channels.npy").open("wb") as f:  # a map of a file that the disk has no room for kills
                np.lib.format.write_array_header_2_0(f, {"descr": "<f2", "fortran_order": False, "shape": shape})
                for i, w in channels.across(0, channels.length):
                    images = channels[i].cpu().numpy().astype("<f2")
                    f.write(np.pad(images, ((0, 0), (0, longest - (w.last - w.first)), (0, 0))).tobytes())
            (part / "features.json").write_text(json.dumps({"key": key}))
    except OSError as e:
        raise SopError(f"{folder(video)}: features can't be kept there ({e.strerror or e}); go on without cache") from e


def load(video: AnyPath, key: str) -> tuple[np.ndarray, Tensor, np.ndarray] | None:
    """The sound, the pixels' numbers and the stored channel images of a video; None where others or none are kept."""
    here = folder(video)
    try:
        if json.loads((here / "features.json").read_text())["key"] != key:
            return None
        sound, pixels = (np.load(here / f"{name}.npy", allow_pickle=False) for name in ("sound", "pixels"))
        stored = np.load(here / "channels.npy", mmap_mode="r", allow_pickle=False)
    except (OSError, EOFError, ValueError, KeyError, TypeError):
        return None
    if (sound.ndim, pixels.ndim, stored.ndim) != (1, 4, 4) or len(pixels) != len(stored):
        return None
    return sound, torch.from_numpy(pixels), stored
