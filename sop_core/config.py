"""Every number of a run, with its unit; the presets; the folders that runs use.

One frozen `Config` describes a run. It is saved as `config.json` beside the weights, and a
checkpoint is read back from it.

Data sets go to `DATA` and runs to `CKPT`; both are folders of `ROOT`, which is

    $SOP_ROOT            where this environment variable is set
    the repository       where the package is imported from a checkout of it
    the current folder   otherwise; an installed package is never written to
"""

import dataclasses
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec

from .errors import SopError
from .settings import PUBLISHED, Mixing, Nets, Run, Signal

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent / "pyproject.toml"
NAME = b'name = "sop-core"'
# The repository that this package lies in; None where pip has installed the package.
CHECKOUT = HERE.parent if PROJECT.is_file() and NAME in PROJECT.read_bytes() else None
ROOT = Path(os.environ.get("SOP_ROOT") or CHECKOUT or Path.cwd()).absolute()
DATA = ROOT / "data"
CKPT = ROOT / "ckpt"
# Shipped, so that notebook 05 works without training first. A wheel holds a copy.
DEMO_WEIGHTS = CHECKOUT / "data" / "demo_weights" if CHECKOUT else HERE / "demo_weights"
# Shipped, for videos of people: 13 instruments. Its README.md says what it is made of.
WEIGHTS = CHECKOUT / "data" / "weights" if CHECKOUT else HERE / "weights"
AnyPath = str | os.PathLike[str]  # what public functions take for a file or a folder
SILENCE_LABEL = "silence"  # label of clips where nothing sounds: for training only
BASELINES = ("nmf", "random")  # an evaluation has them on request: slow, or of less interest
RATIO = 0.15  # default share of each label's videos for validation, and for the test


