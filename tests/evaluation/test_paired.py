import numpy as np
import pytest
from scipy import stats

from mammogan.evaluation.paired import estimate, holm, patient_draws
from mammogan.evaluation.roc import roc


def test_holms_correction_of_a_published_example():
    # R 4, p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm")
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.7, 0.6]) == [1, 1]


def test_images_of_one_patient_are_drawn_together():
    draws = patient_draws(["a", "b", "a", "c", "b"], np.array([True, False, True, False, False]), 50, seed=0)
    assert (draws[:, 0] == draws[:, 2]).all()
    assert (draws[:, 1] == draws[:, 4]).all()
    assert draws.var(axis=0)[1] > 0


def test_every_draw_has_as_many_patients_with_the_finding_as_there_are():
    labels = np.arange(20) < 6
    draws = patient_draws(range(20), labels, 40, seed=1)
    assert (draws[:, labels].sum(axis=1) == 6).all()
    assert (draws[:, ~labels].sum(axis=1) == 14).all()


def test_draws_depend_on_who_is_whose_and_not_on_names():
    labels = np.array([True, False, False, True])
    one, other = (patient_draws(names, labels, 9, seed=2) for names in (["x", "y", "y", "z"], [7, 1, 1, 4]))
    assert (one == other).all()
    assert (one != patient_draws([7, 1, 1, 4], labels, 9, seed=3)).any()


def test_without_variance_between_patients_it_is_the_t_test_over_seeds():
    by_seed = np.array([0.02, 0.05, 0.03, 0.06])
    found = estimate(by_seed, np.repeat(by_seed[:, None], 10, axis=1), n_patients=30)
    test = stats.ttest_1samp(by_seed, 0)
    assert found.p == pytest.approx(test.pvalue)
    assert (found.low, found.high) == pytest.approx(tuple(test.confidence_interval()))


def test_what_never_differs_has_p_one_and_no_interval():
    found = estimate(np.zeros(3), np.zeros((3, 20)), n_patients=9)
    assert (found.value, found.low, found.high, found.p) == (0, 0, 0, 1)


def test_fewer_patients_and_more_comparisons_need_a_larger_difference():
    by_seed, draws = np.array([0.1, 0.12, 0.11]), np.random.default_rng(0).normal(0.11, 0.05, (3, 500))
    few, many = (estimate(by_seed, draws, n, comparisons=3) for n in (5, 50))
    assert few.smallest > many.smallest > estimate(by_seed, draws, 50).smallest
    assert few.high - few.low > many.high - many.low


def test_intervals_by_image_promise_too_much_where_images_of_a_patient_are_alike():
    rng = np.random.default_rng(4)
    patients = np.repeat(np.arange(60), 4)
    labels = patients % 2 == 0
    scores = labels + rng.normal(size=60)[patients] + 0.3 * rng.normal(size=240)

    def spread(ids):
        return roc(scores, labels, patient_draws(ids, labels, 400, seed=0)).auc.std()

    assert spread(patients.tolist()) > 1.5 * spread(range(240))


def test_no_difference_is_found_once_in_twenty_times_by_chance():
    rng = np.random.default_rng(5)
    patients = np.repeat(np.arange(40), 2)
    labels = patients < 15
    draws = patient_draws(patients.tolist(), labels, 200, seed=0)
    found = []
    for _ in range(100):
        shared = labels + rng.normal(size=40)[patients]
        sides = [
            [shared + rng.normal(size=40)[patients] * 0.7 + rng.normal(size=80) * 0.3 for _ in range(3)] for _ in "ab"
        ]
        whole, drawn = (
            np.array([[roc(scores, labels, w).auc for scores in side] for side in sides]) for w in (None, draws)
        )
        found.append(estimate((whole[0] - whole[1])[:, 0], drawn[0] - drawn[1], n_patients=15).p < 0.05)
    assert sum(found) <= 11  # more in 1 of 1,000 runs of a test that errs in 4 %
