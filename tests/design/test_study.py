import errno
import math
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import design_objectives
import optuna
import pandas as pd
import psutil
import pytest
from design_objectives import FACTORS, Recorded
from filelock import FileLock
from optuna.trial import FrozenTrial, TrialState

from mammogan.design import worker
from mammogan.design.arrays import ARRAYS
from mammogan.design.claims import ROW
from mammogan.design.crossed import Cell
from mammogan.design.sampler import TaguchiSampler
from mammogan.design.storage import opened
from mammogan.design.study import Where, study
from mammogan.design.worker import News, Objective, Response
from mammogan.errors import DesignError

RunStudy = Callable[..., pd.DataFrame]


@pytest.fixture
def run_study(tmp_path) -> RunStudy:
    def run(
        objective: Objective, workers: int = 2, max_retries: int = 1, name: str = "test", replicates: int = 1
    ) -> pd.DataFrame:
        where = Where(f"sqlite:///{tmp_path}/optuna.db", tmp_path / f"{name}.lock", workers)
        options = {"order": "array", "max_retries": max_retries, "replicates": replicates}
        return study(name, where, ARRAYS["l9"], FACTORS, objective, **options)

    return run


@pytest.fixture
def complete_study(tmp_path, run_study) -> pd.DataFrame:
    """A study whose rows were run here, without worker processes."""
    with opened(f"sqlite:///{tmp_path}/optuna.db") as storage:
        sampler = TaguchiSampler(ARRAYS["l9"], FACTORS)
        record = optuna.create_study(study_name="test", storage=storage, sampler=sampler)
        record.optimize(design_objectives.suggest_all)
    return run_study(Recorded(tmp_path))


def trials_in(folder: Path, name: str) -> list[FrozenTrial]:
    with opened(f"sqlite:///{folder}/optuna.db") as storage:
        return optuna.load_study(study_name=name, storage=storage).get_trials()


def starts(folder: Path) -> Counter[int]:
    return Counter(int(path.name.split("-")[1]) for path in folder.glob("*.started"))


def test_failures_and_crashes_go_out_again_until_each_row_has_one_response(tmp_path, run_study, caplog, capsys):
    frame = run_study(Recorded(tmp_path, failures={2: 1}, deaths={5: 1}))
    assert list(frame.columns) == ["row", "replicate", "lr", "batch_size", "epochs", "fid", "state", "retries", "pid"]
    assert frame["row"].tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert frame["fid"].tolist() == [10.0 * row for row in range(1, 10)]
    assert frame["epochs"].tolist() == [250, 500, 750, 500, 750, 250, 750, 250, 500]
    assert set(frame["state"]) == {"COMPLETE"}
    assert frame["retries"].tolist() == [0, 1, 0, 0, 1, 0, 0, 0, 0]
    assert starts(tmp_path) == {row: 1 + (row in (2, 5)) for row in range(1, 10)}
    errors = {
        t.system_attrs[ROW]: t.user_attrs["error"] for t in trials_in(tmp_path, "test") if "error" in t.user_attrs
    }
    assert errors[2] == "RuntimeError: no luck in row 2"
    assert "died with exit code 3" in errors[5]
    assert "row 2 failed: RuntimeError: no luck in row 2\nTraceback" in caplog.text
    assert "study test: 9.0/9 runs" in capsys.readouterr().err


def test_a_complete_study_is_read_without_running_anything(tmp_path, complete_study):
    assert complete_study["fid"].tolist() == [250, 500, 750, 500, 750, 250, 750, 250, 500]
    assert not starts(tmp_path)


def test_rows_that_fail_for_good_are_named_and_a_new_call_tries_them_afresh(tmp_path, run_study):
    objective = Recorded(tmp_path, failures={3: 1, 8: 1})
    with pytest.raises(DesignError) as caught:
        run_study(objective, workers=1, max_retries=0)
    assert "rows [3, 8] have no response" in str(caught.value)
    assert "row 3 (lr 0.0001, batch_size 64, epochs 750), tried 1 times: RuntimeError: no luck" in str(caught.value)
    assert "run the command again" in str(caught.value)
    assert run_study(objective, workers=1, max_retries=0)["row"].tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert starts(tmp_path) == {row: 1 + (row in (3, 8)) for row in range(1, 10)}


def test_a_worker_that_leaves_quietly_in_the_middle_of_a_row_is_noticed(run_study):
    with pytest.raises(DesignError, match=r"rows \[1\] have no response:\n.*its worker process died"):
        run_study(design_objectives.exits_quietly, workers=1, max_retries=0)


def test_workers_that_cannot_start_end_the_study_with_their_reason(run_study):
    with pytest.raises(DesignError, match="could not take a row: ValueError: invalid literal"):
        run_study(design_objectives.CannotBeLoaded(), workers=1, max_retries=0)


def test_an_objective_that_no_process_can_import_is_refused(run_study):
    with pytest.raises(DesignError, match="cannot be sent to a worker process"):
        run_study(lambda cell, report: Response(1.0))


def test_a_storage_that_cannot_be_opened_is_named(tmp_path):
    url = f"sqlite:///{tmp_path}/missing/optuna.db"
    with pytest.raises(DesignError, match=r"missing/optuna.db cannot be opened \(OperationalError"):
        study("test", Where(url, tmp_path / "l", workers=1), ARRAYS["l9"], FACTORS, Recorded(tmp_path))


@pytest.mark.usefixtures("complete_study")
def test_a_study_of_another_design_under_the_same_name_is_refused(tmp_path):
    url = f"sqlite:///{tmp_path}/optuna.db"
    with pytest.raises(DesignError, match="holds another design"):
        study("test", Where(url, tmp_path / "l", workers=1), ARRAYS["paper"], FACTORS, Recorded(tmp_path))


