"""A config's numbers are what the nets do; numbers that can't be are refused in one sentence."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import SHIPPED, TINY

from sop_core.config import DEMO, DEMO_WEIGHTS, MUSIC, PROFILES, Config
from sop_core.errors import SopError
from sop_core.listening.scene import Scene
from sop_core.model.model import SoundOfPixels
from sop_core.model.resnet import FrameNet
from sop_core.model.spectrogram import istft, stft
from sop_core.training import checkpoint


@pytest.mark.parametrize("dilation", [True, False])
@pytest.mark.parametrize(("stride", "groups"), [(8, 3), (8, 4), (16, 3), (16, 4), (32, 4)])
def test_the_grid_is_the_one_that_the_frame_net_gives(stride, groups, dilation):
    net = FrameNet(2, 8, stride, groups, dilation).eval()
    how = {
        "frame_stride": stride,
        "frame_groups": groups,
        "frame_dilation": dilation,
        "pretrained": False,
    }
    for image in (32, 33, 47, 48, 100, 108, 112):
        config = replace(TINY, image=image, **how).check()
        with torch.inference_mode():
            assert net(torch.zeros(1, 3, image, image)).shape[2:] == config.grid, image
    assert (MUSIC.grid, replace(MUSIC, image=200).grid, DEMO.grid) == ((14, 14), (13, 13), (14, 14))


def test_a_stride_that_so_few_groups_do_not_reach_is_refused():
    with pytest.raises(SopError, match="frame_stride=32 with frame_groups=3, expected at most 16"):
        TINY.override({"frame_stride": "32", "frame_groups": "3"})


def test_a_picture_that_is_no_multiple_of_a_cell_can_be_clicked():
    torch.manual_seed(0)
    scene = Scene(
        SoundOfPixels(replace(TINY, image=36)).eval(),
        np.zeros((9, 36, 36, 3), np.uint8),
        np.ones(12_000, np.float32),
    )
    assert (
        scene.grid == (5, 5)
        and scene.visual_features.shape[1:3] == (5, 5)
        and scene.energy().shape == (5, 5)
    )
    assert scene.clusters().labels.shape[1:] == (5, 5)


def test_the_shipped_config_is_written_again_letter_by_letter():
    """The bases of Config are in the order that gives the file's."""
    shipped = (DEMO_WEIGHTS / "config.json").read_text()
    assert SHIPPED.to_json() == Config.from_json(shipped, "here").to_json() == shipped.rstrip("\n")


def test_a_profile_keeps_its_name_only_with_its_values():
    music = Config().override({"profile": "sop2018"})
    assert (
        music.profile == "sop2018"
        and {k: getattr(music, k) for k in PROFILES["sop2018"]} == PROFILES["sop2018"]
    )
    # sizes are no part of a profile
    assert music.override({"sources": "3", "channels": "16"}).profile == "sop2018"
    # the authors trained on windows as long as those of the evaluation
    assert DEMO.override({"profile": "sop2018"}).train_samples == 0
    other = Config().override({"profile": "sop2018", "warp": "mel", "share": "true"})
    assert other.profile == "sop2018 with warp=mel, share=True" and other.stft_pad == "reflect"
    assert other.override({"warp": "grid"}).profile == "sop2018 with share=True"
    assert other.override({"warp": "grid", "share": "false"}) == music
    assert Config.from_json(other.to_json(), "here") == other
    for wrong in (
        lambda: Config(profile="sop2018"),
        lambda: replace(music, warp="mel"),
        lambda: replace(other, warp="grid"),
    ):
        with pytest.raises(
            SopError,
            match=r"profile='sop2018.*, but its values make it 'sop2018.*\(\{'profile': 'sop2018'",
        ):
            wrong()
    assert (
        replace(music, sources=3).profile == "sop2018"
        and replace(MUSIC, warp="grid").profile == "default"
    )
    for name in ("sop", "sop2018 with warp=mel"):  # what is told of a config is no profile to set
        with pytest.raises(
            SopError,
            match=f"--set profile='{name}', expected one of .*; what differs from it is set",
        ):
            MUSIC.override({"profile": name})


def test_a_config_saved_under_a_wrong_profile_is_read_under_its_own():
    music = Config().override({"profile": "sop2018"})
    old = json.dumps(asdict(music) | {"pool": 1.0, "channels": 16})
    assert Config.from_json(old, "here").profile == "sop2018 with pool=1.0"
    assert Config.from_json(json.dumps(asdict(music)), "here") == music
    older = asdict(music) | {"profile": "sop2018"}
    del older["precision"]  # written before there was this setting: the default, not the profile's
    assert Config.from_json(json.dumps(older), "here").profile == "sop2018 with precision=auto"


