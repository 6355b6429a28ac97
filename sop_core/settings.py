"""The settings of a run, with their units and ranges; see `config.Config`."""

import sys
from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta

DEFAULT_BACKBONE = "tf_efficientnet_lite0"
PUBLISHED = "resnet18"  # the released code's backbone, which learns; all others are from timm
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
    """The run's name, then sound and picture: what is read of a clip.

    `sop_core.__doc__` explains the letters. "Published" means here and below: in the code that the
    authors released.
    """

    name: Text = "music"
    # "sop2018": the released code as its authors ran it. `override` sets it with the values in
    # `PROFILES`, and appends what differs from them.
    profile: Text = "default"
    seed: Natural = 0

    # sound
    rate: Positive = 11_025  # samples a second
    samples: Positive = 65_535  # L, length of a window: 5.94 s
    # L of training's mixtures (0: as `samples`). Twice as many mixtures of half the length cost the
    # same and teach more.
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
    # of the mixtures whose pictures are apart (see `together`), the share in which one source is a
    # silent scene, if the index has any
    silence: Fraction = 0.1
    noise: Fraction = 0.2  # share of training's mixtures with noise that no picture shows
    # share of training's mixtures in which one or two more clips sound, which no picture shows: so
    # there are two to four sounds
    unseen: Fraction = 0.0
    # share of training's clips that are heard in another room, through another microphone, before
    # they are mixed (compose/acoustics.py)
    acoustics: Fraction = 0.0
    # share of training's mixtures whose pictures stand side by side in one picture; each part then
    # has to give its own sound
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
    # mask alone; 0: none. Losses l1 and l2 go without.
    among: Weight = 1.0
    # weight of the `bce` of a picture of another mixture, whose mask should be empty; 0: none. It
    # rises from 0 when the training begins to this when it ends. Of a few other mixtures of the
    # same process, and the same part of the batch (`accumulate`), it is the picture that is least
    # alike to those of this mixture: it may show what sounds, too, the more with `unseen`. If that
    # one is alike, none is asked to be empty.
    absent: Weight = 0.0
    weighted: Flag = True  # a loud bin counts more in the loss
    # divide a batch's loss by its weights, or by its bins: then a loud recording counts more too
    # (published)
    loss_mean: Literal["weights", "bins"] = "weights"

    # how the released code differs
    # a mixture is the sum of its sounds, or their mean: each is divided by their number (published)
    mixture: Literal["sum", "mean"] = "sum"
    # an evaluation's mixtures: drawn, or by number, where a clip may meet itself (published)
    pairs: Literal["drawn", "published"] = "drawn"
    # windows, crops and colour jitter: as in mixtures.py, or as in the released loader
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
    # after training, the feature maps are the mean over spectrograms that are shifted by up to this
    # many bins up and down: 2 takes five times the work; 0: none
    shifts: Annotated[int, Meta(ge=0, le=16, description="0 to 16")] = 0
    image_activation: Activation = "sigmoid"  # of a visual feature
    # from the synthesizer's sum to a mask; the sigmoid, or another with loss l1 or l2
    output_activation: Literal["none", "sigmoid", "relu", "tanh"] = "sigmoid"
    synthesizer: Literal["linear", "bias"] = "linear"  # with a weight for each of K, or without

    # what reads the pictures: a frozen model of timm, or "resnet18", which learns (published)
    backbone: Text = DEFAULT_BACKBONE
    backbone_weights: Text = ""  # their file; "": the weights that come with it (model/eyes.py)
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

    # the nets' first weights: masks begin at 0.5, or published
    start: Literal["even", "published"] = "even"
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
    workers: Natural = 4  # that read clips, for each process that trains; 0: that process itself
