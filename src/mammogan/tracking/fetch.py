"""The files of a run that was made on another machine, brought from the tracking server."""

import shutil
from pathlib import Path
from typing import Any

from mammogan import atomic
from mammogan.errors import TrackingError
from mammogan.tracking.runs import SAMPLES
from mammogan.tracking.store import clear_errors, setup

HISTORY = "history.csv"
GENERATOR = "generator.safetensors"


def bring(root: Path, run_id: str, folder: Path) -> None:
    """Fill `folder` with the history, the generator and the last grid of samples of a run, unless it has them.

    Raises:
        TrackingError: the run is not in the tracking store of this machine, or kept no such files.
    """
    if (folder / HISTORY).exists() and (folder / GENERATOR).exists():
        return
    setup(root)
    import mlflow

    client = mlflow.MlflowClient()
    what = f"fetching the run {run_id}, which another machine made (both need the same MLFLOW_TRACKING_URI)"
    with clear_errors(what):
        last = _last_samples(client, run_id)
        with atomic.new_folder(folder) as new:
            for artifact, name in ((HISTORY, HISTORY), (f"weights/{GENERATOR}", GENERATOR), last):
                shutil.copyfile(client.download_artifacts(run_id, artifact), new / name)


def _last_samples(client: Any, run_id: str) -> tuple[str, str]:
    """The newest grid among the run's images, and the name that run.py gives it."""
    found = {}
    for image in client.list_artifacts(run_id, "images"):
        # MLflow writes key, step, time and a random part into the file's name, parted by "%" or "+".
        parts = Path(image.path).name.replace("+", "%").split("%")
        if parts[0] == SAMPLES and image.path.endswith(".png"):
            found[int(parts[2])] = image.path
    if not found:
        raise TrackingError(f"the run {run_id} kept no grid of samples; train it again")
    step = max(found)
    return found[step], f"samples-{step:09d}.png"
