"""Checkpoints: the last two, whole, of this run."""

import errno
import logging
from pathlib import Path

import pytest
import torch

from mammogan.training import checkpoint


def test_the_state_comes_back_and_only_the_last_two_are_kept(tmp_path: Path) -> None:
    for n in (0, 100, 200, 1000):
        checkpoint.save(tmp_path, n, {"w": torch.full((3,), float(n))}, "run")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["000000200.pt", "000001000.pt"]
    state = checkpoint.load(tmp_path, "run")
    assert state is not None
    assert state["w"].tolist() == [1000.0] * 3


def test_without_a_checkpoint_there_is_nothing_to_load(tmp_path: Path) -> None:
    assert checkpoint.load(tmp_path / "new", "run") is None


@pytest.mark.parametrize("damage", ["cut", "flip", "empty"])
def test_a_damaged_checkpoint_is_skipped_for_the_one_before(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    for n in (1, 2):
        checkpoint.save(tmp_path, n, {"n": n}, "run")
    path = tmp_path / "000000002.pt"
    content = bytearray(path.read_bytes())
    content[-40] ^= 1
    path.write_bytes({"cut": bytes(content[: len(content) // 2]), "flip": bytes(content), "empty": b""}[damage])
    with caplog.at_level(logging.WARNING):
        assert checkpoint.load(tmp_path, "run") == {"n": 1}
    assert "000000002.pt is damaged and is skipped" in caplog.text


def test_checkpoints_of_another_run_are_removed_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoint.save(tmp_path, 900, {"n": 900}, "other")
    with caplog.at_level(logging.WARNING):
        assert checkpoint.load(tmp_path, "run") is None
    assert "belongs to another configuration or other data: training starts afresh" in caplog.text
    checkpoint.save(tmp_path, 1, {"n": 1}, "run")
    assert checkpoint.load(tmp_path, "run") == {"n": 1}


def test_a_full_disk_keeps_the_checkpoint_before_and_warns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoint.save(tmp_path, 1, {"n": 1}, "run")

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
        patch.setattr(Path, "open", full)
        checkpoint.save(tmp_path, 2, {"n": 2}, "run")
    assert "no checkpoint after 2 images" in caplog.text
    assert [path.name for path in tmp_path.iterdir()] == ["000000001.pt"]
    assert checkpoint.load(tmp_path, "run") == {"n": 1}
