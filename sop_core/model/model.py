"""The model: sound net, backbone and synthesizer, between waveforms and masks.

Source: Zhao et al. 2018, figure 2.
"""

from dataclasses import replace
from functools import reduce

import torch
from torch import Tensor, nn

from ..config import Config
from ..settings import PUBLISHED
from .eyes import Eyes
from .masks import apply, binarize, partition, targets, weights
from .names import Names
from .resnet import FrameNet
from .spectrogram import Warp, log_magnitude, magnitude, stft
from .synthesizer import Synthesizer
from .unet import SoundNet


def _published_start(module: nn.Module) -> None:
    """The released code's initial weights of the sound net, which are small.

    Biases of convolutions stay as torch draws them.
    """
    if isinstance(module, nn.Conv2d):
        nn.init.normal_(module.weight, 0.0, 0.001)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)


def _frame_net(config: Config) -> Eyes | FrameNet:
    """The backbone: the published ResNet-18, or a net of timm."""
    c = config
    if c.backbone == PUBLISHED:
        sizes = c.frame_width, c.frame_stride, c.frame_groups, c.frame_dilation
        return FrameNet(c.channels, *sizes, c.pretrained)
    weights = c.backbone_weights, c.backbone_learns
    return Eyes(c.channels, c.backbone, c.grid, c.image, c.pretrained, *weights)


def activate(x: Tensor, kind: str, dim: int) -> Tensor:
    """One of the published activations; the softmax is over `dim`. Shape: any."""
    if kind == "softmax":
        return x.softmax(dim)
    return x if kind == "none" else getattr(torch, kind)(x)


def _shift(x: Tensor, by: int) -> Tensor:
    """All bins moved up by some; the first or last one is repeated. Shape: any (..., F, T)"""
    bins = torch.arange(x.shape[-2], device=x.device) - by
    return x.index_select(-2, bins.clamp(0, x.shape[-2] - 1))


