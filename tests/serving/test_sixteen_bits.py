"""A generator that learnt 16-bit tiles answers with 16-bit images: sampled, served and written as a set."""

import base64
import io
import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from mammogan.config import GenerateConfig
from mammogan.data.tiles import to_8_bits
from mammogan.models import store
from mammogan.serving.generate import generate
from mammogan.serving.sample import sample


@pytest.fixture(scope="module")
def answer(served_16):
    return served_16.predict(pd.DataFrame({"n": [3], "seed": [7]}), params={"truncation": 0.8})


def pixels_of(png: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(png)) as image:
        assert image.mode == "I;16"
        return np.asarray(image)


def test_the_answer_holds_16_bit_grey_images_of_the_generator(answer, weights_16):
    assert answer["bits"].tolist() == [16, 16, 16]
    expected = sample(store.load(weights_16), 3, 7, truncation=0.8)[:, 0].numpy()
    for png, image in zip(answer["image_png_base64"], expected, strict=True):
        pixels = pixels_of(base64.b64decode(png))
        assert pixels.dtype == np.uint16
        assert len(np.unique(pixels)) > 256
        np.testing.assert_array_equal(pixels, image)


def test_the_set_has_the_bytes_of_the_server_and_says_its_depth(answer, weights_16, stamp_16, tmp_path):
    config = GenerateConfig(n_images=3, seed=7, truncation=0.8)
    generate(config, store.load(weights_16), stamp_16, tmp_path / "set")
    files = sorted((tmp_path / "set" / "images").iterdir())
    assert [file.read_bytes() for file in files] == [base64.b64decode(png) for png in answer["image_png_base64"]]
    assert json.loads((tmp_path / "set" / "manifest.json").read_text(encoding="utf-8"))["bits"] == 16


def test_its_images_are_those_of_eight_bits_but_finer(weights_16):
    G = store.load(weights_16)
    fine = sample(G, 5, 7)[:, 0].numpy()
    G.bits = 8
    coarse = sample(G, 5, 7)[:, 0].numpy()
    assert coarse.std() > 2
    assert np.abs(to_8_bits(fine).astype(int) - coarse).max() <= 1  # near a tie it is rounded twice
    assert (to_8_bits(fine) == coarse).mean() > 0.99
