"""One DCGAN training step of mammogan against the textbook's: same networks, same batch, one core.

The textbook step is that of the PyTorch DCGAN tutorial: float32, sigmoid and BCE, gradients of D computed and thrown
away in the update of G. Ours is the code of the training loop, with instance noise and the running average of G, which
the textbook does without. Both run in turn in one process on one thread; the clock is CPU time, so that other work on
the machine disturbs little. The last line is one JSON object; `ratio` is ours over the textbook's, higher is better.
"""

import argparse
import copy
import itertools
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

import mammogan
from mammogan.config import TrainConfig, load
from mammogan.training.cost import gflop_per_image
from mammogan.training.ema import update_average
from mammogan.training.precision import Precision, choose_precision, memory_format
from mammogan.training.steps import Moment, new_networks, take_step

CPU = torch.device("cpu")


def configuration(batch_size: int, base_channels: int) -> TrainConfig:
    demo = load(Path(__file__).parent.parent / "settings" / "demo.yaml").train
    widths = {"z_dim": 100, "base_channels": base_channels, "max_channels": 8 * base_channels}
    return demo.model_copy(
        update={
            "model": "dcgan",
            "lr": 0.0002,
            "batch_size": batch_size,
            "device": "cpu",
            "dcgan": demo.dcgan.model_copy(update=widths),
        }
    )


def textbook(config: TrainConfig, resolution: int, real: torch.Tensor) -> Callable[[], None]:
    """The step of pytorch/examples dcgan/main.py."""
    nets = new_networks(config, resolution, CPU, "fp32")
    G, D = nets.G, nn.Sequential(nets.D, nn.Sigmoid())
    adam_d = torch.optim.Adam(D.parameters(), lr=config.lr, betas=(0.5, 0.999))
    adam_g = torch.optim.Adam(G.parameters(), lr=config.lr, betas=(0.5, 0.999))
    criterion = nn.BCELoss()
    ones, zeros = torch.ones(len(real)), torch.zeros(len(real))

    def step() -> None:
        D.zero_grad()
        loss_real = criterion(D(real), ones)
        loss_real.backward()
        fake = G(torch.randn(len(real), G.z_dim))
        loss_fake = criterion(D(fake.detach()), zeros)
        loss_fake.backward()
        adam_d.step()
        G.zero_grad()
        loss_g = criterion(D(fake), ones)
        loss_g.backward()
        adam_g.step()
        _ = (loss_real + loss_fake).item(), loss_g.item()

    return step


def ours(config: TrainConfig, resolution: int, real: torch.Tensor, precision: Precision) -> Callable[[], None]:
    """The step of mammogan.training.loop."""
    nets = new_networks(config, resolution, CPU, precision)
    average = copy.deepcopy(nets.G).eval().requires_grad_(False)
    steps = itertools.count()

    def step() -> None:
        shown = real.contiguous(memory_format=memory_format(precision))
        number = next(steps)
        seen = take_step(nets, config, shown, None, Moment(number, number * len(real), config.instance_noise, 0.0))
        update_average(average, nets.G, 0.99)
        torch.stack(list(seen.values())).tolist()

    return step


def cpu_seconds(step: Callable[[], None]) -> float:
    start = time.process_time()
    step()
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--resolution", type=int, default=64, metavar="PX")
    parser.add_argument("--batch-size", type=int, default=32, metavar="IMAGES")
    parser.add_argument("--base-channels", type=int, default=64, metavar="MAPS")
    parser.add_argument("--rounds", type=int, default=25, metavar="N")
    parser.add_argument("--quick", action="store_true", help="five rounds, within a minute")
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write the JSON object here")
    options = parser.parse_args()
    rounds = 5 if options.quick else options.rounds

    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = configuration(options.batch_size, options.base_channels)
    precision = choose_precision(config)
    real = torch.rand(options.batch_size, 1, options.resolution, options.resolution) * 2 - 1
    sides = {
        "textbook": textbook(config, options.resolution, real),
        "ours": ours(config, options.resolution, real, precision),
    }
    for step in sides.values():
        step()
        step()
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(1, rounds + 1):
        for name, step in sides.items():
            seconds[name].append(cpu_seconds(step))
        print(f"\rround {number}/{rounds}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)

    ratios = [old / new for old, new in zip(seconds["textbook"], seconds["ours"], strict=True)]
    quartiles = statistics.quantiles(ratios, n=4)
    speed = {name: options.batch_size / statistics.median(times) for name, times in seconds.items()}
    for name, images_per_s in speed.items():
        print(f"{name:9s} {images_per_s:7.1f} images per CPU second")
    print(f"ratio     {statistics.median(ratios):7.2f} (quartiles {quartiles[0]:.2f} to {quartiles[2]:.2f})")
    result = {
        "bench": "dcgan_step",
        "ratio": round(statistics.median(ratios), 3),
        "ratio_quartiles": [round(quartiles[0], 3), round(quartiles[2], 3)],
        "rounds": rounds,
        "images_per_cpu_s": {name: round(value, 1) for name, value in speed.items()},
        "gflop_per_image": round(gflop_per_image(config, options.resolution), 3),
        "resolution": options.resolution,
        "batch_size": options.batch_size,
        "base_channels": options.base_channels,
        "precision": precision,
        "threads": 1,
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
        "mammogan": mammogan.__version__,
    }
    line = json.dumps(result)
    if options.out:
        options.out.write_text(line + "\n", encoding="utf-8", newline="\n")
    print(line)


if __name__ == "__main__":
    main()
