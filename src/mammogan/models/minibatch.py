"""The minibatch standard deviation: Karras et al. 2018, arXiv:1710.10196, section 3."""

import torch
from torch import Tensor, nn

_GROUP = 4  # images whose spread is one statistic, as in the authors' code


class MinibatchStd(nn.Module):
    """Appends one map: the mean standard deviation over a group of images."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C + 1, H, W); groups of 4, or the whole batch where 4 does not divide it."""
        n, channels, height, width = x.shape
        group = _GROUP if n % _GROUP == 0 else n
        groups = x.float().reshape(group, n // group, channels, height, width)
        std = (groups.var(0, correction=0) + 1e-8).sqrt().mean((1, 2, 3))  # (n / group,)
        spread = std.to(x.dtype).repeat(group)[:, None, None, None].expand(n, 1, height, width)
        return torch.cat([x, spread], 1)
