"""What a training costs, counted from its sizes: nothing is trained, and no file is read.

    python benchmarks/cost.py [--preset music] [--clips 565] [--seconds 120] [--rate 654]
                              [--set KEY=VALUE ...]

Multiplications of the nets, memory and disk; and the hours that all mixtures take at `--rate`
mixtures a second, which `benchmarks/training.py` measures. The defaults are MUSIC's solos.
"""

import argparse
import math

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from sop_core.config import PRESETS, Config
from sop_core.media.sound import MP3_BIT_RATES
from sop_core.model.model import SoundOfPixels
from sop_core.settings import PUBLISHED
from sop_core.training.mixtures import together_looks
from sop_core.training.objective import mask_loss

JPG = 18_000  # bytes of a frame whose short side has 256 pixels: the mean of 36 real ones


def count(config: Config) -> tuple[float, float, int, int]:
    """What a mixture costs in training, and what the backbone says of a picture.

    Returns: multiplications of the nets, forward and backward; those of the backbone for a picture;
    bytes in float32 that the backward pass needs; bytes of a picture's features in float16
    """
    config = config.training.override({"pretrained": "false"})
    model = SoundOfPixels(config).to("meta").train()  # shapes without values: nothing is computed
    channels = len(model.frame.get_parameter("fc.0.weight"))
    features = (channels, *config.grid)
    with torch.device("meta"):
        mixture = torch.ones(1, config.bins, config.stft_frames)
        sources = torch.ones(1, config.sources, config.bins, config.stft_frames)
        seen = torch.ones(1, config.sources, config.frames, *features)
        cells = torch.ones(1, config.sources, *config.grid, dtype=torch.bool)
        picture = torch.zeros(1, 3, config.image, config.image, dtype=torch.uint8)
    kept = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage.nbytes()
        return tensor  # the graph holds it, so no other storage gets this address

    with FlopCounterMode(display=False) as nets, saved_tensors_hooks(keep, lambda tensor: tensor):
        mask_loss(model, mixture, sources, model.region_features(seen, cells)).backward()
    for parameter in model.parameters():
        kept.pop(parameter.untyped_storage()._cdata, None)
    with FlopCounterMode(display=False) as eyes, torch.no_grad():
        model.frame.look(picture)
    flops = nets.get_total_flops(), eyes.get_total_flops()
    return flops[0] / 2, flops[1] / 2, sum(kept.values()), 2 * math.prod(features)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--preset", choices=PRESETS, default="music")
    parser.add_argument("--clips", type=int, default=565)
    parser.add_argument("--seconds", type=float, default=120, help="length of a clip")
    parser.add_argument("--rate", type=float, help="mixtures a second")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE")
    args = parser.parse_args()
    config = PRESETS[args.preset].override(dict(pair.split("=", 1) for pair in args.set))
    if config.backbone == PUBLISHED or config.backbone_learns:
        parser.error("only frozen backbones are counted")
    nets, look, kept, features = count(config)
    mixtures, seconds = config.epochs * config.epoch_size, args.clips * args.seconds
    once = config.looks_once
    pictures = 0 if once else config.sources * config.frames
    features *= args.clips * (config.looks + together_looks(config)) if once else 0
    wav = 2 * config.rate * seconds
    sounds = {
        "mp3": MP3_BIT_RATES.get(config.rate, 0) / 8 * seconds, "flac": 0.6 * wav, "wav": wav
    }[config.audio_format]  # fmt: skip
    clips = f"{args.clips:,} clips of {args.seconds:g} s"
    print(f"preset {args.preset}: {mixtures:,} mixtures of {clips}\n")
    rows = {
        "nets, forward and backward": (nets / 1e9, "billion multiplications a mixture"),
        f"backbone, {pictures} pictures": (
            pictures * look / 1e9,
            "billion multiplications a mixture",
        ),
        f"for the backward pass, batch {config.batch}": (
            config.batch * kept / 1e9,
            "GB in float32",
        ),
        "frames on the disk": (JPG * config.fps * seconds / 1e9, "GB"),
        f"sounds on the disk, {config.audio_format}": (sounds / 1e9, "GB"),
        "features on the disk, once": (features / 1e9, "GB"),
    }
    if once:
        rows["sounds and features"] = (
            (wav + features) / 1e9,
            "GB of the GPU, if it has twice that",
        )
    if args.rate:
        rows[f"at {args.rate:,g} mixtures a second"] = (mixtures / args.rate / 3600, "hours")
    for what, (number, unit) in rows.items():
        print(f"{what:<34}{number:8.1f} {unit}")


if __name__ == "__main__":
    main()
