"""PNG, JPEG, TIFF and PGM images as they are stored: grey, or colour channels that are equal."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from mammogan.data.raw import Pixels, check_reduction, check_size, damage, located
from mammogan.data.voi import levels_of, robust_range, stretch, through
from mammogan.errors import DataError

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".tif": "TIFF", ".tiff": "TIFF", ".pgm": "PPM"}

_JPEG_NOISE = 10  # grey levels by which the channels of a grey picture differ after JPEG ...
_JPEG_STRAYS = 0.001  # ... save this share of the pixels


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
    if image.mode in ("1", "L"):
        return Pixels(_eight_bit(np.asarray(image.convert("L"))), f"8-bit {kind}")
    if image.mode.startswith("I"):
        return _sixteen_bit(np.asarray(image), kind)
    if image.mode == "F":
        return _floating(np.asarray(image), kind)
    colour = np.asarray(image.convert("RGB"))
    if _differ(colour, _JPEG_NOISE if kind == "JPEG" else 0):
        raise DataError("colour image: its channels differ; convert it to grey")
    return Pixels(_eight_bit(colour[..., 1]), f"8-bit {kind}, {image.mode} with equal channels")


def _differ(colour: NDArray[np.uint8], noise: int) -> bool:
    """Whether the channels of `colour` (H, W, 3) differ by more than `noise`; in JPEG a few pixels may."""
    apart = np.ptp(colour.astype(np.int16), axis=2) > noise
    return bool(apart.mean() > (_JPEG_STRAYS if noise else 0))


def _eight_bit(stored: NDArray[np.uint8]) -> NDArray[np.float32]:
    return stored.astype(np.float32) / np.float32(255)


def _sixteen_bit(stored: NDArray[Any], kind: str) -> Pixels:
    top = int(stored.max())
    if int(stored.min()) < 0 or top > 65535:
        raise DataError("unsupported depth: its pixels need more than 16 bits; convert it to 16-bit grey")
    stored = stored.astype(np.uint16)
    levels = levels_of(stored.dtype)
    if top >= 2**15:
        return Pixels(through((levels / 65535).astype(np.float32), stored), f"16-bit {kind}")
    # 10 to 15 bits in a 16-bit file: dividing by 65,535 would leave it all but black
    low, high = robust_range(levels, np.bincount(stored.ravel(), minlength=len(levels)))
    window = f"range {low:.0f} to {high:.0f}"
    table = stretch(levels, low, high).astype(np.float32)
    return Pixels(through(table, stored), f"16-bit {kind} with {top.bit_length()} bits in use, {window}", window)


def _floating(stored: NDArray[Any], kind: str) -> Pixels:
    if not np.isfinite(stored).all():
        raise DataError("unreadable: it holds values that are not finite")
    values, counts = np.unique(stored, return_counts=True)
    low, high = robust_range(values, counts)
    window = f"range {low:g} to {high:g}"
    return Pixels(stretch(stored, low, high).astype(np.float32), f"floating-point {kind}, {window}", window)
