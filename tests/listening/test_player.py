"""The player, seen from Python: traits in, tracks out.

What the page does is tested in tests/browser, its arithmetic in node.
"""

import base64
import io
import json
import shutil
import subprocess
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image
from tones import ToneScene

import sop_core
from sop_core.errors import SopError
from sop_core.listening import saved
from sop_core.listening.player import PixelPlayer
from sop_core.listening.tracks import DYNAMIC_RANGE, MAX_COLUMNS
from sop_core.model.names import UNKNOWN, Name


def pitch(samples, rate):
    """Hz of the strongest partial."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples)), 2**16))
    return spectrum.argmax() * rate / 2**16


def heard(track):
    """A track's samples, as the page reads them."""
    return np.frombuffer(track["pcm"], "<i2") * np.float32(track["peak"] / 32_767)


def step(track):
    return 0.51 * track["peak"] / 32_767  # half of one of 16 bit, and float32's own


def pictures(player):
    edges = np.cumsum([0, *player.frame_sizes])
    files = [player.frames[a:b] for a, b in zip(edges, edges[1:], strict=False)]
    return [np.asarray(Image.open(io.BytesIO(file))) for file in files]


@pytest.fixture
def scene():
    return ToneScene()


@pytest.fixture
def player(scene):
    return PixelPlayer(scene)


# --- what the page is given


def test_before_a_click_nothing_is_heard_and_nothing_was_computed(player, scene):
    assert (player.pixel, player.regions, player.mixer, player.samples, player.error) == (
        None,
        [],
        [],
        None,
        "",
    )
    assert player.answer == {"regions": [], "whole": False, "tracks": []}
    assert scene.calls == []


def test_the_scene_upright_and_in_order(player, scene):
    assert (player.grid, player.rate, player.fps, player.seconds, player.start) == (
        (9, 14),
        11_025,
        10,
        2,
        0,
    )
    np.testing.assert_allclose(
        np.frombuffer(player.energy, "<f4").reshape(9, 14), scene.energy(), atol=1e-6
    )
    moments = np.frombuffer(player.moments, np.uint8).reshape(20, 9, 14)
    np.testing.assert_allclose(moments / 255, scene.energies(), atol=0.51 / 255)
    labels = np.frombuffer(player.clusters, np.uint8).reshape(20, 9, 14)
    np.testing.assert_array_equal(
        labels, np.where(scene.clusters().labels < 0, 255, scene.clusters().labels)
    )
    assert player.legend == [{"name": "left", "share": 0.6}, {"name": "top right", "share": 0.25}]
    shown = pictures(player)
    assert len(shown) == 20 and all(picture.shape == (180, 320, 3) for picture in shown)
    assert shown[0][20, 160, 0] > 240 and shown[0][160, 160, 0] < 15  # red on top
    bars = [(picture[:, 8, 1] > 128).sum() for picture in shown]  # the white bar grows
    np.testing.assert_allclose(bars, [9 * (k + 1) for k in range(20)], atol=1)


def test_the_mixtures_samples_and_its_spectrogram(player, scene):
    np.testing.assert_allclose(heard(player.mixture), scene.mixture, atol=step(player.mixture))
    assert player.mixture["share"] == pytest.approx(1)
    picture = np.frombuffer(player.pictures["rows"][0]["pixels"], np.uint8).reshape(
        player.pictures["rows"][0]["size"]
    )
    mags = scene.spectrogram(scene.mixture)
    assert picture.shape == mags.shape and picture.max() == 255
    assert (
        picture.argmax(0) == round(200 * 510 / scene.rate)
    ).all()  # 200 Hz, low frequencies first
    far = 20 * np.log10(mags / mags.max()) < -DYNAMIC_RANGE
    assert far.any() and not picture[far].any()


def test_a_long_spectrogram_is_thinned_for_the_page(scene):
    size = PixelPlayer(ToneScene(seconds=20)).pictures["rows"][0]["size"]
    assert size[0] == 256 and MAX_COLUMNS / 2 < size[1] <= MAX_COLUMNS


