"""Trials as tasks on a Ray cluster, each with resources of its own; Ray is an extra: pip install "mammogan[ray]"."""

import pickle
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from mammogan.design.crossed import Cell
from mammogan.design.worker import News, answer, one_line
from mammogan.errors import DesignError


@dataclass(frozen=True)
class Resources:
    """What one trial needs of the cluster at `address` ("auto": the one that this machine belongs to)."""

    address: str
    cpus: float = 1
    gpus: float = 0


class Cluster:
    """Runs trials as Ray tasks. No node touches the storage: the driver asks and tells.

    A task is never retried by Ray: a lost one is told as failed, so that the study counts and stores the attempt. A
    node that is lost with its task is not the run's fault; a process that crashes may be.

    Raises:
        DesignError: Ray is not installed, or no cluster answers at the address.
    """

    def __init__(self, resources: Resources, objective: bytes, taken: Iterable[str]) -> None:
        try:
            import ray
        except ImportError:
            raise DesignError('a Ray cluster needs the package ray: pip install "mammogan[ray]"') from None
        self._ray: Any = ray
        self._tasks: dict[Any, int] = {}
        self._connected = not self._ray.is_initialized()
        if self._connected:
            try:
                self._ray.init(address=resources.address, log_to_driver=False, configure_logging=False)
            except Exception as err:
                raise DesignError(
                    f"no Ray cluster answers at {resources.address!r} ({one_line(err)}); start one by "
                    f"`ray start --head`, or name its address as HOST:PORT"
                ) from err
        remote = self._ray.remote(_run).options(
            num_cpus=resources.cpus,
            num_gpus=resources.gpus,
            max_retries=0,
            name="mammogan trial",
        )
        self._submit: Callable[[Cell], Any] = lambda cell: remote.remote(objective, cell, list(taken))

    def start(self, trial: int, cell: Cell) -> str:
        """Run `cell` as that trial on some node; returns a name for it."""
        self._tasks[self._submit(cell)] = trial
        return "ray"

    def wait(self, timeout_s: float) -> list[tuple[int, News]]:
        """What has ended within that time, each with its trial."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            done, _ = self._ray.wait(list(self._tasks), num_returns=1, timeout=timeout_s)
        return [(self._tasks.pop(task), self._result(task)) for task in done]

    def end(self) -> None:
        """Stop what still runs, after five seconds by force, and leave the cluster."""
        for task in self._tasks:
            self._ray.cancel(task)
        if self._tasks:
            _, left = self._ray.wait(list(self._tasks), num_returns=len(self._tasks), timeout=5)
            for task in left:
                self._ray.cancel(task, force=True)
        self._tasks.clear()
        if self._connected:
            self._ray.shutdown()

    def _result(self, task: Any) -> News:
        try:
            news: News = self._ray.get(task)
        except self._ray.exceptions.RayError as err:
            return News("failed", error=one_line(err), lost=isinstance(err, self._ray.exceptions.NodeDiedError))
        return news


def _run(objective: bytes, cell: Cell, taken: list[str]) -> News:
    try:
        loaded = pickle.loads(objective)
    except Exception as err:
        return News("unfit", error=f"{one_line(err)}; every node needs mammogan and the same files")
    return answer(loaded, cell, taken, lambda _: None)
