"""StyleGAN: Karras, Laine, Aila, A Style-Based Generator Architecture for GANs (2019), arXiv:1812.04948."""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mammogan.config import StyleGANConfig
from mammogan.models.generator import Generator, Noise, normal

_W_MEAN_BETA = 0.995  # of the running mean of w, as in the authors' code
_MINIBATCH_GROUP = 4  # images whose spread is one statistic, as in the authors' code
_ROOT_2 = math.sqrt(2)  # He's gain for a leaky ReLU


def width(config: StyleGANConfig, size: int) -> int:
    """Channels at `size` px: base_channels / 2**stage with 2 px as stage 0, at most max_channels."""
    return min(max(config.base_channels * 2 // size, 1), config.max_channels)


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


def adain(x: Tensor, y_s: Tensor, y_b: Tensor) -> Tensor:
    """Adaptive instance normalisation: features (N, C, H, W), styles (N, C) -> same shape as x.

    AdaIN(x_i, y) = y_s,i (x_i - mu(x_i)) / sigma(x_i) + y_b,i (eq. 1). Statistics are taken in float32.
    """
    variance, mean = torch.var_mean(x.float(), dim=(2, 3), correction=0)  # (N, C)
    scale = y_s.float() * torch.rsqrt(variance + 1e-8)
    shift = y_b.float() - mean * scale
    return torch.addcmul(shift[:, :, None, None].to(x.dtype), x, scale[:, :, None, None].to(x.dtype))


class StyledLayer(nn.Module):
    """[convolution, [blur]], noise, bias, leaky ReLU, AdaIN: one of the blocks of figure 1b."""

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


class StyleGANGenerator(Generator):
    """Mapping network z -> w and synthesis network w -> image."""

    w_mean: Tensor
    w_batches: Tensor

    def __init__(self, config: StyleGANConfig, resolution: int) -> None:
        super().__init__()
        self.z_dim = config.z_dim
        self.resolution = resolution
        self.style_mixing = config.style_mixing
        sizes = [config.z_dim] + [config.w_dim] * config.mapping_layers
        self.mapping = nn.ModuleList(EqualLinear(n_in, n_out, lr=0.01) for n_in, n_out in pairwise(sizes))
        self.register_buffer("w_mean", torch.zeros(config.w_dim))
        self.register_buffer("w_batches", torch.zeros((), dtype=torch.int64))  # seen by w_mean
        channels = width(config, 4)
        self.constant = nn.Parameter(torch.ones(1, channels, 4, 4))
        self.layers = nn.ModuleList(
            [
                StyledLayer(config.w_dim, channels, channels, convolve=False),
                StyledLayer(config.w_dim, channels, channels),
            ]
        )
        for size in _sizes(resolution)[1:]:
            coarse, fine = width(config, size // 2), width(config, size)
            self.layers.append(StyledLayer(config.w_dim, coarse, fine, resample="up"))
            self.layers.append(StyledLayer(config.w_dim, fine, fine))
        self.to_grey = EqualConv(width(config, resolution), 1, kernel=1, gain=1.0)

    def map(self, z: Tensor) -> Tensor:
        """Latents (N, z_dim), normalised to root mean square 1 -> styles (N, w_dim)."""
        w = z * torch.rsqrt(z.square().mean(1, keepdim=True) + 1e-8)
        for layer in self.mapping:
            w = F.leaky_relu(layer(w), 0.2)
        return w

    def forward(self, z: Tensor, *, truncation: float = 1.0, noise: Noise = None) -> Tensor:
        """Latents (N, z_dim) -> images (N, 1, R, R) in about [-1, 1].

        In training mode it follows the mean of w and mixes styles. Truncation: w' = w_mean + psi (w - w_mean)
        (appendix B), in all layers.
        """
        w = self.map(z)
        if self.training:
            self._follow(w.detach().float().mean(0))
        styles = self._mix(w, noise) if self.training and self.style_mixing else [w] * len(self.layers)
        if truncation != 1:
            styles = [self.w_mean + truncation * (w - self.w_mean) for w in styles]
        x = self.constant.expand(len(z), -1, -1, -1)
        for layer, w in zip(self.layers, styles, strict=True):
            x = layer(x, w, noise)
        images: Tensor = self.to_grey(x)
        return images

    def _follow(self, mean: Tensor) -> None:
        """Let w_mean follow the mean of a batch of w, (w_dim,)."""
        self.w_batches += 1
        # The plain mean of the first batches: an average from zero would keep short runs near zero.
        self.w_mean.lerp_(mean, self.w_batches.float().reciprocal().clamp(min=1 - _W_MEAN_BETA))

    def _mix(self, w: Tensor, noise: Noise) -> list[Tensor]:
        """Styles of each layer: past a random layer, a share of the images takes a second w (section 3.1)."""
        other = self.map(normal((len(w), self.z_dim), noise, w.device))
        chance = torch.special.ndtr(normal((len(w), 2), noise, w.device))  # uniform in (0, 1)
        n_layers = len(self.layers)
        crossover = 1 + (chance[:, :1] * (n_layers - 1)).floor()  # in 1 ... n_layers - 1
        crossover = torch.where(chance[:, 1:] < self.style_mixing, crossover, n_layers)
        return [torch.where(index < crossover, w, other) for index in range(n_layers)]


class StyleGANDiscriminator(nn.Module):
    """Convolutions with blur before each halving, minibatch standard deviation at 4 px, no residual path."""

    def __init__(self, config: StyleGANConfig, resolution: int) -> None:
        super().__init__()
        finest = width(config, resolution)
        layers: list[nn.Module] = [EqualConv(1, finest, kernel=1), _leaky_relu()]
        for size in _sizes(resolution)[:0:-1]:
            fine, coarse = width(config, size), width(config, size // 2)
            layers += [EqualConv(fine, fine), _leaky_relu(), Blur(fine)]
            layers += [EqualConv(fine, coarse, resample="down"), _leaky_relu()]
        channels = width(config, 4)
        layers += [MinibatchStd(), EqualConv(channels + 1, channels), _leaky_relu(), nn.Flatten()]
        layers += [EqualLinear(channels * 16, width(config, 2)), _leaky_relu()]
        layers += [EqualLinear(width(config, 2), 1, gain=1.0)]
        self.layers = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, 1, R, R) in [-1, 1] -> logits (N,), high for real."""
        logits: Tensor = self.layers(images)
        return logits.flatten()


class MinibatchStd(nn.Module):
    """Appends one map: the mean standard deviation over a group of images (Karras et al. 2018, arXiv:1710.10196)."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C + 1, H, W); groups of 4, or the whole batch where 4 does not divide it."""
        n, channels, height, width = x.shape
        group = _MINIBATCH_GROUP if n % _MINIBATCH_GROUP == 0 else n
        groups = x.float().reshape(group, n // group, channels, height, width)
        std = (groups.var(0, correction=0) + 1e-8).sqrt().mean((1, 2, 3))  # (n / group,)
        spread = std.to(x.dtype).repeat(group)[:, None, None, None].expand(n, 1, height, width)
        return torch.cat([x, spread], 1)


def _leaky_relu() -> nn.Module:
    return nn.LeakyReLU(0.2, inplace=True)


def _sizes(resolution: int) -> list[int]:
    """4, 8, ..., resolution."""
    return [2**k for k in range(2, int(math.log2(resolution)) + 1)]
