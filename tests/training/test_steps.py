"""One update of each network, and what it costs."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from mammogan.config import DCGANConfig, StyleGANConfig, TrainConfig
from mammogan.training.cost import gflop_per_image, memory_mb, reset_memory
from mammogan.training.steps import Networks, generate, new_networks, update_discriminator, update_generator

CPU = torch.device("cpu")


def fresh(config: TrainConfig) -> Networks:
    return new_networks(config, 32, CPU, "fp32")


def copies(net: nn.Module) -> list[torch.Tensor]:
    return [weight.detach().clone() for weight in net.parameters()]


def moved(net: nn.Module, before: list[torch.Tensor]) -> bool:
    return any(not torch.equal(a, b) for a, b in zip(net.parameters(), before, strict=True))


def test_each_update_moves_its_own_network_alone(train_config: TrainConfig) -> None:
    nets = fresh(train_config)
    fake = generate(nets, torch.randn(4, 8), None)
    G, D = copies(nets.G), copies(nets.D)
    update_discriminator(nets, torch.randn(4, 1, 32, 32), fake.detach())
    assert moved(nets.D, D)
    assert not moved(nets.G, G)
    D = copies(nets.D)
    update_generator(nets, fake, "non_saturating")
    assert moved(nets.G, G)
    assert not moved(nets.D, D)


def test_the_update_of_g_computes_no_gradient_of_d_and_leaves_d_trainable(train_config: TrainConfig) -> None:
    nets = fresh(train_config)
    update_generator(nets, generate(nets, torch.randn(4, 8), None), "non_saturating")
    assert all(weight.grad is None and weight.requires_grad for weight in nets.D.parameters())


def test_the_same_seed_gives_the_same_initial_weights(train_config: TrainConfig) -> None:
    torch.manual_seed(1)
    one = fresh(train_config)
    torch.manual_seed(2)
    other = fresh(train_config)
    assert not moved(one.G, copies(other.G))
    assert moved(one.G, copies(fresh(train_config.model_copy(update={"seed": 4})).G))


def test_repeated_updates_of_d_pull_the_logits_apart(train_config: TrainConfig) -> None:
    nets = fresh(train_config)
    chance = torch.Generator().manual_seed(0)
    real, fake = torch.full((8, 1, 32, 32), -0.5), torch.randn((8, 1, 32, 32), generator=chance)
    seen = [update_discriminator(nets, real, fake) for _ in range(20)]
    gap = [(each["logits/real"] - each["logits/fake"]).item() for each in seen]
    assert gap[-1] > gap[0] + 0.3
    assert seen[-1]["loss/D"] < seen[0]["loss/D"]


def test_r1_flattens_d_around_the_real_images(small_config: Callable[..., TrainConfig]) -> None:
    penalties = {}
    for weight in (1e-9, 100.0):
        nets = fresh(small_config("stylegan"))
        chance = torch.Generator().manual_seed(0)
        real, fake = (torch.randn((8, 1, 32, 32), generator=chance) for _ in range(2))
        for _ in range(20):
            seen = update_discriminator(nets, real, fake, r1_weight=weight)
        penalties[weight] = seen["r1"].item()
    assert penalties[100.0] < 0.5 * penalties[1e-9]


# Counted by hand: a pass of G (or D) of the paper's StyleGAN at 64 px takes 18.3 GFLOP with resampling in the
# kernels, a step three of G and eight of D. The DCGAN is the tutorial's at one channel: 2.44 in the published step,
# 2.24 without the gradients of D that its update of G throws away.
@pytest.mark.parametrize(("model", "gflop"), [("dcgan", 2.24), ("stylegan", 11 * 18.3)])
def test_the_arithmetic_of_a_step_is_that_of_the_published_networks(
    small_config: Callable[..., TrainConfig], model: str, gflop: float
) -> None:
    config = small_config(
        model,
        dcgan=DCGANConfig(z_dim=100, base_channels=64, max_channels=512),
        stylegan=StyleGANConfig(
            z_dim=512,
            w_dim=512,
            mapping_layers=8,
            base_channels=8192,
            max_channels=512,
            style_mixing=0.0,
            r1_gamma=0.0,
            r1_every=16,
        ),
    )
    assert gflop_per_image(config, 64) == pytest.approx(gflop, rel=0.02)


def test_on_cuda_each_run_measures_its_own_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    peak = {"bytes": 5 * 2**30}  # of an earlier run in this process
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda _: peak.update(bytes=2**20))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda _: peak["bytes"])
    cuda = torch.device("cuda")
    assert memory_mb(cuda) == 5 * 2**10
    reset_memory(cuda)
    assert memory_mb(cuda) == 1
