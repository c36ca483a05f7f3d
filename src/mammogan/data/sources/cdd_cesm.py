"""CDD-CESM: as published, with its low energy images, or as a selection with metadata.csv.

As published: P1_L_DM_MLO.jpg (some with a stray blank before the dot) and Radiology-manual-annotations.xlsx, a row
for each finding. The subtracted images (CM) show contrast medium and are left aside. In metadata.csv,
`patient_id_status` unknown marks an id that stands for one image alone.
"""

import re
from collections.abc import Callable, Sequence

from mammogan.data.sources import labels
from mammogan.data.sources.files import Files, stem
from mammogan.data.sources.listed import own_names, read_listed
from mammogan.data.sources.reader import Reader
from mammogan.data.sources.records import Collection
from mammogan.data.sources.tables import Row, Table

_STATUS = "patient_id_status"
_TABLE = "Radiology-manual-annotations"
_NAME = re.compile(r"(P\d+)_([LR])_(DM|CM)_(CC|MLO)\d*", re.IGNORECASE)


def _recognise(files: Files) -> str | None:
    if _STATUS in files.columns(files.at_root("metadata.csv")):
        return f"metadata.csv with the column {_STATUS} of the CDD-CESM selection"
    if any(_NAME.fullmatch(stem(image)) for image in files.images):
        return "file names of CDD-CESM, such as P1_L_DM_MLO.jpg"
    return None


def _read(files: Files) -> Collection:
    selection = files.at_root("metadata.csv")
    if selection is not None and not any(_NAME.fullmatch(stem(image)) for image in files.images):
        table = files.table(selection)
        table.need("image_id", "file", "patient_id", _STATUS, "laterality")
        return read_listed(files, table, own_names(table), known=lambda row: row[_STATUS].lower() != "unknown")
    return _read_published(files)


def _read_published(files: Files) -> Collection:
    place = files.anywhere(_TABLE)
    table = files.needed_table(place, f"{_TABLE}.xlsx (or .csv), or metadata.csv,")
    table.need("image_name")
    pathology = _column(table, "pathology")
    density = _column(table, "breast_density")
    rows: dict[str, list[Row]] = {}
    for row in table.rows:
        rows.setdefault(stem(row["image_name"]).upper(), []).append(row)
    found = Collection(files.root)
    aside = 0
    for image in files.images:
        match = _NAME.fullmatch(stem(image))
        if match is not None and match[3].upper() == "CM":
            aside += 1
            continue
        mine = rows.pop(stem(image).upper(), None)
        if match is None or mine is None:
            side = match[2].upper() if match else ""
            found.reject(image, "", f"image without a row: {table.name} does not name it", side)
            continue
        found.keep(
            image,
            stem(image),
            match[1].upper(),
            laterality=match[2].upper(),
            view=match[4].upper(),
            density=_first(mine, density, labels.density),
            cancer=labels.any_cancer({labels.cancer(row[pathology]) for row in mine}),
            age=_first(mine, "age", labels.age),
        )
    for name, mine in rows.items():
        if "_DM_" in name:
            reason = f"row without an image: line {mine[0].number} of {table.name} names a file that is not there"
            match = _NAME.fullmatch(name)
            found.reject("", name, reason, match[2].upper() if match else "")
    found.note = f"{aside} subtracted images left aside" if aside else ""
    return found


def _column(table: Table, start: str) -> str:
    """The column whose name starts so; the published names go on with further words."""
    name = next((name for name in table.columns if name.startswith(start)), start)
    table.need(name)
    return name


def _first(rows: Sequence[Row], column: str, understood: Callable[[str], str]) -> str:
    return next((label for row in rows if (label := understood(row[column]))), "")


READER = Reader(
    "P1_L_DM_MLO.jpg and Radiology-manual-annotations.xlsx, or metadata.csv with patient_id_status",
    _recognise,
    _read,
)
