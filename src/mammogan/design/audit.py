"""What a table can and cannot tell about its factors, in words and in numbers, whoever made it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mammogan.design import spaces
from mammogan.design.choice import choose
from mammogan.design.table import Array, Row, check_factors, model_matrix
from mammogan.errors import DesignError

if TYPE_CHECKING:
    import pandas as pd

_FEW = 6  # interactions that a sentence names


@dataclass(frozen=True)
class _Effects:
    """The effects of a table as spaces over its rows: one a factor, then one a pair of factors.

    mixed: (effects, effects), whether two effects overlap.
    """

    names: list[str]
    spaces: list[spaces.Space]
    mixed: NDArray[np.bool_]

    @property
    def pairs(self) -> list[tuple[str, str]]:
        return list(combinations(self.names, 2))

    def mixed_into(self, factor: str) -> list[tuple[str, str]]:
        """The interactions of two other factors that overlap with a main effect."""
        mixed = self.mixed[self.names.index(factor), len(self.names) :]
        return [pair for pair, overlaps in zip(self.pairs, mixed, strict=True) if overlaps]


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
        *_fraction(used, _effects(used, names)),
        *_better(used, factors),
    ]


def effects_table(array: Array, factors: Mapping[str, Sequence[Any]]) -> "pd.DataFrame":
    """Each main effect and interaction of two factors in numbers.

    Returns:
        One line an effect: effect (`a` or `a x b`), df (degrees of freedom it asks for), efficiency (the mean share of
        it that is free of the main effects of all other factors: 1 when it is orthogonal to them, 0 when it cannot be
        told from them or does not show at all), mixed_with (the effects it overlaps with).

    Raises:
        DesignError: see `check_factors`.
    """
    import pandas as pd

    check_factors(array, factors)
    used, names = array.first_columns(len(factors)), list(factors)
    effects = _effects(used, names)
    owners = [(name,) for name in names] + effects.pairs
    lines = []
    for number, (owner, space) in enumerate(zip(owners, effects.spaces, strict=True)):
        others = [index for index, name in enumerate(names) if name not in owner]
        asked = math.prod(used.n_levels[names.index(name)] - 1 for name in owner)
        taken = 0.0
        if effects.mixed[number, others].any():
            taken = spaces.overlap(space, spaces.joined(*(effects.spaces[index] for index in others)))
        mixed = [owners[index] for index in np.flatnonzero(effects.mixed[number]) if index != number]
        lines.append(
            {
                "effect": " x ".join(owner),
                "df": asked,
                "efficiency": round((1 - taken) * space.shape[1] / asked, 9) + 0.0,
                "mixed_with": ", ".join(" x ".join(other) for other in mixed),
            }
        )
    return pd.DataFrame(lines)


def rank(array: Array) -> int:
    """Number of quantities (the mean and the main effects) that the rows can tell apart."""
    return int(np.linalg.matrix_rank(model_matrix(array.as_matrix())))


def better_rows(array: Array, factors: Mapping[str, Sequence[Any]]) -> list[Row] | None:
    """As many rows or fewer that tell all main effects apart, or None where the catalogue has none.

    Raises:
        DesignError: see `check_factors`.
    """
    check_factors(array, factors)
    try:
        plan = choose(factors)
    except DesignError:
        return None
    return list(plan.array.assign(factors)) if plan.array.n_rows <= array.n_rows else None


def _effects(array: Array, names: list[str]) -> _Effects:
    columns = array.as_matrix().T
    found = [spaces.main_effect(column) for column in columns]
    found += [spaces.interaction(a, b) for a, b in combinations(columns, 2)]
    return _Effects(names, found, spaces.which_overlap(found))


def _balance(array: Array, names: Sequence[str]) -> str:
    counts = {name: np.bincount(column).tolist() for name, column in zip(names, array.as_matrix().T, strict=True)}
    uneven = [f"{name} ({', '.join(map(str, times))} rows)" for name, times in counts.items() if len(set(times)) > 1]
    if not uneven:
        return f"Balanced: each factor shows each of its levels equally often in the {array.n_rows} rows."
    return f"Not balanced: {_and(uneven)} shows some levels more often than others."


def _pairs(array: Array, names: Sequence[str]) -> list[str]:
    if len(names) < 2:
        return []
    pairs = list(combinations(range(len(names)), 2))
    if all(array.pair_is_orthogonal(*pair) for pair in pairs):
        return ["Orthogonal: each pair of factors shows each pair of levels equally often."]
    if all(array.pair_is_proportional(*pair) for pair in pairs):
        return ["Orthogonal by proportion: each pair of levels occurs as often as the two levels' own numbers ask."]
    return [
        f"Not orthogonal: {names[a]} and {names[b]} show "
        f"{np.count_nonzero(array.pair_counts(a, b))} of their {array.n_levels[a] * array.n_levels[b]} "
        f"pairs of levels{', but not equally often' if array.pair_counts(a, b).all() else ''}."
        for a, b in pairs
        if not array.pair_is_proportional(a, b)
    ]


def _aliased(array: Array, names: Sequence[str]) -> list[str]:
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


def _fraction(array: Array, effects: _Effects) -> list[str]:
    combinations_in_all = math.prod(array.n_levels)
    different = len(set(array.levels))
    if different == combinations_in_all:
        return []
    rows = f"The rows are {different} of the {combinations_in_all} combinations of levels"
    mixed = [f"{name} with {a} x {b}" for name in effects.names for a, b in effects.mixed_into(name)]
    seen = dict(zip(effects.pairs, effects.spaces[len(effects.names) :], strict=True))
    unseen = [f"{a} x {b}" for (a, b), space in seen.items() if not space.shape[1]]
    said = [
        f"{rows}: interactions of two factors are mixed into the main effects: {_few(mixed)}."
        if mixed
        else f"{rows}; no main effect is mixed with an interaction of two factors."
    ]
    return said + ([f"The rows show nothing of the interaction {_few(unseen)}."] if unseen else [])


def _better(array: Array, factors: Mapping[str, Sequence[Any]]) -> list[str]:
    """The way out, where main effects cannot be told apart."""
    if all(array.pair_is_proportional(a, b) for a, b in combinations(range(len(factors)), 2)):
        return []
    rows = better_rows(array, factors)
    if rows is None:
        return [f"No table of the catalogue with {array.n_rows} rows or fewer does better."]
    listed = "; ".join(", ".join(map(str, row.levels.values())) for row in rows)
    return [f"{len(rows)} rows that tell all main effects apart ({', '.join(factors)}): {listed}."]


def _few(items: Sequence[str]) -> str:
    more = f" and {len(items) - _FEW} more" if len(items) > _FEW else ""
    return ", ".join(items[:_FEW]) + more


def _and(names: Sequence[str]) -> str:
    return " and ".join(names)
