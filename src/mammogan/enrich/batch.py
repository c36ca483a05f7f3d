"""Batches in a set: put in place whole or not at all, on record, and taken out again to the byte.

The record lies in the set itself, hidden (.mammogan/enriched.json), and goes when the last batch goes. While a batch is
put in place, .mammogan/pending/ holds what undoes it; whoever comes next after a crash finds it there.
"""

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mammogan import atomic
from mammogan.data.sources.enriched import MARK, RECORD
from mammogan.enrich import table
from mammogan.enrich.table import Sheet
from mammogan.errors import DataError

_PENDING = ".mammogan/pending"
_ABOUT = "Synthetic images that `mammogan enrich` added; `mammogan enrich FOLDER --undo ID` takes a batch out again."


@dataclass(frozen=True)
class NewFile:
    """An image that joins the set: its path relative to the set, its bytes, and what the record says of it."""

    file: str
    data: bytes
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class NewRows:
    """Rows for the table at a path relative to the set; `key` is the column that tells them from all others."""

    table: str
    key: str
    rows: Sequence[Mapping[str, str]]


def read_record(root: Path) -> dict[str, Any]:
    """The record of the set at `root`; an empty one if nothing was added.

    Raises:
        DataError: it is damaged.
    """
    path = root / RECORD
    if not path.exists():
        return {"about": _ABOUT, "tables": {}, "batches": []}
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if not (isinstance(record["batches"], list) and isinstance(record["tables"], dict)):
            raise TypeError
        return dict(record)
    except (OSError, ValueError, KeyError, TypeError) as err:
        raise DataError(f"{path} is damaged ({type(err).__name__}); restore it, by DVC or git") from None


def find(record: Mapping[str, Any], batch: str) -> dict[str, Any] | None:
    """The batch of this id, or None; `last` is the newest."""
    batches: list[dict[str, Any]] = record["batches"]
    if batch == "last":
        return batches[-1] if batches else None
    return next((one for one in batches if one["id"] == batch), None)


