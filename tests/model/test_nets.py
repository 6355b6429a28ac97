"""The nets against the released code: the same weights and inputs give the same numbers.

`golden/nets.npz` and `golden/state_dicts.json` come from running that code once (commit 4535034 of
its repository).
"""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from goldens import GOLDEN, ruled
from tiny import TINY

from sop_core.config import DEMO, MUSIC
from sop_core.model.model import SoundOfPixels
from sop_core.model.resnet import FrameNet
from sop_core.model.synthesizer import Synthesizer
from sop_core.model.unet import SoundNet


@pytest.fixture(scope="module")
def golden():
    return np.load(GOLDEN / "nets.npz")


@pytest.fixture(scope="module")
def inputs():
    rng = np.random.default_rng(0)
    sound = rng.standard_normal((1, 1, 256, 256)).astype(np.float32)
    # (B, 3, V, h, w), normalised already
    frames = rng.standard_normal((1, 3, 3, 224, 224)).astype(np.float32)
    return torch.from_numpy(sound), torch.from_numpy(frames)


@pytest.mark.parametrize(
    ("name", "net"),
    [(f"sound/unet{d}/fc_dim32", lambda d=d: SoundNet(32, d)) for d in (5, 6, 7)]
    + [
        ("frame/resnet18dilated/fc_dim32", lambda: FrameNet(32)),
        ("synthesizer/linear/fc_dim32", lambda: Synthesizer(32)),
    ],
)
def test_state_dict_has_the_released_keys_shapes_and_order(name, net):
    expected = json.loads((GOLDEN / "state_dicts.json").read_text())[name]
    assert [[k, list(v.shape)] for k, v in net().state_dict().items()] == expected


def test_forward_equals_the_released_code(golden, inputs):
    sound, frames = inputs
    frame = ruled(FrameNet(32))
    frame.mean.zero_(), frame.std.fill_(1.0)  # the golden frames are normalised already
    with torch.inference_mode():
        channels = ruled(SoundNet(32, 7))(sound)
        grid = frame(frames[0].movedim(1, 0)).movedim(0, 1)[None]  # (1, K, V, H, W)
        pixels = grid.amax(2).movedim(1, -1).flatten(1, 2)  # (1, H W, K)
        masks = ruled(Synthesizer(32))(torch.sigmoid(pixels), channels)
        whole = ruled(Synthesizer(32))(torch.sigmoid(grid.amax((2, 3, 4)))[:, None], channels)
    np.testing.assert_allclose(channels[0, :, ::8, ::8], golden["unet7_sub8"], atol=1e-4)
    np.testing.assert_allclose(grid, golden["resnet18dilated_unpooled"], atol=1e-4)
    np.testing.assert_allclose(grid.amax((2, 3, 4)), golden["resnet18dilated_maxpool"], atol=1e-4)
    np.testing.assert_allclose(whole[..., ::8, ::8], golden["linear_z_sub8"], atol=1e-4)
    for key in (k for k in golden.files if k.startswith("pix_linear_tmax_")):
        row, col = map(int, key.split("_")[3:5])
        mask = masks[0, row * 14 + col, ::8, ::8]
        np.testing.assert_allclose(mask, golden[key].squeeze(), atol=1e-4)


@pytest.mark.parametrize("config", [MUSIC, DEMO])
def test_model_shapes_and_grid(config):
    model = SoundOfPixels(config.override({"pretrained": "false"})).eval()
    size = config.image
    frames = torch.randint(0, 255, (1, 2, config.frames, 3, size, size), dtype=torch.uint8)
    spec = model.stft(torch.randn(1, config.samples))
    with torch.inference_mode():
        assert spec.shape == (1, 512, config.stft_frames)
        assert config.grid == (14, 14)
        assert model.visual_features(frames[:, 0]).shape == (1, 14, 14, config.channels)
        assert model(spec, frames).shape == (1, 2, config.bins, config.stft_frames)


def test_a_pixel_with_all_the_maxima_gives_the_whole_pictures_mask():
    """With the published pooling: the maximum over all cells equals the model's forward pass."""
    model = SoundOfPixels(replace(DEMO, pool=0.0)).eval()
    frames = torch.randint(0, 255, (1, 2, 3, 3, 112, 112), dtype=torch.uint8)
    spec = model.stft(torch.randn(1, DEMO.samples))
    with torch.inference_mode():
        region = model.visual_features(frames[:, 1]).flatten(1, 2).amax(1)[:, None]
        logits = model.logits(region, model.feature_maps(model.magnitudes(spec)))
        torch.testing.assert_close(logits, model(spec, frames)[:, 1:], atol=1e-4, rtol=1e-4)


