"""What a difference between classifiers is worth: bootstrap by patient, repeated seeds, several comparisons.

Images of one patient are alike, so patients are drawn, not images: intervals by image cover far less than they say
(docs/utility.md has the figures). Both classifiers are scored on the same draws, so what is common to both cancels.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

LEVEL = 0.05  # of all comparisons together
POWER = 0.8


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with its 95 % interval, for other patients and other seeds.

    Attributes:
        p: two-sided, of the hypothesis that the value is 0.
        smallest: the true value that a test at LEVEL, shared out among all comparisons, would find with POWER.
    """

    value: float
    low: float
    high: float
    p: float
    smallest: float


def patient_draws(patients: Sequence[Hashable], labels: NDArray[np.bool_], n: int, seed: int) -> NDArray[np.int64]:
    """How often each image counts in each of `n` draws of patients with replacement: (n, N).

    Patients with an image with the finding, and those without one, are drawn each among themselves.
    """
    numbers: dict[Hashable, int] = {}
    codes = np.array([numbers.setdefault(patient, len(numbers)) for patient in patients])
    n_patients = len(numbers)
    has_finding = np.bincount(codes, labels, n_patients) > 0
    rng = np.random.default_rng(seed)
    counts = np.zeros((n, n_patients), np.int64)
    for stratum in (np.flatnonzero(has_finding), np.flatnonzero(~has_finding)):
        if len(stratum):
            counts[:, stratum] = rng.multinomial(len(stratum), np.full(len(stratum), 1 / len(stratum)), n)
    return counts[:, codes]


def estimate(
    by_seed: NDArray[np.float64], draws: NDArray[np.float64], n_patients: int, comparisons: int = 1
) -> Estimate:
    """The mean of `by_seed` (S,), given its values (S, B) in B draws of patients.

    The variance is that over the draws plus that of a mean over S seeds; the degrees of freedom are Satterthwaite's
    (1946, doi:10.2307/3002019), so that few seeds or few patients widen the interval.

    Args:
        by_seed: value of each seed, all patients once.
        draws: value of each seed in each draw; draws without a class are not numbers and are left out.
        n_patients: of the class that has fewer; they bear the information.
        comparisons: among which LEVEL is shared out for `smallest`.
    """
    value = float(by_seed.mean())
    # a bootstrap's variance is too small by (n - 1) / n
    of_patients = float(np.nanvar(draws.mean(axis=0))) * n_patients / (n_patients - 1)
    of_seeds = float(by_seed.var(ddof=1)) / len(by_seed)
    variance = of_patients + of_seeds
    if variance == 0:
        return Estimate(value, value, value, p=float(value == 0), smallest=0.0)
    freedom = variance**2 / (of_patients**2 / (n_patients - 1) + of_seeds**2 / (len(by_seed) - 1))
    error = variance**0.5
    half = error * float(stats.t.ppf(1 - LEVEL / 2, freedom))
    return Estimate(
        value=value,
        low=value - half,
        high=value + half,
        p=float(2 * stats.t.sf(abs(value) / error, freedom)),
        smallest=error * float(stats.t.ppf(1 - LEVEL / 2 / comparisons, freedom) + stats.t.ppf(POWER, freedom)),
    )


def holm(p: Sequence[float]) -> list[float]:
    """The p of several comparisons, corrected so that together they err as often as one (Holm 1979), same order."""
    order = np.argsort(p, kind="stable")
    corrected = np.empty(len(p))
    stepped = np.asarray(p, float)[order] * np.arange(len(p), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(stepped), 1)
    return [float(value) for value in corrected]
