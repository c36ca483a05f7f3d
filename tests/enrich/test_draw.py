import numpy as np
import pytest

from mammogan.enrich.draw import DUPLICATE, Source, harvest
from mammogan.enrich.screen import Distinct, Named
from mammogan.errors import DataError
from mammogan.models import Classes, build_generator
from mammogan.serving.images import Stamp
from mammogan.serving.recipe import redraw
from small_networks import SMALL_DCGAN, with_contrast

STAMP = Stamp("dcgan", "", "", "", "", "e" * 64)
EVEN = Named("odd", lambda images: [int(image.sum()) % 2 == 0 for image in images])


@pytest.fixture(autouse=True)
def only_the_same_picture_is_a_duplicate(monkeypatch):
    """What an untrained network draws is all much alike."""
    monkeypatch.setattr("mammogan.enrich.screen.COPY_NCC", 0.9999)


def source(classes=None, **labels):
    return Source(with_contrast(build_generator(SMALL_DCGAN, 32, classes)), STAMP, labels)


def pick(sources, counts, screens=(), distinct=None, seed=7):
    return harvest(sources, counts, seed=seed, truncation=1.0, screens=screens, distinct=distinct or Distinct())


def test_what_a_screen_turns_away_is_counted_and_the_next_image_is_drawn():
    plain = source()
    found = pick([plain], {None: 20}, [EVEN])
    assert len(found.images) == 20
    assert all(int(one.image.sum()) % 2 == 0 for one in found.images)
    assert found.rejected["odd"] > 0
    assert found.drawn == 20 + sum(found.rejected.values())
    for one in found.images[::7]:
        np.testing.assert_array_equal(redraw(plain.G, one.recipe), one.image)


def test_each_class_gets_its_number_and_no_index_serves_two_classes():
    conditional = source(Classes("cancer", ("0", "1"), (0.9, 0.1)))
    found = pick([conditional], {"0": 5, "1": 19})
    assert [sum(one.labels["cancer"] == value for one in found.images) for value in "01"] == [5, 19]
    indices = [one.recipe.index for one in found.images]
    assert len(set(indices)) == len(indices)
    last = found.images[-1]
    np.testing.assert_array_equal(redraw(conditional.G, last.recipe), last.image)


def test_a_generator_of_one_class_gives_the_label_that_the_user_states():
    found = pick([source(cancer="1"), source(cancer="0")], {"1": 2, "0": 3})
    assert sorted(one.labels["cancer"] for one in found.images) == ["0", "0", "0", "1", "1"]
    assert all(one.recipe.labels == {} for one in found.images)


def test_an_image_that_was_taken_before_is_not_taken_again():
    first = pick([source()], {None: 6})
    distinct = Distinct(one.image for one in first.images)
    again = pick([source()], {None: 6}, distinct=distinct)
    assert again.rejected[DUPLICATE] >= 6
    assert not {one.recipe.index for one in first.images} & {one.recipe.index for one in again.images}


def test_the_same_question_has_the_same_answer():
    one, other = (pick([source()], {None: 9}, [EVEN]) for _ in range(2))
    assert [image.recipe for image in one.images] == [image.recipe for image in other.images]


def test_it_gives_up_with_the_reasons():
    nothing = Named("not breast-like", lambda images: [False] * len(images))
    with pytest.raises(DataError, match=r"only 0 of 3 images passed after 128 were drawn \(128 not breast-like\)"):
        pick([source()], {None: 3}, [nothing])
