"""Studies of several processes, commands and machines: real servers, real kills."""

import time
from dataclasses import dataclass
from pathlib import Path

import optuna
import pytest
import stress
from design_objectives import FACTORS, Recorded
from servers import driver, postgres
from stress import expected

from mammogan.design.arrays import ARRAYS
from mammogan.design.crossed import Cell
from mammogan.design.storage import cause, is_shared, opened, patiently, quiet_optuna, shown
from mammogan.design.study import Resources, Where, study
from mammogan.design.together import optimize
from mammogan.design.worker import Report, Response
from mammogan.errors import DesignError


def test_an_address_is_shown_without_its_password():
    assert shown("postgresql://me:secret@db:5432/optuna") == "postgresql://me@db:5432/optuna"
    assert shown("sqlite:///optuna.db") == "sqlite:///optuna.db"


def test_only_a_server_is_shared_by_machines():
    assert [is_shared(one) for one in ("sqlite:///a.db", "a.journal", "postgresql://db/a")] == [False, False, True]


def test_a_storage_that_comes_back_is_waited_for(monkeypatch):
    monkeypatch.setattr("mammogan.design.storage._RETRY_EVERY_S", 0)
    answers = iter([OSError("gone"), OSError("gone"), None])
    told = []

    def ask() -> str:
        if error := next(answers):
            raise error
        return "here"

    assert patiently(ask, "postgresql://db/a", told.append) == "here"
    assert told == ["the study storage postgresql://db/a does not answer (OSError: gone); trying again"]


def test_a_storage_that_stays_away_ends_the_command_and_keeps_what_is_complete(monkeypatch):
    monkeypatch.setattr("mammogan.design.storage._PATIENCE_S", -1)

    def ask() -> None:
        raise OSError("gone")

    with pytest.raises(DesignError, match=r"has not answered .*; bring it back and run the command again"):
        patiently(ask, "postgresql://db/a", lambda _: None)


def test_the_cause_of_an_error_of_the_storage_is_what_lies_behind_it():
    err = optuna.exceptions.StorageInternalError("wrapped")
    err.__cause__ = OSError("no route\nto host")
    assert cause(err) == "OSError: no route"


def test_a_study_is_kept_in_a_journal_file_too(tmp_path):
    where = Where(str(tmp_path / "optuna.journal"), tmp_path / "lock", workers=1)
    assert len(study("test", where, ARRAYS["l9"], FACTORS, Recorded(tmp_path), replicates=2)) == 18


def test_a_study_of_another_sampler_cannot_be_run_to_its_end():
    with pytest.raises(DesignError, match="the study has no TaguchiSampler"):
        optimize(optuna.create_study(), lambda trial: 0.0)


def test_two_processes_never_pop_the_same_enqueued_trial(tmp_path):
    address = f"sqlite:///{tmp_path}/optuna.db"
    with quiet_optuna(), opened(address) as one, opened(address) as other:
        record = optuna.create_study(study_name="queue", storage=one)
        record.enqueue_trial({"x": 1})
        (waiting,) = record.get_trials()
        running = optuna.trial.TrialState.RUNNING
        assert one.set_trial_state_values(waiting._trial_id, running)
        assert not other.set_trial_state_values(waiting._trial_id, running)


@pytest.mark.slow
@pytest.mark.parametrize("repeat", range(10))
def test_on_sqlite_each_run_is_complete_once_though_runs_fail_and_processes_are_killed(tmp_path, repeat):
    assert stress.stress(f"sqlite:///{tmp_path}/optuna.db")[0] == expected()


@pytest.mark.slow
@pytest.mark.parametrize("repeat", range(10))
def test_on_postgresql_each_run_is_complete_once_though_runs_fail_and_processes_are_killed(repeat):
    with postgres() as server:
        assert stress.stress(server.url("stress"))[0] == expected()


@pytest.mark.slow
def test_a_database_that_is_restarted_in_mid_study_loses_nothing(tmp_path):
    import threading

    with postgres() as server:

        def restart() -> None:
            while len(list(tmp_path.glob("*.done"))) < 3:
                time.sleep(0.05)
            server.stop()
            time.sleep(4)
            server.start()

        url = server.url("restarted")
        chaos = threading.Thread(target=restart)
        chaos.start()
        where = Where(url, tmp_path / "lock", workers=2, heartbeat_s=5)
        frame = study("test", where, ARRAYS["l9"], FACTORS, Recorded(tmp_path, seconds=1), max_retries=3)
        chaos.join()
    assert frame["row"].tolist() == list(range(1, 10))


@dataclass(frozen=True)
class OnNode:
    """Waits, and says on which node it ran."""

    folder: Path

    def __call__(self, cell: Cell, report: Report) -> Response:
        import ray

        node = ray.get_runtime_context().get_node_id()
        (self.folder / f"{cell.row}-{node}.started").touch()
        time.sleep(2)
        return Response(float(cell.row), {"node": node})


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_a_study_on_a_ray_cluster_survives_the_loss_of_a_node(tmp_path):
    pytest.importorskip("ray", reason='Ray is not installed: pip install "mammogan[ray]"')
    import threading

    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    node = cluster.add_node(num_cpus=1)

    def lose_the_node() -> None:
        while len(list(tmp_path.glob("*.started"))) < 4:
            time.sleep(0.1)
        cluster.remove_node(node, allow_graceful=False)

    chaos = threading.Thread(target=lose_the_node)
    chaos.start()
    try:
        resources = Resources(cluster.address, cpus=1)
        where = Where(f"sqlite:///{tmp_path}/optuna.db", tmp_path / "lock", workers=2, cluster=resources)
        frame = study("test", where, ARRAYS["l9"], FACTORS, OnNode(tmp_path), max_retries=1)
    finally:
        chaos.join(timeout=60)
        cluster.shutdown()
    assert frame["row"].tolist() == list(range(1, 10))
    assert frame["fid"].tolist() == [float(row) for row in range(1, 10)]
    assert frame["node"].nunique() == 2
    assert len(list(tmp_path.glob("*.started"))) > 9  # a run was lost with its node and went out again


def test_a_ray_cluster_without_ray_is_refused(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    where = Where(f"sqlite:///{tmp_path}/optuna.db", tmp_path / "lock", workers=1, cluster=Resources("auto"))
    with pytest.raises(DesignError, match="needs the package ray: pip install"):
        study("test", where, ARRAYS["l9"], FACTORS, Recorded(tmp_path))


def test_a_database_without_its_driver_is_refused():
    if driver():
        pytest.skip("a driver for PostgreSQL is installed")
    with (
        pytest.raises(DesignError, match=r'needs a driver .*pip install "mammogan\[postgres\]"'),
        opened("postgresql://h/a"),
    ):
        pass
