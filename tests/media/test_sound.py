"""mp3 files without a tag, as people have them: all of their sound is there, where it was."""

from fractions import Fraction

import av
import numpy as np
import pytest
import soundfile
from PIL import Image
from tiny import TINY

from sop_core.data.check import check
from sop_core.data.clips import find_clips, summary
from sop_core.errors import SopError
from sop_core.media import mp3
from sop_core.media.sound import read_sound, sound_length, sound_writer
from sop_core.training.windows import Part, check_clips, draw_window, window_sound

# LAME begins 576 samples before the sound ("encoder delay", technical FAQ of LAME)
LAME_DELAY = 576


def chords(seconds, rate, seed=0):
    """Four tones that change each second; the first half is soft. No two places are alike."""
    t = np.arange(round(seconds * rate))
    rng = np.random.default_rng(seed)
    hz = np.repeat(rng.uniform(200, rate / 8, (int(seconds) + 1, 4)), rate, 0)[: len(t)]
    sound = np.sin(2 * np.pi * np.cumsum(hz, 0) / rate).sum(1) / 8
    sound[: len(t) // 2] *= 1e-3
    return sound.astype(np.float32)


def write_mp3(path, sound, rate, tag=False, **codec):
    """As `ffmpeg -f mp3 - > path` does, unless with a tag. Sound: (channels, L)."""
    layout = "mono" if len(sound) == 1 else "stereo"
    options = {"write_xing": str(int(tag)), "id3v2_version": "0"}
    with av.open(str(path), "w", format="mp3", options=options) as container:
        stream = container.add_stream("libmp3lame", rate=rate, layout=layout, options=codec)
        stream.bit_rate = 64_000 * len(sound)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound), "fltp", layout)
        frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def off(found, sound, start):
    """RMS of what differs from a sound (L,), in parts of the sound's, from a file's sample on."""
    there = sound[start - LAME_DELAY : start - LAME_DELAY + len(found)]
    return np.sqrt(np.mean((found[: len(there)] - there) ** 2) / np.mean(there**2))


@pytest.mark.parametrize(
    ("rate", "channels", "codec"),
    [
        (44_100, 1, {}),
        (44_100, 2, {"abr": "1"}),
        (48_000, 1, {"abr": "1", "reservoir": "0"}),
        (22_050, 1, {"abr": "1"}),
        (11_025, 2, {}),
        (11_025, 1, {"abr": "1"}),
    ],
)
def test_all_of_an_mp3_without_a_tag_is_there(tmp_path, rate, channels, codec):
    sound = chords(20, rate)
    path = write_mp3(tmp_path / "a.mp3", np.tile(sound, (channels, 1)), rate, **codec)
    guess = soundfile.info(path).frames
    length, found_rate = sound_length(path)
    # the encoder fills up its last frames
    assert found_rate == rate and LAME_DELAY <= length - 20 * rate < LAME_DELAY + 2 * 1152
    if codec.get("abr"):
        assert abs(guess / length - 1) > 0.05  # so there was something to mend
    whole = read_sound(path)
    assert len(whole) == length and off(whole[LAME_DELAY:], sound, LAME_DELAY) < 0.1
    for start, count in [(0, 1), (576, 30_000), (11_521, 7), (100_003, 65_536), (length - 1, 1)]:
        part = read_sound(path, start, count)
        assert len(part) == count
        assert np.allclose(part, whole[start : start + count], atol=1e-4)
    with pytest.raises(SopError, match="needs"):
        read_sound(path, length, 1)


def id3(size):
    """An ID3v2 tag of one picture, `size` bytes in all; its size is written by 7 bits a byte."""
    digits = bytes(size - 10 >> shift & 127 for shift in (21, 14, 7, 0))
    text = b"APIC" + (size - 20).to_bytes(4) + b"\0\0" + b"\0image/jpeg\0\3\0"
    return (b"ID3\3\0\0" + digits + text).ljust(size, b"\xff")  # like the start of a frame


def test_a_cover_is_no_sound(tmp_path):
    sound = chords(6, 44_100)
    plain = write_mp3(tmp_path / "a.mp3", sound[None], 44_100)
    cover = tmp_path / "b.mp3"
    cover.write_bytes(id3(6_000_000) + id3(1_000) + plain.read_bytes() + b"TAG".ljust(128))
    assert sound_length(cover) == sound_length(plain)
    assert np.array_equal(read_sound(cover), read_sound(plain))
    assert np.array_equal(read_sound(cover, 99_999, 9_999), read_sound(plain, 99_999, 9_999))


