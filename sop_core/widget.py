"""The click: a picture whose pixels can be heard, and a mixer for what was found. The page's half is in `static/`.

Conventions:
    cell    (row, column) of the scene's grid, row 0 on top, column 0 on the left.
    region  what one track is the sound of: a list of cells, or the number of a cluster.
    energy  a cell's share of the mixture's energy, 0 to 1, on an absolute scale: two scenes can be compared.
    level   absolute too: a silent cell sounds silent, and all tracks, the rest among them, add up to the mixture.
    answer  always belongs together: its tracks are those of its `regions`. Where a click fails, `regions` goes back to
            them, and `error` says why. A sound is on its way exactly while `regions` differs from `answer["regions"]`.
"""

import asyncio
import base64
import operator
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Protocol

import anywidget
import numpy as np
import simplejpeg
import torch
import traitlets

from . import show
from .errors import SopError

STATIC = Path(__file__).parent / "static"
SCRIPTS = ("geometry.js", "mixer.js", "player.js")  # one module for the page, three to read and to test
OVERLAYS = ("none", "now", "clip", "clusters")
REST = "the rest"  # the last track: what no region claims
TRACKS = 30  # at most: browsers mix 32 channels, the mixture and the rest among them
LOUDEST = 1.5  # times as it is: what a track may be turned up to
PEACE = 0.1  # s that the page has for itself to start a sound, before its picture is made
LONGEST = 30.0  # seconds that a page is given at once: 7 MB
STILL = "A picture of the player: to click it, open the notebook in JupyterLab and run it"  # where no widget runs
DARKEST = 60  # dB below the mixture's loudest bin: black in a spectrogram's picture
WIDEST = 640  # columns of that picture


class Audible(Protocol):
    """What a player needs of a scene; `sop_core.localize.Scene` is one."""

    grid: tuple[int, int]  # H, W: rows and columns of cells, evenly over the picture
    rate: int  # Hz
    fps: float  # pictures a second
    mixture: np.ndarray  # (L,) float32

    def part(self, start: float, end: float) -> "Audible":
        """The seconds between; asked of a longer one than is shown."""

    def pictures(self) -> np.ndarray:
        """Shape: uint8 (V, h, w, 3)"""

    def energy(self) -> np.ndarray:
        """Of the whole of it, 0 to 1. Shape: (H, W)"""

    def energies(self) -> np.ndarray:
        """While each picture is on the screen, 0 to 1. Shape: (V, H, W)"""

    def clusters(self) -> "Clustered":
        """Cells that sound alike."""

    def tracks(self, regions: list) -> np.ndarray:
        """Each region's sound and, last, the rest: they add up to the mixture. Shape: float32 (P + 1, L)"""

    def spectrogram(self, sounds: np.ndarray) -> np.ndarray:
        """Magnitudes, low frequencies first. Shape: (..., L) -> (..., F, T)"""


class Clustered(Protocol):
    """Which cells sound alike; `sop_core.localize.Clusters` is one."""

    labels: np.ndarray  # int (V, H, W): number of the cluster while each picture is on the screen, -1: silent
    names: list[str]
    shares: list[float]  # of the mixture's energy
    regions: list  # what `tracks` takes, for each


class Regions(traitlets.List):
    """Regions of the player's scene. Anything else raises SopError, and the page shows it too."""

    def validate(self, player, value):
        # In the trait, not in @validate: what the page sends is cross-validated only after the value has changed.
        try:
            value = [player.checked(region) for region in value]
        except SopError as e:
            player.error = str(e)
            raise
        except TypeError:
            player.error = f"regions={value!r}: expected a list of regions, each a list of (row, column)"
            raise SopError(player.error) from None
        player.error = ""
        return super().validate(player, value)


class Mixer(traitlets.List):
    """The mixer's channels, one a track. Raises SopError for anything else; a level is kept within 0 to `LOUDEST`."""

    def validate(self, player, value):
        try:
            value = [
                {
                    "name": str(m["name"])[:80],
                    "level": min(max(float(m["level"]), 0.0), LOUDEST),
                    "mute": bool(m["mute"]),
                    "solo": bool(m["solo"]),
                }
                for m in value
            ]
        except (KeyError, TypeError, ValueError):
            raise SopError(f"mixer={value!r}: expected name, level, mute and solo of each track") from None
        if len(value) != len(player._sounds) or any(m["level"] != m["level"] for m in value):
            raise SopError(f"mixer={value!r}: expected {len(player._sounds)} channels, one a track, each with a level")
        return super().validate(player, value)


