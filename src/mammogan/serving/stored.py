"""A synthetic image as it lies on disk: what it says of itself, and its pixels."""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image, UnidentifiedImageError
from pydicom.errors import InvalidDicomError

from mammogan.data.pixels import DICOM_SUFFIXES
from mammogan.data.tiles import Greys
from mammogan.errors import DataError
from mammogan.serving.images import jpeg_of
from mammogan.serving.recipe import Recipe, from_line

_NONE = "carries no manifest id: mammogan did not make it, or a program has stripped its text"


@dataclass(frozen=True)
class Stored:
    """A synthetic image that was read.

    Attributes:
        recipe: how it was made.
        pixels: uint8 or uint16 (H, W), as the file has them.
        mirrored: whether the file shows the image with the chest wall at the right.
        lossy: whether its format keeps grey levels only nearly.
    """

    recipe: Recipe
    pixels: Greys
    mirrored: bool
    lossy: bool

    def shown(self, drawn: Greys) -> Greys:
        """A `drawn` image (H, W), chest wall left, with the pixels that such a file has of it."""
        laid: Greys = drawn[:, ::-1].copy() if self.mirrored else drawn
        return _raster(jpeg_of(laid, {}))[1] if self.lossy else laid


def read_stored(path: Path) -> Stored:
    """Read a synthetic PNG, JPEG or DICOM file.

    Raises:
        DataError: the file is missing, damaged, of another kind, or does not say how it was made.
    """
    if not path.is_file():
        raise DataError(f"{path} is missing or no file")
    lossy = False
    try:
        if path.suffix.lower() in DICOM_SUFFIXES:
            words, pixels = _dicom(path)
        else:
            words, pixels, lossy = _raster_file(path)
    except (UnidentifiedImageError, InvalidDicomError):
        raise DataError(f"{path} is neither a PNG, a JPEG nor a DICOM file") from None
    except Exception as err:
        raise DataError(f"{path} is damaged ({type(err).__name__})") from None
    if "manifest_id" not in words:
        raise DataError(f"{path} {_NONE}")
    try:
        recipe = Recipe.parse(words)
    except DataError as err:
        raise DataError(f"{path} cannot be traced: {err}") from None
    return Stored(recipe, pixels, words.get("mirrored") == "true", lossy)


def _raster_file(path: Path) -> tuple[dict[str, str], Greys, bool]:
    info, pixels = _raster(path.read_bytes())
    comment = info.get("comment")
    if isinstance(comment, bytes):
        return from_line(comment.decode("ascii", "replace")), pixels, True
    return {name: value for name, value in info.items() if isinstance(value, str)}, pixels, False


def _raster(data: bytes) -> tuple[Mapping[str, object], Greys]:
    with Image.open(io.BytesIO(data)) as image:
        return {str(name): value for name, value in image.info.items()}, np.asarray(image)


def _dicom(path: Path) -> tuple[dict[str, str], Greys]:
    dataset = pydicom.dcmread(path)
    return from_line(str(dataset.get("DerivationDescription", ""))), dataset.pixel_array
