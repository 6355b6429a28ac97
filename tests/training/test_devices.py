"""A GPU gives the same results as the CPU. Skipped where there is none; the first is used."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from test_loop import run  # noqa: F401 (a fixture)
from tiny import TINY, write_film

from sop_core import metrics
from sop_core.compose import acoustics
from sop_core.errors import SopError
from sop_core.evaluation import evaluate, methods
from sop_core.listening.scene import Scene
from sop_core.training import checkpoint, engine
from sop_core.training.loop import fit
from sop_core.training.mixtures import Listed
from sop_core.training.pairs import draw_pairs

gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
FP32 = replace(TINY, precision="fp32")


def test_the_environment_names_a_device(monkeypatch):
    monkeypatch.setenv("SOP_DEVICE", "cpu")
    assert engine.device_of() == torch.device("cpu") == engine.device_of("cpu")
    for name, said in (
        ("mps", "Apple's GPU is not used here, the CPU is"),
        ("xpu", "nothing here was tried on xpu"),
    ):
        monkeypatch.setenv("SOP_DEVICE", name)
        expected = f"SOP_DEVICE={name}: {said}; expected cpu, cuda, or cuda:N"
        with pytest.raises(SopError, match=expected):
            engine.device_of()
    assert engine.device_of("cpu").type == "cpu"  # what is named counts
    monkeypatch.delenv("SOP_DEVICE")
    assert engine.device_of().type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize(
    ("environment", "quota", "threads"), [(None, 2, 2), (None, 8, 3), ("4", 2, 3)]
)
def test_no_more_threads_than_a_container_may_use(monkeypatch, environment, quota, threads):
    """joblib counts by the quota of the container, torch by the machine."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if environment:
        monkeypatch.setenv("OMP_NUM_THREADS", environment)
    monkeypatch.setattr(engine.joblib, "cpu_count", lambda: quota)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        engine.device_of("cpu")
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


@gpu
def test_a_scene_sounds_the_same(run, tmp_path):  # noqa: F811
    film = write_film(tmp_path / "film.mp4")
    here, there = (
        Scene.from_video(checkpoint.load_model(run[0], device), film) for device in ("cpu", "cuda")
    )
    np.testing.assert_allclose(there.energy(), here.energy(), atol=0.01)
    cells = [[(0, 0)], here.cells_in((0.5, 0, 1, 1))]
    for a, b in zip(here.tracks(cells), there.tracks(cells), strict=True):
        assert np.abs(a - b).max() < 0.01 * max(np.abs(here.mixture).max(), 1e-9)
    np.testing.assert_allclose(there.tracks(cells).sum(0), there.mixture, atol=1e-4)


@gpu
def test_a_training_learns_the_same(tiny_clips, tmp_path):
    config = replace(FP32, lr_sound=1e-3)
    one, two = (
        list(fit(config, tiny_clips, tiny_clips, tmp_path / d, device=d)) for d in ("cpu", "cuda")
    )
    for a, b in zip(one, two, strict=True):
        assert b.loss == pytest.approx(a.loss, rel=0.02) and b.val_sdr_mixture == pytest.approx(
            a.val_sdr_mixture, abs=0.01
        )


@gpu
def test_a_training_stopped_on_a_gpu_goes_on(tiny_clips, tmp_path):
    whole = list(fit(FP32, tiny_clips, tiny_clips, tmp_path / "whole", device="cuda"))
    first = next(epochs := fit(FP32, tiny_clips, tiny_clips, tmp_path / "parts", device="cuda"))
    epochs.close()
    rest = list(fit(FP32, tiny_clips, tiny_clips, tmp_path / "parts", resume=True, device="cuda"))
    assert [r.epoch for r in [first, *rest]] == [1, 2]
    assert rest[-1].loss == pytest.approx(whole[-1].loss, rel=0.02)


@gpu
def test_an_evaluation_finds_the_same_numbers(run, tiny_clips):  # noqa: F811
    pairs, found = draw_pairs(tiny_clips, 3, TINY), {}
    for device in ("cpu", "cuda"):
        model = checkpoint.load_model(run[0], device)
        found[device] = evaluate.evaluate(model, run[0], pairs, allow_leaks=True)[0]["rows"]
    for a, b in zip(found["cpu"], found["cuda"], strict=True):
        assert a["method"] == b["method"] and b["sdr"] == pytest.approx(a["sdr"], abs=0.05)


@gpu
def test_scores_and_ideal_masks_are_the_same(run, tiny_clips):  # noqa: F811
    sounds = Listed(draw_pairs(tiny_clips, 1, TINY), TINY)[0]["sounds"]
    here, there = (
        methods.oracles(checkpoint.load_model(run[0], d), sounds.to(d)) for d in ("cpu", "cuda")
    )
    for name, sound in here.items():
        torch.testing.assert_close(there[name].cpu(), sound, rtol=1e-3, atol=1e-4)
        one, two = metrics.bss(sounds, sound), metrics.bss(sounds.cuda(), there[name])
        assert [*two["sdr"].flatten().tolist()] == pytest.approx(
            [*one["sdr"].flatten().tolist()], abs=0.05
        )


@gpu
def test_a_seed_gives_the_same_acoustics():
    sounds = 0.1 * torch.randn(24, 20_000, generator=torch.Generator().manual_seed(0))
    places = torch.linspace(-1, 1, 24)
    here, there = (
        acoustics.acoustics(x, 11_025, torch.Generator().manual_seed(3))
        for x in (sounds, sounds.cuda())
    )
    torch.testing.assert_close(there.cpu(), here, rtol=1e-3, atol=1e-4)
    here, there = (acoustics.stereo(x, places, 44_100) for x in (sounds, sounds.cuda()))
    torch.testing.assert_close(there.cpu(), here, rtol=1e-3, atol=1e-4)
