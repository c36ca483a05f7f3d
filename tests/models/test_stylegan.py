"""The StyleGAN against the paper and the authors' code."""

import math

import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from mammogan.config import StyleGANConfig
from mammogan.models.stylegan import (
    Blur,
    EqualConv,
    EqualLinear,
    MinibatchStd,
    StyledLayer,
    StyleGANDiscriminator,
    StyleGANGenerator,
    adain,
    width,
)

PAPER = StyleGANConfig(
    z_dim=512,
    w_dim=512,
    mapping_layers=8,
    base_channels=8192,
    max_channels=512,
    style_mixing=0.9,
    r1_gamma=0.0,
    r1_every=16,
)
SMALL = StyleGANConfig(
    z_dim=8, w_dim=8, mapping_layers=2, base_channels=64, max_channels=8, style_mixing=0.9, r1_gamma=0.0, r1_every=16
)


def test_widths_follow_the_feature_map_rule_of_the_paper() -> None:
    sizes = [4, 8, 16, 32, 64, 128, 256, 512]
    assert [width(PAPER, size) for size in sizes] == [512, 512, 512, 512, 256, 128, 64, 32]  # table 1 and its code


def test_adain_gives_each_map_the_mean_and_standard_deviation_of_its_style() -> None:
    x = 3 + 5 * torch.randn(2, 4, 16, 16)
    y_s, y_b = torch.rand(2, 4) + 0.5, torch.randn(2, 4)
    out = adain(x, y_s, y_b)
    assert_close(out.mean((2, 3)), y_b, atol=1e-4, rtol=0)
    assert_close(out.std((2, 3), correction=0), y_s, atol=1e-4, rtol=0)


def test_adain_keeps_the_statistics_of_bf16_features_in_fp32() -> None:
    x = (100 + torch.randn(1, 1, 64, 64)).bfloat16()
    out = adain(x, torch.ones(1, 1), torch.zeros(1, 1))
    assert out.dtype == torch.bfloat16
    assert out.float().std().item() == pytest.approx(1, abs=0.02)


def test_upsampling_in_the_kernel_equals_nearest_neighbour_then_convolution() -> None:
    conv = EqualConv(3, 5, resample="up").double()
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    plain = F.conv2d(F.interpolate(x, scale_factor=2), conv.weight * conv.scale, padding=1)
    assert_close(conv(x), plain)


def test_downsampling_in_the_kernel_equals_convolution_then_averaging() -> None:
    conv = EqualConv(3, 5, resample="down").double()
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    assert_close(conv(x), F.avg_pool2d(F.conv2d(x, conv.weight * conv.scale, padding=1), 2))


def test_the_blur_keeps_a_flat_field_and_removes_the_finest_checkerboard() -> None:
    blur = Blur(2)
    assert_close(blur(torch.ones(1, 2, 8, 8))[..., 1:-1, 1:-1], torch.ones(1, 2, 6, 6))
    board = (torch.arange(8)[:, None] + torch.arange(8)).remainder(2).float() * 2 - 1
    assert_close(blur(board.expand(1, 2, 8, 8))[..., 1:-1, 1:-1], torch.zeros(1, 2, 6, 6))


def test_equalised_layers_keep_the_variance_of_their_input() -> None:
    torch.manual_seed(0)
    x = torch.randn(64, 256)
    assert EqualLinear(256, 256, gain=1.0)(x).std().item() == pytest.approx(1, rel=0.05)
    assert EqualLinear(256, 256, gain=1.0, lr=0.01)(x).std().item() == pytest.approx(1, rel=0.05)
    deep = F.leaky_relu(EqualLinear(256, 256)(x), 0.2)  # He: the mean square survives a ReLU, 2 % more a leaky one
    assert deep.square().mean().sqrt().item() == pytest.approx(math.sqrt(1.04), rel=0.05)


def test_the_learning_rate_multiplier_slows_the_mapping_network_a_hundred_times() -> None:
    layer = EqualLinear(4, 4, gain=1.0, lr=0.01)
    with torch.no_grad():
        x = torch.ones(1, 4)
        before = layer(x)
        layer.weight += 1
        moved = layer(x) - before
    assert_close(moved, torch.full((1, 4), 4 * 0.01 / 2))  # four inputs, scale lr / sqrt(4)


def test_a_latent_and_its_multiple_are_the_same_point() -> None:
    G = StyleGANGenerator(SMALL, 32)
    z = torch.randn(3, 8)
    assert_close(G.map(7 * z), G.map(z))


def test_noise_is_off_at_the_start_and_scaled_for_each_channel() -> None:
    layer = StyledLayer(8, 4, 4, convolve=False)
    x, w = torch.randn(1, 4, 16, 16), torch.randn(1, 8)
    calm = layer(x, w, None)
    assert_close(layer(x, w, None), calm)
    with torch.no_grad():
        layer.noise_scale[2] = 1.0
    difference = (layer(x, w, None) - calm).abs().amax((0, 2, 3))
    assert (difference > 0.1).tolist() == [False, False, True, False]