@pytest.mark.usefixtures("complete_study")
def test_a_second_command_waits_for_the_first(tmp_path, run_study, monkeypatch):
    first = FileLock(tmp_path / "test.lock", is_singleton=False)
    first.acquire()
    messages = []

    def end_the_first(message: str, *arguments: object) -> None:
        messages.append(message % arguments)
        first.release()

    monkeypatch.setattr("mammogan.design.study._log.warning", end_the_first)
    assert len(run_study(Recorded(tmp_path))) == 9
    assert messages == ["study test is being run by another command; waiting for it to end"]


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        (design_objectives.returns_infinity, "the response is inf, not a finite number"),
        (design_objectives.returns_a_column_of_the_study, "attrs called lr; these columns are the study's own"),
    ],
)
def test_a_response_that_does_not_fit_fails_its_run(objective, message):
    cell = Cell(1, 1, {"lr": 0.1}, {})
    news = worker.answer(objective, cell, ["lr"], lambda _: None)
    assert news.state == "failed"
    assert message in news.error


@pytest.mark.parametrize(
    ("error", "told_as"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device", "checkpoints/000000064.pt"),
            "no space left on the disk while writing checkpoints/000000064.pt; "
            "free some space and run the command again",
        ),
        (
            OSError(errno.ENOSPC, "No space left on device"),
            "no space left on the disk; free some space and run the command again",
        ),
        (
            RuntimeError("(sqlite3.OperationalError) database or disk is full"),
            "no space left on the disk; free some space and run the command again",
        ),
        (DesignError("mend it"), "DesignError: mend it"),
    ],
)
def test_what_the_user_can_mend_is_told_in_one_line(error, told_as):
    assert worker.told(error) == (told_as, "")


def test_any_other_error_is_told_with_its_traceback():
    try:
        raise PermissionError("no")
    except PermissionError as err:
        line, details = worker.told(err)
    assert line == "PermissionError: no"
    assert details.startswith("Traceback")


def test_a_full_disk_fails_its_row_without_a_traceback(run_study, caplog):
    with pytest.raises(
        DesignError, match=r"tried 1 times: no space left on the disk while writing checkpoints/0+64\.pt"
    ):
        run_study(design_objectives.finds_the_disk_full, workers=1, max_retries=0)
    assert "row 9 failed: no space left on the disk" in caplog.text
    assert "Traceback" not in caplog.text


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL, and SIGINT goes to whole consoles")
@pytest.mark.parametrize("end", ["SIGKILL", "SIGINT"])
def test_a_killed_study_loses_no_row_runs_none_twice_and_leaves_no_orphan(end, tmp_path, run_study):
    heed = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"  # ignored in background jobs
    code = f"{heed}; import design_objectives; design_objectives.run_slow_study({str(tmp_path)!r})"
    parent = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parent,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    wait_until(lambda: len(list(tmp_path.glob("*.done"))) >= 4)
    n_started = len(list(tmp_path.glob("*.started")))
    wait_until(lambda: len(list(tmp_path.glob("*.started"))) > n_started)  # so that a row is at its beginning
    if end == "SIGINT":
        os.killpg(parent.pid, signal.SIGINT)  # as Ctrl-C does: to the workers too
    else:
        parent.kill()
    stderr = parent.communicate()[1]
    pids = {int(path.stem.split("-")[4]) for path in tmp_path.glob("*.started")}
    wait_until(lambda: not any(is_alive(pid) for pid in pids))
    before = trials_in(tmp_path, "slow")
    complete_before = {t.number for t in before if t.state == TrialState.COMPLETE}
    in_flight = [t.system_attrs.get(ROW) for t in before if t.state == TrialState.RUNNING]  # None: not yet claimed
    assert len(pids) == 2
    assert 2 <= len(complete_before) < 9
    assert set(in_flight) - {None}
    if end == "SIGINT":
        assert len(list(tmp_path.glob("*.left"))) == len(list(tmp_path.glob("*.started")))  # each `finally` was run
        assert stderr.rstrip().endswith("KeyboardInterrupt")
        assert stderr.count("Traceback") == 1  # the parent's; its workers stay silent

    frame = run_study(Recorded(tmp_path), workers=1, max_retries=0, name="slow")

    after = trials_in(tmp_path, "slow")
    assert frame["row"].tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert set(frame["retries"]) == {0}  # a row that was killed is not to blame
    assert Counter(t.system_attrs[ROW] for t in after if t.state == TrialState.COMPLETE) == Counter(range(1, 10))
    assert complete_before <= {t.number for t in after if t.state == TrialState.COMPLETE}
    assert [t.system_attrs.get(ROW) for t in after if t.state == TrialState.FAIL] == in_flight


def wait_until(condition: Callable[[], bool], patience_s: float = 60) -> None:
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline, "the condition never came true"
        time.sleep(0.05)


def is_alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_progress_counts_fractions_of_rows_and_never_leaves_zero_to_one(monkeypatch):
    told: list[News] = []

    class Pipe:
        def send(self, news: News) -> None:
            told.append(news)

    clock = iter([10.0, 10.1, 11.0, 12.0])
    monkeypatch.setattr(worker.time, "monotonic", lambda: next(clock))
    report = worker._reporter(Pipe())
    for fraction in (0.25, 0.3, 7.0, math.nan):
        report(fraction)
    assert [news.fraction for news in told][:2] == [0.25, 1.0]
