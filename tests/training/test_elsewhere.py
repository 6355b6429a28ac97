"""`acoustics` changes the sources of training, each alone; `absent` adds to its loss."""

import itertools
import json
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from tiny import TINY

from sop_core.config import Config
from sop_core.errors import SopError
from sop_core.model.model import SoundOfPixels
from sop_core.training import engine, loop, objective
from sop_core.training.loop import fit
from sop_core.training.mixtures import Training
from sop_core.training.objective import heard_elsewhere

ELSEWHERE = replace(TINY, acoustics=1.0)


def batches(clips, config):
    """The sounds of the batches of a whole training, as they are read. Shape: (steps, B, N, L)"""
    data = Training(clips, config)
    sounds = torch.stack([data[i]["sounds"] for i in range(len(data))])
    return sounds.unflatten(0, (-1, config.batch))


@pytest.fixture
def trained_on(monkeypatch):
    """The sounds of each step, the magnitudes of its sources and of its mixture."""
    seen, loss, mask_loss = [], objective.batch_loss, objective.mask_loss

    def batch_loss(model, batch):
        seen.append([batch["sounds"], model])
        return loss(model, batch)

    def masks_of(model, mixture, sources, *pictures):
        seen[-1] += [sources, mixture]
        return mask_loss(model, mixture, sources, *pictures)

    monkeypatch.setattr(objective, "batch_loss", batch_loss)
    monkeypatch.setattr(objective, "mask_loss", masks_of)
    return seen


def test_a_training_hears_other_sounds_which_add_up_to_its_mixtures(
    tiny_clips, tmp_path, trained_on
):
    records = list(fit(ELSEWHERE, tiny_clips, tiny_clips, tmp_path / "run"))
    files = batches(tiny_clips, ELSEWHERE)
    assert len(trained_on) == len(files) == 4
    for step, ((sounds, model, sources, mixture), read) in enumerate(
        zip(trained_on, files, strict=True)
    ):
        assert torch.equal(sounds, heard_elsewhere(read, ELSEWHERE, step))
        off = (sounds - read).flatten(0, 1).square().mean(1)
        assert (off > 1e-3 * read.flatten(0, 1).square().mean(1)).float().mean() > 0.8
        torch.testing.assert_close(sources, model.magnitudes(model.stft(sounds)))
        expected = model.magnitudes(model.stft(sounds.sum(1)))
        torch.testing.assert_close(mixture, expected, rtol=1e-3, atol=1e-3)
    # validation hears what is in the files
    plain = next(iter(fit(TINY, tiny_clips, tiny_clips, tmp_path / "plain")))
    assert records[0].val_sdr_mixture == plain.val_sdr_mixture
    assert records[0].loss != plain.loss


def test_without_it_the_sounds_are_those_of_the_files(
    tiny_clips, tmp_path, trained_on, monkeypatch
):
    monkeypatch.setattr(loop, "heard_elsewhere", None)  # nobody calls it
    list(fit(TINY, tiny_clips, tiny_clips, tmp_path / "run"))
    files = batches(tiny_clips, TINY)
    assert all(torch.equal(step[0], read) for step, read in zip(trained_on, files, strict=True))


def test_it_is_drawn_from_the_seed_and_the_step_for_a_share_of_the_sources(tiny_clips, empty_rooms):
    config = replace(TINY, acoustics=0.6, silence=1.0, epoch_size=40, batch=40)
    read = batches([*tiny_clips, *empty_rooms], config)[0]
    assert not read[:, 1].any()
    heard = [heard_elsewhere(read, config, step) for step in range(6)]
    assert not any(h[:, 1].any() for h in heard)  # a silent scene stays silent
    same = torch.stack([(h[:, 0] == read[:, 0]).all(1) for h in heard])
    assert 1 - same.double().mean().item() == pytest.approx(0.6, abs=0.1)
    assert not torch.equal(same[0], same[1])
    assert torch.equal(heard_elsewhere(read, config, 3), heard[3])
    assert not torch.equal(heard_elsewhere(read, replace(config, seed=1), 3), heard[3])
    levels = [h[:, 0].square().mean(1).sqrt() for h in (read, heard[3])]
    torch.testing.assert_close(*levels, rtol=1e-3, atol=0)
    # four processes have a quarter of the batch each
    parts = [heard_elsewhere(part, config, 3, k, 4) for k, part in enumerate(read.chunk(4))]
    torch.testing.assert_close(torch.cat(parts), heard[3], rtol=0, atol=1e-6)


