"""A stop by signal comes at the end of the block, not within."""

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from mammogan.training.interrupt import waiting


@pytest.fixture(autouse=True)
def handlers_as_before() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


def test_ctrl_c_is_held_back_to_the_end_of_the_block() -> None:
    done = []

    def work() -> None:
        with waiting() as stop:
            send(signal.SIGINT)
            done.append(len(stop.signals))

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == [1]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_the_handler_of_before_gets_the_signal_and_is_back() -> None:
    got: list[int] = []

    def owner(number: int, frame: object) -> None:
        got.append(number)

    signal.signal(signal.SIGTERM, owner)
    with waiting():
        send(signal.SIGTERM)
        assert got == []
    assert got == [signal.SIGTERM]
    assert signal.getsignal(signal.SIGTERM) is owner


def test_a_block_that_fails_puts_the_handlers_back() -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ValueError, match="broken"), waiting():
        raise ValueError("broken")
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("handler", [signal.SIG_IGN, signal.SIG_DFL])
def test_ignored_and_default_signals_are_left_alone(handler: signal.Handlers) -> None:
    signal.signal(signal.SIGTERM, handler)
    with waiting():
        assert signal.getsignal(signal.SIGTERM) == handler


def test_a_block_in_another_thread_changes_no_handler() -> None:
    before, within = signal.getsignal(signal.SIGINT), []

    def block() -> None:
        with waiting():
            within.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=block)
    thread.start()
    thread.join(5)
    assert within == [before]
