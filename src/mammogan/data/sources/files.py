"""The files under the data folder, listed once, and the rule that nothing outside it is ever read."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath

from mammogan.data.pixels import IMAGE_SUFFIXES
from mammogan.data.sources.names import KNOWN_TABLES
from mammogan.data.sources.tables import Table, read_table
from mammogan.errors import DataError

TABLE_SUFFIXES = (".csv", ".xlsx", ".xls")

OUTSIDE = "file outside the data folder: give its path relative to the folder"
LINK = "file outside the data folder: a link leads out of it; put the file itself there"


@dataclass(frozen=True)
class Files:
    """The files under `root` without hidden ones, as sorted POSIX paths relative to it.

    Attributes:
        names: every file.
        links_out: links to files and folders outside `root`, which are not followed.
        unnameable: files and folders whose names are no text, with the offending bytes escaped.
    """

    root: Path
    names: list[str]
    links_out: list[str]
    unnameable: list[str]
    _tables: dict[str, Table] = field(default_factory=dict)

    @cached_property
    def images(self) -> list[str]:
        """Files with the suffix of an image."""
        return [name for name in self.names if suffix(name) in IMAGE_SUFFIXES]

    @cached_property
    def _by_key(self) -> dict[str, str]:
        return {os.path.normcase(name): name for name in self.names}

    @cached_property
    def _by_basename(self) -> dict[str, str]:
        """The shallowest file of each name without its folder, in lower case."""
        ordered = sorted(self.names, key=lambda name: (-name.count("/"), name))
        return {name.rpartition("/")[2].lower(): name for name in ordered}

    def at_root(self, name: str) -> str | None:
        """The file `name` in the root itself, in any case."""
        found = self._by_basename.get(name.lower())
        return found if found is not None and "/" not in found else None

    def anywhere(self, stem: str) -> str | None:
        """The table `stem`.csv, .xlsx or .xls, in any folder and case."""
        places = (self._by_basename.get(f"{stem.lower()}{ending}") for ending in TABLE_SUFFIXES)
        return next((place for place in places if place), None)

    def anywhere_named(self, name: str) -> str | None:
        """The file `name`, in any folder and case."""
        return self._by_basename.get(name.lower())

    def has_folder(self, name: str) -> bool:
        """Whether the root has a folder `name` with files."""
        return any(file.startswith(f"{name}/") for file in self.names)

    def table(self, name: str) -> Table:
        """The table `name` (relative path), read once.

        Raises:
            DataError: it is no usable table.
        """
        if name not in self._tables:
            self._tables[name] = read_table(self.root / name)
        return self._tables[name]

    def columns(self, name: str | None) -> set[str]:
        """The column keys of the table `name`; none if there is no such table or it is no use."""
        try:
            return set(self.table(name).columns) if name else set()
        except DataError:
            return set()

    def needed_table(self, name: str | None, expected: str) -> Table:
        """The table `name`, which a source cannot do without; `expected` says which one it is.

        Raises:
            DataError: there is none, or it is no usable table.
        """
        if name is None:
            raise DataError(f"{self.root}: {expected} is missing, which this source needs; found: {self.summary()}")
        return self.table(name)

    def find(self, place: str) -> str | None:
        """The file at `place`, relative to the root, in the spelling of the file system."""
        return self._by_key.get(os.path.normcase(place))

    def fault(self, place: str) -> str | None:
        """Why the path `place` of a table must not be followed, or None."""
        path = PurePosixPath(place)
        if path.is_absolute() or ".." in path.parts or re.match(r"[A-Za-z]:", place):
            return OUTSIDE
        if self.links_out and {place, *map(str, path.parents)} & set(self.links_out):
            return LINK
        return None

    def one_down(self) -> "Files | None":
        """The files of the one folder that the root holds, beside nothing but words about it; None otherwise."""
        tops = {name.split("/", 1)[0] for name in self.names if "/" in name}
        beside = [name for name in self.names if "/" not in name]
        if len(tops) != 1 or any(suffix(name) not in {".md", ".txt", ".rst", ".pdf", ""} for name in beside):
            return None
        top = f"{tops.pop()}/"
        names, links, odd = (
            [name.removeprefix(top) for name in names if name.startswith(top)]
            for names in (self.names, self.links_out, self.unnameable)
        )
        return Files(self.root / top, names, links, odd)

    def has_table(self) -> bool:
        """Whether a table lies at the root itself."""
        return any("/" not in name and suffix(name) in TABLE_SUFFIXES for name in self.names)

    def summary(self) -> str:
        """What lies at the root, in a few words; the name of a table only if it is that of a known set."""
        top = sorted({_called(name.split("/", 1)[0] + ("/" if "/" in name else "")) for name in self.names})
        rest = f" and {len(top) - 8} more" if len(top) > 8 else ""
        return ", ".join(top[:8]) + rest


def list_files(root: Path) -> Files:
    """List `root`, one look at each folder and none at each file.

    Raises:
        DataError: `root` is missing, no folder, empty, or a folder in it cannot be listed.
    """
    if not root.is_dir():
        raise DataError(f"{root} is missing or no folder; put the images and their table there, then `dvc add {root}`")
    listing = Files(root, [], [], [])
    _walk(root, "", os.path.realpath(root), listing)
    for names in (listing.names, listing.links_out, listing.unnameable):
        names.sort()
    if not (listing.names or listing.links_out or listing.unnameable):
        raise DataError(f"{root} is empty; put the images and their table there, then `dvc add {root}`")
    return listing


def _walk(folder: Path, prefix: str, real_root: str, listing: Files) -> None:
    for entry in _entries(folder):
        name = prefix + entry.name
        if not _is_text(name):
            listing.unnameable.append(os.fsencode(name).decode("ascii", "backslashreplace"))
            continue
        if entry.is_symlink():
            target = os.path.realpath(entry.path)
            if not (target + os.sep).startswith(real_root.rstrip(os.sep) + os.sep):
                listing.links_out.append(name)
                continue
            if entry.is_dir():  # its files are met where they lie
                continue
        if entry.is_dir():
            _walk(folder / entry.name, f"{name}/", real_root, listing)
        elif entry.is_file():
            listing.names.append(name)


def _called(name: str) -> str:
    is_table = suffix(name) in TABLE_SUFFIXES and name.lower() not in KNOWN_TABLES
    return f"a {suffix(name)} table" if is_table else name


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            yield from (entry for entry in entries if not entry.name.startswith("."))
    except OSError as err:
        raise DataError(f"{folder} cannot be listed ({type(err).__name__}); check its permissions") from None


def suffix(name: str) -> str:
    """The suffix of a file's name, in lower case, with its dot."""
    return os.path.splitext(name)[1].lower()  # noqa: PTH122  of text, 55,000 times


def stem(name: str) -> str:
    """The name of a file without folder and suffix, and without stray blanks at its ends."""
    return os.path.splitext(name.rpartition("/")[2])[0].strip()  # noqa: PTH122
