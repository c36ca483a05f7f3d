"""Where the weights of an earlier run lie, on this machine after the call."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mammogan.errors import TrackingError
from mammogan.tracking.store import clear_errors, setup

FOLDER = "weights"  # among the artifacts of a run


def find(root: Path, start: str) -> Path:
    """The folder with the weights that `train.init_from` names.

    `start` is a folder, `runs:/RUN_ID`, `models:/NAME@ALIAS` or `models:/NAME/VERSION`.

    Raises:
        TrackingError: there is no such folder, run or version, or it kept no weights of D.
    """
    if start.startswith(("runs:/", "models:/")):
        return of_run(root, start)
    folder = Path(start)
    if not folder.is_absolute():
        folder = root / folder
    if not folder.is_dir():
        raise TrackingError(
            f"train.init_from: {folder} is no folder; name the folder of a run under checkpoints/, runs:/RUN_ID or "
            "models:/NAME@ALIAS"
        )
    return folder


def of_run(root: Path, uri: str) -> Path:
    """The folder with the weights of G and D that a run kept: `runs:/RUN_ID`, or the run of a version, `models:/...`.

    Raises:
        TrackingError: there is no such run or version, or it kept none.
    """
    setup(root)
    import mlflow

    client = mlflow.MlflowClient()
    with clear_errors(f"looking for the weights of {uri}"):
        run_id = uri.removeprefix("runs:/").strip("/") if uri.startswith("runs:/") else _run_of(client, uri)
        with _absent(
            f"{uri}: there is no run {run_id or 'without an id'} in the tracking store; `mammogan ui` shows the runs"
        ):
            client.get_run(run_id)
        if not any(file.path == FOLDER for file in client.list_artifacts(run_id)):
            raise TrackingError(
                f"the run {run_id} of {uri} kept no weights of its networks; train it again, or name the folder of a "
                "run under checkpoints/"
            )
        return Path(client.download_artifacts(run_id, FOLDER))


def _run_of(client: Any, uri: str) -> str:
    path = uri.removeprefix("models:/")
    name, sign, version = path.rpartition("@" if "@" in path else "/")
    if not name or not version:
        raise TrackingError(f"{uri} names no version of a model; write models:/NAME@ALIAS or models:/NAME/VERSION")
    with _absent(f"{uri}: there is no registered model {name}; there are: {_known(client)}"):
        client.get_registered_model(name)
    if sign == "@":
        with _absent(f"{uri}: {name} has no alias {version}"):
            return str(client.get_model_version_by_alias(name, version).run_id)
    with _absent(f"{uri}: {name} has no version {version}"):
        return str(client.get_model_version(name, version).run_id)


def _known(client: Any) -> str:
    return ", ".join(sorted(model.name for model in client.search_registered_models())) or "none"


@contextmanager
def _absent(sentence: str) -> Iterator[None]:
    """Say `sentence` where MLflow does not know a name, or calls it none."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as err:
        if err.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        raise TrackingError(sentence) from err
