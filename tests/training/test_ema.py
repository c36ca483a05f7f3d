"""The running average of G."""

import pytest
import torch
from torch import nn

from mammogan.training.ema import decay, update_average


def test_a_half_life_of_images_halves_the_weight_of_the_past() -> None:
    beta = decay(10**9, 32, half_life_kimg=3.2)
    assert beta**100 == pytest.approx(0.5)  # 100 steps of 32 images


def test_the_first_step_forgets_the_initial_weights() -> None:
    assert decay(0, 32, half_life_kimg=10) == pytest.approx(0, abs=1e-12)


def test_the_half_life_grows_with_a_twentieth_of_the_images_seen() -> None:
    assert decay(2000, 50, half_life_kimg=10) == pytest.approx(0.5**0.5)  # half-life 100 images
    betas = [decay(n, 16, half_life_kimg=1) for n in (0, 500, 5000, 20_000, 100_000)]
    assert betas == sorted(betas)
    assert betas[-1] == betas[-2]  # 1,000 images from 20,000 on


def test_weights_are_averaged_and_buffers_copied() -> None:
    average, network = nn.BatchNorm2d(2), nn.BatchNorm2d(2)
    with torch.no_grad():
        average.weight.fill_(1.0)
        network.weight.fill_(3.0)
    network(torch.randn(4, 2, 3, 3))
    update_average(average, network, beta=0.75)
    assert average.weight.tolist() == pytest.approx([1.5, 1.5])
    assert torch.equal(average.running_mean, network.running_mean)
    assert average.num_batches_tracked == 1


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_average_of_a_network_with_itself_is_itself(layout: torch.memory_format) -> None:
    network = nn.Conv2d(3, 4, 3).to(memory_format=layout)
    average = nn.Conv2d(3, 4, 3).to(memory_format=layout)
    average.load_state_dict(network.state_dict())
    update_average(average, network, beta=0.5)
    assert torch.equal(average.weight, network.weight)
