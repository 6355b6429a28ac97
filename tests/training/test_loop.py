"""Training: it learns, keeps the best, resumes, never overwrites, and says what is wrong."""

import contextlib
import errno
import json
import multiprocessing
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny import PRETRAINED, SETTINGS, TINY, write_clip
from torch.utils.data import DataLoader, Dataset

from sop_core import metrics
from sop_core.config import DEMO, SOLOS
from sop_core.data.clips import write_index
from sop_core.errors import SopError, Terminated
from sop_core.evaluation import evaluate
from sop_core.listening.clusters import shares_of
from sop_core.listening.scene import Scene
from sop_core.media.jpgs import read_frames
from sop_core.media.sound import read_sound
from sop_core.model import masks
from sop_core.model.model import SoundOfPixels
from sop_core.training import checkpoint, engine, loop, objective
from sop_core.training.loop import _Run, fit
from sop_core.training.mixtures import Training
from sop_core.training.optimizer import make_optimizer, schedule, trainable
from sop_core.training.pairs import draw_pairs
from sop_core.training.validation import validate
from sop_core.training.windows import Part


@pytest.fixture(scope="module")
def run(tiny_clips, tmp_path_factory):
    """A finished run of two epochs."""
    folder = tmp_path_factory.mktemp("ckpt") / "run"
    return folder, list(fit(TINY, tiny_clips, tiny_clips, folder))


def test_records_history_and_checkpoint_agree(run, tiny_clips):
    folder, records = run
    assert [r.epoch for r in records] == [1, 2]
    assert checkpoint.read_history(folder) == records
    best = max(records, key=lambda r: r.val_sdr)
    assert best.best
    pairs = draw_pairs(tiny_clips, TINY.val_pairs, TINY)
    assert validate(checkpoint.load_model(folder), pairs, TINY) == pytest.approx(
        best.val_sdr, abs=1e-3
    )


def test_a_run_in_two_halves_equals_one(run, tiny_clips, tmp_path):
    folder, records = run
    first = next(iter(fit(TINY, tiny_clips, tiny_clips, tmp_path / "halves")))
    rest = list(fit(TINY, tiny_clips, tiny_clips, tmp_path / "halves", resume=True))
    for a, b in zip([first, *rest], records, strict=True):
        assert (a.epoch, a.best) == (b.epoch, b.best)
        assert a.loss == pytest.approx(b.loss, rel=1e-5)
        assert a.val_sdr == pytest.approx(b.val_sdr, abs=1e-3)


def test_a_run_is_never_overwritten_nor_resumed_with_another_config(run, tiny_clips, tmp_path):
    folder, _ = run
    with pytest.raises(SopError, match="holds a run already"):
        next(fit(TINY, tiny_clips, tiny_clips, folder))
    with pytest.raises(SopError, match="batch=4 there, 2 now"):
        next(fit(replace(TINY, batch=2), tiny_clips, tiny_clips, folder, resume=True))


def test_a_run_that_begins_with_anothers_weights_starts_from_them(run, tiny_clips, tmp_path):
    """With learning rates of 0 it keeps them; its clips and those of the other were learned."""
    folder, _ = run
    still = replace(TINY, seed=5, lr_sound=0.0, lr_fc=0.0, lr_frame=0.0, weight_decay=0.0, epochs=1)
    mine = tiny_clips[1:]
    list(fit(still, mine, mine, tmp_path / "anew"))
    list(fit(still, mine, mine, tmp_path / "tuned", begin=folder))
    before, anew, tuned = (
        load_file(where / "model.safetensors")
        for where in (folder, tmp_path / "anew", tmp_path / "tuned")
    )
    learned = [k for k in before if k.endswith(("weight", "bias")) and before[k].ndim > 1]
    assert learned and all(torch.equal(before[k], tuned[k]) for k in learned)
    assert not any(torch.equal(before[k], anew[k]) for k in learned)
    learned = checkpoint.read_clips(tmp_path / "tuned")
    for split in ("train", "val"):  # what chose the old epoch is no more learned than before
        assert [name for name, _ in learned[split]] == [c.name for c in (*mine, tiny_clips[0])]
    # it is complete, whether its beginning is named again or not
    assert list(fit(still, mine, mine, tmp_path / "tuned", resume=True, begin=folder)) == []


def test_a_run_goes_on_from_its_state_and_not_from_its_beginning(run, tiny_clips, tmp_path):
    folder, _ = run
    whole = list(fit(TINY, tiny_clips, tiny_clips, tmp_path / "whole", begin=folder))
    first = next(iter(fit(TINY, tiny_clips, tiny_clips, tmp_path / "halves", begin=folder)))
    rest = list(fit(TINY, tiny_clips, tiny_clips, tmp_path / "halves", resume=True, begin=folder))
    for a, b in zip([first, *rest], whole, strict=True):
        assert a.loss == pytest.approx(b.loss, rel=1e-5)
    # begun and killed before anything was saved: it does not start from random weights
    shutil.rmtree(tmp_path / "halves" / "state")
    with pytest.raises(SopError, match="began with the weights of another model; give --from"):
        next(fit(TINY, tiny_clips, tiny_clips, tmp_path / "halves", resume=True))
    with pytest.raises(SopError, match="began anew; leave out --from"):
        next(fit(TINY, tiny_clips, tiny_clips, folder, resume=True, begin=tmp_path / "whole"))


