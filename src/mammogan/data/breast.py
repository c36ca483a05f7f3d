"""Where the breast is in a mammogram, and what lies beside it: pure functions on float images in [0, 1]."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from mammogan.data.area import shares, weighted
from mammogan.data.outline import (
    Box,
    FloatImage,
    Mask,
    Side,
    bounding_box,
    breast_outline,
    chest_wall,
    grown,
    skin_threshold,
)

OVERVIEW_PX = 512  # long side of the reduced image in which all is looked for
_FRAME_DEPTH = 0.03  # a film's bright frame is at most so deep, as a share of the side it runs along
_FRAME_JUMP = 0.15  # and so much brighter than what lies just inside it
_FRAME_SHARE = 0.5  # over at least this share of its line
_SKIN = 0.008  # what is bright within this of the mask still belongs to the breast, as a share of the long side
_MARGIN = 0.015  # kept around the breast, as a share of its box: the nipple and the skin are fainter than the mask

_MARK_BORDER = 0.15  # text and markers lie within this of the border, as a share of the long side
_MARK_LENGTH = (0.015, 0.3)  # so long, as a share of the long side: not dust, nor a strip of light
_MARK_AREA = 1e-4  # and have at least so many bright pixels, as a share of the image
_MARK_LEVEL = 0.15  # and are so much brighter than the background


@dataclass(frozen=True)
class Breast:
    """Where the breast is. `mask` and `markers` show what lies inside `frame`, reduced to an overview (h, w)."""

    frame: Box  # what lies inside a film's frame lines, in pixels of the image
    box: Box  # the breast with a small margin, in pixels of the image
    overview: FloatImage  # (h, w), long side at most OVERVIEW_PX
    mask: Mask  # (h, w), the breast
    markers: Mask  # (h, w), what is bright apart from the breast, with a rim: film markers, text, dust
    background: float  # brightness of what is neither
    burnt_in: bool  # text or film markers are among the markers


def find_breast(image: FloatImage) -> Breast:
    """Find the breast in `image` (H, W) in [0, 1], bright = dense tissue.

    Raises:
        DataError: `no breast found`.
    """
    frame = frame_box(image)
    overview = _overview(image, frame)
    threshold = skin_threshold(overview)
    mask = breast_outline(overview, threshold)
    seeds, markers, background = _apart_from_breast(overview, mask, threshold)
    burnt_in = _holds_text(overview - background > _MARK_LEVEL, seeds, markers, chest_wall(mask, ""))
    return Breast(frame, _box_in_image(mask, frame), overview, mask, markers, background, burnt_in)


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


def _box_in_image(mask: Mask, frame: Box) -> Box:
    """The box around `mask` (h, w), which shows the inside of `frame`, with a margin, in pixels of the image."""
    box = bounding_box(mask)
    margin = _MARGIN * max(box.height * frame.height / mask.shape[0], box.width * frame.width / mask.shape[1])

    def span(start: int, length: int, count: int, size: int) -> tuple[int, int]:
        first, last = start * size / count - margin, (start + length) * size / count + margin
        return max(0, round(first)), min(size, round(last))

    top, bottom = span(box.top, box.height, mask.shape[0], frame.height)
    left, right = span(box.left, box.width, mask.shape[1], frame.width)
    return Box(frame.top + top, frame.left + left, bottom - top, right - left)


def _apart_from_breast(overview: FloatImage, mask: Mask, threshold: float) -> tuple[Mask, Mask, float]:
    """What is bright apart from the breast, the same with a rim, both (h, w), and the level of the background."""
    reach = max(1, round(max(mask.shape) * _SKIN))
    near_breast = grown(mask, reach)
    bright = (overview > 2 * threshold) & ~near_breast  # faint skin just outside the mask is no marker
    markers = grown(bright, reach) & ~near_breast
    background = overview[~near_breast & ~markers]
    return bright, markers, float(np.median(background)) if background.size else 0.0


def _holds_text(bright: Mask, seeds: Mask, markers: Mask, wall: Side) -> bool:
    """Whether text or a film marker is among the `markers` (h, w): something bright and compact near the border.

    Dust is too small and a strip of light too long. What touches the chest wall is tissue that left the mask.
    """
    height, width = markers.shape
    long_side = max(height, width)
    labels, _ = ndimage.label(markers)  # the rims join the letters of a word
    counts = np.bincount(labels[bright & seeds], minlength=int(labels.max()) + 1)
    for label, (rows, columns) in enumerate(ndimage.find_objects(labels), start=1):
        if columns.start == 0 if wall == "left" else columns.stop == width:
            continue
        length = max(rows.stop - rows.start, columns.stop - columns.start) / long_side
        gap = min(rows.start, columns.start, height - rows.stop, width - columns.stop) / long_side
        if (
            counts[label] >= _MARK_AREA * markers.size
            and _MARK_LENGTH[0] <= length - 2 * _SKIN <= _MARK_LENGTH[1]
            and gap <= _MARK_BORDER
        ):
            return True
    return False


def _overview(image: FloatImage, frame: Box) -> FloatImage:
    """What lies inside `frame`, by area mean, its long side at most `OVERVIEW_PX`."""
    factor = max(1.0, max(frame.height, frame.width) / OVERVIEW_PX)
    rows, columns = (
        shares(size, max(1, round(length / factor)), start, length)
        for size, start, length in zip(image.shape, (frame.top, frame.left), (frame.height, frame.width), strict=True)
    )
    return weighted(image, rows, columns)