# --- clicks


@pytest.mark.parametrize("pixel", [(0, 0), (3, 9), (8, 13), (8, 0), (0, 13)])
def test_a_click_plays_the_sound_of_its_cell_and_mutes_the_rest(player, scene, pixel):
    player.pixel = pixel
    assert player.regions == [[pixel]] and scene.calls == [[[pixel]]]
    assert player.answer["regions"] == player.regions
    track, rest = player.answer["tracks"]
    assert (
        rest["name"] == "the rest" and "pcm" not in rest
    )  # the page has the mixture: it makes the rest itself
    assert pitch(heard(track), scene.rate) == pytest.approx(scene.hertz(pixel), abs=2)
    np.testing.assert_allclose(heard(track), player.samples, atol=step(track))
    assert [m["mute"] for m in player.mixer] == [False, True]
    assert [m["name"] for m in player.mixer] == [track["name"], "the rest"]
    assert track["where"] == "row {}, column {}".format(*pixel)
    assert track["share"] == pytest.approx(
        np.square(heard(track)).sum() / np.square(scene.mixture).sum(), rel=1e-3
    )


def test_a_pixel_may_be_a_list_or_numpys_and_is_kept_as_a_tuple(player):
    player.pixel = [3, 9]
    assert player.pixel == (3, 9)
    player.pixel = np.unravel_index(4 * 14 + 2, (9, 14))  # what argmax gives
    assert player.pixel == (4, 2) and all(type(i) is int for i in player.pixel)
    assert PixelPlayer(ToneScene(), pixel=(1, 2)).answer["regions"] == [[(1, 2)]]


def test_the_same_again_computes_nothing(player, scene):
    player.pixel = 3, 9
    player.pixel = 3, 9
    player.regions = [[[3, 9]]]
    assert len(scene.calls) == 1


def test_none_takes_all_tracks_away(player):
    player.regions = [[(3, 9)], 0]
    player.pixel = None
    assert (player.regions, player.mixer, player.samples) == ([], [], None)
    assert player.answer == {"regions": [], "whole": False, "tracks": []}


def test_a_page_clicks_by_its_traits(player, scene):
    player.set_state({"regions": [[[3, 9]], [[8, 2], [8, 3]], 1]})
    assert player.regions == [[(3, 9)], [(8, 2), (8, 3)], 1] and player.pixel is None
    assert len(player.answer["tracks"]) == len(player.mixer) == 4


def test_tracks_and_the_rest_add_up_to_the_mixture(player, scene):
    player.regions = [[(3, 9)], [(8, 2), (7, 2)], 0]
    for m in player.mixer:
        m["mute"] = False
    np.testing.assert_allclose(player.samples, scene.mixture, atol=1e-6)
    *tracks, rest = player.answer["tracks"]
    left = scene.mixture - sum(map(heard, tracks))  # as mixer.js makes it
    assert rest["share"] == pytest.approx(
        np.square(left).sum() / np.square(scene.mixture).sum(), abs=1e-3
    )


def test_a_cluster_is_a_region_with_a_name(player, scene):
    player.regions = [1, [(3, 9)]]
    assert scene.calls == [[scene.clusters().regions[1], [(3, 9)]]]
    assert [m["name"] for m in player.mixer] == ["top right", "right", "the rest"]
    assert player.regions[0] == 1 and player.pixel is None


def test_names_of_regions(player):
    block = [(r, c) for r in (2, 3) for c in (4, 5, 6)]
    player.regions = [block, block[:-1], block[:3], [(2, 4), (2, 4)]]
    assert [track["where"] for track in player.answer["tracks"]] == [
        "rows 2 to 3, columns 4 to 6",
        "5 cells round row 2, column 5",
        "row 2, columns 4 to 6",
        "row 2, column 4",
        "the rest",
    ]


