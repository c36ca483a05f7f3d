"""Raw mammograms and their labels: the table layout and the RSNA layout, found without opening an image."""

import csv
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from mammogan.data.pixels import DICOM_SUFFIXES, PNG_SUFFIXES
from mammogan.errors import DataError

TABLES = ("labels.csv", "metadata.csv", "description.csv", "train.csv")
NEEDED = ("patient_id", "laterality", "image_id")

# where an image lies when the table does not say
_PLACES = (
    "images/{image_id}.png",
    "images/{image_id}.dcm",
    "train_images/{patient_id}/{image_id}.dcm",
    "train_images/{patient_id}/{image_id}.png",
    "{patient_id}/{image_id}.png",
    "{patient_id}_{image_id}.png",
)
_SIDES = {"l": "L", "left": "L", "r": "R", "right": "R"}
_CANCER = {"0": "0", "0.0": "0", "false": "0", "1": "1", "1.0": "1", "true": "1"}


@dataclass(frozen=True)
class Source:
    """One raw image and its labels; a label that the table does not give is ""."""

    file: Path
    image_id: str
    patient_id: str
    laterality: str  # L or R
    view: str
    density: str  # A to D
    cancer: str  # 0 or 1


@dataclass(frozen=True)
class Rejected:
    """A file or row that gives no tile, and why; the part before the colon names the kind of reason."""

    file: str
    image_id: str
    reason: str


def find_images(root: Path) -> tuple[list[Source], list[Rejected]]:
    """Every image under `root` with its labels, in the order of the table, and all that does not fit.

    The table is the first of `TABLES` at `root`; column names in any case. A row that is at fault
    (no image, an id met before, no side) is rejected, the rest goes on.

    Raises:
        DataError: `root` is missing or empty, has no table, or the table is empty or lacks a needed column.
    """
    files = _files(root)
    table = _find_table(root)
    rows = _read_table(table)
    sources: list[Source] = []
    rejected: list[Rejected] = []
    taken: set[str] = set()
    seen: set[str] = set()
    for row in rows:
        relative, reason = _locate(root, row, files)
        if relative in taken:
            reason = reason or "file named twice: an earlier row of the table has it already"
        if row["image_id"] and row["image_id"] in seen:
            reason = "image_id named twice: an earlier row of the table has it already"
        taken.add(relative)
        seen.add(row["image_id"])
        if reason is None:
            sources.append(_source(root / relative, row))
        else:
            rejected.append(Rejected(relative, row["image_id"], reason))
    in_table = {os.path.normcase(file) for file in taken}
    for key, relative in files.items():
        if key not in in_table and Path(relative).suffix.lower() in PNG_SUFFIXES | DICOM_SUFFIXES:
            rejected.append(Rejected(relative, "", f"image without a row: {table.name} does not name it"))
    return sources, rejected


def _files(root: Path) -> dict[str, str]:
    """Relative POSIX paths of all files under `root`, sorted, by their form normalised for this system."""
    if not root.is_dir():
        raise DataError(f"{root} is missing or no folder; put the images and their table there, then `dvc add {root}`")
    paths = [path.relative_to(root) for path in sorted(root.rglob("*")) if path.is_file()]
    names = [path.as_posix() for path in paths if not any(part.startswith(".") for part in path.parts)]
    if not names:
        raise DataError(f"{root} is empty; put the images and their table there, then `dvc add {root}`")
    return {os.path.normcase(name): name for name in names}


def _find_table(root: Path) -> Path:
    here = {path.name.lower(): path for path in root.iterdir() if path.is_file()}
    for name in TABLES:
        if name in here:
            return here[name]
    found = ", ".join(sorted(path.name for path in root.iterdir())[:8])
    raise DataError(f"{root} has no label table; it needs one of {', '.join(TABLES)}, found: {found}")


def _read_table(table: Path) -> list[dict[str, str]]:
    """Rows as text by lower-case column name; every value stripped."""
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            lines = [line for line in csv.reader(file, strict=True) if any(cell.strip() for cell in line)]
    except UnicodeDecodeError:
        raise DataError(f"{table} is not UTF-8 text; save it as 'CSV UTF-8'") from None
    except (csv.Error, OSError) as err:
        raise DataError(f"{table} cannot be read as a CSV table: {err}") from None
    if not lines:
        raise DataError(f"{table} is empty; it needs the columns {', '.join(NEEDED)} and a row for each image")
    columns = [cell.strip().lower().replace(" ", "_") for cell in lines[0]]
    missing = [name for name in NEEDED if name not in columns]
    if missing:
        raise DataError(f"{table} lacks the column {', '.join(missing)}; found: {', '.join(columns)}")
    twice = [name for name, count in Counter(columns).items() if count > 1 and name]
    if twice:
        raise DataError(f"{table} has the column {', '.join(twice)} twice; keep one")
    if len(lines) == 1:
        raise DataError(f"{table} has a header but no rows; it needs a row for each image")
    blank = dict.fromkeys(columns, "")
    return [
        {**blank, **{column: cell.strip() for column, cell in zip(columns, line, strict=False)}} for line in lines[1:]
    ]


def _locate(root: Path, row: dict[str, str], files: dict[str, str]) -> tuple[str, str | None]:
    """The row's image as a path relative to `root`, and why it cannot be used, or None."""
    named = (row.get("file") or row.get("path_save") or "").replace("\\", "/")
    places = [named] if named else [place.format(**row) for place in _PLACES]
    found = next((files[key] for key in map(os.path.normcase, places) if key in files), None)
    place = found or places[0]
    empty = [name for name in ("image_id", "patient_id") if not row[name]]
    if empty:
        return place, f"row without {empty[0]}: the table leaves it empty"
    if row["laterality"].lower() not in _SIDES:
        return place, f"row without a side: laterality is {row['laterality'][:20]!r}, expected L or R"
    path = PurePosixPath(place)
    if path.is_absolute() or ".." in path.parts or ":" in place:
        return place, "file outside the data folder: give its path relative to the folder"
    if found is None and not (root / place).is_file():
        looked = "" if named else f" nor in {len(_PLACES) - 1} other usual places"
        return place, f"row without an image: not at this path{looked}"
    return place, None


def _source(file: Path, row: dict[str, str]) -> Source:
    density = row.get("density", "").upper()
    return Source(
        file=file,
        image_id=row["image_id"],
        patient_id=row["patient_id"],
        laterality=_SIDES[row["laterality"].lower()],
        view=row.get("view", "").upper(),
        density=density if density in {"A", "B", "C", "D"} else "",
        cancer=_CANCER.get(row.get("cancer", "").lower(), ""),
    )
