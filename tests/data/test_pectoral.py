"""The edge of the pectoral muscle, against the muscle that phantoms are drawn with, and on real films."""

import csv

import numpy as np

from mammogan.data.breast import find_breast
from mammogan.data.outline import bounding_box
from mammogan.data.pectoral import in_muscle, muscle_edge
from mammogan.data.phantom import DENSITIES, LATERALITIES, _Chance, draw
from mammogan.data.phantom_shape import draw_build, draw_shape
from real_sets import SHARED, needs_real_sets
from whole_images import breast_mask, read_pixels

HEIGHT = 256


def true_muscle(seed: int, side: str) -> np.ndarray:
    """Mask of the muscle in the left-sided oblique phantom of a patient's breast, as `draw` paints it."""
    chance = _Chance(seed, 1 + LATERALITIES.index(side), 2)
    shape = draw_shape(chance.of_view("shape"), draw_build(chance.of_patient("build")), "MLO")
    rows, columns = np.mgrid[0:HEIGHT, 0 : round(0.7 * HEIGHT)]
    return shape.in_pectoral((columns + 0.5) / HEIGHT, (rows + 0.5) / HEIGHT, 0.03) > 0.5


def found_muscle(image: np.ndarray) -> np.ndarray | None:
    """Mask of the muscle of a left-sided image in [0, 1]."""
    breast = find_breast(image)
    assert breast.overview.shape == image.shape
    box = bounding_box(breast.mask)
    edge = muscle_edge(breast.overview[box.slices], breast.mask[box.slices])
    if edge is None:
        return None
    rows, columns = (np.arange(size) + 0.5 for size in image.shape)
    return in_muscle(edge, columns - box.left, rows - box.top)


def test_the_muscle_of_oblique_phantoms_is_found():
    overlaps = []
    for k in range(24):
        seed, side, density = 200 + k, LATERALITIES[k % 2], DENSITIES[k // 2 % 4]
        image, breast = draw(seed, side, "MLO", density, "none", HEIGHT)
        image, breast = (a if side == "L" else np.ascontiguousarray(a[:, ::-1]) for a in (image, breast))
        muscle = found_muscle(image.astype(np.float32) / 255)
        truth = true_muscle(seed, side) & breast
        if muscle is not None:
            overlaps.append((muscle & truth).sum() / ((muscle & breast) | truth).sum())
    assert len(overlaps) >= 22  # dense tissue over the edge may hide it
    assert np.median(overlaps) >= 0.9
    assert min(overlaps) >= 0.8


def test_a_breast_without_a_muscle_has_none():
    y, x = np.ogrid[:HEIGHT, : round(0.7 * HEIGHT)]
    image = np.where((y - 128) ** 2 + x**2 < 110**2, 0.3, 0.0).astype(np.float32)
    grain = np.random.default_rng(0).normal(0, 0.02, image.shape)
    assert found_muscle(np.where(image > 0, image + grain, image).astype(np.float32)) is None


def test_a_skin_line_is_no_muscle():
    y, x = np.ogrid[:HEIGHT, : round(0.7 * HEIGHT)]
    image = np.where(x + 0.5 * y < 110, 0.3, 0.0).astype(np.float32)  # its oblique edge is the skin
    assert breast_mask(image).any()
    assert found_muscle(image) is None


def test_a_straight_muscle_is_found_to_the_pixel():
    y, x = np.ogrid[:HEIGHT, : round(0.7 * HEIGHT)]
    image = np.where((y - 100) ** 2 + x**2 < 150**2, 0.2, 0.0).astype(np.float32)
    muscle = x / 80 + y / 140 < 1
    image[muscle] = 0.5
    found = found_muscle(image)
    assert found is not None
    assert (found ^ muscle).sum() < 200  # of 5,600: a pixel along the edge


def test_points_lie_in_the_muscle_up_to_its_edge():
    edge = np.array([[4.0, -1.0], [2.0, 1.0], [-1.0, 4.0]])
    inside = in_muscle(edge, np.array([0.5, 1.5, 2.5]), np.array([0.5, 1.5, 3.5]))
    assert inside.tolist() == [[True, True, False], [True, False, False], [False, False, False]]


@needs_real_sets
def test_real_oblique_films_show_a_muscle_and_craniocaudal_ones_none():
    folder = SHARED / "cbis-ddsm-dicom"
    with (folder / "metadata.csv").open(encoding="utf-8", newline="") as file:
        films = [row for row in csv.DictReader(file) if row["file"].startswith("rsna_layout")]
    for film in films:
        image = read_pixels(folder / film["file"]).image
        if film["laterality"] == "R":
            image = np.ascontiguousarray(image[:, ::-1])
        breast = find_breast(image)
        box = bounding_box(breast.mask)
        edge = muscle_edge(breast.overview[box.slices], breast.mask[box.slices])
        assert (edge is not None) == (film["view"] == "MLO"), film["file"]
