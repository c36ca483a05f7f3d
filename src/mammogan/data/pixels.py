"""Raw images of every kind, opened by their suffix: `open_raw(path).read()`."""

from pathlib import Path

from mammogan.data.dicom import open_dicom
from mammogan.data.raster import FORMATS, open_raster
from mammogan.data.raw import Pixels, Raw, located
from mammogan.errors import DataError

__all__ = ["DICOM_SUFFIXES", "IMAGE_SUFFIXES", "Pixels", "Raw", "open_raw"]

DICOM_SUFFIXES = frozenset({".dcm", ".dicom"})
IMAGE_SUFFIXES = DICOM_SUFFIXES | frozenset(FORMATS)


def open_raw(path: Path) -> Raw:
    """Read and check the header of a mammogram: DICOM, PNG, JPEG, TIFF or PGM.

    Raises:
        DataError: the file is missing, damaged, not grey, has several frames or is of another kind; the
            message is `<path>: <kind>: ...` and quotes nothing out of the file.
    """
    with located(path):
        if not path.is_file():
            raise DataError("file is missing")
        if path.stat().st_size == 0:
            raise DataError("file is empty")
        suffix = path.suffix.lower()
        if suffix in DICOM_SUFFIXES:
            return open_dicom(path)
        if suffix in FORMATS:
            return open_raster(path)
        raise DataError(f"unknown kind of file: '{suffix}'; convert it to one of {', '.join(sorted(IMAGE_SUFFIXES))}")
