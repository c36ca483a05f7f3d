"""Worker processes on this machine: started when there is work, listened to, buried when they die."""

import contextlib
import multiprocessing
from collections.abc import Iterable
from dataclasses import dataclass
from multiprocessing import connection
from multiprocessing.context import SpawnProcess

from mammogan.design.crossed import Cell
from mammogan.design.worker import News, work


@dataclass
class _Worker:
    """A live worker process and the trial that it runs, if any."""

    process: SpawnProcess
    pipe: "connection.Connection[object, News]"
    trial: int | None = None


class Crew:
    """Runs trials in processes of its own; a process keeps what it has loaded from one trial to the next.

    Each worker has a pipe of its own: a shared queue has a lock that a killed worker would keep for ever.
    """

    def __init__(self, objective: bytes, taken: Iterable[str]) -> None:
        self._objective = objective
        self._taken = list(taken)
        self._started = 0
        self._crew: list[_Worker] = []

    def start(self, trial: int, cell: Cell) -> str:
        """Run `cell` as that trial; returns the name of the worker."""
        worker = next((one for one in self._crew if one.trial is None), None) or self._hire()
        worker.trial = trial
        with contextlib.suppress(OSError):  # it has just died: `wait` finds the pipe closed and tells
            worker.pipe.send((cell, self._taken))
        return worker.process.name

    def wait(self, timeout_s: float) -> list[tuple[int, News]]:
        """What the workers have told within that time, each with its trial; a dead one has failed its trial."""
        waiting = {worker.pipe: worker for worker in self._crew}
        heard = []
        for pipe in connection.wait(list(waiting), timeout=timeout_s):
            worker = waiting[pipe]  # type: ignore[index]
            try:
                news = worker.pipe.recv()
            except (EOFError, OSError):
                news = News("failed", error=self._bury(worker))
            if worker.trial is not None:
                heard.append((worker.trial, news))
            if news.state != "running":
                worker.trial = None
        return heard

    def end(self) -> None:
        """End all workers: idle ones by themselves, busy ones by SIGTERM and, after five seconds, SIGKILL."""
        for worker in self._crew:
            if worker.trial is None:
                worker.pipe.close()
            else:
                worker.process.terminate()
        for worker in self._crew:
            worker.process.join(timeout=5)
            worker.process.kill()
            worker.process.join()
            worker.pipe.close()
        self._crew.clear()

    def _hire(self) -> _Worker:
        self._started += 1
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe(duplex=True)
        name = f"worker {self._started}"
        process = context.Process(target=work, args=(self._objective, theirs), name=name)
        process.start()
        theirs.close()  # so that the pipe ends when the worker does
        worker = _Worker(process, ours)
        self._crew.append(worker)
        return worker

    def _bury(self, worker: _Worker) -> str:
        worker.process.join()
        worker.pipe.close()
        self._crew.remove(worker)
        code = worker.process.exitcode
        cause = " (killed, often for lack of memory)" if code == -9 else ""
        return f"its worker process died with exit code {code}{cause}"
