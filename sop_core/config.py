"""Every number of a run, with its unit; the presets; the folders that runs use.

One frozen `Config` describes a run. It is saved as `config.json` beside the weights, and a
checkpoint is read back from it.

Data sets go to `DATA` and runs to `CKPT`; both are folders of `ROOT`, which is

    $SOP_ROOT            where this environment variable is set
    the repository       where the package is imported from a checkout of it
    the current folder   otherwise: nothing is ever written into an installed package
"""

import dataclasses
import json
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

from .errors import SopError

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent / "pyproject.toml"
NAME = b'name = "sop-core"'
# The repository that this package lies in; None where pip has installed the package.
CHECKOUT = HERE.parent if PROJECT.is_file() and NAME in PROJECT.read_bytes() else None
ROOT = Path(os.environ.get("SOP_ROOT") or CHECKOUT or Path.cwd()).absolute()
DATA = ROOT / "data"
CKPT = ROOT / "ckpt"
# Shipped, so that notebook 05 works when it is the first one opened. A wheel holds a copy.
DEMO_WEIGHTS = CHECKOUT / "data" / "demo_weights" if CHECKOUT else HERE / "demo_weights"

AnyPath = str | os.PathLike  # what public functions take for a file or a folder
SILENCE_LABEL = "silence"  # label of clips where nothing sounds: for training only
BASELINES = ("nmf", "random")  # of an evaluation, on request: slow, or of less interest
RATIO = 0.15  # of each label's videos that validate, and of those that test: an index's default
PUBLISHED = "resnet18"  # the released code's backbone, which learns; all others are timm's

# Types of settings. `description` completes the error message "expected ...".
Flag = Annotated[bool, Meta(description="true or false")]
Text = Annotated[str, Meta(description="text")]
Positive = Annotated[int, Meta(ge=1, description="a whole number from 1")]
_NATURAL = "a whole number from 0, less than 2 to the 63rd"
Natural = Annotated[int, Meta(ge=0, le=2**63 - 1, description=_NATURAL)]
Fraction = Annotated[float, Meta(ge=0, le=1, description="a share from 0 to 1")]
Weight = Annotated[float, Meta(ge=0, le=sys.float_info.max, description="a finite number from 0")]
_EPOCHS = r"^ *\d+ *(, *\d+ *)*$"
Epochs = Annotated[str, Meta(pattern=_EPOCHS, description="epochs with commas between")]
Even = Annotated[int, Meta(ge=4, multiple_of=2, description="an even number from 4")]
Activation = Literal["none", "sigmoid", "softmax", "relu", "tanh"]


@dataclass(frozen=True)
class Signal:
    """The run's name, then sound and picture: what is read of a clip. The letters are those of
    `sop_core.__doc__`. "Published" means here and below: in the code that the authors released."""

    name: Text = "music"
    # "sop2018": the released code as its authors ran it. `override` sets the profile, with the
    # values in `PROFILES`, and appends what differs from them.
    profile: Text = "default"
    seed: Natural = 0

    # sound
    rate: Positive = 11_025  # samples a second
    samples: Positive = 65_535  # L, length of a window: 5.94 s
    # L of training's mixtures, if it is another (0: `samples`). Twice as many mixtures of half the
    # length cost the same and teach more.
    train_samples: Natural = 0
    n_fft: Even = 1_022  # samples of an STFT frame: gives 512 linear frequency bins
    hop: Positive = 256  # samples from one STFT frame to the next: T = 256
    bins: Positive = 256  # F, log-frequency bins that the nets read
    # from linear to log-frequency bins, see `Warp`; "grid": published; "none": stays linear, and
    # `bins` is n_fft // 2 + 1
    warp: Literal["mel", "bank", "grid", "none"] = "mel"
    # what lies beyond a window's ends: zeros, or the mirrored sound (published)
    stft_pad: Literal["constant", "reflect"] = "constant"
    # level of what the nets read: relative to the window's mean, or absolute (published)
    loudness: Literal["relative", "absolute"] = "relative"
    # file format that preprocessing writes; flac and wav lose nothing
    audio_format: Literal["mp3", "flac", "wav"] = "mp3"

    # picture
    fps: Annotated[float, Meta(ge=0.01, le=1_000, description="0.01 to 1000")] = 8.0  # frames/s
    frames: Positive = 3  # V, video frames of a window
    stride: Positive = 24  # video frames from one of them to the next: 3 s
    image: Positive = 224  # pixels, both sides: the whole frame is squeezed to a square

    @property
    def seconds(self) -> float:
        """Length of a window in seconds."""
        return self.samples / self.rate

    @property
    def stft_frames(self) -> int:
        """T, STFT frames of a window."""
        return self.samples // self.hop + 1


