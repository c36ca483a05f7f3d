"""All that decides the pixels of a synthetic image: written into its file, read back from it, and followed again.

A recipe is text that any viewer shows, so that a file that has lost its way can still be traced. Its `manifest_id`
is a hash of it: the same image has the same id in whatever store, set or file format it lies.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self, get_args

import numpy as np
from numpy.typing import NDArray

from mammogan.config import Label
from mammogan.data.tiles import Greys
from mammogan.errors import DataError
from mammogan.models.generator import Generator
from mammogan.serving.sample import DrawPrecision, draw_classes, drawing, sample

BLOCK = 16  # images drawn together; always the same ones, since kernels may round by the place in the batch

_HEX_DIGITS = 32
_LABELS: tuple[Label, ...] = get_args(Label)
_PRECISIONS: tuple[DrawPrecision, ...] = get_args(DrawPrecision)


@dataclass(frozen=True)
class Recipe:
    """Image `index` of a seed, by the generator whose weights have this hash.

    Attributes:
        model: dcgan or stylegan.
        weights_sha256: of the weights' file.
        seed, index, truncation, precision: as `sample` and `drawing` take them.
        labels: name and value of what the image is conditioned on; empty for an unconditional generator.
    """

    model: str
    weights_sha256: str
    seed: int
    index: int
    truncation: float = 1.0
    precision: DrawPrecision = "fp32"
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def manifest_id(self) -> str:
        """32 hexadecimal digits that change with any part of the recipe."""
        text = "\n".join(f"{name}={value}" for name, value in sorted(self._parts().items()))
        return hashlib.sha256(text.encode()).hexdigest()[:_HEX_DIGITS]

    def words(self) -> dict[str, str]:
        """The recipe as names and texts, in a fixed order, with its `manifest_id`."""
        return {"manifest_id": self.manifest_id, **self._parts()}

    def _parts(self) -> dict[str, str]:
        return {
            "model": self.model,
            "weights_sha256": self.weights_sha256,
            "seed": str(self.seed),
            "index": str(self.index),
            "truncation": str(float(self.truncation)),
            "precision": self.precision,
            **self.labels,
        }

    @classmethod
    def parse(cls, words: Mapping[str, str]) -> Self:
        """The recipe that `words` were made from; other names among them are passed over.

        Raises:
            DataError: a part is missing or no such value, or the parts do not have the id that stands beside them.
        """
        missing = [name for name in ("manifest_id", "model", "weights_sha256", "seed", "index") if name not in words]
        if missing:
            raise DataError(f"it does not say its {', '.join(missing)}")
        try:
            seed, index = int(words["seed"]), int(words["index"])
            truncation = float(words.get("truncation", "1.0"))
        except ValueError:
            raise DataError("its seed, index or truncation is no number") from None
        precision = next((known for known in _PRECISIONS if known == words.get("precision", "fp32")), None)
        if not (0 <= seed < 2**32 and 0 <= index < 2**32 and 0 < truncation <= 1) or precision is None:
            raise DataError("its seed, index, truncation or precision is out of range")
        labels = {str(name): words[name] for name in _LABELS if name in words}
        recipe = cls(words["model"], words["weights_sha256"], seed, index, truncation, precision, labels)
        if recipe.manifest_id != words["manifest_id"]:
            raise DataError("its manifest_id does not belong to what else it says, which was changed")
        return recipe


def to_line(words: Mapping[str, str]) -> str:
    """Words in one line, for formats that have room for a text only."""
    return " ".join(f"{name}={value}" for name, value in words.items())


def from_line(line: str) -> dict[str, str]:
    """The words of a line; what has no `=` is passed over."""
    return {name: value for name, _, value in (word.partition("=") for word in line.split()) if value}


def draw_block(
    G: Generator, first: int, seed: int, truncation: float, value: str | None = None
) -> tuple[Greys, list[dict[str, str]]]:
    """Images `first` to `first + BLOCK - 1` of a seed by G in eval mode, (BLOCK, R, R), and the labels of each.

    `first` is a multiple of BLOCK. `value` is the class of all of them; without it a conditional generator draws the
    class of each image too.

    Raises:
        ValueError: G is unconditional and a class is asked for.
    """
    assert first % BLOCK == 0, "blocks start at multiples of BLOCK"
    classes: NDArray[np.int64] | None = None
    labels: list[dict[str, str]] = [{} for _ in range(BLOCK)]
    if G.classes is not None:
        if value is None:
            classes = draw_classes(G, BLOCK, seed, first)
        else:
            classes = np.full(BLOCK, G.classes.values.index(value), np.int64)
        labels = [{G.classes.label: G.classes.values[number]} for number in classes]
    elif value is not None:
        raise ValueError("this generator is unconditional; it draws no class on demand")
    images: Greys = sample(G, BLOCK, seed, truncation, BLOCK, first, classes)[:, 0].numpy()
    return images, labels


def redraw(G: Generator, recipe: Recipe) -> Greys:
    """The image (R, R) of a recipe; the same as at first on the same machine with the same version of torch.

    Raises:
        DataError: the generator has no such class, or cannot draw in the recipe's precision.
    """
    if G.classes is None and recipe.labels:
        raise DataError("it names a class, but its generator is unconditional")
    value = None
    if G.classes is not None and recipe.labels:
        value = recipe.labels.get(G.classes.label)
        if value not in G.classes.values:
            raise DataError(f"its generator draws no {G.classes.label} '{value}', only {', '.join(G.classes.values)}")
    try:
        ready = drawing(G, recipe.precision)
    except ValueError as err:
        raise DataError(str(err)) from None
    first = recipe.index - recipe.index % BLOCK
    image: Greys = draw_block(ready, first, recipe.seed, recipe.truncation, value)[0][recipe.index % BLOCK]
    return image
