"""Images of 512 px from a generator as mammogan draws them for speed, against the same generator in plain float32.

The baseline is the trained module as it comes from training, in eval mode: float32, batch norm and all. Ours is
`mammogan.serving.sample.drawing` in bf16, where the self-test of training finds that bf16 pays; else nothing is gained,
and `precision` says so. Both in turn in one process on one thread, by CPU time. Widths are those of
settings/paper.yaml. StyleGAN's ratio is printed and kept too. The last line is one JSON object; `ratio` is that of
DCGAN, higher is better.
"""

import argparse
from pathlib import Path
from typing import Any

import torch

from mammogan.config import ModelName
from mammogan.models import build_generator
from mammogan.serving.sample import drawing
from mammogan.training.precision import choose_precision
from measuring import Ratio, in_turn, last_line, training_section

RESOLUTION = 512


def compare(model: ModelName, batch_size: int, rounds: int) -> dict[str, Any]:
    config = training_section("paper", model=model)
    precision = choose_precision(config)
    torch.manual_seed(0)
    G = build_generator(config.architecture, RESOLUTION).eval()
    fast = drawing(G, "bf16" if precision == "bf16" else "fp32")
    z = torch.randn(batch_size, G.z_dim)
    with torch.inference_mode():
        seconds = in_turn({"fp32": lambda: G(z), "ours": lambda: fast(z)}, rounds, warm_up=1)
    ratio = Ratio(seconds["fp32"], seconds["ours"])
    per_second = {name: round(batch_size / sorted(times)[len(times) // 2], 2) for name, times in seconds.items()}
    print(f"{model:9s} {RESOLUTION} px, batch {batch_size}, {precision}: {ratio}; images per CPU second {per_second}")
    return {
        "ratio": ratio.median,
        "ratio_quartiles": ratio.quartiles,
        "images_per_cpu_s": per_second,
        "batch_size": batch_size,
        "precision": precision,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=15, metavar="N")
    parser.add_argument("--quick", action="store_true", help="four rounds, within a minute")
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write the JSON object here")
    options = parser.parse_args()
    rounds = 4 if options.quick else options.rounds
    torch.set_num_threads(1)
    dcgan = compare("dcgan", 16, rounds)
    stylegan = compare("stylegan", 4 if options.quick else 16, rounds)
    result = {
        "bench": "sampling",
        "ratio": dcgan["ratio"],
        "ratio_stylegan": stylegan["ratio"],
        "resolution": RESOLUTION,
    }
    last_line({**result, "rounds": rounds, "dcgan": dcgan, "stylegan": stylegan}, options.out)


if __name__ == "__main__":
    main()
