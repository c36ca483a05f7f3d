"""The vision transformer of DINOv2, whose weights RAD-DINO shares in shape, up to its class token.

Oquab et al. 2023 (arXiv:2304.07193) on Dosovitskiy et al. 2020 (arXiv:2010.11929); layer scale of Touvron et al. 2021
(arXiv:2103.17239). Modules are called as in the published files (`model.safetensors` of Dinov2Model).
"""

import math
import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mammogan.errors import EvaluationError

PATCH_PX = 14

_HEAD = 64  # dimensions of an attention head, at every size of the network
_EPSILON = 1e-6
_A_LAYER = re.compile(r"encoder\.layer\.(\d+)\.mlp\.fc1\.weight")
_UNUSED = {"embeddings.mask_token"}  # stands for hidden patches in training


class ViT(nn.Module):
    """Images (N, 3, S, S), float32, normalised, S a multiple of 14 -> class tokens (N, d), float32."""

    def __init__(self, dims: int, depth: int, grid: int) -> None:
        """Grid: patches along a side of the training images, for which positions were learnt."""
        super().__init__()
        self.embeddings = _Embeddings(dims, grid)
        self.encoder = nn.ModuleDict({"layer": nn.Sequential(*(_Block(dims) for _ in range(depth)))})
        self.layernorm = nn.LayerNorm(dims, eps=_EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        """The class token of each image of `x`."""
        tokens = self.encoder["layer"](self.embeddings(x))
        found: Tensor = self.layernorm(tokens[:, 0])
        return found


def build_vit(tensors: Mapping[str, Tensor], called: str) -> ViT:
    """The network that `tensors` fit, with them in it, in eval mode; `called` names their file in errors.

    Raises:
        EvaluationError: they are no DINOv2 of size S, B or L (the giant one has another kind of block).
    """
    positions = tensors.get("embeddings.position_embeddings")
    layers = [
        int(found[1]) for name in tensors if (found := re.match(r"encoder\.layer\.(\d+)\.mlp\.fc1\.weight", name))
    ]
    if positions is None or not layers:
        raise EvaluationError(
            f"{called} holds no DINOv2 network of size S, B or L; give the model.safetensors published for"
            " dinov2-small, -base or -large, or for rad-dino"
        )
    net = ViT(positions.shape[-1], max(layers) + 1, math.isqrt(positions.shape[1] - 1))
    kept = {name: tensor.float() for name, tensor in tensors.items() if name not in _UNUSED}
    try:
        net.load_state_dict(kept)
    except RuntimeError as err:
        raise EvaluationError(f"{called} does not fit a DINOv2 network: {str(err).splitlines()[1].strip()}") from None
    return net.eval().requires_grad_(False)


class _Embeddings(nn.Module):
    """Images (N, 3, S, S) -> the class token and a token for each patch, (N, 1 + (S / 14)**2, d)."""

    def __init__(self, dims: int, grid: int) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dims))
        self.position_embeddings = nn.Parameter(torch.zeros(1, 1 + grid**2, dims))
        self.patch_embeddings = nn.ModuleDict({"projection": nn.Conv2d(3, dims, PATCH_PX, PATCH_PX)})
        self.grid = grid

    def forward(self, x: Tensor) -> Tensor:
        patches = self.patch_embeddings["projection"](x)  # (N, d, S / 14, S / 14)
        own, others = self.position_embeddings[:, :1], self.position_embeddings[:, 1:]
        if patches.shape[-1] != self.grid:
            square = others.transpose(1, 2).reshape(1, -1, self.grid, self.grid)
            others = F.interpolate(square, patches.shape[2:], mode="bicubic").flatten(2).transpose(1, 2)
        tokens = patches.flatten(2).transpose(1, 2) + others
        return torch.cat([(self.cls_token + own).expand(len(x), -1, -1), tokens], dim=1)


class _Block(nn.Module):
    """Self-attention and a perceptron, each before a norm and with a learnt scale, added to what comes in."""

    def __init__(self, dims: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dims, eps=_EPSILON)
        parts = {name: nn.Linear(dims, dims) for name in ("query", "key", "value")}
        self.attention = nn.ModuleDict(
            {"attention": nn.ModuleDict(parts), "output": nn.ModuleDict({"dense": nn.Linear(dims, dims)})}
        )
        self.layer_scale1 = _Scale(dims)
        self.norm2 = nn.LayerNorm(dims, eps=_EPSILON)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(dims, 4 * dims), "fc2": nn.Linear(4 * dims, dims)})
        self.layer_scale2 = _Scale(dims)

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.layer_scale1(self._attend(self.norm1(tokens)))
        wide = F.gelu(self.mlp["fc1"](self.norm2(tokens)))
        found: Tensor = tokens + self.layer_scale2(self.mlp["fc2"](wide))
        return found

    def _attend(self, tokens: Tensor) -> Tensor:
        parts = self.attention["attention"]
        assert isinstance(parts, nn.ModuleDict)
        query, key, value = (
            parts[name](tokens).view(*tokens.shape[:2], -1, _HEAD).transpose(1, 2) for name in ("query", "key", "value")
        )  # (N, heads, tokens, 64)
        heads = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        output = self.attention["output"]
        assert isinstance(output, nn.ModuleDict)
        attended: Tensor = output["dense"](heads)
        return attended


class _Scale(nn.Module):
    def __init__(self, dims: int) -> None:
        super().__init__()
        self.lambda1 = nn.Parameter(torch.ones(dims))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.lambda1
