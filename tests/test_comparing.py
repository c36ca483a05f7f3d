"""What differs between two sources beyond noise."""

from dataclasses import replace

import pytest
from scipy import stats

from mammogan.comparing import better, chance_of_equal
from mammogan.errors import EvaluationError
from mammogan.evaluation.intervals import of_draws
from mammogan.evaluation.measures import Better, Measure


def measured(values: list[float], name: str = "fid") -> Measure:
    interval = of_draws(values)
    return Measure(
        name=name,
        value=interval.value,
        low=interval.low,
        high=interval.high,
        better="lower",
        floor=1.0,
        floor_sd=0.1,
        floor_n=8,
        at_floor_n=2.0,
        n_real=16,
        n_fake=16,
        n_draws=len(values),
        protocol="test",
    )


def test_the_chance_is_that_of_welchs_test_of_the_draws() -> None:
    a, b = [71.0, 72.5, 70.1, 71.9, 73.0], [74.0, 77.5, 71.1, 78.9, 75.0]
    expected = stats.ttest_ind(a, b, equal_var=False).pvalue
    assert chance_of_equal(measured(a), measured(b)) == pytest.approx(expected)


def test_sides_that_never_vary_are_equal_or_not() -> None:
    ones = measured([1.0] * 5)
    assert chance_of_equal(ones, measured([1.0] * 5)) == 1
    assert chance_of_equal(ones, measured([2.0] * 5)) == 0


def test_a_jackknifes_interval_is_taken_as_normal() -> None:
    a, b = (
        replace(measured([1.0] * 5, "kid"), value=value, low=value - 1.96, high=value + 1.96) for value in (1.0, 4.0)
    )
    assert chance_of_equal(a, b) == pytest.approx(2 * stats.norm.sf(3 / 2**0.5), rel=1e-3)


def test_a_measure_without_interval_cannot_be_compared() -> None:
    with pytest.raises(EvaluationError, match=r"fid has no interval.*assess\.draws"):
        chance_of_equal(replace(measured([1.0, 2.0] * 3), low=None), measured([1.0, 2.0] * 3))


@pytest.mark.parametrize(
    ("direction", "a", "b", "expected"),
    [
        ("lower", 2.0, 3.0, 0),
        ("lower", 3.0, 2.0, 1),
        ("higher", 0.5, 0.9, 1),
        ("higher", 1.5, 3.0, None),  # above real images no side is better
        ("near_floor", 0.5, 0.9, 1),
        ("near_floor", 0.8, 1.1, None),  # on either side of the real images: the difference does not tell
    ],
)
def test_a_side_is_better_only_where_the_difference_says_it(
    direction: Better, a: float, b: float, expected: int | None
) -> None:
    one, other = (replace(measured([value] * 5), better=direction) for value in (a, b))
    assert better(one, other) == expected
