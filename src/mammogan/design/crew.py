"""The parent of a study's worker processes: starts them, listens to them, replaces those that die."""

import logging
import multiprocessing
import sys
from dataclasses import dataclass, replace
from multiprocessing import connection
from multiprocessing.context import SpawnProcess
from typing import Any, TextIO

import optuna
from optuna.trial import FrozenTrial, TrialState
from tqdm import tqdm

from mammogan.design.sampler import ROW, SURPLUS, fail
from mammogan.design.worker import WORKER, News, Task, work
from mammogan.errors import DesignError

_log = logging.getLogger(__name__)


@dataclass
class _Worker:
    """A live worker process and how far it is in its row."""

    name: str
    process: SpawnProcess
    pipe: connection.Connection
    fraction: float = 0.0
    trouble: str = ""


class Crew:
    """The parent's side: starts workers, listens to them, replaces those that die.

    Each worker has a pipe of its own: a shared queue has a lock that a killed worker would keep for ever.
    """

    def __init__(self, task: Task, record: optuna.Study, workers: int, max_retries: int) -> None:
        self._task = task
        self._record = record
        self._size = workers
        self._max_retries = max_retries
        self._started = 0
        self._barren_deaths = 0
        self._crew: list[_Worker] = []
        self._complete = len(complete(record))

    def run(self) -> None:
        """Work until no row is open; on Ctrl-C, or any error, end the workers first."""
        with _progress(f"study {self._task.study}", self._complete, len(self._task.sampler.rows)) as bar:
            try:
                while n_open := len(self._task.sampler.open_rows(self._record)):
                    while len(self._crew) < min(self._size, n_open):
                        self._start()
                    while self._crew:
                        self._listen(bar)
                    for trial in running(self._record):  # died between trial and claim
                        fail(self._record._storage, trial, "its worker process died", killed=False)
            finally:
                self._end()

    def _start(self) -> None:
        self._started += 1
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe(duplex=False)
        task = replace(self._task, name=f"worker {self._started}")
        process = context.Process(target=work, args=(task, theirs), name=task.name)
        process.start()
        theirs.close()  # so that the pipe ends when the worker does
        self._crew.append(_Worker(task.name, process, ours))

    def _listen(self, bar: "tqdm[Any]") -> None:
        waiting = {worker.pipe: worker for worker in self._crew}
        for pipe in connection.wait(list(waiting), timeout=0.5):
            worker = waiting[pipe]  # type: ignore[index]
            try:
                self._hear(worker, worker.pipe.recv(), bar)
            except (EOFError, OSError):
                self._bury(worker, bar)
        done = self._complete + sum(worker.fraction for worker in self._crew)
        bar.update(done - bar.n)

    def _hear(self, worker: _Worker, news: News, bar: "tqdm[Any]") -> None:
        if news.row is None:
            worker.trouble = news.error
            self._say(bar, f"{worker.name} stopped: {news.error}\n{news.details}".rstrip())
            return
        worker.fraction = news.fraction
        if news.state == "complete":
            self._complete += 1
        if news.state == "failed":
            self._say(bar, f"row {news.row} failed: {news.error}\n{news.details}".rstrip())

    def _bury(self, worker: _Worker, bar: "tqdm[Any]") -> None:
        worker.process.join()
        worker.pipe.close()
        self._crew.remove(worker)
        code = worker.process.exitcode
        if code == 0:
            return
        cause = " (killed, often for lack of memory)" if code == -9 else ""
        error = worker.trouble or f"its worker process died with exit code {code}{cause}"
        lost = [trial for trial in running(self._record) if trial.system_attrs.get(WORKER) == worker.name]
        for trial in lost:
            fail(self._record._storage, trial, error, killed=False)
            self._say(bar, f"row {trial.system_attrs.get(ROW)} failed: {error}")
        if not lost:
            self._barren_deaths += 1
            if self._barren_deaths > self._max_retries:
                raise DesignError(f"a worker process could not take a row: {error}")
        if self._task.sampler.open_rows(self._record):
            self._start()

    def _say(self, bar: "tqdm[Any]", message: str) -> None:
        with bar.external_write_mode(file=sys.stderr):
            _log.warning("study %s, %s", self._task.study, message)

    def _end(self) -> None:
        for worker in self._crew:
            worker.process.terminate()
        for worker in self._crew:
            worker.process.join(timeout=5)
            worker.process.kill()
            worker.process.join()
            worker.pipe.close()
        self._crew.clear()


def trials_of(record: optuna.Study, *states: TrialState) -> list[FrozenTrial]:
    """The trials in these states, or all of them, from the storage, in the order of their numbers."""
    return record.get_trials(deepcopy=False, states=states or None)


def running(record: optuna.Study) -> list[FrozenTrial]:
    """The trials that the storage calls running."""
    return trials_of(record, TrialState.RUNNING)


def complete(record: optuna.Study) -> dict[int, FrozenTrial]:
    """The complete trial of each row that has one, in the order of the rows."""
    rows = {
        trial.system_attrs[ROW]: trial
        for trial in reversed(trials_of(record, TrialState.COMPLETE))  # the first one, should there be two
        if trial.system_attrs.get(ROW, SURPLUS) != SURPLUS
    }
    return dict(sorted(rows.items()))


class _Lines:
    """A stream that gives each update of a bar a line of its own, for logs."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        if line := text.strip():
            self._stream.write(f"{line}\n")

    def flush(self) -> None:
        self._stream.flush()


def _progress(title: str, done: int, total: int) -> "tqdm[Any]":
    is_terminal = sys.stderr.isatty()
    return tqdm(
        desc=title,
        initial=done,
        total=total,
        file=sys.stderr if is_terminal else _Lines(sys.stderr),
        mininterval=0.5 if is_terminal else 10,
        miniters=0,
        smoothing=0,
        bar_format="{desc}: {n:.1f}/{total} rows, {elapsed} gone, {remaining} left",
    )
