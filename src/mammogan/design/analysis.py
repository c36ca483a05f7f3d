"""Taguchi's analysis of a study: signal-to-noise ratios, main effects, and what may be said of them.

Pure functions of the trials frame: columns row, the factors, the response, and optionally state, of which
only COMPLETE lines count. Source of the formulas: M. S. Phadke, Quality Engineering Using Robust Design,
Prentice Hall 1989, chapters 3 and 5.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mammogan.design.arrays import Array, model_matrix
from mammogan.errors import DesignError


@dataclass(frozen=True)
class Prediction:
    """The levels with the best main effects, and what the additive model expects of them.

    `response` is the root mean square response that has the S/N ratio `sn_db`. `row` is the row that already
    has these levels, or None if they have never been run together.
    """

    levels: dict[str, Any]
    sn_db: float
    response: float
    row: int | None


def sn_smaller_is_better(responses: NDArray[np.float64]) -> NDArray[np.float64]:
    """Signal-to-noise ratio of each row, in dB: responses (rows, replicates) -> (rows,).

    -10 log10(mean over replicates of y^2).

    Raises:
        DesignError: a response is missing, infinite, negative, or all replicates of a row are zero.
    """
    return _sn(responses, np.arange(1, len(responses) + 1))


def main_effects(trials: pd.DataFrame, factors: Mapping[str, Sequence[Any]], response: str = "fid") -> pd.DataFrame:
    """What each level of each factor did on average over the rows that have it.

    Returns:
        One line a level: factor, level (from 1), value, n (rows), mean (of the response), sn_db (mean S/N
        ratio), delta (of the factor: largest less smallest sn_db), rank (of the factor by delta, from 1),
        best (the level with the largest sn_db), aliased_with (factors whose effect cannot be told from this).

    Raises:
        DesignError: see `sn_smaller_is_better`; a column is missing or not numeric; a value is no listed
            level; rows are missing, so that levels do not occur equally often.
    """
    rows = _rows(trials, factors, response)
    aliased = _aliased(rows.levels, factors)
    lines = []
    for column, (factor, values) in enumerate(factors.items()):
        members = [rows.levels[:, column] == level for level in range(len(values))]
        ratios = np.array([rows.sn_db[member].mean() for member in members])
        lines += [
            {
                "factor": factor,
                "level": level + 1,
                "value": values[level],
                "n": int(member.sum()),
                "mean": rows.mean[member].mean(),
                "sn_db": ratios[level],
                "delta": np.ptp(ratios),
                "best": level == ratios.argmax(),
                "aliased_with": ", ".join(aliased[factor]),
            }
            for level, member in enumerate(members)
        ]
    effects = pd.DataFrame(lines)
    deltas = effects.groupby("factor", sort=False)["delta"].first().round(9)  # aliased factors tie exactly
    ranks = deltas.rank(method="min", ascending=False).astype(int)
    effects.insert(7, "rank", effects["factor"].map(ranks))
    as_given = [value for values in factors.values() for value in values]
    effects["value"] = pd.Series(as_given, dtype=object)  # else 16 in one column with 0.0001 would become 16.0
    return effects


def predict_best(trials: pd.DataFrame, factors: Mapping[str, Sequence[Any]], response: str = "fid") -> Prediction:
    """The best level of each factor by S/N ratio, and the additive model's prediction for them.

    The model is fitted by least squares, so factors that are one column count once.

    Raises:
        DesignError: see `main_effects`.
    """
    rows = _rows(trials, factors, response)
    effects = main_effects(trials, factors, response)
    best = effects[effects["best"]]["level"].to_numpy() - 1
    design = model_matrix(np.vstack([rows.levels, best]))  # one more row: the prediction
    coefficients = np.linalg.lstsq(design[:-1], rows.sn_db, rcond=None)[0]
    sn_db = float(design[-1] @ coefficients)
    same = np.flatnonzero((rows.levels == best).all(axis=1))
    return Prediction(
        levels={factor: values[level] for (factor, values), level in zip(factors.items(), best, strict=True)},
        sn_db=sn_db,
        response=float(10 ** (-sn_db / 20)),
        row=int(rows.numbers[same[0]]) if len(same) else None,
    )


def conclusion(trials: pd.DataFrame, factors: Mapping[str, Sequence[Any]], response: str = "fid") -> str:
    """What the study says and what it cannot say, in plain sentences, one a line.

    Raises:
        DesignError: see `main_effects`.
    """
    rows = _rows(trials, factors, response)
    effects = main_effects(trials, factors, response)
    winner = int(rows.mean.argmin())
    levels = {factor: values[i] for (factor, values), i in zip(factors.items(), rows.levels[winner], strict=True)}
    sentences = [
        f"The best of the {len(rows.numbers)} rows is row {rows.numbers[winner]} "
        f"({_words(levels)}): {response} {rows.mean[winner]:.4g}."
    ]
    if np.ptp(rows.sn_db) == 0:
        return "\n".join([*sentences, "All rows have the same response: the study shows no effect of any factor."])
    sentences.append(_effects_sentence(effects))
    sentences += _alias_sentences(rows.levels, factors)
    sentences.append(_prediction_sentence(predict_best(trials, factors, response), rows, response))
    sentences.append(_error_sentence(rows.replicates))
    return "\n".join(sentences)


@dataclass(frozen=True)
class _Rows:
    """The trials by row: numbers (rows,), zero-based levels (rows, factors), mean and sn_db (rows,)."""

    numbers: NDArray[np.int64]
    levels: NDArray[np.int64]
    mean: NDArray[np.float64]
    sn_db: NDArray[np.float64]
    replicates: int


def _rows(trials: pd.DataFrame, factors: Mapping[str, Sequence[Any]], response: str) -> _Rows:
    absent = [column for column in ("row", *factors, response) if column not in trials]
    if absent:
        raise DesignError(f"the trials have no column {', '.join(absent)}; they have {', '.join(trials.columns)}")
    if not pd.api.types.is_numeric_dtype(trials[response]):
        raise DesignError(f"column {response!r} of the trials is not numeric; give numbers in every row")
    if "state" in trials:
        trials = trials[trials["state"] == "COMPLETE"]
    by_row = trials.sort_values("row", kind="stable").groupby("row")
    counts = by_row.size()
    if len(set(counts)) != 1:
        raise DesignError(f"rows have between {counts.min()} and {counts.max()} replicates; complete the study first")
    levels = _level_numbers(by_row[list(factors)].first(), factors)
    responses = np.stack([group.to_numpy(dtype=float) for _, group in by_row[response]])
    return _Rows(
        numbers=counts.index.to_numpy(),
        levels=levels,
        mean=responses.mean(axis=1),
        sn_db=_sn(responses, counts.index.to_numpy()),
        replicates=int(counts.iloc[0]),
    )


def _sn(responses: NDArray[np.float64], numbers: NDArray[np.int64]) -> NDArray[np.float64]:
    missing = numbers[~np.isfinite(responses).all(axis=1)].tolist()
    if missing:
        raise DesignError(
            f"rows {missing} have no finite response, so main effects would be biased; "
            f"run `mammogan study` again to fill them"
        )
    unfit = numbers[(responses < 0).any(axis=1) | ~responses.any(axis=1)].tolist()
    if unfit:
        raise DesignError(
            f"rows {unfit} have a negative or zero response, which has no smaller-is-better S/N ratio; "
            f"choose a response above zero"
        )
    ratios: NDArray[np.float64] = -10 * np.log10(np.mean(np.square(responses), axis=1))
    return ratios


def _level_numbers(values: pd.DataFrame, factors: Mapping[str, Sequence[Any]]) -> NDArray[np.int64]:
    columns = []
    for factor, levels in factors.items():
        numbers = {level: number for number, level in enumerate(levels)}
        unknown = [value for value in values[factor].tolist() if value not in numbers]
        if unknown:
            raise DesignError(f"factor {factor!r} has the value {unknown[0]!r}, which is none of {list(levels)}")
        column = np.array([numbers[value] for value in values[factor].tolist()])
        counts = np.bincount(column, minlength=len(levels))
        if np.ptp(counts):
            raise DesignError(
                f"the levels of {factor!r} occur in {counts.tolist()} rows, so main effects would be biased; "
                f"run `mammogan study` again to fill the missing rows"
            )
        columns.append(column)
    return np.column_stack(columns)


def _alias_pairs(levels: NDArray[np.int64], factors: Mapping[str, Sequence[Any]]) -> list[tuple[str, str]]:
    names = list(factors)
    table = Array("the trials", tuple(tuple(map(int, row)) for row in levels), "")
    return [(names[a], names[b]) for a, b in table.aliases()]


def _aliased(levels: NDArray[np.int64], factors: Mapping[str, Sequence[Any]]) -> dict[str, list[str]]:
    pairs = _alias_pairs(levels, factors)
    return {name: [b if a == name else a for a, b in pairs if name in (a, b)] for name in factors}


def _effects_sentence(effects: pd.DataFrame) -> str:
    by_factor = effects[effects["best"]].sort_values("rank", kind="stable")
    parts = [
        f"{_name(str(line.factor))} {line.delta:.1f} dB (best at {_level(line.value)})"
        for line in by_factor.itertuples()
    ]
    return f"Mean S/N ratios differ between the levels by: {'; '.join(parts)}."


def _alias_sentences(levels: NDArray[np.int64], factors: Mapping[str, Sequence[Any]]) -> list[str]:
    return [
        f"{_name(a)} and {_name(b)} are one column: their effects cannot be told apart, and what they show "
        f"belongs to both."
        for a, b in _alias_pairs(levels, factors)
    ]


def _prediction_sentence(best: Prediction, rows: _Rows, response: str) -> str:
    expected = f"the additive model expects {best.sn_db:.1f} dB, {response} about {best.response:.3g}"
    if best.row is not None:
        measured = rows.mean[rows.numbers == best.row][0]
        return f"The best levels together are row {best.row}: {expected}, and the row gave {measured:.3g}."
    return (
        f"The best levels together ({_words(best.levels)}) are no row of the array: {expected}, "
        f"and only a confirmation run can tell."
    )


def _error_sentence(replicates: int) -> str:
    if replicates == 1:
        return (
            "Each row was run once, so there is no estimate of the error: any of these differences, and the "
            "order of the rows, may be seed noise."
        )
    return (
        f"Each row was run {replicates} times; the differences above have not been tested against the spread "
        f"between replicates."
    )


def _words(levels: Mapping[str, Any]) -> str:
    return ", ".join(f"{_name(factor)} {_level(value)}" for factor, value in levels.items())


def _name(factor: str) -> str:
    return "learning rate" if factor == "lr" else factor.replace("_", " ")


def _level(value: Any) -> str:
    # A table from a CSV holds 8.0 where the design says 8.
    return f"{value:g}" if isinstance(value, Real) and not isinstance(value, bool) else str(value)
