"""An Optuna sampler that runs every row of a fixed table, each replicate once: Taguchi's arrays, or any other table.

The state lives in the storage, in the trials' attributes, so a study goes on after a crash and is shared by
processes and machines. Runs are claimed without a lock (`claims.claim`), so any storage of Optuna will do.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.storages._heartbeat import BaseHeartbeat, is_heartbeat_enabled
from optuna.trial import FrozenTrial, TrialState

from mammogan.design.arrays import Array
from mammogan.design.claims import (
    DESIGN,
    KILLED,
    REPLICATE,
    ROW,
    SURPLUS,
    all_trials,
    claim,
    design_of,
    fail,
    place,
)
from mammogan.design.crossed import Order, Place, crossed
from mammogan.errors import DesignError

__all__ = ["REPLICATE", "ROW", "TaguchiSampler"]


class TaguchiSampler(BaseSampler):
    """Gives each trial one row of the array in one replicate, each of them until it is complete.

    A run that failed, was pruned, or whose process died (heartbeat) goes out again, at most `max_retries` times;
    trials ended by `claims.fail(killed=True)` do not count, nor do trials numbered below `forgive_before`, so that a
    later command can give runs another chance. When no run is open the study stops; a trial that started too late is
    pruned at its first suggestion. The first columns of the array take the factors, in their order.

    Runs go out replicate by replicate, the rows of each in an order shuffled by `seed`, or with `order="array"` as
    they stand. A replicate is what the objective makes of its number (`replicate_number`), usually a training seed,
    and of the noise factors: `noise={"resample": [0, 1, 2]}` gives one value a replicate, which the objective
    suggests like a factor.

    Pass `catch=(Exception,)` to `study.optimize`, else the first failure ends it. An enqueued trial takes the first
    open run that agrees with its parameters. Two processes on SQLite may pop the same waiting trial: give them
    storages by `design.storage.opened`, which hold one transaction at a time.

    Raises:
        DesignError: the factors do not fit the array; the study holds another design; the objective suggests
            what is no factor, or a distribution without the row's level, or leaves out a factor; enqueued
            parameters are in no row.
    """

    def __init__(
        self,
        array: Array,
        factors: Mapping[str, Sequence[Any]],
        replicates: int = 1,
        seed: int = 0,
        order: Order = "random",
        *,
        noise: Mapping[str, Sequence[Any]] | None = None,
        max_retries: int = 1,
        forgive_before: int = 0,
    ) -> None:
        self.cells = {cell.place: cell for cell in crossed(array, factors, replicates, noise, seed, order)}
        self.factors = {name: list(values) for name, values in factors.items()}
        self.noise = {name: list(values) for name, values in (noise or {}).items()}
        # More replicates may be asked of a study later; other levels or other noise are another design.
        self._design = design_of([row.levels for row in array.assign(factors)], self.noise)
        self._checked: set[int] = set()
        self._max_retries = max_retries
        self._forgive_before = forgive_before

    def open_cells(self, study: optuna.Study, ended: tuple[int, TrialState] | None = None) -> list[Place]:
        """Row and replicate of the runs that wait for a trial: not complete, not running, not out of retries.

        `ended` is the number and state of a trial that is over but that the storage still calls running.
        """
        return self._open(all_trials(study), ended)

    def unfinished(self, study: optuna.Study) -> list[Place]:
        """Row and replicate of the runs that may still become complete: open, or running somewhere."""
        trials = all_trials(study)
        running = {place(trial) for trial in trials if trial.state == TrialState.RUNNING}
        waiting = {*self._open(trials), *running}
        return [cell for cell in self.cells if cell in waiting]

    def check_design(self, study: optuna.Study) -> None:
        """Refuse a study whose trials belong to other rows; mark a new study as ours.

        Raises:
            DesignError: the study holds another design.
        """
        if study._study_id in self._checked:
            return
        stored = study._storage.get_study_system_attrs(study._study_id).get(DESIGN)
        if stored is None:
            study._storage.set_study_system_attr(study._study_id, DESIGN, self._design)
        elif stored != self._design:
            raise DesignError(
                f"study {study.study_name!r} holds another design: its rows are {stored}, asked for are "
                f"{self._design}; give the new design a new study name, or delete the old study"
            )
        else:
            self._checked.add(study._study_id)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Claim a run for the trial: the first open one that agrees with its enqueued parameters, if any."""
        self.check_design(study)
        fixed = trial.system_attrs.get("fixed_params", {})
        fitting = {cell.place for cell in self.cells.values() if fixed.items() <= cell.settings.items()}
        if not fitting:
            fail(study._storage, trial, f"no row has {fixed}", killed=True)
            raise DesignError(f"the enqueued parameters {fixed} are in no row of the design; enqueue levels of one row")
        storage = study._storage
        if (
            isinstance(storage, BaseHeartbeat)
            and is_heartbeat_enabled(storage)
            and study._thread_local.in_optimize_loop
        ):
            storage.record_heartbeat(trial._trial_id)  # before the claim: killed after it, the trial is found stale
        found = claim(study, trial, lambda others: [cell for cell in self._open(others) if cell in fitting])
        if found == SURPLUS:
            trial.system_attrs.pop("fixed_params", None)  # so that a suggestion asks us, and is told that none is left

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
        """The level of the factor `param_name` in the trial's row, or the value of a noise factor in its replicate."""
        here = place(trial)
        if here == SURPLUS:
            raise optuna.TrialPruned("every row of the array is taken")
        settings = self.cells[here].settings
        if param_name not in settings:
            _stop(study)  # the same objective would fail in every row
            raise DesignError(self._no_factor(param_name))
        level = settings[param_name]
        if not _contains(param_distribution, level):
            _stop(study)
            raise DesignError(
                f"level {level!r} of factor {param_name!r} is outside {param_distribution}; suggest a range or "
                f"choices that hold {(self.factors | self.noise)[param_name]}"
            )
        return level

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """Stop the study when no run is open, and insist that a complete trial was run as its row says."""
        cell = self.cells.get(place(trial))
        wrong = self._departure(trial, cell.settings) if state == TrialState.COMPLETE and cell else ""
        if wrong:
            study._storage.set_trial_system_attr(trial._trial_id, ROW, SURPLUS[0])  # its response belongs to no row
            _stop(study)
            raise DesignError(f"trial {trial.number} {wrong}")
        if not self.open_cells(study, ended=(trial.number, state)):
            _stop(study)

    def _departure(self, trial: FrozenTrial, settings: Mapping[str, Any]) -> str:
        unused = [name for name in self.factors if name not in trial.params]
        if unused:
            return f"never suggested {', '.join(unused)}; suggest every factor in every trial"
        for name, value in trial.params.items():  # Optuna does not ask a sampler where there is one choice only
            if name not in settings:
                return f"has a parameter of its own: {self._no_factor(name)}"
            if value != settings[name]:
                return f"ran {name} at {value!r} and its row says {settings[name]!r}; suggest from all levels"
        return ""

    def _no_factor(self, name: str) -> str:
        known = ", ".join([*self.factors, *self.noise])
        return f"{name!r} is not a factor of the design; suggest only {known}, or make it a factor"

    def _open(self, trials: list[FrozenTrial], ended: tuple[int, TrialState] | None = None) -> list[Place]:
        taken: set[Place] = set()
        failures: Counter[Place] = Counter()
        for trial in trials:
            state = ended[1] if ended and ended[0] == trial.number else trial.state
            if state in (TrialState.FAIL, TrialState.PRUNED):  # a pruned row is a hole in the table too
                failures[place(trial)] += trial.number >= self._forgive_before and KILLED not in trial.system_attrs
            else:
                taken.add(place(trial))
        return [cell for cell in self.cells if cell not in taken and failures[cell] <= self._max_retries]


def row_number(study: optuna.Study, trial: FrozenTrial | optuna.Trial) -> int:
    """The row that the trial has claimed, from 1; 0 if none was left."""
    return _stored(study, trial).get(ROW, SURPLUS[0])


def replicate_number(study: optuna.Study, trial: FrozenTrial | optuna.Trial) -> int:
    """The replicate that the trial belongs to, from 1: training seed 100 + replicate, for instance."""
    return _stored(study, trial).get(REPLICATE, 1)


def _stored(study: optuna.Study, trial: FrozenTrial | optuna.Trial) -> dict[str, int]:
    attrs: dict[str, int] = study._storage.get_trial_system_attrs(trial._trial_id)
    return attrs


def _contains(distribution: BaseDistribution, level: Any) -> bool:
    try:
        return distribution._contains(distribution.to_internal_repr(level))
    except ValueError:
        return False


def _stop(study: optuna.Study) -> None:
    if study._thread_local.in_optimize_loop:  # with ask and tell the caller holds the loop
        study.stop()
