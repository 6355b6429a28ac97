"""The sound net: a U-Net from a mixture's log-magnitude spectrogram to K channel images.

Keys of its state dict are those of the released `sound_best.pth` (at the paper's sizes).
Source: Zhao et al. 2018, section 3.2; Ronneberger et al. 2015.
"""

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

    def __init__(
        self,
        outer: int,
        inner: int,
        up: str,
        inside: nn.Module | None = None,
        reads: int | None = None,
    ):
        super().__init__()
        self.outermost = reads is not None
        down = [nn.Conv2d(reads or outer, inner, 4, stride=2, padding=1, bias=False)]
        reads_up = 2 * inner if inside else inner
        if up == "transposed":
            # The identity keeps the place, and so the keys, of the released net's interpolation.
            double = [
                nn.Identity(),
                nn.ConvTranspose2d(reads_up, outer, 4, 2, padding=1, bias=self.outermost),
            ]
        else:
            double = [
                nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True),
                nn.Conv2d(reads_up, outer, 3, padding=1, bias=self.outermost),
            ]
        up = [nn.ReLU(), *double]
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
