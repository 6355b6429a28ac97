"""Every number of a run, frozen, with its unit; the presets; where things lie.

A run is told by one `Config`: it is saved as `config.json` beside the weights, and a checkpoint is read back from it.
"""

import dataclasses
import json
import math
import os
from dataclasses import dataclass
from pathlib import Path

from .errors import SopError

ROOT = Path(os.environ.get("SOP_ROOT", Path(__file__).resolve().parents[1]))  # the workbook's own folder
DATA = ROOT / "data"
CKPT = ROOT / "ckpt"
AnyPath = str | os.PathLike  # what public functions take for a file or a folder
SILENCE = "silence"  # the label of clips in which nothing is to be heard or seen to sound: for training only
BASELINES = ("nmf", "random")  # of an evaluation, by choice: they take longer, or say less
PUBLISHED = "resnet18"  # the released code's backbone, which learns; all others are timm's
ACTIVATIONS = ("none", "sigmoid", "softmax", "relu", "tanh")
DEMO_WEIGHTS = DATA / "demo_weights"  # shipped: notebook 05 works when it is the first one opened


# What a profile sets. Each flag has a test that shows what it changes.
PROFILES = {
    "default": {},
    "sop2018": {
        "stft_pad": "reflect", "warp": "grid", "loudness": "absolute", "mixture": "mean", "clips": "published",
        "target": "half", "loss_mean": "bins", "among": 0.0, "share": False, "silence": 0.0, "noise": 0.0,
        "backbone": "resnet18", "backbone_weights": "", "backbone_learns": 0, "looks": 0, "together": 0.0,
        "sound_activation": "none", "sound_up": "bilinear", "pool": 0.0, "frames_apart": True, "start": "published",
        "optimizer": "sgd", "weight_decay": 1e-4, "schedule": "steps", "precision": "fp32", "pairs": "published",
    },
}  # fmt: skip

CHOICES = {  # of the settings that are words, or few
    "mixture": ("sum", "mean"),
    "clips": ("free", "published"),
    "start": ("even", "published"),
    "pairs": ("drawn", "published"),
    "schedule": ("cosine", "steps"),
    "mask": ("binary", "ratio"),
    "sound_activation": ACTIVATIONS,
    "image_activation": ACTIVATIONS,
    "output_activation": ("none", "sigmoid", "relu", "tanh"),
    "sound_up": ("transposed", "bilinear"),
    "synthesizer": ("linear", "bias"),
    "warp": ("mel", "bank", "grid", "none"),
    "stft_pad": ("constant", "reflect"),
    "loudness": ("relative", "absolute"),
    "target": ("loudest", "half"),
    "loss": ("bce", "l1", "l2"),
    "loss_mean": ("weights", "bins"),
    "optimizer": ("sgd", "adamw"),
    "audio_format": ("mp3", "flac", "wav"),
    "precision": ("auto", "fp32", "bf16"),
    "frame_stride": (8, 16, 32),
    "frame_groups": (3, 4),
}


