"""Names of regions, clusters and files, in a film of squares whose names are their colours."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from tiny import TINY, Eyes, Seeing, write_film

from sop_core.errors import SopError
from sop_core.listening import clusters, export
from sop_core.listening.scene import Scene
from sop_core.media.write import write_video
from sop_core.model.names import UNKNOWN, Name, Names

LEFT, RIGHT, WALL = [(1, 0), (2, 0), (2, 1)], [(1, 3), (2, 3)], [(0, 0), (3, 3)]


def names(red="red", blue="blue", least=0.9):
    return Names((red, blue), torch.zeros(2), torch.eye(2), torch.eye(2), 4.0, least)


@pytest.fixture(scope="module")
def model():
    model = Seeing(TINY).eval()
    model.names = names()
    return model


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    return write_film(tmp_path_factory.mktemp("film") / "film.mp4", rate=44_100)


@pytest.fixture(scope="module")
def scene(model, film):
    return Scene.from_video(model, film)


def renamed(scene, *labels, **how) -> Scene:
    """The same scene, by a model with other names."""
    other = scene._copy(scene.feature_maps, scene.first, scene.last)
    other.model = Seeing(TINY).eval()
    other.model.names = names(*labels, **how)
    return other


def test_a_region_is_named_by_what_it_looks_like_and_a_wall_is_unknown(scene):
    sure = np.exp(4) / (np.exp(4) + np.exp(-4))  # of the softmax of the cosines 1 and -1
    for region, label in ((LEFT, "red"), (RIGHT, "blue"), ((2, 0), "red")):
        name = scene.name(region)
        assert name.label == label and name.confidence == pytest.approx(sure, abs=0.02)
    assert scene.name(WALL) == Name(UNKNOWN, 0) and not scene.name(WALL).known
    everywhere = np.zeros((len(scene.visual_features), 4, 4), bool)
    everywhere[:, 1:3, :2] = True
    assert scene.name(everywhere).label == "red"
    with pytest.raises(SopError, match="off the grid"):
        scene.name((4, 0))
    with pytest.raises(SopError, match="without a cell"):
        scene.name([])


def test_a_scene_is_the_same_with_names_and_without(eyes, film, scene):
    plain = Scene.from_video(eyes, film)
    torch.testing.assert_close(plain.visual_features, scene.visual_features)
    assert plain.name(LEFT) is None and plain.looks is None
    found = plain.clusters()
    assert found.looks is None and found.names == found.places == ["left", "right"]


def test_a_part_is_named_by_its_own_pictures(model, tmp_path):
    """The squares change sides in the middle."""
    scene = Scene.from_video(model, write_film(tmp_path / "f.mp4", seconds=12.0, walk=True))
    assert scene.part(0, 4).name(LEFT).label == "red" == scene.part(8, 12).name(RIGHT).label
    # a cluster keeps its name where it moves
    assert sorted(scene.clusters().names) == ["blue", "red"]


def test_names_are_kept_beside_the_video(model, film, scene):
    kept = [Scene.from_video(model, film, cache=True) for _ in range(2)]
    for one in kept:
        assert one.name(LEFT) == scene.name(LEFT) and one.name(RIGHT) == scene.name(RIGHT)
    other = Seeing(TINY).eval()  # the same model without names
    assert Scene.from_video(other, film, cache=True).name(LEFT) is None
    other.names = names("low", "high")
    assert Scene.from_video(other, film, cache=True).name(LEFT).label == "low"


def test_clusters_are_called_what_they_look_like_or_where_they_lie(scene):
    called = scene.clusters()
    assert sorted(called.names) == ["blue", "red"] and sorted(called.places) == ["left", "right"]
    assert [name.label for name in called.looks] == called.names
    # two of one label; none that is near
    same = renamed(scene, "violin", "violin").clusters()
    assert sorted(same.names) == ["violin, left", "violin, right"]
    nothing = renamed(scene, least=1.1).clusters()
    assert sorted(nothing.names) == ["unknown, left", "unknown, right"]


def test_files_and_the_table_have_the_names(scene, film, tmp_path):
    table = export.write_all(scene, film, None, tmp_path / "a")
    assert sorted(n.partition("_")[2] for n in table.name[:2]) == ["blue", "red"]
    there = pd.read_csv(tmp_path / "a" / "tracks.csv")
    assert there.name.tolist() == table["name"].tolist() and there.name.iloc[-1] == "rest"
    for name, label, place in zip(there.name, there.label, there.place, strict=True):
        if name != "rest":
            assert (tmp_path / "a" / f"{name}.wav").is_file() and name[2:] == label
            assert place == {"red": "left", "blue": "right"}[label]
    assert (there.confidence[:2] > 0.9).all() and there.confidence.isna().tolist()[2]
    table = export.write_all(renamed(scene, "violin", "violin"), film, None, tmp_path / "b")
    assert sorted(n[2:] for n in table.name[:2]) == ["violin_left", "violin_right"]
    table = export.write_all(renamed(scene, least=1.1), film, None, tmp_path / "c")
    assert sorted(n[2:] for n in table.name[:2]) == ["unknown_left", "unknown_right"]
    assert table.label.tolist()[:2] == [UNKNOWN] * 2 and table.label.isna()[2]
    assert table.confidence[0] == 0


def test_labels_of_strangers_leave_no_folder_and_run_nowhere(scene, film, tmp_path):
    wild = "../../" + "x" * 300, "=a,b\x1b[31m $\\bad{$\u202e"
    table = export.write_all(renamed(scene, *wild), film, None, tmp_path / "in" / "all")
    assert {p.name for p in tmp_path.iterdir()} == {"in"}
    files = {p.name for p in (tmp_path / "in" / "all").iterdir()}
    assert len(files) == 6 and {f"{n}.wav" for n in table.name} <= files
    assert not any(set(name) & set("/\\\x1b\u202e") for name in files)
    text = (tmp_path / "in" / "all" / "tracks.csv").read_text()
    assert ",=a" not in text and '"=a' not in text  # a spreadsheet would run it
    assert "\x1b" not in export.sure(Name(wild[1], 0.5))


# --- what the model does not know


def test_a_region_that_looks_like_nothing_known_is_not_called_silent():
    learned = ", which learned from: cello"
    what = f"of the sound by this model{learned}"
    known, unknown = Name("cello", 0.973), Name(UNKNOWN, 0)
    assert export.told(0.4, learned, known) == f"looks like cello (97% sure); 40 % {what}"
    dont = "this model does not know what sounds here"
    assert export.told(0.4, learned, unknown) == f"{dont}: 40 % {what}"
    assert export.told(0.0, learned, unknown) == f"{dont}: under 1 % {what}"
    # nothing in the whole picture is claimed: the name of the region changes nothing
    assert export.told(0.0, learned, known, False) == f"{dont}: under 1 % {what}"
    assert export.told(0.0, learned, None, False).startswith(dont)


def claiming(share, level=0.2) -> Scene:
    """A scene each of whose cells takes a share of the energy of every bin."""

    class Taking(Eyes):
        def visual_features(self, frames):
            return torch.full((len(frames), 4, 4, self.config.channels), 40.0)

        def feature_maps(self, spec):
            maps = torch.zeros(len(spec), self.config.channels, self.config.bins, spec.shape[-1])
            maps[:, 0] = float(np.log(np.sqrt(share) / (1 - np.sqrt(share))))
            return maps

    model = Taking(replace(TINY, mask="ratio", share=False, profile=TINY.profile)).eval()
    with torch.no_grad():
        model.synthesizer.scale.fill_(1), model.synthesizer.bias.fill_(0)
    sound = level * np.sin(np.arange(3 * TINY.rate) / 5)
    return Scene(model, np.zeros((24, 60, 80, 3), np.uint8), sound.astype(np.float32))


@pytest.mark.parametrize(("share", "knows"), [(0.5, True), (0.25, True), (0.15, False)])
def test_a_model_knows_what_sounds_if_a_cell_takes_a_fifth(share, knows):
    scene = claiming(share)
    assert scene.energy().max() == pytest.approx(share, rel=0.05)
    assert clusters.knows(scene) is knows
    assert clusters.knows(claiming(share, level=0))  # silence: nothing to know


def test_a_silent_video_is_told_apart_from_one_that_is_not_known(model, tmp_path):
    grey = np.full((24, 60, 80, 3), 90, np.uint8)
    for name, level, told in (("loud", 0.1, "does not know what sounds"), ("mute", 0, "is silent")):
        sound = np.float32(level * np.sin(np.arange(33_075) / 5))
        write_video(tmp_path / f"{name}.mp4", grey, 8, sound, 11_025)
        scene = Scene.from_video(model, tmp_path / f"{name}.mp4")
        with pytest.raises(SopError, match=f"{name}.mp4: .*{told}"):
            export.write_all(scene, tmp_path / f"{name}.mp4", None, tmp_path / "out")