def test_tracks_are_called_by_their_place_and_no_two_alike(player):
    """By thirds of the picture, as clusters are; the second one there has a number."""
    corners = [[(0, 0)], [(0, 13)], [(8, 0)], [(8, 13)], [(4, 0)], [(4, 13)], [(0, 7)], [(8, 7)]]
    player.regions = [*corners, [(4, 7)]]
    assert [m["name"] for m in player.mixer[:-1]] == [
        *("top left", "top right", "bottom left", "bottom right", "left", "right"),
        *("top", "bottom", "middle"),
    ]
    player.regions = [
        [(4, 13)],
        1,
        [(0, 12)],
        [(0, 13)],
        [(r, c) for r in range(9) for c in (0, 13)],
    ]
    assert [m["name"] for m in player.mixer[:-1]] == [
        *("right", "top right 2", "top right 3", "top right", "middle"),
    ]
    player.regions = [[(0, 12)], [(0, 11)]]  # what goes gives its name free
    assert [m["name"] for m in player.mixer[:-1]] == ["top right 3", "top right"]


def test_a_name_that_was_given_stays_with_its_track(player):
    player.regions = [[(3, 9)], [(8, 2)]]
    player.mixer = [dict(player.mixer[0], name="cello"), *player.mixer[1:]]
    player.whole = True
    player.regions = [[(0, 0)], [(4, 13)], [(3, 9)]]
    assert [m["name"] for m in player.mixer] == ["top left", "right", "cello", "the rest"]
    where = [track["where"] for track in player.answer["tracks"]]
    assert where[2] == "row 3, column 9"


# --- nothing else sounds


def test_where_nothing_else_sounds_everything_is_dealt_out(player, scene):
    player.regions = [[(3, 9)], [(8, 2)]]
    names, whole = [m["name"] for m in player.mixer], scene.tracks([[(3, 9)], [(8, 2)]])
    player.whole = True
    assert player.answer["whole"] is True and player.answer["regions"] == player.regions
    np.testing.assert_allclose(player.samples, scene.mixture, atol=1e-6)
    assert player.answer["tracks"][-1]["share"] == 0
    assert [m["name"] for m in player.mixer] == names
    player.set_state({"whole": False})  # the page's switch
    np.testing.assert_allclose(player.samples, whole[:-1].sum(0), atol=1e-6)


def test_a_model_that_can_not_deal_out_everything_says_so_and_the_switch_goes_back(player, scene):
    player.pixel = 3, 9
    heard = scene.heard

    def refuse(regions, partition=False):
        if partition:
            raise SopError("a partition with output_activation=relu")
        return heard(regions)

    scene.heard = refuse
    with pytest.raises(SopError, match="row 3, column 9 can't be played .a partition with"):
        player.whole = True
    assert player.whole is False and player.pixel == (3, 9) and "partition" in player.error
    assert player.answer["whole"] is False
    player.pixel = 4, 2  # and all goes on
    assert player.error == "" and player.answer["regions"] == [[(4, 2)]]


# --- what is kept


