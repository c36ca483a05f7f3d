"""Losses against published and hand-worked values."""

import math

import pytest
import torch

from mammogan.training.losses import (
    GENERATOR_LOSSES,
    discriminator_loss,
    minimax_loss,
    non_saturating_loss,
    r1_penalty,
)


def test_an_undecided_discriminator_pays_log_four() -> None:  # arXiv:1406.2661, theorem 1
    zeros = torch.zeros(8)
    assert discriminator_loss(zeros, zeros).item() == pytest.approx(math.log(4))


@pytest.mark.parametrize("logit", [0.0, 3.0, -20.0, 200.0, -200.0])
def test_losses_stay_finite_and_exact_where_a_sigmoid_saturates(logit: float) -> None:
    # log(1 + e^20) = 20 + 2.1e-9 and log(1 + e^-20) = 2.1e-9
    known = {0.0: (0.6931472, -0.6931472), 3.0: (0.0485874, -3.0485874), -20.0: (20.0, -2.0611537e-9)}
    non_saturating, minimax = known.get(logit, (max(-logit, 0.0), -max(logit, 0.0)))
    logits = torch.full((4,), logit)
    assert non_saturating_loss(logits).item() == pytest.approx(non_saturating, rel=1e-5)
    assert minimax_loss(logits).item() == pytest.approx(minimax, rel=1e-5)


def test_the_minimax_gradient_fades_where_the_non_saturating_one_is_full() -> None:
    gradients = {}
    for name, loss in GENERATOR_LOSSES.items():
        logits = torch.full((1,), -20.0, requires_grad=True)
        loss(logits).backward()
        assert logits.grad is not None
        gradients[name] = logits.grad.item()
    assert gradients["non_saturating"] == pytest.approx(-1, abs=1e-6)
    assert gradients["minimax"] == pytest.approx(-2.06e-9, rel=0.01)


def test_both_losses_push_fake_logits_up() -> None:
    for loss in GENERATOR_LOSSES.values():
        assert loss(torch.tensor([1.0])) < loss(torch.tensor([-1.0]))


def test_r1_of_a_linear_discriminator_is_the_squared_length_of_its_weights() -> None:
    weights = torch.tensor([1.0, 2.0, 2.0, 4.0]).reshape(1, 2, 2).requires_grad_()  # |w|^2 = 25
    real = torch.randn(6, 1, 2, 2, requires_grad=True)
    penalty = r1_penalty((real * weights).sum((1, 2, 3)), real)
    assert penalty.item() == pytest.approx(25)
    penalty.backward()  # can be differentiated again: d|w|^2 / dw = 2 w
    assert weights.grad is not None
    assert weights.grad.flatten().tolist() == pytest.approx([2, 4, 4, 8])
