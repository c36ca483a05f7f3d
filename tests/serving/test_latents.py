"""Rows of images along latents."""

import numpy as np
import pytest

from mammogan.models import Classes, build_generator
from mammogan.serving.latents import latents, row_names, walks
from mammogan.serving.sample import sample
from small_networks import SMALL_DCGAN, SMALL_STYLEGAN, with_contrast

CLASSES = Classes("cancer", ("0", "1"), (0.5, 0.5))


@pytest.mark.parametrize("architecture", [SMALL_DCGAN, SMALL_STYLEGAN], ids=["dcgan", "stylegan"])
@pytest.mark.parametrize("classes", [None, CLASSES], ids=["unconditional", "conditional"])
def test_the_first_image_of_a_row_is_the_one_that_the_seed_draws(architecture, classes):
    G = with_contrast(build_generator(architecture, 32, classes))
    ends = latents(G, 3, seed=5)
    images = walks(G, np.repeat(ends[:, None], 2, 1), [1.0, 0.0], seed=5)
    assert images.shape == (3, 2, 32, 32)
    drawn = sample(G, 3, seed=5)[:, 0].numpy().astype(int)
    assert np.abs(images[:, 0].astype(int) - drawn).max() <= 1  # batches of other sizes may round differently
    assert (images[:, 0] != images[:, 1]).any()


def test_rows_are_named_by_their_class():
    G = build_generator(SMALL_DCGAN, 32, CLASSES)
    assert set(row_names(G, 20, seed=0)) == {"cancer 0", "cancer 1"}
    assert row_names(build_generator(SMALL_DCGAN, 32), 20, seed=0) == []
