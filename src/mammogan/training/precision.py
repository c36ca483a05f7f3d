"""Where and in which number format a run computes, decided at its start."""

import time
from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch
from torch import nn

from mammogan.config import TrainConfig
from mammogan.errors import TrainingError

Precision = Literal["fp32", "bf16", "fp16"]

_HALVES = {"bf16": torch.bfloat16, "fp16": torch.float16}

_WORTH = 0.95  # bf16 is taken where it needs at most this share of the time of fp32


def choose_device(config: TrainConfig) -> torch.device:
    """The device of `config.device`; `auto` takes CUDA where there is one, else Apple's MPS, else the CPU.

    Raises:
        TrainingError: the device that is asked for is not there.
    """
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if config.device == "auto":
        return torch.device(next(name for name, found in there.items() if found))
    if not there[config.device]:
        builds = {"cuda": "a CUDA build of torch and its driver", "mps": "torch on a Mac with Apple silicon"}
        raise TrainingError(
            f"train.device is {config.device}, but torch sees no such device; set it to auto or cpu, or install "
            f"{builds[config.device]}"
        )
    return torch.device(config.device)


def choose_precision(config: TrainConfig) -> Precision:
    """The number format of `config.precision`; `auto` takes half precision where it pays.

    On CUDA that is bf16 where the device computes in it, else fp16; on MPS fp32. On a CPU, where bf16 can be twice as
    fast or twelve times slower, a convolution is timed both ways, within a second. The answer depends on a clock: a
    study asks once and hands it to all its runs.

    Raises:
        TrainingError: the device that is asked for is not there.
    """
    if config.precision != "auto":
        return config.precision
    device = choose_device(config)
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    if device.type == "mps":
        return "fp32"
    fp32, bf16 = time_formats()
    return "bf16" if bf16 < _WORTH * fp32 else "fp32"


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[None]:
    """The context in which networks run forward."""
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, dtype=_HALVES[precision])


def new_scaler(device: torch.device, precision: Precision) -> torch.amp.GradScaler:
    """Keeps small gradients above fp16's smallest number; does nothing in the other formats."""
    return torch.amp.GradScaler(device.type, enabled=precision == "fp16")


def memory_format(precision: Precision) -> torch.memory_format:
    """The layout of networks and images that is fastest in this format."""
    return torch.contiguous_format if precision == "fp32" else torch.channels_last


def time_formats() -> tuple[float, float]:
    """CPU seconds of a training step of a few convolutions, in fp32 and in bf16."""
    cpu = torch.device("cpu")
    best: dict[Precision, float] = {}
    for precision in ("fp32", "bf16"):
        layout = memory_format(precision)
        net = nn.Sequential(*(nn.Conv2d(32, 32, 3, padding=1) for _ in range(3)))
        net.to(memory_format=layout)  # type: ignore[call-overload]
        x = torch.zeros(8, 32, 32, 32).contiguous(memory_format=layout)
        times = []
        for _ in range(4):  # the first call builds the kernels; min drops it
            start = time.process_time()
            with autocast(cpu, precision):
                net(x).float().sum().backward()
            times.append(time.process_time() - start)
        best[precision] = min(times)
    return best["fp32"], best["bf16"]
