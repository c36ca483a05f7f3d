import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import mammogan
from mammogan.data.tiles import to_model
from mammogan.errors import ConfigError, DataError, RequestError, TrackingError
from mammogan.loading import Synthesiser
from mammogan.models import Classes, build_generator, store
from mammogan.serving.images import Stamp
from mammogan.serving.sample import sample
from small_networks import SMALL_DCGAN, small_config, with_contrast

__all__ = ["small_config"]
STAMP = Stamp("dcgan", "3", "", "", "", "e" * 64)


def synthesiser(classes=None, bits=8):
    G = with_contrast(build_generator(SMALL_DCGAN, 32, classes))
    G.bits = bits
    return Synthesiser(G, STAMP)


@pytest.fixture(scope="module")
def plain():
    return synthesiser()


@pytest.fixture(scope="module")
def by_cancer():
    return synthesiser(Classes("cancer", ("0", "1"), (0.7, 0.3)))


def test_importing_the_package_imports_neither_torch_nor_mlflow():
    code = "import sys, mammogan; mammogan.load; sys.exit(bool({'torch', 'mlflow', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_file_is_loaded_and_draws_what_the_server_draws(tmp_path, monkeypatch, small_config):
    monkeypatch.chdir(tmp_path)
    G = with_contrast(build_generator(SMALL_DCGAN, 32, None))
    store.save(tmp_path / "G.safetensors", G, small_config("dcgan"), 32)
    found = mammogan.load("G.safetensors")
    assert repr(found) == "<Synthesiser dcgan: 32 px, 8 bits>"
    np.testing.assert_array_equal(found.sample(5, seed=7, truncation=0.8), sample(G, 5, 7, 0.8)[:, 0].numpy())


def test_what_cannot_be_loaded_is_one_message(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"there is no generator nothing\.pt; give dcgan, stylegan"):
        mammogan.load("nothing.pt")
    with pytest.raises(TrackingError, match="go into a clone of mammogan"):
        mammogan.load("models:/mammogan-stylegan@champion")
    with pytest.raises(ConfigError, match="is no clone"):
        mammogan.load("stylegan", root=tmp_path)


def test_images_in_the_middle_are_those_of_the_whole(plain):
    np.testing.assert_array_equal(plain.sample(4, 7, first=32), plain.sample(36, 7)[32:])


def test_classes_come_as_asked_and_targets_tell_them(by_cancer):
    assert by_cancer.targets(4, classes="1").tolist() == [1, 1, 1, 1]
    assert by_cancer.targets(3, classes=["0", "1", "0"]).tolist() == [0, 1, 0]
    drawn = by_cancer.targets(200, seed=1)
    assert 0.2 < drawn.mean() < 0.4
    same = by_cancer.sample(8, 1, classes=[str(k) for k in drawn[:8]])
    np.testing.assert_array_equal(by_cancer.sample(8, 1), same)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"n": -1}, "n must be a whole number of at least 0, got -1"),
        ({"n": 2.5}, "n must be a whole number"),
        ({"n": True}, "n must be a whole number"),
        ({"n": 1, "seed": 2**32}, "seed must be at most 4294967295"),
        ({"n": 1, "truncation": 0}, "truncation must be"),
        ({"n": 1, "truncation": float("nan")}, "truncation must be"),
        ({"n": 1, "classes": "2"}, "the generator draws no cancer '2'; it draws 0, 1"),
        ({"n": 2, "classes": ["0"]}, "1 classes for 2 images"),
    ],
)
def test_a_value_that_cannot_be_is_one_message(by_cancer, arguments, word):
    with pytest.raises(RequestError, match=word):
        by_cancer.sample(**arguments)


def test_an_unconditional_generator_takes_no_classes(plain):
    with pytest.raises(RequestError, match="unconditional"):
        plain.sample(1, classes="1")
    assert plain.targets(2).tolist() == [-1, -1]


@pytest.mark.parametrize("bits", [8, 16])
def test_a_fixed_loader_gives_the_images_of_sample_every_time(bits):
    found = synthesiser(bits=bits)
    loader = found.loader(batch_size=5, n=18, seed=7)
    passes = [torch.cat([images for images, _ in loader]) for _ in range(2)]
    assert torch.equal(passes[0], passes[1])
    assert torch.equal(passes[0], to_model(torch.from_numpy(found.sample(18, 7))[:, None]))
    assert passes[0].dtype == torch.float32
    assert passes[0].abs().max() <= 1


def test_an_endless_loader_goes_on_with_new_images(plain):
    batches = iter(plain.loader(batch_size=6, seed=7))
    images = torch.cat([next(batches)[0] for _ in range(5)])
    assert torch.equal(images, to_model(torch.from_numpy(plain.sample(30, 7))[:, None]))


@pytest.mark.slow
def test_workers_change_neither_order_nor_pixels(plain):
    one, two = ([images for images, _ in plain.loader(4, n=30, seed=7, workers=workers)] for workers in (0, 2))
    assert len(one) == len(two) == 8
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def test_a_data_set_has_image_and_class(by_cancer):
    found = by_cancer.dataset(20, seed=3)
    image, target = found[17]
    assert torch.equal(image, to_model(torch.from_numpy(by_cancer.sample(20, 3)[17])[None]))
    assert target == by_cancer.targets(20, 3)[17]
    assert torch.equal(found[-3][0], image)
    with pytest.raises(IndexError):
        found[20]


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 0.9])
def test_real_and_synthetic_are_mixed_at_the_share(plain, share):
    real = TensorDataset(torch.zeros(12, 1, 32, 32), torch.ones(12, dtype=torch.int64))
    mixed = plain.mixed(real, share)
    synthetic = [mixed.is_synthetic(k) for k in range(len(mixed))]
    assert len(mixed) == round(12 / (1 - share))
    assert abs(sum(synthetic) - share * len(mixed)) < 1
    targets = [int(mixed[k][1]) for k in range(len(mixed))]
    assert targets == [-1 if made else 1 for made in synthetic]
    assert targets.count(1) == 12, "every real image comes once"


def test_a_mixture_goes_through_a_shuffling_loader_and_may_have_a_length_of_its_own(plain):
    real = TensorDataset(torch.zeros(4, 1, 32, 32), torch.ones(4, dtype=torch.int64))
    mixed = plain.mixed(real, 0.5, n=20)
    images, targets = next(iter(DataLoader(mixed, batch_size=20, shuffle=True)))
    assert images.shape == (20, 1, 32, 32)
    assert sorted(targets.tolist()) == [-1] * 10 + [1] * 10


@pytest.mark.parametrize(("share", "word"), [(1.5, "from 0 to 1"), ("half", "from 0 to 1"), (1, "no room")])
def test_a_share_that_cannot_be_is_one_message(plain, share, word):
    with pytest.raises(RequestError, match=word):
        plain.mixed(TensorDataset(torch.zeros(4, 1), torch.zeros(4)), share)


def test_a_real_set_without_items_or_targets_is_refused(plain):
    with pytest.raises(RequestError, match=r"must be \(image, target\)"):
        plain.mixed(TensorDataset(torch.zeros(4, 1)), 0.5)
    with pytest.raises(RequestError, match="empty or has no length"):
        plain.mixed(TensorDataset(torch.zeros(0, 1)), 0.5)
