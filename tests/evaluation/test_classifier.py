import numpy as np
import pytest
import torch

from labelled_blobs import blobs
from mammogan.evaluation.augmentation import augmented
from mammogan.evaluation.classifier import Classifier, Training, scores, train
from mammogan.evaluation.roc import roc

CPU = torch.device("cpu")


def trained_scores(seed=0, updates=40, augment=False, **changes):
    learned, shown = blobs(24, **changes), blobs(20, seed=9)
    how = Training(updates, 8, 0.003, augment, seed)
    net = train(learned.images, learned.labels, how, CPU, lambda n: None)
    return scores(net, shown.images), shown.labels


@pytest.mark.parametrize("augment", [False, True])
def test_it_learns_to_see_a_blob(augment):
    assert roc(*trained_scores(updates=40, augment=augment)).auc > 0.9


def test_it_learns_from_one_image_in_six():
    assert roc(*trained_scores(updates=40, share=1 / 6)).auc > 0.85


def test_the_seed_decides_and_no_global_state_changes():
    before = torch.get_rng_state()
    first, again, other = (trained_scores(seed, updates=4)[0] for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()
    assert (torch.get_rng_state() == before).all()


def test_each_update_is_told_once():
    told = []
    learned = blobs(8)
    train(learned.images, learned.labels, Training(5, 4, 0.001, False, 0), CPU, told.append)
    assert told == [1] * 5


def test_an_image_scores_the_same_in_any_company_and_size():
    torch.manual_seed(0)
    net = Classifier().eval()
    images = np.random.default_rng(0).integers(0, 256, (70, 48, 48), dtype=np.uint8)
    assert scores(net, images)[66:] == pytest.approx(scores(net, images[66:]), abs=1e-5)


def test_augmentation_changes_each_image_its_own_way_and_leaves_black_black():
    image = torch.full((1, 1, 32, 32), -1.0)
    image[:, :, 8:24, :16] = 0.2
    changed = augmented(image.repeat(4, 1, 1, 1), np.random.default_rng(0))
    assert changed.min() == -1
    assert changed.max() <= 1
    assert len({tuple(one.flatten().tolist()) for one in changed}) == 4
    assert (changed[:, :, :, 24:] == -1).all()
    black = torch.full((3, 1, 32, 32), -1.0)
    assert torch.equal(augmented(black, np.random.default_rng(0)), black)
