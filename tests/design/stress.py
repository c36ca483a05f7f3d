"""Eight processes share a study while runs fail and processes are killed: each run is to be complete exactly once.

python tests/design/stress.py sqlite|journal|postgresql [--times 10]
"""

import argparse
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from itertools import product
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState
from servers import postgres

from mammogan.design.arrays import Array
from mammogan.design.claims import SURPLUS, place
from mammogan.design.crossed import Place
from mammogan.design.sampler import TaguchiSampler
from mammogan.design.storage import opened, quiet_optuna
from mammogan.design.together import optimize

FACTORS = {name: [1, 2, 3] for name in "abc"}
REPLICATES = 3
TABLE = Array("27 rows", tuple(product(range(3), repeat=3)), "all combinations")


def sampler() -> TaguchiSampler:
    return TaguchiSampler(TABLE, FACTORS, REPLICATES, seed=1, max_retries=1000)


def worker(address: str, failure_rate: float, heartbeat_s: int | None) -> None:
    """One of the processes."""

    def objective(trial: optuna.Trial) -> float:
        value = sum(trial.suggest_int(name, 1, 3) for name in FACTORS)
        time.sleep(0.02)
        if random.random() < failure_rate:
            raise RuntimeError("no luck")
        return float(value)

    with quiet_optuna(), opened(address, heartbeat_s) as storage:
        study = optuna.load_study(study_name="shared", storage=storage, sampler=sampler())
        optimize(study, objective)


def stress(
    address: str, *, processes: int = 8, failure_rate: float = 0.2, kills: int = 10, heartbeat_s: int | None = 5
) -> tuple[Counter[Place], Counter[str]]:
    """How often each run is complete, and how many trials there are by state; killed processes are replaced."""
    with quiet_optuna(), opened(address, heartbeat_s) as storage:
        study = optuna.create_study(study_name="shared", storage=storage, sampler=sampler())
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["stress"])

        def start() -> Any:
            process = context.Process(target=worker, args=(address, failure_rate, heartbeat_s))
            process.start()
            return process

        crew = [start() for _ in range(processes)]
        killed = 0
        while any(process.is_alive() for process in crew):
            done = sum(trial.state == TrialState.COMPLETE for trial in study.get_trials(deepcopy=False))
            # A kill for every few complete runs, so that all fall into the study and not after it.
            if killed < kills and done >= (killed + 1) * 6:
                victim = random.choice([number for number, process in enumerate(crew) if process.is_alive()])
                os.kill(crew[victim].pid, signal.SIGKILL)
                crew[victim].join()
                crew[victim] = start()
                killed += 1
            time.sleep(0.05)
        assert all(process.exitcode == 0 for process in crew), [process.exitcode for process in crew]
        assert killed == kills, f"{killed} of {kills} processes were killed"
        trials = study.get_trials(deepcopy=False)
    complete = Counter(place(trial) for trial in trials if trial.state == TrialState.COMPLETE)
    assert SURPLUS not in complete
    return complete, Counter(trial.state.name for trial in trials)


def expected() -> dict[Place, int]:
    return {(row, replicate): 1 for row in range(1, 28) for replicate in range(1, REPLICATES + 1)}


def _times(kind: str, number: int, server: Any) -> None:
    for attempt in range(1, number + 1):
        with tempfile.TemporaryDirectory() as folder:
            address = {
                "sqlite": f"sqlite:///{folder}/optuna.db",
                "journal": f"{folder}/optuna.journal",
                "postgresql": server.url(f"stress_{attempt}") if server else "",
            }[kind]
            began = time.monotonic()
            # A journal has no heartbeats, so nobody is killed there.
            options: dict[str, Any] = {"kills": 0, "heartbeat_s": None} if kind == "journal" else {}
            complete, states = stress(address, **options)
        right = complete == expected()
        print(
            f"{kind} {attempt}: {len(complete)} of 81 runs complete, most often {max(complete.values())} times, "
            f"trials {dict(states)}, {time.monotonic() - began:.0f} s: {'exactly once' if right else 'WRONG'}",
            flush=True,
        )
        if not right:
            sys.exit(1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=["sqlite", "journal", "postgresql"])
    parser.add_argument("--times", type=int, default=10)
    asked = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).parent))
    if asked.kind == "postgresql":
        with postgres() as running:
            _times(asked.kind, asked.times, running)
    else:
        _times(asked.kind, asked.times, None)
