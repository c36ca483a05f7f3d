"""How many synthetic images of each class a set gets, so that it has the balance that was asked for."""

import re
from collections.abc import Mapping, Sequence

from mammogan.errors import DataError

Counts = dict[str | None, int]
_COUNTS = re.compile(r"[^=,\s]+=\d+(?:,[^=,\s]+=\d+)*")


def wanted(balance: str, n: int | None, label: str | None, values: Sequence[str], there: Mapping[str, int]) -> Counts:
    """Images of each class; the key None stands for images whose class is drawn, or that have none.

    Args:
        balance: `trained`: n images of classes as frequent as in training; `even`: n images, as many of each class;
            `level`: n images, or as many as it takes, to the classes that the set has fewest of, until all are
            equal; or counts such as `1=60,0=40`.
        n: how many in all; None where `balance` tells.
        label: that the generators tell: cancer, density or view; None: they tell none.
        values: its values that can be drawn.
        there: how many images of each value the set has already.

    Raises:
        DataError: the generators tell no class and one was asked for, the counts contradict n or name another class,
            or nothing says how many.
    """
    if balance == "trained":
        return {None: _number(n)}
    if label is None:
        raise DataError(
            f"--balance {balance} needs to know the class of each image; give a generator that is conditional on it "
            "(train.condition), or one for each class (--from cancer=1:... --from cancer=0:...)"
        )
    if balance == "even":
        total, k = _number(n), len(values)
        return {value: int(total // k + (place < total % k)) for place, value in enumerate(values)}
    if balance == "level":
        return _level({value: there.get(value, 0) for value in values}, n)
    if not _COUNTS.fullmatch(balance):
        raise DataError(f"--balance is '{balance}'; give trained, even, level, or counts such as {values[0]}=60")
    pairs = [part.split("=") for part in balance.split(",")]
    counts = {value: int(count) for value, count in pairs}
    if len(counts) < len(pairs):
        raise DataError(f"--balance {balance} names a class twice")
    if unknown := [value for value in counts if value not in values]:
        raise DataError(f"--balance names {label} {', '.join(unknown)}; the generators draw {', '.join(values)}")
    if n is not None and sum(counts.values()) != n:
        raise DataError(f"--balance {balance} makes {sum(counts.values())} images, but -n is {n}; leave -n out")
    return {value: count for value, count in counts.items() if count}


def _level(there: Mapping[str, int], n: int | None) -> Counts:
    """`n` images one by one to the class with the fewest, the first of equals; without n until all are equal."""
    full = max(there.values())
    left = sum(full - count for count in there.values()) if n is None else n
    now = dict(there)
    for _ in range(left):
        now[min(now, key=lambda value: now[value])] += 1
    return {value: now[value] - there[value] for value in now if now[value] > there[value]}


def _number(n: int | None) -> int:
    if n is None:
        raise DataError("say how many images by -n, for example -n 100")
    return n
