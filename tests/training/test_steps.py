"""One update of each network, and what it costs."""

import math
import shutil
from collections.abc import Callable, Iterable
from typing import Any, get_args

import pytest
import torch
from torch import nn

from mammogan.config import DCGANConfig, ModelName, StyleGANConfig, TrainConfig
from mammogan.training import steps
from mammogan.training.cost import gflop_per_image, memory_mb, reset_memory
from mammogan.training.losses import path_length_penalty
from mammogan.training.parallel import Group
from mammogan.training.precision import Precision, memory_format
from mammogan.training.steps import Moment, Networks, frozen, generate, judge, new_networks, r1_weight, take_step
from small_networks import SMALL_DCGAN, SMALL_STYLEGAN

CPU = torch.device("cpu")


def fresh(config: TrainConfig) -> Networks:
    return new_networks(config, 32, CPU, "fp32")


def copies(net: nn.Module) -> list[torch.Tensor]:
    return [weight.detach().clone() for weight in net.parameters()]


def moved(net: nn.Module, before: list[torch.Tensor]) -> bool:
    return any(not torch.equal(a, b) for a, b in zip(net.parameters(), before, strict=True))


def step(nets: Networks, config: TrainConfig, real: torch.Tensor, number: int = 0) -> dict[str, torch.Tensor]:
    return take_step(nets, config, real, None, Moment(number, number * len(real), 0.0, 0.0))


def images(n: int = 8) -> torch.Tensor:
    return torch.randn((n, 1, 32, 32), generator=torch.Generator().manual_seed(0))


def test_a_step_moves_both_networks(train_config: TrainConfig) -> None:
    nets = fresh(train_config)
    G, D = copies(nets.G), copies(nets.D)
    step(nets, train_config, images())
    assert moved(nets.G, G)
    assert moved(nets.D, D)


def test_g_learns_through_a_d_that_stays_as_it_is_and_trainable(train_config: TrainConfig) -> None:
    nets = fresh(train_config)
    with frozen(nets.D):
        judge(nets, generate(nets, torch.randn(4, 8), None), None).sum().backward()  # type: ignore[no-untyped-call]
    assert all(weight.grad is None and weight.requires_grad for weight in nets.D.parameters())
    assert any(weight.grad is not None for weight in nets.G.parameters())


def test_the_same_seed_gives_the_same_initial_weights(train_config: TrainConfig) -> None:
    torch.manual_seed(1)
    one = fresh(train_config)
    torch.manual_seed(2)
    other = fresh(train_config)
    assert not moved(one.G, copies(other.G))
    assert moved(one.G, copies(fresh(train_config.model_copy(update={"seed": 4})).G))


def test_a_d_that_learns_faster_pulls_the_logits_apart(small_config: Callable[..., TrainConfig]) -> None:
    config = small_config("dcgan", lr=1e-5, lr_d_ratio=500.0)
    nets = fresh(config)
    seen = [step(nets, config, torch.full((8, 1, 32, 32), -0.5), number) for number in range(20)]
    gap = [(each["logits/real"] - each["logits/fake"]).item() for each in seen]
    assert gap[-1] > gap[0] + 0.3
    assert seen[-1]["loss/D"] < seen[0]["loss/D"]


def test_r1_flattens_d_around_the_real_images(small_config: Callable[..., TrainConfig]) -> None:
    penalties = {}
    for gamma in (1e-9, 100.0):
        own = SMALL_STYLEGAN.model_copy(update={"r1_gamma": gamma, "r1_every": 1})
        config = small_config("stylegan", lr=1e-6, lr_d_ratio=5000.0, stylegan=own)
        nets = fresh(config)
        penalties[gamma] = [step(nets, config, images(), number)["r1"].item() for number in range(20)][-1]
    assert penalties[100.0] < 0.5 * penalties[1e-9]


