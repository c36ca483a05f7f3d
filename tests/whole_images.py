"""A raw image, and the mask of its breast, at full size."""

from pathlib import Path

import numpy as np
from PIL import Image

from mammogan.data.area import FloatImage
from mammogan.data.breast import find_breast
from mammogan.data.outline import Mask
from mammogan.data.pixels import Pixels, open_raw


def read_pixels(path: Path) -> Pixels:
    return open_raw(path).read()


def breast_mask(image: FloatImage) -> Mask:
    """Mask (H, W) of the breast in an image (H, W) in [0, 1]."""
    breast = find_breast(image)
    frame = breast.frame
    inside = Image.fromarray(breast.mask).resize((frame.width, frame.height), Image.Resampling.NEAREST)
    mask = np.zeros(image.shape, dtype=bool)
    mask[frame.slices] = np.asarray(inside)
    return mask
