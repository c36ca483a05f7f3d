"""What a radiologist would measure first: size of the breast, share of dense tissue, sharpness of the skin line.

All on prepared tiles (chest wall at the left edge), with the outline that preparing uses. The density share serves to
compare sets of images; it is no clinical percent density.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mammogan.data.outline import Mask, breast_outline, skin_threshold
from mammogan.errors import DataError

_RIM = 0.03  # skin and the fat below it, as a share of the tile: neither dense nor fatty tissue
_FAT, _BRIGHTEST = 10, 99  # percentiles of the grey levels within the rim
_REACH = 1 / 32  # of the skin line's profile to each side, as a share of the tile
_SHORTEST_REACH = 4  # px


@dataclass(frozen=True)
class Breasts:
    """Measures of each image of a set, float64 (N,); NaN where no breast is found, save for the area, which is 0.

    Attributes:
        area: share of the tile that the breast fills.
        density: share of the breast, without its rim, that is brighter than the middle between fat (10th percentile)
            and its brightest tissue (99th).
        sharpness: steepest step of the mean brightness across the skin line, per pixel, as a share of the whole step
            from background to tissue; 1 is a line between two pixels.
    """

    area: NDArray[np.float64]
    density: NDArray[np.float64]
    sharpness: NDArray[np.float64]


def measure_breasts(images: NDArray[np.uint8]) -> Breasts:
    """Measure the breast of each tile (N, S, S)."""
    measured = np.array([_measures(image) for image in images])
    return Breasts(*measured.T)


def imbalance(real: Sequence[str], fake: Sequence[str]) -> float:
    """Share of the synthetic images whose label would have to change for the shares of the real ones.

    The total variation distance, in [0, 1]; images without a label (empty) do not count.
    """
    shares = []
    for labels in (real, fake):
        counts = Counter(label for label in labels if label)
        shares.append({label: count / counts.total() for label, count in counts.items()})
    every = shares[0].keys() | shares[1].keys()
    return sum(abs(shares[0].get(label, 0) - shares[1].get(label, 0)) for label in every) / 2


def _measures(image: NDArray[np.uint8]) -> tuple[float, float, float]:
    grey = image.astype(np.float32) / np.float32(255)
    try:
        mask = breast_outline(grey, skin_threshold(grey))
    except DataError:
        return 0.0, np.nan, np.nan
    depth = _depth(mask)
    return float(mask.mean()), _density(grey[depth > _RIM * len(mask)], grey[mask]), _sharpness(grey, depth)


def _depth(mask: Mask) -> NDArray[np.float64]:
    """Distance of each pixel (S, S) to the skin line, in px, negative outside of the breast.

    The breast goes on beyond the tile: where the border cuts it there is no skin.
    """
    wide = np.pad(mask, 1, mode="edge")
    inside, outside = ndimage.distance_transform_edt(wide), ndimage.distance_transform_edt(~wide)
    depth: NDArray[np.float64] = np.where(wide, inside - 0.5, 0.5 - outside)[1:-1, 1:-1]
    return depth


def _density(within_rim: NDArray[np.float32], breast: NDArray[np.float32]) -> float:
    tissue = within_rim if within_rim.size else breast
    fat, brightest = np.percentile(tissue, [_FAT, _BRIGHTEST])
    return float((tissue > (fat + brightest) / 2).mean())


def _sharpness(grey: NDArray[np.float32], depth: NDArray[np.float64]) -> float:
    reach = max(_SHORTEST_REACH, round(_REACH * len(grey)))
    near = np.abs(depth) < reach
    steps = np.floor(depth[near]).astype(np.intp) + reach
    counts = np.bincount(steps, minlength=2 * reach)
    profile = (np.bincount(steps, grey[near], minlength=2 * reach) / np.maximum(counts, 1))[counts > 0]
    if profile.size < 2 or np.ptp(profile) == 0:
        return np.nan  # the breast fills the tile: no skin line
    return float(np.diff(profile).max() / np.ptp(profile))
