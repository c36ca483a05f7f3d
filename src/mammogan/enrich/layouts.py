"""Where a synthetic image goes in each layout, and what its row says, in the spelling of the rows beside it."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import PurePosixPath
from typing import Literal, Protocol

from mammogan.config import ColumnName, SourceName
from mammogan.data.pixels import DICOM_SUFFIXES
from mammogan.data.sources import READERS, Mammogram, cbis_ddsm, folder, labels, rsna_roi
from mammogan.data.sources.enriched import MARK
from mammogan.data.sources.files import Files, stem, suffix
from mammogan.data.sources.listed import own_names
from mammogan.data.sources.tables import Table
from mammogan.enrich.namespace import reserved
from mammogan.errors import DataError

Format = Literal["png", "jpeg", "dicom"]
FORMATS: tuple[Format, ...] = ("png", "jpeg", "dicom")
_OWN_FORMATS: dict[str, Format] = {".jpg": "jpeg", ".jpeg": "jpeg", **dict.fromkeys(DICOM_SUFFIXES, "dicom")}
_USUAL: dict[Format, str] = {"png": ".png", "jpeg": ".jpg", "dicom": ".dcm"}
_UNDERSTOOD: dict[str, Callable[[str], str]] = {
    "laterality": labels.laterality,
    "view": labels.view,
    "cancer": labels.cancer,
    "density": labels.density,
}


@dataclass(frozen=True)
class Addition:
    """A synthetic image that joins a set.

    Attributes:
        number: of the namespace.
        laterality: L or R.
        view, cancer, density: in our words; "" where nobody knows.
    """

    number: int
    laterality: Literal["L", "R"]
    view: str = ""
    cancer: str = ""
    density: str = ""


@dataclass(frozen=True)
class Place:
    """The file of an addition, relative to the layout's folder, its patient, and its row of each table."""

    file: str
    patient_id: str
    rows: Mapping[str, Mapping[str, str]]  # table (relative path) -> column key -> cell


class Layout(Protocol):
    """One recognised set.

    Attributes:
        source: the layout's name.
        format: that of its files.
        keys: of each table that gets rows, the column that tells one addition from another.
        ids: every id and file name there is, among which those of the namespace are found.
        counts: of a label (cancer, density, view), how many images have each value.
    """

    @property
    def source(self) -> SourceName: ...  # noqa: D102

    @property
    def format(self) -> Format: ...  # noqa: D102

    @property
    def keys(self) -> Mapping[str, str]: ...  # noqa: D102

    @property
    def ids(self) -> list[str]: ...  # noqa: D102

    def counts(self, label: str) -> Counter[str]: ...  # noqa: D102

    def place(self, one: Addition) -> Place:
        """Where `one` goes.

        Raises:
            DataError: the layout cannot say what it is without a label that it lacks.
        """
        ...


def layout_of(
    files: Files, source: SourceName, columns: Mapping[ColumnName, str] | None, format_: Format | None
) -> Layout:
    """The layout of a set that was recognised; `format_` None: that of most of its files.

    Raises:
        DataError: nothing can be added to such a set.
    """
    found = folder.read(files, columns) if source == "folder" else READERS[source].read(files)
    chosen = format_ or _format(found.mammograms)
    if source == "cbis-ddsm":
        return _Cbis(files, found.mammograms, chosen)
    name, names = _table(files, source, columns)
    if name is None and source in ("rsna-roi", "folder"):
        return _Bare(files, source, found.mammograms, chosen)
    if name is None:
        raise DataError(
            f"{files.root} is laid out as {source}, to which nothing can be added; enrich writes rsna, rsna-roi, "
            "cbis-ddsm, phantom, the CDD-CESM selection with metadata.csv, and folder"
        )
    table = files.table(name)
    if suffix(name) != ".csv":
        raise DataError(f"{table.place} is an Excel sheet, to which no row can be added safely; save it as CSV")
    return _Listed(files, source, found.mammograms, chosen, name, table, names)


