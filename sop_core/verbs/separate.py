"""`sop separate`: the sound of a part of a video's picture, into a file; or a page of all parts."""

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Group, Parameter
from cyclopts.validators import LimitedChoice

from ..errors import SopError
from .options import Device, Whole

if TYPE_CHECKING:
    from ..listening.scene import Scene
    from ..media.choose import Choice

ONE = "Where: exactly one of these; for a page also none"
WHERE = Group(ONE, sort_key=1, validator=LimitedChoice(1, allow_none=True))
PAGE = ".html"


def _where(metavar: str, converter) -> Parameter:
    return Parameter(group=WHERE, metavar=metavar, converter=converter, n_tokens=1)


def _numbers(count: int):
    """A converter: `count` whole numbers with commas between."""

    def convert(_, tokens) -> tuple[int, ...]:
        text = tokens[0].value
        if not re.fullmatch(",".join([r"\s*[+-]?\d+\s*"] * count), text):
            raise ValueError(f"{text!r}: expected {count} whole numbers with commas between")
        return tuple(map(int, text.split(",")))

    return convert


def _count(_, tokens) -> int:
    """A converter: a number from 1, or `auto`, which is 0."""
    text = tokens[0].value
    if text != "auto" and not (text.isdecimal() and int(text)):
        raise ValueError(f"{text!r}: expected a number from 1, or auto")
    return 0 if text == "auto" else int(text)


def separate(
    ckpt: Path,
    video: Annotated[list[Path], Parameter(name="VIDEO...")],
    /,
    *,
    pixel: Annotated[tuple[int, int] | None, _where("ROW,COL", _numbers(2))] = None,
    box: Annotated[tuple[int, int, int, int] | None, _where("X0,Y0,X1,Y1", _numbers(4))] = None,
    all_sources: Annotated[int | None, _where("N|auto", _count)] = None,
    out: Annotated[Path, Parameter(metavar="OUT.wav|OUT.mp4|OUT.html|DIR")],
    start: Annotated[float, Parameter(name="--from", metavar="SECONDS")] = 0.0,
    end: Annotated[float | None, Parameter(name="--to", metavar="SECONDS")] = None,
    rate: Literal["source", "model"] = "source",
    format: Literal["wav", "flac", "mp3"] | None = None,
    wav_format: Literal["pcm16", "pcm24", "float32"] | None = None,
    video_stream: Annotated[Whole | None, Parameter(metavar="N")] = None,
    audio_stream: Annotated[Whole | None, Parameter(metavar="N")] = None,
    partition: Annotated[bool, Parameter(name=("--partition", "--whole"))] = False,
    cache: bool = False,
    device: Device = None,
) -> None:
    """The sound of a pixel, of a box, or of all instruments, of any video.

    Args:
        ckpt: The run's folder.
        video: Videos of any length, in any self-contained format that FFmpeg reads.
        pixel: A cell of the grid, heard with its neighbours. 0,0 is at the top left.
        box: A box in pixels of the video.
        all_sources: The N most different instruments, and the rest. auto: as many as differ.
        out: A sound (wav, flac, mp3) or a video; for --all-sources a new folder. For several
            videos: a folder, in which each gets its own. html: a page, to send to a friend: every
            click sounds, without Python. It has the first 30 s, or what --from and --to say.
        start: Write what sounds from this second on.
        end: Write what sounds up to this second. Default: to the end.
        rate: source: the video's own sound, with its channels (more than two as a stereo downmix),
            at its own rate. model: what the nets heard, mono.
        format: Of the sounds in a folder. Default: wav.
        wav_format: Samples of wav files. Default: pcm16.
        video_stream: Of several picture streams, take this one, from 0. Default: what plays.
        audio_stream: Of several sound streams, take this one, from 0. Default: what plays.
        partition: With --all-sources: nothing else sounds. They get all of the mixture.
        cache: Keep the nets' outputs beside the video. The next time is faster.
    """
    from ..__main__ import note
    from ..listening import export
    from ..listening.regions import check_partition, on_grid
    from ..media.choose import Choice
    from ..toy.render import is_solo
    from ..training.checkpoint import knows_all, load_model, read_clips

    # What is wrong with the options, before any work
    whole = all_sources is not None
    if not (pixel or box or whole or out.suffix == PAGE):
        needed = "expected one of --pixel, --box and --all-sources"
        raise SopError(f"{needed}; a page (--out NAME.html) needs none")
    if whole and out.suffix == PAGE:
        raise SopError(f"--all-sources with --out {out}: a page shows them anyway; leave it out")
    if partition and not whole:
        raise SopError("--partition goes with --all-sources: one region would get everything")
    span = (start, math.inf if end is None else end)
    if not 0 <= span[0] < span[1]:
        raise SopError(f"--from {start:g} --to {span[1]:g}: expected 0 <= from < to, in seconds")
    places, kind = _places(video, out, whole, format, wav_format)
    model = load_model(ckpt, device)
    if partition:
        check_partition(model.config)
    if pixel:
        on_grid(pixel, model.config.grid)
    # Each video
    learned = export.learned_from(read_clips(ckpt) if knows_all(ckpt) else None, is_solo)
    how = {"rate": rate, "wav_format": wav_format or "pcm16"}
    if whole:
        how |= {"kind": kind, "partition": partition, "count": all_sources or None}
    choice, broken = Choice(video_stream, audio_stream), []
    try:
        for one, place in zip(video, places, strict=True):
            try:
                region = [pixel] if pixel else box and _cells(box, one, choice, model.config.grid)
                _write(model, one, choice, place, region, span, cache, learned, how)
            except (SopError, PermissionError) as e:
                if len(video) == 1:
                    raise
                broken.append(f"{one}: {str(e).removeprefix(f'{one}: ')}")
    finally:  # also where the disk is full midway
        for line in broken:
            note(line)
    if broken:
        raise SopError(f"{len(broken)} of {len(video)} videos are not in {out}: see above")


