"""The generator as `mlflow models serve` runs it; MLflow copies this file and the package into each model.

`predict` runs in several threads at once: nothing here changes after `load_context`.
"""

import base64
import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import Model, set_model
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.pyfunc.model import PythonModel
from ruamel.yaml import YAML

from mammogan.errors import DataError, RequestError
from mammogan.models import store
from mammogan.serving.images import Stamp, png
from mammogan.serving.request import Request, parse
from mammogan.serving.sample import labels_of, sample


class SyntheticMammograms(PythonModel):
    """Rows {n, seed} and params {truncation} -> one row for each image, with its provenance."""

    def load_context(self, context: Any) -> None:
        """Read the weights and where they come from; no network, no pickle.

        Raises:
            DataError: the weights are damaged.
        """
        weights = Path(context.artifacts["weights"])
        self._stamp = _stamp(weights.parents[1])
        if hashlib.sha256(weights.read_bytes()).hexdigest() != self._stamp.weights_sha256:
            raise DataError(f"{weights} is not the file that was logged; register the model again")
        self._G = store.load(weights)

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """One row for each image: see docs/serving.md.

        Raises:
            MlflowException: the request is malformed; the server answers 400 with the message.
        """
        try:
            rows = [{str(key): value for key, value in row.items()} for row in model_input.to_dict("records")]
            requests = parse(rows, (params or {}).get("truncation", 1.0))
        except RequestError as err:
            raise MlflowException(str(err), error_code=INVALID_PARAMETER_VALUE) from None
        return pd.DataFrame([image for row, request in enumerate(requests) for image in self._draw(row, request)])

    def _draw(self, row: int, request: Request) -> list[dict[str, Any]]:
        images = sample(self._G, request.n, request.seed, request.truncation)[:, 0].numpy()  # (n, H, W)
        labels = labels_of(self._G, request.n, request.seed)
        return [
            {
                "request": row,
                "index": index,
                "seed": request.seed,
                "truncation": request.truncation,
                "image_png_base64": base64.b64encode(
                    png(image, self._stamp, request.seed, index, request.truncation, labels[index])
                ).decode(),
                "width": image.shape[1],
                "height": image.shape[0],
                "bits": self._G.bits,
                "synthetic": True,
                **dataclasses.asdict(self._stamp),
            }
            for index, image in enumerate(images)
        ]


def _stamp(folder: Path) -> Stamp:
    facts = Model.load(str(folder)).metadata or {}
    version = ""
    registered = folder / "registered_model_meta"  # left by MLflow on loading a model by its registered name
    if registered.exists():
        version = str(YAML(typ="safe").load(registered)["model_version"])
    return Stamp(
        model=facts["model"],
        model_version=version,
        run_id=facts["run_id"],
        git_commit=facts["git_commit"],
        data_hash=facts["data_hash"],
        weights_sha256=facts["weights_sha256"],
    )


set_model(SyntheticMammograms())
