"""Images from a generator: image i is a function of the weights, the seed and i."""

import numpy as np
import torch
from torch import Tensor

from mammogan.data.tiles import to_uint8
from mammogan.models.generator import Generator, normal


@torch.inference_mode()
def sample(G: Generator, n: int, seed: int, truncation: float = 1.0, batch_size: int = 16, first: int = 0) -> Tensor:
    """Images `first` to `first + n - 1` of a seed by a generator in eval mode: uint8 (n, 1, R, R) on the CPU.

    A longer request with the same seed starts with the same images, byte for byte at the same `batch_size`. No
    global random state is read or changed, so that threads may share G.

    Raises:
        ValueError: G is in training mode, where the images of a batch would depend on one another.
    """
    if G.training:
        raise ValueError("sample needs a generator in eval mode; call G.eval() first")
    device = next(G.parameters()).device
    batches = [torch.empty((0, 1, G.resolution, G.resolution), dtype=torch.uint8)]
    for start in range(0, n, batch_size):
        # The last batch is full too: kernels for other batch sizes may round differently.
        sources = [_source(seed, first + start + k) for k in range(batch_size)]
        z = normal((batch_size, G.z_dim), sources, device)
        images = G(z, truncation=truncation, noise=sources)
        batches.append(to_uint8(images.float())[: n - start].cpu())
    return torch.cat(batches)


def _source(seed: int, index: int) -> torch.Generator:
    # torch's CPU generator looks at 32 bits of its seed, so they must be well mixed.
    state = np.random.SeedSequence([seed, index]).generate_state(1)[0]
    return torch.Generator().manual_seed(int(state))
