"""Made-up data folders for the tests of sources: files that nobody opens, tables, and bare DICOM headers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from mammogan.data.sources import Catalogue, Mammogram, catalogue

RSNA = "site_id,patient_id,image_id,laterality,view,age,cancer,biopsy,invasive,BIRADS,implant,density,machine_id\n"


def write(root: Path, table: str | bytes, *files: str, name: str = "labels.csv") -> Path:
    """`root` with a table and empty-handed `files`."""
    place = root / name
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(table if isinstance(table, bytes) else table.encode())
    return add(root, *files)


def add(root: Path, *files: str) -> Path:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_bytes(b"never opened")
    return root


def write_sheet(file: Path, rows: list[Mapping[str, Any]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_excel(file, index=False)


def write_dicom(file: Path, view_code: tuple[str, str] | None = None, **elements: str) -> None:
    header = Dataset()
    for name, value in elements.items():
        setattr(header, name, value)
    if view_code is not None:
        code = Dataset()
        code.CodeValue, code.CodeMeaning = view_code
        header.ViewCodeSequence = [code]
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1.2"
    header.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    file.parent.mkdir(parents=True, exist_ok=True)
    header.save_as(file, enforce_file_format=True)


def by_id(found: Catalogue) -> dict[str, Mammogram]:
    return {mammogram.image_id: mammogram for mammogram in found.mammograms}


def labels_of(mammogram: Mammogram) -> tuple[str, ...]:
    """Patient, side, view, density, cancer, age."""
    return (
        mammogram.patient_id,
        mammogram.laterality,
        mammogram.view,
        mammogram.density,
        mammogram.cancer,
        mammogram.age,
    )


def kinds(root: Path, **arguments: Any) -> dict[str, str]:
    """File -> kind of the reason it was rejected for."""
    return {entry.file: entry.reason.split(":")[0] for entry in catalogue(root, **arguments).rejected}
