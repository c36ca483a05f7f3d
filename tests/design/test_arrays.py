from itertools import combinations

import numpy as np
import pytest

from mammogan.design.arrays import ARRAYS, Array, audit, find_array
from mammogan.errors import DesignError

FACTORS = {"lr": [1e-4, 2e-4, 3e-4], "batch_size": [16, 32, 64], "epochs": [250, 500, 750]}
L9 = np.array(ARRAYS["l9"].levels)


@pytest.mark.parametrize("pair", list(combinations(range(4), 2)))
def test_every_pair_of_l9_columns_shows_all_nine_level_pairs(pair):
    assert len({tuple(row) for row in L9[:, pair]}) == 9


def test_the_first_three_columns_of_l9_are_the_published_ones():
    published = ["111", "122", "133", "212", "223", "231", "313", "321", "332"]
    assert ["".join(map(str, row + 1)) for row in L9[:, :3]] == published


def test_the_paper_array_gives_the_rows_of_the_papers_tables():
    published = [
        (0.0001, 16, 250),
        (0.0001, 32, 500),
        (0.0001, 64, 750),
        (0.0002, 16, 250),
        (0.0002, 32, 500),
        (0.0002, 64, 750),
        (0.0003, 16, 250),
        (0.0003, 32, 500),
        (0.0003, 64, 750),
    ]
    assert [tuple(row.levels.values()) for row in ARRAYS["paper"].assign(FACTORS)] == published


@pytest.mark.parametrize("array", ARRAYS.values(), ids=ARRAYS.keys())
def test_every_array_is_balanced_and_names_its_source(array):
    assert array.is_balanced
    assert array.n_rows == 9
    assert "198" in array.source or "2025" in array.source


def test_l9_is_orthogonal_and_has_no_aliases():
    assert ARRAYS["l9"].is_orthogonal
    assert ARRAYS["l9"].aliases() == []


def test_the_papers_table_is_not_orthogonal_since_two_columns_move_together():
    assert not ARRAYS["paper"].is_orthogonal
    assert ARRAYS["paper"].aliases() == [(1, 2)]
    assert ARRAYS["paper"].aliases([0, 1]) == []


def test_columns_that_are_relabelled_copies_are_aliases():
    swapped = Array("swapped", ((0, 2), (1, 0), (2, 1)), "made for this test")
    assert swapped.aliases() == [(0, 1)]


def test_a_table_with_a_level_too_often_is_not_balanced():
    uneven = Array("uneven", ((0, 0), (0, 1), (0, 0), (1, 1)), "made for this test")
    assert not uneven.is_balanced
    assert "Not balanced: a shows some levels more often than others." in audit(uneven, {"a": [1, 2], "b": [1, 2]})


def test_the_audit_of_the_papers_table_says_what_it_cannot_tell():
    findings = audit(ARRAYS["paper"], FACTORS)
    assert "batch_size and epochs are one column: their effects cannot be told apart." in findings
    assert "Not orthogonal: batch_size and epochs show 3 of their 9 pairs of levels." in findings
    assert any("ask for 6 degrees of freedom and the rows give 4" in finding for finding in findings)
    assert not any("lr and" in finding for finding in findings)


def test_the_audit_of_l9_finds_it_sound_and_still_names_its_limit():
    findings = audit(ARRAYS["l9"], FACTORS)
    assert findings[0].startswith("Balanced")
    assert findings[1].startswith("Orthogonal")
    assert "All 6 degrees of freedom of the main effects can be estimated; 2 of the 8" in findings[2]
    assert "9 of the 27 combinations of levels: interactions" in findings[3]
    assert len(findings) == 4


def test_the_audit_of_a_full_factorial_has_no_word_on_interactions():
    findings = audit(ARRAYS["l9"], {"a": [1, 2, 3], "b": [1, 2, 3]})
    assert not any("interactions" in finding for finding in findings)


def test_an_assigned_row_carries_values_and_level_numbers_from_one():
    row = list(ARRAYS["l9"].assign(FACTORS))[3]
    assert row.number == 4
    assert row.levels == {"lr": 2e-4, "batch_size": 16, "epochs": 500}
    assert row.level_numbers == {"lr": 2, "batch_size": 1, "epochs": 2}


def test_an_unknown_array_is_answered_with_the_known_ones():
    with pytest.raises(DesignError, match="'l99'; choose one of: l9, paper"):
        find_array("l99")


@pytest.mark.parametrize(
    ("factors", "message"),
    [
        ({}, "at least one factor"),
        ({name: [1, 2, 3] for name in "abcde"}, r"5 factors \(a, b, c, d, e\) do not fit the 4 columns"),
        ({"a": [1, 2]}, r"'a' has 2 levels \[1, 2\]; its column of array 'l9' needs 3"),
        ({"a": [1, 2, 2]}, "'a' has a level twice"),
    ],
)
def test_factors_that_do_not_fit_are_refused(factors, message):
    with pytest.raises(DesignError, match=message):
        audit(ARRAYS["l9"], factors)


@pytest.mark.parametrize(
    ("levels", "message"),
    [
        ((), "is empty"),
        (((0, 1), (1,)), "unequal|entries; make them equal"),
        (((0, 0), (2, 1)), r"column 1: levels are \[0, 2\]"),
    ],
)
def test_a_malformed_table_is_refused(levels, message):
    with pytest.raises(DesignError, match=message):
        Array("broken", levels, "made for this test")
