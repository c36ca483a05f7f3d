"""Layers that a style w steers: by AdaIN (Karras et al. 2019) or by demodulated weights (Karras et al. 2020)."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mammogan.models.equalised import Blur, EqualConv, EqualLinear
from mammogan.models.float32 import in_float32
from mammogan.models.generator import Noise, normal


def adain(x: Tensor, y_s: Tensor, y_b: Tensor) -> Tensor:
    """Adaptive instance normalisation: features (N, C, H, W), styles (N, C) -> same shape as x.

    AdaIN(x_i, y) = y_s,i (x_i - mu(x_i)) / sigma(x_i) + y_b,i (arXiv:1812.04948, eq. 1). Statistics are taken in
    float32.
    """
    variance, mean = torch.var_mean(x.float(), dim=(2, 3), correction=0)  # (N, C)
    scale = y_s.float() * torch.rsqrt(variance + 1e-8)
    shift = y_b.float() - mean * scale
    return torch.addcmul(shift[:, :, None, None].to(x.dtype), x, scale[:, :, None, None].to(x.dtype))


class StyledLayer(nn.Module):
    """[convolution, [blur]], noise, bias, leaky ReLU, AdaIN: one of the blocks of arXiv:1812.04948, figure 1b."""

    def __init__(self, w_dim: int, n_in: int, n_out: int, resample: str = "", convolve: bool = True) -> None:
        super().__init__()
        layers: list[nn.Module] = [EqualConv(n_in, n_out, resample=resample, bias=False)] if convolve else []
        if resample:
            layers.append(Blur(n_out))
        self.convolve = nn.Sequential(*layers)
        self.noise_scale = nn.Parameter(torch.zeros(n_out))  # B of figure 1b
        self.bias = nn.Parameter(torch.zeros(n_out))
        self.style = EqualLinear(w_dim, 2 * n_out, gain=1.0)  # A of figure 1b

    def forward(self, x: Tensor, w: Tensor, noise: Noise) -> Tensor:
        """Features (N, n_in, H, W) and styles (N, w_dim) -> (N, n_out, H', W')."""
        x = self.convolve(x)
        grain = normal((len(x), 1, *x.shape[2:]), noise, x.device)  # one channel, shared by all maps
        bias, scale = (each[:, None, None].to(x.dtype) for each in (self.bias, self.noise_scale))
        x = F.leaky_relu(torch.addcmul(x + bias, grain.to(x.dtype), scale), 0.2)
        y_s, y_b = self.style(w).chunk(2, dim=1)
        return adain(x, y_s + 1, y_b)


class DemodulatedLayer(nn.Module):
    """Convolution with weights that each style scales, [blur], noise, bias, leaky ReLU: arXiv:1912.04958, figure 2c.

    The weights of an image are w'_ijk = s_i w_ijk (eq. 1), divided by sqrt(sum_ik w'_ijk^2 + eps) (eq. 3). A
    convolution is linear, so its inputs are scaled by s and its outputs by that factor in place of the weights:
    equal, and one convolution serves the batch. With `up` the factor is that of the 3x3 kernel.
    """

    def __init__(self, w_dim: int, n_in: int, n_out: int, resample: str = "") -> None:
        super().__init__()
        self.convolve = EqualConv(n_in, n_out, gain=1.0, resample=resample, bias=False)
        self.blur = Blur(n_out) if resample else nn.Identity()
        self.noise_scale = nn.Parameter(torch.zeros(n_out))  # B of figure 2c
        self.bias = nn.Parameter(torch.zeros(n_out))
        self.style = EqualLinear(w_dim, n_in, gain=1.0, bias=1.0)  # A of figure 2c

    def forward(self, x: Tensor, w: Tensor, noise: Noise) -> Tensor:
        """Features (N, n_in, H, W) and styles (N, w_dim) -> (N, n_out, H', W')."""
        s = self.style(w)
        x = self.blur(self.convolve(x * s[:, :, None, None].to(x.dtype)))
        grain = normal((len(x), 1, *x.shape[2:]), noise, x.device)  # one channel, shared by all maps
        # A leaky ReLU halves the mean square; the root of 2 that makes up for it passes through it unchanged.
        factor = (self._demodulation(s) * math.sqrt(2))[:, :, None, None].to(x.dtype)
        bias, scale = ((math.sqrt(2) * each)[:, None, None].to(x.dtype) for each in (self.bias, self.noise_scale))
        x = torch.addcmul(bias, x, factor)
        return F.leaky_relu(torch.addcmul(x, grain.to(x.dtype), scale), 0.2)

    def _demodulation(self, s: Tensor) -> Tensor:
        """Factors (N, n_out) of styles (N, n_in), in the format of the weights; eq. 3 with eps 1e-8."""
        with in_float32(s.device):
            power = (self.convolve.weight * self.convolve.scale).square().sum((2, 3))  # (n_out, n_in)
            return torch.rsqrt(s.to(power.dtype).square() @ power.t() + 1e-8)
