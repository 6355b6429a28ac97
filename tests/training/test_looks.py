"""Precomputed features: computed once, kept beside the data, the same as training would compute."""

import os
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from tiny import SEEING, TONES, write_clip

from sop_core.data.clips import write_index
from sop_core.errors import SopError
from sop_core.evaluation import evaluate
from sop_core.model.model import SoundOfPixels
from sop_core.training import checkpoint, engine, looks, objective
from sop_core.training.loop import fit
from sop_core.training.mixtures import Training, apply_jitter, side_by_side, strip_cells
from sop_core.training.pairs import draw_pairs
from sop_core.training.windows import window_frames


@pytest.fixture
def clips(tmp_path):
    return [write_clip(tmp_path, label, n) for n in range(2) for label in TONES]


@pytest.fixture(scope="module")
def model():
    return SoundOfPixels(SEEING).eval()


@pytest.fixture(scope="module")
def motor():
    return engine.accelerator(SEEING, "cpu")


def looked(clips, model, motor, config=SEEING) -> Training:
    data = Training(clips, config)
    data.looked = looks.look_once(data, model.frame, motor)
    return data


def test_they_are_what_the_backbone_sees_of_the_pictures_that_the_same_seed_draws(
    clips, model, motor
):
    data = looked(clips, model, motor)
    for clip in (0, 3):
        rng = data.of_look(clip, 2, False)
        frames, light = window_frames(data.part(clips[clip], rng), SEEING, rng)
        lit = apply_jitter(
            torch.from_numpy(frames)[None, None], torch.from_numpy(light)[None, None]
        )
        expected = model.look(lit[0].floor())[0, 0]
        torch.testing.assert_close(
            torch.from_numpy(data.looked.table[clip, 2].copy()).float(),
            expected,
            atol=0.02,
            rtol=0.02,
        )
    rng = data.of_look(1, 1)
    parts = data.mixture(1, rng)
    assert parts[0].clip == clips[1] != parts[1].clip
    one = side_by_side([window_frames(part, SEEING, rng) for part in parts], SEEING)
    expected = model.look(torch.from_numpy(one)[None])[0, 0]
    torch.testing.assert_close(
        torch.from_numpy(data.looked.table[1, data.looked.looks + 1].copy()).float(),
        expected,
        atol=0.02,
        rtol=0.02,
    )


def test_pictures_side_by_side_stand_where_their_cells_are(clips):
    """Red on the left, blue on the right, and no cell belongs to both.

    The same for three, which do not divide the grid.
    """
    colours = [np.full((1, 3, 64, 64), 0, np.uint8) for _ in range(3)]
    for n, picture in enumerate(colours):
        picture[:, n] = 200
    light = np.ones(3, np.float32)
    for count in (1, 2, 3):
        one = side_by_side([(c, light) for c in colours[:count]], SEEING)
        cells = strip_cells(count, SEEING.grid)
        assert one.shape == (1, 3, 64, 64) and cells.sum(0).tolist() == [[1] * 4] * 4
        for n in range(count):
            mine = np.kron(cells[n], np.ones((16, 16), bool))
            assert (one[0, n][mine] == 200).all() and (np.delete(one[0], n, 0)[:, mine] == 0).all()
    dark = side_by_side([(colours[0], 0.5 * light), (colours[1], light)], SEEING)
    assert dark[0, 0, 0, 0] == 100 and dark[0, 1, 0, -1] == 200


def test_each_source_is_asked_for_in_its_own_cells(model):
    seen = torch.randn(3, 2, 1, 432, 4, 4, generator=torch.manual_seed(0))
    cells = torch.ones(3, 2, 4, 4, dtype=torch.bool)
    cells[1] = torch.from_numpy(strip_cells(2, (4, 4)))
    with torch.inference_mode():
        found, numbers = (
            model.region_features(seen, cells),
            model.project(seen.flatten(0, 1)).unflatten(0, (3, 2)),
        )
        for b in range(3):
            for n in range(2):
                # a quarter of the source's cells, which are 16 or 8
                mine = numbers[b, n][cells[b, n]].sort(0).values
                expected = mine[-round(0.25 * len(mine)) :].mean(0)
                torch.testing.assert_close(found[b, n], expected)
        pooled = torch.stack([model.pool(x.flatten(1, 2)) for x in numbers.unbind(1)], 1)
        torch.testing.assert_close(found[[0, 2]], pooled[[0, 2]])


