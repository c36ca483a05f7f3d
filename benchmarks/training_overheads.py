"""What a training run spends besides its steps, and the memory of the largest steps.

Data: rows of the memory map to a float batch, against the step that takes it. Checkpoint: writing the whole state of a
run, as the loop does once a minute, against a step. Tracking: a run in a local MLflow store from opening to closing
with its fifty lines of metrics, against a short run of 2,000 steps. Memory: the peak of a process of its own that takes
two steps at 512 px at the widths of settings/paper.yaml, and what it held before them, both with torch itself. Shares
are of CPU time on one thread, medians; that of the checkpoint is given in wall time too. The last line is one JSON
object; `ratio` is the allowed share of data, 2 %, over the largest one found, higher is better.
"""

import argparse
import copy
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mammogan.config import ModelName, TrainConfig
from mammogan.data.tiles import to_model
from mammogan.training import checkpoint
from mammogan.training.cost import gflop_per_image
from mammogan.training.ema import update_average
from mammogan.training.loop import batch_rows
from mammogan.training.precision import choose_precision, memory_format
from mammogan.training.steps import Moment, Networks, new_networks, take_step
from measuring import CPU, cpu_seconds, last_line, training_section

_CASES: list[tuple[ModelName, int, int, int]] = [("dcgan", 64, 32, 9), ("dcgan", 512, 4, 3), ("stylegan", 64, 16, 5)]
_N_IMAGES = 256
_LINES, _STEPS = 50, 2000  # of metrics in a run, whatever its length; of a short run
_ALLOWED = 0.02


def configuration(model: ModelName, batch_size: int) -> TrainConfig:
    """Widths of settings/paper.yaml, with instance noise."""
    return training_section("paper", model=model, batch_size=batch_size, instance_noise=0.1)


def stepper(nets: Networks, config: TrainConfig, average: torch.nn.Module) -> Callable[[torch.Tensor], None]:
    def step(real: torch.Tensor) -> None:
        shown = real.contiguous(memory_format=memory_format(nets.precision))
        seen = take_step(nets, config, shown, None, Moment(1, config.batch_size, config.instance_noise, 0.0))
        update_average(average, nets.G, 0.99)
        torch.stack(list(seen.values())).tolist()

    return step


def shares(model: ModelName, px: int, batch_size: int, rounds: int, folder: Path) -> dict[str, Any]:
    """CPU seconds of a batch, a step and a checkpoint; a step without penalties, the shortest."""
    config = configuration(model, batch_size)
    nets = new_networks(config, px, CPU, choose_precision(config))
    average = copy.deepcopy(nets.G).eval().requires_grad_(False)
    step = stepper(nets, config, average)
    folder.mkdir()
    array = folder / f"{px}.npy"
    np.save(array, np.random.default_rng(0).integers(0, 256, (_N_IMAGES, px, px), np.uint8))
    images = np.load(array, mmap_mode="r")

    def batch(number: int) -> torch.Tensor:
        return to_model(torch.from_numpy(images[batch_rows(config, number, _N_IMAGES)])[:, None])

    step(batch(0))
    loading, stepping, step_wall = [], [], []
    for number in range(1, rounds + 1):
        loading.append(cpu_seconds(lambda number=number: batch(number)))  # type: ignore[misc]
        real, start = batch(number), time.perf_counter()
        stepping.append(cpu_seconds(lambda real=real: step(real)))  # type: ignore[misc]
        step_wall.append(time.perf_counter() - start)
    parts: dict[str, torch.nn.Module | torch.optim.Optimizer]
    parts = {"G": nets.G, "D": nets.D, "G_ema": average, "adam_g": nets.adam_g, "adam_d": nets.adam_d}
    state = {name: each.state_dict() for name, each in parts.items()}
    saving, save_wall = [], []
    for number in range(3):
        start = time.perf_counter()
        saving.append(cpu_seconds(lambda number=number: checkpoint.save(folder / model, number, state, "")))  # type: ignore[misc]
        save_wall.append(time.perf_counter() - start)
    size = max(path.stat().st_size for path in (folder / model).iterdir()) / 2**20
    step_s = statistics.median(stepping)
    return {
        "model": model,
        "px": px,
        "batch_size": batch_size,
        "step_s": round(step_s, 3),
        "data_share": round(statistics.median(loading) / step_s, 5),
        "checkpoint_mib": round(size),
        "checkpoint_s": round(statistics.median(saving), 3),
        "checkpoint_in_steps": round(statistics.median(saving) / step_s, 2),
        "checkpoint_in_steps_wall": round(statistics.median(save_wall) / statistics.median(step_wall), 2),
    }