@dataclass(frozen=True)
class Config(Run, Nets, Mixing, Signal):  # fields are in the order of the bases from the right
    """One run. The defaults are the preset `music`: the paper's sizes, with a frozen backbone.

    Source: Zhao et al. 2018, section 4.2, and the released code; all of it: `profile=sop2018`.
    """

    def __post_init__(self):
        """Raises SopError where the values do not fit the profile's name.

        So results are never reported under a wrong name.
        """
        name = _profile(self.profile, vars(self))
        if self.profile != name:
            base = name.partition(" with ")[0]
            raise SopError(
                f"config {self.name}: profile={self.profile!r}, but its values make it {name!r}; "
                f"to change both together: Config().override({{'profile': {base!r}, ...}}), or "
                f"--set profile={base} ..."
            )

    @property
    def training(self) -> "Config":
        """This config with the window length of training's mixtures."""
        return dataclasses.replace(self, samples=self.train_samples or self.samples)

    @property
    def grid(self) -> tuple[int, int]:
        """H, W: cells of a picture. Each halving rounds up, so their product does, too."""
        side = -(-self.image // self.frame_stride)
        return side, side

    @property
    def looks_once(self) -> bool:
        """Whether a frozen backbone reads training's pictures once, before it (looks.py)."""
        return self.looks > 0 and self.backbone != PUBLISHED and self.backbone_learns == 0

    def override(self, settings: dict[str, str]) -> "Config":
        """A copy with some fields set from text (`--set epochs=3`).

        Raises SopError on an unknown name or a bad value.
        """
        profile = settings.get("profile", "default")
        if profile not in PROFILES:
            hint = "what differs from it is set beside it (warp=mel ...)"
            raise SopError(f"--set profile={profile!r}, expected one of {tuple(PROFILES)}; {hint}")
        values = vars(self) | (PROFILES[profile] if "profile" in settings else {})
        for key, text in settings.items():
            where = f"--set {key}={text}"
            if key not in TYPES:
                known = ", ".join(TYPES)
                raise SopError(f"{where}: there is no setting {key!r}; there are {known}")
            values[key] = _value(where, key, text, strict=False)
        return _named(values).check()

    def check(self) -> "Config":
        """This config; raises SopError where a value is out of range or two contradict."""
        for key, value in vars(self).items():
            _value(f"config {self.name}: {key}={value!r}", key, value)
        for conflict in self._conflicts():
            raise SopError(f"config {self.name}: {conflict}")
        return self

    def _conflicts(self) -> Iterator[str]:
        """Settings that contradict each other, one message each."""
        if self.image < self.frame_stride:
            yield f"image={self.image}, expected at least one cell, {self.frame_stride} pixels"
        if self.hop > self.n_fft // 2:
            yield (
                f"hop={self.hop} with n_fft={self.n_fft}, expected at most half of it: frames must "
                "overlap to become sound again"
            )
        if self.backbone == PUBLISHED:
            yield from self._conflicts_published()
        if self.epoch_size < self.batch:
            yield f"epoch_size={self.epoch_size}, expected at least one batch={self.batch}"
        side = 2**self.sound_depth
        for windows in (self, self.training):
            if self.bins % side or windows.stft_frames % side:
                yield (
                    f"bins={self.bins} and T={windows.stft_frames} ({windows.samples:,} samples // "
                    f"hop + 1) must be multiples of {side}, since a U-Net of "
                    f"sound_depth={self.sound_depth} halves them that often"
                )
        linear = self.n_fft // 2 + 1
        if self.warp == "none" and self.bins != linear:
            yield f"warp=none with bins={self.bins}, expected n_fft // 2 + 1 = {linear}"
        if self.warp == "mel" and self.bins > linear:
            yield (
                f"warp=mel with bins={self.bins}, expected at most n_fft // 2 + 1 = {linear}, or "
                "warp=bank"
            )
        if self.mask == "ratio" and self.target == "half" and self.loss == "bce":
            yield "mask=ratio with target=half, whose targets exceed 1: expected loss l1 or l2"
        if self.absent and self.loss != "bce":
            yield f"absent={self.absent:g} with loss={self.loss}, expected loss=bce or absent=0"
        if self.frames_apart and (self.together or self.looks_once):
            yield (
                f"frames_apart with together={self.together:g}, looks={self.looks}: what is looked "
                "at once, or side by side, is normalized together; expected 0 of both"
            )
        if not self.has_odds and (self.loss == "bce" or self.share):
            yield (
                f"output_activation={self.output_activation} with loss={self.loss}, "
                f"share={self.share}; only the sigmoid has odds: expected loss l1 or l2, and "
                "share=false"
            )

    def _conflicts_published(self) -> Iterator[str]:
        """The same for settings of the published backbone."""
        width, groups = self.frame_width, self.frame_groups
        if self.pretrained and (width, groups) != (64, 4):
            yield (
                f"pretrained with frame_width={width}, frame_groups={groups}; ImageNet's weights "
                "are for 64 and 4: set pretrained=false"
            )
        if self.backbone_weights or self.backbone_learns:
            given = f"{self.backbone_weights!r}, backbone_learns={self.backbone_learns}"
            yield (
                f"backbone_weights={given} with backbone={PUBLISHED}, which learns whole, from "
                "torchvision's weights; expected a backbone of timm, or neither"
            )
        deepest = 2 ** (groups + 1)
        if self.frame_stride > deepest:
            yield (
                f"frame_stride={self.frame_stride} with frame_groups={groups}, expected at most "
                f"{deepest}: the stem halves the picture twice, and each group but the first once"
            )

    def with_nets(self, other: "Config") -> "Config":
        """A copy whose nets are those of `other`, and read sounds and pictures as those do.

        Everything else stays: mixtures, loss, schedule, and which frames of a clip are taken.
        """
        nets = {f.name for base in (Signal, Nets) for f in dataclasses.fields(base)}
        nets -= {"name", "profile", "seed", "fps", "frames", "stride", "audio_format"}
        return _named(vars(self) | {key: getattr(other, key) for key in nets})

    def to_json(self) -> str:
        """The text of `config.json`."""
        return json.dumps(dataclasses.asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str, where: str) -> "Config":
        """Read back what `to_json` wrote. Raises SopError naming `where` if it isn't that."""
        try:
            return _named(_upgrade(json.loads(text))).check()
        except (ValueError, TypeError, SopError) as e:
            raise SopError(f"{where}: not a config of this version of sop_core ({e})") from None


# Each setting's type, in the order of config.json.
TYPES = get_type_hints(Config, include_extras=True)


def _value(where: str, key: str, value: Any, strict: bool = True) -> Any:
    """A setting's value, of its type and within its range; from text where not `strict`.

    Raises SopError, which begins with `where`.
    """
    kind = TYPES[key]
    first, *rest = get_args(kind)  # Annotated: type and Meta; Literal: the choices
    if hasattr(value, "item"):
        value = value.item()  # numpy's
    if not strict and first in (int, float):
        with suppress(ValueError):
            value = first(value)  # as Python writes numbers: .001, 25_000
    try:
        return msgspec.convert(value, kind, strict=strict)
    except msgspec.ValidationError:
        one_of = get_origin(kind) is Literal
        expected = f"one of {get_args(kind)}" if one_of else rest[0].description
        raise SopError(f"{where}, expected {expected}") from None


# Values for settings that a saved config lacks, since they did not exist when it was written
UNNAMED = {
    "warp": "bank", "among": 0.0, "noise": 0.0, "sound_activation": "none", "sound_up": "bilinear",
    "pool": 0.0, "optimizer": "sgd", "weight_decay": 1e-4,
}  # fmt: skip


def _upgrade(values: dict[str, Any]) -> dict[str, Any]:
    """A saved config's values, with those of settings that it lacks."""
    values = UNNAMED | values
    if "backbone" not in values:
        values |= {"backbone": PUBLISHED, "looks": 0, "together": 0.0}
        values["start"] = "published" if values.get("start") == "published" else "even"
        values.pop("remix", None)  # a setting of that time
    return values


def _profile(name: str, values: dict[str, Any]) -> str:
    """A profile's name with the values that differ from it: `sop2018 with warp=mel, share=True`."""
    base = str(name).partition(" with ")[0]
    if base not in PROFILES:
        where = f"config {values['name']}: profile={name!r}"
        raise SopError(f"{where}, expected one of {tuple(PROFILES)}")
    other = [f"{k}={values[k]}" for k, v in PROFILES[base].items() if values[k] != v]
    return f"{base} with {', '.join(other)}" if other else base


def _named(values: dict[str, Any]) -> Config:
    """The config with these values; its profile's name tells what differs."""
    profile = _profile(values.get("profile", "default"), vars(MUSIC) | values)
    return Config(**dict(values, profile=profile))


# What a profile sets. Each value has a test that shows what it changes.
PROFILES = {
    "default": {},
    "sop2018": {
        "stft_pad": "reflect", "warp": "grid", "loudness": "absolute", "mixture": "mean",
        "clips": "published", "train_samples": 0, "target": "half", "loss_mean": "bins",
        "among": 0.0, "absent": 0.0, "share": False, "silence": 0.0, "noise": 0.0, "unseen": 0.0,
        "acoustics": 0.0,
        "backbone": "resnet18", "backbone_weights": "", "backbone_learns": 0, "looks": 0,
        "together": 0.0,
        "sound_activation": "none", "sound_up": "bilinear", "shifts": 0, "pool": 0.0,
        "frames_apart": True,
        "start": "published", "optimizer": "sgd", "weight_decay": 1e-4, "schedule": "steps",
        "precision": "fp32", "pairs": "published",
    },
}  # fmt: skip
MUSIC = Config()
# 200,000 clips of 10 s. Looking at each beforehand would fill 600 GB, and a GPU is fed fast enough:
# so looks=0.
VGGSOUND = Config(name="vggsound", fps=1.0, stride=1, looks=0)
DEMO = Config(
    name="demo",
    samples=32_767,  # 2.97 s, T = 128
    train_samples=16_383,  # 1.49 s
    # read several times as fast as flac; mp3's noise fills the toy's clean silences: 1 dB worse
    audio_format="wav",
    bins=64,
    warp="bank",
    frames=1,
    crop=0.7,
    absent=1.0,
    channels=16,
    sound_depth=5,
    sound_width=24,
    lr_sound=4e-3,
    lr_fc=4e-3,
    epochs=4,
    epoch_size=4_800,
    batch=8,
    looks=8,
    val_pairs=16,
    workers=0,  # two cores are busy with the nets
)
# Photos and recordings, composed without rooms (`compose --dry`): training draws the rooms. For a
# GPU; two cores that compute in bf16 make 70 mixtures a second.
SOLOS = Config(
    name="solos",
    rate=22_050,
    samples=65_535,  # 2.97 s, T = 128
    train_samples=32_767,
    n_fft=2_046,
    hop=512,
    audio_format="wav",
    fps=1.0,
    frames=1,
    acoustics=0.8,
    absent=1.0,
    backbone="tf_efficientnet_lite2",
    sound_depth=6,
    sound_width=24,
    lr_sound=2e-3,
    lr_fc=2e-3,
    epochs=18,
    epoch_size=37_120,
    batch=32,
    looks=16,
    val_pairs=64,
)
PRESETS = {c.name: c for c in (MUSIC, VGGSOUND, DEMO, SOLOS)}
