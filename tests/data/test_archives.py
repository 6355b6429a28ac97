"""Listed videos from copies: folders, zip, tar, and a hub's data set on a server of the test."""

import gzip
import hashlib
import io
import json
import os
import shutil
import stat
import struct
import subprocess
import sys
import tarfile
import threading
import tracemalloc
import zipfile
from collections import Counter
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlparse

import numpy as np
import pandas as pd
import pytest
from films import flash_and_beep, plain_video

import sop_core
from sop_core.__main__ import main
from sop_core.data import account, archives, hub, mirrors
from sop_core.data.lists import ListedVideo, read_sections
from sop_core.errors import SopError
from sop_core.media.stream import read_video

A, B, C = "---g-f_I2yQ", "x9_-abcDEF0", "_0_30000_40"  # as YouTube's ids are


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return plain_video(tmp_path_factory.mktemp("v") / "v.mp4", 1.0).read_bytes()


def tar(path, files, mode="w"):
    """A tar; `files`: bytes by name, or TarInfo for what is no file."""
    with tarfile.open(path, mode) as archive:
        for name, data in files.items():
            info = data if isinstance(data, tarfile.TarInfo) else tarfile.TarInfo(name)
            if data is not info:
                info.size = len(data)
            archive.addfile(info, None if data is info else io.BytesIO(data))
    return path


def zipped(path, files):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def take(videos, out, *paths, jobs=2):
    """The report by id, and the problems."""
    problems = []
    report = mirrors.from_archives(videos, out, paths, problems, jobs, progress=False)
    return report.set_index("id"), problems


def there(out):
    return {
        p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file() and p.suffix != ".csv"
    }


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz", "zip"])
def test_every_kind_of_archive_gives_the_wanted_videos_whatever_they_are_called(
    tmp_path, video, mode
):
    webm = video[:-1] + b"\0"  # another content
    files = {
        f"scratch/video/{A}_000001.mp4": video,  # VGGSound's own
        f"{B}_30.mp4": video,
        f"a/{C}_7000_17000.mkv": webm,
        "notes.txt": b"hello",
        f"{A}_000002.mp4": b"not in the list",
        f"{A}_000001.jpg": b"a picture",
    }
    path = tmp_path / "a.x"
    zipped(path, files) if mode == "zip" else tar(path, files, mode)
    wanted = [
        ListedVideo(A, "people marching", 1),
        ListedVideo(B, "playing violin, fiddle", 30),
        ListedVideo(C, "cello", 7),
        ListedVideo(C, "cello", 8),
        ListedVideo("../x", "cello", 8),
    ]
    out = tmp_path / "out"
    report, problems = take(wanted, out, path)
    assert not problems and list(report.status) == ["ok"] * 3 + ["failed"] * 2
    assert report.reason.iloc[3] == "in none of the archives that could be read"
    assert "expected letters" in report.reason.iloc[4]
    assert there(out) == {
        f"people marching/{A}_000001.mp4",
        f"playing violin, fiddle/{B}_000030.mp4",
        f"cello/{C}_000007.mkv",
    }
    assert (out / "people marching" / f"{A}_000001.mp4").read_bytes() == video
    assert (out / "cello" / f"{C}_000007.mkv").read_bytes() == webm
    assert report.seconds.iloc[0] == pytest.approx(1.0, abs=0.05)
    assert report.bytes.iloc[0] == len(video)
    assert read_sections(out)[f"people marching/{A}_000001"] == A
    saved = pd.read_csv(out / account.REPORT, keep_default_na=False)
    assert saved.status.tolist() == report.status.tolist()


