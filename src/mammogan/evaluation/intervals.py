"""How far a score can be trusted: intervals that hold where the naive bootstrap does not.

A bootstrap of the images draws some twice, which lowers the rank of the covariances: the interval of an FID then lies
beside the FID. Fresh draws of the generator have no such fault.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.stats
from numpy.typing import NDArray

from mammogan.errors import EvaluationError
from mammogan.evaluation.frechet import checked_pair
from mammogan.evaluation.kernel import cubic

FEWEST_DRAWS = 5
LEVEL = 0.95

_ROWS_AT_ONCE = 512  # bounds the memory: 512 x M kernel values, not N x M


@dataclass(frozen=True)
class Interval:
    """A score and where it lies with 95 % confidence; low and high are None where that is not known."""

    value: float
    low: float | None
    high: float | None


def of_draws(values: Sequence[float]) -> Interval:
    """Mean of the scores of fresh draws of one generator, all of one size, and its t interval.

    It speaks of this generator against these real images; another training of the model, or other patients, would
    add their own spread. Fewer than 5 draws have no interval.
    """
    mean = float(np.mean(values))
    if len(values) < FEWEST_DRAWS:
        return Interval(mean, None, None)
    half = _quantile(len(values) - 1) * float(np.std(values, ddof=1) / np.sqrt(len(values)))
    return Interval(mean, mean - half, mean + half)


def of_kid(real: NDArray[np.floating], patients: Sequence[Hashable], draws: Sequence[NDArray[np.floating]]) -> Interval:
    """KID of the features of all draws, each (M, d), against the real ones, (N, d), averaged over the draws.

    Its variance has two parts, both by the jackknife: real patients, each left out with all her images, and synthetic
    images, one at a time. So it needs no second draw, and speaks of other patients too. It errs to the wide side
    (Efron & Stein 1981, Ann. Stat. 9, 586), also where patients have unequal numbers of images: there the weighted
    jackknife of Busing et al. 1999 (Stat. Comput. 9, 3) turned out too narrow.

    Raises:
        EvaluationError: one patient only, fewer than three images on a side, different d, or a value that is not
            finite.
    """
    ids = np.unique(np.asarray(patients), return_inverse=True)[1]
    x = real.astype(np.float64)
    within_real = _Within.of(x, ids)
    to_fakes = np.zeros(len(real))  # mean kernel of each real image with the synthetic ones
    value = within_real.mean
    variance = 0.0
    for draw in draws:
        fake = checked_pair(real, draw)[1].astype(np.float64)
        within = _Within.of(fake, np.arange(len(fake)))
        to_real, to_fake = _kernel_means(x, fake)
        to_fakes += to_fake / len(draws)
        value += (within.mean - 2 * to_fake.mean()) / len(draws)
        variance += _jackknife_variance(within, to_real) / len(draws) ** 2
    variance += _jackknife_variance(within_real, to_fakes)
    half = _quantile(len(within_real.sizes) - 1) * np.sqrt(variance)
    return Interval(float(value), float(value - half), float(value + half))


@dataclass(frozen=True)
class _Within:
    """Kernel values among the images of one set, by group: what leaving a group out takes away.

    `ids` (N,) numbers the groups from 0; `sums` are those of the kernel over ordered pairs of different images.
    """

    ids: NDArray[np.intp]
    sizes: NDArray[np.intp]  # (groups,)
    total: float
    of_group: NDArray[np.float64]  # (groups,), pairs of which the first image is in the group
    inside_group: NDArray[np.float64]  # (groups,), pairs with both images in it

    @classmethod
    def of(cls, x: NDArray[np.float64], ids: NDArray[np.intp]) -> "_Within":
        n = len(x)
        rows, inside = np.empty(n), np.empty(n)
        for block in _blocks(n):
            kernel = _kernel(x[block], x)
            kernel[np.arange(len(kernel)), np.arange(n)[block]] = 0
            rows[block] = kernel.sum(axis=1)
            inside[block] = (kernel * (ids[block, None] == ids)).sum(axis=1)
        of_group, inside_group = (np.bincount(ids, sums).astype(np.float64) for sums in (rows, inside))
        return cls(ids, np.bincount(ids), float(rows.sum()), of_group, inside_group)

    @property
    def mean(self) -> float:
        n = len(self.ids)
        return self.total / (n * (n - 1))


def _jackknife_variance(within: _Within, to_others: NDArray[np.float64]) -> float:
    """Variance that the groups of one set bring into the KID; `to_others` (N,) are means of the kernel with the other.

    What does not depend on the set, and so stays when a group of it is left out, has no part in it.
    """
    n, m = len(within.ids), within.sizes
    left = n - m
    if len(m) < 2 or (left < 2).any():
        raise EvaluationError(
            f"the interval of a KID needs two patients, and three images a side when any one is left out; here are"
            f" {len(m)} patients or images and {n} images"
        )
    means = (within.total - 2 * within.of_group + within.inside_group) / (left * (left - 1))
    without = means - 2 * (to_others.sum() - np.bincount(within.ids, to_others)) / left  # (groups,)
    return float((len(m) - 1) * np.var(without))


def _kernel_means(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean kernel of each of y with all of x, and of each of x with all of y."""
    sums, means = np.zeros(len(y)), np.empty(len(x))
    for block in _blocks(len(x)):
        kernel = _kernel(x[block], y)
        sums += kernel.sum(axis=0)
        means[block] = kernel.mean(axis=1)
    return sums / len(x), means


def _kernel(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    return cubic(x @ y.T, x.shape[1])


def _quantile(degrees: int) -> float:
    return float(scipy.stats.t.ppf((1 + LEVEL) / 2, degrees))


def _blocks(n: int) -> list[slice]:
    return [slice(start, start + _ROWS_AT_ONCE) for start in range(0, n, _ROWS_AT_ONCE)]
