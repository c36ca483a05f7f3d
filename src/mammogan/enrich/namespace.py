"""Ids that no real patient has: what stands for a synthetic one, in the words of the set that it joins."""

import re
from collections.abc import Iterable

FIRST = 1_900_000_001  # within 32 bits, and above the patient numbers of the public sets
LAST = 1_999_999_999
_NUMBERED = re.compile(r"(?:SYN|P_)?(19\d{8})")


def reserved(number: int, beside: Iterable[str]) -> str:
    """The id of synthetic image `number` (from FIRST to LAST) in a column with the ids `beside`.

    Digits where all others are digits, so that the column stays one of numbers; else SYN and the digits.
    """
    ids = [one for one in beside if one]
    return str(number) if ids and all(one.isdecimal() for one in ids) else f"SYN{number}"


def first_free(ids: Iterable[str]) -> int:
    """The number after the greatest of the namespace among `ids` and file names."""
    taken = [int(match[1]) for one in ids for match in _NUMBERED.finditer(one)]
    return max(taken, default=FIRST - 1) + 1
