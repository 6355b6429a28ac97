"""Tracks of a video's own sound: all of its channels, its own rate; they add up and never clip.

The truth is what the test writes into a film without loss: whole numbers of 16 bits.
"""

from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import av
import numpy as np
import pytest
import soundfile
import soxr
from films import level, make_video, tone
from tiny import COLOURS, TINY

from sop_core.listening import export, soundfiles
from sop_core.listening.fullband import FullBandAudio
from sop_core.listening.playback import OwnSound
from sop_core.listening.player import PixelPlayer
from sop_core.listening.scene import Scene
from sop_core.listening.separated import source_pieces
from sop_core.media.stream import read_video, stream_sound

SQUARES = np.full((60, 80, 3), 90, np.uint8)
SQUARES[15:45, 5:35], SQUARES[15:45, 45:75] = COLOURS["red"], COLOURS["blue"]
RED, BLUE = 440, 1_760  # Hz that each square sounds as, by the model `eyes`


@pytest.fixture(autouse=True)
def _no_maps(monkeypatch):  # they take most of the time, and are tested in test_export
    monkeypatch.setattr(export.show, "cluster", lambda *_: None)
    monkeypatch.setattr(export.show, "figure_png", lambda _: b"")


def film(path, numbers, rate):
    """A film of both squares with int16 (C, L) as its sound."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=8)
        video.height, video.width, video.pix_fmt = 60, 80, "yuv420p"
        layout = "mono" if len(numbers) == 1 else "stereo"
        audio = container.add_stream("pcm_s16le", rate=rate, layout=layout)
        for _ in range(numbers.shape[1] * 8 // rate):
            container.mux(video.encode(av.VideoFrame.from_ndarray(SQUARES, format="rgb24")))
        container.mux(video.encode(None))
        packed = np.ascontiguousarray(numbers.T.reshape(1, -1))
        frame = av.AudioFrame.from_ndarray(packed, format="s16", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        container.mux(audio.encode(frame))
        container.mux(audio.encode(None))
    return path


def panned(rate, seconds=3, more=0):
    """Red is louder on the left, blue on the right. Shape: int16 (2, L)"""
    red, blue = tone(RED, seconds, rate, 0.3), tone(BLUE, seconds, rate, 0.2)
    noise = np.random.default_rng(0).normal(0, 0.01, (2, len(red)))  # up to half of the rate
    sound = np.stack([red + 0.25 * blue, 0.1 * red + blue]) + noise
    return np.round(sound * 32_767).astype(np.int16)


def read(folder, table, kind="wav"):
    """The files that a table names, with what they were scaled by undone. Shape: (N, C, L)"""
    files = [soundfile.read(folder / f"{name}.{kind}", always_2d=True) for name in table.name]
    return np.stack([samples.T for samples, _ in files])


@pytest.mark.parametrize("rate", [44_100, 48_000, 8_000])
def test_tracks_of_stereo_are_stereo_and_add_up_to_the_source(eyes, tmp_path, rate):
    numbers = panned(rate)
    video = film(tmp_path / "a.mkv", numbers, rate)
    scene = Scene.from_video(eyes, video)
    for wav_format, subtype in (("pcm16", "PCM_16"), ("pcm24", "PCM_24"), ("float32", "FLOAT")):
        out = tmp_path / wav_format
        table = export.write_all(scene, video, 2, out, wav_format=wav_format)
        info = soundfile.info(out / "rest.wav")
        assert (info.subtype, info.samplerate, info.channels) == (subtype, rate, 2)
        sounds = read(out, table)
        np.testing.assert_array_equal(sounds.sum(0), numbers / 32_768)
        np.testing.assert_array_equal(np.float32(sounds).sum(0), numbers / np.float32(32_768))
        assert table.name.str.contains("left|right|rest").all() and (table.scale == 1).all()
        loudness = {
            name: [[level(channel, hz, rate) for channel in track] for hz in (RED, BLUE)]
            for name, track in zip(table.name.str.slice(2), sounds, strict=True)
        }
        expected = {"left": [[0.3, 0.03], [0, 0]], "right": [[0, 0], [0.05, 0.2]]}
        for name, amplitudes in expected.items():
            np.testing.assert_allclose(loudness[name], amplitudes, atol=0.006)


def test_what_float32_cannot_add_up_exactly_is_within_its_rounding(eyes, tmp_path):
    """Sound that was decoded from aac has more than 24 bits."""
    video = make_video(
        tmp_path / "a.mp4",
        np.arange(0, 3, 0.125),
        [SQUARES] * 24,
        sound=panned(44_100) / np.float32(32_768),
    )
    source = np.concatenate(list(stream_sound(video, 44_100, None)), 1)
    scene = Scene.from_video(eyes, video)
    assert np.any(source * 2**24 % 1)
    for wav_format, error in (
        ("pcm16", 0.51 / 2**15),
        ("pcm24", 0.51 / 2**23),
        ("float32", 2**-24),
    ):
        table = export.write_all(scene, video, 2, tmp_path / wav_format, wav_format=wav_format)
        total = read(tmp_path / wav_format, table).sum(0)
        np.testing.assert_allclose(total, source, rtol=0, atol=error)


@pytest.mark.parametrize(("channels", "kept"), [(1, 1), (6, 2)])
def test_mono_stays_mono_and_surround_sound_becomes_stereo(eyes, tmp_path, channels, kept):
    sound = np.stack([tone(RED, 3, 44_100, 0.3), *np.zeros((channels - 1, 3 * 44_100), np.float32)])
    video = make_video(tmp_path / "a.mp4", np.arange(0, 3, 0.125), [SQUARES] * 24, sound=sound)
    export.write(Scene.from_video(eyes, video), video, [(2, 0)], tmp_path / "a.flac")
    heard, rate = soundfile.read(tmp_path / "a.flac", always_2d=True)
    assert heard.shape[1] == kept and rate == 44_100
    assert level(heard[:, 0], RED, rate) > 0.1  # ITU-R BS.775: 0.3 / 2.41 of 5.1
    assert kept == 1 or level(heard[:, 1], RED, rate) < 1e-3


@pytest.mark.parametrize("rate", [44_100, 48_000])
def test_a_stretch_is_that_stretch_of_the_source_and_sounds_as_in_the_whole(eyes, tmp_path, rate):
    numbers = panned(rate, 6)
    video = film(tmp_path / "a.mkv", numbers, rate)
    scene = Scene.from_video(eyes, video)
    part = scene.part(1.3, 3.7)
    begin, end = (round(k * TINY.hop * rate / TINY.rate) for k in (part.first, part.last))
    sounds = {}
    for name, one in (("whole", scene), ("part", part)):
        table = export.write_all(one, video, 2, tmp_path / name, wav_format="float32")
        sounds[name] = read(tmp_path / name, table)
    np.testing.assert_array_equal(sounds["part"].sum(0), numbers[:, begin:end] / 32_768)
    np.testing.assert_allclose(sounds["part"], sounds["whole"][..., begin:end], atol=1e-6)


def test_what_the_nets_heard_is_mono_at_their_rate(eyes, tmp_path):
    video = film(tmp_path / "a.mkv", panned(44_100), 44_100)
    scene = Scene.from_video(eyes, video)
    out = tmp_path / "all"
    table = export.write_all(scene, video, 2, out, rate="model", wav_format="float32")
    sounds = read(out, table)
    assert soundfile.info(out / "rest.wav").samplerate == TINY.rate and sounds.shape[1] == 1
    np.testing.assert_allclose(sounds.sum((0, 1)), scene.mixture, rtol=0, atol=2**-24)


@pytest.fixture(scope="module")
def loud(eyes, tmp_path_factory):
    """A film whose sound just fits, one of whose tracks does not.

    600 Hz as a square wave: the model takes its first overtone from it, at 1 800 Hz. Fourier: what
    is left is 4 / pi as loud as the wave.
    """
    rate = 44_100
    square = np.where(np.arange(4 * rate) // 36.75 % 2 < 1, 29_491, -29_491)
    numbers = np.stack([square, square // 2]).astype(np.int16)
    video = film(tmp_path_factory.mktemp("loud") / "a.mkv", numbers, rate)
    return Scene.from_video(eyes, video), video, numbers / 32_768


LOUD = 0.9 * 4 / np.pi  # of 600 Hz on the left


@pytest.mark.parametrize(
    ("kind", "wav_format", "error"),
    [
        ("wav", "pcm16", 1e-4),
        ("wav", "pcm24", 1e-6),
        ("flac", "pcm16", 1e-4),
        ("mp3", "pcm16", 0.1),
    ],
)
def test_tracks_that_would_clip_are_scaled_by_one_factor_that_is_told(
    loud, tmp_path, kind, wav_format, error
):
    scene, video, numbers = loud
    with pytest.warns(UserWarning, match=r"all: .* than full scale, so all .* dB softer \(scale 0"):
        table = export.write_all(
            scene, video, 2, tmp_path / "all", kind=kind, wav_format=wav_format
        )
    (scale,) = set(table.scale)
    floats = export.write_all(scene, video, 2, tmp_path / "floats", wav_format="float32")
    assert scale == pytest.approx(1 / np.abs(read(tmp_path / "floats", floats)).max(), rel=1e-3)
    sounds = read(tmp_path / "all", table, kind)
    inside = slice(22_050, -22_050)
    assert 0.98 < np.abs(sounds[..., inside]).max() < (1.03 if kind == "mp3" else 1)
    total = sounds.sum(0)[:, : numbers.shape[1]] / scale
    assert np.sqrt(np.mean((total - numbers)[:, inside] ** 2)) < error
    red = sounds[table.name.str.contains("left").argmax(), 0]
    assert level(red, 600, 44_100) == pytest.approx(LOUD * scale, rel=0.01)


def test_floats_are_not_scaled_and_a_region_is(loud, tmp_path, recwarn):
    scene, video, numbers = loud
    table = export.write_all(scene, video, 2, tmp_path / "all", wav_format="float32")
    sounds = read(tmp_path / "all", table)
    assert np.abs(sounds).max() > 1.1 and (table.scale == 1).all() and not recwarn.list
    np.testing.assert_array_equal(sounds.sum(0), numbers)
    for suffix in (".wav", ".mp4"):
        out = tmp_path / f"a{suffix}"
        with pytest.warns(UserWarning, match=f"{suffix}: it would be louder than full scale"):
            export.write(scene, video, [(1, 0), (2, 0)], out)
        sound = read_video(out, 8, 44_100)[1] if suffix == ".mp4" else soundfile.read(out)[0][:, 0]
        heard = level(sound, 600, 44_100) * (4 / 3 if suffix == ".mp4" else 1)  # mono: 1 and 1 / 2
        assert heard == pytest.approx(0.97, rel=0.05)


def test_sound_at_full_scale_that_fits_is_left_alone(eyes, tmp_path, recwarn):
    """The whole picture takes all of a sound that has the greatest and the least number."""
    numbers = np.round(32_767.5 * tone(RED, 3, 44_100, 1.0) - 0.5).astype(np.int16)[None]
    video = film(tmp_path / "a.mkv", numbers, 44_100)
    table = export.write_all(
        Scene.from_video(eyes, video), video, 1, tmp_path / "all", partition=True
    )
    sounds = read(tmp_path / "all", table)
    np.testing.assert_array_equal(sounds.sum(0), numbers / 32_768)
    assert (table.scale > 0.98).all()


def test_a_file_too_large_for_wav_is_rf64(loud, tmp_path, monkeypatch):
    scene, video, numbers = loud
    monkeypatch.setattr(soundfiles, "WAV_BYTES", 2**19)
    table = export.write_all(scene, video, 2, tmp_path / "all", wav_format="float32")
    assert soundfile.info(tmp_path / "all" / "rest.wav").format == "RF64"
    np.testing.assert_array_equal(read(tmp_path / "all", table).sum(0), numbers)


def test_mp3_has_the_next_lower_of_its_rates(eyes, tmp_path):
    numbers = panned(96_000)
    video = film(tmp_path / "a.mkv", numbers, 96_000)
    scene = Scene.from_video(eyes, video)
    for rate, hz in (("source", 48_000), ("model", TINY.rate)):
        export.write(scene, video, [(2, 0)], tmp_path / "a.mp3", rate=rate)
        sound, found = soundfile.read(tmp_path / "a.mp3", always_2d=True)
        assert found == hz and len(sound) / hz == pytest.approx(3, abs=0.06)
        expected = 0.3 if rate == "source" else (0.3 + 0.03) / 2
        assert level(sound[:, 0], RED, hz) == pytest.approx(expected, rel=0.03)


# --- in the player

CELLS = [[(2, 0)], [(2, 3)]]  # of the red square, of the blue one


def own_tracks(scene, own, *args):
    return np.concatenate(list(own.tracks(scene, CELLS, *args)), -1)


@pytest.mark.parametrize("channels", [1, 2])
def test_the_player_has_the_tracks_that_separate_writes(eyes, tmp_path, channels):
    """Against the way of the files, on a part of the video; and the model's band is the model's."""
    video = film(tmp_path / "film.mov", panned(44_100)[:channels], 44_100)
    whole = Scene.from_video(eyes, video)
    scene = whole.part(0.5, 2.5)
    own = OwnSound(scene, video)
    assert (own.channels, own.rate, own.times) == (channels, 44_100, 4)
    assert own.mixture.shape == (channels, 4 * len(scene.mixture))
    pieces = source_pieces(scene, CELLS, "shared", FullBandAudio(scene, video))
    expected = np.concatenate(list(pieces), -1)
    tracks = own_tracks(scene, own)
    length = min(tracks.shape[-1], expected.shape[-1])
    np.testing.assert_allclose(tracks[..., :length], expected[:2, :, :length], atol=1e-5)
    np.testing.assert_allclose(own.mixture[:, :length], expected.sum(0)[:, :length], atol=1e-5)
    low = soxr.resample(tracks.mean(1).T, 44_100, scene.rate).T[:, 200:-200]
    np.testing.assert_allclose(low, scene.tracks(CELLS)[:-1, 200:-200], atol=2e-3)
    everything = own_tracks(scene, own, True).sum(0)  # nothing else sounds
    np.testing.assert_allclose(everything[:, 5_000:-5_000], own.mixture[:, 5_000:-5_000], atol=1e-3)


@pytest.mark.parametrize(
    ("rate", "expected"), [(48_000, 44_100), (96_000, 44_100), (8_000, 11_025)]
)
def test_a_page_gets_a_multiple_of_the_models_rate_up_to_48_khz(eyes, tmp_path, rate, expected):
    video = film(tmp_path / "film.mov", panned(rate), rate)
    scene = Scene.from_video(eyes, video)
    own = OwnSound(scene, video)
    assert own.rate == expected and own.mixture.shape[1] == own.times * len(scene.mixture)
    assert level(own.mixture[0], RED, own.rate) == pytest.approx(
        level(np.float32(panned(rate)[0]) / 32_768, RED, rate), rel=0.02
    )


def test_a_click_is_answered_in_the_models_band_and_the_rest_of_the_band_follows(eyes, tmp_path):
    """Red stays louder on the left, blue on the right; in whole samples of 16 bits."""
    video = film(tmp_path / "film.mov", panned(44_100), 44_100)
    scene = Scene.from_video(eyes, video)
    with ThreadPoolExecutor(1) as alone:  # without an event loop, so that it comes at once
        player = alone.submit(PixelPlayer, scene, band="model").result()
        assert (player.own["rate"], player.own["channels"], player.full) == (44_100, 2, {})
        alone.submit(setattr, player, "regions", CELLS).result()
        assert player.full == {}  # nobody would hear it
        alone.submit(setattr, player, "band", "full").result()
    assert player.full["regions"] == player.regions and player.full["whole"] is False
    own = OwnSound(scene, video)
    for track, truth in zip(player.full["tracks"], own_tracks(scene, own), strict=True):
        sound = np.frombuffer(track["pcm"], "<i2").reshape(2, -1) * (track["peak"] / 32_767)
        np.testing.assert_allclose(sound, truth, atol=track["peak"] / 32_767)
    red, blue = own_tracks(scene, own)
    assert level(red[0], RED, 44_100) > 2 * level(red[1], RED, 44_100) > 0.02
    assert level(blue[1], BLUE, 44_100) > 2 * level(blue[0], BLUE, 44_100) > 0.02
    np.testing.assert_allclose(player.full_samples, red + blue, atol=1e-5)
    player.mixer = [dict(m, mute=False) for m in player.mixer]
    np.testing.assert_allclose(player.full_samples, own.mixture, atol=1e-5)


def test_other_sound_than_the_videos_own_is_played_in_the_models_band(eyes, tmp_path):
    video = film(tmp_path / "film.mov", panned(44_100), 44_100)
    scene = Scene.from_video(eyes, video)
    other = PixelPlayer(scene.hearing(scene.mixture[::-1].copy()), pixel=(2, 0))
    assert (other.own, other.full, other.full_samples) == ({}, {}, None)