def test_what_no_picture_shows_is_heard_elsewhere_as_well(tiny_clips, tmp_path, monkeypatch):
    config = replace(ELSEWHERE, unseen=1.0)
    trained, loss = [], objective.batch_loss
    monkeypatch.setattr(
        objective, "batch_loss", lambda model, batch: trained.append(batch) or loss(model, batch)
    )
    list(fit(config, tiny_clips, tiny_clips, tmp_path / "run"))
    data = Training(tiny_clips, config)
    files = [torch.stack([data[4 * k + i]["unseen"] for i in range(4)]) for k in range(4)]
    for batch, read in zip(trained, files, strict=True):
        assert batch["sounds"].shape == batch["unseen"].shape == (4, 2, TINY.samples)
        sounding = read.any(2)
        assert torch.equal(batch["unseen"].any(2), sounding) and sounding[:, 0].all()
        off = (batch["unseen"] - read)[sounding].square().mean(1)
        assert (off > 1e-3 * read[sounding].square().mean(1)).float().mean() > 0.7


@pytest.mark.parametrize("unseen", [0.0, 0.7])
def test_a_run_that_goes_on_or_has_workers_learns_the_same(tiny_clips, tmp_path, unseen):
    config = replace(TINY, acoustics=0.5, unseen=unseen)
    whole = list(fit(config, tiny_clips, tiny_clips, tmp_path / "whole"))
    first = next(iter(fit(config, tiny_clips, tiny_clips, tmp_path / "halves")))
    rest = fit(replace(config, workers=2), tiny_clips, tiny_clips, tmp_path / "halves", resume=True)
    for a, b in zip([first, *rest], whole, strict=True):
        assert a.loss == pytest.approx(b.loss, rel=1e-5)
        assert a.val_sdr == pytest.approx(b.val_sdr, abs=1e-3)


def test_a_config_from_before_there_were_acoustics_has_none():
    values = asdict(TINY)
    del values["acoustics"]
    assert Config.from_json(json.dumps(values), "here") == TINY and TINY.acoustics == 0
    # with the published clips, too, it changes nothing but training's sounds
    assert TINY.override({"profile": "sop2018", "acoustics": "0.5"}).acoustics == 0.5


def test_a_picture_of_another_mixture_should_get_nothing():
    """`absent`: the mask of the least alike picture of others, against silence, by hand."""
    generator = torch.Generator().manual_seed(2)
    mixture = torch.rand(3, TINY.bins, TINY.stft_frames, generator=generator)
    sources = torch.rand(3, 2, TINY.bins, TINY.stft_frames, generator=generator)
    features = torch.randn(3, 2, TINY.channels, generator=generator)
    torch.manual_seed(0)
    model = SoundOfPixels(TINY).eval()
    with torch.no_grad():
        before = objective.mask_loss(model, mixture, sources, features)
        model.config = replace(TINY, absent=0.5)
        after = objective.mask_loss(model, mixture, sources, features)
        shown = features.sigmoid().flatten(0, 1)
        centred = (shown - shown.mean(0)).view(3, 2, -1)
        alike = np.full((3, 3), np.inf)
        for i, j in itertools.permutations(range(3), 2):
            alike[i, j] = max(torch.cosine_similarity(a, centred[j, 0], 0) for a in centred[i])
        of_others = features[alike.argmin(1), :1]
        alone = [part[:1] for part in (mixture, sources, features)]
        model.config = TINY
        without = objective.mask_loss(model, *alone)
        model.config = replace(TINY, absent=0.5)
        assert objective.mask_loss(model, *alone) == without  # there is no other mixture
        masks = model.logits(of_others, model.feature_maps(mixture)).sigmoid().double().numpy()
    weight = np.log1p(mixture.numpy() / mixture.numpy().mean((1, 2), keepdims=True)).clip(1e-3, 10)
    errors = -np.log(1 - masks[:, 0]) * weight / weight.mean()
    unlike = alike.min(1) < 0
    assert 0 < unlike.sum() < 3
    expected = 0.5 * (errors * unlike[:, None, None]).mean()
    assert (after - before).item() == pytest.approx(expected, rel=1e-4)


def test_the_weight_of_what_should_get_nothing_rises_with_the_training(
    tiny_clips, tmp_path, monkeypatch
):
    """From 0, by equal steps; a run that goes on continues the rise."""
    asked, mask_loss = [], objective.mask_loss

    def at(model, mixture, sources, pictures, videos, done):
        def loss_and_slope(absent, done):
            model.config = replace(config, absent=absent)
            loss = mask_loss(model, mixture, sources, pictures, videos, done)
            (slope,) = torch.autograd.grad(loss, model.synthesizer.bias)
            return loss.item(), slope.item()

        without, rising, whole = (loss_and_slope(*how) for how in ((0, 1), (0.5, done), (0.5, 1)))
        assert rising[0] == pytest.approx(whole[0])  # losses of all epochs can be compared
        asked.append((done, rising[1] - without[1], whole[1] - without[1]))
        model.config = config
        return mask_loss(model, mixture, sources, pictures, videos, done)

    monkeypatch.setattr(objective, "mask_loss", at)
    config = replace(TINY, absent=0.5, epochs=2, epoch_size=16)
    next(iter(fit(config, tiny_clips, tiny_clips, tmp_path / "run")))
    list(fit(config, tiny_clips, tiny_clips, tmp_path / "run", resume=True))
    done, slope, whole = np.array(asked).T
    np.testing.assert_allclose(done, np.arange(8) / 8)
    assert (whole > 1e-3).sum() >= 4  # in some batches all pictures show what sounds
    np.testing.assert_allclose(slope, done * whole, atol=1e-5)


