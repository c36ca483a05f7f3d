"""Synthetic images by any of their names: a generator, in whatever store it lies, or a folder of images."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from mammogan.config import MODEL_NAMES, Checkout, Config
from mammogan.data.tiles import Greys, to_8_bits
from mammogan.errors import DataError, EvaluationError
from mammogan.models import Generator, store
from mammogan.results import GENERATOR
from mammogan.serving.sample import draw, labels_of
from mammogan.tracking import registry, weights
from mammogan.training.precision import choose_device

_MODES = ("L", "I;16", "I;16B", "I")  # grey PNGs of 8 and 16 bits, as Pillow opens them


class Draw(NamedTuple):
    """A set of synthetic images, uint8 (N, H, W), and the value of each label that each of them has."""

    images: NDArray[np.uint8]
    labels: Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Source:
    """Where synthetic images come from.

    Attributes:
        name: as it was asked for.
        resolution: side of an image in px.
        G: the generator, in eval mode on its device; None for a folder.
        images: of a folder, uint8 (N, H, W), in the order of their names; None for a generator.
    """

    name: str
    resolution: int
    G: Generator | None = None
    images: NDArray[np.uint8] | None = None

    def most(self, draws: int) -> int | None:
        """The most images that each of so many draws can have; None for a generator, which has no end."""
        return None if self.images is None else len(self.images) // draws

    def draws(self, draws: int, n: int, seed: int) -> Iterator[Draw]:
        """Independent sets of `n` images: fresh latents, or disjoint parts of the folder.

        Raises:
            EvaluationError: the folder has fewer than draws * n images.
        """
        if self.images is None:
            assert self.G is not None, "a source is a generator or a folder"
            for number in range(draws):
                labels = labels_of(self.G, n, seed + number)
                known = {name: [each[name] for each in labels] for name in labels[0]}
                yield Draw(draw(self.G, n, seed + number), known)
            return
        if n * draws > len(self.images):
            raise EvaluationError(
                f"{self.name} holds {len(self.images)} images, fewer than {draws} sets of {n} that share none; "
                "bring more images, or lower assess.n_images or assess.draws"
            )
        order = np.random.default_rng(seed).permutation(len(self.images))
        for number in range(draws):
            yield Draw(self.images[order[number * n : (number + 1) * n]], {})


def find(here: Checkout, settings: Config, name: str) -> Source:
    """The source that `name` means.

    `name` is dcgan or stylegan (the champion), `models:/NAME@ALIAS`, `models:/NAME/VERSION`, `runs:/RUN_ID`, a
    .safetensors file, the folder of a run or a study, or a folder of grey PNGs.

    Raises:
        DataError: a file or folder that is missing or is none of these.
        TrackingError: a model or run that the store does not have.
    """
    file = _weights_of(here, settings, name)
    if file is None:
        folder = Path(name)
        images = read_images(folder / "images" if (folder / "images").is_dir() else folder)
        return Source(name, images.shape[1], images=images)
    G = store.load(file).to(choose_device(settings.train))
    return Source(name, G.resolution, G=G)


def _weights_of(here: Checkout, settings: Config, name: str) -> Path | None:
    """The file of the generator that `name` means, as in `find`; None for a folder of images.

    Raises:
        DataError: `name` is no file, folder, model or run.
        TrackingError: a model or run that the store does not have.
    """
    place = Path(name)
    if name in MODEL_NAMES:
        return registry.champion(here.stores, f"{settings.register_.prefix}-{name}").weights
    if name.startswith("models:/"):
        return registry.find(here.stores, name).weights
    if name.startswith("runs:/"):
        return weights.of_run(here.stores, name) / GENERATOR
    if place.is_dir():
        return place / GENERATOR if (place / GENERATOR).exists() else None
    if place.suffix == ".safetensors":
        return place
    raise DataError(
        f"{name} is no file, folder, model or run; name dcgan, stylegan, models:/NAME@ALIAS, runs:/RUN_ID, a "
        ".safetensors file, the folder of a run, or a folder of PNGs"
    )


def read_images(folder: Path) -> NDArray[np.uint8]:
    """The grey PNGs of a folder in the order of their names, uint8 (N, H, W); 16 bits are rounded to 8.

    Raises:
        DataError: there is none, one cannot be read or is not grey, or their sizes differ.
    """
    files = sorted(folder.glob("*.png"))
    if not files:
        raise DataError(f"{folder} holds no PNG and no {GENERATOR}; name a folder that does")
    images = [_read(file) for file in files]
    odd = next((file for file, image in zip(files, images, strict=True) if image.shape != images[0].shape), None)
    if odd is not None:
        raise DataError(
            f"{odd} has another size than {files[0].name} ({images[0].shape[1]} x {images[0].shape[0]} px); "
            "a set needs images of one size: `mammogan prepare` makes such tiles"
        )
    if images[0].shape[0] != images[0].shape[1]:
        height, width = images[0].shape
        raise DataError(f"{files[0]} is {width} x {height} px, expected square tiles as `mammogan prepare` makes them")
    return np.stack(images)


def _read(file: Path) -> NDArray[np.uint8]:
    try:
        with Image.open(file) as opened:
            if opened.mode not in _MODES:
                raise DataError(f"{file} is of mode {opened.mode}, expected grey of 8 or 16 bits (L or I;16)")
            pixels = np.asarray(opened)
    except (UnidentifiedImageError, OSError, SyntaxError) as err:
        raise DataError(f"{file} cannot be read as a PNG ({err}); remove it or write it again") from None
    greys: Greys = pixels if pixels.dtype == np.uint8 else pixels.astype(np.uint16)
    return to_8_bits(greys)
