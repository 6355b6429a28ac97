"""Every number of a run, frozen, with its unit; the presets; where things lie.

A run is told by one `Config`: it is saved as `config.json` beside the weights, and a checkpoint is read back from it.
"""

import dataclasses
import json
import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Literal, get_args, get_type_hints

import msgspec
from msgspec import Meta

from .errors import SopError

ROOT = Path(os.environ.get("SOP_ROOT", Path(__file__).resolve().parents[1]))  # the workbook's own folder
DATA = ROOT / "data"
CKPT = ROOT / "ckpt"
AnyPath = str | os.PathLike  # what public functions take for a file or a folder
SILENCE_LABEL = "silence"  # the label of clips in which nothing is to be heard or seen to sound: for training only
BASELINES = ("nmf", "random")  # of an evaluation, by choice: they take longer, or say less
RATIO = 0.15  # of each label's videos that validate, and of those that test: an index's defaults
PUBLISHED = "resnet18"  # the released code's backbone, which learns; all others are timm's
DEMO_WEIGHTS = DATA / "demo_weights"  # shipped: notebook 05 works when it is the first one opened


# What a profile sets. Each flag has a test that shows what it changes.
PROFILES = {
    "default": {},
    "sop2018": {
        "stft_pad": "reflect", "warp": "grid", "loudness": "absolute", "mixture": "mean", "clips": "published",
        "train_samples": 0, "target": "half", "loss_mean": "bins", "among": 0.0, "share": False, "silence": 0.0, "noise": 0.0,
        "backbone": "resnet18", "backbone_weights": "", "backbone_learns": 0, "looks": 0, "together": 0.0,
        "sound_activation": "none", "sound_up": "bilinear", "pool": 0.0, "frames_apart": True, "start": "published",
        "optimizer": "sgd", "weight_decay": 1e-4, "schedule": "steps", "precision": "fp32", "pairs": "published",
    },
}  # fmt: skip

Count = Annotated[int, Meta(ge=1, description="a whole number from 1")]
Whole = Annotated[int, Meta(ge=0, le=2**63 - 1, description="a whole number from 0, less than 2 to the 63rd")]
Share = Annotated[float, Meta(ge=0, le=1, description="a share from 0 to 1")]
Weight = Annotated[float, Meta(ge=0, le=sys.float_info.max, description="a finite number from 0")]
Activation = Literal["none", "sigmoid", "softmax", "relu", "tanh"]


