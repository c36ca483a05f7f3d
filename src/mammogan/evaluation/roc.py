"""Area under the ROC curve, and recall at a specificity, of scores with ties and under weights of the images."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_REPLICATES_AT_ONCE = 256
_ROUNDING = 1e-9  # a specificity of 0.9 asked of ten images allows exactly one false alarm


@dataclass(frozen=True)
class Roc:
    """What a ROC curve is summed up by, for each of B sets of weights; not a number where a class has no weight.

    Attributes:
        auc: float64 (B,), the chance that an image with the finding scores higher than one without, ties half
            (Mann and Whitney 1947; Hanley and McNeil 1982, doi:10.1148/radiology.143.1.7063747).
        recall: float64 (B,), largest share of the images with the finding that a threshold finds at which at least
            the specificity asked for is kept; a threshold lies between two scores, nothing is interpolated.
    """

    auc: NDArray[np.float64]
    recall: NDArray[np.float64]


def roc(
    scores: NDArray[np.floating],
    labels: NDArray[np.bool_],
    weights: NDArray[np.integer] | None = None,
    specificity: float = 0.9,
) -> Roc:
    """What the curve of scores with labels is summed up by.

    Args:
        scores: (N,), higher for the finding.
        labels: (N,), whether it is there.
        weights: how often each image counts, (B, N); every image once, with B = 1, when not given.
        specificity: share of the images without the finding that must stay below the threshold.
    """
    if weights is None:
        weights = np.ones((1, len(scores)), np.int64)
    order = np.argsort(-scores, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(scores[order]) != 0])  # of each group of equal scores
    parts = [
        _of_sorted(weights[first : first + _REPLICATES_AT_ONCE, order], labels[order], starts, specificity)
        for first in range(0, len(weights), _REPLICATES_AT_ONCE)
    ]
    return Roc(np.concatenate([part.auc for part in parts]), np.concatenate([part.recall for part in parts]))


def _of_sorted(
    weights: NDArray[np.integer], labels: NDArray[np.bool_], starts: NDArray[np.intp], specificity: float
) -> Roc:
    """Weights (B, N) and labels (N,) in the order of falling scores."""
    with_finding = np.add.reduceat(weights * labels, starts, axis=1).astype(np.float64)  # (B, groups)
    without = np.add.reduceat(weights * ~labels, starts, axis=1).astype(np.float64)
    alarms = without.cumsum(axis=1)
    n_with, n_without = with_finding.sum(axis=1, keepdims=True), alarms[:, -1:]
    below = n_without - alarms + without / 2
    with np.errstate(invalid="ignore"):
        auc = (with_finding * below).sum(axis=1) / (n_with * n_without)[:, 0]
        allowed = alarms <= (1 - specificity) * n_without + _ROUNDING
        recall = np.where(allowed, with_finding.cumsum(axis=1), 0).max(axis=1) / n_with[:, 0]
    return Roc(auc, np.where(n_without[:, 0] > 0, recall, np.nan))