def faults(root: Path, batch: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """The files of a batch that are missing, and those that were changed."""
    missing, changed = [], []
    for image in batch["images"]:
        path = root / image["file"]
        if not path.is_file():
            missing.append(image["file"])
        elif hashlib.sha256(path.read_bytes()).hexdigest() != image["sha256"]:
            changed.append(image["file"])
    return missing, changed


def add(root: Path, batch: str, facts: Mapping[str, Any], files: Sequence[NewFile], rows: Sequence[NewRows]) -> None:
    """Put a batch in place: images, then tables, then the record, all or nothing.

    Raises:
        DataError: a file is there already, or a table cannot take the rows.
        OSError: the disk is full, or a right is missing; the set is as it was.
    """
    recover(root)
    record = read_record(root)
    if taken := [new.file for new in files if (root / new.file).exists()]:
        raise DataError(f"{root} has a file {taken[0]} already; move it away")
    tables = [_with(root, record, new) for new in rows]
    entry = {
        "id": batch,
        **facts,
        "folders": _new_folders(root, [new.file for new in files]),
        "tables": {new.table: {"key": new.key, "rows": len(new.rows)} for new in rows},
        "images": [{"file": new.file, "sha256": hashlib.sha256(new.data).hexdigest(), **new.facts} for new in files],
    }
    record["batches"].append(entry)
    try:
        _stage(root, entry, files, tables)
        for number, new in enumerate(files):
            path = root / new.file
            path.parent.mkdir(parents=True, exist_ok=True)
            (root / _PENDING / "files" / str(number)).replace(path)
        for name, data in tables:
            _write(root / name, data)
        atomic.write_text(root / RECORD, json.dumps(record, indent=1) + "\n")
    except BaseException:
        recover(root)
        raise
    shutil.rmtree(root / _PENDING)


def undo(root: Path, batch: str) -> tuple[dict[str, Any], list[str]]:
    """Take a batch out: its rows, its files, its folders; returns its record, and what was not as it had been left.

    Killed half-way, the same call does the rest.

    Raises:
        DataError: there is no such batch, or one of its files was changed.
    """
    recover(root)
    record = read_record(root)
    entry = find(record, batch)
    if entry is None:
        known = ", ".join(one["id"] for one in record["batches"])
        raise DataError(
            f"{root} has no batch {batch}; " + (f"there are {known}" if known else "nothing was added to it")
        )
    _, changed = faults(root, entry)
    if changed:
        raise DataError(
            f"{root}: {len(changed)} files of batch {entry['id']} were changed since, such as {changed[0]}; "
            "move them away or restore them, then undo again"
        )
    record["batches"].remove(entry)
    notes = []
    for name in entry["tables"]:
        data, note = _without(root, record, name, entry)
        _write(root / name, data)
        notes += [note] if note else []
    for image in entry["images"]:
        (root / image["file"]).unlink(missing_ok=True)
    for folder in sorted(entry["folders"], reverse=True):
        _remove_if_empty(root / folder)
        if (root / folder).exists():
            _hand_over(record, folder)
    if record["batches"]:
        atomic.write_text(root / RECORD, json.dumps(record, indent=1) + "\n")
    else:
        (root / RECORD).unlink()
        _remove_if_empty((root / RECORD).parent)
    return entry, notes


def recover(root: Path) -> None:
    """Undo what a killed `add` has left half done."""
    pending = root / _PENDING
    if not pending.exists():
        return
    journal = pending / "journal.json"
    if journal.exists():
        plan = json.loads(journal.read_text(encoding="utf-8"))
        if find(read_record(root), plan["id"]) is None:
            for file in plan["files"]:
                (root / file).unlink(missing_ok=True)
            for folder in sorted(plan["folders"], reverse=True):
                _remove_if_empty(root / folder)
            for number, name in enumerate(plan["tables"]):
                before = (pending / "tables" / str(number)).read_bytes()
                if (root / name).read_bytes() != before:
                    _write(root / name, before)
    shutil.rmtree(pending)
    _remove_if_empty(pending.parent)


def _stage(root: Path, entry: Mapping[str, Any], files: Sequence[NewFile], tables: Sequence[tuple[str, bytes]]) -> None:
    """Write the new files and the old tables beside the set, and last the journal: from then on there is a way back."""
    pending = root / _PENDING
    for name in ("files", "tables"):
        (pending / name).mkdir(parents=True)
    for number, new in enumerate(files):
        (pending / "files" / str(number)).write_bytes(new.data)
    for number, (name, _) in enumerate(tables):
        (pending / "tables" / str(number)).write_bytes((root / name).read_bytes())
    plan = {
        "id": entry["id"],
        "files": [new.file for new in files],
        "folders": entry["folders"],
        "tables": [name for name, _ in tables],
    }
    atomic.write_text(pending / "journal.json", json.dumps(plan) + "\n")


def _with(root: Path, record: dict[str, Any], new: NewRows) -> tuple[str, bytes]:
    """The table with the new rows, and on record what else was done to it."""
    before = (root / new.table).read_bytes()
    sheet = table.parse(before, new.table)
    state = record["tables"].setdefault(
        new.table,
        {
            "sha256": hashlib.sha256(before).hexdigest(),
            "column_added": MARK not in sheet.keys,
            "line_end_added": not table.is_ended(sheet),
        },
    )
    if state["column_added"] and MARK not in sheet.keys:
        sheet = table.with_column(sheet)
    data = table.with_rows(sheet, new.rows).to_bytes()
    state["enriched_sha256"] = hashlib.sha256(data).hexdigest()
    return new.table, data


def _without(root: Path, record: dict[str, Any], name: str, entry: Mapping[str, Any]) -> tuple[bytes, str]:
    """The table without the rows of a batch, and what to tell the user, or ""."""
    key = entry["tables"][name]["key"]
    values = {image["keys"][name] for image in entry["images"]}
    before = (root / name).read_bytes()
    state = record["tables"][name]
    touched = hashlib.sha256(before).hexdigest() != state["enriched_sha256"]
    sheet, _ = table.without_rows(table.parse(before, name), key, values)
    note = f"{name} was changed by others since; their changes stay" if touched else ""
    if not any(name in one["tables"] for one in record["batches"]):
        del record["tables"][name]
        sheet, kept = _as_before(sheet, state)
        note = kept or note
    else:
        state["enriched_sha256"] = hashlib.sha256(sheet.to_bytes()).hexdigest()
    return sheet.to_bytes(), note


def _as_before(sheet: Sheet, state: Mapping[str, Any]) -> tuple[Sheet, str]:
    """The sheet without the column and line end that came with the first batch."""
    if state["line_end_added"] and table.is_ended(sheet):
        sheet = table.unended(sheet)
    if not state["column_added"] or MARK not in sheet.keys:
        return sheet, ""
    bare = table.without_column(sheet)
    if bare is None:
        return sheet, f"the column {MARK} stays: rows of others say more in it than 0"
    return bare, ""


def _new_folders(root: Path, files: Iterable[str]) -> list[str]:
    """The folders that the files need and that are not there yet."""
    parents = {parent.as_posix() for file in files for parent in Path(file).parents}
    return sorted(parent for parent in parents if not (root / parent).exists())


def _hand_over(record: dict[str, Any], folder: str) -> None:
    """Let a batch that has files in a folder remove it when it goes."""
    for one in record["batches"]:
        if any(image["file"].startswith(f"{folder}/") for image in one["images"]):
            one["folders"].append(folder)
            return


def _write(path: Path, data: bytes) -> None:
    """Replace a file whole; a hard or symbolic link into DVC's cache is replaced, not written through."""
    mode = path.stat().st_mode
    with atomic.new_file(path) as partial:
        partial.write_bytes(data)
        partial.chmod(mode | 0o200)


def _remove_if_empty(folder: Path) -> None:
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
