"""Planted copies of training images are told from fresh images; what cannot be judged is said."""

import dataclasses
import math
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from altered import ALTERED, altered, mixture
from mammogan.data.copies import COPY_NCC
from mammogan.errors import EvaluationError
from mammogan.evaluation.copies import Calibration, Copies, Reference, calibrate, check, find, threshold
from real_sets import needs_real_sets
from tile_of import tile_of
from whole_images import read_pixels

ROOT = Path(__file__).parents[2]


def tiles(first: int, last: int) -> np.ndarray:
    """Two tiles of 64 px, left and right, for each of the sample phantoms' patients from `first` to `last`."""
    names = [f"P{k:04d}_{side}_CC" for k in range(first, last + 1) for side in "LR"]
    folder = ROOT / "samples" / "phantoms" / "images"
    return np.stack([tile_of(read_pixels(folder / f"{name}.png").image, name[6], 64) for name in names])


@pytest.fixture(scope="module")
def train() -> np.ndarray:
    return tiles(1, 60)


@pytest.fixture(scope="module")
def patients() -> list[int]:
    return [k // 2 for k in range(120)]


@pytest.fixture(scope="module")
def holdout() -> np.ndarray:
    return tiles(61, 67)


@pytest.fixture(scope="module")
def fresh() -> np.ndarray:
    return tiles(68, 117)


@pytest.fixture(scope="module")
def reference(train, patients) -> Reference:
    return Reference(train, patients)


@pytest.fixture(scope="module")
def calibration(reference, holdout) -> Calibration:
    return calibrate(reference, holdout)


def test_sets_with_none_one_five_and_ten_per_cent_of_copies_are_told_apart(train, fresh, reference, calibration):
    planted = mixture(train[:120:12])
    found = check(np.concatenate([fresh, planted]), reference, calibration)
    by_image = found.flagged
    assert by_image[:100].sum() <= 1  # of fresh ones
    assert by_image[100:].sum() == 10
    assert found.nearest[100:].tolist() == [*range(0, 120, 12)]

    sets = [of_set(found, [*range(n, 100), *range(100, 100 + n)]) for n in (0, 1, 5, 10)]
    counts = [one.count for one in sets]
    assert np.diff(counts).tolist() == [1, 4, 5]
    assert [one.p_value < 0.05 for one in sets] == [False, False, True, True]
    assert all(one.interval[0] <= n / 100 <= one.interval[1] for one, n in zip(sets, (0, 1, 5, 10), strict=True))


def of_set(found: Copies, images: list[int]) -> Copies:
    return dataclasses.replace(
        found,
        score=found.score[images],
        nearest=found.nearest[images],
        alignments=tuple(found.alignments[k] for k in images),
    )


@pytest.mark.parametrize("kind", ALTERED)
def test_each_kind_of_copy_is_flagged(train, reference, calibration, kind):
    found = check(altered(kind, train[5:120:24]), reference, calibration)
    assert found.flagged.tolist() == [True] * 5
    assert found.nearest.tolist() == [5, 29, 53, 77, 101]


def test_one_call_does_what_the_steps_do(train, patients, holdout, fresh):
    images = np.concatenate([fresh[:6], train[:2]])
    seen: list[tuple[int, int]] = []
    whole = find(images, train[:20], patients[:20], holdout, progress=lambda done, total: seen.append((done, total)))
    reference = Reference(train[:20], patients[:20])
    steps = check(images, reference, calibrate(reference, holdout))
    assert whole.score.tolist() == steps.score.tolist()
    assert whole.calibration == steps.calibration
    assert seen == [(14, 34), (30, 34), (34, 34), (8, 8)]


def test_training_images_complete_a_small_holdout(calibration):
    assert (calibration.n_holdout, calibration.n_training) == (14, 120)
    assert calibration.above == 0
    assert calibration.false_alarm_rate == pytest.approx(1 / 135)
    assert calibration.high == pytest.approx(0.0272, abs=5e-5)  # 1 - 0.025 ** (1 / 134)
    assert "14 holdout images and 120 training images against other patients" in calibration.line()


def test_a_large_holdout_needs_no_training_images(reference, fresh):
    alone = calibrate(reference, fresh[:40], at_most=40)
    assert (alone.n_holdout, alone.n_training) == (40, 0)
    assert "training" not in alone.line()


def test_the_other_images_of_a_patient_do_not_raise_the_threshold(train, holdout):
    """Every picture stands twice in the set: under one patient that is no matter, under two it is."""
    twice = np.concatenate([train[:25], train[:25]])
    one = calibrate(Reference(twice, [k % 25 for k in range(50)]), holdout)
    assert one.threshold == COPY_NCC
    with pytest.raises(EvaluationError, match=r"50 of 64 real images are the same picture .* correct the patients"):
        calibrate(Reference(twice, range(50)), holdout)


def test_with_few_real_images_the_fixed_threshold_stands_in(train, patients, fresh):
    few = calibrate(Reference(train[:20], patients[:20]), fresh[:5])
    assert (few.n, few.threshold, few.holds) == (25, COPY_NCC, False)
    assert few.line().endswith("; that does not show at most 1 %, so it is at least the fixed 0.68")


SCORES = np.linspace(0.3, 0.5, 999, dtype=np.float32)


@pytest.mark.parametrize(("n", "shown"), [(367, False), (368, True)])  # 1 - 0.025 ** (1 / 368) is 0.00997
def test_a_threshold_below_the_fixed_one_takes_368_images_with_none_above(n, shown):
    found = threshold(SCORES[:n], SCORES[:0])
    assert found.threshold == pytest.approx(SCORES[n - 1] if shown else COPY_NCC)
    assert found.holds == shown
    assert (found.high <= 0.01) == shown
    assert ("at least the fixed" in found.line()) == (not shown)


def test_the_fixed_threshold_does_not_lower_one_that_fresh_images_ask_for():
    scores = np.append(SCORES[:99], np.float32(0.8))
    found = threshold(scores, SCORES[:0])
    assert (found.threshold, found.holds) == (pytest.approx(0.8), False)


def test_few_real_images_do_not_accuse_more_by_a_threshold_that_lies_low_by_chance():
    """The greatest of 99 scores lies too low in 37 % of the sets, the greatest of 368 in 2.5 %: 0.99 ** n."""
    rng = np.random.default_rng(0)

    def accuses_too_many(n: int) -> bool:
        found = threshold(rng.beta(20, 20, n).astype(np.float32), SCORES[:0])
        return bool(stats.beta.sf(found.threshold, 20, 20) > 0.01)

    assert not any(accuses_too_many(99) for _ in range(50))
    assert sum(accuses_too_many(368) for _ in range(400)) <= 20


def test_the_threshold_is_the_greatest_score_of_fresh_images():
    found = threshold(SCORES[:500], SCORES[500:])
    assert found.threshold == pytest.approx(0.5)
    assert (found.above, found.n_holdout, found.n_training) == (0, 500, 499)
    assert found.false_alarm_rate == pytest.approx(0.001)


def test_pictures_that_the_set_holds_twice_are_passed_over_up_to_one_per_cent():
    twice = SCORES.copy()
    twice[:9] = 0.95
    found = threshold(twice, SCORES[:0])
    assert (found.threshold, found.above, found.holds) == (COPY_NCC, 9, False)
    assert found.false_alarm_rate == pytest.approx(0.01)
    few_twice = SCORES.copy()
    few_twice[:3] = 0.95
    found = threshold(few_twice, SCORES[:0])
    assert (found.threshold, found.above, found.holds) == (pytest.approx(0.5), 3, True)
    twice[:10] = 0.95
    with pytest.raises(EvaluationError, match="10 of 999 real images are the same picture as a training image"):
        threshold(twice, SCORES[:0])
    twice[:10] = 0.7  # near, but to be told from copies
    assert threshold(twice, SCORES[:0]).threshold == pytest.approx(0.7)


def test_few_flags_in_a_small_set_may_be_chance_and_many_are_not():
    calibration = threshold(SCORES, SCORES[:0])
    scores = np.full(1000, 0.4, np.float32)
    p_values = []
    for flagged in (0, 1, 3, 10):
        scores[:flagged] = 0.9
        p_values.append(Copies(scores, np.zeros(1000, np.int64), (), calibration).p_value)
    # in what share of all ways to mix 1000 new images with 999 do the first ones in order belong to the new
    assert p_values == pytest.approx([math.comb(1000, n) / math.comb(1999, n) for n in (0, 1, 3, 10)])


def test_the_line_says_what_was_found_and_what_to_expect(train, fresh, reference, calibration):
    found = check(np.concatenate([fresh[:8], train[:2]]), reference, calibration)
    assert found.line().startswith("copies 2 of 10 (20.0% [2.5%, 55.6%]), 0.1 expected of fresh real images (p ")
    black = check(np.zeros((3, 64, 64), np.uint8), reference, calibration)
    assert "3 without structure could not be judged" in black.line()


def test_images_without_structure_are_no_copies_and_say_so(fresh, reference, calibration):
    flat = np.stack([np.zeros((64, 64), np.uint8), np.full((64, 64), 200, np.uint8), fresh[0]])
    found = check(flat, reference, calibration)
    assert found.score[:2].tolist() == [0, 0]
    assert found.flagged.tolist() == [False] * 3
    assert found.blank == 2


def test_black_real_images_do_not_count_as_fresh_ones(reference, holdout):
    with_black = calibrate(reference, np.concatenate([holdout[:3], np.zeros((9, 64, 64), np.uint8)]), at_most=12)
    assert (with_black.n_holdout, with_black.n_training) == (3, 0)


def test_sixteen_bits_and_eight_are_the_same(train, patients, holdout, reference, calibration):
    deep = Reference(train.astype(np.uint16) * 257, patients)
    images = np.concatenate([holdout[:5], train[:3]])
    of_deep = check(images.astype(np.uint16) * 257, deep, calibration)
    assert of_deep.score == pytest.approx(check(images, reference, calibration).score, abs=2e-3)
    assert check(train[:3], deep, calibration).flagged.all()


def test_a_check_can_be_interrupted_and_made_again(fresh, reference, calibration):
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    before = check(fresh[:4], reference, calibration).score
    with pytest.raises(KeyboardInterrupt):
        check(fresh, reference, calibration, progress=stop)
    assert check(fresh[:4], reference, calibration).score.tolist() == before.tolist()


def test_one_patient_is_enough_with_a_holdout_and_too_few_without(train, fresh):
    alone = Reference(train[:30], ["she"] * 30)
    assert calibrate(alone, fresh[:99]).n_training == 0
    with pytest.raises(EvaluationError, match="the holdout is empty and the training images are of one patient"):
        calibrate(alone, fresh[:0])


def test_an_empty_holdout_leaves_the_training_images(reference, fresh):
    found = calibrate(reference, fresh[:0], at_most=20)
    assert (found.n_holdout, found.n_training) == (0, 20)


def test_identical_real_images_tell_nothing(train):
    with pytest.raises(EvaluationError, match="20 of 20 real images are the same picture"):
        find(train[:2], np.repeat(train[:1], 15, axis=0), list(range(15)), np.repeat(train[:1], 5, axis=0))


BLACK = np.zeros((5, 64, 64), np.uint8)


@pytest.mark.parametrize(
    ("attempt", "message"),
    [
        (lambda r, c: check(BLACK[:, :32, :32], r, c), "synthetic images have 32 px, the training images 64"),
        (lambda r, c: check(BLACK / 255, r, c), "synthetic images are float64, expected grey levels in uint8"),
        (lambda r, c: check(BLACK[:, None], r, c), r"the shape \(5, 1, 64, 64\), expected square"),
        (lambda r, c: check(BLACK[0], r, c), r"the shape \(64, 64\), expected square"),
        (lambda r, c: check([BLACK[0], BLACK[0, :9, :9]], r, c), "are a list; give one array of images of one size"),
        (lambda r, c: check(BLACK[:0], r, c), "no synthetic images to check"),
        (lambda r, c: calibrate(r, BLACK[:, :8, :8]), "holdout images have 8 px, the training images 64"),
        (lambda r, c: Reference(BLACK[:0], []), "no training images to compare with"),
        (lambda r, c: Reference(BLACK, range(4)), "4 patients for 5 training images; give one for each"),
        (lambda r, c: Reference(BLACK, range(5)), "no training image has any structure"),
        (lambda r, c: threshold(np.zeros(5, np.float32), np.zeros(0, np.float32)), "no fresh real image has any"),
    ],
)
def test_what_cannot_be_judged_is_refused(
    reference, calibration, attempt: Callable[[Reference, Calibration], object], message: str
):
    with pytest.raises(EvaluationError, match=message):
        attempt(reference, calibration)


@pytest.fixture(scope="module")
def benchmark() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "benchmarks" / "copies.py"))


def holds(table: dict[str, Any], found: float) -> None:
    assert table["accused"] <= 0.01 * table["fresh"]
    planted = table["planted_of_each_kind"]
    assert {kind: n / planted for kind, n in table["found"].items() if n / planted < found} == {}
    flagged = list(table["flagged_by_share_planted"].values())
    assert flagged == pytest.approx([share * table["fresh"] for share in (0, 0.01, 0.05, 0.1)], abs=2)


@pytest.mark.slow
@pytest.mark.parametrize(("holdout", "fresh", "seeds"), [(40, 200, [21, 22]), (400, 400, [23])])
def test_the_tables_of_phantoms_hold(benchmark, holdout, fresh, seeds):
    holds(benchmark["table"](benchmark["phantoms"](240, holdout, fresh, seeds), originals=30), found=0.95)


@pytest.mark.slow
@needs_real_sets
def test_the_table_of_real_mammograms_holds(benchmark):
    holds(benchmark["table"](benchmark["cdd_cesm"](64, [21, 22, 23, 24]), originals=12), found=0.95)


@pytest.mark.slow
@needs_real_sets
def test_the_table_of_films_holds(benchmark):
    holds(benchmark["table"](benchmark["cbis_ddsm"](64, seed=21), originals=3), found=0.95)
