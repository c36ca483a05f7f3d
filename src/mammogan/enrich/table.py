"""Rows and a column added to a CSV table of any common kind, and taken out again: what was there keeps its bytes."""

import csv
import io
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from mammogan.data.sources.enriched import MARK
from mammogan.data.sources.tables import delimiter_of, key
from mammogan.errors import DataError


@dataclass(frozen=True)
class Sheet:
    """A table as text, record by record; a record keeps its line end.

    Attributes:
        encoding: utf-8 or cp1252.
        delimiter: comma, semicolon or tab.
        records: header first; a blank line is a record too.
    """

    encoding: str
    delimiter: str
    records: tuple[str, ...]

    @property
    def keys(self) -> list[str]:
        """The key of each column, as the readers of layouts call it."""
        return [key(name) for name in self.cells(0)]

    @property
    def line_end(self) -> str:
        r"""The line end of the header, \n or \r\n."""
        return _ending(self.records[0]) or "\n"

    def cells(self, number: int) -> list[str]:
        """The cells of a record."""
        record = self.records[number].removeprefix("\ufeff")
        return next(csv.reader(io.StringIO(record, newline=""), delimiter=self.delimiter), [])

    def to_bytes(self) -> bytes:
        """The table as a file."""
        return "".join(self.records).encode(self.encoding)


def parse(data: bytes, name: str) -> Sheet:
    """Split a table into its records.

    Raises:
        DataError: it is no text, is empty, or its quotes do not fit its cells, so that nothing can be added safely.
    """
    for encoding in ("utf-8", "cp1252"):
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        break
    else:
        raise DataError(f"{name} is neither UTF-8 nor Windows-1252 text; save it as 'CSV UTF-8'")
    if not text.strip("\ufeff\r\n,;\t "):
        raise DataError(f"{name} is empty; it needs a header and a row for each image")
    records = _records(text)
    blank = next(number for number, record in enumerate(records) if record.strip("\ufeff\r\n,;\t "))
    if blank:
        raise DataError(f"{name} begins with blank lines; remove them, so that the header is its first line")
    sheet = Sheet(encoding, delimiter_of(text), tuple(records))
    parsed = sum(1 for _ in csv.reader(io.StringIO(text, newline=""), delimiter=sheet.delimiter))
    if parsed != len(records) or "\r" in text.replace("\r\n", ""):
        raise DataError(f"{name} has stray quotes or line ends, so no row can be added safely; save it as CSV anew")
    return sheet


def with_column(sheet: Sheet) -> Sheet:
    """The sheet with the column MARK at its end, 0 in every row that fills the other columns.

    Raises:
        DataError: a row has more cells than the header.
    """
    width = len(sheet.cells(0))
    records = [_extended(sheet.records[0], f"{sheet.delimiter}{MARK}")]
    for number, record in enumerate(sheet.records[1:], start=1):
        count = len(sheet.cells(number))
        if count > width:
            raise DataError(f"row {number + 1} of the table has more cells than the header; mend it first")
        records.append(_extended(record, f"{sheet.delimiter}0") if count == width else record)
    return replace(sheet, records=tuple(records))


def without_column(sheet: Sheet) -> Sheet | None:
    """The inverse of `with_column`; None where a row that is left says anything but 0, so that the column has a use."""
    width = len(sheet.cells(0))
    records = [_shortened(sheet.records[0], f"{sheet.delimiter}{MARK}")]
    for number, record in enumerate(sheet.records[1:], start=1):
        cells = sheet.cells(number)
        if len(cells) < width:
            records.append(record)
        elif cells[-1] == "0":
            records.append(_shortened(record, f"{sheet.delimiter}0"))
        else:
            return None
    return None if None in records else replace(sheet, records=tuple(record for record in records if record))


def with_rows(sheet: Sheet, rows: Sequence[Mapping[str, str]]) -> Sheet:
    """The sheet with `rows` at its end, each cell under its column's key; other columns stay empty.

    Raises:
        DataError: a cell cannot be written in the encoding of the table.
    """
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, delimiter=sheet.delimiter, lineterminator=sheet.line_end)
    writer.writerows([row.get(name, "") for name in sheet.keys] for row in rows)
    try:
        buffer.getvalue().encode(sheet.encoding)
    except UnicodeEncodeError:
        raise DataError("a new row cannot be written in Windows-1252; save the table as 'CSV UTF-8' first") from None
    return replace(sheet, records=(*ended(sheet).records, *_records(buffer.getvalue())))


def without_rows(sheet: Sheet, column: str, values: Collection[str]) -> tuple[Sheet, int]:
    """The sheet without the rows that have one of `values` in the column of this key, and how many those were."""
    if column not in sheet.keys:
        return sheet, 0
    place = sheet.keys.index(column)
    kept = [sheet.records[0]]
    for number, record in enumerate(sheet.records[1:], start=1):
        cells = sheet.cells(number)
        if place >= len(cells) or cells[place] not in values:
            kept.append(record)
    return replace(sheet, records=tuple(kept)), len(sheet.records) - len(kept)


def is_ended(sheet: Sheet) -> bool:
    """Whether the last record has a line end."""
    return bool(_ending(sheet.records[-1]))


def ended(sheet: Sheet) -> Sheet:
    """The sheet with a line end after its last record."""
    if is_ended(sheet):
        return sheet
    return replace(sheet, records=(*sheet.records[:-1], sheet.records[-1] + sheet.line_end))


def unended(sheet: Sheet) -> Sheet:
    """The inverse of `ended`."""
    last = sheet.records[-1]
    return replace(sheet, records=(*sheet.records[:-1], last.removesuffix(_ending(last))))


def _records(text: str) -> list[str]:
    """The records of a table: lines, joined where a line ends inside quotes."""
    records: list[str] = []
    open_quote = False
    for line in io.StringIO(text, newline="\n"):
        if open_quote:
            records[-1] += line
        else:
            records.append(line)
        open_quote ^= line.count('"') % 2 == 1
    return records


def _ending(record: str) -> str:
    return next((end for end in ("\r\n", "\n") if record.endswith(end)), "")


def _extended(record: str, more: str) -> str:
    end = _ending(record)
    return record.removesuffix(end) + more + end


def _shortened(record: str, more: str) -> str | None:
    end = _ending(record)
    body = record.removesuffix(end)
    return body.removesuffix(more) + end if body.endswith(more) else None
