"""Main effects, interactions and their analysis of variance from a trials frame.

Formulas: M. S. Phadke, Quality Engineering Using Robust Design, Prentice Hall 1989, chapters 3 and 5. Levels are
compared by Tukey's method with the studentised range: J. W. Tukey 1953; C. Y. Kramer, Biometrics 12 (1956), 307-310.
"""

from collections.abc import Collection, Mapping, Sequence
from functools import cache
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import optimize, stats

from mammogan.design import spaces
from mammogan.design.anova import LEFT_OVER, REPLICATES, Error, anova
from mammogan.design.half_normal import contrasts
from mammogan.design.signal_to_noise import Goal, single_run
from mammogan.design.trials import Trials, read_trials
from mammogan.errors import DesignError

Factors = Mapping[str, Sequence[Any]]

ALPHA = 0.05


def main_effects(trials: pd.DataFrame, factors: Factors, response: str = "fid", goal: Goal = "smaller") -> pd.DataFrame:
    """What each level of each factor did on average over the rows that have it.

    Returns:
        One line a level: factor, level (from 1), value, n (rows), mean (of the response), sn_db (mean S/N ratio), low
        and high (its 95 % interval), delta (of the factor: largest less smallest sn_db), rank (of the factor by delta,
        from 1), p (of the factor, analysis of variance of the ratios), best (the level with the largest sn_db),
        apart_from (the other levels of the factor that it is shown to differ from, Tukey's method at 5 % a factor),
        aliased_with (factors whose effect cannot be told from this). low, high and p are missing and apart_from is
        empty where there is no estimate of the error.

    Raises:
        DesignError: see `trials.read_trials`.
    """
    return main_effects_of(read_trials(trials, factors, response, goal))


def main_effects_of(rows: Trials) -> pd.DataFrame:
    """See `main_effects`."""
    table, error, factors = sn_anova(rows), sn_error(rows), rows.factors
    p_values = {name: p for label, p in zip(table["source"], table["p"], strict=True) for name in label.split(" = ")}
    lines = []
    for column, (factor, values) in enumerate(factors.items()):
        members = [rows.levels[:, column] == level for level in range(len(values))]
        ratios = np.array([rows.sn_db[member].mean() for member in members])
        apart = levels_apart(rows, column, error)
        half = _half_width(np.array([member.sum() for member in members]), error)
        aliased = [b if a == factor else a for a, b in rows.aliases if factor in (a, b)]
        lines += [
            {
                "factor": factor,
                "level": level + 1,
                "value": values[level],
                "n": int(member.sum()),
                "mean": rows.mean[member].mean(),
                "sn_db": ratios[level],
                "low": ratios[level] - half[level],
                "high": ratios[level] + half[level],
                "delta": np.ptp(ratios),
                "p": p_values[factor],
                "best": level == ratios.argmax(),
                "apart_from": ", ".join(
                    str(value) for value, differs in zip(values, apart[level], strict=True) if differs
                ),
                "aliased_with": ", ".join(aliased),
            }
            for level, member in enumerate(members)
        ]
    effects = pd.DataFrame(lines)
    deltas = effects.groupby("factor", sort=False)["delta"].first().round(9)  # aliased factors tie exactly
    ranks = deltas.rank(method="min", ascending=False).astype(int)
    effects.insert(9, "rank", effects["factor"].map(ranks))
    as_given = [value for values in factors.values() for value in values]
    effects["value"] = pd.Series(as_given, dtype=object)  # else 16 in one column with 0.0001 would become 16.0
    return effects


def interaction_effects(
    trials: pd.DataFrame, factors: Factors, pair: tuple[str, str], response: str = "fid", goal: Goal = "smaller"
) -> pd.DataFrame:
    """Means of the combinations of levels of two factors, as far as they occur: parallel lines mean no interaction.

    Returns:
        One line a combination: a, b (the values), n (rows), mean (of the response), sn_db.

    Raises:
        DesignError: a name of `pair` is no factor; see `trials.read_trials`.
    """
    rows = read_trials(trials, factors, response, goal)
    _check_pair(pair, factors)
    first, second = (rows.levels[:, list(factors).index(name)] for name in pair)
    lines = []
    for a, value_a in enumerate(factors[pair[0]]):
        for b, value_b in enumerate(factors[pair[1]]):
            member = (first == a) & (second == b)
            if member.any():
                means = rows.mean[member].mean(), rows.sn_db[member].mean()
                lines.append((value_a, value_b, int(member.sum()), *means))
    return pd.DataFrame(lines, columns=["a", "b", "n", "mean", "sn_db"])


def anova_table(
    trials: pd.DataFrame,
    factors: Factors,
    response: str = "fid",
    goal: Goal = "smaller",
    *,
    of: Literal["sn", "response"] = "sn",
    interactions: Sequence[tuple[str, str]] = (),
    pool: Collection[str] = (),
) -> pd.DataFrame:
    """Analysis of variance of the S/N ratios of the rows, or of the responses of the single runs; see `anova.anova`.

    Factors that are one column are one source, `a = b`. Interactions are named `a x b`.

    Raises:
        DesignError: an interaction is not orthogonal to the other effects, so that it has no line of its own; see
            `trials.read_trials`.
    """
    rows = read_trials(trials, factors, response, goal)
    if of == "sn":
        return sn_anova(rows, interactions, pool)
    spread = None
    if rows.replicates > 1:
        within = rows.responses.var(axis=1, ddof=1).mean()
        spread = Error(within / rows.replicates, len(rows.numbers) * (rows.replicates - 1), REPLICATES)
    return anova(rows.mean, effect_spaces(rows, interactions), spread, pool=pool, runs=rows.replicates)


