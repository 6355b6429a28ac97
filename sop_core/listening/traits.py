"""What the player and its page tell each other: the traits of `PixelPlayer`.

Conventions:
    cell    (row, column) of the scene's grid, row 0 on top, column 0 on the left.
    region  what one track is the sound of: a list of cells, or the number of a cluster.
    energy  a cell's share of the mixture's energy, 0 to 1: two scenes can be compared.
    level   absolute, too: a silent cell sounds silent, and the tracks and the rest add up to
            the mixture.
    share   of the mixture's energy that a track has, measured as the map measures it: a cell's
            track has the energy of that cell.
    whole   "nothing else sounds": everything is dealt out among the tracks, see `Scene.tracks`.
    answer  the tracks of `answer["regions"]`, `answer["whole"]`. While `regions` and `whole` differ
            from these, sounds are being computed. If that fails, both are set back and `error`
            says why.
    band    A click is answered by what is quick: mono, in the model's band. `full` follows: the
            same tracks of the video's own sound, all of its channels (`own`), unless `band` is
            "model".
"""

from typing import Any

import anywidget
import traitlets

BANDS = ("full", "model")
OVERLAYS = ("none", "now", "clip", "clusters")
NO_TRACKS: dict[str, Any] = {"regions": [], "whole": False, "tracks": []}


class Checked(traitlets.List):
    """A list that a method of the player checks before it is set.

    Not by @validate: traitlets calls that too late for values that come from the page.
    """

    def __init__(self, method: str):
        super().__init__()
        self.method = method

    def validate(self, player: anywidget.AnyWidget, value: Any) -> list | None:
        return super().validate(player, getattr(player, self.method)(value))


class Traits(anywidget.AnyWidget):
    """A player's state, which the page draws and plays."""

    grid = traitlets.Tuple(traitlets.Int(), traitlets.Int(), default_value=(1, 1)).tag(sync=True)
    rate = traitlets.Int().tag(sync=True)  # Hz
    start = traitlets.Float().tag(sync=True)  # s, in the whole video
    seconds = traitlets.Float().tag(sync=True)  # how long it is
    fps = traitlets.Float().tag(sync=True)  # picture k is on the screen from k / fps
    frames = traitlets.Bytes().tag(sync=True)  # JPEG files, one after the other
    frame_sizes = traitlets.List(traitlets.Int()).tag(sync=True)  # bytes of each
    mixture = traitlets.Dict().tag(sync=True)  # a track, see `pcm`
    energy = traitlets.Bytes().tag(sync=True)  # of the whole clip: little-endian float32 (H, W)
    moments = traitlets.Bytes().tag(sync=True)  # of each picture: uint8 (V, H, W), 255 is 1
    clusters = traitlets.Bytes().tag(sync=True)  # numbers of clusters: uint8 (V, H, W), 255: none
    legend = traitlets.List(traitlets.Dict()).tag(sync=True)  # name and share of each cluster
    overlay = traitlets.Enum(OVERLAYS, "clip").tag(sync=True)
    loop = traitlets.Bool(False).tag(sync=True)  # play over and over
    # What the user asks for. It is not echoed to the page, which would have to wait for the echo.
    regions = Checked("_check_regions").tag(sync=True, echo_update=False)
    whole = traitlets.Bool(False).tag(sync=True, echo_update=False)
    # What was computed. The rest, the last track, has no samples: the page computes them itself.
    answer = traitlets.Dict(NO_TRACKS).tag(sync=True)
    # Spectrograms of the mixture and the answer's tracks; they come after the answer.
    pictures = traitlets.Dict().tag(sync=True)
    mixer = Checked("_check_mixer").tag(sync=True)  # name, level, mute and solo of each track
    # The video's own sound: {} or rate, channels, peak and pcm of the mixture.
    own = traitlets.Dict().tag(sync=True)
    # Of the own sound: {} or regions, whole, and peak and pcm of each track but the rest.
    full = traitlets.Dict().tag(sync=True)
    band = traitlets.Enum(BANDS, "full").tag(sync=True)  # which of the two is heard
    about = traitlets.Unicode().tag(sync=True)  # versions, model and clip, for a report of a fault
    error = traitlets.Unicode().tag(sync=True)  # one line; empty if all is well
    _key = traitlets.Unicode().tag(sync=True)  # by which a kernel and a page know this player
