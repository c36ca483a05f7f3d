"""What every generator offers, whatever its architecture."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Part:
    """Every `of`-th image of a batch, from image `index` on, with the chance of the whole batch.

    The parts of a batch, in processes or in turn, draw the numbers that one pass over the whole would draw.
    """

    chance: torch.Generator
    index: int
    of: int


Noise = torch.Generator | Part | Sequence[torch.Generator] | None


@dataclass(frozen=True)
class Classes:
    """The label that images are conditioned on.

    Attributes:
        label: column of the manifest: cancer, density or view.
        values: its values, in the order of their numbers.
        shares: of each value among the training images; sums to 1.
    """

    label: str
    values: tuple[str, ...]
    shares: tuple[float, ...]


class Generator(nn.Module):
    """Latents to images; subclasses implement `forward`.

    Attributes:
        z_dim: length of a latent.
        resolution: height and width of an image, in pixels.
        bits: grey depth of the images that it learns and draws, 8 or 16.
        classes: what its images are conditioned on; None where they are not.
    """

    z_dim: int
    resolution: int
    bits: int = 8
    classes: Classes | None = None

    def forward(
        self, z: Tensor, classes: Tensor | None = None, *, truncation: float = 1.0, noise: Noise = None
    ) -> Tensor:
        """Standard normal latents (N, z_dim) -> float images (N, 1, resolution, resolution) in about [-1, 1].

        `classes` (N,) int64 are numbers of `self.classes.values`, needed where that is not None. `truncation` in
        [0, 1] pulls each latent towards the mean one. `noise` is the source of any further chance: one generator
        for the batch, a part of it, one for each image, or torch's global one.
        """
        raise NotImplementedError


def source(seed: int, index: int, device: torch.device, purpose: int = 0) -> torch.Generator:
    """The generator on `device` for (seed, index) and a purpose; of 50,000 indices two may share one by chance."""
    # torch's CPU generator looks at 32 bits of its seed, so they must be well mixed.
    words = [seed, index, purpose] if purpose else [seed, index]
    state = np.random.SeedSequence(words).generate_state(1)[0]
    return torch.Generator(_drawn_on(device)).manual_seed(int(state))


def _drawn_on(device: torch.device) -> torch.device:
    return torch.device("cpu") if device.type == "mps" else device  # its generators draw other numbers after a resume


def uniform(shape: Sequence[int], noise: Noise, device: torch.device) -> Tensor:
    """Numbers uniform in (0, 1), (N, ...), from the same sources as `normal`."""
    numbers: Tensor = torch.special.ndtr(normal(shape, noise, device))
    return numbers


def normal(shape: Sequence[int], noise: Noise, device: torch.device) -> Tensor:
    """Standard normal numbers (N, ...) from one generator, from one for each of the N images, or from torch's."""
    if noise is None:
        return torch.randn(tuple(shape), device=device)
    if isinstance(noise, Part):
        return normal((noise.of * shape[0], *shape[1:]), noise.chance, device)[noise.index :: noise.of]
    if isinstance(noise, torch.Generator):
        return torch.randn(tuple(shape), generator=noise, device=noise.device).to(device)
    rows = [torch.randn(tuple(shape[1:]), generator=source, device=source.device) for source in noise]
    return torch.stack(rows).to(device)
