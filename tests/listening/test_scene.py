"""A scene: a click on a cell equals that cell of the full result; regions, windows, the grid."""

from copy import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import COLOURS, TINY, TONES, Eyes, write_film

from sop_core.errors import SopError
from sop_core.listening import features
from sop_core.listening.features import fade
from sop_core.listening.fullband import FullBandAudio, extended
from sop_core.listening.regions import heard_with_neighbours, least_share, take
from sop_core.listening.scene import Scene
from sop_core.listening.separated import source_pieces
from sop_core.media.jpgs import read_frames
from sop_core.media.stream import read_video
from sop_core.media.write import write_video
from sop_core.model import masks
from sop_core.model.model import SoundOfPixels


@pytest.fixture(scope="module")
def scene():
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 255, (16, 30, 50, 3), dtype=np.uint8)  # wider than high
    return Scene(SoundOfPixels(TINY).eval(), frames, 0.1 * rng.standard_normal(2 * TINY.rate))


class Squares(SoundOfPixels):
    """A model whose answer is known.

    Left pixels let low bins through, right pixels high ones, the top row nothing.
    """

    def visual_features(self, frames):
        grid = torch.zeros(len(frames), 4, 4, self.config.channels)
        grid[..., 0], grid[..., 1] = -9.0, -9.0
        grid[:, 1:, :2, 0] = 9.0
        grid[:, 1:, 2:, 1] = 9.0
        return grid

    def feature_maps(self, spec):
        maps = torch.zeros(len(spec), self.config.channels, self.config.bins, spec.shape[-1])
        maps[:, 0, :16], maps[:, 1, 16:] = 20.0, 20.0
        maps[:, 2:] = -5.0  # shut, where no pixel says otherwise (its feature is 0.5 everywhere)
        return maps


def each_by_itself(scene):
    """The same without what neighbours add to a single cell (`regions.heard_with_neighbours`).

    So the truth is known of each cell of a small grid.
    """
    scene.cell_features = scene.visual_features
    return scene


@pytest.fixture(scope="module")
def squares():
    t = np.arange(4 * TINY.rate) / TINY.rate
    sound = 0.2 * np.sin(2 * np.pi * 300 * t) + 0.2 * np.sin(2 * np.pi * 3_000 * t)
    scene = Scene(Squares(TINY).eval(), np.zeros((32, 60, 80, 3), np.uint8), sound)
    return each_by_itself(scene)


SILENT_FILM = np.zeros((16, 60, 80, 3), np.uint8), np.zeros(2 * TINY.rate, np.float32)


def tones(sound, hertz=(300, 3_000)):
    """Energy share near each of these frequencies."""
    power = np.abs(np.fft.rfft(sound)) ** 2
    hz = np.fft.rfftfreq(len(sound), 1 / TINY.rate)
    near = [power[np.abs(hz - f) < 100].sum() for f in hertz]
    return np.array(near) / power.sum().clip(1e-9)


def test_a_scene_that_hears_another_sound_is_as_one_made_with_it(scene):
    rng = np.random.default_rng(1)
    frames = np.random.default_rng(0).integers(0, 255, (16, 30, 50, 3), dtype=np.uint8)
    sound, before = np.float32(0.1 * rng.standard_normal(2 * TINY.rate)), scene.sound((1, 2))
    other, alone = scene.hearing(sound), Scene(scene.model, frames, sound)
    np.testing.assert_allclose(other.sound((1, 2)), alone.sound((1, 2)), atol=1e-6)
    np.testing.assert_allclose(other.energy(), alone.energy(), atol=1e-6)
    np.testing.assert_array_equal(scene.sound((1, 2)), before)  # the scene itself is as it was
    assert (
        len(scene.hearing(sound[:99]).mixture)
        == len(scene.hearing(np.tile(sound, 2)).mixture)
        == 2 * TINY.rate
    )


def test_each_side_of_the_picture_sounds_as_it_should(squares):
    low, high = squares.sound((2, 0)), squares.sound((2, 3))
    assert tones(low)[0] > 0.99 > 0.01 > tones(low)[1]
    assert tones(high)[1] > 0.99 > 0.01 > tones(high)[0]
    assert np.abs(squares.sound((0, 1))).max() < 1e-3  # the top row is silent, and is not made loud


def test_a_masked_clip_has_no_seams_where_windows_meet(squares):
    """The low tone passes whole: what comes out is that tone, in every window and between them."""
    t = np.arange(4 * TINY.rate) / TINY.rate
    error = squares.sound((2, 0)) - 0.2 * np.sin(2 * np.pi * 300 * t)
    assert len(squares.feature_maps.windows) > 5
    assert np.abs(error[1_000:-1_000]).max() < 0.01


