"""The three nets of the paper and the model they make together."""

from .eyes import Eyes
from .frame import FrameNet
from .pixelplayer import SoundOfPixels
from .sound import SoundNet
from .synthesizer import Synthesizer

__all__ = ["Eyes", "FrameNet", "SoundNet", "SoundOfPixels", "Synthesizer"]