def test_the_mean_of_w_is_followed_in_training_and_kept_in_eval_mode() -> None:
    G = StyleGANGenerator(SMALL, 32)
    z = torch.randn(16, 8)
    G(z)
    expected = G.map(z).mean(0)
    assert_close(G.w_mean, expected)
    G.eval()(torch.randn(4, 8))
    assert_close(G.w_mean, expected)
    assert G.w_batches == 1


def test_after_a_few_batches_the_mean_of_w_is_their_plain_mean() -> None:
    G = StyleGANGenerator(SMALL, 32)
    batches = torch.randn(7, 4, 8)
    for z in batches:
        G(z)
    assert_close(G.w_mean, torch.stack([G.map(z).mean(0) for z in batches]).mean(0))


def test_after_many_batches_the_mean_of_w_forgets_at_the_rate_of_the_authors() -> None:
    G = StyleGANGenerator(SMALL, 32)
    z = torch.randn(4, 8)
    G.w_batches.fill_(10_000)
    G(z)
    assert_close(G.w_mean, 0.005 * G.map(z).mean(0))


def test_the_number_of_batches_in_the_mean_of_w_is_kept_with_the_weights() -> None:
    G, again = StyleGANGenerator(SMALL, 32), StyleGANGenerator(SMALL, 32)
    for _ in range(3):
        G(torch.randn(4, 8))
    again.load_state_dict(G.state_dict())
    z = torch.randn(4, 8)
    G(z)
    again(z)
    assert again.state_dict()["w_batches"].dtype == torch.int64
    assert again.w_batches == 4
    assert_close(again.w_mean, G.w_mean)


def test_full_truncation_shows_the_image_of_the_mean_style() -> None:
    G = StyleGANGenerator(SMALL, 32).eval()
    G.w_mean.copy_(torch.randn(8))
    images = G(torch.randn(3, 8), truncation=0.0)
    assert_close(images, images[:1].expand(3, -1, -1, -1))


def test_mixing_gives_the_coarse_layers_one_style_and_the_fine_ones_another() -> None:
    always = StyleGANGenerator(SMALL.model_copy(update={"style_mixing": 1.0}), 64)
    w = torch.zeros(500, 8)
    taken = torch.stack([style.ne(0).any(1) for style in always._mix(w, torch.Generator().manual_seed(0))])
    assert not taken[0].any()  # the first layer always has the first style
    assert taken[-1].all()  # and the last the second
    assert (taken[1:].int() >= taken[:-1].int()).all()  # one crossover
    assert len(set(taken.sum(0).tolist())) == len(always.layers) - 1  # anywhere between
    seldom = StyleGANGenerator(SMALL.model_copy(update={"style_mixing": 0.25}), 64)
    taken = torch.stack([style.ne(0).any(1) for style in seldom._mix(w, torch.Generator().manual_seed(0))])
    assert taken[-1].float().mean().item() == pytest.approx(0.25, abs=0.06)


def test_styles_are_not_mixed_in_eval_mode() -> None:
    G = StyleGANGenerator(SMALL, 32).eval()
    z = torch.randn(4, 8)
    assert torch.equal(G(z, noise=torch.Generator().manual_seed(1)), G(z, noise=torch.Generator().manual_seed(2)))


def test_minibatch_std_sees_collapse() -> None:
    layer = MinibatchStd()
    one = torch.randn(1, 3, 4, 4)
    assert layer(one.expand(8, -1, -1, -1))[:, 3].max().item() < 1e-3
    assert layer(torch.randn(8, 3, 4, 4))[:, 3].min().item() > 0.5


@pytest.mark.parametrize("n", [2, 4, 6, 8])
def test_minibatch_std_serves_any_batch(n: int) -> None:
    x = torch.randn(n, 3, 4, 4)
    out = MinibatchStd()(x)
    assert torch.equal(out[:, :3], x)
    groups = x.reshape(4, 2, 3, 4, 4) if n == 8 else x[:, None]  # 4 of 8, or all
    spread = groups.std(0, correction=0).mean((1, 2, 3))
    assert_close(out[:, 3, 0, 0], spread.repeat(n // len(spread)), atol=1e-4, rtol=0)


def test_the_discriminator_tells_a_collapsed_batch_from_its_image_alone() -> None:
    torch.manual_seed(0)
    D = StyleGANDiscriminator(SMALL, 32)
    images = torch.randn(4, 1, 32, 32)
    collapsed = images[:1].expand(4, -1, -1, -1)
    assert (D(collapsed)[0] - D(images)[0]).abs() > 1e-4
