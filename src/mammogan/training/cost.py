"""What a run costs: arithmetic per image and peak memory."""

import sys

import psutil  # type: ignore[import-untyped]
import torch
from torch.utils.flop_counter import FlopCounterMode

from mammogan.config import TrainConfig
from mammogan.training.steps import generate, new_networks, update_discriminator, update_generator

_BATCH = 4  # StyleGAN's minibatch statistic takes four


def gflop_per_image(config: TrainConfig, resolution: int) -> float:
    """Billion floating point operations of a training step for each real image, without the R1 penalty.

    Counted on shapes alone, so nothing is computed. A multiplication with its addition counts as two.
    """
    meta = torch.device("meta")
    nets = new_networks(config, resolution, meta, "fp32")
    with FlopCounterMode(display=False) as counter:
        fake = generate(nets, torch.empty(_BATCH, nets.G.z_dim, device=meta), None)
        update_discriminator(nets, torch.empty_like(fake), fake.detach())
        update_generator(nets, fake, config.loss)
    return float(counter.get_total_flops()) / _BATCH / 1e9


def peak_memory_mb(device: torch.device) -> float:
    """Most memory held at once, in MiB: of tensors on CUDA, else of this process since its start."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    if sys.platform == "win32":
        return float(psutil.Process().memory_info().peak_wset) / 2**20
    import resource  # not there on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
