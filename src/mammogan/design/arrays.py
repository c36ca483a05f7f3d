"""Orthogonal arrays as data, their properties, and an audit of a table in plain words.

An array is a table of level numbers: a row is one trial, a column is what one factor goes through. The first
columns take the factors, in their order; columns left over stay free.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from mammogan.errors import DesignError


@dataclass(frozen=True)
class Array:
    """A table of zero-based level numbers, one tuple a row, with its source.

    Raises:
        DesignError: rows of unequal length, or a column whose levels are not 0, 1, 2, ... without a gap.
    """

    name: str
    levels: tuple[tuple[int, ...], ...]
    source: str

    def __post_init__(self) -> None:
        if not self.levels or not self.levels[0]:
            raise DesignError(f"array {self.name!r} is empty; give it rows and columns")
        widths = {len(row) for row in self.levels}
        if len(widths) > 1:
            raise DesignError(f"array {self.name!r} has rows of {sorted(widths)} entries; make them equal")
        for number, column in enumerate(zip(*self.levels, strict=True), start=1):
            if set(column) != set(range(max(column) + 1)):
                raise DesignError(
                    f"array {self.name!r}, column {number}: levels are {sorted(set(column))}, "
                    f"expected 0, 1, 2, ... without a gap"
                )

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.levels)

    @property
    def n_columns(self) -> int:
        """Number of columns, the most factors that fit."""
        return len(self.levels[0])

    @property
    def n_levels(self) -> tuple[int, ...]:
        """Number of levels of each column."""
        return tuple(max(column) + 1 for column in zip(*self.levels, strict=True))

    @property
    def is_balanced(self) -> bool:
        """Whether each column shows each of its levels equally often."""
        return all(len(set(Counter(column).values())) == 1 for column in zip(*self.levels, strict=True))

    @property
    def is_orthogonal(self) -> bool:
        """Whether each pair of columns shows each pair of levels equally often."""
        return all(self.pair_is_orthogonal(a, b) for a, b in combinations(range(self.n_columns), 2))

    def pair_is_orthogonal(self, a: int, b: int) -> bool:
        """Whether columns `a` and `b` (zero-based) show each pair of their levels equally often."""
        seen = Counter((row[a], row[b]) for row in self.levels)
        return len(seen) == self.n_levels[a] * self.n_levels[b] and len(set(seen.values())) == 1

    def aliases(self, columns: Sequence[int] | None = None) -> list[tuple[int, int]]:
        """Pairs of columns (zero-based) that move together, so that their effects are one effect.

        `columns` narrows the search to the columns in use; None looks at all of them.
        """
        columns = range(self.n_columns) if columns is None else columns
        return [pair for pair in combinations(columns, 2) if self._move_together(*pair)]

    def _move_together(self, a: int, b: int) -> bool:
        seen = {(row[a], row[b]) for row in self.levels}
        return len(seen) == self.n_levels[a] == self.n_levels[b]

    def first_columns(self, n: int) -> Self:
        """The same rows with only the first `n` columns, those that `n` factors use."""
        return type(self)(self.name, tuple(row[:n] for row in self.levels), self.source)

    def assign(self, factors: Mapping[str, Sequence[Any]]) -> Iterator["Row"]:
        """The rows with the factors' values filled in, in the order of the array.

        Raises:
            DesignError: see `check_factors`.
        """
        check_factors(self, factors)
        for number, row in enumerate(self.levels, start=1):
            used = dict(zip(factors, row, strict=False))
            yield Row(
                number=number,
                levels={name: factors[name][level] for name, level in used.items()},
                level_numbers={name: level + 1 for name, level in used.items()},
            )


@dataclass(frozen=True)
class Row:
    """One row of an array with the factors' values filled in; all numbers count from 1."""

    number: int
    levels: dict[str, Any]
    level_numbers: dict[str, int]


_L9 = Array(
    "l9",
    (
        (0, 0, 0, 0),
        (0, 1, 1, 1),
        (0, 2, 2, 2),
        (1, 0, 1, 2),
        (1, 1, 2, 0),
        (1, 2, 0, 1),
        (2, 0, 2, 1),
        (2, 1, 0, 2),
        (2, 2, 1, 0),
    ),
    "L9(3^4): G. Taguchi and S. Konishi, Orthogonal Arrays and Linear Graphs, American Supplier Institute, 1987",
)

_PAPER = Array(
    "paper",
    (
        (0, 0, 0),
        (0, 1, 1),
        (0, 2, 2),
        (1, 0, 0),
        (1, 1, 1),
        (1, 2, 2),
        (2, 0, 0),
        (2, 1, 1),
        (2, 2, 2),
    ),
    "Y. Reyes-Hernandez et al., Application of GANs for Augmentation of the Mammography Repository, 2025, "
    "Tables 3 and 4: learning rate, batch size, epochs",
)

