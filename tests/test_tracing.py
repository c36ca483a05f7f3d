import hashlib

import numpy as np
import pytest
from PIL import Image

from mammogan.errors import DataError
from mammogan.models import build_generator, store
from mammogan.serving.dicom import Subject, dicom_of
from mammogan.serving.images import Stamp, jpeg_of, png_of
from mammogan.serving.recipe import Recipe, redraw
from mammogan.tracing import trace
from small_networks import small_config, with_contrast

__all__ = ["small_config"]


@pytest.fixture
def weights(tmp_path, small_config):
    config = small_config("dcgan")
    store.save(tmp_path / "G.safetensors", with_contrast(build_generator(config.dcgan, 32, None)), config, 32)
    return tmp_path / "G.safetensors"


@pytest.fixture
def recipe(weights):
    return Recipe("dcgan", hashlib.sha256(weights.read_bytes()).hexdigest(), 7, 21, 0.7)


@pytest.fixture
def image(weights, recipe):
    return redraw(store.load(weights), recipe)


def test_png_jpeg_and_dicom_are_drawn_again_pixel_by_pixel(tmp_path, weights, recipe, image):
    mirrored = recipe.words() | {"mirrored": "true"}
    stamp = Stamp("dcgan", "1", "f" * 32, "0123abc", "d" * 32, recipe.weights_sha256)
    files = {
        "one.png": png_of(image, recipe.words()),
        "two.png": png_of(np.ascontiguousarray(image[:, ::-1]), mirrored),
        "one.jpg": jpeg_of(image, recipe.words()),
        "one.dcm": dicom_of(image, recipe, stamp, Subject("1900000001", "L", "CC", 0.3)),
        "two.dcm": dicom_of(image[:, ::-1], recipe, stamp, Subject("1900000001", "R", "CC", 0.3)),
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
        found = trace(tmp_path / name, None, weights)
        assert found.identical, name
        assert f"manifest        {recipe.manifest_id}" in found.lines


def test_one_altered_pixel_is_noticed(tmp_path, weights, recipe, image):
    image[3, 4] ^= 128
    (tmp_path / "one.png").write_bytes(png_of(image, recipe.words()))
    found = trace(tmp_path / "one.png", None, weights)
    assert not found.identical
    assert found.lines[-1] == (
        "identical       no: 1 of 1024 pixels differ, by up to 128 grey levels; the file was altered"
    )


def test_another_size_is_not_identical(tmp_path, weights, recipe, image):
    (tmp_path / "one.png").write_bytes(png_of(np.asarray(Image.fromarray(image).resize((16, 16))), recipe.words()))
    assert "the file holds uint8 (16, 16)" in trace(tmp_path / "one.png", None, weights).lines[-1]


def test_other_weights_are_refused(tmp_path, weights, recipe, image):
    (tmp_path / "one.png").write_bytes(png_of(image, recipe.words()))
    (tmp_path / "other").write_bytes(b"other")
    with pytest.raises(DataError, match="are not the weights that drew"):
        trace(tmp_path / "one.png", None, tmp_path / "other")


def test_the_exit_status_tells_an_altered_file(tmp_path, mammogan, weights, recipe, image):
    (tmp_path / "good.png").write_bytes(png_of(image, recipe.words()))
    image[0] ^= 64
    (tmp_path / "bad.png").write_bytes(png_of(image, recipe.words()))
    assert mammogan("trace", "good.png", "--weights", str(weights)).returncode == 0
    assert mammogan("trace", "bad.png", "--weights", str(weights)).returncode == 3
    lost = mammogan("trace", "none.png", "--weights", str(weights))
    assert (lost.returncode, lost.stderr) == (1, "mammogan: none.png is missing or no file\n")
