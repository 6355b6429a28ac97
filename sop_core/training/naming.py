"""The labels' mean visual features, from the clips of a run: names for what a model sees.

Labels name what is seen; a model learns without them. See `model/names.py` for the features.
"""

import random
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from ..config import SILENCE_LABEL, AnyPath
from ..data.clips import Clip, solos
from ..errors import SopError
from ..media.jpgs import read_frames
from ..model.model import SoundOfPixels
from ..model.names import Names, fit
from .checkpoint import has_names, load_model, write_names
from .mixtures import Training

FRAMES = 3  # of a clip that are looked at
PER_LABEL, AT_MOST = 32, 1_024  # clips of a label, and of all labels: a GB for the default backbone
# A frame's regions: the whole of it, and its corners with these shares of its sides. Regions of a
# scene are parts of pictures, too.
SIDES = (1.0, 0.7, 0.5)


@torch.inference_mode()
def learn_names(model: SoundOfPixels, clips: Sequence[Clip], data: Training | None = None) -> Names:
    """The names of the solos among some clips. Shows a progress bar where pictures are read.

    Clips that can't be read are left out, with a warning.

    Args: `data`: of these clips; if it has their looks, no picture is read again.
    Raises SopError where that leaves fewer than two labels, or none of them has two videos.
    """
    views, used = [], []
    kept = data if data and data.looked else None
    chosen = _chosen(clips, model.config.seed)
    for clip in tqdm(chosen, "naming", leave=False, unit="clip", disable=kept is not None):
        seen = _kept(kept, clip) if kept else _seen(model, clip)
        if seen is not None:
            views.append(regions(seen))
            used.append(clip)
    stack = torch.stack(views) if views else torch.zeros(0, 1, 1)
    pictured = [" ".join(clip.photos) or clip.video for clip in used]  # composed ones share photos
    return fit(stack, [clip.label for clip in used], pictured)


def _seen(model: SoundOfPixels, clip: Clip) -> Tensor | None:
    """The backbone's output for some frames of a clip. Shape: -> (FRAMES, C, H, W)"""
    device, side = next(model.parameters()).device, model.config.image
    indices = (np.arange(FRAMES) + 0.5) / FRAMES * clip.n_frames
    try:
        frames = read_frames(clip.frames, indices.astype(int), (side, side))
    except SopError as e:
        warnings.warn(f"{e}; it names nothing", stacklevel=3)
        return None
    pictures = torch.from_numpy(frames).movedim(-1, 1).to(device)  # (FRAMES, 3, side, side)
    return model.look(pictures).float().cpu()


def _kept(data: Training, clip: Clip) -> Tensor | None:
    """The same for crops that training had looked at. Shape: -> (FRAMES, C, H, W)"""
    assert data.looked is not None
    i, count = data.numbers[clip], data.config.looks
    looks = np.stack([data.looked.table[i, k % count] for k in range(FRAMES)]).astype(np.float32)
    return torch.from_numpy(looks) if np.isfinite(looks).all() else None


def name_labels(folder: AnyPath, data: Training, device: str | None = None) -> None:
    """Give the best model of a run names, once; none where its labels are too few.

    Where training has looked at its pictures, no net runs here, and the device is left alone.
    """
    if Path(folder, "model.safetensors").is_file() and not has_names(folder):
        model = load_model(folder, "cpu" if data.looked else device)
        try:
            names = learn_names(model, list(data.numbers), data)
        except SopError:  # one label, say: there is nothing to tell apart
            return
        write_names(folder, names, model)


def _chosen(clips: Sequence[Clip], seed: int) -> list[Clip]:
    """Some solos of each label, drawn by seed."""
    of_label: dict[str, list[Clip]] = {}
    for clip in solos([*clips]):
        if clip.label != SILENCE_LABEL:
            of_label.setdefault(clip.label, []).append(clip)
    count = max(2, min(PER_LABEL, AT_MOST // max(1, len(of_label))))
    rng = random.Random(seed)
    return [c for own in of_label.values() for c in rng.sample(own, min(count, len(own)))]


def regions(seen: Tensor) -> Tensor:
    """The mean channels of each frame's regions, see `SIDES`.

    Shape: (V, C, H, W) -> (9 V, C)
    """
    return torch.cat([seen[..., rows, columns].mean((2, 3)) for rows, columns in _parts(seen)])


def _parts(seen: Tensor) -> Iterator[tuple[slice, slice]]:
    height, width = seen.shape[-2:]
    for side in SIDES:
        h, w = (max(1, round(side * n)) for n in (height, width))
        tops, lefts = ((0,) if side == 1 else (0, n - m) for n, m in ((height, h), (width, w)))
        for top in tops:
            yield from ((slice(top, top + h), slice(left, left + w)) for left in lefts)
