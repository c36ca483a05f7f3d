"""The StyleGAN against the paper and the authors' code."""

import math

import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from mammogan.config import StyleGANConfig
from mammogan.models import Classes
from mammogan.models.equalised import Blur, EqualConv, EqualLinear
from mammogan.models.minibatch import MinibatchStd
from mammogan.models.styled import DemodulatedLayer, StyledLayer, adain
from mammogan.models.stylegan import Growth, StyleGANDiscriminator, StyleGANGenerator, width
from small_networks import SMALL_STYLEGAN as SMALL

PAPER = SMALL.model_copy(
    update={"z_dim": 512, "w_dim": 512, "mapping_layers": 8, "base_channels": 8192, "max_channels": 512}
)
DEMODULATED = SMALL.model_copy(update={"normalisation": "demodulation"})
GROWING = SMALL.model_copy(update={"grow_from": 8})
DENSITY = Classes("density", ("A", "B", "C"), (0.5, 0.3, 0.2))


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
    taken = always._mix(w, None, torch.Generator().manual_seed(0)).ne(0).any(2).T  # (L, N)
    assert not taken[0].any()  # the first layer always has the first style
    assert taken[-1].all()  # and the last the second
    assert (taken[1:].int() >= taken[:-1].int()).all()  # one crossover
    assert len(set(taken.sum(0).tolist())) == len(taken) - 1  # anywhere between
    seldom = StyleGANGenerator(SMALL.model_copy(update={"style_mixing": 0.25}), 64)
    taken = seldom._mix(w, None, torch.Generator().manual_seed(0)).ne(0).any(2).T
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


@pytest.mark.parametrize("resample", ["", "up"])
def test_demodulation_equals_weights_of_their_own_for_each_image(resample: str) -> None:
    torch.manual_seed(0)
    layer = DemodulatedLayer(6, 3, 5, resample).double()
    x, w = torch.randn(4, 3, 8, 8, dtype=torch.float64), torch.randn(4, 6, dtype=torch.float64)
    weight = layer.convolve.weight * layer.convolve.scale
    own = weight * layer.style(w)[:, None, :, None, None]  # (N, n_out, n_in, 3, 3), eq. 1
    own = own / (own.square().sum((2, 3, 4), keepdim=True) + 1e-8).sqrt()  # eq. 3
    if resample:
        x_large, blur = F.interpolate(x, scale_factor=2), layer.blur.double()
    else:
        x_large, blur = x, torch.nn.Identity()
    size = x_large.shape[-1]
    grouped = F.conv2d(x_large.reshape(1, 12, size, size), own.reshape(20, 3, 3, 3), padding=1, groups=4)
    expected = F.leaky_relu(blur(grouped.reshape(4, 5, size, size)), 0.2) * math.sqrt(2)
    assert_close(layer(x, w, None), expected)


def test_demodulated_layers_keep_the_scale_of_features_whatever_the_style() -> None:
    torch.manual_seed(0)
    layer, x, w = DemodulatedLayer(8, 64, 64), torch.randn(4, 64, 16, 16), 100 * torch.randn(4, 8)
    assert layer(x, w, None).square().mean().sqrt().item() == pytest.approx(1.02, rel=0.1)  # sqrt(1 + 0.2**2)


def test_noise_of_a_demodulated_layer_comes_after_the_demodulation() -> None:
    layer = DemodulatedLayer(8, 4, 4)
    with torch.no_grad():
        layer.noise_scale.fill_(1)
    zeros, w = torch.zeros(2, 4, 32, 32), 50 * torch.randn(2, 8)
    noise = layer(zeros, w, torch.Generator().manual_seed(0))
    assert noise.square().mean().sqrt().item() == pytest.approx(1.02, rel=0.1)  # though the features are 0


def test_a_demodulated_generator_has_no_layer_without_a_convolution() -> None:
    G = StyleGANGenerator(DEMODULATED, 32)
    assert [len(block) for block in G.blocks.values()] == [1, 2, 2, 2]  # figure 2c
    assert G.styles(torch.randn(2, 8)).shape == (2, 7, 8)
    assert StyleGANGenerator(SMALL, 32).styles(torch.randn(2, 8)).shape == (2, 8, 8)


