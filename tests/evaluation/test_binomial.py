"""Exact intervals and chances, against published and counted values."""

import math

import numpy as np
import pytest

from mammogan.evaluation.binomial import chance_of_exceeding, exact_interval


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        (0, 10, 0, 0.3085),  # Clopper and Pearson's charts; any table of exact binomial limits
        (1, 10, 0.0025, 0.4450),
        (5, 10, 0.1871, 0.8129),
        (10, 10, 0.6915, 1),
        (4, 20, 0.0573, 0.4366),
    ],
)
def test_the_interval_is_that_of_the_tables(successes, trials, low, high):
    assert exact_interval(successes, trials) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


def test_shares_between_whole_counts_lie_between_them():
    assert exact_interval(0, 20)[1] < exact_interval(0.5, 20)[1] < exact_interval(1, 20)[1]
    assert exact_interval(0.5, 20)[0] == pytest.approx(0.0, abs=0.003)


def test_the_greatest_of_all_is_as_likely_to_be_any_of_them():
    assert chance_of_exceeding(1, n=1, above=0, calibration=99) == pytest.approx(0.01)
    assert chance_of_exceeding(0, n=50, above=0, calibration=99) == 1
    assert chance_of_exceeding(2, n=2, above=0, calibration=8) == pytest.approx(1 / math.comb(10, 2))


def test_the_chance_is_that_of_drawn_values():
    rng = np.random.default_rng(0)
    calibration, new = rng.random((20_000, 30)), rng.random((20_000, 20))
    level = np.sort(calibration, axis=1)[:, -3]  # two lie above it
    drawn = ((new > level[:, None]).sum(axis=1) >= 4).mean()
    assert chance_of_exceeding(4, n=20, above=2, calibration=30) == pytest.approx(drawn, abs=0.01)
