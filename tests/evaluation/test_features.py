"""Features follow one protocol, refuse what is not uint8, and are computed once."""

import threading
import time

import numpy as np
import pytest
import torch
from PIL import Image

from mammogan.errors import EvaluationError
from mammogan.evaluation.features import cached_features, features
from mammogan.evaluation.frechet import frechet_distance


def test_images_are_resized_as_clean_fid_does(net, textures, texture_features):
    # clean-fid 0.1.35, resize.py: each channel of an RGB image as mode "F", bicubic, clipped, not rounded
    rgb = np.stack([textures[0]] * 3)
    channels = [
        np.asarray(Image.fromarray(channel.astype(np.float32)).resize((299, 299), Image.Resampling.BICUBIC))
        for channel in rgb
    ]
    x = torch.from_numpy((np.stack(channels).clip(0, 255) - 128) / 128)
    with torch.inference_mode():
        assert net(x[None]).numpy() == pytest.approx(texture_features[:1], abs=1e-4)


def test_black_images_are_far_from_textures(net, texture_features):
    black = features(net, np.zeros((2, 48, 48), np.uint8), batch_size=2, progress=lambda n: None)
    assert frechet_distance(texture_features, black) > 100


def test_batch_size_never_changes_a_score(net, textures, texture_features):
    others = features(net, textures, batch_size=3, progress=lambda n: None)
    assert others == pytest.approx(texture_features, abs=1e-4)
    assert frechet_distance(others[:5], others[5:]) == pytest.approx(
        frechet_distance(texture_features[:5], texture_features[5:]), rel=1e-5
    )


def test_neither_a_channel_axis_nor_autocast_around_changes_a_feature(net, textures, texture_features):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = features(net, textures[:2, None], batch_size=2, progress=lambda n: None)
    assert found == pytest.approx(texture_features[:2], abs=1e-4)
    assert found.dtype == np.float32


def test_progress_counts_images(net, textures):
    seen: list[int] = []
    features(net, textures[:3], batch_size=2, progress=seen.append)
    assert seen == [2, 3]


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.int64])
def test_only_grey_levels_of_one_or_two_bytes_are_taken(net, textures, dtype):
    with pytest.raises(EvaluationError, match="expected grey levels, uint8 or uint16"):
        features(net, (textures / 255).astype(dtype), batch_size=2, progress=lambda n: None)


def test_sixteen_bits_are_scored_as_their_nearest_eight(net, textures):
    wide = np.clip(textures[:2].astype(np.int64) * 257 + 100, 0, 65535).astype(np.uint16)
    np.testing.assert_array_equal(
        features(net, wide, batch_size=4, progress=lambda n: None),
        features(net, textures[:2], batch_size=4, progress=lambda n: None),
    )


def test_a_png_of_sixteen_bits_is_not_clipped(net, textures, texture_features, tmp_path):
    wide = textures[:2].astype(np.uint16) * 257
    for number, image in enumerate(wide):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    read = np.stack([np.asarray(Image.open(tmp_path / f"{number}.png")) for number in range(2)])
    assert read.dtype == np.uint16
    assert features(net, read, batch_size=2, progress=lambda n: None) == pytest.approx(texture_features[:2], abs=1e-4)


def test_mixed_sizes_are_refused(net):
    mixed = np.empty(2, object)
    mixed[:] = [np.zeros((4, 4), np.uint8), np.zeros((5, 5), np.uint8)]
    with pytest.raises(EvaluationError, match="mixed sizes"):
        features(net, mixed, batch_size=2, progress=lambda n: None)


@pytest.mark.parametrize("shape", [(48, 48), (2, 3, 48, 48), (0, 48, 48), (2, 0, 48)])
def test_other_shapes_are_refused(net, shape):
    with pytest.raises(EvaluationError, match=r"expected \(N, H, W\)"):
        features(net, np.zeros(shape, np.uint8), batch_size=2, progress=lambda n: None)


def test_many_askers_at_once_compute_once(tmp_path):
    expected = np.random.default_rng(0).random((3, 2048), dtype=np.float32)
    calls: list[int] = []
    answers: list[np.ndarray] = []

    everyone = threading.Barrier(4)

    def compute() -> np.ndarray:
        calls.append(1)
        time.sleep(0.1)  # long enough for the others to look for the entry
        return expected

    def ask() -> None:
        everyone.wait()
        answers.append(cached_features("net", "images", compute, tmp_path / "cache"))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1
    assert all(np.array_equal(answer, expected) for answer in answers)
    assert len(answers) == 4


def test_other_pixels_another_network_or_protocol_never_share_an_entry(tmp_path):
    for value, key in enumerate([("a", "b"), ("a", "c"), ("d", "b"), ("ab", ""), ("a", "b", "other")]):
        net_sha, images_sha, *protocol = key
        made = np.full((2, 2048), value, np.float32)
        found = cached_features(net_sha, images_sha, lambda made=made: made, tmp_path, *protocol)
        assert (found == value).all()


@pytest.mark.parametrize("keep_bytes", [0, 50, 5000])
def test_half_an_entry_is_computed_again(tmp_path, keep_bytes):
    expected = np.ones((2, 2048), np.float32)
    cached_features("net", "images", lambda: expected, tmp_path)
    (entry,) = tmp_path.glob("*.npz")
    entry.write_bytes(entry.read_bytes()[:keep_bytes])
    assert np.array_equal(cached_features("net", "images", lambda: expected, tmp_path), expected)
    assert np.array_equal(np.load(entry)["features"], expected)


def test_an_entry_with_one_wrong_byte_is_computed_again(tmp_path):
    expected = np.ones((2, 2048), np.float32)
    cached_features("net", "images", lambda: expected, tmp_path)
    (entry,) = tmp_path.glob("*.npz")
    content = bytearray(entry.read_bytes())
    content[8000] ^= 1  # still a finite number
    entry.write_bytes(content)
    assert np.array_equal(cached_features("net", "images", lambda: expected, tmp_path), expected)


def test_an_entry_is_used_without_computing_again(tmp_path):
    def fail() -> np.ndarray:
        raise AssertionError("computed again")

    expected = np.arange(6, dtype=np.float32).reshape(2, 3)
    cached_features("net", "images", lambda: expected, tmp_path)
    assert np.array_equal(cached_features("net", "images", fail, tmp_path), expected)


def test_a_failed_computation_leaves_no_entry(tmp_path):
    def fail() -> np.ndarray:
        raise EvaluationError("no features")

    with pytest.raises(EvaluationError, match="no features"):
        cached_features("net", "images", fail, tmp_path)
    assert not list(tmp_path.glob("*.np*"))
