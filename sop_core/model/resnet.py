"""The frame net: a dilated ResNet-18 from pictures to K channels on a grid of pixels.

Keys of its state dict are those of the released `frame_best.pth` (at the paper's sizes).
Source: Zhao et al. 2018, section 3.2; He et al. 2016; Yu & Koltun 2016 for the dilation.
"""

import warnings

import torch
from torch import Tensor, nn
from torchvision.models import ResNet18_Weights
from torchvision.models.resnet import BasicBlock


class FrameNet(nn.Module):
    """Shape: uint8 pictures (B, 3, h, w) -> (B, K, h / stride, w / stride), rounded up. The paper: K = 32, width 64,
    stride 16.

    `stride` 16 dilates the last of ResNet's four groups of blocks, 8 the last two, 32 none (the published resnet18fc). Fewer
    `groups` leave out the last ones, and without `dilation` the finer grid sees less far: a cell then answers for what is in
    it rather than for its neighbours, which training, blind to places, does not ask for by itself. `pretrained` starts from
    ImageNet (width 64 only); where the weights can't be fetched it says so in one line and starts at random.
    """

    def __init__(
        self,
        channels: int = 32,
        width: int = 64,
        stride: int = 16,
        groups: int = 4,
        dilation: bool = True,
        pretrained: bool = False,
    ):
        super().__init__()
        body, reads = [], width
        for i in range(groups):
            body.append(_group(reads, width * 2**i, stride=1 if i == 0 else 2))
            reads = width * 2**i
        stem = [
            nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        ]
        self.features = nn.Sequential(*stem, nn.MaxPool2d(3, stride=2, padding=1), *body)
        if pretrained:
            _load_imagenet(self.features)
        for i, group in enumerate(body[{8: 2, 16: 3, 32: 4}[stride] :], 1):
            _dilate(group, 2**i if dilation else 1)
        self.fc = nn.Conv2d(reads, channels, 3, padding=1)
        mean, std = (
            torch.tensor([0.485, 0.456, 0.406]),
            torch.tensor([0.229, 0.224, 0.225]),
        )  # of ImageNet, in 0..1
        self.register_buffer("mean", 255 * mean.view(3, 1, 1), persistent=False)
        self.register_buffer("std", 255 * std.view(3, 1, 1), persistent=False)

    def look(self, pictures: Tensor) -> Tensor:
        """What the body sees. Shape: 0..255 (B, 3, h, w) -> (B, C, h / stride, w / stride)"""
        return self.features((pictures - self.mean) / self.std)

    def forward(self, pictures: Tensor) -> Tensor:
        return self.fc(self.look(pictures))

    def frozen(self) -> set[str]:
        """Keys of what never learns: none."""
        return set()


def _group(reads: int, writes: int, stride: int) -> nn.Sequential:
    """Two basic blocks; the first may halve the picture and then needs a shortcut that does so too."""
    shortcut = None
    if stride != 1 or reads != writes:
        shortcut = nn.Sequential(
            nn.Conv2d(reads, writes, 1, stride, bias=False), nn.BatchNorm2d(writes)
        )
    return nn.Sequential(BasicBlock(reads, writes, stride, shortcut), BasicBlock(writes, writes))


def _dilate(group: nn.Module, by: int) -> None:
    """Trade a group's stride for dilation: the same view of the picture, on a grid twice as fine. By 1: a narrower view."""
    for conv in (m for m in group.modules() if isinstance(m, nn.Conv2d)):
        # The convolution that lost its stride still sees the coarser grid of the group before: half the dilation.
        reach = max(1, by // 2) if conv.stride == (2, 2) else by
        conv.stride = (1, 1)
        if conv.kernel_size == (3, 3):
            conv.dilation = conv.padding = (reach, reach)


def _load_imagenet(features: nn.Sequential) -> None:
    """torchvision's ImageNet weights by the order of their entries, or one clear line."""
    try:
        state = ResNet18_Weights.IMAGENET1K_V1.get_state_dict(progress=True, check_hash=True)
    except (
        OSError,
        RuntimeError,
    ) as e:  # no network, a refused connection, a full disk, half a file
        warnings.warn(
            f"frame net starts at random: ImageNet weights could not be fetched ({e})", stacklevel=3
        )
        return
    body = [v for k, v in state.items() if not k.startswith("fc.")]
    features.load_state_dict(dict(zip(features.state_dict(), body, strict=True)))
