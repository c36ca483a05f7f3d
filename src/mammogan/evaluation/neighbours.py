"""Precision, recall, density and coverage: fidelity and diversity by nearest neighbours among features.

Precision and recall: Kynkaanniemi et al. 2019 (arXiv:1904.06991). Density and coverage: Naeem et al. 2020
(arXiv:2002.09797). A set's manifold is the union of the closed balls around its images, each as large as the
distance to the image's k-th nearest neighbour in the same set.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mammogan.errors import EvaluationError
from mammogan.evaluation.frechet import checked_pair

K = 5  # neighbours

_ROWS_AT_ONCE = 512  # bounds the memory: 512 x M distances, not N x M


@dataclass(frozen=True)
class Neighbours:
    """The four measures of synthetic features against real ones; each is a share but density, which can exceed 1.

    Attributes:
        precision: synthetic images in a ball of a real one.
        recall: real images in a ball of a synthetic one.
        density: balls of real images in which a synthetic one lies, over k, mean of the synthetic ones.
        coverage: real images whose ball holds a synthetic one.
    """

    precision: float
    recall: float
    density: float
    coverage: float


def neighbours(real: NDArray[np.floating], fake: NDArray[np.floating], k: int = K) -> Neighbours:
    """Precision, recall, density and coverage of features (M, d) against real ones (N, d).

    All four depend on the number of images, coverage on that of both sides: take as many of one as of the other.

    Raises:
        EvaluationError: fewer than 2 k images on a side, different d, or a value that is not finite.
    """
    x, y = (side.astype(np.float64) for side in checked_pair(real, fake))
    for name, side in (("real", x), ("synthetic", y)):
        if len(side) < 2 * k:
            raise EvaluationError(
                f"{len(side)} {name} images are too few for precision and recall with k = {k}; give at least {2 * k}"
            )
    centre = x.mean(axis=0)  # distances stay, their rounding errors shrink
    x, y = x - centre, y - centre
    radii_x, radii_y = _radii(x, k), _radii(y, k)
    balls = np.empty(len(y), np.int64)  # of x, in which each of y lies
    covered, recalled = np.zeros(len(x), np.bool_), np.zeros(len(x), np.bool_)
    for rows in _blocks(len(y)):
        squares = _squared_distances(y[rows], x)
        inside = squares <= radii_x
        balls[rows] = inside.sum(axis=1)
        covered |= inside.any(axis=0)
        recalled |= (squares <= radii_y[rows, None]).any(axis=0)
    return Neighbours(
        precision=float((balls > 0).mean()),
        recall=float(recalled.mean()),
        density=float(balls.mean()) / k,
        coverage=float(covered.mean()),
    )


def _radii(x: NDArray[np.float64], k: int) -> NDArray[np.float64]:
    """Squared distance of each of (N, d) to its k-th nearest neighbour, itself left out: (N,)."""
    radii = np.empty(len(x))
    for rows in _blocks(len(x)):
        squares = _squared_distances(x[rows], x)
        squares[np.arange(len(squares)), np.arange(len(x))[rows]] = np.inf
        radii[rows] = np.partition(squares, k - 1, axis=1)[:, k - 1]
    return radii


def _squared_distances(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    squares: NDArray[np.float64] = (x**2).sum(axis=1)[:, None] + (y**2).sum(axis=1) - 2 * (x @ y.T)
    return squares.clip(min=0)


def _blocks(n: int) -> list[slice]:
    return [slice(start, start + _ROWS_AT_ONCE) for start in range(0, n, _ROWS_AT_ONCE)]
