"""The model: sound net, frame net and synthesizer, between waveforms and masks.

Source: Zhao et al. 2018, figure 2.
"""

import torch
from torch import Tensor, nn

from ..config import Config
from ..masks import apply, harden
from ..spectrogram import Warp, log_magnitude, stft
from .frame import FrameNet
from .sound import SoundNet
from .synthesizer import Synthesizer


class SoundOfPixels(nn.Module):
    """From a mixture's sound and the frames of its sources to one mask a source.

    The parts are public, since the click needs them one by one: `channels` (of a sound), `pixels` (of frames), `masks`.
    """

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        self.sound = SoundNet(config.channels, config.sound_depth, config.sound_width)
        self.frame = FrameNet(
            config.channels, config.frame_width, config.frame_stride, config.frame_groups, config.pretrained
        )
        self.synthesizer = Synthesizer(config.channels)
        self.warp = Warp(config.bins, config.n_fft // 2 + 1)

    def stft(self, sound: Tensor) -> Tensor:
        """Complex spectrogram with the config's window and hop. Shape: (..., L) -> (..., F_linear, T)"""
        return stft(sound, self.config.n_fft, self.config.hop)

    def channels(self, spec: Tensor) -> Tensor:
        """The mixture's K channel images. Shape: complex (B, F_linear, T) -> (B, K, F, T)"""
        return self.sound(log_magnitude(self.warp(spec.abs()))[:, None])

    def pixels(self, frames: Tensor) -> Tensor:
        """Each pixel's K numbers, before the sigmoid, greatest over time. Shape: uint8 (B, V, 3, h, w) -> (B, H, W, K)"""
        grid = self.frame(frames.flatten(0, 1))  # (B V, K, H, W)
        return grid.unflatten(0, frames.shape[:2]).amax(1).movedim(1, -1)

    def logits(self, pixels: Tensor, channels: Tensor) -> Tensor:
        """Logits of the masks of P sets of pixels.

        Each set has been reduced by its maximum, as training does over the whole picture; the sigmoid comes after it.
        Shape: (B, P, K), (B, K, F, T) -> (B, P, F, T)
        """
        return self.synthesizer(torch.sigmoid(pixels), channels)

    def forward(self, mixture: Tensor, frames: Tensor) -> Tensor:
        """Mask logits of each source. Shape: complex (B, F_linear, T), uint8 (B, N, V, 3, h, w) -> (B, N, F, T)"""
        return self.logits(self.pooled(frames), self.channels(mixture))

    def pooled(self, frames: Tensor) -> Tensor:
        """Each source's K numbers, greatest over the picture and time. Shape: uint8 (B, N, V, 3, h, w) -> (B, N, K)"""
        return self.pixels(frames.flatten(0, 1)).amax((1, 2)).unflatten(0, frames.shape[:2])

    def sounds(self, masks: Tensor, mixture: Tensor, length: int, kind: str | None = None) -> Tensor:
        """What each mask lets through. It goes back to linear frequency first and is cut at 0.5 (if `binary`) last.

        Shape: masks in 0..1 (..., F, T), complex (..., F_linear, T) -> (..., L)
        """
        hard = harden(self.warp.inverse(masks), kind or self.config.mask)
        return apply(hard, mixture, self.config.hop, length)

    @torch.inference_mode()
    def separate(self, mixture: Tensor, frames: Tensor) -> Tensor:
        """The N sounds of a mixture, by the frames of each. Shape: (B, L), uint8 (B, N, V, 3, h, w) -> (B, N, L)"""
        spec = self.stft(mixture)
        masks = torch.sigmoid(self(spec, frames))
        return self.sounds(masks, spec[:, None], mixture.shape[-1])