def test_a_player_is_made_again_from_its_json(player, scene, tmp_path):
    player.regions = [[(3, 9), (3, 10)], 1]
    player.whole = True
    mixer = [dict(m, level=0.5, name=f"<b>{i}</b>") for i, m in enumerate(player.mixer)]
    player.mixer = mixer
    (tmp_path / "mine.json").write_text(player.to_json())
    for again in (
        PixelPlayer.from_json(ToneScene(), player.to_json()),
        PixelPlayer.load(ToneScene(), tmp_path / "mine.json", overlay="now"),
    ):
        assert again.regions == player.regions and again.whole and again.mixer == mixer
        np.testing.assert_allclose(again.samples, player.samples, atol=1e-6)
    assert again.overlay == "now"
    part = PixelPlayer(ToneScene(seconds=4), pixel=(1, 1), start=1, seconds=1.6)
    again = PixelPlayer.from_json(ToneScene(seconds=4), part.to_json())
    assert (again.start, again.seconds, again.pixel) == (1, pytest.approx(1.6), (1, 1))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda kept: "{", "no JSON"),
        (lambda kept: "[" * 100_000, "no JSON"),
        (lambda kept: "[]", "expected a player's regions and levels, version 1"),
        (lambda kept: json.dumps(kept | {"player": 2}), "version 1"),
        (lambda kept: json.dumps(kept | {"whole": 1}), "version 1"),
        (lambda kept: json.dumps(kept | {"grid": [14, 9]}), r"grid of \[14, 9\].* has \[9, 14\]"),
        (lambda kept: json.dumps(kept | {"regions": [[[9, 0]]]}), "9 rows"),
        (lambda kept: json.dumps(kept | {"regions": [7]}), "cluster 7"),
        (lambda kept: json.dumps(kept | {"mixer": []}), "mixer="),
        (lambda kept: json.dumps(kept | {"start": 9}), "expected a stretch"),
    ],
)
def test_a_json_that_is_none_or_of_another_scene_gets_one_clear_sentence(player, change, why):
    player.pixel = 3, 9
    with pytest.raises(SopError, match=why):
        PixelPlayer.from_json(ToneScene(), change(json.loads(player.to_json())))


def test_a_file_that_holds_no_player_gets_one_clear_sentence(scene, tmp_path):
    with pytest.raises(SopError, match=r"gone.json: can't be read \(No such file"):
        PixelPlayer.load(scene, tmp_path / "gone.json")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("a.txt", "")
    with pytest.raises(SopError, match="other.zip: no player.json in this zip"):
        PixelPlayer.load(scene, tmp_path / "other.zip")


def test_the_page_is_told_what_a_report_of_a_fault_needs(player, scene):
    assert player.about == saved.about(scene)
    scene.source = "/secret/folder/\u202ecat.mp4"
    about = saved.about(scene)
    assert f"sop_core {sop_core.__version__}" in about and torch.__version__.split("+")[0] in about
    assert "cat.mp4" in about and "9 x 14" in about and "2.00 s at 11025 Hz" in about
    assert "secret" not in about and "\u202e" not in about


# --- the mixer


def test_samples_are_what_the_mixer_plays(player, scene):
    player.regions = [[(3, 9)], [(8, 2)]]
    one, two, rest = scene.tracks([[(3, 9)], [(8, 2)]])

    def mix(*tracks):
        player.set_state(
            {
                "mixer": [
                    dict(zip(("name", "level", "mute", "solo"), t, strict=True)) for t in tracks
                ]
            }
        )
        return player.samples

    np.testing.assert_allclose(player.samples, one + two, atol=1e-6)
    everything = mix(("a", 1, False, False), ("b", 1, False, False), ("rest", 1, False, False))
    np.testing.assert_allclose(everything, scene.mixture, atol=1e-6)
    level = mix(("a", 0.5, False, False), ("b", 1.5, False, False), ("rest", 1, True, False))
    np.testing.assert_allclose(level, 0.5 * one + 1.5 * two, atol=1e-6)
    solo = mix(("a", 1, False, False), ("b", 0.5, True, True), ("rest", 1, False, False))
    np.testing.assert_allclose(solo, 0.5 * two, atol=1e-6)  # a solo beats mute
    assert not mix(*[("x", 1, True, False)] * 3).any()


def test_what_is_there_keeps_its_name_and_level_when_another_comes_or_goes(player):
    player.pixel = 3, 9
    mine = {"name": "cello", "level": 0.5, "mute": True, "solo": False}
    rest = {"name": "noise", "level": 0.2, "mute": False, "solo": False}
    player.mixer = [mine, rest]
    player.regions = [[(8, 2)], [(3, 9)]]
    assert player.mixer[1:] == [mine, rest] and player.mixer[0]["name"] == "bottom left"
    player.regions = [[(3, 9)]]
    assert player.mixer == [mine, rest]
    player.pixel = 0, 0  # nothing of it is left
    assert [m["name"] for m in player.mixer] == ["top left", "the rest"]
    assert player.mixer[1]["mute"] and player.mixer[0]["level"] == 1


