"""Tiles on disk and in the models' range."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from mammogan.data.tiles import Tiles, read_tiles, to_model, to_uint8
from mammogan.errors import DataError


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    """Six tiles of 8 px, four of them for training, each filled with its own index."""
    np.save(tmp_path / "images.npy", np.arange(6, dtype=np.uint8).repeat(64).reshape(6, 8, 8))
    split = ["train"] * 4 + ["holdout"] * 2
    patients = ["001", "001", "2", "3", "4", "NA"]
    crop = {f"crop_{name}": range(6) for name in ("top", "left", "height", "width")}
    pd.DataFrame(
        {"index": range(6), "patient_id": patients, "split": split, "flipped": "false", "scale": "0.5", **crop}
    ).to_csv(tmp_path / "manifest.csv", index=False)
    return tmp_path


def edit(prepared: Path, **columns: object) -> None:
    pd.read_csv(prepared / "manifest.csv", dtype=str, keep_default_na=False).assign(**columns).to_csv(
        prepared / "manifest.csv", index=False
    )


def test_every_grey_level_survives_the_round_trip():
    levels = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    assert torch.equal(to_uint8(to_model(levels)), levels)


def test_the_models_range_is_minus_one_to_one():
    model = to_model(torch.tensor([0, 255], dtype=torch.uint8).reshape(2, 1, 1, 1))
    assert model.flatten().tolist() == [-1, 1]
    assert model.dtype == torch.float32


def test_to_uint8_rounds_and_clips():
    images = torch.tensor([-3.0, -1.0, 0.0, 100.6 / 127.5 - 1, 1.0, 7.0]).reshape(6, 1, 1, 1)
    assert to_uint8(images).flatten().tolist() == [0, 0, 128, 101, 255, 255]


def test_to_uint8_takes_reduced_precision():
    assert to_uint8(torch.ones(1, 1, 1, 1, dtype=torch.bfloat16)).item() == 255


def test_tiles_stay_on_disk(prepared):
    tiles = read_tiles(prepared)
    assert isinstance(tiles.images, np.memmap)
    assert np.shares_memory(tiles.images, tiles.split("holdout").images)


def test_splits_hold_their_own_tiles_and_rows(prepared):
    train, holdout = read_tiles(prepared).split("train"), read_tiles(prepared).split("holdout")
    assert train.images[:, 0, 0].tolist() == [0, 1, 2, 3]
    assert holdout.images[:, 0, 0].tolist() == [4, 5]
    assert holdout.manifest["patient_id"].tolist() == ["4", "NA"]
    assert (len(train), len(holdout), train.resolution) == (4, 2, 8)


def test_a_split_in_several_pieces_is_still_right(prepared):
    tiles = read_tiles(prepared)
    mixed = Tiles(tiles.images, tiles.manifest.assign(split=["train", "holdout"] * 3))
    assert mixed.split("holdout").images[:, 0, 0].tolist() == [1, 3, 5]


def test_ids_are_text_and_numbers_are_numbers(prepared):
    manifest = read_tiles(prepared).manifest
    assert manifest["patient_id"].tolist() == ["001", "001", "2", "3", "4", "NA"]
    assert manifest["scale"].sum() == 3
    assert manifest["crop_top"].sum() == 15
    assert not manifest["flipped"].any()


def test_the_hash_follows_pixels_and_their_order(prepared):
    tiles = read_tiles(prepared)
    again = Tiles(np.array(tiles.images), tiles.manifest)
    assert tiles.sha256 == again.sha256
    others = [tiles.images[::-1], tiles.images[:5], tiles.images + np.uint8(1), tiles.images.reshape(6, 4, 16)]
    assert len({tiles.sha256, *(Tiles(images, tiles.manifest).sha256 for images in others)}) == 5


@pytest.mark.parametrize("name", ["images.npy", "manifest.csv"])
def test_a_half_folder_is_refused(prepared, name):
    (prepared / name).unlink()
    with pytest.raises(DataError, match=rf"{name} is missing; run `mammogan prepare` first"):
        read_tiles(prepared)


def test_a_truncated_array_is_refused(prepared):
    array = prepared / "images.npy"
    array.write_bytes(array.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"images\.npy is damaged \(ValueError\); run `mammogan prepare` again"):
        read_tiles(prepared)


@pytest.mark.parametrize("images", [np.zeros((6, 8, 8)), np.zeros((6, 8), np.uint8), np.zeros((6, 8, 4), np.uint8)])
def test_an_array_of_another_kind_is_refused(prepared, images):
    np.save(prepared / "images.npy", images)
    with pytest.raises(DataError, match=r"expected square uint8 tiles \(N, S, S\)"):
        read_tiles(prepared)


def test_lengths_that_disagree_are_refused(prepared):
    np.save(prepared / "images.npy", np.zeros((7, 8, 8), np.uint8))
    with pytest.raises(DataError, match="is half: 7 images and 6 manifest rows"):
        read_tiles(prepared)


def test_a_patient_in_both_splits_is_refused_by_id(prepared):
    edit(prepared, patient_id=["1", "1", "2", "3", "2", "1"])
    with pytest.raises(DataError, match=r"2 patients are in both splits \(1, 2\), so scores would flatter"):
        read_tiles(prepared)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"split": "test"}, r"has the splits test, expected train, holdout"),
        ({"index": list("102345")}, r"is not in the order of images\.npy"),
        ({"scale": "wide"}, r"manifest\.csv is damaged \(ValueError\)"),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(prepared, columns, message):
    edit(prepared, **columns)
    with pytest.raises(DataError, match=message):
        read_tiles(prepared)


def test_a_manifest_without_its_columns_is_refused(prepared):
    (prepared / "manifest.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match=r"manifest\.csv is damaged \(KeyError\)"):
        read_tiles(prepared)


def test_an_unknown_or_empty_split_is_named_with_those_there(prepared):
    edit(prepared, split="train")
    with pytest.raises(DataError, match="have no split 'holdout', only: train"):
        read_tiles(prepared).split("holdout")
