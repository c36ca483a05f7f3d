"""Where the weights of an earlier run lie that another run starts from."""

from pathlib import Path
from typing import Any

from mammogan.errors import TrackingError
from mammogan.tracking.store import clear_errors, setup

FOLDER = "weights"  # among the artifacts of a run


def find(root: Path, start: str) -> Path:
    """The folder with the weights that `train.init_from` names, brought to this machine.

    `start` is a folder, `runs:/RUN_ID`, `models:/NAME@ALIAS` or `models:/NAME/VERSION`.

    Raises:
        TrackingError: there is no such folder, run or version, or it kept no weights of D.
    """
    if not start.startswith(("runs:/", "models:/")):
        folder = Path(start)
        if not folder.is_absolute():
            folder = root / folder
        if not folder.is_dir():
            raise TrackingError(
                f"train.init_from: {folder} is no folder; name the folder of a run under checkpoints/, runs:/RUN_ID or "
                "models:/NAME@ALIAS"
            )
        return folder
    setup(root)
    import mlflow

    client = mlflow.MlflowClient()
    with clear_errors(f"looking for the weights of {start} (train.init_from)"):
        run_id = start.removeprefix("runs:/").strip("/") if start.startswith("runs:/") else _run_of(client, start)
        if not any(file.path == FOLDER for file in client.list_artifacts(run_id)):
            raise TrackingError(
                f"train.init_from: the run {run_id} of {start} kept no weights of its discriminator; train it "
                "again, or name the folder of a run under checkpoints/"
            )
        return Path(client.download_artifacts(run_id, FOLDER))


def _run_of(client: Any, start: str) -> str:
    name, at, alias = start.removeprefix("models:/").partition("@")
    if at:
        return str(client.get_model_version_by_alias(name, alias).run_id)
    name, _, version = name.rpartition("/")
    return str(client.get_model_version(name, version).run_id)