def test_a_folder_with_archives_and_videos_as_copies_of_music_name_them(tmp_path, video):
    copies = tmp_path / "copies"
    for name in (f"solo/cello/{A}.mp4", f"More/Some title, live! [{B}].webm", "solo/short.mp4"):
        (copies / name).parent.mkdir(parents=True, exist_ok=True)
        (copies / name).write_bytes(video)
    tar(copies / "deep.TAR.GZ", {f"MUSICsoloVideos_flute/A title-{C}.mp4": video}, "w:gz")
    (copies / "readme.md").write_text("x")
    (copies / "._deep.TAR.GZ").write_bytes(b"a Mac's note beside it")
    os.mkfifo(copies / "x.mp4")
    wanted = [ListedVideo(A, "cello"), ListedVideo(A, "cello violin")]  # one file for both
    wanted += [ListedVideo(B, "tuba"), ListedVideo(C, "flute"), ListedVideo("short", "flute")]
    report, problems = take([*wanted, ListedVideo("x", "flute")], tmp_path / "out", copies)
    assert not problems and list(report.status) == ["ok"] * 5 + ["failed"]
    assert there(tmp_path / "out") == {
        f"cello/{A}.mp4",
        f"cello violin/{A}.mp4",
        f"tuba/{B}.webm",
        f"flute/{C}.mp4",
        "flute/short.mp4",
    }
    with pytest.raises(SopError, match=r"none\.zip: no such file or folder; expected archives"):
        take(wanted, tmp_path / "out", tmp_path / "none.zip")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SopError, match="empty: no file that can be used; expected archives"):
        take([ListedVideo("x", "flute")], tmp_path / "out", tmp_path / "empty")


def test_a_second_run_reads_only_what_is_missing(tmp_path, video, monkeypatch):
    first = tar(tmp_path / "1.tar", {f"{A}.mp4": video, f"{B}.mp4": b"broken"})
    second = zipped(tmp_path / "2.zip", {f"{A}.mp4": video, f"{C}.mp4": video})
    wanted = [ListedVideo(key, "cello") for key in (A, B, C)]
    unpacked = []
    unpack = archives.Entry.unpack
    monkeypatch.setattr(
        archives.Entry, "unpack", lambda e, to: (unpacked.append(e.name), unpack(e, to))
    )
    report, _ = take(wanted, tmp_path / "out", first, second, jobs=1)
    assert list(report.status) == ["ok", "failed", "ok"] and len(unpacked) == 3
    assert report.reason[B].startswith(f"{first}: {B}.mp4: what came is no video to use")
    when = (tmp_path / "out" / "cello" / f"{A}.mp4").stat().st_mtime_ns
    (tmp_path / "out" / "cello" / f"{C}.mp4").unlink()
    unpacked.clear()
    report, _ = take(wanted, tmp_path / "out", first, second, jobs=1)
    assert unpacked == [f"{B}.mp4", f"{C}.mp4"]
    assert list(report.status) == ["ok", "failed", "ok"]
    assert (tmp_path / "out" / "cello" / f"{A}.mp4").stat().st_mtime_ns == when
    # another archive has it whole; then nothing is looked for, and nothing opened
    third = tar(tmp_path / "3.tar", {f"{B}.mp4": video})
    assert take(wanted, tmp_path / "out", third)[0].status[B] == "ok"
    (tmp_path / "2.zip").write_bytes(b"broken")
    report, problems = take(wanted, tmp_path / "out", first, second)
    assert set(report.status) == {"ok"} and not problems


def test_what_was_gone_stays_gone_unless_an_archive_has_it(tmp_path, video):
    wanted = [ListedVideo(key, "cello") for key in (A, B)]
    rows = [account.row(v, "unavailable", "Video unavailable") for v in wanted]
    (tmp_path / "out").mkdir()
    pd.DataFrame(rows).to_csv(tmp_path / "out" / account.REPORT, index=False)
    report, _ = take(wanted, tmp_path / "out", tar(tmp_path / "a.tar", {f"{A}.mp4": video}))
    assert report.status.tolist() == ["ok", "unavailable"]
    assert "1 of 2 videos are there; 1 (50.0 %) are gone" in account.summary(report)


def test_a_whole_video_is_cut_where_its_section_starts(tmp_path, video):
    pytest.importorskip("imageio_ffmpeg", reason="needs the extra `collect`")
    long = flash_and_beep(tmp_path / "long.mp4", 17.0, 40.0).read_bytes()
    ten = plain_video(tmp_path / "ten.mp4", 10.0).read_bytes()
    path = tar(
        tmp_path / "a.tar.gz",
        {f"{A}.mp4": long, f"{B}.mp4": ten, f"{C}.mp4": ten},
        "w:gz",
    )
    starts = {A: (12, 14, 50), B: (60,), C: (60, 70)}
    wanted = [ListedVideo(key, "x", start) for key in starts for start in starts[key]]
    report, _ = take(wanted, tmp_path / "out", path)
    assert report.status.tolist() == ["ok", "ok", "failed", "ok", "failed", "failed"]
    assert "several sections" in report.reason[f"{C}_000060"]
    for start in (12, 14):
        frames, sound = read_video(tmp_path / "out" / "x" / f"{A}_{start:06d}.mp4", 8, 11_025)
        assert len(sound) / 11_025 == pytest.approx(10, abs=0.15)
        onset = np.flatnonzero(abs(sound) > 0.1)[0] / 11_025
        assert onset == pytest.approx(17 - start, abs=0.1)
        assert abs(np.flatnonzero(frames.mean((1, 2, 3)) > 128)[0] - np.ceil(onset * 8 - 0.5)) <= 1
    # a clip that is called by its video alone is taken as it is
    assert (tmp_path / "out" / "x" / f"{B}_000060.mp4").read_bytes() == ten


def link(name, to, kind):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, to
    return info


def test_entries_that_lead_out_of_the_folder_are_refused(tmp_path, video):
    wanted = [ListedVideo(key, "cello") for key in (A, B, C, "sym", "hard", "dev", "good")]
    secret = tmp_path / "secret.mp4"
    secret.write_bytes(video)
    bad = {
        f"../{A}.mp4": video,
        f"/{B}.mp4": video,
        f"x/../../{C}.mp4": video,
        "sym.mp4": link("sym.mp4", str(secret), tarfile.SYMTYPE),
        "hard.mp4": link("hard.mp4", "good.mp4", tarfile.LNKTYPE),
        "dev.mp4": link("dev.mp4", "", tarfile.CHRTYPE),
        "good.mp4": video,
    }
    report, problems = take(wanted, tmp_path / "t", tar(tmp_path / "a.tar", bad))
    assert there(tmp_path / "t") == {"cello/good.mp4"} and list(report.status[:6]) == ["failed"] * 6
    first = f"6 of its entries refused; the first, '../{A}.mp4': it leads out of the folder"
    assert problems == [f"{tmp_path}/a.tar: {first}"]
    assert report.reason["sym"].endswith("sym.mp4: a link or a device")

    sym = zipfile.ZipInfo("sym.mp4")
    sym.create_system, sym.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in (f"../{A}.mp4", f"/{B}.mp4", f"x\\..\\..\\{C}.mp4", "C:/dev.mp4", "good.mp4"):
            archive.writestr(zipfile.ZipInfo(name), video)
        archive.writestr(sym, str(secret))
    report, problems = take(wanted, tmp_path / "z", tmp_path / "a.zip")
    assert there(tmp_path / "z") == {"cello/good.mp4"} and "5 of its entries" in problems[0]


def zeros_zip(path, size):
    """A zip of zeros that is 1,000 times smaller."""
    return zipped(path, {f"{A}.mp4": bytes(size), f"{B}.mp4": b"x"})


def huge_tar(path, size):
    """A tar.gz whose header claims `size` bytes of zeros, and which has 20 MB of them."""
    info = tarfile.TarInfo(f"{A}.mp4")
    info.size = size
    with gzip.open(path, "wb", 9) as f:
        f.write(info.tobuf(tarfile.GNU_FORMAT))
        for _ in range(20):
            f.write(bytes(1_000_000))
    return path


def test_bombs_are_told_and_not_unpacked(tmp_path, video):
    wanted = [ListedVideo(key, "cello") for key in (A, B, C)]
    good = tar(tmp_path / "good.tar", {f"{C}.mp4": video})
    bomb = zeros_zip(tmp_path / "a.zip", 20_000_000)
    terabyte = huge_tar(tmp_path / "h.tar.gz", 10**12)
    unlikely = huge_tar(tmp_path / "i.tar.gz", 19_000_000)
    name = tarfile.TarInfo("././@LongLink")
    name.type, name.size = tarfile.GNUTYPE_LONGNAME, 30_000_000
    with gzip.open(tmp_path / "n.tar.gz", "wb", 0) as f:
        f.write(name.tobuf() + bytes(30_000_208))
    tracemalloc.start()
    report, problems = take(wanted, tmp_path / "1", bomb, good)
    assert report.status[C] == "ok" and "no video shrinks so much" in problems[0]
    packed = zipfile.ZipFile(bomb).getinfo(f"{A}.mp4").compress_size
    assert f"claims 20,000,000 bytes, packed in {packed:,}" in report.reason[A]
    report, problems = take(wanted, tmp_path / "2", terabyte, good)
    most = 2**20 + 100 * terabyte.stat().st_size
    assert report.status[C] == "ok" and f"videos of its size have {most:,} at most" in problems[0]
    assert "it claims 1,000,000,000,000 bytes" in problems[1]
    # what it claims is allowed, but more than can be in such a file
    report, problems = take(wanted, tmp_path / "3", unlikely)
    assert report.status[A] == "failed" and "at most" in report.reason[A]
    report, problems = take(wanted, tmp_path / "4", tmp_path / "n.tar.gz")
    assert "a header of more than 1,048,576" in problems[0]
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


def damaged(folder, video):
    """Archives that are broken in one way each, by name."""
    files = {f"{A}.mp4": video, f"{B}.mp4": video, f"{C}.mp4": video}
    tar(folder / "whole.tar", files)
    whole = (folder / "whole.tar").read_bytes()
    second = 512 + -(-len(video) // 512) * 512  # where the second header is
    noise = np.random.default_rng(0).bytes(512)
    packed = tar(folder / "x.tar.gz", files, "w:gz").read_bytes()
    zip_ = zipped(folder / "y.zip", files).read_bytes()
    negative = bytearray(whole)
    negative[second + 124 : second + 136] = b"\xff" * 8 + struct.pack(">i", -(2**16))
    yield "cut.tar", whole[: second + 700]
    yield "cut at a header.tar", whole[:second]
    yield "noise.tar", whole[:second] + noise + whole[second + 512 :]
    yield "negative.tar", bytes(negative)
    yield "cut.tar.gz", packed[: len(packed) // 2]
    yield "flipped.tar.gz", packed[: len(packed) // 2] + noise + packed[len(packed) // 2 + 512 :]
    yield "cut.zip", zip_[: len(zip_) // 2]
    yield "text.tar", b"hello" * 1000
    yield "empty.zip", b""


def test_a_damaged_archive_is_told_in_one_sentence_and_the_others_go_on(tmp_path, video):
    wanted = [ListedVideo(key, "cello") for key in (A, B, C, "D")]
    good = tar(tmp_path / "z-good.tar", {"D.mp4": video})
    for name, data in damaged(tmp_path, video):
        path = tmp_path / name
        path.write_bytes(data)
        out = tmp_path / f"out {name}"
        report, problems = take(wanted, out, path, good)
        assert report.status["D"] == "ok", name
        assert len(problems) == 1 and problems[0].startswith(f"{path}: damaged"), (name, problems)
        assert problems[0].count("\n") == 0 and len(problems[0]) < 400
        if name in ("cut.tar", "cut at a header.tar", "noise.tar", "negative.tar"):
            assert report.status[A] == "ok", name  # it came before the damage
        for file in there(out):
            assert (out / file).read_bytes() == video, name


def test_a_broken_entry_of_a_zip_does_not_stop_the_next(tmp_path, video):
    path = zipped(tmp_path / "a.zip", {f"{A}.mp4": video, f"{B}.mp4": video})
    data = bytearray(path.read_bytes())
    data[200:230] = bytes(30)
    path.write_bytes(data)
    report, problems = take([ListedVideo(key, "x") for key in (A, B)], tmp_path / "out", path)
    assert report.status.tolist() == ["failed", "ok"] and not problems
    assert report.reason[A].startswith(f"{path}: {A}.mp4: ")
    assert there(tmp_path / "out") == {f"x/{B}.mp4"}


def test_zstd_is_read_where_python_can(tmp_path):
    (tmp_path / "a.tar.zst").write_bytes(b"\x28\xb5\x2f\xfd" + bytes(100))
    _, problems = take([ListedVideo(A, "x")], tmp_path / "out", tmp_path)
    assert len(problems) == 1
    assert ("unpack it (zstd -d)" in problems[0]) == (sys.version_info < (3, 14))


def test_what_may_not_be_read_is_told_and_the_others_go_on(tmp_path, video, monkeypatch):
    (tmp_path / "m").mkdir()
    tar(tmp_path / "m" / "a.tar", {f"{A}.mp4": video})
    zipped(tmp_path / "m" / "b.zip", {f"{B}.mp4": video})
    (tmp_path / "m" / f"{C}.mp4").write_bytes(video)
    opened = Path.open

    def closed(path, *a, **k):
        if path.name in ("b.zip", f"{C}.mp4"):
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *a, **k)

    monkeypatch.setattr(Path, "open", closed)
    wanted = [ListedVideo(key, "x") for key in (A, B, C)]
    report, problems = take(wanted, tmp_path / "out", tmp_path / "m")
    assert report.status.tolist() == ["ok", "failed", "failed"]
    assert report.reason[C] == f"{tmp_path}/m/{C}.mp4: can't be opened (Permission denied)"
    assert len(problems) == 1 and "b.zip: damaged, or no zip or tar file (Perm" in problems[0]


def test_a_full_disk_stops_the_run_and_leaves_no_half_file(tmp_path, video, monkeypatch):
    path = tar(tmp_path / "a.tar", {f"{A}.mp4": video, f"{B}.mp4": video})

    def full(entry, to):
        to.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(archives.Entry, "unpack", full)
    with pytest.raises(OSError, match="No space"):
        take([ListedVideo(A, "x")], tmp_path / "out", path)
    assert not there(tmp_path / "out")


REPO = "some-one/a.copy"


@contextmanager
def hub_site(files, asked, monkeypatch, hurdles=None):
    """A hub with one data set. `hurdles`: how many bytes are sent of a file before it breaks off.

    Args: `asked`: counts requests for files, and has the first byte of the last one.
    """
    hurdles = {} if hurdles is None else hurdles

    class Answer(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def do_GET(self):
            path = unquote(urlparse(self.path).path)
            if path == f"/api/datasets/{REPO}/tree/main":
                body = json.dumps(
                    [{"type": "directory", "path": "d", "oid": "1" * 40, "size": 0}]
                    + [listed(name, data) for name, data in files.items()]
                )
                return self.send(200, body.encode(), {"Content-Type": "application/json"})
            name = path.removeprefix(f"/datasets/{REPO}/resolve/main/")
            if name not in files:
                return self.send(404, b"", {"X-Error-Code": "RepoNotFound"})
            asked[name] += 1
            if name in hurdles and isinstance(hurdles[name], tuple):
                return self.send(hurdles[name][0])
            data = files[name]
            first = int(self.headers["Range"][6:].split("-")[0])
            asked[f"{name} from"] = first
            more = {"Content-Range": f"bytes {first}-{len(data) - 1}/{len(data)}"}
            return self.send(206, data[first:], more, hurdles.pop(name, None))

        def send(self, code, body=b"", headers=None, at_most=None):
            self.send_response(code)
            for key, value in (headers or {}).items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[:at_most])
            self.close_connection = at_most is not None

    def listed(name, data):
        info = {"type": "file", "path": name, "size": len(data)}
        info["oid"] = hashlib.sha1(data).hexdigest()
        if name.endswith(".gz"):
            digest = hashlib.sha256(data).hexdigest()
            info["lfs"] = {"oid": digest, "size": len(data), "pointerSize": 130}
        return info

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    server.handle_error = lambda *_: None
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    constants = "huggingface_hub.constants"  # read from HF_ENDPOINT once, in each process
    monkeypatch.setattr(f"{constants}.ENDPOINT", address)
    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(f"{constants}.HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(hub, "PAUSE", 0.01)
    try:
        yield address
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def copy(tmp_path, video):
    """The files of a data set: two archives, a loose video, and what nobody wants."""
    one = tar(tmp_path / "1", {f"{A}_000001.mp4": video, f"{B}_000002.mp4": b"broken"}, "w:gz")
    two = zipped(tmp_path / "2", {f"video/{C}_000003.mp4": video, "other_000004.mp4": video})
    return {
        "vgg_00.tar.gz": one.read_bytes(),
        "d/vgg_01.zip": two.read_bytes(),
        "d/loose_000005.mp4": video,
        "d/unwanted_000006.mp4": video,
        "README.md": b"# a copy",
    }


WANTED = [ListedVideo(A, "x", 1), ListedVideo(B, "x", 2), ListedVideo(C, "y", 3)]
WANTED += [ListedVideo("loose", "y", 5), ListedVideo("nowhere", "y", 5)]


def from_hub(out, videos=WANTED, name=REPO):
    problems = []
    report = hub.from_hub(videos, out, name, problems, 2, progress=False)
    return report.set_index("id"), problems


def test_a_data_set_of_a_hub_is_gone_through_file_by_file(tmp_path, copy, video, monkeypatch):
    asked, out = Counter(), tmp_path / "out"
    with hub_site(copy, asked, monkeypatch):
        report, problems = from_hub(out)
        assert report.status.tolist() == ["ok", "failed", "ok", "ok", "failed"] and not problems
        assert there(out) == {f"x/{A}_000001.mp4", f"y/{C}_000003.mp4", "y/loose_000005.mp4"}
        assert (out / "y" / f"{C}_000003.mp4").read_bytes() == video
        assert asked["d/unwanted_000006.mp4"] == asked["README.md"] == 0
        origin = f"{REPO}/vgg_00.tar.gz: {B}_000002.mp4: "
        assert report.reason[f"{B}_000002"].startswith(origin)
        # what was in the archives is known: no file is fetched again, and the reason stays
        asked.clear()
        again, problems = from_hub(out)
        assert not asked and again.equals(report) and not problems
        # another list wants something of one of them
        report, _ = from_hub(out, [*WANTED, ListedVideo("other", "z", 4)])
        assert report.status["other_000004"] == "ok"
        assert {name for name in asked if " " not in name} == {"d/vgg_01.zip"}
        # new content under the old name
        copy["vgg_00.tar.gz"] = tar(tmp_path / "3", {f"{B}_000002.mp4": video}, "w:gz").read_bytes()
        report, _ = from_hub(out, name=f"hf://datasets/{REPO}/vgg_")
        assert report.status[f"{B}_000002"] == "ok"


def test_a_download_that_breaks_off_goes_on_where_it_ended(tmp_path, copy, monkeypatch):
    asked, out = Counter(), tmp_path / "out"
    half = 5 * hub.PIECE
    copy["vgg_00.tar.gz"] += np.random.default_rng(0).bytes(half)  # after the end, so not read
    with hub_site(copy, asked, monkeypatch, {"vgg_00.tar.gz": half}):
        report, problems = from_hub(out)  # in the same run
        assert report.status.iloc[0] == "ok" and not problems
        assert asked["vgg_00.tar.gz"] == 2 and asked["vgg_00.tar.gz from"] == half
    shutil.rmtree(out)
    monkeypatch.setattr(hub, "TRIES", 1)
    hurdles = {"vgg_00.tar.gz": half}
    with hub_site(copy, asked, monkeypatch, hurdles):
        real = hub.requests.get

        def once(*a, **k):  # the first request brings a half, the next one nothing
            if asked["vgg_00.tar.gz"] > 2 and a[0].endswith("00.tar.gz"):
                raise hub.requests.ConnectionError("gone")
            return real(*a, **k)

        monkeypatch.setattr(hub.requests, "get", once)
        report, problems = from_hub(out)
        assert report.status.iloc[0] == "failed" and report.status.iloc[2] == "ok"
        assert problems == [f"{REPO}/vgg_00.tar.gz: not downloaded (gone); run again"]
        monkeypatch.setattr(hub.requests, "get", real)
        assert from_hub(out)[0].status.iloc[0] == "ok"
        assert asked["vgg_00.tar.gz from"] == half and asked["vgg_00.tar.gz"] == 4
    assert not list(out.rglob("*.gz"))


def test_what_a_hub_refuses_or_sends_wrongly_is_told(tmp_path, copy, monkeypatch):
    asked = Counter()
    with hub_site(copy, asked, monkeypatch, {"vgg_00.tar.gz": (403,), "d/vgg_01.zip": (503,)}):
        report, problems = from_hub(tmp_path / "out1")
        assert report.status.tolist() == ["failed"] * 3 + ["ok", "failed"]
        assert any("not downloaded (403 Client Error: Forbidden)" in p for p in problems)
        assert any("not downloaded (503 Server Error" in p for p in problems) and len(problems) == 2
        assert asked["vgg_00.tar.gz"] == 1 and asked["d/vgg_01.zip"] == hub.TRIES
        with pytest.raises(SopError, match=r"no/such: can't be listed .* check its name"):
            from_hub(tmp_path / "out2", name="no/such")
        with pytest.raises(SopError, match="expected OWNER/NAME"):
            from_hub(tmp_path / "out2", name="http://x/y")
        with pytest.raises(SopError, match="none of its 1 files can be used; expected archives"):
            from_hub(tmp_path / "out2", name=f"{REPO}/README")
    # other bytes than the list promised
    data = copy["vgg_00.tar.gz"]
    with hub_site(copy, asked, monkeypatch):
        take_list = hub._list

        def lies(repo, prefix):
            files = take_list(repo, prefix)
            copy["vgg_00.tar.gz"] = data[:-1] + b"?"
            copy["d/vgg_01.zip"] += b"more"
            return files

        monkeypatch.setattr(hub, "_list", lies)
        report, problems = from_hub(tmp_path / "out3")
        assert report.status.tolist() == ["failed"] * 3 + ["ok", "failed"]
        assert any("another checksum" in p for p in problems)
        assert any("more came than the" in p for p in problems) and len(problems) == 2
    assert not list((tmp_path / "out3").rglob("*.gz"))


def test_the_command_line_takes_from_archives_then_from_the_hub(
    tmp_path, copy, video, capsys, monkeypatch
):
    (tmp_path / "l.csv").write_text(f"{A},1,people marching,test\n{C},3,cello,train\n")
    archive = tar(tmp_path / "a.tar", {f"{A}_000001.mp4": video, "../\x1b[31m": b""})
    words = ["collect", "vggsound", str(tmp_path / "l.csv"), "--out", str(tmp_path / "out")]
    assert main([*words, "--archive", str(archive), str(tmp_path / "1")]) == 0
    said = capsys.readouterr().out
    assert "1 of 2 videos are there" in said and "1 of its entries refused" in said
    assert "\x1b" not in said
    with hub_site(copy, Counter(), monkeypatch) as address:
        code = "import sys; from sop_core.__main__ import main; sys.exit(main())"
        root = str(Path(sop_core.__file__).parents[1])
        done = subprocess.run(
            [sys.executable, "-c", code, *words, "--hub", REPO],
            env=os.environ | {"HF_ENDPOINT": address, "PYTHONPATH": root},
            capture_output=True,
            text=True,
        )
    assert done.returncode == 0 and "2 of 2 videos are there" in done.stdout, done.stderr
    assert main([*words, "--archive", str(tmp_path / "none")]) == 2
    assert "none: no such file or folder" in capsys.readouterr().err
