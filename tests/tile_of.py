"""Tiles of images that are in memory."""

import numpy as np
from numpy.typing import NDArray

from mammogan.data.cut import grey_levels, locate, to_integers


def tile_of(image: NDArray[np.float32], laterality: str, resolution: int) -> NDArray[np.uint8]:
    """The 8-bit tile (resolution, resolution) of an image (H, W) in [0, 1]."""
    place = locate(image, laterality, 1, image.shape)
    return to_integers(grey_levels(image, 1, place, resolution), 8)
