"""Masses, spiculated masses and microcalcification clusters of a phantom breast."""

import numpy as np
from numpy.random import Generator

from mammogan.data.phantom_shape import Points, Shape
from mammogan.data.phantom_tissue import lines

FINDINGS = ("none", "mass", "spiculated_mass", "calcifications")


def place(breast: Generator, view: Generator, shape: Shape) -> tuple[float, float]:
    """Centre (x, y) of a finding: at the same distance from the nipple in both views, well inside the breast.

    The distance comes from `breast`, which both views share; the direction from `view`.
    """
    distance = breast.uniform(0.12, 0.25)
    angle = view.uniform(-0.6, 0.6)
    return shape.nipple[0] - distance * np.cos(angle), shape.nipple[1] + distance * np.sin(angle)


def finding_at(
    breast: Generator, view: Generator, shape: Shape, finding: str, x: Points, y: Points, pixel: float
) -> Points:
    """Brightness that the finding adds at the points (x, y) (n,), about 0 to 1; `pixel` is a pixel's side."""
    centre_x, centre_y = place(breast, view, shape)
    dx, dy = x - centre_x, y - centre_y
    if finding == "mass":
        return _core(breast, view, dx, dy, breast.uniform(0.024, 0.042), lobes=0.12, edge=0.35)
    if finding == "spiculated_mass":
        radius = breast.uniform(0.020, 0.034)
        core = _core(breast, view, dx, dy, radius, lobes=0.22, edge=0.7)
        return core + 0.6 * (1 - core) * _spicules(view, dx, dy, radius, pixel)
    if finding == "calcifications":
        return _calcifications(breast, view, dx, dy, pixel)
    return np.zeros_like(x)


def _core(
    breast: Generator, view: Generator, dx: Points, dy: Points, radius: float, lobes: float, edge: float
) -> Points:
    angle = np.arctan2(dy, dx)
    rim = np.full_like(dx, radius)
    for k in range(2, 7):
        rim += radius * lobes * view.normal(0, 1.5 / k) * np.cos(k * angle + view.uniform(0, 2 * np.pi))
    t = np.hypot(dx, dy) / np.maximum(rim, 0.3 * radius)
    return breast.uniform(0.7, 1.0) / (1 + np.exp((t - 1) / (0.35 * edge)))


def _spicules(view: Generator, dx: Points, dy: Points, radius: float, pixel: float) -> Points:
    paths = []
    t = np.linspace(0.5, 1, 40)
    count = int(view.integers(14, 22))
    for angle in view.uniform(0, 2 * np.pi, count):
        length = radius * view.uniform(1.5, 4.2)
        bent = angle + view.normal(0, 0.3) * t
        paths.append(
            np.column_stack([length * t * np.cos(bent), length * t * np.sin(bent), 0.0042 * (1.15 - t) / 0.65])
        )
    return lines(dx, dy, paths, 0.6 * pixel)


def _calcifications(breast: Generator, view: Generator, dx: Points, dy: Points, pixel: float) -> Points:
    out = np.zeros_like(dx)
    spread = breast.uniform(0.012, 0.028)
    for _ in range(int(breast.integers(9, 19))):
        x, y = view.normal(0, spread, 2)
        sigma = view.uniform(0.0012, 0.0030)
        # A grain smaller than a pixel would fade with its area; here more slowly, so that it stays visible.
        blurred = max(sigma, 0.55 * pixel)
        peak = view.uniform(0.8, 1.6) * (sigma / blurred) ** 0.5
        near = (np.abs(dx - x) < 4 * blurred) & (np.abs(dy - y) < 4 * blurred)
        out[near] += peak * np.exp(-((dx[near] - x) ** 2 + (dy[near] - y) ** 2) / (2 * blurred**2))
    return out
