"""The MLflow store of one checkout: mlflow.db and mlruns/ at its root, safe when many processes start.

Why this layout and these precautions: docs/adr/0005-mlflow-store-and-model-format.md.
"""

import contextlib
import logging
import os
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlparse
from urllib.request import url2pathname

import filelock

from mammogan import atomic
from mammogan.errors import TrackingError

_SQLITE = "sqlite:///"
_LOCK_TIMEOUT_S = 120.0
_MODE = "workflowType=machine_learning"
_OURS = "mammogan.store"  # tag on the experiments that this module made
_CHOSEN_HERE = "MAMMOGAN_TRACKING_URI"  # tells the URI that `setup` set from one that a user did


def environment(root: Path) -> dict[str, str]:
    """The environment in which the library, `mlflow ui` and `mlflow models serve` see the store at `root`.

    An explicit MLFLOW_TRACKING_URI wins.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    if not uri or uri == os.environ.get(_CHOSEN_HERE):
        uri = f"{_SQLITE}{root.resolve().as_posix()}/mlflow.db"
    backend = {} if urlparse(uri).scheme in ("http", "https") else {"MLFLOW_BACKEND_STORE_URI": uri}
    return backend | {
        "MLFLOW_TRACKING_URI": uri,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "PATH": _path_with_our_programs(),
        "MLFLOW_LOGGING_LEVEL": os.environ.get("MLFLOW_LOGGING_LEVEL", "WARNING"),
    }


def setup(root: Path) -> str:
    """Point MLflow at the store of `root`, making it if it is missing; returns its URI.

    Any number of processes may call it at the same time. Changes os.environ, so that child processes agree.

    Raises:
        TrackingError: the store cannot be opened, another process holds it, or the checkout was moved.
    """
    explicit = os.environ.get("MLFLOW_TRACKING_URI")
    os.environ.update(environment(root))
    uri = os.environ["MLFLOW_TRACKING_URI"]
    if uri != explicit:
        os.environ[_CHOSEN_HERE] = uri
    logging.getLogger("alembic").setLevel(logging.WARNING)
    import mlflow

    logging.getLogger("mlflow").setLevel(os.environ["MLFLOW_LOGGING_LEVEL"])
    mlflow.set_tracking_uri(uri)
    with lock(root, "mlflow"), clear_errors(f"opening the tracking store {uri}"):
        if uri.startswith(_SQLITE):
            with _unfinished_store_is_made_afresh(root, Path(uri.removeprefix(_SQLITE))):
                experiments = mlflow.MlflowClient().search_experiments()  # the first touch makes the tables
        else:
            experiments = mlflow.MlflowClient().search_experiments(max_results=1)
    if _is_embedded(root, uri):
        _refuse_a_moved_store(root, experiments)
    return uri


def experiment(root: Path, name: str, description: str) -> str:
    """The id of the experiment `name`, made with `description` (Markdown, shown by the UI) if it is new.

    Raises:
        TrackingError: the experiment was deleted, or the store does not answer.
    """
    uri = setup(root)
    import mlflow

    client = mlflow.MlflowClient()
    with lock(root, "mlflow"), clear_errors(f"opening the experiment {name!r}"):
        found = client.get_experiment_by_name(name)
        if found is None:
            # Without a location MLflow would write below the current directory of whoever comes first.
            location = (root.resolve() / "mlruns" / name).as_uri() if _is_embedded(root, uri) else None
            tags = {_OURS: "1", "mlflow.note.content": description}
            return str(client.create_experiment(name, artifact_location=location, tags=tags))
        if found.lifecycle_stage != "active":
            raise TrackingError(
                f"experiment {name!r} was deleted; bring it back with "
                f"`mlflow experiments restore --experiment-id {found.experiment_id}`"
            )
        if found.tags.get("mlflow.note.content") != description:
            client.set_experiment_tag(found.experiment_id, "mlflow.note.content", description)
        return str(found.experiment_id)


def links(root: Path, server: str) -> list[tuple[str, str]]:
    """Titles and addresses of the pages worth opening on an `mlflow ui` at `server`, such as http://127.0.0.1:5000.

    One page for each experiment of mammogan, with the charts of the runs of its newest study (or of all its runs)
    side by side, then the registry. Without the last part of the address the UI opens in its mode for language models
    and hides them.
    """
    setup(root)
    import mlflow

    client = mlflow.MlflowClient()
    pages = []
    with clear_errors("listing the experiments"):
        experiments = [one for one in client.search_experiments() if _OURS in one.tags]
        for one in sorted(experiments, key=lambda one: str(one.name)):
            trials = "tags.`mammogan.kind` = 'trial'"
            newest = client.search_runs([one.experiment_id], trials, max_results=1, order_by=["start_time DESC"])
            wanted = [f"{trials} and tags.`mammogan.study` = '{run.data.tags['mammogan.study']}'" for run in newest]
            only = f"&searchFilter={quote(wanted[0])}" if wanted else ""
            address = f"{server}/#/experiments/{one.experiment_id}/runs?compareRunsMode=CHART{only}&{_MODE}"
            pages.append((str(one.name), address))
    return [*pages, ("registered models", f"{server}/#/models?{_MODE}")]


@contextlib.contextmanager
def lock(root: Path, name: str) -> Iterator[None]:
    """Let one process at a time pass.

    Raises:
        TrackingError: another process has held the lock for two minutes.
    """
    path = root.resolve() / ".locks" / f"{name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with filelock.FileLock(path, timeout=_LOCK_TIMEOUT_S):
            yield
    except filelock.Timeout:
        raise TrackingError(
            f"{path} has been held for {_LOCK_TIMEOUT_S:.0f} s; another mammogan process is busy "
            f"with the tracking store: wait for it or end it, then run the command again"
        ) from None


@contextlib.contextmanager
def clear_errors(doing: str) -> Iterator[None]:
    """Turn what MLflow and its database raise into a TrackingError that says what was being done."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError) as err:
        reason = " ".join(str(err).partition("[SQL:")[0].split())[:500]
        raise TrackingError(
            f"{doing} failed: {reason}; check MLFLOW_TRACKING_URI, that the disk has room "
            f"and that no other program locks the store"
        ) from err


