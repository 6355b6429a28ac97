"""The golden numbers, and the rule that drew the weights they were made with."""

import zlib
from pathlib import Path

import numpy as np
import torch
from torch import nn

GOLDEN = Path(__file__).parent / "golden"


def ruled(net: nn.Module) -> nn.Module:
    """The net in eval mode, its weights drawn by the rule by which the golden numbers were made."""
    norms = {f"{n}." for n, m in net.named_modules() if isinstance(m, nn.BatchNorm2d)}
    state = {}
    for key, value in net.state_dict().items():
        rng, shape = np.random.default_rng(zlib.crc32(key.encode())), tuple(value.shape)
        is_norm = key[: key.rfind(".") + 1] in norms
        if key.endswith("num_batches_tracked"):
            drawn = np.zeros(shape)
        elif key.endswith("running_var"):
            drawn = rng.uniform(0.5, 1.5, shape)
        elif key == "scale" or (is_norm and key.endswith("weight")):
            drawn = 1 + 0.05 * rng.standard_normal(shape)
        elif len(shape) == 4:
            gain = 1.0 if key.startswith("unet_block") else 0.0002 if key.startswith("fc") else 2.0
            drawn = rng.standard_normal(shape) * np.sqrt(gain / np.prod(shape[1:]))
        else:
            drawn = 0.05 * rng.standard_normal(shape)
        state[key] = torch.from_numpy(np.asarray(drawn)).to(value.dtype)
    net.load_state_dict(state)
    return net.eval()