def tracking_s(folder: Path) -> float:
    """CPU seconds of a run in MLflow: opened, its lines of metrics, its last figures, closed."""
    import mlflow

    from mammogan.tracking.runs import TrialRun

    mlflow.set_tracking_uri(f"sqlite:///{(folder / 'mlflow.db').as_posix()}")
    experiment = mlflow.create_experiment("overheads", artifact_location=(folder / "artifacts").as_uri())
    names = ("loss/G", "loss/D", "logits/real", "logits/fake", "signs/real", "images_per_s")

    def tracked() -> None:
        with TrialRun(experiment, "run", kind="train", model_name="dcgan", git_commit="") as run:
            for line in range(1, _LINES + 1):
                run.log(dict.fromkeys(names, 0.5), line * 1000)
                run.flush()  # a line takes longer than the buffer waits
            run.final({"elapsed_s": 1.0})

    tracked()
    return statistics.median(cpu_seconds(tracked) for _ in range(3))


def peak_memory(model: ModelName, px: int) -> dict[str, float]:
    """Of this process, so it is to do nothing else; MiB."""
    config = configuration(model, 4)
    nets = new_networks(config, px, CPU, choose_precision(config))
    step = stepper(nets, config, copy.deepcopy(nets.G).eval().requires_grad_(False))
    before = _resident_mib()
    for _ in range(2):
        step(torch.rand(4, 1, px, px) * 2 - 1)
    return {"peak_mib": _resident_mib(), "before_mib": before, "gflop_per_image": round(gflop_per_image(config, px), 1)}


def _resident_mib() -> float:
    # Not ru_maxrss, in which a process starts with the peak of the one that started it.
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return round(int(line.split()[1]) / 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="64 px alone and no memory, within a minute")
    parser.add_argument("--memory", choices=["dcgan", "stylegan"], help=argparse.SUPPRESS)  # the process of its own
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write the JSON object here")
    options = parser.parse_args()

    torch.set_num_threads(1)
    torch.manual_seed(0)
    if options.memory:
        print(json.dumps(peak_memory(options.memory, 512)))
        return
    result: dict[str, Any] = {"bench": "training_overheads"}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cases = [case for case in _CASES if case[1] == 64 or not options.quick]
        found = []
        for model, px, batch_size, rounds in cases:
            found.append(shares(model, px, batch_size, rounds, folder / f"{model}-{px}"))
            print(found[-1])
        tracking = tracking_s(folder)
    largest = max(case["data_share"] for case in found)
    result |= {"ratio": round(_ALLOWED / largest, 2), "cases": found, "tracking_s": round(tracking, 2)}
    result["tracking_share"] = round(tracking / (_STEPS * min(case["step_s"] for case in found)), 5)
    print(f"data at most {largest:.2%} of a step, tracking {result['tracking_share']:.2%} of {_STEPS} steps")
    if not options.quick:
        result["memory_512"] = {}
        for model in ("dcgan", "stylegan"):
            answer = subprocess.run(
                [sys.executable, __file__, "--memory", model], capture_output=True, check=True, text=True
            )
            result["memory_512"][model] = json.loads(answer.stdout.splitlines()[-1])
            print(f"{model} at 512 px, batch 4: {result['memory_512'][model]}")
    last_line(result, options.out)


if __name__ == "__main__":
    main()
