import pytest

from mammogan.design.arrays import ARRAYS, Array, audit, choose
from mammogan.design.audit import better_rows, effects_table
from mammogan.errors import DesignError

FACTORS = {"lr": [1e-4, 2e-4, 3e-4], "batch_size": [16, 32, 64], "epochs": [250, 500, 750]}


def table(*rows: str) -> Array:
    return Array("table", tuple(tuple(int(level) for level in row) for row in rows), "made for this test")


def test_the_audit_of_the_papers_table_says_what_it_cannot_tell():
    findings = audit(ARRAYS["paper"], FACTORS)
    assert findings[0] == "Balanced: each factor shows each of its levels equally often in the 9 rows."
    assert "batch_size and epochs are one column: their effects cannot be told apart." in findings
    assert "Not orthogonal: batch_size and epochs show 3 of their 9 pairs of levels." in findings
    assert any("ask for 6 degrees of freedom and the rows give 4" in finding for finding in findings)
    assert "The rows show nothing of the interaction batch_size x epochs." in findings
    assert not any("lr and" in finding for finding in findings)


def test_the_audit_of_the_papers_table_names_nine_better_runs_which_are_those_of_l9():
    rows = better_rows(ARRAYS["paper"], FACTORS)
    assert [row.levels for row in rows] == [row.levels for row in ARRAYS["l9"].assign(FACTORS)]
    last = audit(ARRAYS["paper"], FACTORS)[-1]
    assert last.startswith("9 rows that tell all main effects apart (lr, batch_size, epochs): 0.0001, 16, 250; ")
    assert last.endswith("0.0003, 64, 500.")


def test_the_audit_of_l9_finds_it_sound_and_still_names_its_limit():
    findings = audit(ARRAYS["l9"], FACTORS)
    assert findings[0].startswith("Balanced")
    assert findings[1].startswith("Orthogonal")
    assert "All 6 degrees of freedom of the main effects can be estimated; 2 of the 8" in findings[2]
    assert findings[3] == (
        "The rows are 9 of the 27 combinations of levels: interactions of two factors are mixed into the main effects: "
        "lr with batch_size x epochs, batch_size with lr x epochs, epochs with lr x batch_size."
    )
    assert len(findings) == 4


def test_the_audit_of_a_full_factorial_has_no_word_on_interactions():
    findings = audit(ARRAYS["l9"], {"a": [1, 2, 3], "b": [1, 2, 3]})
    assert not any("interactions" in finding for finding in findings)


def test_the_audit_of_a_half_fraction_finds_no_main_effect_mixed_with_an_interaction_of_two():
    factors = {name: [1, 2] for name in "abcd"}
    findings = audit(choose(factors).array, factors)
    assert "The rows are 8 of the 16 combinations of levels; no main effect is mixed with an interaction" in findings[3]


def test_a_table_with_a_level_too_often_is_not_balanced():
    findings = audit(table("00", "01", "00", "11"), {"a": [1, 2], "b": [1, 2]})
    assert "Not balanced: a (3, 1 rows) shows some levels more often than others." in findings
    assert "Not orthogonal: a and b show 3 of their 4 pairs of levels." in findings
    assert "4 rows that tell all main effects apart (a, b): 1, 1; 1, 2; 2, 1; 2, 2." in findings


def test_a_table_whose_levels_are_uneven_in_proportion_is_orthogonal_all_the_same():
    factors = {"a": [1, 2], "b": [1, 2, 3], "c": [1, 2, 3], "d": [1, 2, 3]}
    findings = audit(choose(factors).array, factors)
    assert findings[0].startswith("Not balanced: a (6, 3 rows)")
    assert findings[1].startswith("Orthogonal by proportion")


def test_a_table_without_a_better_one_of_its_size_is_told_so():
    findings = audit(table("00", "11", "22"), {"a": [1, 2, 3], "b": [1, 2, 3]})
    assert "a and b are one column: their effects cannot be told apart." in findings
    assert findings[-1] == "No table of the catalogue with 3 rows or fewer does better."


def test_pairs_that_are_complete_but_uneven_are_told_so():
    findings = audit(table("00", "01", "10", "11", "00", "11"), {"a": [1, 2], "b": [1, 2]})
    assert "Not orthogonal: a and b show 4 of their 4 pairs of levels, but not equally often." in findings


def test_the_numbers_of_the_papers_table():
    effects = effects_table(ARRAYS["paper"], FACTORS).set_index("effect")
    assert effects["df"].tolist() == [2, 2, 2, 4, 4, 4]
    assert effects["efficiency"].tolist() == [1, 0, 0, 1, 1, 0]
    assert effects.loc["batch_size", "mixed_with"] == "epochs"
    assert effects.loc["lr x batch_size", "mixed_with"] == "lr x epochs"


def test_the_numbers_of_l9_show_half_of_each_interaction_taken_by_a_main_effect():
    """L9: the interaction of columns 1 and 2 is in columns 3 and 4 (Taguchi and Konishi 1987); one of them is used."""
    effects = effects_table(ARRAYS["l9"], FACTORS).set_index("effect")
    assert effects["efficiency"].tolist() == pytest.approx([1, 1, 1, 0.5, 0.5, 0.5])
    assert effects.loc["lr x batch_size", "mixed_with"].startswith("epochs")


def test_l12_mixes_a_ninth_of_each_interaction_into_every_other_main_effect():
    """Plackett-Burman with 12 runs: aliases of +-1/3 (Hamada and Wu, J. Quality Technology 24 (1992), 130-137)."""
    effects = effects_table(ARRAYS["l12"], {name: [1, 2] for name in "abcdefghijk"}).set_index("effect")
    assert effects.loc["a x b", "efficiency"] == pytest.approx(1 - 9 / 9)
    effects = effects_table(ARRAYS["l12"], {name: [1, 2] for name in "abc"}).set_index("effect")
    assert effects.loc["a x b", "efficiency"] == pytest.approx(1 - 1 / 9)


def test_a_partly_correlated_pair_is_estimated_with_less_than_full_efficiency():
    effects = effects_table(table("00", "01", "11"), {"a": [1, 2], "b": [1, 2]}).set_index("effect")
    assert effects["efficiency"].tolist()[:2] == pytest.approx([0.75, 0.75])  # correlation 1/2 by hand


def test_the_largest_arrays_are_audited_in_a_moment():
    factors = {f"f{number}": [1, 2, 3] for number in range(40)}
    assert "All 80 degrees of freedom" in audit(ARRAYS["l81"], factors)[2]
    # PG(3, 3): 13 lines through each of 40 points, with 3 pairs of other points each; six are named
    assert f" and {40 * 13 * 3 - 6} more." in audit(ARRAYS["l81"], factors)[3]


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
