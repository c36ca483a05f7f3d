"""VinDr-Mammo: breast-level_annotations.csv beside images/{study_id}/{image_id}.dicom.

The set has BI-RADS assessments but no pathology, so `cancer` stays empty. Ages are in metadata.csv, if it is there.
"""

from dataclasses import replace

from mammogan.data.sources.files import Files
from mammogan.data.sources.listed import read_listed
from mammogan.data.sources.reader import Reader
from mammogan.data.sources.records import Collection
from mammogan.data.sources.tables import Row, Table

_TABLE = "breast-level_annotations.csv"
_COLUMNS = ("study_id", "image_id", "laterality", "view_position", "breast_density")
_NAMES = {
    "patient_id": "study_id",
    "image_id": "image_id",
    "laterality": "laterality",
    "view": "view_position",
    "density": "breast_density",
    "age": "age",
}
_PLACES = [f"images/{{patient_id}}/{{image_id}}{suffix}" for suffix in (".dicom", ".dcm", ".png")]


def _recognise(files: Files) -> str | None:
    return f"{_TABLE} of VinDr-Mammo" if files.at_root(_TABLE) else None


def _read(files: Files) -> Collection:
    table = files.needed_table(files.at_root(_TABLE), _TABLE)
    table.need(*_COLUMNS)
    metadata = files.at_root("metadata.csv")
    if metadata is not None:
        table = _with_ages(table, files.table(metadata))
    return read_listed(files, table, _NAMES, _PLACES)


def _with_ages(table: Table, metadata: Table) -> Table:
    column = next((name for name in ("patient's_age", "patients_age", "age") if name in metadata.columns), "")
    ages = {row["sop_instance_uid"] or row["image_id"]: row[column] for row in metadata.rows}
    rows = [Row(row.number, {**row.cells, "age": ages.get(row["image_id"], "")}) for row in table.rows]
    return replace(table, rows=rows)


READER = Reader(f"{_TABLE} and images/{{study_id}}/{{image_id}}.dicom", _recognise, _read)
