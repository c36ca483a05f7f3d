"""Files in several processes: all come back, a crash costs one, nothing runs ahead, no orphan stays."""

import subprocess
import sys
import time
from pathlib import Path

import pool_functions
import psutil
import pytest

from mammogan.data.pool import Killed, cores, outcomes

HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def importable_in_workers(monkeypatch):
    monkeypatch.syspath_prepend(str(HERE))


def test_every_item_comes_back_with_its_outcome():
    assert dict(outcomes(pool_functions.square, range(40), 2, "pool_functions")) == {k: k * k for k in range(40)}


def test_an_item_that_kills_its_process_costs_only_itself():
    found = dict(outcomes(pool_functions.square_or_die, range(24), 2, "pool_functions"))
    assert sorted(found) == list(range(24))
    assert [k for k, result in found.items() if isinstance(result, Killed)] == [3, 10, 17]
    assert all(result == k * k for k, result in found.items() if not isinstance(result, Killed))


def test_items_are_read_only_as_far_as_there_is_work():
    read = []

    def items():
        for k in range(30):
            read.append(k)
            yield k

    results = outcomes(pool_functions.square, items(), 2, "pool_functions")
    next(results)
    assert len(read) <= 5
    results.close()


def test_an_error_of_the_function_is_raised():
    with pytest.raises(ValueError, match="two"):
        list(outcomes(pool_functions.raise_at_two, range(5), 1, "pool_functions"))


def test_there_is_a_core():
    assert cores() >= 1


@pytest.mark.skipif(sys.platform == "win32", reason="Windows ends the children of a killed process itself")
def test_workers_of_a_killed_command_do_not_stay(tmp_path):
    code = f"import pool_functions; pool_functions.run_until_killed({str(tmp_path)!r})"
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=HERE, stderr=subprocess.DEVNULL)
    wait_until(lambda: len(list(tmp_path.glob("*.pid"))) == 2)
    parent.kill()
    parent.wait()
    pids = [int(path.stem) for path in tmp_path.glob("*.pid")]
    wait_until(lambda: not any(is_alive(pid) for pid in pids))


def wait_until(condition, patience_s=30):
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline, "the condition never came true"
        time.sleep(0.05)


def is_alive(pid):
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
