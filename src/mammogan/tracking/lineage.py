"""From the hash of a generator's weights back to the versions, the run and the row of the array that made them."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mammogan.errors import TrackingError
from mammogan.tracking import model
from mammogan.tracking.store import clear_errors, setup

_LEVEL = "mammogan.level."


@dataclass(frozen=True)
class Lineage:
    """What the tracking store knows of a generator.

    Attributes:
        weights: its file, checked against the hash.
        versions: such as `mammogan-dcgan version 1 (champion)`, newest first; none if it was never registered.
        run_id, run_name: the run that trained it.
        study, array, row: of its trial; empty for a run by hand.
        levels: factor -> level of the row.
        hyperparameters: all parameters of the run.
        git_commit, data_hash: of code and data.
    """

    weights: Path
    versions: list[str]
    run_id: str
    run_name: str = ""
    study: str = ""
    array: str = ""
    row: str = ""
    levels: dict[str, str] = field(default_factory=dict)
    hyperparameters: dict[str, str] = field(default_factory=dict)
    git_commit: str = ""
    data_hash: str = ""


def lineage(root: Path, weights_sha256: str) -> Lineage:
    """All that the store at `root` knows of the generator whose weights have this hash.

    Raises:
        TrackingError: the store does not answer, knows no such weights, or has lost their file.
    """
    uri = setup(root)
    import mlflow

    client = mlflow.MlflowClient()
    with clear_errors("looking for a generator by its weights"):
        found = client.search_model_versions(f"tags.weights_sha256 = '{weights_sha256}'")
        versions = sorted(found, key=lambda version: int(version.version), reverse=True)
        logged = model.logged([one.experiment_id for one in client.search_experiments()], weights_sha256)
        if logged is None:
            raise TrackingError(
                f"{uri} has no generator with the weights {weights_sha256[:12]}; run the command in the checkout that "
                "made the image, or give the file by --weights"
            )
        folder = Path(mlflow.artifacts.download_artifacts(f"models:/{logged.model_id}"))
        facts = mlflow.models.Model.load(str(folder)).metadata or {}
        names = [_called(client, version) for version in versions]
        run_id = str(versions[-1].run_id or logged.run_id) if versions else logged.run_id
        run = _run(client, run_id)
    tags = run.data.tags if run else {}
    return Lineage(
        weights=folder / "artifacts" / model.WEIGHTS,
        versions=names,
        run_id=run_id,
        run_name=str(run.info.run_name) if run else "",
        study=tags.get("mammogan.study", ""),
        array=tags.get("mammogan.array", ""),
        row=tags.get("mammogan.row", ""),
        levels={name.removeprefix(_LEVEL): tag for name, tag in tags.items() if name.startswith(_LEVEL)},
        hyperparameters=dict(run.data.params) if run else {},
        git_commit=str(facts.get("git_commit", "")),
        data_hash=str(facts.get("data_hash", "")),
    )


def _called(client: Any, version: Any) -> str:
    aliases = client.get_model_version(version.name, version.version).aliases
    return f"{version.name} version {version.version}" + (f" ({', '.join(aliases)})" if aliases else "")


def _run(client: Any, run_id: str) -> Any | None:
    """The run, or None where it was deleted for good."""
    from mlflow.exceptions import MlflowException

    try:
        return client.get_run(run_id)
    except MlflowException:
        return None
