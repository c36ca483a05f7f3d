"""The registry: each model's best generator as a version of `<prefix>-<model>` under the alias `champion`."""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mammogan import atomic
from mammogan.errors import TrackingError
from mammogan.tracking import model
from mammogan.tracking.model import Logged, Origin
from mammogan.tracking.runs import TrialRun
from mammogan.tracking.store import clear_errors, environment, experiment, lock, setup

ALIAS = "champion"
_IMPORTED = "mammogan imported generators"
_TRIAL_TIMEOUT_S = 300.0
# Run away from the repository: what the model did not bring along must be missing here too.
_TRIAL = """
import os, sys
import mlflow, pandas
folder = mlflow.artifacts.download_artifacts(sys.argv[1])
answer = mlflow.pyfunc.load_model(folder).predict(pandas.DataFrame({"n": [1], "seed": [0]}))
import mammogan
home = os.path.realpath(mammogan.__file__)
if not home.startswith(os.path.realpath(folder)):
    sys.exit(f"the model brought no code of its own along: mammogan came from {home}")
if len(answer) != 1 or not answer["synthetic"].all():
    sys.exit(f"one image was asked for, the answer has {len(answer)} rows")
"""


@dataclass(frozen=True)
class Registered:
    """A generator of the registry.

    Attributes:
        name: registered name, such as mammogan-dcgan.
        version: its version there.
        weights: the file, checked against its sha256.
        model, run_id, git_commit, data_hash, weights_sha256: where it comes from.
    """

    name: str
    version: str
    weights: Path
    model: str
    run_id: str
    git_commit: str
    data_hash: str
    weights_sha256: str


@dataclass(frozen=True)
class Receipt:
    """What `register` did, in words that are the same on every machine and in every store."""

    name: str
    alias: str
    weights_sha256: str
    fid: float

    def write(self, path: Path) -> None:
        """Write the receipt as JSON, whole or not at all."""
        atomic.write_text(path, json.dumps(self.__dict__, indent=2) + "\n")


def register(root: Path, prefix: str, weights: Path, origin: Origin, fid: float) -> Receipt:
    """Make the generator in `weights` the champion of `<prefix>-<model>`.

    A version with these weights is made only if there is none: from the run that logged them or, where this
    store has not seen that run, from the file itself. Before the alias moves, the model is loaded in a process
    of its own, away from the repository, and draws an image.

    Raises:
        TrackingError: the weights are missing, the model cannot be served, or the store does not answer.
    """
    if not weights.is_file():
        raise TrackingError(f"{weights} is missing; `mammogan study {origin.model}` makes it")
    setup(root)
    import mlflow

    name = f"{prefix}-{origin.model}"
    digest = model.sha256(weights)
    client = mlflow.MlflowClient()
    with lock(root, f"register-{name}"), clear_errors(f"registering {name}"):
        if not client.search_registered_models(f"name = '{name}'"):
            client.create_registered_model(name, description=f"Synthetic mammograms by {origin.model}; docs/serving.md")
        version = _version_with(client, name, digest)
        if version is None:
            experiments = [one.experiment_id for one in client.search_experiments()]
            source = model.logged(experiments, digest) or _import(root, weights, origin)
            tags = {"weights_sha256": digest, "fid": f"{fid:.4f}", "data_hash": origin.data_hash}
            version = client.create_model_version(
                name, f"models:/{source.model_id}", run_id=source.run_id, model_id=source.model_id, tags=tags
            )
        if str(client.get_registered_model(name).aliases.get(ALIAS)) != str(version.version):
            _try_out(root, f"models:/{name}/{version.version}")
            client.set_registered_model_alias(name, ALIAS, version.version)
    return Receipt(name, ALIAS, digest, fid)


def champion(root: Path, name: str) -> Registered:
    """The champion of a registered name such as mammogan-dcgan.

    Raises:
        TrackingError: there is none, its files have gone, or they are not the ones that were registered.
    """
    return find(root, f"models:/{name}@{ALIAS}")


