"""PNG, JPEG, TIFF and PGM images as they are stored: grey, or colour channels that are equal."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import DTypeLike, NDArray
from PIL import Image, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from mammogan.data.raw import Pixels, check_reduction, check_size, damage, located
from mammogan.data.voi import (
    BLOCK,
    count_levels,
    levels_of,
    robust_range,
    robust_range_of_sorted,
    stretch,
    through,
)
from mammogan.errors import DataError

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".tif": "TIFF", ".tiff": "TIFF", ".pgm": "PPM"}

_JPEG_NOISE = 10  # grey levels by which the channels of a grey picture differ after JPEG ...
_JPEG_STRAYS = 0.001  # ... save this share of the pixels
_BITS_PER_SAMPLE, _PHOTOMETRIC, _WHITE_IS_ZERO = 258, 262, 0  # TIFF 6.0, section 8
_WITH_CHANNELS = (2, 4, 6)  # colour types of PNG: RGB, grey with alpha, RGB with alpha


@dataclass(frozen=True)
class RasterRaw:
    """A raster image whose header is read and checked."""

    path: Path
    height: int
    width: int
    spacing_mm: float | None = None
    reductions: tuple[int, ...] = (1,)

    def read(self, reduction: int = 1) -> Pixels:
        """The pixels, (height, width)."""
        check_reduction(reduction, self.reductions)
        with located(self.path):
            kind = FORMATS[self.path.suffix.lower()]
            with _opened(self.path) as image:
                if kind == "PNG" and _is_deep_colour(self.path):
                    image.close()
                    return _deep_colour(self.path)
                image.load()
                return _present(image, "PGM" if kind == "PPM" else kind)


def open_raster(path: Path) -> RasterRaw:
    """Read and check the header of a PNG, JPEG, TIFF or PGM file.

    Raises:
        DataError: it is not what its name says, damaged, of an absurd size, or holds several pages.
    """
    with _opened(path) as image:
        return RasterRaw(path, image.height, image.width)


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    kind = FORMATS[path.suffix.lower()]
    name = "PGM" if kind == "PPM" else kind
    with damage(f"unreadable: truncated or damaged {name}"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's warnings may quote the file
        try:
            image = Image.open(path, formats=(kind,))
        except Image.DecompressionBombError:
            raise DataError("unreadable: its header claims an absurd size") from None
        except UnidentifiedImageError:
            raise DataError(f"unreadable: not a {name} file, whatever its name says") from None
        with image:
            check_size(image.height, image.width)
            if getattr(image, "n_frames", 1) > 1:
                raise DataError("several frames: it holds more than one page; export single images")
            yield image


def _present(image: Image.Image, kind: str) -> Pixels:
    photometric = image.tag_v2.get(_PHOTOMETRIC) if isinstance(image, TiffImageFile) else None
    inverted = photometric == _WHITE_IS_ZERO
    if image.mode in ("1", "L"):  # Pillow itself has inverted it
        return _noted(Pixels(_scaled(image, "L"), f"8-bit {kind}"), inverted)
    if image.mode.startswith("I"):
        pixels = _sixteen_bit(_integers(image), kind)
    elif image.mode == "F":
        pixels = _floating(_whole(image, np.float32), kind)
    elif isinstance(image, TiffImageFile) and max(image.tag_v2.get(_BITS_PER_SAMPLE, (8,))) > 8:
        raise DataError("unsupported depth: 16-bit channels of a TIFF; convert it to 16-bit grey")
    else:
        green = _scaled(image, "RGB", _JPEG_NOISE if kind == "JPEG" else 0)
        return _noted(Pixels(green, f"8-bit {kind}, {image.mode} with equal channels"), inverted)
    if inverted:
        np.subtract(1, pixels.image, out=pixels.image)
    return _noted(pixels, inverted)


def _noted(pixels: Pixels, inverted: bool) -> Pixels:
    return replace(pixels, how=f"{pixels.how}, inverted", inverted=True) if inverted else pixels


def _bands(image: Image.Image) -> Iterator[tuple[slice, Image.Image]]:
    """The image in bands of rows, for Pillow copies what it hands to NumPy three times."""
    rows = max(1, BLOCK // image.width)
    for top in range(0, image.height, rows):
        bottom = min(image.height, top + rows)
        yield slice(top, bottom), image.crop((0, top, image.width, bottom))


def _whole(image: Image.Image, dtype: DTypeLike) -> NDArray[Any]:
    stored = np.empty((image.height, image.width), dtype=dtype)
    for rows, band in _bands(image):
        stored[rows] = np.asarray(band)
    image.close()
    return stored


def _integers(image: Image.Image) -> NDArray[np.uint16]:
    stored = np.empty((image.height, image.width), dtype=np.uint16)
    for rows, band in _bands(image):
        values = np.asarray(band)
        if values.min() < 0 or values.max() > 65535:
            raise DataError("unsupported depth: its pixels need more than 16 bits; convert it to 16-bit grey")
        stored[rows] = values
    image.close()
    return stored


def _scaled(image: Image.Image, mode: str, noise: int = 0) -> NDArray[np.float32]:
    """An 8-bit image (H, W) in [0, 1]; of `mode` RGB its green channel, where the channels differ by `noise` at most.

    In JPEG, whose channels have noise, a few pixels may differ by more.
    """
    grey = np.empty((image.height, image.width), dtype=np.float32)
    apart = 0
    for rows, band in _bands(image):
        levels = np.asarray(band.convert(mode))
        if mode == "RGB":
            apart += int(np.count_nonzero(levels.max(axis=2) - levels.min(axis=2) > noise))
            levels = levels[..., 1]
        grey[rows] = levels
    _refuse_colour(apart, grey.size, noise)
    grey /= 255
    return grey


def _refuse_colour(apart: int, pixels: int, noise: int = 0) -> None:
    if apart > (_JPEG_STRAYS * pixels if noise else 0):
        raise DataError("colour image: its channels differ; convert it to grey")


def _deep_colour(path: Path) -> Pixels:
    """A PNG of 16 bits with colour or alpha, which Pillow would cut to 8 bits; alpha is ignored."""
    colour = imagecodecs.png_decode(path.read_bytes())
    channels = colour.shape[2]
    grey = np.ascontiguousarray(colour[..., 0])
    if channels > 2:
        apart = sum(int(np.count_nonzero(row[:, 0] != row[:, k])) for row in colour for k in (1, 2))
        _refuse_colour(apart, grey.size)
    del colour
    pixels = _sixteen_bit(grey, "PNG")
    what = "alpha left out" if channels == 2 else "RGB with equal channels"
    return replace(pixels, how=f"{pixels.how}, {what}")


def _is_deep_colour(path: Path) -> bool:
    with path.open("rb") as file:
        depth, colour = file.read(26)[24:]  # of IHDR, which comes first
    return depth == 16 and colour in _WITH_CHANNELS


def _sixteen_bit(stored: NDArray[np.uint16], kind: str) -> Pixels:
    top = int(stored.max())
    levels = levels_of(stored.dtype)
    if top >= 2**15:
        return Pixels(through((levels / 65535).astype(np.float32), stored), f"16-bit {kind}")
    # 10 to 15 bits in a 16-bit file: dividing by 65,535 would leave it all but black
    low, high = robust_range(levels, count_levels(stored))
    window = f"range {low:.0f} to {high:.0f}"
    table = stretch(levels, low, high).astype(np.float32)
    return Pixels(through(table, stored), f"16-bit {kind} with {top.bit_length()} bits in use, {window}", window)


def _floating(stored: NDArray[np.float32], kind: str) -> Pixels:
    """Floating-point pixels from their own range to [0, 1], in place."""
    if not all(np.isfinite(row).all() for row in stored):
        raise DataError("unreadable: it holds values that are not finite")
    low, high = robust_range_of_sorted(np.sort(stored, axis=None))
    for row in stored:
        row[:] = stretch(row, low, high)
    window = f"range {low:g} to {high:g}"
    return Pixels(stored, f"floating-point {kind}, {window}", window)