def _table(
    files: Files, source: SourceName, columns: Mapping[ColumnName, str] | None
) -> tuple[str | None, dict[str, str]]:
    """The one table with a row for each image, and our name -> its column key."""
    if source == "rsna":
        name = files.at_root("train.csv")
    elif source == "rsna-roi":
        name = rsna_roi.table_name(files)
    elif source == "folder":
        name = folder.table_name(files)
    elif source == "phantom":
        name = files.at_root("labels.csv")
    else:
        name = files.at_root("metadata.csv") if source == "cdd-cesm" else None
    if name is None:
        return None, {}
    table = files.table(name)
    if source == "folder":
        return name, folder.column_names(table, columns or {})
    names = own_names(table)
    if source == "rsna":
        names.pop("file", None)
    if source == "rsna-roi":
        if "patient_id" not in names or "laterality" not in names:
            raise DataError(f"{table.place} has no columns for patient and side, so no row can say what an image is")
        names |= {"file": "path_save"} if "path_save" in table.columns else {}
    return name, names


def _format(mammograms: list[Mammogram]) -> Format:
    counts = Counter(_OWN_FORMATS.get(one.file.suffix.lower(), "png") for one in mammograms)
    return counts.most_common(1)[0][0] if counts else "png"


@dataclass(frozen=True)
class _Listed:
    """A table with a row for each image."""

    files: Files
    source: SourceName
    mammograms: list[Mammogram]
    format: Format
    name: str
    table: Table
    names: Mapping[str, str]

    @property
    def keys(self) -> Mapping[str, str]:
        column = next(name for name in ("file", "image_id", "patient_id") if name in self.names)
        return {self.name: self.names[column]}

    @property
    def ids(self) -> list[str]:
        cells = [row[column] for row in self.table.rows for column in self.names.values()]
        return [*cells, *self.files.names]

    def counts(self, label: str) -> Counter[str]:
        return Counter(value for one in self.mammograms if (value := str(getattr(one, label))))

    def place(self, one: Addition) -> Place:
        own = {name: reserved(one.number, self._ids[name]) for name in ("patient_id", "image_id")}
        for name in ("laterality", "view", "cancer", "density"):
            own[name] = self._spelt(name, getattr(one, name))
        own["file"] = self._pattern.format(**own) + self._suffix
        row = {column: own.get(name, "") for name, column in self.names.items()} | {MARK: "1"}
        if "path" in self.table.columns and "file" not in self.names.values():
            row["path"] = own["file"]
        if self.source == "cdd-cesm":
            row["patient_id_status"] = "unknown"  # a made-up patient, in the words of this set
        return Place(own["file"], own["patient_id"], {self.name: row})

    @cached_property
    def _ids(self) -> dict[str, list[str]]:
        return {
            name: [row[self.names[name]] for row in self.table.rows] if name in self.names else []
            for name in ("patient_id", "image_id")
        }

    @cached_property
    def _pattern(self) -> str:
        """The path of most images without suffix, with the fields {patient_id} and {image_id}."""
        patterns = Counter(_pattern(one, self.files) for one in self.mammograms)
        return patterns.most_common(1)[0][0] if patterns else "images/{image_id}"

    @property
    def _suffix(self) -> str:
        return _suffix(self.mammograms, self.format)

    def _spelt(self, name: str, value: str) -> str:
        """A label as most rows that mean it spell it."""
        if not value or name not in self.names:
            return value
        cells = (row[self.names[name]] for row in self.table.rows)
        alike = Counter(cell for cell in cells if _UNDERSTOOD[name](cell) == value)
        return alike.most_common(1)[0][0] if alike else value


def _pattern(one: Mammogram, files: Files) -> str:
    place = PurePosixPath(one.file.relative_to(files.root).as_posix())
    image_id = one.image_id.rpartition("/")[2]
    patient = one.patient_id.removeprefix("unknown: ")
    named = {patient: "{patient_id}", image_id: "{image_id}", f"{patient}_{image_id}": "{patient_id}_{image_id}"}
    folders = ["{patient_id}" if part == patient else _literal(part) for part in place.parts[:-1]]
    return "/".join([*folders, named.get(stem(place.name), "{image_id}")])


def _literal(part: str) -> str:
    return part.replace("{", "{{").replace("}", "}}")


