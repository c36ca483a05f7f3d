"""The closest pairs of synthetic and training images, laid over each other, for a person to look at."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mammogan.data.ncc import Alignment
from mammogan.evaluation.copies import Copies

Images = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Pairs:
    """K pairs, the nearest first.

    Attributes:
        fake: positions of the synthetic images, int64 (K,).
        train: positions of the training images, int64 (K,).
        score: their NCC, float32 (K,).
        flagged: whether it is above the threshold, bool (K,).
        fakes: the synthetic images (K, S, S).
        matches: the training images, enlarged, moved and flipped to lie over them, (K, S, S).
        originals: the training images as they are, (K, S, S).
    """

    fake: NDArray[np.int64]
    train: NDArray[np.int64]
    score: NDArray[np.float32]
    flagged: NDArray[np.bool_]
    fakes: Images
    matches: Images
    originals: Images


def closest_pairs(found: Copies, fakes: Images, train: Images, count: int) -> Pairs:
    """The `count` pairs that are nearest, or all if there are fewer, from what `copies.check` found."""
    chosen = np.argsort(-found.score, kind="stable")[:count]
    originals = train[found.nearest[chosen]]
    matches = [laid_over(original, found.alignments[k]) for k, original in zip(chosen, originals, strict=True)]
    return Pairs(
        fake=chosen,
        train=found.nearest[chosen],
        score=found.score[chosen],
        flagged=found.flagged[chosen],
        fakes=fakes[chosen],
        matches=np.stack(matches) if matches else originals,
        originals=originals,
    )


def laid_over(image: Images, alignment: Alignment) -> Images:
    """`image` (S, S) as it lies over its pair: same shape and dtype, black where it does not reach."""
    side = len(image)
    centre = (side - 1) / 2
    move = side * np.array([alignment.down, alignment.right])
    source = centre - (centre + move) / alignment.zoom  # of the pixel at the origin
    moved = ndimage.affine_transform(image.astype(np.float32), [1 / alignment.zoom] * 2, source, order=1)
    flipped = moved[:: -1 if alignment.upside_down else 1, :: -1 if alignment.mirrored else 1]
    return np.rint(flipped).astype(image.dtype)