def test_a_batch_that_was_looked_at_asks_for_what_its_frames_ask_for(model):
    """With their colour jitter. All cells together give what an undivided picture gives."""
    generator = torch.manual_seed(0)
    frames = torch.randint(0, 256, (2, 2, 1, 3, 64, 64), dtype=torch.uint8, generator=generator)
    light, cells = (
        torch.rand(2, 2, 3, generator=generator),
        torch.rand(2, 2, 4, 4, generator=generator) < 0.5,
    )
    with torch.inference_mode():
        seen = model.look((frames * light[:, :, None, :, None, None]).clamp(max=255))
        asked = objective.pictures(model, {"seen": seen, "cells": cells})
        torch.testing.assert_close(
            objective.pictures(model, {"frames": frames, "jitter": light, "cells": cells}),
            asked,
            atol=1e-5,
            rtol=1e-4,
        )
        torch.testing.assert_close(asked, model.region_features(seen, cells))
        whole = objective.pictures(model, {"seen": seen, "cells": torch.ones_like(cells)})
        assert not torch.allclose(whole, asked, atol=1e-2)
        torch.testing.assert_close(
            objective.pictures(model, {"frames": frames, "jitter": light}),
            whole,
            atol=1e-5,
            rtol=1e-4,
        )


class Numbered:
    """Looks that say whose they are."""

    table = np.broadcast_to(
        np.add.outer(10 * np.arange(9), [0, 1, 2, 100, 101])[..., None, None, None], (9, 5, 2, 4, 4)
    ).astype(np.float16)


def test_training_shows_the_looks_at_the_clips_that_it_lets_sound(tiny_clips, empty_rooms):
    config = replace(SEEING, looks=3, together=0.5, frames=2, silence=0.5, epochs=1, epoch_size=300)
    data, numbers, together, partner = Training([*tiny_clips, *empty_rooms], config), {}, [], {}
    data.looked = Numbered()
    for n, clip in enumerate([*tiny_clips, *empty_rooms]):
        numbers[clip] = n
    alone, side = set(), set()
    for i in range(300):
        draw, item = data.draw(i), data[i]
        clips = [numbers[part.clip] for part in draw.mixture]
        together.append(draw.together)
        assert item["seen"].shape == (2, 2, 2, 4, 4) and item["seen"].dtype == torch.float16
        if draw.together:
            assert (item["seen"] == 100 + 10 * clips[0] + draw.look).all()
            # the clip in the picture is the one that sounds
            assert partner.setdefault((clips[0], draw.look), clips[1]) == clips[1]
            assert np.array_equal(item["cells"], strip_cells(2, SEEING.grid))
            side.add(draw.look)
        else:
            looks = item["seen"][:, :, 0, 0, 0] - 10 * torch.tensor(clips)[:, None]
            assert item["cells"].all() and item["cells"].shape == (2, 4, 4)
            alone |= {tuple(row) for row in looks.tolist()}
    assert 0.42 < np.mean(together) < 0.58
    assert alone == {(a, b) for a in range(3) for b in range(3)}  # each frame draws its own
    assert side == {0, 1}  # round(0.5 * 3) of them were looked at


def test_killed_it_goes_on_where_it_was(clips, model, motor, monkeypatch):
    whole = looked(clips, model, motor).looked.path
    expected = whole.read_bytes()
    whole.unlink()
    times, look = [], model.frame.look

    def counted(pictures):
        times.append(len(pictures))
        if len(times) == 3:
            raise KeyboardInterrupt
        return look(pictures)

    monkeypatch.setattr(model.frame, "look", counted)
    with pytest.raises(KeyboardInterrupt):
        looked(clips, model, motor)
    (part,) = whole.parent.glob(".part-*")
    assert not whole.exists() and part.stat().st_size < len(expected)
    with part.open("ab") as f:
        f.write(b"half a row")
    dead = subprocess.Popen(["true"])
    dead.wait()
    part.rename(part.with_name(part.name.replace(f"-{os.getpid()}-", f"-{dead.pid}-")))
    looked(clips, model, motor)
    assert whole.read_bytes() == expected and not list(whole.parent.glob(".part-*"))
    assert len(times) == 3 + 2  # two of four clips were left
    looked(clips, model, motor)
    assert len(times) == 5


