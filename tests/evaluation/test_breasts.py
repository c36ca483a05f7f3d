"""Measures of the breast on tiles whose truth is known."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from mammogan.data.phantom import draw
from mammogan.evaluation.breasts import imbalance, measure_breasts
from real_sets import SHARED, needs_real_sets
from tile_of import tile_of
from whole_images import read_pixels


def half_disk(radius: float = 0.4, side: int = 128, grey: int = 120, soft: float = 0.0) -> NDArray[np.uint8]:
    """A breast (1, S, S) of one grey with its chest wall at the left edge."""
    y, x = np.ogrid[:side, :side]
    image = np.where((y - side / 2) ** 2 + x**2 <= (radius * side) ** 2, float(grey), 0.0)
    return np.rint(gaussian_filter(image, soft, mode="nearest")).astype(np.uint8)[None]


def phantoms(density: str) -> NDArray[np.uint8]:
    drawn = [draw(seed, "L", "CC", density, "none", 96)[0] / np.float32(255) for seed in range(3)]
    return np.stack([tile_of(image, "L", 64) for image in drawn])


@pytest.mark.parametrize("radius", [0.25, 0.4, 0.48])
def test_the_area_is_that_of_the_half_disk(radius):
    assert measure_breasts(half_disk(radius)).area[0] == pytest.approx(np.pi * radius**2 / 2, rel=0.03)


def test_density_is_the_share_of_bright_tissue_at_any_brightness_and_contrast():
    breast = half_disk(0.48, grey=60).astype(float)
    breast[0, 40:88, 4:30] = 150  # 48 x 26 px of about 10,300 within the rim
    share = 48 * 26 / (np.pi * (0.48 * 128 - 0.03 * 128) ** 2 / 2)
    for image in (breast, 0.6 * breast, 0.5 * breast + 20 * (breast > 0)):
        assert measure_breasts(image.astype(np.uint8)).density[0] == pytest.approx(share, rel=0.1)


def test_phantoms_of_the_densest_class_are_denser_than_those_of_the_fattest():
    fat, dense = (measure_breasts(phantoms(density)).density for density in "AD")
    assert dense.mean() > 1.5 * fat.mean()


def test_a_crisp_skin_line_is_sharp_and_blur_softens_it():
    crisp, soft, softer = (measure_breasts(half_disk(soft=sigma)).sharpness[0] for sigma in (0, 1, 2))
    assert crisp > 0.8
    assert soft == pytest.approx(1 / np.sqrt(2 * np.pi), rel=0.15)  # the steepest step of a Gaussian edge
    assert softer < 0.7 * soft


def test_an_image_without_a_breast_has_no_area_and_no_measures():
    found = measure_breasts(np.concatenate([np.zeros((1, 128, 128), np.uint8), half_disk()]))
    assert found.area[0] == 0
    assert found.area[1] > 0
    assert np.isnan([found.density[0], found.sharpness[0]]).all()


def test_imbalance_is_the_share_of_labels_that_would_have_to_change():
    assert imbalance(["L", "R"], ["L", "L", "R", "R"]) == 0
    assert imbalance(["L"] * 6 + ["R"] * 4, ["L"] * 8 + ["R"] * 2) == pytest.approx(0.2)
    assert imbalance(["CC", "", "MLO"], ["CC", "CC", ""]) == pytest.approx(0.5)  # the unknown do not count
    assert imbalance(["CC"], ["MLO"]) == 1


@needs_real_sets
def test_real_breasts_are_measured_and_blur_softens_their_skin_line():
    files = sorted((SHARED / "cdd-cesm-cc" / "images").glob("*.png"))[::16]
    tiles = np.stack([tile_of(read_pixels(file).image, "L", 128) for file in files])
    real, blurred = measure_breasts(tiles), measure_breasts(gaussian_filter(tiles, (0, 1, 1)))
    assert (real.area > 0.2).all()
    assert ((real.density > 0.03) & (real.density < 0.6)).all()
    assert (blurred.sharpness < 0.8 * real.sharpness).all()