# --- refusals and failures


@pytest.mark.parametrize(
    "pixel", [(9, 0), (0, 14), (-1, 0), (99, 99), (1.5, 2), (1, 2, 3), 7, "ab"]
)
def test_a_pixel_off_the_grid_is_refused_aloud_and_the_old_sound_stays(player, pixel):
    player.pixel = 3, 9
    answer = player.answer
    with pytest.raises(
        SopError, match="9 rows and 14 columns.*row from 0 to 8 and column from 0 to 13"
    ) as e:
        player.pixel = pixel
    assert repr(pixel) in str(e.value)
    assert player.error == str(e.value) and "\n" not in player.error
    assert player.pixel == (3, 9) and player.answer is answer
    player.pixel = 8, 13
    assert player.error == ""


@pytest.mark.parametrize(
    ("regions", "why"),
    [
        ([2], "cluster 2: there are 2; numbers go from 0 to 1"),
        ([-1], "cluster -1"),
        ([[]], "a region without a cell"),
        ([None], "expected a list of regions"),
        ([[(3, 9)], [(9, 0)]], "9 rows"),
    ],
)
def test_a_region_that_cannot_be_is_refused_aloud(player, regions, why):
    with pytest.raises(SopError, match=why):
        player.regions = regions
    assert why in player.error and player.regions == []


def test_a_cell_that_fails_is_told_and_can_be_tried_again(player, scene):
    player.pixel = 3, 9
    tracks, scene.tracks = scene.tracks, lambda regions: 1 / 0
    with pytest.raises(
        SopError,
        match=r"row 4, column 2 can't be played \(ZeroDivisionError: division by zero\); click",
    ):
        player.pixel = 4, 2
    assert player.error.startswith("row 4, column 2") and player.pixel == (3, 9)
    assert player.answer["regions"] == player.regions and len(player.mixer) == len(
        player.answer["tracks"]
    )
    scene.tracks = tracks
    player.pixel = 4, 2
    assert player.answer["regions"] == [[(4, 2)]] and player.error == ""


def test_a_click_is_computed_on_one_thread_and_leaves_torch_as_it_was(player, scene):
    tracks, seen, before = scene.tracks, [], torch.get_num_threads()
    scene.tracks = lambda regions: seen.append(torch.get_num_threads()) or tracks(regions)
    torch.set_num_threads(3)
    try:
        player.pixel = 3, 9
        scene.tracks = lambda regions: 1 / 0
        with pytest.raises(SopError):
            player.pixel = 4, 2
        assert (seen, torch.get_num_threads()) == ([1], 3)
        long = ToneScene(seconds=31)  # may need the nets again, for which one thread is not enough
        long.tracks = scene.tracks = lambda regions: (
            seen.append(torch.get_num_threads()) or tracks(regions)
        )
        with pytest.raises(SopError):  # the short scene's tracks
            PixelPlayer(long, (3, 9), seconds=31)
        assert seen == [1, 3]
    finally:
        torch.set_num_threads(before)


def test_more_tracks_than_a_browser_mixes_are_refused_and_those_before_stay(player):
    cells = [[(r, c)] for r in range(9) for c in range(14)]
    player.regions = cells[:30]
    with pytest.raises(SopError, match="31 tracks, of which a player mixes 30 at most"):
        player.regions = cells[:31]
    assert (
        len(player.regions) == 30
        and len(player.answer["tracks"]) == 31
        and "30 at most" in player.error
    )


def test_the_first_click_failing_leaves_nothing_chosen(player, scene):
    noise = np.full((2, len(scene.mixture)), np.nan, np.float32)  # as 16 bit: at full scale
    scene.tracks = lambda regions: noise
    with pytest.raises(SopError, match=r"scene.tracks\(\[\[\(4, 2\)\]\]\).*finite"):
        player.pixel = 4, 2
    assert (player.pixel, player.answer["tracks"], player.samples) == (None, [], None)