def test_other_pictures_are_looked_at_anew_and_the_old_looks_go(clips, model, motor):
    first = looked(clips, model, motor).looked.path
    assert looked(clips, model, motor, replace(SEEING, lr_sound=1.0)).looked.path == first
    second = looked(clips, model, motor, replace(SEEING, crop=0.9)).looked.path
    assert second != first and first.exists()  # another training may be using it
    os.utime(first, (0, time.time() - 90_000))  # 25 hours ago
    third = looked(clips, model, motor, replace(SEEING, clips="published")).looked.path
    assert {p.name for p in first.parent.iterdir()} == {second.name, third.name}
    next(clips[0].frames.iterdir()).write_bytes(next(clips[1].frames.iterdir()).read_bytes())
    assert looked(clips, model, motor, replace(SEEING, crop=0.9)).looked.path != second


def test_looks_of_a_training_that_takes_days_stay(clips, tmp_path):
    """Another training beside it removes what nobody has used for a day."""
    run = fit(SEEING, clips, clips, tmp_path / "days")
    next(run)
    (path,) = (clips[0].frames.parents[2] / "looks").glob("*.npy")
    os.utime(path, (0, time.time() - 90_000))  # 25 hours ago
    next(run)
    assert time.time() - path.stat().st_mtime < 3_600


def test_a_file_of_the_system_beside_the_frames_changes_nothing(clips, model, motor, tmp_path):
    """A Mac's Finder leaves `.DS_Store` in each folder that it shows."""
    first = looked(clips, model, motor).looked.path
    (clips[0].frames / ".DS_Store").write_bytes(b"Mac")
    assert looked(clips, model, motor).looked.path == first
    (clips[0].frames / "000001.jpg").write_bytes(b"another")
    assert looked(clips, model, motor).looked.path != first


def test_clips_on_two_drives_have_their_looks_beside_the_first(clips, monkeypatch):
    data = clips[0].frames.parents[2]
    elsewhere = replace(clips[1], frames_path=str(data / "other" / "frames" / "b" / "1.mp4"))
    assert looks._folder([clips[0], elsewhere]) == data / "looks"

    def apart(paths):
        raise ValueError("Paths don't have the same drive")

    monkeypatch.setattr(os.path, "commonpath", apart)
    assert looks._folder([elsewhere, clips[0]]) == data / "other" / "looks"


def test_a_picture_that_cannot_be_read_is_named_and_its_mixtures_are_drawn_anew(
    clips, model, motor
):
    for frame in clips[0].frames.iterdir():
        frame.write_bytes(b"no picture")
    data = looked(clips, model, motor, replace(SEEING, epoch_size=40))
    items = [data[i] for i in range(40)]
    assert not any(item["seen"].isnan().any() for item in items)
    assert any(
        f"{clips[0].name}" in item["skipped"] and "could not be read" in item["skipped"]
        for item in items
    )


def test_a_disk_without_room_gets_one_line(clips, model, motor, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 10, 0))
    what = r"what the backbone sees can't be kept there \(it needs 0.3 MB, 0.0 are free\)"
    with pytest.raises(SopError, match=f"looks: {what}.*looks=0"):
        looked(clips, model, motor)
    assert not list((clips[0].frames.parents[2] / "looks").glob("[!.]*.npy"))


def test_training_from_looks_resumes_and_its_checkpoint_leaves_the_backbone_out(
    clips, model, tmp_path
):
    config = replace(SEEING, workers=1)
    first = next(iter(fit(config, clips, clips, tmp_path / "halves")))
    rest = list(fit(config, clips, clips, tmp_path / "halves", resume=True))
    whole = list(fit(replace(config, workers=0), clips, clips, tmp_path / "whole"))
    for a, b in zip([first, *rest], whole, strict=True):
        assert a.loss == pytest.approx(b.loss, rel=1e-5) and a.val_sdr == pytest.approx(
            b.val_sdr, abs=1e-3
        )
    kept = checkpoint.load_model(tmp_path / "whole")
    size = (tmp_path / "whole" / "model.safetensors").stat().st_size
    assert size < 4.2 * sum(v.numel() for v in kept.learned().values()) + 20_000
    assert not any(key.startswith("frame.features") for key in kept.learned())
    assert kept.frame.digest == model.frame.digest
    sound, frames = (
        torch.randn(1, 8191),
        torch.randint(0, 255, (1, 2, 1, 3, 64, 64), dtype=torch.uint8),
    )
    again = checkpoint.load_model(tmp_path / "whole")
    assert torch.equal(kept.separate(sound, frames), again.separate(sound, frames))