def _path_with_our_programs() -> str:
    # `mlflow models serve` starts uvicorn by its bare name, which an environment that is not activated lacks.
    ours = str(Path(sys.executable).parent)
    path = os.environ.get("PATH", os.defpath)
    return path if path.split(os.pathsep)[0] == ours else ours + os.pathsep + path


def _is_embedded(root: Path, uri: str) -> bool:
    return uri.startswith(_SQLITE) and Path(uri.removeprefix(_SQLITE)).resolve() == root.resolve() / "mlflow.db"


@contextlib.contextmanager
def _unfinished_store_is_made_afresh(root: Path, database: Path) -> Iterator[None]:
    """Hold a mark while MLflow makes its tables; a mark found on entry tells of a process killed there.

    MLflow cannot repair tables made by half, and nothing can have been logged to them.
    """
    mark = root.resolve() / ".locks" / "mlflow-being-made"
    if mark.exists() and not _holds_runs(database):
        for suffix in ("", "-wal", "-shm", "-journal"):
            database.with_name(database.name + suffix).unlink(missing_ok=True)
    if database.exists():
        mark.unlink(missing_ok=True)
        yield
        return
    database.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_text(mark, "mlflow.db is being made\n")
    with contextlib.closing(sqlite3.connect(database)) as connection:
        # Readers and the writer no longer wait for one another. Before MLflow comes: SQLite changes the mode only
        # while nobody else has the file open, and says nothing when it does not.
        connection.execute("pragma journal_mode=wal")
    yield
    mark.unlink()


def _holds_runs(database: Path) -> bool:
    if not database.exists():
        return False
    with contextlib.closing(sqlite3.connect(database)) as connection:
        try:
            return bool(connection.execute("select count(*) from runs").fetchone()[0])
        except sqlite3.DatabaseError:
            return False


def _refuse_a_moved_store(root: Path, experiments: list[Any]) -> None:
    mlruns = root.resolve() / "mlruns"
    for one in experiments:
        if _OURS not in one.tags:
            continue
        folder = Path(url2pathname(urlparse(one.artifact_location).path))
        if not folder.is_relative_to(mlruns):
            raise TrackingError(
                f"{root.resolve() / 'mlflow.db'} was made for another folder: it expects the files of "
                f"experiment {one.name!r} in {folder}, not below {mlruns}. Move the checkout back, or put "
                f"mlflow.db* and mlruns/ aside and run `mammogan register dcgan` and `mammogan register "
                f"stylegan`, which fill a new registry from studies/"
            )