@pytest.mark.parametrize(("model", "own"), [("stylegan", SMALL_STYLEGAN), ("dcgan", SMALL_DCGAN)])
def test_r1_in_bf16_is_near_that_in_float32_and_in_fp16_equal_to_it(
    small_config: Callable[..., TrainConfig], model: ModelName, own: StyleGANConfig | DCGANConfig
) -> None:
    config = small_config(model, batch_size=8, **{model: own.model_copy(update={"r1_gamma": 1.0, "r1_every": 1})})
    gradients = {}
    for precision in get_args(Precision):
        nets = new_networks(config, 32, CPU, precision)
        real = images().contiguous(memory_format=memory_format(precision))
        steps._penalise_gradients(steps._Step(nets, config, real, None, Moment(0, 0, 0.0, 0.0)))
        found = [weight.grad for weight in nets.D.parameters() if weight.grad is not None]
        gradients[precision] = torch.cat([gradient.flatten() for gradient in found])
    whole = gradients["fp32"]
    assert 1e-3 < (gradients["bf16"] - whole).norm() / whole.norm() < 0.1
    torch.testing.assert_close(gradients["fp16"], whole, rtol=1e-3, atol=1e-5 * whole.abs().max().item())


def test_a_penalty_every_k_steps_slows_adam_as_in_the_paper(small_config: Callable[..., TrainConfig]) -> None:
    """Karras et al. 2020, appendix B: lr * c, beta^c with c = k / (k + 1); k = 16 gives c = 0.941."""
    options = {
        "r1_gamma": 1.0,
        "r1_every": 16,
        "normalisation": "demodulation",
        "path_length": 2.0,
        "path_length_every": 8,
    }
    config = small_config("stylegan", lr=0.001, lr_d_ratio=2.0, stylegan=SMALL_STYLEGAN.model_copy(update=options))
    nets = fresh(config)
    assert nets.adam_d.param_groups[0]["lr"] == pytest.approx(0.002 * 0.9412, rel=1e-3)
    assert nets.adam_d.param_groups[0]["betas"] == pytest.approx((0.0, 0.99058), rel=1e-4)
    assert nets.adam_g.param_groups[0]["lr"] == pytest.approx(0.001 * 0.8889, rel=1e-3)


def test_without_a_penalty_adam_is_the_papers(small_config: Callable[..., TrainConfig]) -> None:
    nets = fresh(small_config("dcgan", lr=0.001))
    assert nets.adam_d.param_groups[0]["lr"] == 0.001
    assert nets.adam_d.param_groups[0]["betas"] == (0.5, 0.999)


# Karras et al. 2020, arXiv:2006.06676: 512 px at batch 32 is 1.6384; 64 px at batch 16 is 0.0512.
@pytest.mark.parametrize(("px", "batch", "gamma"), [(512, 32, 1.6384), (64, 16, 0.0512)])
def test_gamma_follows_the_rule_where_none_is_given(
    small_config: Callable[..., TrainConfig], px: int, batch: int, gamma: float
) -> None:
    config = small_config("stylegan", batch_size=batch, stylegan=SMALL_STYLEGAN.model_copy(update={"r1_gamma": None}))
    assert r1_weight(config, px) == pytest.approx(gamma)


def test_the_path_length_penalty_is_due_every_k_steps(small_config: Callable[..., TrainConfig]) -> None:
    options = {"normalisation": "demodulation", "path_length": 2.0, "path_length_every": 2}
    config = small_config("stylegan", stylegan=SMALL_STYLEGAN.model_copy(update=options))
    nets = fresh(config)
    seen = [step(nets, config, images(), number) for number in range(3)]
    assert ["path_length" in each for each in seen] == [True, False, True]
    assert nets.path_mean > 0


def test_the_path_length_of_a_linear_map_is_that_of_its_columns() -> None:
    """Images A w have the Jacobian A: with y on the first pixel alone, |J^T y| is the length of A's first row."""
    rows = torch.tensor([[3.0, 4.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    styles = torch.zeros(1, 1, 2, requires_grad=True)
    made = (styles[:, 0] @ rows.T).view(1, 1, 2, 2)
    y = torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]])
    penalty, length = path_length_penalty(made, styles, y, torch.tensor(0.5))
    assert length == pytest.approx(2.5)  # 5 / sqrt(4 pixels)
    assert penalty == pytest.approx(4.0)


def test_micro_batches_make_the_update_of_the_whole_batch(small_config: Callable[..., TrainConfig]) -> None:
    """StyleGAN, which has no batch norm: the same weights but for rounding, with every option that draws chance."""
    config = small_config("stylegan", batch_size=16)
    found = []
    for parts in (1, 2):
        nets = fresh(config)
        nets.micro_batches = parts
        found.append((take_step(nets, config, images(16), None, Moment(0, 0, 0.2, 0.5)), nets))
    (whole, one), (halved, two) = found
    assert whole.keys() == halved.keys()
    assert all(whole[name] == pytest.approx(halved[name].item(), rel=1e-3, abs=1e-4) for name in whole)
    for name in ("G", "D"):
        start, a, b = (copies(getattr(nets, name)) for nets in (fresh(config), one, two))
        gone = sum((x - y).abs().sum() for x, y in zip(a, start, strict=True))
        apart = sum((x - y).abs().sum() for x, y in zip(a, b, strict=True))
        assert apart < 0.003 * gone  # Adam's first step turns rounding of a near-zero gradient into a whole step


