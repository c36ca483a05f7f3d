"""The outline of a breast in an overview: pure functions on small float images in [0, 1] and masks."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mammogan.errors import DataError

Side = Literal["left", "right"]
FloatImage = NDArray[np.float32]
Mask = NDArray[np.bool_]

_BAR = 0.05  # anything thinner is no breast, as a share of the long side
_HOLE = 0.05  # dark pockets narrower than this belong to the breast
_SPECK = 2e-4  # smaller bright parts are dust, as a share of the image
_PART = 0.1  # a detached part of this share of the largest may be a part of the breast, parted by black fat
_NIPPLE = 0.04  # what is joined to the breast reaches at most so far from it, as a share of the long side
_WHITE = 0.5  # text is brighter than this share of the brightest pixel
_WHITE_SHARE = 0.25  # in at least this share of its pixels
_SOLID = 0.6  # a nipple fills so much of the box around it; letters do not
_MIN_AREA = 0.02  # share of the image; a smaller breast is a marker or noise
_LOG_FLOOR = 0.01  # brightness that the logarithm takes for nothing; 2.5 of 255 grey levels
_UNDECIDED = 0.05  # edges of the breast whose heights differ by less share do not tell the chest wall


@dataclass(frozen=True)
class Box:
    """A rectangle in raw pixels."""

    top: int
    left: int
    height: int
    width: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Index of the rectangle in an image (H, W)."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)


def breast_outline(overview: FloatImage, threshold: float) -> Mask:
    """The mask (h, w) of the breast in an `overview` (h, w), whose background is darker than `threshold`.

    Raises:
        DataError: `no breast found`.
    """
    above = _without_text(_without_specks(overview > threshold), overview)
    bar, hole = _BAR / 2 * max(overview.shape), _HOLE / 2 * max(overview.shape)
    near = _slices_around(above, math.ceil(hole) + 1)
    # closing: black fat between the strands belongs to the breast
    bright = ndimage.binary_fill_holes(_eroded(_dilated(above[near], hole), hole, outside=True))
    # opening: what is too thin to be a breast goes, light leaks along the chest wall too; corners grow back
    solid = np.zeros_like(above)
    solid[near] = bright & _dilated(_eroded(bright, bar), 1.5 * bar)
    labels, count = ndimage.label(solid)
    if count == 0:
        raise DataError("no breast found: nothing in the image is brighter than its background")
    areas = np.bincount(labels.ravel())
    breast = _without_pockets(_with_nipple(labels == 1 + areas[1:].argmax(), above))
    if breast.mean() < _MIN_AREA:
        raise DataError(f"no breast found: the largest bright region fills {100 * breast.mean():.1f} % of the image")
    return breast


def skin_threshold(image: FloatImage) -> float:
    """Brightness that parts the breast from its background: Otsu's threshold of the logarithm.

    On the plain brightness Otsu parts dense from fatty tissue; the logarithm brings the faint skin and the
    dense tissue together. Otsu, IEEE Trans. SMC 9(1), 62-66 (1979).
    """
    black, white = float(np.percentile(image, 2)), float(image.max())
    if white - black < _LOG_FLOOR:
        return white  # one grey: nothing to part
    logs = np.log(np.maximum(image - np.float32(black), 0) + np.float32(_LOG_FLOOR))
    counts, edges = np.histogram(logs, bins=256)
    centers = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)[:-1]
    above = image.size - below
    moments = np.cumsum(counts * centers)
    mean_below = moments[:-1] / np.maximum(below, 1)
    mean_above = (moments[-1] - moments[:-1]) / np.maximum(above, 1)
    split = int(np.argmax(below * above * (mean_above - mean_below) ** 2))
    return black + float(np.exp(edges[split + 1])) - _LOG_FLOOR


def bounding_box(mask: Mask) -> Box:
    """The smallest box around the true pixels of `mask` (H, W)."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    top, left = int(rows[0]), int(columns[0])
    return Box(top, left, int(rows[-1]) + 1 - top, int(columns[-1]) + 1 - left)


