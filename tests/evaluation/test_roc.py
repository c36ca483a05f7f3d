import numpy as np
import pytest
from scipy import stats

from mammogan.evaluation.roc import roc


def arrays(with_finding, without):
    scores = np.array([*with_finding, *without], np.float32)
    return scores, np.arange(len(scores)) < len(with_finding)


def test_the_area_of_the_example_in_scikit_learns_documentation():
    scores = np.array([0.1, 0.4, 0.35, 0.8])
    assert roc(scores, np.array([False, False, True, True])).auc == pytest.approx([0.75])


@pytest.mark.parametrize(
    ("with_finding", "without", "auc"),
    [([2, 3], [0, 1], 1), ([0, 1], [2, 3], 0), ([1, 1], [1, 1, 1], 0.5), ([2, 1], [1, 0], 3.5 / 4)],
)
def test_a_tie_counts_half(with_finding, without, auc):
    assert roc(*arrays(with_finding, without)).auc == pytest.approx([auc])


def test_the_area_is_scipys_mann_whitney_u_with_ties():
    rng = np.random.default_rng(0)
    scores, labels = rng.integers(0, 12, 200).astype(np.float32), rng.random(200) < 0.3
    u = stats.mannwhitneyu(scores[labels], scores[~labels]).statistic
    assert roc(scores, labels).auc == pytest.approx([u / labels.sum() / (~labels).sum()])


def test_an_image_with_weight_three_counts_as_three_images():
    rng = np.random.default_rng(1)
    scores, labels = rng.integers(0, 9, 40).astype(np.float32), np.arange(40) % 3 == 0
    weights = rng.integers(0, 4, (5, 40))
    weighted = roc(scores, labels, weights)
    for replicate, counts in enumerate(weights):
        repeated = roc(np.repeat(scores, counts), np.repeat(labels, counts))
        assert weighted.auc[replicate] == pytest.approx(repeated.auc[0])
        assert weighted.recall[replicate] == pytest.approx(repeated.recall[0])


@pytest.mark.parametrize(
    ("with_finding", "without", "recall"),
    [
        ([9.5, 8.5, 7.5], range(10), 2 / 3),  # one false alarm, by 9, is allowed; by 8 not
        ([9.5, 8.5, 7.5], range(9), 2 / 3),  # none is, of nine
        ([9, 9], [9, 9, *range(8)], 0),  # found only with two false alarms of ten
        ([3, 3, 2], [0] * 20, 1),
    ],
)
def test_recall_keeps_nine_in_ten_below_the_threshold(with_finding, without, recall):
    assert roc(*arrays(with_finding, without)).recall == pytest.approx([recall])


def test_a_draw_without_a_class_has_no_curve():
    scores, labels = arrays([1], [0])
    found = roc(scores, labels, np.array([[1, 0], [0, 1], [1, 1]]))
    assert np.isnan(found.auc).tolist() == np.isnan(found.recall).tolist() == [True, True, False]
