"""The sounds of regions, piece after piece: masks times an STFT, inverted.

Masks are applied to what the nets hear, mono at the model's rate (`pieces`), or to each channel of
the video's own sound (`source_pieces`).
"""

import math
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..media.sound import resampled
from ..model.spectrogram import Inverse
from .fullband import FullBandAudio, OwnAudio, extended
from .regions import BLOCK, Mode, Region, joined, soft_masks, take

if TYPE_CHECKING:
    from .scene import Scene

MASK_FRAMES = 2**14  # regions times STFT frames of one step of the inverse STFTs, at least
# Tracks of the video's own sound are whole multiples of 2^-23, as samples of 24 bits are: so that
# float32 adds up tracks and rest without rounding. Nobody hears it, at -144 dB.
GRID = np.float32(2**23)


@torch.inference_mode()
def pieces(
    scene: "Scene", regions: Sequence[Region], mode: Mode, energy: np.ndarray | None = None
) -> Iterator[np.ndarray]:
    """What `Scene.sounds` gives, piece after piece: float32 (P, l) or (P + 1, l).

    Args: `energy`: float64 (P + 2,), to which that of each region, of the rest and of the mixture
        is added as `Scene.powers_of` measures it.
    """
    audio = scene.feature_maps
    begin = scene.first * audio.hop
    end = begin + len(scene.mixture)
    clip = mode == "alone" and scene.config.clips == "published"  # tracks must add up
    for at, (piece,) in _stretches(scene, regions, mode, energy=energy):
        if mode != "alone":
            rest = audio.sound(at, at + piece.shape[1]).to(piece) - piece.sum(0)
            piece = torch.cat([piece, rest[None]])
        piece = piece[:, max(0, begin - at) : max(0, end - at)]
        yield (piece.clamp(-1, 1) if clip else piece).cpu().numpy()


@torch.inference_mode()
def source_pieces(
    scene: "Scene", regions: Sequence[Region], mode: Mode, audio: FullBandAudio
) -> Iterator[np.ndarray]:
    """The sound of each region and, last, the rest, of the video's own sound.

    They add up to the scene's stretch of it, channel by channel: exactly if its samples have 24
    bits or fewer, else within 2^-24 of full scale, the rounding of float32.

    Shape: pieces of float32 (P + 1, C, l), at `audio.own_rate` samples a second
    """

    def with_rest(tracks: np.ndarray, source: np.ndarray) -> np.ndarray:
        tracks = np.rint(tracks[..., : source.shape[1]] * GRID) / GRID
        rest = source.astype(np.float64)
        for track in tracks:
            rest -= track
        return np.concatenate([tracks, rest[None].astype(np.float32)])

    for tracks in _at_own_rate(scene, regions, mode, audio):
        yield with_rest(tracks, audio.take(tracks.shape[-1]))
    # Where resampling gave some samples less than the source has.
    source = audio.take(math.inf)
    yield with_rest(np.zeros((len(regions), *source.shape), np.float32), source)


@torch.inference_mode()
def own_pieces(
    scene: "Scene", regions: Sequence[Region], mode: Mode, audio: OwnAudio
) -> Iterator[np.ndarray]:
    """The regions' sounds at `audio.rate`, without the rest, from the scene's first sample on.

    Shape: pieces of float32 (P, C, l), which may reach beyond the scene's end
    """
    begin = scene.first * audio.hop
    for at, stretch in _stretches(scene, regions, mode, audio):
        yield stretch[..., max(0, begin - at) :].transpose(0, 1).cpu().numpy()


