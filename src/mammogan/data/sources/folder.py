"""Any folder of images: with a table whose columns can be mapped, or with no table at all.

Without a column for it, the patient is taken from the DICOM header, side and view from the header or from clear
words of the file's name; what nothing tells is unknown, and each image of an unknown patient stands for itself.
"""

import difflib
import re
from collections.abc import Mapping

from mammogan.config import ColumnName
from mammogan.data.pixels import DICOM_SUFFIXES, IMAGE_SUFFIXES
from mammogan.data.sources import labels
from mammogan.data.sources.files import Files, stem, suffix
from mammogan.data.sources.headers import Seen, read_header
from mammogan.data.sources.listed import own_names, read_listed
from mammogan.data.sources.names import KNOWN_TABLES, LABEL_COLUMNS, OWN_NAMES, PATIENT_ALIASES, SIDE_ALIASES
from mammogan.data.sources.reader import Reader
from mammogan.data.sources.records import Collection
from mammogan.data.sources.tables import Table, found, key, nearest, nearest_column, unknown_columns
from mammogan.errors import DataError

TABLES = ("labels.csv", "metadata.csv", "description.csv", "train.csv")
_PLACES = [
    f"{place}{suffix}"
    for place in (
        "{image_id}",
        "images/{image_id}",
        "train_images/{patient_id}/{image_id}",
        "{patient_id}/{image_id}",
        "{patient_id}_{image_id}",
    )
    for suffix in ("", ".png", *sorted(IMAGE_SUFFIXES - {".png"}))
]
_VIEW_WORD = re.compile(r"([LR]?)-?(CC|MLO|ML|LM|XCCL)")


# what people call the two columns that must not be overlooked
_ALIASES = {"patient_id": PATIENT_ALIASES, "laterality": SIDE_ALIASES}


def _recognise(files: Files) -> str | None:
    tables = _tables(files)
    if len(tables) != 1 or what_is_missing(files):
        return None
    place = "file" if "file" in files.table(tables[0]).columns else "image_id"
    called = tables[0] if tables[0].lower() in KNOWN_TABLES else "a table"
    return f"{called} with the columns patient_id, laterality and {place}"


def what_is_missing(files: Files) -> str:
    """What the one table lacks that would make it a table of this source, as a clause; "" if nothing."""
    tables = _tables(files)
    if len(tables) != 1:
        return ""
    table = files.table(tables[0])
    columns = table.columns
    missing = [f"{name}{nearest_column(name, columns)}" for name in ("patient_id", "laterality") if name not in columns]
    if not {"file", "image_id"} & set(columns):
        missing.append("file or image_id")
    if not missing:
        return ""
    return f"; {table.name} lacks the column {', '.join(missing)}, {found(columns)}"


def read(files: Files, columns: Mapping[ColumnName, str] | None = None) -> Collection:
    """All images; `columns` maps our name of a column to the table's.

    Raises:
        DataError: there is more than one table to choose from, `columns` names one that is not there, or the table
            has neither a file nor an image_id, or calls the patient or the side by a name of its own.
    """
    tables = _tables(files)
    if len(tables) > 1:
        raise DataError(f"{files.root} has {len(tables)} tables; name the one to use labels.csv")
    if tables:
        table = files.table(tables[0])
        names = column_names(table, columns or {})
        listed = read_listed(files, table, names, _PLACES, look=lambda file: _look(files, file, names))
        _insist_on_patients(table, names, listed)
        return listed
    if columns:
        raise DataError(f"{files.root} has no table that the column mapping could belong to; put a CSV file there")
    found = Collection(files.root, note="no table, so no labels but side and view")
    for image in files.images:
        try:
            seen = _look(files, image, {})
        except DataError as err:
            found.reject(image, image, str(err).removeprefix(f"{files.root / image}: "))
        else:
            found.keep(image, image, seen.patient or None, laterality=seen.laterality, view=seen.view)
    return found


