"""A video's sounds as files, compared with the film's own tones. A failure leaves no file."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import soundfile
from PIL import Image
from tiny import COLOURS, TONES, write_film

from sop_core.config import DEMO_WEIGHTS
from sop_core.errors import SopError
from sop_core.listening import clusters
from sop_core.listening import export as separate
from sop_core.listening.film import marked
from sop_core.listening.scene import Scene
from sop_core.media.stream import read_video
from sop_core.media.write import write_video
from sop_core.toy.render import is_solo
from sop_core.training import checkpoint

LEFT, RIGHT, EMPTY = [(1, 0), (2, 0), (2, 1)], [(1, 3), (2, 3)], [(0, 0), (0, 1)]


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_film(tmp_path_factory.mktemp("film") / "film.mp4", rate=44_100)


@pytest.fixture(scope="module")
def scene(eyes, video):
    return Scene.from_video(eyes, video)


def shares(sound, rate):
    """Of each tone of the film, the share of a sound's energy that is near it."""
    power, hertz = (
        np.abs(np.fft.rfft(sound * np.hanning(len(sound)))) ** 2,
        np.fft.rfftfreq(len(sound), 1 / rate),
    )
    return {name: power[np.abs(hertz - f) < 30].sum() / power.sum() for name, f in TONES.items()}


@pytest.mark.parametrize(
    ("options", "rate"),
    [({}, 44_100), ({"rate": "source"}, 44_100), ({"rate": "model"}, 11_025)],
)
def test_a_wav_of_a_region_at_the_videos_rate_or_the_models(scene, video, tmp_path, options, rate):
    share = separate.write(scene, video, LEFT, tmp_path / "a.wav", **options)
    sound, found = soundfile.read(tmp_path / "a.wav")
    assert found == rate and len(sound) / rate == pytest.approx(
        len(scene.mixture) / scene.rate, abs=0.01
    )
    assert shares(sound, rate)["red"] > 0.98 and share == pytest.approx(0.5, abs=0.03)
    at_models = scene.sound(LEFT)
    assert np.sqrt((sound**2).mean()) == pytest.approx(np.sqrt((at_models**2).mean()), rel=0.02)


def test_an_mp4_has_the_sound_and_the_picture_with_the_region_outlined(scene, video, tmp_path):
    separate.write(scene, video, RIGHT, tmp_path / "a.mp4")
    frames, sound = read_video(tmp_path / "a.mp4", 25, 44_100, max_side=None)
    assert shares(sound, 44_100)["blue"] > 0.98
    assert frames.shape[1:] == (60, 160, 3) and len(frames) == pytest.approx(
        25 * len(scene.mixture) / scene.rate, abs=2
    )
    # Rows 1 and 2 of 4, column 3 of 4: from (15, 60) to (45, 80).
    # The line is white inside and black outside.
    left, right = np.split(frames[20].astype(int), 2, 1)
    assert left[25:35, 60].min() > 180 and left[25:35, 58:60].min() < 60
    assert np.abs(left[50:, :50] - 90).max() < 25  # elsewhere: the wall as it was
    # On the right, the blue square's right half is as bright as it was, its left half is dark.
    blue = COLOURS["blue"][2]
    assert np.abs(right[20:40, 65:73, 2] - blue).max() < 25
    assert np.abs(right[20:40, 48:56, 2] - blue / 4).max() < 25
    assert np.abs(right[50:, :50] - 90 / 4).max() < 25


def test_where_no_instrument_plays_the_file_is_silent_and_what_leaks_in_is_not_its_sound(
    scene, video, tmp_path, monkeypatch
):
    assert separate.write(scene, video, EMPTY, tmp_path / "a.wav") < 1e-4
    for module in (separate, clusters):
        monkeypatch.setattr(module, "SILENT_SHARE", 0.6)  # more than either instrument has
    assert separate.write(scene, video, LEFT, tmp_path / "b.wav") == pytest.approx(0.5, abs=0.03)
    for name in ("a.wav", "b.wav"):
        sound, rate = soundfile.read(tmp_path / name)
        assert len(sound) / rate == pytest.approx(scene.seconds, abs=1e-3) and not sound.any()