@dataclass(frozen=True)
class Config:
    """One run. The defaults are the paper's MUSIC setting (Zhao et al. 2018, section 4.2 and the released code)."""

    name: str = "music"
    # "sop2018": the released code as its authors ran it; set by `override`, which sets `PROFILES`' values and names what differs
    profile: str = "default"
    seed: int = 0

    # sound
    rate: int = 11_025  # samples a second
    samples: int = 65_535  # L, one window: 5.94 s
    n_fft: int = 1_022  # samples: 512 linear frequency bins
    hop: int = 256  # samples from one STFT frame to the next: T = 256
    bins: int = 256  # F, log-frequency bins that the nets see
    # to them, see `Warp`: "mel"; "bank"; "grid", as published; "none": n_fft // 2 + 1 linear bins
    warp: str = "mel"
    stft_pad: str = "constant"  # beyond a window's ends: zeros; "reflect": the sound mirrored (published)
    loudness: str = "relative"  # of what the nets read, to the window's mean; "absolute": as it is (published)

    audio_format: str = "mp3"  # what preprocessing keeps it as; "flac" and "wav" lose nothing

    # picture
    fps: float = 8.0  # video frames a second
    frames: int = 3  # V, frames a window
    stride: int = 24  # video frames from one of them to the next: 3 s
    image: int = 224  # pixels, both sides: the whole frame is squeezed to a square

    # mix and separate
    sources: int = 2  # N
    gain: float = 1.5  # a source is made up to this much louder or softer in training (factor)
    crop: float = 0.5  # least share of a frame's area that a training crop keeps
    silence: float = 0.1  # share of training's mixtures in which one source is a silent scene, where the index has any
    noise: float = 0.2  # share of training's mixtures with noise that no picture shows
    together: float = (
        0.5  # share of training's mixtures whose pictures stand side by side in one, each asked for its own sound
    )
    looks: int = (
        12  # crops of each clip that a frozen backbone sees, once, before training; 0: another one at every step
    )
    mask: str = "binary"  # or "ratio"
    target: str = (
        "loudest"  # a binary mask is 1 for the loudest source; "half": for more than half the mixture (published)
    )
    loss: str = "bce"  # or "l1", "l2"
    among: float = (
        1.0  # weight of the cross-entropy among a mixture's sources, beside `bce` of each mask alone; 0: none
    )
    weighted: bool = True  # a loud bin counts more in the loss
    loss_mean: str = "weights"  # or "bins": a loud recording counts more too (published)
    mixture: str = "sum"  # of its sources; "mean": each is made 1 / N as loud first (published)
    pairs: str = "drawn"  # an evaluation's mixtures; "published": by number, a clip may meet itself (see mixing.py)
    clips: str = "free"  # windows, crops and light as in mixing.py; "published": as in the released loader
    share: bool = True  # a mixture's sources share out every bin; without, each mask is cut at 0.5 alone (published)

    # nets
    channels: int = 32  # K
    sound_depth: int = 7  # halvings in the U-Net (the published unet5, unet6, unet7)
    sound_width: int = 64  # channels of its first layer
    sound_up: str = (
        "transposed"  # how it doubles: convolutions with half a stride; "bilinear", then a convolution (published)
    )
    sound_activation: str = (
        "softmax"  # of the K channels: every bin is dealt out among them; none (published), sigmoid, relu, tanh
    )
    image_activation: str = "sigmoid"  # of a picture's K numbers; or none, softmax, relu, tanh
    output_activation: str = "sigmoid"  # from the synthesizer's sum to a mask; or none, relu, tanh, with l1 or l2
    synthesizer: str = "linear"  # a weight for each channel; "bias": none
    backbone: str = (
        "tf_efficientnet_lite0"  # what sees: a model of timm, frozen; "resnet18": the released code's, which learns
    )
    backbone_weights: str = ""  # file of its weights; "": those that come with it (see nets/eyes.py)
    backbone_learns: int = 0  # its last stages that learn, at `lr_frame`
    pretrained: bool = True  # the backbone knows ImageNet (or what its weights have seen) before training
    frame_stride: int = 16  # pixels of the picture a cell of the grid: 224 / 16 = 14; 8: the finest, 32: the coarsest
    frame_width: int = 64  # of resnet18 alone: channels of its first layer,
    frame_groups: int = 4  # groups of blocks,
    frame_dilation: bool = True  # and whether a finer grid sees as far (published)
    pool: float = (
        0.12  # share of a picture's cells, the greatest, whose mean counts: 24 of 196; 0: the one greatest (published)
    )
    frames_apart: bool = (
        False  # batch statistics of each source's pictures by themselves (published), or of all together
    )

    # training
    start: str = "even"  # of the nets: no mask decided; "published": the released code's
    optimizer: str = "adamw"  # or "sgd" (published)
    schedule: str = "cosine"  # of the learning rates, after a rise; "steps": a tenth after each of `lr_steps`
    lr_steps: str = "40,80"  # epochs
    lr_sound: float = 1e-3
    lr_frame: float = 1e-4  # what learns of the backbone
    lr_fc: float = 1e-3  # from the backbone's channels to K
    weight_decay: float = 1e-2  # AdamW's; SGD's wants 1e-4 (published)
    epochs: int = 100
    epoch_size: int = 25_000  # mixtures an epoch; the published dup_trainset times the number of clips
    batch: int = 20  # mixtures a step, of all processes together
    accumulate: int = 1  # parts that a batch is computed in, one after the other: less memory
    precision: str = "auto"  # of the nets: "bf16" where the chip computes in it, else "fp32"; losses and targets: fp32
    compile: bool = False  # the nets by torch.compile: some minutes first
    val_pairs: int = 256  # mixtures that choose the best epoch
    workers: int = 4  # processes that read clips; 0: the training process itself

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
        types = {f.name: type(getattr(self, f.name)) for f in dataclasses.fields(self)}
        profile = settings.get("profile", "default")
        if profile not in PROFILES:
            raise SopError(
                f"--set profile={profile!r}, expected one of {tuple(PROFILES)}; what is to differ is set beside it (warp=mel ...)"
            )
        values = dict(PROFILES[profile] if "profile" in settings else {})
        for key, text in settings.items():
            if key not in types:
                raise SopError(f"--set {key}={text}: there is no setting {key!r}; there are {', '.join(types)}")
            try:
                values[key] = {"true": True, "false": False}[text.lower()] if types[key] is bool else types[key](text)
            except (ValueError, KeyError):
                raise SopError(f"--set {key}={text}: expected a value of type {types[key].__name__}") from None
        return _named(dataclasses.asdict(self) | values).check()

    def check(self) -> "Config":
        """This config, or SopError where its numbers can't work together."""
        for key, choices in CHOICES.items():
            if getattr(self, key) not in choices:
                raise SopError(f"config {self.name}: {key}={getattr(self, key)!r}, expected one of {choices}")
        least = {
            "seed": 0,
            "sound_depth": 5,
            "workers": 0,
            "looks": 0,
            "backbone_learns": 0,
            "sources": 2,
            "n_fft": 2,
            "image": self.frame_stride,
            "fps": 0.01,
        }
        # Gradients of fewer are written beyond their memory by oneDNN's kernels for AVX2 (torch 2.14).
        least["frame_width"] = 8
        counts = "rate samples hop bins frames stride gain channels sound_width epochs epoch_size batch val_pairs"
        for key, value in (dict.fromkeys([*counts.split(), "accumulate"], 1) | least).items():
            if not getattr(self, key) >= value:
                raise SopError(f"config {self.name}: {key}={getattr(self, key)}, expected at least {value}")
        if self.seed >= 2**63:
            raise SopError(f"config {self.name}: seed={self.seed}, expected less than 2 to the 63rd")
        for key in ("lr_sound", "lr_frame", "lr_fc", "weight_decay", "among"):
            if not 0 <= getattr(self, key) < math.inf:
                raise SopError(f"config {self.name}: {key}={getattr(self, key)}, expected a number from 0")
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
        if not all(step.strip().isdecimal() for step in self.lr_steps.split(",")):
            raise SopError(f"config {self.name}: lr_steps={self.lr_steps!r}, expected epochs with commas between")
        for key in ("pool", "silence", "noise", "together"):
            if not 0 <= getattr(self, key) <= 1:
                raise SopError(f"config {self.name}: {key}={getattr(self, key)}, expected a share from 0 to 1")
        side = 2**self.sound_depth
        if self.bins % side or self.stft_frames % side:
            raise SopError(
                f"config {self.name}: bins={self.bins} and T={self.stft_frames} (samples // hop + 1) must be multiples "
                f"of {side}, since a U-Net of sound_depth={self.sound_depth} halves them that often"
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
        except (ValueError, TypeError) as e:
            raise SopError(f"{where}: not a config of this version of sop_core ({e})") from None


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
    audio_format="wav",  # read several times as fast as flac; mp3's noise fills the toy's clean silences, and cost 1 dB
    bins=64,
    warp="bank",
    frames=1,
    crop=0.7,
    channels=16,
    sound_depth=5,
    sound_width=20,
    lr_sound=2e-3,
    lr_fc=2e-3,
    epochs=4,
    epoch_size=2_400,
    batch=8,
    looks=8,
    val_pairs=16,
    workers=0,  # two cores are busy with the nets
)
PRESETS = {c.name: c for c in (MUSIC, VGGSOUND, DEMO)}