def _places(
    videos: list[Path], out: Path, whole: bool, kind: str | None, wav_format: str | None
) -> tuple[list[Path], str]:
    """Where each video's sound goes, and the kind of its file or files; raises SopError if there
    is something in the way, or options contradict each other.
    """
    from ..listening import export

    places = [out]
    if len(videos) > 1:
        if out.suffix in (*export.SUFFIXES, PAGE) or (out.exists() and not out.is_dir()):
            raise SopError(f"{out}: for {len(videos)} videos, expected the name of a folder")
        places = [out / name for name in export.folder_names(videos)]
        if not whole:
            places = [place / f"region.{kind or 'wav'}" for place in places]
    elif out.suffix != PAGE:  # of several, those that can't be written are named at the end
        export.check_out(out, folder=whole)
        if whole and out.suffix.lower() in export.SUFFIXES:
            raise SopError(f"{out}: --all-sources writes a folder; expected its name, no file's")
    elif out.is_dir():
        raise SopError(f"{out}: a folder; expected the name of a file")
    for place in places:
        export.check_apart(place, videos)
    own = (kind or "wav") if whole else places[0].suffix[1:]
    if kind and kind != own:
        raise SopError(f"--format {kind} with --out {out}: its name says {own}; leave one out")
    if wav_format and own != "wav":
        raise SopError(f"--wav-format {wav_format} goes with wav, not with {own}")
    return places, own


