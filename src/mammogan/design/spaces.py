"""The effects of a table as spaces over its rows: which overlap, and by how much.

A main effect of k levels is the space of all functions of the column with mean zero, k - 1 dimensions; an interaction
of two columns what functions of their pairs add to that. Two effects are mixed as far as their spaces overlap.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Space = NDArray[np.float64]  # (rows, dimensions), orthonormal, orthogonal to the constant

_TINY = 1e-9


def main_effect(column: NDArray[np.int64]) -> Space:
    """The space of one column of level numbers, (rows,) -> (rows, levels - 1)."""
    return orthonormal(_indicators(column))


def interaction(a: NDArray[np.int64], b: NDArray[np.int64]) -> Space:
    """What the pairs of levels of two columns tell beyond either column."""
    mains = joined(main_effect(a), main_effect(b))
    pairs = np.unique(np.column_stack([a, b]), axis=0, return_inverse=True)[1].ravel()
    return left_of(main_effect(pairs), mains)


def joined(*spaces: Space) -> Space:
    """The smallest space that holds all of them."""
    return orthonormal(np.hstack(spaces))


def left_of(space: Space, other: Space) -> Space:
    """What is left of a space when another one is taken out."""
    return orthonormal(space - other @ (other.T @ space))


def overlap(space: Space, other: Space) -> float:
    """Mean squared cosine of `space` with `other`: 0 for none of it, 1 for all of it."""
    return float(np.square(other.T @ space).sum() / space.shape[1]) if space.shape[1] else 0.0


def which_overlap(spaces: Sequence[Space]) -> NDArray[np.bool_]:
    """Whether each space overlaps with each, at once: (spaces, spaces); a space of no dimension overlaps with none."""
    sizes = np.array([space.shape[1] for space in spaces])
    found = np.zeros((len(spaces), len(spaces)), bool)
    held = np.flatnonzero(sizes)
    if len(held):
        stacked = np.hstack([space for space in spaces if space.shape[1]])
        starts = np.concatenate([[0], np.cumsum(sizes[held])[:-1]])
        squares = np.square(stacked.T @ stacked)
        sums = np.add.reduceat(np.add.reduceat(squares, starts, axis=0), starts, axis=1)
        found[np.ix_(held, held)] = sums > _TINY
    return found


def orthonormal(columns: NDArray[np.float64]) -> Space:
    """An orthonormal basis of what the columns span once their means are taken off."""
    left, sizes, _ = np.linalg.svd(columns - columns.mean(axis=0), full_matrices=False)
    basis: Space = left[:, sizes > _TINY * max(1.0, float(sizes.max(initial=0.0)))]
    return basis


def _indicators(column: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.equal.outer(column, np.arange(column.max() + 1)).astype(float)
