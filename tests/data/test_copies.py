"""Copies among tiles: planted ones are found, fresh ones are not accused."""

from pathlib import Path

import numpy as np
import pytest

from altered import ALTERED, altered
from mammogan.data import copies
from mammogan.data.copies import COPY_NCC, Pair, References, closest, near_duplicates
from mammogan.data.phantom import DENSITIES, draw
from mammogan.errors import DataError
from real_sets import SHARED, needs_real_sets
from tile_of import tile_of
from whole_images import read_pixels

SAMPLES = Path(__file__).parents[2] / "samples" / "phantoms" / "images"


@pytest.fixture(scope="module")
def phantoms() -> np.ndarray:
    """96 tiles of 64 px, one for each patient, half of them CC."""
    names = [f"P{k:04d}_{'LR'[k % 2]}_{('CC', 'MLO')[k // 2 % 2]}" for k in range(1, 97)]
    return np.stack([tile_of(read_pixels(SAMPLES / f"{name}.png").image, name[6], 64) for name in names])


@pytest.mark.parametrize("kind", ALTERED)
def test_a_planted_copy_is_found(phantoms, kind):
    planted = np.arange(0, 96, 4)
    index, ncc = closest(altered(kind, phantoms[planted]), phantoms)
    assert index.tolist() == planted.tolist()
    assert (ncc >= COPY_NCC).mean() >= 0.95


def test_fresh_phantoms_are_not_flagged(phantoms):
    half = len(phantoms) // 2
    _, ncc = closest(phantoms[:half], phantoms[half:])
    assert (ncc < COPY_NCC).mean() >= 0.99
    assert ncc.min() > 0.1  # all breasts have something in common; nothing is compared where this is 0


@needs_real_sets
@pytest.mark.parametrize("resolution", [64, 256])
def test_real_mammograms_are_told_from_their_copies(resolution):
    files = sorted((SHARED / "cdd-cesm-cc" / "images").glob("*.png"))[:40]
    tiles = np.stack([tile_of(read_pixels(file).image, "", resolution) for file in files])
    _, fresh = closest(tiles[:20], tiles[20:])
    assert fresh.max() < COPY_NCC
    for kind in ("noisy", "shifted", "bent", "cropped"):
        index, ncc = closest(altered(kind, tiles[:20]), tiles)
        assert index.tolist() == list(range(20))
        assert (ncc >= COPY_NCC).mean() >= 0.95


def test_both_breasts_and_both_views_of_a_patient_are_no_copies_of_each_other():
    views = [(side, view) for side in "LR" for view in ("CC", "MLO")]
    images = [draw(7, side, view, "C", "none", 96)[0] / np.float32(255) for side, view in views]
    tiles = np.stack([tile_of(image.astype(np.float32), "", 64) for image in images])
    for k in range(4):
        assert closest(tiles[k : k + 1], np.delete(tiles, k, axis=0))[1][0] < COPY_NCC


def test_the_same_picture_correlates_by_one_at_any_depth_size_and_brightness(phantoms):
    deep = phantoms[:8].astype(np.uint16) * 150 + 40
    index, ncc = closest(deep, phantoms)
    assert index.tolist() == list(range(8))
    assert ncc == pytest.approx(np.ones(8), abs=1e-3)
    large = np.repeat(np.repeat(phantoms[:8], 2, axis=1), 2, axis=2)
    index, ncc = closest(large, phantoms)
    assert index.tolist() == list(range(8))
    assert ncc.min() > 0.95


def test_the_answer_does_not_depend_on_order_or_blocks(phantoms, monkeypatch):
    queries, references = phantoms[:20], phantoms[20:]
    index, ncc = closest(queries, references)
    order = np.random.default_rng(0).permutation(len(references))
    permuted, again = closest(queries[::-1], references[order])
    assert order[permuted][::-1].tolist() == index.tolist()
    assert again[::-1] == pytest.approx(ncc, abs=2e-4)
    for name in ("_QUERY_BLOCK", "_REFERENCE_BLOCK", "_PAIR_BLOCK"):
        monkeypatch.setattr(copies, name, 7)
    in_sevens, again = closest(queries, references)
    assert in_sevens.tolist() == index.tolist()
    assert again == pytest.approx(ncc, abs=2e-4)


