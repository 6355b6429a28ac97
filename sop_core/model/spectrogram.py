"""STFT, its inverse and the log-frequency warp: batched torch on whatever device the sound is.

Conventions: a Hann window of `n_fft` samples, centred frames, zeros beyond the ends. A window of
1 022 samples gives 512 bins.
The warp and its inverse are two matrices, so both are one matrix product, and differentiable.
"""

import math

import numpy as np
import torch
from scipy.optimize import root_scalar
from torch import Tensor, nn
from torch.nn.functional import pad


def stft(sound: Tensor, n_fft: int, hop: int, pad: str = "constant") -> Tensor:
    """Complex spectrogram. Equals `librosa.stft(sound, n_fft=n_fft, hop_length=hop)`.

    Args:
        pad: what lies beyond the ends: zeros, or with `reflect` the sound mirrored. librosa
            mirrored it before version 0.9, when the released code was run.

    Shape: (..., L) -> (..., n_fft // 2 + 1, L // hop + 1)
    """
    window = torch.hann_window(n_fft, device=sound.device, dtype=sound.dtype)
    flat = sound.reshape(-1, sound.shape[-1])
    pad = pad if sound.shape[-1] > n_fft // 2 else "constant"  # too short to be mirrored
    spec = torch.stft(flat, n_fft, hop, window=window, pad_mode=pad, return_complex=True)
    return spec.reshape(*sound.shape[:-1], *spec.shape[-2:])


def istft(spec: Tensor, hop: int, length: int) -> Tensor:
    """The sound of a complex spectrogram, `length` samples: `istft(stft(x)) = x`.

    Shape: (..., F_linear, T) -> (..., L)
    """
    n_fft = 2 * (spec.shape[-2] - 1)
    window = torch.hann_window(n_fft, device=spec.device, dtype=spec.real.dtype)
    flat = spec.reshape(-1, *spec.shape[-2:])
    sound = torch.istft(flat, n_fft, hop, window=window, length=length)
    return sound.reshape(*spec.shape[:-2], length)


