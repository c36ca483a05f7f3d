"""Taguchi's signal-to-noise ratios: one number a row from the responses of its replicates, in dB, larger is better.

M. S. Phadke, Quality Engineering Using Robust Design, Prentice Hall 1989, chapter 5.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mammogan.errors import DesignError

Goal = Literal["smaller", "larger", "nominal I", "nominal II"]


def signal_to_noise(
    responses: NDArray[np.float64], goal: Goal = "smaller", numbers: NDArray[np.int64] | None = None
) -> NDArray[np.float64]:
    """The ratio of each row: responses (rows, replicates) -> (rows,). `numbers` are the rows' names in messages.

    smaller: -10 log10(mean y^2). larger: -10 log10(mean 1/y^2). nominal I: -10 log10(s^2), for responses of either
    sign whose mean is moved to its target afterwards. nominal II: 10 log10(mean^2 / s^2), where the spread grows with
    the mean.

    Raises:
        DesignError: a response is missing or infinite; it is negative, or all replicates of a row are zero, where
            smaller is better; it is zero or negative where larger is better; a nominal goal without a spread, or II
            with a mean of zero.
    """
    rows = np.arange(1, len(responses) + 1) if numbers is None else numbers
    _refuse(
        rows[~np.isfinite(responses).all(axis=1)],
        "have no finite response, so main effects would be biased",
        "run `mammogan study` again to fill them",
    )
    ratios: NDArray[np.float64]
    if goal == "smaller":
        bad = (responses < 0).any(axis=1) | ~responses.any(axis=1)
        _refuse(
            rows[bad],
            "have a negative or zero response, which has no smaller-is-better S/N ratio",
            "choose a response above zero",
        )
        ratios = -10 * np.log10(np.mean(np.square(responses), axis=1))
        return ratios
    if goal == "larger":
        _refuse(
            rows[(responses <= 0).any(axis=1)],
            "have a negative or zero response, which has no larger-is-better S/N ratio",
            "choose a response above zero",
        )
        ratios = -10 * np.log10(np.mean(1 / np.square(responses), axis=1))
        return ratios
    spread = responses.var(axis=1, ddof=1) if responses.shape[1] > 1 else np.zeros(len(responses))
    _refuse(
        rows[spread == 0],
        "have no spread, which a nominal S/N ratio needs",
        "run each row at least twice, with a response finer than its steps",
    )
    if goal == "nominal I":
        ratios = -10 * np.log10(spread)
        return ratios
    means = responses.mean(axis=1)
    _refuse(rows[means == 0], "have a mean of zero, which nominal II divides by", "take nominal I")
    ratios = 10 * np.log10(means**2 / spread)
    return ratios


def single_run(responses: NDArray[np.float64], goal: Goal) -> NDArray[np.float64] | None:
    """What each run alone contributes, in dB, same shape; None where the ratio is one of the spread.

    Its spread over replicates tells how far chance moves a ratio.
    """
    if goal not in ("smaller", "larger") or not responses.all():
        return None
    decibels: NDArray[np.float64] = 20 * np.log10(responses)
    return -decibels if goal == "smaller" else decibels


def response_of(sn_db: float, goal: Goal) -> float | None:
    """The constant response that has this ratio; None where a ratio fixes none."""
    if goal == "smaller":
        return float(10 ** (-sn_db / 20))
    return float(10 ** (sn_db / 20)) if goal == "larger" else None


def _refuse(rows: NDArray[np.int64], what: str, mend: str) -> None:
    if len(rows):
        raise DesignError(f"rows {rows.tolist()} {what}; {mend}")
