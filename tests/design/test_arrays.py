from itertools import combinations, product
from math import prod

import numpy as np
import pytest

from mammogan.design.arrays import ARRAYS, Array, find_array, interaction_columns
from mammogan.design.constructions import Field
from mammogan.errors import DesignError

FACTORS = {"lr": [1e-4, 2e-4, 3e-4], "batch_size": [16, 32, 64], "epochs": [250, 500, 750]}
ORTHOGONAL = [array for array in ARRAYS.values() if array.name != "paper"]


def rows_of(name: str) -> list[str]:
    return ["".join(str(level + 1) for level in row) for row in ARRAYS[name].levels]


def published(text: str) -> list[str]:
    return text.split()


@pytest.mark.parametrize("array", ARRAYS.values(), ids=ARRAYS.keys())
def test_every_array_shows_each_level_of_a_column_equally_often(array):
    for column in np.array(array.levels).T:
        assert len(set(np.bincount(column).tolist())) == 1
    assert array.is_balanced


@pytest.mark.parametrize("array", ORTHOGONAL, ids=lambda array: array.name)
def test_every_pair_of_columns_of_an_orthogonal_array_shows_each_pair_of_levels_equally_often(array):
    levels = np.array(array.levels)
    sizes = levels.max(axis=0) + 1
    for a, b in combinations(range(levels.shape[1]), 2):
        counts = np.bincount(levels[:, a] * sizes[b] + levels[:, b], minlength=sizes[a] * sizes[b])
        assert set(counts.tolist()) == {len(levels) // (sizes[a] * sizes[b])}, (a, b)
    assert array.is_orthogonal


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("l4", "L4(2^3)"),
        ("l8", "L8(2^7)"),
        ("l9", "L9(3^4)"),
        ("l12", "L12(2^11)"),
        ("l16", "L16(2^15)"),
        ("l16-4", "L16(4^5)"),
        ("l18", "L18(2^1 x 3^7)"),
        ("l18-6", "L18(3^6 x 6^1)"),
        ("l25", "L25(5^6)"),
        ("l27", "L27(3^13)"),
        ("l32", "L32(2^31)"),
        ("l36", "L36(2^11 x 3^12)"),
        ("l36-3", "L36(2^3 x 3^13)"),
        ("l50", "L50(2^1 x 5^11)"),
        ("l54", "L54(2^1 x 3^25)"),
        ("l64", "L64(2^63)"),
        ("l64-4", "L64(4^21)"),
        ("l81", "L81(3^40)"),
        ("paper", "L9(3^3)"),
    ],
)
def test_the_name_of_an_array_is_true_of_its_columns(name, title):
    """Numbers of columns: Yang and El-Haik, Design for Six Sigma, McGraw-Hill 2003, Table 13.5."""
    assert ARRAYS[name].title == title
    assert ARRAYS.keys() == {array.name for array in ARRAYS.values()}


def test_the_catalogue_holds_no_two_rows_alike_and_cites_a_source_for_each_array():
    for array in ORTHOGONAL:
        assert len(set(array.levels)) == array.n_rows
        assert any(word in array.source for word in ("Taguchi", "Hedayat"))
        assert sum(n - 1 for n in array.n_levels) <= array.n_rows - 1
    assert "Reyes-Hernandez" in ARRAYS["paper"].source
    assert "2025" in ARRAYS["paper"].source


def test_l8_is_the_published_table():
    """Taguchi and Konishi 1987; Montgomery, Design and Analysis of Experiments, writes it the same way."""
    assert rows_of("l8") == published("1111111 1112222 1221122 1222211 2121212 2122121 2211221 2212112")


def test_l9_is_the_published_table():
    assert rows_of("l9") == published("1111 1222 1333 2123 2231 2312 3132 3213 3321")


def test_l16_of_four_levels_is_the_published_table():
    assert rows_of("l16-4") == published(
        "11111 12222 13333 14444 21234 22143 23412 24321 31342 32431 33124 34213 41423 42314 43241 44132"
    )


def test_l18_is_the_published_table():
    """Yang and El-Haik, Design for Six Sigma, McGraw-Hill 2003, page 474, with its empty column."""
    assert rows_of("l18") == published(
        "11111111 11222222 11333333 12112233 12223311 12331122 13121323 13232131 13313212 "
        "21133221 21211332 21322113 22123132 22231213 22312321 23132312 23213123 23321231"
    )


def test_l18_with_a_column_of_six_levels_is_the_published_inner_array():
    """Yang and El-Haik 2003, Table 15.4: one column of six levels, then five of three, our last but one left out."""
    inner = published(
        "111111 122222 133333 211223 222331 233112 312133 323211 331322 "
        "413321 421132 432213 512312 523123 531231 613232 621313 632121"
    )
    assert [row[:5] + row[6] for row in rows_of("l18-6")] == inner


