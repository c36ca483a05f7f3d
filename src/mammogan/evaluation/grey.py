"""Grey levels of sets of images: whether they have the brightness and contrast of real ones."""

import numpy as np
from numpy.typing import NDArray


def histograms(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Share of each grey level in each of the images (N, S, S): (N, 256)."""
    shares = np.empty((len(images), 256))
    for image, share in zip(images, shares, strict=True):
        share[:] = np.bincount(image.ravel(), minlength=256) / image.size
    return shares


def grey_wasserstein(real: NDArray[np.float64], fake: NDArray[np.float64]) -> float:
    """Wasserstein-1 distance of the grey levels of two sets, given as histograms (N, 256) and (M, 256).

    How many grey levels a pixel must move on average: the area between the two cumulative distributions.
    """
    between = np.cumsum(real.mean(axis=0) - fake.mean(axis=0))
    return float(np.abs(between).sum())
