"""Precomputed features: a frozen backbone's features of training's pictures, computed once.

Each clip has `config.looks` pictures, which are seeded crops. It has some more in which it stands
beside other clips (`together`). The features are kept as float16 in `DATA/looks/<key>.npy`, beside
`frames/` and `audio/`. The key depends on the backbone's weights, on the clips' frames, and on all
settings that draw the crops. A file with another key is removed, if no training has used it for a
day: several may run side by side.
"""

import errno
import hashlib
import json
import math
import os
import shutil
import time
from contextlib import suppress
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
from ..media.jpgs import frame_path
from ..model.eyes import Eyes
from .engine import ignore_sigint, read, readers
from .mixtures import Training, side_by_side, together_looks
from .windows import window_frames

BATCH = 16  # pictures in one pass of the backbone
UNUSED = 86_400  # seconds after which a file that no training has opened may go
# The settings that draw the pictures
DRAWN_BY = ("seed", "fps", "rate", "samples", "image", "frame_stride")
DRAWN_BY += ("sources", "crop", "looks", "together", "clips")


class Looks:
    """The features of each clip's pictures, read from the disk.

    `table`: float16 (clips, pictures, C, H, W), NaN where a picture could not be read. The first
    `looks` pictures show the clip alone. In the others it is the first of several side by side.
    """

    def __init__(self, path: AnyPath, looks: int):
        self.path = Path(path)
        self.looks = looks
        self._table: np.ndarray | None = None

    @property
    def table(self) -> np.ndarray:
        table = self._table
        if table is None:
            table = self._table = np.load(self.path, mmap_mode="r", allow_pickle=False)
        return table

    def in_use(self) -> None:
        """Mark the file as used now: another training removes it if it was not used for a day."""
        with suppress(OSError):  # of another user, or on a disk that can only be read
            os.utime(self.path)

    def __reduce__(self):
        return Looks, (self.path, self.looks)  # a loader's process maps the file for itself


def look_once(data: Training, eyes: Eyes, engine: Accelerator) -> Looks:
    """Compute the features of all pictures of `data`, or read them if they were computed before.

    It continues where a killed run ended. The first process of each machine computes; the others
    wait for its file.
    Raises: SopError where the disk has no room, or the folder can't be written.
    """
    config = data.config
    clips = list(data.numbers)
    folder = _folder(clips)
    path = folder / f"{_key(config, clips, eyes)}.npy"
    if engine.is_local_main_process and not path.exists():
        try:
            with readers("looking once"):
                _write(path, data, eyes, engine)
        except OSError as e:
            hint = "free the disk, or look anew at every step: --set looks=0"
            what = f"what the backbone sees can't be kept there ({e.strerror or e})"
            raise SopError(f"{folder}: {what}; {hint}") from None
    while not path.exists():
        time.sleep(0.5)
    looks = Looks(path, config.looks)
    looks.in_use()
    return looks


def _unused(path: Path) -> bool:
    """Whether no training has used this file for a day. Each marks it when it saves its state."""
    try:
        return time.time() - path.stat().st_mtime > UNUSED
    except OSError:  # another training has just removed it
        return False


def _folder(clips: list[Clip]) -> Path:
    """`looks/` in the clips' data folder; if they have several, in the folder above all of them.

    Where no folder is above them all, as on two drives of Windows: in the first clip's.
    """
    folders = [clip.frames.absolute().parents[2] for clip in clips]
    try:
        return Path(os.path.commonpath(set(folders)), "looks")
    except ValueError:
        return folders[0] / "looks"


def _key(config: Config, clips: list[Clip], eyes: Eyes) -> str:
    """A name for all that the features depend on."""
    frames = []
    for clip in clips:
        try:
            first = frame_path(clip.frames, 0).stat()
            about = [clip.n_frames, first.st_size, first.st_mtime_ns, *clip.photos]
            frames.append([clip.name, clip.video, *about])
        except OSError:
            frames.append([clip.name])
    drawn = {key: getattr(config, key) for key in DRAWN_BY}
    text = json.dumps([__version__, config.backbone, eyes.digest, drawn, frames])
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:16]


class _Pictures(Dataset):
    """Each clip's pictures, augmented, and the numbers of those that could not be read.

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
                apart = [window_frames(part, config, rng) for part in parts]
            except SopError:  # training reports it when it draws this clip
                unread.append(k)
            else:
                pictures[k] = side_by_side(apart, config)[0]
        return torch.from_numpy(pictures), torch.tensor(unread, dtype=torch.long)


@torch.inference_mode()
def _write(path: Path, data: Training, eyes: Eyes, engine: Accelerator) -> None:
    """Write the features, a row for each clip. Rows that a killed run has finished are kept.

    The file isn't mapped: a full disk must raise OSError here, and would kill a process that maps.
    """
    config = data.config
    pictures = _Pictures(data)
    channels = len(eyes.get_parameter("fc.0.weight"))
    shape = (len(pictures), pictures.count, channels, *config.grid)
    row = 2 * math.prod(shape[1:])  # bytes
    # Remove the files of other keys
    path.parent.mkdir(exist_ok=True)
    part = unfinished(path, path.stem[:8])
    sweep(path.parent)
    for other in path.parent.glob("*.npy"):
        if not other.name.startswith(".part") and _unused(other):  # a part is being written
            other.unlink(missing_ok=True)
    part.touch()
    with part.open("r+b") as f:
        # The header, which a killed run may have written before
        header = {"descr": "<f2", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_2_0(f, header)
        start = f.tell()
        # Continue after the last complete row
        done = (f.seek(0, os.SEEK_END) - start) // row
        f.truncate(start + done * row)
        f.seek(0, os.SEEK_END)
        needed = (len(pictures) - done) * row
        free = shutil.disk_usage(path.parent).free
        if needed > free:
            what = f"it needs {needed / 1e6:,.1f} MB, {free / 1e6:,.1f} are free"
            raise OSError(errno.ENOSPC, what)
        rest = Subset(pictures, range(done, len(pictures)))
        loader = DataLoader(rest, None, num_workers=config.workers, worker_init_fn=ignore_sigint)
        title = f"looking once, {len(pictures) * row / 1e6:,.0f} MB"
        total = len(pictures)
        for images, unread in tqdm(
            read(loader), title, total, leave=False, unit="clip", initial=done
        ):
            several = images.to(engine.device).split(BATCH)
            features = torch.cat([eyes.look(batch) for batch in several]).half()
            features[unread] = torch.nan
            f.write(features.cpu().numpy().astype("<f2").tobytes())
            f.flush()
        os.fsync(f.fileno())
    part.replace(path)