@dataclass(frozen=True)
class Mixing:
    """Mixtures: what they are made of, the masks that separate them, and the loss."""

    # mixtures
    sources: Annotated[int, Meta(ge=2, description="a whole number from 2")] = 2  # N
    # training makes each source up to this factor louder or softer
    gain: Annotated[float, Meta(ge=1, le=1_000, description="a factor from 1 to 1000")] = 1.5
    # smallest share of a frame's area that a training crop keeps
    crop: Annotated[float, Meta(gt=0, le=1, description="a share over 0, up to 1")] = 0.5
    # share of training's mixtures in which one source is a silent scene, if the index has any
    silence: Fraction = 0.1
    noise: Fraction = 0.2  # share of training's mixtures with noise that no picture shows
    # share of training's mixtures whose pictures stand side by side in one picture; each region
    # is then asked for its own sound
    together: Fraction = 0.5
    # crops of each clip that a frozen backbone reads, once, before training; 0: a new crop at
    # every step
    looks: Natural = 12

    # masks and loss
    mask: Literal["binary", "ratio"] = "binary"
    # a binary mask is 1 where a source is the loudest, or has over half the mixture (published)
    target: Literal["loudest", "half"] = "loudest"
    loss: Literal["bce", "l1", "l2"] = "bce"
    # weight of the cross-entropy among a mixture's sources, which is added to the `bce` of each
    # mask alone; 0: none
    among: Weight = 1.0
    weighted: Flag = True  # a loud bin counts more in the loss
    # divide a batch's loss by its weights, or by its bins: then a loud recording counts more too
    # (published)
    loss_mean: Literal["weights", "bins"] = "weights"

    # how the released code differs
    # a mixture is the sum of its sources, or their mean: each is scaled by 1 / N first (published)
    mixture: Literal["sum", "mean"] = "sum"
    # an evaluation's mixtures: drawn, or by number, where a clip may meet itself (published)
    pairs: Literal["drawn", "published"] = "drawn"
    # windows, crops and colour jitter: as in mixing.py, or as in the released loader
    clips: Literal["free", "published"] = "free"
    # every bin of a mixture is partitioned among its sources; if false, each mask is binarized
    # at 0.5 alone (published)
    share: Flag = True


@dataclass(frozen=True)
class Nets:
    """The nets: U-Net, synthesizer, backbone."""

    channels: Positive = 32  # K, feature maps of a sound; size of a visual feature
    # how often the U-Net halves its input (the published unet5, unet6, unet7)
    sound_depth: Annotated[int, Meta(ge=5, le=12, description="5 to 12")] = 7
    sound_width: Positive = 64  # channels of the U-Net's first layer
    # how the U-Net doubles: transposed convolutions, or bilinear interpolation and a convolution
    # (published)
    sound_up: Literal["transposed", "bilinear"] = "transposed"
    # of the K feature maps; "softmax": they add up to 1 in every bin; "none": published
    sound_activation: Activation = "softmax"
    image_activation: Activation = "sigmoid"  # of a visual feature
    # from the synthesizer's sum to a mask; the sigmoid, or another with loss l1 or l2
    output_activation: Literal["none", "sigmoid", "relu", "tanh"] = "sigmoid"
    synthesizer: Literal["linear", "bias"] = "linear"  # with a weight for each of K, or without

    # what reads the pictures: a frozen model of timm, or "resnet18", which learns (published)
    backbone: Text = "tf_efficientnet_lite0"
    backbone_weights: Text = ""  # their file; "": the weights that come with it (nets/eyes.py)
    backbone_learns: Natural = 0  # number of its last stages that learn, at the rate `lr_frame`
    pretrained: Flag = True  # the backbone starts with ImageNet's weights, or with its file's
    frame_stride: Literal[8, 16, 32] = 16  # pixels of the picture a cell: 224 / 16 = a grid of 14
    # resnet18 only: channels of its first layer. With fewer than 8, oneDNN's kernels for AVX2
    # write gradients beyond their memory (torch 2.14).
    frame_width: Annotated[int, Meta(ge=8, description="a whole number from 8")] = 64
    frame_groups: Literal[3, 4] = 4  # resnet18 only: groups of blocks
    frame_dilation: Flag = True  # resnet18 only: a finer grid sees as far (published)
    # a picture's feature is the mean of this share of its cells, the greatest: 24 of 196; 0: the
    # one greatest (published)
    pool: Fraction = 0.12
    # batch statistics of each source's pictures by themselves (published), or of all together
    frames_apart: Flag = False

    @property
    def has_odds(self) -> bool:
        """Whether masks have odds, by which a bin is partitioned: with the sigmoid only."""
        return self.output_activation == "sigmoid"


