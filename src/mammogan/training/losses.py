"""Losses of G and D as functions of logits, safe for logits of any size."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn.functional import softplus


def discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """-E[log D(x)] - E[log(1 - D(G(z)))] of float logits (N,), a scalar (Goodfellow et al. 2014, eq. 1)."""
    return softplus(-real_logits).mean() + softplus(fake_logits).mean()


def non_saturating_loss(fake_logits: Tensor) -> Tensor:
    """-E[log D(G(z))] of float logits (N,), a scalar (Goodfellow et al. 2014, section 3)."""
    return softplus(-fake_logits).mean()


def minimax_loss(fake_logits: Tensor) -> Tensor:
    """E[log(1 - D(G(z)))] of float logits (N,), a scalar: the literal loss, which fades where D is sure."""
    return -softplus(fake_logits).mean()


GENERATOR_LOSSES: Mapping[str, Callable[[Tensor], Tensor]] = {
    "non_saturating": non_saturating_loss,
    "minimax": minimax_loss,
}


def r1_penalty(real_logits: Tensor, real: Tensor) -> Tensor:
    """E[|grad_x D(x)|^2] at the real images (N, 1, H, W), a scalar that can be differentiated again.

    Mescheder et al. 2018, eq. 9, without gamma / 2. Logits (N,) must come from `real`, which must require a
    gradient, and both must be float32.
    """
    (gradient,) = torch.autograd.grad(real_logits.sum(), real, create_graph=True)
    return gradient.square().sum((1, 2, 3)).mean()


def path_length_penalty(images: Tensor, styles: Tensor, noise: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
    """E[(|J_w^T y| - a)^2] at images (N, 1, H, W) made from styles (N, L, w_dim), and E[|J_w^T y|]; both scalars.

    Karras et al. 2020 (arXiv:1912.04958), eq. 4, with y = `noise` (N, 1, H, W), standard normal, and a = `mean`, the
    running mean of the lengths. Images and styles must be float32 and joined by a graph; the penalty can be
    differentiated again.
    """
    height, width = images.shape[2:]
    (jacobian,) = torch.autograd.grad((images * noise).sum() / (height * width) ** 0.5, styles, create_graph=True)
    lengths = jacobian.square().sum(2).mean(1).sqrt()
    return (lengths - mean).square().mean(), lengths.detach().mean()
