"""Feature maps as whole numbers for the page: all of their bits where somebody hears them.

`FeatureMaps` have 11 bits and a sign. A bin that is louder than a floor keeps them, a softer one
has fewer, and what nobody hears has none.
"""

from typing import TYPE_CHECKING

import numpy as np

from .features import steps
from .playback import OwnSound

if TYPE_CHECKING:
    from .scene import Scene

SILENT = 1e-5  # amplitude up to which a bin has no bits; 1 is full scale


class Levels:
    """The feature maps of some windows as whole numbers: a value is step * (low + level).

    Args: `numbers`: of the windows. `begin`, `end`: the STFT frames that count. `own`: the video's
        own sound, which the masks are for, too
    """

    def __init__(
        self, scene: "Scene", numbers: list[int], begin: int, end: int, own: OwnSound | None
    ):
        self.spans, self.levels, self.loud = [], [], []
        for i in numbers:
            maps, w = scene.feature_maps[i], scene.feature_maps.windows[i]
            first, last, step = max(begin, w.first), min(end, w.last), steps(maps)
            levels = (maps[:, first - w.first : last - w.first] / step).int()
            self.levels.append(levels.cpu().numpy())
            self.loud.append(_amplitudes(scene, first, last, own))
            span = {"start": w.first, "first": first, "last": last}
            self.spans.append(span | {"step": step.flatten().tolist()})

    def cut(self, floor: float, less: int) -> list[dict]:
        """Each window with all bits from the amplitude `floor` on, and `less` bits fewer below it.

        `maps`: levels (K, F, t), the high bytes of all and then the low ones. `low`: what is added
        to the levels of each map.
        """
        found = []
        for span, levels, loud in zip(self.spans, self.levels, self.loud, strict=True):
            coarse = np.rint(levels / 2**less).astype(levels.dtype) << less
            some = np.where(loud >= floor, levels, np.where(loud >= SILENT, coarse, 0))
            low = some.min((1, 2))
            some = (some - low[:, None, None]).swapaxes(1, 2)
            maps = b"".join((some >> s & 255).astype(np.uint8).tobytes() for s in (8, 0))
            found.append(span | {"low": low.tolist(), "maps": maps})
        return found


def _amplitudes(scene: "Scene", first: int, last: int, own: OwnSound | None) -> np.ndarray:
    """The loudest of the STFT bins that each bin of a mask decides on, 1 is full scale.

    Shape: -> (T, F)
    """
    audio, warp = scene.feature_maps, scene.model.warp
    found = audio.spec(first, last).abs().cpu().numpy() * (2 / float(audio.window.sum()))
    if own:  # it goes on where the nets' sound fades, near the end of their band
        wide = own.spec(first, last)[..., : found.shape[1]].abs().amax(0).cpu().numpy()
        found = np.maximum(found, wide * (2 / (own.n_fft / 2)))
    if warp.kind == "none":
        return found
    reads = warp.back.cpu().numpy() != 0  # (F_linear, F)
    blank = np.zeros(len(found))
    bins = [found[:, column].max(1) if column.any() else blank for column in reads.T]
    return np.stack(bins, 1)
