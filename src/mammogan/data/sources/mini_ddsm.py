"""Mini-DDSM: {Normal,Benign,Cancer}/2011/A_2011_1.LEFT_CC.png, with masks beside the films.

The folder is the status of the case, so of both breasts. Density (ACR 1 to 4) and age are in
Data-MoreThanTwoMasks.xlsx, if it is there.
"""

import re

from mammogan.data.sources import labels
from mammogan.data.sources.files import Files, stem
from mammogan.data.sources.reader import Reader
from mammogan.data.sources.records import Collection
from mammogan.data.sources.tables import Row

_TABLE = "Data-MoreThanTwoMasks"
_NAME = re.compile(r"(?P<case>[A-D]_\d+)_\d+\.(?P<side>LEFT|RIGHT)_(?P<view>CC|MLO)", re.IGNORECASE)
_STATUS = {"normal": "0", "benign": "0", "cancer": "1"}


def _recognise(files: Files) -> str | None:
    if not any(_NAME.fullmatch(stem(image)) for image in files.images):
        return None
    return "file names of Mini-DDSM, such as A_2011_1.LEFT_CC.png"


def _read(files: Files) -> Collection:
    rows = _rows(files)
    found = Collection(files.root)
    aside = 0
    for image in files.images:
        name = stem(image)
        match = _NAME.fullmatch(name)
        if match is None:
            if "mask" in name.lower():
                aside += 1
            else:
                found.reject(image, "", "image without a side: its name is not such as A_2011_1.LEFT_CC.png")
            continue
        row = rows.get(name.upper(), Row(0, {}))
        found.keep(
            image,
            name,
            match["case"].upper(),
            laterality=labels.laterality(match["side"]),
            view=labels.view(match["view"]),
            density=labels.density_of_number(row["density"]),
            cancer=next((_STATUS[part.lower()] for part in image.split("/") if part.lower() in _STATUS), ""),
            age=labels.age(row["age"]),
        )
    found.note = f"{aside} masks left aside" if aside else ""
    return found


def _rows(files: Files) -> dict[str, Row]:
    place = files.anywhere(_TABLE)
    if place is None:
        return {}
    table = files.table(place)
    table.need("filename")
    return {stem(row["filename"]).upper(): row for row in table.rows}


READER = Reader("{Normal,Benign,Cancer}/2011/A_2011_1.LEFT_CC.png", _recognise, _read)
