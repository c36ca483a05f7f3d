"""Work on many files in several processes: bounded memory, and a file that kills its process costs only itself."""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

_AHEAD = 2  # items in flight for each worker: none waits, and memory is bounded


class Killed:
    """The outcome of an item whose process died under it: a crash of a decoder, or a lack of memory."""


def outcomes(
    function: Callable[[T], R], items: Iterable[T], workers: int, preload: str
) -> Iterator[tuple[T, R | Killed]]:
    """Each item and what `function` made of it, in the order in which they are done.

    `items` is read only as far as there is work to hand out, so it may be a slow generator. `function` and the items
    are picklable, and what `function` raises is raised here; `preload` names the module that workers import first.
    When a process dies, all that was in flight is done again, one item at a time, so that only the guilty one is lost.
    """
    source = iter(items)
    while suspects := (yield from _together(function, source, workers, preload)):
        for item in suspects:
            try:
                with _executor(1, preload) as alone:
                    result: R | Killed = alone.submit(function, item).result()
            except BrokenProcessPool:
                result = Killed()
            yield item, result


def _together(
    function: Callable[[T], R], source: Iterator[T], workers: int, preload: str
) -> Generator[tuple[T, R], None, list[T]]:
    """Outcomes until `source` is empty or a process dies; returns what was in flight then."""
    executor = _executor(workers, preload)
    in_flight: dict[Future[R], T] = {}
    try:
        while True:
            while len(in_flight) < _AHEAD * workers:
                try:
                    item = next(source)
                except StopIteration:
                    break
                try:
                    in_flight[executor.submit(function, item)] = item
                except BrokenProcessPool:
                    return [*in_flight.values(), item]
            if not in_flight:
                return []
            for future in wait(in_flight, return_when=FIRST_COMPLETED).done:
                try:
                    result = future.result()
                except BrokenProcessPool:
                    return list(in_flight.values())
                yield in_flight.pop(future), result
    finally:
        executor.shutdown(cancel_futures=True)


def cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def _executor(workers: int, preload: str) -> ProcessPoolExecutor:
    if sys.platform == "win32":
        context = multiprocessing.get_context("spawn")
    else:  # forks of a process that has only the imports: fast, and free of the threads of this one
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([preload])
    return ProcessPoolExecutor(workers, context, initializer=_start)


def _start() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends its workers
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
