"""The one process of a command that speaks to the storage: asks for trials, hands them out, tells what came of them."""

import contextlib
import logging
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, TextIO, TypeVar

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages._heartbeat import BaseHeartbeat, is_heartbeat_enabled
from optuna.trial import TrialState
from tqdm import tqdm

from mammogan.design.claims import all_trials, fail
from mammogan.design.crossed import Cell
from mammogan.design.storage import patiently
from mammogan.design.worker import News
from mammogan.errors import DesignError

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

_LISTEN_S = 0.5
_LOOK_EVERY_S = 2.0  # for runs that other commands give up


class Engine(Protocol):
    """What runs trials: processes here (`crew`), or a cluster (`cluster`)."""

    def start(self, trial: int, cell: Cell) -> str:
        """Run `cell` as that trial; returns the name of who runs it."""

    def wait(self, timeout_s: float) -> list[tuple[int, News]]:
        """What has been told within that time, each with its trial."""

    def end(self) -> None:
        """Stop everything."""


@dataclass(frozen=True)
class Agenda:
    """What a driver needs to know of the study's plan.

    cell: what to run as a trial that was asked for, or None where nothing is left and the trial was ended. n_open: runs
    that could start now. n_unfinished: those and the ones that run anywhere. n_complete: those that are done. total:
    all. alone: no other command works on the study.
    """

    cell: Callable[[optuna.Trial], Cell | None]
    n_open: Callable[[], int]
    n_unfinished: Callable[[], int]
    n_complete: Callable[[], int]
    total: int
    alone: bool


@dataclass
class _Flight:
    trial: optuna.Trial
    cell: Cell
    fraction: float = 0.0


