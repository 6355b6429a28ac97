"""PixelPlayer: click a pixel of a video and hear it. The page's half is in `static/`."""

import asyncio
import base64
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
import simplejpeg
import torch
import traitlets

from .. import show
from ..config import AnyPath
from ..errors import SopError
from ..media.atomic import atomic_path
from . import saved
from .page import PLAYER, TITLE, framed, page
from .playback import OwnSound
from .regions import check_partition
from .tracks import (
    REST,
    check_mixer,
    check_region,
    finite,
    mixer_of,
    pcm,
    region_name,
    seen,
    spectrogram,
    track_name,
)
from .traits import Traits

if TYPE_CHECKING:
    from .scene import Scene

STATIC = Path(__file__).parent / "static"
SCRIPTS = (*PLAYER, "kernel.js")
MAX_TRACKS = 30  # browsers mix 32 channels, the mixture and the rest among them
MAX_SECONDS = 30.0  # that a page is given unless it asks for more: 7 MB
PICTURE_DELAY = 0.1  # s after a click in which the page starts the sound undisturbed
# Of each scene. ipywidgets keeps every player until it is closed: one cell run ten times is ten.
_OWN: "WeakKeyDictionary[Scene, OwnSound]" = WeakKeyDictionary()
CAPTION = "A picture of the player: to click it, open the notebook in JupyterLab and run it"