def test_where_nobody_knows_what_the_first_weights_learned_nobody_claims_to(
    run, tiny_clips, tmp_path
):
    shutil.copytree(run[0], tmp_path / "unknown")
    (tmp_path / "unknown" / "clips.csv").unlink()
    config = replace(TINY, epochs=1)
    tuned, few = tmp_path / "tuned", tiny_clips[2:]
    list(fit(config, few, tiny_clips, tuned, begin=tmp_path / "unknown"))
    assert {name for name, _ in checkpoint.read_clips(tuned)["train"]} == {c.name for c in few}
    assert not checkpoint.knows_all(tuned) and checkpoint.knows_all(run[0])
    one, other = ((Part(clip, 0),) for clip in (few[0], tiny_clips[0]))
    assert evaluate.leaks(tuned, [one]) == [("row 1", few[0].name)]  # certainly
    assert evaluate.leaks(tuned, [other]) is None  # perhaps
    for clips in (few, tiny_clips):  # neither where the state is, nor with the beginning
        resume = fit(config, clips, tiny_clips, tuned, resume=True, begin=tmp_path / "unknown")
        if clips is few:
            assert list(resume) == []
        else:
            with pytest.raises(SopError, match="can't resume with other clips in train"):
                next(resume)


def test_a_run_that_begins_with_other_nets_is_refused(run, tiny_clips, tmp_path):
    other = replace(TINY, channels=8, sound_width=8)
    with pytest.raises(SopError, match="channels=4 there, 8 here; sound_width=4 there, 8 here"):
        next(fit(other, tiny_clips, tiny_clips, tmp_path / "run", begin=run[0]))
    with pytest.raises(SopError, match="nowhere.*not a config that can be read"):
        next(fit(TINY, tiny_clips, tiny_clips, tmp_path / "run", begin=tmp_path / "nowhere"))
    checkpoint.write_config(tmp_path, TINY)  # of a run that was stopped in its first epoch
    with pytest.raises(SopError, match="no checkpoint there, expected config.json and model"):
        next(fit(TINY, tiny_clips, tiny_clips, tmp_path / "run", begin=tmp_path))
    assert not (tmp_path / "run").exists()


def test_a_run_may_begin_with_another_backbone(run, tiny_clips, tmp_path):
    """It keeps what hears. What sees is new, and learns; the rest of the nets must be the same."""
    other = TINY.override({k: v for k, v in PRETRAINED.items() if k != "pool"} | {"epochs": "1"})
    still = replace(other, lr_sound=0.0, weight_decay=0.0)
    list(fit(still, tiny_clips, tiny_clips, tmp_path / "run", begin=run[0]))
    before, after = (load_file(f / "model.safetensors") for f in (run[0], tmp_path / "run"))
    heard = [k for k in before if k.startswith("sound.") and before[k].ndim > 1]
    assert heard and all(torch.equal(before[k], after[k]) for k in heard)
    assert {k for k in after if k.startswith("frame.fc.1")} == {
        "frame.fc.1.weight",
        "frame.fc.1.bias",
    }
    assert after["frame.fc.1.weight"].shape == (TINY.channels, 112 + 320, 1, 1)
    blank = SoundOfPixels.blank(still)  # its batch norm has seen pictures
    assert not torch.equal(after["frame.fc.0.running_mean"], blank.frame.fc[0].running_mean)
    resumed = fit(still, tiny_clips, tiny_clips, tmp_path / "run", resume=True, begin=run[0])
    assert list(resumed) == []
    with pytest.raises(SopError, match="channels=4 there, 8 here") as e:
        wide = replace(other, channels=8)
        next(fit(wide, tiny_clips, tiny_clips, tmp_path / "wide", begin=run[0]))
    assert "backbone" not in str(e.value)


def test_nets_of_another_config_with_the_rest_of_a_preset():
    mixed = DEMO.with_nets(SOLOS)
    nets, rest = ("rate", "bins", "sound_depth", "train_samples"), ("fps", "epochs", "batch")
    assert [getattr(mixed, key) for key in nets] == [getattr(SOLOS, key) for key in nets]
    assert [getattr(mixed, key) for key in rest] == [getattr(DEMO, key) for key in rest]
    assert (mixed.name, mixed.rate, mixed.batch, mixed.acoustics) == ("demo", 22_050, 8, 0)
    assert mixed.with_nets(DEMO) == DEMO


def test_one_call_serves_a_job_that_is_killed_whatever_it_does(
    run, tiny_clips, tmp_path, monkeypatch
):
    """Each time it is started anew, as a scheduler does, and gets a little further."""

    class Killed(BaseException):
        pass

    def die(*_, **__):
        raise Killed

    def start():
        with warnings.catch_warnings(record=True) as said:
            records = list(fit(TINY, tiny_clips, tiny_clips, tmp_path / "run", resume=True))
        return records, [str(w.message) for w in said if "resume" in str(w.message)]

    monkeypatch.setattr(checkpoint, "free", lambda _: None)  # a killed process doesn't tidy up
    early = [(checkpoint, "write_rows"), (checkpoint, "write_config"), (loop, "validate")]
    later = [(checkpoint, name) for name in ("write_state", "write_model", "write_history")]
    for where, name in [*early, *later]:
        with monkeypatch.context() as patch:
            patch.setattr(where, name, die)
            with pytest.raises(Killed):
                start()
    assert not (tmp_path / "run" / "history.csv").exists()
    with pytest.raises(SopError, match="can't resume with another config"):
        next(fit(replace(TINY, batch=2), tiny_clips, tiny_clips, tmp_path / "run", resume=True))
    records, said = start()
    assert [r.epoch for r in records] == [2] and not said  # the state of epoch 1 was there
    history = checkpoint.read_history(tmp_path / "run")
    for a, b in zip(history, run[1], strict=True):
        assert (a.loss, a.val_sdr) == pytest.approx((b.loss, b.val_sdr), rel=1e-4)
    assert start() == ([], [])  # complete


