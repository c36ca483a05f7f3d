from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mammogan.design.arrays import ARRAYS, choose, find_array
from mammogan.errors import DesignError


def factors(**counts: int) -> dict[str, list[int]]:
    return {name: list(range(n)) for name, n in counts.items()}


def of(n_factors: int, n_levels: int) -> dict[str, list[int]]:
    return {f"f{number}": list(range(n_levels)) for number in range(n_factors)}


@pytest.mark.parametrize(
    ("wanted", "base"),
    [
        (of(3, 2), "l4"),
        (of(4, 2), "l8"),
        (of(3, 3), "l9"),
        (of(4, 3), "l9"),
        (of(8, 2), "l12"),
        (of(12, 2), "l16"),
        (of(5, 4), "l16-4"),
        (factors(a=2) | of(7, 3), "l18"),
        (factors(a=6) | of(6, 3), "l18-6"),
        (of(5, 5), "l25"),
        (of(8, 3), "l27"),
        (of(16, 2), "l32"),
        (of(11, 2) | {f"g{i}": [0, 1, 2] for i in range(12)}, "l36"),
        (factors(a=2) | {f"g{i}": list(range(5)) for i in range(11)}, "l50"),
        (of(25, 3), "l54"),
        (of(32, 2), "l64"),
        (of(40, 3), "l81"),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{len(value)} factors",
)
def test_the_smallest_array_that_fits_is_chosen(wanted, base):
    plan = choose(wanted)
    assert plan.base == base
    assert plan.array.is_orthogonal
    assert plan.array.n_levels == tuple(len(values) for values in wanted.values())
    assert plan.array.n_rows == find_array(base).n_rows


def test_the_plan_is_an_array_whose_first_columns_take_the_factors_in_their_order():
    wanted = {"b": [1, 2, 3], "a": ["x", "y"]}
    plan = choose(wanted, [("a", "b")])
    rows = list(plan.array.assign(wanted))
    assert len(rows) == plan.array.n_rows
    assert {tuple(row.levels.values()) for row in rows} == {(b, a) for b in (1, 2, 3) for a in "xy"}


def test_few_factors_stand_where_their_interactions_are_clear_of_all_main_effects():
    """Resolution IV, found in the columns of the half fraction: 1, 2, 4 and 7 of L8 (Taguchi and Konishi 1987)."""
    plan = choose(of(4, 2))
    assert sorted(plan.columns.values()) == [(1,), (2,), (4,), (7,)]
    assert len(plan.clear) == 6
    assert choose(of(5, 2)).base == "l8"
    assert len(choose(of(5, 2)).clear) == 4  # more than the 0 of columns 1 to 5


def test_merged_columns_too_leave_interactions_clear_where_they_can():
    plan = choose({name: [1, 2, 3, 4] for name in "ab"} | of(4, 2))
    assert plan.base == "l16"
    assert len(plan.clear) == 4  # sharing fewest columns among interactions alone would leave 2


def test_interactions_that_are_asked_for_do_not_cost_a_larger_array_where_they_fit():
    plan = choose(of(7, 2), [("f0", "f1"), ("f0", "f3"), ("f0", "f5"), ("f1", "f2")])
    assert plan.base == "l16"


def test_an_interaction_that_is_asked_for_has_columns_of_its_own():
    plan = choose(of(4, 3), [("f0", "f1")])
    assert plan.base == "l27"
    taken = {column for columns in plan.columns.values() for column in columns}
    assert len(plan.interactions["f0", "f1"]) == 2
    assert not taken & set(plan.interactions["f0", "f1"])


def test_the_published_assignment_of_nine_factors_and_four_interactions_needs_l16():
    """Yang and El-Haik 2003, Example 13.4: nine factors of two levels with AB, AC, AD and AF."""
    wanted = {name: [1, 2] for name in "ABCDEFGHI"}
    plan = choose(wanted, [("A", "B"), ("A", "C"), ("A", "D"), ("A", "F")])
    assert plan.base == "l16"
    kept = [column for columns in plan.interactions.values() for column in columns]
    taken = [column for columns in plan.columns.values() for column in columns]
    assert len(set(kept + taken)) == 13


def test_the_published_assignment_of_six_factors_and_three_interactions_needs_l27():
    """Yang and El-Haik 2003, Example 13.5: AB in 3 and 4, AC in 6 and 7, BC in 8 and 11; D, E, F in 9, 10, 12, 13."""
    wanted = {name: [1, 2, 3] for name in "ABCDEF"}
    plan = choose(wanted, [("A", "B"), ("A", "C"), ("B", "C")])
    assert plan.base == "l27"
    assert plan.interactions == {("A", "B"): (3, 4), ("A", "C"): (6, 7), ("B", "C"): (8, 11)}
    assert {plan.columns[name][0] for name in "DEF"} < {9, 10, 12, 13}


def test_columns_merge_into_one_of_more_levels_as_published():
    """Yang and El-Haik 2003, Table 13.7: columns 1 to 7 of L16 as one of eight levels, beside columns 8 to 15."""
    plan = choose(factors(a=8) | of(8, 2))
    assert plan.base == "l16"
    assert plan.columns["a"] == (1, 2, 3, 4, 5, 6, 7)
    column = [row[0] + 1 for row in plan.array.levels]
    assert column == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8]
    assert plan.array.is_orthogonal


