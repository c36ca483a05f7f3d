"""Orthogonal arrays from finite fields and difference schemes: zero-based level numbers, int64 (rows, columns).

A. S. Hedayat, N. J. A. Sloane and J. Stufken, Orthogonal Arrays: Theory and Applications, Springer 1999.
"""

import itertools
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Levels = NDArray[np.int64]

_GF4_SUM = np.array([[0, 1, 2, 3], [1, 0, 3, 2], [2, 3, 0, 1], [3, 2, 1, 0]])
_GF4_PRODUCT = np.array([[0, 0, 0, 0], [0, 1, 2, 3], [0, 2, 3, 1], [0, 3, 1, 2]])


class Field:
    """The finite field of `order` elements 0, 1, ...: a prime, or 4."""

    def __init__(self, order: int) -> None:
        elements = np.arange(order)
        self.order = order
        self.sum = _GF4_SUM if order == 4 else np.add.outer(elements, elements) % order
        self.product = _GF4_PRODUCT if order == 4 else np.multiply.outer(elements, elements) % order

    def points(self, dimension: int) -> list[tuple[int, ...]]:
        """The directions of the space over the field, one vector each with 1 as its last coordinate that is not 0.

        In the order of Taguchi's tables: each new basis vector follows all sums of the earlier ones.
        """
        found = []
        for last in range(dimension):
            for earlier in itertools.product(range(self.order), repeat=last):
                found.append((*reversed(earlier), 1, *(0 for _ in range(dimension - last - 1))))
        return found

    def normal(self, vector: tuple[int, ...]) -> tuple[int, ...]:
        """The vector of `points` that has the direction of `vector`, which is not 0."""
        last = next(x for x in reversed(vector) if x)
        inverse = int(np.flatnonzero(self.product[last] == 1)[0])
        return tuple(int(self.product[inverse, x]) for x in vector)

    def joined(self, a: tuple[int, ...], b: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        """The other directions in the plane of two: a + k b for each k that is not 0.

        The interaction of two columns lies in these columns and nowhere else.
        """
        for k in range(1, self.order):
            yield self.normal(tuple(int(self.sum[x, self.product[k, y]]) for x, y in zip(a, b, strict=True)))


def rao_hamming(order: int, dimension: int) -> Levels:
    """The array of order^dimension rows with a column for each direction, Hedayat et al., section 3.4.

    C. R. Rao, J. Royal Statistical Society Supplement 9 (1947), 128-139. Saturated, strength 2.
    """
    field = Field(order)
    rows = np.array(list(itertools.product(range(order), repeat=dimension)))
    columns = []
    for point in field.points(dimension):
        column = np.zeros(len(rows), np.int64)
        for coordinate, basis in zip(point, rows.T, strict=True):
            column = field.sum[column, field.product[coordinate, basis]]
        columns.append(column)
    return np.column_stack(columns)


def developed(scheme: Levels, order: int) -> Levels:
    """Each row of a difference scheme with each element of Z_order added: (r, c) -> (r x order, c).

    R. C. Bose and K. A. Bush, Annals of Mathematical Statistics 23 (1952), 508-524; Hedayat et al., chapter 6.
    """
    return (scheme[:, None, :] + np.arange(order)[None, :, None]).reshape(-1, scheme.shape[1]) % order


def beside(groups: Levels, each: int, columns: Levels) -> Levels:
    """The rows of `groups`, each repeated `each` times, left of `columns`.

    Orthogonal where `groups` and `columns` are and `columns` comes from a difference scheme whose row i gave the rows
    of group i: Wang and Wu, J. American Statistical Association 86 (1991), 450-456.
    """
    return np.hstack([groups.repeat(each, axis=0), columns])


def kronecker_sum(a: Levels, b: Levels, order: int) -> Levels:
    """A difference scheme from two over Z_order: (r, c) and (s, d) -> (r s, c d), Hedayat et al., lemma 6.27."""
    return (a[:, None, :, None] + b[None, :, None, :]).reshape(len(a) * len(b), -1) % order


def all_pairs(n: int, m: int) -> Levels:
    """Each of n levels with each of m, the first slowest: (n m, 2)."""
    return np.array(list(itertools.product(range(n), range(m))))
