"""Weights that depend on their names and shapes alone, so that another library's network can be given the same."""

import zlib
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor


def random_weights(like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of the names and shapes of `like`: matrices with gain 1, vectors of scales near 1, others near 0."""
    return {name: _random(name, tensor) for name, tensor in like.items()}


def _random(name: str, like: Tensor) -> Tensor:
    if name.endswith("num_batches_tracked"):
        return torch.zeros_like(like)
    drawn = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(tuple(like.shape), dtype=np.float32)
    if like.ndim > 1:
        return torch.from_numpy(drawn / np.sqrt(like[0].numel()))
    near_one = name.endswith(("running_var", "lambda1", "weight"))
    return torch.from_numpy(np.abs(1 + 0.1 * drawn) if near_one else 0.1 * drawn)
