"""What was cut from which file, by content: so that only new files are decoded, and a killed run goes on."""

import hashlib
import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mammogan.data.ids import keyed
from mammogan.errors import DataError

_BUSY_S = 60.0
_VERSION = 1  # of the tables
_TABLES = """
drop table if exists files;
drop table if exists cuts;
create table files (place text primary key, size int, mtime_ns int, source_id text) without rowid;
create table cuts (key text primary key, record text not null, pixels blob);
"""

Stamp = tuple[int, int]  # size in bytes, time of the last change in ns


@dataclass(frozen=True)
class Entry:
    """What a file gave.

    Attributes:
        record: how its tile was cut, or the `reason` why there is none.
        pixels: of its tile; None where there is none.
        lasting: whether another attempt would give the same; only then is it kept.
    """

    record: Mapping[str, str]
    pixels: bytes | None
    lasting: bool = True


class TileCache:
    """Cuts by the content of the raw file and all else that shapes them, in one SQLite file.

    Each entry is written at once. Paths and contents are kept as hashes under the id key. Several processes may use the
    file at the same time.
    """

    def __init__(self, connection: sqlite3.Connection, id_key: bytes) -> None:
        self._db = connection
        self._id_key = id_key

    def identify(self, path: Path) -> tuple[str, Stamp]:
        """The keyed hash of the bytes of a file, and the stamp that it had; read again only under another stamp.

        Raises:
            OSError: the file cannot be read.
        """
        place = keyed(self._id_key, "place", str(path.absolute()))
        status = path.stat()
        stamp = (status.st_size, status.st_mtime_ns)
        kept = self._db.execute("select size, mtime_ns, source_id from files where place = ?", (place,)).fetchone()
        if kept and kept[:2] == stamp:
            return str(kept[2]), stamp
        with path.open("rb") as file:
            source_id = keyed(self._id_key, "source", hashlib.file_digest(file, "sha256").hexdigest())
        self._db.execute("insert or replace into files values (?, ?, ?, ?)", (place, *stamp, source_id))
        return source_id, stamp

    def record(self, key: str, n_bytes: int) -> Mapping[str, str] | None:
        """The record of a cut whose tile has `n_bytes`, or of a rejection; None if there is none that is whole."""
        kept = self._db.execute("select record, length(pixels) from cuts where key = ?", (key,)).fetchone()
        if kept is None or kept[1] not in (None, n_bytes):
            return None
        record: Mapping[str, str] = json.loads(kept[0])
        return record

    def pixels(self, key: str) -> bytes:
        """The pixels of a cut that has some."""
        blob: bytes = self._db.execute("select pixels from cuts where key = ?", (key,)).fetchone()[0]
        return blob

    def put(self, key: str, entry: Entry) -> None:
        """Keep a cut."""
        self._db.execute("insert or replace into cuts values (?, ?, ?)", (key, json.dumps(entry.record), entry.pixels))


@contextmanager
def tile_cache(path: Path, id_key: bytes) -> Iterator[TileCache]:
    """The cache in the file `path`, made when missing, begun anew when another version has written it.

    Raises:
        DataError: the disk is full, or the file cannot be used.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise DataError(f"{path.parent} is no folder; remove it and run again, it only holds caches") from None
    try:
        connection = _connect(path)
        try:
            yield TileCache(connection, id_key)
        finally:
            connection.close()
    except sqlite3.DatabaseError as err:
        if "full" in str(err):
            raise DataError(
                f"disk full while writing {path}; free some space and run again, nothing was changed"
            ) from None
        raise DataError(
            f"{path} cannot be used ({err}); if no other prepare is running, remove {path.parent} and run again: "
            "it is only a cache"
        ) from None


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None)  # each statement commits by itself
    try:
        connection.execute("pragma journal_mode = wal")
        connection.execute("pragma synchronous = normal")
        if connection.execute("pragma user_version").fetchone()[0] != _VERSION:
            connection.executescript(f"begin immediate; {_TABLES} pragma user_version = {_VERSION}; commit;")
    except sqlite3.DatabaseError:
        connection.close()
        raise
    return connection