ARRAYS: dict[str, Array] = {array.name: array for array in (_L9, _PAPER)}


def find_array(name: str) -> Array:
    """The array called `name`.

    Raises:
        DesignError: there is none; the message lists those there are.
    """
    if name not in ARRAYS:
        raise DesignError(f"no array is called {name!r}; choose one of: {', '.join(ARRAYS)}")
    return ARRAYS[name]


def check_factors(array: Array, factors: Mapping[str, Sequence[Any]]) -> None:
    """Refuse factors that do not fit the array's first columns.

    Raises:
        DesignError: no factor, more factors than columns, a wrong number of levels, or a level given twice.
    """
    if not factors:
        raise DesignError("a design needs at least one factor; name it and its levels")
    if len(factors) > array.n_columns:
        raise DesignError(
            f"{len(factors)} factors ({', '.join(factors)}) do not fit the {array.n_columns} columns of "
            f"array {array.name!r}; leave out {len(factors) - array.n_columns} or take a larger array"
        )
    for (name, values), expected in zip(factors.items(), array.n_levels, strict=False):
        if len(values) != expected:
            raise DesignError(
                f"factor {name!r} has {len(values)} levels {list(values)}; "
                f"its column of array {array.name!r} needs {expected}"
            )
        if any(a == b for a, b in combinations(values, 2)):
            raise DesignError(f"factor {name!r} has a level twice in {list(values)}; make them different")


def audit(array: Array, factors: Mapping[str, Sequence[Any]]) -> list[str]:
    """What the array can and cannot tell about the factors, one finding a sentence.

    Raises:
        DesignError: see `check_factors`.
    """
    check_factors(array, factors)
    used = array.first_columns(len(factors))
    names = list(factors)
    return [
        _balance(used, names),
        *_pairs(used, names),
        *_aliased(used, names),
        *_freedom(used),
        *_fraction(used),
    ]


def rank(array: Array) -> int:
    """Number of quantities (the mean and the main effects) that the rows can tell apart."""
    return int(np.linalg.matrix_rank(model_matrix(np.array(array.levels))))


def model_matrix(levels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Matrix of the main-effects model: zero-based levels (rows, factors) -> (rows, 1 + sum of levels).

    A column of ones, then one indicator column for each level of each factor.
    """
    indicators = [np.equal.outer(column, np.arange(column.max() + 1)) for column in levels.T]
    return np.column_stack([np.ones(len(levels)), *indicators])


def _balance(array: Array, names: list[str]) -> str:
    if array.is_balanced:
        return f"Balanced: each factor shows each of its levels equally often in the {array.n_rows} rows."
    uneven = [
        name
        for name, column in zip(names, zip(*array.levels, strict=True), strict=True)
        if len(set(Counter(column).values())) > 1
    ]
    return f"Not balanced: {_and(uneven)} shows some levels more often than others."


def _pairs(array: Array, names: list[str]) -> list[str]:
    if len(names) < 2:
        return []
    if array.is_orthogonal:
        return ["Orthogonal: each pair of factors shows each pair of levels equally often."]
    bad = [pair for pair in combinations(range(len(names)), 2) if not array.pair_is_orthogonal(*pair)]
    return [
        f"Not orthogonal: {names[a]} and {names[b]} show "
        f"{len({(row[a], row[b]) for row in array.levels})} of their {array.n_levels[a] * array.n_levels[b]} "
        f"pairs of levels."
        for a, b in bad
    ]


def _aliased(array: Array, names: list[str]) -> list[str]:
    return [
        f"{names[a]} and {names[b]} are one column: their effects cannot be told apart." for a, b in array.aliases()
    ]


def _freedom(array: Array) -> list[str]:
    asked, got = sum(n - 1 for n in array.n_levels), rank(array) - 1
    left = array.n_rows - 1 - got
    spare = f"{left} of the {array.n_rows - 1} degrees of freedom are left over"
    if got < asked:
        return [f"The main effects ask for {asked} degrees of freedom and the rows give {got}; {spare}."]
    return [f"All {asked} degrees of freedom of the main effects can be estimated; {spare}."]


def _fraction(array: Array) -> list[str]:
    combinations_in_all = math.prod(array.n_levels)
    different = len(set(array.levels))
    if different == combinations_in_all:
        return []
    return [
        f"The rows are {different} of the {combinations_in_all} combinations of levels: interactions between "
        f"factors are mixed into the main effects."
    ]


def _and(names: Sequence[str]) -> str:
    return " and ".join(names)
