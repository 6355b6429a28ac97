"""The synthesizer: weighs the sound's K channels by a pixel's K numbers and adds them up to a mask's logits.

Keys of its state dict are those of the released `synthesizer_best.pth`. Source: Zhao et al. 2018, section 3.2.
"""

import torch
from torch import Tensor, nn


class Synthesizer(nn.Module):
    """logits = sum_k scale_k pixel_k sound_k + bias; the published `bias` synthesizer has no `weighted` scale.

    Shape: pixel (B, P, K) for P pixels or sources, sound (B, K, F, T) -> (B, P, F, T)
    """

    def __init__(self, channels: int = 32, weighted: bool = True):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(channels)) if weighted else None
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, pixel: Tensor, sound: Tensor) -> Tensor:
        pixel = pixel if self.scale is None else pixel * self.scale
        return torch.einsum("bpk,bkft->bpft", pixel, sound) + self.bias
