"""Precision, recall, density and coverage against examples worked by hand, and values of prdc 0.2."""

import numpy as np
import pytest

from mammogan.errors import EvaluationError
from mammogan.evaluation.neighbours import Neighbours, neighbours


def points(*xs: float) -> np.ndarray:
    return np.array([[x] for x in xs])


def test_a_line_of_points_worked_by_hand():
    # k = 1: every real ball has radius 1; synthetic balls have radii 0.5, 0.5, 9.
    real, fake = points(0, 1, 2, 3), points(0.5, 1.0, 10.0)
    # 0.5 lies in the balls of 0 and 1, 1.0 in those of 0, 1 (closed) and 2, 10 in none: 2 / 3, and 5 balls / 3.
    # The balls of 0, 1, 2 hold a synthetic image: 3 / 4. Real 0 and 1 lie in [0, 1.5], 2 and 3 in 10 +- 9.
    assert neighbours(real, fake, k=1) == Neighbours(precision=2 / 3, recall=1, density=5 / 3, coverage=3 / 4)


def test_the_outlier_of_the_papers_does_not_raise_density():
    # Naeem et al. 2020, section 3: one real outlier has a large ball; precision counts what falls in, density less.
    real = points(0.0, 0.1, 0.2, 0.3, 10.0)
    fake = points(4.0, 5.0, 6.0, 7.0)
    found = neighbours(real, fake, k=2)
    assert found.precision == 1  # all within 9.8 of the outlier
    assert found.density == pytest.approx(0.5)  # one ball of k = 2
    assert found.coverage == pytest.approx(0.2)


def test_values_of_the_reference_implementation():
    # prdc 0.2, compute_prdc(real, fake, nearest_k=5), of the same features
    rng = np.random.default_rng(7)
    real, fake = rng.standard_normal((700, 8)), 0.8 * rng.standard_normal((600, 8)) + 0.3
    found = neighbours(real, fake)
    values = (found.precision, found.recall, found.density, found.coverage)
    assert values == pytest.approx((0.98, 0.69, 1.335, 0.8571428571428571), abs=1e-12)


def test_a_shift_of_both_sets_changes_nothing():
    rng = np.random.default_rng(0)
    real, fake = rng.standard_normal((40, 3)), rng.standard_normal((30, 3))
    assert neighbours(real + 1e4, fake + 1e4) == neighbours(real, fake)


def test_a_collapse_is_seen_by_recall_and_coverage_alone():
    rng = np.random.default_rng(0)
    real = rng.standard_normal((200, 4))
    found = neighbours(real, np.repeat(real[:10], 20, axis=0))
    assert found.precision == 1
    assert found.recall < 0.1
    assert found.coverage < 0.5


@pytest.mark.parametrize(("n_real", "n_fake", "whose"), [(9, 50, "9 real"), (50, 9, "9 synthetic")])
def test_fewer_than_twice_k_images_are_refused(n_real, n_fake, whose):
    x = np.random.default_rng(0).standard_normal((50, 4))
    with pytest.raises(EvaluationError, match=f"{whose} images are too few .* give at least 10"):
        neighbours(x[:n_real], x[:n_fake])
