"""Generators on disk."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from mammogan.config import TrainConfig
from mammogan.errors import DataError
from mammogan.models import Classes, Growth, build
from mammogan.models.store import load, read, save, save_discriminator
from mammogan.serving.sample import sample
from small_networks import SMALL_DCGAN, SMALL_STYLEGAN, with_contrast

DENSITY = Classes("density", ("A", "B", "C"), (0.5, 0.3, 0.2))


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


def with_header(path: Path, without: str = "", **changes: object) -> None:
    """Write the generator in `path` again with other values in its header, or one less."""
    header = {**read(path)[0], **changes}
    header.pop(without, None)
    save_file(load_file(path), path, {"mammogan": json.dumps(header)})


@pytest.mark.parametrize("key", ["bits", "classes", "growth", "network", "resolution"])
def test_a_file_from_before_its_header_told_all_is_refused(train_config: TrainConfig, tmp_path: Path, key: str) -> None:
    save(tmp_path / "G.safetensors", build(train_config, 32)[0], train_config, 32)
    with_header(tmp_path / "G.safetensors", without=key)
    with pytest.raises(DataError, match=rf"from another version \('{key}'\); train again"):
        load(tmp_path / "G.safetensors")


def test_a_file_from_before_the_networks_had_their_options_is_refused(
    train_config: TrainConfig, tmp_path: Path
) -> None:
    save(tmp_path / "G.safetensors", build(train_config, 32)[0], train_config, 32)
    architecture = train_config.architecture.model_dump()
    del architecture["r1_every"]
    with_header(tmp_path / "G.safetensors", architecture=architecture)
    with pytest.raises(DataError, match="from another version"):
        load(tmp_path / "G.safetensors")


def test_a_conditional_generator_comes_back_with_its_classes(train_config: TrainConfig, tmp_path: Path) -> None:
    G = with_contrast(build(train_config, 32, DENSITY)[0])
    save(tmp_path / "G.safetensors", G, train_config, 32)
    again = load(tmp_path / "G.safetensors")
    assert again.classes == DENSITY
    z, classes = torch.randn(3, G.z_dim), torch.tensor([0, 2, 1])
    calm = [torch.Generator().manual_seed(k) for k in range(3)]
    images = G(z, classes, noise=calm)
    calm = [torch.Generator().manual_seed(k) for k in range(3)]
    assert torch.equal(again(z, classes, noise=calm), images)


def test_a_generator_saved_while_it_grows_comes_back_as_far_grown(
    small_config: Callable[..., TrainConfig], tmp_path: Path
) -> None:
    growing = SMALL_STYLEGAN.model_copy(update={"grow_from": 8})
    config = small_config("stylegan", stylegan=growing)
    G = with_contrast(build(config, 32)[0])
    G.growth = Growth(16, 0.25)
    save(tmp_path / "G.safetensors", G, config, 32)
    again = load(tmp_path / "G.safetensors")
    assert again.growth == Growth(16, 0.25)
    assert torch.equal(sample(again, 4, seed=1), sample(G, 4, seed=1))


@pytest.mark.parametrize("spectral_norm", [False, True])
def test_a_discriminator_comes_back_with_its_weights_and_header_and_is_no_generator(
    small_config: Callable[..., TrainConfig], tmp_path: Path, spectral_norm: bool
) -> None:
    config = small_config("dcgan", dcgan=SMALL_DCGAN.model_copy(update={"spectral_norm": spectral_norm}))
    D = build(config, 32, DENSITY)[1]
    path = tmp_path / "D.safetensors"
    sha256 = save_discriminator(path, D, config, 32, DENSITY)
    assert sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    header, tensors = read(path)
    assert (header["network"], header["model"], header["resolution"]) == ("discriminator", "dcgan", 32)
    assert header["classes"] == {"label": "density", "values": ["A", "B", "C"], "shares": [0.5, 0.3, 0.2]}
    kept = D.state_dict()
    assert tensors.keys() == kept.keys()
    assert all(torch.equal(tensor, kept[name]) for name, tensor in tensors.items())
    with pytest.raises(DataError, match="it holds a discriminator, expected a generator"):
        load(path)


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
    with pytest.raises(DataError, match="holds no network of mammogan"):
        load(path)


def test_weights_of_another_shape_are_refused(train_config: TrainConfig, tmp_path: Path) -> None:
    path = tmp_path / "G.safetensors"
    save(path, build(train_config, 64)[0], train_config, 32)
    with pytest.raises(DataError, match="from another version"):
        load(path)
