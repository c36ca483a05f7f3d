"""A table with a row for each image: rows to images, and what is wrong with single rows."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import PurePosixPath

from mammogan.data.pixels import IMAGE_SUFFIXES
from mammogan.data.sources import labels
from mammogan.data.sources.enriched import MARK, is_marked
from mammogan.data.sources.files import OUTSIDE, Files, suffix
from mammogan.data.sources.headers import Seen
from mammogan.data.sources.names import OWN_NAMES
from mammogan.data.sources.records import Collection
from mammogan.data.sources.tables import Row, Table
from mammogan.errors import DataError


def own_names(table: Table) -> dict[str, str]:
    """Our names that the table's columns bear, each with its column key."""
    return {name: name for name in OWN_NAMES if name in table.columns}


def read_listed(
    files: Files,
    table: Table,
    names: Mapping[str, str],
    places: Sequence[str] = (),
    *,
    images: Iterable[str] | None = None,
    look: Callable[[str], Seen] | None = None,
    known: Callable[[Row], bool] = lambda _: True,
    density: Callable[[str], str] = labels.density,
) -> Collection:
    """Every row of `table` as an image, in its order; rows at fault are rejected and the rest goes on.

    Rows that are marked as synthetic are passed over.

    Args:
        files: where the images lie.
        table: the table.
        names: our name -> key of the table's column; without `laterality` no row is rejected for lack of a side,
            without `patient_id` or where `known` says no, the patient is unknown.
        places: where an image lies that the row does not place, with the fields {image_id} and {patient_id}.
        images: the files that need a row; all images if None.
        look: tells from the file itself what no column does.
        known: whether the row's patient_id is that of a person.
        density: how the column is understood.
    """
    found = Collection(files.root)
    for number in table.overlong:
        found.reject("", "", f"row with too many cells: line {number} of {table.name}")
    for row in table.rows:
        own = {name: row[column] for name, column in names.items()}
        file, reason = _locate(files, own, places)
        if is_marked(row[MARK]):
            found.set_aside(file)
            continue
        image_id = own.get("image_id") or ("" if "image_id" in names else file[: len(file) - len(suffix(file))])
        reason = _empty_cell(own, image_id) or reason
        seen = Seen()
        if reason is None and look is not None:
            try:
                seen = look(file)
            except DataError as err:
                reason = str(err).removeprefix(f"{files.root / file}: ")
        if reason is None:
            found.keep(
                file,
                image_id,
                (own.get("patient_id") or seen.patient or None) if known(row) else None,
                laterality=labels.laterality(own.get("laterality", "")) or seen.laterality,
                view=labels.view(own.get("view", "")) or seen.view,
                density=density(own.get("density", "")),
                cancer=labels.cancer(own.get("cancer", "")),
                age=labels.age(own.get("age", "")),
            )
        else:
            found.reject(file, image_id, reason, labels.laterality(own.get("laterality", "")))
    found.reject_images_without_a_row(files.images if images is None else images, table.name)
    return found


def _empty_cell(own: Mapping[str, str], image_id: str) -> str | None:
    if not image_id:
        return "row without image_id: the table leaves it empty"
    if own.get("patient_id") == "":
        return "row without patient_id: the table leaves it empty"
    if "laterality" in own and not labels.laterality(own["laterality"]):
        return "row without a side: its laterality is neither L nor R"
    return None


def _locate(files: Files, own: Mapping[str, str], places: Sequence[str]) -> tuple[str, str | None]:
    """The row's image relative to the root, and why it cannot be used, or None."""
    if named := own.get("file", "").replace("\\", "/"):
        tried = [str(PurePosixPath(named))]  # without "./" and doubled slashes, but with ".."
    else:
        ids = {name: own.get(name, "") for name in ("image_id", "patient_id")}
        empty = [f"{{{name}}}" for name, value in ids.items() if not value]
        tried = [place.format(**ids) for place in places if not any(field in place for field in empty)]
    if not tried:
        return "", "row without an image: the table leaves its file empty"
    for place in tried:
        if files.fault(place) == OUTSIDE:
            return place, OUTSIDE
        file = files.find(place)
        if file is not None and suffix(file) not in IMAGE_SUFFIXES:
            return file, "unknown kind of file: no image format that can be read; convert it to PNG or DICOM"
        if file is not None:
            return file, None
    faults = [fault for fault in map(files.fault, tried) if fault]
    looked = f" nor in {len(tried) - 1} other usual places" if len(tried) > 1 else ""
    return tried[0], faults[0] if faults else f"row without an image: not at this path{looked}"
