import io

import numpy as np
from PIL import Image

from mammogan.serving.images import png
from mammogan.serving.recipe import Recipe


def test_grey_levels_survive_the_png(stamp):
    image = np.arange(256, dtype=np.uint8).reshape(16, 16)
    with Image.open(io.BytesIO(png(image, stamp, seed=7, index=3, truncation=0.5))) as found:
        assert found.mode == "L"
        np.testing.assert_array_equal(np.asarray(found), image)


def test_sixteen_bits_survive_the_png(stamp):
    image = (np.arange(65536) % 65521).astype(np.uint16).reshape(256, 256)
    with Image.open(io.BytesIO(png(image, stamp, seed=7, index=3, truncation=0.5))) as found:
        assert found.mode == "I;16"
        np.testing.assert_array_equal(np.asarray(found), image)


def test_the_file_itself_says_that_it_is_synthetic_and_how_to_make_it_again(stamp):
    data = png(np.zeros((8, 8), np.uint8), stamp, seed=7, index=3, truncation=0.5)
    with Image.open(io.BytesIO(data)) as found:
        assert found.text == {
            "synthetic": "true",
            "manifest_id": Recipe("dcgan", stamp.weights_sha256, 7, 3, 0.5).manifest_id,
            "model": "dcgan",
            "weights_sha256": stamp.weights_sha256,
            "seed": "7",
            "index": "3",
            "truncation": "0.5",
            "precision": "fp32",
        }
