"""What is a video shows in the file, not in its name; what is passed over is said."""

import os
import unicodedata
from collections import Counter

import av
import numpy as np
import pytest
from films import KINDS, film_of_kind, plain_video
from PIL import Image

from sop_core.__main__ import main
from sop_core.data import videos as videos_module
from sop_core.data.preprocess import preprocess
from sop_core.data.videos import find_videos, told
from sop_core.errors import SopError
from sop_core.media.formats import FORMATS, SUFFIXES
from sop_core.media.jpgs import read_frames
from sop_core.media.sound import read_sound
from sop_core.media.stream import read_video

# Demuxers that read other files than the one they are given, or no file at all
LEADS_OUT = {"hls", "concat", "dash", "image2", "imf", "lavfi", "ffmetadata", "sdp", "rtsp", "tty"}


@pytest.fixture(scope="module")
def kinds(tmp_path_factory):
    """A video of each kind, its suffix in capitals for every second one."""
    folder = tmp_path_factory.mktemp("kinds")
    for k, kind in enumerate(KINDS):
        film_of_kind(folder / "v" / "cello" / f"{kind}.{kind.upper() if k % 2 else kind}", kind)
    return folder


def test_every_kind_of_video_is_taken_and_flash_and_beep_meet(kinds):
    report = preprocess(kinds / "v", kinds / "d", jobs=1, progress=False).set_index("id")
    assert report.status.to_dict() == dict.fromkeys(KINDS, "ok"), report.reason.to_dict()
    for kind in KINDS:
        sound = read_sound(kinds / "d" / "audio" / "cello" / f"{kind}.mp3")
        folder = kinds / "d" / "frames" / "cello" / f"{kind}.mp4"
        frames = read_frames(folder, range(report.frames[kind]))
        onset = np.flatnonzero(abs(sound) > 0.1)[0] / 11_025
        assert onset == pytest.approx(1.0, abs=0.06), kind
        flash = np.flatnonzero(frames.mean((1, 2, 3)) > 128)[0]
        assert abs(flash - np.ceil(onset * 8 - 0.5)) <= 1, kind
        assert report.seconds[kind] == pytest.approx(2.0, abs=0.06), kind


def test_a_video_is_known_by_what_is_in_it(kinds, tmp_path):
    label = tmp_path / "cello"
    label.mkdir()
    for k, kind in enumerate(KINDS):
        os.link(next((kinds / "v" / "cello").glob(f"{kind}.*")), label / f"{k}.data")
    passed = Counter()
    found = find_videos(tmp_path, passed)
    assert len(found) == len(KINDS) and not passed
    assert [reason for _, reason in found] == [""] * len(KINDS)
    for path, _ in found:  # nor does libav go by the name
        assert len(read_video(path, 8, 8_000)[0]) == pytest.approx(16, abs=1), path


def zoo(folder):
    """One video, and what people have beside videos."""
    label = folder / "cello"
    plain_video(label / "a.mp4", 0.5)
    plain_video(label / "part.mp4", 0.5).rename(label / "b.mp4.part")
    for name in ("c", "d"):
        plain_video(label / f"{name}.mp4", 0.5, picture=False).rename(label / f"{name}.M4A")
    picture = Image.fromarray(np.zeros((48, 64, 3), np.uint8))
    picture.save(label / "e.gif", save_all=True, append_images=[Image.new("L", (64, 48), 99)])
    picture.save(label / "f.jpg")
    (label / "g.info.json").write_text('{"id": "g"}')
    (label / "notes").write_text("which are good")
    (label / "h.m3u8").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\na.mp4\n")
    (label / "i.ffconcat").write_text("ffconcat version 1.0\nfile a.mp4\n")
    (label / "j.bin").write_bytes(b"")
    os.mkfifo(label / "k.pipe")  # reading it would never end
    (label / ".hidden.mp4").write_text("no")
    (label / "more" / "still more").mkdir(parents=True)
    for name in ("more/x.mkv", "more/still more/y.ts", "../loose.webm"):
        (label / name).write_text("no")
    (folder / "sections.csv").write_text("cello/a,a\n")
    (folder / "truth").mkdir()
    (folder / "truth" / "a.json").write_text("{}")


def test_what_is_passed_over_is_counted_by_kind_and_reason(tmp_path):
    zoo(tmp_path)
    passed = Counter()
    assert [(p.name, why) for p, why in find_videos(tmp_path, passed)] == [("a.mp4", "")]
    no = "that are no videos"
    assert passed == {
        ".m4a without a picture": 2,
        "in deeper folders (put them right into a label's folder)": 2,
        "right in VIDEOS (put each into a folder named by its label)": 1,
        ".gif without sound": 1,
        "unfinished downloads": 1,
        **{f"{kind} {no}": 1 for kind in (".jpg", ".json", ".m3u8", ".ffconcat", ".bin", ".pipe")},
        f"without a suffix {no}": 1,
    }


