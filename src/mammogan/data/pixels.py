"""Stored pixels, PNG or DICOM, to one float image in [0, 1] with dense tissue bright."""

import logging
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.pixels.processing import apply_modality_lut, apply_voi
from pydicom.uid import AllTransferSyntaxes

from mammogan.errors import DataError

PNG_SUFFIXES = frozenset({".png"})
DICOM_SUFFIXES = frozenset({".dcm", ".dicom"})

MAX_PIXELS = 2**27  # 134 megapixels, five times the largest mammogram met; above it a header is taken for damaged

# Nothing else of the header is read, so no value of the patient module can reach a message or a file.
_TAGS: list[str] = [
    "BitsAllocated",
    "BitsStored",
    "Columns",
    "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths",
    "HighBit",
    "ModalityLUTSequence",
    "NumberOfFrames",
    "PhotometricInterpretation",
    "PixelData",
    "PixelPaddingRangeLimit",
    "PixelPaddingValue",
    "PixelRepresentation",
    "PlanarConfiguration",
    "RescaleIntercept",
    "RescaleSlope",
    "Rows",
    "SamplesPerPixel",
    "VOILUTFunction",
    "VOILUTSequence",
    "WindowCenter",
    "WindowWidth",
]


@dataclass(frozen=True)
class Pixels:
    """An image as float32 (H, W) in [0, 1], bright = dense tissue, and how it was reached."""

    image: NDArray[np.float32]
    how: str


def read_pixels(path: Path) -> Pixels:
    """Read a PNG or DICOM mammogram as float32 (H, W) in [0, 1], bright = dense tissue.

    Raises:
        DataError: the file is missing, damaged, not grey, has several frames or is of another kind; the
            message is `<path>: <reason>` and holds no value of the DICOM patient module.
    """
    if not path.is_file():
        raise DataError(f"{path}: file is missing")
    if path.stat().st_size == 0:
        raise DataError(f"{path}: file is empty")
    suffix = path.suffix.lower()
    if suffix in PNG_SUFFIXES:
        return _read_png(path)
    if suffix in DICOM_SUFFIXES:
        header, stored = decode_dicom(path)
        with _quiet():
            return _present(path, header, stored)
    kinds = ", ".join(sorted(PNG_SUFFIXES | DICOM_SUFFIXES))
    raise DataError(f"{path}: unknown kind of file: '{suffix}'; convert it to one of {kinds}")


def robust_range(values: NDArray[Any]) -> tuple[float, float]:
    """The minimum and maximum of `values`, save outliers.

    An outlier (a hot pixel, a burnt-in mark) lies further outside the 0.1st or 99.9th percentile than a
    quarter of the distance between the two, so that in an ordinary image nothing is clipped.
    """
    low, high = np.percentile(values, (0.1, 99.9))
    reach = (high - low) / 4
    return max(float(values.min()), low - reach), min(float(values.max()), high + reach)


def _read_png(path: Path) -> Pixels:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=("PNG",)) as file:
                if file.width * file.height > MAX_PIXELS:
                    raise DataError(_too_large(path, file.height, file.width))
                file.load()
                image: Image.Image = file.copy()
    except UnidentifiedImageError:
        raise DataError(f"{path}: unreadable: not a PNG file, whatever its name says") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise DataError(f"{path}: unreadable: its header claims an absurd size") from None
    except (OSError, SyntaxError, ValueError, EOFError) as err:
        raise DataError(f"{path}: unreadable: truncated or damaged PNG ({type(err).__name__})") from None

    if image.mode == "L":
        return Pixels(np.asarray(image, dtype=np.float32) / np.float32(255), "8-bit PNG")
    if image.mode.startswith("I"):
        return _scale_16_bit(np.asarray(image))
    colour = np.asarray(image.convert("RGB"))
    if (colour != colour[..., :1]).any():
        raise DataError(f"{path}: colour image: its channels differ; convert it to grey")
    return Pixels(colour[..., 0].astype(np.float32) / np.float32(255), f"8-bit PNG, {image.mode} with equal channels")


