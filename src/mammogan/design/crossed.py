"""The runs of a design: each row of the array (inner) under each replicate (outer, noise), in a random order.

Source of the crossed array and of blocks: M. S. Phadke, Quality Engineering Using Robust Design, Prentice Hall 1989,
chapters 3 and 8; D. C. Montgomery, Design and Analysis of Experiments, chapter 4 (replicates as blocks).
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from mammogan.design.arrays import Array
from mammogan.errors import DesignError

Order = Literal["random", "array"]
Place = tuple[int, int]  # row and replicate, from 1


@dataclass(frozen=True)
class Cell:
    """One run of the crossed array: a row of the array under one replicate; numbers count from 1.

    levels: of the factors. noise: values of the noise factors in this replicate.
    """

    row: int
    replicate: int
    levels: dict[str, Any]
    noise: dict[str, Any]

    @property
    def place(self) -> Place:
        """Row and replicate."""
        return self.row, self.replicate

    @property
    def settings(self) -> dict[str, Any]:
        """Levels and noise together."""
        return {**self.levels, **self.noise}


def crossed(
    array: Array,
    factors: Mapping[str, Sequence[Any]],
    replicates: int = 1,
    noise: Mapping[str, Sequence[Any]] | None = None,
    seed: int = 0,
    order: Order = "random",
) -> list[Cell]:
    """The runs in their order: replicate by replicate, the rows of each shuffled by `seed`, or as in the array.

    A replicate is a block: a study that stops early has run whole tables, and a drift of the machine over time does
    not fall on single levels. More replicates leave the order of the earlier ones as it was. `noise` holds one value
    a replicate for each noise factor: the columns of the outer array.

    Raises:
        DesignError: the factors do not fit the array; no replicate; noise that does not fit; an unknown order.
    """
    noise = dict(noise or {})
    if replicates < 1:
        raise DesignError(f"a design needs at least one replicate, got {replicates}")
    if order not in get_args(Order):
        raise DesignError(f"no run order is called {order!r}; choose one of: {', '.join(get_args(Order))}")
    for name, values in noise.items():
        if name in factors:
            raise DesignError(f"{name!r} is both a factor and a noise factor; leave out one of them")
        if len(values) != replicates:
            raise DesignError(
                f"noise factor {name!r} has {len(values)} values {list(values)} for {replicates} replicates; "
                f"give it one value a replicate"
            )
    rows = list(array.assign(factors))
    chance = random.Random(seed)
    cells = []
    for replicate in range(1, replicates + 1):
        block = sorted(rows, key=lambda _: chance.random()) if order == "random" else rows
        here = {name: values[replicate - 1] for name, values in noise.items()}
        cells += [Cell(row.number, replicate, dict(row.levels), here) for row in block]
    return cells
