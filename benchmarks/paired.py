"""Two or more sides timed in turn in one process, so that other work on the machine disturbs all alike."""

import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

import mammogan

Side = Callable[[], object]


def cpu_seconds(side: Side) -> float:
    """Process CPU time of one call."""
    start = time.process_time()
    side()
    return time.process_time() - start


def in_turn(sides: Mapping[str, Side], rounds: int, warm_up: int = 2) -> dict[str, list[float]]:
    """CPU seconds of each side in each round, after `warm_up` calls that are not counted."""
    for side in sides.values():
        for _ in range(warm_up):
            side()
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(1, rounds + 1):
        for name, side in sides.items():
            seconds[name].append(cpu_seconds(side))
        print(f"\rround {number}/{rounds}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return seconds


def median_ratio(slow: Sequence[float], fast: Sequence[float]) -> tuple[float, list[float]]:
    """Median and quartiles of the ratios of the rounds."""
    ratios = [old / new for old, new in zip(slow, fast, strict=True)]
    quartiles = statistics.quantiles(ratios, n=4)
    return round(statistics.median(ratios), 3), [round(quartiles[0], 3), round(quartiles[2], 3)]


def images_per_cpu_s(seconds: Mapping[str, Sequence[float]], batch_size: int) -> dict[str, float]:
    """Speed of each side by its median round."""
    return {name: round(batch_size / statistics.median(times), 2) for name, times in seconds.items()}


def machine() -> dict[str, Any]:
    """What a result depends on."""
    return {
        "threads": torch.get_num_threads(),
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
        "mammogan": mammogan.__version__,
    }


def finish(result: Mapping[str, Any], out: Path | None) -> None:
    """Print the result as the last line, and write it to `out`."""
    line = json.dumps({**result, **machine()})
    if out:
        out.write_text(line + "\n", encoding="utf-8", newline="\n")
    print(line)