def test_energy_is_the_share_of_the_mixtures_and_lies_where_the_pixels_say(squares):
    energy = squares.energy()
    assert energy.shape == (4, 4)
    np.testing.assert_allclose(energy[0], 0, atol=1e-6)
    np.testing.assert_allclose(energy[1:], 0.5, atol=0.02)
    measured = (squares.sound((2, 0)) ** 2).sum() / (squares.mixture**2).sum()
    assert energy[2, 0] == pytest.approx(measured, abs=0.02)


def test_regions_that_are_all_that_sounds_leave_no_rest_and_what_nobody_claims_is_dealt_out(
    squares,
):
    left, top = [(2, 0)], [(0, 1)]  # the top row claims nothing, nobody claims the high tone
    plain, whole = squares.tracks([left, top]), squares.tracks([left, top], partition=True)
    np.testing.assert_allclose(whole.sum(0), squares.mixture, atol=1e-5)
    np.testing.assert_array_equal(squares.sounds([left, top], "partition"), whole)
    assert tones(plain[2])[1] > 0.99 and np.abs(whole[2]).max() < 1e-4
    high = np.sin(2 * np.pi * 3_000 * np.arange(len(squares.mixture)) / TINY.rate)
    heard = [2 * (track * high).mean() for track in whole]  # amplitudes
    np.testing.assert_allclose(heard, [0.1, 0.1, 0], atol=0.005)
    assert tones(whole[0])[0] > 0.75 and tones(whole[1])[0] < 0.01