def find(root: Path, uri: str) -> Registered:
    """The version that `models:/NAME@ALIAS` or `models:/NAME/VERSION` names.

    Raises:
        TrackingError: there is none, its files have gone, or they are not the ones that were registered.
    """
    store = setup(root)
    import mlflow
    from mlflow.exceptions import MlflowException

    client = mlflow.MlflowClient()
    name, at, alias = uri.removeprefix("models:/").partition("@")
    number = alias
    if not at:
        name, _, number = name.rpartition("/")
    command = f"mammogan register {name.rpartition('-')[2]}"
    try:
        version = client.get_model_version_by_alias(name, alias) if at else client.get_model_version(name, number)
    except MlflowException as err:
        what = f"{alias} of {name}" if at else f"version {number} of {name}"
        raise TrackingError(f"{store} knows no {what} ({err.message}); `{command}` makes one") from None
    try:
        weights, facts = _files(version)
    except (MlflowException, OSError) as err:
        raise TrackingError(
            f"the files of {name} version {version.version} are gone ({err}); `{command}` mends it"
        ) from None
    if model.sha256(weights) != version.tags["weights_sha256"]:
        raise TrackingError(
            f"{weights} is not the file that was registered as {name} version {version.version}; "
            f"run `{command}`, which makes a sound version"
        )
    return Registered(
        name=name,
        version=str(version.version),
        weights=weights,
        model=facts["model"],
        run_id=facts["run_id"],
        git_commit=facts["git_commit"],
        data_hash=facts["data_hash"],
        weights_sha256=facts["weights_sha256"],
    )


def _files(version: Any) -> tuple[Path, dict[str, str]]:
    import mlflow
    from mlflow.models import Model

    folder = Path(mlflow.artifacts.download_artifacts(f"models:/{version.name}/{version.version}"))
    weights = folder / "artifacts" / model.WEIGHTS
    if not weights.is_file():
        raise FileNotFoundError(weights)
    return weights, Model.load(str(folder)).metadata or {}


def _version_with(client: Any, name: str, digest: str) -> Any | None:
    """The newest version with these weights whose files are still there and unchanged."""
    from mlflow.exceptions import MlflowException

    versions = client.search_model_versions(f"name = '{name}' and tags.weights_sha256 = '{digest}'")
    for version in sorted(versions, key=lambda version: int(version.version), reverse=True):
        try:
            weights, _ = _files(version)
        except (MlflowException, OSError):
            continue
        if model.sha256(weights) == digest:
            return version
    return None


def _import(root: Path, weights: Path, origin: Origin) -> Logged:
    description = "Generators that were trained elsewhere and came with the repository's data (`dvc pull`)."
    with TrialRun(
        experiment(root, _IMPORTED, description),
        f"{origin.model} from {weights.parent.name}/{weights.name}",
        kind="import",
        model_name=origin.model,
        git_commit=origin.git_commit,
    ) as run:
        return Logged(run.log_model(weights, origin), run.run_id)


def _try_out(root: Path, uri: str) -> None:
    with tempfile.TemporaryDirectory() as elsewhere:
        try:
            trial = subprocess.run(
                [sys.executable, "-I", "-B", "-c", _TRIAL, uri],
                cwd=elsewhere,
                env=os.environ | environment(root),
                capture_output=True,
                text=True,
                timeout=_TRIAL_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise TrackingError(
                f"{uri} drew no image within {_TRIAL_TIMEOUT_S:.0f} s; the alias {ALIAS} stays where it was"
            ) from None
    if trial.returncode:
        reason = " ".join(trial.stderr.strip().splitlines()[-1:]) or f"exit status {trial.returncode}"
        raise TrackingError(
            f"{uri} cannot be served ({reason}); the alias {ALIAS} stays where it was. Install mammogan "
            f"afresh (`pip install -e .`) and register again"
        )
