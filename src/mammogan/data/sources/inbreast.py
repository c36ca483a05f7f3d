"""INbreast: {id}_{hash}_MG_{L|R}_{CC|ML}_ANON.dcm and INbreast.csv (semicolons, two footer rows).

The hash in a file's name stands for the patient; ML in names and table means MLO. The set has BI-RADS assessments
but no pathology, so `cancer` stays empty.
"""

import re

from mammogan.data.sources import labels
from mammogan.data.sources.files import Files, stem
from mammogan.data.sources.reader import Reader
from mammogan.data.sources.records import Collection

NAME = re.compile(r"(\d+)_([0-9a-f]+)_MG_([LR])_(CC|ML|MLO)_ANON", re.IGNORECASE)
_VIEWS = {"CC": "CC", "ML": "MLO", "MLO": "MLO"}


def _recognise(files: Files) -> str | None:
    if not any(NAME.fullmatch(stem(image)) for image in files.images):
        return None
    if "path_save" in files.columns(files.anywhere_named("description.csv")):
        return None  # the cut images of rsna-roi, which keep these names
    return "file names of INbreast, such as 22678622_..._MG_R_CC_ANON.dcm"


def _read(files: Files) -> Collection:
    table = files.needed_table(files.anywhere("INbreast"), "INbreast.csv or INbreast.xlsx")
    table.need("file_name")
    rows = {row["file_name"].removesuffix(".0"): row for row in table.rows}
    rows = {number: row for number, row in rows.items() if number.isdigit()}  # the footer has no numbers
    found = Collection(files.root)
    for image in files.images:
        match = NAME.fullmatch(stem(image))
        if match is None or match[1] not in rows:
            found.reject(
                image, "", f"image without a row: {table.name} does not name it", match[3].upper() if match else ""
            )
            continue
        row = rows.pop(match[1])
        found.keep(
            image,
            match[1],
            match[2].lower(),
            laterality=match[3].upper(),
            view=_VIEWS[match[4].upper()],
            density=labels.density_of_number(row["acr"]),
            age=labels.age(row["patient_age"]),
        )
    for number, row in rows.items():
        reason = f"row without an image: line {row.number} of {table.name} has no file"
        found.reject("", number, reason, labels.laterality(row["laterality"]))
    return found


READER = Reader("AllDICOMs/{id}_{hash}_MG_{L|R}_{CC|ML}_ANON.dcm and INbreast.csv", _recognise, _read)