def test_a_checkpoint_with_a_backbone_of_other_weights_is_refused(clips, tmp_path):
    folder = tmp_path / "run"
    list(fit(replace(SEEING, epochs=1), clips, clips, folder))
    torch.save(timm.create_model(SEEING.backbone).state_dict(), tmp_path / "other.pth")
    config = checkpoint.read_config(folder)
    checkpoint.write_config(folder, replace(config, backbone_weights=str(tmp_path / "other.pth")))
    with pytest.raises(SopError, match="learned with tf_efficientnet_lite0 of other weights"):
        checkpoint.load_model(folder)
    with pytest.raises(SopError, match="of other weights"):
        next(fit(checkpoint.read_config(folder), clips, clips, folder, resume=True))


def test_what_learns_of_the_backbone_is_in_the_checkpoint(clips, tmp_path):
    config = replace(SEEING, backbone_learns=1, epochs=1, lr_frame=1e-2)
    list(fit(config, clips, clips, tmp_path / "run"))
    assert not (clips[0].frames.parents[2] / "looks").exists()  # what changes is looked at anew
    learned, before = checkpoint.load_model(tmp_path / "run"), SoundOfPixels(config)
    # names of what it saw before it learned more are not kept beside it
    names = tmp_path / "run" / "names.safetensors"
    names.write_bytes(b"")
    checkpoint.write_model(tmp_path / "run", learned)
    assert not names.exists()
    kept = [key for key in learned.learned() if key.startswith("frame.features")]
    assert kept and len(kept) < len(learned.frame.features.state_dict())
    changed = [
        k
        for k, v in before.state_dict().items()
        if "features" in k and not torch.equal(v, learned.state_dict()[k])
    ]
    assert changed and set(changed) <= set(kept)


def test_a_training_and_its_evaluation_need_no_network(clips, tmp_path, monkeypatch):
    """Once everything is installed: any address but this machine's own is refused."""
    connect, asked = socket.socket.connect, []

    def local(self, address):
        if isinstance(address, tuple) and not str(address[0]).startswith(
            ("127.", "::1", "localhost")
        ):
            asked.append(address)
            raise ConnectionRefusedError("no network in this test")
        return connect(self, address)

    def resolve(host, *more, **how):
        asked.append(host)
        raise socket.gaierror("no network in this test")

    monkeypatch.setattr(socket.socket, "connect", local)
    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with pytest.raises(OSError):
        socket.create_connection(("192.0.2.1", 80), timeout=1)
    asked.clear()
    list(fit(replace(SEEING, epochs=1), clips, clips, tmp_path / "run"))
    model = checkpoint.load_model(tmp_path / "run")
    pairs = draw_pairs(clips, 2, SEEING)
    results, _ = evaluate.evaluate(model, tmp_path / "run", pairs, allow_leaks=True)
    assert results["rows"][0]["n_pairs"] == 2 and not asked


TOGETHER = """
import sys
from pathlib import Path
from tiny import SEEING
from sop_core.training.loop import fit
from sop_core.data.clips import read_index
clips = read_index(Path(sys.argv[1]))
list(fit(SEEING, clips, clips, Path(sys.argv[2]), device="cpu"))
"""


def test_two_processes_look_once_and_learn_what_one_does(clips, tmp_path):
    write_index(tmp_path / "all.csv", clips)
    script = tmp_path / "train.py"
    script.write_text(TOGETHER)
    here = os.pathsep.join([str(Path(__file__).parents[1]), str(Path(__file__).parents[2])])
    environment = os.environ | {
        "PYTHONPATH": here,
        "OMP_NUM_THREADS": "1",
        "ACCELERATE_USE_CPU": "true",
    }
    histories = []
    for name, launcher in (
        ("two", ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]),
        ("one", []),
    ):
        command = [
            sys.executable,
            *launcher,
            str(script),
            str(tmp_path / "all.csv"),
            str(tmp_path / name),
        ]
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr[-1500:]
        histories.append(checkpoint.read_history(tmp_path / name))
        kept = list((clips[0].frames.parents[2] / "looks").iterdir())
        assert len(kept) == 1 and kept[0].suffix == ".npy"  # of two processes one has looked
        kept[0].unlink()
    for two, one in zip(*histories, strict=True):
        assert two.loss == pytest.approx(one.loss, rel=1e-3)
