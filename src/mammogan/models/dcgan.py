"""DCGAN: Radford, Metz, Chintala, Unsupervised Representation Learning with DCGANs (2016), arXiv:1511.06434."""

import math
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from mammogan.config import DCGANConfig
from mammogan.models import conditional
from mammogan.models.float32 import in_float32
from mammogan.models.generator import Classes, Generator, Noise
from mammogan.models.minibatch import MinibatchStd


def widths(config: DCGANConfig, resolution: int) -> list[int]:
    """Channels at 4, 8, ..., resolution / 2 px: `base_channels` at the finest, doubling to `max_channels`."""
    levels = int(math.log2(resolution)) - 2
    return [min(config.base_channels * 2 ** (levels - 1 - k), config.max_channels) for k in range(levels)]


class DCGANGenerator(Generator):
    """Transposed convolutions, batch norm and ReLU; tanh at the end.

    With z_dim 100, 64 and 512 channels this is the network of the paper for one-channel images of 64 px. Conditional,
    a learned embedding of the class as long as z is joined to z (Mirza and Osindero 2014, arXiv:1411.1784).
    """

    def __init__(self, config: DCGANConfig, resolution: int, classes: Classes | None = None) -> None:
        super().__init__()
        self.z_dim = config.z_dim
        self.resolution = resolution
        self.classes = classes
        channels = widths(config, resolution)
        n_in = config.z_dim * (2 if classes else 1)
        self.blocks = nn.ModuleDict({"4": _grown(nn.ConvTranspose2d(n_in, channels[0], 4, bias=False))})
        for k, (coarse, fine) in enumerate(pairwise(channels), start=3):
            layer = nn.ConvTranspose2d(coarse, fine, 4, stride=2, padding=1, bias=False)
            self.blocks[str(2**k)] = _grown(layer)
        last = nn.ConvTranspose2d(channels[-1], 1, 4, stride=2, padding=1, bias=False)
        self.blocks[str(resolution)] = nn.Sequential(last, nn.Tanh())
        self.embed = nn.Embedding(len(classes.values), config.z_dim) if classes else None
        self.apply(_initialise)

    def forward(
        self, z: Tensor, classes: Tensor | None = None, *, truncation: float = 1.0, noise: Noise = None
    ) -> Tensor:
        """Latents (N, z_dim), and classes (N,) where conditional -> images (N, 1, R, R) in [-1, 1].

        `truncation` scales z, whose mean is 0; the class stays whole.
        """
        conditional.check(self.classes, classes)
        x = truncation * z
        if self.embed is not None:
            x = torch.cat([x, self.embed(classes)], 1)
        x = x[:, :, None, None]
        for block in self.blocks.values():
            x = block(x)
        return x


class DCGANDiscriminator(nn.Module):
    """Strided convolutions, batch norm (not on the input) and LeakyReLU 0.2.

    Options: spectral norm of all weights in place of batch norm (Miyato et al. 2018, arXiv:1802.05957); the minibatch
    standard deviation before the last layer. Conditional, it is a projection discriminator (Miyato and Koyama 2018,
    arXiv:1802.05637): the inner product of the features at 4 px, summed over space, and the embedding of the class
    joins the logit.

    Attributes:
        classes: what its logits are conditioned on; None where they are not.
    """

    def __init__(self, config: DCGANConfig, resolution: int, classes: Classes | None = None) -> None:
        super().__init__()
        self.classes = classes
        bias = config.spectral_norm  # batch norm has a bias of its own
        self.blocks = nn.ModuleDict()
        for k, (fine, coarse) in enumerate(pairwise([1, *widths(config, resolution)[::-1]])):
            layers: list[nn.Module] = [nn.Conv2d(fine, coarse, 4, stride=2, padding=1, bias=bias)]
            if k and not config.spectral_norm:
                layers.append(nn.BatchNorm2d(coarse))
            self.blocks[str(resolution // 2**k)] = nn.Sequential(*layers, nn.LeakyReLU(0.2, inplace=True))
        self.minibatch_std = MinibatchStd() if config.minibatch_std else nn.Identity()
        self.head = nn.Conv2d(coarse + config.minibatch_std, 1, 4, bias=bias)
        self.embed = nn.Embedding(len(classes.values), coarse) if classes else None
        self.apply(_initialise)
        if self.embed is not None:
            nn.init.normal_(self.embed.weight, 0.0, 0.02)  # as the convolutions
        if config.spectral_norm:
            for layer in [*self.modules()]:
                if isinstance(layer, nn.Conv2d | nn.Embedding):
                    _normalise_spectrum(layer)

    def forward(self, images: Tensor, classes: Tensor | None = None) -> Tensor:
        """Images (N, 1, R, R) in [-1, 1], and classes (N,) where conditional -> logits (N,), high for real."""
        conditional.check(self.classes, classes)
        x = images
        for block in self.blocks.values():
            x = block(x)
        logits: Tensor = self.head(self.minibatch_std(x)).flatten()
        if self.embed is not None:
            logits = logits + (self.embed(classes) * x.float().sum((2, 3))).sum(1)
        return logits


class _Float32(nn.Module):
    """A parametrisation outside autocast, which would iterate towards singular vectors in 8 bits."""

    def __init__(self, parametrisation: nn.Module) -> None:
        super().__init__()
        self.inner = parametrisation

    def forward(self, weight: Tensor) -> Tensor:
        with in_float32(weight.device):
            normalised: Tensor = self.inner(weight)
        return normalised


def _normalise_spectrum(layer: nn.Module) -> None:
    """Divide the weight by its largest singular value, found by one power iteration each time it is used in training.

    The vectors of the iteration are buffers, so they are saved with the weights.
    """
    spectral_norm(layer)
    parametrisations = cast(nn.ModuleDict, layer.parametrizations)["weight"]
    assert isinstance(parametrisations, nn.ModuleList)
    parametrisations[0] = _Float32(parametrisations[0])


def _grown(layer: nn.ConvTranspose2d) -> nn.Sequential:
    return nn.Sequential(layer, nn.BatchNorm2d(layer.out_channels), nn.ReLU(inplace=True))


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)  # section 4: zero-centred normal, std 0.02
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)