class Driver:
    """Keeps `workers` trials in the air until none is left, here or with other commands on the same storage.

    While the storage cannot be reached, what runs goes on and is told later.
    """

    def __init__(self, study: optuna.Study, address: str, agenda: Agenda, engine: Engine, workers: int) -> None:
        self._study = study
        self._address = address
        self._agenda = agenda
        self._engine = engine
        self._workers = workers
        self._flights: dict[int, _Flight] = {}
        self._looked_at = self._beat_at = -_LOOK_EVERY_S
        self._told_of_others = False
        self._done = 0

    def run(self) -> None:
        """Work until no run is open; on Ctrl-C, or any error, end the workers first.

        Raises:
            DesignError: the storage stays away, or the workers cannot load the objective.
        """
        with _progress(f"study {self._study.study_name}", self._agenda.total) as self._bar:
            try:
                while self._keep_busy():
                    for number, news in self._engine.wait(_LISTEN_S) if self._flights else ():
                        self._hear(number, news)
                    self._show()
                self._show()
            finally:
                self._engine.end()

    def _keep_busy(self) -> bool:
        """Start what can be started; whether there is anything to wait for."""
        self._beat()
        if len(self._flights) < self._workers and time.monotonic() - self._looked_at >= _LOOK_EVERY_S:
            while len(self._flights) < self._workers and self._patiently(self._agenda.n_open):
                if not self._start():
                    break
            self._looked_at = time.monotonic()
            self._done = self._patiently(self._agenda.n_complete)
            if not self._flights:
                if not self._patiently(self._agenda.n_unfinished):
                    return False
                if self._agenda.alone:
                    self._patiently(self._give_up_ours)
                elif not self._told_of_others:
                    self._say("the remaining runs are with other commands; waiting for them")
                    self._told_of_others = True
        if not self._flights:
            time.sleep(_LISTEN_S)
        return True

    def _start(self) -> bool:
        with _in_the_loop(self._study):
            trial = self._patiently(self._study.ask)
        cell = self._patiently(lambda: self._agenda.cell(trial))
        if cell is None:
            return False
        self._flights[trial.number] = _Flight(trial, cell)
        worker = self._engine.start(trial.number, cell)
        self._patiently(lambda: trial.set_user_attr("worker", worker))
        return True

    def _hear(self, number: int, news: News) -> None:
        flight = self._flights[number]
        if news.state == "running":
            flight.fraction = news.fraction
            return
        del self._flights[number]
        self._looked_at = -_LOOK_EVERY_S  # there is room for another one now
        if news.state == "unfit":
            raise DesignError(f"a worker process could not take a row: {news.error}\n{news.details}".rstrip())
        if news.state == "failed":
            self._say(f"{_name(flight.cell)} failed: {news.error}\n{news.details}".rstrip())
        try:
            self._patiently(lambda: self._tell(flight, news))
        except UpdateFinishedTrialError:
            self._say(f"{_name(flight.cell)}: no sign of life had reached the storage, so it is run again")
        else:
            self._done += news.state == "complete"

    def _tell(self, flight: _Flight, news: News) -> None:
        storage, trial = self._study._storage, flight.trial
        frozen = storage.get_trial(trial._trial_id)
        if news.response is None:
            fail(storage, frozen, news.error, killed=news.lost)
            return
        if frozen.state == TrialState.COMPLETE:
            return  # told before the connection was lost, though we did not hear so
        for key, value in news.response.attrs.items():
            trial.set_user_attr(key, value)
        if frozen.state.is_finished():
            raise UpdateFinishedTrialError(f"trial {trial.number} has been given up")
        self._study.tell(trial, float(news.response.value))

    def _beat(self) -> None:
        """Say that our trials are alive, and give up those of others that have been silent for too long."""
        storage = self._study._storage
        if not (isinstance(storage, BaseHeartbeat) and is_heartbeat_enabled(storage)):
            return
        interval = storage.get_heartbeat_interval() or 0
        if time.monotonic() - self._beat_at < interval:
            return

        def beat() -> None:
            for flight in self._flights.values():
                storage.record_heartbeat(flight.trial._trial_id)
            for stale in storage._get_stale_trial_ids(self._study._study_id):
                fail(storage, storage.get_trial(stale), "no sign of life from its machine", killed=False)

        self._patiently(beat)
        self._beat_at = time.monotonic()

    def _give_up_ours(self) -> None:
        """Nothing of ours is in the air, so what still runs was cut off when the storage went away under a claim."""
        for trial in all_trials(self._study):
            if trial.state == TrialState.RUNNING:
                fail(self._study._storage, trial, "the storage was lost under its claim", killed=True)

    def _show(self) -> None:
        done = self._done + sum(flight.fraction for flight in self._flights.values())
        self._bar.update(max(done - self._bar.n, 0))

    def _patiently(self, what: Callable[[], _T]) -> _T:
        return patiently(what, self._address, self._say)

    def _say(self, message: str) -> None:
        with self._bar.external_write_mode(file=sys.stderr):
            _log.warning("study %s, %s", self._study.study_name, message)


def _name(cell: Cell) -> str:
    return f"row {cell.row}" + (f" of replicate {cell.replicate}" if cell.replicate > 1 else "")


@contextlib.contextmanager
def _in_the_loop(study: optuna.Study) -> Iterator[None]:
    """To Optuna and to the sampler this is `optimize`, with heartbeats from the claim on: the driver sends them."""
    study._thread_local.in_optimize_loop = True
    try:
        yield
    finally:
        study._thread_local.in_optimize_loop = False


class _Lines:
    """A stream that gives each update of a bar a line of its own, for logs."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        if line := text.strip():
            self._stream.write(f"{line}\n")

    def flush(self) -> None:
        self._stream.flush()


def _progress(title: str, total: int) -> "tqdm[Any]":
    is_terminal = sys.stderr.isatty()
    return tqdm(
        desc=title,
        total=total,
        file=sys.stderr if is_terminal else _Lines(sys.stderr),
        mininterval=0.5 if is_terminal else 10,
        miniters=0,
        smoothing=0,
        bar_format="{desc}: {n:.1f}/{total} runs, {elapsed} gone, {remaining} left",
    )
