"""Names from clips of coloured squares; their file; a training that ends with them."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import COLOURS, SEEING, TONES, write_clip

from sop_core.config import SILENCE_LABEL
from sop_core.errors import SopError
from sop_core.media.jpgs import read_frames
from sop_core.model.model import SoundOfPixels
from sop_core.training import checkpoint, naming
from sop_core.training.loop import fit

SHORT = SEEING.override({"epochs": "1", "epoch_size": "4", "val_pairs": "2"})


class Colours(SoundOfPixels):
    """A model whose backbone gives the picture's own colours, on the grid."""

    def look(self, frames):
        return torch.nn.functional.adaptive_avg_pool2d(frames.float(), (4, 4))


@pytest.fixture(scope="module")
def model():
    return Colours(SEEING).eval()


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    data = tmp_path_factory.mktemp("clips")
    labels = [*TONES, SILENCE_LABEL, "red blue"]
    return [write_clip(data, label, n) for label in labels for n in range(6)]


def picture(clip):
    return torch.from_numpy(read_frames(clip.frames, [0], (64, 64))).movedim(-1, 1)


def test_solos_are_named_by_what_is_seen(model, clips, tmp_path):
    names = naming.learn_names(model, clips)
    assert names.labels == ("blue", "red")  # neither silent scenes nor duets
    for label in COLOURS:
        new = [model.look(picture(write_clip(tmp_path, label, n))) for n in range(20, 24)]
        means = torch.stack([seen.mean((0, 2, 3)) for seen in new])
        told = names.of(names.project(means))
        assert [name.label for name in told].count(label) >= 3


def test_the_regions_are_the_frame_and_its_corners():
    seen = torch.arange(2 * 3 * 14 * 10, dtype=torch.float32).reshape(2, 3, 14, 10)
    a = seen.numpy()
    parts = [a, a[..., :10, :7], a[..., :10, 3:], a[..., 4:, :7], a[..., 4:, 3:]]
    parts += [a[..., :7, :5], a[..., :7, 5:], a[..., 7:, :5], a[..., 7:, 5:]]
    expected = np.concatenate([part.mean((2, 3)) for part in parts])
    np.testing.assert_allclose(naming.regions(seen), expected, rtol=1e-5)


def test_a_clip_that_can_not_be_read_names_nothing_and_is_told(model, clips, tmp_path):
    broken = write_clip(tmp_path, "green", 0)
    for jpg in broken.frames.iterdir():
        jpg.write_bytes(b"no picture")
    with pytest.warns(UserWarning, match=r"green_0.*it names nothing"):
        names = naming.learn_names(model, [*clips, broken])
    assert names.labels == ("blue", "red")


def test_a_label_has_so_many_clips_at_most(clips, monkeypatch):
    monkeypatch.setattr(naming, "PER_LABEL", 4)
    some = naming._chosen(clips, 0)
    assert [c.label for c in some] == ["red"] * 4 + ["blue"] * 4 and len(set(some)) == 8
    assert naming._chosen(clips, 0) == some != naming._chosen(clips, 1)


def test_a_training_ends_with_names_and_a_folder_without_them_gives_none(clips, tmp_path):
    mine = [c for c in clips if c.label in TONES and int(c.id[-1]) < 3]
    list(fit(SHORT, mine, mine, tmp_path / "run"))
    model = checkpoint.load_model(tmp_path / "run")
    assert model.names is not None and model.names.labels == ("blue", "red")
    stamp = (tmp_path / "run" / "names.safetensors").stat().st_mtime_ns
    list(fit(SHORT, mine, mine, tmp_path / "run", resume=True))  # it is complete
    assert (tmp_path / "run" / "names.safetensors").stat().st_mtime_ns == stamp
    # crops that were looked at name as pictures do that are read again
    again = naming.learn_names(model, mine)
    seen = [model.look(picture(clip)[None])[0].mean((0, 2, 3)) for clip in mine]
    for names in (model.names, again):
        told = names.of(names.project(torch.stack(seen)))
        right = [name.label == clip.label for name, clip in zip(told, mine, strict=True)]
        assert np.mean(right) > 0.8
    (tmp_path / "run" / "names.safetensors").unlink()
    assert checkpoint.load_model(tmp_path / "run").names is None