def test_the_command_says_it_in_one_line(tmp_path, capsys):
    zoo(tmp_path / "v")
    words = ["preprocess", str(tmp_path / "v"), "--out", str(tmp_path / "d"), "--jobs", "1"]
    assert main(words) == 0
    said = capsys.readouterr().out.splitlines()
    (line,) = [line for line in said if line.startswith("passed over: ")]
    assert "2 .m4a without a picture, 2 in deeper folders (put them right into" in line
    assert said[-1] == f"1 of 1 videos are in {tmp_path / 'd'}"


def test_where_all_was_passed_over_the_error_says_it(tmp_path):
    zoo(tmp_path)
    (tmp_path / "cello" / "a.mp4").unlink()
    with pytest.raises(SopError, match=r"no videos; expected .*; passed over: 2 .m4a without a"):
        find_videos(tmp_path)


def test_what_is_named_as_a_video_is_not_opened_to_list_it(tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr(videos_module, "holds", lambda path: opened.append(path) or (True, True))
    (tmp_path / "cello").mkdir()
    for k, suffix in enumerate((*SUFFIXES, ".txt")):
        (tmp_path / "cello" / f"{k}{suffix}").write_text("no")
    assert len(find_videos(tmp_path)) == len(SUFFIXES) + 1
    assert [path.suffix for path in opened] == [".txt"]


@pytest.mark.parametrize("suffix", [".exe\x1b[31m", ".=1+1", " "])
def test_names_that_are_passed_over_do_no_harm(tmp_path, suffix):
    plain_video(tmp_path / "cello" / "a.mp4", 0.5)
    (tmp_path / "cello" / f"b{suffix}").write_text("no")
    passed = Counter()
    find_videos(tmp_path, passed)
    assert "\x1b" not in told(passed) and told(passed).startswith("1 ")


def test_names_that_a_disk_may_not_tell_apart_are_refused(tmp_path):
    film = plain_video(tmp_path / "one.mp4", 0.5)
    accents = [unicodedata.normalize(form, "Küche") for form in ("NFC", "NFD")]
    names = [
        *("cello/Clip.mp4", "cello/clip.mp4", "Cello/clip.webm", "cello/other.mp4"),
        *(f"viola/{name}.mp4" for name in accents),
    ]
    for name in names:
        path = tmp_path / "v" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            pytest.skip("this disk takes the two names for one")
        os.link(film, path)
    found = {str(p.relative_to(tmp_path / "v")): why for p, why in find_videos(tmp_path / "v")}
    assert len(found) == len(names)
    same = "many disks take its name for that of {}: rename one of them"
    refused = {name: why for name, why in found.items() if why}
    assert refused == {
        "cello/Clip.mp4": same.format("Cello/clip.webm"),
        "cello/clip.mp4": same.format("Cello/clip.webm"),
        f"viola/{accents[0]}.mp4": same.format(f"viola/{accents[1]}.mp4"),
    }
    report = preprocess(tmp_path / "v", tmp_path / "d", jobs=1, progress=False)
    assert Counter(report.status) == {"ok": 3, "failed": 3}


def test_no_demuxer_that_reads_other_files_is_allowed():
    known = {name for one in av.formats_available for name in one.split(",")}
    assert set(FORMATS.split(",")) <= known
    assert not set(FORMATS.split(",")) & LEADS_OUT
    assert not [name for name in FORMATS.split(",") if name.endswith("_pipe")]


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("x.y4m", b"YUV4MPEG2 W16 H16 F25:1 Ip A1:1 C420\nFRAME\n" + bytes(384), "YUV4MPEG pipe"),
        ("x.m3u8", b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n/etc/passwd\n", "HTTP Live"),
        ("x.mp4", b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n/etc/passwd\n", "HTTP Live"),
        ("x.ts", b"ffconcat version 1.0\nfile /etc/passwd\n", "Virtual concatenation script"),
        ("x.mp4", b"1\n00:00:01,000 --> 00:00:02,000\nhello\n\n" * 2, "SubRip subtitle"),
        ("x.mkv", b"hello\n" * 99, "not a video file that FFmpeg knows"),
        ("x.mpg", np.random.default_rng(0).bytes(5_000), "not a video file that FFmpeg knows"),
        ("x.mkv", bytes.fromhex("1a45dfa38b4282886d6174726f736b61"), "damaged (Matroska / WebM)"),
        ("x.avi", b"RIFF\0\x10\0\0AVI LIST" + bytes(3_000), "damaged (AVI"),
    ],
)
def test_a_file_that_cannot_be_read_is_called_what_it_is(tmp_path, name, data, said):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(SopError) as e:
        read_video(tmp_path / name, 8, 8_000)
    assert said in str(e.value) and "\n" not in str(e.value)
    assert av.logging.get_level() is None  # libav stays quiet
