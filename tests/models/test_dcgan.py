"""The DCGAN against the paper."""

import copy
import io

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize
from torch.testing import assert_close

from mammogan.models import Classes
from mammogan.models.dcgan import DCGANDiscriminator, DCGANGenerator, widths
from small_networks import SMALL_DCGAN

TEXTBOOK = SMALL_DCGAN.model_copy(update={"z_dim": 100, "base_channels": 64, "max_channels": 512})
SPECTRAL = SMALL_DCGAN.model_copy(update={"spectral_norm": True, "minibatch_std": True})
VIEW = Classes("view", ("CC", "MLO"), (0.5, 0.5))


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
    G = DCGANGenerator(SMALL_DCGAN, 32)
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


def kinds(net: nn.Module) -> list[type[nn.Module]]:
    return [type(layer) for layer in net]


def test_batch_norm_is_not_on_the_input_of_d_nor_on_the_output_of_g() -> None:
    G, D = DCGANGenerator(TEXTBOOK, 64), DCGANDiscriminator(TEXTBOOK, 64)
    assert list(G.blocks) == ["4", "8", "16", "32", "64"]
    assert list(D.blocks) == ["64", "32", "16", "8"]
    assert kinds(D.blocks["64"]) == [nn.Conv2d, nn.LeakyReLU]
    assert all(kinds(D.blocks[size]) == [nn.Conv2d, nn.BatchNorm2d, nn.LeakyReLU] for size in ("32", "16", "8"))
    assert kinds(G.blocks["64"]) == [nn.ConvTranspose2d, nn.Tanh]
    assert all(kinds(G.blocks[size]) == [nn.ConvTranspose2d, nn.BatchNorm2d, nn.ReLU] for size in ("4", "8", "16"))


def test_every_block_is_named_by_the_size_that_it_makes_or_takes() -> None:
    G, D = DCGANGenerator(SMALL_DCGAN, 64), DCGANDiscriminator(SMALL_DCGAN, 64)
    x = torch.randn(2, 8, 1, 1)
    for size, block in G.blocks.items():
        x = block(x)
        assert x.shape[-1] == int(size)
    for size, block in D.blocks.items():
        assert x.shape[-1] == int(size)
        x = block(x)
    assert x.shape[-1] == 4


def normalised_weights(D: nn.Module) -> list[torch.Tensor]:
    return [layer.weight.detach() for layer in D.modules() if isinstance(layer, nn.Conv2d | nn.Embedding)]


def test_spectral_norm_bounds_every_weight_of_d_at_one_and_takes_the_place_of_batch_norm() -> None:
    torch.manual_seed(0)
    D = DCGANDiscriminator(SPECTRAL, 32, VIEW)
    with torch.no_grad():
        for weight in D.parameters():
            weight.mul_(7)
    for _ in range(30):
        D(torch.randn(4, 1, 32, 32), torch.tensor([0, 1, 0, 1]))
    largest = [torch.linalg.matrix_norm(weight.flatten(1), 2).item() for weight in normalised_weights(D.eval())]
    assert len(largest) == 5  # three blocks, the head, the embedding
    assert largest == pytest.approx([1] * 5, abs=0.02)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in D.modules())


def test_the_power_iteration_goes_on_where_it_was_saved_or_copied() -> None:
    torch.manual_seed(0)
    D, saved = DCGANDiscriminator(SPECTRAL, 32), io.BytesIO()
    images = torch.randn(4, 1, 32, 32)
    for _ in range(3):
        D(images)
    torch.save(D.state_dict(), saved)
    copied, loaded = copy.deepcopy(D), DCGANDiscriminator(SPECTRAL, 32)
    loaded.load_state_dict(torch.load(io.BytesIO(saved.getvalue())))
    for _ in range(3):
        logits = D(images)
        assert torch.equal(copied(images), logits)
        assert torch.equal(loaded(images), logits)


def test_the_power_iteration_stays_in_float32_under_autocast() -> None:
    torch.manual_seed(0)
    D = DCGANDiscriminator(SPECTRAL, 32, VIEW)
    again = copy.deepcopy(D)
    images, classes = torch.randn(4, 1, 32, 32), torch.tensor([0, 1, 0, 1])
    autocast: list[bool] = []
    for layer in again.modules():
        if isinstance(layer, parametrize.ParametrizationList):
            layer[0].inner.register_forward_pre_hook(lambda *_: autocast.append(torch.is_autocast_enabled("cpu")))
    logits = D(images, classes)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        coarse = again(images, classes)
    assert_close(coarse.float(), logits, atol=0.05, rtol=0.05)
    assert autocast == [False] * 5  # on CUDA the products of the iteration would be taken in bf16
    for one, other in zip(D.buffers(), again.buffers(), strict=True):
        assert torch.equal(one, other)


def test_two_passes_of_a_spectrally_normalised_d_share_one_backward_pass() -> None:
    D = DCGANDiscriminator(SPECTRAL, 32)
    (D(torch.randn(4, 1, 32, 32)).sum() - D(torch.randn(4, 1, 32, 32)).sum()).backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in D.parameters())


def test_the_minibatch_statistic_tells_d_of_a_collapsed_batch() -> None:
    torch.manual_seed(0)
    D = DCGANDiscriminator(SPECTRAL, 32).eval()  # no batch norm, so nothing else could tell it
    images = torch.randn(4, 1, 32, 32)
    collapsed = images[:1].expand(4, -1, -1, -1)
    assert (D(collapsed)[0] - D(images)[0]).abs() > 1e-4
    plain = DCGANDiscriminator(SPECTRAL.model_copy(update={"minibatch_std": False}), 32).eval()
    assert_close(plain(collapsed)[0], plain(images)[0])


def test_the_class_adds_the_projection_of_the_features_onto_its_embedding() -> None:
    torch.manual_seed(0)
    D = DCGANDiscriminator(SMALL_DCGAN, 32, VIEW)
    images = torch.randn(4, 1, 32, 32)
    features = images
    for block in D.blocks.values():
        features = block(features)
    difference = D(images, torch.ones(4, dtype=torch.int64)) - D(images, torch.zeros(4, dtype=torch.int64))
    expected = features.sum((2, 3)) @ (D.embed.weight[1] - D.embed.weight[0])
    assert difference.abs().min() > 1e-2
    assert_close(difference, expected, atol=1e-4, rtol=1e-4)


def test_truncation_keeps_the_class() -> None:
    torch.manual_seed(0)
    G = DCGANGenerator(SMALL_DCGAN, 32, VIEW)
    images = G(torch.randn(6, 8), torch.tensor([0, 0, 0, 1, 1, 1]), truncation=0.0)
    assert_close(images[0], images[2])
    assert (images[0] - images[3]).abs().max() > 1e-4
