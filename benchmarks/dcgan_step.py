"""One DCGAN training step of mammogan against the textbook's: same networks, same batch, one core.

The textbook step is that of the PyTorch DCGAN tutorial: float32, sigmoid and BCE, gradients of D computed and thrown
away in the update of G. Ours is the code of the training loop, with instance noise and the running average of G, which
the textbook does without. Both run in turn in one process on one thread, at 64, 128 and 512 px; the clock is CPU time,
so that other work on the machine disturbs little. The last line is one JSON object; `ratio` is ours over the textbook's
at 64 px, `ratios` those at all sizes, higher is better.

`--peer DIR` adds a checkout of pytorch/examples: its dcgan/main.py on a folder of 384 PNGs of 64 px against our
training loop on the same images, whole processes by CPU time, the difference between three epochs and one
(dcgan_peer.py).
"""

import argparse
import statistics
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dcgan_peer import against
from mammogan.config import TrainConfig
from mammogan.training.cost import gflop_per_image
from mammogan.training.precision import choose_precision
from mammogan.training.steps import new_networks
from measuring import CPU, Ratio, Step, in_turn, last_line, production_step, training_section

SIZES = {64: (32, 15), 128: (32, 7), 512: (8, 5)}  # px: images in a batch, rounds
QUICK_ROUNDS = {64: 5, 128: 2, 512: 1}


def configuration(batch_size: int) -> TrainConfig:
    """The widths of the tutorial, whose 64 px network is the paper's."""
    dcgan = training_section("demo").dcgan.model_copy(update={"z_dim": 100, "base_channels": 64, "max_channels": 512})
    return training_section("demo", model="dcgan", lr=0.0002, batch_size=batch_size, dcgan=dcgan.model_dump())


def textbook(config: TrainConfig, real: torch.Tensor) -> Step:
    """The step of pytorch/examples dcgan/main.py."""
    nets = new_networks(config, real.shape[-1], CPU, "fp32")
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


def compare(resolution: int, rounds: int) -> dict[str, Any]:
    batch_size = SIZES[resolution][0]
    config = configuration(batch_size)
    precision = choose_precision(config)
    torch.manual_seed(0)
    real = torch.rand(batch_size, 1, resolution, resolution) * 2 - 1
    sides = {"textbook": textbook(config, real), "ours": production_step(config, real, precision)}
    seconds = in_turn(sides, rounds, warm_up=2 if resolution == 64 else 1)
    ratio = Ratio(seconds["textbook"], seconds["ours"])
    per_second = {name: round(batch_size / statistics.median(times), 2) for name, times in seconds.items()}
    print(f"{resolution:3d} px, batch {batch_size}, {precision}: {ratio}; images per CPU second {per_second}")
    return {
        "resolution": resolution,
        "batch_size": batch_size,
        "ratio": ratio.median,
        "ratio_quartiles": ratio.quartiles,
        "rounds": rounds,
        "images_per_cpu_s": per_second,
        "gflop_per_image": round(gflop_per_image(config, resolution), 3),
        "precision": precision,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--resolution", type=int, choices=SIZES, metavar="PX", help="64, 128 or 512 alone")
    parser.add_argument("--peer", type=Path, metavar="DIR", help="a checkout of pytorch/examples")
    parser.add_argument("--quick", action="store_true", help="few rounds, within a minute without a peer")
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write the JSON object here")
    options = parser.parse_args()
    torch.set_num_threads(1)
    sizes = [options.resolution] if options.resolution else [*SIZES]
    found = [compare(size, QUICK_ROUNDS[size] if options.quick else SIZES[size][1]) for size in sizes]
    result: dict[str, Any] = {"bench": "dcgan_step", "ratio": found[0]["ratio"]}
    result["ratios"] = {str(each["resolution"]): each["ratio"] for each in found}
    if options.peer:
        peer = against(options.peer, configuration(32), pairs=1 if options.quick else 3)
        result |= {"ratio_peer": peer["ratio"], "peer": peer}
    last_line({**result, "sizes": found, "base_channels": 64}, options.out)


if __name__ == "__main__":
    main()
