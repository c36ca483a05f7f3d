"""MS-SSIM against values of pytorch-msssim 1.0.0 and scikit-image 0.26, and what it says of sets."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from mammogan.evaluation.structure import ms_ssim, random_pairs, scales


@pytest.fixture(scope="module")
def clouds() -> NDArray[np.uint8]:
    noise = np.random.default_rng(0).standard_normal((2, 176, 176))
    smooth = gaussian_filter(noise, (0, 4, 4))
    return np.rint(smooth / smooth.std() * 40 + 100 + 5 * noise).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def mixture(clouds) -> NDArray[np.uint8]:
    return np.round(0.8 * clouds[0] + 0.2 * clouds[1]).astype(np.uint8)


def test_five_scales_give_the_published_implementations_value(clouds, mixture):
    # pytorch_msssim.ms_ssim(x, y, data_range=255) in float64
    assert ms_ssim(np.stack([clouds[0], mixture]), np.array([[0, 1]]))[0] == pytest.approx(0.940447, abs=2e-5)


def test_one_scale_is_plain_ssim(clouds, mixture):
    # skimage.metrics.structural_similarity(..., gaussian_weights=True, sigma=1.5, use_sample_covariance=False)
    corner = np.stack([clouds[0], mixture])[:, :16, :16]
    assert scales(16) == 1
    assert ms_ssim(corner, np.array([[0, 1]]))[0] == pytest.approx(0.763868, abs=2e-5)


@pytest.mark.parametrize(("side", "n"), [(32, 2), (64, 3), (128, 4), (256, 5), (512, 5)])
def test_small_images_have_fewer_scales(side, n):
    assert scales(side) == n
    assert side >> (n - 1) >= 11


def test_an_image_equals_itself_and_order_does_not_matter(clouds):
    same, there, back = ms_ssim(clouds, np.array([[0, 0], [0, 1], [1, 0]]))
    assert same == pytest.approx(1)
    assert there == back < 0.5


def test_pairs_are_of_different_patients_and_none_comes_twice():
    patients = [f"P{i // 4}" for i in range(24)]
    pairs = random_pairs(patients, 200, seed=1)
    assert len(pairs) == 200
    assert len({frozenset(pair) for pair in pairs.tolist()}) == 200
    assert all(patients[i] != patients[j] for i, j in pairs)
    assert not np.array_equal(pairs, random_pairs(patients, 200, seed=2))


def test_few_images_give_all_their_pairs():
    assert sorted(map(tuple, random_pairs(range(4), 300, seed=0).tolist())) == [
        (0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)
    ]  # fmt: skip
