"""Where the weights of an earlier run lie, on this machine after the call."""

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
        if not any(file.path == FOLDER for file in client.list_artifacts(run_id)):
            raise TrackingError(
                f"the run {run_id} of {uri} kept no weights of its networks; train it again, or name the folder of a "
                "run under checkpoints/"
            )
        return Path(client.download_artifacts(run_id, FOLDER))


def _run_of(client: Any, uri: str) -> str:
    name, at, alias = uri.removeprefix("models:/").partition("@")
    if at:
        return str(client.get_model_version_by_alias(name, alias).run_id)
    name, _, version = name.rpartition("/")
    return str(client.get_model_version(name, version).run_id)