def test_the_paper_array_gives_the_rows_of_the_papers_tables():
    published_rows = [
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
    assert [tuple(row.levels.values()) for row in ARRAYS["paper"].assign(FACTORS)] == published_rows


def test_the_papers_table_is_not_orthogonal_since_two_columns_move_together():
    assert not ARRAYS["paper"].is_orthogonal
    assert ARRAYS["paper"].aliases() == [(1, 2)]
    assert ARRAYS["paper"].aliases([0, 1]) == []
    assert ARRAYS["l9"].aliases() == []


def test_columns_that_are_relabelled_copies_are_aliases():
    swapped = Array("swapped", ((0, 2), (1, 0), (2, 1)), "made for this test")
    assert swapped.aliases() == [(0, 1)]


def test_a_column_with_a_dummy_level_is_proportional_to_the_others_though_not_balanced():
    dummy = Array("dummy", tuple((min(a, 1), *rest) for a, *rest in ARRAYS["l9"].levels), "made for this test")
    assert not dummy.is_balanced
    assert not dummy.pair_is_orthogonal(0, 1)
    assert dummy.pair_is_proportional(0, 1)
    uneven = Array("uneven", ((0, 0), (0, 1), (0, 0), (1, 1)), "made for this test")
    assert not uneven.pair_is_proportional(0, 1)


@pytest.mark.parametrize(
    ("name", "a", "b", "columns"),
    [
        ("l8", 1, 2, (3,)),
        ("l8", 3, 5, (6,)),
        ("l9", 1, 2, (3, 4)),
        ("l16", 1, 8, (9,)),
        ("l27", 1, 2, (3, 4)),
        ("l27", 1, 5, (6, 7)),
        ("l27", 2, 5, (8, 11)),
    ],
)
def test_interactions_lie_in_the_columns_of_the_published_linear_graphs(name, a, b, columns):
    """L8, L16: Taguchi's triangular tables; L9, L27: Yang and El-Haik 2003, pages 472 and 479."""
    assert interaction_columns(name, a, b) == columns
    assert interaction_columns(name, b, a) == columns


@pytest.mark.parametrize("name", ["l8", "l9", "l16-4", "l25", "l27"])
def test_the_interaction_of_two_columns_is_a_function_of_no_others_than_its_own(name):
    levels = np.array(ARRAYS[name].levels)
    for a, b in combinations(range(levels.shape[1]), 2):
        named = {number - 1 for number in interaction_columns(name, a + 1, b + 1)}
        cells = levels[:, a] * 10 + levels[:, b]
        decided = {
            c
            for c in range(levels.shape[1])
            if all(len(set(levels[cells == cell, c].tolist())) == 1 for cell in set(cells.tolist()))
        }
        assert decided == named | {a, b}


def test_interactions_of_an_array_that_is_no_geometry_have_no_columns():
    with pytest.raises(DesignError, match="'l12' lie in no columns of their own; they do in l4, l8"):
        interaction_columns("l12", 1, 2)
    with pytest.raises(DesignError, match="columns 1 and 9 are not two of the columns of array 'l8'"):
        interaction_columns("l8", 1, 9)


@pytest.mark.parametrize("order", [2, 3, 4, 5])
def test_the_finite_fields_are_fields(order):
    field, elements = Field(order), range(order)
    for table, neutral in ((field.sum, 0), (field.product, 1)):
        assert (table == table.T).all()
        assert table[neutral].tolist() == list(elements)
    for a, b, c in product(elements, repeat=3):
        assert field.product[a, field.sum[b, c]] == field.sum[field.product[a, b], field.product[a, c]]
    assert all(1 in field.product[a] for a in range(1, order))
    assert all(0 in field.sum[a] for a in elements)


def test_a_full_factorial_of_the_first_columns_stands_in_every_geometry():
    for name, n in (("l8", 2), ("l27", 2), ("l16-4", 2), ("l81", 2)):
        sizes = ARRAYS[name].n_levels[:n]
        assert len({row[:n] for row in ARRAYS[name].levels}) == prod(sizes)


def test_an_assigned_row_carries_values_and_level_numbers_from_one():
    row = list(ARRAYS["l9"].assign(FACTORS))[3]
    assert row.number == 4
    assert row.levels == {"lr": 2e-4, "batch_size": 16, "epochs": 500}
    assert row.level_numbers == {"lr": 2, "batch_size": 1, "epochs": 2}


def test_an_unknown_array_is_answered_with_the_known_ones():
    with pytest.raises(DesignError, match=r"'l99'; choose one of: l4, l8, l9, .*, l81, paper"):
        find_array("l99")


@pytest.mark.parametrize(
    ("levels", "message"),
    [
        ((), "is empty"),
        (((0, 1), (1,)), "entries; make them equal"),
        (((0, 0), (2, 1)), r"column 1: levels are \[0, 2\]"),
    ],
)
def test_a_malformed_table_is_refused(levels, message):
    with pytest.raises(DesignError, match=message):
        Array("broken", levels, "made for this test")
