"""What a run costs: arithmetic per image and memory."""

import psutil
import torch
from torch.utils.flop_counter import FlopCounterMode

from mammogan.config import TrainConfig
from mammogan.training.steps import frozen, generate, judge, new_networks

_BATCH = 4  # StyleGAN's minibatch statistic takes four


def gflop_per_image(config: TrainConfig, resolution: int) -> float:
    """Billion floating point operations of a training step for each real image, at full size, without penalties.

    Counted on shapes alone, so nothing is computed. A multiplication with its addition counts as two.
    """
    meta = torch.device("meta")
    nets = new_networks(config.model_copy(update={"compile": False, "condition": None}), resolution, meta, "fp32")
    with FlopCounterMode(display=False) as counter:
        fake = generate(nets, torch.empty(_BATCH, nets.G.z_dim, device=meta), None)
        logits = judge(nets, torch.empty_like(fake), None) - judge(nets, fake.detach(), None)
        logits.sum().backward()  # type: ignore[no-untyped-call]
        with frozen(nets.D):
            judge(nets, fake, None).sum().backward()  # type: ignore[no-untyped-call]
    return float(counter.get_total_flops()) / _BATCH / 1e9


def reset_memory(device: torch.device) -> None:
    """Let `memory_mb` forget what was held before, so that one process can measure several runs."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def memory_mb(device: torch.device) -> float:
    """Memory in MiB: on CUDA the most that tensors held since `reset_memory`, else what this process holds now."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return float(psutil.Process().memory_info().rss) / 2**20
