"""A generator as an MLflow model: code, safetensors weights, signature, requirements and their origin.

The format and what was rejected: docs/adr/0005-mlflow-store-and-model-format.md.
"""

import hashlib
import importlib.metadata
import shutil
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import mammogan

NAME = "generator"
WEIGHTS = "generator.safetensors"
_PACKAGE = Path(mammogan.__file__).parent
_SERVED_WITH = ("mlflow", "numpy", "pandas", "pillow", "pydantic", "ruamel.yaml", "safetensors", "torch")
_ANSWER = {
    "request": "long",
    "index": "long",
    "seed": "long",
    "truncation": "double",
    "image_png_base64": "string",
    "width": "long",
    "height": "long",
    "bits": "long",
    "synthetic": "boolean",
    "model": "string",
    "model_version": "string",
    "run_id": "string",
    "git_commit": "string",
    "data_hash": "string",
    "weights_sha256": "string",
}


@dataclass(frozen=True)
class Origin:
    """Where a generator comes from: model name, image size in pixels, git commit, DVC hash of the data."""

    model: str
    resolution: int
    git_commit: str
    data_hash: str


@dataclass(frozen=True)
class Logged:
    """A model that a run has logged."""

    model_id: str
    run_id: str


def sha256(path: Path) -> str:
    """The sha256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def requirements() -> list[str]:
    """What the served code imports, at the versions installed here, for pip."""
    return [f"{name}=={importlib.metadata.version(name).partition('+')[0]}" for name in _SERVED_WITH]


def facts(weights: Path, origin: Origin, run_id: str) -> dict[str, str]:
    """What the model says of itself: its origin, the run that trained it, the sha256 of its weights."""
    return {
        **{key: str(value) for key, value in asdict(origin).items()},
        "run_id": run_id,
        "weights_sha256": sha256(weights),
        "mammogan": mammogan.__version__,
    }


def parts(weights: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    """What MLflow takes to save a pyfunc model, for weights in a file named WEIGHTS."""
    import pandas as pd

    return {
        "python_model": str(_PACKAGE / "serving" / "pyfunc.py"),
        "artifacts": {"weights": weights.resolve().as_uri()},
        "code_paths": [str(_PACKAGE)],
        "pip_requirements": requirements(),
        "signature": _signature(),
        "input_example": (pd.DataFrame({"n": [1], "seed": [7]}), {"truncation": 1.0}),
        "metadata": dict(metadata),
    }


def log(run_id: str, weights: Path, origin: Origin) -> str:
    """Log the generator in `weights` (written by models.store) to a run; returns the id of the logged model.

    MLflow tries the input example at once, so that a model which cannot answer is noticed here.
    """
    import mlflow.pyfunc
    from mlflow.models import Model

    client = mlflow.MlflowClient()
    run = client.get_run(run_id)
    metadata = facts(weights, origin, run_id)
    logged = client.create_logged_model(
        run.info.experiment_id,
        name=NAME,
        source_run_id=run_id,
        tags={f"mammogan.{key}": value for key, value in metadata.items()},
        params=run.data.params,
        model_type=origin.model,
    )
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        artifact = Path(shutil.copyfile(weights, Path(folder) / WEIGHTS))
        Model.log(
            artifact_path=None,
            flavor=mlflow.pyfunc,
            run_id=run_id,
            model_id=logged.model_id,
            name=NAME,
            **parts(artifact, metadata),
        )
    return str(logged.model_id)


def logged(experiment_ids: Sequence[str], digest: str, run_id: str | None = None) -> Logged | None:
    """The newest completely logged model whose weights have the sha256 `digest` and are still there, unchanged.

    With a `run_id`, only the models of that run are looked at.
    """
    import mlflow
    from mlflow.entities import LoggedModelStatus
    from mlflow.exceptions import MlflowException

    found = mlflow.MlflowClient().search_logged_models(
        list(experiment_ids), f"tags.`mammogan.weights_sha256` = '{digest}'"
    )
    for one in found:  # newest first
        if one.status != LoggedModelStatus.READY or run_id not in (None, one.source_run_id):
            continue
        try:
            folder = Path(mlflow.artifacts.download_artifacts(f"models:/{one.model_id}"))
        except (MlflowException, OSError):
            continue
        weights = folder / "artifacts" / WEIGHTS
        if weights.is_file() and sha256(weights) == digest:
            return Logged(str(one.model_id), str(one.source_run_id))
    return None


def _signature() -> Any:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema
    from mlflow.types.schema import AnyType

    # Any type, and optional: a stricter schema answers in MLflow's own words, rounds 1.5 down to 1 and takes
    # true for 1. serving/request.py checks every value instead.
    anything = AnyType()  # type: ignore[no-untyped-call]
    return ModelSignature(
        inputs=Schema([ColSpec(anything, name, required=False) for name in ("n", "seed")]),
        outputs=Schema([ColSpec(type_, name) for name, type_ in _ANSWER.items()]),
        params=ParamSchema([ParamSpec("truncation", "double", 1.0)]),
    )
