"""Generators made ready to draw: what only training needs is folded away."""

import copy
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from mammogan.models.dcgan import DCGANGenerator
from mammogan.models.generator import Generator, Noise


def folded(G: Generator) -> Generator:
    """A copy of `G` in eval mode with each batch norm folded into the transposed convolution before it.

    Batch norm in eval mode is an affine map of each channel, so the result is the same up to rounding. A generator
    without batch norm comes back as it is, copied.

    Raises:
        ValueError: G is in training mode, where the images of a batch shape the statistics.
    """
    if G.training:
        raise ValueError("folding needs a generator in eval mode; call G.eval() first")
    G = copy.deepcopy(G)
    for block in [module for module in G.modules() if isinstance(module, nn.Sequential)]:
        layers = [*block]
        for k, (convolution, norm) in enumerate(pairwise(layers)):
            if isinstance(convolution, nn.ConvTranspose2d) and isinstance(norm, nn.BatchNorm2d):
                block[k] = fuse_conv_bn_eval(convolution, norm, transpose=True)
                block[k + 1] = nn.Identity()
    return G


class Half(Generator):
    """A generator that computes in bfloat16, drawn from latents and to images in float32.

    DCGAN: batch norm folded, weights in bfloat16, channels_last; tanh in float32. StyleGAN: autocast, which keeps the
    statistics of AdaIN in float32. Both as measured fastest on a CPU (benchmarks/sampling.py).
    """

    def __init__(self, G: Generator) -> None:
        super().__init__()
        self.z_dim, self.resolution, self.bits, self.classes = G.z_dim, G.resolution, G.bits, G.classes
        self.G = folded(G)
        self.autocast = not isinstance(self.G, DCGANGenerator)
        if isinstance(self.G, DCGANGenerator):
            self.G.to(torch.bfloat16, memory_format=torch.channels_last)  # type: ignore[call-overload]
            last = self.G.blocks[str(G.resolution)]
            assert isinstance(last, nn.Sequential)
            last.insert(1, _ToFloat32())
        self.eval().requires_grad_(False)

    def forward(
        self, z: Tensor, classes: Tensor | None = None, *, truncation: float = 1.0, noise: Noise = None
    ) -> Tensor:
        """As `Generator.forward`."""
        z = z if self.autocast else z.to(torch.bfloat16)
        with torch.autocast(z.device.type, torch.bfloat16, enabled=self.autocast):
            images: Tensor = self.G(z, classes, truncation=truncation, noise=noise)
        return images.float()


class _ToFloat32(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.float()