@dataclass(frozen=True)
class Run:
    """Training: start, optimizer, schedule, sizes, machine."""

    start: Literal["even", "published"] = "even"  # the nets' start: no mask decided, or published
    optimizer: Literal["sgd", "adamw"] = "adamw"  # sgd: published
    # of the learning rates: a rise and a cosine, or a tenth after each of `lr_steps`
    schedule: Literal["cosine", "steps"] = "cosine"
    lr_steps: Epochs = "40,80"
    lr_sound: Weight = 1e-3  # of the U-Net
    lr_frame: Weight = 1e-4  # of the part of the backbone that learns
    lr_fc: Weight = 1e-3  # of the layer from the backbone's channels to K
    weight_decay: Weight = 1e-2  # AdamW's; SGD wants 1e-4 (published)
    epochs: Positive = 100
    epoch_size: Positive = 25_000  # mixtures an epoch; published: dup_trainset x number of clips
    batch: Positive = 20  # mixtures a step, of all processes together
    accumulate: Positive = 1  # parts that a batch is computed in, one after the other: less memory
    # of the nets; auto: bf16 where the chip computes in it. Losses and targets are fp32.
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    compile: Flag = False  # the nets by torch.compile: takes some minutes first
    val_pairs: Positive = 256  # mixtures that choose the best epoch
    workers: Natural = 4  # processes that read clips; 0: the training process itself


