"""Copies among tiles: for each query the reference that is most nearly the same picture.

Normalised cross-correlation of small band-passed images, the greatest over flips, shifts and zooms. It finds exact,
noisy, shifted, mirrored, re-exposed, recompressed, blurred, bent and cropped copies; docs/data.md has the shares.
"""

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mammogan.data.ncc import SIDE, Alignment, Floats, align, coarse, correlate, describe, looks
from mammogan.errors import DataError

Array = NDArray[Any]
Indices = NDArray[np.int64]

COPY_NCC = 0.68  # at least this is a copy; calibrated in docs/data.md, "Near-duplicates across the split"

_CANDIDATES = 256
_QUERY_BLOCK = 16
_REFERENCE_BLOCK = 512
_PAIR_BLOCK = 128


@dataclass(frozen=True)
class Pair:
    """A holdout tile and the training tile that it repeats, by their positions, and their correlation."""

    holdout: int
    train: int
    ncc: float


def near_duplicates(
    train: Array, holdout: Array, threshold: float = COPY_NCC, progress: Callable[[int], None] | None = None
) -> list[Pair]:
    """The holdout tiles whose closest training tile correlates by at least `threshold`, each with that tile.

    `train` uint8 or uint16 (N, S, S), `holdout` (M, S, S), chest wall at the left edge; see `closest`.
    """
    index, ncc = closest(holdout, train, progress=progress)
    return [Pair(int(k), int(index[k]), float(ncc[k])) for k in np.flatnonzero(ncc >= threshold)]


def closest(
    queries: Array,
    references: Array,
    candidates: int | None = _CANDIDATES,
    progress: Callable[[int], None] | None = None,
) -> tuple[Indices, Floats]:
    """For each query the position of the closest reference, int64 (N,), and their correlation, float32 (N,).

    `queries` (N, S, S) and `references` (M, T, T) are uint8 or uint16, memory maps too: they are read in blocks. The
    correlation lies in [0, 1], is rounded to four decimals, and does not change with brightness, contrast or depth; 1
    is the same picture. Of equals the first reference counts. A tile without any structure correlates by 0.

    Every query is correlated with the `candidates` references that look most like it at low resolution, or with all
    references where `candidates` is None or not less than their number. Copies are not lost so; of pictures that are
    no copies another than the closest may be named, with a slightly lower correlation. Memory holds about 6 kB a
    reference.

    `progress` is called with the number of queries done.

    Raises:
        DataError: the arrays are not as said above, there is no reference, or `candidates` is not positive.
    """
    return References(references, candidates).closest(queries, progress=progress)


class References:
    """Tiles (N, S, S) made ready to be compared with, once for many calls of `closest`; about 6 kB each in memory.

    Raises:
        DataError: as `mammogan.data.copies.closest`.
    """

    def __init__(self, tiles: Array, candidates: int | None = _CANDIDATES) -> None:
        _check("references", tiles)
        if len(tiles) == 0:
            raise DataError("copies: there is no reference to compare with")
        if candidates is not None and candidates < 1:
            raise DataError(f"copies: {candidates} candidates; give at least 1, or None for all")
        self._candidates = len(tiles) if candidates is None else min(candidates, len(tiles))
        self._described = np.empty((len(tiles), SIDE, SIDE), np.float16)
        for block in _blocks(len(tiles), _REFERENCE_BLOCK):
            self._described[block] = describe(tiles[block])
        self._coarse = (
            np.concatenate([coarse(self._described[b]) for b in _blocks(len(tiles), 4096)])
            if self._candidates < len(tiles)
            else None
        )

    def __len__(self) -> int:
        return len(self._described)

    @property
    def blank(self) -> NDArray[np.bool_]:
        """The references without any structure, bool (N,): nothing can be told of them."""
        return np.asarray(~self._described.any(axis=(1, 2)))

    def closest(
        self,
        queries: Array,
        apart: tuple[Sequence[Hashable], Sequence[Hashable]] | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> tuple[Indices, Floats]:
        """As `mammogan.data.copies.closest`.

        `apart` has a key, such as the patient, for each query and for each reference: those with the same key are
        not compared. A query that is left without any reference correlates by 0.
        """
        _check("queries", queries)
        ours, theirs = _numbered(apart)
        index, ncc = np.zeros(len(queries), np.int64), np.zeros(len(queries), np.float32)
        for block in _blocks(len(queries), _QUERY_BLOCK):
            for k, image in enumerate(describe(queries[block]), start=block.start):
                chosen = self._chosen(image, None if theirs is None else theirs != ours[k])
                if len(chosen) == 0:
                    continue
                scores = np.concatenate(
                    [correlate(image, self._described[chosen[b]]) for b in _blocks(len(chosen), _PAIR_BLOCK)]
                )
                best = int(scores.argmax())
                index[k], ncc[k] = chosen[best], scores[best]
            if progress is not None:
                progress(block.stop)
        return index, ncc

    def alignment(self, query: Array, index: int) -> Alignment:
        """How the reference at `index` lies over `query` (S, S) where they correlate most."""
        return align(describe(query[None])[0], self._described[index].astype(np.float32))

    def _chosen(self, image: Floats, allowed: NDArray[np.bool_] | None) -> Indices:
        """Positions, ascending, of the references that look most like `image` (48, 48) at low resolution."""
        if self._coarse is None:
            return np.arange(len(self)) if allowed is None else np.flatnonzero(allowed)
        seen = looks(image)
        scores = np.concatenate([(seen @ self._coarse[b].T).max(axis=0) for b in _blocks(len(self), 16384)])
        if allowed is not None:
            scores[~allowed] = -np.inf
        chosen = np.sort(np.argpartition(-scores, self._candidates - 1)[: self._candidates])
        return chosen if allowed is None else chosen[allowed[chosen]]


def _numbered(apart: tuple[Sequence[Hashable], Sequence[Hashable]] | None) -> tuple[Array, Array | None]:
    """The keys of queries and references as numbers, the same for the same key."""
    if apart is None:
        return np.empty(0), None
    ours, theirs = apart
    codes = pd.factorize(pd.Series([*ours, *theirs], dtype=object), use_na_sentinel=False)[0]
    return codes[: len(ours)], codes[len(ours) :]


def _check(name: str, tiles: Array) -> None:
    if tiles.ndim != 3 or tiles.shape[1] != tiles.shape[2] or tiles.shape[1] == 0:
        raise DataError(f"copies: {name} have the shape {tiles.shape}, expected square tiles (N, S, S)")
    if tiles.dtype not in (np.uint8, np.uint16):
        raise DataError(f"copies: {name} are {tiles.dtype}, expected uint8 or uint16")


def _blocks(total: int, size: int) -> Iterator[slice]:
    for start in range(0, total, size):
        yield slice(start, min(start + size, total))
