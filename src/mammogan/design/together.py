"""`study.optimize` for several processes that share a study of a `TaguchiSampler`, whatever happens to some of them."""

import time
import warnings
from collections.abc import Callable

import optuna
from optuna.exceptions import ExperimentalWarning, UpdateFinishedTrialError

from mammogan.design.sampler import TaguchiSampler
from mammogan.errors import DesignError

_POLL_S = 0.5


def optimize(
    study: optuna.Study,
    objective: Callable[[optuna.Trial], float],
    *,
    catch: tuple[type[Exception], ...] = (Exception,),
) -> None:
    """Run the design until each run is complete or out of retries, those that other processes have now included.

    With heartbeats in the storage, the runs of processes that died go out again. A process that was taken for dead
    and is not, goes on with another run: the response of the one it lost is dropped, since another process has it.

    Raises:
        DesignError: the study's sampler is no TaguchiSampler; see there for the others, which `catch` never swallows.
    """
    sampler = study.sampler
    if not isinstance(sampler, TaguchiSampler):
        raise DesignError("the study has no TaguchiSampler; give it one by `study.sampler = TaguchiSampler(...)`")
    mistakes: list[DesignError] = []

    def attempt(trial: optuna.Trial) -> float:
        try:
            return objective(trial)
        except DesignError as err:
            mistakes.append(err)
            raise

    while sampler.unfinished(study):
        if sampler.open_cells(study):
            try:
                study.optimize(attempt, catch=catch)
            except (UpdateFinishedTrialError, ValueError, AssertionError) as err:
                if not _was_given_up(err):
                    raise
            if mistakes:
                raise mistakes[0]
        else:
            time.sleep(_POLL_S)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ExperimentalWarning)
                optuna.storages.fail_stale_trials(study)


def _was_given_up(err: BaseException) -> bool:
    """Whether the storage refused the response, since others took the trial's process for dead.

    Optuna then raises from its `finally`, and an assertion there hides the reason behind it.
    """
    reason: BaseException | None = err
    while reason is not None:
        if isinstance(reason, UpdateFinishedTrialError) or "Cannot tell a" in str(reason):
            return True
        reason = reason.__context__
    return False
