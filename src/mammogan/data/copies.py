"""Copies among tiles: for each query the reference that is most nearly the same picture.

Normalised cross-correlation of small band-passed images, the greatest over flips, shifts and zooms. It finds exact,
noisy, shifted, mirrored, re-exposed, recompressed, blurred, bent and cropped copies; docs/data.md has the shares.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import fft, ndimage

from mammogan.errors import DataError

Array = NDArray[Any]
Floats = NDArray[np.float32]

COPY_NCC = 0.68  # at least this is a copy; calibrated in docs/data.md, "Near-duplicates across the split"

_SIDE = 48  # px of the image that is compared
_FINE, _COARSE = 0.7, 2.5  # px: what is smaller is noise, what is larger is the shape that all breasts share
_TISSUE = 0.1  # share of the tile's brightness range from which a pixel counts fully as breast
_RIM = 1.5  # px: about so far inside the outline the comparison starts
_FLAT = 0.01  # local contrast, same unit, below which there is nothing to compare
_ZOOM = 1.1
_REACH = 6  # px: the greatest shift
_PERIOD = _SIDE + _REACH  # of the transform: shifts up to _REACH do not wrap around
_SHIFTS = np.arange(-_REACH, _REACH + 1)
_WAVES = np.exp(2j * np.pi / _PERIOD * np.outer(_SHIFTS, np.arange(_PERIOD))) / _PERIOD
_TO_ROWS = _WAVES.astype(np.complex64)  # (13, 54)
_TWICE = np.where(np.arange(_PERIOD // 2 + 1) % (_PERIOD // 2) == 0, 1, 2)  # for the half that a real transform omits
_TO_COLUMNS = (_WAVES[:, : _PERIOD // 2 + 1] * _TWICE).T.astype(np.complex64)  # (28, 13)

_CELL = 3  # px averaged for the first look
_STEPS = (-6, -3, 0, 3, 6)  # px: its shifts
_CANDIDATES = 256

_QUERY_BLOCK = 16
_REFERENCE_BLOCK = 512
_PAIR_BLOCK = 128


@dataclass(frozen=True)
class Pair:
    """A holdout tile and the training tile that it repeats, by their positions, and their correlation."""

    holdout: int
    train: int
    ncc: float


def near_duplicates(
    train: Array, holdout: Array, threshold: float = COPY_NCC, progress: Callable[[int], None] | None = None
) -> list[Pair]:
    """The holdout tiles whose closest training tile correlates by at least `threshold`, each with that tile.

    `train` uint8 or uint16 (N, S, S), `holdout` (M, S, S), chest wall at the left edge; see `closest`.
    """
    index, ncc = closest(holdout, train, progress=progress)
    return [Pair(int(k), int(index[k]), float(ncc[k])) for k in np.flatnonzero(ncc >= threshold)]


def closest(
    queries: Array,
    references: Array,
    candidates: int | None = _CANDIDATES,
    progress: Callable[[int], None] | None = None,
) -> tuple[NDArray[np.int64], Floats]:
    """For each query the position of the closest reference, int64 (N,), and their correlation, float32 (N,).

    `queries` (N, S, S) and `references` (M, T, T) are uint8 or uint16, memory maps too: they are read in blocks. The
    correlation lies in [0, 1], is rounded to four decimals, and does not change with brightness, contrast or depth; 1
    is the same picture. Of equals the first reference counts. A tile without any structure correlates by 0.

    Every query is correlated with the `candidates` references that look most like it at low resolution, or with all
    references where `candidates` is None or not less than their number. Copies are not lost so; of pictures that are
    no copies another than the closest may be named, with a slightly lower correlation. Memory holds about 6 kB a
    reference.

    `progress` is called with the number of queries done.

    Raises:
        DataError: the arrays are not as said above, there is no reference, or `candidates` is not positive.
    """
    _check("queries", queries)
    _check("references", references)
    if len(references) == 0:
        raise DataError("copies: there is no reference to compare with")
    if candidates is not None and candidates < 1:
        raise DataError(f"copies: {candidates} candidates; give at least 1, or None for all")
    exact = candidates is None or candidates >= len(references)

    described = np.empty((len(references), _SIDE, _SIDE), np.float16)
    for block in _blocks(len(references), _REFERENCE_BLOCK):
        described[block] = describe(references[block])
    coarse = None if exact else np.concatenate([_coarse(described[b]) for b in _blocks(len(described), 4096)])

    index, ncc = np.zeros(len(queries), np.int64), np.zeros(len(queries), np.float32)
    for block in _blocks(len(queries), _QUERY_BLOCK):
        images = describe(queries[block])
        for k, image in enumerate(images, start=block.start):
            chosen = np.arange(len(described)) if coarse is None else _candidates(image, coarse, candidates or 0)
            scores = np.concatenate(
                [_correlate(image, described[chosen[b]]) for b in _blocks(len(chosen), _PAIR_BLOCK)]
            )
            best = int(scores.argmax())
            index[k], ncc[k] = chosen[best], scores[best]
        if progress is not None:
            progress(block.stop)
    return index, ncc


def describe(tiles: Array) -> Floats:
    """Tiles (N, S, S) as the images that are compared, float32 (N, 48, 48), each of square sum 1 or all zero.

    Inside the breast alone, since the outline is much the same in all mammograms: the difference of two Gaussian means
    over its own local strength, so that a bright finding weighs no more than fine texture.
    """
    size = (_SIDE, _SIDE)
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


def _check(name: str, tiles: Array) -> None:
    if tiles.ndim != 3 or tiles.shape[1] != tiles.shape[2] or tiles.shape[1] == 0:
        raise DataError(f"copies: {name} have the shape {tiles.shape}, expected square tiles (N, S, S)")
    if tiles.dtype not in (np.uint8, np.uint16):
        raise DataError(f"copies: {name} are {tiles.dtype}, expected uint8 or uint16")


def _candidates(image: Floats, coarse: Floats, count: int) -> NDArray[np.int64]:
    """Positions (count,), ascending, of the references that look most like `image` (48, 48) at low resolution."""
    turned = _turned(image[None])
    looks = _coarse(np.concatenate([_shifted(turned, down, right) for down in _STEPS for right in _STEPS]))
    scores = np.concatenate([(looks @ coarse[block].T).max(axis=0) for block in _blocks(len(coarse), 16384)])
    return np.sort(np.argpartition(-scores, count - 1)[:count])


def _correlate(image: Floats, references: Array) -> Floats:
    """The greatest correlation of `image` (48, 48) with each of `references` (N, 48, 48): float32 (N,) in [0, 1].

    Over four flips, shifts of up to 6 px in each direction, and three zooms: neither or one of the two enlarged. An
    enlarged image is cut at the tile's edge, so that both cover the same ground.
    """
    plain: Floats = np.asarray(references, dtype=np.float32)
    best: Floats = np.zeros(len(plain), np.float32)
    spectra, spectra_zoomed = _spectra(plain), _spectra(_unit(_zoomed(plain, _ZOOM)))
    for ours, theirs in (
        (image, spectra),
        (_unit(_zoomed(image[None], _ZOOM))[0], spectra),
        (image, spectra_zoomed),
    ):
        for spectrum in _spectra(_turned(ours[None])):
            np.maximum(best, _near_origin(theirs * spectrum.conj()).max(axis=(1, 2)), out=best)
    return np.round(np.minimum(best, 1), 4).astype(np.float32)


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
    centre = (_SIDE - 1) / 2
    source = (np.arange(_SIDE) - centre) / factor + centre
    weights = np.clip(1 - np.abs(source[:, None] - np.arange(_SIDE)), 0, 1).astype(np.float32)  # (to, from)
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


def _coarse(images: Array) -> Floats:
    """The first look at `images` (N, 48, 48): the means of 3 x 3 px, float32 (N, 256) of length 1 or zero."""
    cells = _SIDE // _CELL
    means = images.astype(np.float32).reshape(-1, cells, _CELL, cells, _CELL).mean(axis=(2, 4))
    return _unit(means).reshape(len(images), -1)


def _mean(images: Floats, width: float) -> Floats:
    """Gaussian mean of each of `images` (N, H, W); `width` is its standard deviation in px."""
    return np.asarray(ndimage.gaussian_filter(images, (0, width, width), mode="nearest"))


def _unit(images: Floats) -> Floats:
    """`images` (N, H, W), each divided by the root of its sum of squares; zero stays zero."""
    length = np.sqrt((images * images).sum(axis=(1, 2), keepdims=True))
    unit: Floats = images / np.maximum(length, np.float32(1e-6))
    return unit


def _blocks(total: int, size: int) -> Iterator[slice]:
    for start in range(0, total, size):
        yield slice(start, min(start + size, total))
