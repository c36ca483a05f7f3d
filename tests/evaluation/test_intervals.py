"""Intervals: of t over draws, and of KID by the jackknife, which patients with several images make wider."""

import numpy as np
import pytest

from mammogan.errors import EvaluationError
from mammogan.evaluation.intervals import of_draws, of_kid
from mammogan.evaluation.kernel import kernel_distance


def gaussian(seed: int, n: int, d: int = 8, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, d)) + shift


def test_five_draws_have_the_t_interval_of_the_tables():
    found = of_draws([1, 2, 3, 4, 5])
    assert found.value == 3
    assert (found.low, found.high) == pytest.approx((3 - 2.776 * 0.70711, 3 + 2.776 * 0.70711), abs=1e-3)


def test_four_draws_have_no_interval():
    assert of_draws([1, 2, 3, 6]).value == 3
    assert of_draws([1, 2, 3, 6]).low is None


def test_the_value_is_the_mean_kid_of_the_draws():
    real, draws = gaussian(0, 700), [gaussian(s, 600, shift=0.2) for s in (1, 2)]  # several blocks of rows
    expected = np.mean([kernel_distance(real, draw) for draw in draws])
    assert of_kid(real, range(700), draws).value == pytest.approx(expected, rel=1e-9)


def test_the_width_is_that_of_leaving_patients_and_images_out_one_by_one():
    real, fake, patients = gaussian(0, 24), gaussian(1, 9, shift=0.5), np.repeat(range(8), [1, 5] * 4)

    def variance(left_out: list[float]) -> float:  # Tukey's jackknife
        return (len(left_out) - 1) / len(left_out) * np.sum((left_out - np.mean(left_out)) ** 2)

    by_patient = [kernel_distance(real[patients != p], fake) for p in range(8)]
    by_image = [kernel_distance(real, np.delete(fake, i, axis=0)) for i in range(9)]
    found = of_kid(real, patients, [fake])
    half = 2.3646 * np.sqrt(variance(by_patient) + variance(by_image))  # t of 7 degrees
    assert (found.low, found.high) == pytest.approx((found.value - half, found.value + half), rel=1e-4)


def test_patients_with_copies_of_one_image_widen_the_interval():
    real = np.repeat(gaussian(0, 20), 4, axis=0)
    draws = [gaussian(s, 80, shift=0.3) for s in range(1, 4)]
    by_patient, by_image = of_kid(real, np.repeat(range(20), 4), draws), of_kid(real, range(80), draws)
    assert by_patient.high - by_patient.low > 1.3 * (by_image.high - by_image.low)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sizes", "likeness"), [([1] * 160, 0.0), ([2] * 80, 0.5), ([4] * 40, 0.7), ([8] * 8 + [1] * 40, 0.8)]
)
def test_intervals_hold_the_mean_in_nineteen_of_twenty_sets(sizes, likeness):
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(len(sizes)), sizes)
    found = []
    for _ in range(300):
        own = rng.standard_normal((len(patients), 32))
        real = np.sqrt(likeness) * rng.standard_normal((len(sizes), 32))[patients] + np.sqrt(1 - likeness) * own
        found.append(of_kid(real, patients, [rng.standard_normal((160, 32)) + 0.1 for _ in range(5)]))
    mean = np.mean([one.value for one in found])
    assert np.mean([one.low <= mean <= one.high for one in found]) >= 0.93


@pytest.mark.parametrize(("patients", "n_fake"), [([0] * 20, 20), (range(20), 2)])
def test_one_patient_or_two_synthetic_images_have_no_interval(patients, n_fake):
    with pytest.raises(EvaluationError, match="the interval of a KID needs two patients"):
        of_kid(gaussian(0, 20), patients, [gaussian(1, n_fake)])
