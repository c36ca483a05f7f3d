"""Analysis of variance of a table whose effects are orthogonal: how much of the spread each effect carries.

P. J. Ross, Taguchi Techniques for Quality Engineering, McGraw-Hill 1988, chapters 3 and 5 (pooling, percent
contribution); G. Taguchi, System of Experimental Design, 1987.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from mammogan.design import spaces
from mammogan.errors import DesignError

LEFT_OVER, REPLICATES, ERROR, TOTAL = "left over", "replicates", "error", "total"


@dataclass(frozen=True)
class Error:
    """The variance of one row's value by chance, with its degrees of freedom and where it was taken from."""

    variance: float
    df: int
    source: str


def anova(
    values: NDArray[np.float64],
    effects: Mapping[str, spaces.Space],
    replicates: Error | None = None,
    *,
    pool: Collection[str] = (),
    runs: int = 1,
) -> pd.DataFrame:
    """The table of `values` (rows,), one line a source.

    The error is what the replicates show, or without them what the effects leave over between the rows; the sums of
    the effects in `pool` are added to it, which makes every other effect look better: name the pooling beside the
    table. `runs` multiplies all sums, for tables in which each run counts, not each row.

    Returns:
        source (the effects, then `left over`, `replicates`, `error`, `total` where there are such), df, ss (sum of
        squares), ms (mean square), f and p (against the error; not for what is part of it), share (percent of the
        total), contribution (percent of the total after as much as chance would give is taken off; the rest is the
        error's), pooled.

    Raises:
        DesignError: effects are not orthogonal to each other, or one of `pool` is none.
    """
    unknown = sorted(set(pool) - effects.keys())
    if unknown:
        raise DesignError(f"{', '.join(unknown)} cannot be pooled: the effects are {', '.join(effects)}")
    for a, b in combinations(effects, 2):
        if spaces.overlap(effects[a], effects[b]) > 1e-9:
            raise DesignError(f"{a} and {b} are not orthogonal in these rows; analyse one of them, or audit the table")
    lines = [(name, space.shape[1], runs * float(np.square(space.T @ values).sum())) for name, space in effects.items()]
    between = runs * float(np.square(values - values.mean()).sum())
    left_df = len(values) - 1 - sum(df for _, df, _ in lines)
    if left_df:
        lines.append((LEFT_OVER, left_df, max(0.0, between - sum(ss for _, _, ss in lines))))
    total, total_df = between, len(values) - 1
    if replicates is not None:
        within = runs * replicates.variance * replicates.df
        lines.append((REPLICATES, replicates.df, within))
        total, total_df = total + within, total_df + replicates.df
    base = REPLICATES if replicates is not None else LEFT_OVER
    in_error = {base, *pool}
    error_df = sum(df for name, df, _ in lines if name in in_error)
    error_ss = sum(ss for name, _, ss in lines if name in in_error)
    table = pd.DataFrame(
        [*lines, (ERROR, error_df, error_ss), (TOTAL, total_df, total)], columns=["source", "df", "ss"]
    )
    return _tested(table, in_error, error_df, error_ss, total)


def _tested(
    table: pd.DataFrame, in_error: Collection[str], error_df: int, error_ss: float, total: float
) -> pd.DataFrame:
    table["ms"] = table["ss"] / table["df"].where(table["df"] > 0)
    error_ms = error_ss / error_df if error_df else np.nan
    tested = ~table["source"].isin([*in_error, ERROR, TOTAL])
    exact = error_ms <= 1e-12 * max(total, 1e-300)  # no error at all to rounding: nothing to test against
    table["f"] = (table["ms"] / error_ms).where(tested) if error_df and not exact else np.nan
    table["p"] = stats.f.sf(table["f"], table["df"], error_df) if error_df else np.nan
    share = 100 / total if total else np.nan
    table["share"] = table["ss"] * share
    pure = (table["ss"] - table["df"] * (error_ms if error_df else 0.0)).where(tested)
    table["contribution"] = pure.clip(lower=0) * share
    table.loc[table["source"] == ERROR, "contribution"] = 100 - table["contribution"].sum() if total else np.nan
    table.loc[table["source"] == TOTAL, "contribution"] = 100.0 if total else np.nan
    table["pooled"] = table["source"].isin(set(in_error) - {LEFT_OVER, REPLICATES})
    return table.drop(index=table.index[(table["source"] == ERROR) & (table["df"] == 0)]).reset_index(drop=True)


def pool_smallest(table: pd.DataFrame) -> list[str]:
    """Effects to pool by Phadke's rule of thumb: the smallest mean squares, until the error has about half of all df.

    Phadke 1989, section 3.5. It is a way to have some error where there is none; its F ratios are too large.
    """
    total = int(table.loc[table["source"] == TOTAL, "df"].iloc[0])
    spare = int(table.loc[table["source"] == ERROR, "df"].sum())
    chosen: list[str] = []
    effects = table[~table["source"].isin([LEFT_OVER, REPLICATES, ERROR, TOTAL])].sort_values("ms")
    for source, df in zip(effects["source"], effects["df"], strict=True):
        if spare + df > (total + 1) // 2 or len(chosen) + 1 == len(effects):
            break
        chosen.append(str(source))
        spare += int(df)
    return chosen
