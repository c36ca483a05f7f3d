"""Where the breast is, and the square tile cut around it: pure functions on float images in [0, 1]."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from mammogan.errors import DataError

Side = Literal["left", "right"]
FloatImage = NDArray[np.float32]
Mask = NDArray[np.bool_]

_OVERVIEW_PX = 512  # long side of the reduced image in which the breast is looked for
_FRAME_DEPTH = 0.03  # a film's bright frame is at most so deep, as a share of the side it runs along
_FRAME_JUMP = 0.15  # and so much brighter than what lies just inside it
_FRAME_SHARE = 0.5  # over at least this share of its line
_BAR = 0.05  # anything thinner is no breast, as a share of the long side
_HOLE = 0.05  # dark pockets narrower than this belong to the breast
_SPECK = 2e-4  # smaller bright parts are dust, as a share of the image
_SKIN = 0.008  # what is bright within this of the mask still belongs to the breast, as a share of the long side
_MARGIN = 0.015  # kept around the breast, as a share of its box: the nipple and the skin are fainter than the mask
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


@dataclass(frozen=True)
class Tile:
    """A standardised image, uint8 (S, S) with the chest wall at the left edge, and how it was cut."""

    image: NDArray[np.uint8]
    box: Box
    flipped: bool
    scale: float  # tile pixels per raw pixel


def cut_tile(image: FloatImage, laterality: str, resolution: int) -> Tile:
    """Cut the breast out of `image` (H, W) in [0, 1] as a uint8 tile (resolution, resolution).

    The chest wall ends at the left edge; padding goes to the right, or evenly above and below.

    Raises:
        DataError: no breast is found, or it is smaller than the tile.
    """
    framed, mask, box, raw_box = _locate(image)
    if max(box.height, box.width) < resolution:
        raise DataError(
            f"smaller than asked: the breast is {box.height} x {box.width} px, its long side must reach {resolution} px"
        )
    flipped = chest_wall(mask, laterality) == "right"
    crop = without_markers(framed, mask)[box.slices]
    square = pad_to_square(crop[:, ::-1] if flipped else crop)
    return Tile(shrink(square, resolution), raw_box, flipped, resolution / len(square))


def breast_box(image: FloatImage) -> Box:
    """The box around the breast in `image` (H, W) with a small margin, in raw pixels.

    Raises:
        DataError: no breast is found.
    """
    return _locate(image)[-1]


def _locate(image: FloatImage) -> tuple[FloatImage, Mask, Box, Box]:
    """What lies inside the frame, its breast mask, and the breast's box with margin: there and in `image`."""
    inside = frame_box(image)
    framed = image[inside.slices]
    mask = breast_mask(framed)
    box = _with_margin(bounding_box(mask), framed.shape)
    return framed, mask, box, Box(inside.top + box.top, inside.left + box.left, box.height, box.width)


def frame_box(image: FloatImage) -> Box:
    """What lies inside the bright frame lines of a scanned film; the whole image where there is none."""
    top, bottom = _frame_lines(image), _frame_lines(image[::-1])
    left, right = _frame_lines(image.T), _frame_lines(image.T[::-1])
    height, width = image.shape
    return Box(top, left, height - top - bottom, width - left - right)


def _frame_lines(image: FloatImage) -> int:
    """Number of frame lines at the top of `image`.

    A line belongs to the frame where many of its pixels are much brighter than the pixel of the same column
    just inside the deepest possible frame; the breast's own edge brightens slowly and is left alone.
    """
    depth = int(len(image) * _FRAME_DEPTH)
    if depth < 1:
        return 0
    share = (image[:depth] - image[depth] > _FRAME_JUMP).mean(axis=1)
    lines = np.flatnonzero(share > _FRAME_SHARE / 4)
    return int(lines[-1]) + 1 if share.max() > _FRAME_SHARE else 0