class PixelPlayer(Traits):
    """A video with the energy of its sound on it: click a cell, and mix what you hear.

        player = PixelPlayer(scene)
        player                    # show it: click, drag, shift-click; or Tab, arrow keys, Enter
        player.pixel = 3, 9       # a click from Python
        player.regions = [[(3, 9)], scene.cells_in((0, 0, 0.5, 1))]  # two tracks
        player.whole = True       # nothing else sounds: everything is dealt out among the tracks
        player.samples            # (L,) float32, what the mixer plays, in the model's band
        player.full_samples       # (C, L) float32, the same of the video's own sound
        PixelPlayer.from_json(scene, player.to_json())  # the same regions and levels once more
        player.to_html("duet.html")  # a page that clicks without Python, to send to a friend

    Args:
        scene: a `Scene`
        pixel: a first click
        start, seconds: the stretch of a longer scene that is shown
        overlay: one of `OVERLAYS`
        band: one of `BANDS`
        offline: a notebook keeps the page of `to_html`, about 2 MB for 10 s or more. As long as
            there is a kernel, the player takes its place; then the page clicks without one, also
            when the notebook is opened again, and after `nbconvert --to html`

    Raises SopError if the scene's arrays don't fit together or a region can't be played.
    """

    _esm = "\n".join((STATIC / name).read_text(encoding="utf-8") for name in SCRIPTS)
    _css = STATIC / "player.css"

    def __init__(
        self,
        scene: "Scene",
        pixel: tuple[int, int] | None = None,
        *,
        start: float = 0.0,
        seconds: float = MAX_SECONDS,
        overlay: str = "clip",
        band: str = "full",
        offline: bool = False,
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
        self._own = _own_sound(scene)
        self.offline = offline
        self._sounds = np.zeros((0, len(mixture)), np.float32)  # of the answer
        self._loudest = float(mags.max())
        self._mixture_picture = spectrogram(mags, self._loudest)
        super().__init__(
            rate=int(scene.rate),
            start=float(getattr(scene, "start", start)),  # a part's own: to the STFT frame
            seconds=len(mixture) / scene.rate,
            mixture={"name": "the mixture", "share": float(np.any(mixture)), **pcm(mixture)},
            pictures={"regions": [], "rows": [self._mixture_picture]},
            overlay=overlay,
            band=band,
            about=saved.about(scene),
            own=self._own and _own_mixture(self._own) or {},
            **seen(scene, self._clusters),
        )
        self._key = self.model_id or ""
        self.pixel = pixel

    @classmethod
    def from_json(
        cls, scene: "Scene", content: str | bytes, overlay: str = "clip"
    ) -> "PixelPlayer":
        """A player with the regions and levels that `to_json`, or the page, has written.

        Raises SopError if `content` isn't that, or doesn't fit the scene.
        """
        return cls._of(scene, saved.parsed(content, scene.grid), overlay)

    @classmethod
    def load(cls, scene: "Scene", path: AnyPath, overlay: str = "clip") -> "PixelPlayer":
        """`from_json` of a file: a json, or the zip that the page downloads. Raises as it does."""
        state = saved.parsed(saved.read(path), scene.grid, str(path))
        return cls._of(scene, state, overlay)

    @classmethod
    def _of(cls, scene: "Scene", state: dict, overlay: str) -> "PixelPlayer":
        # An already cut scene is as long as the stretch, and begins there.
        first = getattr(scene, "start", 0.0)
        start, length = state["start"] - first, len(scene.mixture) / scene.rate
        if start < -0.05 or start + state["seconds"] > length + 0.05:
            stretch = f"from {state['start']:.1f} s on, {state['seconds']:.1f} s long"
            there = f"this scene begins at {first:.1f} s and has {length:.1f} s"
            raise SopError(f"a player saved {stretch}: {there}; expected a stretch of it")
        start = max(0.0, start)
        player = cls(scene, start=start, seconds=state["seconds"], overlay=overlay)
        with player.hold_trait_notifications():
            player.regions = state["regions"]
            player.whole = state["whole"]
        player.mixer = state["mixer"]
        return player

    def to_json(self) -> str:
        """Regions, levels and the stretch as text, for `from_json`; `saved` says what is in it."""
        names = ("start", "seconds", "whole", "regions", "mixer")
        state = {name: getattr(self, name) for name in names}
        return saved.text(state | {"grid": self.grid})

    def __repr__(self) -> str:  # anywidget's own has an address, which differs from run to run
        (rows, columns), length = self.grid, f"{self.seconds:.2f} s at {self.rate} Hz"
        return f"PixelPlayer({rows} x {columns} cells, {length}, pixel={self.pixel})"

    def _repr_mimebundle_(self, **kwargs) -> tuple[dict, dict]:
        """The player, and a picture of 30 kB for pages without a kernel: nbconvert's, GitHub's.

        If `offline`, the page of `to_html` instead, in whose place `kernel.js` puts the player. Of
        the two, a notebook without its kernel would show the player, which is then blank.
        """
        bundle = super()._repr_mimebundle_(**kwargs)
        assert bundle, "anywidget gives None only for a widget without a view"
        data, metadata = bundle
        if self.offline:
            place = f'<div data-sop-page="{self._key}">{framed(page(self))}</div>'
            return {"text/plain": data["text/plain"], "text/html": place}, {}
        middle = len(self.frame_sizes) // 2
        begin = sum(self.frame_sizes[:middle])
        frame = simplejpeg.decode_jpeg(self.frames[begin : begin + self.frame_sizes[middle]])
        energy = np.frombuffer(self.energy, "<f4").reshape(self.grid)
        file = show.figure_file(show.still(frame, energy, CAPTION), "jpeg")
        return data | {"image/jpeg": base64.b64encode(file).decode()}, metadata

    def to_html(self, path: AnyPath, title: str = TITLE) -> None:
        """Write one html file with all that is shown, which needs neither Python nor the network.

        Its clicks sound as here, to less than 1e-3 of full scale. It has about 10 MB for 10 s at
        most, and what was clicked and mixed so far.

        Raises SopError if the scene has no feature maps.
        """
        text = page(self, title)
        with atomic_path(path) as part:
            part.write_text(text, encoding="utf-8")

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
        return self._levels() @ self._sounds

    @property
    def full_samples(self) -> np.ndarray | None:
        """`samples` of the video's own sound, at `own["rate"]` Hz; None: no tracks or no own sound.

        Shape: (C, L)
        """
        if not len(self._sounds) or not self._own:
            return None
        pieces = self._own.tracks(self.scene, self._as_cells(), self.whole)
        tracks = np.concatenate(list(pieces), -1)  # (P, C, L)
        rest = self._own.mixture - tracks.sum(0)
        return np.tensordot(self._levels(), np.concatenate([tracks, rest[None]]), 1)

    def _levels(self) -> np.ndarray:
        """How much of each track is heard, the rest last. Shape: (P + 1,)"""
        alone = any(m["solo"] for m in self.mixer)
        levels = [m["level"] * (m["solo"] if alone else not m["mute"]) for m in self.mixer]
        return np.array(levels, np.float32)

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
        """See `check_mixer`."""
        return check_mixer(mixer, len(self._sounds))

    @traitlets.observe("regions", "whole")
    def _listen(self, _) -> None:
        """Compute the regions' tracks. An error is raised for Python, and shown on the page."""
        before: Any = self.answer
        known, known_whole = before["regions"], before["whole"]
        if self.regions == known and self.whole == known_whole:
            return
        places = [region_name(region, self._clusters.names) for region in self.regions]
        try:
            if self.whole and hasattr(self.scene, "config"):
                check_partition(self.scene.config)
            sounds, shares = self._compute() if places else (self._sounds[:0], ())
            call = partial(track_name, scene=self.scene, clusters=self._clusters.names)
            mixer = mixer_of(self.regions, known, self.mixer, call) if places else []
        except Exception as e:
            text = str(e) if isinstance(e, SopError) else f"{type(e).__name__}: {e}"
            why = f"({' '.join(text.split())}); click somewhere else, or make the scene anew"
            with self.hold_trait_notifications():
                self.regions = known
                self.whole = known_whole
            self.error = f"{' + '.join(places)} can't be played {why}"
            raise SopError(self.error) from e
        tracks = []
        if places:
            for m, where, share in zip(mixer, [*places, REST], shares, strict=True):
                tracks.append({"name": m["name"], "where": where, "share": float(share)})
            for track, sound in zip(tracks[:-1], sounds[:-1], strict=True):
                track |= pcm(sound)
        with self.hold_sync():  # one message
            self._sounds, self.mixer = sounds, mixer
            self.answer = {"regions": self.regions, "whole": self.whole, "tracks": tracks}
        self._follow()

    @traitlets.observe("band")
    def _follow(self, _=None) -> None:
        """Send what comes after an answer, and give up what was to come after the one before."""
        if self._later:
            self._later.cancel()
        try:
            self._later = asyncio.get_running_loop().create_task(self._after())
        except RuntimeError:  # no event loop: not in a kernel
            for _ in self._steps():
                pass

    async def _after(self) -> None:
        await asyncio.sleep(PICTURE_DELAY)
        try:
            for _ in self._steps():
                await asyncio.sleep(0)  # another click comes first
        except Exception as e:  # nobody waits for this task
            self.error = f"the rest of the sound can't be had ({type(e).__name__}: {e})"
            raise

    def _steps(self) -> Iterator[None]:
        """Send spectrograms, and then the own sound of the newest answer; step by step."""
        self._show()
        state = {name: self.answer[name] for name in ("regions", "whole")}
        if not (self._own and self.regions and self.band == "full"):
            return
        if {name: self.full.get(name) for name in state} == state:
            return
        yield
        pieces = []
        for piece in self._own.tracks(self.scene, self._as_cells(), self.whole):
            pieces.append(piece)
            yield
        tracks = [pcm(track) for track in np.concatenate(pieces, -1)]
        self.full = state | {"tracks": tracks}

    def _as_cells(self) -> list:
        clusters = self._clusters.regions
        return [clusters[r] if isinstance(r, int) else r for r in self.regions]

    def _compute(self) -> tuple[np.ndarray, np.ndarray]:
        """The sounds of the regions and the rest, and their shares. Shape: (P + 1, L), (P + 1,)"""
        if (count := len(self.regions)) > MAX_TRACKS:
            raise SopError(f"{count} tracks, of which a player mixes {MAX_TRACKS} at most")
        regions = self._as_cells()
        threads = torch.get_num_threads()
        try:
            # A click is too little work to wake threads up: 11 ms on several, 6 ms on one. But
            # features of a long scene may have to be computed again.
            torch.set_num_threads(1 if self.seconds <= MAX_SECONDS else threads)
            sounds, shares = self.scene.heard(regions, self.whole)
        finally:
            torch.set_num_threads(threads)
        shape = (len(regions) + 1, self._sounds.shape[1])
        return finite(sounds, f"scene.tracks({regions})", shape), shares

    def _show(self) -> None:
        """Send the spectrograms of the newest answer."""
        mags = self.scene.spectrogram(self._sounds) if len(self._sounds) else []
        rows = [self._mixture_picture, *(spectrogram(m, self._loudest) for m in mags)]
        self.pictures = {"regions": self.answer["regions"], "rows": rows}


def _own_sound(scene: "Scene") -> OwnSound | None:
    """The own sound of a scene's video; None if the scene has another, or is of arrays."""
    source = getattr(scene, "source", None)
    if source and scene not in _OWN:
        _OWN[scene] = OwnSound(scene, source)
    return _OWN[scene] if source else None


def _own_mixture(own: OwnSound) -> dict:
    """It as the page has it."""
    return {"rate": own.rate, "channels": own.channels, **pcm(own.mixture)}
