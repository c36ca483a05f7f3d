"""Layers at equalised learning rate: Karras et al. 2018, arXiv:1710.10196, section 4.1."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_ROOT_2 = math.sqrt(2)  # He's gain for a leaky ReLU


class EqualLinear(nn.Module):
    """Linear layer whose weights are N(0, 1) at rest and scaled by He's constant in use (equalised lr)."""

    def __init__(self, n_in: int, n_out: int, gain: float = _ROOT_2, lr: float = 1.0, bias: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(n_out, n_in) / lr)
        self.bias = nn.Parameter(torch.full((n_out,), bias))
        self.scale = gain / math.sqrt(n_in) * lr
        self.lr = lr

    def forward(self, x: Tensor) -> Tensor:
        """(N, n_in) -> (N, n_out)."""
        return F.linear(x, self.weight * self.scale, self.bias * self.lr)


class EqualConv(nn.Module):
    """Convolution at equalised lr, `same` padding, optionally with a twofold change of size in one kernel.

    `up` equals nearest-neighbour upsampling before the convolution, `down` equals 2x2 averaging after it, both
    exactly: the 3x3 kernel is box-summed to 4x4 and applied at stride 2, which takes 4/9 of the multiplications.
    """

    def __init__(
        self, n_in: int, n_out: int, kernel: int = 3, gain: float = _ROOT_2, resample: str = "", bias: bool = True
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(n_out, n_in, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(n_out)) if bias else None
        self.scale = gain / math.sqrt(n_in * kernel**2)
        self.padding = kernel // 2
        self.resample = resample

    def forward(self, x: Tensor) -> Tensor:
        """(N, n_in, H, W) -> (N, n_out, H', W')."""
        weight = self.weight * self.scale
        if self.resample == "up":
            # A transposed convolution writes each input through the kernel, hence the flip and the transposition.
            kernel = _box_sum(weight).flip(2, 3).transpose(0, 1)
            return F.conv_transpose2d(x, kernel, self.bias, stride=2, padding=1)
        if self.resample == "down":
            return F.conv2d(x, _box_sum(weight) / 4, self.bias, stride=2, padding=1)
        return F.conv2d(x, weight, self.bias, padding=self.padding)


def _box_sum(weight: Tensor) -> Tensor:
    """Kernels (..., 3, 3) convolved with a 2x2 box -> (..., 4, 4)."""
    padded = F.pad(weight, (1, 1, 1, 1))
    rows = padded[..., 1:, :] + padded[..., :-1, :]
    return rows[..., 1:] + rows[..., :-1]


class Blur(nn.Module):
    """Bilinear low-pass filter, [1, 2, 1] / 4 in both directions."""

    kernel: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        taps = torch.tensor([1.0, 2.0, 1.0]) / 4
        kernel = torch.outer(taps, taps).expand(channels, 1, 3, 3).clone()
        self.register_buffer("kernel", kernel, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> same shape; zeros outside."""
        return F.conv2d(x, self.kernel, padding=1, groups=len(self.kernel))
