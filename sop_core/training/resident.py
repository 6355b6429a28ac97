"""Training's sounds and precomputed features in the memory of a GPU, where they fit.

A loader then gives numbers only: which clip, from which sample, how loud, which look. The GPU
gathers the windows itself. So neither files nor the bus to the GPU limit the training.
"""

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from ..errors import SopError
from ..media.sound import read_sound
from .looks import Looks
from .mixtures import Training, Unread

ROOM = 0.5  # share of a GPU's free memory that this may take; the nets need the rest
PIECE = 2**28  # bytes of features that are copied at once


class Resident:
    """The sounds and the features of all clips of `data`, on a device.

    Sounds have 16 bits, as in the files (an mp3 is rounded to them). `unread` is for `Training`,
    which draws other clips in the place of those that can't be read. From files it would read the
    sound part of a damaged one; here such a clip is left out as a whole.

    Args: `data`: its `looked` is set.
    """

    def __init__(self, data: Training, device: torch.device, progress: bool = True):
        assert isinstance(data.looked, Looks)
        self.samples = data.config.samples
        unread: dict[int, str] = {}
        # A clip may be shorter than a window, by as much as decoders differ.
        lengths = {clip: max(length, self.samples) for clip, length in data.lengths.items()}
        starts = np.cumsum([0, *(lengths[clip] for clip in data.numbers)])
        self.starts = torch.from_numpy(starts[:-1]).to(device)  # (clips,)
        self.sounds = torch.zeros(int(starts[-1]), dtype=torch.int16, device=device)  # in one row
        title = "reading the sounds"
        bar = tqdm(data.numbers.items(), title, leave=False, unit="clip", disable=not progress)
        for clip, number in bar:
            try:
                sound = torch.from_numpy(_whole(read_sound(clip.sound)[: lengths[clip]]))
            except SopError as e:
                unread[number] = str(e)
            else:
                self.sounds[starts[number] : starts[number] + len(sound)] = sound.to(device)
        table = data.looked.table
        self.features = torch.empty(table.shape, dtype=torch.float16, device=device)
        at_once = max(1, PIECE // table[0].nbytes)
        for first in range(0, len(table), at_once):
            rows = slice(first, first + at_once)
            self.features[rows] = torch.from_numpy(table[rows].copy()).to(device)
        self.unread = Unread(unread, np.isnan(table[:, :, 0, 0, 0]))

    def fill(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """A batch of `Training` with sounds, `seen` and the level of `noise`, which it lacks."""
        batch = dict(batch)
        clips, gains = batch.pop("clips"), batch.pop("gains")  # (B, M)
        at = self.starts[clips] + batch.pop("starts")
        window = torch.arange(self.samples, device=at.device)
        sounds = self.sounds[at[..., None] + window].float() * 2**-15
        sounds = sounds * gains[..., None]  # (B, M, L)
        # Side by side, all sources of a mixture are seen in the picture of the first
        seen_of, looks = batch.pop("seen_of"), batch.pop("looks")  # (B, N), (B, N, V)
        n = seen_of.shape[1]
        batch["sounds"] = sounds[:, :n]
        if sounds.shape[1] > n:
            batch["unseen"] = sounds[:, n:]
        batch["seen"] = self.features[seen_of[..., None], looks]  # (B, N, V, C, H, W)
        if "noise" in batch:
            level = batch["sounds"].square().mean((1, 2)).sqrt()
            batch["noise"] = batch["noise"] * level[:, None]
        return batch


def fits(data: Training, device: torch.device) -> bool:
    """Whether all of it has room on the device, a GPU."""
    if device.type != "cuda" or not data.config.looks_once or data.config.clips == "published":
        return False
    assert isinstance(data.looked, Looks)
    needed = 2 * sum(data.lengths.values()) + data.looked.table.nbytes
    return needed < ROOM * torch.cuda.mem_get_info(device)[0]


def _whole(sound: np.ndarray) -> np.ndarray:
    """Samples as 16-bit numbers. Shape: float32 (L,) -> int16 (L,)"""
    return np.round(np.clip(sound, -1, 1 - 2**-15) * 2**15).astype(np.int16)
