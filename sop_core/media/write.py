"""An mp4 that every browser plays."""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import chain, islice

import av
import numpy as np

from ..config import AnyPath
from ..errors import SopError
from .atomic import atomic_path
from .sound import audio_frame, resampled

AAC_RATE = 44_100  # Hz: not every player takes 11 025
# What RGB becomes YUV by (ITU-R BT.601). Of pictures of 720 lines or more that do not say so,
# players take BT.709, and show other colours.
BT601 = dict.fromkeys(("colorspace", "color_primaries", "color_trc"), "smpte170m")


def write_video(
    path: AnyPath,
    frames: Iterable[np.ndarray],
    fps: float,
    sound: np.ndarray | Iterable[np.ndarray],
    rate: int,
    h264: dict[str, str] | None = None,
    aac: dict[str, str] | None = None,
) -> None:
    """An mp4 (h264, aac) that every browser plays, in memory that doesn't grow with it.

    Args: `frames`: uint8 (V,h,w,3), or any iterable of (h,w,3); where a side is odd, the last row
        or column is repeated.
        `sound`: (L,), or stereo (2, L), at `rate` Hz, or any iterable of pieces (l,) or (2, l) of
        it; clipped at +-1. It begins with the first frame.
        `h264`, `aac`: FFmpeg's options of the two encoders (None: {"crf": "20"} and its defaults).
    Raises SopError if there are no frames.
    """
    pieces = _aac(rate, [sound] if isinstance(sound, np.ndarray) else sound)
    step = Fraction(fps).limit_denominator(1001)
    with atomic_path(path) as part, av.open(f"file:{part}", "w", format="mp4") as container:
        video = None
        done = 0  # samples of sound so far, at AAC_RATE
        for k, frame in enumerate(frames):
            height, width = frame.shape[:2]
            frame = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
            if video is None:
                options = BT601 | (h264 or {"crf": "20"})
                video = container.add_stream("h264", rate=step, options=options)
                video.height, video.width = frame.shape[:2]
                video.pix_fmt = "yuv420p"
                first = list(islice(pieces, 1))
                layout = first[0].layout.name if first else "mono"
                audio = container.add_stream("aac", rate=AAC_RATE, layout=layout, options=aac)
                pieces = chain(first, pieces)
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            container.mux(video.encode(picture))
            # the sound up to this picture's end: a player finds both in one place
            while done / AAC_RATE < (k + 1) / step and (piece := next(pieces, None)):
                container.mux(audio.encode(piece))
                done += piece.samples
        if video is None:
            raise SopError(f"{path}: no frames to write")
        # what is left
        for piece in pieces:
            container.mux(audio.encode(piece))
        container.mux(video.encode(None))
        container.mux(audio.encode(None))


def _aac(rate: int, pieces: Iterable[np.ndarray]) -> Iterator[av.AudioFrame]:
    """The sound as frames of a tenth of a second for the encoder, at AAC_RATE."""
    done = 0
    for piece in resampled((np.clip(p, -1, 1) for p in pieces), rate, AAC_RATE):
        for start in range(0, piece.shape[-1], AAC_RATE // 10):
            part = piece[..., start : start + AAC_RATE // 10]
            yield audio_frame(part, AAC_RATE, done)
            done += part.shape[-1]
