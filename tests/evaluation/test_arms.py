import numpy as np
import pytest

from labelled_blobs import blobs, utility_config
from mammogan.errors import EvaluationError
from mammogan.evaluation.arms import arms, reduced


def by_name(config, train, synthetic):
    return {arm.name: arm for arm in arms(config, train, synthetic)}


def test_all_training_sets_have_one_size_and_one_share_of_either_class():
    found = by_name(utility_config(per_real=1.5), blobs(20, share=0.3), blobs(60, seed=1))
    assert {len(arm.images) for arm in found.values()} == {20 + 30}
    assert {int(arm.labels.sum()) for arm in found.values()} == {6 + 9}


def test_the_baseline_and_the_mixture_differ_only_in_what_is_added():
    train, synthetic = blobs(20), blobs(40, seed=1)
    found = by_name(utility_config(), train, synthetic)
    assert (found["real"].labels == found["mixed"].labels).all()
    assert (found["real"].images[:20] == found["mixed"].images[:20]).all()
    assert {image.tobytes() for image in found["real"].images} == {image.tobytes() for image in train.images}
    only_synthetic = {image.tobytes() for image in synthetic.images}
    assert {image.tobytes() for image in found["mixed"].images[20:]} <= only_synthetic
    assert {image.tobytes() for image in found["synthetic"].images} <= only_synthetic


def test_only_one_set_is_augmented_and_it_is_the_baseline_otherwise():
    found = by_name(utility_config(), blobs(20), blobs(40, seed=1))
    assert [arm.name for arm in found.values() if arm.augment] == ["augmented"]
    assert (found["augmented"].images == found["real"].images).all()


def test_copies_are_spread_evenly_over_the_real_images():
    found = by_name(utility_config(per_real=2.5), blobs(20), blobs(60, seed=1))
    times = np.unique(found["real"].images, axis=0, return_counts=True)[1]
    assert set(times.tolist()) == {3, 4}


def test_both_sets_with_synthetic_images_have_the_same_different_ones():
    found = by_name(utility_config(), blobs(20), blobs(60, seed=1))
    mixed, alone = (
        {image.tobytes() for image in images} for images in (found["mixed"].images[20:], found["synthetic"].images)
    )
    assert mixed == alone


def test_too_few_synthetic_images_of_one_class_are_told():
    with pytest.raises(EvaluationError, match=r"3 synthetic images with the finding, but .* asks for 10 beside 10"):
        arms(utility_config(), blobs(20), blobs(30, seed=1, share=0.1))


def test_synthetic_images_of_another_size_are_told():
    with pytest.raises(EvaluationError, match=r"\(32, 32\) and synthetic ones \(16, 16\)"):
        arms(utility_config(), blobs(20), blobs(40, px=16))


def test_sixteen_bits_become_eight_and_large_images_are_averaged():
    images = np.full((2, 64, 64), 257 * 100, np.uint16)
    images[:, ::2] = 257 * 50
    assert (reduced(images, 32) == 75).all()
    assert reduced(images, 64).dtype == np.uint8
    assert reduced(images, 64)[0, :2, 0].tolist() == [50, 100]
