"""Which synthetic images may join a set: each is looked at by itself, and turned away with a reason."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mammogan.data.breast import find_breast
from mammogan.data.copies import COPY_NCC, closest
from mammogan.data.outline import chest_wall
from mammogan.data.tiles import Greys, depth, to_8_bits
from mammogan.errors import DataError

Screen = Callable[[Greys], Sequence[bool]]
"""Tiles (N, S, S) with the chest wall left -> whether each passes."""

_SMALL_PX = 96
_LIMITS_FROM = 400  # training tiles that are measured
_MARGIN = 0.1  # beyond the least and greatest training tile, as a share of the distance between the two


@dataclass(frozen=True)
class Named:
    """A screen and the reason for which it turns an image away."""

    reason: str
    passes: Screen


class Distinct:
    """Tells what is nearly the same picture as an image that was taken before.

    Images are kept small, 96 px, in which the comparison loses nothing, whatever their size and depth.
    """

    def __init__(self, taken: Iterable[Greys] = ()) -> None:
        self._taken = [_small(image) for image in taken]

    def __call__(self, images: Greys) -> list[bool]:
        """Whether each of `images` (N, S, S) differs from all that were taken."""
        if not self._taken or not len(images):
            return [True] * len(images)
        _, ncc = closest(np.stack([_small(image) for image in images]), np.stack(self._taken))
        return [bool(value < COPY_NCC) for value in ncc]

    def take(self, images: Iterable[Greys]) -> None:
        """Remember images (S, S) that join the set."""
        self._taken += [_small(image) for image in images]


def _small(image: Greys) -> NDArray[np.uint8]:
    """An image (S, S) as (96, 96) in 8 bits."""
    reduced = Image.fromarray(to_8_bits(image)).resize((_SMALL_PX, _SMALL_PX), Image.Resampling.BILINEAR)
    return np.asarray(reduced, dtype=np.uint8)


def training_copies(train: Greys) -> Screen:
    """Turns away what is nearly the same picture as a tile of `train` (M, S, S), by `data.copies`."""
    return Distinct(train)


@dataclass(frozen=True)
class BreastLike:
    """Passes tiles that show one breast at the left edge, within what the training tiles show.

    Attributes:
        low, high: of `measures`, each with a margin.
    """

    low: NDArray[np.float64]
    high: NDArray[np.float64]

    def __call__(self, images: Greys) -> list[bool]:
        """Whether each of `images` (N, S, S) shows a breast."""
        return [self._passes(image) for image in images]

    def _passes(self, image: Greys) -> bool:
        found = measures(image)
        return found is not None and bool(((found >= self.low) & (found <= self.high)).all())


def breast_like(train: Greys, seed: int = 0) -> BreastLike:
    """The screen whose limits are those of `train` (M, S, S), of which at most 400 tiles are measured.

    Raises:
        DataError: no breast is found in any of the tiles.
    """
    chosen = np.sort(np.random.default_rng(seed).permutation(len(train))[:_LIMITS_FROM])
    found = np.array([row for k in chosen if (row := measures(train[k])) is not None])
    if not len(found):
        raise DataError("no breast is found in any of the training tiles, so none can be told among synthetic ones")
    low, high = found.min(axis=0), found.max(axis=0)
    return BreastLike(low - _MARGIN * (high - low), high + _MARGIN * (high - low))


def measures(image: NDArray[Any]) -> NDArray[np.float64] | None:
    """Area, height and width of the breast as shares of a tile (S, S), and its mean brightness; None: no breast.

    No breast is also one whose chest wall stands at the right, since all tiles are turned to the left.
    """
    level = image.astype(np.float32) / np.float32(2 ** depth(image) - 1)
    try:
        breast = find_breast(level)
    except DataError:
        return None
    if chest_wall(breast.mask, "L") != "left":
        return None
    inside = breast.overview[breast.mask]
    rows, columns = breast.mask.any(axis=1), breast.mask.any(axis=0)
    return np.array([breast.mask.mean(), rows.mean(), columns.mean(), inside.mean()])
