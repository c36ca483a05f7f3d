"""What a trial costs with TaguchiSampler against Optuna's RandomSampler: a zero-cost objective on SQLite.

Both sides run the same number of trials of the same parameters, each in a fresh database on the same disk, in turn.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path
from statistics import median, quantiles

import optuna

import mammogan
from mammogan.design.arrays import Array
from mammogan.design.sampler import TaguchiSampler

FACTORS = {name: [1, 2, 3] for name in "abcd"}
TABLE = Array("81 rows", tuple(product(range(3), repeat=4)), "all combinations")


def seconds(sampler: optuna.samplers.BaseSampler, n_trials: int) -> float:
    """Wall seconds of `n_trials` trials, the creation of the database left out."""
    with tempfile.TemporaryDirectory() as folder:
        study = optuna.create_study(storage=f"sqlite:///{folder}/optuna.db", sampler=sampler)
        began = time.perf_counter()
        study.optimize(objective, n_trials=n_trials)
        taken = time.perf_counter() - began
        assert len(study.get_trials(deepcopy=False)) == n_trials
        return taken


def objective(trial: optuna.Trial) -> float:
    """Four parameters, no work."""
    return float(sum(trial.suggest_int(name, 1, 3) for name in FACTORS))


def main() -> None:
    """Time both sides in turn and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    replicates, rounds = (1, 3) if asked.quick else (4, 7)
    n_trials = TABLE.n_rows * replicates
    sides: dict[str, Callable[[int], optuna.samplers.BaseSampler]] = {
        "random": lambda seed: optuna.samplers.RandomSampler(seed=seed),
        "taguchi": lambda seed: TaguchiSampler(TABLE, FACTORS, replicates, seed),
    }
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds):
        for name in sides if number % 2 else reversed(sides):
            taken[name].append(seconds(sides[name](number), n_trials))
    ratios = [random / ours for random, ours in zip(taken["random"], taken["taguchi"], strict=True)]
    low, _, high = quantiles(ratios, n=4)
    line = json.dumps(
        {
            "bench": "sampler",
            "ratio": round(median(ratios), 3),
            "quartiles": [round(low, 3), round(high, 3)],
            "trials": n_trials,
            "rounds": rounds,
            "ms_per_trial": {name: round(1000 * median(all_) / n_trials, 2) for name, all_ in taken.items()},
            "cores": os.cpu_count(),
            "optuna": optuna.__version__,
            "mammogan": mammogan.__version__,
        }
    )
    if asked.out:
        asked.out.write_text(line + "\n", encoding="utf-8", newline="\n")
    print(line)


if __name__ == "__main__":
    main()
