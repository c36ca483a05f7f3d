"""What a run writes beside its checkpoints, on a full disk."""

import errno
from types import SimpleNamespace

import numpy as np
import pytest

from mammogan import atomic, run


@pytest.fixture
def tracked():
    def ignore(*_):
        pass

    return SimpleNamespace(log=ignore, log_file=ignore, log_image=ignore, tag=ignore)


def test_a_full_disk_costs_a_record_and_a_warning_and_the_history_is_whole_again_after_it(
    tmp_path, tracked, monkeypatch, caplog
):
    record = run._Record(tmp_path, None, tracked)
    record.log({"loss/G": 1.0}, 4)

    def full(path):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(atomic, "new_file", full)
        record.log({"loss/G": 2.0}, 8)
        record.note("after 8 images: all black")
        record._show(np.zeros((36, 32, 32), np.uint8), 8)
    for name in ("history.csv", "events.txt", "samples-000000008.png"):
        assert f"{name} is not written: No space left on device; the run goes on" in caplog.text
    assert list(run._read_history(record.history)) == [4]
    record.log({"loss/G": 3.0}, 12)
    assert list(run._read_history(record.history)) == [4, 8, 12]


def test_another_error_of_the_disk_is_not_passed_over(tmp_path, tracked, monkeypatch):
    def broken(path):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(atomic, "new_file", broken)
    with pytest.raises(OSError, match="Input/output"):
        run._Record(tmp_path, None, tracked).log({"loss/G": 1.0}, 4)
