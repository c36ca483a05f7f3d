"""A designed study that survives crashes: worker processes run the rows, and the same command goes on."""

import contextlib
import logging
import pickle
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
from filelock import FileLock, Timeout
from optuna.storages import BaseStorage
from optuna.trial import TrialState

from mammogan.design.arrays import Array, Row
from mammogan.design.crew import Crew, complete, running, trials_of
from mammogan.design.sampler import KILLED, ROW, TaguchiSampler, fail
from mammogan.design.worker import Objective, Report, Response, Task, connected, one_line
from mammogan.errors import DesignError

__all__ = ["Objective", "Report", "Response", "Row", "study"]

_log = logging.getLogger(__name__)


def study(
    name: str,
    storage: str,
    array: Array,
    factors: Mapping[str, Sequence[Any]],
    objective: Objective,
    *,
    workers: int,
    max_retries: int,
    lock: Path,
) -> pd.DataFrame:
    """Run every row of the array once, in `workers` processes; called again, go on where it stood.

    A row that fails goes out again, at most `max_retries` times in one call; a new call gives it a fresh
    budget. A row whose call was killed goes out again without counting; a worker that dies by itself counts
    for its row (docs/adr/0003-a-failed-row-goes-out-again.md). `storage` is an SQLAlchemy URL. `objective` is
    picklable, gets the row and `report(fraction in [0, 1])`, and returns the response or raises. A second
    call for the same study waits on the file `lock`.

    Returns:
        One line a row, by row number: row, the factors, fid (the response), state, retries (failed
        attempts before this one, those that were killed left out), then the response's attrs.

    Raises:
        DesignError: the factors do not fit, the objective cannot be sent to a process, the storage cannot
            be opened or holds another design, workers die before they take a row, or rows failed for good.
    """
    rows = TaguchiSampler(array, factors).rows
    pickled = _pickled(objective)
    with _quiet_optuna(), _alone(lock, name), connected(storage) as opened:
        record = _open_study(name, opened, TaguchiSampler(array, factors))
        first_trial = len(trials_of(record))
        sampler = TaguchiSampler(array, factors, max_retries, forgive_before=first_trial)
        if sampler.open_rows(record):
            Crew(Task("", name, storage, sampler, pickled), record, workers, max_retries).run()
        _insist_on_every_row(record, rows, first_trial)
        return _frame(record, rows)


def _pickled(objective: Objective) -> bytes:
    try:
        return pickle.dumps(objective)
    except Exception as err:
        raise DesignError(
            f"the objective cannot be sent to a worker process ({one_line(err)}); "
            f"define it, and what it holds, at the top of a module"
        ) from err


@contextlib.contextmanager
def _quiet_optuna() -> Iterator[None]:
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


@contextlib.contextmanager
def _alone(path: Path, name: str) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        _log.warning("study %s is being run by another command; waiting for it to end", name)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _open_study(name: str, storage: BaseStorage, sampler: TaguchiSampler) -> optuna.Study:
    """The study, checked to hold our rows; trials still running have lost their process: we hold the lock."""
    record = optuna.create_study(
        study_name=name, storage=storage, sampler=sampler, direction="minimize", load_if_exists=True
    )
    sampler.check_design(record)
    for trial in running(record):
        fail(storage, trial, "the command was stopped", killed=True)
    return record


def _insist_on_every_row(record: optuna.Study, rows: Mapping[int, Row], first_trial: int) -> None:
    missing = rows.keys() - complete(record).keys()
    if not missing:
        return
    lines = []
    for number in sorted(missing):
        levels = ", ".join(f"{factor} {value}" for factor, value in rows[number].levels.items())
        failed = [
            trial
            for trial in trials_of(record, TrialState.FAIL, TrialState.PRUNED)
            if trial.system_attrs.get(ROW) == number and trial.number >= first_trial
        ]
        reason = failed[-1].user_attrs.get("error", "no error was stored") if failed else "it was not tried"
        lines.append(f"  row {number} ({levels}), tried {len(failed)} times: {reason}")
    raise DesignError(
        "\n".join(
            [
                f"study {record.study_name}: rows {sorted(missing)} have no response:",
                *lines,
                "mend the cause and run the command again: it tries these rows afresh and keeps the others",
            ]
        )
    )


def _frame(record: optuna.Study, rows: Mapping[int, Row]) -> pd.DataFrame:
    failed = [t for t in trials_of(record, TrialState.FAIL, TrialState.PRUNED) if KILLED not in t.system_attrs]
    return pd.DataFrame(
        {
            "row": number,
            **rows[number].levels,
            "fid": trial.value,
            "state": trial.state.name,
            "retries": sum(t.system_attrs.get(ROW) == number and t.number < trial.number for t in failed),
            **trial.user_attrs,
        }
        for number, trial in complete(record).items()
    )