@dataclass(frozen=True)
class Config:
    """One run. The defaults are the paper's MUSIC setting (Zhao et al. 2018, section 4.2 and the released code)."""

    name: str = "music"
    # "sop2018": the released code as its authors ran it; set by `override`, which sets `PROFILES`' values and names what differs
    profile: str = "default"
    seed: Whole = 0

    # sound
    rate: Count = 11_025  # samples a second
    samples: Count = 65_535  # L, one window: 5.94 s
    # L of training's mixtures, where it is another: twice as many that are half as long cost the same, and teach more; 0: `samples`
    train_samples: Whole = 0
    # samples of an STFT frame: 1 022 give 512 linear frequency bins
    n_fft: Annotated[int, Meta(ge=4, multiple_of=2, description="an even number from 4")] = 1_022
    hop: Count = 256  # samples from one STFT frame to the next: T = 256
    bins: Count = 256  # F, log-frequency bins that the nets see
    # to them, see `Warp`: "grid", as published; "none": n_fft // 2 + 1 linear bins
    warp: Literal["mel", "bank", "grid", "none"] = "mel"
    # beyond a window's ends: zeros, or the sound mirrored (published)
    stft_pad: Literal["constant", "reflect"] = "constant"
    # of what the nets read: to the window's mean, or as it is (published)
    loudness: Literal["relative", "absolute"] = "relative"

    audio_format: Literal["mp3", "flac", "wav"] = "mp3"  # what preprocessing keeps it as; flac and wav lose nothing

    # picture
    fps: Annotated[float, Meta(ge=0.01, le=1_000, description="0.01 to 1000")] = 8.0  # video frames a second
    frames: Count = 3  # V, frames a window
    stride: Count = 24  # video frames from one of them to the next: 3 s
    image: Count = 224  # pixels, both sides: the whole frame is squeezed to a square

    # mix and separate
    sources: Annotated[int, Meta(ge=2, description="a whole number from 2")] = 2  # N
    # a source is made up to this much louder or softer in training (factor)
    gain: Annotated[float, Meta(ge=1, le=1_000, description="a factor from 1 to 1000")] = 1.5
    # least share of a frame's area that a training crop keeps
    crop: Annotated[float, Meta(gt=0, le=1, description="a share over 0, up to 1")] = 0.5
    silence: Share = 0.1  # of training's mixtures: one source is a silent scene, where the index has any
    noise: Share = 0.2  # of training's mixtures: there is noise that no picture shows
    # of training's mixtures: the pictures stand side by side in one, each asked for its own sound
    together: Share = 0.5
    # crops of each clip that a frozen backbone sees, once, before training; 0: another one at every step
    looks: Whole = 12
    mask: Literal["binary", "ratio"] = "binary"
    # a binary mask is 1 for the loudest source, or for one that has more than half the mixture (published)
    target: Literal["loudest", "half"] = "loudest"
    loss: Literal["bce", "l1", "l2"] = "bce"
    among: Weight = 1.0  # of the cross-entropy among a mixture's sources, beside `bce` of each mask alone; 0: none
    weighted: bool = True  # a loud bin counts more in the loss
    loss_mean: Literal["weights", "bins"] = "weights"  # "bins": a loud recording counts more too (published)
    mixture: Literal["sum", "mean"] = "sum"  # of its sources; "mean": each is made 1 / N as loud first (published)
    # an evaluation's mixtures; "published": by number, a clip may meet itself (see published.py)
    pairs: Literal["drawn", "published"] = "drawn"
    # windows, crops and colour jitter as in windows.py, or as in the released loader
    clips: Literal["free", "published"] = "free"
    share: bool = True  # a mixture's sources share out every bin; without, each mask is cut at 0.5 alone (published)

    # nets
    channels: Count = 32  # K
    # halvings in the U-Net (the published unet5, unet6, unet7)
    sound_depth: Annotated[int, Meta(ge=5, le=12, description="5 to 12")] = 7
    sound_width: Count = 64  # channels of its first layer
    # how it doubles: convolutions with half a stride, or bilinear interpolation and a convolution (published)
    sound_up: Literal["transposed", "bilinear"] = "transposed"
    sound_activation: Activation = "softmax"  # of the K channels: every bin is dealt out among them; published: none
    image_activation: Activation = "sigmoid"  # of a picture's K numbers
    # from the synthesizer's sum to a mask; all but the sigmoid with l1 or l2
    output_activation: Literal["none", "sigmoid", "relu", "tanh"] = "sigmoid"
    synthesizer: Literal["linear", "bias"] = "linear"  # a weight for each channel, or none
    # what sees: a model of timm, frozen; "resnet18": the released code's, which learns
    backbone: str = "tf_efficientnet_lite0"
    backbone_weights: str = ""  # file of its weights; "": those that come with it (see nets/eyes.py)
    backbone_learns: Whole = 0  # its last stages that learn, at `lr_frame`
    pretrained: bool = True  # the backbone knows ImageNet (or what its weights have seen) before training
    frame_stride: Literal[8, 16, 32] = 16  # pixels of the picture a cell of the grid: 224 / 16 = 14
    # of resnet18 alone: channels of its first layer. Gradients of fewer than 8 are written beyond their memory by oneDNN's
    # kernels for AVX2 (torch 2.14)
    frame_width: Annotated[int, Meta(ge=8, description="a whole number from 8")] = 64
    frame_groups: Literal[3, 4] = 4  # groups of blocks,
    frame_dilation: bool = True  # and whether a finer grid sees as far (published)
    # of a picture's cells, the greatest, whose mean counts: 24 of 196; 0: the one greatest (published)
    pool: Share = 0.12
    # batch statistics of each source's pictures by themselves (published), or of all together
    frames_apart: bool = False

    # training
    start: Literal["even", "published"] = "even"  # of the nets: no mask decided, or the released code's
    optimizer: Literal["sgd", "adamw"] = "adamw"  # published: sgd
    # of the learning rates: a cosine, after a rise; or a tenth after each of `lr_steps`
    schedule: Literal["cosine", "steps"] = "cosine"
    lr_steps: Annotated[str, Meta(pattern=r"^ *\d+ *(, *\d+ *)*$", description="epochs with commas between")] = "40,80"
    lr_sound: Weight = 1e-3
    lr_frame: Weight = 1e-4  # what learns of the backbone
    lr_fc: Weight = 1e-3  # from the backbone's channels to K
    weight_decay: Weight = 1e-2  # AdamW's; SGD's wants 1e-4 (published)
    epochs: Count = 100
    epoch_size: Count = 25_000  # mixtures an epoch; the published dup_trainset times the number of clips
    batch: Count = 20  # mixtures a step, of all processes together
    accumulate: Count = 1  # parts that a batch is computed in, one after the other: less memory
    # of the nets: bf16 where the chip computes in it; losses and targets are fp32
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    compile: bool = False  # the nets by torch.compile: some minutes first
    val_pairs: Count = 256  # mixtures that choose the best epoch
    workers: Whole = 4  # processes that read clips; 0: the training process itself

    def __post_init__(self):
        """Raises SopError where the profile's name is not what these values make of it: no number is to be told under another."""
        name = _profile(self.profile, vars(self))
        if self.profile != name:
            base = name.partition(" with ")[0]
            raise SopError(
                f"config {self.name}: profile={self.profile!r}, but its values make it {name!r}; to change both together: "
                f"Config().override({{'profile': {base!r}, ...}}), or --set profile={base} ..."
            )

    @property
    def seconds(self) -> float:
        """Length of a window in seconds."""
        return self.samples / self.rate

    @property
    def stft_frames(self) -> int:
        """T, STFT frames of a window."""
        return self.samples // self.hop + 1

    @property
    def training(self) -> "Config":
        """This config with the windows that training's mixtures have."""
        return dataclasses.replace(self, samples=self.train_samples or self.samples)

    @property
    def grid(self) -> tuple[int, int]:
        """H, W: cells of the pixel grid. Each halving of the frame net rounds up, and so do all of them together."""
        side = -(-self.image // self.frame_stride)
        return side, side

    @property
    def looks_once(self) -> bool:
        """Whether what the backbone says of the training's pictures is made once, before (see looks.py): it never changes."""
        return self.looks > 0 and self.backbone != PUBLISHED and self.backbone_learns == 0

    @property
    def has_odds(self) -> bool:
        """Whether masks have odds, by which they can be dealt out among several: the sigmoid's alone."""
        return self.output_activation == "sigmoid"

    def override(self, settings: dict[str, str]) -> "Config":
        """A copy with some fields set from text (`--set epochs=3`). Raises SopError on an unknown name or a bad value."""
        known = [f.name for f in dataclasses.fields(self)]
        profile = settings.get("profile", "default")
        if profile not in PROFILES:
            raise SopError(
                f"--set profile={profile!r}, expected one of {tuple(PROFILES)}; what is to differ is set beside it (warp=mel ...)"
            )
        values = dict(PROFILES[profile] if "profile" in settings else {})
        for key, text in settings.items():
            if key not in known:
                raise SopError(f"--set {key}={text}: there is no setting {key!r}; there are {', '.join(known)}")
            values[key] = _value(f"--set {key}={text}", key, text, strict=False)
        return _named(dataclasses.asdict(self) | values).check()

    def check(self) -> "Config":
        """This config, or SopError where its numbers can't work together."""
        for key, value in vars(self).items():
            _value(f"config {self.name}: {key}={value!r}", key, value)
        if self.image < self.frame_stride:
            raise SopError(
                f"config {self.name}: image={self.image}, expected at least one cell, {self.frame_stride} pixels"
            )
        if self.hop > self.n_fft // 2:
            raise SopError(
                f"config {self.name}: hop={self.hop} with n_fft={self.n_fft}, expected at most half of it: frames must overlap to "
                "become sound again"
            )
        published = self.backbone == PUBLISHED
        if published and self.pretrained and (self.frame_width, self.frame_groups) != (64, 4):
            raise SopError(
                f"config {self.name}: pretrained with frame_width={self.frame_width}, frame_groups={self.frame_groups}; "
                "ImageNet's weights are for 64 and 4: set pretrained=false"
            )
        if published and (self.backbone_weights or self.backbone_learns):
            raise SopError(
                f"config {self.name}: backbone_weights={self.backbone_weights!r}, backbone_learns={self.backbone_learns} with "
                f"backbone={PUBLISHED}, which learns whole, from torchvision's weights; expected a backbone of timm, or neither"
            )
        if published and self.frame_stride > 2 ** (self.frame_groups + 1):
            raise SopError(
                f"config {self.name}: frame_stride={self.frame_stride} with frame_groups={self.frame_groups}, expected at most "
                f"{2 ** (self.frame_groups + 1)}: the stem halves the picture twice, and each group but the first once"
            )
        if self.epoch_size < self.batch:
            raise SopError(
                f"config {self.name}: epoch_size={self.epoch_size}, expected at least one batch={self.batch}"
            )
        side = 2**self.sound_depth
        for windows in (self, self.training):
            if self.bins % side or windows.stft_frames % side:
                raise SopError(
                    f"config {self.name}: bins={self.bins} and T={windows.stft_frames} ({windows.samples:,} samples // hop + 1) "
                    f"must be multiples of {side}, since a U-Net of sound_depth={self.sound_depth} halves them that often"
                )
        if self.warp == "none" and self.bins != self.n_fft // 2 + 1:
            raise SopError(
                f"config {self.name}: warp=none with bins={self.bins}, expected n_fft // 2 + 1 = {self.n_fft // 2 + 1}"
            )
        if not self.has_odds and (self.loss == "bce" or self.share):
            raise SopError(
                f"config {self.name}: output_activation={self.output_activation} with loss={self.loss}, share={self.share}; "
                "only the sigmoid has odds: expected loss l1 or l2, and share=false"
            )
        return self

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str, where: str) -> "Config":
        """Read back what `to_json` wrote. Raises SopError naming `where` if it isn't that."""
        try:
            return _named(_since(json.loads(text))).check()
        except (ValueError, TypeError, SopError) as e:
            raise SopError(f"{where}: not a config of this version of sop_core ({e})") from None


