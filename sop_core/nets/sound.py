"""The sound net: a U-Net from a mixture's log-magnitude spectrogram to K channel images.

Keys of its state dict are those of the released `sound_best.pth` (at the paper's sizes).
Source: Zhao et al. 2018, section 3.2; Ronneberger et al. 2015.
"""

from functools import lru_cache

import torch
from torch import Tensor, nn


class SoundNet(nn.Module):
    """Shape: (B, 1, F, T) -> (B, K, F, T), F and T multiples of 2**depth. The paper: depth 7, width 64, K = 32, `up` bilinear.

    `up` "transposed" doubles by transposed convolutions: 2.25 times fewer products than a convolution after an interpolation.
    """

    def __init__(self, channels: int = 32, depth: int = 7, width: int = 64, up: str = "bilinear"):
        super().__init__()
        block = _Level(8 * width, 8 * width, up)
        for _ in range(depth - 5):
            block = _Level(8 * width, 8 * width, up, inside=block)
        for outer, inner in ((4, 8), (2, 4), (1, 2)):
            block = _Level(outer * width, inner * width, up, inside=block)
        self.bn0 = nn.BatchNorm2d(1)
        self.unet_block = _Level(channels, width, up, inside=block, reads=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.unet_block(self.bn0(x))


class _Level(nn.Module):
    """One level: halve, go through the levels inside, double, and (but for the outermost) set the input beside it."""

    def __init__(self, outer: int, inner: int, up: str, inside: nn.Module | None = None, reads: int | None = None):
        super().__init__()
        self.outermost = reads is not None
        down = [nn.Conv2d(reads or outer, inner, 4, stride=2, padding=1, bias=False)]
        kind, size = {
            "bilinear": (_UpConv, {"kernel_size": 3}),
            "transposed": (nn.ConvTranspose2d, {"kernel_size": 4, "stride": 2}),
        }[up]
        up = [nn.ReLU(), nn.Identity()]  # the released net's place for the interpolation
        up += [kind(2 * inner if inside else inner, outer, **size, padding=1, bias=self.outermost)]
        if not self.outermost:
            # In place, as published: the skip connection carries the rectified input too.
            down.insert(0, nn.LeakyReLU(0.2, inplace=True))
            up.append(nn.BatchNorm2d(outer))
            if inside:
                down.append(nn.BatchNorm2d(inner))
        self.model = nn.Sequential(*down, *([inside] if inside else []), *up)

    def forward(self, x: Tensor) -> Tensor:
        if self.outermost:
            return self.model(x)
        y = self.model(x)  # rectifies x in place, so it comes first
        return torch.cat([x, y], 1)


class _UpConv(nn.Conv2d):
    """Twice the size by bilinear interpolation (corners aligned), then a 3 x 3 convolution. Shape: (B, C, h, w) -> (B, C', 2h, 2w)

    Interpolation knows nothing of channels, so each of the nine taps may mix them first, on a quarter of the pixels; then its
    image is doubled, shifted and added up: two matrix products, since both are separable. Half the time on a CPU in the middle
    of the net, where channels are many; at its ends, and on GPUs, which have matrix rate to spare, the order is the usual one.
    """

    def in_order(self, x: Tensor) -> Tensor:
        """Interpolate, then convolve, as published."""
        return super().forward(nn.functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True))

    def forward(self, x: Tensor) -> Tensor:
        (b, c, h, w), out = x.shape, self.out_channels
        small = x.device.type != "cpu" or torch.is_autocast_enabled("cpu") or min(c, 8 * h, 8 * w) < 64
        if small or max(h, w) > 64:
            return self.in_order(x)
        taps = x.permute(0, 2, 3, 1) @ self.weight.permute(1, 2, 3, 0).reshape(c, 9 * out)  # (B, h, w, 9 C')
        taps = taps.unflatten(3, (9, out)).unbind(3)
        rows, columns = _shifted(h).expand(b, -1, -1, -1).unbind(1), _shifted(w).expand(b * h, -1, -1, -1).unbind(1)
        found = None
        for dy in range(3):
            wide = None  # (B h, 2w, C')
            for dx in range(3):
                tap = taps[3 * dy + dx].flatten(0, 1)  # (B h, w, C')
                wide = columns[dx] @ tap if wide is None else torch.baddbmm(wide, columns[dx], tap)
            wide = wide.view(b, h, 2 * w * out)
            found = rows[dy] @ wide if found is None else torch.baddbmm(found, rows[dy], wide)
        found = found.view(b, 2 * h, 2 * w, out)
        return (found if self.bias is None else found + self.bias).permute(0, 3, 1, 2)


@lru_cache(maxsize=32)
@torch.inference_mode(False)  # what is kept must serve training too
def _shifted(n: int) -> Tensor:
    """The interpolation of n values to 2n as a matrix, for a tap above, on and below: row i reads i - 1, i, i + 1. (3, 2n, n)"""
    at = torch.arange(2 * n, dtype=torch.float64) * (n - 1) / (2 * n - 1)
    up = (1 - (at[:, None] - torch.arange(n)).abs()).clamp_min(0)
    none = torch.zeros(1, n, dtype=up.dtype)
    return torch.stack([torch.cat([none, up[:-1]]), up, torch.cat([up[1:], none])]).float()
