"""The click: a picture whose pixels can be heard. The page's half is `static/player.js`.

Conventions:
    pixel   (row, column) of a cell of the scene's grid, row 0 on top, column 0 on the left.
    energy  a cell's share of the mixture's energy, 0 to 1, on an absolute scale: two scenes can be compared.
    level   absolute too: a silent cell sounds silent. All sounds of a player are turned down by one factor
            where the mixture would clip, and a cell's sound by one more where it still would.
    heard   always belongs to `sound`: where a click fails, `pixel` goes back to it, and `error` says why.
"""

import io
import operator
from pathlib import Path
from typing import Protocol

import anywidget
import numpy as np
import traitlets
from PIL import Image

from .errors import SopError
from .media import wav_bytes

STATIC = Path(__file__).parent / "static"


class Audible(Protocol):
    """What a player needs of a scene; `sop_core.localize.Scene` is one."""

    frame: np.ndarray  # (h, w, 3) uint8, the picture
    grid: tuple[int, int]  # H, W: rows and columns of cells, evenly over the picture
    rate: int  # Hz
    mixture: np.ndarray  # (L,) float32

    def energy(self) -> np.ndarray: ...  # (H, W), 0..1

    def sound(self, pixel: tuple[int, int]) -> np.ndarray: ...  # (L,) float32


class Pixel(traitlets.TraitType):
    """(row, column) inside the player's grid, or None. Anything else raises SopError, and the page shows it too."""

    default_value = None
    allow_none = True

    def validate(self, player, value):
        # In the trait, not in @validate: what the page sends is cross-validated only after the value has changed.
        rows, columns = player.grid
        try:
            row, column = map(operator.index, value)  # numpy's integers too, but no floats
            inside = 0 <= row < rows and 0 <= column < columns
        except (TypeError, ValueError):
            inside = False
        player.error = "" if inside else (
            f"pixel={value!r}: the grid has {rows} rows and {columns} columns; "
            f"give (row, column), row from 0 to {rows - 1} and column from 0 to {columns - 1}"
        )  # fmt: skip
        if not inside:
            raise SopError(player.error)
        return row, column


class PixelPlayer(anywidget.AnyWidget):
    """A frame with its energy on it; a click on a pixel plays that pixel's own sound.

        player = PixelPlayer(scene)
        player              # show it: click, or use the arrow keys and Enter
        player.pixel = 3, 9 # a click from Python
        player.samples      # (L,) float32, what plays

    Raises SopError where the scene's arrays don't fit together, and where a pixel can't be played.
    """

    _esm = STATIC / "player.js"
    _css = STATIC / "player.css"

    grid = traitlets.Tuple(traitlets.Int(), traitlets.Int(), default_value=(1, 1)).tag(sync=True)  # H, W
    picture = traitlets.Bytes().tag(sync=True)  # JPEG
    energy = traitlets.Bytes().tag(sync=True)  # (H, W) little-endian float32, row by row
    mixture = traitlets.Bytes().tag(sync=True)  # WAV, 16 bit
    overlay = traitlets.Bool(True).tag(sync=True)  # is the energy shown?
    pixel = Pixel().tag(sync=True)  # None: nothing was clicked yet
    heard = traitlets.Any(None, allow_none=True).tag(sync=True)  # the pixel of `sound`; not `pixel`: it is on its way
    sound = traitlets.Bytes().tag(sync=True)  # WAV, 16 bit; empty while nothing is heard
    error = traitlets.Unicode().tag(sync=True)  # one line; empty when all is well

    def __init__(self, scene: Audible, pixel: tuple[int, int] | None = None, *, overlay: bool = True):
        self.scene, self.samples = scene, None
        grid, energy = tuple(map(int, scene.grid)), np.asarray(scene.energy(), "<f4")
        if energy.shape != grid or not np.isfinite(energy).all():
            raise SopError(f"scene.energy() has shape {energy.shape}, expected the grid's {grid}, all of it finite")
        mixture = _mono(scene.mixture, "scene.mixture")
        self._gain = 1 / max(1.0, _peak(mixture))
        super().__init__(
            grid=grid,
            picture=_jpeg(scene.frame),
            energy=energy.tobytes(),
            mixture=wav_bytes(mixture * self._gain, scene.rate),
            overlay=overlay,
        )
        self._seconds = len(mixture) / scene.rate
        self.pixel = pixel

    def __repr__(self) -> str:  # anywidget's own holds an address, which differs from run to run
        rows, columns = self.grid
        return (
            f"{type(self).__name__}({rows} x {columns} cells, {self._seconds:.2f} s at {self.scene.rate} Hz, "
            f"pixel={self.pixel})"
        )

    @traitlets.observe("pixel")
    def _listen(self, _) -> None:
        """Fetch the pixel's sound. A failure is shown on the page, and raised: the page alone wouldn't tell Python."""
        if self.pixel == self.heard:
            return
        try:
            samples = self._play(self.pixel) if self.pixel else None
            wav = b"" if samples is None else wav_bytes(samples, self.scene.rate)
        except Exception as e:
            row, column = self.pixel
            why = " ".join((str(e) if isinstance(e, SopError) else f"{type(e).__name__}: {e}").split())
            self.pixel = self.heard
            self.error = (
                f"row {row}, column {column} can't be played ({why}); click another pixel, or make the scene anew"
            )
            raise SopError(self.error) from e
        with self.hold_sync():  # one message: the page never sees a new sound with an old pixel
            self.samples, self.sound, self.heard = samples, wav, self.pixel

    def _play(self, pixel: tuple[int, int]) -> np.ndarray:
        """(L,) float32 of a pixel, at the level it is played at."""
        samples = _mono(self.scene.sound(pixel), f"scene.sound({pixel})") * np.float32(self._gain)
        return samples / np.float32(max(1.0, _peak(samples)))


def _mono(samples: np.ndarray, name: str) -> np.ndarray:
    """(L,) float32, or SopError: NaN would come out as full-scale noise."""
    samples = np.asarray(samples, np.float32)
    if samples.ndim != 1 or not len(samples) or not np.isfinite(samples).all():
        raise SopError(f"{name} has shape {samples.shape}, expected (L,) with L > 0, all of it finite")
    return samples


def _peak(samples: np.ndarray) -> float:
    return float(np.abs(samples).max())


def _jpeg(frame: np.ndarray) -> bytes:
    """A JPEG file of a (h, w, 3) uint8 picture."""
    frame = np.asarray(frame)
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
        raise SopError(f"scene.frame is {frame.dtype} of shape {frame.shape}, expected uint8 (h, w, 3)")
    file = io.BytesIO()
    Image.fromarray(frame).save(file, "JPEG", quality=92, subsampling=0)
    return file.getvalue()