@pytest.mark.parametrize("left", [[], ["clips.csv"], ["clips.csv", "config.json"]])
def test_resuming_nothing_starts_the_run_and_says_so(run, tiny_clips, tmp_path, left):
    for name in left:
        (tmp_path / "run").mkdir(exist_ok=True)
        shutil.copy(run[0] / name, tmp_path / "run")
    said = f"^{tmp_path / 'run'}: no state to resume from yet; the run starts$"
    with pytest.warns(UserWarning, match=said):
        records = list(fit(TINY, tiny_clips, tiny_clips, tmp_path / "run", resume=True))
    assert [r.loss for r in records] == pytest.approx([r.loss for r in run[1]], rel=1e-5)


def test_a_loss_that_is_no_number_stops_with_the_step(tiny_clips, tmp_path):
    config = replace(TINY, lr_sound=1e30, lr_frame=1e30, optimizer="sgd", epochs=5)
    with pytest.raises(
        SopError, match=r"epoch . step . \((red|blue)/.* \+ .*\): the loss is .* state"
    ):
        list(fit(config, tiny_clips, tiny_clips, tmp_path / "run"))


KILLED = """
import os, signal, sys
from pathlib import Path
from tiny import TINY
from sop_core.training import checkpoint, loop, objective
from sop_core.data.clips import read_index
where, clips = sys.argv[1], read_index(Path(sys.argv[2]))
steps, step = [], objective.batch_loss
def stop():
    os.kill(os.getpid(), signal.SIGKILL)
def counted(*args):
    steps.append(1)
    if where == f"step {len(steps)}":
        stop()
    if where == f"Ctrl-C in step {len(steps)}":
        signal.raise_signal(signal.SIGINT)
    return step(*args)
objective.batch_loss = counted
save = checkpoint.save
def saved(*args):
    if where == "between state and weights":
        stop()
    return save(*args)
checkpoint.save = saved
keep = checkpoint.torch.save
def kept(*args, **kinds):
    keep(*args, **kinds)
    if where == "before the second state's rename" and len(steps) > 2:
        stop()
checkpoint.torch.save = kept
if where == "step 4 with a state saved at every step":
    where, loop.SAVE_EVERY = "step 4", 0
list(loop.fit(TINY, clips, clips, Path(sys.argv[3]), resume=where == "resume"))
"""


HERE = Path(__file__)
PYTHONPATH = os.pathsep.join([str(HERE.parents[1]), str(HERE.parents[2])])
ENVIRONMENT = os.environ | {"PYTHONPATH": PYTHONPATH, "OMP_NUM_THREADS": "1"}
TWICE = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]


def fit_apart(where, index, folder):
    """A training in a process of its own.

    All have the same number of threads, so that sums are the same to the last bit.
    """
    command = [sys.executable, "-c", KILLED, where, index, folder]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
    ends = {"never": 0, "resume": 0, "Ctrl-C in step 1": -signal.SIGINT}
    assert done.returncode == ends.get(where, -signal.SIGKILL), done.stderr[-500:]
    return folder


def train_apart(index, ckpt, name, *program, own_group=False, **more):
    """The verb `train` on the CPU in processes of its own."""
    words = [
        "train",
        "--preset",
        "demo",
        "--train",
        index,
        "--val",
        index,
        "--id",
        name,
        "--ckpt",
        ckpt,
        "--device",
        "cpu",
    ]
    command = [
        sys.executable,
        *program,
        *words,
        "--set",
        *(f"{k}={v}" for k, v in (SETTINGS | more).items()),
    ]
    return subprocess.run(
        list(map(str, command)),
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        start_new_session=own_group,
    )