class PixelPlayer(anywidget.AnyWidget):
    """A video with its sound's energy on it; a click plays what is heard there, and a mixer plays several such tracks.

        player = PixelPlayer(scene)
        player                       # show it: click, drag, shift-click; or Tab, arrow keys, Enter
        player.pixel = 3, 9          # a click from Python: heard at once where the page's player was used before
        player.regions = [[(3, 9)], scene.cells_in((0, 0, 0.5, 1))]   # two tracks
        player.samples               # (L,) float32, what the mixer plays

    Args: `start`, `seconds`: the stretch of a longer scene that is shown. `pixel`: as if clicked. `overlay`: one of `OVERLAYS`.
    Raises SopError where the scene's arrays don't fit together, and where a region can't be played.
    """

    _esm = "\n".join((STATIC / name).read_text(encoding="utf-8") for name in SCRIPTS)
    _css = STATIC / "player.css"

    grid = traitlets.Tuple(traitlets.Int(), traitlets.Int(), default_value=(1, 1)).tag(sync=True)  # H, W
    rate = traitlets.Int().tag(sync=True)  # Hz
    start = traitlets.Float().tag(sync=True)  # s, of the whole video, that is this player's time 0
    seconds = traitlets.Float().tag(sync=True)  # how long it is
    fps = traitlets.Float().tag(sync=True)  # pictures a second; picture k is on the screen from k / fps
    frames = traitlets.Bytes().tag(sync=True)  # JPEG files, one after the other
    frame_sizes = traitlets.List(traitlets.Int()).tag(sync=True)  # bytes of each
    mixture = traitlets.Dict().tag(sync=True)  # a track: see `_told`, `_pcm`
    energy = traitlets.Bytes().tag(sync=True)  # (H, W) little-endian float32, row by row: of the whole clip
    moments = traitlets.Bytes().tag(sync=True)  # (V, H, W) uint8: energy while each picture is shown, 255 is 1
    clusters = traitlets.Bytes().tag(sync=True)  # (V, H, W) uint8: number of the cluster, 255 is none
    legend = traitlets.List(traitlets.Dict()).tag(sync=True)  # of the clusters: name, share
    overlay = traitlets.Enum(OVERLAYS, "clip").tag(sync=True)
    loop = traitlets.Bool(False).tag(sync=True)  # over and over, or once?
    # What is asked for; empty: nothing was clicked yet. Without an echo, for which the page would have to wait.
    regions = Regions().tag(sync=True, echo_update=False)
    # What was found. The last track is the rest, whose samples the page makes itself: half as much to send for a click.
    answer = traitlets.Dict({"regions": [], "tracks": []}).tag(sync=True)
    # Spectrograms of the mixture and of an answer's tracks; they come after its sounds.
    pictures = traitlets.Dict().tag(sync=True)
    mixer = Mixer().tag(sync=True)  # one a track: name, level (1: as it is), mute, solo
    error = traitlets.Unicode().tag(sync=True)  # one line; empty when all is well

    def __init__(
        self,
        scene: Audible,
        pixel: tuple[int, int] | None = None,
        *,
        start: float = 0.0,
        seconds: float = LONGEST,
        overlay: str = "clip",
    ):
        whole = len(scene.mixture) / scene.rate
        if not (0 <= start < whole and seconds > 0):
            raise SopError(f"start={start} s, seconds={seconds}: expected a stretch of the scene's {whole:.1f} s")
        if start or whole > seconds:
            scene = scene.part(start, min(whole, start + seconds))
        self.scene, self._sounds = scene, np.zeros((0, len(scene.mixture)), np.float32)
        grid, pictures = tuple(map(int, scene.grid)), np.asarray(scene.pictures())
        if pictures.dtype != np.uint8 or pictures.ndim != 4 or pictures.shape[3] != 3 or not len(pictures):
            raise SopError(
                f"scene.pictures() is {pictures.dtype} of shape {pictures.shape}, expected uint8 (V, h, w, 3)"
            )
        mixture = _finite(scene.mixture, "scene.mixture", (None,))
        energy = _finite(scene.energy(), "scene.energy()", grid)
        moments = _finite(scene.energies(), "scene.energies()", (len(pictures), *grid))
        self._clusters, files = scene.clusters(), [_jpeg(picture) for picture in pictures]
        labels = np.where(self._clusters.labels < 0, 255, self._clusters.labels).astype(np.uint8)
        if labels.shape != moments.shape:
            raise SopError(f"scene.clusters().labels has shape {labels.shape}, expected {moments.shape}")
        if len(self._clusters.names) > 254:
            raise SopError(f"scene.clusters() finds {len(self._clusters.names)} clusters, expected at most 254")
        mags = scene.spectrogram(mixture)
        self._loudest, self._energy = float(mags.max()), float(np.square(mixture, dtype=np.float64).sum())
        self._mixture, self._later = self._picture(mags), None
        legend = zip(self._clusters.names, self._clusters.shares, strict=True)
        super().__init__(
            grid=grid,
            rate=int(scene.rate),
            start=float(getattr(scene, "start", start)),  # a part's own: to the STFT frame
            seconds=len(mixture) / scene.rate,
            fps=float(scene.fps),
            frames=b"".join(files),
            frame_sizes=list(map(len, files)),
            mixture=self._told("the mixture", mixture) | _pcm(mixture),
            pictures={"regions": [], "rows": [self._mixture]},
            energy=energy.astype("<f4").tobytes(),
            moments=np.round(255 * moments.clip(0, 1)).astype(np.uint8).tobytes(),
            clusters=labels.tobytes(),
            legend=[{"name": str(name), "share": float(share)} for name, share in legend],
            overlay=overlay,
        )
        self.pixel = pixel

    def __repr__(self) -> str:  # anywidget's own holds an address, which differs from run to run
        rows, columns = self.grid
        return f"{type(self).__name__}({rows} x {columns} cells, {self.seconds:.2f} s at {self.rate} Hz, pixel={self.pixel})"

    def _repr_mimebundle_(self, **kwargs) -> tuple[dict, dict]:
        """The player, and a picture for pages without a kernel: nbconvert's, GitHub's. It is as small as it can be: 30 kB."""
        data, metadata = super()._repr_mimebundle_(**kwargs)
        k = len(self.frame_sizes) // 2
        begin = sum(self.frame_sizes[:k])
        frame = simplejpeg.decode_jpeg(self.frames[begin : begin + self.frame_sizes[k]])
        energy = np.frombuffer(self.energy, "<f4").reshape(self.grid)
        file = show.figure_file(show.still(frame, energy, STILL), "jpeg")
        return data | {"image/jpeg": base64.b64encode(file).decode()}, metadata

    @property
    def pixel(self) -> tuple[int, int] | None:
        """The cell that is heard, where it is one cell alone. Setting it is a click; None takes all tracks away."""
        cells = self.regions[0] if len(self.regions) == 1 and isinstance(self.regions[0], list) else []
        return cells[0] if len(cells) == 1 else None

    @pixel.setter
    def pixel(self, cell: tuple[int, int] | None) -> None:
        self.regions = [] if cell is None else [[cell]]

    @property
    def samples(self) -> np.ndarray | None:
        """What the mixer plays: each track times its level. Shape: (L,); None before the first click."""
        if not len(self._sounds):
            return None
        alone = any(m["solo"] for m in self.mixer)
        levels = [m["level"] * (m["solo"] if alone else not m["mute"]) for m in self.mixer]
        return np.float32(levels) @ self._sounds

    def checked(self, region: list | int) -> list | int:
        """A region as the traits hold it: (row, column) of whole numbers. Raises SopError where it isn't of this scene."""
        (rows, columns), clusters = self.grid, len(self._clusters.names)
        if isinstance(region, (int, np.integer)):
            if 0 <= region < clusters:
                return int(region)
            raise SopError(f"cluster {region}: there are {clusters}; numbers go from 0 to {clusters - 1}")
        cells = []
        for cell in region:
            try:
                row, column = map(operator.index, cell)  # numpy's integers too, but no floats
                inside = 0 <= row < rows and 0 <= column < columns
            except (TypeError, ValueError):
                inside = False
            if not inside:
                raise SopError(
                    f"pixel={cell!r}: the grid has {rows} rows and {columns} columns; "
                    f"give (row, column), row from 0 to {rows - 1} and column from 0 to {columns - 1}"
                )
            cells.append((row, column))
        if not cells:
            raise SopError("a region without a cell has no sound; choose at least one")
        return cells

    @traitlets.observe("regions")
    def _listen(self, _) -> None:
        """Fetch the regions' tracks. A failure is shown on the page, and raised: the page alone wouldn't tell Python."""
        known = self.answer["regions"]
        if self.regions == known:
            return
        names = [self._name(region) for region in self.regions]
        try:
            sounds = self._play() if names else self._sounds[:0]
            tracks = [self._told(name, sound) | _pcm(sound) for name, sound in zip(names, sounds[:-1], strict=True)]
            tracks += [self._told(REST, sound) for sound in sounds[-1:]]
        except Exception as e:
            why = " ".join((str(e) if isinstance(e, SopError) else f"{type(e).__name__}: {e}").split())
            self.regions = known
            self.error = f"{' + '.join(names)} can't be played ({why}); click somewhere else, or make the scene anew"
            raise SopError(self.error) from e
        # What was already there keeps its name and level; the rest is muted until somebody asks for it.
        kept = {str(region): m for region, m in zip(known, self.mixer, strict=False)}
        mixer = [
            kept.get(str(region)) or {"name": name, "level": 1.0, "mute": False, "solo": False}
            for region, name in zip(self.regions, names, strict=True)
        ]
        if any(str(region) in kept for region in self.regions):
            mixer.append(self.mixer[-1])
        elif mixer:
            mixer.append({"name": REST, "level": 1.0, "mute": True, "solo": False})
        with self.hold_sync():  # one message
            self._sounds, self.mixer = sounds, mixer
            self.answer = {"regions": self.regions, "tracks": tracks}
        if self._later:
            self._later.cancel()
        try:
            self._later = asyncio.get_running_loop().call_later(PEACE, self._show)
        except RuntimeError:  # not in a kernel
            self._show()

    def _show(self) -> None:
        """The spectrograms of the newest answer."""
        mags = self.scene.spectrogram(self._sounds) if len(self._sounds) else []
        self.pictures = {"regions": self.answer["regions"], "rows": [self._mixture, *map(self._picture, mags)]}

    def _play(self) -> np.ndarray:
        """The sounds of the regions and the rest. Shape: (P + 1, L)"""
        if len(self.regions) > TRACKS:
            raise SopError(f"{len(self.regions)} tracks, of which a player mixes {TRACKS} at most")
        regions = [self._clusters.regions[r] if isinstance(r, int) else r for r in self.regions]
        with _one_thread() if self.seconds <= LONGEST else nullcontext():  # longer ones may need the nets again
            sounds = self.scene.tracks(regions)
        return _finite(sounds, f"scene.tracks({regions})", (len(regions) + 1, self._sounds.shape[1]))

    def _told(self, name: str, sound: np.ndarray) -> dict:
        """What the page is told of a track: its name, and its share of the mixture's energy. Shape: (L,)"""
        return {"name": name, "share": float(np.square(sound, dtype=np.float64).sum() / max(self._energy, 1e-12))}

    def _picture(self, mags: np.ndarray) -> dict:
        """A spectrogram as the page has it. Shape: (F, T) -> {"pixels": uint8 (F, T'), "size": (F, T')}"""
        shown = mags[:, :: -(-mags.shape[1] // WIDEST)]
        level = 20 * np.log10(np.maximum(shown, 1e-12) / max(self._loudest, 1e-9))
        pixels = np.round(255 * (1 + level / DARKEST).clip(0, 1)).astype(np.uint8)
        return {"pixels": pixels.tobytes(), "size": shown.shape}

    def _name(self, region: list | int) -> str:
        """What a region is called until somebody gives it a better name."""
        if isinstance(region, int):
            return self._clusters.names[region]
        rows, columns = (sorted(set(side)) for side in zip(*region, strict=True))
        (top, bottom), (left, right) = ((side[0], side[-1]) for side in (rows, columns))
        if len(set(region)) == (bottom - top + 1) * (right - left + 1):
            return f"{_span('row', top, bottom)}, {_span('column', left, right)}"
        return f"{len(region)} cells round row {round(np.mean(rows))}, column {round(np.mean(columns))}"


@contextmanager
def _one_thread() -> Iterator[None]:
    """A click is little work after a long pause: threads take longer to wake and meet than they save (11 ms, alone 6)."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _pcm(sound: np.ndarray) -> dict:
    """A sound as the page has it: 16 bit samples whose full scale is `peak`. Shape: (L,) -> {"peak", "pcm": bytes of <i2 (L,)}"""
    peak = max(float(np.abs(sound).max()), 1e-9)
    return {"peak": peak, "pcm": np.round(sound * (32_767 / peak)).astype("<i2").tobytes()}


def _span(word: str, low: int, high: int) -> str:
    return f"{word} {low}" if low == high else f"{word}s {low} to {high}"


def _finite(values: np.ndarray, name: str, shape: tuple[int | None, ...]) -> np.ndarray:
    """float32 of that shape (None: any number but 0), or SopError: NaN would come out as full-scale noise."""
    values = np.asarray(values, np.float32)
    fits = len(shape) == values.ndim and all(
        n == want or (want is None and n) for n, want in zip(values.shape, shape, strict=True)
    )
    if not fits or not np.isfinite(values).all():
        expected = ", ".join("L > 0" if n is None else str(n) for n in shape)
        raise SopError(f"{name} has shape {values.shape}, expected ({expected}), all of it finite")
    return values


def _jpeg(picture: np.ndarray) -> bytes:
    """A JPEG file of a (h, w, 3) uint8 picture."""
    return simplejpeg.encode_jpeg(np.ascontiguousarray(picture), quality=85)
