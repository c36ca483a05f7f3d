"""One training run in several processes, on several GPUs or hosts: `torchrun ... mammogan train`.

Each process takes every world-th image of a batch and the chance that belongs to it; gradients are averaged. So a
batch is the batch of the design, however many processes share it. Gradients are averaged by hand, as the authors of
StyleGAN2 do: the penalties differentiate twice, which DistributedDataParallel does not allow.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from mammogan.errors import TrainingError

_PATIENCE = timedelta(hours=6)  # the others wait while the first process evaluates


@dataclass(frozen=True)
class Group:
    """The processes of a run, and which of them this is."""

    rank: int = 0
    world: int = 1

    @property
    def first(self) -> bool:
        """Whether this process evaluates, logs and saves."""
        return self.rank == 0

    def mean(self, values: Tensor) -> Tensor:
        """The mean of float values of any shape over the processes."""
        if self.world > 1:
            dist.all_reduce(values)
            values /= self.world
        return values

    def average(self, tensors: Iterable[Tensor]) -> None:
        """Replace float tensors by their means over the processes."""
        found = list(tensors)
        if self.world == 1 or not found:
            return
        flat = self.mean(torch.cat([tensor.detach().float().flatten() for tensor in found]))
        means = torch.split(flat, [tensor.numel() for tensor in found])
        for tensor, mean in zip(found, means, strict=True):
            tensor.detach().copy_(mean.view_as(tensor))

    def share(self, value: Any) -> Any:
        """The first process's value, in every process."""
        if self.world == 1:
            return value
        box = [value if self.first else None]
        dist.broadcast_object_list(box)
        return box[0]


ALONE = Group()


@contextmanager
def processes(device: torch.device) -> Iterator[Group]:
    """The group that `torchrun` has started; ALONE where it has not.

    Raises:
        TrainingError: the processes do not find each other.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield ALONE
        return
    if device.type == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    try:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=_PATIENCE)
    except (RuntimeError, ValueError) as err:
        raise TrainingError(f"the {world} processes do not find each other ({err}); check torchrun's options") from err
    try:
        yield Group(dist.get_rank(), world)
    finally:
        dist.destroy_process_group()


class _Sum(torch.autograd.Function):
    """The sum of a tensor over the processes; can be differentiated as often as one likes."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total: Tensor = _Sum.apply(gradient)  # type: ignore[no-untyped-call]
        return total


class SyncedBatchNorm(nn.BatchNorm2d):
    """Batch norm over the batches of all processes, on any device."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> the same; statistics in float32 and of the whole batch."""
        if not self.training:
            return super().forward(x)
        wide = x.float()
        moments = torch.stack([wide.mean((0, 2, 3)), wide.square().mean((0, 2, 3))])  # (2, C)
        mean, square = _Sum.apply(moments) / dist.get_world_size()  # type: ignore[no-untyped-call]
        variance = (square - mean.square()).clamp(min=0)
        n = x.numel() / x.shape[1] * dist.get_world_size()
        with torch.no_grad():
            momentum = self.momentum or 0.0
            assert self.running_mean is not None
            assert self.running_var is not None
            assert self.num_batches_tracked is not None
            self.running_mean.lerp_(mean, momentum)
            self.running_var.lerp_(variance * n / max(n - 1, 1), momentum)
            self.num_batches_tracked += 1
        scale = self.weight * torch.rsqrt(variance + self.eps)
        shift = self.bias - mean * scale
        normed: Tensor = wide * scale[:, None, None] + shift[:, None, None]
        return normed.to(x.dtype)


def synced(network: nn.Module, group: Group) -> None:
    """Let every batch norm of `network` see the whole batch where several processes share it."""
    if group.world > 1:
        for module in network.modules():
            if type(module) is nn.BatchNorm2d:
                module.__class__ = SyncedBatchNorm
