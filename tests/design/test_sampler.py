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


def test_replicates_run_each_row_as_often_block_by_block(empty_study):
    empty_study.sampler = in_order(replicates=3)
    empty_study.optimize(suggest_all)
    assert [claims.place(trial) for trial in empty_study.trials] == [(r, k) for k in (1, 2, 3) for r in ROWS]


def test_more_replicates_of_a_finished_study_run_only_what_is_new(empty_study):
    empty_study.optimize(suggest_all)
    empty_study.sampler = in_order(replicates=2)
    empty_study.optimize(suggest_all)
    assert [claims.place(trial) for trial in empty_study.trials[9:]] == [(row, 2) for row in ROWS]


def test_a_noise_factor_takes_its_value_from_the_replicate():
    noise = {"resample": [7, 8]}
    study = optuna.create_study(sampler=in_order(replicates=2, noise=noise))
    study.optimize(lambda trial: suggest_all(trial) + trial.suggest_int("resample", 0, 9))
    assert [trial.params["resample"] for trial in study.trials] == [7] * 9 + [8] * 9


def test_the_order_of_a_replicate_is_random_by_seed_and_holds_each_row_once():
    first, same, other = (
        list(TaguchiSampler(ARRAYS["l9"], FACTORS, replicates=2, seed=seed).cells) for seed in (1, 1, 2)
    )
    assert first == same != other
    assert sorted(row for row, _ in first[:9]) == list(ROWS)
    assert first[:9] != [(row, 1) for row in ROWS]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"replicates": 0}, "at least one replicate"),
        ({"order": "best"}, "no run order is called 'best'; choose one of: random, array"),
        ({"noise": {"lr": [1]}}, "'lr' is both a factor and a noise factor"),
        ({"noise": {"resample": [1, 2]}}, "has 2 values .* for 1 replicates"),
    ],
)
def test_a_plan_that_does_not_fit_is_refused(options, message):
    with pytest.raises(DesignError, match=message):
        TaguchiSampler(ARRAYS["l9"], FACTORS, **options)


def test_an_enqueued_trial_that_is_no_row_is_refused(empty_study):
    empty_study.enqueue_trial({"epochs": 1})
    with pytest.raises(DesignError, match=r"parameters \{'epochs': 1\} are in no row of the design"):
        empty_study.optimize(suggest_all)


def test_an_enqueued_row_that_is_complete_is_not_run_again(empty_study):
    empty_study.optimize(suggest_all)
    empty_study.enqueue_trial(ROWS[7])
    empty_study.optimize(suggest_all)
    assert empty_study.trials[9].state == TrialState.PRUNED


def test_a_parameter_with_one_choice_that_is_not_the_rows_level_is_an_error(empty_study):
    def objective(trial: optuna.Trial) -> float:
        suggest_all(trial)
        return trial.suggest_float("momentum", 0.9, 0.9)

    with pytest.raises(DesignError, match="trial 0 has a parameter of its own: 'momentum' is not a factor"):
        empty_study.optimize(objective)
    assert rows_in(empty_study) == [0]  # its response belongs to no row


def test_threads_share_the_rows(empty_study):
    empty_study.optimize(suggest_all, n_jobs=3)
    assert sorted(rows_in(empty_study)) == list(ROWS)


def test_an_enqueued_trial_claims_the_row_that_it_agrees_with(empty_study):
    empty_study.enqueue_trial(ROWS[7])
    empty_study.enqueue_trial({"epochs": 750})
    empty_study.optimize(suggest_all)
    assert rows_in(empty_study) == [7, 3, 1, 2, 4, 5, 6, 8, 9]


def test_a_trial_whose_process_died_before_its_claim_holds_nobody_up(empty_study):
    empty_study._storage.create_new_trial(empty_study._study_id)
    empty_study.optimize(suggest_all)
    assert sorted(rows_in(empty_study)) == list(ROWS)


def test_of_two_trials_that_claim_one_row_at_most_one_keeps_it(empty_study, monkeypatch):
    storage = empty_study._storage
    rival = storage.create_new_trial(empty_study._study_id)
    readings = []
    whole = claims.all_trials

    def rival_claims_after_the_first_reading(study):
        trials = copy.deepcopy(whole(study))
        readings.append(trials)
        if len(readings) == 1:
            storage.set_trial_system_attr(rival, ROW, 2)  # what the other one is about to choose
        return trials

    monkeypatch.setattr(claims, "all_trials", rival_claims_after_the_first_reading)
    later = empty_study.ask()
    assert storage.get_trial_system_attrs(later._trial_id)[ROW] not in (0, 2)
    assert len(readings) == 4  # choose, see the rival, choose again, see that nobody has it


def test_a_last_row_that_two_trials_have_claimed_goes_to_one_of_them(empty_study, monkeypatch):
    storage = empty_study._storage
    empty_study.optimize(suggest_all, n_trials=8)
    rival = storage.create_new_trial(empty_study._study_id)
    readings = []
    whole = claims.all_trials

    def rival_claims_and_steps_back(study):
        trials = copy.deepcopy(whole(study))
        readings.append(trials)
        if len(readings) == 1:
            storage.set_trial_system_attr(rival, ROW, 9)
        if len(readings) == 3:
            storage.set_trial_system_attr(rival, ROW, 0)
        return trials

    monkeypatch.setattr(claims, "all_trials", rival_claims_and_steps_back)
    later = empty_study.ask()
    assert storage.get_trial_system_attrs(later._trial_id)[ROW] == 9


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
