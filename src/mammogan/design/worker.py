"""A worker process of a study: runs rows until none is open, tells its parent how far it is, dies with it."""

import contextlib
import errno
import logging
import math
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any, Literal

import optuna
from optuna.storages import BaseStorage, RDBStorage

from mammogan.design.arrays import Row
from mammogan.design.sampler import TaguchiSampler, row_number
from mammogan.errors import DesignError, MammoganError

WORKER = "taguchi:worker"  # trial system attr: which worker of the command runs the trial

OWN_COLUMNS = ("row", "fid", "state", "retries", "error")

_REPORT_EVERY_S = 0.5
_SQLITE_BUSY_S = 60.0
_ENDED_BY_SIGTERM = 143  # as a shell would report it
_DISK_FULL = ("No space left on device", "database or disk is full")  # in the words of safetensors and of SQLite


@dataclass(frozen=True)
class Response:
    """What a row gives back: the value that is analysed, and JSON scalars to keep beside it."""

    value: float
    attrs: Mapping[str, Any] = field(default_factory=dict)


Report = Callable[[float], None]
Objective = Callable[[Row, Report], Response]


@dataclass(frozen=True)
class News:
    """What a worker tells its parent; `row` is None when the worker itself is in trouble."""

    row: int | None
    state: Literal["running", "complete", "failed"]
    fraction: float = 0.0
    error: str = ""
    details: str = ""


@dataclass(frozen=True)
class Task:
    """All that a worker needs. The objective travels pickled, so that loading it cannot kill the start-up."""

    name: str
    study: str
    storage: str
    sampler: TaguchiSampler
    objective: bytes


@contextlib.contextmanager
def connected(url: str) -> Iterator[BaseStorage]:
    """The Optuna storage at an SQLAlchemy URL, closed at the end.

    Raises:
        DesignError: it cannot be opened.
    """
    storage = _connect(url)
    try:
        yield storage
    finally:
        storage.remove_session()
        storage.engine.dispose()


def _connect(url: str) -> RDBStorage:
    wait = {"connect_args": {"timeout": _SQLITE_BUSY_S}} if url.startswith("sqlite") else {}
    for attempts_left in (
        2,
        1,
        0,
    ):  # processes that create the same fresh SQLite file may trip over each other
        try:
            return RDBStorage(url, engine_kwargs=wait)
        except Exception as err:
            if not attempts_left:
                raise DesignError(
                    f"the study storage {url} cannot be opened ({one_line(err)}); check the address"
                ) from err
            time.sleep(0.5)
    raise AssertionError("unreachable")


def work(task: Task, parent: Connection) -> None:
    """Run rows in this process until none is open. Entry point of the worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends its workers
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(_ENDED_BY_SIGTERM))  # so that open runs are closed on the way out
    threading.Thread(target=_die_with_parent, daemon=True).start()
    optuna.logging.set_verbosity(logging.ERROR)  # failures are told to the parent
    try:
        objective = pickle.loads(task.objective)
        with connected(task.storage) as storage:
            study = optuna.load_study(study_name=task.study, storage=storage, sampler=task.sampler)
            study.optimize(lambda trial: _run_row(task, objective, study, trial, parent), catch=(Exception,))
    except Exception as err:
        error, details = told(err)
        parent.send(News(None, "failed", error=error, details=details))
        raise SystemExit(1) from None


def _run_row(task: Task, objective: Objective, study: optuna.Study, trial: optuna.Trial, parent: Connection) -> float:
    study._storage.set_trial_system_attr(trial._trial_id, WORKER, task.name)
    for name, values in task.sampler.factors.items():
        trial.suggest_categorical(name, values)  # the first one prunes a trial that found no row
    row = task.sampler.rows[row_number(study, trial)]
    parent.send(News(row.number, "running"))
    try:
        response = objective(row, _reporter(row, parent))
        if not math.isfinite(response.value):
            raise DesignError(f"the response is {response.value}, not a finite number; look at the run's log")
        _check_names(response, task.sampler)
        for key, value in response.attrs.items():
            trial.set_user_attr(key, value)
    except Exception as err:
        error, details = told(err)
        parent.send(News(row.number, "failed", error=error, details=details))
        trial.set_user_attr("error", error)
        raise
    parent.send(News(row.number, "complete"))
    return float(response.value)


def _check_names(response: Response, sampler: TaguchiSampler) -> None:
    taken = sorted({*OWN_COLUMNS, *sampler.factors} & set(response.attrs))
    if taken:
        raise DesignError(f"the objective returns attrs called {', '.join(taken)}; these columns are the study's own")


def _reporter(row: Row, parent: Connection) -> Report:
    last = 0.0

    def report(fraction: float) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _REPORT_EVERY_S:
            last = now
            parent.send(News(row.number, "running", min(max(float(fraction), 0.0), 1.0)))

    return report


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)  # no clean-up: the next command fails this trial and gives its row out again


def told(err: BaseException) -> tuple[str, str]:
    """One line on an error that is being handled, and its traceback unless the user can mend the cause."""
    if isinstance(err, MammoganError):
        return one_line(err), ""
    if _is_full_disk(err):
        file = f" while writing {err.filename}" if isinstance(err, OSError) and err.filename else ""
        return f"no space left on the disk{file}; free some space and run the command again", ""
    return one_line(err), traceback.format_exc()


def _is_full_disk(err: BaseException) -> bool:
    return getattr(err, "errno", None) == errno.ENOSPC or any(words in str(err) for words in _DISK_FULL)


def one_line(err: BaseException) -> str:
    """Kind and message of an error on one line, short enough for an attribute."""
    lines = str(err).strip().splitlines()
    message = " ".join(line.strip() for line in lines)
    return f"{type(err).__name__}: {message}"[:500]
