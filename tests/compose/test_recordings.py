"""Recordings: pitches by name and by ear, what is left out and why, and how they are read."""

import av
import numpy as np
import pytest
import soundfile
from scipy.signal import correlate

from sop_core.compose import recordings
from sop_core.compose.recordings import Recording, find_recordings, pitch_of_name, read_recording
from sop_core.compose.sounds import RATE, check_sound, read_mono, sound_seconds
from sop_core.errors import SopError
from sop_core.media.sound import audio_frame, sound_length


def tone(hertz, seconds=1.0, decay=None, rate=RATE):
    """Five harmonics; `decay`: seconds to 1/e."""
    t = np.arange(int(seconds * rate)) / rate
    sound = sum(np.sin(2 * np.pi * k * hertz * t) / k for k in range(1, 6))
    sound = sound * (np.exp(-t / decay) if decay else np.minimum(1, (seconds - t) / 0.05))
    return (0.3 * sound * np.minimum(1, t / 0.01)).astype(np.float32)


def write(path, sound, rate=RATE, **how):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, sound, rate, **how)
    return path


def recording(path):
    return Recording(path, "", "note", 60.0, "")


@pytest.mark.parametrize(
    "name, midi",
    [
        ("C4", 60), ("A4", 69), ("Cs5", 73), ("C#5", 73), ("Bb3", 58), ("Ef4", 63), ("A0", 21),
        ("B#3", 60), ("Cb4", 59), ("c4", 60), ("eb3", 51), ("60", 60), ("108", 108),
        ("cello_A4_1_forte_arco", 69), ("A4_02", 69), ("Violin.arco.ff.sulA.A4.stereo", 69),
        ("banjo_Gs4_very-long_piano_normal", 68), ("A4-A4", 69), ("flute G♭5", 78),
        ("take 2", None), ("001", None), ("take a1", None), ("20", None), ("109", None),
        ("Violin.sulG.C4B4", None), ("A4 to C5", None), ("B2B", None), ("mp3", None), ("A10", None),
        ("CD4", None), ("v1", None), ("", None), ("060", None), ("hit 60", None), ("G9", 127),
        ("A9", None), ("violin A4 forte", 69), ("Take A1", None), ("Side_B2", None),
        ("Etude No. A3 slow", None), ("TRACK-C4", None), ("piano A4", 69), ("Take 2 A4", 69),
        ("Es4", None), ("Bs3", None), ("es4", None), ("As4", 70), ("Take A1 C4", 60),
    ],
)  # fmt: skip
def test_pitches_in_names(name, midi):
    assert pitch_of_name(name) == midi


def test_numbers_are_pitches_only_where_all_are_keys(tmp_path):
    for k, name in enumerate(("60", "72")):
        write(tmp_path / f"bell/{name}.wav", tone(300 + k))
        write(tmp_path / f"takes/{name}.wav", tone(310 + k, 0.5 + 0.1 * k))
    write(tmp_path / "takes/1.wav", tone(320))
    found = find_recordings(tmp_path, [], progress=False)
    assert [r.midi for r in found["bell"]] == [60, 72]
    heard = 12 * np.log2(np.array([320, 310, 311]) / 440) + 69
    assert [r.midi for r in found["takes"]] == pytest.approx(heard, abs=0.1)


