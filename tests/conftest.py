"""A small checkout in a temporary folder, and the command in it."""

from pathlib import Path

import pytest

from checkouts import Command, command_in, small_checkout


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    return small_checkout(tmp_path)


@pytest.fixture
def mammogan(checkout: Path) -> Command:
    return command_in(checkout)
