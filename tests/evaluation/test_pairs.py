"""The pairs for the contact sheet: the nearest first, and laid over each other."""

from pathlib import Path

import numpy as np
import pytest

from mammogan.data.ncc import Alignment
from mammogan.evaluation.copies import Calibration, Reference, check
from mammogan.evaluation.pairs import closest_pairs, laid_over
from tile_of import tile_of
from whole_images import read_pixels

SAMPLES = Path(__file__).parents[2] / "samples" / "phantoms" / "images"
SET_BY_HAND = Calibration(threshold=0.68, n_holdout=0, n_training=0, above=0, low=0, high=1)


@pytest.fixture(scope="module")
def train() -> np.ndarray:
    return np.stack([tile_of(read_pixels(SAMPLES / f"P{k:04d}_L_CC.png").image, "L", 96) for k in range(1, 21)])


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("upside_down", [False, True])
@pytest.mark.parametrize("zoom", [1, 1.1, 1 / 1.1])
def test_a_match_lies_over_its_copy(train, mirrored, upside_down, zoom):
    made = Alignment(mirrored, upside_down, down=0.0625, right=-0.0417, zoom=zoom)
    copy = laid_over(train[7], made)
    found = check(copy[None], Reference(train, range(20)), SET_BY_HAND)
    (alignment,) = found.alignments
    assert found.nearest.tolist() == [7]
    assert (alignment.mirrored, alignment.upside_down) == (mirrored, upside_down)
    assert alignment.zoom == pytest.approx(zoom)
    assert (alignment.down, alignment.right) == (pytest.approx(0.0625, abs=0.022), pytest.approx(-0.0417, abs=0.022))
    pairs = closest_pairs(found, copy[None], train, count=1)
    inside = (slice(None), slice(12, -12), slice(12, -12))
    error = np.abs(pairs.matches.astype(float) - copy)[inside].mean()
    assert error < 0.4 * np.abs(pairs.originals.astype(float) - copy)[inside].mean()


def test_a_picture_lies_over_itself_unchanged(train):
    assert (laid_over(train[3], Alignment(False, False, 0, 0, 1)) == train[3]).all()
    deep = train[3].astype(np.uint16) * 257
    assert (laid_over(deep, Alignment(True, False, 0, 0, 1)) == deep[:, ::-1]).all()


def test_a_move_goes_down_and_to_the_right_in_shares_of_the_side():
    dot = np.zeros((40, 40), np.uint8)
    dot[20, 10] = 200
    moved = laid_over(dot, Alignment(mirrored=False, upside_down=False, down=0.1, right=0.25, zoom=1))
    assert np.argwhere(moved).tolist() == [[24, 20]]


def test_the_nearest_pairs_come_first(train):
    fakes = np.concatenate([train[11:14], train[4:6, ::-1], np.zeros((1, 96, 96), np.uint8)])
    found = check(fakes, Reference(train[:10], range(10)), SET_BY_HAND)
    pairs = closest_pairs(found, fakes, train[:10], count=4)
    assert pairs.fake[:2].tolist() == [3, 4]
    assert pairs.train[:2].tolist() == [4, 5]
    assert pairs.flagged.tolist() == [True, True, False, False]
    assert (np.diff(pairs.score) <= 0).all()
    assert (pairs.fakes == fakes[pairs.fake]).all()
    assert (pairs.originals == train[pairs.train]).all()
    assert (pairs.matches[0] == fakes[3]).all()
    assert len(closest_pairs(found, fakes, train[:10], count=99).fake) == 6
    assert closest_pairs(found, fakes, train[:10], count=0).matches.shape == (0, 96, 96)
