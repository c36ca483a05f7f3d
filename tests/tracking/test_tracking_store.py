import contextlib
import multiprocessing
import shutil
import sqlite3
from pathlib import Path
from urllib.parse import quote

import filelock
import mlflow
import pytest

from mammogan.errors import TrackingError
from mammogan.tracking import store
from mammogan.tracking.runs import TrialRun


def log_one_run(root: Path, barrier, results) -> None:
    barrier.wait()
    try:
        experiment = store.experiment(root, "mammogan dcgan", "A study.")
        with TrialRun(experiment, "run", kind="train", model_name="dcgan", git_commit="0123abc") as run:
            run.final({"final/fid": 1.0})
        results.put(experiment)
    except Exception as err:
        results.put(err)


def start_together(root: Path, processes: int) -> list[object]:
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(processes), context.Queue()
    workers = [context.Process(target=log_one_run, args=(root, barrier, results)) for _ in range(processes)]
    for worker in workers:
        worker.start()
    found = [results.get(timeout=240) for _ in workers]
    for worker in workers:
        worker.join()
    return found


@pytest.mark.slow
def test_four_processes_may_touch_a_missing_store_at_once(tmp_path):
    assert start_together(tmp_path, 4) == ["1"] * 4
    store.setup(tmp_path)
    assert len(mlflow.MlflowClient().search_runs(["1"])) == 4


def test_two_processes_may_make_the_same_experiment_at_once(root):
    assert start_together(root, 2) == ["1"] * 2
    store.setup(root)
    assert len(mlflow.MlflowClient().search_runs(["1"])) == 2


def test_the_store_is_a_database_with_a_write_ahead_log_at_the_root(empty_store):
    with sqlite3.connect(empty_store / "mlflow.db") as connection:
        assert connection.execute("pragma journal_mode").fetchone() == ("wal",)
    assert store.environment(empty_store)["MLFLOW_TRACKING_URI"] == f"sqlite:///{empty_store.as_posix()}/mlflow.db"