def test_what_a_recording_is_and_the_second_run_is_quick(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    sounds = tmp_path / "sounds"
    bent = 330 * 2 ** (0.3 / 12 * np.sin(np.arange(60_000) / 1_300))  # 30 cents
    vibrato = np.sin(2 * np.pi * np.cumsum(bent) / RATE)
    knock = rng.standard_normal(20_000) * np.exp(-np.arange(20_000) / 2_000)
    scale = np.concatenate([tone(220 * 2 ** (k / 12), 0.4) for k in (0, 2, 4, 5, 7, 9, 11, 12)])
    write(sounds / "cello/lib/one.wav", tone(246.3, 1.5))
    write(sounds / "cello/lib/two.flac", tone(1_500, 1.0, decay=0.2))
    write(sounds / "cello/three.wav", vibrato.astype(np.float32) * 0.5)
    write(sounds / "cello/A3.wav", tone(300))  # its name is believed
    write(sounds / "drum/a.wav", np.pad(0.4 * knock, (3_000, 2_000)))
    write(sounds / "drum/b.wav", np.concatenate([0.4 * knock] * 3))
    write(sounds / "drum/c.wav", scale)
    write(sounds / "drum/C4.wav", scale[::-1].copy())  # a name says nothing of a melody
    write(sounds / "drum/D4.wav", tone(294, 1.0, decay=0.2))
    cache = tmp_path / "heard.csv"
    unused = []
    found = find_recordings(sounds, unused, cache, progress=False)
    assert not unused
    kinds = {r.path.name: (r.kind, r.midi, r.library) for r in found["cello"] + found["drum"]}
    assert kinds["A3.wav"] == ("note", 57, "")
    for name, hertz, library in (("one.wav", 246.3, "lib"), ("two.flac", 1_500, "lib"),
                                 ("three.wav", 330, "")):  # fmt: skip
        kind, midi, where = kinds[name]
        assert (kind, where) == ("note", library)
        assert midi == pytest.approx(69 + 12 * np.log2(hertz / 440), abs=0.07), name
    assert kinds["a.wav"] == ("hit", None, "")
    assert kinds["C4.wav"] == ("passage", None, "") and kinds["D4.wav"] == ("note", 62, "")
    assert kinds["b.wav"][0] == kinds["c.wav"][0] == "passage"
    # again: nothing is heard
    monkeypatch.setattr(recordings, "listen", None)
    assert find_recordings(sounds, [], cache, progress=False) == found
    # a broken cache is made anew
    monkeypatch.undo()
    cache.write_text("no,table\n1,2\n")
    assert find_recordings(sounds, [], cache, progress=False) == found


def test_what_is_left_out_and_why(tmp_path):
    good = write(tmp_path / "horn/A4.wav", tone(440))
    write(tmp_path / "horn/B4.wav", np.full(9_000, 0.25))  # DC is silence, too
    bad = tone(500)
    bad[22_050] = np.nan
    write(tmp_path / "horn/C4.wav", bad, subtype="FLOAT")
    write(tmp_path / "horn/D4.wav", tone(300, 0.04))
    (tmp_path / "horn/E4.wav").write_bytes(b"")
    (tmp_path / "horn/F4.mp3").write_bytes(np.random.default_rng(0).bytes(5_000))
    (tmp_path / "horn/G4.wav").write_bytes(good.read_bytes())
    (tmp_path / "horn/H.txt").write_text("notes")
    both = write(tmp_path / "horn/Ab4.wav", tone(410))
    (tmp_path / "oboe").mkdir()
    (tmp_path / "oboe/x.wav").write_bytes(both.read_bytes())
    unused = []
    found = find_recordings(tmp_path, unused, progress=False)
    assert {label: [r.path.name for r in some] for label, some in found.items()} == {
        "horn": ["A4.wav"]
    }
    reasons = {row.file: row.reason for row in unused}
    assert "silent" in reasons["horn/B4.wav"]
    assert "NaN or Inf) at 0.50 s" in reasons["horn/C4.wav"]
    assert "40 ms of sound, expected 50 ms" in reasons["horn/D4.wav"]
    assert "empty (0 bytes)" in reasons["horn/E4.wav"]
    assert "not a sound that can be read" in reasons["horn/F4.mp3"]
    assert reasons["horn/G4.wav"] == "the same file as horn/A4.wav"
    assert "not one of" in reasons["horn/H.txt"]
    assert reasons["horn/Ab4.wav"] == "the same file stands under oboe too"
    assert reasons["oboe/x.wav"] == "the same file stands under horn too"
    assert str(tmp_path) not in "".join(reasons.values())


def test_the_whole_begins_at_its_attack_and_peaks_at_one(tmp_path):
    sound = np.pad(0.05 * tone(440), (30_000, 20_000)) + 0.1  # DC
    read = read_recording(recording(write(tmp_path / "a.wav", sound)))
    assert read.dtype == np.float32 and np.abs(read).max() == pytest.approx(1, abs=1e-6)
    assert abs(len(read) - RATE) < 0.02 * RATE and abs(read.mean()) < 1e-3
    assert np.abs(read[: int(0.012 * RATE)]).max() > 0.5  # the attack is here


def test_stereo_in_antiphase_does_not_cancel(tmp_path):
    sound = tone(440)
    stereo = np.stack([sound, -0.9 * sound], 1)
    read = read_recording(recording(write(tmp_path / "a.wav", stereo)))
    alone = read_recording(recording(write(tmp_path / "b.wav", sound)))
    np.testing.assert_allclose(read, alone, atol=2e-3)
    both = read_mono(write(tmp_path / "c.wav", np.stack([sound, 0 * sound], 1)))
    np.testing.assert_allclose(both, sound / 2, atol=1e-3)  # an average otherwise


def test_96_khz_24_bit_aiff(tmp_path):
    path = write(tmp_path / "a.aiff", tone(440, rate=96_000), 96_000, subtype="PCM_24")
    assert check_sound(path) == sound_seconds(path) == pytest.approx(1)
    read = read_mono(path)
    assert len(read) == RATE
    np.testing.assert_allclose(read[500:-500], tone(440)[500:-500], atol=0.01)


@pytest.mark.parametrize("kind", ["wav", "ogg", "mp3", "m4a"])
def test_a_window_is_the_same_part_of_the_whole(tmp_path, kind):
    t = np.arange(8 * RATE) / RATE
    sound = (0.4 * np.sin(2 * np.pi * (200 + 50 * t) * t)).astype(np.float32)  # a chirp
    path = tmp_path / f"a.{kind}"
    if kind == "m4a":
        with av.open(str(path), "w", format="ipod") as container:
            stream = container.add_stream("aac", rate=RATE, layout="mono")
            stream.bit_rate = 128_000
            for start in range(0, len(sound), RATE // 10):
                frame = audio_frame(sound[start : start + RATE // 10], RATE, start)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    else:
        write(path, sound)
    assert sound_seconds(path) == pytest.approx(8, abs=0.1)
    whole, window = read_mono(path), read_mono(path, 5.0, 1.5)
    assert len(window) == 1.5 * RATE
    cross = correlate(whole, window, "valid", method="fft")
    start = int(cross.argmax())
    assert abs(start - 5 * RATE) <= (0.1 * RATE if kind == "mp3" else 0)
    assert np.corrcoef(window, whole[start:][: len(window)])[0, 1] > 0.999


def test_a_header_that_promises_nonsense(tmp_path):
    with pytest.raises(SopError, match="1 Hz and 1 channels, expected 4,000 to 400,000 Hz"):
        read_mono(write(tmp_path / "a.wav", tone(440), 1))


def test_what_was_heard_before_a_kill_is_not_heard_again(tmp_path, monkeypatch):
    for k in range(5):
        write(tmp_path / f"sounds/x/{'abcde'[k]}.wav", tone(110 * (k + 1), 0.5))
    calls, original = [], recordings.listen

    def killed_at_the_fourth(path, named):
        calls.append(path.name)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return original(path, named)

    monkeypatch.setattr(recordings, "KEEP", 2)
    monkeypatch.setattr(recordings, "listen", killed_at_the_fourth)
    cache = tmp_path / "heard.csv"
    with pytest.raises(KeyboardInterrupt):
        find_recordings(tmp_path / "sounds", [], cache, progress=False)
    found = find_recordings(tmp_path / "sounds", [], cache, progress=False)
    assert len(found["x"]) == 5
    assert calls == ["a.wav", "b.wav", "c.wav", "d.wav", "c.wav", "d.wav", "e.wav"]


def test_one_process_compiles_before_others_are_started(tmp_path, monkeypatch):
    """Two that compile pYIN at once leave files by which each later process crashes."""
    for k in range(16):
        write(tmp_path / "thing" / f"take {k}.wav", tone(220 + 30 * k))
    order = []

    class Parallel:
        def __init__(self, jobs, **_):
            order.append(f"{jobs} processes")

        def __call__(self, work):
            return (call(*args, **kwargs) for call, args, kwargs in work)  # as joblib: lazily

    monkeypatch.setattr(recordings.joblib, "cpu_count", lambda: 2)
    monkeypatch.setattr(recordings.joblib, "Parallel", Parallel)
    monkeypatch.setattr(recordings, "steady_pitch", lambda _: order.append("pYIN") or 60.0)
    find_recordings(tmp_path, [], progress=False)
    assert order[:2] == ["pYIN", "2 processes"] and len(order) == 18
    order.clear()
    find_recordings(tmp_path, [], progress=False, jobs=1)
    assert order[0] == "1 processes"


def test_a_flac_that_does_not_say_how_long_it_is_is_heard_by_ffmpeg(tmp_path):
    """As one that was written to a pipe. libsndfile takes it for endless, and can't seek in it."""
    path, sound = tmp_path / "A4.flac", 0.3 * np.sin(np.arange(RATE) * 2 * np.pi * 440 / RATE)
    soundfile.write(path, sound, RATE)
    expected = read_mono(path)
    data = bytearray(path.read_bytes())
    data[21] &= 0xF0  # the 36 bits of STREAMINFO's number of samples, RFC 9639, 8.2
    data[22:26] = bytes(4)
    path.write_bytes(data)
    assert soundfile.info(path).frames > 1e18
    np.testing.assert_allclose(read_mono(path), expected, atol=1e-4)
    assert check_sound(path) == pytest.approx(1.0, abs=0.01) and sound_seconds(path) < 2
    with pytest.raises(SopError, match="A4.flac: it doesn't say how long it is.*convert it"):
        sound_length(path)