def test_a_checkpoint_from_before_there_were_backbones_is_what_it_was():
    """The last version with the published net alone wrote `golden/before_backbones`, and ran it
    on a drawn mixture."""
    folder = Path(__file__).parent / "golden" / "before_backbones"
    model = checkpoint.load_model(folder)
    assert (model.config.backbone, model.config.profile, model.config.looks_once) == (
        "resnet18",
        "default",
        False,
    )
    rng = np.random.default_rng(5)
    sound = torch.from_numpy(rng.standard_normal((1, model.config.samples)).astype(np.float32))
    frames = torch.from_numpy(rng.integers(0, 255, (1, 2, 1, 3, 32, 32)).astype(np.uint8))
    np.testing.assert_allclose(
        model.separate(sound, frames)[0, :, ::16], np.load(folder / "separated.npy"), atol=1e-4
    )


def test_settings_of_a_backbone_that_learns_or_does_not_are_held_together():
    assert DEMO.looks_once and not DEMO.override({"backbone_learns": "1"}).looks_once
    assert (
        not DEMO.override({"looks": "0"}).looks_once
        and not MUSIC.override({"profile": "sop2018"}).looks_once
    )
    with pytest.raises(
        SopError, match="backbone_learns=2 with backbone=resnet18, which learns whole"
    ):
        MUSIC.override({"profile": "sop2018", "backbone_learns": "2"})


WRONG = {  # what the review's list, or a stored file, may hold
    "n_fft": 1023, "hop": 1022, "crop": 5, "lr_steps": 5, "warp": "mell", "frame_stride": 12,
    "share": 1, "pool": "0.1", "channels": 0, "sources": 1, "seed": -1, "lr_sound": float("nan"),
    "weight_decay": float("inf"), "epochs": 2.5, "gain": 0.5, "image": True, "backbone": None,
    "sound_depth": 40, "fps": 0, "frames": "3",
}  # fmt: skip


@pytest.mark.parametrize("key", WRONG)
def test_a_value_that_can_not_be_is_refused_by_name_from_a_file_and_in_python(key):
    stored = json.loads(DEMO.to_json()) | {key: WRONG[key]}
    with pytest.raises(SopError, match=rf"^here: not a config .*\b{key}=.*expected "):
        Config.from_json(json.dumps(stored), "here")
    with pytest.raises(SopError, match=rf"^config demo: .*\b{key}=.*expected "):
        replace(DEMO, **{key: WRONG[key]}).check()


SETTINGS = [
    "n_fft=3", "crop=-1", "crop=0", "hop=1022", "bins=64.5", "share=perhaps", "lr_steps=a",
    "mask=Binary", "noise=1.01", "epochs=", "seed=9223372036854775808", "lr_fc=nan",
]  # fmt: skip


@pytest.mark.parametrize("text", SETTINGS)
def test_a_setting_that_can_not_be_is_refused_by_name(text):
    key, value = text.split("=")
    with pytest.raises(SopError, match=rf"\b{key}={value}.*expected "):
        DEMO.override({key: value})


def test_settings_are_read_as_people_write_them():
    read = DEMO.override(
        {
            "share": "False",
            "lr_sound": "3e-4",
            "frame_stride": "16",
            "lr_steps": "10, 20",
            "fps": "8",
        }
    )
    assert DEMO.override(
        {"lr_sound": ".001", "epoch_size": "25_000", "epochs": " +3", "lr_steps": "40"}
    ) == replace(DEMO, lr_sound=0.001, epoch_size=25_000, epochs=3, lr_steps="40")
    assert replace(DEMO, lr_sound=np.float64(1e-3), seed=np.int64(3)).check()
    assert (read.share, read.lr_sound, read.frame_stride, read.lr_steps, read.fps) == (
        False,
        3e-4,
        16,
        "10, 20",
        8.0,
    )
    assert type(read.fps) is float


def test_every_frame_that_a_config_admits_becomes_sound_again():
    rng = np.random.default_rng(0)
    sound = torch.from_numpy(rng.standard_normal(5_000))
    for n_fft, hop in ((4, 2), (1_022, 256), (1_022, 511), (1_024, 100), (6, 3), (512, 256)):
        replace(DEMO, n_fft=n_fft, hop=hop, samples=128 * hop - 1, train_samples=0).check()
        torch.testing.assert_close(
            istft(stft(sound, n_fft, hop), hop, 5_000), sound, atol=1e-9, rtol=0
        )


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"n_fft": "254", "hop": "64"}, "warp=mel with bins=256, expected at most .* = 128, or wa"),
        ({"mask": "ratio", "target": "half"}, "target=half, whose targets exceed 1: expected loss"),
        ({"absent": "0.5", "loss": "l1"}, "absent=0.5 with loss=l1, expected loss=bce or absent=0"),
        ({"frames_apart": "true"}, "frames_apart with together=0.5, looks=12: .* expected 0 of"),
    ],
)
def test_settings_that_would_crash_or_be_ignored_contradict(settings, said):
    with pytest.raises(SopError, match=said):
        MUSIC.override(settings)
