"""The model: sound net, frame net and synthesizer, between waveforms and masks.

Source: Zhao et al. 2018, figure 2.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn

from ..config import PUBLISHED, Config
from ..masks import apply, binarize, partition, targets, weights
from ..spectrogram import Warp, log_magnitude, magnitude, stft
from .eyes import Eyes
from .frame import FrameNet
from .sound import SoundNet
from .synthesizer import Synthesizer


def _published_start(module: nn.Module) -> None:
    """The released code's start of the sound net: small weights (convolutions' own biases stay as torch draws them)."""
    if isinstance(module, nn.Conv2d):
        nn.init.normal_(module.weight, 0.0, 0.001)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)


def _frame_net(config: Config) -> Eyes | FrameNet:
    if config.backbone != PUBLISHED:
        weights = config.backbone_weights
        how = config.grid, config.image, config.pretrained, weights, config.backbone_learns
        return Eyes(config.channels, config.backbone, *how)
    how = config.frame_width, config.frame_stride, config.frame_groups, config.frame_dilation, config.pretrained
    return FrameNet(config.channels, *how)


def activate(x: Tensor, kind: str, dim: int) -> Tensor:
    """One of the published activations; the softmax is over `dim`, the channels."""
    if kind == "softmax":
        return x.softmax(dim)
    return x if kind == "none" else getattr(torch, kind)(x)


class SoundOfPixels(nn.Module):
    """From a mixture's sound and the frames of its sources to one mask a source.

    The parts are public, since the click needs them one by one: `channels` (of a sound), `pixels` (of frames), `masks`.
    """

    def __init__(self, config: Config):
        """Raises SopError where the backbone's weights can't be had (see `Eyes`)."""
        super().__init__()
        self.config = config
        self.sound = SoundNet(config.channels, config.sound_depth, config.sound_width, config.sound_up)
        self.frame = _frame_net(config)
        self.synthesizer = Synthesizer(config.channels, config.synthesizer == "linear")
        self.warp = Warp(config.bins, config.n_fft // 2 + 1, config.warp)
        if config.start == "published":
            self.sound.apply(_published_start)
        if config.start == "even" and config.sound_activation == "softmax" and config.synthesizer == "linear":
            # The channels add up to 1: logits start at 0, and may reach from -2 to 2.
            nn.init.constant_(self.synthesizer.scale, 4.0)
            nn.init.constant_(self.synthesizer.bias, -2.0)

    @classmethod
    def blank(cls, config: Config) -> "SoundOfPixels":
        """A model before training, or to load weights into: a frozen backbone is whole, the published one random."""
        return cls(replace(config, pretrained=config.pretrained and config.backbone != PUBLISHED))

    @property
    def backbone(self) -> str:
        """16 letters that name the frozen weights which a checkpoint leaves out; "" where it has all."""
        return self.frame.digest if self.config.pretrained and self.frame.frozen() else ""

    def learned(self) -> dict[str, Tensor]:
        """The state dict without the weights that `backbone` names."""
        frozen = {f"frame.{key}" for key in self.frame.frozen()} if self.backbone else set()
        return {k: v for k, v in self.state_dict().items() if k not in frozen}

    def load_learned(self, state: dict[str, Tensor]) -> None:
        """Take what `learned` gave. Raises RuntimeError where that is of another model."""
        learned = self.learned()
        known = {k: v for k, v in self.state_dict().items() if k not in learned}
        self.load_state_dict(known | state)

    def stft(self, sound: Tensor) -> Tensor:
        """Complex spectrogram with the config's window and hop. Shape: (..., L) -> (..., F_linear, T)"""
        return stft(sound, self.config.n_fft, self.config.hop, self.config.stft_pad)

    def magnitudes(self, spec: Tensor) -> Tensor:
        """What the nets and the masks see of a spectrogram. Shape: complex (..., F_linear, T) -> (..., F, T)"""
        return self.warp(magnitude(spec))

    def channels(self, mags: Tensor) -> Tensor:
        """The mixture's K channel images. Shape: (B, F, T) -> (B, K, F, T)

        With the softmax a channel can only add to a mask, and an empty pixel's mask is empty: without it the channels learn to
        hold back what a picture does not show, and a pixel that shows nothing sounds like everything.
        """
        images = self.sound(log_magnitude(mags, self.config.loudness)[:, None])
        return activate(images, self.config.sound_activation, 1)

    def look(self, frames: Tensor) -> Tensor:
        """What the backbone sees in frames. Shape: 0..255 (..., 3, h, w) -> (..., C, H, W)"""
        return self.frame.look(frames.flatten(0, -4)).unflatten(0, frames.shape[:-3])

    def pixels(self, frames: Tensor) -> Tensor:
        """Each pixel's K numbers, before the sigmoid, greatest over time (their mean, if the config pools by the mean of all).

        Shape: uint8 (B, V, 3, h, w) -> (B, H, W, K)
        """
        return self.numbers(self.look(frames))

    def numbers(self, seen: Tensor) -> Tensor:
        """The same from what the backbone saw. Shape: (B, V, C, H, W) -> (B, H, W, K)"""
        shape = seen.shape[:2]
        # In this order of memory it takes half the time.
        seen = seen.flatten(0, 1).to(torch.float32, memory_format=torch.channels_last)
        grid = self.frame.fc(seen).unflatten(0, shape)  # (B, V, K, H, W)
        return self.over_time(grid.movedim(1, 0)).movedim(1, -1)

    def over_time(self, numbers: Tensor) -> Tensor:
        """What pixels are over several frames. Shape: (V, ...) -> (...)"""
        return numbers.mean(0) if self.config.pool == 1 else numbers.amax(0)

    def pool(self, numbers: Tensor, count: float | None = None) -> Tensor:
        """What cells are together: the mean of the `count` greatest (None: the config's share), channel by channel; at least 1.

        With a share of 0 only the one greatest learns, and an instrument's cells divide the work among them; of several,
        each learns all of it. Shape: (..., C, K) -> (..., K)
        """
        count = self.config.pool * numbers.shape[-2] if count is None else count
        return numbers.topk(max(1, round(count)), -2).values.mean(-2)

    def logits(self, pixels: Tensor, channels: Tensor) -> Tensor:
        """Logits of the masks of P sets of pixels.

        Each set has gone through `pool`, as the whole picture does in training; the sigmoid comes after it.
        Shape: (B, P, K), (B, K, F, T) -> (B, P, F, T)
        """
        return self.synthesizer(activate(pixels, self.config.image_activation, -1), channels)

    def mask(self, logits: Tensor) -> Tensor:
        """Logits to a mask that stands alone. Shape: any"""
        return activate(logits, self.config.output_activation, 1)

    def target(self, sources: Tensor, mixture: Tensor) -> Tensor:
        """What the masks of a mixture's sources should be. Shape: magnitudes (B, N, F, T), (B, F, T) -> (B, N, F, T)"""
        return targets(sources, self.config.mask, mixture if self.config.target == "half" else None)

    def weight(self, mixture: Tensor) -> Tensor:
        """How much each bin counts in the loss. Shape: magnitude (B, F, T) -> (B, 1, F, T)"""
        return weights(mixture, self.config.loudness) if self.config.weighted else torch.ones_like(mixture)[:, None]

    def forward(self, mixture: Tensor, frames: Tensor) -> Tensor:
        """Mask logits of each source. Shape: complex (B, F_linear, T), uint8 (B, N, V, 3, h, w) -> (B, N, F, T)"""
        return self.logits(self.pooled(frames), self.channels(self.magnitudes(mixture)))

    def pooled(self, frames: Tensor) -> Tensor:
        """Each source's K numbers, pooled over the picture. Shape: uint8 (B, N, V, 3, h, w) -> (B, N, K)"""
        if self.config.frames_apart:
            return torch.stack([self.pool(self.pixels(one).flatten(1, 2)) for one in frames.unbind(1)], 1)
        return self.pool(self.pixels(frames.flatten(0, 1)).flatten(1, 2)).unflatten(0, frames.shape[:2])

    def pooled_seen(self, seen: Tensor, cells: Tensor) -> Tensor:
        """The same from what the backbone saw, of each source's `cells` alone: as large a share of them.

        Shape: (B, N, V, C, H, W), bool (B, N, H, W) -> (B, N, K)
        """
        numbers = self.numbers(seen.flatten(0, 1)).flatten(1, 2)  # (B N, H W, K)
        cells = cells.flatten(0, 1).flatten(1)[..., None]  # (B N, H W, 1)
        counts = (self.config.pool * cells.sum(1, keepdim=True)).round().clamp_min(1)  # (B N, 1, 1)
        most = numbers.masked_fill(~cells, -torch.inf).topk(max(1, round(self.config.pool * cells.shape[1])), 1).values
        counted = torch.arange(most.shape[1], device=most.device)[None, :, None] < counts
        return (most.where(counted, 0).sum(1) / counts[:, 0]).unflatten(0, seen.shape[:2])

    def masks(self, mixture: Tensor, frames: Tensor) -> Tensor:
        """The masks of a mixture's sources, 0 to 1: they add up to 1 if the config says `share`, else each stands alone.

        One source alone shares with nobody, and gets everything: for what a picture sounds like by itself there is `Scene`.
        Shape: complex (B, F_linear, T), uint8 (B, N, V, 3, h, w) -> (B, N, F, T)
        """
        logits = self(mixture, frames)
        return partition(logits) if self.config.share else self.mask(logits)

    def sounds(self, masks: Tensor, mixture: Tensor, length: int, kind: str | None = None) -> Tensor:
        """What each mask lets through. It goes back to linear frequency first and is cut at 0.5 (if `binary`) last.

        Shape: masks in 0..1 (..., F, T), complex (..., F_linear, T) -> (..., L)
        """
        hard = binarize(self.warp.inverse(masks), kind or self.config.mask)
        found = apply(hard, mixture, self.config.hop, length)
        return found.clamp(-1, 1) if self.config.clips == "published" else found

    @torch.inference_mode()
    def separate(self, mixture: Tensor, frames: Tensor) -> Tensor:
        """The N sounds of a mixture, by the frames of each. Shape: (B, L), uint8 (B, N, V, 3, h, w) -> (B, N, L)"""
        spec = self.stft(mixture)
        kind = "ratio" if self.config.share else None
        return self.sounds(self.masks(spec, frames), spec[:, None], mixture.shape[-1], kind)
