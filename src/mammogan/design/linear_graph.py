"""Which columns of an array hold the interaction of which: Taguchi's triangular tables, from the field they come from.

Columns are numbered from 1 in what is public; sets of columns travel as the bits of a whole number, bit 0 for column 1.
"""

from collections.abc import Iterable, Sequence
from functools import cache
from itertools import combinations

from mammogan.design.catalogue import LINEAR
from mammogan.design.constructions import Field
from mammogan.errors import DesignError


def interaction_columns(name: str, a: int, b: int) -> tuple[int, ...]:
    """The columns, from 1, that hold the interaction of columns `a` and `b` of the array `name`.

    Raises:
        DesignError: the array is made from no finite field, so that interactions spread over many columns; or the
            two are not different columns of it.
    """
    if name not in LINEAR:
        raise DesignError(
            f"interactions of array {name!r} lie in no columns of their own; they do in {', '.join(LINEAR)}"
        )
    found = lines(name).get((a - 1, b - 1))
    if found is None:
        raise DesignError(f"columns {a} and {b} are not two of the columns of array {name!r}")
    return numbers(found)


@cache
def lines(name: str) -> dict[tuple[int, int], int]:
    """For each two columns of an array from a finite field, both zero-based: the columns of their interaction, as bits.

    In the language of geometry: the other points of the line through two points.
    """
    order, dimension = LINEAR[name]
    field = Field(order)
    points = field.points(dimension)
    number = {point: index for index, point in enumerate(points)}
    found = {}
    for a, b in combinations(range(len(points)), 2):
        found[a, b] = found[b, a] = union(1 << number[point] for point in field.joined(points[a], points[b]))
    return found


def span(name: str, columns: Sequence[int]) -> int:
    """The columns, zero-based, with all those that their interactions lie in, to the end; as bits."""
    together = 0
    for column in columns:
        held = [point - 1 for point in numbers(together)]
        if column not in held:
            together = union([together, 1 << column, *(lines(name)[point, column] for point in held)])
    return together


def numbers(bits: int) -> tuple[int, ...]:
    """The columns, from 1, that are the bits of a whole number."""
    return tuple(place + 1 for place in range(bits.bit_length()) if bits >> place & 1)


def union(masks: Iterable[int]) -> int:
    """All bits of all of them."""
    together = 0
    for mask in masks:
        together |= mask
    return together