@pytest.mark.parametrize("count", [3, 6, 13])
def test_a_picture_that_shows_what_sounds_is_not_asked_to_be_empty(count):
    """Of pairs of three instruments, drawn blindly, two in three have the other picture's."""
    rng = np.random.default_rng(0)
    instruments = torch.tensor(rng.uniform(size=(count, 16)), dtype=torch.float32)
    pairs = np.stack([rng.choice(count, 2, replace=False) for _ in range(800)]).reshape(100, 8, 2)
    asked = wrong = blind = 0
    for batch in pairs:
        noise = torch.tensor(rng.normal(0, 0.1, (8, 2, 16)), dtype=torch.float32)
        taken, unlike = (x.numpy() for x in objective.others(instruments[batch] + noise))
        assert (taken != np.arange(8)).all()
        asked += unlike.sum()
        wrong += sum(batch[j, 0] in batch[i] for i, j in enumerate(taken) if unlike[i])
        blind += sum(batch[i - 1, 0] in batch[i] for i in range(8))
    assert blind > 800 / count and wrong < 0.02 * asked and asked > 0.7 * 800


def test_a_picture_of_a_video_that_sounds_is_never_taken_for_an_absent_one():
    """Of the few clips of one's own, other mixtures have the same ones."""
    generator = torch.Generator().manual_seed(0)
    videos = torch.tensor([[0, 1], [1, 2], [0, 2], [3, 1]])
    looks = torch.tensor([[0, 1], [2, 3], [0, 2], [3, 1]])  # how their pictures look
    features = 6.0 * torch.nn.functional.one_hot(looks, TINY.channels)
    taken, unlike = objective.others(features, videos)
    free = [[j for j in range(4) if videos[j, 0] not in videos[i]] for i in range(4)]
    assert unlike.tolist() == [bool(f) for f in free] == [True, True, True, True]
    assert all(int(taken[i]) in free[i] for i in range(4))
    # the same for a video that sounds and isn't shown: the first mixture has no candidate left
    unseen = torch.tensor([[3, 1], [-1, -1], [-1, -1], [2, -1]])
    hidden, unlike = objective.others(features, torch.cat([videos, unseen], 1))
    free = [[j for j in free[i] if videos[j, 0] not in unseen[i]] for i in range(4)]
    assert unlike.tolist() == [bool(f) for f in free] == [False, True, True, True]
    assert all(int(hidden[i]) in free[i] for i in range(1, 4))
    # two clips: every other mixture is of the same two, and nothing is asked to be empty
    both = torch.tensor([[0, 1], [1, 0], [0, 1]])
    assert not objective.others(features[:3], both)[1].any()
    mixture = torch.rand(3, TINY.bins, TINY.stft_frames, generator=generator)
    sources = torch.rand(3, 2, TINY.bins, TINY.stft_frames, generator=generator)
    model = SoundOfPixels(TINY).eval()
    with torch.no_grad():
        without = objective.mask_loss(model, mixture, sources, features[:3], both)
        model.config = replace(TINY, absent=0.5)
        assert objective.mask_loss(model, mixture, sources, features[:3], both) == without
        assert objective.mask_loss(model, mixture, sources, features[:3]) > without


def test_a_batch_says_which_videos_it_shows(tiny_clips):
    parts = [replace(clip, section_of="film") for clip in tiny_clips[:2]]
    data = Training([*parts, *tiny_clips[2:]], replace(TINY, absent=0.5))
    ids = {clip: int(number) for clip, number in data.videos.items()}
    assert ids[parts[0]] == ids[parts[1]] and len({*ids.values()}) == len(ids) - 1
    shown = [data[i]["videos"].tolist() for i in range(8)]
    drawn = [[ids[part.clip] for part in data.draw(i).mixture] for i in range(8)]
    assert shown == drawn and "videos" not in Training(tiny_clips, TINY)[0]


def test_absent_needs_two_mixtures_in_a_part_of_a_batch():
    with pytest.raises(SopError, match=r"absent=0.5 needs .* another mixture; batch=1, expected a"):
        engine.accelerator(replace(TINY, absent=0.5, batch=1), "cpu")
