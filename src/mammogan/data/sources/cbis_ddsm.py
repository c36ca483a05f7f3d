"""CBIS-DDSM, as DICOM from TCIA or as JPEG from Kaggle (csv/ and jpeg/).

The set calls a film `Mass-Training_P_00001_LEFT_CC`; the same with a number at its end is a crop or a mask, which is
left aside. P_00001 is the patient. The DICOM layout has the name in its folders or file names, the JPEG layout in
csv/dicom_info.csv. The four case tables have a row for each abnormality: a film is malignant if any of its
abnormalities is, also of those that the other half of the set (Mass or Calc) lists for the same film.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from mammogan.data.pixels import DICOM_SUFFIXES
from mammogan.data.sources import labels
from mammogan.data.sources.files import Files, stem, suffix
from mammogan.data.sources.reader import Reader
from mammogan.data.sources.records import Collection
from mammogan.errors import DataError

TRAINING_MASSES = "mass_case_description_train_set"
_CASES = [f"{kind}_case_description_{part}_set" for kind in ("mass", "calc") for part in ("train", "test")]
_CASE_COLUMNS = ("patient_id", "left_or_right_breast", "image_view", "pathology")
_FILM = re.compile(r"(Mass|Calc)-(Train|Test)(?:ing)?_(P_\d+)_(LEFT|RIGHT)_(CC|MLO)(_\d+)?", re.IGNORECASE)

Film = tuple[str, str, str]  # patient, side, view


@dataclass
class _Case:
    number: int
    table: str
    cancer: set[str] = field(default_factory=set)
    density: str = ""
    by: set[str] = field(default_factory=set)  # the tables that list the film
    met: bool = False


def _recognise(files: Files) -> str | None:
    if files.anywhere("dicom_info") and files.has_folder("jpeg"):
        return "csv/dicom_info.csv and jpeg/ of the Kaggle edition of CBIS-DDSM"
    if any(_film_of_path(image) for image in files.images if suffix(image) in DICOM_SUFFIXES):
        return "DICOM file or folder names of CBIS-DDSM, such as Mass-Training_P_00001_LEFT_CC"
    return None


def _read(files: Files) -> Collection:
    found = Collection(files.root)
    there = {name for name in _CASES if files.anywhere(name)}
    cases = _read_cases(files)
    aside = 0
    for image, match in _films(files):
        if match is None:
            found.reject(image, "", "image without a row: neither its name nor dicom_info.csv tells what it is")
        elif match[6]:
            aside += 1
        else:
            _keep(found, cases, there, image, match)
    for film, case in cases.items():
        if not case.met:
            reason = f"row without an image: line {case.number} of {case.table} names a film that has no file"
            found.reject("", "", reason, film[1])
    notes = [f"{aside} crops and masks left aside"] if aside else []
    if not there:
        notes.append("no case tables, so no labels but side and view")
    elif len(there) < len(_CASES):
        missing = len(_CASES) - len(there)
        notes.insert(0, f"{missing} of the {len(_CASES)} case tables missing, whose films have no labels")
    found.note = "; ".join(notes)
    return found


def _keep(found: Collection, cases: dict[Film, _Case], there: set[str], image: str, match: re.Match[str]) -> None:
    """Without its own table a film may have findings that nobody lists: malignant is certain then, benign is not."""
    film = (match[3].upper(), labels.laterality(match[4]), labels.view(match[5]))
    own = f"{match[1]}_case_description_{match[2]}_set".lower()
    case = cases.get(film)
    if case is None and own in there:
        found.reject(image, match[0], "image without a row: no case table names this film", film[1])
        return
    cancer, density = "", ""
    if case is not None:
        case.met = True
        cancer = labels.any_cancer(case.cancer)
        if own in case.by:
            density = case.density
        else:
            cancer = "1" if cancer == "1" else ""
    found.keep(image, match[0], film[0], laterality=film[1], view=film[2], density=density, cancer=cancer)


def _films(files: Files) -> Iterator[tuple[str, re.Match[str] | None]]:
    """Every image with the name of its film, or None where nothing tells it."""
    info = files.anywhere("dicom_info")
    if info is None:
        for image in files.images:
            yield image, _film_of_path(image)
        return
    table = files.table(info)
    table.need("image_path", "patientid")
    names = {_jpeg(row["image_path"]): row["patientid"] for row in table.rows}
    for image in files.images:
        if image.startswith("jpeg/"):
            yield image, _FILM.fullmatch(names.get(image, ""))
    present = set(files.names)
    missing = sum(place not in present for place, name in names.items() if _FILM.fullmatch(name))
    if missing == len(names):
        raise DataError(f"{table.place} names no file that is under {files.root / 'jpeg'}; copy jpeg/ beside csv/")


def _jpeg(path: str) -> str:
    """CBIS-DDSM/jpeg/<series>/1-001.jpg -> jpeg/<series>/1-001.jpg."""
    return "jpeg/" + path.replace("\\", "/").rpartition("jpeg/")[2]


def _film_of_path(image: str) -> re.Match[str] | None:
    return next((match for part in (*image.split("/")[:-1], stem(image)) if (match := _FILM.fullmatch(part))), None)


def _read_cases(files: Files) -> dict[Film, _Case]:
    cases: dict[Film, _Case] = {}
    for name in _CASES:
        place = files.anywhere(name)
        if place is None:
            continue
        table = files.table(place)
        table.need(*_CASE_COLUMNS)
        for row in table.rows:
            film = (
                row["patient_id"].upper(),
                labels.laterality(row["left_or_right_breast"]),
                row["image_view"].upper(),
            )
            case = cases.setdefault(film, _Case(row.number, table.name))
            case.by.add(name)
            case.cancer.add(labels.cancer(row["pathology"]))
            case.density = case.density or labels.density_of_number(row["breast_density"])
    return cases


READER = Reader(
    "files or folders such as Mass-Training_P_00001_LEFT_CC with the case tables (TCIA), "
    "or csv/dicom_info.csv, the case tables and jpeg/ (Kaggle)",
    _recognise,
    _read,
)
