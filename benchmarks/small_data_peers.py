"""Peers of `small_data.py`, run from their own checkouts on one CPU: their networks, their step, their sampling.

Nothing of theirs is copied. What they import and a CPU does not have (torchvision, aim, CUDA) is stood in for while
they run; what they write to disk while training is left out, which spares them time. The clock is process CPU time.
"""

import contextlib
import importlib
import io
import math
import random
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mammogan.data.tiles import to_8_bits, to_model, to_pixels

_FILES = {"peer-dcgan": "dcgan/main.py", "peer-stylegan2": "stylegan2_pytorch/stylegan2_pytorch.py"}
_DRAWN_AT_ONCE = 64


@dataclass(frozen=True)
class Drawn:
    """Images uint8 (n, H, W) of each kind of weights, and what the training took."""

    images: Mapping[str, NDArray[np.uint8]]
    n_images: int
    cpu_s: float
    settings: Mapping[str, Any]


class _TimeIsUpError(Exception):
    pass


def find_peer(cell: str, checkouts: Sequence[Path]) -> Path:
    """The checkout that holds the peer of this cell."""
    for checkout in checkouts:
        if (checkout / _FILES[cell]).is_file():
            return checkout
    raise SystemExit(f"{cell} needs its checkout: --peer DIR, where DIR holds {_FILES[cell]}")


def dcgan_example(checkout: Path, images: NDArray[Any], n: int, seed: int, cpu_s: float) -> Drawn:
    """`dcgan/main.py` of pytorch/examples, executed as it stands with --dataset mnist and our tiles in MNIST's place.

    MNIST is its one-channel set. Widths (--ngf 32 --ndf 32) and batch are those of our cell; learning rate, loss and
    initial weights are its own. It samples as it does itself: G in training mode, 64 latents at a time.
    """
    reals = to_model(torch.from_numpy(np.array(to_8_bits(images)))[:, None])
    stop = time.process_time() + cpu_s
    shown = 0

    class Dataset(torch.utils.data.Dataset[tuple[Tensor, int]]):
        def __init__(self, **_: Any) -> None:
            pass

        def __len__(self) -> int:
            return len(reals)

        def __getitem__(self, index: int) -> tuple[Tensor, int]:
            nonlocal shown
            if time.process_time() > stop:
                raise _TimeIsUpError
            shown += 1
            return reals[index], 0

    nothing = mock.MagicMock()
    datasets = _module("torchvision.datasets", MNIST=Dataset)
    stand_ins = {
        "torchvision": _module("torchvision", datasets=datasets, transforms=nothing, utils=nothing),
        "torchvision.datasets": datasets,
        "torchvision.transforms": nothing,
        "torchvision.utils": nothing,
    }
    arguments = ["--dataset", "mnist", "--dataroot", ".", "--workers", "0", "--niter", "1000000"]
    arguments += ["--manualSeed", str(seed + 1), "--ngf", "32", "--ndf", "32", "--batchSize", "32"]
    script: dict[str, Any] = {"__name__": "__main__"}
    started = time.process_time()
    with (
        _standing_in(stand_ins),
        mock.patch.object(sys, "argv", ["main.py", *arguments]),
        mock.patch("torch.save"),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.suppress(_TimeIsUpError),
    ):
        source = (checkout / _FILES["peer-dcgan"]).read_text(encoding="utf-8")
        exec(compile(source, "main.py", "exec"), script)
    took = time.process_time() - started

    def draw(count: int) -> Tensor:
        grey: Tensor = script["netG"](torch.randn(count, script["nz"], 1, 1))
        return grey

    return Drawn({"raw": _draw(draw, n, seed)}, shown, took, {"arguments": arguments})


