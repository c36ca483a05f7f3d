"""CMMD: D1-0001/<study>/<series>/1-1.dcm with CMMD_clinicaldata_revision.xlsx.

The folder names the patient; side and view stand in the DICOM headers. The table has a row for each abnormality of a
breast: a breast is malignant if any of its rows is; the label of a breast without a row stays empty.
"""

import re
from collections import defaultdict

from mammogan.data.pixels import DICOM_SUFFIXES
from mammogan.data.sources import labels
from mammogan.data.sources.files import Files, suffix
from mammogan.data.sources.headers import read_header
from mammogan.data.sources.reader import Reader
from mammogan.data.sources.records import Collection
from mammogan.errors import DataError

_TABLE = "CMMD_clinicaldata_revision"
_COLUMNS = ("id1", "leftright", "age", "classification")
_PATIENT = re.compile(r"D[12]-\d{4}", re.IGNORECASE)


def _recognise(files: Files) -> str | None:
    if files.anywhere(_TABLE) is not None:
        return f"the table {_TABLE}"
    if any(_patient(image) for image in files.images):
        return "patient folders of CMMD, such as D1-0001/"
    return None


def _read(files: Files) -> Collection:
    table = files.needed_table(files.anywhere(_TABLE), f"{_TABLE}.xlsx (or .csv)")
    table.need(*_COLUMNS)
    cancer: dict[tuple[str, str], set[str]] = defaultdict(set)
    ages: dict[str, str] = {}
    lines: dict[str, int] = {}
    for row in table.rows:
        patient = row["id1"].upper()
        cancer[patient, labels.laterality(row["leftright"])].add(labels.cancer(row["classification"]))
        ages[patient] = ages.get(patient) or labels.age(row["age"])
        lines.setdefault(patient, row.number)
    found = Collection(files.root)
    met = set()
    for image in files.images:
        patient = _patient(image)
        met.add(patient)
        if patient not in lines or suffix(image) not in DICOM_SUFFIXES:
            found.reject(image, "", f"image without a row: {table.name} does not name its patient")
            continue
        try:
            seen = read_header(files.root / image)
        except DataError as err:
            found.reject(image, "", str(err).removeprefix(f"{files.root / image}: "))
            continue
        if not seen.laterality:
            found.reject(image, "", "image without a side: its DICOM header names neither L nor R")
            continue
        found.keep(
            image,
            image,
            patient,
            laterality=seen.laterality,
            view=seen.view,
            cancer=labels.any_cancer(cancer[patient, seen.laterality]),
            age=ages[patient],
        )
    for patient, number in lines.items():
        if patient not in met:
            found.reject("", "", f"row without an image: line {number} of {table.name} names a patient without one")
    return found


def _patient(image: str) -> str:
    return next((part.upper() for part in image.split("/")[:-1] if _PATIENT.fullmatch(part)), "")


READER = Reader("D1-0001/<study>/<series>/1-1.dcm and CMMD_clinicaldata_revision.xlsx", _recognise, _read)