def breast_mask(image: FloatImage) -> Mask:
    """Mask (H, W) of the breast: the largest connected bright region, without frame lines, markers and text.

    Raises:
        DataError: there is no such region.
    """
    overview = _overview(image)
    threshold = skin_threshold(overview)
    bright = _without_specks(overview > threshold)
    bar, hole = _BAR / 2 * max(overview.shape), _HOLE / 2 * max(overview.shape)
    # closing: black fat between the strands belongs to the breast
    bright = ndimage.binary_fill_holes(_eroded(_dilated(bright, hole), hole, outside=True))
    # opening: what is too thin to be a breast goes, light leaks along the chest wall too; corners grow back
    solid = bright & _dilated(_eroded(bright, bar), 1.5 * bar)
    labels, count = ndimage.label(solid)
    if count == 0:
        raise DataError("no breast found: nothing in the image is brighter than its background")
    areas = np.bincount(labels.ravel())
    breast = _without_pockets(labels == 1 + areas[1:].argmax())
    if breast.mean() < _MIN_AREA:
        raise DataError(f"no breast found: the largest bright region fills {100 * breast.mean():.1f} % of the image")
    height, width = image.shape
    return np.asarray(Image.fromarray(breast).resize((width, height), Image.Resampling.NEAREST))


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


def _with_margin(box: Box, shape: tuple[int, ...]) -> Box:
    """`box` grown by the margin to each side, as far as an image (H, W) of this shape reaches."""
    margin = round(_MARGIN * max(box.height, box.width))
    top, left = max(0, box.top - margin), max(0, box.left - margin)
    bottom, right = min(shape[0], box.top + box.height + margin), min(shape[1], box.left + box.width + margin)
    return Box(top, left, bottom - top, right - left)


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


def without_markers(image: FloatImage, mask: Mask) -> FloatImage:
    """`image` (H, W) with every bright thing apart from the breast replaced by the background."""
    threshold = 2 * skin_threshold(_overview(image))  # faint skin just outside the mask is no marker
    reach = max(1, round(max(image.shape) * _SKIN))
    near_breast = _grown(mask, reach)
    marker = _grown((image > threshold) & ~near_breast, reach) & ~near_breast
    if not marker.any():
        return image
    background = image[~near_breast & ~marker]
    cleaned = image.copy()
    cleaned[marker] = np.median(background) if background.size else 0
    return cleaned


def pad_to_square(crop: FloatImage) -> FloatImage:
    """`crop` (H, W), chest wall at its left edge, in a black square.

    The space goes to the right, away from the chest wall, or evenly above and below.
    """
    height, width = crop.shape
    side = max(height, width)
    top = (side - height) // 2
    square = np.zeros((side, side), dtype=np.float32)
    square[top : top + height, :width] = crop
    return square


def shrink(square: FloatImage, resolution: int) -> NDArray[np.uint8]:
    """A float square (S, S) in [0, 1] as uint8 (resolution, resolution): the mean of the area of each pixel.

    The area mean (Pillow's BOX) turns detail finer than a pixel into its mean grey and, unlike Lanczos, never
    overshoots: beside a bright calcification there is no dark ring, and nothing has to be clipped.
    """
    small = Image.fromarray(square).resize((resolution, resolution), Image.Resampling.BOX)
    tile: NDArray[np.uint8] = np.rint(np.clip(np.asarray(small), 0, 1) * 255).astype(np.uint8)
    return tile


def _overview(image: FloatImage) -> FloatImage:
    """`image` (H, W) by area mean, its long side at most `_OVERVIEW_PX`."""
    height, width = image.shape
    factor = max(1.0, max(height, width) / _OVERVIEW_PX)
    size = (max(1, round(width / factor)), max(1, round(height / factor)))
    return np.asarray(Image.fromarray(np.ascontiguousarray(image)).resize(size, Image.Resampling.BOX))


def _without_pockets(mask: Mask) -> Mask:
    """`mask` filled, row by row, from its outermost pixel to the chest wall: what lies between is breast."""
    box = bounding_box(mask)
    from_nipple = slice(None, None, -1 if chest_wall(mask, "") == "left" else 1)
    breast = mask[box.slices][:, from_nipple]
    filled = np.zeros_like(mask)
    filled[box.slices] = np.logical_or.accumulate(breast, axis=1)[:, from_nipple]
    return filled


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


def _grown(mask: Mask, reach: int) -> Mask:
    """`mask` grown by `reach` pixels to each side: dilation by a square, fast also at full size."""
    return np.asarray(ndimage.maximum_filter(mask, size=2 * reach + 1, mode="constant"))
