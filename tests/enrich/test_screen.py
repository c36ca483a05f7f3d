import numpy as np
import pytest

from mammogan.enrich.screen import Distinct, breast_like, training_copies
from raw_data import half_disk

BREASTS = [(grey, radius) for grey in (90, 120, 150) for radius in (36, 40, 44)]


def test_breasts_pass_and_what_is_none_does_not():
    tiles = np.stack([np.asarray(half_disk("L", grey, radius).resize((64, 64))) for grey, radius in BREASTS])
    passes = breast_like(tiles)
    assert passes(tiles) == [True] * len(tiles)
    chance = np.random.default_rng(0)
    noise = chance.integers(0, 256, (64, 64), dtype=np.uint8)
    flat, black = np.full((64, 64), 90, np.uint8), np.zeros((64, 64), np.uint8)
    tiny = np.asarray(half_disk("L", 120, 12).resize((64, 64)))
    assert passes(np.stack([noise, flat, black, tiny, tiles[0][:, ::-1]])) == [False] * 5


def textured(n):
    """Tiles that are nobody's copies: blobs of chance inside half a disc."""
    chance = np.random.default_rng(1)
    blobs = chance.integers(40, 255, (n, 16, 16)).astype(np.uint8).repeat(4, 1).repeat(4, 2)
    y, x = np.ogrid[:64, :64]
    return np.where((y - 32) ** 2 + x**2 < 900, blobs, 0).astype(np.uint8)


def test_a_noisy_copy_of_a_training_tile_is_turned_away():
    tiles = textured(12)
    noisy = np.clip(tiles[5] + np.random.default_rng(2).normal(0, 6, (64, 64)), 0, 255).astype(np.uint8)
    assert training_copies(tiles[:10])(np.stack([noisy, tiles[10], tiles[11]])) == [False, True, True]


@pytest.mark.parametrize("change", ["size", "depth"])
def test_a_synthetic_image_of_another_size_or_depth_is_recognised(change):
    tiles = textured(3)
    other = tiles[0].repeat(2, 0).repeat(2, 1) if change == "size" else tiles[0].astype(np.uint16) * 257
    distinct = Distinct([other])
    assert distinct(tiles) == [False, True, True]
    distinct.take([tiles[2]])
    assert distinct(tiles) == [False, True, False]
