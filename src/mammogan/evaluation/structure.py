"""MS-SSIM between the images of one set: how alike they are (Odena et al. 2017, arXiv:1610.09585).

Multi-scale structural similarity: Wang, Simoncelli & Bovik 2003 (Asilomar, eq. 7). Near the value of real pairs is
right: far above it, images repeat; far below, they have no common anatomy. It does not see a soft collapse.
"""

from collections.abc import Hashable, Sequence

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray

_WEIGHTS = np.array([0.0448, 0.2856, 0.3001, 0.2363, 0.1333])  # Wang et al. 2003, finest scale first
_WINDOW = 11  # px, Gaussian
_SIGMA = 1.5
_PIXELS_AT_ONCE = 2**17  # of each side of a block of pairs: stays in the cache
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2

_TAPS = np.exp(-((np.arange(_WINDOW) - _WINDOW // 2) ** 2) / (2 * _SIGMA**2))
_TAPS = (_TAPS / _TAPS.sum()).astype(np.float32)
_INSIDE = slice(_WINDOW // 2, -(_WINDOW // 2))  # where the window lies in the image


def scales(side: int) -> int:
    """How many scales fit images of `side` px: the coarsest still holds the window; five from 176 px on."""
    return min(len(_WEIGHTS), 1 + int(np.log2(side / _WINDOW)))


def random_pairs(patients: Sequence[Hashable], n: int, seed: int) -> NDArray[np.intp]:
    """Indices of at most `n` random pairs of images of different patients, none twice: (n, 2)."""
    rng = np.random.default_rng(seed)
    ids = np.unique(np.asarray(patients), return_inverse=True)[1]
    drawn = np.sort(rng.integers(len(ids), size=(20 * n, 2)), axis=1)  # so many that small sets are exhausted
    different = np.unique(drawn[ids[drawn[:, 0]] != ids[drawn[:, 1]]], axis=0)
    return rng.permutation(different)[:n]


def ms_ssim(images: NDArray[np.uint8], pairs: NDArray[np.intp]) -> NDArray[np.float64]:
    """MS-SSIM of pairs (P, 2) of the images (N, S, S): (P,), 1 for equal images.

    Below 176 px the coarsest scales have no room: the weights of the others are scaled up to a sum of 1.
    """
    weights = _WEIGHTS[: scales(images.shape[-1])]
    at_once = max(1, _PIXELS_AT_ONCE // images[0].size)
    blocks = [pairs[start : start + at_once] for start in range(0, len(pairs), at_once)]
    return np.concatenate([_similarity(images[block[:, 0]], images[block[:, 1]], weights) for block in blocks])


def _similarity(x: NDArray[np.uint8], y: NDArray[np.uint8], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """MS-SSIM of each of x with its fellow in y, (P, S, S): (P,)."""
    both = np.stack([x, y]).astype(np.float32)  # (2, P, S, S)
    similarity = np.ones(len(x))
    for scale, weight in enumerate(weights / weights.sum()):
        if scale:
            half = both.shape[-1] // 2
            both = both[..., : 2 * half, : 2 * half].reshape(2, len(x), half, 2, half, 2).mean(axis=(3, 5))
        luminance, contrast_structure = _comparisons(*both)
        if scale == len(weights) - 1:
            contrast_structure = luminance * contrast_structure
        similarity *= contrast_structure.mean(axis=(1, 2), dtype=np.float64).clip(min=0) ** weight
    return similarity


def _comparisons(x: NDArray[np.float32], y: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Maps of the luminance and the contrast-structure comparison of images (P, s, s): two of (P, s - 10, s - 10)."""
    moments = np.stack([x, y, x * x, y * y, x * y])
    for axis in (-1, -2):
        moments = scipy.ndimage.correlate1d(moments, _TAPS, axis=axis)
    mean_x, mean_y, xx, yy, xy = moments[..., _INSIDE, _INSIDE]
    luminance = (2 * mean_x * mean_y + _C1) / (mean_x**2 + mean_y**2 + _C1)
    covariance, variances = xy - mean_x * mean_y, xx - mean_x**2 + yy - mean_y**2
    return luminance, (2 * covariance + _C2) / (variances + _C2)