def _at_own_rate(
    scene: "Scene", regions: Sequence[Region], mode: Mode, audio: FullBandAudio
) -> Iterator[np.ndarray]:
    """The regions' sounds from the scene's first sample on: pieces of float32 (P, C, l)."""
    count = len(regions) * audio.channels

    def flat(at: int, stretch: Tensor) -> np.ndarray:  # (C, P, l) -> (P C, l)
        known = stretch[..., max(0, -at) :].transpose(0, 1)
        return known.reshape(count, known.shape[2]).cpu().numpy()

    stretches = _stretches(scene, regions, mode, audio)
    at, first = next(stretches)
    # Silence before it, so that resampling begins at a moment that is a sample at both rates.
    step = audio.rate // math.gcd(audio.rate, audio.own_rate)
    start = max(0, at) // step * step
    lead = np.zeros((count, max(0, at) - start), np.float32)
    parts = chain([lead, flat(at, first)], (flat(*stretch) for stretch in stretches))
    if audio.rate != audio.own_rate:
        parts = resampled(parts, audio.rate, audio.own_rate)
    skip = audio.begin - start * audio.own_rate // audio.rate
    for part in parts:
        part, skip = part[:, skip:], max(0, skip - part.shape[1])
        yield part.reshape(len(regions), audio.channels, part.shape[1])


def _stretches(
    scene: "Scene",
    regions: Sequence[Region],
    mode: Mode,
    own: OwnAudio | None = None,
    energy: np.ndarray | None = None,
) -> Iterator[tuple[int, Tensor]]:
    """Masks times the STFT, inverted: stretches that reach a little beyond the scene.

    Regions are inverted in blocks, but those that divide bins among them all at once.

    Args: `own`: the video's own sound; None: what the nets hear. `energy`: see `pieces`.

    Yields: the first sample (of the whole video), and (C, P, l)
    """
    n_fft, hop, times, channels = scene.config.n_fft, scene.config.hop, 1, 1
    if own:
        n_fft, hop, times, channels = own.n_fft, own.hop, own.times, own.channels
    size = BLOCK if mode == "alone" else len(regions)
    starts = range(0, len(regions), size)
    inverses = {(c, p): Inverse(n_fft, hop, scene.device) for c in range(channels) for p in starts}

    def whole(length: int, blocks: list[tuple[int, Tensor, Tensor]]) -> Tensor:
        sounds = torch.zeros(channels, len(regions), length, device=scene.device)
        for c, rows, block in blocks:  # the rows that aren't silent
            sounds[c, rows] = block
        return sounds

    margin = -(-n_fft // 2 // hop)  # STFT frames
    stretches = soft_masks(scene, regions, mode, margin)
    for first, masks in joined(stretches, MASK_FRAMES // (times * channels)):
        last = first + masks.shape[1]
        in_band = scene.feature_maps.spec(first, last)  # (T, F_linear)
        specs = own.spec(first, last) if own else in_band[None]  # (C, T, F_linear)
        blocks = []
        for p in starts:
            block = masks[p : p + size]
            region, frame, weights = take(scene.model, block, mode)  # (n,), (n,), (n, F_linear)
            if energy is not None:
                _measure(energy, scene, first, in_band, p + region, frame, weights)
            if own:
                weights = extended(weights, in_band[frame], specs.shape[-1])
            for c, spec in enumerate(specs):
                masked = spec.index_select(0, frame).mul_(weights)
                shape = (len(block), last - first)
                rows, sounds = inverses[c, p].push(shape, region, frame, masked)
                blocks.append((c, p + rows, sounds))
        yield first * hop - n_fft // 2, whole((last - first) * hop, blocks)
    rest = [(c, p, *inverse.rest()) for (c, p), inverse in inverses.items()]
    length = rest[0][3].shape[1]
    yield last * hop - n_fft // 2, whole(length, [(c, p + rows, s) for c, p, rows, s in rest])


def _measure(
    energy: np.ndarray,
    scene: "Scene",
    first: int,
    spec: Tensor,
    region: Tensor,
    frame: Tensor,
    weights: Tensor,
) -> None:
    """Add to `energy` what the weights take of the scene's STFT frames, and what they leave.

    Shape: complex (T, F_linear), int (n,), int (n,), (n, F_linear)
    """
    power = spec.abs().square()
    inside = torch.arange(first, first + len(spec), device=spec.device)
    power[(inside < scene.first) | (inside >= scene.last)] = 0
    each = power.new_zeros(len(energy) - 2)
    each.index_add_(0, region, (weights.square() * power[frame]).sum(-1))
    left = torch.ones_like(power).index_add_(0, frame, weights, alpha=-1).square() * power
    energy += [*each.tolist(), left.sum().item(), power.sum().item()]