def _scale_16_bit(stored: NDArray[Any]) -> Pixels:
    top = int(stored.max())
    if top >= 2**15:
        return Pixels(stored.astype(np.float32) / np.float32(65535), "16-bit PNG")
    # 10 to 15 bits in a 16-bit file: dividing by 65,535 would leave it all but black
    low, high = robust_range(stored)
    how = f"16-bit PNG with {top.bit_length()} bits in use, range {low:.0f} to {high:.0f}"
    return Pixels(_stretch(stored.astype(np.float32), low, high), how)


def decode_dicom(path: Path) -> tuple[Dataset, NDArray[Any]]:
    """The header elements that describe the pixels, and the pixels (H, W) as they are stored.

    Raises:
        DataError: not a DICOM file, damaged, several frames, colour, or no decoder for its transfer syntax.
    """
    with _quiet():
        try:
            header = pydicom.dcmread(path, specific_tags=list(_TAGS))
            _check_header(path, header)
        except DataError:
            raise
        except pydicom.errors.InvalidDicomError:
            raise DataError(f"{path}: unreadable: not a DICOM file, whatever its name says") from None
        except Exception as err:  # the parser raises whatever it likes on damaged input
            raise DataError(f"{path}: unreadable: truncated or damaged DICOM ({type(err).__name__})") from None
        try:
            stored = header.pixel_array
        except Exception as err:  # so do the decoders
            raise DataError(
                f"{path}: unreadable: its {_syntax(header)} pixels are truncated or damaged, "
                f"or the codec is missing ({type(err).__name__})"
            ) from None
    if stored.ndim != 2 or stored.size == 0:
        raise DataError(f"{path}: unreadable: pixels of shape {stored.shape}, expected rows x columns")
    return header, stored


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence pydicom, whose warnings and log lines quote values: a damaged file could put any text there."""
    logger = logging.getLogger("pydicom")
    before = logger.disabled
    logger.disabled = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.disabled = before


def _check_header(path: Path, header: Dataset) -> None:
    if "PixelData" not in header:
        raise DataError(f"{path}: unreadable: DICOM without pixel data")
    if int(header.get("NumberOfFrames") or 1) > 1:
        raise DataError(f"{path}: several frames (tomosynthesis?); export single images")
    photometric = header.get("PhotometricInterpretation")
    if photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise DataError(f"{path}: colour image: (0028,0004) is not MONOCHROME1 or MONOCHROME2; convert it to grey")
    if int(header.Rows) * int(header.Columns) > MAX_PIXELS:
        raise DataError(_too_large(path, int(header.Rows), int(header.Columns)))


def _syntax(header: Dataset) -> str:
    uid = header.file_meta.get("TransferSyntaxUID")
    return uid.name if uid in AllTransferSyntaxes else "(unknown transfer syntax)"


def _too_large(path: Path, rows: int, columns: int) -> str:
    return f"{path}: unreadable: its header claims an absurd size ({rows} x {columns} px)"


def _present(path: Path, header: Dataset, stored: NDArray[Any]) -> Pixels:
    """Modality LUT, then VOI LUT or window, then inversion: the order of DICOM PS3.4 N.2."""
    steps = [f"{header.BitsStored}-bit {header.PhotometricInterpretation}"]
    try:
        padding = _padding(header, stored)
        values = _rescale(header, stored)
        image, step = _values_of_interest(header, values, padding)
    except (ValueError, TypeError, AttributeError, IndexError, KeyError, OverflowError) as err:
        raise DataError(f"{path}: unreadable: contradictory DICOM header ({type(err).__name__})") from None
    if not np.isfinite(image).all():
        raise DataError(f"{path}: unreadable: rescale or window gives values that are not finite")
    steps.append(step)
    if header.PhotometricInterpretation == "MONOCHROME1":
        np.subtract(1, image, out=image)
        steps.append("inverted")
    if padding is not None and padding.any():
        steps.append(_blacken(image, padding))
    return Pixels(image, ", ".join(steps))


def _padding(header: Dataset, stored: NDArray[Any]) -> NDArray[np.bool_] | None:
    """Mask (H, W) of the padding, in stored values (PS3.3 C.7.5.1.1.2), None without one."""
    value = header.get("PixelPaddingValue")
    if value is None:
        return None
    limit = header.get("PixelPaddingRangeLimit")
    low, high = sorted((int(value), int(value if limit is None else limit)))
    mask: NDArray[np.bool_] = (stored >= low) & (stored <= high)
    return mask


def _rescale(header: Dataset, stored: NDArray[Any]) -> NDArray[Any]:
    if header.get("ModalityLUTSequence"):
        table: NDArray[Any] = apply_modality_lut(stored, header)
        return table
    slope, intercept = header.get("RescaleSlope"), header.get("RescaleIntercept")
    slope, intercept = float(1 if slope is None else slope), float(0 if intercept is None else intercept)
    if slope == 1 and intercept == 0:
        return stored
    return stored.astype(np.float32) * np.float32(slope) + np.float32(intercept)


def _values_of_interest(
    header: Dataset, values: NDArray[Any], padding: NDArray[np.bool_] | None
) -> tuple[NDArray[np.float32], str]:
    """The first VOI LUT, else the first window, else the range without padding: (H, W) in [0, 1]."""
    if header.get("VOILUTSequence"):
        return _voi_lut(header, values), "VOI LUT"
    center, width = _first(header.get("WindowCenter")), _first(header.get("WindowWidth"))
    function = str(header.get("VOILUTFunction") or "LINEAR").upper()
    if center is not None and width is not None and width >= (1 if function == "LINEAR" else 1e-6):
        return window(values, center, width, function), f"{function} window {center:g}/{width:g}"
    inside = values[~padding] if padding is not None and not padding.all() else values
    low, high = robust_range(inside)
    return _stretch(values.astype(np.float32), low, high), f"no window, range {low:g} to {high:g}"


def _voi_lut(header: Dataset, values: NDArray[Any]) -> NDArray[np.float32]:
    looked_up = apply_voi(np.rint(values).astype(np.int32), header, index=0)
    declared = 2 ** int(header.VOILUTSequence[0].LUTDescriptor[2]) - 1
    # tables that declare 16 bits and hold 12 are common; the nominal maximum would leave them all but black
    top = int(looked_up.max())
    return looked_up.astype(np.float32) / (declared if declared < 2 * top else max(top, 1))


def window(values: NDArray[Any], center: float, width: float, function: str) -> NDArray[np.float32]:
    """Values (H, W) through a DICOM window, to [0, 1] (PS3.3 C.11.2.1.2 and C.11.2.1.3).

    Written here, not taken from pydicom, whose result is float64 in a range that depends on the header.

    Raises:
        ValueError: `function` is none of LINEAR, LINEAR_EXACT, SIGMOID.
    """
    x = values.astype(np.float32)
    if function == "SIGMOID":
        with np.errstate(over="ignore"):  # exp overflows to inf and the quotient to 0, as it should
            sigmoid: NDArray[np.float32] = 1 / (1 + np.exp(-4 * (x - np.float32(center)) / np.float32(width)))
            return sigmoid
    if function == "LINEAR_EXACT":
        return _stretch(x, center - width / 2, center + width / 2)
    if function == "LINEAR":
        return _stretch(x, center - 0.5 - (width - 1) / 2, center - 0.5 + (width - 1) / 2)
    raise ValueError(f"unknown VOI LUT function {function!r}")


def _blacken(image: NDArray[np.float32], padding: NDArray[np.bool_]) -> str:
    """Make padding black, in place.

    A SIGMOID window never reaches black, so the background that the padding stands for stays grey; it is then
    taken off the whole image, for pixels just beside the padding would keep it. Padding that came out bright
    is overwritten.
    """
    level = float(image[padding].max())
    if level < 0.25:
        np.clip((image - np.float32(level)) / np.float32(1 - level), 0, 1, out=image)
        return f"background {level:.3f} taken off" if level > 0 else "padding black"
    image[padding] = 0
    return "padding overwritten"


def _stretch(values: NDArray[np.float32], low: float, high: float) -> NDArray[np.float32]:
    """Values from [low, high] to [0, 1], clipped; a step where the two are equal."""
    if math.isclose(low, high):
        return (values > low).astype(np.float32)
    stretched: NDArray[np.float32] = np.clip((values - np.float32(low)) / np.float32(high - low), 0, 1)
    return stretched


def _first(value: Any) -> float | None:
    if isinstance(value, MultiValue):
        value = value[0] if value else None
    return None if value is None or value == "" else float(value)