class SoundOfPixels(nn.Module):
    """From a mixture's sound and the frames of its sources to one mask a source.

    A click needs the steps one by one, so each has its method: `magnitudes` and `feature_maps` for
    the sound; `look` and `project` for the visual feature of each cell, and `pool` for that of a
    region; `logits` and `mask` for the region's mask; `sounds` for its sound. `names`, where the
    model has them, say what `look` sees.
    """

    names: Names | None = None

    def __init__(self, config: Config):
        """Raises SopError if the backbone's weights can't be had (see `Eyes`)."""
        super().__init__()
        self.config = config
        sizes = config.channels, config.sound_depth, config.sound_width
        self.sound = SoundNet(*sizes, config.sound_up)
        self.frame = _frame_net(config)
        self.synthesizer = Synthesizer(config.channels, config.synthesizer == "linear")
        self.warp = Warp(config.bins, config.n_fft // 2 + 1, config.warp)
        if config.start == "published":
            self.sound.apply(_published_start)
        scale = self.synthesizer.scale
        if config.start == "even" and config.sound_activation == "softmax" and scale is not None:
            # The feature maps add up to 1: logits start at 0, and can reach from -2 to 2.
            nn.init.constant_(scale, 4.0)
            nn.init.constant_(self.synthesizer.bias, -2.0)

    @classmethod
    def blank(cls, config: Config) -> "SoundOfPixels":
        """A model before training, or to load weights into.

        A frozen backbone has its weights; the published one starts at random.
        """
        pretrained = config.pretrained and config.backbone != PUBLISHED
        return cls(replace(config, pretrained=pretrained))

    @property
    def backbone(self) -> str:
        """16 letters that identify the frozen weights, which a checkpoint leaves out.

        "" if nothing is frozen: then a checkpoint holds all weights.
        """
        return self.frame.digest if isinstance(self.frame, Eyes) and self.config.pretrained else ""

    def learned(self) -> dict[str, Tensor]:
        """The state dict without the weights that `backbone` identifies."""
        frozen = set()
        if isinstance(self.frame, Eyes) and self.config.pretrained:
            frozen = {f"frame.{key}" for key in self.frame.frozen()}
        return {k: v for k, v in self.state_dict().items() if k not in frozen}

    def load_learned(self, state: dict[str, Tensor]) -> None:
        """Load what `learned` gave. Raises RuntimeError if it is of another model."""
        learned = self.learned()
        known = {k: v for k, v in self.state_dict().items() if k not in learned}
        self.load_state_dict(known | state)

    # Sound

    def stft(self, sound: Tensor) -> Tensor:
        """Complex spectrogram with the config's window and hop.

        Shape: (..., L) -> (..., F_linear, T)
        """
        return stft(sound, self.config.n_fft, self.config.hop, self.config.stft_pad)

    def magnitudes(self, spec: Tensor) -> Tensor:
        """Magnitudes on the F bins of the nets and the masks.

        Shape: complex (..., F_linear, T) -> (..., F, T)
        """
        return self.warp(magnitude(spec))

    def feature_maps(self, mags: Tensor) -> Tensor:
        """The K feature maps of a mixture.

        With the softmax a map can only add to a mask, and the mask of an empty region is empty.
        Without it the maps learn to subtract what a picture does not show; then a region that
        shows nothing gets the whole mixture.

        The U-Net halves the bins several times, so it hears the same sound differently in other
        bins. Therefore, except in training, the maps are the mean over spectrograms shifted by up
        to `shifts` bins; each map is shifted back. docs/training.md says what that gives.

        Shape: magnitudes (B, F, T) -> (B, K, F, T)
        """
        if self.training or not self.config.shifts:
            return self._feature_maps(mags)
        by = range(-self.config.shifts, self.config.shifts + 1)
        maps = (_shift(self._feature_maps(_shift(mags, d)), -d) for d in by)
        return reduce(torch.add, maps) / len(by)

    def _feature_maps(self, mags: Tensor) -> Tensor:
        maps = self.sound(log_magnitude(mags, self.config.loudness)[:, None])
        return activate(maps, self.config.sound_activation, 1)

    # Pictures

    def look(self, frames: Tensor) -> Tensor:
        """The backbone's output for frames.

        Shape: 0..255 (..., 3, h, w) -> (..., C, H, W)
        """
        return self.frame.look(frames.flatten(0, -4)).unflatten(0, frames.shape[:-3])

    def visual_features(self, frames: Tensor) -> Tensor:
        """The visual feature of each cell, before the sigmoid; one for all frames (`over_time`).

        Shape: uint8 (B, V, 3, h, w) -> (B, H, W, K)
        """
        return self.project(self.look(frames))

    def project(self, seen: Tensor) -> Tensor:
        """As `visual_features`, from the output of `look`.

        Shape: (B, V, C, H, W) -> (B, H, W, K)
        """
        shape = seen.shape[:2]
        # In this memory format it takes half the time.
        seen = seen.flatten(0, 1).to(torch.float32, memory_format=torch.channels_last)
        features = self.frame.fc(seen).unflatten(0, shape)  # (B, V, K, H, W)
        return self.over_time(features.movedim(1, 0)).movedim(1, -1)

    def over_time(self, features: Tensor) -> Tensor:
        """Visual features over several frames: their maximum, or their mean if `pool` is 1.

        Shape: (V, ...) -> (...)
        """
        return features.mean(0) if self.config.pool == 1 else features.amax(0)

    def pool(self, features: Tensor, count: float | None = None) -> Tensor:
        """One visual feature for many cells: for each k, the mean of the `count` greatest.

        With the maximum alone (`pool` is 0) only one cell learns, and an instrument's cells divide
        the work among them. With a mean over several, each of them learns all of it.

        Args:
            count: how many; None: the part of the cells that the config's `pool` says. At least 1.

        Shape: (..., cells, K) -> (..., K)
        """
        if count is None:
            count = self.config.pool * features.shape[-2]
        return features.topk(max(1, round(count)), -2).values.mean(-2)

    def source_features(self, frames: Tensor) -> Tensor:
        """The visual feature of each source's whole picture.

        Shape: uint8 (B, N, V, 3, h, w) -> (B, N, K)
        """
        if self.config.frames_apart:
            sources = [self.visual_features(one).flatten(1, 2) for one in frames.unbind(1)]
            return torch.stack([self.pool(features) for features in sources], 1)
        features = self.visual_features(frames.flatten(0, 1)).flatten(1, 2)  # (B N, H W, K)
        return self.pool(features).unflatten(0, frames.shape[:2])

    def region_features(self, seen: Tensor, cells: Tensor) -> Tensor:
        """As `source_features`, from the output of `look`, over each source's `cells` only.

        The mean is over the same part of these cells as `pool` takes of a whole picture.

        Shape: (B, N, V, C, H, W), bool (B, N, H, W) -> (B, N, K)
        """
        features = self.project(seen.flatten(0, 1)).flatten(1, 2)  # (B N, H W, K)
        cells = cells.flatten(0, 1).flatten(1)[..., None]  # (B N, H W, 1)
        # Sort as many as the largest region needs; of these, each region counts its own part.
        most = max(1, round(self.config.pool * cells.shape[1]))
        greatest = features.masked_fill(~cells, -torch.inf).topk(most, 1).values  # (B N, most, K)
        counts = (self.config.pool * cells.sum(1, keepdim=True)).round().clamp_min(1)  # (B N, 1, 1)
        counted = torch.arange(most, device=greatest.device)[None, :, None] < counts
        means = greatest.where(counted, 0).sum(1) / counts[:, 0]  # (B N, K)
        return means.unflatten(0, seen.shape[:2])

    # Masks

    def logits(self, features: Tensor, maps: Tensor) -> Tensor:
        """Logits of the masks of P regions.

        Args:
            features: the visual feature of each region, from `pool`, before the sigmoid. In
                training a region is the whole picture.
            maps: the feature maps of the sound.

        Shape: (B, P, K), (B, K, F, T) -> (B, P, F, T)
        """
        return self.synthesizer(activate(features, self.config.image_activation, -1), maps)

    def mask(self, logits: Tensor) -> Tensor:
        """The mask of one region, whatever the others get. Shape: any."""
        return activate(logits, self.config.output_activation, 1)

    def target(self, sources: Tensor, mixture: Tensor) -> Tensor:
        """What the masks of a mixture's sources should be.

        Shape: magnitudes (B, N, F, T), (B, F, T) -> (B, N, F, T)
        """
        return targets(sources, self.config.mask, mixture if self.config.target == "half" else None)

    def weight(self, mixture: Tensor) -> Tensor:
        """How much each bin counts in the loss.

        Shape: magnitude (B, F, T) -> (B, 1, F, T)
        """
        if self.config.weighted:
            return weights(mixture, self.config.loudness)
        return torch.ones_like(mixture)[:, None]

    def forward(self, mixture: Tensor, frames: Tensor) -> Tensor:
        """Mask logits of each source.

        Shape: complex (B, F_linear, T), uint8 (B, N, V, 3, h, w) -> (B, N, F, T)
        """
        maps = self.feature_maps(self.magnitudes(mixture))
        return self.logits(self.source_features(frames), maps)

    def masks(self, mixture: Tensor, frames: Tensor) -> Tensor:
        """The masks of a mixture's sources, 0 to 1.

        If the config says `share`, they add up to 1 in every bin: a single source gets the whole
        mixture (to hear what a picture sounds like by itself, see `Scene`). Otherwise each mask is
        computed without the others.

        Shape: complex (B, F_linear, T), uint8 (B, N, V, 3, h, w) -> (B, N, F, T)
        """
        logits = self(mixture, frames)
        return partition(logits) if self.config.share else self.mask(logits)

    def sounds(self, masks: Tensor, spec: Tensor, length: int, kind: str | None = None) -> Tensor:
        """The sound that each mask lets through: to linear frequency, binarize, inverse STFT.

        Args:
            spec: the mixture's spectrogram.
            kind: "binary" or "ratio"; None: the config's `mask`.

        Shape: masks in 0..1 (..., F, T), complex (..., F_linear, T) -> (..., L)
        """
        linear = binarize(self.warp.inverse(masks), kind or self.config.mask)
        sounds = apply(linear, spec, self.config.hop, length)
        return sounds.clamp(-1, 1) if self.config.clips == "published" else sounds

    @torch.inference_mode()
    def separate(self, mixture: Tensor, frames: Tensor) -> Tensor:
        """The N sounds of a mixture, from the frames of each source.

        Shape: (B, L), uint8 (B, N, V, 3, h, w) -> (B, N, L)
        """
        spec = self.stft(mixture)
        kind = "ratio" if self.config.share else None
        return self.sounds(self.masks(spec, frames), spec[:, None], mixture.shape[-1], kind)
