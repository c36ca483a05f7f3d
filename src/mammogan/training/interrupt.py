"""A stop by signal waits for the end of a step, so that what is saved belongs together."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType


@dataclass
class Stop:
    """The signals that have come."""

    signals: list[tuple[int, FrameType | None]] = field(default_factory=list)

    def note(self, number: int, frame: FrameType | None) -> None:
        """Remember a signal; a handler."""
        self.signals.append((number, frame))


@contextmanager
def waiting() -> Iterator[Stop]:
    """Hold Ctrl-C and SIGTERM back while the block runs; at its end the handlers that were there before get them.

    Signals that the process ignores, or that would end it without a word, are left as they are. Only the main thread
    gets signals: elsewhere nothing is held back.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number, handler in before.items():
        if callable(handler):
            signal.signal(number, stop.note)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            if callable(handler):
                signal.signal(number, handler)
    for came, frame in stop.signals:
        owner = before[signal.Signals(came)]
        assert callable(owner)
        owner(came, frame)
