"""The published backbone: a dilated ResNet-18 that turns pictures into K features of each cell.

It learns, unlike the pretrained one of `eyes`. Keys of its state dict are those of the released
`frame_best.pth` (at the paper's sizes).
Source: Zhao et al. 2018, section 3.2; He et al. 2016; Yu & Koltun 2016 for the dilation.
"""

import warnings

import torch
from torch import Tensor, nn
from torchvision.models import ResNet18_Weights
from torchvision.models.resnet import BasicBlock

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's colours, in 0..1


class FrameNet(nn.Module):
    """A ResNet-18 with a finer grid, and a layer `fc` from its channels to K.

    Args:
        channels: K.
        width: channels of the first layer.
        stride: pixels of the picture a cell. 16 dilates the last of ResNet's four groups of
            blocks, 8 the last two, 32 none (the published resnet18fc).
        groups: how many of the groups of blocks there are; fewer leave out the last ones.
        dilation: without it a cell of the finer grid sees less of its surroundings. It then
            stands for what is in it rather than for its neighbours, which training does not ask
            for: it does not know the places of the sources.
        pretrained: start from ImageNet (width 64 only). If the weights can't be fetched, it warns
            in one line and starts at random.

    The paper: K = 32, width 64, stride 16.

    Shape: uint8 pictures (B, 3, h, w) -> (B, K, h / stride, w / stride), rounded up
    """

    mean: Tensor
    std: Tensor

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
        widths = [width * 2**i for i in range(groups)]
        body = [_group(width, width, stride=1)]
        body += [_group(w // 2, w, stride=2) for w in widths[1:]]
        self.features = nn.Sequential(
            nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2, padding=1),
            *body,
        )
        if pretrained:
            _load_imagenet(self.features)
        for i, group in enumerate(body[{8: 2, 16: 3, 32: 4}[stride] :], 1):
            _dilate(group, 2**i if dilation else 1)
        self.fc = nn.Conv2d(widths[-1], channels, 3, padding=1)
        for name, values in (("mean", MEAN), ("std", STD)):
            self.register_buffer(name, 255 * torch.tensor(values).view(3, 1, 1), persistent=False)

    def look(self, pictures: Tensor) -> Tensor:
        """The channels below `fc`. Shape: 0..255 (B, 3, h, w) -> (B, C, h / stride, w / stride)"""
        return self.features((pictures - self.mean) / self.std)

    def forward(self, pictures: Tensor) -> Tensor:
        return self.fc(self.look(pictures))


def _group(reads: int, writes: int, stride: int) -> nn.Sequential:
    """Two basic blocks. If the first halves the picture, its shortcut does so too."""
    shortcut = None
    if stride != 1:
        halved = nn.Conv2d(reads, writes, 1, stride, bias=False)
        shortcut = nn.Sequential(halved, nn.BatchNorm2d(writes))
    return nn.Sequential(BasicBlock(reads, writes, stride, shortcut), BasicBlock(writes, writes))


def _dilate(group: nn.Module, by: int) -> None:
    """Trade a group's stride for dilation, so that its grid is twice as fine.

    A cell sees as much of the picture as before; with a dilation of 1 it sees less.
    """
    for conv in (m for m in group.modules() if isinstance(m, nn.Conv2d)):
        # The convolution that lost its stride reads the coarser grid of the group before: half
        # the dilation.
        reach = max(1, by // 2) if conv.stride == (2, 2) else by
        conv.stride = (1, 1)
        if conv.kernel_size == (3, 3):
            conv.dilation = conv.padding = (reach, reach)


def _load_imagenet(features: nn.Sequential) -> None:
    """torchvision's ImageNet weights by the order of their entries, or one clear line."""
    try:
        state = ResNet18_Weights.IMAGENET1K_V1.get_state_dict(progress=True, check_hash=True)
    except (OSError, RuntimeError) as e:  # no network, a full disk, half a file
        message = f"frame net starts at random: ImageNet weights could not be fetched ({e})"
        warnings.warn(message, stacklevel=3)
        return
    body = [v for k, v in state.items() if not k.startswith("fc.")]
    features.load_state_dict(dict(zip(features.state_dict(), body, strict=True)))
