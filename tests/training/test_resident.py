"""Sounds and features in a GPU's memory: the batches are those that are read from the files."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import SEEING, TONES, write_clip
from torch.utils.data import default_collate

from sop_core.errors import SopError
from sop_core.model.model import SoundOfPixels
from sop_core.training import engine, looks
from sop_core.training.mixtures import Training
from sop_core.training.objective import batch_loss
from sop_core.training.resident import Resident, fits

CONFIG = replace(SEEING, noise=0.5, unseen=0.5, together=0.5, frames=2, epochs=20)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model():
    return SoundOfPixels(CONFIG).eval()


@pytest.fixture
def clips(tmp_path):
    return [write_clip(tmp_path, label, n) for n in range(2) for label in TONES]


def training(clips, model, config=CONFIG) -> Training:
    data = Training(clips, config)
    data.looked = looks.look_once(data, model.frame, engine.accelerator(config, "cpu"))
    return data


@pytest.mark.parametrize("mixture", ["sum", "mean"])
def test_batches_are_those_of_the_files(clips, model, mixture):
    config = replace(CONFIG, mixture=mixture)
    read, numbers = training(clips, model, config), training(clips, model, config)
    resident = Resident(numbers, CPU, progress=False)
    numbers.resident = resident.unread
    seen = set()
    for first in range(0, 24, 4):
        expected = default_collate([read[i] for i in range(first, first + 4)])
        sent = default_collate([numbers[i] for i in range(first, first + 4)])
        assert not {"sounds", "seen", "frames"} & sent.keys()
        batch = resident.fill(sent)
        assert batch.keys() == expected.keys() and batch["names"] == expected["names"]
        atols = {"sounds": 2**-15, "unseen": 2**-15, "seen": 0, "cells": 0, "noise": 1e-4}
        for key, atol in atols.items():
            torch.testing.assert_close(batch[key], expected[key], atol=atol, rtol=0)
        seen |= {
            (bool(n.any()), bool(c.all()), bool(u.any()))
            for n, c, u in zip(batch["noise"], batch["cells"], batch["unseen"], strict=True)
        }
        for part in (batch, expected):
            part.pop("names"), part.pop("skipped")
        losses = [batch_loss(model, part).item() for part in (batch, expected)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    assert len(seen) == 8  # with noise, side by side, with what isn't shown; and without


def test_what_can_not_be_read_is_drawn_again_as_from_the_files(clips, model):
    read, numbers = training(clips, model), training(clips, model)
    clips[0].sound.write_bytes(clips[0].sound.read_bytes()[:30])
    blind = numbers.looked.table.copy()
    blind[1, :, 0, 0, 0] = np.nan
    np.save(numbers.looked.path, blind)
    for data in (read, numbers):
        data.looked = looks.Looks(data.looked.path, data.looked.looks)
    resident = Resident(numbers, CPU, progress=False)
    numbers.resident = resident.unread
    reasons = set()
    for i in range(24):
        try:
            expected = read[i]
        except SopError:
            continue
        assert numbers[i]["names"] == expected["names"]
        assert numbers[i]["skipped"] == expected["skipped"]
        reasons |= set(expected["skipped"].splitlines())
    assert any(str(clips[0].sound) in reason for reason in reasons)
    assert any("a picture could not be read" in reason for reason in reasons)


def test_it_is_for_gpus_with_room(clips, model, monkeypatch):
    data = training(clips, model)
    assert not fits(data, CPU)
    needed = data.looked.table.nbytes + 2 * sum(data.lengths.values())
    gpu = torch.device("cuda")
    for free, answer in ((2 * needed + 2, True), (2 * needed - 2, False)):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _, free=free: (free, free))
        assert fits(data, gpu) is answer
    data.config = replace(data.config, looks=0)
    assert not fits(data, gpu)
