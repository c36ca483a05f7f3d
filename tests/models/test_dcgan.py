"""The DCGAN against the paper."""

import pytest
import torch
from torch import nn

from mammogan.config import DCGANConfig
from mammogan.models.dcgan import DCGANDiscriminator, DCGANGenerator, widths

TEXTBOOK = DCGANConfig(z_dim=100, base_channels=64, max_channels=512)


def n_weights(net: nn.Module) -> int:
    return sum(weight.numel() for weight in net.parameters())


def test_the_textbook_network_at_64_px_has_the_textbook_number_of_weights() -> None:
    # pytorch/examples dcgan/main.py at nc=1: layers (in, out, 4, 4) and two numbers a channel of batch norm
    assert n_weights(DCGANGenerator(TEXTBOOK, 64)) == 3_574_656
    assert n_weights(DCGANDiscriminator(TEXTBOOK, 64)) == 2_763_520


@pytest.mark.parametrize(
    ("resolution", "g_millions", "d_millions"),
    [(64, 3.6, 2.8), (128, 7.8, 7.0), (256, 12.0, 11.2), (512, 16.2, 15.4)],
)
def test_widths_double_to_the_cap_and_no_further(resolution: int, g_millions: float, d_millions: float) -> None:
    assert n_weights(DCGANGenerator(TEXTBOOK, resolution)) / 1e6 == pytest.approx(g_millions, abs=0.051)
    assert n_weights(DCGANDiscriminator(TEXTBOOK, resolution)) / 1e6 == pytest.approx(d_millions, abs=0.051)


def test_the_finest_level_has_the_base_width() -> None:
    assert widths(TEXTBOOK, 64) == [512, 256, 128, 64]
    assert widths(TEXTBOOK, 256) == [512, 512, 512, 256, 128, 64]


def test_images_lie_within_tanh() -> None:
    G = DCGANGenerator(DCGANConfig(z_dim=8, base_channels=4, max_channels=16), 32)
    with torch.no_grad():
        for weight in G.parameters():
            weight.mul_(50)
    assert G(torch.randn(4, 8)).abs().max() <= 1


def test_convolutions_start_with_standard_deviation_0_02() -> None:
    torch.manual_seed(0)
    for net in (DCGANGenerator(TEXTBOOK, 64), DCGANDiscriminator(TEXTBOOK, 64)):
        for layer in net.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                assert layer.bias is None
                assert layer.weight.std().item() == pytest.approx(0.02, rel=0.1)


def test_batch_norm_is_not_on_the_input_of_d_nor_on_the_output_of_g() -> None:
    G, D = DCGANGenerator(TEXTBOOK, 64), DCGANDiscriminator(TEXTBOOK, 64)
    assert [type(layer) for layer in D.layers[:2]] == [nn.Conv2d, nn.LeakyReLU]
    assert [type(layer) for layer in G.layers[-2:]] == [nn.ConvTranspose2d, nn.Tanh]
    assert sum(isinstance(layer, nn.BatchNorm2d) for layer in D.layers) == 3
    assert sum(isinstance(layer, nn.BatchNorm2d) for layer in G.layers) == 4
