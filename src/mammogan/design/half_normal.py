"""Unreplicated tables: the contrasts in order of size, and which of them stand out from the small ones.

C. Daniel, Technometrics 1 (1959), 311-341 (half-normal plot); R. V. Lenth, Technometrics 31 (1989), 469-473.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats


@dataclass(frozen=True)
class Lenth:
    """Lenth's pseudo standard error of a contrast, its degrees of freedom (contrasts / 3) and margins of error.

    margin: beyond it a single contrast is active at 5 %. simultaneous: beyond it one of all of them is.
    """

    pse: float
    df: float
    margin: float
    simultaneous: float


def lenth(contrasts: NDArray[np.float64], confidence: float = 0.95) -> Lenth:
    """Lenth's method on independent contrasts of one scale, (contrasts,).

    The margins take the t distribution as in the paper; with few contrasts they are a rule, not a test.
    """
    sizes = np.abs(contrasts)
    first = 1.5 * float(np.median(sizes))
    small = sizes[sizes < 2.5 * first]
    pse = 1.5 * float(np.median(small)) if len(small) else 0.0
    df = len(sizes) / 3
    one_of_all = (1 + confidence ** (1 / len(sizes))) / 2
    return Lenth(pse, df, float(stats.t.ppf((1 + confidence) / 2, df) * pse), float(stats.t.ppf(one_of_all, df) * pse))


def contrasts(values: NDArray[np.float64], columns: Mapping[str, NDArray[np.int64]]) -> pd.DataFrame:
    """All rows - 1 independent contrasts of `values` (rows,): those of each factor, then of their interactions.

    A factor of k levels has k - 1: linear, quadratic and so on in the number of its level. Interactions are products
    of these, as far as they add to what comes before; a last one that no product gives is `left over`. The columns
    must be orthogonal to each other.

    Returns:
        See `half_normal`; a contrast is scaled so that for two levels it is the difference of their means.
    """
    own = {factor: _polynomials(factor, column) for factor, column in columns.items()}
    basis = {"": np.full(len(values), len(values) ** -0.5)}
    for found in own.values():
        basis |= found
    for a, b in combinations(own, 2):
        for (name_a, one), (name_b, other) in product(own[a].items(), own[b].items()):
            _add(basis, f"{name_a} x {name_b}", one * other)
    everything = np.linalg.svd(np.column_stack(list(basis.values())), full_matrices=True)[0]
    for number, direction in enumerate(everything[:, len(basis) :].T, start=1):
        basis[f"left over {number}"] = direction
    names = [name for name in basis if name]
    sizes = np.column_stack([basis[name] for name in names]).T @ values * 2 / np.sqrt(len(values))
    return half_normal(names, sizes)


def half_normal(names: Sequence[str], found: NDArray[np.float64]) -> pd.DataFrame:
    """Contrasts of one scale, (contrasts,), as a half-normal plot shows them.

    Returns:
        One line a contrast in ascending size: name, contrast, quantile (of the half-normal distribution), stands_out
        (beyond Lenth's simultaneous margin).
    """
    order = np.argsort(np.abs(found), kind="stable")
    ranks = np.arange(1, len(found) + 1)
    margin = lenth(found).simultaneous
    return pd.DataFrame(
        {
            "name": [names[number] for number in order],
            "contrast": found[order],
            "quantile": stats.halfnorm.ppf((ranks - 0.5) / len(found)),
            "stands_out": np.abs(found[order]) > margin if margin else False,
        }
    )


def _polynomials(factor: str, column: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
    """Orthonormal polynomial contrasts of one column, each with the sign of its leading term."""
    powers = np.vander(column.astype(float), len(set(column.tolist())), increasing=True)
    own = np.linalg.qr(powers)[0][:, 1:]
    own = own * np.sign((own * powers[:, 1:]).sum(axis=0))
    kinds = ["linear", "quadratic", "cubic", *(f"degree {degree}" for degree in range(4, own.shape[1] + 1))]
    names = [factor] if own.shape[1] == 1 else [f"{factor} {kind}" for kind in kinds]
    return dict(zip(names, own.T, strict=False))


def _add(basis: dict[str, NDArray[np.float64]], name: str, direction: NDArray[np.float64]) -> None:
    """Take in a direction as far as it is new, unless the basis is complete."""
    if len(basis) == len(direction):
        return
    known = np.column_stack(list(basis.values()))
    new = direction / np.linalg.norm(direction)
    for _ in range(2):  # once more against rounding
        new = new - known @ (known.T @ new)
    size = float(np.linalg.norm(new))
    if size > 1e-6:
        basis[name] = new / size