def _write(
    model,
    video: Path,
    choice: "Choice",
    out: Path,
    region: list | None,
    span: tuple[float, float],
    cache: bool,
    learned: str,
    how: dict,
) -> None:
    """Separate one video, and say what was written."""
    from ..__main__ import note
    from ..listening import export
    from ..listening.clusters import HEARD_SHARE, NOT_KNOWN, SILENT_SHARE, knows
    from ..listening.scene import Scene
    from ..media.container import open_video
    from ..media.survey import survey
    from ..model.names import Name
    from ..untrusted import printable

    page = out.suffix == PAGE
    if not page:
        export.check_out(out, folder=region is None)
    streams: list[str] = []
    with open_video(video, choice, streams) as (_, _, audio):
        channels = len(audio.layout.channels)
    about = survey(video, choice)
    _check_span(video, span, about.end - about.begin, page)
    if channels > 2 and how["rate"] == "source":
        streams.append(f"{channels} channels: written as a stereo downmix")
    for line in (*streams, *about.notes, *about.of_channels):
        note(f"note: {video}: {line}")
    scene = Scene.from_video(model, video, cache, choice)
    if span != (0, math.inf):
        scene = scene.part(*span)
    if page:
        _write_page(scene, out, region, video.stem, math.isfinite(span[1]), how["rate"])
        return
    if region is None:
        table = export.write_all(scene, video, out=out, learned=learned, **how)
        columns = ["name", "share", *(("label", "confidence") if "label" in table else ())]
        for name, share, *looks in zip(*(table[c] for c in columns), strict=True):
            told = f"; looks like {export.sure(Name(*looks))}" if looks and looks[1] > 0 else ""
            print(f"{name:<20} {share:6.1%} of the energy{told}")
        if not knows(scene):
            least = f"no pixel's own sound has {HEARD_SHARE:.0%} of the energy"
            print(f"{NOT_KNOWN}: {least} by this model{learned}")
        print(f"tracks and maps: {printable(out)}")
        return
    share = export.write(scene, video, region, out, **how)
    known = share >= HEARD_SHARE or knows(scene)  # the map of all cells takes longer than a region
    told = export.told(share, learned, scene.name(region), known)
    empty = share < SILENT_SHARE and export.silent(scene, region)
    silent = "; so the file is silent" if empty else ""
    print(printable(f"{out}: {scene.seconds:.1f} s, {told}{silent}"))


def _check_span(video: Path, span: tuple[float, float], seconds: float, page: bool) -> None:
    """Raises SopError if a video of so many seconds has nothing there, or too much for a page."""
    from ..listening.page import check_length

    if span[0] >= seconds:
        raise SopError(f"{video}: --from {span[0]:g}: expected a stretch of its {seconds:.1f} s")
    if page and math.isfinite(span[1]):
        check_length(min(span[1], seconds) - span[0])


def _write_page(
    scene: "Scene", out: Path, region: list | None, title: str, whole: bool, rate: str
) -> None:
    """Write a page, and say what is in it; `whole`: of the whole scene."""
    from ..__main__ import note
    from ..listening.player import MAX_SECONDS, PixelPlayer
    from ..untrusted import printable

    seconds, band = scene.seconds if whole else MAX_SECONDS, "model" if rate == "model" else "full"
    player = PixelPlayer(scene, seconds=seconds, band=band)
    player.regions = [region] if region else []
    player.to_html(out, title)
    if player.seconds < scene.seconds - 0.05:
        where = f"{player.seconds:.1f} s of {scene.seconds:.1f} s"
        note(f"note: {out}: the page has {where}; --from and --to choose others")
    size = f"{player.seconds:.1f} s, {out.stat().st_size / 1e6:.1f} MB"
    print(printable(f"{out}: {size}; open it in a browser and click"))


def _cells(
    box: tuple[int, ...], video: Path, choice: "Choice", grid: tuple[int, int]
) -> list[tuple[int, int]]:
    """The cells of a box in pixels of the video."""
    from ..listening.regions import cells_in
    from ..media.stream import stream

    # At 100 frames a second even the shortest video has a first one.
    parts = stream(video, 100, 8_000, max_side=None, choice=choice)
    first = next((part for kind, part in parts if kind == "frame"), None)
    if first is None:
        raise SopError(f"{video}: no picture while there is sound")
    h, w = first.shape[:2]
    try:
        return cells_in((box[0] / w, box[1] / h, box[2] / w, box[3] / h), grid)
    except SopError:
        raise SopError(
            f"--box {','.join(map(str, box))}: expected X0,Y0,X1,Y1 with X0 < X1 and Y0 < Y1, "
            f"some of it within the {w} x {h} pixels of {video}"
        ) from None
