"""Small networks of both models, and a process that heeds Ctrl-C."""

import signal
from collections.abc import Iterator

import pytest

from small_networks import small_config, train_config

__all__ = ["small_config", "train_config"]


@pytest.fixture(autouse=True)
def heeds_ctrl_c() -> Iterator[None]:
    """Python's own handler, also where the tests run as a background job, in which the shell ignores SIGINT."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
