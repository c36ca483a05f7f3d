"""A table of an experiment from a CSV file: one line a row, one column a factor, values as they were set."""

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mammogan.design.table import Array
from mammogan.errors import DesignError

_NO_FACTORS = ("row", "state")  # what `mammogan study` writes beside the factors

Value = int | float | str


@dataclass(frozen=True)
class TableFile:
    """The table as an array, its factors with their levels in order, and all columns of the file."""

    array: Array
    factors: dict[str, list[Any]]
    columns: dict[str, list[Value]]


def read_table(path: Path, factors: Sequence[str] | None = None) -> TableFile:
    """Read a CSV with a line of names; lines that begin with `#` are comments, the first of them is the source.

    Without `factors` every column but `row` is one. Numbers are levels in ascending order, texts in that of their
    first row.

    Raises:
        DesignError: the file is missing, empty or has gaps; a factor is no column, has one level, or a level a row.
    """
    columns, source = _read(path)
    names = [name for name in columns if name not in _NO_FACTORS] if factors is None else list(factors)
    absent = [name for name in names if name not in columns]
    if absent:
        raise DesignError(f"{path} has no column {', '.join(absent)}; it has {', '.join(columns)}")
    levels = {name: _levels(name, columns[name], path) for name in names}
    numbers = [[levels[name].index(value) for value in columns[name]] for name in names]
    return TableFile(Array(path.stem, tuple(zip(*numbers, strict=True)), source or path.name), levels, columns)


def _read(path: Path) -> tuple[dict[str, list[Value]], str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise DesignError(f"{path} is missing; give the path of a CSV with one line a row of the table") from None
    except UnicodeDecodeError as err:
        raise DesignError(f"{path} is not UTF-8 text (byte {err.start}); give a CSV with a line of names") from None
    source = next((line.removeprefix("#").strip() for line in lines if line.startswith("#")), "")
    cells = list(csv.reader(line for line in lines if line.strip() and not line.startswith("#")))
    if len(cells) < 2:
        raise DesignError(f"{path} has no rows; give a line of names and below it one line a row of the table")
    names = [name.strip() for name in cells[0]]
    if len(set(names)) < len(names) or not all(names):
        raise DesignError(f"{path}: the names {', '.join(names)} are not all different; give each column its own")
    for number, row in enumerate(cells[1:], start=1):
        if len(row) != len(names) or not all(cell.strip() for cell in row):
            raise DesignError(f"{path}, row {number}: {len(names)} values are wanted, found {', '.join(row)}; fill it")
    columns = zip(*cells[1:], strict=True)
    return {
        name: [_value(cell.strip()) for cell in column] for name, column in zip(names, columns, strict=True)
    }, source


def _value(cell: str) -> Value:
    for number in (int, float):
        try:
            value = number(cell)
        except ValueError:
            continue
        if math.isfinite(value):
            return value
    return cell


def _levels(name: str, column: Sequence[Value], path: Path) -> list[Any]:
    values = list(dict.fromkeys(column))
    if len(values) == 1:
        raise DesignError(f"{path}: {name} is {values[0]} in every row, so it is no factor; leave it out")
    if len(values) == len(column) > 4:
        raise DesignError(
            f"{path}: {name} has another value in every row, so it is a number of rows or a response; "
            f"name the factors with --factors"
        )
    numbers = [value for value in values if not isinstance(value, str)]
    return sorted(numbers) if len(numbers) == len(values) else values
