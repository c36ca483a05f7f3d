"""Side, view and patient from DICOM headers; the patient's id leaves this module only as a hash."""

import hashlib
import logging
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import Dataset

from mammogan.data.raw import damage, located
from mammogan.data.sources import labels
from mammogan.errors import DataError

_TAGS: list[str] = ["ImageLaterality", "Laterality", "PatientID", "ViewCodeSequence", "ViewPosition"]
_VIEW_CODES = {"R-10242": "CC", "399162004": "CC", "R-10226": "MLO", "399368009": "MLO"}  # PS3.16 CID 4014
_NOBODY = frozenset({"", "anon", "anonymous", "anonymized", "anonymised", "none", "unknown", "patient", "na"})


@dataclass(frozen=True)
class Seen:
    """What a file itself tells; "" where it tells nothing. `patient` is a hash that groups a patient's files."""

    patient: str = ""
    laterality: str = ""
    view: str = ""


def read_header(file: Path) -> Seen:
    """What the header of a DICOM file tells; its pixels are not read.

    Raises:
        DataError: `<file>: unreadable: ...`, without any value of the header.
    """
    logger = logging.getLogger("pydicom")  # its warnings and log lines quote values
    before, logger.disabled = logger.disabled, True
    try:
        with located(file), damage("unreadable: truncated or damaged DICOM"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=list(_TAGS))
            except pydicom.errors.InvalidDicomError:
                raise DataError("unreadable: not a DICOM file, whatever its name says") from None
            return _seen(header)
    finally:
        logger.disabled = before


def _seen(header: Dataset) -> Seen:
    return Seen(
        patient=_patient(_text(header, "PatientID")),
        laterality=labels.laterality(_text(header, "ImageLaterality"))
        or labels.laterality(_text(header, "Laterality")),
        view=labels.view(_text(header, "ViewPosition")) or _coded_view(header),
    )


def _patient(text: str) -> str:
    if re.sub(r"[^a-z0-9]", "", text.lower()) in _NOBODY:
        return ""
    return "dicom-" + hashlib.sha256(text.encode()).hexdigest()[:24]


def _coded_view(header: Dataset) -> str:
    codes: Any = header.get("ViewCodeSequence")
    if not codes:
        return ""
    return _VIEW_CODES.get(_text(codes[0], "CodeValue")) or labels.view(_text(codes[0], "CodeMeaning"))


def _text(header: Dataset, name: str) -> str:
    value = header.get(name)
    return "" if value is None else str(value).strip()
