"""The sound net: a U-Net from a mixture's log-magnitude spectrogram to K feature maps.

Keys of its state dict are those of the released `sound_best.pth` (at the paper's sizes).
Source: Zhao et al. 2018, section 3.2; Ronneberger et al. 2015.
"""

from contextlib import nullcontext

import torch
from torch import Tensor, nn


class SoundNet(nn.Module):
    """A U-Net of `depth` levels; each level halves its input and doubles its output.

    Args:
        channels: K.
        depth: number of levels, from 5.
        width: channels of the first level.
        up: how a level doubles. "bilinear": interpolation and a convolution (published).
            "transposed": a transposed convolution, with 2.25 times fewer products.

    The paper: depth 7, width 64, K = 32, `up` bilinear.

    Shape: (B, 1, F, T) -> (B, K, F, T), F and T multiples of 2**depth
    """

    def __init__(self, channels: int = 32, depth: int = 7, width: int = 64, up: str = "bilinear"):
        super().__init__()
        # from the innermost level to the outermost
        block = _Level(8 * width, 8 * width, up)
        for _ in range(depth - 5):
            block = _Level(8 * width, 8 * width, up, block)
        for outer, inner in ((4, 8), (2, 4), (1, 2)):
            block = _Level(outer * width, inner * width, up, block)
        self.bn0 = nn.BatchNorm2d(1)
        self.unet_block = _Level(channels, width, up, block, outermost=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.unet_block(self.bn0(x))


class _Level(nn.Module):
    """Halve, go through the levels inside, double, and put the result beside the input.

    The outermost level reads one channel, and returns the result alone.

    Shape: (B, outer, F, T) -> (B, 2 outer, F, T); the outermost: (B, 1, F, T) -> (B, outer, F, T)
    """

    def __init__(
        self,
        outer: int,
        inner: int,
        up: str,
        inside: "_Level | None" = None,
        outermost: bool = False,
    ):
        super().__init__()
        self.outermost, self.innermost = outermost, inside is None
        reads = 2 * inner if inside else inner
        down = nn.Conv2d(1 if outermost else outer, inner, 4, stride=2, padding=1, bias=False)
        if up == "transposed":
            # The identity keeps the place, and so the keys, of the released net's interpolation.
            resize = nn.Identity()
            conv = nn.ConvTranspose2d(reads, outer, 4, stride=2, padding=1, bias=outermost)
        else:
            resize = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
            conv = nn.Conv2d(reads, outer, 3, padding=1, bias=outermost)
        layers = [down, *([inside] if inside else []), nn.ReLU(), resize, conv]
        if not outermost:
            if inside:
                layers.insert(1, nn.BatchNorm2d(inner))
            # In place, as published: the skip connection carries the rectified input too.
            layers = [nn.LeakyReLU(0.2, inplace=True), *layers, nn.BatchNorm2d(outer)]
        self.model = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        # In bf16, oneDNN's kernels for AMX read beyond the memory of a convolution to a single
        # column (torch 2.14): other results each time, and NaN now and then.
        exact = self.innermost and x.device.type == "cpu"
        with torch.autocast("cpu", enabled=False) if exact else nullcontext():
            x = x.float() if exact else x
            y = self.model(x)  # rectifies x in place, so it comes before the skip connection
            return y if self.outermost else torch.cat([x, y], 1)
