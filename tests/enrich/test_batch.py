"""Batches go in whole or not at all, and out to the byte."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mammogan.enrich import batch
from mammogan.enrich.batch import NewFile, NewRows
from mammogan.errors import DataError

TABLE = b"file,patient_id\r\nimages/a.png,p1\r\nimages/b.png,p2"


@pytest.fixture
def root(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(b"a")
    (tmp_path / "labels.csv").write_bytes(TABLE)
    return tmp_path


def state(root: Path) -> dict[str, bytes | None]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes() if path.is_file() else None for path in root.rglob("*")
    }


def add(root, name, *numbers):
    files = [f"new/{n}/{n}.png" for n in numbers]
    new = [NewFile(file, file.encode(), {"keys": {"labels.csv": file}}) for file in files]
    rows = NewRows("labels.csv", "file", [{"file": file, "synthetic": "1"} for file in files])
    batch.add(root, name, {"wish": {}}, new, [rows])


def test_a_batch_adds_files_rows_and_a_record(root):
    add(root, "b1", 1, 2)
    assert (root / "labels.csv").read_bytes() == (
        b"file,patient_id,synthetic\r\nimages/a.png,p1,0\r\nimages/b.png,p2,0\r\nnew/1/1.png,,1\r\nnew/2/2.png,,1\r\n"
    )
    assert (root / "new/1/1.png").read_bytes() == b"new/1/1.png"
    assert [one["id"] for one in batch.read_record(root)["batches"]] == ["b1"]
    assert not (root / ".mammogan/pending").exists()


@pytest.mark.parametrize("order", [("b1", "b2"), ("b2", "b1"), ("last", "last")])
def test_batches_leave_in_any_order_and_take_every_trace_along(root, order):
    before = state(root)
    add(root, "b1", 1, 2)
    add(root, "b2", 3)
    for name in order:
        assert batch.undo(root, name)[1] == []
    assert state(root) == before


def test_changes_of_others_to_the_table_stay(root):
    add(root, "b1", 1)
    with (root / "labels.csv").open("ab") as file:
        file.write(b"images/c.png,p3,0\r\n")
    _, notes = batch.undo(root, "b1")
    assert notes == ["labels.csv was changed by others since; their changes stay"]
    assert (root / "labels.csv").read_bytes() == TABLE + b"\r\nimages/c.png,p3"


def test_a_changed_file_is_not_deleted(root):
    add(root, "b1", 1)
    (root / "new/1/1.png").write_bytes(b"retouched")
    before = state(root)
    with pytest.raises(DataError, match=r"1 files of batch b1 were changed since, such as new/1/1\.png"):
        batch.undo(root, "b1")
    assert state(root) == before


def test_a_file_that_is_gone_does_not_hinder(root):
    before = state(root)
    add(root, "b1", 1)
    (root / "new/1/1.png").unlink()
    batch.undo(root, "b1")
    assert state(root) == before


def test_an_unknown_batch_is_told_the_known_ones(root):
    with pytest.raises(DataError, match="has no batch b9; nothing was added"):
        batch.undo(root, "b9")
    add(root, "b1", 1)
    with pytest.raises(DataError, match="has no batch b9; there are b1"):
        batch.undo(root, "b9")


def test_a_table_that_is_a_hard_link_into_a_cache_is_replaced_not_written_through(root):
    (root / "cache").mkdir()
    os.link(root / "labels.csv", root / "cache" / "0123")
    (root / "labels.csv").chmod(0o444)
    add(root, "b1", 1)
    assert (root / "cache" / "0123").read_bytes() == TABLE


@pytest.mark.parametrize("fails", ["_write", "_stage"])
def test_an_error_half_way_leaves_the_set_as_it_was(root, monkeypatch, fails):
    before = state(root)
    whole = getattr(batch, fails)

    def full_disk(*arguments):
        whole(*arguments)
        monkeypatch.setattr(batch, fails, whole)
        raise OSError("no space left on device")

    monkeypatch.setattr(batch, fails, full_disk)
    with pytest.raises(OSError, match="no space left"):
        add(root, "b1", 1, 2)
    assert state(root) == before


@pytest.mark.skipif(sys.platform == "win32", reason="kills by SIGKILL")
@pytest.mark.parametrize("moment", ["_write", "atomic.write_text"])
def test_killed_half_way_the_next_call_finds_the_way_back(root, moment):
    before = state(root)
    code = f"""
import os, signal
from pathlib import Path
from mammogan.enrich import batch
import test_batch
whole, calls = batch.{moment}, []
def kill(*arguments):
    calls.append(arguments)
    if len(calls) == {1 if moment == "_write" else 2}:
        os.kill(os.getpid(), signal.SIGKILL)
    whole(*arguments)
batch.{moment} = kill
test_batch.add(Path({str(root)!r}), "b1", 1, 2)
"""
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path}, check=False)
    assert done.returncode == -signal.SIGKILL
    assert (root / "new/1/1.png").exists()
    batch.recover(root)
    assert state(root) == before
    add(root, "b1", 1, 2)
    batch.undo(root, "b1")
    assert state(root) == before


def test_a_damaged_record_stops_before_anything_changes(root):
    add(root, "b1", 1)
    (root / ".mammogan/enriched.json").write_text("{")
    with pytest.raises(DataError, match="is damaged"):
        batch.undo(root, "b1")
