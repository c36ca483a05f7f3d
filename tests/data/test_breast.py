"""The breast's mask, box and side, and what lies beside it, on breasts whose outline is known by construction."""

from functools import cache
from itertools import product

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

import mammogan.data.phantom
from mammogan.data.breast import find_breast, frame_box
from mammogan.data.outline import Box, chest_wall
from mammogan.data.phantom import DENSITIES, LATERALITIES, VIEWS
from mammogan.data.phantom_findings import FINDINGS
from mammogan.errors import DataError
from real_sets import SHARED, needs_real_sets
from whole_images import breast_mask, read_pixels

CASES = [
    (seed, side, view, density, FINDINGS[(k + seed) % 4], (256, 320, 384, 512)[(k + k // 4 + seed) % 4])
    for seed in (1, 2)
    for k, (side, view, density) in enumerate(product(LATERALITIES, VIEWS, DENSITIES))
]
CASES += [(3, "L", "MLO", "C", "mass", 1024), (3, "R", "CC", "A", "none", 1024)]

draw = cache(mammogan.data.phantom.draw)


def half_disk(height: int = 600, width: int = 400, radius: int = 200, grey: float = 0.6) -> np.ndarray:
    """A breast with its chest wall at the left edge, in the middle of the height."""
    y, x = np.ogrid[:height, :width]
    image = np.full((height, width), 0.01, dtype=np.float32)
    image[(y - height / 2) ** 2 + x**2 <= radius**2] = grey
    return image


def overlap(mask: np.ndarray, truth: np.ndarray) -> float:
    """Intersection over union."""
    return float((mask & truth).sum() / (mask | truth).sum())


def written_on(image: np.ndarray, text: str, left: float, top: float, size: float = 0.05) -> np.ndarray:
    """`image` with white text; place and size as shares of the image."""
    height, width = image.shape
    film = Image.fromarray(np.rint(255 * image).astype(np.uint8))
    font = ImageFont.load_default(max(9, size * height))
    ImageDraw.Draw(film).text((left * width, top * height), text, fill=255, font=font)
    return np.asarray(film, dtype=np.float32) / np.float32(255)


def with_frame(image: np.ndarray, side: str) -> np.ndarray:
    film = image.copy()
    lines = max(2, len(film) // 60)
    film[:lines], film[-lines:] = 0.9, 0.95
    film[:, :2], film[:, -2:] = 0.9, 0.9
    return film


def with_marker(image: np.ndarray, side: str) -> np.ndarray:
    return written_on(image, f"{side} CC", 0.80 if side == "L" else 0.02, 0.04)


def with_text(image: np.ndarray, side: str) -> np.ndarray:
    return written_on(image, "28 kV\n71 mAs\n11 cm", 0.80 if side == "L" else 0.02, 0.80, 0.03)


def with_noise(image: np.ndarray, side: str) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, 0.015, image.shape)
    return np.clip(image + noise, 0, 1).astype(np.float32)


def with_dust(image: np.ndarray, side: str) -> np.ndarray:
    film, rng = image.copy(), np.random.default_rng(0)
    for row, column in rng.integers(0, np.array(film.shape) - 3, (40, 2)):
        size = rng.integers(1, 4)
        film[row : row + size, column : column + size] = 1
    return film


def on_grey(image: np.ndarray, side: str) -> np.ndarray:
    return (0.15 + 0.85 * image).astype(np.float32)


def with_scanner_edge(image: np.ndarray, side: str) -> np.ndarray:
    film = image.copy()
    width = max(2, film.shape[1] // 40)
    film[:, slice(-width, None) if side == "L" else slice(0, width)] = 1
    return film


DEGRADED = (with_frame, with_marker, with_text, with_noise, with_dust, on_grey, with_scanner_edge)


@pytest.mark.parametrize(("seed", "side", "view", "density", "finding", "height"), CASES)
def test_the_mask_covers_the_true_outline(seed, side, view, density, finding, height):
    image, truth = draw(seed, side, view, density, finding, height)
    assert overlap(breast_mask(image.astype(np.float32) / 255), truth) >= 0.98


@pytest.mark.parametrize("degraded", DEGRADED, ids=lambda function: function.__name__)
@pytest.mark.parametrize(("seed", "side", "view", "density"), [(5, "L", "CC", "B"), (6, "R", "MLO", "D")])
def test_the_mask_covers_the_true_outline_on_poor_films_too(degraded, seed, side, view, density):
    image, truth = draw(seed, side, view, density, "none", 512)
    film = degraded(image.astype(np.float32) / 255, side)
    inside = frame_box(film).slices
    assert truth[inside].sum() >= 0.95 * truth.sum()
    assert overlap(breast_mask(film)[inside], truth[inside]) >= 0.98


def test_the_mask_covers_the_true_outline_under_all_that_at_once():
    image, truth = draw(7, "R", "CC", "C", "mass", 768)
    film = image.astype(np.float32) / 255
    for degraded in (on_grey, with_marker, with_text, with_dust, with_noise, with_frame):
        film = degraded(film, "R")
    inside = frame_box(film).slices
    assert overlap(breast_mask(film)[inside], truth[inside]) >= 0.98


def test_the_box_fits_the_breast_up_to_its_margin():
    box = find_breast(half_disk()).box
    assert box.left == 0
    assert box.top == pytest.approx(300 - 200 - 6, abs=3)  # the margin is 1.5 % of the box
    assert box.height == pytest.approx(2 * 206, abs=4)
    assert box.width == pytest.approx(206, abs=4)


def test_the_label_decides_the_side_where_the_pixels_do_not():
    mask = np.ones((50, 50), dtype=bool)
    assert chest_wall(mask, "L") == "left"
    assert chest_wall(mask, "R") == "right"


@pytest.mark.parametrize("label", ["L", "R", ""])
def test_the_pixels_decide_the_side_where_they_can(label):
    mask = half_disk() > 0.5
    assert chest_wall(mask, label) == "left"
    assert chest_wall(mask[:, ::-1], label) == "right"


def test_frame_lines_are_cut_off_and_markers_leave_the_box_alone():
    clean = half_disk()
    film = clean.copy()
    film[:9], film[-9:] = 0.9, 0.9  # the scanned film's bright edge
    film[:, :2] = 0.95
    film[40:70, 300:380] = 1.0  # a lead marker
    film[150:153, 215:218] = 1.0  # dust
    assert frame_box(film) == Box(9, 2, 600 - 18, 398)
    assert find_breast(film).box.height == pytest.approx(find_breast(clean).box.height, abs=6)


def test_a_breast_that_touches_the_border_is_no_frame():
    assert frame_box(half_disk(400, 300, 210)) == Box(0, 0, 400, 300)


def test_black_fat_at_the_chest_wall_belongs_to_the_breast():
    image = half_disk()
    image[280:320, :60] = 0
    assert breast_mask(image)[300, 30]


def test_a_light_leak_along_the_chest_wall_does_not_stretch_the_box():
    image = half_disk()
    image[:, :10] = np.maximum(image[:, :10], 0.1)
    assert find_breast(image).box.height == pytest.approx(412, abs=14)


def test_a_nipple_that_black_skin_parts_from_the_breast_belongs_to_it_and_text_beside_the_breast_does_not():
    image = half_disk()
    image[286:314, 206:232] = 0.5
    assert breast_mask(image)[300, 225]
    film = written_on(half_disk(1200, 800, 400), "28 kV 71 mAs", 0.42, 0.72, 0.04)
    assert overlap(breast_mask(film), breast_mask(half_disk(1200, 800, 400))) > 0.999


def test_a_nipple_on_a_thin_neck_belongs_to_the_breast():
    image = half_disk()
    image[296:305, 200:214] = 0.4
    image[288:313, 212:228] = 0.6
    breast = find_breast(image)
    assert breast_mask(image)[300, 224]
    assert not breast.markers.any()
    assert breast.box.width >= 228


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_an_image_of_one_grey_holds_no_breast(level):
    with pytest.raises(DataError, match="no breast found: nothing in the image is brighter"):
        find_breast(np.full((1500, 1100), level, dtype=np.float32))


def test_noise_alone_holds_no_breast():
    rng = np.random.default_rng(0)
    dust = (rng.random((300, 200)) > 0.999).astype(np.float32)
    with pytest.raises(DataError, match="no breast found"):
        find_breast(dust)


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("side", LATERALITIES)
def test_text_and_markers_near_the_border_are_flagged(side, view):
    image = draw(3, side, view, "C", "none", 384)[0].astype(np.float32) / 255
    assert not find_breast(image).burnt_in
    assert find_breast(with_marker(image, side)).burnt_in
    assert find_breast(with_text(image, side)).burnt_in


@pytest.mark.parametrize("degraded", [with_frame, with_noise, with_dust, on_grey, with_scanner_edge])
@pytest.mark.parametrize(("view", "density", "height"), [("MLO", "C", 384), ("CC", "A", 1024)])
def test_dust_noise_and_frames_are_not_flagged(degraded, view, density, height):
    image = draw(3, "R" if view == "CC" else "L", view, density, "none", height)[0].astype(np.float32) / 255
    assert not find_breast(degraded(image, "R" if view == "CC" else "L")).burnt_in


def test_a_faint_smear_near_the_border_is_not_flagged():
    image = half_disk()
    image[40:60, 330:370] = 0.155
    assert find_breast(image).markers.any()
    assert not find_breast(image).burnt_in


def test_a_long_strip_of_light_and_tissue_at_the_chest_wall_are_not_flagged():
    strip, tissue = half_disk(), half_disk()
    strip[100:450, 370:376] = 0.9
    tissue[550:580, :30] = 0.6
    for image in (strip, tissue):
        assert find_breast(image).markers.any()
        assert not find_breast(image).burnt_in


@needs_real_sets
def test_the_letters_on_real_films_are_flagged():
    films = sorted((SHARED / "cbis-ddsm-dicom" / "rsna_layout").rglob("*.dcm"))
    films += sorted((SHARED / "cbis-ddsm-dicom" / "original").glob("*.dcm"))
    for film in films:
        assert find_breast(read_pixels(film).image).burnt_in, film.name


@needs_real_sets
def test_real_images_cropped_to_the_breast_are_not_flagged():
    images = sorted((SHARED / "cdd-cesm-cc" / "images").glob("*.png"))[::8]
    flagged = [image.name for image in images if find_breast(read_pixels(image).image).burnt_in]
    assert flagged == []
