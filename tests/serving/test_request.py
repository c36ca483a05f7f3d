import math

import numpy as np
import pytest

from mammogan.errors import RequestError
from mammogan.serving.request import MAX_IMAGES, MAX_SEED, Request, parse


def test_a_row_becomes_a_request():
    assert parse([{"n": 4, "seed": 7}], truncation=0.7) == [Request(n=4, seed=7, truncation=0.7)]


@pytest.mark.parametrize("n", [4, 4.0, np.int64(4), np.float64(4)])
def test_whole_numbers_may_arrive_as_any_kind_of_number(n):
    assert parse([{"n": n, "seed": np.float64(MAX_SEED)}]) == [Request(n=4, seed=MAX_SEED, truncation=1.0)]


def test_without_a_seed_each_request_gets_one_of_its_own():
    requests = parse([{"n": 1}, {"n": 1, "seed": None}, {"n": 1, "seed": math.nan}])
    assert len({request.seed for request in requests}) == 3
    assert all(0 <= request.seed <= MAX_SEED for request in requests)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"n": 0}, "n must be from 1 to 256, got 0"),
        ({"n": -1}, "n must be from 1 to 256, got -1"),
        ({"n": 10**9}, "n must be from 1 to 256, got 1000000000"),
        ({"n": 10**400}, "n must be from 1 to 256, got 1000"),
        ({"n": math.inf}, "n must be from 1 to 256, got inf"),
        ({"n": 1.5}, r"n must be a whole number from 1 to 256, got 1\.5"),
        ({"n": np.float64(1.5)}, r"n must be a whole number from 1 to 256, got 1\.5"),
        ({"n": "abc"}, "n must be a whole number from 1 to 256, got 'abc'"),
        ({"n": "4"}, "n must be a whole number from 1 to 256, got '4'"),
        ({"n": True}, "n must be a whole number from 1 to 256, got True"),
        ({"n": np.True_}, "n must be a whole number from 1 to 256, got True"),
        ({"n": [4]}, r"n must be a whole number from 1 to 256, got \[4\]"),
        ({"n": np.ones(3)}, "n must be a whole number from 1 to 256, got array"),
        ({"n": {"a": 1}}, "n must be a whole number"),
        ({"n": "x" * 10_000}, r"got 'x{36}\.\.\.$"),
        ({"n": None}, "n is missing: say how many images you want"),
        ({"n": math.nan}, "n is missing"),
        ({"seed": 7}, "n is missing"),
        ({"n": 1, "seed": -1}, "seed must be from 0 to 4294967295, got -1"),
        ({"n": 1, "seed": 2**32}, "seed must be from 0 to 4294967295, got 4294967296"),
        ({"n": 1, "seed": 0.5}, r"seed must be a whole number from 0 to 4294967295, got 0\.5"),
        ({"n": 1, "seed": "x"}, "seed must be a whole number"),
        ({"n": 1, "sed": 7}, "unknown column sed; known are n, seed"),
    ],
)
def test_a_wrong_value_is_named_with_what_would_be_right(row, message):
    with pytest.raises(RequestError, match=message):
        parse([row])


@pytest.mark.parametrize("truncation", [0, -0.5, 1.01, math.nan, math.inf, "x", None, True])
def test_truncation_lies_above_zero_and_at_most_at_one(truncation):
    with pytest.raises(RequestError, match="truncation must be a number"):
        parse([{"n": 1}], truncation)


def test_an_empty_request_is_shown_an_example():
    with pytest.raises(RequestError, match=r"no rows.*dataframe_split"):
        parse([])


def test_the_rows_of_a_request_share_one_limit():
    half = MAX_IMAGES // 2
    assert len(parse([{"n": half}, {"n": half}])) == 2
    with pytest.raises(RequestError, match="ask for 257 images together, at most 256"):
        parse([{"n": half}, {"n": half + 1}])
    with pytest.raises(RequestError, match="257 rows are too many"):
        parse([{"n": 1}] * (MAX_IMAGES + 1))