def stylegan2_pytorch(checkout: Path, images: NDArray[Any], n: int, seed: int, cpu_s: float) -> Drawn:
    """`Trainer.train` of lucidrains' stylegan2-pytorch, step by step, with the augmentation that its README advises.

    Narrow (network_capacity), so that a CPU takes as many steps as it can; batch 16 at once in place of 6 times 5; all
    else as its command line has it. Three equal channels, of which the mean is scored. Its average of G begins
    after 20,000 steps, later than any run here ends, so that its raw weights are scored, without truncation.
    """
    settings: dict[str, Any] = {
        "network_capacity": CAPACITY,
        "batch_size": 16,
        "gradient_accumulate_every": 1,
        "ttur_mult": 1.5,
    }
    settings |= {"lr": 2e-4, "mixed_prob": 0.9, "aug_prob": 0.25, "aug_types": ["translation", "cutout"]}
    reals = (torch.from_numpy(np.array(to_8_bits(images)))[:, None].float() / 255).expand(-1, 3, -1, -1)

    def batches() -> Iterator[Tensor]:
        while True:
            order = torch.randperm(len(reals))
            for start in range(0, len(reals) - 15, 16):
                yield reals[order[start : start + 16]].contiguous()

    nothing = mock.MagicMock()
    unused = ("aim", "torchvision", "torchvision.transforms", "vector_quantize_pytorch")
    stand_ins = dict.fromkeys(unused, nothing)
    random.seed(seed)
    torch.manual_seed(seed)
    with (
        _standing_in(stand_ins),
        mock.patch("torch.cuda.is_available", return_value=True),
        mock.patch.object(sys, "path", [str(checkout), *sys.path]),
    ):
        peer = importlib.import_module("stylegan2_pytorch.stylegan2_pytorch")
    with (
        mock.patch.object(Tensor, "cuda", lambda tensor, *_: tensor),
        mock.patch.object(torch.nn.Module, "cuda", lambda module, *_: module),
        mock.patch.object(peer.Trainer, "init_folders"),
        mock.patch.object(peer.Trainer, "save"),
        mock.patch.object(peer.Trainer, "evaluate"),
        torch.enable_grad(),
    ):
        trainer = peer.Trainer(image_size=64, **settings)
        trainer.loader, trainer.dataset = batches(), reals
        started = time.process_time()
        while time.process_time() - started < cpu_s:
            trainer.train()
        took = time.process_time() - started
        S, G = trainer.GAN.S.eval(), trainer.GAN.G.eval()

        def draw(count: int) -> Tensor:
            latents = peer.noise_list(count, G.num_layers, G.latent_dim, device=0)
            styles = peer.styles_def_to_tensor(peer.latent_to_w(S, latents))
            rgb: Tensor = G(styles, peer.image_noise(count, 64, device=0))
            return rgb.clamp(0, 1).mean(1, keepdim=True) * 2 - 1

        drawn = _draw(draw, n, seed)
    return Drawn({"raw": drawn}, trainer.steps * 16, took, settings)


CAPACITY = 2  # of stylegan2-pytorch, whose own is 16
PEERS: Mapping[str, Callable[[Path, NDArray[Any], int, int, float], Drawn]] = {
    "peer-dcgan": dcgan_example,
    "peer-stylegan2": stylegan2_pytorch,
}


@contextlib.contextmanager
def _standing_in(stand_ins: Mapping[str, Any]) -> Iterator[None]:
    """Modules under these names; what else is imported meanwhile stays."""
    before = {name: sys.modules.get(name) for name in stand_ins}
    sys.modules.update(stand_ins)
    try:
        yield
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


def _module(name: str, **content: Any) -> ModuleType:
    module = ModuleType(name)
    vars(module).update(content)
    return module


@torch.no_grad()
def _draw(draw: Callable[[int], Tensor], n: int, seed: int) -> NDArray[np.uint8]:
    """Float images (count, 1, H, W) in [-1, 1], 64 at a time -> uint8 (n, H, W)."""
    torch.manual_seed(1000 + seed)
    parts = [to_pixels(draw(_DRAWN_AT_ONCE), 8)[:, 0].numpy() for _ in range(math.ceil(n / _DRAWN_AT_ONCE))]
    images: NDArray[np.uint8] = np.concatenate(parts)[:n]
    return images