def test_library_server_and_ui_are_pointed_at_the_same_store(root):
    environment = store.environment(root)
    assert environment["MLFLOW_BACKEND_STORE_URI"] == environment["MLFLOW_TRACKING_URI"]
    assert environment["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] == "false"


def test_the_file_for_plain_mlflow_commands_sets_what_the_library_sets(root):
    lines = (Path(__file__).parents[2] / ".env").read_text(encoding="utf-8").splitlines()
    from_file = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    for name, value in from_file.items():
        at_root = value.replace("sqlite:///", f"sqlite:///{root.as_posix()}/")
        assert store.environment(root)[name] == at_root


def test_an_explicit_tracking_uri_wins(root, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5999")
    environment = store.environment(root)
    assert environment["MLFLOW_TRACKING_URI"] == "http://127.0.0.1:5999"
    assert "MLFLOW_BACKEND_STORE_URI" not in environment


def test_one_process_may_work_with_two_checkouts(root, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(root, other)
    assert store.setup(root) != store.setup(other)


def test_artifacts_lie_below_the_root_wherever_the_command_was_started(root, tmp_path, monkeypatch):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    experiment = store.experiment(root, "mammogan dcgan", "A study.")
    with TrialRun(experiment, "run", kind="train", model_name="dcgan", git_commit="0123abc") as run:
        run.log_text("here", "a.txt")
    assert list(root.glob("mlruns/mammogan dcgan/*/artifacts/a.txt"))
    assert list(elsewhere.iterdir()) == []


def test_an_experiment_keeps_its_id_and_takes_a_new_description(root):
    first = store.experiment(root, "mammogan dcgan", "Old words.")
    assert store.experiment(root, "mammogan dcgan", "New words.") == first
    found = mlflow.get_experiment(first)
    assert found.tags["mlflow.note.content"] == "New words."


def test_a_deleted_experiment_is_named_with_the_command_that_restores_it(root):
    experiment = store.experiment(root, "mammogan dcgan", "A study.")
    mlflow.MlflowClient().delete_experiment(experiment)
    with pytest.raises(TrackingError, match=f"mlflow experiments restore --experiment-id {experiment}"):
        store.experiment(root, "mammogan dcgan", "A study.")


def test_the_ui_is_opened_at_the_charts_of_each_experiment(root):
    store.experiment(root, "stylegan-study", "A study.")
    store.experiment(root, "dcgan-study", "A study.")
    assert store.links(root, "http://127.0.0.1:5000") == [
        (
            "dcgan-study",
            "http://127.0.0.1:5000/#/experiments/2/runs?compareRunsMode=CHART&workflowType=machine_learning",
        ),
        (
            "stylegan-study",
            "http://127.0.0.1:5000/#/experiments/1/runs?compareRunsMode=CHART&workflowType=machine_learning",
        ),
        ("registered models", "http://127.0.0.1:5000/#/models?workflowType=machine_learning"),
    ]


def test_the_ui_is_opened_at_the_trials_of_the_newest_study(root):
    experiment = store.experiment(root, "dcgan-study", "A study.")
    client = mlflow.MlflowClient()
    for start, study in enumerate(["old", "new"], start=1):
        client.create_run(experiment, start, {"mammogan.kind": "trial", "mammogan.study": study})
    client.create_run(experiment, 9, {"mammogan.kind": "study", "mammogan.study": "new"})
    address = dict(store.links(root, "http://127.0.0.1:5000"))["dcgan-study"]
    only = "tags.`mammogan.kind` = 'trial' and tags.`mammogan.study` = 'new'"
    assert f"&searchFilter={quote(only)}&" in address


def test_a_moved_checkout_is_noticed(root):
    store.experiment(root, "mammogan dcgan", "A study.")
    moved = root.rename(root.with_name("moved"))
    with pytest.raises(TrackingError, match=r"was made for another folder.*Move the checkout back"):
        store.setup(moved)


def test_a_store_whose_making_was_killed_is_made_afresh(tmp_path):
    mark, database = tmp_path / ".locks" / "mlflow-being-made", tmp_path / "mlflow.db"
    mark.parent.mkdir()
    mark.touch()
    with contextlib.closing(sqlite3.connect(database)) as half:
        half.execute("create table _alembic_tmp_params (x int)")  # MLflow leaves it behind, then trips over it
    with store._unfinished_store_is_made_afresh(tmp_path, database):
        with contextlib.closing(sqlite3.connect(database)) as afresh:
            assert afresh.execute("select name from sqlite_master").fetchall() == []
        assert mark.exists()
    assert not mark.exists()


def test_a_making_that_is_killed_leaves_its_mark(tmp_path):
    with pytest.raises(KeyboardInterrupt), store._unfinished_store_is_made_afresh(tmp_path, tmp_path / "mlflow.db"):
        raise KeyboardInterrupt
    assert (tmp_path / ".locks" / "mlflow-being-made").exists()


def test_a_store_with_runs_is_never_made_afresh(root):
    experiment = store.experiment(root, "mammogan dcgan", "A study.")
    with TrialRun(experiment, "run", kind="train", model_name="dcgan", git_commit="0123abc"):
        pass
    (root / ".locks" / "mlflow-being-made").touch()
    store.setup(root)
    assert len(mlflow.MlflowClient().search_runs([experiment])) == 1


def test_a_lock_that_is_never_given_back_is_named(root, monkeypatch):
    monkeypatch.setattr(store, "_LOCK_TIMEOUT_S", 0.05)
    (root / ".locks").mkdir()
    with (
        filelock.FileLock(root / ".locks" / "mlflow.lock"),
        pytest.raises(TrackingError, match=r"mlflow\.lock has been held"),
    ):
        store.setup(root)


def test_a_file_that_is_no_database_gets_a_clear_message(tmp_path):
    (tmp_path / "mlflow.db").write_text("not a database" * 100)
    with pytest.raises(TrackingError, match=r"opening the tracking store .* failed"):
        store.setup(tmp_path)
