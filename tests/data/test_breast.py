"""The breast's box, orientation and tile, on drawn breasts whose outline is known."""

import math

import numpy as np
import pytest

from mammogan.data.breast import (
    Box,
    breast_box,
    breast_mask,
    chest_wall,
    cut_tile,
    frame_box,
    pad_to_square,
    shrink,
)
from mammogan.errors import DataError


def half_disk(height: int = 600, width: int = 400, radius: int = 200, grey: float = 0.6) -> np.ndarray:
    """A breast with its chest wall at the left edge, in the middle of the height."""
    y, x = np.ogrid[:height, :width]
    image = np.full((height, width), 0.01, dtype=np.float32)
    image[(y - height / 2) ** 2 + x**2 <= radius**2] = grey
    return image


def test_the_box_fits_the_breast_up_to_its_margin():
    box = breast_box(half_disk())
    assert box.left == 0
    assert box.top == pytest.approx(300 - 200 - 6, abs=3)  # the margin is 1.5 % of the box
    assert box.height == pytest.approx(2 * 206, abs=4)
    assert box.width == pytest.approx(206, abs=4)


def test_the_mask_overlaps_a_drawn_breast_almost_wholly():
    image = half_disk(1200, 800, 400)
    mask, truth = breast_mask(image), image > 0.5
    assert (mask & truth).sum() / (mask | truth).sum() == pytest.approx(1, abs=0.02)


def test_a_circle_stays_a_circle():
    tile = cut_tile(half_disk(), "L", 128).image > 76
    height, width = tile.any(axis=1).sum(), tile.any(axis=0).sum()
    assert height == pytest.approx(2 * width, abs=2)
    assert tile.sum() == pytest.approx(math.pi * width**2 / 2, rel=0.04)


def test_the_scale_says_how_many_tile_pixels_a_raw_pixel_has():
    tile = cut_tile(half_disk(), "L", 128)
    width = (tile.image > 76).any(axis=0).sum()
    assert width == pytest.approx(201 * tile.scale, abs=1)
    assert tile.scale == 128 / max(tile.box.height, tile.box.width)


def test_a_mirrored_breast_gives_the_same_tile():
    left = cut_tile(half_disk(), "L", 64)
    right = cut_tile(half_disk()[:, ::-1], "R", 64)
    np.testing.assert_array_equal(left.image, right.image)
    assert (left.flipped, right.flipped) == (False, True)
    assert right.box.left == 400 - right.box.width


@pytest.mark.parametrize("label", ["L", "R"])
def test_the_pixels_decide_the_side_where_the_label_disagrees(label):
    assert cut_tile(half_disk(), label, 64).flipped is False
    assert cut_tile(half_disk()[:, ::-1], label, 64).flipped is True


def test_the_label_decides_where_the_pixels_do_not():
    mask = np.ones((50, 50), dtype=bool)
    assert chest_wall(mask, "L") == "left"
    assert chest_wall(mask, "R") == "right"


def test_padding_goes_to_the_right_or_evenly_above_and_below():
    tall, wide = pad_to_square(np.ones((6, 2), np.float32)), pad_to_square(np.ones((2, 6), np.float32))
    assert tall.sum(axis=0).tolist() == [6, 6, 0, 0, 0, 0]
    assert wide.sum(axis=1).tolist() == [0, 0, 6, 6, 0, 0]


def test_a_fine_checkerboard_becomes_grey():
    y, x = np.indices((256, 256))
    small = shrink(((x + y) % 2).astype(np.float32), 64)
    assert set(np.unique(small)) <= {127, 128}


def test_shrinking_keeps_the_mean_grey_and_never_overshoots():
    rng = np.random.default_rng(0)
    square = rng.choice([0.2, 0.8], (300, 300)).astype(np.float32)
    small = shrink(square, 64)
    assert small.mean() == pytest.approx(255 * square.mean(), abs=0.6)
    assert small.min() >= 51
    assert small.max() <= 204


def test_frame_lines_and_markers_leave_no_trace():
    clean = half_disk()
    film = clean.copy()
    film[:9], film[-9:] = 0.9, 0.9  # the scanned film's bright edge
    film[:, :2] = 0.95
    film[40:70, 300:380] = 1.0  # a lead marker
    film[150:153, 215:218] = 1.0  # dust
    assert frame_box(film) == Box(9, 2, 600 - 18, 398)
    assert breast_box(film).height == pytest.approx(breast_box(clean).height, abs=6)
    tile, expected = cut_tile(film, "L", 64).image, cut_tile(clean, "L", 64).image
    assert np.abs(tile.astype(int) - expected).mean() < 2
    assert tile[:, 40:].max() < 8


def test_a_marker_inside_the_box_is_wiped():
    image = half_disk()
    image[110:130, 170:195] = 1.0  # beside the breast, inside its box
    tile = cut_tile(image, "L", 64).image
    np.testing.assert_array_equal(tile, cut_tile(half_disk(), "L", 64).image)


def test_a_breast_that_touches_the_border_is_no_frame():
    assert frame_box(half_disk(400, 300, 210)) == Box(0, 0, 400, 300)


def test_black_fat_at_the_chest_wall_belongs_to_the_breast():
    image = half_disk()
    image[280:320, :60] = 0
    assert breast_mask(image)[300, 30]


def test_a_light_leak_along_the_chest_wall_does_not_stretch_the_box():
    image = half_disk()
    image[:, :10] = np.maximum(image[:, :10], 0.1)
    assert breast_box(image).height == pytest.approx(412, abs=14)


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_an_image_of_one_grey_holds_no_breast(level):
    with pytest.raises(DataError, match="no breast found"):
        cut_tile(np.full((200, 150), level, dtype=np.float32), "L", 64)


def test_noise_alone_holds_no_breast():
    rng = np.random.default_rng(0)
    dust = (rng.random((300, 200)) > 0.999).astype(np.float32)
    with pytest.raises(DataError, match="no breast found"):
        cut_tile(dust, "L", 64)


def test_an_image_smaller_than_asked_is_refused_with_both_sizes():
    message = r"smaller than asked: the breast is 10\d x 5\d px, its long side must reach 256 px"
    with pytest.raises(DataError, match=message):
        cut_tile(half_disk(150, 100, 50), "L", 256)