def test_a_capture_begins_and_ends_in_the_middle_of_a_frame(tmp_path):
    sound = chords(10, 44_100)
    data = write_mp3(tmp_path / "a.mp3", sound[None], 44_100, reservoir="0").read_bytes()
    starts = mp3.frame_starts(tmp_path / "a.mp3")
    assert len(starts) in (384, 385)  # 10 s of 1152 samples, and the delay
    path = tmp_path / "b.mp3"
    path.write_bytes(data[starts[100] - 77 : starts[300] - 77])
    length, _ = sound_length(path)
    assert length == 199 * 1152 - mp3.DELAY  # from 100 to 298
    found = read_sound(path)
    assert len(found) == length and off(found[1152:], sound, 101 * 1152) < 0.1
    # Three frames are lost in the middle, and what stands there looks like the start of one
    path.write_bytes(data[: starts[200]] + b"\xff\xfb" * 9 + data[:4] + data[starts[203] + 9 :])
    length, _ = sound_length(path)
    assert length == (len(starts) - 4) * 1152 - mp3.DELAY == len(read_sound(path))


def test_files_in_a_row_are_all_there_though_the_first_ones_tag_knows_of_one(tmp_path):
    sounds = [chords(5, 22_050, seed) for seed in (1, 2)]
    parts = [write_mp3(tmp_path / "p.mp3", s[None], 22_050, tag=True).read_bytes() for s in sounds]
    path = tmp_path / "a.mp3"
    path.write_bytes(b"".join(parts))
    assert soundfile.info(path).frames == 5 * 22_050
    found = read_sound(path)
    assert 10 * 22_050 < len(found) < 10.4 * 22_050
    assert off(found[LAME_DELAY : 5 * 22_050], sounds[0], LAME_DELAY) < 0.1
    ends = len(found) - 3 * 22_050  # of the second one: its place to a frame
    best = min(off(found[at : at + 22_050], sounds[1], 44_100) for at in range(ends - 3_500, ends))
    assert best < 0.1


def test_a_file_is_counted_once(tmp_path, monkeypatch):
    path = write_mp3(tmp_path / "a.mp3", chords(3, 44_100)[None], 44_100)
    note = tmp_path / ".a.mp3.frames"
    length = sound_length(path)
    with monkeypatch.context() as patch:
        patch.setattr(mp3, "_found", None)  # can't be called
        assert sound_length(path) == length
    # a note that was cut off, a note of another file, and no place for one
    note.write_bytes(note.read_bytes()[:100])
    assert sound_length(path) == length
    write_mp3(path, chords(4, 44_100)[None], 44_100)
    assert sound_length(path)[0] - length[0] in (38 * 1152, 39 * 1152)
    note.unlink()
    note.mkdir()
    assert sound_length(path)[0] > 4 * 44_100 == len(read_sound(path, 0, 4 * 44_100))


def test_an_mp3_with_a_tag_needs_no_count(tmp_path):
    with sound_writer(tmp_path / "a.mp3", 11_025) as write:
        write(chords(3, 11_025))
    plain = write_mp3(tmp_path / "b.mp3", chords(3, 11_025)[None], 11_025, tag=True)
    more = b"APETAGEX".ljust(20_000)  # longer than what usually follows a sound
    (tmp_path / "c.mp3").write_bytes(id3(5_000) + plain.read_bytes() + more)
    for name in "abc":
        assert sound_length(tmp_path / f"{name}.mp3") == (3 * 11_025, 11_025)
        assert len(read_sound(tmp_path / f"{name}.mp3")) == 3 * 11_025
    assert [p.name for p in tmp_path.glob(".*")] == [".c.mp3.frames"]
    (tmp_path / "cut.mp3").write_bytes(plain.read_bytes()[:-5_000])
    with pytest.raises(SopError, match="cut short"):
        read_sound(tmp_path / "cut.mp3")


def test_index_check_and_training_use_all_of_it(tmp_path):
    for label, name in (("cello", "a"), ("flute", "b")):
        frames = tmp_path / "frames" / label / f"{name}.mp4"
        frames.mkdir(parents=True)
        for k in range(160):
            Image.new("RGB", (8, 8)).save(frames / f"{k + 1:06d}.jpg")
        (tmp_path / "audio" / label).mkdir(parents=True)
        path = tmp_path / "audio" / label / f"{name}.mp3"
        write_mp3(path, chords(20, 11_025)[None], 11_025, abr="1")
        assert abs(soundfile.info(path).duration - 20) > 3
    clips = find_clips(tmp_path)
    assert summary(clips).seconds.tolist() == pytest.approx([20, 20], abs=0.2)
    problems = check(tmp_path, fps=8, jobs=1, progress=False).problem.tolist()
    assert not {"missing", "invalid"} & set(problems)
    lengths = check_clips(clips, TINY)
    rng = np.random.default_rng(0)
    starts = [draw_window(clips[0], lengths[clips[0]], TINY, rng).start for _ in range(500)]
    assert 19 < max(starts) / 11_025 + TINY.seconds < 20.2
    last = Part(clips[0], max(starts))
    assert off(window_sound(last, TINY), chords(20, 11_025), max(starts)) < 0.1
