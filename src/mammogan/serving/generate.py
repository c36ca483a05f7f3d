"""The synthetic set: a folder of PNGs with a manifest that says how each of them can be made again."""

import csv
import dataclasses
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from mammogan import atomic
from mammogan.config import GenerateConfig
from mammogan.models import Generator
from mammogan.serving.images import Stamp, png_of
from mammogan.serving.recipe import Recipe
from mammogan.serving.sample import DrawPrecision, drawing, labels_of, sample

_DRAWN_AT_ONCE = 16


def generate(config: GenerateConfig, G: Generator, stamp: Stamp, out: Path, precision: DrawPrecision = "fp32") -> None:
    """Write images/*.png, manifest.csv (file, index, seed, manifest_id, sha256) and manifest.json, all or nothing.

    A conditional generator draws the class of each image with the shares of the training set; the manifest has a
    column with the name of the label. In fp32 the files have the bytes that the served model answers with for the
    same seed and truncation; manifest.json tells the format.
    """
    labels = labels_of(G, config.n_images, config.seed)
    with atomic.new_folder(out) as folder:
        (folder / "images").mkdir()
        lines = []
        for index, image in enumerate(
            tqdm(_images(drawing(G, precision), config), f"generate {stamp.model}", config.n_images, unit="image")
        ):
            recipe = Recipe(
                stamp.model, stamp.weights_sha256, config.seed, index, config.truncation, precision, labels[index]
            )
            data = png_of(image, recipe.words())
            file = f"images/{index:06d}.png"
            (folder / file).write_bytes(data)
            digest = hashlib.sha256(data).hexdigest()
            lines.append((file, index, config.seed, *labels[index].values(), recipe.manifest_id, digest))
        with (folder / "manifest.csv").open("w", encoding="utf-8", newline="") as table:
            writer = csv.writer(table, lineterminator="\n")
            writer.writerow(("file", "index", "seed", *labels[0], "manifest_id", "sha256"))
            writer.writerows(lines)
        facts = {
            "synthetic": True,
            **config.model_dump(),
            "precision": precision,
            "resolution": G.resolution,
            "bits": G.bits,
            **dataclasses.asdict(stamp),
        }
        atomic.write_text(folder / "manifest.json", json.dumps(facts, indent=2) + "\n")


def _images(G: Generator, config: GenerateConfig) -> Iterator[NDArray[np.uint8] | NDArray[np.uint16]]:
    """The images (H, W) of the set, drawn a few at a time."""
    for first in range(0, config.n_images, _DRAWN_AT_ONCE):
        n = min(_DRAWN_AT_ONCE, config.n_images - first)
        yield from sample(G, n, config.seed, config.truncation, first=first)[:, 0].numpy()
