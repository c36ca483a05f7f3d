"""StyleGAN: Karras, Laine, Aila, A Style-Based Generator Architecture for GANs (2019), arXiv:1812.04948.

With weight demodulation of StyleGAN2 (Karras et al. 2020, arXiv:1912.04958) and progressive growing (Karras et al.
2018, arXiv:1710.10196) as options.
"""

import math
from itertools import pairwise
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mammogan.config import StyleGANConfig
from mammogan.models import conditional
from mammogan.models.equalised import Blur, EqualConv, EqualLinear
from mammogan.models.generator import Classes, Generator, Noise, normal
from mammogan.models.minibatch import MinibatchStd
from mammogan.models.styled import DemodulatedLayer, StyledLayer

_W_MEAN_BETA = 0.995  # of the running mean of w, as in the authors' code


class Growth(NamedTuple):
    """How far progressive growing has come.

    Attributes:
        size: height and width that the networks have now, in pixels.
        alpha: weight in [0, 1] of the finest block beside the path without it; 1 where that is the first.
    """

    size: int
    alpha: float


def width(config: StyleGANConfig, size: int) -> int:
    """Channels at `size` px: base_channels / 2**stage with 2 px as stage 0, at most max_channels."""
    return min(max(config.base_channels * 2 // size, 1), config.max_channels)


class StyleGANGenerator(Generator):
    """Mapping network z -> w and synthesis network w -> image.

    Attributes:
        growth: None for the whole network; the training loop sets it while the network grows.
        w_mean: running mean of w, (w_dim,); where conditional one for each class, (classes, w_dim).
        w_batches: how many batches are in it, () or (classes,).
    """

    growth: Growth | None = None
    w_mean: Tensor
    w_batches: Tensor

    def __init__(self, config: StyleGANConfig, resolution: int, classes: Classes | None = None) -> None:
        super().__init__()
        self.z_dim = config.z_dim
        self.resolution = resolution
        self.classes = classes
        self.style_mixing = config.style_mixing
        n_classes = [len(classes.values)] if classes else []
        self.embed = nn.Embedding(n_classes[0], config.w_dim) if classes else None
        n_in = config.z_dim + (config.w_dim if classes else 0)
        sizes = [n_in] + [config.w_dim] * config.mapping_layers
        self.mapping = nn.ModuleList(EqualLinear(n_in, n_out, lr=0.01) for n_in, n_out in pairwise(sizes))
        self.register_buffer("w_mean", torch.zeros(*n_classes, config.w_dim))
        self.register_buffer("w_batches", torch.zeros(n_classes, dtype=torch.int64))
        demodulate = config.normalisation == "demodulation"
        channels = width(config, 4)
        self.constant = nn.Parameter((torch.randn if demodulate else torch.ones)(1, channels, 4, 4))
        layer = DemodulatedLayer if demodulate else StyledLayer
        coarsest = [] if demodulate else [StyledLayer(config.w_dim, channels, channels, convolve=False)]
        self.blocks = nn.ModuleDict({"4": nn.ModuleList([*coarsest, layer(config.w_dim, channels, channels)])})
        for size in _sizes(4, resolution)[1:]:
            coarse, fine = width(config, size // 2), width(config, size)
            pair = [layer(config.w_dim, coarse, fine, resample="up"), layer(config.w_dim, fine, fine)]
            self.blocks[str(size)] = nn.ModuleList(pair)
        self.to_grey = nn.ModuleDict(
            {str(size): EqualConv(width(config, size), 1, kernel=1, gain=1.0) for size in _shown(config, resolution)}
        )

    def map(self, z: Tensor, classes: Tensor | None = None) -> Tensor:
        """Latents (N, z_dim), and classes (N,) where conditional -> styles (N, w_dim).

        Latents and the embedding of the class are each normalised to root mean square 1.
        """
        conditional.check(self.classes, classes)
        w = _normalise(z)
        if self.embed is not None:
            w = torch.cat([w, _normalise(self.embed(classes))], 1)
        for layer in self.mapping:
            w = F.leaky_relu(layer(w), 0.2)
        return w

    def forward(
        self, z: Tensor, classes: Tensor | None = None, *, truncation: float = 1.0, noise: Noise = None
    ) -> Tensor:
        """Latents (N, z_dim), and classes (N,) where conditional -> images (N, 1, R, R) in about [-1, 1].

        In training mode it follows the mean of w, mixes styles, and while growing gives images of `growth.size` px.
        Truncation: w' = w_mean + psi (w - w_mean) (appendix B), in all layers; w_mean is that of the class.
        """
        styles = self.styles(z, classes, noise)
        if truncation != 1:
            mean = self.w_mean if classes is None else self.w_mean[classes][:, None]
            styles = mean + truncation * (styles - mean)
        return self.synthesise(styles, noise)

    def styles(self, z: Tensor, classes: Tensor | None = None, noise: Noise = None) -> Tensor:
        """Latents (N, z_dim), and classes (N,) where conditional -> styles of each layer in use (N, L, w_dim)."""
        w = self.map(z, classes)
        if self.training:
            self._follow(w.detach().float(), classes)
        if self.training and self.style_mixing:
            return self._mix(w, classes, noise)
        return w[:, None].expand(-1, self._n_layers(), -1)

    def synthesise(self, styles: Tensor, noise: Noise = None) -> Tensor:
        """Styles (N, L, w_dim) -> images (N, 1, R, R); in training mode while growing (N, 1, size, size)."""
        size, alpha = self.growth or (self.resolution, 1.0)
        each = iter(styles.unbind(1))
        x = before = self.constant.expand(len(styles), -1, -1, -1)
        for at in _sizes(4, size):
            before = x
            for layer in self._block(at):
                x = layer(x, next(each), noise)
        images: Tensor = self.to_grey[str(size)](x)
        if alpha < 1:
            coarse = self.to_grey[str(size // 2)](before)
            images = torch.lerp(F.interpolate(coarse, scale_factor=2.0), images, alpha)
        if size < self.resolution and not self.training:
            images = F.interpolate(images, size=self.resolution)
        return images

    def _n_layers(self) -> int:
        size = self.growth.size if self.growth else self.resolution
        return sum(len(self._block(at)) for at in _sizes(4, size))

    def _block(self, size: int) -> nn.ModuleList:
        return cast(nn.ModuleList, self.blocks[str(size)])

    def _follow(self, w: Tensor, classes: Tensor | None) -> None:
        """Let w_mean follow the mean of a batch of w (N, w_dim), where conditional of each class in it."""
        if classes is None:
            seen, means = torch.ones_like(self.w_batches), w.mean(0)
        else:
            members = classes[:, None] == torch.arange(len(self.w_mean), device=w.device)  # (N, classes)
            seen = members.any(0).long()
            means = (members[:, :, None] * w[:, None]).sum(0) / members.sum(0).clamp(min=1)[:, None]
        self.w_batches += seen
        # The plain mean of the first batches: an average from zero would keep short runs near zero.
        share = self.w_batches.clamp(min=1).float().reciprocal().clamp(min=1 - _W_MEAN_BETA)
        self.w_mean.lerp_(means, (seen * share)[..., None])

    def _mix(self, w: Tensor, classes: Tensor | None, noise: Noise) -> Tensor:
        """Styles of each layer (N, L, w_dim): past a random layer some images take a second w (section 3.1)."""
        other = self.map(normal((len(w), self.z_dim), noise, w.device), classes)
        chance = torch.special.ndtr(normal((len(w), 2), noise, w.device))  # uniform in (0, 1)
        n_layers = self._n_layers()
        crossover = 1 + (chance[:, :1] * (n_layers - 1)).floor()  # in 1 ... n_layers - 1
        crossover = torch.where(chance[:, 1:] < self.style_mixing, crossover, n_layers)
        first = torch.arange(n_layers, device=w.device) < crossover  # (N, L)
        return torch.where(first[:, :, None], w[:, None], other[:, None])


class StyleGANDiscriminator(nn.Module):
    """Convolutions with blur before each halving, minibatch standard deviation at 4 px, no residual path.

    Conditional, it is a projection discriminator (Miyato and Koyama 2018, arXiv:1802.05637): the inner product of
    the features before the last layer and the embedding of the class joins the logit.

    Attributes:
        growth: as that of the generator.
        classes: what its logits are conditioned on; None where they are not.
    """

    growth: Growth | None = None

    def __init__(self, config: StyleGANConfig, resolution: int, classes: Classes | None = None) -> None:
        super().__init__()
        self.resolution = resolution
        self.classes = classes
        sizes = _sizes(4, resolution)
        self.from_grey = nn.ModuleDict(
            {str(size): EqualConv(1, width(config, size), kernel=1) for size in _shown(config, resolution)[::-1]}
        )
        self.blocks = nn.ModuleDict()
        for size in sizes[:0:-1]:
            fine, coarse = width(config, size), width(config, size // 2)
            layers = [EqualConv(fine, fine), _leaky_relu(), Blur(fine)]
            layers += [EqualConv(fine, coarse, resample="down"), _leaky_relu()]
            self.blocks[str(size)] = nn.Sequential(*layers)
        channels, features = width(config, 4), width(config, 2)
        layers = [MinibatchStd(), EqualConv(channels + 1, channels), _leaky_relu(), nn.Flatten()]
        self.features = nn.Sequential(*layers, EqualLinear(channels * 16, features), _leaky_relu())
        self.head = EqualLinear(features, 1, gain=1.0)
        self.embed = nn.Embedding(len(classes.values), features) if classes else None

    def forward(self, images: Tensor, classes: Tensor | None = None) -> Tensor:
        """Images (N, 1, R, R) in [-1, 1], while growing (N, 1, size, size) -> logits (N,), high for real."""
        conditional.check(self.classes, classes)
        size, alpha = self.growth or (self.resolution, 1.0)
        x = self.blocks[str(size)](self._enter(images, size))
        if alpha < 1:
            x = torch.lerp(self._enter(F.avg_pool2d(images, 2), size // 2), x, alpha)
        for at in _sizes(8, size // 2)[::-1]:
            x = self.blocks[str(at)](x)
        features = self.features(x)
        logits: Tensor = self.head(features).flatten()
        if self.embed is not None:
            logits = logits + (self.embed(classes) * features).sum(1) / math.sqrt(features.shape[1])
        return logits

    def _enter(self, images: Tensor, size: int) -> Tensor:
        return F.leaky_relu(self.from_grey[str(size)](images), 0.2, inplace=True)


def _normalise(x: Tensor) -> Tensor:
    """(N, C) -> the same with root mean square 1 in each row."""
    return x * torch.rsqrt(x.square().mean(1, keepdim=True) + 1e-8)


def _leaky_relu() -> nn.Module:
    return nn.LeakyReLU(0.2, inplace=True)


def _sizes(first: int, last: int) -> list[int]:
    """`first`, ..., `last`, powers of two; empty where last is less."""
    return [2**k for k in range(int(math.log2(first)), int(math.log2(last)) + 1)]


def _shown(config: StyleGANConfig, resolution: int) -> list[int]:
    """Sizes at which images leave G and enter D: all that growing passes, or the resolution alone."""
    return _sizes(config.grow_from or resolution, resolution)
