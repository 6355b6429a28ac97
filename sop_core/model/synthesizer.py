"""The synthesizer: from a visual feature and a sound's feature maps to the logits of a mask.

Its state dict has the keys of the released `synthesizer_best.pth`.
Source: Zhao et al. 2018, section 3.2.
"""

import torch
from torch import Tensor, nn


class Synthesizer(nn.Module):
    """logits = sum over k of scale_k * feature_k * map_k, + bias.

    Args:
        channels: K, size of a visual feature and number of feature maps.
        weighted: learn `scale`; without it, this is the published `bias` synthesizer.

    Shape: visual features (B, P, K) of P regions or sources, feature maps (B, K, F, T)
        -> (B, P, F, T)
    """

    def __init__(self, channels: int = 32, weighted: bool = True):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(channels)) if weighted else None
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, features: Tensor, maps: Tensor) -> Tensor:
        if self.scale is not None:
            features = features * self.scale
        return torch.einsum("bpk,bkft->bpft", features, maps) + self.bias
