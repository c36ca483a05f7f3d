"""Shrinking by the mean of the area that each new pixel covers."""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

FloatImage = NDArray[np.float32]


def area_mean(image: FloatImage, height: int, width: int) -> FloatImage:
    """`image` (H, W) as (height, width), neither larger: each pixel is the mean of the area that it covers.

    Detail finer than a pixel becomes its mean grey and, unlike Lanczos, nothing overshoots: beside a bright
    calcification there is no dark ring, and nothing has to be clipped. A pixel that lies across the edge of an
    area counts for both by its share, which Pillow's BOX does not do (it gives it whole to one).
    """
    rows = shares(image.shape[0], height, 0, image.shape[0])
    return weighted(image, rows, shares(image.shape[1], width, 0, image.shape[1]))


def shares(
    size: int, count: int, start: float, length: float, keep: tuple[float, float] | None = None, mirrored: bool = False
) -> csr_array:
    """Weights (count, size), float32, of `size` pixels in the `count` equal parts of a stretch of their axis.

    The stretch begins at `start` (0 is the outer edge of the first pixel). What lies outside of `keep` is black,
    by default all beyond the pixels; inside of it the outermost pixels go on. With `mirrored` all places count
    from the far end.
    """
    first, last = keep or (0.0, float(size))
    step = length / count
    cuts = np.concatenate([np.arange(size + 1), start + step * np.arange(count + 1), [first, last]])
    cuts = np.unique(np.clip(cuts, max(first, start), min(last, start + length)))
    middles = (cuts[1:] + cuts[:-1]) / 2
    pixel = np.clip(np.floor(middles).astype(np.intp), 0, size - 1)
    part = np.clip(np.floor((middles - start) / step).astype(np.intp), 0, count - 1)
    weight = (np.diff(cuts) / step).astype(np.float32)
    ends = np.searchsorted(part, np.arange(count + 1))
    return csr_array((weight, size - 1 - pixel if mirrored else pixel, ends), shape=(count, size))


def weighted(image: FloatImage, rows: csr_array, columns: csr_array) -> FloatImage:
    """Means (h, w) of `image` (H, W) under the weights of its rows (h, H) and columns (w, W)."""
    narrow = np.ascontiguousarray((rows @ image).T)  # (W, h)
    mean: FloatImage = np.ascontiguousarray((columns @ narrow).T)
    return mean