@pytest.fixture(scope="module")
def undisturbed(tiny_clips, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    write_index(folder / "all.csv", tiny_clips)
    return folder / "all.csv", fit_apart("never", folder / "all.csv", folder / "run")


STOPS = [
    "step 1",
    "step 4",
    "between state and weights",
    "before the second state's rename",
    "Ctrl-C in step 1",
    "step 4 with a state saved at every step",
]


@pytest.mark.parametrize("where", STOPS)
def test_a_run_stopped_anywhere_ends_as_one_that_was_not(undisturbed, tmp_path, where):
    index, folder = undisturbed
    fit_apart(where, index, tmp_path / "run")
    if where in ("Ctrl-C in step 1", STOPS[-1]):  # the first of an epoch's two steps was saved
        assert (
            torch.load(tmp_path / "run" / "state" / "last.pt", weights_only=True)["at"]["step"] == 1
        )
    fit_apart("resume", index, tmp_path / "run")
    again, before = (load_file(f / "model.safetensors") for f in (tmp_path / "run", folder))
    assert again.keys() == before.keys() and all(torch.equal(again[k], before[k]) for k in before)
    rows = [
        [(r.epoch, r.loss, r.val_sdr, r.best) for r in checkpoint.read_history(f)]
        for f in (tmp_path / "run", folder)
    ]
    assert rows[0] == rows[1]
    assert not list((tmp_path / "run").rglob(".part-*"))


def test_the_loss_curve_is_the_same_at_any_number_of_workers(run, tiny_clips, tmp_path):
    for workers in (1, 4):
        records = list(
            fit(replace(TINY, workers=workers), tiny_clips, tiny_clips, tmp_path / str(workers))
        )
        assert [r.loss for r in records] == [r.loss for r in run[1]]


def test_a_batch_in_parts_takes_as_many_steps_of_the_optimizer(tiny_clips, tmp_path):
    config = replace(TINY, accumulate=2, epochs=1)
    folder = tmp_path / "run"
    assert len(list(fit(config, tiny_clips, tiny_clips, folder))) == 1
    state = torch.load(folder / "state" / "last.pt", weights_only=True)
    assert {float(s["step"]) for s in state["optimizer"]["state"].values()} == {
        config.epoch_size / config.batch
    }
    with pytest.raises(SopError, match="batch=4 on 1 process.*multiple of 6"):
        next(fit(replace(config, accumulate=6), tiny_clips, tiny_clips, tmp_path / "other"))


def test_gradients_of_a_batch_in_parts_are_their_mean(tiny_clips):
    """Each half weighs its own bins; with batch statistics kept out of it, halves are halves."""
    config = replace(
        TINY, accumulate=2, weighted=False, optimizer="sgd", weight_decay=0.0, lr_sound=1.0
    )
    batch = torch.utils.data.default_collate([Training(tiny_clips, config)[i] for i in range(4)])
    torch.manual_seed(0)
    model = SoundOfPixels(config).eval()
    gradients = []
    for parts in ([slice(0, 4)], [slice(0, 2), slice(2, 4)]):
        model.zero_grad()
        for part in parts:
            loss = objective.batch_loss(
                model, {k: batch[k][part] for k in ("sounds", "frames", "jitter")}
            )
            (loss / len(parts)).backward()
        gradients.append(
            torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
        )
    torch.testing.assert_close(*gradients, atol=1e-5, rtol=1e-3)


def test_bf16_is_for_the_nets_alone(tiny_clips, tmp_path):
    seen = {}
    batch = torch.utils.data.default_collate([Training(tiny_clips, TINY)[i] for i in range(4)])
    torch.manual_seed(0)
    model = SoundOfPixels(TINY).train()
    model.sound.register_forward_hook(lambda m, x, y: seen.update(reads=x[0].dtype, says=y.dtype))
    exact = objective.batch_loss(model, batch)
    with torch.autocast("cpu", torch.bfloat16):
        close = objective.batch_loss(model, batch)
    assert seen == {"reads": torch.float32, "says": torch.bfloat16} and close.dtype == torch.float32
    assert exact.item() != close.item() == pytest.approx(exact.item(), rel=0.02)
    records = list(
        fit(replace(TINY, precision="bf16", epochs=1), tiny_clips, tiny_clips, tmp_path / "run")
    )
    fp32 = list(
        fit(replace(TINY, precision="fp32", epochs=1), tiny_clips, tiny_clips, tmp_path / "fp32")
    )
    assert records[0].loss != fp32[0].loss and records[0].loss == pytest.approx(
        fp32[0].loss, rel=0.02
    )


def test_a_loud_window_counts_more_only_where_bins_do(tiny_clips):
    config = replace(TINY, loudness="absolute", among=0.0)
    torch.manual_seed(0)
    model = SoundOfPixels(config).eval()
    mags = torch.rand(2, 2, config.bins, config.stft_frames)
    pictures = torch.randn(2, 2, config.channels)
    logits = model.logits(pictures, model.feature_maps(mags.sum(1)))
    each = torch.nn.functional.binary_cross_entropy_with_logits(
        logits, masks.targets(mags, "binary"), reduction="none"
    )
    weight = masks.weights(mags.sum(1), "absolute").expand_as(each)
    assert objective.mask_loss(model, mags.sum(1), mags, pictures).item() == pytest.approx(
        ((each * weight).sum() / weight.sum()).item(), rel=1e-5
    )
    model.config = replace(config, loss_mean="bins")
    assert objective.mask_loss(model, mags.sum(1), mags, pictures).item() == pytest.approx(
        (each * weight).mean().item(), rel=1e-5
    )


@pytest.mark.parametrize("loss", ["bce", "l1", "l2"])
def test_the_loss_is_of_each_mask_alone_and_among_those_of_its_mixture(loss):
    """Three sources sound; two of them have pictures, and are compared with each other."""
    config = replace(
        TINY, loss=loss, output_activation="sigmoid", among=0.3, loss_mean="bins", share=False
    )
    torch.manual_seed(0)
    model = SoundOfPixels(config).eval()
    mags, pictures = (
        torch.rand(2, 3, config.bins, config.stft_frames),
        torch.randn(2, 2, config.channels),
    )
    mixture = mags.sum(1)
    logits = model.logits(pictures, model.feature_maps(mixture))
    loudest = mags.argmax(1)
    target = torch.stack([(loudest == n).float() for n in (0, 1)], 1)
    weight = torch.log1p(mixture / mixture.mean((1, 2), keepdim=True)).clamp(1e-3, 10)[:, None]
    if loss == "bce":
        each = torch.nn.functional.binary_cross_entropy_with_logits(
            logits, target, reduction="none"
        )
        among = torch.nn.functional.cross_entropy(
            logits, loudest.where(loudest < 2, -100), reduction="none"
        )[:, None]
        expected = (each * weight).mean() + 0.3 * (among * weight).mean()
    else:
        off = (logits.sigmoid() - target).abs()
        expected = (weight * (off if loss == "l1" else off**2)).mean()
    assert objective.mask_loss(model, mixture, mags, pictures).item() == pytest.approx(
        expected.item(), rel=1e-5
    )


def test_a_gradient_that_is_no_number_is_never_applied(tiny_clips, tmp_path, monkeypatch):
    loss, steps = objective.batch_loss, []

    def steep(model, batch):
        steps.append(1)
        nothing = (0 * model.synthesizer.bias).sum().sqrt()  # 0, and infinitely steep
        return loss(model, batch) + (nothing if len(steps) == 4 else 0)

    monkeypatch.setattr(objective, "batch_loss", steep)
    monkeypatch.setattr("sop_core.training.loop.SAVE_EVERY", 0)
    clips = r"\((.* \+ .*, ){3}.* \+ .*\)"
    what = "the gradient is not finite; the last good"
    with pytest.raises(SopError, match=f"epoch 2 step 2 {clips}: {what}"):
        list(fit(TINY, tiny_clips, tiny_clips, tmp_path / "run"))
    state = torch.load(tmp_path / "run" / "state" / "last.pt", weights_only=True)
    assert state["at"]["step"] == 1 and all(v.isfinite().all() for v in state["model"].values())


def test_a_run_does_not_go_on_with_other_clips(run, tiny_clips, tmp_path):
    shutil.copytree(run[0], tmp_path / "run")
    with pytest.raises(SopError, match="other clips in train .*the same ones in another order"):
        next(fit(TINY, tiny_clips[::-1], tiny_clips, tmp_path / "run", resume=True))
    with pytest.raises(SopError, match=r"other clips in val \(1: red/red_0\)"):
        next(fit(TINY, tiny_clips, tiny_clips[1:], tmp_path / "run", resume=True))
    assert (
        list(fit(replace(TINY, workers=1), tiny_clips, tiny_clips, tmp_path / "run", resume=True))
        == []
    )


def test_weights_lost_in_a_cut_come_back_from_the_state(run, tiny_clips, tmp_path):
    shutil.copytree(run[0], tmp_path / "run")
    best = run[1][-1].best
    for name in ("model.safetensors", "history.csv"):
        (tmp_path / "run" / name).unlink()
    assert list(fit(TINY, tiny_clips, tiny_clips, tmp_path / "run", resume=True)) == []
    assert checkpoint.read_history(tmp_path / "run") == run[1]
    assert (tmp_path / "run" / "model.safetensors").exists() == best


def test_a_history_that_is_open_in_a_spreadsheet_ends_no_training(
    tiny_clips, tmp_path, monkeypatch
):
    """Windows replaces no file that a program holds open."""
    replace_file, refused = Path.replace, [True]

    def held(self, target):
        if Path(target).name == "history.csv" and refused and refused.pop():
            raise PermissionError(errno.EACCES, "Access is denied")
        return replace_file(self, target)

    monkeypatch.setattr(Path, "replace", held)
    with pytest.warns(
        UserWarning, match=r"no history\.csv \(.*denied\); the next epoch.*writes it"
    ):
        records = list(fit(TINY, tiny_clips, tiny_clips, tmp_path / "run"))
    assert not refused and checkpoint.read_history(tmp_path / "run") == records


FULL = """
import resource, sys
from sop_core.__main__ import main
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
sys.exit(main(sys.argv[1:]))
"""


def test_a_disk_that_is_too_small_for_the_state_gets_one_line(undisturbed, tmp_path):
    done = train_apart(undisturbed[0], tmp_path, "run", "-c", FULL)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "file too large; make room, or choose another folder" in done.stderr.splitlines()[-1]
    assert not list(tmp_path.rglob(".part-*")) and not list(tmp_path.rglob("last.pt"))


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_too_little_memory_is_said_in_one_line(tiny_clips, tmp_path, monkeypatch, error):
    def full(*_):
        raise error

    monkeypatch.setattr(objective, "batch_loss", full)
    with pytest.raises(
        SopError, match="epoch 1 step 1: out of memory; .* lower --set batch, or accumulate=2, and"
    ):
        next(fit(TINY, tiny_clips, tiny_clips, tmp_path / "run"))


def test_two_processes_learn_what_one_does(undisturbed, tmp_path):
    """Each takes half of every batch. Sums over both are what one sums: losses agree to rounding.

    Stopped in the middle of an epoch and resumed, they end as if they had not been.
    """
    index, folder = undisturbed
    done = train_apart(index, tmp_path, "two", *TWICE, "-m", "sop_core")
    assert done.returncode == 0, done.stderr[-1500:]
    assert done.stdout.count("epoch   1/2") == 1  # only the first one speaks
    assert (tmp_path / "two" / "visualization" / "index.html").exists()
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    for where in ("Ctrl-C in step 1", "resume"):
        command = [sys.executable, *TWICE, script, where, index, tmp_path / "again"]
        environment = ENVIRONMENT | {"ACCELERATE_USE_CPU": "true"}
        done = subprocess.run(
            list(map(str, command)), capture_output=True, text=True, env=environment
        )
        assert (done.returncode == 0) == (where == "resume"), done.stderr[-1500:]
    assert (
        torch.load(tmp_path / "again" / "state" / "last.pt", weights_only=True)["at"]["step"] == 0
    )
    one, two, again = (
        checkpoint.read_history(f) for f in (folder, tmp_path / "two", tmp_path / "again")
    )
    for a, b, c in zip(one, two, again, strict=True):
        assert b.loss == pytest.approx(a.loss, rel=1e-4) and c.loss == pytest.approx(
            b.loss, rel=1e-6
        )
        assert b.val_sdr == pytest.approx(a.val_sdr, abs=0.05) and c.val_sdr == pytest.approx(
            b.val_sdr, abs=1e-3
        )
    one, two = (load_file(f / "model.safetensors") for f in (folder, tmp_path / "two"))
    for key in one:
        torch.testing.assert_close(one[key].float(), two[key].float(), rtol=0.02, atol=2e-3)


NOTEBOOK = """
import sys
import torch
from pathlib import Path
from tiny import TINY
from sop_core.training import engine
from sop_core.training.loop import fit_on_gpus
from sop_core.data.clips import read_index
torch.set_num_threads(2)
# a kernel that has computed: its forks must not hang
print((torch.rand(500, 500) @ torch.rand(500, 500)).sum())
engine.accelerator(TINY, "cpu")  # an earlier cell looked at pictures
torch.cuda.device_count = lambda: 3  # a batch of 4, mixed twice, can be shared by 1 or 2
clips = read_index(Path(sys.argv[1]))
records = fit_on_gpus(TINY, clips, clips, Path(sys.argv[2]))
print([r.epoch for r in records])
"""


def test_a_notebook_can_use_several_devices(undisturbed, tmp_path):
    """The launcher's processes, on the CPU here, while another notebook has the launcher's port."""
    index, folder = undisturbed
    command = [sys.executable, "-c", NOTEBOOK, index, tmp_path / "run"]
    environment = ENVIRONMENT | {"ACCELERATE_USE_CPU": "true"}
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):  # taken already: all the better
            other.bind(("127.0.0.1", 29_500))
            other.listen()
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=900)
    assert done.returncode == 0 and "[1, 2]" in done.stdout, done.stderr[-1500:]
    assert "training on 2 " in done.stdout
    for a, b in zip(
        checkpoint.read_history(folder), checkpoint.read_history(tmp_path / "run"), strict=True
    ):
        assert b.loss == pytest.approx(a.loss, rel=1e-4)


