"""Raw mammograms and their labels: every layout that `prepare` reads, found without opening a pixel."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

from mammogan.config import SOURCE_NAMES, ColumnName, SourceName
from mammogan.data.sources import (
    cbis_ddsm,
    cdd_cesm,
    cmmd,
    folder,
    inbreast,
    mias,
    mini_ddsm,
    phantom,
    rsna,
    rsna_roi,
    vindr,
)
from mammogan.data.sources.enriched import added_files
from mammogan.data.sources.files import LINK, Files, list_files
from mammogan.data.sources.reader import Reader
from mammogan.data.sources.records import Catalogue, Mammogram, Rejected
from mammogan.errors import DataError

__all__ = ["READERS", "Catalogue", "Mammogram", "Rejected", "catalogue", "recognise"]

READERS: dict[SourceName, Reader] = {
    "rsna": rsna.READER,
    "rsna-roi": rsna_roi.READER,
    "cbis-ddsm": cbis_ddsm.READER,
    "cmmd": cmmd.READER,
    "cdd-cesm": cdd_cesm.READER,
    "vindr": vindr.READER,
    "inbreast": inbreast.READER,
    "mias": mias.READER,
    "mini-ddsm": mini_ddsm.READER,
    "phantom": phantom.READER,
    "folder": folder.READER,
}


def catalogue(
    root: Path, source: Literal["auto"] | SourceName = "auto", columns: Mapping[ColumnName, str] | None = None
) -> Catalogue:
    """Every image under `root` with its labels, and all that does not fit, in an order that depends on names alone.

    Args:
        root: the data folder.
        source: the layout; `auto` recognises it from files and columns.
        columns: our name of a column -> the table's, for the source `folder`.

    Raises:
        DataError: `root` is missing or empty, its layout is not recognised or not that of `source`, a table is no
            use, or nothing at all was found.
    """
    whole = list_files(root)
    files, name, why = recognise(whole, source, columns)
    found = folder.read(files, columns) if name == "folder" else READERS[name].read(files)
    found.without(_below(files.root.relative_to(root).as_posix(), added_files(root)))
    found.lift(files.root.relative_to(root).as_posix())
    found.reject_unmet(whole.links_out, LINK)
    found.reject_unmet(whole.unnameable, "file name is no text: rename it")
    found.tell_ids_apart()
    if not (found.mammograms or found.rejected):
        raise DataError(
            f"{root} holds no image of the source {name}, which expects {READERS[name].expects}; "
            f"found: {files.summary()}"
        )
    aside = f"{found.synthetic} synthetic images of `mammogan enrich` left aside" if found.synthetic else ""
    return Catalogue(name, "; ".join(filter(None, (why, found.note, aside))), found.mammograms, found.rejected)


def _below(folder_: str, files: Iterable[str]) -> list[str]:
    """`files` of the whole as seen from a folder of it, "." for the whole."""
    prefix = "" if folder_ == "." else f"{folder_}/"
    return [file.removeprefix(prefix) for file in files if file.startswith(prefix)]


def recognise(
    whole: Files, source: Literal["auto"] | SourceName = "auto", columns: Mapping[ColumnName, str] | None = None
) -> tuple[Files, SourceName, str]:
    """The files of the folder in which a layout lies, the layout, and why it was taken; see `catalogue`.

    Raises:
        DataError: the layout is not recognised or not that of `source`.
    """
    if columns and source not in ("auto", "folder"):
        raise DataError(f"prepare.columns belongs to the source folder, not to {source}; set one or the other")
    files = _level(whole, source, columns)
    name, why = _choose(files, source, columns)
    return files, name, why if files is whole else f"{why} (in the only folder of the data folder)"


def _level(files: Files, source: str, columns: Mapping[ColumnName, str] | None) -> Files:
    """The files, or those of the folder that people put around a set: where a layout fits, else where a table is."""
    levels = [files]
    while (deeper := levels[-1].one_down()) is not None:
        levels.append(deeper)
    readers = [READERS[name] for name in SOURCE_NAMES if name == source or (source == "auto" and name != "folder")]
    fits = (level for level in levels if not columns and any(reader.recognise(level) for reader in readers))
    tables = (level for level in levels if level.has_table())
    return next(fits, None) or next(tables, files)


def _choose(files: Files, source: str, columns: Mapping[ColumnName, str] | None) -> tuple[SourceName, str]:
    """The layout to read, and why; `folder` is recognised only where none of the others is."""
    if source != "auto":
        name = next((name for name in SOURCE_NAMES if name == source), None)
        if name is None:
            raise DataError(f"prepare.source is '{source}'; give auto or one of {', '.join(SOURCE_NAMES)}")
        return name, "prepare.source says so"
    if columns:
        return "folder", "prepare.columns maps the columns of a table"
    whys = {name: READERS[name].recognise(files) for name in SOURCE_NAMES if name != "folder"}
    fits = {name: why for name, why in whys.items() if why}
    why = None if fits else folder.READER.recognise(files)
    if why:
        return "folder", why
    if len(fits) == 1:
        return next(iter(fits.items()))
    choose = f"set prepare.source to one of {', '.join(SOURCE_NAMES)}"
    if fits:
        several = "; ".join(f"{name} ({why})" for name, why in fits.items())
        raise DataError(f"{files.root} fits several sources: {several}; {choose}")
    raise DataError(
        f"{files.root} is of no known layout, found: {files.summary()}{folder.what_is_missing(files)}; {choose} "
        "(folder: any images, with or without a table)"
    )
