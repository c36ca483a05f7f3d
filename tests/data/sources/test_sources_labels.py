"""Words of the sets -> one vocabulary."""

import pytest

from mammogan.data.sources import labels


@pytest.mark.parametrize(
    ("text", "expected"),
    [("45", "45"), ("45.0", "45"), ("045Y", "45"), ("732M", "61"), ("61 years", "61"), (" 70 ", "70")]
    + [(text, "") for text in ("", "0", "999Y", "-3", "45-50", "removed", "NaN", "1e2", "٤٥")],
)
def test_ages_are_whole_years(text, expected):
    assert labels.age(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *(("1", "1"), ("1.0", "1"), ("True", "1"), ("MALIGNANT", "1")),
        *(("0", "0"), ("BENIGN_WITHOUT_CALLBACK", "0"), ("Normal", "0"), ("benign", "0")),
        *(("", ""), ("2", ""), ("suspicious", "")),
    ],
)
def test_cancer_is_zero_or_one(text, expected):
    assert labels.cancer(text) == expected


@pytest.mark.parametrize(
    ("several", "expected"),
    [({"0", "1"}, "1"), ({"", "1"}, "1"), ({"0"}, "0"), ({"0", ""}, ""), ({""}, ""), (set(), "")],
)
def test_an_image_has_cancer_if_any_finding_does_and_none_only_if_all_are_known(several, expected):
    assert labels.any_cancer(several) == expected


@pytest.mark.parametrize(
    ("text", "expected"), [("a", "A"), ("DENSITY C", "C"), ("D", "D"), ("2", ""), ("_", ""), ("E", ""), ("", "")]
)
def test_density_letters(text, expected):
    assert labels.density(text) == expected


@pytest.mark.parametrize(("text", "expected"), [("1", "A"), ("4", "D"), ("3.0", "C"), ("0", ""), ("5", ""), ("", "")])
def test_density_numbers_where_they_are_acr_classes(text, expected):
    assert labels.density_of_number(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mlo", "MLO"),
        ("CC", "CC"),
        ("cranio-caudal", "CC"),
        ("medio-lateral oblique", "MLO"),
        ("LMO", "LMO"),
        ("oblique", ""),
    ],
)
def test_views(text, expected):
    assert labels.view(text) == expected


@pytest.mark.parametrize(("text", "expected"), [("Left", "L"), ("r", "R"), ("B", ""), ("", "")])
def test_sides(text, expected):
    assert labels.laterality(text) == expected
