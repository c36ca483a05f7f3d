"""DICOM mammograms: the few header elements that describe the pixels, and the way to brightness."""

import logging
import math
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.filereader import read_file_meta_info
from pydicom.uid import DeflatedExplicitVRLittleEndian

from mammogan.data.decode import decode, inspect, supported
from mammogan.data.raw import MAX_PIXELS, Pixels, check_reduction, check_size, damage, located
from mammogan.data.voi import to_grey
from mammogan.errors import DataError

# Nothing else of the header is read, so no value of the patient module can reach a message or a file.
_TAGS: list[str] = [
    "BitsAllocated",
    "BitsStored",
    "Columns",
    "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths",
    "HighBit",
    "ImagerPixelSpacing",
    "ModalityLUTSequence",
    "NumberOfFrames",
    "PhotometricInterpretation",
    "PixelData",
    "PixelPaddingRangeLimit",
    "PixelPaddingValue",
    "PixelRepresentation",
    "PixelSpacing",
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
_SPACING_MM = (0.01, 1.0)  # of a pixel; detectors have 0.05 to 0.1, films were scanned at 0.04 to 0.2
_MAX_INFLATED = 4 * MAX_PIXELS  # bytes


@dataclass(frozen=True)
class DicomRaw:
    """A DICOM image whose header is read and checked."""

    path: Path
    height: int
    width: int
    spacing_mm: float | None
    reductions: tuple[int, ...]
    _header: Dataset = field(repr=False)

    def stored(self, reduction: int = 1) -> NDArray[Any]:
        """The pixels as they are stored, 8- or 16-bit integers."""
        check_reduction(reduction, self.reductions)
        with located(self.path), _quiet():
            return decode(self._header, reduction)

    def read(self, reduction: int = 1) -> Pixels:
        """The pixels as brightness, (ceil(height / reduction), ceil(width / reduction))."""
        stored = self.stored(reduction)
        with located(self.path), _quiet():
            grey = to_grey(self._header, stored)
        reduced = (f"decoded at 1/{reduction}",) if reduction > 1 else ()
        how = ", ".join((*grey.steps, *reduced))
        return Pixels(grey.image, how, grey.window, "inverted" in grey.steps, reduction)


def open_dicom(path: Path) -> DicomRaw:
    """Read and check the header of a DICOM file.

    The spacing is Pixel Spacing where the file has it, for it is then calibrated or equal to the other, else
    Imager Pixel Spacing, which is that of the detector (PS3.3 10.7.1.1 and 10.7.1.3).

    Raises:
        DataError: not a DICOM file, damaged, several frames, colour, an unsupported transfer syntax or an absurd
            size or spacing.
    """
    with _quiet(), damage("unreadable: truncated or damaged DICOM"):
        try:
            header = _read(path)
        except pydicom.errors.InvalidDicomError:
            raise DataError("unreadable: not a DICOM file, whatever its name says") from None
        _check(header)
        spacing = _spacing_mm(header)
        reductions = inspect(header)
    return DicomRaw(path, int(header.Rows), int(header.Columns), spacing, reductions, header)


def _read(path: Path) -> Dataset:
    if read_file_meta_info(path).get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
        _refuse_a_bomb(path)
    return pydicom.dcmread(path, specific_tags=list(_TAGS))


def _refuse_a_bomb(path: Path) -> None:
    """Inflate a deflated file up to a limit: pydicom inflates whatever there is, in memory."""
    data = path.read_bytes()
    start = 144 + int(read_file_meta_info(path).FileMetaInformationGroupLength)
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    inflater.decompress(data[start:], _MAX_INFLATED)
    if inflater.unconsumed_tail:
        raise DataError("unreadable: it inflates to an absurd size")


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence pydicom, whose warnings and log lines quote values: a damaged file could put any text there."""
    logger = logging.getLogger("pydicom")
    before = logger.disabled
    logger.disabled = True
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.disabled = before


def _check(header: Dataset) -> None:
    if "PixelData" not in header:
        raise DataError("unreadable: DICOM without pixel data, or cut short")
    if int(header.get("NumberOfFrames") or 1) > 1:
        raise DataError("several frames: tomosynthesis? export single images")
    if header.get("PhotometricInterpretation") not in ("MONOCHROME1", "MONOCHROME2"):
        raise DataError("colour image: (0028,0004) is not MONOCHROME1 or MONOCHROME2; convert it to grey")
    if int(header.get("SamplesPerPixel") or 1) != 1:
        raise DataError("colour image: (0028,0002) is not 1; convert it to grey")
    check_size(int(header.Rows), int(header.Columns))
    allocated, stored = int(header.BitsAllocated), int(header.BitsStored)
    if allocated not in (8, 16) or not 1 <= stored <= allocated:
        raise DataError("unsupported depth: (0028,0100) and (0028,0101) are not up to 8 or 16 bits")
    if int(header.get("HighBit", stored - 1)) != stored - 1:
        raise DataError("unsupported depth: (0028,0102) is not one less than (0028,0101)")
    if int(header.PixelRepresentation) not in (0, 1):
        raise DataError("unreadable: contradictory DICOM header")
    if not supported(header.file_meta.get("TransferSyntaxUID")):
        raise DataError("unsupported transfer syntax: (0002,0010) is none that can be decoded; export it uncompressed")


def _spacing_mm(header: Dataset) -> float | None:
    pair = header.get("PixelSpacing") or header.get("ImagerPixelSpacing")
    if not pair:
        return None
    try:
        rows, columns = (float(value) for value in pair)
    except (TypeError, ValueError):
        raise DataError("absurd pixel spacing: not two numbers") from None
    low, high = _SPACING_MM
    if not all(math.isfinite(side) and low <= side <= high for side in (rows, columns)):
        raise DataError(f"absurd pixel spacing: not within {low:g} to {high:g} mm")
    if abs(rows - columns) > 0.01 * max(rows, columns):
        raise DataError("absurd pixel spacing: the pixels are not square")
    return (rows + columns) / 2
