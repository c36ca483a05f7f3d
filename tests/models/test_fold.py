"""Generators made ready to draw."""

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from mammogan.config import TrainConfig
from mammogan.models import Classes, build
from mammogan.models.fold import Half, folded
from small_networks import with_contrast

STEP = 2 / 255  # of 8 bits, in the range of the networks


def test_folding_changes_nothing_but_rounding(train_config: TrainConfig) -> None:
    torch.manual_seed(0)
    G = build(train_config, 32)[0]
    for _ in range(3):
        G(torch.randn(8, G.z_dim))  # moves the statistics away from their start
    with_contrast(G)
    z = torch.randn(16, G.z_dim)
    images = G(z, noise=torch.Generator().manual_seed(1))
    assert images.std() > 0.05
    assert_close(folded(G)(z, noise=torch.Generator().manual_seed(1)), images, atol=2e-6, rtol=0)


def test_nothing_of_batch_norm_is_left_to_compute(train_config: TrainConfig) -> None:
    G = with_contrast(build(train_config, 32)[0])
    before = {name: tensor.clone() for name, tensor in G.state_dict().items()}
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded(G).modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in G.state_dict().items())


@pytest.mark.parametrize("make", [folded, Half])
def test_a_generator_in_training_mode_is_not_folded(train_config: TrainConfig, make: type[Half]) -> None:
    with pytest.raises(ValueError, match="eval mode"):
        make(build(train_config, 32)[0])


@pytest.mark.parametrize(("model", "of_99_percent"), [("dcgan", 1), ("stylegan", 4)])
def test_bf16_is_off_by_less_than_a_grey_level_on_average(
    small_config: Callable[..., TrainConfig], model: str, of_99_percent: float
) -> None:
    G = with_contrast(build(small_config(model), 32)[0])
    z = torch.randn(16, G.z_dim, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        images = G(z, noise=torch.Generator().manual_seed(1))
        half = Half(G)(z, noise=torch.Generator().manual_seed(1))
    assert half.dtype == torch.float32
    error = (half.clamp(-1, 1) - images.clamp(-1, 1)).abs() / STEP
    assert images.std() > 0.1
    assert 0 < error.mean() < 0.5
    assert error.quantile(0.99) < of_99_percent


def test_classes_reach_the_network(train_config: TrainConfig) -> None:
    G = build(train_config, 32, Classes("cancer", ("0", "1"), (0.5, 0.5)))[0]
    half = Half(with_contrast(G))
    z = torch.randn(1, G.z_dim).expand(2, -1)
    benign, cancer = half(z, torch.tensor([0, 1]), noise=torch.Generator().manual_seed(1))
    assert half.classes == G.classes
    assert (benign - cancer).abs().max() > 0.05
