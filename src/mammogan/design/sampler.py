"""An Optuna sampler that runs every row of a fixed table once: Taguchi's arrays, or any other table.

The state lives in the storage, in the trials' attributes, so a study goes on after a crash and is shared by
processes and machines. Rows are claimed under a ticket lock on trial numbers, which every storage has: trial
k chooses only when each running trial of a lower number has chosen. No database needs a lock of its own.
"""

import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from mammogan.design.arrays import Array, check_factors
from mammogan.errors import DesignError

ROW = "taguchi:row"  # trial system attr: the row's number from 1, or SURPLUS
DESIGN = "taguchi:design"  # study system attr: what the rows mean
KILLED = "taguchi:killed"  # trial system attr: ended from outside, not by its objective
SURPLUS = 0

_POLL_S = 0.02
_CLAIM_TIMEOUT_S = 30.0


class TaguchiSampler(BaseSampler):
    """Gives each trial one row of the array, each row until it is complete.

    A row whose trial failed or was pruned goes out again, at most `max_retries` times; trials that were
    killed (see `fail`) do not count, nor do trials numbered below `forgive_before`, so that a later command
    can give rows another chance. When no row is open the study stops; a trial that started too late is
    pruned at its first suggestion. The first columns of the array take the factors, in their order.

    Pass `catch=(Exception,)` to `study.optimize`, else the first failure ends it. Leave `enqueue_trial` to
    studies of one worker: two processes on SQLite may pop the same waiting trial.

    Raises:
        DesignError: the factors do not fit the array; the study holds another design; the objective suggests
            what is no factor, or a distribution without the row's level, or leaves out a factor.
    """

    def __init__(
        self,
        array: Array,
        factors: Mapping[str, Sequence[Any]],
        max_retries: int = 1,
        forgive_before: int = 0,
    ) -> None:
        check_factors(array, factors)
        self.rows = {row.number: row for row in array.assign(factors)}
        self.factors = {name: list(values) for name, values in factors.items()}
        self._design = _as_text([row.levels for row in self.rows.values()])
        self._max_retries = max_retries
        self._forgive_before = forgive_before

    def open_rows(self, study: optuna.Study, ended: tuple[int, TrialState] | None = None) -> list[int]:
        """Numbers of the rows that wait for a trial: not complete, not running, not out of retries.

        `ended` is the number and state of a trial that is over but that the storage still calls running.
        """
        return self._open(_trials(study), ended)

    def check_design(self, study: optuna.Study) -> None:
        """Refuse a study whose trials belong to other rows; mark a new study as ours.

        Raises:
            DesignError: the study holds another design.
        """
        stored = study._storage.get_study_system_attrs(study._study_id).get(DESIGN)
        if stored is None:
            study._storage.set_study_system_attr(study._study_id, DESIGN, self._design)
        elif stored != self._design:
            raise DesignError(
                f"study {study.study_name!r} holds another design: its rows are {stored}, asked for are "
                f"{self._design}; give the new design a new study name, or delete the old study"
            )

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Claim a row for the trial: the first open one that agrees with its enqueued parameters, if any."""
        self.check_design(study)
        others = [other for other in _wait_for_turn(study, trial) if other.number != trial.number]
        fixed = trial.system_attrs.get("fixed_params", {})
        fitting = (
            number
            for number in self._open(others)
            if all(self.rows[number].levels.get(name) == value for name, value in fixed.items())
        )
        study._storage.set_trial_system_attr(trial._trial_id, ROW, next(fitting, SURPLUS))

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Nothing: the distribution is known only when the objective suggests."""
        return {}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Nothing, see `infer_relative_search_space`."""
        return {}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """The level of the factor `param_name` in the trial's row."""
        number = row_number(study, trial)
        if number == SURPLUS:
            raise optuna.TrialPruned("every row of the array is taken")
        if param_name not in self.factors:
            _stop(study)  # the same objective would fail in every row
            raise DesignError(
                f"{param_name!r} is not a factor of the design; suggest only {', '.join(self.factors)}, "
                f"or make it a factor"
            )
        level = self.rows[number].levels[param_name]
        if not _contains(param_distribution, level):
            _stop(study)
            raise DesignError(
                f"level {level!r} of factor {param_name!r} is outside {param_distribution}; "
                f"suggest a range or choices that hold {self.factors[param_name]}"
            )
        return level

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """Stop the study when no row is open, and insist that a complete trial has used every factor."""
        if not self.open_rows(study, ended=(trial.number, state)):
            _stop(study)
        unused = [name for name in self.factors if name not in trial.params]
        if state == TrialState.COMPLETE and trial.system_attrs[ROW] != SURPLUS and unused:
            _stop(study)
            raise DesignError(
                f"trial {trial.number} never suggested {', '.join(unused)}; suggest every factor in every "
                f"trial, and start a new study, since this trial's response belongs to no row"
            )

    def _open(self, trials: list[FrozenTrial], ended: tuple[int, TrialState] | None = None) -> list[int]:
        taken: set[int] = set()
        failures: Counter[int] = Counter()
        for trial in trials:
            row = trial.system_attrs.get(ROW, SURPLUS)
            state = ended[1] if ended and ended[0] == trial.number else trial.state
            if state in (TrialState.FAIL, TrialState.PRUNED):  # a pruned row is a hole in the table too
                failures[row] += trial.number >= self._forgive_before and KILLED not in trial.system_attrs
            else:
                taken.add(row)
        return [row for row in self.rows if row not in taken and failures[row] <= self._max_retries]


