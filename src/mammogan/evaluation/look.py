"""Samples that need no network to be called wrong: all alike, black, or saturated.

All is relative to the real images, most of which is black background, and the rules cannot accuse the real images
themselves.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mammogan.data.tiles import Greys, to_8_bits
from mammogan.evaluation.evaluate import spread

COLLAPSED_BELOW = 0.25  # share of the real images' spread: healthy DCGANs reach 0.7 to 1, stuck ones stay under 0.2

_BLACK_BELOW = 0.1  # share of the real images' mean grey level
_DARK, _WHITE = 16, 250  # grey levels: background is darker than the one, saturated pixels reach the other
_BLOCK = 256


@dataclass(frozen=True)
class Look:
    """A set of images in three numbers.

    Attributes:
        mean: grey level, in [0, 255].
        white: share of white pixels (250 and more) among those that are not background (16 and more); 0 without any.
        spread: as `evaluate.spread`, in grey levels.
    """

    mean: float
    white: float
    spread: float


def look(images: Greys) -> Look:
    """The look of images (N, H, W), which may be memory-mapped."""
    counts = np.zeros(256, np.int64)
    for start in range(0, len(images), _BLOCK):
        block: NDArray[np.uint8] = to_8_bits(images[start : start + _BLOCK])
        counts += np.bincount(block.ravel(), minlength=256)
    return Look(
        mean=float(counts @ np.arange(256) / counts.sum()),
        white=float(counts[_WHITE:].sum() / max(counts[_DARK:].sum(), 1)),
        spread=spread(images),
    )


def complaint(samples: Look, real: Look) -> str | None:
    """What is wrong with samples of fixed latents beside the real training images, in a sentence; None if nothing.

    Black: the mean grey level is below a tenth of that of the real images. Saturated: among the pixels that are not
    background, the share of white ones is past the middle between that of the real images and 1. Collapsed: the
    spread is below `COLLAPSED_BELOW` of that of the real images. The real images themselves never fulfil one.
    """
    if samples.mean < _BLACK_BELOW * real.mean:
        return f"the samples are black (mean grey level {samples.mean:.1f}, real images {real.mean:.1f})"
    if samples.white > (1 + real.white) / 2:
        return (
            f"the samples are saturated ({samples.white:.0%} of what is not background is white, real images "
            f"{real.white:.0%})"
        )
    if samples.spread < COLLAPSED_BELOW * real.spread:
        return (
            f"the samples hardly vary with z (spread {samples.spread:.1f} grey levels, real images {real.spread:.1f})"
        )
    return None
