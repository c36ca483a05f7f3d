"""From a raw file to its tile: the square, the side, the record, and how little of the file is decoded."""

import io
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import mammogan.data.cut
from mammogan.data.cut import Tile, cut_file, padding
from mammogan.data.outline import Box
from mammogan.data.phantom import draw
from mammogan.errors import DataError
from real_sets import SHARED, needs_real_sets


class StandIn:
    """A raw file in memory; with more than one reduction it is coded as lossless JPEG 2000."""

    def __init__(self, image: np.ndarray, reductions: tuple[int, ...] = (1,), spacing_mm: float | None = None) -> None:
        self.height, self.width = image.shape
        self.reductions, self.spacing_mm = reductions, spacing_mm
        self.image = image.astype(np.float32)
        self.asked: list[int] = []
        if reductions != (1,):
            self.file = io.BytesIO()
            levels = Image.fromarray(np.rint(4095 * image).astype(np.uint16))
            levels.save(self.file, "JPEG2000", irreversible=False, num_resolutions=len(reductions))

    def read(self, reduction: int = 1) -> SimpleNamespace:
        self.asked.append(reduction)
        image = self.image
        if self.reductions != (1,):
            with Image.open(io.BytesIO(self.file.getvalue())) as film:
                film.reduce = self.reductions.index(reduction)
                film.load()
                image = np.asarray(film, dtype=np.float32) / np.float32(4095)
        return SimpleNamespace(image=image, how="12-bit", window="none", inverted=False, reduction=reduction)


@pytest.fixture
def cut(monkeypatch):
    """Cut a tile from an array or a stand-in."""

    def cut(raw, laterality="L", resolution=64, view="CC", bits=8, pectoral="keep", decoding="reduced") -> Tile:
        raw = StandIn(raw) if isinstance(raw, np.ndarray) else raw
        monkeypatch.setattr(mammogan.data.cut, "open_raw", lambda path: raw)
        path = Path("a") / "b.dcm"
        return cut_file(path, laterality, view, resolution=resolution, bits=bits, pectoral=pectoral, decoding=decoding)

    return cut


def half_disk(height: int = 600, width: int = 400, radius: int = 200, grey: float = 0.6) -> np.ndarray:
    """A breast with its chest wall at the left edge, in the middle of the height."""
    y, x = np.ogrid[:height, :width]
    image = np.full((height, width), 0.01, dtype=np.float32)
    image[(y - height / 2) ** 2 + x**2 <= radius**2] = grey
    return image


def phantom(view: str = "CC", side: str = "L", height: int = 512, seed: int = 1) -> np.ndarray:
    return draw(seed, side, view, "B", "calcifications", height)[0].astype(np.float32) / 255


def decibels(image: np.ndarray, reference: np.ndarray) -> float:
    """Peak signal-to-noise ratio of 16-bit images."""
    error = np.mean((image.astype(float) - reference) ** 2) / 65535**2
    return math.inf if error == 0 else -10 * math.log10(error)


def test_a_circle_stays_a_circle(cut):
    tile = cut(half_disk(), resolution=128).image > 76
    height, width = tile.any(axis=1).sum(), tile.any(axis=0).sum()
    assert height == pytest.approx(2 * width, abs=2)
    assert tile.sum() == pytest.approx(math.pi * width**2 / 2, rel=0.04)


def test_the_scale_says_how_many_tile_pixels_a_raw_pixel_has(cut):
    tile = cut(StandIn(half_disk(), spacing_mm=0.07), resolution=128)
    width = (tile.image > 76).any(axis=0).sum()
    assert width == pytest.approx(201 * tile.scale, abs=1)
    assert tile.scale == 128 / max(tile.box.height, tile.box.width)
    assert tile.spacing_mm == pytest.approx(0.07 * 412 / 128, rel=0.01)
    assert cut(half_disk()).spacing_mm is None


