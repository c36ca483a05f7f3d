"""A small checkout in a temporary folder, and the command in it."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from checkouts import Command, command_in, small_checkout


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    return small_checkout(tmp_path)


@pytest.fixture
def mammogan(checkout: Path) -> Command:
    return command_in(checkout)


@pytest.fixture(scope="session", autouse=True)
def no_store_of_the_caller() -> None:
    """An MLFLOW_TRACKING_URI in the caller's environment would win over the stores that the tests make."""
    for name in [name for name in os.environ if name.startswith(("MLFLOW_", "DVC_"))]:
        del os.environ[name]


@pytest.fixture(scope="session", autouse=True)
def a_key_of_their_own(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The tests neither use nor make the id key of the person who runs them."""
    os.environ["MAMMOGAN_ID_KEY"] = str(tmp_path_factory.mktemp("key") / "id.key")


@pytest.fixture(autouse=True)
def no_leak_into_the_next_test() -> Iterator[None]:
    """A test that opens a store and does not put the environment back fails here, not in its successor."""
    before = os.environ.get("MLFLOW_TRACKING_URI")
    yield
    assert os.environ.get("MLFLOW_TRACKING_URI") == before, "the test leaves MLFLOW_TRACKING_URI behind"
