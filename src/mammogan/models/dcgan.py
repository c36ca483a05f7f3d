"""DCGAN: Radford, Metz, Chintala, Unsupervised Representation Learning with DCGANs (2016), arXiv:1511.06434."""

import math
from itertools import pairwise

from torch import Tensor, nn

from mammogan.config import DCGANConfig
from mammogan.models.generator import Generator, Noise


def widths(config: DCGANConfig, resolution: int) -> list[int]:
    """Channels at 4, 8, ..., resolution / 2 px: `base_channels` at the finest, doubling to `max_channels`."""
    levels = int(math.log2(resolution)) - 2
    return [min(config.base_channels * 2 ** (levels - 1 - k), config.max_channels) for k in range(levels)]


class DCGANGenerator(Generator):
    """Transposed convolutions, batch norm and ReLU; tanh at the end.

    With z_dim 100, 64 and 512 channels this is the network of the paper for one-channel images of 64 px.
    """

    def __init__(self, config: DCGANConfig, resolution: int) -> None:
        super().__init__()
        self.z_dim = config.z_dim
        self.resolution = resolution
        channels = widths(config, resolution)
        layers: list[nn.Module] = [
            nn.ConvTranspose2d(config.z_dim, channels[0], 4, bias=False),
            nn.BatchNorm2d(channels[0]),
            nn.ReLU(inplace=True),
        ]
        for coarse, fine in pairwise(channels):
            layers += [
                nn.ConvTranspose2d(coarse, fine, 4, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(fine),
                nn.ReLU(inplace=True),
            ]
        layers += [nn.ConvTranspose2d(channels[-1], 1, 4, stride=2, padding=1, bias=False), nn.Tanh()]
        self.layers = nn.Sequential(*layers)
        self.apply(_initialise)

    def forward(self, z: Tensor, *, truncation: float = 1.0, noise: Noise = None) -> Tensor:
        """Latents (N, z_dim) -> images (N, 1, R, R) in [-1, 1]; `truncation` scales z, whose mean is 0."""
        images: Tensor = self.layers(truncation * z[:, :, None, None])
        return images


class DCGANDiscriminator(nn.Module):
    """Strided convolutions, batch norm (not on the input) and LeakyReLU 0.2."""

    def __init__(self, config: DCGANConfig, resolution: int) -> None:
        super().__init__()
        channels = widths(config, resolution)[::-1]
        layers: list[nn.Module] = [
            nn.Conv2d(1, channels[0], 4, stride=2, padding=1, bias=False),
            nn.LeakyReLU(0.2, inplace=True),
        ]
        for fine, coarse in pairwise(channels):
            layers += [
                nn.Conv2d(fine, coarse, 4, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(coarse),
                nn.LeakyReLU(0.2, inplace=True),
            ]
        layers.append(nn.Conv2d(channels[-1], 1, 4, bias=False))
        self.layers = nn.Sequential(*layers)
        self.apply(_initialise)

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, 1, R, R) in [-1, 1] -> logits (N,), high for real."""
        logits: Tensor = self.layers(images)
        return logits.flatten()


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)  # section 4: zero-centred normal, std 0.02
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)
