"""Where a study is kept: SQLite or a journal file on this machine, PostgreSQL for several."""

import contextlib
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import optuna
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
from sqlalchemy import event

from mammogan.errors import DesignError

GRACE = 4  # beats that a process may miss before it counts as dead

_T = TypeVar("_T")
_SQLITE_BUSY_S = 60.0
_PATIENCE_S = 300.0
_RETRY_EVERY_S = 2.0
_DRIVERS = {"postgresql": 'pip install "mammogan[postgres]"', "mysql": "pip install pymysql"}


def is_shared(address: str) -> bool:
    """Whether machines share the storage, so that only heartbeats tell which trials are alive."""
    return "://" in address and not address.startswith("sqlite")


@contextlib.contextmanager
def opened(address: str, heartbeat_s: int | None = None) -> Iterator[BaseStorage]:
    """The Optuna storage at an SQLAlchemy URL or, where the address is no URL, in a journal file; closed at the end.

    With `heartbeat_s` a trial whose process has been silent for GRACE times as long counts as dead.

    Raises:
        DesignError: it cannot be opened.
    """
    if "://" not in address:
        yield _journal(Path(address))
        return
    storage = _connect(address, heartbeat_s)
    try:
        yield storage
    finally:
        storage.remove_session()
        storage.engine.dispose()


def patiently(what: Callable[[], _T], address: str, say: Callable[[str], None]) -> _T:
    """The answer of the storage, waited for while it cannot be reached.

    Raises:
        DesignError: it has not answered for five minutes.
    """
    deadline = time.monotonic() + _PATIENCE_S
    told = False
    while True:
        try:
            return what()
        except (StorageInternalError, OSError) as err:
            if time.monotonic() > deadline:
                raise DesignError(
                    f"the study storage {shown(address)} has not answered for {_PATIENCE_S / 60:.0f} minutes "
                    f"({cause(err)}); bring it back and run the command again: what is complete is kept"
                ) from err
            if not told:
                say(f"the study storage {shown(address)} does not answer ({cause(err)}); trying again")
                told = True
            time.sleep(_RETRY_EVERY_S)


def shown(address: str) -> str:
    """The address without a password."""
    scheme, mark, rest = address.partition("://")
    user, at, host = rest.rpartition("@")
    return f"{scheme}{mark}{user.partition(':')[0]}{at}{host}" if at else address


def cause(err: BaseException) -> str:
    """Kind and first line of what lies behind an error of Optuna's storage."""
    root = err
    while root.__cause__ is not None and isinstance(root, StorageInternalError):
        root = root.__cause__
    text = str(root).strip()
    return f"{type(root).__name__}: {text.splitlines()[0] if text else ''}"[:300]


def _journal(path: Path) -> JournalStorage:
    if not path.parent.is_dir():
        raise DesignError(f"the study storage {path} cannot be opened: there is no folder {path.parent}; make it")
    try:
        return JournalStorage(JournalFileBackend(str(path)))
    except (OSError, ValueError) as err:
        raise DesignError(f"the study storage {path} cannot be opened ({cause(err)}); check the path") from err


def _connect(url: str, heartbeat_s: int | None) -> RDBStorage:
    sqlite = url.startswith("sqlite")
    engine: dict[str, Any] = {"connect_args": {"timeout": _SQLITE_BUSY_S}} if sqlite else {"pool_pre_ping": True}
    grace = None if heartbeat_s is None else GRACE * heartbeat_s
    for attempts_left in (2, 1, 0):  # processes that create the same fresh database may trip over each other
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ExperimentalWarning)  # heartbeats
                kind = _SQLiteStorage if sqlite else RDBStorage
                return kind(url, engine_kwargs=engine, heartbeat_interval=heartbeat_s, grace_period=grace)
        except ImportError as err:
            mend = _DRIVERS.get(url.partition("://")[0].partition("+")[0], "install it")
            raise DesignError(f"the study storage {shown(url)} needs a driver ({cause(err)}): {mend}") from err
        except Exception as err:
            if not attempts_left:
                raise DesignError(
                    f"the study storage {shown(url)} cannot be opened ({cause(err)}); check the address"
                ) from err
            time.sleep(0.5)
    raise AssertionError("unreachable")


class _SQLiteStorage(RDBStorage):
    """Takes the write lock before it reads a trial's state to change it.

    Optuna asks for the row FOR UPDATE, which SQLite ignores: two processes then both read WAITING, or RUNNING, and
    both pop the same enqueued trial, or end the same trial in two ways.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._write_first = threading.local()
        event.listen(self.engine, "begin", self._begin)

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        self._write_first.now = True
        try:
            return super().set_trial_state_values(trial_id, state, values)
        finally:
            self._write_first.now = False

    def _begin(self, connection: Any) -> None:
        if getattr(self._write_first, "now", False):
            connection.exec_driver_sql("BEGIN IMMEDIATE")


@contextlib.contextmanager
def quiet_optuna() -> Iterator[None]:
    """Optuna without its lines on each trial, and without its warnings that heartbeats are an experiment."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            warnings.filterwarnings("ignore", message="Heartbeat of storage is supposed")  # the driver beats itself
            yield
    finally:
        optuna.logging.set_verbosity(before)
