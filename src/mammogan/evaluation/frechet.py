"""Frechet distance between two sets of features: FID where the features are those of the FID network."""

from functools import cached_property

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from mammogan.errors import EvaluationError

_EXACT_BELOW = 512  # images: singular values, free of squaring, cost hundredths of a second
_ROWS_AT_ONCE = 4096  # bounds the memory of a covariance


class Reference:
    """The real side of a Frechet distance, prepared once for many synthetic sets.

    Holds the mean and a half L of the covariance, S1 = L L^T (d, r), r the smaller of N and d: the centred features
    themselves while N is below d, else the triangle of their QR decomposition. Neither squares the features, so a
    singular covariance, as every one of at most d images is, costs no accuracy.
    """

    def __init__(self, real: NDArray[np.floating]) -> None:
        """Features of the real images, (N, d).

        Raises:
            EvaluationError: fewer than two images, or a value that is not finite.
        """
        self._real = _checked(real, "real")
        self.n, self.dims = self._real.shape
        self.mean: NDArray[np.float64] = np.mean(self._real, axis=0, dtype=np.float64)

    @cached_property
    def half(self) -> NDArray[np.float64]:
        """L^T, (r, d)."""
        A = _scaled(self._real, self.mean, self.n)
        if self.n <= self.dims:
            return A
        (triangle,) = scipy.linalg.qr(A, mode="r", overwrite_a=True, check_finite=False)
        return np.asarray(triangle[: self.dims], dtype=np.float64)

    def frechet(self, fake: NDArray[np.floating]) -> float:
        """Distance to the features of synthetic images, (M, d), in float64; equal to `frechet_distance`.

        Raises:
            EvaluationError: fewer than two images, another d, or a value that is not finite.
        """
        fake = _checked(fake, "fake")
        if fake.shape[1] != self.dims:
            raise EvaluationError(
                f"real features have {self.dims} dimensions and fake ones {fake.shape[1]}; use one network for both"
            )
        mean = fake.mean(axis=0, dtype=np.float64)
        shift = float(np.sum((self.mean - mean) ** 2))
        if _product_is_cheaper(len(fake), len(self.half), self.dims):
            B = _scaled(fake, mean, len(fake))
            total, root = float(np.sum(B**2)), _sum_of_singular_values(B @ self.half.T)
        else:
            S2 = _covariance(fake, mean)
            total, root = float(np.trace(S2)), _sum_of_roots(self.half @ S2 @ self.half.T)
        distance = shift + float(np.sum(self.half**2)) + total - 2 * root
        return max(distance, 0.0)  # equal sets miss 0 by rounding, to either side


def frechet_distance(real: NDArray[np.floating], fake: NDArray[np.floating]) -> float:
    """Distance of the Gaussians fitted to features (N, d) and (M, d), in float64.

    |m1 - m2|**2 + tr(S1 + S2 - 2 (S1 S2)**(1/2)), covariances over N - 1 (Dowson & Landau 1982; Heusel et
    al. 2017, arXiv:1706.08500). The trace of the root is the nuclear norm of L1^T L2 for any halves
    S = L L^T, which is exact where the covariances are singular, as they are below d images.

    Raises:
        EvaluationError: fewer than two images on a side, different d, or a value that is not finite.
    """
    real, fake = checked_pair(real, fake)
    smaller, larger = (real, fake) if len(real) <= len(fake) else (fake, real)
    return Reference(smaller).frechet(larger)  # symmetric; the half of the smaller side is the cheaper one


def checked_pair(
    real: NDArray[np.floating], fake: NDArray[np.floating]
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Both sets, if a distance between them exists.

    Raises:
        EvaluationError: fewer than two images on a side, different d, or a value that is not finite.
    """
    real, fake = _checked(real, "real"), _checked(fake, "fake")
    if real.shape[1] != fake.shape[1]:
        raise EvaluationError(
            f"real features have {real.shape[1]} dimensions and fake ones {fake.shape[1]}; use one network for both"
        )
    return real, fake


def _checked(x: NDArray[np.floating], name: str) -> NDArray[np.floating]:
    if x.ndim != 2 or len(x) < 2:
        raise EvaluationError(f"{name} features have shape {x.shape}, expected (N, d) with N of at least 2")
    if not np.isfinite(x).all():
        broken = int((~np.isfinite(x)).any(axis=1).sum())
        raise EvaluationError(f"{broken} of {len(x)} {name} images have features that are not finite")
    return x


def _scaled(x: NDArray[np.floating], mean: NDArray[np.float64], n: int) -> NDArray[np.float64]:
    """Rows A whose A^T A is their share of the covariance of n images."""
    centred: NDArray[np.float64] = (x - mean) / np.sqrt(n - 1)
    return centred


def _covariance(x: NDArray[np.floating], mean: NDArray[np.float64]) -> NDArray[np.float64]:
    S = np.zeros((x.shape[1], x.shape[1]))
    for start in range(0, len(x), _ROWS_AT_ONCE):
        B = _scaled(x[start : start + _ROWS_AT_ONCE], mean, len(x))
        S += B.T @ B
    return S


def _sum_of_singular_values(C: NDArray[np.float64]) -> float:
    if min(C.shape) < _EXACT_BELOW:
        return float(scipy.linalg.svdvals(C, overwrite_a=True, check_finite=False).sum())
    return _sum_of_roots(C @ C.T if len(C) <= C.shape[1] else C.T @ C)


def _sum_of_roots(product: NDArray[np.float64]) -> float:
    """Sum of the roots of the eigenvalues of a symmetric matrix that has none below zero but for rounding."""
    eigenvalues = scipy.linalg.eigvalsh(product, overwrite_a=True, check_finite=False)
    return float(np.sqrt(eigenvalues.clip(min=0)).sum())


def _product_is_cheaper(m: int, r: int, d: int) -> bool:
    """Whether B L of (m, d) and (d, r) costs less than L^T S2 L.

    In multiplications of matrices; symmetric products cost half, eigenvalues of (n, n) 1.3 n**3, measured at
    d = 2048 on one thread (docs/metrics-protocol.md).
    """
    few, many = min(m, r), max(m, r)
    product = m * d * r + few**2 * many / 2 + 1.3 * few**3
    covariance = m * d**2 / 2 + d**2 * r + d * r**2 + 1.3 * r**3
    return product <= covariance
