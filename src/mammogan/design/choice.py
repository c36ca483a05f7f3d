"""The smallest array for given factors, and which column each of them takes.

A factor takes a place: a column with as many levels, columns merged into one, or a larger column some of whose levels
repeat (dummy levels). In arrays from finite fields the interaction of two places lies in certain other columns, as
Taguchi's linear graphs and triangular tables show; interactions that are asked for keep those to themselves. Among the
assignments left, one is sought that keeps most other interactions clear of main effects.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, groupby
from typing import Any

import numpy as np

from mammogan.design import spaces
from mammogan.design.catalogue import ARRAYS, LINEAR
from mammogan.design.constructions import Levels
from mammogan.design.linear_graph import lines, numbers, span, union
from mammogan.design.table import Array
from mammogan.errors import DesignError

Pair = tuple[str, str]

_LOOKS = 5_000  # at a place, in the search of one array; the first descent is greedy, so a good plan is found early


@dataclass(frozen=True)
class Plan:
    """An array ready for the sampler, one column a factor in their order, and where its columns come from.

    base: name of the array it is taken from. columns: of each factor, in the base, from 1. interactions: the columns
    of the base that hold each interaction asked for; empty where they show in no column, as in L18. clear: pairs of
    factors whose interaction is mixed with no main effect. dummies: factors with levels that occur twice as often.
    """

    array: Array
    base: str
    columns: dict[str, tuple[int, ...]]
    interactions: dict[Pair, tuple[int, ...]]
    clear: tuple[Pair, ...]
    dummies: tuple[str, ...]

    def lines(self) -> list[str]:
        """The plan in words, one sentence a line."""
        base = ARRAYS[self.base]
        taken = "; ".join(f"{name} {_columns(columns)}" for name, columns in self.columns.items())
        said = [f"{base.title}, {base.n_rows} rows: {taken}."]
        for (a, b), columns in self.interactions.items():
            where = f"is in {_columns(columns)}" if columns else "can be estimated beside all main effects"
            said.append(f"The interaction of {a} and {b} {where}.")
        said += [
            f"{name} has fewer levels than its column: its first ones occur twice as often." for name in self.dummies
        ]
        n_pairs = len(self.columns) * (len(self.columns) - 1) // 2
        if n_pairs:
            said.append(f"{len(self.clear)} of {n_pairs} interactions of two factors are clear of main effects.")
        return said


def choose(factors: Mapping[str, Sequence[Any]], interactions: Sequence[Pair] = ()) -> Plan:
    """The smallest array of the catalogue for `factors`, in which `interactions` can be estimated too.

    Raises:
        DesignError: a factor has fewer than two levels or one twice, an interaction names no two factors, or no array
            is large enough.
    """
    _check(factors, interactions)
    sizes = {name: len(values) for name, values in factors.items()}
    asked = sum(n - 1 for n in sizes.values()) + sum((sizes[a] - 1) * (sizes[b] - 1) for a, b in interactions)
    known = [array for array in ARRAYS.values() if array.name != "paper"]
    for n_rows, arrays in groupby(known, key=lambda array: array.n_rows):
        plans = [plan for array in arrays if asked < n_rows for plan in [_fit(array, sizes, interactions)] if plan]
        if plans:
            return min(plans, key=lambda found: found[0])[1]
    wanted = f" and {len(interactions)} interactions" if interactions else ""
    raise DesignError(
        f"no array of the catalogue takes {', '.join(f'{name} ({n} levels)' for name, n in sizes.items())}{wanted}; "
        f"the largest is {known[-1].title}: take fewer factors, levels or interactions, or split the experiment"
    )


@dataclass(frozen=True)
class _Place:
    """Columns (zero-based) of an array that one factor can take, as numbers and as bits, with the levels they give."""

    columns: tuple[int, ...]
    mask: int
    levels: tuple[int, ...]


def _check(factors: Mapping[str, Sequence[Any]], interactions: Sequence[Pair]) -> None:
    if not factors:
        raise DesignError("a design needs at least one factor; name it and its levels")
    for name, values in factors.items():
        if len(values) < 2:
            raise DesignError(f"factor {name!r} has {len(values)} level; give it at least two")
        if any(a == b for a, b in combinations(values, 2)):
            raise DesignError(f"factor {name!r} has a level twice in {list(values)}; make them different")
    for pair in interactions:
        if len(set(pair)) != 2 or not set(pair) <= set(factors):
            raise DesignError(f"{' x '.join(pair)} is no interaction of two factors of {', '.join(factors)}")


def _fit(array: Array, sizes: dict[str, int], interactions: Sequence[Pair]) -> tuple[tuple[int, int, int], Plan] | None:
    """The best plan in one array with its badness, or None: plain columns first, then merged, then dummy levels.

    Half the factors may have dummy levels: with more of them a larger array is the better bargain.
    """
    touched = _touched_by(array)
    for effort, (merge, repeat) in enumerate([(False, False), (True, False), (False, True), (True, True)]):
        places = {name: list(_places(array, n, merge, repeat)) for name, n in sizes.items()}
        if not all(places.values()):
            continue
        found = _Search(places, interactions, touched).run()
        if found:
            plan = _plan(array, sizes, found.taken, interactions, touched)
            if len(plan.dummies) <= max(1, len(sizes) // 2) and _is_estimable(plan):
                return (effort, *found.badness), plan
    return None


def _places(array: Array, n_levels: int, merge: bool, repeat: bool) -> Iterator[_Place]:
    """Where a factor of `n_levels` can go; a dummy level at most doubles a level."""
    matrix = array.as_matrix()
    fits = range(n_levels, 2 * n_levels + 1) if repeat else (n_levels,)
    for column, size in enumerate(array.n_levels):
        if size in fits:
            yield _place((column,), matrix[:, column], n_levels)
    order = LINEAR[array.name][0] if array.name in LINEAR else 0
    if merge and order:
        for together in (2, 3):
            if order**together in fits:
                yield from _merged(array, order, together, n_levels)


def _merged(array: Array, order: int, together: int, n_levels: int) -> Iterator[_Place]:
    """Columns merged into one of order^together levels: those of a line or a plane of the space."""
    matrix, seen = array.as_matrix(), set()
    for basis in combinations(range(array.n_columns), together):
        merged = span(array.name, basis)
        if merged.bit_count() == (order**together - 1) // (order - 1) and merged not in seen:
            seen.add(merged)
            levels = matrix[:, list(basis)] @ (order ** np.arange(together)[::-1])
            yield _place(tuple(number - 1 for number in numbers(merged)), levels, n_levels)


def _place(columns: tuple[int, ...], levels: Levels, n_levels: int) -> _Place:
    repeated = np.where(levels < n_levels, levels, levels - n_levels)
    return _Place(columns, union(1 << column for column in columns), tuple(repeated.tolist()))


class _Search:
    """Depth first over the places of each factor, best place first, for a while.

    Badness: interactions mixed with main effects, then columns shared by interactions.
    """

    def __init__(
        self, places: dict[str, list[_Place]], interactions: Sequence[Pair], touched: Callable[[_Place, _Place], int]
    ) -> None:
        asked = [name for pair in interactions for name in pair]
        self.places, self.touched = places, touched
        self.order = sorted(places, key=lambda name: (len(places[name]), -asked.count(name)))
        self.asked = {frozenset(pair) for pair in interactions}
        self.looks, self.taken, self.badness = _LOOKS, dict[str, _Place](), (0, 0)
        self.found = False

    def run(self) -> "_Search | None":
        self._descend({}, 0, 0, [], 0, (0, 0))
        return self if self.found else None

    def _descend(
        self, taken: dict[str, _Place], used: int, kept: int, pairs: list[int], seen: int, badness: tuple[int, int]
    ) -> None:
        if self.found and badness >= self.badness:
            return
        if len(taken) == len(self.order):
            self.taken, self.badness, self.found = dict(taken), badness, True
            return
        name = self.order[len(taken)]
        self.looks -= len(self.places[name])
        options = []
        for number, place in enumerate(self.places[name]):
            if place.mask & (used | kept):
                continue
            with_others = [(self.touched(place, other), frozenset((name, known))) for known, other in taken.items()]
            now_used = used | place.mask
            own = [mask for mask, pair in with_others if pair in self.asked]
            if any(mask & (now_used | kept) for mask in own):
                continue
            spoiled = sum(1 for mask in pairs if mask & place.mask and not mask & used)
            spoiled += sum(1 for mask, _ in with_others if mask & now_used)
            shared = sum((mask & seen).bit_count() for mask, _ in with_others)
            options.append(((badness[0] + spoiled, badness[1] + shared), number, place, own, with_others))
        for bad, _, place, own, with_others in sorted(options, key=lambda option: option[:2]):
            if self.looks <= 0 or (self.found and self.badness == (0, 0)):
                return
            masks = [mask for mask, _ in with_others]
            self._descend(
                {**taken, name: place},
                used | place.mask,
                kept | union(own),
                pairs + masks,
                seen | union(masks),
                bad,
            )


def _plan(
    array: Array,
    sizes: dict[str, int],
    taken: dict[str, _Place],
    interactions: Sequence[Pair],
    touched: Callable[[_Place, _Place], int],
) -> Plan:
    places = {name: taken[name] for name in sizes}
    used = union([place.mask for place in places.values()])
    columns = {name: tuple(column + 1 for column in place.columns) for name, place in places.items()}
    rows = tuple(zip(*(place.levels for place in places.values()), strict=True))
    where = ", ".join("+".join(map(str, numbers)) for numbers in columns.values())
    return Plan(
        Array(f"{array.name}[{where}]", rows, f"{array.source}; columns {where} of {array.title}"),
        array.name,
        columns,
        {(a, b): numbers(touched(places[a], places[b])) if array.name in LINEAR else () for a, b in interactions},
        tuple((a, b) for a, b in combinations(places, 2) if not touched(places[a], places[b]) & used),
        tuple(name for name, place in places.items() if len(set(np.bincount(place.levels).tolist())) > 1),
    )


def _is_estimable(plan: Plan) -> bool:
    """Whether the interactions asked for are orthogonal to the main effects and to one another."""
    matrix, names = plan.array.as_matrix(), list(plan.columns)
    column = {name: matrix[:, number] for number, name in enumerate(names)}
    mains = [spaces.main_effect(column[name]) for name in names]
    asked = [spaces.interaction(column[a], column[b]) for a, b in plan.interactions]
    return all(spaces.overlap(a, b) < 1e-9 for number, a in enumerate(asked) for b in [*mains, *asked[:number]])


def _touched_by(array: Array) -> Callable[[_Place, _Place], int]:
    """A function of two places: the columns, as bits, that their interaction is mixed with."""
    columns = array.as_matrix().T
    mains = [spaces.main_effect(column) for column in columns]
    known: dict[tuple[int, int], int] = {}

    def of_columns(a: int, b: int) -> int:
        if array.name in LINEAR:
            return lines(array.name)[a, b]
        both = spaces.interaction(columns[a], columns[b])
        return union(1 << number for number, main in enumerate(mains) if spaces.overlap(main, both) > 1e-9)

    def touched(one: _Place, other: _Place) -> int:
        key = (min(one.mask, other.mask), max(one.mask, other.mask))
        if key not in known:
            both = union(of_columns(a, b) for a in one.columns for b in other.columns)
            known[key] = both & ~(one.mask | other.mask)
        return known[key]

    return touched


def _columns(columns: Sequence[int]) -> str:
    return f"column{'s' if len(columns) > 1 else ''} {', '.join(map(str, columns))}"
