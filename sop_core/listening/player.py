"""PixelPlayer: click a pixel of a video and hear it. The page's half is in `static/`.

Conventions:
    cell    (row, column) of the scene's grid, row 0 on top, column 0 on the left.
    region  what one track is the sound of: a list of cells, or the number of a cluster.
    energy  a cell's share of the mixture's energy, 0 to 1: two scenes can be compared.
    level   absolute, too: a silent cell sounds silent, and the tracks and the rest add up to
            the mixture.
    answer  the tracks of `answer["regions"]`. While `regions` differs from these, sounds are being
            computed. If that fails, `regions` is set back and `error` says why.
"""

import asyncio
import base64
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anywidget
import numpy as np
import simplejpeg
import torch
import traitlets

from .. import show
from ..errors import SopError
from .tracks import check_region, finite, pcm, region_name, seen, spectrogram

if TYPE_CHECKING:
    from .scene import Scene

STATIC = Path(__file__).parent / "static"
SCRIPTS = ("geometry.js", "mixer.js", "player.js")  # one module for the page, three to read
OVERLAYS = ("none", "now", "clip", "clusters")
REST = "the rest"  # name of the last track: what no region takes
MAX_TRACKS = 30  # browsers mix 32 channels, the mixture and the rest among them
MAX_LEVEL = 1.5  # of a track in the mixer; 1: as it is
MAX_SECONDS = 30.0  # that a page is given unless it asks for more: 7 MB
PICTURE_DELAY = 0.1  # s after a click in which the page starts the sound undisturbed
CAPTION = "A picture of the player: to click it, open the notebook in JupyterLab and run it"


class Checked(traitlets.List):
    """A list that a method of the player checks before it is set.

    Not by @validate: traitlets calls that too late for values that come from the page.
    """

    def __init__(self, method: str):
        super().__init__()
        self.method = method

    def validate(self, player: "PixelPlayer", value: Any) -> list | None:
        return super().validate(player, getattr(player, self.method)(value))


