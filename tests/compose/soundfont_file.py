"""A SoundFont for tests: every program is one looped tone, and any number in it can lie."""

import struct
from pathlib import Path

import numpy as np

RATE = 22_050  # Hz, of the recordings
CYCLE = 50  # samples: 441 Hz, 3.93 cents above A4
CENTS = -4  # what the file says about it
ROOT = 69  # A4
LENGTH = 1000  # samples; its last ten cycles loop


def sine() -> np.ndarray:
    return (16_000 * np.sin(2 * np.pi * np.arange(LENGTH) / CYCLE)).astype(np.int16)


def saw() -> np.ndarray:
    return (16_000 * (2 * (np.arange(LENGTH) / CYCLE % 1) - 1)).astype(np.int16)


def chunk(name: str, data: bytes) -> bytes:
    return name.encode() + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)


def soundfont(
    path: Path,
    programs: tuple[int, ...] = (0,),
    sound: np.ndarray | bytes | None = None,
    loop: tuple[int, int] = (LENGTH - 10 * CYCLE, LENGTH),
    span: tuple[int, int] = (0, LENGTH),
    generators: dict[int, int] | None = None,
    above: dict[int, int] | None = None,
    head: tuple[int, int] = (RATE, ROOT),
    bank: int = 0,
    name: str = "tone",
    kind: int = 1,
    bags: int | None = None,
    odd: bool = False,
) -> Path:
    """Write one. `generators`: of the instrument's zone; `above`: of the programs'.

    `head`: the recording's rate and key; `kind`: 1 mono, 0x11 mono in Ogg Vorbis; `bags`: the
    number of the first zone of the last record, where it shall lie; `odd`: a saw for loud notes.
    """
    sound = sine() if sound is None else sound
    gens = {54: 1} | (generators or {})
    zones = [gens | {53: gens.get(53, 0)}]  # what leads on comes last
    if odd:
        zones = [{44: 63 << 8} | gens | {53: 0}, {44: 64 | 127 << 8} | gens | {53: 1}]
    up = [(above or {}) | {41: (above or {}).get(41, 0)} for _ in programs]
    presets = [
        struct.pack("<20sHHH12x", f"{name} {p}".encode(), p, bank, i)
        for i, p in enumerate(programs)
    ]
    last = len(programs) if bags is None else bags
    presets.append(struct.pack("<20sHHH12x", b"EOP", 0, 0, last))
    insts = struct.pack("<20sH20sH", b"tone", 0, b"EOI", len(zones))
    data = sound.tobytes() if isinstance(sound, np.ndarray) else sound
    fields = (*span, *loop, *head, CENTS, 0, kind)
    samples = struct.pack("<20sIIIIIBbHH", name.encode(), *fields)
    if odd:
        data += saw().tobytes()
        moved = [n + LENGTH for n in (*span, *loop)]
        samples += struct.pack("<20sIIIIIBbHH", b"saw", *moved, *head, CENTS, 0, kind)
    lists = [
        ("phdr", b"".join(presets)),
        *zip(("pbag", "pmod", "pgen"), _zones(up), strict=True),
        ("inst", insts),
        *zip(("ibag", "imod", "igen"), _zones(zones), strict=True),
        ("shdr", samples + struct.pack("<20s26x", b"EOS")),
    ]
    body = chunk("LIST", b"INFO" + chunk("ifil", struct.pack("<HH", 2, 4)))
    body += chunk("LIST", b"sdta" + chunk("smpl", data))
    body += chunk("LIST", b"pdta" + b"".join(chunk(*part) for part in lists))
    path.write_bytes(chunk("RIFF", b"sfbk" + body))
    return path


def _zones(zones: list[dict[int, int]]) -> tuple[bytes, bytes, bytes]:
    """Bags, modulators (none) and generators."""
    bags, gens = b"", b""
    for zone in zones:
        bags += struct.pack("<HH", len(gens) // 4, 0)
        for kind, amount in zone.items():
            gens += struct.pack("<Hh" if amount < 0 else "<HH", kind, amount)
    return bags + struct.pack("<HH", len(gens) // 4, 0), bytes(10), gens + bytes(4)
