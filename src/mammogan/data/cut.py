"""From a raw file to its square tile: as much of it decoded as the tile needs, and a record of how it was cut."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from mammogan.data.area import FloatImage, shares, weighted
from mammogan.data.breast import OVERVIEW_PX, Breast, find_breast
from mammogan.data.outline import Box, bounding_box, chest_wall
from mammogan.data.pectoral import in_muscle, muscle_edge
from mammogan.data.pixels import Raw, open_raw
from mammogan.errors import DataError

DECODED = 1.1  # a breast decoded at reduced resolution is at least so many times as long as its tile


@dataclass(frozen=True)
class Tile:
    """A standardised image with the chest wall at its left edge, and how it was cut. Raw pixels are of full size."""

    image: NDArray[np.uint8] | NDArray[np.uint16]  # (S, S)
    box: Box  # the crop, in raw pixels, before mirroring
    flipped: bool  # whether it was mirrored
    pad_top: int  # black added to the crop, in raw pixels
    pad_bottom: int
    pad_right: int  # away from the chest wall
    scale: float  # tile pixels per raw pixel
    spacing_mm: float | None  # between the tile's pixels, where the file gives that of its own
    window: str  # these four as in Pixels
    how: str
    inverted: bool
    reduction: int
    burnt_in: bool  # text or markers stand near the border, outside the breast
    pectoral: str  # kept, masked, or absent: to be masked, but not found or not in this view


@dataclass(frozen=True)
class Place:
    """Where the breast of a tile lies."""

    breast: Breast  # as seen at a coarse level of the file
    level: int  # that level: raw pixels per pixel of the image in which it was found
    box: Box  # in raw pixels
    flipped: bool  # the chest wall is at the right


def cut_file(
    path: Path, laterality: str, view: str, *, resolution: int, bits: int, pectoral: str, decoding: str
) -> Tile:
    """Cut the breast out of the mammogram at `path` as a tile (resolution, resolution) of 8 or 16 bits.

    The breast is looked for at a coarse level where the file has levels (JPEG 2000), so that `decoding`, which is
    `full` or `reduced`, changes the grey levels a little and never the box. `pectoral` is `keep` or `mask`.

    Raises:
        DataError: the file is not usable, no breast is found, or it is smaller than the tile; the message is
            `<path>: <reason>`.
    """
    raw = open_raw(path)
    level = coarse_level(raw)
    pixels = raw.read(level)
    try:
        place = locate(pixels.image, laterality, level, (raw.height, raw.width))
    except DataError as err:
        raise DataError(f"{path}: {err}") from None
    box = place.box
    if _long(box) < resolution:
        raise DataError(
            f"{path}: smaller than asked: the breast is {box.height} x {box.width} px, "
            f"its long side must reach {resolution} px"
        )
    wanted = fine_level(raw, box, resolution) if decoding == "reduced" else 1
    if wanted != level:
        pixels = raw.read(wanted)

    image = grey_levels(pixels.image, wanted, place, resolution)
    muscle = muscle_of(place, resolution) if pectoral == "mask" and view == "MLO" else None
    if muscle is not None:
        image[muscle] = 0
    pad_top, pad_bottom, pad_right = padding(box)
    scale = resolution / _long(box)
    return Tile(
        image=to_integers(image, bits),
        box=box,
        flipped=place.flipped,
        pad_top=pad_top,
        pad_bottom=pad_bottom,
        pad_right=pad_right,
        scale=scale,
        spacing_mm=None if raw.spacing_mm is None else raw.spacing_mm / scale,
        window=pixels.window,
        how=pixels.how,
        inverted=pixels.inverted,
        reduction=pixels.reduction,
        burnt_in=place.breast.burnt_in,
        pectoral="kept" if pectoral == "keep" else "absent" if muscle is None else "masked",
    )


def coarse_level(raw: Raw) -> int:
    """The coarsest reduction at which an image still fills the overview in which its breast is looked for."""
    return max(level for level in raw.reductions if level == 1 or _long(raw) >= level * OVERVIEW_PX)


def fine_level(raw: Raw, box: Box, resolution: int) -> int:
    """The coarsest reduction at which the breast in `box` still is long enough for its tile."""
    return max(level for level in raw.reductions if level == 1 or _long(box) >= level * DECODED * resolution)


def locate(image: FloatImage, laterality: str, level: int, size: tuple[int, int]) -> Place:
    """Find the breast in `image` (h, w) in [0, 1], which shows a raw image of `size` (H, W) at `level`.

    The pixels tell the side of the chest wall; `laterality` decides only where they do not.

    Raises:
        DataError: no breast is found.
    """
    breast = find_breast(image)
    seen = breast.box
    top, left = level * seen.top, level * seen.left
    height = min(size[0], level * (seen.top + seen.height)) - top
    width = min(size[1], level * (seen.left + seen.width)) - left
    flipped = chest_wall(breast.mask, laterality) == "right"
    return Place(breast, level, Box(top, left, height, width), flipped)


def padding(box: Box) -> tuple[int, int, int]:
    """Raw pixels of black above, below and to the right of a box, chest wall at its left, that make it square."""
    missing = _long(box) - box.height
    return missing // 2, missing - missing // 2, _long(box) - box.width


def grey_levels(image: FloatImage, level: int, place: Place, resolution: int) -> FloatImage:
    """The tile (resolution, resolution) in [0, 1] of an `image` (h, w) decoded at `level`.

    Each pixel is the mean of the area that it covers. Markers, text and dust become background, padding black.
    """
    height, width = image.shape
    tile = weighted(image, *_weights(place, level, Box(0, 0, height, width), image.shape, resolution))
    if place.breast.markers.any():
        tile[_on_tile(place.breast.markers, place, resolution) > 0] = place.breast.background
    return tile


def muscle_of(place: Place, resolution: int) -> NDArray[np.bool_] | None:
    """The pectoral muscle on the tile (resolution, resolution) of an oblique view; None where no edge is found."""
    mirror = slice(None, None, -1 if place.flipped else 1)
    overview, mask = place.breast.overview[:, mirror], place.breast.mask[:, mirror]
    box = bounding_box(mask)
    edge = muscle_edge(overview[box.slices], mask[box.slices])
    if edge is None:
        return None
    rows, columns = (np.arange(size, dtype=np.float64) + 0.5 for size in mask.shape)
    muscle = in_muscle(edge, columns - box.left, rows - box.top)[:, mirror]
    return _on_tile(muscle, place, resolution) > 0.5


def to_integers(tile: FloatImage, bits: int) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """A float tile in [0, 1] in 8 or 16 bits, rounded."""
    if bits == 16:
        fine: NDArray[np.uint16] = np.rint(65535 * np.clip(tile, 0, 1)).astype(np.uint16)
        return fine
    coarse: NDArray[np.uint8] = np.rint(255 * np.clip(tile, 0, 1)).astype(np.uint8)
    return coarse


def _on_tile(mask: NDArray[np.bool_], place: Place, resolution: int) -> FloatImage:
    """The share of each tile pixel that a mask (h, w) of the overview covers."""
    weights = _weights(place, place.level, place.breast.frame, mask.shape, resolution)
    return weighted(mask.astype(np.float32), *weights)


def _weights(
    place: Place, level: int, frame: Box, shape: tuple[int, ...], resolution: int
) -> tuple[csr_array, csr_array]:
    """Weights of rows and columns that turn an image (h, w) of this `shape` into the tile.

    The image shows the part `frame` of the raw image decoded at `level`.
    """
    box, side = place.box, _long(place.box)

    def along(size: int, shown: tuple[int, int], kept: tuple[int, int], start: int, mirrored: bool) -> csr_array:
        # a wavelet's coarse pixel k stands where raw pixel k * level stands, not in the middle of its raw pixels
        def at(raw: float) -> float:
            return (raw / level + (level - 1) / (2 * level) - shown[0]) * size / shown[1]

        first, ends = at(start), (at(kept[0]), at(kept[0] + kept[1]))
        if mirrored:
            first, ends = size - at(start + side), (size - ends[1], size - ends[0])
        return shares(size, resolution, first, at(start + side) - at(start), ends, mirrored)

    top = box.top - padding(box)[0]
    left = box.left + box.width - side if place.flipped else box.left
    rows = along(shape[0], (frame.top, frame.height), (box.top, box.height), top, mirrored=False)
    columns = along(shape[1], (frame.left, frame.width), (box.left, box.width), left, mirrored=place.flipped)
    return rows, columns


def _long(size: Box | Raw) -> int:
    return max(size.height, size.width)
