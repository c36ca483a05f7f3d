"""What `mammogan enrich` has added to a set: no source reads it as real, so that no generator learns from it."""

import json
from pathlib import Path

from mammogan.errors import DataError

MARK = "synthetic"  # column of a table: 1 for what mammogan made, 0 for all else
RECORD = ".mammogan/enriched.json"  # below the data folder: every batch that was added


def is_marked(cell: str) -> bool:
    """Whether a cell of the column MARK means a synthetic image."""
    return cell.strip().lower() in {"1", "1.0", "true", "yes"}


def added_files(root: Path) -> frozenset[str]:
    """The files that the record below `root` lists, as POSIX paths relative to it.

    Raises:
        DataError: the record is damaged.
    """
    record = root / RECORD
    if not record.is_file():
        return frozenset()
    try:
        batches = json.loads(record.read_text(encoding="utf-8"))["batches"]
        return frozenset(str(image["file"]) for batch in batches for image in batch["images"])
    except (OSError, ValueError, KeyError, TypeError) as err:
        raise DataError(
            f"{record} is damaged ({type(err).__name__}), so synthetic images cannot be told from real ones; restore it"
        ) from None