class PixelPlayer(anywidget.AnyWidget):
    """A video with the energy of its sound on it: click a cell, and mix what you hear.

        player = PixelPlayer(scene)
        player                    # show it: click, drag, shift-click; or Tab, arrow keys, Enter
        player.pixel = 3, 9       # a click from Python
        player.regions = [[(3, 9)], scene.cells_in((0, 0, 0.5, 1))]  # two tracks
        player.samples            # (L,) float32, what the mixer plays

    Args:
        scene: a `Scene`
        pixel: a first click
        start, seconds: the stretch of a longer scene that is shown
        overlay: one of `OVERLAYS`

    Raises SopError if the scene's arrays don't fit together or a region can't be played.
    """

    _esm = "\n".join((STATIC / name).read_text(encoding="utf-8") for name in SCRIPTS)
    _css = STATIC / "player.css"

    grid = traitlets.Tuple(traitlets.Int(), traitlets.Int(), default_value=(1, 1)).tag(sync=True)
    rate = traitlets.Int().tag(sync=True)  # Hz
    start = traitlets.Float().tag(sync=True)  # s, in the whole video
    seconds = traitlets.Float().tag(sync=True)  # how long it is
    fps = traitlets.Float().tag(sync=True)  # picture k is on the screen from k / fps
    frames = traitlets.Bytes().tag(sync=True)  # JPEG files, one after the other
    frame_sizes = traitlets.List(traitlets.Int()).tag(sync=True)  # bytes of each
    mixture = traitlets.Dict().tag(sync=True)  # a track, see `_track` and `pcm`
    energy = traitlets.Bytes().tag(sync=True)  # of the whole clip: little-endian float32 (H, W)
    moments = traitlets.Bytes().tag(sync=True)  # of each picture: uint8 (V, H, W), 255 is 1
    clusters = traitlets.Bytes().tag(sync=True)  # numbers of clusters: uint8 (V, H, W), 255: none
    legend = traitlets.List(traitlets.Dict()).tag(sync=True)  # name and share of each cluster
    overlay = traitlets.Enum(OVERLAYS, "clip").tag(sync=True)
    loop = traitlets.Bool(False).tag(sync=True)  # play over and over
    # What the user asks for. It is not echoed to the page, which would have to wait for the echo.
    regions = Checked("_check_regions").tag(sync=True, echo_update=False)
    # What was computed. The rest, the last track, has no samples: the page computes them itself.
    answer = traitlets.Dict({"regions": [], "tracks": []}).tag(sync=True)
    # Spectrograms of the mixture and the answer's tracks; they come after the answer.
    pictures = traitlets.Dict().tag(sync=True)
    mixer = Checked("_check_mixer").tag(sync=True)  # name, level, mute and solo of each track
    error = traitlets.Unicode().tag(sync=True)  # one line; empty if all is well

    def __init__(
        self,
        scene: "Scene",
        pixel: tuple[int, int] | None = None,
        *,
        start: float = 0.0,
        seconds: float = MAX_SECONDS,
        overlay: str = "clip",
    ):
        length = len(scene.mixture) / scene.rate
        if not (0 <= start < length and seconds > 0):
            expected = f"expected a stretch of the scene's {length:.1f} s"
            raise SopError(f"start={start} s, seconds={seconds}: {expected}")
        if start or length > seconds:
            scene = scene.part(start, min(length, start + seconds))
        mixture = finite(scene.mixture, "scene.mixture", (None,))
        mags = scene.spectrogram(mixture)
        self.scene, self._clusters, self._later = scene, scene.clusters(), None
        self._sounds = np.zeros((0, len(mixture)), np.float32)  # of the answer
        self._loudest = float(mags.max())
        self._energy = float(np.square(mixture, dtype=np.float64).sum())
        self._mixture_picture = spectrogram(mags, self._loudest)
        super().__init__(
            rate=int(scene.rate),
            start=float(getattr(scene, "start", start)),  # a part's own: to the STFT frame
            seconds=len(mixture) / scene.rate,
            mixture=self._track("the mixture", mixture) | pcm(mixture),
            pictures={"regions": [], "rows": [self._mixture_picture]},
            overlay=overlay,
            **seen(scene, self._clusters),
        )
        self.pixel = pixel

    def __repr__(self) -> str:  # anywidget's own has an address, which differs from run to run
        (rows, columns), length = self.grid, f"{self.seconds:.2f} s at {self.rate} Hz"
        return f"PixelPlayer({rows} x {columns} cells, {length}, pixel={self.pixel})"

    def _repr_mimebundle_(self, **kwargs) -> tuple[dict, dict]:
        """The player, and a picture of 30 kB for pages without a kernel: nbconvert's, GitHub's."""
        bundle = super()._repr_mimebundle_(**kwargs)
        assert bundle, "anywidget gives None only for a widget without a view"
        data, metadata = bundle
        middle = len(self.frame_sizes) // 2
        begin = sum(self.frame_sizes[:middle])
        frame = simplejpeg.decode_jpeg(self.frames[begin : begin + self.frame_sizes[middle]])
        energy = np.frombuffer(self.energy, "<f4").reshape(self.grid)
        file = show.figure_file(show.still(frame, energy, CAPTION), "jpeg")
        return data | {"image/jpeg": base64.b64encode(file).decode()}, metadata

    @property
    def pixel(self) -> tuple[int, int] | None:
        """The cell that plays, if there is just one. Setting it is a click; None: no tracks."""
        cells = self.regions[0] if len(self.regions) == 1 else []
        return cells[0] if isinstance(cells, list) and len(cells) == 1 else None

    @pixel.setter
    def pixel(self, cell: tuple[int, int] | None) -> None:
        self.regions = [] if cell is None else [[cell]]

    @property
    def samples(self) -> np.ndarray | None:
        """What the mixer plays: the sum of tracks times levels. None: no tracks. Shape: (L,)"""
        if not len(self._sounds):
            return None
        alone = any(m["solo"] for m in self.mixer)
        levels = [m["level"] * (m["solo"] if alone else not m["mute"]) for m in self.mixer]
        return np.array(levels, np.float32) @ self._sounds

    def _check_regions(self, regions: Any) -> list:
        """Regions with cells as tuples of int. Raises SopError, which the page shows, too."""
        try:
            checked = [check_region(r, self.grid, len(self._clusters.names)) for r in regions]
        except (SopError, TypeError) as e:
            expected = "expected a list of regions, each a list of (row, column)"
            self.error = str(e) if isinstance(e, SopError) else f"regions={regions!r}: {expected}"
            raise SopError(self.error) from None
        self.error = ""
        return checked

    def _check_mixer(self, mixer: Any) -> list[dict]:
        """One entry for each track, with levels within 0 to `MAX_LEVEL`. Raises SopError."""
        try:
            checked = [
                {
                    "name": str(m["name"])[:80],
                    "level": min(max(float(m["level"]), 0.0), MAX_LEVEL),
                    "mute": bool(m["mute"]),
                    "solo": bool(m["solo"]),
                }
                for m in mixer
            ]
            if len(checked) != len(self._sounds) or any(math.isnan(m["level"]) for m in checked):
                raise ValueError
        except (KeyError, TypeError, ValueError):
            expected = f"name, level, mute and solo of each of {len(self._sounds)} tracks"
            raise SopError(f"mixer={mixer!r}: expected {expected}") from None
        return checked

    @traitlets.observe("regions")
    def _listen(self, _) -> None:
        """Compute the regions' tracks. An error is raised for Python, and shown on the page."""
        known = self.answer["regions"]
        if self.regions == known:
            return
        names = [region_name(region, self._clusters.names) for region in self.regions]
        try:
            sounds = self._compute() if names else self._sounds[:0]
        except Exception as e:
            text = str(e) if isinstance(e, SopError) else f"{type(e).__name__}: {e}"
            why = f"({' '.join(text.split())}); click somewhere else, or make the scene anew"
            self.regions = known
            self.error = f"{' + '.join(names)} can't be played {why}"
            raise SopError(self.error) from e
        # A region that was there before keeps its name and level, and then so does the rest.
        tracks, mixer = [], []
        if names:
            old = {str(region): m for region, m in zip(known, self.mixer, strict=False)}
            new = {"level": 1.0, "mute": False, "solo": False}
            keys = [str(region) for region in self.regions]
            mixer = [old.get(k, {"name": n, **new}) for k, n in zip(keys, names, strict=True)]
            rest = {"name": REST, **new, "mute": True}
            mixer.append(rest if old.keys().isdisjoint(keys) else self.mixer[-1])
            tracks = [self._track(n, s) | pcm(s) for n, s in zip(names, sounds[:-1], strict=True)]
            tracks.append(self._track(REST, sounds[-1]))
        with self.hold_sync():  # one message
            self._sounds, self.mixer = sounds, mixer
            self.answer = {"regions": self.regions, "tracks": tracks}
        if self._later:
            self._later.cancel()
        try:
            self._later = asyncio.get_running_loop().call_later(PICTURE_DELAY, self._show)
        except RuntimeError:  # no event loop: not in a kernel
            self._show()

    def _compute(self) -> np.ndarray:
        """The sounds of the regions, and the rest. Shape: (P + 1, L)"""
        if (count := len(self.regions)) > MAX_TRACKS:
            raise SopError(f"{count} tracks, of which a player mixes {MAX_TRACKS} at most")
        clusters = self._clusters.regions
        regions = [clusters[r] if isinstance(r, int) else r for r in self.regions]
        threads = torch.get_num_threads()
        try:
            # A click is too little work to wake threads up: 11 ms on several, 6 ms on one. But
            # features of a long scene may have to be computed again.
            torch.set_num_threads(1 if self.seconds <= MAX_SECONDS else threads)
            sounds = self.scene.tracks(regions)
        finally:
            torch.set_num_threads(threads)
        shape = (len(regions) + 1, self._sounds.shape[1])
        return finite(sounds, f"scene.tracks({regions})", shape)

    def _show(self) -> None:
        """Send the spectrograms of the newest answer."""
        mags = self.scene.spectrogram(self._sounds) if len(self._sounds) else []
        rows = [self._mixture_picture, *(spectrogram(m, self._loudest) for m in mags)]
        self.pictures = {"regions": self.answer["regions"], "rows": rows}

    def _track(self, name: str, sound: np.ndarray) -> dict:
        """A track as the page has it: its name and share of the mixture's energy. Shape: (L,)"""
        energy = np.square(sound, dtype=np.float64).sum()
        return {"name": name, "share": float(energy / max(self._energy, 1e-12))}