def test_tracks_without_the_rest_are_refused(player, scene):
    tracks = scene.tracks
    scene.tracks = lambda regions: tracks(regions)[:-1]
    with pytest.raises(SopError, match=r"has shape \(1, 22050\), expected \(2, 22050\)"):
        player.pixel = 4, 2


def test_a_click_of_the_page_that_fails_ends_in_the_same_state(player, scene):
    player.pixel = 3, 9
    scene.tracks = lambda regions: 1 / 0
    with pytest.raises(SopError):  # the kernel's log
        player.set_state({"regions": [[[4, 2]]]})
    assert player.pixel == (3, 9) and "ZeroDivisionError" in player.error
    with pytest.raises(SopError):
        player.set_state({"regions": [[[14, 9]]]})
    assert player.pixel == (3, 9) and "9 rows" in player.error


# --- level


def test_level_is_absolute():
    quiet, silent = (
        PixelPlayer(ToneScene(level=0.01), pixel=(0, 0)),
        PixelPlayer(ToneScene(level=0), pixel=(0, 0)),
    )
    assert np.abs(heard(quiet.answer["tracks"][0])).max() == pytest.approx(0.01, rel=0.01)
    assert not heard(silent.answer["tracks"][0]).any() and silent.answer["tracks"][0]["share"] == 0


def test_a_sound_above_full_scale_is_given_whole_and_unclipped():
    player = PixelPlayer(ToneScene(level=3), pixel=(2, 3))
    track = player.answer["tracks"][0]
    assert np.abs(heard(track)).max() == pytest.approx(
        3, rel=0.01
    )  # the page turns all of them down alike
    spectrum = np.abs(np.fft.rfft(heard(track) * np.hanning(player.samples.size)))
    third = round(3 * ToneScene.hertz((2, 3)) * player.seconds)  # clipping makes odd partials
    assert spectrum[third - 3 : third + 4].max() < 1e-3 * spectrum.max()


def test_a_quiet_tracks_spectrogram_is_darker_than_the_mixtures(scene):
    with ThreadPoolExecutor(
        1
    ) as alone:  # without an event loop, which the browser's tests leave behind, they come at once
        # a tenth of the mixture's tone: 20 dB
        player = alone.submit(PixelPlayer, ToneScene(level=0.05), pixel=(2, 3)).result()
    track = np.frombuffer(player.pictures["rows"][1]["pixels"], np.uint8)
    assert track.max() == pytest.approx(255 * (1 - 20 / DYNAMIC_RANGE), abs=4)


# --- stretches, and what doesn't fit


def test_a_stretch_of_a_longer_scene():
    scene = ToneScene(seconds=4)
    scene.mixture *= np.linspace(0, 1, len(scene.mixture), dtype=np.float32)
    player = PixelPlayer(scene, start=1, seconds=1.6)
    assert (player.start, player.seconds) == (1, 1.6)
    np.testing.assert_allclose(
        heard(player.mixture), scene.mixture[11_025 : 11_025 + 17_640], atol=step(player.mixture)
    )
    player.pixel = 3, 9
    assert len(player.samples) == len(heard(player.mixture))
    assert PixelPlayer(scene, start=3, seconds=9).seconds == 1  # there is no more of it
    assert PixelPlayer(ToneScene(seconds=31)).seconds == 30


@pytest.mark.parametrize(
    ("start", "seconds"), [(-1, 1), (4, 1), (9, 1), (0, 0), (float("nan"), 1), (0, float("nan"))]
)
def test_a_stretch_out_of_the_scene_is_refused(start, seconds):
    with pytest.raises(SopError, match="expected a stretch of the scene's 4.0 s"):
        PixelPlayer(ToneScene(seconds=4), start=start, seconds=seconds)


