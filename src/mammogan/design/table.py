"""A table of an experiment: rows of level numbers, its properties, its rows with the factors' values filled in.

An array is a table of level numbers: a row is one trial, a column is what one factor goes through. The first
columns take the factors, in their order; columns left over stay free.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
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

    @cached_property
    def n_levels(self) -> tuple[int, ...]:
        """Number of levels of each column."""
        return tuple(max(column) + 1 for column in zip(*self.levels, strict=True))

    @property
    def title(self) -> str:
        """What the table is by its own columns: `L18(2^1 x 3^7)`."""
        columns = Counter(self.n_levels)
        return f"L{self.n_rows}({' x '.join(f'{n}^{columns[n]}' for n in sorted(columns))})"

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
        seen = self.pair_counts(a, b)
        return bool((seen == seen.flat[0]).all())

    def pair_is_proportional(self, a: int, b: int) -> bool:
        """Whether columns `a` and `b` (zero-based) show each pair as often as their levels' shares ask.

        Then the main effects are uncorrelated all the same (Addelman, Technometrics 4 (1962), 21-46): so it is where
        a dummy level makes one level more frequent.
        """
        seen = self.pair_counts(a, b)
        return bool((seen * self.n_rows == np.outer(seen.sum(axis=1), seen.sum(axis=0))).all())

    def pair_counts(self, a: int, b: int) -> NDArray[np.int64]:
        """How many rows have each pair of levels of columns `a` and `b` (zero-based): (levels of a, levels of b)."""
        starts = np.cumsum([0, *self.n_levels])
        return self._pairs[starts[a] : starts[a + 1], starts[b] : starts[b + 1]]

    def aliases(self, columns: Sequence[int] | None = None) -> list[tuple[int, int]]:
        """Pairs of columns (zero-based) that move together, so that their effects are one effect.

        `columns` narrows the search to the columns in use; None looks at all of them.
        """
        columns = range(self.n_columns) if columns is None else columns
        return [pair for pair in combinations(columns, 2) if self._move_together(*pair)]

    def _move_together(self, a: int, b: int) -> bool:
        return int(np.count_nonzero(self.pair_counts(a, b))) == self.n_levels[a] == self.n_levels[b]

    @cached_property
    def _pairs(self) -> NDArray[np.int64]:
        """Counts of each level with each, of all columns at once: (sum of levels, sum of levels)."""
        indicators = np.hstack(
            [np.equal.outer(column, np.arange(n)) for column, n in zip(self.as_matrix().T, self.n_levels, strict=True)]
        ).astype(np.int64)
        return indicators.T @ indicators

    def first_columns(self, n: int) -> Self:
        """The same rows with only the first `n` columns, those that `n` factors use."""
        return type(self)(self.name, tuple(row[:n] for row in self.levels), self.source)

    def as_matrix(self) -> NDArray[np.int64]:
        """The zero-based level numbers, (rows, columns)."""
        return np.array(self.levels, np.int64)

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


def model_matrix(levels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Matrix of the main-effects model: zero-based levels (rows, factors) -> (rows, 1 + sum of levels).

    A column of ones, then one indicator column for each level of each factor.
    """
    indicators = [np.equal.outer(column, np.arange(column.max() + 1)) for column in levels.T]
    return np.column_stack([np.ones(len(levels)), *indicators])
