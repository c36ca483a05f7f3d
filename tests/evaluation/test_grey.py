"""The Wasserstein distance of grey levels is in grey levels."""

import numpy as np
import pytest

from mammogan.evaluation.grey import grey_wasserstein, histograms


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(40, 200, (6, 16, 16)).astype(np.uint8)


def test_brightening_by_ten_levels_is_ten(images):
    assert grey_wasserstein(histograms(images), histograms(images + 10)) == pytest.approx(10)


def test_black_against_white_is_the_whole_range():
    black, white = np.zeros((1, 16, 16), np.uint8), np.full((2, 16, 16), 255, np.uint8)
    assert grey_wasserstein(histograms(black), histograms(white)) == pytest.approx(255)


def test_the_place_of_a_pixel_does_not_matter_and_the_distance_is_symmetric(images):
    assert grey_wasserstein(histograms(images), histograms(images[:, ::-1])) == pytest.approx(0, abs=1e-12)
    other = images // 2
    there, back = (histograms(images), histograms(other)), (histograms(other), histograms(images))
    assert grey_wasserstein(*there) == pytest.approx(grey_wasserstein(*back))