class Inverse:
    """`istft` in pieces, of several sounds at once: frames in, sound out.

    Memory does not grow with the length. Only frames that are not silent are given: most pixels of
    a picture are silent most of the time, so this saves work.
    """

    def __init__(self, n_fft: int, hop: int, device: torch.device | str = "cpu"):
        self.n_fft = n_fft
        self.hop = hop
        self.over = -(-n_fft // hop)  # hops that a frame lasts
        self.window = torch.hann_window(n_fft, device=device)
        # What the frames so far add to the hops after them, (P, (over - 1) hop); and the same of
        # the squared windows. P is known from the first `push`.
        self.weight = self.window.new_zeros((self.over - 1) * hop)
        self.tail = self.weight.expand(0, -1)

    def push(
        self, shape: tuple[int, int], sound: Tensor, frame: Tensor, spec: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Take the next T frames of P sounds, and return T hops of those that are not all silent.

        The first sample of all is the one `n_fft // 2` before the first frame's middle.

        Args:
            shape: (P, T).
            sound, frame: int (n,), the sound and the frame (of T) of each row of `spec`. No pair
                may come twice.

        Returns: which sounds these are, and their samples.

        Shape: complex (n, F_linear) -> int (A,), (A, T hop)
        """
        p, t = shape
        tail = self.tail if len(self.tail) else self.weight.new_zeros(p, len(self.weight))

        # the A sounds with frames, or with a tail
        active = tail.any(1)
        active[sound] = True
        rows = active.nonzero()[:, 0]  # (A,)
        place = active.cumsum(0) - 1  # (P,), of a sound among the rows

        # frames -> windowed waves (n, n_fft)
        waves = self.window.new_zeros(0, self.n_fft)
        if len(spec):  # MKL refuses an FFT of no frames
            waves = torch.fft.irfft(spec, self.n_fft).mul_(self.window)
        sounds = self._overlap_add(tail[rows], t, place[sound], frame, waves)

        # squared windows, of silent frames too
        every = torch.arange(t, device=frame.device)
        square = self.window.square().expand(t, -1)
        weight = self._overlap_add(self.weight[None], t, torch.zeros_like(every), every, square)[0]

        # T hops are complete; the rest waits for the next frames
        end = t * self.hop
        self.tail = torch.zeros_like(tail).index_copy_(0, rows, sounds[:, end:])
        self.weight = weight[end:]
        return rows, sounds[:, :end].div_(weight[:end].clamp_min(1e-8))

    def rest(self) -> tuple[Tensor, Tensor]:
        """What the last frames still hold, of all P sounds. Shape: int (P,), (P, (over - 1) hop)"""
        every = torch.arange(len(self.tail), device=self.tail.device)
        return every, self.tail / self.weight.clamp_min(1e-8)

    def _overlap_add(
        self, tail: Tensor, t: int, row: Tensor, frame: Tensor, waves: Tensor
    ) -> Tensor:
        """Add T frames to what the earlier ones left.

        `row`, `frame`: int (n,), the sound and the frame (of T) of each wave.

        Shape: (A, (over - 1) hop), (n, n_fft) -> (A, (T + over - 1) hop)
        """
        sounds = pad(tail, (0, t * self.hop))
        hops = sounds.view(-1, self.hop)
        first = row * (t + self.over - 1) + frame
        # Wave by wave of hops, none of which comes twice: on a CPU faster than index_add_, and two
        # to ten times as fast as nn.functional.fold, which needs the silent frames too.
        for k, part in enumerate(waves.split(self.hop, 1)):
            at = first + k
            here = hops.index_select(0, at)
            here[:, : part.shape[1]] += part
            hops.index_copy_(0, at, here)
        return sounds


def magnitude(spec: Tensor) -> Tensor:
    """`spec.abs()` at a third of its time on a CPU, since it does not guard against overflow.

    Shape: complex (...) -> (...)
    """
    return spec.real.square().addcmul_(spec.imag, spec.imag).sqrt_()


def log_magnitude(mag: Tensor, loudness: str = "relative") -> Tensor:
    """What the sound net reads: the logarithm of magnitudes.

    `relative`: to the window's mean, with a floor 60 dB below it. So the level of a recording,
    which says nothing about the instruments, has no effect, and silence gives finite numbers.
    `absolute`: the published log(mag + 1e-10), which is -23 in silence.

    Shape: (..., F, T) -> (..., F, T)
    """
    if loudness == "absolute":
        return torch.log(mag + 1e-10)
    mean = mag.mean(dim=(-2, -1), keepdim=True).clamp_min(1e-8)
    return torch.log(mag / mean + 1e-3)


def log_positions(bins: int, linear: int) -> Tensor:
    """The centres of `bins` log-frequency bins among `linear` bins, from 0 to linear - 1.

    The published spacing, 21**u for u in 0..1 (Sound-of-Pixels, utils.warpgrid). Shape: (F,)
    """
    u = torch.linspace(0, 1, bins, dtype=torch.float64)
    return (21**u - 1) / 20 * (linear - 1)


def mel_positions(bins: int, linear: int) -> Tensor:
    """The same for a scale like the mel scale: linear at first, then logarithmic.

    The linear part has a bin for a bin; it ends where the logarithmic part is as dense. Of 256 bins
    for 512 it has the first 95 (up to 1 kHz at 11,025 Hz), where most of music is. Shape: (F,)
    """
    turn = root_scalar(
        lambda f: np.log((linear - 1) / f) - (bins - 1) / f + 1, bracket=(1, bins - 1)
    ).root
    i = torch.arange(bins, dtype=torch.float64)
    return torch.where(i < turn, i, turn * torch.exp(i / turn - 1)).clamp_max(linear - 1)


class Warp(nn.Module):
    """Linear to log frequency, and masks back again.

    Args:
        bins, linear: F and F_linear.
        kind: how.
            `mel`: triangular filters around `mel_positions`. Every linear bin is read, and
                `inverse` of a mask of ones is ones.
            `bank`: the same around the published `log_positions`. Where those are denser than the
                linear bins, it interpolates.
            `grid`: the published bilinear sampling at those positions, as it was in training
                (align_corners=True). At the top it skips a third of the linear bins.
            `none`: no warp.

    Source: Zhao et al. 2018, section 4.2, and the released utils.warpgrid.
    """

    bank: Tensor
    back: Tensor

    def __init__(self, bins: int, linear: int, kind: str = "mel"):
        super().__init__()
        self.kind = kind
        at = (mel_positions if kind == "mel" else log_positions)(bins, linear)
        if kind == "grid":
            u = torch.arange(linear, dtype=torch.float64) / (linear - 1)
            bank = _triangles(at, linear)
            back = _triangles(torch.log1p(20 * u) / math.log(21) * (bins - 1), bins)
        else:
            # Half-width of each triangle: to its neighbour, but at least one linear bin, since
            # low bins would read nothing otherwise.
            step = torch.diff(at, append=(2 * at[-1] - at[-2])[None]).clamp_min(1.0)
            triangles = _triangles(at, linear, step[:, None])
            bank = triangles / triangles.sum(1, keepdim=True)
            back = (triangles / triangles.sum(0, keepdim=True)).T
        self.register_buffer("bank", bank.float(), persistent=False)  # (F, F_linear)
        self.register_buffer("back", back.float().contiguous(), persistent=False)  # (F_linear, F)
        self.blocks = _nonzero_blocks(self.back)

    def forward(self, mag: Tensor) -> Tensor:
        """Shape: magnitudes (..., F_linear, T) -> (..., F, T)"""
        return mag if self.kind == "none" else self.bank @ mag

    def inverse(self, mask: Tensor) -> Tensor:
        """Shape: masks (..., F, T) -> (..., F_linear, T), still within the range of their values"""
        return mask if self.kind == "none" else self.back @ mask

    def inverse_frames(self, mask: Tensor) -> Tensor:
        """`inverse` of masks whose last axis is frequency, as the class `Inverse` takes them.

        A linear bin reads only two or three log-frequency bins. On a CPU, products with the blocks
        of `back` that are not zero take a fifth of the time.

        Shape: (..., T, F) -> (..., T, F_linear)
        """
        if self.kind == "none":
            return mask
        if mask.is_cuda:
            return mask @ self.back.T
        parts = [mask[..., columns] @ self.back[rows, columns].T for rows, columns in self.blocks]
        return torch.cat(parts, -1)


def _nonzero_blocks(matrix: Tensor, size: int = 64) -> list[tuple[slice, slice]]:
    """For `size` rows of a matrix at a time: the range of columns that are not all zero."""
    blocks = []
    for first in range(0, len(matrix), size):
        rows = slice(first, first + size)
        columns = matrix[rows].any(0).nonzero()
        blocks.append((rows, slice(int(columns.min()), int(columns.max()) + 1)))
    return blocks


def _triangles(at: Tensor, count: int, half: Tensor | float = 1.0) -> Tensor:
    """A triangle around each position among `count` bins. Half-width 1: linear interpolation.

    Shape: (F,), half-widths (F, 1) -> (F, count)
    """
    return (1 - (torch.arange(count) - at[:, None]).abs() / half).clamp_min(0)