def test_of_equal_references_the_first_counts(phantoms):
    twice = np.concatenate([phantoms[:5], phantoms[:5]])
    assert closest(phantoms[:5], twice)[0].tolist() == [0, 1, 2, 3, 4]


def test_the_first_look_loses_no_copy(phantoms):
    """`closest` keeps 256 candidates; here 2 of 96 are enough."""
    queries = np.concatenate([altered(kind, phantoms[::8]) for kind in ALTERED])
    exact = closest(queries, phantoms, candidates=None)
    quick = closest(queries, phantoms, candidates=2)
    copied = exact[1] >= COPY_NCC
    assert copied.mean() > 0.95
    assert quick[0][copied].tolist() == exact[0][copied].tolist()
    assert quick[1][copied].tolist() == exact[1][copied].tolist()


def test_references_of_the_same_key_are_left_out(phantoms):
    keys = [k // 2 for k in range(96)]
    for candidates in (None, 20):
        index, ncc = References(phantoms, candidates).closest(phantoms[:10], apart=(keys[:10], keys))
        assert all(found // 2 != k // 2 for k, found in enumerate(index))
        pairs = [[k, k + 1] for k in range(0, 10, 2)]
        others = [closest(phantoms[pair], np.delete(phantoms, pair, 0), candidates)[1] for pair in pairs]
        assert ncc == pytest.approx(np.concatenate(others))
    index, ncc = References(phantoms[:4]).closest(phantoms[:4], apart=(["a"] * 4, ["a"] * 4))
    assert ncc.tolist() == [0, 0, 0, 0]


def test_a_memory_map_is_read_in_blocks(phantoms, tmp_path):
    np.save(tmp_path / "train.npy", phantoms)
    done: list[int] = []
    index, _ = closest(phantoms[40:60], np.load(tmp_path / "train.npy", mmap_mode="r"), progress=done.append)
    assert index.tolist() == list(range(40, 60))
    assert done == [16, 20]


def test_near_duplicates_name_the_pairs_of_holdout_and_train(phantoms):
    train, holdout = phantoms[:30].copy(), phantoms[30:40].copy()
    holdout[3] = altered("noisy", train[12:13])[0]
    holdout[8] = train[29, ::-1]
    found = near_duplicates(train, holdout)
    assert [(pair.holdout, pair.train) for pair in found] == [(3, 12), (8, 29)]
    assert found[1] == Pair(8, 29, pytest.approx(1, abs=1e-3))
    assert len(near_duplicates(train, holdout, threshold=0)) == 10


def test_a_tile_without_structure_is_like_nothing(phantoms):
    flat = np.stack([np.zeros((64, 64), np.uint8), np.full((64, 64), 200, np.uint8)])
    assert closest(flat, phantoms)[1].tolist() == [0, 0]
    assert closest(flat, flat)[1].tolist() == [0, 0]


def test_no_queries_give_no_answers(phantoms):
    index, ncc = closest(phantoms[:0], phantoms)
    assert (index.shape, ncc.shape) == ((0,), (0,))


@pytest.mark.parametrize(
    ("shape", "dtype", "message"),
    [
        ((4, 64, 32), np.uint8, r"queries have the shape \(4, 64, 32\), expected square tiles"),
        ((64, 64), np.uint8, "expected square tiles"),
        ((4, 1, 64, 64), np.uint8, "expected square tiles"),
        ((4, 64, 64), np.float32, "queries are float32, expected uint8 or uint16"),
    ],
)
def test_other_arrays_are_refused(phantoms, shape, dtype, message):
    with pytest.raises(DataError, match=message):
        closest(np.zeros(shape, dtype), phantoms)


def test_senseless_arguments_are_refused(phantoms):
    with pytest.raises(DataError, match="no reference to compare with"):
        closest(phantoms, phantoms[:0])
    with pytest.raises(DataError, match="0 candidates; give at least 1"):
        closest(phantoms, phantoms, candidates=0)


@pytest.mark.slow
def test_a_thousand_fresh_phantoms_raise_no_alarm():
    rng = np.random.default_rng(0)
    images = [draw(seed, "L", "CC", str(rng.choice(DENSITIES)), "none", 96)[0] for seed in range(1000)]
    tiles = np.stack([tile_of(image.astype(np.float32) / 255, "L", 64) for image in images])
    _, ncc = closest(tiles[:200], tiles[200:])
    assert (ncc >= COPY_NCC).mean() <= 0.01
