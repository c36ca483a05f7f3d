"""The body of `mammogan trace`: from a synthetic file to all that made it, and to the same image again."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mammogan.config import Checkout
from mammogan.data.sources.enriched import RECORD
from mammogan.enrich.batch import read_record
from mammogan.errors import DataError
from mammogan.models import store
from mammogan.serving.recipe import Recipe, redraw
from mammogan.serving.stored import Stored, read_stored
from mammogan.tracking.lineage import Lineage, lineage
from mammogan.tracking.model import sha256


@dataclass(frozen=True)
class Trace:
    """What was found: `lines` to print, and whether the image drawn again is the one in the file."""

    lines: list[str]
    identical: bool


def trace(file: Path, here: Checkout | None, weights: Path | None = None) -> Trace:
    """Trace a synthetic PNG, JPEG or DICOM `file`.

    Args:
        file: the image.
        here: the checkout whose tracking store is asked.
        weights: the generator's file, in place of the store's; without a checkout there is nothing to say of its run.

    Raises:
        DataError: the file does not say how it was made, or `weights` are others.
        TrackingError: the store does not know the generator.
    """
    stored = read_stored(file)
    recipe = stored.recipe
    if weights is not None:
        if not weights.is_file():
            raise DataError(f"{weights} is missing")
        if sha256(weights) != recipe.weights_sha256:
            raise DataError(f"{weights} are not the weights that drew {file}: those have the sha256 {_short(recipe)}")
        lines = ["run             not looked up, since the weights were given"]
    else:
        assert here is not None, "the command gives one of the two"
        found = lineage(here.stores, recipe.weights_sha256)
        weights, lines = found.weights, _lines_of(found)
    verdict, identical = _compare(stored, weights)
    where = [f"file            {file}", *_batch_of(file)]
    return Trace([*where, *_lines_of_recipe(stored), *lines, verdict], identical)


def _compare(stored: Stored, weights: Path) -> tuple[str, bool]:
    drawn = stored.shown(redraw(store.load(weights), stored.recipe))
    if drawn.shape != stored.pixels.shape or drawn.dtype != stored.pixels.dtype:
        there, again = (f"{image.dtype} {image.shape}" for image in (stored.pixels, drawn))
        return f"identical       no: the file holds {there}, drawn again it is {again}", False
    away = np.abs(drawn.astype(np.int32) - stored.pixels)
    if not away.any():
        return f"identical       yes: drawn again, all {away.size} pixels are equal", True
    text = f"{np.count_nonzero(away)} of {away.size} pixels differ, by up to {away.max()} grey levels"
    other = "another processor or version of torch rounds so" if away.max() <= 1 else "the file was altered"
    return f"identical       no: {text}; {other}", False


def _batch_of(file: Path) -> list[str]:
    """The batch of `mammogan enrich` that brought the file, if it lies in the set that it was added to."""
    path = file.resolve()
    for root in path.parents:
        if (root / RECORD).is_file():
            for batch in read_record(root)["batches"]:
                if any(root / image["file"] == path for image in batch["images"]):
                    return [f"batch           {batch['id']} of {root}"]
    return []


def _lines_of_recipe(stored: Stored) -> list[str]:
    recipe = stored.recipe
    labels = "".join(f", {name} {value}" for name, value in recipe.labels.items())
    how = f"truncation {recipe.truncation:g}, {recipe.precision}{labels}{', mirrored' if stored.mirrored else ''}"
    return [
        f"manifest        {recipe.manifest_id}",
        f"image           seed {recipe.seed}, index {recipe.index}, {how}",
        f"model           {recipe.model}, weights {recipe.weights_sha256}",
    ]


def _lines_of(found: Lineage) -> list[str]:
    levels = ", ".join(f"{name} {level}" for name, level in found.levels.items())
    row = (
        f"row {found.row} of array {found.array} ({levels}), study {found.study}"
        if found.row
        else "no trial of an array"
    )
    parameters = ", ".join(f"{name} {value}" for name, value in sorted(found.hyperparameters.items()))
    return [
        f"version         {'; '.join(found.versions) or 'not registered'}",
        f"run             {found.run_id}{f' ({found.run_name})' if found.run_name else ''}",
        f"array row       {row}",
        f"hyperparameters {parameters or 'not on record: the model was imported, or the run was deleted'}",
        f"git commit      {found.git_commit}",
        f"data            {found.data_hash} (DVC hash)",
    ]


def _short(recipe: Recipe) -> str:
    return f"{recipe.weights_sha256[:12]}..."
