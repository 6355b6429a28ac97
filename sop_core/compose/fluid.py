"""FluidSynth in a process of its own: `soundfonts` starts `python -m sop_core.compose.fluid`.

A SoundFont is a stranger's file, and FluidSynth is written in C: whatever happens, happens here.

    stdin    a request in JSON: `render` says what is in it; nothing: only look for FluidSynth
    stdout   int16, left and right in turn, `samples` of each
    stderr   what FluidSynth says
    exit     0 played, MISSING no FluidSynth, or one of REASONS

Nothing but the standard library and pyfluidsynth is imported: numpy starts three times as long,
and reserves memory for each core.
"""

import ctypes
import json
import os
import sys
from contextlib import suppress
from itertools import pairwise
from typing import BinaryIO

MISSING = 3
UNREADABLE, NO_PROGRAM = 4, 5
REASONS = {
    UNREADABLE: "FluidSynth can't read the file",
    NO_PROGRAM: "FluidSynth can't load the program",
}
CHANNELS = 256
GAIN = 0.25  # a note of FluidR3 at full force has a peak of 0.03 to 0.18; at 1 FluidSynth clips
BLOCK = 2**16  # samples at a time
SETTINGS = {
    "synth.reverb.active": 0,
    "synth.chorus.active": 0,
    "synth.dynamic-sample-loading": 1,  # of the program that plays alone
    "synth.lock-memory": 0,
    "synth.cpu-cores": 1,
}


def main() -> None:
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print is no sound
    try:
        import fluidsynth  # noqa: F401
    except ImportError as e:
        print(e, file=sys.stderr)
        sys.exit(MISSING)
    if data := sys.stdin.buffer.read():
        request = json.loads(data)
        limit(request["memory"], 4 * request["samples"] + 2**20)
        render(request, out)
        out.close()


def limit(memory: int, file: int) -> None:
    """Let this process have no more memory, and write no longer file (bytes), and dump no core."""
    with suppress(ImportError):  # Windows
        import resource

        for kind, size in (("AS", memory), ("FSIZE", file), ("CORE", 0)):
            with suppress(ValueError, OSError):  # macOS limits no memory
                resource.setrlimit(getattr(resource, f"RLIMIT_{kind}"), (size, size))


def render(request: dict, out: BinaryIO) -> None:
    """Play events and write the sound.

    Args: `request`: `path`, `program` (of bank 0), `rate` (Hz), `samples`, and `events` in order:
        [sample, "on" | "off" | "cc" | "bend", channel, values...]. FluidSynth begins them at the
        next multiple of 64 samples.
    """
    import fluidsynth

    synth = fluidsynth.Synth(GAIN, request["rate"], CHANNELS, **SETTINGS)
    # Not `synth.sfload` and `synth.get_samples`: names in UTF-8 only, and numpy
    load, write = fluidsynth.fluid_synth_sfload, fluidsynth.fluid_synth_write_s16
    assert load and write  # each version of FluidSynth has them
    bank = load(synth.synth, os.fsencode(request["path"]), 0)
    if bank < 0:
        sys.exit(UNREADABLE)
    for channel in range(CHANNELS):
        if synth.program_select(channel, bank, 0, request["program"]) < 0:
            sys.exit(NO_PROGRAM)
    do = {"on": synth.noteon, "off": synth.noteoff, "cc": synth.cc, "bend": synth.pitch_bend}
    done = 0
    for at, kind, channel, *values in [*request["events"], (request["samples"], "end", 0)]:
        for start, stop in pairwise([*range(done, at, BLOCK), at]):
            size = stop - start
            sound = ctypes.create_string_buffer(4 * size)
            write(synth.synth, size, sound, 0, 2, sound, 1, 2)
            out.write(sound.raw)
        done = at
        if kind != "end":
            do[kind](channel, *values)


if __name__ == "__main__":
    main()
