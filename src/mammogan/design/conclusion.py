"""What a study says and what it cannot say, in plain sentences that claim no more than the numbers."""

from collections.abc import Mapping
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd

from mammogan.design.anova import REPLICATES, Error
from mammogan.design.effects import (
    ALPHA,
    Factors,
    groups,
    levels_apart,
    main_effects_of,
    smallest_difference,
    sn_contrasts,
    sn_error,
)
from mammogan.design.prediction import Prediction, misfit, predict_best_of
from mammogan.design.signal_to_noise import Goal
from mammogan.design.trials import Trials, read_trials


def conclusion(trials: pd.DataFrame, factors: Factors, response: str = "fid", goal: Goal = "smaller") -> str:
    """What the study says and what it cannot say, in plain sentences, one a line.

    Raises:
        DesignError: see `trials.read_trials`.
    """
    rows = read_trials(trials, factors, response, goal)
    return conclusion_of(rows, main_effects_of(rows), response)


def conclusion_of(rows: Trials, effects: pd.DataFrame, response: str) -> str:
    """See `conclusion`; `effects` are the main effects of `rows`."""
    sentences = [_best_row(rows, response)]
    if np.ptp(rows.sn_db) == 0:
        return "\n".join([*sentences, "All rows have the same response: the study shows no effect of any factor."])
    error = sn_error(rows)
    sentences.append(_effects(effects))
    sentences += [
        f"{in_words(a)} and {in_words(b)} are one column: their effects cannot be told apart, and what they show "
        f"belongs to both."
        for a, b in rows.aliases
    ]
    sentences.append(_source_of_error(rows, error))
    sentences += _separability(effects, rows, error) if error else _contrasts(rows)
    sentences += _misfit(rows)
    sentences.append(_prediction(predict_best_of(rows), rows, response))
    return "\n".join(sentences)


def in_words(factor: str) -> str:
    """The factor in words: `lr` -> `learning rate`."""
    return "learning rate" if factor == "lr" else factor.replace("_", " ")


def level_in_words(value: Any) -> str:
    """The level of a factor; a table from a CSV holds 8.0 where the design says 8."""
    return f"{value:.10g}" if isinstance(value, Real) and not isinstance(value, bool) else str(value)


def _best_row(rows: Trials, response: str) -> str:
    winner = int({"smaller": rows.mean.argmin(), "larger": rows.mean.argmax()}.get(rows.goal, rows.sn_db.argmax()))
    levels = {factor: values[i] for (factor, values), i in zip(rows.factors.items(), rows.levels[winner], strict=True)}
    ratio = f", S/N ratio {rows.sn_db[winner]:.1f} dB" if rows.goal.startswith("nominal") else ""
    return (
        f"The best of the {len(rows.numbers)} rows is row {rows.numbers[winner]} ({_words(levels)}): "
        f"{response} {rows.mean[winner]:.4g}{ratio}."
    )


def _effects(effects: pd.DataFrame) -> str:
    by_factor = effects[effects["best"]].drop_duplicates("factor").sort_values("rank", kind="stable")
    parts = [
        f"{in_words(str(line.factor))} {line.delta:.1f} dB (best at {level_in_words(line.value)})"
        for line in by_factor.itertuples()
    ]
    return f"Mean S/N ratios differ between the levels by: {'; '.join(parts)}."


def _source_of_error(rows: Trials, error: Error | None) -> str:
    once = rows.replicates == 1
    run = "Each row was run once, so" if once else f"Each row was run {rows.replicates} times, but"
    if error is None:
        return (
            f"{run} there is no estimate of the error and nothing is left over to make one from: any of these "
            f"differences, and the order of the rows, may be seed noise."
        )
    if error.source == REPLICATES:
        return (
            f"Each row was run {rows.replicates} times: chance moves the S/N ratio of a row by "
            f"{np.sqrt(error.variance):.2g} dB (standard deviation, {error.df} degrees of freedom)."
        )
    return (
        f"{run} there is no estimate of the error by chance alone: differences are held against what the main effects "
        f"leave over, {np.sqrt(error.variance):.2g} dB a row with {error.df} degrees of freedom, in which seed noise "
        f"and interactions are one."
    )


