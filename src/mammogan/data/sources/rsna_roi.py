"""RSNA images cut to the breast, as people share them: PNG files with description.csv or train.csv, or in two folders.

The set of the paper names its files in `Path_save`; the other places are those of the sets derived from the same
competition. Without a table, the folder tells whether a breast has cancer, and `{patient}_{image}` whose it is.
"""

import re
from dataclasses import replace

from mammogan.data.pixels import IMAGE_SUFFIXES
from mammogan.data.sources import inbreast, labels, mias, rsna
from mammogan.data.sources.files import Files, stem
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
    name = table_name(files)
    if name is not None:
        columns = files.columns(name)
        if {"path_save", "cancer", "refnum"} <= columns:
            return f"{name} with the columns Path_save, Cancer and Refnum, cut from MIAS"
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
    name = table_name(files)
    if name is None and any(_class(image) for image in files.images):
        return _read_folders(files)
    table = files.needed_table(name, "description.csv or train.csv, or folders cancer/ and no_cancer/,")
    table = _with_ids(_of_inbreast(_of_mias(table)))
    table.need("patient_id", "image_id", "laterality")
    names = own_names(table)
    if "path_save" in table.columns:
        names["file"] = "path_save"
    return read_listed(files, table, names, _PLACES)


def table_name(files: Files) -> str | None:
    """The table of the set, if it has one."""
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


def _of_mias(table: Table) -> Table:
    """The author's cut of MIAS: the film's number tells side and patient; of several rows a film, one a finding."""
    if "refnum" not in table.columns or "laterality" in table.columns:
        return table
    films: dict[str, list[Row]] = {}
    for row in table.rows:
        films.setdefault(row["refnum"].lower(), []).append(row)
    rows = []
    for film, mine in films.items():
        patient, side = mias.pair_and_side(film)
        cancer = labels.any_cancer({labels.cancer(row["cancer"]) for row in mine})
        cells = {"image_id": film, "patient_id": patient, "laterality": side, "view": "MLO", "cancer": cancer}
        rows.append(Row(mine[0].number, {**mine[0].cells, **cells}))
    return _extended(table, rows, "image_id", "patient_id", "laterality", "view")


def _of_inbreast(table: Table) -> Table:
    """The author's cut of INbreast: the file's name tells the patient; `Cancer` marks any finding, no malignancy."""
    names = [inbreast.NAME.fullmatch(stem(row["path_save"])) for row in table.rows]
    if not any(names):
        return table
    rows = []
    for row, name in zip(table.rows, names, strict=True):
        ids = (name[1], name[2].lower()) if name else ("", "")
        density = labels.density_of_number(row["acr"])
        cells = {"image_id": ids[0], "patient_id": ids[1], "density": density, "cancer": ""}
        rows.append(Row(row.number, {**row.cells, **cells}))
    return _extended(table, rows, "image_id", "patient_id", "density")


def _extended(table: Table, rows: list[Row], *names: str) -> Table:
    return replace(table, columns={**table.columns, **{name: name for name in names}}, rows=rows)


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