@cache
def _kinds() -> dict[str, type]:
    return get_type_hints(Config, include_extras=True)


def _value(where: str, key: str, value, strict: bool = True):
    """A setting's value, of its type and within its range; from text where not `strict`. Raises SopError."""
    kind = _kinds()[key]
    value = value.item() if hasattr(value, "item") else value  # numpy's
    if not strict:
        with suppress(ValueError):  # as Python writes numbers: .001, 25_000
            value = {int: int, float: float}.get(getattr(kind, "__origin__", kind), str)(value)
    try:
        return msgspec.convert(value, kind, strict=strict)
    except msgspec.ValidationError:
        plain = {bool: "true or false", float: "a number", str: "text"}
        described = [m.description for m in getattr(kind, "__metadata__", ())] or [
            plain.get(kind) or f"one of {get_args(kind)}"
        ]
        raise SopError(f"{where}, expected {described[0]}") from None


def _since(values: dict) -> dict:
    """A saved config in today's words: what it doesn't name was so before it had a name, and `remix` is gone."""
    before = {"sound_activation": "none", "sound_up": "bilinear", "pool": 0.0, "optimizer": "sgd", "weight_decay": 1e-4}
    values = {"warp": "bank", "among": 0.0, "noise": 0.0} | before | values
    if "backbone" not in values:
        values |= {"backbone": PUBLISHED, "looks": 0, "together": 0.0}
        values["start"] = "published" if values.get("start") == "published" else "even"
        values.pop("remix", None)
    return values


def _profile(name: str, values: dict) -> str:
    """A profile's name as these values make it: `sop2018`, or `sop2018 with warp=mel, share=True` where these are not its own."""
    base = str(name).partition(" with ")[0]
    if base not in PROFILES:
        raise SopError(f"config {values['name']}: profile={name!r}, expected one of {tuple(PROFILES)}")
    other = [f"{k}={values[k]}" for k, v in PROFILES[base].items() if values[k] != v]
    return f"{base} with {', '.join(other)}" if other else base


def _named(values: dict) -> Config:
    """The config of these values, under the name that they make of its profile's."""
    config = Config(**values | {"profile": "default"})
    return dataclasses.replace(config, profile=_profile(values.get("profile", "default"), dataclasses.asdict(config)))


MUSIC = Config()
# 200,000 clips of 10 s: looking at each once would fill 400 GB, and a GPU looks faster than it learns
VGGSOUND = Config(name="vggsound", fps=1.0, stride=1, looks=0)
DEMO = Config(
    name="demo",
    samples=32_767,  # 2.97 s, T = 128
    train_samples=16_383,  # 1.49 s
    audio_format="wav",  # read several times as fast as flac; mp3's noise fills the toy's clean silences, and cost 1 dB
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
