"""Generators on disk."""

import hashlib
import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from mammogan.config import TrainConfig
from mammogan.errors import DataError
from mammogan.models import build
from mammogan.models.store import load, save
from mammogan.serving.sample import sample
from small_networks import with_contrast


def test_a_saved_generator_comes_back_with_the_same_samples(train_config: TrainConfig, tmp_path: Path) -> None:
    G, _ = build(train_config, 32)
    G(torch.randn(8, G.z_dim))  # moves the buffers away from their start
    G.eval().to(memory_format=torch.channels_last)
    save(tmp_path / "G.safetensors", G, train_config, 32)
    again = load(tmp_path / "G.safetensors")
    G.to(memory_format=torch.contiguous_format)
    assert not again.training
    assert all(torch.equal(kept, G.state_dict()[name]) for name, kept in again.state_dict().items())
    assert torch.equal(sample(again, 4, seed=1), sample(G, 4, seed=1))


def test_a_generator_of_sixteen_bits_comes_back_as_one(train_config: TrainConfig, tmp_path: Path) -> None:
    G = with_contrast(build(train_config, 32)[0])
    G.bits = 16
    save(tmp_path / "G.safetensors", G, train_config, 32)
    again = load(tmp_path / "G.safetensors")
    images = sample(again, 4, seed=1)
    assert (again.bits, images.dtype) == (16, torch.uint16)
    assert len(images.int().unique()) > 256
    assert torch.equal(images, sample(G, 4, seed=1))
    G.bits = 8
    coarse = sample(G, 4, seed=1)
    assert (images.int() - 257 * coarse.int()).abs().max() <= 129  # the same pictures, finer


def with_header(path: Path, **changes: object) -> None:
    """Write the generator in `path` again with other values in its header; None takes a key away."""
    with safe_open(path, framework="pt") as file:
        header = {**json.loads(file.metadata()["mammogan"]), **changes}
    kept = {key: value for key, value in header.items() if value is not None}
    save_file(load_file(path), path, {"mammogan": json.dumps(kept)})


def test_a_generator_of_before_there_were_sixteen_bits_still_draws_its_eight(
    train_config: TrainConfig, tmp_path: Path
) -> None:
    G = with_contrast(build(train_config, 32)[0])
    save(tmp_path / "G.safetensors", G, train_config, 32)
    with_header(tmp_path / "G.safetensors", bits=None)
    again = load(tmp_path / "G.safetensors")
    assert again.bits == 8
    assert torch.equal(sample(again, 4, seed=1), sample(G, 4, seed=1))


@pytest.mark.parametrize("bits", [12, "16", True])
def test_another_depth_is_refused(train_config: TrainConfig, tmp_path: Path, bits: object) -> None:
    save(tmp_path / "G.safetensors", build(train_config, 32)[0], train_config, 32)
    with_header(tmp_path / "G.safetensors", bits=bits)
    with pytest.raises(DataError, match=rf"its images have {bits} bits, expected 8 or 16"):
        load(tmp_path / "G.safetensors")


def test_the_same_weights_give_the_same_bytes(train_config: TrainConfig, tmp_path: Path) -> None:
    G, _ = build(train_config, 32)
    shas = {save(tmp_path / f"{k}", G, train_config, 32, {"run": "a", "commit": "b"}) for k in range(8)}
    assert shas == {hashlib.sha256((tmp_path / "0").read_bytes()).hexdigest()}


def test_a_missing_file_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"G\.safetensors is missing; train again"):
        load(tmp_path / "G.safetensors")


@pytest.mark.parametrize("kept", [0, 7, 300, -100])
def test_a_cut_file_is_damaged(train_config: TrainConfig, tmp_path: Path, kept: int) -> None:
    path = tmp_path / "G.safetensors"
    save(path, build(train_config, 32)[0], train_config, 32)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(DataError, match="is damaged or from another version"):
        load(path)


def test_a_foreign_file_is_named_as_such(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file({"weight": torch.zeros(3)}, path)
    with pytest.raises(DataError, match="holds no generator of mammogan"):
        load(path)


def test_weights_of_another_shape_are_refused(train_config: TrainConfig, tmp_path: Path) -> None:
    path = tmp_path / "G.safetensors"
    save(path, build(train_config, 64)[0], train_config, 32)
    with pytest.raises(DataError, match="from another version"):
        load(path)