def row_number(study: optuna.Study, trial: FrozenTrial | optuna.Trial) -> int:
    """The row that the trial has claimed, from 1; SURPLUS if none was left."""
    number: int = study._storage.get_trial_system_attrs(trial._trial_id)[ROW]
    return number


def fail(storage: BaseStorage, trial: FrozenTrial, error: str, *, killed: bool) -> None:
    """End a running trial whose process is gone, so that its row goes out again.

    `killed` says that the row itself is not to blame: the attempt does not count against its retries.
    """
    try:
        storage.set_trial_user_attr(trial._trial_id, "error", error)
        if killed:
            storage.set_trial_system_attr(trial._trial_id, KILLED, True)
        storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
    except UpdateFinishedTrialError:
        pass  # its process came to an end of its own in the meantime, and that end counts


def _wait_for_turn(study: optuna.Study, trial: FrozenTrial) -> list[FrozenTrial]:
    """All trials, once every running trial of a lower number has claimed its row.

    A trial that leaves the others waiting for _CLAIM_TIMEOUT_S has lost its process. It is failed, which also
    bars it from claiming later should it only have been asleep. A trial of another sampler, which claims none,
    is known by its parameters: ours claims first. Storages read a trial in several steps and in any order, so
    one reading may show parameters without the row that was stored before them: only the next reading tells.
    """
    deadline = time.monotonic() + _CLAIM_TIMEOUT_S
    suggesting: set[int] = set()
    while True:
        trials = _trials(study)
        rowless = [other for other in trials if other.number < trial.number and _runs_without_row(other)]
        undecided = [other for other in rowless if other.number not in suggesting]
        suggesting |= {other.number for other in rowless if other.params}
        if not undecided:
            return trials
        if time.monotonic() > deadline:
            for other in undecided:
                fail(study._storage, other, "its process ended before it claimed a row", killed=True)
        else:
            time.sleep(_POLL_S)


def _runs_without_row(trial: FrozenTrial) -> bool:
    return trial.state == TrialState.RUNNING and ROW not in trial.system_attrs


def _trials(study: optuna.Study) -> list[FrozenTrial]:
    # From the storage: study.get_trials would copy every trial and may be narrowed by a pruner.
    return study._storage.get_all_trials(study._study_id, deepcopy=False)


def _contains(distribution: BaseDistribution, level: Any) -> bool:
    try:
        return distribution._contains(distribution.to_internal_repr(level))
    except ValueError:
        return False


def _as_text(rows: list[dict[str, Any]]) -> str:
    try:
        return json.dumps(rows)
    except TypeError as err:
        raise DesignError(f"levels must be numbers, texts, true, false or None, since they are stored: {err}") from None


def _stop(study: optuna.Study) -> None:
    if study._thread_local.in_optimize_loop:  # with ask and tell the caller holds the loop
        study.stop()