@pytest.mark.parametrize("workers", [0, 2])
def test_files_that_cannot_be_read_are_named_once_and_counted(tmp_path, workers):
    clips = [write_clip(tmp_path, label, n) for n in range(3) for label in ("red", "blue")]
    for k in range(24):
        (clips[0].frames / f"{k + 1:06d}.jpg").write_bytes(b"no picture")
    with pytest.warns(UserWarning) as said:
        records = list(fit(replace(TINY, workers=workers), clips, clips[1:], tmp_path / "run"))
    names = [str(w.message) for w in said if "skipped" in str(w.message)]
    assert names and len(names) == len(set(names)) and all("red_0.mp4" in n for n in names)
    assert [r.skipped > 0 for r in records] == [True, True]
    assert checkpoint.read_history(tmp_path / "run") == records
    with pytest.raises(
        SopError, match=r"^1\d* mixtures in a row could not be read; the last: [^\n]*no such file$"
    ):
        batches = DataLoader(Broken(), 2, num_workers=workers)
        list(engine.read(batches))


class Broken(Dataset):
    """What a loader's worker does when all files have gone."""

    def __len__(self):
        return 4

    def __getitem__(self, i):
        raise SopError("10 mixtures in a row could not be read; the last: a.mp3: no such file")


class Dying(Dataset):
    """A loader's processes end by `how`: a signal, or torch's message of too little memory."""

    def __init__(self, how):
        self.how = how

    def __len__(self):
        return 4

    def __getitem__(self, i):
        if isinstance(self.how, str):
            raise RuntimeError(self.how)
        os.kill(os.getpid(), self.how)


