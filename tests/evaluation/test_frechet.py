"""The Frechet distance equals its closed forms, whichever way it is computed."""

import math

import numpy as np
import pytest
import scipy.linalg

from mammogan.errors import EvaluationError
from mammogan.evaluation import frechet
from mammogan.evaluation.frechet import Reference, frechet_distance

FEW, MANY = 6, 4000  # in 60 dimensions: the product of the features, and the covariance


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


@pytest.mark.parametrize("n", [FEW, 700])
@pytest.mark.parametrize("m", [FEW, 700])
def test_a_prepared_reference_gives_the_same_distance_to_every_set(n, m):
    rng = np.random.default_rng(0)
    reference = Reference(real := rng.standard_normal((n, 60)) * np.linspace(1, 3, 60))
    for seed in range(2):
        fake = np.random.default_rng(seed).standard_normal((m, 60)) + 0.5
        assert reference.frechet(fake) == pytest.approx(frechet_distance(real, fake), rel=1e-9)
        assert reference.frechet(fake) == pytest.approx(by_root_of_a_matrix(real, fake), rel=1e-5)


def by_root_of_a_matrix(real: np.ndarray, fake: np.ndarray) -> float:
    """The formula as published, with scipy's general root."""
    S1, S2 = np.cov(real, rowvar=False), np.cov(fake, rowvar=False)
    shift = np.sum((real.mean(axis=0) - fake.mean(axis=0)) ** 2)
    return shift + np.trace(S1 + S2) - 2 * np.trace(scipy.linalg.sqrtm(S1 @ S2)).real


def test_a_full_covariance_agrees_with_the_root_of_a_matrix_to_many_digits():
    rng = np.random.default_rng(0)
    real, fake = rng.standard_normal((90, 12)), rng.standard_normal((80, 12)) * np.linspace(1, 2, 12)
    assert frechet_distance(real, fake) == pytest.approx(by_root_of_a_matrix(real, fake), rel=1e-10)


def test_eigenvalues_and_singular_values_give_one_number(monkeypatch):
    rng = np.random.default_rng(0)
    real, fake = rng.standard_normal((40, 60)), rng.standard_normal((50, 60))
    by_singular_values = frechet_distance(real, fake)
    monkeypatch.setattr(frechet, "_EXACT_BELOW", 0)
    assert frechet_distance(real, fake) == pytest.approx(by_singular_values, rel=1e-6)


def test_the_covariance_is_summed_over_all_blocks(monkeypatch):
    rng = np.random.default_rng(0)
    real, fake = rng.standard_normal((200, 10)), rng.standard_normal((300, 10)) * 2
    whole = frechet_distance(real, fake)
    monkeypatch.setattr(frechet, "_ROWS_AT_ONCE", 70)
    assert frechet_distance(real, fake) == pytest.approx(whole, rel=1e-12)


def test_a_reference_is_prepared_once(monkeypatch):
    calls: list[int] = []
    monkeypatch.setattr(scipy.linalg, "qr", lambda *a, qr=scipy.linalg.qr, **k: (calls.append(1), qr(*a, **k))[1])
    reference = Reference(np.random.default_rng(0).standard_normal((30, 8)))
    for seed in range(3):
        reference.frechet(np.random.default_rng(seed).standard_normal((40, 8)))
    assert len(calls) == 1


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
    with pytest.raises(EvaluationError, match=message):
        Reference(real).frechet(fake)