def test_a_scene_that_does_not_fit_together_is_refused(scene):
    def refused(why, **changes):
        scene = ToneScene()
        for name, value in changes.items():
            setattr(scene, name, value)
        with pytest.raises(SopError, match=why):
            PixelPlayer(scene)

    refused(
        r"scene.energy\(\) has shape \(14, 9\), expected \(9, 14\)",
        energy=lambda: np.zeros((14, 9)),
    )
    refused(r"scene.energies\(\) has shape \(9, 14\)", energies=lambda: np.zeros((9, 14)))
    refused(
        r"scene.pictures\(\) is float64 of shape .* expected uint8",
        pictures=lambda: scene.pictures() / 255,
    )
    refused(
        r"scene.mixture has shape \(2, 11025\), expected \(L > 0\)",
        mixture=scene.mixture.reshape(2, -1),
    )
    wrong = scene.clusters()
    wrong.labels = wrong.labels[:-1]
    refused(
        r"scene.clusters\(\).labels has shape \(19, 9, 14\), expected \(20, 9, 14\)",
        clusters=lambda: wrong,
    )


def test_an_overlay_there_is_not_is_refused(scene):
    with pytest.raises(Exception, match="overlay"):
        PixelPlayer(scene, overlay="heat")


def test_repr_is_stable(player):
    assert repr(player) == "PixelPlayer(9 x 14 cells, 2.00 s at 11025 Hz, pixel=None)"
    player.pixel = np.int64(3), np.int64(9)
    assert repr(player) == "PixelPlayer(9 x 14 cells, 2.00 s at 11025 Hz, pixel=(3, 9))"
    assert player._repr_mimebundle_()[0]["text/plain"] == repr(player)


def test_a_picture_of_the_player_is_seen_where_no_widget_runs():
    """It is small enough for a notebook, and shows the scene: the loudest cells, bottom right."""
    scene = ToneScene()
    scene.pictures = lambda: np.full((20, 180, 320, 3), 128, np.uint8)
    data, _ = PixelPlayer(scene)._repr_mimebundle_()
    assert data["application/vnd.jupyter.widget-view+json"]["model_id"]
    file = base64.b64decode(data["image/jpeg"])
    shown = np.asarray(Image.open(io.BytesIO(file)).convert("RGB")).astype(int)
    colourful = np.ptp(shown, 2) > 60  # the energy, on a grey picture; and its scale, at the right
    rows, columns = np.nonzero(colourful[:, : int(0.8 * shown.shape[1])])
    assert len(file) < 60_000 and min(shown.shape[:2]) > 250
    assert rows.mean() > 0.5 * shown.shape[0] and colourful.any()


def test_two_players_are_independent():
    one, two = PixelPlayer(ToneScene()), PixelPlayer(ToneScene(grid=(4, 5)))
    one.pixel = 8, 13
    assert two.pixel is None and two.answer["tracks"] == []
    with pytest.raises(SopError, match="4 rows and 5 columns"):
        two.pixel = 8, 13
    assert one.error == "" and one.answer["regions"] == [[(8, 13)]]