SHARED_MEMORY = (
    "unable to allocate shared memory(shm) for file </torch_7_1_0>: No space left on device (28)"
)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        (
            signal.SIGKILL,
            r"^epoch 3: a process that reads clips was killed.* state is kept: .* "
            r"--resume --set workers=0",
        ),
        (
            signal.SIGBUS,
            r"^epoch 3: .*shared memory.* --shm-size=2g",
        ),  # memory with no page behind it
        (
            SHARED_MEMORY,
            r"^epoch 3: too little shared memory .* --resume --set workers=0 .* --shm-size=2g$",
        ),
    ],
)
def test_a_loader_that_dies_gets_one_clear_sentence(how, said):
    with pytest.raises(SopError, match=said), engine.readers("epoch 3"):
        list(
            engine.read(
                DataLoader(Dying(how), 2, num_workers=1, worker_init_fn=engine.ignore_sigint)
            )
        )
    with pytest.raises(RuntimeError, match="another"), engine.readers("epoch 3"):
        raise RuntimeError("another")


def test_sigterm_in_validation_waits_for_one_mixture_and_costs_no_step(
    run, tiny_clips, tmp_path, monkeypatch
):
    scored, score = [], metrics.bss

    def counted(*args):
        scored.append(1)
        if (
            len(scored) == TINY.val_pairs + 1
        ):  # the first of the model's own, after those of doing nothing
            os.kill(os.getpid(), signal.SIGTERM)
        return score(*args)

    monkeypatch.setattr(metrics, "bss", counted)
    with pytest.raises(Terminated):
        next(fit(TINY, tiny_clips, tiny_clips, tmp_path / "run"))
    assert len(scored) == TINY.val_pairs + 1
    steps = TINY.epoch_size // TINY.batch
    assert checkpoint.read_state(tmp_path / "run")["at"]["step"] == steps
    again = list(fit(TINY, tiny_clips, tiny_clips, tmp_path / "run", resume=True))
    for a, b in zip(again, run[1], strict=True):
        assert (a.loss, a.val_sdr) == pytest.approx((b.loss, b.val_sdr), rel=1e-4)
    assert all(r.mixtures_per_second > 0 for r in again)


