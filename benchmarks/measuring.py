"""What the benchmarks of training share: the clock, the two sides in turn, the production step, the last line."""

import copy
import itertools
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

import mammogan
from mammogan.config import TrainConfig, load
from mammogan.training.ema import update_average
from mammogan.training.precision import Precision, memory_format
from mammogan.training.steps import Moment, new_networks, take_step

CPU = torch.device("cpu")
SETTINGS = Path(__file__).parent.parent / "settings"

Step = Callable[[], object]


def training_section(settings: str, **changes: Any) -> TrainConfig:
    """The train section of settings/<settings>.yaml on the CPU, with `changes`, checked again."""
    section = load(SETTINGS / f"{settings}.yaml").train
    return TrainConfig.model_validate({**section.model_dump(), "device": "cpu", **changes})


def production_step(config: TrainConfig, real: torch.Tensor, precision: Precision) -> Step:
    """One step as training.loop takes it, with instance noise and the running average of G."""
    nets = new_networks(config, real.shape[-1], CPU, precision)
    average = copy.deepcopy(nets.G).eval().requires_grad_(False)
    steps = itertools.count()

    def step() -> None:
        shown = real.contiguous(memory_format=memory_format(precision))
        number = next(steps)
        seen = take_step(nets, config, shown, None, Moment(number, number * len(real), config.instance_noise, 0.0))
        update_average(average, nets.G, 0.99)
        torch.stack(list(seen.values())).tolist()

    return step


def cpu_seconds(step: Step) -> float:
    """Seconds of this process on all its cores."""
    start = time.process_time()
    step()
    return time.process_time() - start


def in_turn(sides: Mapping[str, Step], rounds: int, warm_up: int = 2) -> dict[str, list[float]]:
    """CPU seconds of each side in each round, after `warm_up` rounds that do not count."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(-warm_up, rounds):
        for name, step in sides.items():
            taken = cpu_seconds(step)
            if number >= 0:
                seconds[name].append(taken)
        print(f"\rround {max(number + 1, 0)}/{rounds}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return seconds


class Ratio:
    """How many times as fast one side is as another: median and quartiles of the paired ratios."""

    def __init__(self, slow: Sequence[float], fast: Sequence[float]) -> None:
        ratios = [old / new for old, new in zip(slow, fast, strict=True)]
        low, median, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
        self.median, self.quartiles = round(median, 3), [round(low, 3), round(high, 3)]

    def __str__(self) -> str:
        return f"{self.median:.2f} (quartiles {self.quartiles[0]:.2f} to {self.quartiles[1]:.2f})"


def last_line(result: Mapping[str, Any], out: Path | None) -> None:
    """Print the result with the machine's facts as one line of JSON, and write it to `out`."""
    line = json.dumps(
        {
            **result,
            "threads": torch.get_num_threads(),
            "cpu": torch.backends.cpu.get_cpu_capability(),
            "torch": torch.__version__,
            "mammogan": mammogan.__version__,
        }
    )
    if out:
        out.write_text(line + "\n", encoding="utf-8", newline="\n")
    print(line)