def test_what_plays_for_a_moment_of_a_long_video_is_heard_as_in_that_moment_alone(eyes, tmp_path):
    """Red plays in 0.3 of 40 s: less than 1 % of the energy, but most of its window's."""
    rate, seconds = 11_025, 40
    t = np.arange(seconds * rate) / rate
    red, blue = (0.2 * np.sin(2 * np.pi * hertz * t) for hertz in TONES.values())
    red[(t < 20) | (t > 20.3)] = 0
    frames = np.full((seconds * 8, 60, 80, 3), 90, np.uint8)
    frames[:, 15:45, 5:35], frames[:, 15:45, 45:75] = COLOURS["red"], COLOURS["blue"]
    film = tmp_path / "film.mp4"
    write_video(film, frames, 8, np.float32(red + blue), rate)
    scene, heard = Scene.from_video(eyes, film), {}
    for name, one in (("whole", scene), ("part", scene.part(19.5, 21))):
        out = tmp_path / f"{name}.wav"
        share = separate.write(one, film, LEFT, out, "model", "float32")
        assert not separate.silent(one, LEFT) and separate.silent(one, EMPTY)
        assert (share < 0.01) == (name == "whole")
        heard[name] = soundfile.read(out)[0]
    begin = scene.part(19.5, 21).first * scene.config.hop
    np.testing.assert_allclose(
        heard["whole"][begin : begin + len(heard["part"])], heard["part"], atol=1e-5
    )
    assert np.abs(heard["part"]).max() == pytest.approx(0.2, abs=0.03)


def learned_from(run):
    return separate.learned_from(checkpoint.read_clips(run), is_solo)


def run_of(folder, *labels):
    rows = [f"train,{label}/{n},{n}" for n, label in enumerate(labels)]
    (folder / "clips.csv").write_text("\n".join([*rows, "val,harp/1,1", ""]))
    return folder


def test_a_share_is_said_with_what_the_model_learned_from(tmp_path):
    """No model knows that nothing plays: only that nothing does that it has learned to hear."""
    assert (
        separate.told(0.009, learned_from(tmp_path)) == "under 1 % of the sound by this model"
    )  # no clips.csv: the released weights
    assert separate.told(0.009) == "under 1 % of the sound by this model"
    known = run_of(tmp_path, "tuba", "silence", "cello", "tuba")
    assert (
        separate.told(0.5143, learned_from(known))
        == "51 % of the sound by this model, which learned from: cello, tuba"
    )
    assert (
        separate.told(0.0, learned_from(known))
        == "under 1 % of the sound by this model, which learned from: cello, tuba"
    )
    many = separate.told(0.5, learned_from(run_of(tmp_path, *(f"l{n:02d}" for n in range(30)))))
    assert many.endswith("l10, l11 and 18 more")
    assert "\x1b" not in separate.told(0.5, learned_from(run_of(tmp_path, "\x1b[31mred")))


def test_where_nothing_is_found_it_is_said_what_the_model_learned_from(eyes, tmp_path):
    grey = np.full((48, 60, 80, 3), 90, np.uint8)
    write_video(
        tmp_path / "wall.mp4", grey, 8, np.float32(0.1 * np.sin(np.arange(66_150) / 5)), 11_025
    )
    scene, why = (
        Scene.from_video(eyes, tmp_path / "wall.mp4"),
        "this model does not know what sounds here: "
        "no pixel's own sound has 1 % of the energy by this model",
    )
    with pytest.raises(SopError, match=f"wall.mp4: {why}, which learned from: cello$"):
        separate.write_all(
            scene,
            tmp_path / "wall.mp4",
            None,
            tmp_path / "all",
            learned=learned_from(run_of(tmp_path, "cello")),
        )


def test_tracks_count_the_cells_of_the_grid_at_whatever_time(scene, video, eyes, tmp_path):
    """In a film of several windows: a square covers four of the 16 cells, or its half.

    A square that walks covers both sides.
    """
    walking = write_film(tmp_path / "walk.mp4", walk=True)
    for one, film, most in ((scene, video, 8), (Scene.from_video(eyes, walking), walking, 16)):
        table = separate.write_all(one, film, 2, tmp_path / f"{film.stem}.tracks")
        found = one.clusters(2)
        labels = found.labels  # picture by picture, as the player shows them
        seen = [int((labels == k).any(0).sum()) for k in (0, 1)]
        assert (
            len(one.feature_maps.windows) > 1
            and table.cells.tolist() == [*seen, 0]
            and max(seen) <= most
        )


