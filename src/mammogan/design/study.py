"""A designed study that survives crashes: workers run the rows, here or elsewhere, and the same command goes on."""

import contextlib
import logging
import pickle
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
from filelock import FileLock, Timeout
from optuna.trial import FrozenTrial, TrialState

from mammogan.design.arrays import Array
from mammogan.design.claims import KILLED, SURPLUS, all_trials, fail, place
from mammogan.design.cluster import Cluster, Resources
from mammogan.design.crew import Crew
from mammogan.design.crossed import Cell, Order, Place
from mammogan.design.driver import Agenda, Driver
from mammogan.design.sampler import TaguchiSampler
from mammogan.design.storage import is_shared, opened, quiet_optuna
from mammogan.design.worker import Objective, Report, Response, one_line
from mammogan.errors import DesignError

__all__ = ["Cell", "Objective", "Place", "Report", "Resources", "Response", "Where", "study"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Where:
    """Where a study is kept and run.

    storage: an SQLAlchemy URL, or the path of a journal file. lock: a file that only one command of the study holds,
    where the storage belongs to one machine. workers: trials at a time of this command. heartbeat_s: between signs of
    life on a storage of several machines. cluster: of Ray, in place of processes here.
    """

    storage: str
    lock: Path
    workers: int
    heartbeat_s: int = 30
    cluster: Resources | None = None


def study(
    name: str,
    where: Where,
    array: Array,
    factors: Mapping[str, Sequence[Any]],
    objective: Objective,
    *,
    replicates: int = 1,
    seed: int = 0,
    order: Order = "random",
    noise: Mapping[str, Sequence[Any]] | None = None,
    max_retries: int = 1,
) -> pd.DataFrame:
    """Run every row of the array in each replicate once; called again, go on where it stood.

    A run that fails goes out again, at most `max_retries` times in one call; a new call gives it a fresh
    budget. A run whose call was killed goes out again without counting; a worker that dies by itself counts
    for its run, and so does a machine that falls silent (docs/adr/0003-a-failed-row-goes-out-again.md). `objective`
    is picklable, gets the cell and `report(fraction in [0, 1])`, and returns the response or raises. On a storage of
    one machine a second call for the same study waits on the lock; on a shared one all calls work together.

    Returns:
        One line a run, by row and replicate: row, replicate, the factors, the noise factors, fid (the response), state,
        retries (failed attempts before this one, those that were killed left out), then the response's attrs.

    Raises:
        DesignError: the factors do not fit, the objective cannot be sent to a process, the storage cannot
            be opened, stays away or holds another design, or runs failed for good.
    """
    plan = (array, factors, replicates, seed, order)
    cells = TaguchiSampler(*plan, noise=noise).cells
    pickled = as_pickle(objective)
    with claimed_study(name, where, TaguchiSampler(*plan, noise=noise)) as record:
        first_trial = len(all_trials(record))
        sampler = TaguchiSampler(*plan, noise=noise, max_retries=max_retries, forgive_before=first_trial)
        record.sampler = sampler
        if sampler.unfinished(record):
            agenda = Agenda(
                cell=lambda trial: _cell(record, sampler, trial),
                n_open=lambda: len(sampler.open_cells(record)),
                n_unfinished=lambda: len(sampler.unfinished(record)),
                n_complete=lambda: len(cells.keys() & _complete(record).keys()),
                total=len(cells),
                alone=not is_shared(where.storage),
            )
            taken = [*sampler.factors, *sampler.noise]
            Driver(record, where.storage, agenda, engine(where, pickled, taken), where.workers).run()
        _insist_on_every_run(record, cells, first_trial)
        return _frame(record, cells)


def engine(where: Where, objective: bytes, taken: Sequence[str]) -> Crew | Cluster:
    """What runs the trials: processes here, or the cluster."""
    return Cluster(where.cluster, objective, taken) if where.cluster else Crew(objective, taken)


def as_pickle(objective: Objective) -> bytes:
    """The objective as it travels to the workers.

    Raises:
        DesignError: it cannot travel.
    """
    try:
        return pickle.dumps(objective)
    except Exception as err:
        raise DesignError(
            f"the objective cannot be sent to a worker process ({one_line(err)}); "
            f"define it, and what it holds, at the top of a module"
        ) from err


@contextlib.contextmanager
def claimed_study(name: str, where: Where, sampler: optuna.samplers.BaseSampler) -> Iterator[optuna.Study]:
    """The study, opened for this command; on a storage of one machine for no other, and without dead trials.

    Raises:
        DesignError: the storage cannot be opened, or holds another design under this name.
    """
    shared = is_shared(where.storage)
    alone = contextlib.nullcontext() if shared else _alone(where.lock, name)
    with quiet_optuna(), alone, opened(where.storage, where.heartbeat_s if shared else None) as storage:
        record = optuna.create_study(
            study_name=name, storage=storage, sampler=sampler, direction="minimize", load_if_exists=True
        )
        if isinstance(sampler, TaguchiSampler):
            sampler.check_design(record)
        if not shared:  # we hold the lock: what still runs has lost its process
            for trial in all_trials(record):
                if trial.state == TrialState.RUNNING:
                    fail(record._storage, trial, "the command was stopped", killed=True)
        yield record


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


def _cell(record: optuna.Study, sampler: TaguchiSampler, trial: optuna.Trial) -> Cell | None:
    """What to run as that trial, with all its parameters suggested; None where every run is taken."""
    cell = sampler.cells.get(place(record._storage.get_trial(trial._trial_id)))
    if cell is None:
        record.tell(trial, state=TrialState.PRUNED)
        return None
    for name, values in {**sampler.factors, **sampler.noise}.items():
        trial.suggest_categorical(name, list(dict.fromkeys(values)))
    return cell


def _complete(record: optuna.Study) -> dict[Place, FrozenTrial]:
    """The complete trial of each run that has one."""
    return {
        place(trial): trial
        for trial in reversed(all_trials(record))  # the first one, should there be two
        if trial.state == TrialState.COMPLETE and place(trial) != SURPLUS
    }


def _insist_on_every_run(record: optuna.Study, cells: Mapping[Place, Cell], first_trial: int) -> None:
    missing = sorted(cells.keys() - _complete(record).keys())
    if not missing:
        return
    several = any(replicate > 1 for _, replicate in cells)
    lines = []
    for row, replicate in missing:
        settings = ", ".join(f"{factor} {value}" for factor, value in cells[row, replicate].settings.items())
        failed = [t for t in _failed(record) if place(t) == (row, replicate) and t.number >= first_trial]
        reason = failed[-1].user_attrs.get("error", "no error was stored") if failed else "it was not tried"
        which = f"row {row} of replicate {replicate}" if several else f"row {row}"
        lines.append(f"  {which} ({settings}), tried {len(failed)} times: {reason}")
    rows = sorted({row for row, _ in missing})
    raise DesignError(
        "\n".join(
            [
                f"study {record.study_name}: rows {rows} have no response:",
                *lines,
                "mend the cause and run the command again: it tries these rows afresh and keeps the others",
            ]
        )
    )


def _failed(record: optuna.Study) -> list[FrozenTrial]:
    return [trial for trial in all_trials(record) if trial.state in (TrialState.FAIL, TrialState.PRUNED)]


def _frame(record: optuna.Study, cells: Mapping[Place, Cell]) -> pd.DataFrame:
    found = _complete(record)
    counted = [(place(t), t.number) for t in _failed(record) if KILLED not in t.system_attrs]
    lines = []
    for where in sorted(cells):
        trial = found[where]
        before = Counter(other for other, number in counted if number < trial.number)
        attrs = {key: value for key, value in trial.user_attrs.items() if key != "worker"}
        run = {"row": where[0], "replicate": where[1], **cells[where].settings}
        lines.append({**run, "fid": trial.value, "state": trial.state.name, "retries": before[where], **attrs})
    return pd.DataFrame(lines)
