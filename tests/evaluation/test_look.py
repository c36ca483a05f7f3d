"""What is told of samples at a glance: alike, black, saturated; never of real mammograms."""

import numpy as np
import pytest
from PIL import Image

from mammogan.evaluation.look import complaint, look
from real_sets import SHARED, needs_real_sets


@pytest.fixture
def breasts() -> np.ndarray:
    """Ten bright shapes of different size and grey on black, uint8 (10, 32, 32): nine tenths are background."""
    chance = np.random.default_rng(0)
    images = np.zeros((10, 32, 32), np.uint8)
    for image in images:
        height, width = chance.integers(8, 16, 2)
        image[8 : 8 + height, :width] = chance.integers(60, 200, (height, width))
    return images


def said(samples: np.ndarray, real: np.ndarray) -> str:
    return complaint(look(samples), look(real)) or "nothing"


def test_nothing_is_said_of_images_that_look_like_the_real_ones(breasts):
    assert said(breasts[:5], breasts) == said(breasts, breasts) == "nothing"


def test_one_picture_whatever_z_is_a_collapse(breasts):
    assert "hardly vary with z" in said(breasts[:1].repeat(8, axis=0), breasts)


def test_black_images_are_told_though_most_of_a_mammogram_is_black(breasts):
    assert "black" in said(breasts // 20, breasts)
    assert "black" in said(np.zeros_like(breasts), breasts)


def test_shapes_filled_with_white_are_saturated(breasts):
    assert "saturated" in said(np.where(breasts > 0, 255, 0).astype(np.uint8), breasts)
    assert "saturated" in said(np.full_like(breasts, 255), breasts)


def test_a_real_set_never_accuses_itself():
    for grey in (0, 1, 255):
        flat = np.full((4, 8, 8), grey, np.uint8)
        assert complaint(look(flat), look(flat)) is None


def test_sixteen_bits_look_as_their_eight(breasts):
    assert look(breasts.astype(np.uint16) * 257) == look(breasts)


@needs_real_sets
def test_real_mammograms_are_accused_of_nothing_whole_or_in_parts():
    files = sorted((SHARED / "cdd-cesm-cc").rglob("*.png"))[:48]
    small = [np.asarray(Image.open(file).convert("L").resize((64, 64)), np.uint8) for file in files]
    real = np.stack(small)
    assert [said(real[first : first + 12], real) for first in range(0, len(real), 12)] == ["nothing"] * 4
