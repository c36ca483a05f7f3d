"""What was cut from which file, by content: so that only new files are decoded, and a killed run goes on."""

import hashlib
import json
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mammogan.errors import DataError

_COMMIT_EVERY_S = 2.0
_BUSY_S = 60.0
_SCHEMA = """
create table if not exists files (place text primary key, size int, mtime_ns int, sha256 text) without rowid;
create table if not exists cuts (key text primary key, record text not null, pixels blob);
"""


@dataclass(frozen=True)
class Entry:
    """What a file gave: the pixels of its tile, or None where it was rejected, and the record of how."""

    record: Mapping[str, str]
    pixels: bytes | None


class TileCache:
    """Cuts by the hash of the raw file and of all that shapes a cut, in one SQLite file.

    A kill loses at most the last seconds. Paths are kept as hashes only. Several processes may use the file at once.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection
        self._committed = time.monotonic()

    def sha256(self, path: Path) -> str:
        """Hash of the bytes of a file; read again only if its size or its time of change differ."""
        place = hashlib.sha256(str(path.absolute()).encode()).hexdigest()
        status = path.stat()
        kept = self._db.execute("select size, mtime_ns, sha256 from files where place = ?", (place,)).fetchone()
        if kept and kept[:2] == (status.st_size, status.st_mtime_ns):
            return str(kept[2])
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        self._write(
            "insert or replace into files values (?, ?, ?, ?)", place, status.st_size, status.st_mtime_ns, digest
        )
        return digest

    def record(self, key: str) -> Mapping[str, str] | None:
        """The record of a cut, without its pixels; None if there is none."""
        kept = self._db.execute("select record from cuts where key = ?", (key,)).fetchone()
        return None if kept is None else json.loads(kept[0])

    def pixels(self, key: str) -> bytes:
        """The pixels of a cut that has some."""
        blob: bytes = self._db.execute("select pixels from cuts where key = ?", (key,)).fetchone()[0]
        return blob

    def put(self, key: str, entry: Entry) -> None:
        """Keep a cut."""
        self._write("insert or replace into cuts values (?, ?, ?)", key, json.dumps(entry.record), entry.pixels)

    def _write(self, statement: str, *values: object) -> None:
        self._db.execute(statement, values)
        if time.monotonic() - self._committed > _COMMIT_EVERY_S:
            self._db.commit()
            self._committed = time.monotonic()


@contextmanager
def tile_cache(path: Path) -> Iterator[TileCache]:
    """The cache in the file `path`, made when missing; one that is damaged is begun anew.

    Raises:
        DataError: the disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        connection = _opened(path)
        try:
            yield TileCache(connection)
        finally:
            connection.commit()
            connection.close()
    except sqlite3.OperationalError as err:
        if "full" not in str(err):
            raise
        raise DataError(f"disk full while writing {path}; free some space and run again, nothing was changed") from None


def _opened(path: Path) -> sqlite3.Connection:
    try:
        return _connect(path)
    except sqlite3.DatabaseError as err:
        if isinstance(err, sqlite3.OperationalError):
            raise
        for leftover in path.parent.glob(f"{path.name}*"):  # -wal and -shm too
            leftover.unlink()
        return _connect(path)


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_BUSY_S)
    try:
        connection.execute("pragma journal_mode = wal")
        connection.execute("pragma synchronous = normal")
        connection.executescript(_SCHEMA)
    except sqlite3.DatabaseError:
        connection.close()
        raise
    return connection
