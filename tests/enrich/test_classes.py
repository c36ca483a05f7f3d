import pytest

from mammogan.enrich.classes import wanted
from mammogan.errors import DataError

THERE = {"0": 61, "1": 31}


@pytest.mark.parametrize(
    ("balance", "n", "counts"),
    [
        ("trained", 7, {None: 7}),
        ("even", 7, {"0": 4, "1": 3}),
        ("level", None, {"1": 30}),
        ("level", 10, {"1": 10}),
        ("level", 40, {"0": 5, "1": 35}),
        ("1=5,0=2", None, {"1": 5, "0": 2}),
        ("1=5", 5, {"1": 5}),
    ],
)
def test_the_classes_come_out_as_asked(balance, n, counts):
    assert wanted(balance, n, "cancer", ["0", "1"], THERE) == counts


def test_a_level_set_needs_nothing():
    assert wanted("level", None, "cancer", ["0", "1"], {"0": 3, "1": 3}) == {}


@pytest.mark.parametrize(
    ("balance", "n", "label", "word"),
    [
        ("trained", None, None, "say how many"),
        ("even", None, "cancer", "say how many"),
        ("even", 4, None, "conditional"),
        ("most", 4, "cancer", "give trained, even, level"),
        ("2=4", None, "cancer", "the generators draw 0, 1"),
        ("1=4,1=5", None, "cancer", "twice"),
        ("1=4", 5, "cancer", "makes 4 images, but -n is 5"),
    ],
)
def test_a_balance_that_cannot_be_is_one_message(balance, n, label, word):
    with pytest.raises(DataError, match=word):
        wanted(balance, n, label, ["0", "1"], THERE)
