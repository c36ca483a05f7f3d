import dataclasses

import numpy as np
import pytest
import torch

from mammogan.errors import DataError
from mammogan.models import Classes, build_generator
from mammogan.serving.recipe import BLOCK, Recipe, draw_block, from_line, redraw, to_line
from mammogan.serving.sample import sample
from small_networks import SMALL_DCGAN, with_contrast

RECIPE = Recipe("dcgan", "e" * 64, 7, 21, 0.7, labels={"cancer": "1"})


@pytest.fixture(scope="module")
def conditional():
    return with_contrast(build_generator(SMALL_DCGAN, 32, Classes("cancer", ("0", "1"), (0.5, 0.5))))


def test_a_recipe_comes_back_from_its_words_and_from_one_line():
    assert Recipe.parse(RECIPE.words()) == RECIPE
    assert Recipe.parse(from_line("SYNTHETIC: " + to_line(RECIPE.words()))) == RECIPE


@pytest.mark.parametrize(
    "change",
    [{"seed": 8}, {"index": 22}, {"truncation": 0.8}, {"weights_sha256": "f" * 64}, {"labels": {"cancer": "0"}}],
)
def test_every_part_of_the_recipe_changes_the_manifest_id(change):
    assert dataclasses.replace(RECIPE, **change).manifest_id != RECIPE.manifest_id


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"seed": "8"}, "changed"),
        ({"seed": "x"}, "no number"),
        ({"index": "-1"}, "out of range"),
        ({"truncation": "nan"}, "out of range"),
        ({"precision": "fp8"}, "out of range"),
    ],
)
def test_words_that_were_changed_are_refused(change, word):
    with pytest.raises(DataError, match=word):
        Recipe.parse({**RECIPE.words(), **change})


def test_an_image_is_drawn_again_from_its_recipe_alone(conditional):
    images, labels = draw_block(conditional, BLOCK, 7, 0.7, "1")
    assert labels[5] == {"cancer": "1"}
    np.testing.assert_array_equal(redraw(conditional, RECIPE), images[5])


def test_the_image_of_a_drawn_class_is_that_of_the_served_set(conditional):
    served = sample(conditional, 40, 7)[:, 0].numpy()
    images, labels = draw_block(conditional, 2 * BLOCK, 7, 1.0)
    np.testing.assert_array_equal(images[:8], served[32:])
    recipe = Recipe("dcgan", "e" * 64, 7, 35, labels=labels[3])
    np.testing.assert_array_equal(redraw(conditional, recipe), served[35])


def test_a_class_that_the_generator_does_not_know_is_refused(conditional):
    with pytest.raises(DataError, match="draws no cancer '2', only 0, 1"):
        redraw(conditional, dataclasses.replace(RECIPE, labels={"cancer": "2"}))


def test_an_unconditional_generator_is_asked_for_no_class():
    torch.manual_seed(0)
    G = build_generator(SMALL_DCGAN, 32, None).eval()
    with pytest.raises(DataError, match="unconditional"):
        redraw(G, RECIPE)
    with pytest.raises(ValueError, match="unconditional"):
        draw_block(G, 0, 7, 1.0, "1")
