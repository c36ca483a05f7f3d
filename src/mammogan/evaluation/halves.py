"""Halves of the real images that share no patient: what real images score against each other, the floor."""

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mammogan.errors import EvaluationError

Halves = tuple[NDArray[np.intp], NDArray[np.intp]]


def patient_halves(patients: Sequence[Hashable], n_splits: int, seed: int, at_most: int | None = None) -> list[Halves]:
    """Pairs of index arrays, all of one length, without a common patient within a pair.

    The length is that of the smallest half of all splits, and no more than `at_most`.

    Raises:
        EvaluationError: too few patients for two halves of at least two images.
    """
    ids = np.asarray(patients)
    rng = np.random.default_rng(seed)
    splits = [_split_by_patient(rng, ids) for _ in range(n_splits)]
    n = min(len(half) for split in splits for half in split)
    if at_most is not None:
        n = min(n, at_most)
    if n < 2:
        raise EvaluationError(
            f"{len(ids)} real images, patients: {len(np.unique(ids))}, cannot be split by patient into halves"
            " of at least 2 images, so there is no real-vs-real floor; prepare images of more patients"
        )
    return [(a[:n], b[:n]) for a, b in splits]


def _split_by_patient(rng: np.random.Generator, ids: NDArray[Any]) -> Halves:
    """Shuffled indices of all images of some random patients, about half of the images, and of the others."""
    counts = dict(zip(*np.unique(ids, return_counts=True), strict=True))
    drawn = rng.permutation(list(counts))
    taken = np.cumsum([counts[patient] for patient in drawn])  # images in the first half after each patient
    chosen = drawn[: int(np.argmin(np.abs(taken - len(ids) / 2))) + 1]
    images = rng.permutation(len(ids))
    first = np.isin(ids[images], chosen)
    return images[first], images[~first]
