"""What the additive model expects of a combination of levels, how sure it is, and whether later runs confirm it.

Effective replications and the interval of a confirmation: P. J. Ross, Taguchi Techniques for Quality Engineering,
McGraw-Hill 1988, chapter 6; M. S. Phadke 1989, section 3.5.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from mammogan.design.anova import Error
from mammogan.design.effects import ALPHA, Factors, left_over_error, replicate_error, sn_error
from mammogan.design.signal_to_noise import Goal, response_of, signal_to_noise
from mammogan.design.table import model_matrix
from mammogan.design.trials import Trials, read_trials
from mammogan.errors import DesignError


@dataclass(frozen=True)
class Prediction:
    """A combination of levels and what the additive model expects of it.

    `response` is the constant response that has the S/N ratio `sn_db`, and `mean` what the additive model of the mean
    responses expects; for nominal goals both are the latter. `row` is the row that already has these levels, or None if
    they have never been run together. `n_eff`: effective replications, how many rows the expectation is worth. `error`
    is that of one row, None where there is no estimate, and `noise` the part of it that replicates show; `replicates`
    is how many runs made a row.
    """

    levels: dict[str, Any]
    sn_db: float
    response: float
    mean: float
    row: int | None
    n_eff: float
    error: Error | None
    noise: Error | None
    replicates: int
    goal: Goal

    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval in dB for the ratio that these levels have in the long run, should the model hold."""
        return self._interval(0.0)

    def interval_of(self, runs: int) -> tuple[float, float] | None:
        """The 95 % interval in dB for the ratio of `runs` new runs of these levels, should the model hold."""
        if self.error is None:
            return None
        times = self.replicates / runs
        if self.noise is None or self.noise == self.error:
            return self._interval(self.error.variance * times)
        return self._interval(self.error.variance + self.noise.variance * (times - 1))  # a misfit does not average out

    def responses(self, interval: tuple[float, float]) -> tuple[float, float] | None:
        """An interval in dB as one of constant responses, in ascending order; None for nominal goals."""
        ends = [response_of(end, self.goal) for end in interval]
        numbers = sorted(end for end in ends if end is not None)
        return (numbers[0], numbers[1]) if len(numbers) == 2 else None

    def _interval(self, variance: float) -> tuple[float, float] | None:
        if self.error is None:
            return None
        total = self.error.variance / self.n_eff + variance
        half = float(stats.t.ppf(1 - ALPHA / 2, self.error.df) * np.sqrt(total))
        return self.sn_db - half, self.sn_db + half


@dataclass(frozen=True)
class Confirmation:
    """New runs of predicted levels held against the prediction; `confirmed` is None where no interval could be had."""

    sn_db: float
    interval: tuple[float, float] | None
    confirmed: bool | None
    sentence: str


def predict_best(
    trials: pd.DataFrame,
    factors: Factors,
    response: str = "fid",
    goal: Goal = "smaller",
    *,
    using: Collection[str] | None = None,
) -> Prediction:
    """The best level of each factor by S/N ratio, and the additive model's prediction for them.

    The model is fitted by least squares, so factors that are one column count once. `using` names the factors whose
    effects count in the prediction, as where small ones have been pooled; without it all do. The best of several
    noisy levels looks better than it is, so a prediction from effects that cannot be told apart is an optimist's.

    Raises:
        DesignError: a name in `using` is no factor; see `trials.read_trials`.
    """
    return predict_best_of(read_trials(trials, factors, response, goal), using)


def predict_best_of(rows: Trials, using: Collection[str] | None = None) -> Prediction:
    """See `predict_best`."""
    best = []
    for column in rows.levels.T:
        best.append(int((np.bincount(column, weights=rows.sn_db) / np.bincount(column)).argmax()))
    return _predict(rows, np.array(best), using)


def predict(
    trials: pd.DataFrame,
    factors: Factors,
    levels: Mapping[str, Any],
    response: str = "fid",
    goal: Goal = "smaller",
    *,
    using: Collection[str] | None = None,
) -> Prediction:
    """The additive model's prediction for one combination of levels; see `predict_best`.

    Raises:
        DesignError: a factor has no level in `levels`, or one that is not listed; see `predict_best`.
    """
    rows = read_trials(trials, factors, response, goal)
    return _predict(rows, _numbers(levels, factors), using)


def _predict(rows: Trials, wanted: NDArray[np.int64], using: Collection[str] | None) -> Prediction:
    strange = sorted(set(using or ()) - set(rows.factors))
    if strange:
        raise DesignError(f"{', '.join(strange)} is no factor; they are {', '.join(rows.factors)}")
    used = [number for number, name in enumerate(rows.factors) if using is None or name in using]
    design = model_matrix(np.vstack([rows.levels, wanted])[:, used])  # one more row: the prediction
    weights = design[-1] @ np.linalg.pinv(design[:-1])  # of each row's value in the expectation
    sn_db, mean = float(weights @ rows.sn_db), float(weights @ rows.mean)
    from_ratio = response_of(sn_db, rows.goal)
    same = np.flatnonzero((rows.levels == wanted).all(axis=1))
    return Prediction(
        levels={name: values[level] for (name, values), level in zip(rows.factors.items(), wanted, strict=True)},
        sn_db=sn_db,
        response=mean if from_ratio is None else from_ratio,
        mean=mean,
        row=int(rows.numbers[same[0]]) if len(same) else None,
        n_eff=float(1 / (weights @ weights)),
        error=_error_of_the_model(rows),
        noise=replicate_error(rows),
        replicates=rows.replicates,
        goal=rows.goal,
    )


def confirm(prediction: Prediction, responses: Sequence[float]) -> Confirmation:
    """Hold new runs of the predicted levels against the prediction: inside its interval it is confirmed.

    Raises:
        DesignError: no run, or responses without a ratio; see `signal_to_noise`.
    """
    if not responses:
        raise DesignError("a confirmation needs at least one run of the predicted levels")
    sn_db = float(signal_to_noise(np.array([responses], float), prediction.goal)[0])
    interval = prediction.interval_of(len(responses))
    runs = f"{len(responses)} new run{'s' if len(responses) > 1 else ''}"
    said = f"{runs} of the predicted levels gave {sn_db:.1f} dB; {prediction.sn_db:.1f} dB were predicted"
    if interval is None:
        return Confirmation(sn_db, None, None, f"{said}, without an interval: nothing is confirmed or refuted.")
    low, high = interval
    within = low <= sn_db <= high
    verdict = "confirmed" if within else "not confirmed: factors interact, or the noise has changed"
    return Confirmation(sn_db, interval, within, f"{said} (95 % interval {low:.1f} to {high:.1f}): {verdict}.")


def misfit(rows: Trials) -> float | None:
    """The p value of what the main effects leave over, against the replicates; None where either is missing."""
    chance, left = replicate_error(rows), left_over_error(rows)
    if chance is None or left is None:
        return None
    return float(stats.f.sf(left.variance / chance.variance, left.df, chance.df))


def _error_of_the_model(rows: Trials) -> Error | None:
    """The replicates' error, but what is left over where that is more than chance: then the model itself errs."""
    p = misfit(rows)
    return left_over_error(rows) if p is not None and p < ALPHA else sn_error(rows)


def _numbers(levels: Mapping[str, Any], factors: Factors) -> NDArray[np.int64]:
    wanted = []
    for factor, values in factors.items():
        if factor not in levels or levels[factor] not in values:
            raise DesignError(
                f"a prediction needs a level of {factor!r} out of {list(values)}, got {levels.get(factor)!r}"
            )
        wanted.append(list(values).index(levels[factor]))
    return np.array(wanted)
