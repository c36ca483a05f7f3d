"""The weights of a generator that a run has logged or that the registry holds."""

from pathlib import Path

from mammogan.errors import TrackingError
from mammogan.tracking.model import WEIGHTS
from mammogan.tracking.store import clear_errors, setup


def find_generator(root: Path, uri: str) -> Path:
    """The file with the weights of `models:/NAME@ALIAS`, `models:/NAME/VERSION` or `runs:/RUN_ID`, on this machine.

    Raises:
        TrackingError: there is no such version or run, or it holds no generator of mammogan.
    """
    setup(root)
    import mlflow

    run = uri.startswith("runs:/")
    with clear_errors(f"looking for the generator {uri}"):
        where = f"{uri.rstrip('/')}/weights" if run else uri
        folder = Path(mlflow.artifacts.download_artifacts(where))
    weights = folder / WEIGHTS if run else folder / "artifacts" / WEIGHTS
    if not weights.is_file():
        raise TrackingError(f"{uri} holds no generator of mammogan ({WEIGHTS}); `mammogan ui` shows what there is")
    return weights
