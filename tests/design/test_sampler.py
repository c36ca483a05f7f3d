import copy
import multiprocessing
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import design_objectives
import optuna
import pytest
from design_objectives import FACTORS, open_storage, suggest_all
from optuna.trial import TrialState

from mammogan.design import claims
from mammogan.design.arrays import ARRAYS
from mammogan.design.claims import ROW, fail
from mammogan.design.sampler import TaguchiSampler
from mammogan.errors import DesignError

ROWS = {row.number: row.levels for row in ARRAYS["l9"].assign(FACTORS)}


@pytest.fixture(autouse=True)
def quiet_optuna():
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    yield
    optuna.logging.set_verbosity(before)


@pytest.fixture
def empty_study() -> optuna.Study:
    return optuna.create_study(sampler=in_order())


def in_order(**options: Any) -> TaguchiSampler:
    return TaguchiSampler(ARRAYS["l9"], FACTORS, order="array", **options)


def rows_in(study: optuna.Study, state: TrialState = TrialState.COMPLETE) -> list[int]:
    return [trial.system_attrs[ROW] for trial in study.get_trials(deepcopy=False, states=(state,))]


def failing(counts: dict[int, int], error: type[Exception] = RuntimeError):
    """An objective that fails the first so many times it is in a row."""
    left = dict(counts)

    def objective(trial: optuna.Trial) -> float:
        value = suggest_all(trial)
        row = trial.study.get_trials(deepcopy=False)[trial.number].system_attrs[ROW]
        if left.get(row, 0) > 0:
            left[row] -= 1
            raise error("no luck")
        return value

    return objective


def test_every_row_runs_once_with_its_levels_and_then_the_study_stops(empty_study):
    empty_study.optimize(suggest_all)
    assert rows_in(empty_study) == list(ROWS)
    assert [trial.params for trial in empty_study.trials] == list(ROWS.values())


def test_a_failed_row_goes_out_again(empty_study):
    empty_study.optimize(failing({2: 1, 5: 1}), catch=(RuntimeError,))
    assert sorted(rows_in(empty_study)) == list(ROWS)
    assert rows_in(empty_study, TrialState.FAIL) == [2, 5]
    assert len(empty_study.trials) == 11


def test_a_pruned_row_goes_out_again_since_a_hole_unbalances_the_table(empty_study):
    empty_study.optimize(failing({3: 1}, optuna.TrialPruned))
    assert sorted(rows_in(empty_study)) == list(ROWS)


def test_a_row_that_always_fails_is_given_up_after_its_retries_and_the_others_run(empty_study):
    empty_study.optimize(failing({4: 99}), catch=(RuntimeError,))
    assert sorted(rows_in(empty_study)) == [1, 2, 3, 5, 6, 7, 8, 9]
    assert rows_in(empty_study, TrialState.FAIL) == [4, 4]


def test_earlier_failures_can_be_forgiven(empty_study):
    empty_study.optimize(failing({4: 99}), catch=(RuntimeError,))
    empty_study.sampler = in_order(forgive_before=len(empty_study.trials))
    empty_study.optimize(failing({4: 1}), catch=(RuntimeError,))
    assert sorted(rows_in(empty_study)) == list(ROWS)


def test_a_killed_trial_gives_its_row_back_without_counting(empty_study):
    empty_study.sampler = in_order(max_retries=0)
    for _ in range(3):
        empty_study.ask()
        (running,) = empty_study.get_trials(states=(TrialState.RUNNING,))
        assert running.system_attrs[ROW] == 1
        fail(empty_study._storage, running, "killed by the test", killed=True)
    empty_study.optimize(suggest_all)
    assert sorted(rows_in(empty_study)) == list(ROWS)


def test_failing_a_trial_that_has_ended_leaves_it_as_it_is(empty_study):
    trial = empty_study.ask()
    suggest_all(trial)
    (frozen,) = empty_study.get_trials()
    empty_study.tell(trial, 1.0)
    fail(empty_study._storage, frozen, "too late", killed=True)
    assert empty_study.trials[0].state == TrialState.COMPLETE


def test_a_trial_that_finds_no_row_is_pruned(empty_study):
    empty_study.optimize(suggest_all)
    empty_study.optimize(suggest_all)
    assert [trial.state for trial in empty_study.trials[9:]] == [TrialState.PRUNED]


def test_a_parameter_that_is_no_factor_is_an_error_that_ends_the_study(empty_study):
    def objective(trial: optuna.Trial) -> float:
        return trial.suggest_float("momentum", 0, 1)

    with pytest.raises(DesignError, match="'momentum' is not a factor of the design; suggest only lr, batch_"):
        empty_study.optimize(objective)
    empty_study.optimize(objective, catch=(Exception,))
    assert len(empty_study.trials) == 2


@pytest.mark.parametrize(
    ("suggest", "message"),
    [
        (lambda trial: trial.suggest_float("lr", 0.1, 0.2), r"level 0.0001 of factor 'lr' is outside Float"),
        (
            lambda trial: trial.suggest_categorical("epochs", [1, 2]),
            "level 250 of factor 'epochs' is outside",
        ),
    ],
)
def test_a_level_outside_its_distribution_is_an_error(empty_study, suggest, message):
    with pytest.raises(DesignError, match=message):
        empty_study.optimize(suggest)


def test_a_trial_that_leaves_out_a_factor_is_an_error(empty_study):
    with pytest.raises(DesignError, match="trial 0 never suggested batch_size, epochs"):
        empty_study.optimize(lambda trial: trial.suggest_float("lr", 1e-5, 1e-2))


