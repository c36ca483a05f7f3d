"""The pictures of `mammogan phantom`: labels.csv and images/."""

from mammogan.data.phantom import COLUMNS
from mammogan.data.sources.enriched import MARK
from mammogan.data.sources.files import Files
from mammogan.data.sources.listed import own_names, read_listed
from mammogan.data.sources.reader import Reader
from mammogan.data.sources.records import Collection


def _recognise(files: Files) -> str | None:
    if files.columns(files.at_root("labels.csv")) - {MARK} != set(COLUMNS):
        return None
    return "labels.csv with exactly the columns that `mammogan phantom` writes"


def _read(files: Files) -> Collection:
    table = files.needed_table(files.at_root("labels.csv"), "labels.csv")
    table.need(*COLUMNS)
    return read_listed(files, table, own_names(table))


READER = Reader("labels.csv and images/, as `mammogan phantom` writes them", _recognise, _read)
