"""The running average of G, which alone is scored and served."""

import math

import torch
from torch import nn

_RAMP_UP = 0.05  # the half-life is at most this share of the images seen so far


def decay(n_images: int, batch_size: int, half_life_kimg: float) -> float:
    """Weight of the old average in a step, when `n_images` have been seen before it.

    0.5 ** (batch / half-life), with a half-life that grows with training (Karras et al. 2020, arXiv:2006.06676,
    code: `ema_rampup`); a fixed one would keep the initial weights of a short run.
    """
    half_life = min(half_life_kimg * 1000, n_images * _RAMP_UP)
    return math.pow(0.5, batch_size / max(half_life, 1e-8))


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, beta: float) -> None:
    """Average <- beta average + (1 - beta) network for weights; buffers (batch norm, mean of w) are copied."""
    torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), 1 - beta)
    for mean, latest in zip(average.buffers(), network.buffers(), strict=True):
        mean.copy_(latest)