def _separability(effects: pd.DataFrame, rows: Trials, error: Error) -> list[str]:
    """For each factor, in order of rank, whether its best level is shown to be better than the others."""
    said = []
    by_factor = dict(iter(effects.groupby("factor", sort=False)))
    for names in sorted(groups(rows).values(), key=lambda names: int(by_factor[names[0]]["rank"].iloc[0])):
        lines = by_factor[names[0]]
        best = int(lines["best"].to_numpy().argmax())
        apart = levels_apart(rows, list(rows.factors).index(names[0]), error)[best]
        together = _levels_of(names, rows)
        beaten = _or([level for number, level in enumerate(together) if apart[number]])
        tied = _or([level for number, level in enumerate(together) if number != best and not apart[number]])
        subject = " and ".join(in_words(name) for name in names)
        if not tied:
            verdict = f"{together[best]} is better than {beaten}"
        elif beaten:
            verdict = f"{together[best]} is better than {beaten}, not separable from {tied}"
        else:
            verdict = f"not separable; {together[best]} has the best mean, but no difference from {tied} is shown"
        said.append(f"{subject[0].upper()}{subject[1:]}: {verdict} ({_p(float(lines['p'].iloc[0]))}).")
    needed = sorted({round(smallest_difference(rows, column, error), 1) for column in range(len(rows.factors))})
    return [
        *said,
        f"Levels are compared by Tukey's method, 5 % of false alarms for each factor: a difference is shown from "
        f"{_or([f'{difference:.1f}' for difference in needed])} dB on.",
    ]


def _levels_of(names: list[str], rows: Trials) -> list[str]:
    """The levels of factors that are one column, as pairs that were run: `16 with 250`."""
    first, *others = (list(rows.factors).index(name) for name in names)
    said = []
    for level in range(len(rows.factors[names[0]])):
        row = rows.levels[rows.levels[:, first] == level][0]
        values = [rows.factors[name][row[column]] for name, column in zip(names, [first, *others], strict=True)]
        said.append(" with ".join(level_in_words(value) for value in values))
    return said


def _contrasts(rows: Trials) -> list[str]:
    table = sn_contrasts(rows)
    active = table[table["stands_out"]]
    if active.empty:
        return [f"Not separable: none of the {len(table)} contrasts stands out from the others (Lenth's method)."]
    names = ", ".join(in_words(str(name)) for name in active["name"])
    return [
        f"By size alone {names} stands out of the {len(table)} contrasts (Lenth's method); no level is shown better."
    ]


def _misfit(rows: Trials) -> list[str]:
    p = misfit(rows)
    if p is None or p >= ALPHA:
        return []
    return [
        f"The rows differ by more than main effects and chance explain ({_p(p)}): factors interact, so a level "
        f"that is best on average need not be best in the best combination."
    ]


def _prediction(best: Prediction, rows: Trials, response: str) -> str:
    interval = best.interval_of(1)
    expected = f"the additive model expects {best.sn_db:.1f} dB, {response} about {best.response:.3g}"
    if interval is not None:
        ends = best.responses(interval)
        of_response = f", {response} {ends[0]:.3g} to {ends[1]:.3g}" if ends else ""
        expected += f" (95 % interval for one new run: {interval[0]:.1f} to {interval[1]:.1f} dB{of_response})"
    if best.row is not None:
        measured = rows.mean[rows.numbers == best.row][0]
        return f"The best levels together are row {best.row}: {expected}; the row gave {measured:.3g}."
    return (
        f"The best levels together ({_words(best.levels)}) are no row of the array: {expected}; "
        f"only a confirmation run can tell."
    )


def _p(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {value:.2g}"


def _or(items: list[str]) -> str:
    return " or ".join(items)


def _words(levels: Mapping[str, Any]) -> str:
    return ", ".join(f"{in_words(factor)} {level_in_words(value)}" for factor, value in levels.items())