def test_all_sources_are_a_folder_of_tracks_that_add_up_with_maps(
    scene, video, tmp_path, monkeypatch
):
    """A map's title has the share of the table, and not the cluster's own."""
    found = scene.clusters()
    monkeypatch.setattr(scene, "clusters", lambda _: replace(found, shares=[0.9, 0.8]))
    titles, draw = [], separate.show.figure_png

    def drawn(figure):
        titles.append(figure.axes[0].get_title())
        return draw(figure)

    monkeypatch.setattr(separate.show, "figure_png", drawn)
    table = separate.write_all(scene, video, None, tmp_path / "all", rate="model")
    told = zip(table.name[:2].str.slice(2), table.share, strict=False)
    assert titles == [f"{name}: {share:.0%} of the energy" for name, share in told]
    names = sorted(p.name for p in (tmp_path / "all").iterdir())
    assert len(table) == 3 and names == sorted(
        [*(f"{n}.wav" for n in table.name), *(f"{n}.png" for n in table.name[:2]), "tracks.csv"]
    )
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "all" / "tracks.csv"), table)
    sounds = [soundfile.read(tmp_path / "all" / f"{name}.wav")[0] for name in table.name]
    np.testing.assert_allclose(sum(sounds), scene.mixture, atol=0.51 / 32_768)
    for name, sound, share in zip(table.name, sounds, table.share, strict=True):
        assert share == pytest.approx((sound**2).sum() / (scene.mixture**2).sum(), abs=0.01)
        if name != "rest":
            assert max(shares(sound, 11_025).values()) > 0.98 and share == pytest.approx(
                0.5, abs=0.03
            )
    assert min(Image.open(tmp_path / "all" / f"{table.name[0]}.png").size) > 200


def test_a_folder_that_is_there_is_not_touched_and_too_many_sources_are_told(
    scene, video, tmp_path
):
    (tmp_path / "all").mkdir()
    (tmp_path / "all" / "mine.txt").write_text("keep")
    with pytest.raises(SopError, match="there already; give the name of a new folder"):
        separate.write_all(scene, video, 2, tmp_path / "all")
    with pytest.raises(SopError, match="asked for 99; ask for fewer"):
        separate.write_all(scene, video, 99, tmp_path / "new")
    assert [p.name for p in tmp_path.iterdir()] == ["all"] and [
        p.name for p in (tmp_path / "all").iterdir()
    ] == ["mine.txt"]


def test_an_outline_is_at_the_pictures_edge_too_and_leaves_the_original_alone():
    pictures = np.full((2, 120, 90, 3), 90, np.uint8)
    one, two = marked(pictures, [(0, 0), (0, 1)], (4, 3))
    np.testing.assert_array_equal(one, two)
    one, lit = np.split(one, 2, 1)
    assert (one[0, :60] == 255).all() and (one[:30, 0] == 255).all() and (one[29, :60] == 255).all()
    assert (one[30, 5:55] == 0).all() and (one[10:20, 10:50] == 90).all() and (pictures == 90).all()
    assert (lit[:30, :60] == 90).all() and (lit[30:] == 22).all() and (lit[:, 60:] == 22).all()


def test_the_toy_is_called_one(tmp_path):
    """What the shipped weights learned from are drawn instruments, with the names of real ones."""
    said = separate.told(0.5, learned_from(DEMO_WEIGHTS))
    assert said.startswith(
        "50 % of the sound by this model, which learned from: accordion, cello, "
    ) and said.endswith(" (toy)")
    (tmp_path / "clips.csv").write_text(
        "train,cello/cello_001,cello_001\ntrain,cello/my_own,my_own\n"
    )
    assert separate.told(0.5, learned_from(tmp_path)).endswith("learned from: cello")


def test_the_folders_of_several_videos_have_safe_names_that_differ_on_any_disk():
    """Windows: no `:` and the like, no dot or space at the end, no devices; case is ignored."""
    videos = ["a/x.mp4", "b/x.mkv", "X.mp4", "x_2.mp4", "nul.mp4", "what?: a\u202e\n.mp4", " .mp4"]
    videos += ["e\u0301.mp4", "\u00e9.mp4", "\ud83d" + "y" * 300 + ".mp4"]
    names = separate.folder_names(videos)
    assert names[:5] == ["x", "x_2", "X_3", "x_2_2", "_nul"]
    assert names[5:9] == ["what__ a__", "video", "\u00e9", "\u00e9_2"]
    assert names[9] == "_" + "y" * 199
