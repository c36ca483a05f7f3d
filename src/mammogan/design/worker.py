"""A worker process of a study: runs what its parent hands it, tells how far it is, and dies with its parent."""

import errno
import math
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any, Literal

from mammogan.design.crossed import Cell
from mammogan.errors import DesignError, MammoganError

OWN_COLUMNS = ("row", "replicate", "fid", "state", "retries", "error", "worker")

_REPORT_EVERY_S = 0.5
_ENDED_BY_SIGTERM = 143  # as a shell would report it
_DISK_FULL = ("No space left on device", "database or disk is full")  # in the words of safetensors and of SQLite


@dataclass(frozen=True)
class Response:
    """What a run gives back: the value that is analysed, and JSON scalars to keep beside it."""

    value: float
    attrs: Mapping[str, Any] = field(default_factory=dict)


Report = Callable[[float], None]
Objective = Callable[[Cell, Report], Response]


@dataclass(frozen=True)
class News:
    """What a worker tells its parent. `lost`: it was not the run that failed, but the machine under it."""

    state: Literal["running", "complete", "failed", "unfit"]
    fraction: float = 0.0
    response: Response | None = None
    error: str = ""
    details: str = ""
    lost: bool = False


def work(objective: bytes, parent: Connection) -> None:
    """Run in this process whatever comes through the pipe, until it closes. Entry point of the worker.

    The objective travels pickled, so that loading it cannot kill the start-up.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends its workers
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(_ENDED_BY_SIGTERM))  # so that open runs are closed on the way out
    threading.Thread(target=_die_with_parent, daemon=True).start()
    try:
        loaded = pickle.loads(objective)
    except Exception as err:
        error, details = told(err)
        parent.send(News("unfit", error=error, details=details))
        raise SystemExit(1) from None
    while True:
        try:
            cell, taken = parent.recv()
        except EOFError:
            return
        parent.send(answer(loaded, cell, taken, _reporter(parent)))


def answer(objective: Objective, cell: Cell, taken: Iterable[str], report: Report) -> News:
    """The response of one run, or why there is none. `taken` are the names that its attrs must not have."""
    try:
        response = objective(cell, report)
        if not math.isfinite(response.value):
            raise DesignError(f"the response is {response.value}, not a finite number; look at the run's log")
        clashes = sorted({*OWN_COLUMNS, *taken} & set(response.attrs))
        if clashes:
            raise DesignError(
                f"the objective returns attrs called {', '.join(clashes)}; these columns are the study's own"
            )
        return News("complete", 1.0, response)
    except Exception as err:
        error, details = told(err)
        return News("failed", error=error, details=details)


def _reporter(parent: Connection) -> Report:
    last = 0.0

    def report(fraction: float) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _REPORT_EVERY_S:
            last = now
            parent.send(News("running", min(max(float(fraction), 0.0), 1.0)))

    return report


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)  # no clean-up: the next command fails this trial and gives its run out again


def told(err: BaseException) -> tuple[str, str]:
    """One line on an error that is being handled, and its traceback unless the user can mend the cause."""
    if isinstance(err, MammoganError):
        return one_line(err), ""
    if _is_full_disk(err):
        file = f" while writing {err.filename}" if isinstance(err, OSError) and err.filename else ""
        return f"no space left on the disk{file}; free some space and run the command again", ""
    return one_line(err), traceback.format_exc()


def _is_full_disk(err: BaseException) -> bool:
    return getattr(err, "errno", None) == errno.ENOSPC or any(words in str(err) for words in _DISK_FULL)


def one_line(err: BaseException) -> str:
    """Kind and message of an error on one line, short enough for an attribute."""
    lines = str(err).strip().splitlines()
    message = " ".join(line.strip() for line in lines)
    return f"{type(err).__name__}: {message}"[:500]