def test_a_factor_of_four_levels_takes_three_columns_of_l8():
    plan = choose(factors(a=4) | of(4, 2))
    assert plan.base == "l8"
    assert plan.columns["a"] == (1, 2, 3)
    assert plan.array.is_orthogonal
    assert plan.array.n_levels == (4, 2, 2, 2, 2)


def test_a_factor_with_fewer_levels_repeats_some_and_stays_uncorrelated():
    plan = choose(factors(a=2, b=3, c=3, d=3))
    assert plan.base == "l9"
    assert plan.dummies == ("a",)
    assert np.bincount([row[0] for row in plan.array.levels]).tolist() == [6, 3]
    assert all(plan.array.pair_is_proportional(*pair) for pair in combinations(range(4), 2))
    assert any("a has fewer levels than its column" in line for line in plan.lines())


def test_dummy_levels_for_most_factors_are_no_bargain():
    assert choose(factors(a=2, b=2) | of(4, 3)).base == "l18"  # not L16 with four merged columns of dummies


@pytest.mark.parametrize(
    ("base", "wanted"),
    [
        ("l18", factors(a=2) | of(7, 3)),
        ("l50", factors(a=2) | {f"f{number}": list(range(5)) for number in range(11)}),
        ("l54", factors(a=2) | of(25, 3)),
    ],
)
def test_the_interaction_of_the_first_two_columns_costs_no_other_column(base, wanted):
    """L18: Phadke 1989, section 7.6."""
    plan = choose(wanted, [("a", "f0")])
    assert plan.base == base
    assert plan.columns["a"] == (1,)
    assert plan.columns["f0"] == (2,)
    assert plan.interactions == {("a", "f0"): ()}


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(2, 3), min_size=1, max_size=6))
def test_every_plan_fits_its_factors_and_leaves_no_two_main_effects_correlated(counts):
    wanted = {f"f{number}": list(range(n)) for number, n in enumerate(counts)}
    plan = choose(wanted)
    assert plan.array.n_levels == tuple(counts)
    assert all(plan.array.pair_is_proportional(*pair) for pair in combinations(range(len(counts)), 2))
    taken = [column for columns in plan.columns.values() for column in columns]
    assert len(set(taken)) == len(taken)
    assert len(list(plan.array.assign(wanted))) == ARRAYS[plan.base].n_rows > sum(n - 1 for n in counts)


@pytest.mark.parametrize("wanted", [of(6, 2), of(5, 3), factors(a=2) | of(3, 3)], ids=["2^6", "3^5", "2 x 3^3"])
def test_interactions_are_clear_of_main_effects_exactly_where_the_plan_says_so(wanted):
    plan = choose(wanted)
    column = dict(zip(wanted, plan.array.as_matrix().T, strict=True))
    rng = np.random.default_rng(0)
    for a, b in combinations(wanted, 2):
        # any table of values over the pairs, less what either factor explains, moves the mean of no level of a third
        values = rng.normal(size=(3, 3))[column[a], column[b]]
        mains = np.column_stack([np.equal.outer(column[name], range(3)) for name in (a, b)]).astype(float)
        left = values - mains @ np.linalg.lstsq(mains, values, rcond=None)[0]
        others = [left[column[name] == level].mean() for name in set(wanted) - {a, b} for level in set(column[name])]
        assert np.allclose(others, 0) == ((a, b) in plan.clear)


@pytest.mark.parametrize(
    ("wanted", "interactions", "message"),
    [
        ({}, [], "at least one factor"),
        ({"a": [1]}, [], "'a' has 1 level; give it at least two"),
        ({"a": [1, 1]}, [], "'a' has a level twice"),
        ({"a": [1, 2], "b": [1, 2]}, [("a", "c")], "a x c is no interaction of two factors of a, b"),
        ({"a": [1, 2]}, [("a", "a")], "a x a is no interaction"),
        (of(41, 3), [], r"no array of the catalogue takes f0 \(3 levels\).*the largest is L81"),
        (factors(a=100), [], r"no array of the catalogue takes a \(100 levels\)"),
    ],
)
def test_what_no_array_can_take_is_refused(wanted, interactions, message):
    with pytest.raises(DesignError, match=message):
        choose(wanted, interactions)


def test_a_plan_says_where_its_columns_come_from():
    plan = choose(of(4, 3), [("f0", "f1")])
    text = "\n".join(plan.lines())
    assert "L27(3^13), 27 rows: f0 column 1; f1 column 2;" in text
    assert "The interaction of f0 and f1 is in columns 3, 4." in text
    assert "6 of 6 interactions of two factors are clear of main effects." in text
    assert "columns 1, 2" in plan.array.source
    assert ARRAYS["l27"].source in plan.array.source
