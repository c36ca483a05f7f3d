"""Who was trained on: a generator that does not know gives nothing away, copies and collapse are told apart."""

import numpy as np
import pytest

from mammogan.errors import EvaluationError
from mammogan.evaluation.membership import attack, attack_by, nearest_share

D = 16


def images(n: int, seed: int) -> np.ndarray:
    """Features of `n` fresh images, float32 (n, 16)."""
    return np.random.default_rng(seed).normal(size=(n, D)).astype(np.float32)


TRAIN, HOLDOUT, FRESH = images(300, 1), images(300, 2), images(400, 3)


def with_copies(share: float) -> np.ndarray:
    fake, n = FRESH.copy(), round(share * len(FRESH))
    fake[:n] = TRAIN[:n] + 0.01 * images(n, 4)
    return fake


def test_fresh_images_give_nothing_away():
    share = nearest_share(FRESH, TRAIN, HOLDOUT)
    assert abs(share.z) < 3
    assert abs(share.z_patients) < 3
    found = attack(FRESH, TRAIN, HOLDOUT)
    assert found.low <= 0.01 <= found.high
    assert found.auc == pytest.approx(0.5, abs=0.06)


def test_the_more_copies_the_more_is_given_away():
    shares = [nearest_share(with_copies(share), TRAIN, HOLDOUT) for share in (0, 0.1, 0.3, 0.7)]
    assert np.diff([share.share for share in shares]).min() > 0
    assert shares[-1].z > 8
    attacks = [attack(with_copies(share), TRAIN, HOLDOUT) for share in (0, 0.1, 0.3, 0.7)]
    recognised = [found.tpr_at_1_fpr for found in attacks]
    assert recognised[1:] == pytest.approx([40 / 300, 120 / 300, 280 / 300], abs=0.02)
    assert all(found.low <= rate <= found.high for found, rate in zip(attacks, recognised, strict=True))
    assert attacks[1].low > 0.01
    assert attacks[3].auc > 0.95


def test_all_copies_are_all_recognised():
    share = nearest_share(TRAIN, TRAIN, HOLDOUT)
    assert (share.share, share.n, share.n_real) == (1, 300, 300)
    assert share.z == pytest.approx(np.sqrt(300))
    found = attack(TRAIN, TRAIN, HOLDOUT)
    assert (found.tpr_at_1_fpr, found.high, found.auc) == (1, 1, 1)


def test_a_collapse_is_no_copying():
    """All synthetic images lie about one spot: whose image is nearest to it is chance."""
    collapsed = images(1, 5) + 0.02 * images(400, 6)
    share = nearest_share(collapsed, TRAIN, HOLDOUT)
    assert abs(share.z) > 10
    assert abs(share.z_patients) < 2


def test_images_of_a_patient_count_together():
    by_image = nearest_share(with_copies(0.5), TRAIN, HOLDOUT)
    patients = [k // 10 for k in range(300)]
    by_patient = nearest_share(with_copies(0.5), TRAIN, HOLDOUT, patients, patients)
    assert by_patient.share == by_image.share
    assert 0 < by_patient.z_patients < by_image.z_patients
    wide, narrow = attack(with_copies(0.5), TRAIN, HOLDOUT, patients), attack(with_copies(0.5), TRAIN, HOLDOUT)
    assert wide.tpr_at_1_fpr == narrow.tpr_at_1_fpr
    assert wide.low < narrow.low < narrow.high < wide.high


@pytest.mark.parametrize("size", [60, 300])
def test_a_smaller_side_does_not_shift_the_share(size):
    for sides in ((TRAIN, HOLDOUT[:size]), (TRAIN[:size], HOLDOUT)):
        assert nearest_share(FRESH, *sides).share == pytest.approx(0.5, abs=0.1)
        assert nearest_share(FRESH, *sides).n_real == size


def test_the_share_is_the_same_under_the_same_seed():
    one, other = (nearest_share(FRESH, TRAIN, HOLDOUT[:50], seed=seed) for seed in (0, 0))
    assert one == other
    assert nearest_share(FRESH, TRAIN, HOLDOUT[:50], seed=1) != one


def test_identical_images_are_half_on_each_side():
    same = np.ones((40, D), np.float32)
    share = nearest_share(same, same, same)
    assert (share.share, share.z) == (0.5, 0)
    found = attack(same, same, same)
    assert (found.tpr_at_1_fpr, found.auc) == (0, 0.5)


def test_distances_far_from_the_origin_keep_their_order():
    far = attack(with_copies(0.1) + 100, TRAIN + 100, HOLDOUT + 100)
    assert far.tpr_at_1_fpr == attack(with_copies(0.1), TRAIN, HOLDOUT).tpr_at_1_fpr


def test_the_rate_is_counted_above_the_holdouts_first_per_cent():
    holdout = np.arange(199.0)  # one of them may pass, since (1 + 1) / (199 + 1) is 1 %
    train = np.array([196.5, 197.5, 198.5, 500])
    found = attack_by(train, holdout)
    assert found.tpr_at_1_fpr == 0.75
    assert found.attainable
    assert found.auc == pytest.approx((197 + 198 + 199 + 199) / 4 / 199)
    assert (found.low, found.high) == (pytest.approx(0.1941, abs=5e-5), pytest.approx(0.9937, abs=5e-5))


def test_a_small_holdout_says_that_one_per_cent_cannot_be_told():
    found = attack(with_copies(0.5), TRAIN, HOLDOUT[:14])
    assert not found.attainable
    assert "no false positive among 14, too few to tell 1 %" in found.line()


def test_the_lines_name_their_numbers():
    assert nearest_share(TRAIN, TRAIN, HOLDOUT).line() == (
        "nearest image is a training image for 100.0% of 300 (z +17.3, by patients +17.3), 300 training and 300 holdout"
        " images"
    )
    assert attack(TRAIN, TRAIN, HOLDOUT).line().startswith("membership TPR at 1 % FPR 100.00% [98.78%, 100.00%], AUC ")


NAN = np.full((5, D), np.nan, np.float32)


@pytest.mark.parametrize("measure", [nearest_share, attack])
@pytest.mark.parametrize(
    ("sides", "message"),
    [
        ((FRESH[:0], TRAIN, HOLDOUT), "there are no synthetic images"),
        ((FRESH, TRAIN[:0], HOLDOUT), "there are no training images"),
        ((FRESH, TRAIN, HOLDOUT[:0]), "there are no holdout images"),
        (
            (FRESH, TRAIN[:, :4], HOLDOUT),
            r"training .* the shape \(300, 4\), the synthetic ones \(400, 16\)",
        ),
        ((FRESH[0], TRAIN, HOLDOUT), r"synthetic features have the shape \(16,\)"),
        ((FRESH, TRAIN, NAN), "holdout features are not finite"),
        ((FRESH, TRAIN, HOLDOUT, [1, 2]), "2 patients for 300 training images"),
    ],
)
def test_sides_that_cannot_be_compared_are_refused(measure, sides, message):
    with pytest.raises(EvaluationError, match=message):
        measure(*sides)


def test_closeness_that_cannot_be_compared_is_refused():
    with pytest.raises(EvaluationError, match="0 training and 3 holdout images; both sides"):
        attack_by(np.zeros(0), np.zeros(3))
    with pytest.raises(EvaluationError, match="a closeness is not finite"):
        attack_by(np.array([np.inf]), np.zeros(3))
