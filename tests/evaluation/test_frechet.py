"""The Frechet distance equals its closed forms, whichever way it is computed."""

import math

import numpy as np
import pytest

from mammogan.errors import EvaluationError
from mammogan.evaluation.frechet import frechet_distance

FEW, MANY = 6, 4000  # in 60 dimensions: the way by singular values, and the way by eigenvalues


def white(n: int, d: int, seed: int) -> np.ndarray:
    """Samples (n, d) whose mean is exactly 0 and whose covariance, over n - 1, is exactly 1."""
    x = np.random.default_rng(seed).standard_normal((n, d))
    orthonormal, _ = np.linalg.qr(x - x.mean(axis=0))
    return orthonormal * math.sqrt(n - 1)


def in_many_dimensions(x: np.ndarray) -> np.ndarray:
    """The same samples, (n, 60), where the covariance is singular."""
    return np.pad(x, ((0, 0), (0, 60 - x.shape[1])))


@pytest.mark.parametrize("n", [FEW, MANY])
def test_a_shift_counts_with_its_squared_length(n):  # equal covariances leave |mean shift|^2
    real = white(n, 3, seed=0)
    fake = real + np.array([1, 2, 2])
    assert frechet_distance(in_many_dimensions(real), in_many_dimensions(fake)) == pytest.approx(9)


@pytest.mark.parametrize("n", [FEW, MANY])
def test_a_scale_counts_with_the_difference_of_standard_deviations(n):  # sum of (sd1 - sd2)^2
    real, fake = white(n, 3, seed=0), white(n, 3, seed=1) * [2, 4, 5]
    assert frechet_distance(in_many_dimensions(real), in_many_dimensions(fake)) == pytest.approx(1 + 9 + 16)


@pytest.mark.parametrize("n", [FEW, MANY])
def test_covariances_that_do_not_commute_follow_the_closed_form(n):
    # of a 2 x 2 matrix with eigenvalues >= 0: tr(M^(1/2)) = sqrt(tr M + 2 sqrt(det M))
    L1, L2 = np.array([[1.0, 0.0], [2.0, 1.0]]), np.array([[3.0, 0.0], [-1.0, 0.5]])
    S1, S2 = L1 @ L1.T, L2 @ L2.T
    product = S1 @ S2
    root = math.sqrt(np.trace(product) + 2 * math.sqrt(np.linalg.det(product)))
    expected = np.trace(S1) + np.trace(S2) - 2 * root
    real, fake = white(n, 2, seed=0) @ L1.T, white(n, 2, seed=1) @ L2.T
    assert frechet_distance(in_many_dimensions(real), in_many_dimensions(fake)) == pytest.approx(expected)


def test_both_ways_agree_where_the_covariances_are_singular():
    rng = np.random.default_rng(0)
    few = rng.standard_normal((40, 30)) @ rng.standard_normal((30, 60))
    others = rng.standard_normal((50, 30)) @ rng.standard_normal((30, 60))
    many = np.repeat(few, 60, axis=0)  # the same distribution, but for n - 1
    scale = math.sqrt((len(many) - 1) / len(many) * len(few) / (len(few) - 1))
    many = many.mean(axis=0) + (many - many.mean(axis=0)) * scale
    assert frechet_distance(many, others) == pytest.approx(frechet_distance(few, others), rel=1e-6)


def test_the_distance_is_symmetric_and_zero_for_equal_sets():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((20, 40)), rng.standard_normal((30, 40)) + 1
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a))
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(a, a) >= 0


@pytest.mark.parametrize(
    ("real", "fake", "message"),
    [
        (np.ones((1, 4)), np.ones((5, 4)), "real features have shape .* N of at least 2"),
        (np.ones((5, 4)), np.ones((0, 4)), "fake features have shape .* N of at least 2"),
        (np.ones((5, 4)), np.ones(4), "fake features have shape"),
        (np.ones((5, 4)), np.ones((5, 3)), "4 dimensions and fake ones 3"),
        (np.ones((5, 4)), np.full((5, 4), np.nan), "5 of 5 fake images have features that are not finite"),
        (np.full((5, 4), np.inf), np.ones((5, 4)), "5 of 5 real images"),
    ],
)
def test_what_has_no_distance_is_refused(real, fake, message):
    with pytest.raises(EvaluationError, match=message):
        frechet_distance(real, fake)