@pytest.mark.parametrize("phase", ["_update_discriminator", "_update_generator", "_penalise_gradients"])
def test_a_step_that_runs_out_of_memory_is_taken_in_micro_batches(
    small_config: Callable[..., TrainConfig], monkeypatch: pytest.MonkeyPatch, phase: str
) -> None:
    config, update = small_config("stylegan"), getattr(steps, phase)

    def fits_four(part: Any) -> dict[str, torch.Tensor]:
        seen: dict[str, torch.Tensor] = update(part)
        if len(part.real) // part.nets.micro_batches > 4:
            raise torch.OutOfMemoryError
        return seen

    monkeypatch.setattr(steps, phase, fits_four)
    nets = fresh(config)
    seen = step(nets, config, images(16))
    assert nets.micro_batches == 4
    assert all(value.isfinite() for value in seen.values())
    monkeypatch.undo()


def test_memory_that_holds_no_two_images_is_an_error(
    small_config: Callable[..., TrainConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(steps, "_update_discriminator", full)
    with pytest.raises(torch.OutOfMemoryError):
        step(fresh(small_config("dcgan")), small_config("dcgan"), images(16))


def test_fp16_scales_its_losses(small_config: Callable[..., TrainConfig]) -> None:
    config = small_config("stylegan")
    nets = new_networks(config, 32, CPU, "fp16")
    G = copies(nets.G)
    seen = step(nets, config, images())
    assert nets.scaler_d.is_enabled()
    assert moved(nets.G, G)
    assert all(value.isfinite() for value in seen.values())


class Beside(Group):
    """The first of two processes; gradients of the other one are infinite."""

    def average(self, tensors: Iterable[torch.Tensor]) -> None:
        for tensor in tensors:
            tensor.fill_(math.inf)


def test_in_fp16_all_processes_skip_the_update_that_overflows_in_one(train_config: TrainConfig) -> None:
    nets = new_networks(train_config, 32, CPU, "fp16")
    nets.group = Beside(0, 2)
    before, scale = copies(nets.D), nets.scaler_d.get_scale()
    nets.scaler_d.scale(sum(weight.sum() for weight in nets.D.parameters())).backward()
    steps._apply(nets, nets.D, nets.adam_d, nets.scaler_d)
    assert not moved(nets.D, before)
    assert nets.scaler_d.get_scale() == scale / 2


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch", "ignore::UserWarning:torch")
def test_compiled_networks_learn_as_eager_ones(train_config: TrainConfig) -> None:
    seen = {}
    for compiled in (False, True):
        config = train_config.model_copy(update={"compile": compiled})
        nets = fresh(config)
        seen[compiled] = [step(nets, config, images(), number) for number in range(3)]
    assert seen[False][0].keys() == seen[True][0].keys()
    for eager, fast in zip(seen[False], seen[True], strict=True):
        assert all(fast[name] == pytest.approx(eager[name].item(), rel=1e-3, abs=1e-4) for name in eager)


# Counted by hand: a pass of G (or D) of the paper's StyleGAN at 64 px takes 18.3 GFLOP with resampling in the
# kernels, a step three of G and eight of D. The DCGAN is the tutorial's at one channel: 2.44 in the published step,
# 2.24 without the gradients of D that its update of G throws away.
@pytest.mark.parametrize(("model", "gflop"), [("dcgan", 2.24), ("stylegan", 11 * 18.3)])
def test_the_arithmetic_of_a_step_is_that_of_the_published_networks(
    small_config: Callable[..., TrainConfig], model: str, gflop: float
) -> None:
    published = {"z_dim": 512, "w_dim": 512, "mapping_layers": 8, "base_channels": 8192, "max_channels": 512}
    config = small_config(
        model,
        dcgan=SMALL_DCGAN.model_copy(update={"z_dim": 100, "base_channels": 64, "max_channels": 512}),
        stylegan=SMALL_STYLEGAN.model_copy(update=published),
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