def test_a_study_of_another_design_is_refused(empty_study):
    empty_study.optimize(suggest_all, n_trials=1)
    empty_study.sampler = TaguchiSampler(ARRAYS["paper"], FACTORS)
    with pytest.raises(DesignError, match=r"holds another design.*give the new design a new study name"):
        empty_study.optimize(suggest_all)


def test_levels_that_cannot_be_stored_are_refused():
    with pytest.raises(DesignError, match="levels must be numbers, texts"):
        TaguchiSampler(ARRAYS["l9"], {"a": [1, 2, {3}]})


def test_ask_and_tell_goes_through_the_rows(empty_study):
    for _ in range(9):
        trial = empty_study.ask()
        empty_study.tell(trial, suggest_all(trial))
    assert rows_in(empty_study) == list(ROWS)
    assert empty_study.sampler.open_cells(empty_study) == []


def test_threads_share_the_rows(empty_study):
    empty_study.optimize(suggest_all, n_jobs=3)
    assert sorted(rows_in(empty_study)) == list(ROWS)


def test_an_enqueued_trial_claims_the_row_that_it_agrees_with(empty_study):
    empty_study.enqueue_trial(ROWS[7])
    empty_study.enqueue_trial({"epochs": 750})
    empty_study.optimize(suggest_all)
    assert rows_in(empty_study) == [7, 3, 1, 2, 4, 5, 6, 8, 9]


def test_a_trial_whose_process_died_before_its_claim_holds_nobody_up(empty_study, monkeypatch):
    monkeypatch.setattr(claims, "_CLAIM_TIMEOUT_S", 0.1)
    empty_study._storage.create_new_trial(empty_study._study_id)
    empty_study.optimize(suggest_all)
    assert rows_in(empty_study) == list(ROWS)
    assert empty_study.trials[0].state == TrialState.FAIL


def test_a_trial_waits_for_the_claim_of_an_earlier_one(empty_study, monkeypatch):
    storage = empty_study._storage
    earlier = storage.create_new_trial(empty_study._study_id)
    naps = []

    def claim_during_the_third_nap(_: float) -> None:
        naps.append(1)
        if len(naps) == 3:
            storage.set_trial_system_attr(earlier, ROW, 1)

    monkeypatch.setattr(claims.time, "sleep", claim_during_the_third_nap)
    later = empty_study.ask()
    assert len(naps) == 3
    assert storage.get_trial_system_attrs(later._trial_id)[ROW] == 2


def test_a_reading_that_shows_parameters_without_their_row_is_read_again(empty_study, monkeypatch):
    earlier = empty_study.ask()
    suggest_all(earlier)
    readings = []
    whole = claims.all_trials

    def torn_first(study):
        trials = whole(study)
        readings.append(trials)
        if len(readings) == 1:  # what SQLite gives when the row is stored after the attributes were read
            trials = copy.deepcopy(trials)
            del trials[earlier.number].system_attrs[ROW]
        return trials

    monkeypatch.setattr(claims, "all_trials", torn_first)
    later = empty_study.ask()
    assert empty_study._storage.get_trial_system_attrs(later._trial_id)[ROW] == 2
    assert len(readings) == 2


def test_a_running_trial_of_another_sampler_holds_nobody_up(empty_study):
    empty_study.sampler, ours = optuna.samplers.RandomSampler(seed=1), empty_study.sampler
    suggest_all(empty_study.ask())
    empty_study.sampler = ours
    empty_study.optimize(suggest_all)
    assert [trial.state for trial in empty_study.trials] == [TrialState.RUNNING] + [TrialState.COMPLETE] * 9


def test_a_study_goes_on_in_a_new_process(tmp_path):
    sampler = in_order()
    storage = open_storage("sqlite", tmp_path)
    study = optuna.create_study(study_name="shared", storage=storage, sampler=sampler)
    code = f"import pathlib, design_objectives as d; d.optimize('sqlite', pathlib.Path({str(tmp_path)!r}), 4)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parent)
    assert rows_in(study) == [1, 2, 3, 4]
    study.optimize(suggest_all)
    assert rows_in(study) == list(ROWS)
    storage.engine.dispose()


def share(kind: str, folder: Path, processes: int, failure_rate: float) -> Counter[int]:
    """How often each row is complete after several processes have run one study together."""
    storage = open_storage(kind, folder)
    study = optuna.create_study(study_name="shared", storage=storage)
    context = multiprocessing.get_context("spawn")
    arguments = (kind, folder, None, failure_rate)
    crew = [context.Process(target=design_objectives.optimize, args=arguments) for _ in range(processes)]
    for process in crew:
        process.start()
    for process in crew:
        process.join()
    assert [process.exitcode for process in crew] == [0] * processes
    counts = Counter(rows_in(study))
    if kind == "sqlite":
        storage.engine.dispose()
    return counts


@pytest.mark.parametrize(("kind", "processes"), [("sqlite", 4), ("journal", 2)])
def test_several_processes_run_each_row_exactly_once(kind, processes, tmp_path):
    assert share(kind, tmp_path, processes, failure_rate=0.2) == dict.fromkeys(ROWS, 1)


@pytest.mark.slow
@pytest.mark.parametrize("repeat", range(5))
@pytest.mark.parametrize("kind", ["sqlite", "journal"])
def test_eight_processes_run_each_row_exactly_once_however_often_they_fail(kind, tmp_path, repeat):
    assert share(kind, tmp_path, processes=8, failure_rate=0.4) == dict.fromkeys(ROWS, 1)