def chest_wall(mask: Mask, laterality: str) -> Side:
    """The side of the image on which the chest wall stands, by the breast's mask (H, W).

    The breast is tall at the chest wall and narrows to the nipple. Where its two edges are equally tall, the
    label decides by the usual orientation: a left breast has its chest wall at the left edge.
    """
    box = bounding_box(mask)
    breast = mask[box.slices]
    edge = max(1, box.width // 8)
    at_left, at_right = breast[:, :edge].mean(), breast[:, -edge:].mean()
    if abs(at_left - at_right) < _UNDECIDED:
        return "right" if laterality == "R" else "left"
    return "left" if at_left > at_right else "right"


def _without_pockets(mask: Mask) -> Mask:
    """`mask` filled, row by row, from its outermost pixel to the chest wall: what lies between is breast."""
    box = bounding_box(mask)
    from_nipple = slice(None, None, -1 if chest_wall(mask, "") == "left" else 1)
    breast = mask[box.slices][:, from_nipple]
    filled = np.zeros_like(mask)
    filled[box.slices] = np.logical_or.accumulate(breast, axis=1)[:, from_nipple]
    return filled


def _slices_around(mask: Mask, margin: int) -> tuple[slice, slice]:
    """The part of `mask` (H, W) that holds all that is true, with a margin; an empty part if nothing is."""
    if not mask.any():
        return slice(0), slice(0)
    box = bounding_box(mask)
    return (
        slice(max(0, box.top - margin), box.top + box.height + margin),
        slice(max(0, box.left - margin), box.left + box.width + margin),
    )


def _without_text(bright: Mask, overview: FloatImage) -> Mask:
    """`bright` without small detached parts as white as text, which the closing would join to a breast close by.

    Detached parts of the breast are kept: large ones, those between it and the chest wall, grey ones, such as strands
    of skin, and a nipple that a black line of skin parts from it.
    """
    labels, count = ndimage.label(bright)
    if count == 0:
        return bright
    areas = np.bincount(labels.ravel())
    areas[0] = 0
    belongs = areas >= _PART * areas.max()
    breast = _without_pockets(belongs[labels])
    belongs[labels[breast]] = True
    white = np.bincount(labels[overview > _WHITE * overview.max()], minlength=count + 1)
    belongs |= white < _WHITE_SHARE * areas
    box = bounding_box(breast)
    tip = box.left + (0.67 if chest_wall(breast, "") == "left" else 0.33) * box.width
    for label, (rows, columns) in enumerate(ndimage.find_objects(labels), start=1):
        if not belongs[label]:  # a nipple may be white too: solid, and before the middle of the breast
            height, width = rows.stop - rows.start, columns.stop - columns.start
            beyond = columns.start > tip if chest_wall(breast, "") == "left" else columns.stop < tip
            at = (rows.start + height / 2 - box.top) / box.height
            belongs[label] = beyond and 0.2 < at < 0.8 and areas[label] > _SOLID * height * width
    belongs[0] = False
    return np.asarray(belongs[labels])


def _with_nipple(breast: Mask, bright: Mask) -> Mask:
    """`breast` and what is `bright`, joined to it and close: a nipple on a thin neck. At the chest wall nothing."""
    box = bounding_box(breast)
    close = grown(breast, round(_NIPPLE * max(breast.shape)))
    third = box.width // 3
    if chest_wall(breast, "") == "left":
        close[:, : box.left + third] = False
    else:
        close[:, box.left + box.width - third :] = False
    labels, _ = ndimage.label(breast | (bright & close))
    return np.asarray(labels == labels[breast][0])


def _without_specks(mask: Mask) -> Mask:
    labels, _ = ndimage.label(mask)
    large = np.bincount(labels.ravel()) >= _SPECK * mask.size
    large[0] = False
    return np.asarray(large[labels])


def _eroded(mask: Mask, radius: float, outside: bool = False) -> Mask:
    """`mask` without what lies within `radius` of a false pixel: erosion by a disk; `outside` lies the border."""
    distance = ndimage.distance_transform_edt(np.pad(mask, 1, constant_values=outside))
    return np.asarray(distance[1:-1, 1:-1] > radius)


def _dilated(mask: Mask, radius: float) -> Mask:
    """`mask` and all within `radius` of it: dilation by a disk, at a cost independent of the radius."""
    if not mask.any():
        return mask
    return np.asarray(ndimage.distance_transform_edt(~mask) <= radius)


def grown(mask: Mask, reach: int) -> Mask:
    """`mask` grown by `reach` pixels to each side: dilation by a square."""
    return np.asarray(ndimage.maximum_filter(mask, size=2 * reach + 1, mode="constant"))