@pytest.mark.parametrize("name", ["geometry", "files", "mixer"])
def test_the_pages_arithmetic_under_node(name):
    node = shutil.which("node")
    if not node:
        pytest.skip("node is not installed: the page's arithmetic is tested by it")
    test = Path(__file__).with_name(f"{name}.test.mjs")
    run = subprocess.run([node, "--test", str(test)], capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stdout + run.stderr


def test_python_reads_the_zip_of_a_page_and_makes_its_player_again(player, scene, tmp_path):
    node = shutil.which("node")
    if not node:
        pytest.skip("node is not installed: the page's arithmetic is tested by it")
    player.regions = [[(3, 9)], [(8, 2)]]
    player.whole = True
    state = json.loads(player.to_json())
    static = Path(PixelPlayer.__module__.replace(".", "/")).parent / "static"
    read = "['geometry', 'files'].map(n => readFileSync(`${process.argv[1]}/${n}.js`, 'utf8'))"
    script = f"""import {{ readFileSync, writeFileSync }} from "node:fs";
        const source = {read}.join("\\n");
        const page = await import(`data:text/javascript,${{encodeURIComponent(source)}}`);
        const state = JSON.parse(process.argv[2]), bytes = new TextEncoder();
        const files = page.numbered(["cello", "Flöte"]).map((name, k) =>
        {{
            const sides = [Float32Array.from([0, k / 2]), new Float32Array(2)];
            return {{ name, bytes: page.wav(sides, 44100) }};
        }});
        files.push({{ name: "player.json", bytes: bytes.encode(page.playerFile(state)) }});
        writeFileSync(process.argv[3], page.zip(files));"""
    file = tmp_path / "tracks.zip"
    root = Path(sop_core.__file__).parents[1]
    command = [node, "--input-type=module", "-e", script, root / static, json.dumps(state), file]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    with zipfile.ZipFile(file) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["1 cello.wav", "2 Flöte.wav", "player.json"]
        sound, rate = soundfile.read(io.BytesIO(archive.read("2 Flöte.wav")))
    assert rate == 44_100
    np.testing.assert_allclose(sound, [[0, 0], [0.5, 0]], atol=1e-4)
    again = PixelPlayer.load(ToneScene(), file)
    assert again.to_json() == player.to_json()


def test_a_mixer_that_does_not_fit_is_refused_and_levels_stay_within_bounds(player):
    player.regions = [[(1, 0)], [(2, 0)]]
    for mixer in (
        [],
        [{"name": "x"}] * 3,
        player.mixer[:1],
        [dict(m, level=float("nan")) for m in player.mixer],
    ):
        with pytest.raises(SopError, match="mixer="):
            player.mixer = mixer
    assert [m["name"] for m in player.mixer] == ["top left", "top left 2", "the rest"]
    player.mixer = [dict(m, level=99, name="n" * 1000) for m in player.mixer]
    assert {m["level"] for m in player.mixer} == {2.0} and {
        len(m["name"]) for m in player.mixer
    } == {80}


def test_a_player_of_a_part_knows_when_it_is():
    class Later(ToneScene):
        start = 12.5

    assert PixelPlayer(Later()).start == 12.5


def test_a_track_is_called_by_what_it_looks_like_where_that_is_known(scene):
    scene.name = lambda region: Name("violin", 0.9) if region[0][1] < 7 else Name(UNKNOWN, 0)
    player = PixelPlayer(scene)
    player.regions = [[(1, 1)], [(1, 12)], [(7, 2)], 1]
    names = [m["name"] for m in player.mixer]
    assert names == ["violin", "top right", "violin 2", "top right 2", "the rest"]
    assert player.answer["tracks"][2]["where"] == "row 7, column 2"
    scene.name = lambda region: None  # the model has no names
    player.regions = [[(1, 1)], [(7, 2)], [(2, 2)]]
    assert [m["name"] for m in player.mixer] == ["violin", "violin 2", "top left", "the rest"]


@pytest.mark.parametrize(
    "change, told",
    [
        ({"start": 1e300}, "its start is no time in a video"),
        ({"seconds": 10**400}, "its seconds is no time in a video"),
        ({"start": 500.0}, "a player saved from 500.0 s on"),
        ({"mixer": [{"name": "a", "level": 10**400, "mute": False, "solo": False}] * 9}, "mixer="),
    ],
)
def test_a_saved_player_with_numbers_that_are_none_is_one_sentence(scene, change, told):
    player = PixelPlayer(scene, pixel=(0, 0))
    state = json.loads(player.to_json())
    with pytest.raises(SopError, match=told) as e:
        PixelPlayer.from_json(scene, json.dumps(state | change))
    assert len(str(e.value)) < 400


def test_a_damaged_zip_of_a_player_is_one_sentence(scene, tmp_path):
    path = tmp_path / "tracks.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("player.json", PixelPlayer(scene, pixel=(0, 0)).to_json() * 9)
    content = bytearray(path.read_bytes())
    content[45:60] = bytes(15)  # within the deflated data
    path.write_bytes(content)
    with pytest.raises(SopError, match="tracks.zip: can't be read"):
        PixelPlayer.load(scene, path)
