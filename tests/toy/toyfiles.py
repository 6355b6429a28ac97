"""What is in files, read independently of the code that writes them."""

from types import SimpleNamespace

import av
import numpy as np

SEED = 7


def decode(path):
    """All frames (V, 240, 320, 3), the sound (L,), and what the file's header says.

    Reads without any code of the writer.
    """
    with av.open(str(path)) as f:
        v, a = f.streams.video[0], f.streams.audio[0]
        about = SimpleNamespace(
            video=v.codec_context.name,
            audio=a.codec_context.name,
            format=v.codec_context.pix_fmt,
            rate=a.rate,
            fps=v.average_rate,
            size=(v.width, v.height),
            channels=a.codec_context.channels,
            seconds=f.duration / 1e6,
        )
        frames = np.stack([x.to_ndarray(format="rgb24") for x in f.decode(v)])
        f.seek(0)
        sound = np.concatenate([x.to_ndarray()[0] for x in f.decode(a)])
    return frames, sound, about


def files(folder):
    return {
        p.relative_to(folder).as_posix(): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }
