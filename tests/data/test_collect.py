"""Lists -> videos, from a local server that answers well, late, wrongly, or half; silent scenes."""

import hashlib
import shutil
import socket
import threading
import time
from collections import Counter
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlparse

import av
import numpy as np
import pandas as pd
import pytest
from films import flash_and_beep, plain_video
from PIL import Image

from sop_core.__main__ import main
from sop_core.data import account, collect, preprocess
from sop_core.data.clips import find_clips, read_index
from sop_core.data.collect import How
from sop_core.data.lists import ListedVideo, read_music, read_vggsound
from sop_core.data.splits import build_index
from sop_core.errors import SopError
from sop_core.media.jpgs import frame_size, read_frames
from sop_core.media.sound import read_sound
from sop_core.media.stream import read_video

GOOD = ["-dash_first", "AbC-12_xyz9"]


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return plain_video(
        tmp_path_factory.mktemp("site") / "v.mp4", 3.0, options={"movflags": "faststart"}
    ).read_bytes()


@contextmanager
def site(files, asked):
    """A server with `files` by id, and ids that each stand for one kind of trouble."""

    class Answer(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def do_HEAD(self):
            self.do_GET()

        def do_GET(self):
            id_ = parse_qs(urlparse(self.path).query).get("v", [""])[0]
            asked[id_] += self.command == "GET"
            if id_ == "stuck":
                time.sleep(3)
            if id_ == "flaky" and asked[id_] == 1:
                return self.send(503)
            if id_ == "text":
                return self.send(200, b"<html><title>no video here</title></html>", "text/html")
            data = files.get("v" if id_ in ("cut", "slow", "flaky") else id_)
            if data is None:
                return self.send(410 if id_ == "removed" else 404)
            first = int((self.headers.get("Range") or "bytes=0-")[6:].split("-")[0])
            asked[f"{id_} from"] = first
            self.send_response(206 if "Range" in self.headers else 200)
            self.send_header("Content-Type", "video/mp4")
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("Content-Length", str(len(data) - first))
            if "Range" in self.headers:
                self.send_header("Content-Range", f"bytes {first}-{len(data) - 1}/{len(data)}")
            self.end_headers()
            if self.command == "HEAD":
                return None
            if id_ == "cut" and asked[id_] <= 2:  # the first look at it, and the first fetch
                self.wfile.write(data[first : len(data) // 2])
                self.close_connection = True
                return self.connection.shutdown(socket.SHUT_WR)
            for i in range(first, len(data), 4_000):
                self.wfile.write(data[i : i + 4_000])
                time.sleep(0.02 if id_ == "slow" else 0)
            return None

        def send(self, code, body=b"", kind="text/plain"):
            self.send_response(code)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body if self.command == "GET" else b"")

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    server.handle_error = lambda *_: None  # clients that hang up
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield How(
            jobs=4,
            retries=2,
            pause=0.01,
            timeout=1.0,
            address=f"http://127.0.0.1:{server.server_port}/watch?v={{id}}",
        )
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def there(video, tmp_path):
    pytest.importorskip("yt_dlp", reason="needs the extra `collect`")
    asked = Counter()
    silent = plain_video(tmp_path / "silent.mp4", 1.0, sound=False).read_bytes()
    with site(dict.fromkeys([*GOOD, "v"], video) | {"silent": silent}, asked) as how:
        yield how, asked


def test_every_video_ends_in_the_report_and_none_stops_the_rest(there, tmp_path, video):
    how, _ = there
    ids = [
        *GOOD,
        "missing",
        "removed",
        "text",
        "silent",
        "stuck",
        "cut",
        "slow",
        "flaky",
        "../../escape",
        "a/b",
        "Ünï",
        "",
    ]
    wanted = [ListedVideo(i, "Küche 音") for i in ids]
    wanted += [
        ListedVideo("\ud800", "cello"),
        ListedVideo(GOOD[0], "\udcff"),
    ]  # what json may hold, and no file's name can
    wanted += [
        ListedVideo(GOOD[0], label)
        for label in ("..", "../x", "a/b", "/etc", "-rf", ".hidden", "a\\b", "a\nb", " ")
    ]
    report = collect.collect(wanted, tmp_path / "out", how, progress=False)
    saved = pd.read_csv(tmp_path / "out" / "collect_report.csv", keep_default_na=False)
    assert saved[["status", "reason"]].equals(report[["status", "reason"]])
    assert list(report.id) == [v.id for v in wanted]
    assert account._earlier(tmp_path / "out")[GOOD[0], "Küche 音"]["status"] == "ok"
    named = report[report.label == "Küche 音"].set_index("id")
    assert set(named.index[named.status == "ok"]) == {*GOOD, "cut", "slow", "flaky"}
    assert set(named.index[named.status == "unavailable"]) == {"missing", "removed"}
    assert (
        named.reason["silent"].endswith(": no sound stream")
        and "expected letters" in named.reason["../../escape"]
    )
    assert all(named.reason[i] for i in named.index[named.status != "ok"])
    assert set(report[report.label != "Küche 音"].status) == {"failed"}
    assert named.seconds["cut"] == pytest.approx(3.0, abs=0.05) and named.bytes["cut"] == len(video)
    found = {
        p.relative_to(tmp_path).as_posix()
        for p in tmp_path.rglob("*.mp4")
        if ".collect" not in p.parts
    }
    assert found == {"silent.mp4"} | {
        f"out/Küche 音/{i}.mp4" for i in (*GOOD, "cut", "slow", "flaky")
    }
    for i in ("cut", "slow"):
        assert (tmp_path / "out" / "Küche 音" / f"{i}.mp4").read_bytes() == video
    assert "5 of 25 videos are there; 2 (8.0 %) are gone: 2 unavailable" in account.summary(report)


def test_either_runtime_of_javascript_serves(there, tmp_path, monkeypatch):
    import yt_dlp

    how, _ = there
    seen, ask = [], collect._ask
    monkeypatch.setattr(collect, "_ask", lambda *a: (seen.append(a[1].copy()), ask(*a)))
    collect.collect([ListedVideo(GOOD[0], "cello")], tmp_path / "out", how, progress=False)
    with yt_dlp.YoutubeDL(seen[0]) as ydl:  # drops what this version does not know
        assert set(ydl.params["js_runtimes"]) == {"deno", "node"}


def test_a_second_run_fetches_only_what_is_missing(there, tmp_path):
    how, asked = there
    wanted = [ListedVideo(i, "cello") for i in (*GOOD, "missing", "text")]
    first = collect.collect(wanted, tmp_path / "out", how, progress=False)
    before = asked.copy()
    (tmp_path / "out" / "cello" / f"{GOOD[1]}.mp4").unlink()
    second = collect.collect(
        [*wanted, ListedVideo("v", "flute")], tmp_path / "out", how, progress=False
    )
    assert second[:4].status.tolist() == first.status.tolist() and second.status[4] == "ok"
    assert asked[GOOD[0]] == before[GOOD[0]] and asked["missing"] == before["missing"]
    assert asked[GOOD[1]] > before[GOOD[1]] and asked["text"] > before["text"]
    collect.collect(wanted, tmp_path / "out", How(**{**vars(how), "again": True}), progress=False)
    assert asked["missing"] > before["missing"]
    assert (
        len(pd.read_csv(tmp_path / "out" / "collect_report.csv")) == 5
    )  # the flute is still accounted for


def test_what_was_fetched_before_the_cut_is_not_fetched_again(there, tmp_path, video):
    how, asked = there
    assert (
        collect.collect(
            [ListedVideo("cut", "x")], tmp_path / "out", How(**{**vars(how), "retries": 0}), False
        ).status[0]
        == "failed"
    )
    assert not list(tmp_path.glob("out/x/*.mp4"))
    part = next((tmp_path / "out" / ".collect").rglob("*.part"))
    fetched = part.stat().st_size
    assert len(video) / 3 < fetched <= len(video) // 2
    assert (
        collect.collect([ListedVideo("cut", "x")], tmp_path / "out", how, False).status[0] == "ok"
    )
    assert asked["cut from"] == fetched  # the first byte that the second run asked for last
    assert (tmp_path / "out" / "x" / "cut.mp4").read_bytes() == video and not list(
        (tmp_path / "out" / ".collect").iterdir()
    )


def test_only_the_section_is_taken(tmp_path):
    pytest.importorskip("imageio_ffmpeg", reason="needs the extra `collect`")
    long = flash_and_beep(tmp_path / "long.mkv", 17.0, 40.0)
    with (
        av.open(str(long)) as source,
        av.open(str(tmp_path / "long.mp4"), "w", options={"movflags": "faststart"}) as out,
    ):
        streams = {s.index: out.add_stream_from_template(s) for s in source.streams}
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream.index]
                out.mux(packet)
    with site({"long": (tmp_path / "long.mp4").read_bytes()}, Counter()) as how:
        report = collect.collect(
            [ListedVideo("long", "flute", 12), ListedVideo("long", "flute", 14)],
            tmp_path / "out",
            how,
            False,
        )
    assert report.id.tolist() == ["long_000012", "long_000014"] and set(report.status) == {"ok"}, (
        report.reason.tolist()
    )
    preprocess.preprocess(tmp_path / "out", tmp_path / "data", jobs=1, progress=False)
    assert {clip.video for clip in find_clips(tmp_path / "data")} == {
        "long"
    }  # the list said so, and it went along
    for start in (12, 14):
        frames, sound = read_video(tmp_path / "out" / "flute" / f"long_{start:06d}.mp4", 8, 11_025)
        assert len(sound) / 11_025 == pytest.approx(10, abs=0.15)
        onset = np.flatnonzero(abs(sound) > 0.1)[0] / 11_025
        assert onset == pytest.approx(17 - start, abs=0.1)
        assert abs(np.flatnonzero(frames.mean((1, 2, 3)) > 128)[0] - np.ceil(onset * 8 - 0.5)) <= 1


# What yt-dlp says of YouTube's answers (its extractor/youtube and the site's own words).
@pytest.mark.parametrize(
    ("said", "status"),
    [
        ("ERROR: [youtube] x: Video unavailable", "unavailable"),
        (
            "[youtube] x: Private video. Sign in if you've been granted access to this video",
            "private",
        ),
        (
            "[youtube] x: Join this channel to get access to members-only content like this video",
            "private",
        ),
        ("[youtube] x: This video has been removed by the uploader", "unavailable"),
        (
            "[youtube] x: This video is no longer available because the YouTube account has been "
            "terminated",
            "unavailable",
        ),
        ("[youtube] x: Sign in to confirm you’re not a bot. Use --cookies-from-browser", "failed"),
        (
            "[youtube] x: Sign in to confirm your age. This video may be inappropriate for some "
            "users.",
            "failed",
        ),
        ("unable to download video data: HTTP Error 403: Forbidden", "failed"),
        ("\x1b[0;31mERROR:\x1b[0m [youtube] x: Video unavailable", "unavailable"),
        ("Unable to download webpage: timed out", "failed"),
        (
            "[youtube] x: Requested format is not available. Use --list-formats for a list of "
            "available formats",
            "failed",
        ),
        ("[youtube] x: The uploader has not made this video available in your country", "failed"),
        ("Unable to download webpage: HTTP Error 503: Service Unavailable", "failed"),
    ],
)
def test_what_is_gone_is_told_from_what_may_come_back(said, status):
    found, reason = collect._meaning(said)
    assert found == status and reason and "\x1b" not in reason and not reason.startswith("ERROR")


def test_lists_of_music_and_vggsound(tmp_path):
    (tmp_path / "solo.json").write_text(
        '{"videos": {"cello": ["a", "-b"], "acoustic_guitar violin": ["c"]}}'
    )
    (tmp_path / "more.json").write_text('{"videos": {"cello": ["a"]}}')
    assert read_music([tmp_path / "solo.json", tmp_path / "more.json"]) == [
        ListedVideo("a", "cello"),
        ListedVideo("-b", "cello"),
        ListedVideo("c", "acoustic_guitar violin"),
    ]
    (tmp_path / "v.csv").write_text(
        '---g-f_I2yQ,1,people marching,test\nx9_-abc,120,"playing violin, fiddle",train\n'
    )
    found = read_vggsound([tmp_path / "v.csv"])
    assert [(v.id, v.label) for v in found] == [
        ("---g-f_I2yQ_000001", "people marching"),
        ("x9_-abc_000120", "playing violin, fiddle"),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"videos": 3}',
        '{"videos": {"x": [1]}}',
        '{"videos": {"x": "abc"}}',
        '{"videos": {}}',
    ],
)
def test_a_list_that_is_none_gets_one_clear_sentence(tmp_path, text):
    (tmp_path / "bad.json").write_text(text)
    with pytest.raises(SopError, match=r"bad\.json: (expected|no videos)"):
        read_music([tmp_path / "bad.json"])


@pytest.mark.parametrize(
    "text",
    [
        "a,b,c,train\n",
        "a,1,c\n",
        "a,-1,c,train\n",
        "",
        "a,1,x,train\nyoutube_id,start,label,split\n",
    ],
)
def test_a_csv_that_is_none_names_the_row(tmp_path, text):
    (tmp_path / "bad.csv").write_text(text)
    with pytest.raises(SopError, match=r"bad\.csv( row \d+: .*expected|: no videos)"):
        read_vggsound([tmp_path / "bad.csv"])


def test_photos_become_silent_scenes_that_only_train(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("room/a.jpg", "room/b.png", "a.jpg", "- x.jpg", "Küche 音.jpeg"):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (9, 13, 3), np.uint8)).resize((931, 637)).save(
            tmp_path / "photos" / name
        )
    (tmp_path / "photos" / "broken.jpg").write_bytes(b"no picture")
    (tmp_path / "photos" / "._a.jpg").write_bytes(b"a Mac's note beside a.jpg")
    (tmp_path / "photos" / ".thumbs").mkdir()
    shutil.copy(tmp_path / "photos" / "a.jpg", tmp_path / "photos" / ".thumbs")
    report = collect.silence(tmp_path / "photos", tmp_path / "v", seconds=7, progress=False)
    ids = {
        "a.jpg": f"a_{hashlib.sha256((tmp_path / 'photos' / 'a.jpg').read_bytes()).hexdigest()[:6]}"
    }
    assert report.status.tolist().count("ok") == 5 and report[report.status == "failed"].id.str[
        :7
    ].tolist() == ["broken_"]
    preprocess.preprocess(tmp_path / "v", tmp_path / "d", progress=False)
    (
        plain_video(tmp_path / "w" / "cello" / "x.mp4", 7.0),
        plain_video(tmp_path / "w" / "cello" / "y.mp4", 7.0),
    )
    preprocess.preprocess(tmp_path / "w", tmp_path / "d", progress=False)
    paths = build_index(tmp_path / "d", val_ratio=0.5)
    train, val = (read_index(paths[name]) for name in ("train", "val"))
    assert len([c for c in train if c.label == "silence"]) == 5 and {c.label for c in val} == {
        "cello"
    }
    clip = next(c for c in train if c.id == ids["a.jpg"])
    assert not read_sound(clip.sound).any() and frame_size(clip.frames)[1] == 256
    picture = np.asarray(
        Image.open(tmp_path / "photos" / "a.jpg").resize(frame_size(clip.frames)), float
    )
    seen = read_frames(clip.frames, [0, clip.n_frames - 1]).astype(float)
    assert clip.n_frames >= 55 and abs(seen - picture).mean() < 12
    with pytest.raises(SopError, match="no photos"):
        collect.silence(tmp_path / "v", tmp_path / "out")


def test_the_command_line_collects(there, tmp_path, capsys):
    how, _ = there
    (tmp_path / "l.json").write_text(f'{{"videos": {{"cello": ["{GOOD[0]}", "missing"]}}}}')
    words = [
        "collect",
        "music",
        str(tmp_path / "l.json"),
        "--out",
        str(tmp_path / "out"),
        "--retries",
        "0",
    ]
    assert main([*words, "--address", how.address, "--rate-limit", "2M"]) == 0
    assert "1 of 2 videos are there; 1 (50.0 %) are gone" in capsys.readouterr().out
    assert main([*words, "--address", "http://127.0.0.1/"]) == 2
    assert "expected {id} in it" in capsys.readouterr().err
    cookies = tmp_path / "cookies.txt"
    cookies.write_text("# Netscape HTTP Cookie File\n127.0.0.1\tFALSE\t/\tFALSE\t0\tkey\tsecret\n")
    assert main([*words, "--cookies", str(cookies), "--address", how.address, "--again"]) == 0
    assert "secret" in cookies.read_text() and not any(
        (tmp_path / "out" / ".collect").iterdir()
    )  # no copy stays behind
    assert main([*words, "--cookies", str(tmp_path / "none.txt")]) == 2
    assert "none.txt: no such file" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*words, "--rate-limit", "fast"])


def test_a_list_of_other_files_and_a_video_without_length_are_no_videos(tmp_path):
    plain_video(tmp_path / "x" / "there.mp4", 1.0)
    (tmp_path / "x" / "list.mp4").write_text("ffconcat version 1.0\nfile there.mp4\n")
    for name, said in (("list", "not a video file"), ("there", None)):
        row = collect._fetched(ListedVideo(name, "x"), None, tmp_path, How())
        assert (row["status"], row["seconds"] > 0) == (("failed", False) if said else ("ok", True))
        assert said is None or said in row["reason"]
    with (
        av.open(str(tmp_path / "x" / "there.mp4")) as source,
        av.open(
            str(tmp_path / "x" / "live.mp4"), "w", format="matroska", options={"live": "1"}
        ) as out,
    ):
        streams = {s.index: out.add_stream_from_template(s) for s in source.streams}
        for packet in (p for p in source.demux() if p.dts is not None):
            packet.stream = streams[packet.stream.index]
            out.mux(packet)
    row = collect._fetched(ListedVideo("live", "x"), None, tmp_path, How())
    assert row["status"] == "failed" and "doesn't say how long it is" in row["reason"]


def test_ids_and_labels_of_an_earlier_report_come_back_as_they_were(tmp_path):
    wanted = [
        ListedVideo(id, label)
        for id in ("-dash_first", "=1+cmd|' C'!A0", "@x")
        for label in ("cello", "=A1", "+b")
    ]
    rows = [
        account.for_all(wanted, tmp_path, 1, False, lambda v, _: account.row(v, reason="=no"))
        for _ in range(2)
    ]
    assert len(pd.read_csv(tmp_path / account.REPORT)) == len(rows[1]) == 9
    assert set(account._earlier(tmp_path)) == {(v.id, v.label) for v in wanted}
    text = (tmp_path / account.REPORT).read_text()
    assert "\n-dash_first,cello,failed,'=no" in text and "\n'@x,'=A1" in text


def test_what_ends_like_a_photo_and_is_none_is_left_alone(tmp_path):
    (tmp_path / "photos" / "folder.jpg").mkdir(parents=True)
    (tmp_path / "photos" / "endless.jpg").symlink_to("/dev/zero")
    (tmp_path / "photos" / "gone.jpg").symlink_to(tmp_path / "nowhere")
    Image.new("RGB", (64, 48)).save(tmp_path / "photos" / "room.jpg")
    report = collect.silence(tmp_path / "photos", tmp_path / "v", 0.5, progress=False)
    assert report.id.str.startswith("room_").tolist() == [True] and report.status.tolist() == ["ok"]


def test_a_reason_that_looks_like_a_formula_is_quoted_once(tmp_path, monkeypatch):
    row = {
        "id": "x",
        "label": "a",
        "status": "failed",
        "reason": "=1+1 x",
        "seconds": 0.0,
        "bytes": 0,
    }
    monkeypatch.setattr(collect, "_yt_dlp", lambda: None)
    monkeypatch.setattr(collect, "_fetched", lambda video, before, out, how: before or row)
    for _ in range(3):
        collect.collect([ListedVideo("x", "a")], tmp_path, How(jobs=1), progress=False)
    assert "\nx,a,failed,'=1+1 x,0.0,0\n" in (tmp_path / "collect_report.csv").read_text()
