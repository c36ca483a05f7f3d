"""What trials say about the design in their attributes, and how they claim a run without a lock."""

import json
import random
import time
from collections.abc import Callable, Mapping, Sequence
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

_PAUSE_S = 0.05


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


def claim(study: optuna.Study, trial: FrozenTrial, open_among: Callable[[list[FrozenTrial]], list[Place]]) -> Place:
    """Claim a run for the trial without a lock: write it down, read again, and step back if another has it too.

    Of two trials that claim the same run at least one sees the other's claim, since each reads after it has written;
    when both do, both step back, and try again after random times. So no two trials keep the same run, and a process
    that dies at any moment holds nobody up. `open_among` gives the runs that are open, from all other trials.
    """
    pause_s = _PAUSE_S
    held = None
    while True:
        others = [other for other in all_trials(study) if other.number != trial.number]
        found = open_among(others)
        if not found:
            if held is None:
                return _write(study, trial, SURPLUS)
            _write(study, trial, SURPLUS)  # the last run was claimed twice: both let go of it
            time.sleep(random.uniform(0, pause_s))
            pause_s *= 2
            held = None
            continue
        # Trials that choose at the same time choose apart; one that is alone takes the first.
        ahead = sum(other.number < trial.number and _runs_without_row(other) for other in others)
        held = _write(study, trial, found[ahead % len(found)] if held is None else random.choice(found))
        if not any(
            place(other) == held and _holds(other) for other in all_trials(study) if other.number != trial.number
        ):
            return held


def _write(study: optuna.Study, trial: FrozenTrial, where: Place) -> Place:
    storage = study._storage
    row, replicate = where
    if replicate > 1 or REPLICATE in trial.system_attrs:
        storage.set_trial_system_attr(trial._trial_id, REPLICATE, replicate)
        trial.system_attrs[REPLICATE] = replicate
    storage.set_trial_system_attr(trial._trial_id, ROW, row)
    return where


def _holds(trial: FrozenTrial) -> bool:
    return trial.state in (TrialState.RUNNING, TrialState.COMPLETE)


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