@pytest.mark.parametrize("config", [SMALL, DEMODULATED])
def test_drawing_is_mapping_and_then_synthesis(config: StyleGANConfig) -> None:
    G = StyleGANGenerator(config, 32)
    z = torch.randn(4, 8)
    images = G(z, noise=torch.Generator().manual_seed(1))
    noise = torch.Generator().manual_seed(1)
    assert torch.equal(G.synthesise(G.styles(z, noise=noise), noise), images)


def test_the_path_length_can_be_differentiated_by_every_weight_of_the_synthesis() -> None:
    torch.manual_seed(0)
    G = StyleGANGenerator(DEMODULATED, 32)
    with torch.no_grad():
        G.w_mean.normal_()
    styles = G.styles(torch.randn(4, 8))
    images = G.synthesise(styles)
    (gradient,) = torch.autograd.grad((images * torch.randn_like(images)).sum(), styles, create_graph=True)
    gradient.square().sum((1, 2)).sqrt().var().backward()
    without = [name for name, weight in G.named_parameters() if weight.grad is None or not weight.grad.any()]
    added_last = ["blocks.32.1.noise_scale", "blocks.32.1.bias", "to_grey.32.bias"]
    assert without == added_last  # what no style scales moves no slope
    assert all(weight.grad.isfinite().all() for weight in G.parameters() if weight.grad is not None)


def grown(growth: Growth | None) -> tuple[StyleGANGenerator, StyleGANDiscriminator]:
    """A growing pair with the same weights each time, pictures in place of flat fields."""
    torch.manual_seed(0)
    G, D = StyleGANGenerator(GROWING, 32), StyleGANDiscriminator(GROWING, 32)
    with torch.no_grad():
        G.constant.normal_()
    G.growth = D.growth = growth
    return G, D


def draw(growth: Growth | None, z: torch.Tensor) -> torch.Tensor:
    G = grown(growth)[0]
    G.style_mixing = 0.0
    return G(z, noise=torch.Generator().manual_seed(0))


def test_a_fade_begins_with_the_coarser_network_and_ends_with_the_finer_one() -> None:
    z, images = torch.randn(4, 8), torch.randn(4, 1, 16, 16)
    coarse, fine = draw(Growth(8, 1.0), z), draw(Growth(16, 1.0), z)
    assert (coarse.shape, fine.shape) == ((4, 1, 8, 8), (4, 1, 16, 16))
    large = F.interpolate(coarse, scale_factor=2)
    assert torch.equal(draw(Growth(16, 0.0), z), large)
    assert_close(draw(Growth(16, 0.25), z), 0.75 * large + 0.25 * fine)
    before = grown(Growth(8, 1.0))[1](F.avg_pool2d(images, 2))
    assert torch.equal(grown(Growth(16, 0.0))[1](images), before)
    after = grown(Growth(16, 1.0))[1](images)
    nearly = grown(Growth(16, 1 - 1e-6))[1](images)
    assert_close(nearly, after, atol=1e-4, rtol=1e-4)
    assert (before - after).abs().max() > 1e-3


def test_a_network_grown_to_the_end_is_the_whole_network() -> None:
    z, images = torch.randn(4, 8), torch.randn(4, 1, 32, 32)
    assert torch.equal(draw(Growth(32, 1.0), z), draw(None, z))
    assert torch.equal(grown(Growth(32, 1.0))[1](images), grown(None)[1](images))


def test_a_growing_generator_shows_images_of_the_full_resolution_in_eval_mode() -> None:
    z = torch.randn(4, 8)
    G = grown(Growth(8, 1.0))[0].eval()
    images = G(z, noise=torch.Generator().manual_seed(0))
    assert images.shape == (4, 1, 32, 32)
    assert torch.equal(images, F.interpolate(images[..., ::4, ::4], scale_factor=4))


