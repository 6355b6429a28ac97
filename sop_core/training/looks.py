"""Precomputed features: what a frozen backbone makes of training's pictures, computed once.

Each clip is looked at in `config.looks` seeded crops, and in some pictures in which it is beside
other clips (`together`). The features are kept as float16 in `DATA/looks/<key>.npy`, beside
`frames/` and `audio/`. The key depends on the backbone's weights, the clips' frames and all that
draws the crops; a file of another key is removed.
"""

import errno
import hashlib
import io
import json
import math
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader, Dataset, Subset
from tqdm.auto import tqdm

from .. import __version__
from ..config import AnyPath, Config
from ..data.clips import Clip
from ..errors import SopError
from ..media.atomic import sweep, unfinished
from ..model.eyes import Eyes
from .engine import ignore_sigint
from .mixtures import Training, side_by_side, together_looks
from .windows import window_frames

BATCH = 16  # pictures that the backbone sees at a time
# What the looks depend on, besides the backbone's weights and the clips.
DRAWN_BY = (
    "seed",
    "fps",
    "rate",
    "samples",
    "image",
    "frame_stride",
    "sources",
    "crop",
    "looks",
    "together",
)


class Looks:
    """The features, read from the disk: float16 (clips, looks + looks side by side, C, H, W)."""

    def __init__(self, path: AnyPath, looks: int):
        self.path, self.looks, self._table = Path(path), looks, None

    @property
    def table(self) -> np.ndarray:
        if self._table is None:  # a loader's process maps the file for itself
            self._table = np.load(self.path, mmap_mode="r", allow_pickle=False)
        return self._table

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_table": None}

    def alone(self, clip: int, look: int) -> np.ndarray:
        """A look at a clip. Shape: float16 (C, H, W), NaN where its picture could not be read"""
        return self.table[clip, look]

    def side_by_side(self, clip: int, look: int) -> np.ndarray:
        """A picture in which a clip is the first of several side by side. Shape: as above"""
        return self.table[clip, self.looks + look]


def look_once(data: Training, eyes: Eyes, engine: Accelerator) -> Looks:
    """Compute the features of all of `data`'s pictures; go on where a killed run ended.

    Of several processes the first one of each machine computes, and the others wait for its file.
    Raises: SopError where the disk has no room, or the folder can't be written.
    """
    config = data.config
    clips = list(data.numbers)
    folder = _folder(clips)
    path = folder / f"{_key(config, clips, eyes)}.npy"
    if engine.is_local_main_process and not path.exists():
        try:
            _write(path, data, eyes, engine)
        except OSError as e:
            raise SopError(
                f"{folder}: what the backbone sees can't be kept there ({e.strerror or e}); "
                "free the disk, or look anew at every step: --set looks=0"
            ) from None
    while not path.exists():
        time.sleep(0.5)
    looks = Looks(path, config.looks)
    _ = (
        looks.table
    )  # opened now: another training of the same data, with other crops, may remove the file
    return looks


def _folder(clips: list[Clip]) -> Path:
    """`looks/` in the clips' data folder; if they have several, in the folder above all of them."""
    return Path(os.path.commonpath({clip.frames.absolute().parents[2] for clip in clips}), "looks")


def _key(config: Config, clips: list[Clip], eyes: Eyes) -> str:
    """A name for all that the features depend on."""
    frames = []
    for clip in clips:
        try:
            first = min(clip.frames.iterdir(), default=clip.frames).stat()
            frames.append([clip.name, clip.video, clip.n_frames, first.st_size, first.st_mtime_ns])
        except OSError:
            frames.append([clip.name])
    drawn = {key: getattr(config, key) for key in DRAWN_BY}
    text = json.dumps([__version__, config.backbone, eyes.digest, drawn, frames])
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:16]


class _Pictures(Dataset):
    """Each clip's pictures, augmented, as the backbone is to see them.

    Shape: uint8 (looks + side by side, 3, image, image)
    """

    def __init__(self, data: Training):
        self.data = data
        self.config = replace(data.config, frames=1)
        self.clips = list(data.numbers)
        self.count = data.config.looks + together_looks(data.config)

    def __len__(self) -> int:
        return len(self.data.numbers)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, torch.Tensor]:
        config, data = self.config, self.data
        silent = i >= len(data.sounding)
        pictures = np.zeros((self.count, 3, config.image, config.image), np.uint8)
        unread = []
        for k in range(config.looks if silent else self.count):
            beside = k >= config.looks
            rng = data.of_look(i, k - config.looks if beside else k, beside)
            parts = data.mixture(i, rng) if beside else [data.part(self.clips[i], rng)]
            try:
                pictures[k] = side_by_side(
                    [window_frames(part, config, rng) for part in parts], config
                )[0]
            except SopError:  # training says so, when it comes to it
                unread.append(k)
        return torch.from_numpy(pictures), torch.tensor(unread, dtype=torch.long)


@torch.inference_mode()
def _write(path: Path, data: Training, eyes: Eyes, engine: Accelerator) -> None:
    """Row after row, a clip each; what a killed run has finished is kept. Raises OSError."""
    config = data.config
    pictures = _Pictures(data)
    shape = (len(pictures), pictures.count, eyes.fc[0].num_features, *config.grid)
    row = 2 * math.prod(shape[1:])  # bytes
    path.parent.mkdir(exist_ok=True)
    part = unfinished(path, path.stem[:8])
    sweep(path.parent)
    for other in path.parent.glob("*.npy"):
        if not other.name.startswith(".part"):  # another training may be writing that
            other.unlink(missing_ok=True)
    with part.open("ab") as f:
        header = io.BytesIO()
        np.lib.format.write_array_header_2_0(
            header, {"descr": "<f2", "fortran_order": False, "shape": shape}
        )
        head = header.getvalue()
        done = max(0, f.tell() - len(head)) // row
        if f.tell() < len(head):
            f.truncate(0)
            f.write(head)
        f.truncate(len(head) + done * row)  # of a row that was cut off nothing is left
        needed = (len(pictures) - done) * row
        free = shutil.disk_usage(path.parent).free
        if needed > free:
            raise OSError(
                errno.ENOSPC, f"it needs {needed / 1e6:,.1f} MB, {free / 1e6:,.1f} are free"
            )
        rest = Subset(pictures, range(done, len(pictures)))
        loader = DataLoader(rest, None, num_workers=config.workers, worker_init_fn=ignore_sigint)
        title = f"looking once, {len(pictures) * row / 1e6:,.0f} MB"
        for these, unread in tqdm(
            loader, title, len(pictures), leave=False, unit="clip", initial=done
        ):
            seen = torch.cat(
                [eyes.look(some.to(engine.device)) for some in these.split(BATCH)]
            ).half()
            seen[unread.to(seen.device)] = torch.nan
            f.write(seen.cpu().contiguous().numpy().astype("<f2", copy=False).tobytes())
            f.flush()
        os.fsync(f.fileno())
    part.replace(path)
