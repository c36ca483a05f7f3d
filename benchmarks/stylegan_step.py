"""One StyleGAN training step of mammogan against the same network in a plain float32 step: same batch, one core.

The plain step is the usual one: float32, NCHW, nearest-neighbour upsampling before a 3x3 convolution and 2x2 averaging
after one, Adam that is not fused, gradients of D computed and thrown away in the update of G. Ours is the code of the
training loop, with instance noise and the running average of G, which the plain step does without. `ratio` is without
R1 on both sides, `ratio_r1` with R1 in every step on both.

`--peer NAME=DIR` adds the training step of a checkout of rosinality/style-based-gan-pytorch (NAME rosinality) or
huangzh13/StyleGAN.pytorch (huangzh13) at the same widths, with R1 in every step as they ship. `peers` holds our gain
over them with R1 in every step on both sides (`every`), and with ours every 16th step (`lazy`), which is another
algorithm than theirs. The last line is one JSON object; higher is better.
"""

import argparse
import copy
import importlib
import statistics
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mammogan.config import TrainConfig
from mammogan.models.equalised import EqualConv
from mammogan.training.cost import gflop_per_image
from mammogan.training.precision import choose_precision
from mammogan.training.steps import new_networks
from measuring import CPU, Ratio, Step, in_turn, last_line, production_step, training_section

_GAMMA = 10.0
_LAZY = 16  # steps between our R1 updates in a real run
_PAPER_CHANNELS = 512  # that rosinality's classes are written for


def configuration(batch_size: int, base_channels: int, max_channels: int, r1: bool) -> TrainConfig:
    """Mapping network of the paper; `r1` in every step or not at all."""
    section = training_section("demo").stylegan.model_dump()
    section |= {"z_dim": 512, "w_dim": 512, "mapping_layers": 8, "style_mixing": 0.9, "normalisation": "adain"}
    section |= {"base_channels": base_channels, "max_channels": max_channels, "path_length": 0.0, "grow_from": None}
    section |= {"r1_gamma": _GAMMA if r1 else 0.0, "r1_every": 1}
    return training_section("demo", model="stylegan", lr=0.001, batch_size=batch_size, stylegan=section)