def test_one_label_trains_without_names(clips, tmp_path):
    red = [clip for clip in clips if clip.label == "red"]
    list(fit(SHORT, red, red, tmp_path / "run"))
    assert checkpoint.load_model(tmp_path / "run").names is None


@pytest.fixture(scope="module")
def made(clips):
    net = SoundOfPixels(SEEING).eval()
    return net, naming.learn_names(net, clips)


@pytest.fixture
def folder(made, tmp_path):
    net, names = made
    checkpoint.write_config(tmp_path, SEEING)
    checkpoint.write_model(tmp_path, net)
    checkpoint.write_names(tmp_path, names, net)
    return tmp_path


def test_a_loaded_model_holds_no_file(folder):
    """Windows can't replace a file that is mapped into memory."""
    maps = Path("/proc/self/maps")
    if not maps.is_file():
        pytest.skip("no /proc here")
    model = checkpoint.load_model(folder)
    assert model.names is not None and str(folder) not in maps.read_text()


def test_names_are_read_as_they_were_written(made, folder):
    there, made = checkpoint.load_model(folder).names, made[1]
    assert there is not None and there.labels == made.labels
    assert (there.sharpness, there.least) == (made.sharpness, made.least)
    for key in ("middle", "axes", "means"):
        assert torch.equal(getattr(there, key), getattr(made, key))


def test_names_of_another_model_or_broken_ones_are_told(folder):
    path = folder / "names.safetensors"
    good, tensors = path.read_bytes(), load_file(path)
    about = '{"labels": ["a"], "sharpness": 1, "least": 0}'
    digest = checkpoint.SoundOfPixels.blank(SEEING).backbone
    for metadata, told in (
        ({"names": about, "backbone_digest": digest}, "don't fit this model"),  # two means
        ({"names": "[]", "backbone_digest": digest}, "not names that can be read"),
        ({}, "not names that can be read"),
    ):
        save_file(tensors, path, metadata)
        with pytest.raises(SopError, match=f"names.safetensors: .*{told}") as error:
            checkpoint.load_model(folder)
        assert "\n" not in str(error.value)
    save_file(tensors, path, {"names": about.replace('"a"', '"a", "b"'), "backbone_digest": "x"})
    with pytest.raises(SopError, match="learned with .* of other weights"):
        checkpoint.load_model(folder)
    path.write_bytes(good[:50])
    with pytest.raises(SopError, match="not names that can be read"):
        checkpoint.load_model(folder)


def test_new_pictures_of_instruments_get_their_names(semireal, tmp_path):
    """Real photos, three labels; none of the last two clips' photos is in the others."""
    from sop_core.data.clips import find_clips
    from sop_core.data.preprocess import preprocess

    labels = ("accordion", "harp", "piano")
    for label in labels:
        (tmp_path / "videos" / label).mkdir(parents=True)
        for n in (*range(4), 20, 21):
            name = f"{label}/{label}_{n:03d}.mp4"
            shutil.copy(semireal / "solo" / name, tmp_path / "videos" / name)
    preprocess(tmp_path / "videos", tmp_path / "data", 1.0, jobs=1, progress=False)
    clips = find_clips(tmp_path / "data")
    new = [clip for clip in clips if clip.id.endswith(("020", "021"))]
    net = SoundOfPixels(SEEING.override({"image": "224", "frame_stride": "16"})).eval()
    names = naming.learn_names(net, [clip for clip in clips if clip not in new])
    seen = [naming._seen(net, clip).mean((0, 2, 3)) for clip in new]
    told = names.of(names.project(torch.stack(seen)))
    assert sum(name.label == clip.label for name, clip in zip(told, new, strict=True)) >= 5