def test_a_mirrored_breast_gives_the_same_tile(cut):
    for image in (half_disk(), phantom("MLO")):
        left, right = cut(image, "L"), cut(np.ascontiguousarray(image[:, ::-1]), "R")
        np.testing.assert_array_equal(left.image, right.image)
        assert (left.flipped, right.flipped) == (False, True)
        assert right.box.left == image.shape[1] - left.box.left - right.box.width


@pytest.mark.parametrize("label", ["L", "R"])
def test_the_pixels_decide_the_side_where_the_label_disagrees(cut, label):
    assert cut(half_disk(), label).flipped is False
    assert cut(half_disk()[:, ::-1], label).flipped is True


def test_padding_goes_away_from_the_chest_wall_or_evenly_above_and_below(cut):
    assert padding(Box(5, 5, 60, 20)) == (0, 0, 40)
    assert padding(Box(5, 5, 21, 60)) == (19, 20, 0)
    tall = cut(half_disk())
    assert (tall.pad_top, tall.pad_bottom) == (0, 0)
    edge = math.ceil(64 * tall.box.width / tall.box.height)
    assert (tall.image[:, edge:] == 0).all()
    assert (tall.image[:, 0] > 0).all()

    y, x = np.ogrid[:300, :700]
    wide = cut(np.where((x / 500) ** 2 + ((y - 150) / 100) ** 2 < 1, 0.5, 0.01).astype(np.float32))
    assert wide.pad_right == 0
    assert 0 < wide.pad_top <= wide.pad_bottom <= wide.pad_top + 1
    black = math.floor(wide.pad_top * wide.scale)
    assert (wide.image[:black] == 0).all()
    assert (wide.image[-black:] == 0).all()
    assert wide.image[32, 0] in (127, 128)


def test_frame_lines_and_markers_leave_no_trace(cut):
    clean = half_disk()
    film = clean.copy()
    film[:9], film[-9:] = 0.9, 0.9  # the scanned film's bright edge
    film[:, :2] = 0.95
    film[40:70, 300:380] = 1.0  # a lead marker
    film[150:153, 215:218] = 1.0  # dust
    tile, expected = cut(film), cut(clean)
    assert np.abs(tile.image.astype(int) - expected.image).mean() < 2
    assert tile.image[:, 40:].max() < 8
    assert (tile.burnt_in, expected.burnt_in) == (True, False)


def test_a_marker_inside_the_box_is_wiped(cut):
    image = half_disk()
    image[110:130, 170:195] = 1.0  # beside the breast, inside its box
    np.testing.assert_array_equal(cut(image).image, cut(half_disk()).image)


def test_sixteen_bits_hold_the_same_picture_more_finely(cut):
    image = phantom() * np.float32(0.9)
    eight, sixteen = cut(image).image, cut(image, bits=16).image
    assert (eight.dtype, sixteen.dtype) == (np.uint8, np.uint16)
    assert np.abs(sixteen / 257 - eight).max() <= 0.502
    assert len(np.unique(sixteen)) > 4 * len(np.unique(eight))


def test_the_brightest_pixel_is_full_scale(cut):
    image = half_disk(grey=1.0)
    assert cut(image).image.max() == 255
    assert cut(image, bits=16).image.max() == 65535


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_an_image_of_one_grey_is_refused_by_name(cut, level):
    with pytest.raises(DataError, match=r"^a.b\.dcm: no breast found: nothing in the image is brighter"):
        cut(np.full((200, 150), level, dtype=np.float32))


def test_a_breast_smaller_than_asked_is_refused_with_both_sizes(cut):
    message = r"^a.b\.dcm: smaller than asked: the breast is 10\d x 5\d px, its long side must reach 256 px"
    with pytest.raises(DataError, match=message):
        cut(half_disk(150, 100, 50), resolution=256)