class Unfused(nn.Module):
    """A convolution with a change of size as the paper draws it, in two operations."""

    def __init__(self, fused: EqualConv) -> None:
        super().__init__()
        self.weight, self.bias = fused.weight, fused.bias
        self.scale, self.resample = fused.scale, fused.resample

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C', 2H, 2W) or (N, C', H / 2, W / 2)."""
        if self.resample == "up":
            return F.conv2d(F.interpolate(x, scale_factor=2.0), self.weight * self.scale, self.bias, padding=1)
        return F.avg_pool2d(F.conv2d(x, self.weight * self.scale, self.bias, padding=1), 2)


def unfused(network: nn.Module) -> nn.Module:
    """The same function of the same weights."""
    plain = copy.deepcopy(network)
    for parent in [*plain.modules()]:
        for name, child in parent.named_children():
            if isinstance(child, EqualConv) and child.resample:
                setattr(parent, name, Unfused(child))
    return plain


def plain(config: TrainConfig, resolution: int, real: Tensor) -> Step:
    """The usual step; R1 at the real images whose logits D has just given."""
    nets = new_networks(config, resolution, CPU, "fp32")
    G, D = unfused(nets.G), unfused(nets.D)
    assert torch.allclose(D(real), nets.D(real), atol=1e-4), "the plain discriminator is another function"
    adam_g, adam_d = (torch.optim.Adam(net.parameters(), lr=config.lr, betas=(0.0, 0.99)) for net in (G, D))
    gamma = config.stylegan.r1_gamma

    def step() -> None:
        D.zero_grad()
        shown = real.clone().requires_grad_(bool(gamma))
        real_logits = D(shown)
        fake = G(torch.randn(len(real), config.stylegan.z_dim))
        loss_d = F.softplus(-real_logits).mean() + F.softplus(D(fake.detach())).mean()
        if gamma:
            (slope,) = torch.autograd.grad(real_logits.sum(), shown, create_graph=True)
            loss_d = loss_d + gamma / 2 * slope.square().sum((1, 2, 3)).mean()
        loss_d.backward()  # type: ignore[no-untyped-call]
        adam_d.step()
        G.zero_grad()
        loss_g = F.softplus(-D(fake)).mean()
        loss_g.backward()  # type: ignore[no-untyped-call]
        adam_g.step()
        _ = loss_d.item(), loss_g.item()

    return step


def rosinality(folder: Path, config: TrainConfig, resolution: int, real: Tensor) -> Step:
    """The order of work of its train.py with --loss r1 --mixing, on its networks at our widths and one channel."""
    model = _module(folder, "model")
    own = config.stylegan
    assert own.base_channels == 16 * own.max_channels, "its widths are those of the paper, times a constant"

    def narrowed(n: int) -> int:
        odd = n % 2 if n > 3 else 0  # the map of the minibatch statistic
        return 1 if n <= 3 else (n - odd) * own.max_channels // _PAPER_CHANNELS + odd

    for name, n_widths in {
        "EqualConv2d": 2,
        "FusedUpsample": 2,
        "FusedDownsample": 2,
        "Blur": 1,
        "NoiseInjection": 1,
        "ConstantInput": 1,
        "AdaptiveInstanceNorm": 1,
    }.items():
        setattr(model, name, _with_widths(getattr(model, name), n_widths, narrowed))
    G, average = model.StyledGenerator(512, own.mapping_layers), model.StyledGenerator(512, own.mapping_layers)
    D = model.Discriminator(from_rgb_activate=True)
    D.linear = model.EqualLinear(own.max_channels, 1)
    kinds = [{"params": G.generator.parameters()}, {"params": G.style.parameters(), "lr": config.lr * 0.01}]
    adam_g = torch.optim.Adam(kinds, lr=config.lr, betas=(0.0, 0.99))
    adam_d = torch.optim.Adam(D.parameters(), lr=config.lr, betas=(0.0, 0.99))
    depth = resolution.bit_length() - 3  # 0 at 4 px

    def step() -> None:
        D.zero_grad()
        G.requires_grad_(False)
        D.requires_grad_(True)
        shown = real.clone().requires_grad_(True)
        logits = D(shown, step=depth, alpha=1)
        F.softplus(-logits).mean().backward(retain_graph=True)  # type: ignore[no-untyped-call]
        (slope,) = torch.autograd.grad(logits.sum(), shown, create_graph=True)
        (_GAMMA / 2 * slope.square().sum((1, 2, 3)).mean()).backward()  # type: ignore[no-untyped-call]
        fake = G([*torch.randn(2, len(real), 512)], step=depth, alpha=1)
        F.softplus(D(fake, step=depth, alpha=1)).mean().backward()  # type: ignore[no-untyped-call]
        adam_d.step()
        G.zero_grad()
        G.requires_grad_(True)
        D.requires_grad_(False)
        fake = G([*torch.randn(2, len(real), 512)], step=depth, alpha=1)
        F.softplus(-D(fake, step=depth, alpha=1)).mean().backward()  # type: ignore[no-untyped-call]
        adam_g.step()
        with torch.no_grad():
            for mean, latest in zip(average.parameters(), G.parameters(), strict=True):
                mean.mul_(0.999).add_(latest, alpha=0.001)

    return step


def huangzh13(folder: Path, config: TrainConfig, resolution: int, real: Tensor) -> Step:
    """Its own two methods of a step, with its logistic loss and R1."""
    own = config.stylegan
    widths = {"fmap_base": own.base_channels, "fmap_max": own.max_channels}
    options = {"learning_rate": config.lr, "beta_1": 0.0, "beta_2": 0.99, "eps": 1e-8}
    gan = _module(folder, "models.GAN").StyleGAN(
        structure="fixed",
        resolution=resolution,
        num_channels=1,
        latent_size=512,
        g_args={**widths, "mapping_layers": own.mapping_layers, "blur_filter": [1, 2, 1]},
        d_args={**widths, "blur_filter": [1, 2, 1]},
        g_opt_args=options,
        d_opt_args=options,
        loss="logistic",
        use_ema=True,
    )
    depth = gan.depth - 1

    def step() -> None:
        z = torch.randn(len(real), 512)
        gan.optimize_discriminator(z, real, depth, 1.0, None)
        gan.optimize_generator(z, real, depth, 1.0, None)

    return step


PEERS: dict[str, Callable[[Path, TrainConfig, int, Tensor], Step]] = {"rosinality": rosinality, "huangzh13": huangzh13}


def _with_widths(kind: Callable[..., Any], n_widths: int, change: Callable[[int], int]) -> Callable[..., Any]:
    """The class `kind` with its first `n_widths` arguments changed."""
    return lambda *values, **named: kind(*map(change, values[:n_widths]), *values[n_widths:], **named)


def _module(folder: Path, name: str) -> types.ModuleType:
    """A module of a peer's checkout; what it imports to read images is not needed here."""
    for reading in ("data", "torchvision", "torchvision.utils"):
        sys.modules.setdefault(reading, MagicMock())
    sys.path.insert(0, str(folder))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(folder))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--resolution", type=int, default=64, metavar="PX")
    parser.add_argument("--batch-size", type=int, default=16, metavar="IMAGES")
    parser.add_argument("--base-channels", type=int, default=1024, metavar="MAPS")
    parser.add_argument("--max-channels", type=int, default=64, metavar="MAPS")
    parser.add_argument("--rounds", type=int, default=9, metavar="N")
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=DIR", help="rosinality or huangzh13")
    parser.add_argument("--quick", action="store_true", help="three rounds without R1, within a minute")
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write the JSON object here")
    options = parser.parse_args()
    rounds = 3 if options.quick else options.rounds

    torch.set_num_threads(1)
    torch.manual_seed(0)
    widths = options.batch_size, options.base_channels, options.max_channels
    free, penalised = configuration(*widths, r1=False), configuration(*widths, r1=True)
    precision = choose_precision(free)
    px = options.resolution
    real = torch.rand(options.batch_size, 1, px, px) * 2 - 1
    sides = {"plain": plain(free, px, real), "ours": production_step(free, real, precision)}
    if not options.quick:
        sides["plain with R1"] = plain(penalised, px, real)
    if not options.quick or options.peer:
        sides["ours with R1"] = production_step(penalised, real, precision)
    peers = [each.partition("=") for each in options.peer]
    for name, _, folder in peers:
        sides[name] = PEERS[name](Path(folder).resolve(), penalised, px, real)
    seconds = in_turn(sides, rounds, warm_up=1)

    speed = {name: round(options.batch_size / statistics.median(times), 2) for name, times in seconds.items()}
    for name, images_per_s in speed.items():
        print(f"{name:13s} {images_per_s:7.2f} images per CPU second")
    ratio = Ratio(seconds["plain"], seconds["ours"])
    print(f"ratio         {ratio}, without R1 on both sides")
    result: dict[str, Any] = {"bench": "stylegan_step", "ratio": ratio.median, "ratio_quartiles": ratio.quartiles}
    if "plain with R1" in seconds:
        penalty = Ratio(seconds["plain with R1"], seconds["ours with R1"])
        result |= {"ratio_r1": penalty.median, "ratio_r1_quartiles": penalty.quartiles}
        print(f"ratio_r1      {penalty}, R1 in every step on both sides")
    if peers:
        pairs = zip(seconds["ours"], seconds["ours with R1"], strict=True)
        lazy = [without + (with_r1 - without) / _LAZY for without, with_r1 in pairs]
        own_sides = {"every": seconds["ours with R1"], "lazy": lazy}
        result["peers"] = {
            name: {r1: Ratio(seconds[name], own).median for r1, own in own_sides.items()} for name, _, _ in peers
        }
        print(f"peers         {result['peers']}")
    result |= {
        "rounds": rounds,
        "images_per_cpu_s": speed,
        "gflop_per_image": round(gflop_per_image(free, px), 3),
        "resolution": px,
        "batch_size": options.batch_size,
        "base_channels": options.base_channels,
        "max_channels": options.max_channels,
        "precision": precision,
    }
    last_line(result, options.out)


if __name__ == "__main__":
    main()
