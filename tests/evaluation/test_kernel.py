"""The kernel distance is the unbiased U-statistic over all pairs."""

from itertools import permutations, product

import numpy as np
import pytest

from mammogan.errors import EvaluationError
from mammogan.evaluation import kernel
from mammogan.evaluation.kernel import kernel_distance


def test_it_equals_the_sums_over_pairs_written_out(monkeypatch):
    monkeypatch.setattr(kernel, "_BLOCK", 4)  # blocks that do not divide 9
    rng = np.random.default_rng(0)
    real, fake = rng.standard_normal((9, 5)), rng.standard_normal((7, 5)) + 0.5

    def mean_kernel(pairs):
        return np.mean([(np.dot(x, y) / 5 + 1) ** 3 for x, y in pairs])

    expected = (
        mean_kernel(permutations(real, 2)) + mean_kernel(permutations(fake, 2)) - 2 * mean_kernel(product(real, fake))
    )
    assert kernel_distance(real, fake) == pytest.approx(expected)


def test_by_hand_on_two_images_a_side():
    # d = 1, kernel (xy + 1)^3: real 0, 1 -> 1; fake 1, 2 -> 27; between 1, 1, 8, 27 -> mean 9.25
    assert kernel_distance(np.array([[0.0], [1.0]]), np.array([[1.0], [2.0]])) == pytest.approx(1 + 27 - 18.5)


def test_it_is_the_mean_that_random_subsets_estimate():
    # torch-fidelity, cleanfid: 100 subsets; here of 25 of 60 images, so that their mean is near
    rng = np.random.default_rng(0)
    real, fake = rng.random((60, 8)), rng.random((60, 8)) + 0.3
    draws = [kernel_distance(real[rng.permutation(60)[:25]], fake[rng.permutation(60)[:25]]) for _ in range(100)]
    assert np.mean(draws) == pytest.approx(kernel_distance(real, fake), abs=3 * np.std(draws) / 10)


def test_equal_distributions_score_zero_on_average():
    rng = np.random.default_rng(0)
    draws = [kernel_distance(rng.standard_normal((30, 8)), rng.standard_normal((20, 8))) for _ in range(200)]
    assert np.mean(draws) == pytest.approx(0, abs=3 * np.std(draws) / np.sqrt(len(draws)))
    assert min(draws) < 0 < max(draws)


def test_it_is_symmetric_and_grows_with_the_shift():
    rng = np.random.default_rng(0)
    real, fake = rng.standard_normal((30, 8)), rng.standard_normal((20, 8))
    assert kernel_distance(real, fake) == pytest.approx(kernel_distance(fake, real))
    assert kernel_distance(real, fake + 0.5) < kernel_distance(real, fake + 1)


def test_one_image_is_too_few():
    with pytest.raises(EvaluationError, match="N of at least 2"):
        kernel_distance(np.ones((1, 4)), np.ones((5, 4)))
