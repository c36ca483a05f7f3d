"""Phantoms: what makes them mammogram-like, repeatable and safe to write, and the committed sample."""

import filecmp
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import distance_transform_edt, label

from mammogan.config import PhantomConfig
from mammogan.data.phantom import COLUMNS, DENSITIES, FINDINGS, LATERALITIES, VIEWS, draw, phantom
from mammogan.data.phantom_tissue import lattice_noise, power_law
from mammogan.errors import DataError

SAMPLE = Path(__file__).parents[2] / "samples" / "phantoms"
SAMPLE_SEED, SAMPLE_HEIGHT_PX, SAMPLE_PATIENTS = 2026, 128, 128
FOUR_MB = 4_000_000


def spectrum_exponent(patch: NDArray[np.float64]) -> float:
    """Slope of the radially averaged periodogram, sign turned, under a Hann window: square (n, n) -> exponent."""
    n = len(patch)
    window = np.outer(np.hanning(n), np.hanning(n))
    power = np.abs(np.fft.fft2((patch - np.average(patch, weights=window)) * window)) ** 2
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(n, 1 / n), np.fft.fftfreq(n, 1 / n)))
    rings = np.arange(4, n // 4)
    mean = [power[np.abs(frequency - ring) < 0.5].mean() for ring in rings]
    return float(-np.polyfit(np.log(rings), np.log(mean), 1)[0])


def square_inside(image: NDArray[np.uint8], mask: NDArray[np.bool_], side: int) -> NDArray[np.float64]:
    """A square of `side` pixels in the middle of the breast."""
    depth = distance_transform_edt(np.pad(mask, 1), return_indices=False)[1:-1, 1:-1]
    depth[: side // 2] = depth[-side // 2 :] = depth[:, : side // 2] = 0
    row, column = np.unravel_index(np.argmax(depth), depth.shape)
    rows = slice(row - side // 2, row + side // 2)
    columns = slice(column - side // 2, column + side // 2)
    assert mask[rows, columns].all()
    return image[rows, columns].astype(np.float64)


@cache
def added_by(finding: str, seed: int, view: str, height_px: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """What a finding adds to each pixel, in grey levels, and the breast mask."""
    shown, mask = draw(seed, "L", view, "B", finding, height_px)
    bare, _ = draw(seed, "L", view, "B", "none", height_px)
    return shown.astype(np.int64) - bare, mask


@pytest.fixture(scope="module")
def sample_labels() -> pd.DataFrame:
    return pd.read_csv(SAMPLE / "labels.csv")


def test_the_spectrum_estimator_knows_white_noise() -> None:
    white = np.random.default_rng(0).standard_normal((8, 256, 256))
    assert np.mean([spectrum_exponent(field) for field in white]) == pytest.approx(0, abs=0.1)


def test_the_power_law_field_has_the_exponent_three_of_mammograms() -> None:  # Burgess et al. 2001
    y, x = (np.mgrid[0:256, 0:256] + 0.5) / 256
    fields = [power_law(np.random.default_rng(seed), x.ravel(), y.ravel(), 384) for seed in range(6)]
    assert np.mean([spectrum_exponent(field.reshape(256, 256)) for field in fields]) == pytest.approx(3, abs=0.15)


def test_lattice_noise_has_zero_mean_and_unit_variance() -> None:
    y, x = (np.mgrid[0:256, 0:256] + 0.5) / 256
    noise = lattice_noise(np.random.default_rng(1), x.ravel(), y.ravel(), 64.0)
    assert noise.mean() == pytest.approx(0, abs=0.05)
    assert noise.var() == pytest.approx(1, abs=0.1)


def test_the_tissue_of_the_finished_picture_has_an_exponent_near_three() -> None:
    exponents = []
    for seed in range(4):
        image, mask = draw(seed, "L", VIEWS[seed % 2], "BC"[seed // 2 % 2], "none", 384)
        exponents.append(spectrum_exponent(square_inside(image, mask, 96)))
    assert np.mean(exponents) == pytest.approx(3, abs=0.5)  # single mammograms spread over 1.5 to 3.5: Burgess 2003


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("laterality", LATERALITIES)
def test_the_chest_wall_of_a_left_breast_is_at_the_left_edge(laterality: str, view: str) -> None:
    for seed in range(4):
        image, mask = draw(seed, laterality, view, "B", "none", 64)
        if laterality == "R":
            image, mask = image[:, ::-1], mask[:, ::-1]
        assert mask[:, 0].mean() > 0.5
        assert not mask[:, -1].any()
        half = image.shape[1] // 2
        assert image[:, :half].sum() > image[:, half:].sum()


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("height_px", [64, 130])
def test_the_mask_is_exactly_the_pixels_above_black(view: str, height_px: int) -> None:
    for seed in range(4):
        image, mask = draw(seed, "R", view, "C", "mass", height_px)
        assert image.shape == mask.shape == (height_px, round(0.7 * height_px))
        assert image.dtype == np.uint8
        assert mask.dtype == np.bool_
        np.testing.assert_array_equal(image > 0, mask)
        assert label(mask)[1] == 1
        assert 0.2 < mask.mean() < 0.85


def test_brightness_falls_softly_to_the_skin() -> None:
    image, mask = draw(5, "L", "CC", "D", "none", 256)
    depth = distance_transform_edt(np.pad(mask, ((1, 1), (0, 1))))[1:-1, :-1]
    ring = [np.mean(image[(depth > start) & (depth <= start + 4)]) for start in (4, 8, 12, 16)]
    assert ring == sorted(ring)
    assert np.mean(image[(depth > 0) & (depth <= 1)]) < 0.6 * ring[-1]


@pytest.mark.parametrize("view", VIEWS)
def test_a_denser_class_is_brighter_and_has_a_larger_dense_share(view: str) -> None:
    for seed in range(3):
        brightness, dense_share = [], []
        for density in DENSITIES:
            image, mask = draw(seed, "L", view, density, "none", 96)
            brightness.append(image[mask].mean())
            dense_share.append((image[mask] > 100).mean())
        assert brightness == sorted(brightness)
        assert dense_share == sorted(dense_share)
        assert dense_share[-1] > dense_share[0] + 0.2


def test_gland_lies_behind_the_nipple_and_fat_under_the_skin() -> None:
    for seed in range(3):
        image, mask = draw(seed, "L", "CC", "B", "none", 128)
        depth = distance_transform_edt(np.pad(mask, ((1, 1), (0, 1))))[1:-1, :-1]
        under_skin = (depth > 3) & (depth < 7)
        tip = np.argmax(mask.sum(axis=1))
        behind = np.zeros_like(mask)
        reach = int(mask[tip].sum())
        behind[tip - 15 : tip + 15, reach // 3 : 3 * reach // 4] = True
        assert image[behind].mean() > 1.3 * image[under_skin].mean()


def test_the_pectoral_muscle_shows_in_the_upper_corner_of_the_oblique_view() -> None:
    for seed in range(4):
        oblique, mask = draw(seed, "L", "MLO", "A", "none", 128)
        corner = oblique[:12, :8]
        assert mask[:12, :8].all()
        assert corner.mean() > 1.2 * np.median(oblique[mask])


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("finding", FINDINGS[1:])
def test_a_finding_lies_inside_the_breast_and_changes_nothing_else(finding: str, view: str) -> None:
    for seed in range(3):
        added, mask = added_by(finding, seed, view, 128)
        assert not added[~mask].any()
        assert added.max() > 15
        assert added.min() >= -1
        assert (added > 8).mean() < 0.05


def test_a_finding_lies_equally_far_from_the_nipple_in_both_views() -> None:
    for seed in range(4):
        distances = []
        for view in VIEWS:
            added, mask = added_by("mass", seed, view, 128)
            rows, columns = np.indices(added.shape)
            tip = np.flatnonzero(mask.any(axis=0))[-1]
            tip_row = np.flatnonzero(mask[:, tip]).mean()
            centre = np.average(rows, weights=added), np.average(columns, weights=added)
            distances.append(np.hypot(centre[0] - tip_row, centre[1] - tip) / 128)
        assert distances[0] == pytest.approx(distances[1], abs=0.03)


def test_microcalcifications_are_several_small_bright_spots() -> None:
    for seed in range(3):
        added, _ = added_by("calcifications", seed, "CC", 300)
        spots, count = label(added > 12)
        areas = np.bincount(spots.ravel())[1:]
        assert 4 <= count <= 20
        assert np.median(areas) <= 16  # of 300 x 210 pixels
        assert added.max() > 60


def test_spicules_reach_far_beyond_the_core() -> None:
    def jaggedness(finding: str, seed: int) -> float:  # perimeter^2 / area, 4 pi for a disc
        blob = added_by(finding, seed, "CC", 300)[0] > 10
        rim = blob & (distance_transform_edt(blob) <= 1)
        return float(rim.sum() ** 2 / blob.sum())

    for seed in range(2):
        assert jaggedness("spiculated_mass", seed) > 2 * jaggedness("mass", seed)


def test_patients_sides_and_views_differ_and_repeated_draws_do_not() -> None:
    image, _ = draw(1, "L", "CC", "B", "none", 64)
    np.testing.assert_array_equal(image, draw(1, "L", "CC", "B", "none", 64)[0])
    other_side = draw(1, "R", "CC", "B", "none", 64)[0][:, ::-1]
    for other in (other_side, draw(1, "L", "MLO", "B", "none", 64)[0], draw(2, "L", "CC", "B", "none", 64)[0]):
        assert np.abs(image.astype(int) - other).mean() > 3


def test_another_height_shows_the_same_breast() -> None:
    coarse, _ = draw(3, "L", "MLO", "C", "none", 100)
    fine, _ = draw(3, "L", "MLO", "C", "none", 200)
    halved = fine.reshape(100, 2, 70, 2).mean(axis=(1, 3))
    assert np.corrcoef(coarse.ravel(), halved.ravel())[0, 1] > 0.97


@pytest.mark.parametrize(
    ("laterality", "view", "density", "finding", "height_px", "message"),
    [
        ("left", "CC", "A", "none", 64, "laterality is 'left'; give one of L, R"),
        ("L", "ML", "A", "none", 64, "view is 'ML'; give one of CC, MLO"),
        ("L", "CC", "E", "none", 64, "density is 'E'; give one of A, B, C, D"),
        ("L", "CC", "A", "cyst", 64, "finding is 'cyst'; give one of none, mass"),
        ("L", "CC", "A", "none", 32, "give at least 64 px"),
    ],
)
def test_an_unknown_word_is_refused_with_the_known_ones(
    laterality: str, view: str, density: str, finding: str, height_px: int, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        draw(0, laterality, view, density, finding, height_px)


def test_the_same_seed_writes_the_same_bytes_and_another_seed_other_ones(tmp_path: Path) -> None:
    for name, seed in (("first", 7), ("second", 7), ("other", 8)):
        phantom(PhantomConfig(patients=2, height_px=64, seed=seed), tmp_path / name)
    names = ["labels.csv", *(f"images/{path.name}" for path in (tmp_path / "first/images").iterdir())]
    assert len(names) == 9
    match, mismatch, errors = filecmp.cmpfiles(tmp_path / "first", tmp_path / "second", names, shallow=False)
    assert (sorted(match), mismatch, errors) == (sorted(names), [], [])
    pictures = names[1:]
    match, _, _ = filecmp.cmpfiles(tmp_path / "first", tmp_path / "other", pictures, shallow=False)
    assert match == []


def test_an_earlier_set_is_replaced_but_other_files_are_not(tmp_path: Path) -> None:
    config = PhantomConfig(patients=1, height_px=64, seed=1)
    out = tmp_path / "out"
    phantom(PhantomConfig(patients=2, height_px=64, seed=1), out)
    phantom(config, out)
    assert len(list((out / "images").iterdir())) == 4
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "labels.csv").write_text("patient_id,laterality,image_id\n", encoding="utf-8")
    with pytest.raises(DataError, match="mine holds something other than phantoms"):
        phantom(config, mine)
    assert [path.name for path in mine.iterdir()] == ["labels.csv"]


def test_the_committed_sample_is_small() -> None:
    assert sum(path.stat().st_size for path in SAMPLE.rglob("*") if path.is_file()) <= FOUR_MB


def test_the_committed_sample_is_what_the_function_draws(sample_labels: pd.DataFrame, tmp_path: Path) -> None:
    config = PhantomConfig(patients=1, height_px=SAMPLE_HEIGHT_PX, seed=SAMPLE_SEED)
    phantom(config, tmp_path / "again")
    again = pd.read_csv(tmp_path / "again/labels.csv")
    pd.testing.assert_frame_equal(again, sample_labels.head(4))
    for file in again.file:
        with Image.open(SAMPLE / file) as kept, Image.open(tmp_path / "again" / file) as drawn:
            np.testing.assert_allclose(np.asarray(kept, int), np.asarray(drawn, int), atol=1)


def test_the_label_table_of_the_sample_is_consistent(sample_labels: pd.DataFrame) -> None:
    table = sample_labels
    assert tuple(table.columns) == COLUMNS
    assert len(table) == 4 * SAMPLE_PATIENTS
    assert table.image_id.is_unique
    assert {path.relative_to(SAMPLE).as_posix() for path in SAMPLE.glob("images/*")} == set(table.file)
    by_patient = table.groupby("patient_id")
    assert (by_patient[["laterality", "view"]].value_counts() == 1).all()
    assert (by_patient.size() == 4).all()
    assert not table[["patient_id", "density"]].drop_duplicates().patient_id.duplicated().any()
    assert set(table.density) == set(DENSITIES)
    assert set(table.finding) == set(FINDINGS)
    by_breast = table[["patient_id", "laterality", "finding", "cancer"]].drop_duplicates()
    assert len(by_breast) == 2 * SAMPLE_PATIENTS
    found = by_breast[by_breast.finding != "none"]
    assert found.patient_id.is_unique
    assert 0.2 <= len(found) / SAMPLE_PATIENTS <= 0.35
    assert not table[table.finding.isin(["none", "mass"])].cancer.any()
    assert table[table.finding == "spiculated_mass"].cancer.all()
    assert set(table[table.finding == "calcifications"].cancer) == {0, 1}


def test_the_sample_holds_eight_bit_grey_pictures_on_black(sample_labels: pd.DataFrame) -> None:
    for file in sample_labels.file[::16]:
        with Image.open(SAMPLE / file) as picture:
            assert picture.mode == "L"
            assert picture.height == SAMPLE_HEIGHT_PX
            assert np.mean(np.asarray(picture) == 0) > 0.15