@pytest.mark.parametrize(
    ("growth", "sizes"),
    [
        (Growth(8, 1.0), {"blocks.4", "blocks.8", "to_grey.8", "from_grey.8"}),
        (
            Growth(16, 0.5),
            {"blocks.4", "blocks.8", "blocks.16", "to_grey.8", "to_grey.16", "from_grey.8", "from_grey.16"},
        ),
        (Growth(16, 1.0), {"blocks.4", "blocks.8", "blocks.16", "to_grey.16", "from_grey.16"}),
        (None, {"blocks.4", "blocks.8", "blocks.16", "blocks.32", "to_grey.32", "from_grey.32"}),
    ],
)
def test_only_the_sizes_in_use_receive_gradients(growth: Growth | None, sizes: set[str]) -> None:
    G, D = grown(growth)
    D(G(torch.randn(4, 8))).square().sum().backward()
    weights = [*G.named_parameters(), *D.named_parameters()]
    taught = {".".join(name.split(".")[:2]) for name, weight in weights if weight.grad is not None and "." in name}
    assert {name for name in taught if name.split(".")[1].isdigit() and not name.startswith(("map", "fea"))} == sizes
    assert G.constant.grad is not None
    assert D.head.weight.grad is not None


def test_without_growing_images_leave_and_enter_at_the_full_size_alone() -> None:
    assert list(StyleGANGenerator(SMALL, 32).to_grey) == ["32"]
    assert list(StyleGANDiscriminator(SMALL, 32).from_grey) == ["32"]
    assert list(StyleGANGenerator(GROWING, 32).to_grey) == ["8", "16", "32"]


def test_weights_of_one_resolution_have_the_names_and_shapes_of_another() -> None:
    for network in (StyleGANGenerator, StyleGANDiscriminator):
        small, large = network(SMALL, 32).state_dict(), network(SMALL, 64).state_dict()
        shared = {name for name in small if name in large}
        assert all(small[name].shape == large[name].shape for name in shared)
        lost = {name.split(".")[0] for name in small.keys() - shared}
        assert lost <= {"to_grey", "from_grey"}


def test_each_class_has_a_mean_of_w_of_its_own() -> None:
    torch.manual_seed(0)
    G = StyleGANGenerator(SMALL, 32, DENSITY)
    first, second = torch.randn(6, 8), torch.randn(2, 8)
    classes, again = torch.tensor([0, 0, 1, 0, 1, 0]), torch.tensor([1, 1])
    G(first, classes)
    G(second, again)
    w = G.map(first, classes)
    late = G.map(second, again).mean(0)
    assert G.w_batches.tolist() == [1, 2, 0]
    assert_close(G.w_mean, torch.stack([w[classes == 0].mean(0), (w[classes == 1].mean(0) + late) / 2, 0 * late]))


def test_truncation_pulls_each_image_towards_the_mean_of_its_class() -> None:
    G = StyleGANGenerator(SMALL, 32, DENSITY).eval()
    with torch.no_grad():
        G.w_mean.normal_()
        G.constant.normal_()
    seen: list[torch.Tensor] = []
    G.blocks["32"][1].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[1]))
    G(torch.randn(4, 8), torch.tensor([2, 0, 1, 2]), truncation=0.0)
    assert_close(seen[0], G.w_mean[[2, 0, 1, 2]])


def test_mixed_styles_are_of_one_class() -> None:
    torch.manual_seed(0)
    G = StyleGANGenerator(SMALL.model_copy(update={"style_mixing": 1.0}), 32, DENSITY)
    seen: list[torch.Tensor] = []
    G.embed.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    classes = torch.tensor([2, 0, 1, 2])
    styles = G.styles(torch.randn(4, 8), classes)
    assert (styles[:, 0] - styles[:, -1]).abs().amax(1).min() > 1e-4
    assert [each.tolist() for each in seen] == [[2, 0, 1, 2]] * 2


def test_a_class_adds_the_projection_of_the_features_onto_its_embedding() -> None:
    D = StyleGANDiscriminator(SMALL, 32, DENSITY)
    seen: list[torch.Tensor] = []
    D.head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    images = torch.randn(4, 1, 32, 32)
    difference = D(images, torch.tensor([2, 2, 1, 0])) - D(images, torch.tensor([0, 0, 0, 0]))
    embeddings = D.embed.weight[[2, 2, 1, 0]] - D.embed.weight[0]
    assert_close(difference, (seen[0] * embeddings).sum(1) / math.sqrt(seen[0].shape[1]), atol=1e-5, rtol=1e-4)
