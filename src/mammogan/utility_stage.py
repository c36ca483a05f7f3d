"""The body of `mammogan utility`: labelled images in, a verdict and its files out."""

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from mammogan import atomic
from mammogan.config import Checkout, Config
from mammogan.data.tiles import read_tiles
from mammogan.evaluation.arms import added
from mammogan.evaluation.utility import Utility
from mammogan.evaluation.utility import utility as measure
from mammogan.training.precision import choose_device
from mammogan.utility_sources import real_images, synthetic_images

_BAR = "{desc}: {percentage:3.0f} %|{bar}| {elapsed}, {remaining} left"


@dataclass(frozen=True)
class Measured:
    """A result, and where its files lie."""

    utility: Utility
    notes: tuple[str, ...]
    folder: Path


def utility(here: Checkout, settings: Config, sources: Sequence[str], out: Path | None) -> Measured:
    """Whether the images of `sources` help a detector; writes utility.json and utility.csv, each whole or not at all.

    A source is a model (dcgan, stylegan, models:/NAME@ALIAS, runs:/RUN_ID, a folder of a run, a .safetensors file) or
    a folder of images; VALUE=SOURCE where it does not itself say which images are of which value of `utility.label`.

    Raises:
        MammoganError: a source is missing, damaged or does not say what its images show, or see
            evaluation.utility.utility.
    """
    section = settings.utility
    prepared = here.root / "prepared"
    splits = [read_tiles(prepared, split) for split in ("train", "holdout")]
    (train, train_left), (holdout, holdout_left) = (real_images(section, tiles) for tiles in splits)
    wanted = {value: added(section, int((train.labels == value).sum())) for value in (True, False)}
    shares = Counter(splits[0].labels(section.label))
    synthetic = synthetic_images(here, settings, sources, wanted, shares, splits[0].resolution)
    with tqdm(desc="utility", total=1.0, bar_format=_BAR, mininterval=1) as bar:

        def progress(share: float) -> None:
            bar.update(share - bar.n)

        cache = here.stores / "checkpoints" / "utility"
        found = measure(section, train, holdout, synthetic, cache, progress, choose_device(settings.train))
        progress(1)
    notes = ["The answer holds for a generator that was trained on this split; one that saw holdout patients flatters."]
    if left_out := train_left + holdout_left:
        notes.append(f"{left_out} real images without one of these values of {section.label} were left out.")
    folder = out or here.root / "utility" / re.sub(r"[^A-Za-z0-9.]+", "-", " ".join(sources)).strip("-.")
    facts = {
        **found.facts(),
        "notes": notes,
        "sources": list(sources),
        "config": section.model_dump(),
        "train_sha256": splits[0].sha256,
        "holdout_sha256": splits[1].sha256,
    }
    atomic.write_text(folder / "utility.csv", found.table())
    atomic.write_text(folder / "utility.json", json.dumps(facts, indent=2) + "\n")
    return Measured(found, tuple(notes), folder)