def test_a_run_that_had_learned_nothing_does_not_block_the_next(tiny_clips, tmp_path, monkeypatch):
    def die(*_):
        raise RuntimeError(SHARED_MEMORY)

    with monkeypatch.context() as patch:
        patch.setattr(_Run, "epoch", die)
        with pytest.raises(SopError, match="epoch 1: .* shared memory"):
            next(fit(TINY, tiny_clips, tiny_clips, tmp_path / "run"))
    assert not list((tmp_path / "run").iterdir())
    checkpoint.start(
        tmp_path / "run", TINY, {"train": tiny_clips, "val": tiny_clips}, False
    )  # one that learns just now
    with pytest.raises(SopError, match="holds a run already; go on with --resume"):
        next(fit(TINY, tiny_clips, tiny_clips, tmp_path / "run"))
    assert checkpoint.read_config(tmp_path / "run") == TINY  # it is still its
    checkpoint.free(tmp_path / "run")
    other = replace(TINY, batch=8, epochs=1)
    assert len(list(fit(other, tiny_clips[1:], tiny_clips, tmp_path / "run"))) == 1
    assert checkpoint.read_config(tmp_path / "run") == other
    assert len(checkpoint.read_clips(tmp_path / "run")["train"]) == len(tiny_clips) - 1
    with pytest.raises(SopError, match="holds a run already"):
        next(fit(other, tiny_clips[1:], tiny_clips, tmp_path / "run"))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("config.json", "not a config that can be read"),
        ("clips.csv", "not a run's list of clips"),
        ("history.csv", "not the history of a training; remove it"),
        (
            "state/last.pt",
            "not a state that can be read .*remove it, and --resume starts the run over",
        ),
    ],
)
def test_a_file_of_a_run_that_is_something_else_gets_one_clear_sentence(
    run, tiny_clips, tmp_path, name, said
):
    shutil.copytree(run[0], tmp_path / "run")
    (tmp_path / "run" / name).write_bytes(b"\xff\xfe\x00 no text, \x80 nor a state")
    readers = [checkpoint.read_history] if name == "history.csv" else [
        lambda folder: next(fit(TINY, tiny_clips, tiny_clips, folder, resume=True))
    ]  # fmt: skip
    for read in [*readers, *([checkpoint.load_model] if name == "config.json" else [])]:
        with pytest.raises(SopError, match=f"{name}: {said}"):
            read(tmp_path / "run")


def test_memory_is_kept_for_as_long_as_a_training_and_no_longer(tiny_clips, tmp_path, monkeypatch):
    """Also where it ends early: a notebook's kernel goes on to do other things."""
    called = []

    class Libc:
        def mallopt(self, what, value):
            called.append((what, value))

        def malloc_trim(self, _):
            called.append("given back")

    monkeypatch.setattr(engine.ctypes, "CDLL", lambda _: Libc())
    config = replace(TINY, epochs=3)
    monkeypatch.setattr(_Run, "epoch", lambda *_: (0.5, 0, 1.0))
    training = fit(config, tiny_clips, tiny_clips, tmp_path / "closed", device="cpu")
    assert not called and next(training) and called == [(-4, 0), (-1, -1)]
    training.close()
    assert called[2:] == [(-4, 65_536), (-3, 2**25), (-1, 2**26), "given back"]
    called.clear()
    monkeypatch.setattr(_Run, "epoch", None)
    with pytest.raises(TypeError):
        next(fit(config, tiny_clips, tiny_clips, tmp_path / "broken", device="cpu"))
    assert called[-1] == "given back"


TERMINATED = """
import os, signal, sys
from sop_core.training import objective
from sop_core.__main__ import main
step, steps = objective.batch_loss, []
def counted(*args):
    steps.append(1)
    if len(steps) == 1:
        os.killpg(0, signal.SIGTERM)  # as Slurm does: the loader's processes get it too
    return step(*args)
objective.batch_loss = counted
sys.exit(main(sys.argv[1:]))
"""


def test_sigterm_saves_as_ctrl_c_does(undisturbed, tmp_path):
    index, folder = undisturbed
    more = {"own_group": True, "workers": "2"}
    done = train_apart(index, tmp_path, "run", "-c", TERMINATED, **more)
    assert done.returncode == 143 and "Traceback" not in done.stderr, done.stderr[-1500:]
    assert done.stderr.splitlines()[-1] == "sop train: stopped; what was finished is kept"
    assert torch.load(tmp_path / "run" / "state" / "last.pt", weights_only=True)["at"]["step"] == 1
    fit_apart("resume", index, tmp_path / "run")
    rows = [
        [(r.epoch, r.loss, r.val_sdr) for r in checkpoint.read_history(f)]
        for f in (tmp_path / "run", folder)
    ]
    assert rows[0] == rows[1]


def test_a_model_that_is_loaded_is_ready_to_separate(run):
    assert not any(module.training for module in checkpoint.load_model(run[0]).modules())


def test_a_missing_or_broken_checkpoint_gets_one_clear_sentence(run, tmp_path):
    with pytest.raises(SopError, match="no checkpoint there"):
        checkpoint.load_model(tmp_path)
    folder, _ = run
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    (tmp_path / "model.safetensors").write_bytes(b"no weights at all")
    with pytest.raises(SopError, match="not the weights"):
        checkpoint.load_model(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"colour": "red"}))
    with pytest.raises(SopError, match="config.json: not a config"):
        checkpoint.load_model(tmp_path)


def test_nobody_is_asked_for_noise():
    """In bins where noise is the loudest, full masks cost more, and empty ones less."""
    torch.manual_seed(0)
    model = SoundOfPixels(replace(TINY, weighted=False)).eval()
    sources = torch.rand(2, 2, TINY.bins, TINY.stft_frames)
    full = torch.full((2, 2, TINY.channels), 9.0)
    noise = 10 * torch.ones(2, 1, TINY.bins, TINY.stft_frames)
    loud, quiet = (torch.cat([sources, level * noise], 1) for level in (1, 0))
    ask = lambda heard, pictures: objective.mask_loss(model, sources.sum(1), heard, pictures).item()  # noqa: E731
    assert ask(loud, full) > ask(quiet, full) and ask(loud, -full) < ask(quiet, -full)