def contrast_table(
    trials: pd.DataFrame, factors: Factors, response: str = "fid", goal: Goal = "smaller"
) -> pd.DataFrame:
    """The independent contrasts of the S/N ratios, for a half-normal plot; see `half_normal.contrasts`."""
    rows = read_trials(trials, factors, response, goal)
    return sn_contrasts(rows)


def sn_contrasts(rows: Trials) -> pd.DataFrame:
    """See `contrast_table`."""
    columns = {label: rows.levels[:, list(rows.factors).index(names[0])] for label, names in groups(rows).items()}
    return contrasts(rows.sn_db, columns)


def sn_anova(rows: Trials, interactions: Sequence[tuple[str, str]] = (), pool: Collection[str] = ()) -> pd.DataFrame:
    """Analysis of variance of the S/N ratios; the error from replicates where single runs have a ratio."""
    return anova(rows.sn_db, effect_spaces(rows, interactions), replicate_error(rows), pool=pool)


def sn_error(rows: Trials) -> Error | None:
    """The error of a row's S/N ratio that effects are tested against, or None where there is no estimate."""
    spread = replicate_error(rows)
    return spread if spread is not None else left_over_error(rows)


def replicate_error(rows: Trials) -> Error | None:
    """From the spread of the runs of a row, in dB, pooled over the rows; the ratio of r runs has 1/r of it."""
    alone = single_run(rows.responses, rows.goal) if rows.replicates > 1 else None
    if alone is None:
        return None
    variance = float(alone.var(axis=1, ddof=1).mean() / rows.replicates)
    return Error(variance, len(rows.numbers) * (rows.replicates - 1), REPLICATES) if variance > 0 else None


def left_over_error(rows: Trials) -> Error | None:
    """From what the main effects leave over between the rows: chance and interactions together."""
    held = np.hstack(list(effect_spaces(rows).values()))
    values = rows.sn_db - rows.sn_db.mean()
    df = len(values) - 1 - held.shape[1]
    left = float(np.square(values - held @ (held.T @ values)).sum())
    exact = left <= 1e-12 * max(float(np.square(values).sum()), 1e-300)
    return None if df == 0 or exact else Error(left / df, df, LEFT_OVER)


def effect_spaces(rows: Trials, interactions: Sequence[tuple[str, str]] = ()) -> dict[str, spaces.Space]:
    """The effects of the rows, factors that are one column under one name `a = b`."""
    column = dict(zip(rows.factors, rows.levels.T, strict=True))
    found = {label: spaces.main_effect(column[names[0]]) for label, names in groups(rows).items()}
    for a, b in interactions:
        _check_pair((a, b), rows.factors)
        both = spaces.interaction(column[a], column[b])
        if not both.shape[1]:
            raise DesignError(f"the rows show nothing of the interaction {a} x {b}; leave it out")
        found[f"{a} x {b}"] = both
    return found


def groups(rows: Trials) -> dict[str, list[str]]:
    """Factors by what can be told apart: those that are one column stand together, under `a = b`."""
    partners: dict[str, list[str]] = {name: [name] for name in rows.factors}
    for a, b in rows.aliases:
        if a in partners:
            partners[a].append(b)
            partners.pop(b, None)
    return {" = ".join(names): names for names in partners.values()}


@cache
def studentised_range(levels: int, df: int) -> float:
    """The 95 % point of the range of `levels` means over their standard error with `df` degrees of freedom.

    Found between those of one comparison and of Bonferroni's for all of them, since each evaluation is slow.
    """
    low, high = (np.sqrt(2) * stats.t.ppf(1 - ALPHA / tails, df) for tails in (2, levels * (levels - 1)))
    if levels == 2:
        return float(low)
    return float(optimize.brentq(lambda q: stats.studentized_range.sf(q, levels, df) - ALPHA, low, high, xtol=1e-5))


def levels_apart(rows: Trials, column: int, error: Error | None) -> NDArray[np.bool_]:
    """Which levels of one factor are shown to differ by Tukey's method: (levels, levels); none without an error."""
    n = np.bincount(rows.levels[:, column])
    if error is None:
        return np.zeros((len(n), len(n)), bool)
    ratios = np.bincount(rows.levels[:, column], weights=rows.sn_db) / n
    apart: NDArray[np.bool_] = np.abs(np.subtract.outer(ratios, ratios)) > _needed(n, error)
    return apart


def smallest_difference(rows: Trials, column: int, error: Error) -> float:
    """From which difference on, in dB, any two levels of one factor are shown to differ; see `levels_apart`."""
    needed = _needed(np.bincount(rows.levels[:, column]), error)
    return float(needed[~np.eye(len(needed), dtype=bool)].max())


def _needed(n: NDArray[np.int64], error: Error) -> NDArray[np.float64]:
    scale = np.sqrt(error.variance / 2 * (1 / n[:, None] + 1 / n[None, :]))
    needed: NDArray[np.float64] = studentised_range(len(n), error.df) * scale
    return needed


def _half_width(n: NDArray[np.int64], error: Error | None) -> NDArray[np.float64]:
    if error is None:
        return np.full(len(n), np.nan)
    width: NDArray[np.float64] = stats.t.ppf(1 - ALPHA / 2, error.df) * np.sqrt(error.variance / n)
    return width


def _check_pair(pair: tuple[str, str], factors: Factors) -> None:
    if len(set(pair)) != 2 or not set(pair) <= set(factors):
        raise DesignError(f"{' x '.join(pair)} is no interaction of two factors of {', '.join(factors)}")
