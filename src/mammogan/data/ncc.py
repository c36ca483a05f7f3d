"""Normalised cross-correlation of tiles as small band-passed images, the greatest over flips, shifts and zooms."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import fft, ndimage

Array = NDArray[Any]
Floats = NDArray[np.float32]

SIDE = 48  # px of the image that is compared
ZOOM = 1.1

_FINE, _COARSE = 0.7, 2.5  # px: what is smaller is noise, what is larger is the shape that all breasts share
_TISSUE = 0.1  # share of the tile's brightness range from which a pixel counts fully as breast
_RIM = 1.5  # px: about so far inside the outline the comparison starts
_FLAT = 0.01  # local contrast, same unit, below which there is nothing to compare
_REACH = 6  # px: the greatest shift
_PERIOD = SIDE + _REACH  # of the transform: shifts up to _REACH do not wrap around
_SHIFTS = np.arange(-_REACH, _REACH + 1)
_WAVES = np.exp(2j * np.pi / _PERIOD * np.outer(_SHIFTS, np.arange(_PERIOD))) / _PERIOD
_TO_ROWS = _WAVES.astype(np.complex64)  # (13, 54)
_TWICE = np.where(np.arange(_PERIOD // 2 + 1) % (_PERIOD // 2) == 0, 1, 2)  # for the half that a real transform omits
_TO_COLUMNS = (_WAVES[:, : _PERIOD // 2 + 1] * _TWICE).T.astype(np.complex64)  # (28, 13)

_CELL = 3  # px averaged for the first look
_STEPS = (-6, -3, 0, 3, 6)  # px: its shifts


@dataclass(frozen=True)
class Alignment:
    """How a reference lies over a query: enlarged by `zoom` about its centre, then moved, then flipped.

    Attributes:
        mirrored: left and right are exchanged.
        upside_down: top and bottom are exchanged.
        down: the move in shares of the side, before the flip; `right` likewise.
        zoom: 1, 1.1 or 1 / 1.1.
    """

    mirrored: bool
    upside_down: bool
    down: float
    right: float
    zoom: float


def describe(tiles: Array) -> Floats:
    """Tiles (N, S, S) as the images that are compared, float32 (N, 48, 48), each of square sum 1 or all zero.

    Inside the breast alone, since the outline is much the same in all mammograms: the difference of two Gaussian means
    over its own local strength, so that a bright finding weighs no more than fine texture.
    """
    size = (SIDE, SIDE)
    small = np.stack(
        [np.asarray(Image.fromarray(tile.astype(np.float32)).resize(size, Image.Resampling.BILINEAR)) for tile in tiles]
    )
    dark, bright = np.percentile(small, (2, 99), axis=(1, 2), keepdims=True).astype(np.float32)
    level = (small - dark) / np.maximum(bright - dark, np.float32(1e-6))
    breast = np.clip(_mean(level, 1) / _TISSUE - np.float32(0.5), 0, 1)
    inner = breast * np.clip(2 * _mean(breast, _RIM) - 1, 0, 1)

    fine_area, coarse_area = (np.maximum(_mean(breast, width), np.float32(0.02)) for width in (_FINE, _COARSE))
    tissue = level * breast
    detail = (_mean(tissue, _FINE) / fine_area - _mean(tissue, _COARSE) / coarse_area) * breast
    strength = np.sqrt(_mean(detail * detail, _COARSE) / coarse_area)
    return _unit(detail / (strength + np.float32(_FLAT)) * inner)


def correlate(image: Floats, references: Array) -> Floats:
    """The greatest correlation of `image` (48, 48) with each of `references` (N, 48, 48): float32 (N,) in [0, 1].

    Over four flips, shifts of up to 6 px in each direction, and three zooms: neither or one of the two enlarged. An
    enlarged image is cut at the tile's edge, so that both cover the same ground.
    """
    best: Floats = np.zeros(len(references), np.float32)
    for _, _, maps in _correlations(image, references):
        np.maximum(best, maps.max(axis=(1, 2)), out=best)
    return np.round(np.minimum(best, 1), 4).astype(np.float32)


def align(image: Floats, reference: Array) -> Alignment:
    """How `reference` (48, 48) lies over `image` (48, 48) where they correlate most."""
    zoom, flip, maps = max(_correlations(image, reference[None]), key=lambda found: found[2].max())
    down, right = (_SHIFTS[k] for k in np.unravel_index(int(maps[0].argmax()), maps[0].shape))
    scale = -min(zoom, 1.0) / SIDE  # where the query was enlarged, its pixels are smaller
    return Alignment(bool(flip % 2), bool(flip // 2), float(scale * down) + 0.0, float(scale * right) + 0.0, zoom)


def looks(image: Floats) -> Floats:
    """The first look at `image` (48, 48) in four flips and 25 coarse shifts, float32 (100, 256)."""
    turned = _turned(image[None])
    return coarse(np.concatenate([_shifted(turned, down, right) for down in _STEPS for right in _STEPS]))


def coarse(images: Array) -> Floats:
    """The first look at `images` (N, 48, 48): the means of 3 x 3 px, float32 (N, 256) of length 1 or zero."""
    cells = SIDE // _CELL
    means = images.astype(np.float32).reshape(-1, cells, _CELL, cells, _CELL).mean(axis=(2, 4))
    return _unit(means).reshape(len(images), -1)


def _correlations(image: Floats, references: Array) -> Iterator[tuple[float, int, Floats]]:
    """Zoom of the references, number of the flip, and the correlation at each shift (N, 13, 13)."""
    plain: Floats = np.asarray(references, dtype=np.float32)
    spectra, spectra_zoomed = _spectra(plain), _spectra(_unit(_zoomed(plain, ZOOM)))
    for zoom, ours, theirs in (
        (1.0, image, spectra),
        (1 / ZOOM, _unit(_zoomed(image[None], ZOOM))[0], spectra),
        (ZOOM, image, spectra_zoomed),
    ):
        for flip, spectrum in enumerate(_spectra(_turned(ours[None]))):
            yield zoom, flip, _near_origin(theirs * spectrum.conj())


def _near_origin(spectra: NDArray[np.complex64]) -> Floats:
    """The inverse transforms of `spectra` (N, 54, 28) at shifts of -6 to 6 px alone: float32 (N, 13, 13).

    Two small matrix products, which cost a seventh of the whole transforms.
    """
    maps = _TO_ROWS @ spectra @ _TO_COLUMNS
    return np.ascontiguousarray(maps.real, dtype=np.float32)


def _spectra(images: Floats) -> NDArray[np.complex64]:
    """Spectra (N, 54, 28) of `images` (N, 48, 48), padded so that the shifts do not wrap around."""
    spectra: NDArray[np.complex64] = fft.rfft2(images, s=(_PERIOD, _PERIOD))
    return spectra


def _turned(images: Floats) -> Floats:
    """`images` (N, H, W) as they are, mirrored, upside down, and both: (4 N, H, W)."""
    return np.concatenate([images, images[:, :, ::-1], images[:, ::-1], images[:, ::-1, ::-1]])


def _zoomed(images: Floats, factor: float) -> Floats:
    """`images` (..., 48, 48) enlarged about their centre, bilinear; black where they do not reach."""
    centre = (SIDE - 1) / 2
    source = (np.arange(SIDE) - centre) / factor + centre
    weights = np.clip(1 - np.abs(source[:, None] - np.arange(SIDE)), 0, 1).astype(np.float32)  # (to, from)
    zoomed: Floats = weights @ images @ weights.T
    return zoomed


def _shifted(images: Floats, down: int, right: int) -> Floats:
    """`images` (N, H, W) shifted by whole pixels, black where they do not reach."""
    _, height, width = images.shape
    shifted = np.zeros_like(images)
    shifted[:, max(0, down) : height + min(0, down), max(0, right) : width + min(0, right)] = images[
        :, max(0, -down) : height + min(0, -down), max(0, -right) : width + min(0, -right)
    ]
    return shifted


def _mean(images: Floats, width: float) -> Floats:
    """Gaussian mean of each of `images` (N, H, W); `width` is its standard deviation in px."""
    return np.asarray(ndimage.gaussian_filter(images, (0, width, width), mode="nearest"))


def _unit(images: Floats) -> Floats:
    """`images` (N, H, W), each divided by the root of its sum of squares; zero stays zero."""
    length = np.sqrt((images * images).sum(axis=(1, 2), keepdims=True))
    unit: Floats = images / np.maximum(length, np.float32(1e-6))
    return unit
