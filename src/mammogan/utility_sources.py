"""Where the labelled images of `mammogan utility` come from: prepared/, generators and folders."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from mammogan.config import Checkout, Config, UtilityConfig
from mammogan.data.tiles import Tiles, to_8_bits
from mammogan.errors import DataError
from mammogan.evaluation.utility import Labelled
from mammogan.models import Generator
from mammogan.serving.sample import sample
from mammogan.sources import find

_DRAWN_AT_ONCE = 64

Draw = Callable[[int], NDArray[np.uint8]]  # so many images (n, H, W)


def real_images(section: UtilityConfig, tiles: Tiles) -> tuple[Labelled, int]:
    """The tiles with one of the values of the label, and how many are left out.

    Raises:
        DataError: no tile has a value that is to be detected, or to be told from it.
    """
    values = np.array(tiles.labels(section.label), dtype=object)
    positive, negative = np.isin(values, section.positive), np.isin(values, section.negative)
    for name, chosen in (("positive", section.positive), ("negative", section.negative)):
        if not np.isin(values, chosen).any():
            there = ", ".join(f"{value or 'unknown'} ({n})" for value, n in sorted(Counter(values).items()))
            raise DataError(
                f"no {tiles.manifest['split'].iloc[0]} image has {section.label} {' or '.join(chosen)} "
                f"(utility.{name}); prepared/manifest.csv has: {there}"
            )
    kept = positive | negative
    patients = tiles.manifest["patient_id"].to_numpy()[kept].tolist()
    return Labelled(tiles.images[kept], positive[kept], patients), int((~kept).sum())


def synthetic_images(
    here: Checkout,
    settings: Config,
    sources: Sequence[str],
    wanted: Mapping[bool, int],
    shares: Mapping[str, int],
    resolution: int,
) -> Labelled:
    """As many synthetic images of each class as are wanted, of its values in the proportions of the real ones.

    Args:
        here: the checkout, with its registry.
        settings: of params.yaml.
        sources: as given to the command.
        wanted: images with the finding and without it.
        shares: how many real images have each value.
        resolution: of the real images, in pixels.

    Raises:
        MammoganError: a source is missing, damaged, of another size, or does not say what its images show.
    """
    section = settings.utility
    by_value: dict[str, Draw] = {}
    for source in sources:
        for value, draw in _opened(here, settings, source, resolution).items():
            if value in by_value:
                raise DataError(f"{source}: there is another source for {section.label} {value}; give one for each")
            by_value[value] = draw
    images, labels = [], []
    for label, values in ((True, section.positive), (False, section.negative)):
        there = [value for value in values if value in by_value]
        if not there:
            raise DataError(
                f"no source for {section.label} {' or '.join(values)}, only for "
                f"{', '.join(by_value) or 'other labels'}; add {values[0]}=SOURCE, or set "
                "utility.positive and utility.negative"
            )
        for value, n in zip(there, _allotted(wanted[label], [shares.get(value, 0) for value in there]), strict=True):
            if n:
                images.append(by_value[value](n))
                labels += [label] * n
    return Labelled(np.concatenate(images), np.array(labels), range(len(labels)))


def _opened(here: Checkout, settings: Config, source: str, resolution: int) -> dict[str, Draw]:
    """What draws the images of each value that a source has."""
    section = settings.utility
    value, equals, place = source.partition("=")
    if not equals or Path(source).exists():
        value, place = "", source
    if value and value not in (*section.positive, *section.negative):
        known = ", ".join((*section.positive, *section.negative))
        raise DataError(f"{source}: {value!r} is no value of utility.positive or utility.negative, which are {known}")
    found = find(here, settings, place)
    if found.resolution != resolution:
        raise DataError(
            f"{place} has images of {found.resolution} px and prepared/ holds {resolution} px; "
            f"set prepare.resolution to {found.resolution} and run `mammogan prepare`"
        )
    if found.G is None:
        assert found.images is not None, "a source is a generator or a folder"
        return _of_folder(section, source, value, Path(place), found.images)
    G = found.G
    if G.classes is not None and G.classes.label == section.label:
        names = G.classes.values  # noqa: PD011
        if value and value not in names:
            raise DataError(f"{source}: this generator draws {section.label} {', '.join(names)}, not {value}")
        return {
            name: _drawing(G, section.seed, number, name)
            for number, name in enumerate(names)
            if name == (value or name)
        }
    if not value:
        kind = f"is conditional on {G.classes.label}" if G.classes else "is unconditional"
        raise DataError(
            f"{source} {kind}, so nobody knows which of its images show {section.label} {section.positive[0]}; "
            f"train one with train.condition: {section.label}, or give one generator a class: "
            f"{section.positive[0]}=SOURCE {section.negative[0]}=SOURCE"
        )
    place_of_value = [*section.positive, *section.negative].index(value)
    return {value: _drawing(G, section.seed + 1000 * place_of_value, None, value)}


def _drawing(G: Generator, seed: int, number: int | None, value: str) -> Draw:
    """Draws images of class `number`, or of all classes."""

    def draw(n: int) -> NDArray[np.uint8]:
        parts = []
        with tqdm(desc=f"images of {value}", total=n, unit="image", mininterval=1) as bar:
            for first in range(0, n, _DRAWN_AT_ONCE):
                size = min(_DRAWN_AT_ONCE, n - first)
                classes = None if number is None else np.full(size, number)
                # another stream of latents for each class, so that no two images share one
                images = sample(G, size, seed + 1000 * (number or 0), first=first, classes=classes)
                parts.append(to_8_bits(images[:, 0].numpy()))
                bar.update(size)
        return np.concatenate(parts)

    return draw


def _of_folder(
    section: UtilityConfig, source: str, value: str, folder: Path, images: NDArray[np.uint8]
) -> dict[str, Draw]:
    """What chooses among the images of each value in a folder: of one value, or by the table of `mammogan generate`."""
    if value:
        return {value: _choosing(section, folder, value, images)}
    table = folder / "manifest.csv"
    manifest = pd.read_csv(table, dtype=str, keep_default_na=False) if table.is_file() else pd.DataFrame()
    if section.label not in manifest or "file" not in manifest:
        raise DataError(
            f"{source} does not say which of its images show {section.label} {section.positive[0]} (no manifest.csv "
            f"with the columns file and {section.label}); give a folder a class: {section.positive[0]}=FOLDER "
            f"{section.negative[0]}=FOLDER"
        )
    if len(manifest) != len(images):
        raise DataError(
            f"{table} names {len(manifest)} images and the folder holds {len(images)}; run `mammogan generate` again"
        )
    values = manifest.sort_values("file")[section.label].to_numpy()
    return {str(name): _choosing(section, folder, str(name), images[values == name]) for name in sorted(set(values))}


def _choosing(section: UtilityConfig, folder: Path, value: str, images: NDArray[np.uint8]) -> Draw:
    def draw(n: int) -> NDArray[np.uint8]:
        if len(images) < n:
            raise DataError(
                f"{folder} holds {len(images)} images of {section.label} {value}, and utility.per_real "
                f"{section.per_real:g} asks for {n}; make more, or set it lower"
            )
        return images[np.sort(np.random.default_rng(section.seed).choice(len(images), n, replace=False))]

    return draw


def _allotted(n: int, shares: Sequence[int]) -> list[int]:
    """`n` shared out by `shares`, whole numbers, the largest remainders first; evenly where all shares are 0."""
    weights = np.asarray(shares, float) if sum(shares) else np.ones(len(shares))
    exact = n * weights / weights.sum()
    counts = np.floor(exact).astype(int)
    counts[np.argsort(counts - exact, kind="stable")[: n - counts.sum()]] += 1
    return [int(count) for count in counts]
