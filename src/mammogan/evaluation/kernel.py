"""Kernel distance between two sets of features: KID where the features are those of the FID network."""

import numpy as np
from numpy.typing import NDArray

from mammogan.evaluation.frechet import checked_pair

_BLOCK = 512  # images: bounds the memory to 512 x 512 kernel values


def kernel_distance(real: NDArray[np.floating], fake: NDArray[np.floating]) -> float:
    """Squared maximum mean discrepancy, unbiased, of features (N, d) and (M, d); can fall below zero.

    Binkowski et al. 2018 (arXiv:1801.01401) with the kernel k(x, y) = (x.y / d + 1)**3, over all images at
    once, in float64: the mean that the usual draw of random subsets estimates.

    Raises:
        EvaluationError: fewer than two images on a side, different d, or a value that is not finite.
    """
    real, fake = (x.astype(np.float64) for x in checked_pair(real, fake))
    starts = [(i, j) for i in range(0, len(real), _BLOCK) for j in range(0, len(fake), _BLOCK)]
    between = sum(_sum_of_kernel(real, fake, i, j) for i, j in starts) / (len(real) * len(fake))
    return _mean_within(real) + _mean_within(fake) - 2 * between


def _mean_within(x: NDArray[np.float64]) -> float:
    """Mean of k over all ordered pairs of different images; of the symmetric kernel values half are computed."""
    starts = range(0, len(x), _BLOCK)
    on_the_diagonal = sum(_sum_of_kernel(x, x, i, i) for i in starts)
    above = sum(_sum_of_kernel(x, x, i, j) for i in starts for j in starts if i < j)
    with_itself = float(cubic(np.einsum("nd,nd->n", x, x), x.shape[1]).sum())
    return (on_the_diagonal + 2 * above - with_itself) / (len(x) * (len(x) - 1))


def _sum_of_kernel(x: NDArray[np.float64], y: NDArray[np.float64], i: int, j: int) -> float:
    """Sum of k over the block whose first pair is (i, j)."""
    return float(cubic(x[i : i + _BLOCK] @ y[j : j + _BLOCK].T, x.shape[1]).sum())


def cubic(product: NDArray[np.float64], d: int) -> NDArray[np.float64]:
    """The kernel of inner products of features of length d."""
    base = product / d + 1
    return base * base * base  # numpy's ** 3 takes the slow general power
