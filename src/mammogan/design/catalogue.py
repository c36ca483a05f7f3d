"""The catalogue of orthogonal arrays, each with its source, and the names by which they are found.

`tests/design/test_arrays.py` proves each one balanced and orthogonal; a name such as `L18(2^1 x 3^7)` is read off the
columns themselves.
"""

from importlib import resources

import numpy as np

from mammogan.design.constructions import Levels, all_pairs, beside, developed, kronecker_sum, rao_hamming
from mammogan.design.csv_file import read_table
from mammogan.design.table import Array
from mammogan.errors import DesignError

_TAGUCHI = "G. Taguchi and S. Konishi, Orthogonal Arrays and Linear Graphs, American Supplier Institute, 1987"
_RAO = f"{_TAGUCHI}; constructed from the finite field of {{}} elements, C. R. Rao 1947"
_HEDAYAT = "A. S. Hedayat, N. J. A. Sloane and J. Stufken, Orthogonal Arrays, Springer 1999, chapters 6 and 9"

# Arrays made of the directions of a space over a finite field, as (elements of the field, dimension): only in these
# does the interaction of two columns fill whole other columns.
LINEAR = {
    "l4": (2, 2),
    "l8": (2, 3),
    "l9": (3, 2),
    "l16": (2, 4),
    "l16-4": (4, 2),
    "l25": (5, 2),
    "l27": (3, 3),
    "l32": (2, 5),
    "l64": (2, 6),
    "l64-4": (4, 3),
    "l81": (3, 4),
}

# Plackett and Burman, Biometrika 33 (1946), 305-325, in Taguchi's order of rows and columns.
_L12 = """
    11111111111 11111222222 11222111222 12122122112 12212212121 12221221211
    21221122121 21212221112 21122212211 22211112212 22121211122 22112121221
"""

# Difference schemes over Z_3: every third row of the three-level columns of Taguchi's L18 and L36.
_D6 = "111111 112233 121323 133221 123132 132312"
_D12 = """
    111111111111 111122223333 112312331223 113213232132 123132133212 123211323321
    121333122123 122331211332 132123313122 132221132313 133323221211 131232312231
"""


def _digits(text: str) -> Levels:
    return np.array([[int(digit) - 1 for digit in row] for row in text.split()])


def _d10() -> Levels:
    """D(10, 10, 5), from quadratic forms: D. Jungnickel, Mathematische Zeitschrift 167 (1979), 49-60."""
    i, j = np.indices((5, 5))
    return np.block([[i * j, i * j + i * i], [i * j + j * j, 3 * (i * j + i * i + j * j)]]) % 5


def _array(name: str, levels: Levels, source: str) -> Array:
    return Array(name, tuple(tuple(row) for row in levels.tolist()), source)


def _catalogue() -> dict[str, Array]:
    linear = [
        _array(name, rao_hamming(q, dimension), _RAO.format(q) if q != 3 or dimension > 2 else _TAGUCHI)
        for name, (q, dimension) in LINEAR.items()
    ]
    six, twelve = np.arange(6)[:, None], np.arange(12)[:, None]
    l4, l12, l18 = rao_hamming(2, 2), _digits(_L12), developed(_digits(_D6), 3)
    l36 = developed(_digits(_D12), 3)
    l18_7 = beside(all_pairs(2, 3), 3, l18)
    d18 = kronecker_sum(_digits(_D6), np.outer(np.arange(3), np.arange(3)), 3)
    halves = np.hstack([l4[twelve[:, 0] // 3], twelve % 3])
    mixed = [
        _array("l12", l12, f"{_TAGUCHI}; R. L. Plackett and J. P. Burman 1946"),
        _array("l18", l18_7, _TAGUCHI),
        _array("l18-6", beside(six, 3, l18), f"{_TAGUCHI}: columns 1 and 2 of L18 as one"),
        _array("l36", beside(l12, 3, l36), f"{_TAGUCHI}; L12 beside its difference scheme"),
        _array("l36-3", beside(halves, 3, l36), f"{_TAGUCHI}; L4 times 3 beside its difference scheme"),
        _array("l50", beside(all_pairs(2, 5), 5, developed(_d10(), 5)), f"constructed after {_HEDAYAT}"),
        _array("l54", beside(l18_7, 3, developed(d18, 3)), f"constructed after {_HEDAYAT}"),
    ]
    with resources.as_file(resources.files("mammogan.design") / "tables" / "reyes_hernandez_2025.csv") as path:
        paper = read_table(path, ["lr", "batch_size", "epochs"])
    published = Array("paper", paper.array.levels, paper.array.source)
    in_order = sorted([*linear, *mixed], key=lambda array: (array.n_rows, max(array.n_levels)))
    return {array.name: array for array in (*in_order, published)}


ARRAYS: dict[str, Array] = _catalogue()


def find_array(name: str) -> Array:
    """The array called `name`.

    Raises:
        DesignError: there is none; the message lists those there are.
    """
    if name not in ARRAYS:
        raise DesignError(f"no array is called {name!r}; choose one of: {', '.join(ARRAYS)}")
    return ARRAYS[name]
