"""Objectives and entry points that worker processes can import."""

import errno
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend

from mammogan.design.arrays import ARRAYS
from mammogan.design.crossed import Cell
from mammogan.design.sampler import TaguchiSampler
from mammogan.design.worker import Report, Response

FACTORS = {"lr": [0.0001, 0.0002, 0.0003], "batch_size": [16, 32, 64], "epochs": [250, 500, 750]}


@dataclass(frozen=True)
class Recorded:
    """Notes each start and end of a row in a folder; fails, or dies, in the first so many attempts at a row."""

    folder: Path
    seconds: float = 0.0
    failures: Mapping[int, int] = field(default_factory=dict)
    deaths: Mapping[int, int] = field(default_factory=dict)

    def __call__(self, cell: Cell, report: Report) -> Response:
        attempt = len(list(self.folder.glob(f"{_run_of(cell)}-*.started")))
        self._note(cell, attempt, "started")
        try:
            return self._run(cell, attempt, report)
        finally:
            self._note(cell, attempt, "left")

    def _run(self, cell: Cell, attempt: int, report: Report) -> Response:
        for step in range(10):
            time.sleep(self.seconds / 10)
            report(step / 10)
        if attempt < self.deaths.get(cell.row, 0):
            os._exit(3)
        if attempt < self.failures.get(cell.row, 0):
            raise RuntimeError(f"no luck in row {cell.row}")
        self._note(cell, attempt, "done")
        return Response(float(10 * cell.row + cell.replicate - 1), {"pid": os.getpid()})

    def _note(self, cell: Cell, attempt: int, what: str) -> None:
        (self.folder / f"{_run_of(cell)}-{attempt}-{os.getpid()}.{what}").touch()


def _run_of(cell: Cell) -> str:
    return f"row-{cell.row}-{cell.replicate}"


def finds_the_disk_full(cell: Cell, report: Report) -> Response:
    raise OSError(errno.ENOSPC, "No space left on device", "checkpoints/000000064.pt")


def returns_infinity(cell: Cell, report: Report) -> Response:
    return Response(float("inf"))


def returns_a_column_of_the_study(cell: Cell, report: Report) -> Response:
    return Response(1.0, {"lr": 3})


def exits_quietly(cell: Cell, report: Report) -> Response:
    if cell.row == 1:
        sys.exit(0)
    return Response(1.0)


class CannotBeLoaded:
    """Pickles well and fails where it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return int, ("no number",)

    def __call__(self, cell: Cell, report: Report) -> Response:
        raise AssertionError


def run_slow_study(folder: str) -> None:
    """A study of about three seconds of work in two workers."""
    from mammogan.design.study import Where, study  # pandas: slow to import in each worker

    where = Where(f"sqlite:///{folder}/optuna.db", Path(folder) / "slow.lock", workers=2)
    study("slow", where, ARRAYS["l9"], FACTORS, Recorded(Path(folder), seconds=0.6), max_retries=0)


def open_storage(kind: str, folder: Path) -> BaseStorage:
    if kind == "sqlite":
        return RDBStorage(f"sqlite:///{folder}/optuna.db", engine_kwargs={"connect_args": {"timeout": 60}})
    return JournalStorage(JournalFileBackend(str(folder / "optuna.journal")))


def suggest_all(trial: optuna.Trial) -> float:
    trial.suggest_float("lr", 1e-5, 1e-2, log=True)
    trial.suggest_int("batch_size", 16, 64)
    return float(trial.suggest_categorical("epochs", FACTORS["epochs"]))


def optimize(kind: str, folder: Path, n_trials: int | None = None, failure_rate: float = 0.0) -> None:
    """One of several processes that share a study of which they know only the storage."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)

    def objective(trial: optuna.Trial) -> float:
        value = suggest_all(trial)
        if int.from_bytes(os.urandom(2), "big") / 65536 < failure_rate:
            raise RuntimeError("no luck")
        return value

    sampler = TaguchiSampler(ARRAYS["l9"], FACTORS, order="array", max_retries=1000)
    shared = optuna.load_study(study_name="shared", storage=open_storage(kind, folder), sampler=sampler)
    shared.optimize(objective, n_trials=n_trials, catch=(RuntimeError,))
