"""RSNA images cut to the breast, as people share them: PNG files with description.csv or train.csv, or in two folders.

The set of the paper names its files in `Path_save`; the other places are those of the sets derived from the same
competition. Without a table, the folder tells whether a breast has cancer, and `{patient}_{image}` whose it is.
"""

import re
from dataclasses import replace

from mammogan.data.sources import labels, rsna
from mammogan.data.sources.files import IMAGE_SUFFIXES, Files, stem
from mammogan.data.sources.listed import own_names, read_listed
from mammogan.data.sources.reader import Reader
from mammogan.data.sources.records import Collection
from mammogan.data.sources.tables import Row, Table

_TABLES = ("description.csv", "train.csv")
_CLASSES = {"cancer": "1", "no_cancer": "0", "no cancer": "0", "non_cancer": "0", "not_cancer": "0"}
_STEMS = ("images/{image_id}", "images/{patient_id}_{image_id}", "{patient_id}/{image_id}", "{patient_id}_{image_id}")
_PLACES = [f"{place}{suffix}" for place in (*_STEMS, "train_images/{patient_id}/{image_id}") for suffix in sorted(
    IMAGE_SUFFIXES, key=lambda suffix: (suffix != ".png", suffix))]  # fmt: skip
_PATH = re.compile(r"(?:^|[/\\])([^/\\]+)[/\\]([^/\\]+?)\.\w+$")
_NAME = re.compile(r"(\d+)_(\d+)")


def _recognise(files: Files) -> str | None:
    name = _table(files)
    if name is not None:
        columns = files.columns(name)
        if {"path_save", "cancer", "laterality"} <= columns:
            return f"{name} with the columns Path_save, Cancer and Laterality"
        if set(rsna.COLUMNS) <= columns and not files.has_folder("train_images"):
            return f"{name} with the columns of the RSNA competition, without train_images/"
        return None
    folders = {_class(image) for image in files.images}
    if folders == {"0", "1"} and not any(file.lower().endswith((".csv", ".xlsx")) for file in files.names):
        return "folders of images with and without cancer, and no table"
    return None


def _read(files: Files) -> Collection:
    name = _table(files)
    if name is None and any(_class(image) for image in files.images):
        return _read_folders(files)
    table = files.needed_table(name, "description.csv or train.csv, or folders cancer/ and no_cancer/,")
    table = _with_ids(table)
    table.need("patient_id", "image_id", "laterality")
    names = own_names(table)
    if "path_save" in table.columns:
        names["file"] = "path_save"
    return read_listed(files, table, names, _PLACES)


def _table(files: Files) -> str | None:
    return next((found for name in _TABLES if (found := files.at_root(name))), None)


def _with_ids(table: Table) -> Table:
    """Where the table lacks the ids, they are taken from `Path`: .../train_images/{patient_id}/{image_id}.dcm."""
    lacking = [name for name in ("patient_id", "image_id") if name not in table.columns]
    if not lacking or "path" not in table.columns:
        return table

    def completed(row: Row) -> Row:
        match = _PATH.search(row["path"])
        ids = dict(zip(("patient_id", "image_id"), match.groups() if match else ("", ""), strict=True))
        return Row(row.number, {**row.cells, **{name: ids[name] for name in lacking}})

    columns = {**table.columns, **{name: name for name in lacking}}
    return replace(table, columns=columns, rows=[completed(row) for row in table.rows])


def _class(image: str) -> str:
    """The label of the folder that `image` lies in."""
    return next((_CLASSES[part.lower()] for part in image.split("/")[-2::-1] if part.lower() in _CLASSES), "")


def _read_folders(files: Files) -> Collection:
    found = Collection(files.root)
    for image in files.images:
        match = _NAME.fullmatch(stem(image))
        if label := _class(image):
            patient_id, image_id = match.groups() if match else (None, image)
            found.keep(image, image_id, patient_id, cancer=labels.cancer(label))
        else:
            found.reject(image, "", "image without a label: it lies in neither cancer/ nor no_cancer/")
    return found


READER = Reader(
    "description.csv (or train.csv) beside the images that it names, or folders cancer/ and no_cancer/",
    _recognise,
    _read,
)
