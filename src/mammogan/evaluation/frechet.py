"""Frechet distance between two sets of features: FID where the features are those of the FID network."""

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from mammogan.errors import EvaluationError


def frechet_distance(real: NDArray[np.floating], fake: NDArray[np.floating]) -> float:
    """Distance of the Gaussians fitted to features (N, d) and (M, d), in float64.

    |m1 - m2|**2 + tr(S1 + S2 - 2 (S1 S2)**(1/2)), covariances over N - 1 (Dowson & Landau 1982; Heusel et
    al. 2017, arXiv:1706.08500). The trace of the root is the nuclear norm of L1^T L2 for any halves
    S = L L^T, which is exact where the covariances are singular, as they are below d images.

    Raises:
        EvaluationError: fewer than two images on a side, different d, or a value that is not finite.
    """
    real, fake = checked_pair(real, fake)
    mean_real, mean_fake = real.mean(axis=0), fake.mean(axis=0)
    A = (real - mean_real) / np.sqrt(len(real) - 1)  # (N, d), S1 = A^T A
    B = (fake - mean_fake) / np.sqrt(len(fake) - 1)  # (M, d), S2 = B^T B
    shift = float(np.sum((mean_real - mean_fake) ** 2))
    distance = shift + float(np.sum(A**2) + np.sum(B**2)) - 2 * _trace_of_root(A, B)
    return max(distance, 0.0)  # equal sets miss 0 by rounding, to either side


def checked_pair(
    real: NDArray[np.floating], fake: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both sets in float64, if a distance between them exists.

    Raises:
        EvaluationError: fewer than two images on a side, different d, or a value that is not finite.
    """
    for name, x in (("real", real), ("fake", fake)):
        if x.ndim != 2 or len(x) < 2:
            raise EvaluationError(f"{name} features have shape {x.shape}, expected (N, d) with N of at least 2")
        if not np.isfinite(x).all():
            broken = int((~np.isfinite(x)).any(axis=1).sum())
            raise EvaluationError(f"{broken} of {len(x)} {name} images have features that are not finite")
    if real.shape[1] != fake.shape[1]:
        raise EvaluationError(
            f"real features have {real.shape[1]} dimensions and fake ones {fake.shape[1]}; use one network for both"
        )
    return real.astype(np.float64), fake.astype(np.float64)


def _trace_of_root(A: NDArray[np.float64], B: NDArray[np.float64]) -> float:
    """tr((S1 S2)**(1/2)) of S1 = A^T A, S2 = B^T B."""
    if _svd_is_cheaper(len(A), len(B), A.shape[1]):
        return float(scipy.linalg.svdvals(A @ B.T).sum())
    variances, axes = scipy.linalg.eigh(A.T @ A)
    L = axes * np.sqrt(variances.clip(min=0))  # (d, d), S1 = L L^T
    product = L.T @ (B.T @ B) @ L
    return float(np.sqrt(scipy.linalg.eigvalsh(product).clip(min=0)).sum())


def _svd_is_cheaper(n: int, m: int, d: int) -> bool:
    # Weights measured at d = 2048 on one thread (docs/metrics-protocol.md).
    svd = n * m * d + 6 * max(n, m) * min(n, m) ** 2
    eigenvalues = (n + m) * d**2 + 8 * d**3
    return svd <= eigenvalues
