import errno
import os
from pathlib import Path

import pytest

from mammogan import atomic


def fill_the_disk(folder: Path) -> None:
    (folder / "a").write_text("second")
    raise OSError(errno.ENOSPC, "No space left on device")


def fill_the_disk_with(file: Path) -> None:
    file.write_text("sec")
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_folder_that_fails_half_way_leaves_the_earlier_one_whole(tmp_path):
    target = tmp_path / "prepared"
    with atomic.new_folder(target) as folder:
        (folder / "a").write_text("first")
    with pytest.raises(OSError, match="No space"), atomic.new_folder(target) as folder:
        fill_the_disk(folder)
    assert (target / "a").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["prepared"]


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    target = tmp_path / "prepared"
    for name in ("a", "b"):
        with atomic.new_folder(target) as folder:
            (folder / name).touch()
    assert [path.name for path in target.iterdir()] == ["b"]


def test_a_file_that_fails_half_way_leaves_the_earlier_one_whole(tmp_path):
    target = tmp_path / "best.json"
    atomic.write_text(target, "first")
    with pytest.raises(OSError, match="No space"), atomic.new_file(target) as partial:
        fill_the_disk_with(partial)
    assert target.read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["best.json"]


def test_text_has_unix_line_ends_everywhere(tmp_path):
    atomic.write_text(tmp_path / "a.csv", "x\ny\n")
    assert (tmp_path / "a.csv").read_bytes() == b"x\ny\n"


def test_a_folder_whose_replacement_was_killed_between_two_renames_comes_back(tmp_path):
    target = tmp_path / "studies"
    retired = tmp_path / ".studies.999999999.retired"
    retired.mkdir()
    (retired / "a").write_text("first")
    (tmp_path / ".studies.999999999.partial").mkdir()
    with pytest.raises(OSError, match="No space"), atomic.new_folder(target) as folder:
        fill_the_disk(folder)
    assert (target / "a").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["studies"]


def test_the_work_of_a_living_process_is_left_alone(tmp_path):
    other = tmp_path / f".studies.{os.getppid()}.partial"
    other.mkdir()
    with atomic.new_folder(tmp_path / "studies"):
        pass
    assert other.exists()
