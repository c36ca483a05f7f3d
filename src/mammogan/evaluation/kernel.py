"""Kernel distance between two sets of features: KID where the features are those of the FID network."""

import numpy as np
from numpy.typing import NDArray

from mammogan.evaluation.frechet import checked_pair

_ROWS_AT_ONCE = 512  # bounds the memory: 512 x M kernel values, not N x M


def kernel_distance(real: NDArray[np.floating], fake: NDArray[np.floating]) -> float:
    """Squared maximum mean discrepancy, unbiased, of features (N, d) and (M, d); can fall below zero.

    Binkowski et al. 2018 (arXiv:1801.01401) with the kernel k(x, y) = (x.y / d + 1)**3, over all images at
    once: the mean that the usual draw of random subsets estimates.

    Raises:
        EvaluationError: fewer than two images on a side, different d, or a value that is not finite.
    """
    real, fake = checked_pair(real, fake)
    between = _sum_of_kernel(real, fake) / (len(real) * len(fake))
    return _mean_within(real) + _mean_within(fake) - 2 * between


def _mean_within(x: NDArray[np.float64]) -> float:
    """Mean of k over all ordered pairs of different images."""
    with_itself = _cubic(np.einsum("nd,nd->n", x, x), x.shape[1]).sum()
    return float(_sum_of_kernel(x, x) - with_itself) / (len(x) * (len(x) - 1))


def _sum_of_kernel(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    starts = range(0, len(x), _ROWS_AT_ONCE)
    return float(sum(_cubic(x[i : i + _ROWS_AT_ONCE] @ y.T, x.shape[1]).sum() for i in starts))


def _cubic(product: NDArray[np.float64], d: int) -> NDArray[np.float64]:
    base = product / d + 1
    return base * base * base  # numpy's ** 3 takes the slow general power
