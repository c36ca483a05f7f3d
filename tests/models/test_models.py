"""The laws that every model obeys."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from mammogan.config import ModelName, TrainConfig
from mammogan.errors import TrainingError
from mammogan.models import Classes, build
from mammogan.serving.sample import sample
from small_networks import SMALL_DCGAN, SMALL_STYLEGAN, with_contrast

DENSITY = Classes("density", ("A", "B", "C"), (0.5, 0.3, 0.2))
OPTIONS = [
    ("dcgan", {"dcgan": SMALL_DCGAN.model_copy(update={"spectral_norm": True})}),
    ("dcgan", {"dcgan": SMALL_DCGAN.model_copy(update={"minibatch_std": True})}),
    ("stylegan", {"stylegan": SMALL_STYLEGAN.model_copy(update={"normalisation": "demodulation"})}),
]


@pytest.mark.parametrize("resolution", [32, 64])
def test_images_and_logits_have_the_promised_shapes(train_config: TrainConfig, resolution: int) -> None:
    G, D = build(train_config, resolution)
    images = G(torch.randn(4, G.z_dim))
    assert images.shape == (4, 1, resolution, resolution)
    assert D(images).shape == (4,)
    assert (G.z_dim, G.resolution) == (8, resolution)


def test_untrained_images_stay_near_the_range_of_images(train_config: TrainConfig) -> None:
    torch.manual_seed(0)
    G, _ = build(train_config, 32)
    images = G(torch.randn(16, G.z_dim))
    assert 0 < images.std() < 2
    assert images.abs().max() < 8


def without_gradient(*networks: nn.Module) -> list[str]:
    """Names of the weights that the backward pass has not reached."""
    return [
        name
        for network in networks
        for name, weight in network.named_parameters()
        if weight.grad is None or not weight.grad.any()
    ]


@pytest.mark.parametrize("resolution", [32, 64])
def test_each_named_weight_receives_a_gradient(train_config: TrainConfig, resolution: int) -> None:
    torch.manual_seed(0)
    G, D = build(train_config, resolution)
    D(G(torch.randn(8, G.z_dim))).square().sum().backward()
    assert without_gradient(G, D) == []


@pytest.mark.parametrize(("model", "changes"), OPTIONS)
@pytest.mark.parametrize("classes", [None, DENSITY])
def test_each_named_weight_receives_a_gradient_under_every_option(
    small_config: Callable[..., TrainConfig], model: ModelName, changes: dict[str, Any], classes: Classes | None
) -> None:
    torch.manual_seed(0)
    G, D = build(small_config(model, **changes), 32, classes)
    labels = torch.arange(8) % 3 if classes else None
    D(G(torch.randn(8, G.z_dim), labels), labels).square().sum().backward()
    assert without_gradient(G, D) == []


def test_a_conditional_network_draws_and_judges_by_class(train_config: TrainConfig) -> None:
    torch.manual_seed(0)
    G, D = build(train_config, 32, DENSITY)
    with_contrast(G)
    D.eval()
    assert G.classes == DENSITY
    z = torch.randn(1, G.z_dim).expand(3, -1)
    images = G(z, torch.arange(3))
    assert (images[0] - images[1]).abs().max() > 1e-3
    assert (images[0] - images[2]).abs().max() > 1e-3
    logits = D(images[:1].expand(3, -1, -1, -1), torch.arange(3))
    assert logits.shape == (3,)
    assert len(logits.unique()) == 3


def test_classes_are_asked_for_where_they_are_needed_and_refused_elsewhere(train_config: TrainConfig) -> None:
    z, images, classes = torch.randn(2, 8), torch.randn(2, 1, 32, 32), torch.tensor([0, 1])
    G, D = build(train_config, 32, DENSITY)
    for call in (lambda: G(z), lambda: D(images)):
        with pytest.raises(ValueError, match=r"conditional on density; give it classes \(N,\), the numbers of A, B, C"):
            call()
    G, D = build(train_config, 32)
    for call in (lambda: G(z, classes), lambda: D(images, classes)):
        with pytest.raises(ValueError, match="this network is unconditional; call it without classes"):
            call()


def test_channels_last_changes_the_layout_and_not_the_images(train_config: TrainConfig) -> None:
    G, D = build(train_config, 32)
    G.eval()
    z = torch.randn(4, G.z_dim)
    before = G(z, noise=torch.Generator().manual_seed(1))
    logits = D(before)
    G.to(memory_format=torch.channels_last)
    D.to(memory_format=torch.channels_last)
    after = G(z, noise=torch.Generator().manual_seed(1))
    assert_close(after, before, atol=1e-5, rtol=1e-4)
    assert_close(D(after.contiguous(memory_format=torch.channels_last)), logits, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("resolution", [16, 48, 1024])
def test_a_resolution_without_a_network_is_refused(train_config: TrainConfig, resolution: int) -> None:
    with pytest.raises(TrainingError, match=rf"images of {resolution} px; set prepare.resolution to one of 32, 64"):
        build(train_config, resolution)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not(train_config: TrainConfig) -> None:
    G = build(train_config, 32)[0].eval()
    first = sample(G, 5, seed=7)
    assert first.dtype == torch.uint8
    assert first.shape == (5, 1, 32, 32)
    assert torch.equal(first, sample(G, 5, seed=7))
    assert not torch.equal(first, sample(G, 5, seed=8))


def test_a_longer_request_starts_with_the_same_images(train_config: TrainConfig) -> None:
    G = build(train_config, 32)[0].eval()
    long = sample(G, 11, seed=7, batch_size=4)
    for n in range(1, 11):
        assert torch.equal(sample(G, n, seed=7, batch_size=4), long[:n])


def test_every_image_of_a_request_has_a_latent_of_its_own_and_a_full_batch_around_it(train_config: TrainConfig) -> None:
    G = build(train_config, 32)[0].eval()
    shown: list[torch.Tensor] = []
    G.register_forward_pre_hook(lambda _, inputs: shown.append(inputs[0]))
    sample(G, 10, seed=7, batch_size=4)
    assert [len(z) for z in shown] == [4, 4, 4]  # other batch sizes may round differently
    assert len(torch.cat(shown).unique(dim=0)) == 12


def test_images_whose_32_bit_seeds_coincide_have_different_latents(train_config: TrainConfig) -> None:
    seed, one, other = 5, 7414, 49724  # found by trying 60,000 images
    states = [np.random.SeedSequence([seed, index]).generate_state(1)[0] for index in (one, other)]
    assert states[0] == states[1]
    G = build(train_config, 32)[0].eval()
    shown: list[torch.Tensor] = []
    G.register_forward_pre_hook(lambda _, inputs: shown.append(inputs[0]))
    for index in (one, other):
        sample(G, 1, seed, batch_size=1, first=index)
    assert (shown[0] - shown[1]).abs().max() > 0.1


def test_latents_are_standard_normal(train_config: TrainConfig) -> None:
    G = build(train_config, 32)[0].eval()
    shown: list[torch.Tensor] = []
    G.register_forward_pre_hook(lambda _, inputs: shown.append(inputs[0]))
    sample(G, 512, seed=7)
    z = torch.cat(shown)
    assert z.dtype == torch.float32
    assert z.mean().item() == pytest.approx(0, abs=0.06)  # four standard errors of 512 x 8 numbers
    assert z.std().item() == pytest.approx(1, abs=0.05)


def test_a_request_may_start_at_any_image(train_config: TrainConfig) -> None:
    G = build(train_config, 32)[0].eval()
    assert torch.equal(sample(G, 4, seed=7, batch_size=2, first=4), sample(G, 8, seed=7, batch_size=2)[4:])


def test_images_do_not_depend_on_their_batch(train_config: TrainConfig) -> None:
    G = build(train_config, 32)[0].eval()
    apart = sample(G, 6, seed=7, batch_size=1).int()
    assert (sample(G, 6, seed=7, batch_size=6).int() - apart).abs().max() <= 1  # rounding of other kernels


def test_sampling_leaves_the_global_random_state_alone(train_config: TrainConfig) -> None:
    G = build(train_config, 32)[0].eval()
    before = torch.get_rng_state()
    sample(G, 3, seed=0)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_truncation_near_zero_gives_nearly_the_same_image_for_every_latent(train_config: TrainConfig) -> None:
    torch.manual_seed(0)
    G = build(train_config, 32)[0].eval()
    with torch.no_grad():
        for name, weight in G.named_parameters():
            if name == "constant":  # an untrained one is flat, and AdaIN of a flat map shows nothing but styles
                weight.normal_()
    z = torch.randn(8, G.z_dim)
    full, truncated = (G(z, truncation=psi).std(0).mean() for psi in (1.0, 1e-3))
    assert truncated < 0.02 * full


def test_sampling_in_training_mode_is_refused(train_config: TrainConfig) -> None:
    G, _ = build(train_config, 32)
    with pytest.raises(ValueError, match="eval"):
        sample(G, 1, seed=0)


def test_a_request_for_nothing_is_an_empty_answer(train_config: TrainConfig) -> None:
    assert sample(build(train_config, 32)[0].eval(), 0, seed=0).shape == (0, 1, 32, 32)