@pytest.mark.parametrize("unseen", [False, True])
@pytest.mark.parametrize("noisy", [(), (1,), (0, 1, 2)])
def test_what_no_picture_shows_is_heard_in_the_mixtures_that_have_it(noisy, unseen):
    """The loss of a batch is that of the waveforms added up one by one, with noise and more."""
    torch.manual_seed(0)
    model = SoundOfPixels(TINY).eval()
    sounds, noise = torch.randn(3, 2, TINY.samples), torch.zeros(3, TINY.samples)
    noise[list(noisy)] = torch.randn(len(noisy), TINY.samples)
    more = torch.zeros(3, 2, TINY.samples)
    if unseen:
        more[1], more[2, 0] = torch.randn(2, TINY.samples), torch.randn(TINY.samples)
    seen = {
        "frames": torch.randint(0, 256, (3, 2, 1, 3, TINY.image, TINY.image), dtype=torch.uint8)
    }
    batch = {"sounds": sounds, "noise": noise, "jitter": torch.ones(3, 2, 3), **seen}
    if unseen:
        batch["unseen"] = more
        noise = noise + more.sum(1)
    heard = model.magnitudes(model.stft(torch.cat([sounds, noise[:, None]], 1)))
    mixture = model.magnitudes(model.stft(sounds.sum(1) + noise))
    expected = objective.mask_loss(model, mixture, heard, objective.pictures(model, batch))
    assert objective.batch_loss(model, batch).item() == pytest.approx(expected.item(), rel=1e-5)
    assert objective.Objective(model)(batch).item() == pytest.approx(expected.item(), rel=1e-5)


def test_training_learns_which_square_sounds_how(tiny_clips, empty_rooms):
    """Red sounds low, blue sounds high, a wall is silent: a few dozen steps tell them apart."""
    torch.manual_seed(0)
    model = SoundOfPixels(TINY).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    data = Training([*tiny_clips, *empty_rooms], replace(TINY, epoch_size=400, silence=0.2))
    losses = []
    for step in range(50):
        batch = torch.utils.data.default_collate([data[8 * step + i] for i in range(8)])
        loss = objective.batch_loss(model, batch)
        optimizer.zero_grad(), loss.backward(), optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-10:]) < 0.7 * np.mean(losses[:5])
    pairs = draw_pairs(tiny_clips, 6, TINY, labels="different")
    assert validate(model, pairs, TINY) > validate(None, pairs, TINY) + 5
    wall, square = (read_frames(clip.frames, [0]) for clip in (empty_rooms[0], tiny_clips[0]))
    sound = read_sound(tiny_clips[0].sound)
    assert Scene(model.eval(), wall, sound).energy().max() < 0.1
    # bins with over half of the energy are rather a cell's own than not
    assert shares_of(Scene(model, square, sound).certain).max() > 0.5


def test_schedule_rises_then_falls_to_nothing():
    shares = [schedule(i, 100) for i in range(100)]
    top = shares.index(max(shares))
    assert 0 < shares[0] < shares[top] == 1.0 and top == 9  # the tenth of 100 steps
    assert shares[-1] < 0.01
    assert all(a >= b for a, b in zip(shares[top:], shares[top + 1 :], strict=False))


def _listens(ready, asked, seconds):
    engine.GRACE = seconds
    engine.ignore_sigint()
    ready.set()
    while True:
        time.sleep(0.02)  # not signal.pause(): what comes just before it would not wake it
        if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            asked.set()


@pytest.mark.parametrize("terms", [1, 2])
def test_a_loaders_process_outlives_sigterm_but_not_for_ever(terms):
    """Python sends it once at its exit, and waits: a process that ignored it would hang there."""
    context = multiprocessing.get_context("fork")
    ready, asked = context.Event(), context.Event()
    seconds = 1 if terms == 1 else 600
    process = context.Process(target=_listens, args=(ready, asked, seconds), daemon=True)
    process.start()
    assert ready.wait(60)
    process.terminate()
    assert asked.wait(60)
    if terms == 2:
        process.terminate()
    process.join(60)
    assert process.exitcode == (-signal.SIGALRM if terms == 1 else -signal.SIGTERM)


def test_validation_evaluates_a_model_that_was_training(tiny_clips):
    """Batch statistics are neither used nor changed by a validation."""
    torch.manual_seed(0)
    model, pairs = SoundOfPixels(TINY), draw_pairs(tiny_clips, 3, TINY)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    assert validate(model.train(), pairs, TINY) == validate(model.eval(), pairs, TINY)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_each_part_learns_at_its_own_rate():
    model = SoundOfPixels(replace(TINY, lr_sound=1.0, lr_frame=2.0, lr_fc=3.0))
    _, optimizer = trainable(model, engine.accelerator(TINY, "cpu"))
    rate = {
        parameter: group["base"]
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    for part, expected in (
        ("sound", 1.0),
        ("synthesizer", 1.0),
        ("frame.features", 2.0),
        ("frame.fc", 3.0),
    ):
        parameters = list(model.get_submodule(part).parameters())
        assert parameters and {rate.pop(parameter) for parameter in parameters} == {expected}, part
    assert not rate


def test_a_part_that_somebody_adds_to_the_model_learns():
    """Such as a fusion of one's own; what is frozen stays out."""
    model = SoundOfPixels(TINY)
    model.fusion, model.fixed = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2).requires_grad_(False)
    learns = {p for group in make_optimizer(model).param_groups for p in group["params"]}
    assert learns == {p for p in model.parameters() if p.requires_grad}
    assert {*model.fusion.parameters()} < learns
