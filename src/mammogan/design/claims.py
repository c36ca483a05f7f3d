"""What trials say about the design in their attributes, and the ticket lock under which they say it."""

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from mammogan.design.crossed import Place
from mammogan.errors import DesignError

ROW = "taguchi:row"  # trial system attr: the row's number from 1, 0 where none was left; it is the claim
REPLICATE = "taguchi:replicate"  # trial system attr, stored before ROW; absent in the first replicate
KILLED = "taguchi:killed"  # trial system attr: ended from outside, not by its objective
DESIGN = "taguchi:design"  # study system attr: what the rows mean
SURPLUS: Place = (0, 1)

_POLL_S = 0.02
_CLAIM_TIMEOUT_S = 30.0


def place(trial: FrozenTrial) -> Place:
    """Row and replicate that the trial has claimed, or SURPLUS."""
    return trial.system_attrs.get(ROW, SURPLUS[0]), trial.system_attrs.get(REPLICATE, 1)


def all_trials(study: optuna.Study) -> list[FrozenTrial]:
    """All trials by number, uncopied: study.get_trials would copy each and may be narrowed by a pruner."""
    return study._storage.get_all_trials(study._study_id, deepcopy=False)


def fail(storage: BaseStorage, trial: FrozenTrial, error: str, *, killed: bool) -> None:
    """End a running trial whose process is gone, so that its run goes out again.

    `killed` says that the run itself is not to blame: the attempt does not count against its retries.
    """
    try:
        storage.set_trial_user_attr(trial._trial_id, "error", error)
        if killed:
            storage.set_trial_system_attr(trial._trial_id, KILLED, True)
        storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
    except UpdateFinishedTrialError:
        pass  # its process came to an end of its own in the meantime, and that end counts


def wait_for_turn(study: optuna.Study, trial: FrozenTrial) -> list[FrozenTrial]:
    """All trials, once every running trial of a lower number has claimed its run.

    A trial that leaves the others waiting for _CLAIM_TIMEOUT_S has lost its process. It is failed, which also
    bars it from claiming later should it only have been asleep. A trial of another sampler, which claims none,
    is known by its parameters: ours claims first. Storages read a trial in several steps and in any order, so
    one reading may show parameters without the row that was stored before them: only the next reading tells.
    """
    deadline = time.monotonic() + _CLAIM_TIMEOUT_S
    suggesting: set[int] = set()
    while True:
        trials = all_trials(study)
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


def design_of(rows: Sequence[Mapping[str, Any]], noise: Mapping[str, Sequence[Any]]) -> str:
    """The design as the text by which studies are compared.

    Raises:
        DesignError: a level is of a kind that storages cannot hold.
    """
    try:
        return json.dumps([*rows, {"noise": noise}] if noise else rows)
    except TypeError as err:
        raise DesignError(f"levels must be numbers, texts, true, false or None, since they are stored: {err}") from None


def _runs_without_row(trial: FrozenTrial) -> bool:
    return trial.state == TrialState.RUNNING and ROW not in trial.system_attrs