def _suffix(mammograms: list[Mammogram], format_: Format) -> str:
    """The suffix that most files of the format have."""
    alike = Counter(
        one.file.suffix for one in mammograms if _OWN_FORMATS.get(one.file.suffix.lower(), "png") == format_
    )
    most = alike.most_common(1)[0][0] if alike else ""
    return most if most.lower() in (".png", *_OWN_FORMATS) else _USUAL[format_]


@dataclass(frozen=True)
class _Bare:
    """Files without a table: folders cancer/ and no_cancer/, or file names that tell side and view."""

    files: Files
    source: SourceName
    mammograms: list[Mammogram]
    format: Format
    keys: Mapping[str, str] = field(default_factory=dict)

    @property
    def ids(self) -> list[str]:
        return self.files.names

    def counts(self, label: str) -> Counter[str]:
        return Counter(value for one in self.mammograms if (value := str(getattr(one, label))))

    def place(self, one: Addition) -> Place:
        end = _suffix(self.mammograms, self.format)
        if self.source == "folder":
            patient = f"SYN{one.number}"
            return Place(f"{self._folder('')}{patient}_{one.laterality}_{one.view or 'XX'}{end}", patient, {})
        if not one.cancer:
            raise DataError(
                f"{self.files.root} sorts its images into folders with and without cancer; give a generator that is "
                "conditional on cancer, or one for each class (--from cancer=1:... --from cancer=0:...)"
            )
        return Place(f"{self._folder(one.cancer)}{one.number}_{one.number}{end}", str(one.number), {})

    def _folder(self, cancer: str) -> str:
        """Where most images of a class lie, with a slash."""
        parents = Counter(
            one.file.parent.relative_to(self.files.root).as_posix() for one in self.mammograms if one.cancer == cancer
        )
        most = parents.most_common(1)[0][0] if parents else "."
        return "" if most == "." else f"{most}/"


@dataclass(frozen=True)
class _Cbis:
    """CBIS-DDSM: a film named Mass-Training_P_<number>_<side>_<view>, never one of the test set."""

    files: Files
    mammograms: list[Mammogram]
    format: Format
    source: SourceName = "cbis-ddsm"

    @property
    def keys(self) -> Mapping[str, str]:
        found = {self._cases: "patient_id"} if self._cases else {}
        return found | ({self._info: "patientid"} if self._info else {})

    @property
    def ids(self) -> list[str]:
        return [*self.files.names, *(one.image_id for one in self.mammograms)]

    def counts(self, label: str) -> Counter[str]:
        return Counter(value for one in self.mammograms if (value := str(getattr(one, label))))

    def place(self, one: Addition) -> Place:
        if one.view not in ("CC", "MLO"):
            raise DataError(f"CBIS-DDSM names its films by the view, CC or MLO; got '{one.view}' (give --view)")
        if one.density and self._cases is None:
            raise DataError(f"{self.files.root} has no case table for the density of an image")
        side = {"L": "LEFT", "R": "RIGHT"}[one.laterality]
        patient = f"P_{one.number}"
        film = f"Mass-Training_{patient}_{side}_{one.view}"
        end = _suffix(self.mammograms, self.format)
        rows: dict[str, Mapping[str, str]] = {}
        if self._info:
            series = f"2.25.{one.number}"
            file = f"jpeg/{series}/1-001{end}"
            rows[self._info] = {
                "image_path": f"CBIS-DDSM/{file}",
                "patientid": film,
                "seriesinstanceuid": series,
                "seriesdescription": "full mammogram images",
                MARK: "1",
            }
        else:
            file = f"{film}/2.25.{one.number}/2.25.{one.number}/1-1{end}"
        if self._cases:
            rows[self._cases] = {
                "patient_id": patient,
                "left_or_right_breast": side,
                "image_view": one.view,
                "pathology": {"1": "MALIGNANT", "0": "BENIGN", "": ""}[one.cancer],
                "breast_density": str(" ABCD".index(one.density)) if one.density else "",
                "abnormality_type": "mass",
                "image_file_path": file,
                MARK: "1",
            }
        return Place(file, patient, rows)

    @cached_property
    def _info(self) -> str | None:
        return self.files.anywhere("dicom_info")

    @cached_property
    def _cases(self) -> str | None:
        return self.files.anywhere(cbis_ddsm.TRAINING_MASSES)
