"""Images from a generator: image i is a function of the weights, the seed and i."""

from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mammogan.data.tiles import to_8_bits, to_pixels
from mammogan.models.fold import Half
from mammogan.models.generator import Generator, source

DrawPrecision = Literal["fp32", "bf16"]
_DRAWN_AT_ONCE = 64
_CLASS = 1  # purpose of chance beside the latent's


def drawing(G: Generator, precision: DrawPrecision) -> Generator:
    """`G` in eval mode, computing in the number format that a set is to be drawn in.

    fp32 is G itself, and what evaluation and published sets are drawn with. bf16 is a copy for speed, on CPUs that
    compute in it; its images differ from those of fp32 by a grey level or so of 256 (docs/serving.md), so the format
    belongs into the record of a set.

    Raises:
        ValueError: G draws 16 bits, of which bf16 would keep eight, or the format is unknown.
    """
    if precision not in get_args(DrawPrecision):
        raise ValueError(f"unknown number format {precision}; known are {', '.join(get_args(DrawPrecision))}")
    if precision == "fp32":
        return G
    if G.bits == 16:
        raise ValueError("bf16 would leave eight of the 16 bits that this generator draws; draw in fp32")
    return Half(G)


@torch.inference_mode()
def sample(
    G: Generator,
    n: int,
    seed: int,
    truncation: float = 1.0,
    batch_size: int = 16,
    first: int = 0,
    classes: NDArray[np.int64] | None = None,
) -> Tensor:
    """Images `first` to `first + n - 1` of a seed by a generator in eval mode: (n, 1, R, R) on the CPU.

    uint8, or uint16 where the generator draws 16 bits. `classes` (n,) are numbers of `G.classes.values`; without them
    a conditional generator draws the class of each image too (`draw_classes`).

    A longer request with the same seed starts with the same images, byte for byte at the same `batch_size`. No
    global random state is read or changed, so that threads may share G.

    Raises:
        ValueError: G is in training mode, where the images of a batch would depend on one another, or `classes` are
            not one for each image of a conditional generator.
    """
    if G.training:
        raise ValueError("sample needs a generator in eval mode; call G.eval() first")
    if classes is not None and G.classes is None:
        raise ValueError("this generator is unconditional; call sample without classes")
    if classes is not None and classes.shape != (n,):
        raise ValueError(f"classes have shape {classes.shape}, expected one for each of the {n} images")
    device = next(G.parameters()).device
    batches = [torch.empty((0, 1, G.resolution, G.resolution), dtype=torch.uint8 if G.bits == 8 else torch.uint16)]
    for start in range(0, n, batch_size):
        # The last batch is full too: kernels for other batch sizes may round differently.
        indices = range(first + start, first + start + batch_size)
        z = torch.from_numpy(np.stack([latent(seed, index, G.z_dim) for index in indices])).to(device)
        noise = [source(seed, index, torch.device("cpu")) for index in indices]
        numbers = None
        if G.classes is not None:
            drawn = draw_classes(G, batch_size, seed, first + start)
            if classes is not None:
                drawn[: n - start] = classes[start : start + batch_size]
            numbers = torch.from_numpy(drawn).to(device)
        images = G(z, numbers, truncation=truncation, noise=noise)
        batches.append(to_pixels(images.float(), G.bits)[: n - start].cpu())
    return torch.cat(batches)


def draw(G: Generator, n: int, seed: int) -> NDArray[np.uint8]:
    """Images 0 to n - 1 of a seed as they are scored: uint8 (n, H, W), 16 bits rounded to 8."""
    images = np.empty((n, G.resolution, G.resolution), np.uint8)
    for first in range(0, n, _DRAWN_AT_ONCE):
        count = min(_DRAWN_AT_ONCE, n - first)
        images[first : first + count] = to_8_bits(sample(G, count, seed, first=first)[:, 0].numpy())
    return images


def draw_classes(G: Generator, n: int, seed: int, first: int = 0) -> NDArray[np.int64]:
    """Classes (n,) of images `first` to `first + n - 1` of a seed, each as frequent as in training.

    Raises:
        ValueError: G is unconditional.
    """
    if G.classes is None:
        raise ValueError("this generator is unconditional; it has no classes to draw")
    bounds = np.cumsum(G.classes.shares)[:-1]  # without the last: shares may sum to a little less than 1
    return np.searchsorted(bounds, [_uniform(seed, index) for index in range(first, first + n)], side="right")


def labels_of(G: Generator, n: int, seed: int) -> list[dict[str, str]]:
    """Name and value of the label of images 0 to n - 1 of a seed; empty for an unconditional generator."""
    if G.classes is None:
        return [{}] * n
    return [{G.classes.label: G.classes.values[number]} for number in draw_classes(G, n, seed)]


def latent(seed: int, index: int, z_dim: int) -> NDArray[np.float32]:
    """The standard normal latent (z_dim,) of image `index` of a seed."""
    # Not from `source`: among the images of a large set two would share its 32 bits, and so be one image twice.
    chance = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, index])))
    return chance.standard_normal(z_dim, dtype=np.float32)


def _uniform(seed: int, index: int) -> float:
    return float(np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, index, _CLASS]))).random())
