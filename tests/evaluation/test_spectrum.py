"""Spectra reach into the corner, and tell blur, noise and checkerboards from real tissue."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from mammogan.evaluation.spectrum import radial_spectra, spectrum_distance, spectrum_exponent


def tissue(exponent: float = 3.0, n: int = 16, side: int = 64) -> NDArray[np.uint8]:
    """Fields whose power falls as f**-exponent, by the Fourier transform: another one than that of the code."""
    rng = np.random.default_rng(0)
    frequency = np.hypot(np.fft.fftfreq(2 * side)[:, None], np.fft.rfftfreq(2 * side))
    frequency[0, 0] = np.inf
    waves = np.fft.rfft2(rng.standard_normal((n, 2 * side, 2 * side))) * frequency ** (-exponent / 2)
    fields = np.fft.irfft2(waves)[:, :side, :side]  # a part, which is not periodic
    return np.rint(128 + 30 * fields / fields.std()).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def real() -> NDArray[np.uint8]:
    return tissue()


def distance(real: NDArray[np.uint8], fake: NDArray[np.floating]) -> float:
    return spectrum_distance(radial_spectra(real), radial_spectra(np.rint(fake).clip(0, 255).astype(np.uint8)))


def test_a_cosine_stands_at_its_own_frequency():
    x = np.arange(64) + 0.5
    wave = 100 + 50 * np.cos(2 * np.pi * 10 * x / 64)
    images = np.broadcast_to(np.rint(wave).astype(np.uint8), (1, 64, 64))
    assert radial_spectra(images)[0, 1:].argmax() == 9  # entry 10: ten cycles an image


def test_spectra_end_in_the_corner_and_a_checkerboard_stands_there():
    flat = np.full((1, 64, 64), 100, np.uint8)
    board = flat + 6 * (np.indices((64, 64)).sum(axis=0) % 2).astype(np.uint8)
    spectra = radial_spectra(board)
    assert spectra.shape == (1, 46)  # 0 to 45: 32 times the root of 2
    assert (spectra - radial_spectra(flat))[0, 1:].argmax() > 32


@pytest.mark.parametrize("exponent", [2.0, 3.0])
def test_the_exponent_of_a_power_law_is_found(exponent):
    assert spectrum_exponent(radial_spectra(tissue(exponent))) == pytest.approx(exponent, abs=0.15)


def test_damage_to_fine_detail_is_far_beyond_the_spread_of_real_images(real):
    rng = np.random.default_rng(1)
    itself = distance(real[:8], real[8:])
    board = 6 * (1 - 2 * (np.indices((64, 64)).sum(axis=0) % 2))
    assert distance(real[:8], gaussian_filter(real[8:].astype(float), (0, 1, 1))) > 5 * itself
    assert distance(real[:8], real[8:] + rng.normal(0, 8, (8, 64, 64))) > 5 * itself
    assert distance(real[:8], real[8:] + board) > 3 * itself


def test_blur_makes_the_exponent_larger_and_noise_smaller(real):
    blurred = gaussian_filter(real.astype(float), (0, 1, 1)).astype(np.uint8)
    noisy = (real + np.random.default_rng(1).normal(0, 8, real.shape)).clip(0, 255).astype(np.uint8)
    of_blurred, of_real, of_noisy = (spectrum_exponent(radial_spectra(x)) for x in (blurred, real, noisy))
    assert of_blurred > of_real + 0.5
    assert of_noisy < of_real - 0.2


def test_black_images_have_a_spectrum_and_equal_sets_no_distance(real):
    black = np.zeros((3, 64, 64), np.uint8)
    assert np.isfinite(radial_spectra(black)).all()
    assert distance(real, black.astype(float)) > 1
    assert distance(real, real.astype(float)) == 0
