"""Label tables as people save them: CSV of any common kind, and Excel sheets, as rows of stripped text.

The first row of a table without a header, and the name of its file, may name people: a message quotes known names only.
"""

import csv
import difflib
import io
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mammogan.data.sources.names import KNOWN_COLUMNS, KNOWN_TABLES
from mammogan.errors import DataError

_DELIMITERS = ",;\t"
_VALUE = re.compile(  # what stands in a row and in no header, as a key
    r"[\d.,:/_]+|l|r|left|right|links|rechts|cc|mlo|.*\.(?:dcm|dicom|png|jpe?g|tiff?|pgm)"
)
_CLOSE = 0.75  # of 1, spelt alike: below it the nearest name is nonsense
_LONG = 8  # letters: a name spelt almost like a known one this long is that name, and nobody's
_SLIP = 0.85


@dataclass(frozen=True)
class Row:
    """A row of a table: its cells by column key, and the number of its line (of its row, in a sheet), from 1."""

    number: int
    cells: Mapping[str, str]

    def __getitem__(self, column: str) -> str:
        return self.cells.get(column, "")


@dataclass(frozen=True)
class Table:
    """A table that was read whole.

    Attributes:
        file: where it lies.
        columns: how each column is spelt, by its key: lower case, underscores for blanks and hyphens.
        rows: every row that is not blank.
        overlong: the numbers of rows that have more cells than there are columns, which are not in `rows`.
    """

    file: Path
    columns: Mapping[str, str]
    rows: Sequence[Row]
    overlong: Sequence[int]

    @property
    def name(self) -> str:
        """The name of its file if it is that of a known set, else `the table`."""
        return table_name(self.file)

    @property
    def place(self) -> str:
        """Where it lies, for a message, likewise."""
        return table_place(self.file)

    def need(self, *names: str) -> None:
        """Check that every one of the columns `names` (keys) is there.

        Raises:
            DataError: one is missing; the message names the column that is spelt most like it.
        """
        missing = [name for name in names if name not in self.columns]
        if missing:
            raise DataError(
                f"{self.place} lacks the column {', '.join(missing)}{nearest_column(missing[0], self.columns)}; "
                f"{found(self.columns)}"
            )


def key(name: str) -> str:
    """A column name without regard to case, blanks, hyphens and underscores at its ends."""
    return re.sub(r"[\s_\-]+", "_", name.strip().lower()).strip("_")


def nearest(name: str, names: Iterable[str]) -> str:
    """` (nearest: '...')` of those `names` that resemble `name`, or nothing."""
    keys = {key(other): other for other in names}
    close = difflib.get_close_matches(key(name), keys, n=1, cutoff=_CLOSE)
    return f" (nearest: '{keys[close[0]]}')" if close else ""


def nearest_column(name: str, columns: Mapping[str, str], mapped: Iterable[str] = ()) -> str:
    """The same of the columns that may be quoted."""
    return nearest(name, _quotable(columns, mapped))


def found(columns: Mapping[str, str], mapped: Iterable[str] = ()) -> str:
    """The columns, for a message: known names, those that are `mapped` (keys), and the number of the others."""
    if any(_VALUE.fullmatch(name) for name in columns):
        return "its first row holds values, not the names of columns; put a header above it"
    quoted = _quotable(columns, mapped)
    more = len(columns) - len(quoted)
    unknown = "1 column whose name is not known" if more == 1 else f"{more} columns whose names are not known"
    return f"found: {', '.join(quoted + [unknown] * bool(more))}"


def unknown_columns(columns: Iterable[str], mapped: Iterable[str] = ()) -> list[str]:
    """Those of the columns (keys) that may hold anything, so that their names may too."""
    mapped = set(mapped)
    return [name for name in columns if name not in mapped and not _is_known(name)]


def table_name(file: Path) -> str:
    """The name of a table's file if it is that of a known set, else `the table`."""
    return file.name if file.name.lower() in KNOWN_TABLES else "the table"


def table_place(file: Path) -> str:
    """The path of a table, with its name only if it is that of a known set."""
    return str(file) if file.name.lower() in KNOWN_TABLES else f"the table in {file.parent}"


