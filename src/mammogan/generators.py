"""A generator by the words that a user has for it: a model's champion, a registered version, or a file."""

from dataclasses import dataclass
from pathlib import Path

from mammogan.config import MODEL_NAMES
from mammogan.errors import DataError, TrackingError
from mammogan.models import Generator, store
from mammogan.results import GENERATOR
from mammogan.serving.images import Stamp
from mammogan.tracking import registry, weights
from mammogan.tracking.lineage import lineage
from mammogan.tracking.model import sha256


@dataclass(frozen=True)
class Opened:
    """A generator in eval mode on the CPU, and where it comes from."""

    G: Generator
    stamp: Stamp


def open_generator(spec: str, stores: Path | None, prefix: str) -> Opened:
    """The generator that `spec` names.

    Args:
        spec: `dcgan` or `stylegan` for the champion of the model, `models:/NAME@ALIAS`, `models:/NAME/VERSION`,
            `runs:/RUN_ID`, or a .safetensors file.
        stores: where the tracking store lies; without it only files can be opened, of which no origin is known.
        prefix: of the registered names.

    Raises:
        DataError: the file is missing or damaged.
        TrackingError: there is no such version or run, or its file was lost or changed.
    """
    version = ""
    if spec in MODEL_NAMES or spec.startswith(("models:/", "runs:/")):
        if stores is None:
            raise TrackingError(f"{spec} stands in a tracking store; go into a clone of mammogan, or give its root")
        if spec.startswith("runs:/"):
            file = weights.of_run(stores, spec) / GENERATOR
        else:
            uri = f"models:/{prefix}-{spec}@{registry.ALIAS}" if spec in MODEL_NAMES else spec
            found = registry.find(stores, uri)
            file, version = found.weights, found.version
    else:
        file = Path(spec)
        if not file.is_file():
            raise DataError(
                f"there is no generator {spec}; give {', '.join(MODEL_NAMES)}, models:/NAME@ALIAS, "
                "models:/NAME/VERSION, runs:/RUN_ID or a .safetensors file"
            )
    G = store.load(file)
    digest, model = sha256(file), str(store.read(file)[0]["model"])
    try:
        origin = lineage(stores, digest) if stores else None
    except TrackingError:  # a file of another checkout
        origin = None
    if origin is None:
        return Opened(G, Stamp(model, version, "", "", "", digest))
    return Opened(G, Stamp(model, version, origin.run_id, origin.git_commit, origin.data_hash, digest))