def test_pooling_goes_from_the_greatest_cell_to_the_mean_of_all():
    features = torch.randn(2, 16, 4, generator=torch.manual_seed(0))  # of 4 x 4 cells
    pool = lambda part, cells: SoundOfPixels(replace(TINY, pool=part)).pool(cells)  # noqa: E731
    torch.testing.assert_close(pool(0.0, features), features.amax(1))
    torch.testing.assert_close(pool(1.0, features), features.mean(1))
    torch.testing.assert_close(pool(0.25, features), features.sort(1).values[:, -4:].mean(1))
    # a region of one cell is that cell
    torch.testing.assert_close(pool(0.25, features[:, :1]), features[:, 0])


def test_shared_sounds_add_up_to_the_mixture_and_masks_cut_alone_do_not():
    """With untrained nets, a partition loses nothing; a mask cut at 0.5 alone does."""
    mixture = torch.randn(1, TINY.samples)
    frames = torch.randint(0, 256, (1, 2, 1, 3, 32, 32), dtype=torch.uint8)
    torch.manual_seed(0)
    for shared in (True, False):
        model = SoundOfPixels(replace(TINY, share=shared)).eval()
        apart = model.separate(mixture, frames)[0] - mixture / 2
        assert torch.allclose(apart[0], -apart[1], atol=1e-5) is shared


def test_with_the_softmax_a_pixel_can_only_add():
    model = SoundOfPixels(replace(TINY, sound_activation="softmax")).eval()
    channels = model.feature_maps(torch.rand(1, TINY.bins, TINY.stft_frames))
    low, high = (torch.full((1, 1, TINY.channels), v) for v in (-9.0, 9.0))
    assert torch.allclose(channels.sum(1), torch.ones(()), atol=1e-5) and (channels >= 0).all()
    assert (model.logits(low, channels) < 0).all() and (model.logits(high, channels) > 0).all()
    # at the start nothing is decided
    middle = model.logits(torch.zeros(1, 1, TINY.channels), channels)
    torch.testing.assert_close(middle, torch.zeros_like(middle), atol=1e-5, rtol=0)


def test_shifts_hear_a_sound_in_the_bins_beside_its_own():
    """Nets whose answer is known: one hears a sound where it is, the other bin 10, whatever sounds.

    Moved and moved back, the first one's maps stay; the second one's are spread over five bins.
    """

    class Same(torch.nn.Module):
        def forward(self, x):
            return x.expand(-1, TINY.channels, -1, -1)

    class Tenth(torch.nn.Module):
        def forward(self, x):
            return torch.zeros_like(x).index_fill(2, torch.tensor(10), 1.0)

    shifting = replace(TINY, sound_activation="none", loudness="absolute", shifts=2)
    model, still = SoundOfPixels(shifting).eval(), SoundOfPixels(replace(shifting, shifts=0)).eval()
    mags = torch.rand(2, TINY.bins, 8, generator=torch.manual_seed(0)) + 0.1
    mags[:, :3] = mags[:, -3:] = 0.5  # the bins at the ends are repeated
    model.sound = still.sound = Same()
    torch.testing.assert_close(model.feature_maps(mags), still.feature_maps(mags))
    model.sound = Tenth()
    expected = torch.zeros(TINY.bins)
    expected[8:13] = 0.2
    torch.testing.assert_close(model.feature_maps(mags)[1, 0, :, 3], expected)
    training = model.train().feature_maps(mags)[1, 0, :, 3]
    torch.testing.assert_close(training, torch.eye(TINY.bins)[10])


def test_a_picture_is_the_mean_of_the_rounded_part_of_its_cells():
    """Of 196 cells 0.12 are 23.52: the 24 greatest; of 98, 11.76: 12."""
    model = SoundOfPixels(replace(TINY, pool=0.12))
    features = np.random.default_rng(0).normal(size=(196, 3))
    for cells, counted in ((196, 24), (98, 12), (4, 1)):
        greatest = np.sort(features[:cells], 0)[-counted:].mean(0)
        pooled = model.pool(torch.from_numpy(features[:cells])).numpy()
        np.testing.assert_allclose(pooled, greatest, rtol=1e-6)
