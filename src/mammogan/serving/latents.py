"""How a generator's images change with its latents: rows of images, each row with chance of its own."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from mammogan.data.tiles import to_8_bits, to_pixels
from mammogan.models.generator import Generator, source
from mammogan.serving.sample import draw_classes, latent


@torch.inference_mode()
def walks(G: Generator, paths: NDArray[np.float32], truncation: Sequence[float], seed: int) -> NDArray[np.uint8]:
    """Images of latents (R, C, z_dim), column by column at its truncation: uint8 (R, C, H, W), 16 bits shown in 8.

    The further chance of an image and its class depend on its row alone, so that along a row only latent and truncation
    change. G must be in eval mode.
    """
    device = next(G.parameters()).device
    n_rows = len(paths)
    classes = None if G.classes is None else torch.from_numpy(draw_classes(G, n_rows, seed)).to(device)
    columns = []
    for column, psi in zip(paths.swapaxes(0, 1), truncation, strict=True):
        noise = [source(seed, row, torch.device("cpu")) for row in range(n_rows)]
        images = G(torch.from_numpy(np.ascontiguousarray(column)).to(device), classes, truncation=psi, noise=noise)
        columns.append(to_8_bits(to_pixels(images.float(), G.bits)[:, 0].cpu().numpy()))
    return np.stack(columns, 1)


def latents(G: Generator, n: int, seed: int) -> NDArray[np.float32]:
    """Latents (n, z_dim) of images 0 to n - 1 of a seed."""
    return np.stack([latent(seed, index, G.z_dim) for index in range(n)])


def row_names(G: Generator, n: int, seed: int) -> list[str]:
    """The class of each row of `walks`; no names for an unconditional generator."""
    if G.classes is None:
        return []
    return [f"{G.classes.label} {G.classes.values[number]}" for number in draw_classes(G, n, seed)]