def _quotable(columns: Mapping[str, str], mapped: Iterable[str]) -> list[str]:
    unknown = set(unknown_columns(columns, mapped))
    return [spelt for name, spelt in columns.items() if name not in unknown]


def _is_known(name: str) -> bool:
    return name in KNOWN_COLUMNS or bool(
        difflib.get_close_matches(name, (known for known in KNOWN_COLUMNS if len(known) >= _LONG), 1, _SLIP)
    )


def read_table(file: Path) -> Table:
    """Read a CSV (comma, semicolon or tab; UTF-8, with or without a mark, or Windows-1252) or .xlsx table.

    Raises:
        DataError: it cannot be read, is empty, has no rows, or has a column twice.
    """
    lines = _sheet(file) if file.suffix.lower() in {".xlsx", ".xls"} else _csv_lines(file)
    filled = [(number, cells) for number, cells in lines if any(cells)]
    if not filled:
        raise DataError(f"{table_place(file)} is empty; it needs a header and a row for each image")
    header = filled[0][1]
    keys = [key(name) for name in header]
    twice = [name for name, count in Counter(keys).items() if count > 1 and name]
    if twice:
        raise DataError(f"{table_place(file)} has {_twice(twice)} twice; keep one")
    if len(filled) == 1:
        raise DataError(f"{table_place(file)} has a header but no rows; it needs a row for each image")
    columns = {name: spelt for name, spelt in zip(keys, header, strict=True) if name}
    rows, overlong = [], []
    for number, cells in filled[1:]:
        if any(cells[len(keys) :]):
            overlong.append(number)
        else:
            rows.append(Row(number, {name: cell for name, cell in zip(keys, cells, strict=False) if name}))
    return Table(file, columns, rows, overlong)


def _twice(keys: Sequence[str]) -> str:
    quoted = [name for name in keys if _is_known(name)]
    return f"the column {', '.join(quoted)}" if len(quoted) == len(keys) else "a column"


def _csv_lines(file: Path) -> list[tuple[int, list[str]]]:
    text = _text(file)
    delimiter = delimiter_of(text)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        return [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader]
    except csv.Error as err:
        place = f"line {reader.line_num}"
        raise DataError(f"{table_place(file)} cannot be read as a CSV table: {err} ({place}); mend it") from None


def _text(file: Path) -> str:
    try:
        raw = file.read_bytes()
    except OSError as err:
        raise DataError(f"{table_place(file)} cannot be read ({type(err).__name__}); copy it again") from None
    if b"\0" in raw:
        raise DataError(f"{table_place(file)} is not a text table (it holds zero bytes); save it as 'CSV UTF-8'")
    for encoding in ("utf-8-sig", "cp1252"):
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise DataError(f"{table_place(file)} is neither UTF-8 nor Windows-1252 text; save it as 'CSV UTF-8'")


def delimiter_of(text: str) -> str:
    """The delimiter that the header has most of, outside quotes."""
    header = re.sub(r'"[^"]*"', "", next((line for line in text.splitlines() if line.strip(" \t,;")), ""))
    return max(_DELIMITERS, key=header.count)


def _sheet(file: Path) -> list[tuple[int, list[str]]]:
    """The first sheet of an Excel file."""
    import pandas as pd  # here, since most sets need neither pandas nor openpyxl

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of extensions to the format, which hold no cells
            frame = pd.read_excel(file, header=None, dtype=str, keep_default_na=False)
    except ImportError as err:
        raise DataError(f"{table_place(file)} needs the package {err.name or 'openpyxl'}; or save it as CSV") from None
    except Exception as err:  # the parser raises whatever it likes on damaged input
        raise DataError(
            f"{table_place(file)} cannot be read as an Excel table ({type(err).__name__}); save it as .xlsx or CSV"
        ) from None
    rows = frame.to_numpy(dtype=object).tolist()
    return [(number, [str(cell).strip() for cell in cells]) for number, cells in enumerate(rows, start=1)]
