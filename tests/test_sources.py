"""Synthetic images by any of their names."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mammogan import sources
from mammogan.config import Checkout, Config, TrainConfig, load
from mammogan.errors import DataError, EvaluationError
from mammogan.models import build, store
from mammogan.serving.sample import draw
from small_networks import small_config, with_contrast

__all__ = ["small_config"]

ROOT = Path(__file__).parent.parent


@pytest.fixture
def here(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path, tmp_path)


@pytest.fixture
def settings() -> Config:
    return load(ROOT / "params.yaml")


def save_pngs(folder: Path, images: np.ndarray) -> Path:
    folder.mkdir(parents=True)
    for number, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{number:03d}.png")
    return folder


def greys(n: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, 32, 32), dtype=np.uint8)


def test_a_generator_draws_fresh_images_without_end(
    here: Checkout, settings: Config, small_config: Callable[..., TrainConfig], tmp_path: Path
) -> None:
    G = with_contrast(build(small_config("dcgan"), 32)[0])
    store.save(tmp_path / "run" / "generator.safetensors", G, small_config("dcgan"), 32)
    for name in (tmp_path / "run", tmp_path / "run" / "generator.safetensors"):
        source = sources.find(here, settings, str(name))
        first, second = source.draws(2, 5, seed=3)
        assert source.most(2) is None
        assert (first.images == draw(G, 5, 3)).all()
        assert (second.images == draw(G, 5, 4)).all()


def test_a_folder_is_cut_into_sets_that_share_no_image(here: Checkout, settings: Config, tmp_path: Path) -> None:
    images = greys(10)
    source = sources.find(here, settings, str(save_pngs(tmp_path / "set", images)))
    assert source.most(3) == 3
    drawn = np.concatenate([drawn.images for drawn in source.draws(3, 3, seed=0)])
    numbers = [int(np.flatnonzero((images == image).all(axis=(1, 2)))[0]) for image in drawn]
    assert len(set(numbers)) == 9
    assert numbers != sorted(numbers)
    with pytest.raises(EvaluationError, match="holds 10 images, fewer than 3 sets of 4"):
        list(source.draws(3, 4, seed=0))


def test_a_synthetic_set_is_read_from_its_images(here: Checkout, settings: Config, tmp_path: Path) -> None:
    save_pngs(tmp_path / "set" / "images", greys(2))
    assert sources.find(here, settings, str(tmp_path / "set")).most(1) == 2


def test_sixteen_bits_are_rounded_to_eight(tmp_path: Path) -> None:
    save_pngs(tmp_path / "set", np.full((1, 8, 8), 32896, np.uint16))  # 128 * 257
    assert (sources.read_images(tmp_path / "set") == 128).all()


def test_a_folder_that_is_no_set_of_tiles_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no PNG"):
        sources.read_images(save_pngs(tmp_path / "empty", greys(0)))
    odd = save_pngs(tmp_path / "odd", greys(2))
    Image.fromarray(np.zeros((16, 16), np.uint8)).save(odd / "x.png")
    with pytest.raises(DataError, match=r"x\.png has another size than 000\.png \(32 x 32 px\)"):
        sources.read_images(odd)
    with pytest.raises(DataError, match="expected square tiles"):
        sources.read_images(save_pngs(tmp_path / "flat", np.zeros((1, 8, 16), np.uint8)))
    with pytest.raises(DataError, match="is of mode RGB, expected grey"):
        sources.read_images(save_pngs(tmp_path / "rgb", np.zeros((1, 8, 8, 3), np.uint8)))
    broken = save_pngs(tmp_path / "broken", greys(1))
    (broken / "000.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"000\.png cannot be read as a PNG"):
        sources.read_images(broken)


def test_a_name_that_means_nothing_is_told_what_would(here: Checkout, settings: Config) -> None:
    with pytest.raises(DataError, match="nowhere is no file, folder, model or run; name dcgan, stylegan, models:/"):
        sources.find(here, settings, "nowhere")