def test_where_none_of_the_regions_is_there_everything_is_the_rest(squares):
    region = np.zeros(squares.visual_features.shape[:3], bool)
    region[: len(region) // 2, 2, 0] = True
    track, rest = squares.tracks([region], partition=True)
    second = TINY.rate
    np.testing.assert_allclose(track[:second], squares.mixture[:second], atol=1e-5)
    np.testing.assert_allclose(rest[-second:], squares.mixture[-second:], atol=1e-5)
    flat = Scene(
        Squares(replace(TINY, output_activation="relu", loss="l2", share=False)), *SILENT_FILM
    )
    with pytest.raises(SopError, match="a partition with output_activation=relu"):
        flat.tracks([[(0, 0)]], partition=True)


def test_a_region_sounds_as_the_greatest_of_its_cells(squares):
    both = squares.sound([(2, 0), (2, 3), (0, 0)])
    np.testing.assert_allclose(both[1_000:-1_000], squares.mixture[1_000:-1_000], atol=0.02)


def test_where_training_pools_over_several_cells_a_stray_one_does_not_speak_for_a_region(squares):
    left_and_one_stray = [(r, c) for r in (1, 2, 3) for c in (0, 1)] + [(2, 3)]
    assert tones(squares.sound(left_and_one_stray))[1] > 0.4
    pooled = Scene(Squares(replace(TINY, pool=0.5)).eval(), squares.frame[None], squares.mixture)
    low, high = tones(pooled.sound(left_and_one_stray))
    assert low > 0.99 > 0.01 > high


@pytest.mark.parametrize(("cells", "counted"), [(16, 5), (6, 3), (2, 1)])
def test_a_region_is_the_mean_of_half_its_cells_but_of_fewer_than_training_pools(cells, counted):
    """Training pools 8 of the picture's 16 cells. A region pools at most 2 / 3 as many."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 255, (6, 32, 32, 3), dtype=np.uint8)
    scene = Scene(
        SoundOfPixels(replace(TINY, pool=0.5)).eval(),
        frames,
        0.1 * rng.standard_normal(TINY.samples),
    )
    region = [(i // 4, i % 4) for i in range(cells)]
    cells = torch.stack([scene.visual_features[0, r, c] for r, c in region])  # (cells, K)
    pooled = cells.sort(0, descending=True).values[:counted].mean(0)
    with torch.inference_mode():
        logits = scene.model.logits(pooled[None, None], scene.feature_maps[0][None])
    torch.testing.assert_close(scene.masks([region])[0], torch.sigmoid(logits)[0, 0].mT)


def test_a_single_cell_is_heard_by_what_three_of_the_nine_around_it_have(scene):
    """Two cells that stand alone are heard nowhere, three where all of them are near.

    At the edge a cell is repeated: one is enough in a corner.
    """
    features = scene.visual_features.clone().fill_(-9)  # (W, 4, 4, K)
    features[:, 1, 1, 0] = features[:, 2, 2, 0] = 5
    features[:, 2, :3, 1] = torch.tensor([5.0, 6.0, 7.0])
    features[:, 0, 0, 2] = 5  # in a corner, which is repeated beyond both edges
    expected = torch.full_like(features, -9)
    expected[:, 1:, :2, 1] = 5
    expected[:, 0, 0, 2] = 5
    torch.testing.assert_close(heard_with_neighbours(TINY, features), expected)
    # Of random values: the third of nine, sorted one by one
    rows, columns = features.shape[1:3]
    for r, c in [(0, 0), (1, 2), (3, 1)]:
        near = [
            scene.visual_features[:, min(max(r + y, 0), rows - 1), min(max(c + x, 0), columns - 1)]
            for y in (-1, 0, 1)
            for x in (-1, 0, 1)
        ]
        third = torch.stack(near).sort(0, descending=True).values[2]
        torch.testing.assert_close(scene.cell_features[:, r, c], third)
        with torch.inference_mode():
            logits = scene.model.logits(third[:1, None], scene.feature_maps[0][None])[0, 0]
        first = scene.feature_maps.windows[0].last - fade(TINY.stft_frames)
        masks = scene.masks([[(r, c)]])[0].T[:first]
        torch.testing.assert_close(masks, torch.sigmoid(logits)[:first])


def test_a_cell_of_the_published_masks_is_heard_by_itself(scene):
    for settings in ({}, {"mask": "ratio", "loss": "l1"}):
        published = TINY.override({"profile": "sop2018"} | settings)
        assert heard_with_neighbours(published, scene.visual_features) is scene.visual_features


def test_a_click_equals_that_cell_of_all_pixels_at_once(scene):
    everything = scene.masks([[(r, c)] for r in range(4) for c in range(4)])
    spec = scene.model.stft(torch.from_numpy(scene.mixture))
    for r, c in [(0, 3), (3, 0), (1, 2)]:
        soft = scene.model.warp.inverse(everything[4 * r + c]).detach()
        kept = torch.where(soft > 0.1, soft, 0)  # its share of each bin, from a tenth on
        expected = masks.apply(kept, spec, scene.config.hop, len(scene.mixture)).numpy()
        np.testing.assert_allclose(scene.sound((r, c)), expected, atol=1e-5)


def test_the_published_masks_take_all_of_a_bin_or_nothing(scene):
    published = copy(scene.model)
    published.config = TINY.override({"share": "false"})
    assert least_share(published.config) == least_share(TINY.override({"profile": "sop2018"}))
    soft = scene.masks([[(0, 3)]]).mT
    of_both = [take(model, soft, "alone")[2].unique() for model in (scene.model, published)]
    assert {*of_both[1].tolist()} <= {0.0, 1.0} and len(of_both[0]) > 2


def test_a_clip_of_one_window_equals_the_models_own_separation(tiny_clips):
    """Every cell together is the whole picture, which is what training pools."""

    from sop_core.training.windows import Part, read_window

    torch.manual_seed(0)
    model = SoundOfPixels(
        replace(TINY, share=False)
    ).eval()  # the region has no other to share with
    clip = tiny_clips[0]
    sound, frames, _ = read_window(Part(clip, 0), TINY)
    expected = model.separate(torch.from_numpy(sound)[None], torch.from_numpy(frames)[None, None])[
        0, 0
    ]
    pictures = read_frames(
        clip.frames, range(6)
    )  # as many as the window lasts: its middle is the same
    scene = Scene(model, pictures, sound)
    found = scene.sound([(r, c) for r in range(4) for c in range(4)])
    assert np.corrcoef(found, expected)[0, 1] > 0.99


@pytest.mark.parametrize("seconds", [0.1, 0.74, 0.75, 5.3])
def test_any_length_works_shorter_than_a_window_too(seconds):
    rng = np.random.default_rng(0)
    sound = 0.1 * rng.standard_normal(int(seconds * TINY.rate)).astype(np.float32)
    scene = Scene(SoundOfPixels(TINY).eval(), np.zeros((2, 8, 8, 3), np.uint8), sound)
    assert scene.sound((1, 1)).shape == sound.shape
    assert np.isfinite(scene.energy()).all()


def test_cells_in_a_box_of_the_picture(scene):
    assert scene.cells_in((0, 0, 0.5, 0.25)) == [
        (0, 0),
        (0, 1),
    ]  # x first: half the columns, one row
    assert scene.cells_in((0.9, 0.5, 1.0, 1.0)) == [
        (2, 3),
        (3, 3),
    ]  # too narrow for a centre: the nearest column
    assert len(scene.cells_in((-1, -1, 2, 2))) == 16


@pytest.mark.parametrize("cell", [(4, 0), (0, 4), (-1, 0)])
def test_a_pixel_off_the_grid_gets_one_clear_sentence(scene, cell):
    with pytest.raises(SopError, match=r"off the grid: rows go from 0 to 3, columns from 0 to 3"):
        scene.sound(cell)


@pytest.mark.parametrize("box", [(0.5, 0, 0.5, 1), (2, 0, 3, 1)])
def test_an_empty_box_gets_one_clear_sentence(scene, box):
    with pytest.raises(SopError, match="expected x0 < x1"):
        scene.cells_in(box)


def test_a_scene_needs_picture_and_sound():
    with pytest.raises(SopError, match="0 frames and 5 samples"):
        Scene(SoundOfPixels(TINY).eval(), np.zeros((0, 8, 8, 3), np.uint8), np.zeros(5))


# --- any length


@pytest.mark.parametrize("length", [1, 31, 32, 33, 35, 48, 49, 200])
def test_windows_count_for_every_frame_and_fade_into_one_another(length):
    found, over = features.windows(length, 32), features.fade(32)
    assert found[0].first == 0 and found[-1].last == length
    for a, b in zip(found, found[1:], strict=False):
        assert a.last - b.first == over and b.start <= b.first and a.last <= a.start + 32
    assert all(w.first >= w.start and w.last <= max(length, w.start + 32) for w in found)


def test_what_there_is_no_room_for_is_made_again_and_sounds_the_same(monkeypatch):
    torch.manual_seed(0)
    model, rng = SoundOfPixels(TINY).eval(), np.random.default_rng(0)
    args = (
        model,
        rng.integers(0, 255, (32, 30, 50, 3), dtype=np.uint8),
        0.1 * rng.standard_normal(4 * TINY.rate),
    )
    roomy = Scene(*args)
    monkeypatch.setattr(features, "MEMORY", 0)
    tight = Scene(*args)
    np.testing.assert_array_equal(tight.sound((1, 2)), roomy.sound((1, 2)))
    assert len(roomy.feature_maps.kept) == len(roomy.feature_maps.windows) > 5
    assert not tight.feature_maps.kept


def test_a_progress_bar_is_shown_once_and_not_for_each_click(capsys):
    """Twenty windows and more are listened to with a bar; then they are in memory."""
    rng = np.random.default_rng(0)
    sound = rng.standard_normal(12 * TINY.samples).astype(np.float32) / 10
    maps = features.FeatureMaps(Eyes(TINY).eval(), sound)
    assert len(maps.windows) >= features.PROGRESS_FROM
    for said in (True, False):
        for i, _ in maps.across(0, maps.length):
            assert maps[i].shape[0] == TINY.channels
        assert ("listening" in capsys.readouterr().err) is said


def test_a_part_sounds_as_it_does_in_the_whole(scene):
    part, hop = scene.part(0.7, 1.5), TINY.hop
    begin, end = round(0.7 * TINY.rate / hop) * hop, round(1.5 * TINY.rate / hop) * hop
    assert part.start == begin / TINY.rate
    np.testing.assert_array_equal(part.mixture, scene.mixture[begin:end])
    regions = [[(1, 2)], [(0, 0), (3, 3)]]
    np.testing.assert_allclose(part.tracks(regions), scene.tracks(regions)[:, begin:end], atol=1e-6)
    np.testing.assert_allclose(
        part.masks(regions), scene.masks(regions)[..., begin // hop : end // hop], atol=1e-6
    )
    np.testing.assert_array_equal(part.pictures(), scene.pictures()[6:13])
    other = np.float32(0.1 * np.random.default_rng(5).standard_normal(end - begin))
    np.testing.assert_array_equal(part.hearing(other).mixture, other)
    with pytest.raises(SopError, match=r"part 5 to 6 s: expected a stretch of the scene's 2.0 s"):
        scene.part(5, 6)


def test_a_video_is_what_its_pictures_and_its_sound_are(eyes, tmp_path):
    video = write_film(tmp_path / "film.mp4")
    frames, sound = read_video(video, TINY.fps, TINY.rate)
    whole, arrays = Scene.from_video(eyes, video), Scene(eyes, frames, sound)
    np.testing.assert_array_equal(whole.mixture, sound)
    torch.testing.assert_close(whole.visual_features, arrays.visual_features)
    np.testing.assert_array_equal(whole.sound((2, 0)), arrays.sound((2, 0)))
    assert whole.pictures().shape == (3 * len(frames), 60, 80, 3) and len(
        whole.energies()
    ) == 3 * len(frames)


def test_a_cover_stays_as_long_as_there_is_sound(eyes, tmp_path):
    sound = np.float32(
        0.2 * np.sin(2 * np.pi * TONES["red"] * np.arange(12 * TINY.rate) / TINY.rate)
    )
    frames = np.full((1, 60, 80, 3), 90, np.uint8)
    frames[:, 15:45, 5:35] = COLOURS["red"]
    write_video(tmp_path / "cover.mp4", frames, TINY.fps, sound, TINY.rate)
    scene = Scene.from_video(eyes, tmp_path / "cover.mp4")
    assert scene.frame.shape == (60, 80, 3) and len(scene.part(8, 9).pictures()) == 24
    assert scene.pictures().shape == (round(24 * len(scene.mixture) / TINY.rate), 60, 80, 3)
    assert tones(scene.part(6, 12).sound((2, 0)), (440, 1_760))[0] > 0.9


def test_pictures_are_copied_only_where_the_last_ones_are_missing(squares, monkeypatch):
    count = len(squares.instants())
    film = np.arange(count + 1, dtype=np.uint8)[:, None, None, None]
    monkeypatch.setattr(squares.film, "between", lambda *_: film)
    assert np.shares_memory(squares.pictures(), film)
    np.testing.assert_array_equal(squares.pictures().ravel(), np.arange(count))
    monkeypatch.setattr(squares.film, "between", lambda *_: film[:-4])
    last = count - 4
    np.testing.assert_array_equal(squares.pictures().ravel(), np.arange(count).clip(max=last))


# --- kept beside the video


def test_features_are_kept_beside_the_video_on_request_and_the_nets_need_not_run_again(
    eyes, tmp_path, monkeypatch
):
    video = write_film(tmp_path / "film.mp4")
    plain = Scene.from_video(eyes, video)
    assert list(tmp_path.iterdir()) == [video]
    first = Scene.from_video(eyes, video, cache=True)
    with monkeypatch.context() as blind:
        blind.setattr(type(eyes), "visual_features", None)
        blind.setattr(type(eyes), "feature_maps", None)
        again = Scene.from_video(eyes, video, cache=True)
        np.testing.assert_array_equal(again.sound((2, 0)), first.sound((2, 0)))
    np.testing.assert_allclose(first.sound((2, 0)), plain.sound((2, 0)), atol=1e-3)  # float16


def test_kept_features_of_another_model_or_another_video_do_not_count(tmp_path):
    torch.manual_seed(0)
    video = write_film(tmp_path / "film.mp4")
    one, two = SoundOfPixels(TINY).eval(), SoundOfPixels(TINY).eval()
    Scene.from_video(one, video, cache=True)
    cached, fresh = Scene.from_video(two, video, cache=True), Scene.from_video(two, video)
    torch.testing.assert_close(cached.visual_features, fresh.visual_features)
    write_film(video, seconds=4.0)
    assert len(Scene.from_video(two, video, cache=True).mixture) < 4.2 * TINY.rate
    expected = Scene.from_video(two, video).masks([[(0, 0)]])
    for name, content in (("channels", b"damaged"), ("sound", b""), ("pixels", b"")):
        (features.folder(video) / f"{name}.npy").write_bytes(content)
        torch.testing.assert_close(
            Scene.from_video(two, video, cache=True).masks([[(0, 0)]]), expected, atol=1e-3, rtol=0
        )


def test_kept_features_that_can_not_be_read_back_are_done_without(eyes, tmp_path, monkeypatch):
    """On a share that maps no files, say. The nets run once."""
    video = write_film(tmp_path / "film.mp4")
    ran = []
    look = type(eyes).feature_maps
    monkeypatch.setattr(type(eyes), "feature_maps", lambda *a: ran.append(1) or look(*a))
    expected = Scene.from_video(eyes, video).sound((2, 0))
    once = len(ran)
    monkeypatch.setattr(features, "load", lambda *_: None)
    scene = Scene.from_video(eyes, video, cache=True)
    np.testing.assert_array_equal(scene.sound((2, 0)), expected)
    assert len(ran) == 2 * once and scene.source == video


def test_a_video_shorter_than_half_a_frame_is_seen_and_heard(tmp_path):
    """At one frame a second, no frame's middle is within 0.4 s."""
    video = write_film(tmp_path / "film.mp4", seconds=0.4)
    scene = Scene.from_video(Eyes(replace(TINY, fps=1.0)).eval(), video)
    assert 0.35 < scene.seconds < 0.5 and len(scene.pictures()) > 1  # at 24 a second
    assert np.abs(scene.sound((2, 0))).max() > 0
    frames, sound = read_video(video, 1, TINY.rate)
    assert len(frames) == 1 and 0.35 < len(sound) / TINY.rate < 0.5


def test_features_that_can_not_be_kept_are_told(eyes, tmp_path):
    video = write_film(tmp_path / "film.mp4")
    features.folder(video).write_text("in the way")
    with pytest.raises(
        SopError, match="film.mp4.sop: features can't be kept there .*; go on without cache"
    ):
        Scene.from_video(eyes, video, cache=True)


# --- tracks, moments, clusters


def test_tracks_and_the_rest_add_up_to_the_mixture(scene):
    tracks = scene.tracks([[(1, 2)], [(1, 2), (1, 3)], [(3, 0)]])
    np.testing.assert_allclose(tracks.sum(0), scene.mixture, atol=1e-5)
    np.testing.assert_allclose(scene.tracks([[(1, 2)]])[0], scene.sound((1, 2)), atol=1e-6)


@pytest.mark.parametrize("partition", [False, True])
def test_a_tracks_share_is_the_maps_and_all_shares_are_all_there_is(squares, partition):
    """The sound of a masked STFT has less energy than the mask takes: it was 22 % beside 24 %."""
    regions = [[(2, 0)], [(2, 3)]]
    sounds, shares = squares.heard(regions, partition)
    np.testing.assert_array_equal(sounds, squares.tracks(regions, partition))
    assert shares.shape == (3,) and shares.sum() == pytest.approx(1, abs=1e-5)
    if not partition:
        map_ = squares.energy()
        np.testing.assert_allclose(shares[:2], [map_[2, 0], map_[2, 3]], rtol=1e-5)
    part = squares.part(1, 2.5)  # and no more of the frames around it than the map has
    one = part.heard([[(2, 0)]], False)[1]
    assert one[0] == pytest.approx(part.energy()[2, 0], rel=1e-5)
    assert part.heard([[(0, 0)]], False)[1] == pytest.approx([0, 1], abs=1e-6)  # a silent cell


def test_a_cells_share_is_the_maps_with_any_mask(scene):
    """Random nets: windows fade into one another, and masks are torn."""
    energy = scene.energy()
    for cell in [(0, 0), (1, 2), (3, 3)]:
        assert scene.heard([[cell]])[1][0] == pytest.approx(energy[cell], rel=1e-4, abs=1e-7)


def test_regions_that_are_none_get_one_clear_sentence_and_no_region_leaves_all_to_the_rest(scene):
    np.testing.assert_array_equal(scene.tracks([]), scene.mixture[None])
    here = np.ones(scene.visual_features.shape[:3], bool)
    np.testing.assert_array_equal(
        scene.sound(here), scene.sound([(r, c) for r in range(4) for c in range(4)])
    )
    for region in (here[0], here.astype(int), ~here):
        with pytest.raises(
            SopError,
            match=r"expected bool \(\d+, 4, 4\) \(windows, rows, columns\), some of it True",
        ):
            scene.sound(region)
    with pytest.raises(TypeError):
        scene.sound((1.5, 1))
    with pytest.raises(SopError, match="part 2.5 to inf s: expected a stretch"):
        scene.part(2.5, np.inf)
    assert len(scene.part(1, np.inf).mixture) == pytest.approx(TINY.rate, abs=TINY.hop)


def test_many_points_are_clustered_as_few_are(squares, monkeypatch):
    expected = squares.clusters()
    monkeypatch.setattr(
        "sop_core.listening.clusters.POINTS", 20
    )  # of 12 loud cells in each of a dozen windows
    np.testing.assert_array_equal(squares.clusters().labels, expected.labels)


def test_what_two_regions_claim_is_dealt_out_and_what_one_claims_is_its_own(squares):
    low, again, high, rest = squares.tracks([[(2, 0)], [(3, 1)], [(2, 3)]])
    np.testing.assert_allclose(low, again, atol=1e-6)
    # together they have no more than all of a bin, and one alone has nearly all
    np.testing.assert_allclose(low + again, squares.sound((2, 0)), atol=2e-4)
    np.testing.assert_allclose(high, squares.sound((2, 3)), atol=2e-4)
    assert np.abs(rest[1_000:-1_000]).max() < 0.01


def test_energies_follow_the_sound_in_time_and_silence_shows_nothing():
    t = np.arange(4 * TINY.rate) / TINY.rate
    sound = 0.2 * np.sin(2 * np.pi * 300 * t) * (t < 2) + 0.2 * np.sin(2 * np.pi * 3_000 * t) * (
        t > 1
    ) * (t < 3)
    scene = Scene(Squares(TINY).eval(), np.zeros((32, 60, 80, 3), np.uint8), sound)
    each_by_itself(scene)
    energies = scene.energies()
    assert energies.shape == (len(scene.pictures()), 4, 4) == (32, 4, 4)
    low, high = energies[:, 2, 0], energies[:, 2, 3]  # picture k shows second (k + 0.5) / 8
    assert (low[1:7] > 0.8).all() and (high[1:7] < 0.05).all()
    np.testing.assert_allclose([low[9:15], high[9:15]], 0.5, atol=0.1)
    assert (high[17:23] > 0.8).all() and (low[17:23] < 0.05).all()
    assert (energies[25:] == 0).all() and (energies[:, 0] < 1e-6).all()


def test_clusters_are_the_pixels_that_sound_alike(squares):
    found = squares.clusters()
    assert sorted(found.names) == ["left", "right"] or sorted(found.names) == [
        "bottom left",
        "bottom right",
    ]
    assert found.shares == pytest.approx([0.5, 0.5], abs=0.02)
    left = [k for k, name in enumerate(found.names) if "left" in name][0]
    expected = np.full((4, 4), -1)
    expected[1:, :2], expected[1:, 2:] = left, 1 - left
    assert found.labels.shape == (len(squares.pictures()), 4, 4)
    assert (found.labels == expected).all()  # the silent top row stays clear
    np.testing.assert_allclose(
        squares.tracks(found.regions)[:-1].sum(0), squares.mixture, atol=0.02
    )
    with pytest.raises(SopError, match="2 different sounds .* asked for 9; ask for fewer"):
        squares.clusters(9)
    assert len(squares.clusters(1).names) == 1


def test_an_instrument_keeps_its_number_where_it_moves(eyes, tmp_path):
    scene = Scene.from_video(eyes, write_film(tmp_path / "film.mp4", seconds=12.0, walk=True))
    found = scene.clusters()
    assert len(found.names) == 2
    early, late = found.labels[len(found.labels) // 4], found.labels[3 * len(found.labels) // 4]
    assert (
        set(early[:, :2].ravel()) - {-1}
        == set(late[:, 2:].ravel()) - {-1}
        != set(early[:, 2:].ravel()) - {-1}
    )
    heard = []
    for track in scene.tracks(found.regions)[:-1]:
        power = np.abs(np.fft.rfft(track)) ** 2
        heard.append(np.fft.rfftfreq(len(track), 1 / scene.rate)[power.argmax()])
        levels = [np.sqrt((third**2).mean()) for third in np.array_split(track, 3)]
        assert min(levels) > 0.8 * max(levels)  # whichever side it is on
    assert sorted(heard) == pytest.approx(sorted(TONES.values()), abs=2)


def test_a_scene_without_sound_has_no_clusters():
    scene = Scene(Squares(TINY).eval(), np.zeros((8, 60, 80, 3), np.uint8), np.zeros(TINY.rate))
    found = scene.clusters()
    assert found.names == [] and (found.labels == -1).all() and not scene.energies().any()


# --- beyond the model's band


def test_the_full_band_goes_on_where_the_models_ends_with_what_has_the_top_of_it(eyes, tmp_path):
    """Blue has the top of the model's band, so it gets all of the air above it, at 9 kHz."""
    video = write_film(tmp_path / "film.mp4", rate=44_100, air=0.1)
    scene = Scene.from_video(eyes, video)
    source = FullBandAudio(scene, video)
    assert (source.rate, source.times) == (44_100, 4)
    pieces = source_pieces(scene, [[(2, 0)], [(2, 3)]], "shared", source)
    ((red,), (blue,), (rest,)) = np.concatenate(list(pieces), 2)
    power = {
        name: np.abs(np.fft.rfft(x[22_050:-22_050])) ** 2
        for name, x in (("red", red), ("blue", blue), ("rest", rest))
    }
    hertz = np.fft.rfftfreq(len(red) - 44_100, 1 / 44_100)
    near = {
        f: {name: p[np.abs(hertz - f) < 50].sum() for name, p in power.items()}
        for f in (440, 1_760, 9_000)
    }
    for f, name in ((440, "red"), (1_760, "blue"), (9_000, "blue")):
        assert near[f][name] > 0.95 * sum(near[f].values()), (f, near[f])
    _, own = read_video(video, TINY.fps, 44_100)
    np.testing.assert_allclose(red + blue + rest, own, atol=1e-7)


# --- what is dealt out, how windows fade, how a moment is dimmed


class KnownMasks(Squares):
    """Each cell's mask is the sigmoid of its own first feature, in every bin.

    The cells of the top row have different ones: `claims`.
    """

    claims = (0.9, 0.6)

    def visual_features(self, frames):
        grid = super().visual_features(frames)
        grid[:, 0, : len(self.claims), 0] = torch.logit(torch.tensor(self.claims))
        return grid

    def logits(self, features, maps):
        return features[:, :, :1, None].expand(-1, -1, *maps.shape[2:])


def test_what_several_claim_is_dealt_out_by_how_strongly_they_claim(squares):
    scene = Scene(KnownMasks(TINY).eval(), np.zeros((32, 60, 80, 3), np.uint8), squares.mixture)
    each_by_itself(scene)
    more, less, rest = scene.tracks([[(0, 0)], [(0, 1)]])
    np.testing.assert_allclose(more, 0.9 / 1.5 * scene.mixture, atol=1e-5)
    np.testing.assert_allclose(less, 0.6 / 1.5 * scene.mixture, atol=1e-5)
    assert np.abs(rest).max() < 1e-5


class InTurns(KnownMasks):
    """Every second window claims all, the others nothing."""

    count = 0

    def feature_maps(self, spec):
        self.count += 1
        return torch.full_like(super().feature_maps(spec), 20.0 * (-1) ** self.count)

    def logits(self, features, maps):
        return maps[:, :1].expand(-1, features.shape[1], -1, -1)


def test_windows_that_say_the_opposite_fade_into_one_another_without_a_step(squares):
    scene = Scene(InTurns(TINY).eval(), np.zeros((32, 60, 80, 3), np.uint8), squares.mixture)
    mask = scene.masks([[(1, 1)]])[0, 0].numpy()  # of one bin, over time
    steps = np.abs(np.diff(mask))
    assert mask.min() < 1e-6 and mask.max() > 1 - 1e-6
    over = features.fade(TINY.stft_frames)
    smooth = (
        np.sin((np.arange(over) + 0.5) / over * np.pi / 2) ** 2
    )  # the fade, and from and to where
    assert steps.max() == pytest.approx(np.abs(np.diff([0, *smooth, 1])).max(), abs=1e-5)


def test_a_moment_is_dimmed_by_its_level_in_decibels():
    """20 dB below the loudest moment, of 40 that are shown: half as bright."""
    t = np.arange(4 * TINY.rate) / TINY.rate
    sound = 0.2 * np.sin(2 * np.pi * 300 * t) * np.where(t < 2, 1, 0.1)
    energies = Scene(Squares(TINY).eval(), np.zeros((32, 60, 80, 3), np.uint8), sound).energies()[
        :, 2, 0
    ]
    np.testing.assert_allclose(energies[20:28] / energies[4:12].mean(), 0.5, atol=0.03)


def test_what_lies_above_the_band_is_had_as_the_energy_of_its_highest_octave():
    """9 of 10 parts of the upper half's energy lie in the bin that is taken. Below, none counts."""
    spec, weights = torch.zeros(1, 8, dtype=torch.complex64), torch.zeros(1, 8)
    spec[0, 1], spec[0, 5], spec[0, 7] = 100, 3j, 1
    weights[0, 5] = 1
    np.testing.assert_allclose(
        extended(weights, spec, 11)[0].numpy(), [0, 0, 0, 0, 0, 1, 0, 0, 0.9, 0.9, 0.9], rtol=1e-6
    )


def test_features_of_another_version_do_not_count(eyes, tmp_path, monkeypatch):
    video = write_film(tmp_path / "film.mp4")
    Scene.from_video(eyes, video, cache=True)
    monkeypatch.setattr(features, "__version__", "0.0.0")
    monkeypatch.setattr(type(eyes), "visual_features", None)
    with pytest.raises(TypeError):  # it must look again
        Scene.from_video(eyes, video, cache=True)
