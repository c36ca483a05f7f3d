"""Scores come with the floor that gives them a scale."""

import tracemalloc

import numpy as np
import pandas as pd
import pytest

from mammogan.config import EvaluateConfig
from mammogan.data.tiles import Tiles
from mammogan.errors import EvaluationError
from mammogan.evaluation.evaluate import Scores, evaluate, floor, spread


def config(**changes) -> EvaluateConfig:
    return EvaluateConfig(
        **{"n_images": None, "batch_size": 8, "floor_splits": 10, "weights": None, "seed": 1, **changes}
    )


@pytest.fixture
def real() -> np.ndarray:
    """Features of 120 images of 40 patients, float32 (120, 16)."""
    return np.random.default_rng(0).standard_normal((120, 16)).astype(np.float32)


@pytest.fixture
def patients() -> list[str]:
    return [f"P{i // 3}" for i in range(120)]


def test_a_perfect_generator_reaches_the_floor(real, patients):
    fake = np.random.default_rng(1).standard_normal((100, 16)).astype(np.float32)
    scores = evaluate(config(), real, patients, fake)
    assert scores.ratio == pytest.approx(1, abs=0.25)
    assert scores.ratio == pytest.approx(scores.fid_at_floor_n / scores.floor)
    assert scores.fid < scores.fid_at_floor_n  # more images, less bias
    assert (scores.n_real, scores.n_fake) == (120, 100)
    assert 55 <= scores.floor_n <= 60


def test_a_worse_generator_is_above_it(real, patients):
    fake = np.random.default_rng(1).standard_normal((100, 16)).astype(np.float32) * 0.5
    assert evaluate(config(), real, patients, fake).ratio > 1.5


def test_halves_share_no_patient():
    # Ten equal images a patient: halves drawn by image would hold the same images and score near zero.
    rng = np.random.default_rng(0)
    of_patient = rng.standard_normal((12, 16)).astype(np.float32)
    real = np.repeat(of_patient, 10, axis=0)
    patients = [f"P{i // 10}" for i in range(120)]
    by_image = floor(config(), real, [f"I{i}" for i in range(120)])
    assert floor(config(), real, patients).fid > 5 * by_image.fid


def test_a_floor_computed_before_gives_the_same_scores(real, patients):
    fake = np.random.default_rng(1).standard_normal((100, 16)).astype(np.float32)
    known = floor(config(), real, patients)
    assert evaluate(config(), real, patients, fake, known) == evaluate(config(), real, patients, fake)
    with pytest.raises(EvaluationError, match="compute it for the same images, patients and evaluate section"):
        evaluate(config(), real[:60], patients[:60], fake, known)


def test_the_floor_is_the_same_under_any_key_of_the_ids(real, patients):
    names = [f"{patient:02}" for patient in range(40)]
    reversed_ids = dict(zip(names, reversed(names), strict=True))
    ids = [names[i // 3] for i in range(120)]
    mapped = {
        key: Tiles(np.zeros((120, 1, 1), np.uint8), pd.DataFrame({"patient_id": key})).patients
        for key in (tuple(ids), tuple(reversed_ids[one] for one in ids))
    }
    as_named, renamed = (floor(config(), real, codes) for codes in mapped.values())
    assert as_named == renamed
    assert as_named == floor(config(), real, ids)  # ids that are in order as they appear: as before
    assert floor(config(), real, [reversed_ids[one] for one in ids]) != as_named  # what the codes are for


def test_the_floor_has_no_more_images_than_the_generator_makes(real, patients):
    assert floor(config(n_images=16), real, patients).n == 16


def test_unequal_patients_still_make_equal_halves(real):
    patients = ["P0"] * 50 + [f"P{i}" for i in range(1, 71)]
    found = floor(config(), real, patients)
    assert 35 <= found.n <= 60  # at worst the others' 70 images in two


@pytest.mark.parametrize("patients", [["P0"] * 120, ["P0"] * 119 + ["P1"]])
def test_too_few_patients_have_no_floor(real, patients):
    with pytest.raises(EvaluationError, match="cannot be split by patient into halves"):
        floor(config(), real, patients)


def test_real_images_that_are_all_one_image_have_no_floor(patients):
    with pytest.raises(EvaluationError, match="all the same image"):
        floor(config(), np.ones((120, 16), np.float32), patients)


def test_each_image_needs_a_patient(real, patients):
    with pytest.raises(EvaluationError, match="120 real images but 119 patient ids"):
        floor(config(), real, patients[1:])


def test_fewer_synthetic_images_than_a_half_are_refused(real, patients):
    with pytest.raises(EvaluationError, match=r"20 synthetic images .* make at least \d+ \(evaluate.n_images\)"):
        evaluate(config(), real, patients, real[:20])


def test_one_line_tells_all():
    scores = Scores(
        fid=71.23,
        kid=0.01234,
        precision=0.5,
        recall=0.25,
        n_real=218,
        n_fake=128,
        floor=60.2,
        floor_kid=0.0,
        floor_n=64,
        fid_at_floor_n=98.1,
        ratio=1.6296,
    )
    assert scores.line() == (
        "FID 71.2 (N 218 real / 128 synthetic), KID x1e3 12.3, precision 0.50, recall 0.25, at N 64: FID 98.1"
        " against a real-vs-real floor of 60.2, ratio 1.63, inception20151205_pil-bicubic299"
    )


def test_spread_is_in_grey_levels_and_sees_a_collapse():
    images = np.zeros((2, 1, 4, 4), np.uint8)
    assert spread(images) == 0
    images[1] = 10
    assert spread(images) == pytest.approx(5)  # half of the distance, over two images


def test_spread_of_a_memory_map_is_that_of_numpy_in_a_fraction_of_its_memory(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (1000, 64, 64), np.uint8)
    images[:, :8] = 255  # the largest sums
    np.save(tmp_path / "images.npy", images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    tracemalloc.start()
    found = spread(mapped)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found == pytest.approx(images.std(axis=0, dtype=np.float64).mean(), abs=1e-9)
    assert peak < images.nbytes / 2  # float64 of all images would be eight times nbytes
