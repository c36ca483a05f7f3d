"""Tiles on disk and in the models' range."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from mammogan.data.tiles import Tiles, depth, read_manifest, read_tiles, to_8_bits, to_model, to_pixels
from mammogan.errors import DataError


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    """Six tiles of 8 px, four of them for training, each filled with its own position in the manifest."""
    tiles = np.arange(6, dtype=np.uint8).repeat(64).reshape(6, 8, 8)
    np.save(tmp_path / "train.npy", tiles[:4])
    np.save(tmp_path / "holdout.npy", tiles[4:])
    split = ["train"] * 4 + ["holdout"] * 2
    patients = ["b", "b", "a", "001", "4", "NA"]
    pd.DataFrame({"index": [0, 1, 2, 3, 0, 1], "patient_id": patients, "split": split, "view": ""}).to_csv(
        tmp_path / "manifest.csv", index=False
    )
    return tmp_path


def edit(prepared: Path, **columns: object) -> None:
    pd.read_csv(prepared / "manifest.csv", dtype=str, keep_default_na=False).assign(**columns).to_csv(
        prepared / "manifest.csv", index=False
    )


@pytest.mark.parametrize("bits", [8, 16])
def test_every_grey_level_survives_the_round_trip(bits):
    levels = torch.arange(2**bits, dtype=torch.uint8 if bits == 8 else torch.int32).reshape(1, 1, 2 ** (bits // 2), -1)
    back = to_pixels(to_model(levels), bits)
    assert back.dtype == (torch.uint8 if bits == 8 else torch.uint16)
    assert torch.equal(back.int(), levels.int())


@pytest.mark.parametrize("levels", [np.array([0, 255], np.uint8), np.array([0, 65535], np.int32)])
def test_the_models_range_is_minus_one_to_one(levels):
    model = to_model(torch.from_numpy(levels).reshape(2, 1, 1, 1))
    assert model.flatten().tolist() == [-1, 1]
    assert model.dtype == torch.float32


def test_grey_levels_are_rounded_and_clipped():
    images = torch.tensor([-3.0, -1.0, 0.0, 100.6 / 127.5 - 1, 1.0, 7.0]).reshape(6, 1, 1, 1)
    assert to_pixels(images, 8).flatten().tolist() == [0, 0, 128, 101, 255, 255]
    assert to_pixels(images, 16).flatten().tolist() == [0, 0, 32768, round(100.6 * 257), 65535, 65535]


def test_reduced_precision_is_taken():
    assert to_pixels(torch.ones(1, 1, 1, 1, dtype=torch.bfloat16), 8).item() == 255


def test_sixteen_bits_become_the_nearest_eight():
    levels = np.arange(65536, dtype=np.uint16)
    eight = to_8_bits(levels)
    assert eight.dtype == np.uint8
    assert np.abs(levels.astype(int) - 257 * eight.astype(int)).max() <= 128
    np.testing.assert_array_equal(to_8_bits(np.arange(256, dtype=np.uint16) * 257), np.arange(256))
    kept = np.arange(256, dtype=np.uint8)
    assert to_8_bits(kept) is kept


def test_tiles_stay_on_disk(prepared):
    assert isinstance(read_tiles(prepared, "train").images, np.memmap)


def test_splits_hold_their_own_tiles_and_rows(prepared):
    train, holdout = read_tiles(prepared, "train"), read_tiles(prepared, "holdout")
    assert train.images[:, 0, 0].tolist() == [0, 1, 2, 3]
    assert holdout.images[:, 0, 0].tolist() == [4, 5]
    assert holdout.manifest["patient_id"].tolist() == ["4", "NA"]
    assert (len(train), len(holdout), train.resolution) == (4, 2, 8)
    assert (depth(train.images), depth(train.images.astype(np.uint16))) == (8, 16)


def test_ids_are_text(prepared):
    assert read_manifest(prepared)["patient_id"].tolist() == ["b", "b", "a", "001", "4", "NA"]


def test_patients_are_numbered_as_they_appear_whatever_their_ids(prepared):
    assert read_tiles(prepared, "train").patients == [0, 0, 1, 2]
    edit(prepared, patient_id=["x", "x", "z", "y", "4", "NA"])
    assert read_tiles(prepared, "train").patients == [0, 0, 1, 2]


def test_the_hash_follows_pixels_their_order_and_their_depth(prepared):
    tiles = read_tiles(prepared, "train")
    again = Tiles(np.array(tiles.images), tiles.manifest)
    assert tiles.sha256 == again.sha256
    others = [
        tiles.images[::-1],
        tiles.images[:3],
        tiles.images + np.uint8(1),
        tiles.images.reshape(4, 4, 16),
        tiles.images.view(np.uint16),
    ]
    assert len({tiles.sha256, *(Tiles(images, tiles.manifest).sha256 for images in others)}) == 6


@pytest.mark.parametrize("name", ["train.npy", "holdout.npy", "manifest.csv"])
def test_a_half_folder_is_refused(prepared, name):
    (prepared / name).unlink()
    with pytest.raises(DataError, match=rf"{name} is missing; run `mammogan prepare` first"):
        read_tiles(prepared, "train")


def test_a_truncated_array_is_refused(prepared):
    array = prepared / "holdout.npy"
    array.write_bytes(array.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"holdout\.npy is damaged \(ValueError\); run `mammogan prepare` again"):
        read_tiles(prepared, "train")


@pytest.mark.parametrize("images", [np.zeros((4, 8, 8)), np.zeros((4, 8), np.uint8), np.zeros((4, 8, 4), np.uint8)])
def test_an_array_of_another_kind_is_refused(prepared, images):
    np.save(prepared / "train.npy", images)
    with pytest.raises(DataError, match=r"expected square uint8 or uint16 tiles \(N, S, S\)"):
        read_tiles(prepared, "train")


def test_an_array_in_another_container_is_refused(prepared):
    with (prepared / "train.npy").open("wb") as file:
        np.savez(file, images=np.zeros((4, 8, 8), np.uint8))
    with pytest.raises(DataError, match=r"train\.npy is damaged \(ValueError\)"):
        read_tiles(prepared, "train")


@pytest.mark.parametrize(
    ("holdout", "message"),
    [
        (np.zeros((2, 8, 8), np.uint16), r"train\.npy holds uint8 of 8 px, holdout\.npy uint16 of 8 px"),
        (np.zeros((2, 16, 16), np.uint8), r"train\.npy holds uint8 of 8 px, holdout\.npy uint8 of 16 px"),
    ],
)
def test_splits_of_another_depth_or_size_are_refused(prepared, holdout, message):
    np.save(prepared / "holdout.npy", holdout)
    with pytest.raises(DataError, match=message):
        read_tiles(prepared, "train")


def test_lengths_that_disagree_are_refused(prepared):
    np.save(prepared / "train.npy", np.zeros((7, 8, 8), np.uint8))
    with pytest.raises(DataError, match=r"is half: train\.npy has 7 images, manifest\.csv 4"):
        read_tiles(prepared, "train")


def test_a_patient_in_both_splits_is_refused_by_id(prepared):
    edit(prepared, patient_id=["1", "1", "2", "3", "2", "1"])
    with pytest.raises(DataError, match=r"2 patients are in both splits \(1, 2\), so scores would flatter"):
        read_tiles(prepared, "train")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"split": "test"}, r"has the splits test, expected train, holdout"),
        ({"index": list("102345")}, "is not in the order of the arrays beside it"),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(prepared, columns, message):
    edit(prepared, **columns)
    with pytest.raises(DataError, match=message):
        read_tiles(prepared, "train")


def test_a_manifest_without_its_columns_is_refused(prepared):
    (prepared / "manifest.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match=r"manifest\.csv is damaged \(KeyError\)"):
        read_tiles(prepared, "train")


def test_a_split_without_a_tile_is_refused(prepared):
    edit(prepared, split="train", index=list("012345"))
    with pytest.raises(DataError, match="has the splits train, expected train, holdout"):
        read_tiles(prepared, "holdout")
