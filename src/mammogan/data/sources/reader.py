"""The one interface of all sources, and the columns that a table may call by our names."""

from collections.abc import Callable
from dataclasses import dataclass

from mammogan.data.sources.files import Files
from mammogan.data.sources.records import Collection


@dataclass(frozen=True)
class Reader:
    """How to read one layout.

    Attributes:
        expects: the files that the layout consists of, in a few words.
        recognise: why the files are of this layout, as one clause, or None.
        read: all images with their labels; raises DataError where a needed file is missing or no use.
    """

    expects: str
    recognise: Callable[[Files], str | None]
    read: Callable[[Files], Collection]
