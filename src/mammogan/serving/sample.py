"""Images from a generator: image i is a function of the weights, the seed and i."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mammogan.data.tiles import to_pixels
from mammogan.models.generator import Generator, source


@torch.inference_mode()
def sample(G: Generator, n: int, seed: int, truncation: float = 1.0, batch_size: int = 16, first: int = 0) -> Tensor:
    """Images `first` to `first + n - 1` of a seed by a generator in eval mode: (n, 1, R, R) on the CPU.

    uint8, or uint16 where the generator draws 16 bits.

    A longer request with the same seed starts with the same images, byte for byte at the same `batch_size`. No
    global random state is read or changed, so that threads may share G.

    Raises:
        ValueError: G is in training mode, where the images of a batch would depend on one another.
    """
    if G.training:
        raise ValueError("sample needs a generator in eval mode; call G.eval() first")
    device = next(G.parameters()).device
    batches = [torch.empty((0, 1, G.resolution, G.resolution), dtype=torch.uint8 if G.bits == 8 else torch.uint16)]
    for start in range(0, n, batch_size):
        # The last batch is full too: kernels for other batch sizes may round differently.
        indices = range(first + start, first + start + batch_size)
        z = torch.from_numpy(np.stack([_latent(seed, index, G.z_dim) for index in indices])).to(device)
        noise = [source(seed, index, torch.device("cpu")) for index in indices]
        images = G(z, truncation=truncation, noise=noise)
        batches.append(to_pixels(images.float(), G.bits)[: n - start].cpu())
    return torch.cat(batches)


def _latent(seed: int, index: int, z_dim: int) -> NDArray[np.float32]:
    # Not from `source`: among the images of a large set two would share its 32 bits, and so be one image twice.
    chance = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, index])))
    return chance.standard_normal(z_dim, dtype=np.float32)
