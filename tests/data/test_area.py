"""Area means: golden values by hand, and the laws of a mean."""

import numpy as np
import pytest

from mammogan.data.area import area_mean, shares


def test_a_pixel_across_an_edge_counts_for_both_sides_by_its_share():
    assert area_mean(np.array([[0, 6, 0]], np.float32), 1, 2).tolist() == [[2, 2]]
    assert area_mean(np.array([[3, 0, 0, 0, 0]], np.float32), 1, 2) == pytest.approx(np.array([[1.2, 0]]))


def test_a_fine_checkerboard_becomes_grey():
    y, x = np.indices((256, 256))
    np.testing.assert_allclose(area_mean(((x + y) % 2).astype(np.float32), 64, 64), 0.5)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (37, 211), (300, 300), (1, 1)])
def test_shrinking_keeps_the_mean_grey_and_never_overshoots(height, width):
    image = np.random.default_rng(0).choice([0.2, 0.8], (300, 300)).astype(np.float32)
    small = area_mean(image, height, width)
    assert small.shape == (height, width)
    assert small.mean() == pytest.approx(image.mean(), abs=1e-6)
    assert small.min() >= 0.2 - 1e-6
    assert small.max() <= 0.8 + 1e-6


def test_shares_of_a_stretch_that_goes_beyond_the_pixels_leave_the_rest_black():
    weights = shares(4, 3, start=-2, length=6).toarray()
    np.testing.assert_allclose(weights, [[0, 0, 0, 0], [0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]])


def test_shares_count_from_the_far_end_when_mirrored():
    forth, back = shares(7, 3, 0.5, 5.25), shares(7, 3, 0.5, 5.25, mirrored=True)
    np.testing.assert_array_equal(back.toarray(), forth.toarray()[:, ::-1])


def test_within_what_is_kept_the_outermost_pixels_go_on():
    assert shares(2, 2, 0, 4, keep=(0, 3)).toarray().tolist() == [[0.5, 0.5], [0, 0.5]]
