"""What is computed in float32 inside autocast."""

from contextlib import AbstractContextManager, nullcontext

import torch


def in_float32(device: torch.device) -> AbstractContextManager[None]:
    """A context without autocast; float32 tensors stay so in it."""
    if torch.amp.is_autocast_available(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()  # the meta device, on which shapes are counted, has no autocast
