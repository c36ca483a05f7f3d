"""Files and folders that appear whole or not at all."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it takes the place of `path`, else it is removed.

    The content is on the disk before the name changes, so that a loss of power leaves the old file or the new one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield an empty temporary folder beside `path`; on success it replaces `path`, else it is removed.

    An earlier folder at `path` stays untouched until the new one is complete. What killed processes have left
    beside `path` is cleared away first.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _clear_up(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    retired = path.with_name(f".{path.name}.{os.getpid()}.retired")
    partial.mkdir()
    try:
        yield partial
        if path.exists():
            path.replace(retired)
        partial.replace(path)
    finally:
        if retired.exists() and not path.exists():
            retired.replace(path)
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(retired, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8 with Unix line ends, whole or not at all."""
    with new_file(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")


def _clear_up(path: Path) -> None:
    """Bring back a folder whose replacement was killed between two renames; remove other leftovers."""
    for leftover in path.parent.glob(f".{path.name}.*.*"):
        process, _, kind = leftover.name.removeprefix(f".{path.name}.").partition(".")
        if kind not in ("partial", "retired") or not process.isdigit():
            continue
        if int(process) != os.getpid() and psutil.pid_exists(int(process)):
            continue
        if kind == "retired" and not path.exists():
            leftover.replace(path)
        else:
            shutil.rmtree(leftover, ignore_errors=True)
