"""The trials of a study by row, checked: what every analysis starts from.

The trials frame has the columns row, the factors, the response, and optionally state, of which only COMPLETE lines
count. Each row has the same number of lines: its replicates.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mammogan.design import spaces
from mammogan.design.signal_to_noise import Goal, signal_to_noise
from mammogan.design.table import Array
from mammogan.errors import DesignError


@dataclass(frozen=True)
class Trials:
    """Row numbers (rows,), zero-based levels (rows, factors), responses (rows, replicates), S/N ratios (rows,)."""

    factors: Mapping[str, Sequence[Any]]
    numbers: NDArray[np.int64]
    levels: NDArray[np.int64]
    responses: NDArray[np.float64]
    sn_db: NDArray[np.float64]
    goal: Goal

    @property
    def mean(self) -> NDArray[np.float64]:
        """Mean response of each row, (rows,)."""
        mean: NDArray[np.float64] = self.responses.mean(axis=1)
        return mean

    @property
    def replicates(self) -> int:
        """How often each row was run."""
        return int(self.responses.shape[1])

    @cached_property
    def aliases(self) -> list[tuple[str, str]]:
        """Pairs of factors that move together."""
        names = list(self.factors)
        return [(names[a], names[b]) for a, b in _table(self.levels).aliases()]


def read_trials(
    trials: pd.DataFrame, factors: Mapping[str, Sequence[Any]], response: str = "fid", goal: Goal = "smaller"
) -> Trials:
    """Gather a trials frame by row.

    Raises:
        DesignError: a column is missing or not numeric; a value is no listed level; rows have unequal numbers of
            replicates; rows are missing, and then which effects are lost; see also `signal_to_noise`.
    """
    absent = [column for column in ("row", *factors, response) if column not in trials]
    if absent:
        raise DesignError(f"the trials have no column {', '.join(absent)}; they have {', '.join(trials.columns)}")
    if not factors:
        raise DesignError("an analysis needs at least one factor; name it and its levels")
    if not pd.api.types.is_numeric_dtype(trials[response]):
        raise DesignError(f"column {response!r} of the trials is not numeric; give numbers in every row")
    if "state" in trials:
        trials = trials[trials["state"] == "COMPLETE"]
    if trials.empty:
        raise DesignError("no trial is complete; run `mammogan study` first")
    by_row = trials.sort_values("row", kind="stable").groupby("row")
    counts = by_row.size()
    numbers = counts.index.to_numpy()
    if len(set(counts)) != 1:
        few = numbers[(counts < counts.max()).to_numpy()].tolist()
        raise DesignError(
            f"rows have between {counts.min()} and {counts.max()} replicates, too few in rows {few}; "
            f"complete the study first"
        )
    levels = _level_numbers(by_row[list(factors)].first(), factors)
    _insist_on_all_rows(numbers, levels, factors)
    responses = np.stack([group.to_numpy(dtype=float) for _, group in by_row[response]])
    return Trials(factors, numbers, levels, responses, signal_to_noise(responses, goal, numbers), goal)


def _level_numbers(values: pd.DataFrame, factors: Mapping[str, Sequence[Any]]) -> NDArray[np.int64]:
    columns = []
    for factor, levels in factors.items():
        numbers = {level: number for number, level in enumerate(levels)}
        if len(numbers) < len(levels):
            raise DesignError(f"factor {factor!r} has a level twice in {list(levels)}; make them different")
        unknown = [value for value in values[factor].tolist() if value not in numbers]
        if unknown:
            raise DesignError(f"factor {factor!r} has the value {unknown[0]!r}, which is none of {list(levels)}")
        columns.append(np.array([numbers[value] for value in values[factor].tolist()]))
    return np.column_stack(columns)


def _insist_on_all_rows(
    numbers: NDArray[np.int64], levels: NDArray[np.int64], factors: Mapping[str, Sequence[Any]]
) -> None:
    """Refuse rows in which main effects leak into each other, other than by whole columns that move together."""
    gaps = sorted({*range(1, int(numbers.max()) + 1)} - {*numbers.tolist()})
    absent = [
        f"{factor} {value}"
        for column, (factor, values) in zip(levels.T, factors.items(), strict=True)
        for number, value in enumerate(values)
        if number not in column
    ]
    if absent:
        raise DesignError(f"no row has {', '.join(absent)}, so nothing can be said of it; {_fill(gaps)}")
    table = _table(levels)
    alias = set(table.aliases())
    leaking = [
        pair
        for pair in combinations(range(levels.shape[1]), 2)
        if pair not in alias and not table.pair_is_proportional(*pair)
    ]
    if not leaking and not gaps:
        return
    names = list(factors)
    leaks = " and ".join(f"{names[a]} with {names[b]}" for a, b in leaking)
    mixed = f"the main effects leak into each other ({leaks})" if leaking else "some levels lack rows"
    raise DesignError(
        f"{_gone(gaps)}{mixed}{_lost(levels, names, alias)}, so main effects would be biased; {_fill(gaps)}"
    )


def _table(levels: NDArray[np.int64]) -> Array:
    return Array("the trials", tuple(tuple(row) for row in levels.tolist()), "")


def _lost(levels: NDArray[np.int64], names: Sequence[str], alias: Collection[tuple[int, int]]) -> str:
    """Which main effects the rows that are left cannot tell from all the others, whole columns apart."""
    mains = [spaces.main_effect(column) for column in levels.T]
    lost = []
    for number, name in enumerate(names):
        partners = {number} | {a + b - number for a, b in alias if number in (a, b)}
        others = [space for index, space in enumerate(mains) if index not in partners]
        if others and spaces.left_of(mains[number], spaces.joined(*others)).shape[1] < mains[number].shape[1]:
            lost.append(name)
    return f" and the effect of {', '.join(lost)} is lost" if lost else ""


def _gone(gaps: Sequence[int]) -> str:
    return f"rows {list(gaps)} are missing: " if gaps else "the rows are no complete table: "


def _fill(gaps: Sequence[int]) -> str:
    which = f"fill rows {list(gaps)}" if gaps else "fill the missing rows"
    return f"run `mammogan study` again to {which}"