def _tables(files: Files) -> list[str]:
    """The table by one of the usual names, else every table at the root."""
    usual = next((found for name in TABLES if (found := files.at_root(name))), None)
    if usual is not None:
        return [usual]
    return [name for name in files.names if "/" not in name and suffix(name) in {".csv", ".xlsx"}]


def table_name(files: Files) -> str | None:
    """The one table of the folder, if it has one."""
    return next(iter(_tables(files)), None)


def column_names(table: Table, columns: Mapping[ColumnName, str]) -> dict[str, str]:
    """Our name -> the table's column key; see `read`."""
    names = own_names(table)
    mapped = [key(spelt) for spelt in columns.values()]
    for own, spelt in columns.items():
        if own not in OWN_NAMES:
            raise DataError(f"prepare.columns: '{own}' is none of {', '.join(OWN_NAMES)}{nearest(own, OWN_NAMES)}")
        if key(spelt) not in table.columns:
            raise DataError(
                f"{table.place} has no column '{spelt}', which prepare.columns gives for {own}"
                f"{nearest_column(spelt, table.columns, mapped)}; {found(table.columns, mapped)}"
            )
        names[own] = key(spelt)
    if not {"file", "image_id"} & set(names):
        table.need("image_id")
    for lacking, aliases in _ALIASES.items():
        free = [name for name in table.columns if name not in names.values()]
        alike = [name for name in free if name in aliases] or difflib.get_close_matches(lacking, free, n=1, cutoff=0.8)
        if lacking not in names and alike:  # an overlooked patient would put one person on both sides of the split
            if unknown_columns(alike):
                raise DataError(f"{table.place} lacks the column {lacking}; {found(table.columns)}")
            spelt = table.columns[alike[0]]
            raise DataError(
                f"{table.place} lacks the column {lacking} (nearest: '{spelt}'); rename it, or set prepare.columns to "
                f"{{{lacking}: {spelt}}}"
            )
    return names


def _insist_on_patients(table: Table, names: Mapping[str, str], listed: Collection) -> None:
    """Refuse to make every image its own patient where a column that is not understood may name them."""
    others = set(table.columns) - set(names.values()) - LABEL_COLUMNS
    if "patient_id" not in names and others and not all(entry.patient_known for entry in listed.mammograms):
        raise DataError(
            f"{table.place} has no column patient_id and others that may name the patient; set prepare.columns to "
            "{patient_id: <your column>}, or, if none does, leave in the table only columns that are called "
            f"{', '.join(OWN_NAMES)}"
        )


def _look(files: Files, image: str, names: Mapping[str, str]) -> Seen:
    """What file name and header tell, where no column does."""
    if {"patient_id", "laterality", "view"} <= set(names):
        return Seen()
    side, view = ("", "") if suffix(image) not in IMAGE_SUFFIXES else side_and_view(stem(image))
    if suffix(image) not in DICOM_SUFFIXES:
        return Seen("", side, view)
    seen = read_header(files.root / image)
    return Seen(seen.patient, seen.laterality or side, seen.view or view)


def side_and_view(name: str) -> tuple[str, str]:
    """Side and view that a file's name states clearly, such as `_L_CC`, `LEFT_MLO` or `RCC`, else "".

    A bare L or R counts only beside a view; two different sides or views count as none.
    """
    words = [word for word in re.split(r"[^A-Z]+", name.upper()) if word]
    sides, views, bare = set(), set(), set()
    for word in words:
        if match := _VIEW_WORD.fullmatch(word):
            views.add(match[2])
            sides.add(match[1])
        elif word in {"LEFT", "RIGHT"}:
            sides.add(word[0])
        elif word in {"L", "R"}:
            bare.add(word)
    sides = (sides | (bare if views else set())) - {""}
    return sides.pop() if len(sides) == 1 else "", labels.view(views.pop()) if len(views) == 1 else ""


READER = Reader("images, and perhaps a table with a row for each (labels.csv)", _recognise, read)