@pytest.mark.parametrize("resolution", [64, 128, 256, 512])
@pytest.mark.parametrize(("side", "view"), [("L", "CC"), ("R", "MLO")])
def test_reduced_decoding_stays_within_42_decibels_and_in_the_same_box(cut, side, view, resolution):
    film = Image.fromarray(phantom(view, side, 384)).resize((1432, 2048), Image.Resampling.BICUBIC)
    grain = np.random.default_rng(0).normal(0, 0.01, (2048, 1432))
    raw = StandIn(np.clip(np.asarray(film) + grain, 0, 1), (1, 2, 4, 8))
    full = cut(raw, side, resolution, view, bits=16, decoding="full")
    reduced = cut(raw, side, resolution, view, bits=16, decoding="reduced")
    assert full.reduction == 1
    assert reduced.box == full.box
    assert reduced.reduction > 1
    assert max(full.box.height, full.box.width) >= reduced.reduction * resolution
    assert decibels(reduced.image, full.image) >= 42


@needs_real_sets
@pytest.mark.parametrize("image_id", ["418861524", "1396659204"])
@pytest.mark.parametrize("resolution", [64, 128, 256])
def test_real_jpeg_2000_stays_within_42_decibels_too(image_id, resolution):
    path = SHARED / "cbis-ddsm-dicom" / "rsna_layout" / "train_images" / "173" / f"{image_id}.dcm"
    full, reduced = (
        cut_file(path, "L", "", resolution=resolution, bits=16, pectoral="keep", decoding=decoding)
        for decoding in ("full", "reduced")
    )
    assert (full.reduction, reduced.reduction > 1) == (1, True)
    assert reduced.box == full.box
    assert decibels(reduced.image, full.image) >= 42


def test_a_coarse_level_that_suffices_is_decoded_once(cut):
    raw = StandIn(half_disk(1200, 800, 450), (1, 2, 4))
    assert cut(raw, resolution=256).reduction == 2
    assert raw.asked == [2]  # of the long side 1,200, half still shows the breast well, and is enough for 256
    raw.asked.clear()
    assert cut(raw, resolution=128).reduction == 4
    assert raw.asked == [2, 4]
    raw.asked.clear()
    assert cut(raw, resolution=512).reduction == 1
    assert raw.asked == [2, 1]


def test_the_size_that_must_suffice_is_that_of_the_full_image(cut):
    raw = StandIn(half_disk(1200, 800, 300), (1, 2, 4))
    assert cut(raw, resolution=512).box.height == pytest.approx(618, abs=8)


def test_the_muscle_becomes_black_only_when_asked_and_only_in_oblique_views(cut):
    for side in "LR":
        image = phantom("MLO", side)
        kept, masked = cut(image, side, view="MLO"), cut(image, side, view="MLO", pectoral="mask")
        craniocaudal = cut(image, side, view="CC", pectoral="mask")
        assert (kept.pectoral, masked.pectoral, craniocaudal.pectoral) == ("kept", "masked", "absent")
        assert (masked.image[:8, :4] == 0).all()
        changed = masked.image != kept.image
        assert 0.03 < changed.mean() < 0.3
        assert (masked.image[changed] == 0).all()
        np.testing.assert_array_equal(craniocaudal.image, kept.image)


def test_an_oblique_view_without_a_muscle_is_left_as_it_is(cut):
    tile = cut(half_disk(), view="MLO", pectoral="mask")
    assert tile.pectoral == "absent"
    np.testing.assert_array_equal(tile.image, cut(half_disk()).image)


@needs_real_sets
def test_real_films_lie_at_the_left_edge_without_their_markers():
    films = sorted((SHARED / "cbis-ddsm-dicom" / "original").glob("*.dcm"))
    for film in films:
        tile = cut_file(film, "", "CC", resolution=128, bits=8, pectoral="mask", decoding="reduced")
        assert tile.burnt_in
        assert tile.flipped == ("RIGHT" in film.name)
        assert tile.image[64, 0] > 100
        assert tile.image[:, 80:].max() < 16