@dataclass(frozen=True)
class Config(Run, Nets, Mixing, Signal):  # fields are in the order of the bases from the right
    """One run. The defaults are the paper's MUSIC setting.

    Source: Zhao et al. 2018, section 4.2, and the released code.
    """

    def __post_init__(self):
        """Raises SopError where the profile's name is not the one that these values make: results
        are never reported under another name."""
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
        """H, W: cells of a picture. Each halving rounds up, and so do all of them together."""
        side = -(-self.image // self.frame_stride)
        return side, side

    @property
    def looks_once(self) -> bool:
        """Whether the backbone reads the training's pictures once, before (looks.py): frozen."""
        return self.looks > 0 and self.backbone != PUBLISHED and self.backbone_learns == 0

    def override(self, settings: dict[str, str]) -> "Config":
        """A copy with some fields set from text (`--set epochs=3`).

        Raises SopError on an unknown name or a bad value.
        """
        profile = settings.get("profile", "default")
        if profile not in PROFILES:
            raise SopError(
                f"--set profile={profile!r}, expected one of {tuple(PROFILES)}; what is to differ "
                "is set beside it (warp=mel ...)"
            )
        known = ", ".join(TYPES)
        values = vars(self) | (PROFILES[profile] if "profile" in settings else {})
        for key, text in settings.items():
            where = f"--set {key}={text}"
            if key not in TYPES:
                raise SopError(f"{where}: there is no setting {key!r}; there are {known}")
            values[key] = _value(where, key, text, strict=False)
        return _named(values).check()

    def check(self) -> "Config":
        """This config, or SopError where its numbers can't work together."""
        for key, value in vars(self).items():
            _value(f"config {self.name}: {key}={value!r}", key, value)
        for conflict in self._conflicts():
            raise SopError(f"config {self.name}: {conflict}")
        return self

    def _conflicts(self) -> Iterator[str]:
        """What is wrong with these numbers together, the first of it first."""
        if self.image < self.frame_stride:
            yield f"image={self.image}, expected at least one cell, {self.frame_stride} pixels"
        if self.hop > self.n_fft // 2:
            yield (
                f"hop={self.hop} with n_fft={self.n_fft}, expected at most half of it: frames must "
                "overlap to become sound again"
            )
        if self.backbone == PUBLISHED:
            size = (self.frame_width, self.frame_groups)
            deepest = 2 ** (self.frame_groups + 1)
            if self.pretrained and size != (64, 4):
                yield (
                    f"pretrained with frame_width={size[0]}, frame_groups={size[1]}; ImageNet's "
                    "weights are for 64 and 4: set pretrained=false"
                )
            if self.backbone_weights or self.backbone_learns:
                yield (
                    f"backbone_weights={self.backbone_weights!r}, "
                    f"backbone_learns={self.backbone_learns} with backbone={PUBLISHED}, which "
                    "learns whole, from torchvision's weights; expected a backbone of timm, or "
                    "neither"
                )
            if self.frame_stride > deepest:
                yield (
                    f"frame_stride={self.frame_stride} with frame_groups={self.frame_groups}, "
                    f"expected at most {deepest}: the stem halves the picture twice, and each "
                    "group but the first once"
                )
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
        if not self.has_odds and (self.loss == "bce" or self.share):
            yield (
                f"output_activation={self.output_activation} with loss={self.loss}, "
                f"share={self.share}; only the sigmoid has odds: expected loss l1 or l2, and "
                "share=false"
            )

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


# What a saved config means by not naming a setting: there was no choice when it was written.
UNNAMED = {
    "warp": "bank", "among": 0.0, "noise": 0.0, "sound_activation": "none", "sound_up": "bilinear",
    "pool": 0.0, "optimizer": "sgd", "weight_decay": 1e-4,
}  # fmt: skip


def _upgrade(values: dict[str, Any]) -> dict[str, Any]:
    """A saved config's values, and those that it does not name."""
    values = UNNAMED | values
    if "backbone" not in values:
        values |= {"backbone": PUBLISHED, "looks": 0, "together": 0.0}
        values["start"] = "published" if values.get("start") == "published" else "even"
        values.pop("remix", None)  # a setting of that time
    return values


def _profile(name: str, values: dict[str, Any]) -> str:
    """A profile's name as these values make it: `sop2018`, or `sop2018 with warp=mel, share=True`
    where these differ from it."""
    base = str(name).partition(" with ")[0]
    if base not in PROFILES:
        where = f"config {values['name']}: profile={name!r}"
        raise SopError(f"{where}, expected one of {tuple(PROFILES)}")
    other = [f"{k}={values[k]}" for k, v in PROFILES[base].items() if values[k] != v]
    return f"{base} with {', '.join(other)}" if other else base


def _named(values: dict[str, Any]) -> Config:
    """The config of these values, with the profile's name that they make."""
    profile = _profile(values.get("profile", "default"), vars(MUSIC) | values)
    return Config(**dict(values, profile=profile))


# What a profile sets. Each value has a test that shows what it changes.
PROFILES = {
    "default": {},
    "sop2018": {
        "stft_pad": "reflect", "warp": "grid", "loudness": "absolute", "mixture": "mean",
        "clips": "published", "train_samples": 0, "target": "half", "loss_mean": "bins",
        "among": 0.0, "share": False, "silence": 0.0, "noise": 0.0, "backbone": "resnet18",
        "backbone_weights": "", "backbone_learns": 0, "looks": 0, "together": 0.0,
        "sound_activation": "none", "sound_up": "bilinear", "pool": 0.0, "frames_apart": True,
        "start": "published", "optimizer": "sgd", "weight_decay": 1e-4, "schedule": "steps",
        "precision": "fp32", "pairs": "published",
    },
}  # fmt: skip

MUSIC = Config()
# 200,000 clips of 10 s: reading each once, ahead, would fill 400 GB, and a GPU reads faster than
# it learns
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
PRESETS = {c.name: c for c in (MUSIC, VGGSOUND, DEMO)}
